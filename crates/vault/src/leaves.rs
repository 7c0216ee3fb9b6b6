//! Reads the files of a closed store without sled: what it has on disk is seen as it is, nothing is written, and what is damaged does not keep the rest from being read.
//!
//! sled itself stops at the first damaged leaf, waits for ever where two leaves changed places, and takes a damaged log for a torn write. Its files, as the pinned version
//! (docs/decisions/0002-sled.md) writes them:
//!
//! - `metadata/snapshot_N` is one frame, `metadata/log_M` with M > N are many, newer than it: which leaf lies where. A frame is its length with a check sum, zstd, a check sum.
//! - `slabs/SIZE` is an array of slots of that size, each a leaf in zstd, its length, and a check sum. Slots that nothing points to have no meaning.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// The collection that holds the vault's rows; the other one holds names of collections, of which there are none.
const ROWS: u64 = 1;
/// What sled mixes into its check sums.
const MIX: u32 = 0xAF;
/// Longest leaf and longest frame that are read, in bytes: far beyond what a leaf of 32 rows and a home's index take.
const LONGEST: usize = 1 << 30;
/// What is said of bytes that are not as they were written.
const BAD_SUM: &str = "its check sum does not match";
/// The file of settings: 60 bytes and their check sum.
const COOKIE: usize = 64;

/// What is wrong with a file of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The file, as it is called below the store's directory.
    pub(crate) file: String,
    pub(crate) reason: String,
    /// Whether what is there is whole and belongs elsewhere, or nothing is there: not damage, but an index that is not the last one.
    pub(crate) astray: bool,
}

impl Fault {
    pub(crate) fn new(file: &str, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), reason: reason.into(), astray: false }
    }
}

/// A row as it lies in the store: table and key, and the record.
pub(crate) type RawRow = (Vec<u8>, Vec<u8>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Location {
    slab: u8,
    slot: u64,
}

/// Which leaves there are, and where.
pub(crate) struct Index {
    store: PathBuf,
    leaves: BTreeMap<Vec<u8>, Location>,
    /// Ends of logs that could not be read: torn by a crash, or damaged. What they said is not in the index.
    pub(crate) unread: Vec<Fault>,
    /// The leaf that was looked into last: long values lie in pieces, side by side.
    last: RefCell<Option<(Vec<u8>, Vec<RawRow>)>>,
}

impl Index {
    /// Reads the index of the store in a directory; `metadata` is its own, or a copy of it.
    pub(crate) fn read(store: &Path, metadata: &Path) -> Result<Self, Fault> {
        let name = metadata.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let list = fs::read_dir(metadata).map_err(|error| Fault::new(&name, error.to_string()))?;
        let names: Vec<String> = list.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        let numbered = |prefix: &str| -> BTreeMap<u64, String> {
            let number = |name: &String| Some((u64::from_str_radix(name.strip_prefix(prefix)?, 16).ok()?, name.clone()));
            names.iter().filter_map(number).collect()
        };
        let snapshot = numbered("snapshot_").pop_last();
        let start = snapshot.as_ref().map_or(0, |(number, _)| *number);
        let mut places: BTreeMap<u64, Option<(u64, Location, Vec<u8>)>> = BTreeMap::new();
        let mut unread = Vec::new();
        if let Some((_, file)) = &snapshot {
            let called = format!("{name}/{file}");
            let bytes = fs::read(metadata.join(file)).map_err(|error| Fault::new(&called, error.to_string()))?;
            let (updates, length) = frame(&bytes).map_err(|reason| Fault::new(&called, reason))?;
            if length != bytes.len() {
                return Err(Fault::new(&called, "more follows after its end"));
            }
            places.extend(updates);
        }
        for (_, file) in numbered("log_").split_off(&(start + 1)) {
            let called = format!("{name}/{file}");
            let bytes = fs::read(metadata.join(&file)).map_err(|error| Fault::new(&called, error.to_string()))?;
            let mut at = 0;
            while at < bytes.len() {
                match frame(&bytes[at..]) {
                    Ok((updates, length)) => {
                        places.extend(updates);
                        at += length;
                    }
                    Err(reason) => {
                        unread.push(Fault::new(&called, format!("its end, from byte {at} on, cannot be read: {reason}")));
                        break;
                    }
                }
            }
        }
        let leaves = places.into_values().flatten().filter(|(collection, ..)| *collection == ROWS).map(|(_, location, low)| (low, location)).collect();
        Ok(Self { store: store.to_path_buf(), leaves, unread, last: RefCell::default() })
    }

    /// Whether a place holds something whole that is not what the index says, or is not there: an index leads to such places once they were used again.
    pub(crate) fn leads_astray(&self) -> bool {
        self.leaves.keys().any(|low| self.leaf(low).is_err_and(|fault| fault.astray))
    }

    /// Whether two indexes lead to the same places.
    pub(crate) fn has_same_places(&self, other: &Self) -> bool {
        self.leaves == other.leaves
    }

    /// The lowest key of every leaf, ascending, each with that of the next one.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let next = self.leaves.keys().skip(1).map(|low| Some(low.as_slice())).chain([None]);
        self.leaves.keys().map(Vec::as_slice).zip(next)
    }

    /// The rows of the leaf that begins at this key.
    pub(crate) fn leaf(&self, low: &[u8]) -> Result<Vec<RawRow>, Fault> {
        let Some(location) = self.leaves.get(low) else { return Ok(Vec::new()) };
        let size = slab_size(location.slab).ok_or_else(|| Fault::new("metadata", "it points to a slab that there is not"))?;
        let file = format!("slabs/{size}");
        let wrong = |reason: &str| Fault::new(&file, format!("slot {}: {reason}", location.slot));
        let astray = |reason: &str| Fault { astray: true, ..wrong(reason) };
        let slot = read_slot(&self.store.join(&file), location.slot, size).map_err(|reason| astray(&reason))?.ok_or_else(|| wrong(BAD_SUM))?;
        let leaf = decompressed(slot).and_then(|bytes| parse_leaf(&bytes)).ok_or_else(|| astray("it is not a leaf"))?;
        if leaf.low != low {
            return Err(astray("another leaf lies in its place"));
        }
        Ok(leaf.rows)
    }

    /// The record of one row.
    pub(crate) fn get(&self, row: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let Some((low, _)) = self.leaves.range(..=row.to_vec()).next_back() else { return Ok(None) };
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|(held, _)| held != low) {
            *last = Some((low.clone(), self.leaf(low)?));
        }
        let mut rows = last.iter().flat_map(|(_, rows)| rows);
        Ok(rows.find(|(key, _)| key == row).map(|(_, record)| record.clone()))
    }
}

/// Whether the store's file of settings is whole.
pub(crate) fn check_settings(store: &Path) -> Result<(), Fault> {
    const NAME: &str = "durability_cookie";
    let bytes = fs::read(store.join(NAME)).map_err(|error| Fault::new(NAME, error.to_string()))?;
    match bytes.split_last_chunk::<4>() {
        Some((content, sum)) if bytes.len() == COOKIE && check_sum(content) == u32::from_le_bytes(*sum) => Ok(()),
        _ => Err(Fault::new(NAME, BAD_SUM)),
    }
}

fn check_sum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) ^ MIX
}

/// The size of the slots of a slab, in bytes.
fn slab_size(slab: u8) -> Option<u64> {
    let slab = u32::from(slab);
    Some(match slab {
        0..40 => (1 << (6 + slab / 4)) / 4 * u64::from(4 + slab % 4),
        40..45 => [65_536, 98_304, 131_072, 163_840, 196_608][slab as usize - 40],
        45..78 => (1 << (18 + (slab - 45) / 2)) / 2 * u64::from(2 + (slab - 45) % 2),
        _ => return None,
    })
}

/// What a slot holds; nothing, if its check sum does not match.
fn read_slot(path: &Path, slot: u64, size: u64) -> Result<Option<Vec<u8>>, String> {
    let length = usize::try_from(size).ok().filter(|length| *length <= LONGEST).ok_or("it is too large")?;
    let mut bytes = vec![0; length];
    let start = slot.checked_mul(size).ok_or("it is out of bounds")?;
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes)).map_err(|_| "the file ends before it")?;
    let (content, sum) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
    if check_sum(content) != u32::from_le_bytes(*sum) {
        return Ok(None);
    }
    let width = if size <= 0xff {
        1
    } else if size <= 0xffff {
        2
    } else {
        4
    };
    let (content, framed) = content.split_at(content.len() - width);
    let framed = framed.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    content.get(..framed).map(|content| Some(content.to_vec())).ok_or_else(|| "its length is wrong".to_owned())
}

fn decompressed(bytes: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut decoder = zstd::stream::read::Decoder::new(bytes.as_ref()).ok()?.take(LONGEST as u64);
    decoder.read_to_end(&mut out).ok()?;
    Some(out)
}

/// The updates that a frame at the beginning of these bytes holds, and how long it is: objects and where they lie now; nowhere, if they are gone.
#[expect(clippy::type_complexity, reason = "collection, place and lowest key of an object, or none")]
fn frame(bytes: &[u8]) -> Result<(Vec<(u64, Option<(u64, Location, Vec<u8>)>)>, usize), &'static str> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or("a frame is cut off")?;
    let mut length = *head;
    length[6..].fill(0);
    if (crc32fast::hash(&head[..6]) as u16).to_le_bytes() != head[6..] {
        return Err("the length of a frame does not match its check sum");
    }
    let length = usize::try_from(u64::from_le_bytes(length)).ok().filter(|length| *length <= LONGEST).ok_or("a frame is too long")?;
    let sum = rest.get(length..).and_then(|rest| rest.first_chunk::<4>()).ok_or("a frame is cut off")?;
    if check_sum(&bytes[..8 + length]) != u32::from_le_bytes(*sum) {
        return Err("the check sum of a frame does not match");
    }
    let content = decompressed(&rest[..length]).ok_or("a frame is not compressed as it should be")?;
    let mut from = Reader(&content);
    let mut updates = Vec::new();
    while !from.0.is_empty() {
        let mut update = || -> Option<_> {
            let (object, collection, location) = (from.number()?, from.number()?, from.number()?);
            let low = from.bytes()?.to_vec();
            let [slab, slot @ ..] = location.to_be_bytes();
            let slot = slot.iter().fold(0, |slot, byte| slot << 8 | u64::from(*byte));
            Some((object, slab.checked_sub(1).map(|slab| (collection, Location { slab, slot }, low))))
        };
        updates.push(update().ok_or("a frame ends within an update")?);
    }
    Ok((updates, length + 12))
}

struct Leaf {
    low: Vec<u8>,
    rows: Vec<RawRow>,
}

/// A leaf as bincode writes it.
fn parse_leaf(bytes: &[u8]) -> Option<Leaf> {
    let mut from = Reader(bytes);
    let low = from.bytes()?.to_vec();
    match from.take(1)? {
        [0] => {}
        [1] => drop(from.bytes()?),
        _ => return None,
    }
    let prefix = low.get(..usize::try_from(from.number()?).ok()?)?.to_vec();
    let count = from.number()?;
    let mut rows = Vec::new();
    for _ in 0..count {
        let (key, record) = (from.bytes()?, from.bytes()?);
        rows.push(([&prefix, key].concat(), record.to_vec()));
    }
    let (_in_memory, _mutations) = (from.number()?, from.number()?);
    from.0.is_empty().then_some(Leaf { low, rows })
}

/// Takes bincode's integers and byte strings from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_have_the_sizes_that_sled_gives_them() {
        let sizes: Vec<u64> = (0..78).map(|slab| slab_size(slab).unwrap()).collect();
        assert_eq!(sizes[..9], [64, 80, 96, 112, 128, 160, 192, 224, 256]);
        assert_eq!(sizes[36..50], [32_768, 40_960, 49_152, 57_344, 65_536, 98_304, 131_072, 163_840, 196_608, 262_144, 393_216, 524_288, 786_432, 1_048_576]);
        assert_eq!((sizes[77], slab_size(78)), (17_179_869_184, None));
        assert!(sizes.is_sorted());
    }
}
