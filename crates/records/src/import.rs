//! Import: foreign bytes to drafts of documents.
//!
//! An input is a Bundle of any type, a single resource, or lines of either (NDJSON). Bundles are walked
//! entry by entry, so that beside input and output only one entry is held as a tree. A bad entry or line
//! is refused by its position and does not touch the others; an input that is cut or garbage as a whole
//! is an error, and then nothing at all is imported.
//!
//! Inputs are first divided into their resources; then all cores read and check these, [`AT_ONCE`] at a time.
//! A resource is parsed once: its facts and the typed check are both had from that tree.
//! Resources stay where they are, parts of their input: an input is held until its last resource is let go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use chartmesh_fhir::check_json;
use chartmesh_json::{Json, parse};
use chartmesh_sealing::wiped;

use crate::envelope::{Unreadable, read_envelope};
use crate::extract::{Place, Reading, read};
use crate::group::{Item, drafts};
use crate::large::{data_of, without_data};
use crate::{Draft, MAX_RESOURCE, ResourceFacts, Typed};

/// Most bytes of resources in one import.
pub const MAX_IMPORT: usize = 1 << 30;
/// Most resources in one import.
pub const MAX_RESOURCES: usize = 500_000;
/// How many resources are read before they are put among the others.
const AT_ONCE: usize = 2048;
/// How many of them a core takes at a time.
const SHARE: usize = 8;

/// One file or message to import.
pub struct Input {
    name: String,
    base: Option<String>,
    bytes: Bytes,
    lines: bool,
}

impl Input {
    /// `name` is what errors call it; it should not tell who the patient is.
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), base: None, bytes: bytes.into(), lines: false }
    }

    /// States that it is NDJSON, as bulk exports are. [`Input::new`] finds that out too, unless the first line is broken.
    pub fn lines(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { lines: true, ..Self::new(name, bytes) }
    }

    /// States the FHIR base URL that it was fetched from, for resources that name no source themselves.
    #[must_use]
    pub fn from_base(mut self, base: impl Into<String>) -> Self {
        self.base = Some(base.into());
        self
    }
}

/// What came of an import.
pub struct Import {
    /// Documents to seal, in an order that does not depend on the order of arrival.
    pub drafts: Vec<Draft>,
    /// What was not imported, in order of arrival.
    pub refused: Vec<Refused>,
    /// Different resources and versions read; practitioners and the like that were copied into several
    /// drafts count once.
    pub resources: usize,
    /// How many came again with the very same bytes, and were kept once.
    pub duplicates: usize,
}

/// An entry or line that was not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Name of the input.
    pub input: String,
    /// `entry[12]`, `line 7`, `line 7 entry[0]`.
    pub position: String,
    /// Why, without any value of the data.
    pub reason: String,
}

/// An input that could not be read as a whole. Nothing was imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Cut off in the middle.
    #[error("{input} ends early, at byte {at}: it seems to be cut off")]
    Truncated {
        /// Name of the input.
        input: String,
        /// Where.
        at: usize,
    },
    /// Nothing in it.
    #[error("{input} is empty")]
    Empty {
        /// Name of the input.
        input: String,
    },
    /// A single resource that cannot be taken.
    #[error("{input} cannot be read: {reason}")]
    Refused {
        /// Name of the input.
        input: String,
        /// Why.
        reason: String,
    },
    /// Not JSON, or not a Bundle, a resource or lines of them.
    #[error("{input} cannot be read at byte {at}: {reason}")]
    Unreadable {
        /// Name of the input.
        input: String,
        /// Where.
        at: usize,
        /// Why.
        reason: String,
    },
    /// More than one import takes.
    #[error("{input} is too much for one import: more than {MAX_IMPORT} bytes or {MAX_RESOURCES} resources in all")]
    TooMuch {
        /// Name of the input.
        input: String,
    },
}

/// Reads inputs into drafts. Inputs that are imported together resolve references among them; each is
/// dropped as soon as it is read.
///
/// # Errors
/// An input that is cut or garbage as a whole, or too much of it. Nothing is imported then.
pub fn import(inputs: impl IntoIterator<Item = Input>) -> Result<Import, ImportError> {
    import_with(inputs, check_json)
}

/// [`import`] with another typed check. It is called from several threads. What it is given of a resource beyond [`MAX_RESOURCE`] has short strings in place of its `data`.
///
/// # Errors
/// As [`import`].
pub fn import_with(inputs: impl IntoIterator<Item = Input>, check: impl Fn(&Json<'_>) -> Typed + Sync) -> Result<Import, ImportError> {
    let mut reader = Reader { check: &check, found: Vec::new(), seen: BTreeMap::new(), items: Vec::new(), refused: Vec::new(), duplicates: 0, bytes: 0 };
    for (index, Input { name, base, bytes, lines }) in inputs.into_iter().enumerate() {
        reader.input(&Arc::new(File { index, name, base }), &bytes, lines)?;
    }
    reader.read()?;
    let Reader { items, refused, duplicates, .. } = reader;
    let resources = items.len();
    Ok(Import { drafts: drafts(items), refused, resources, duplicates })
}

/// What one resource says of itself, as [`import`] of it alone would have it, without a copy of its bytes.
///
/// # Errors
/// Why an import would refuse it.
pub fn read_resource(bytes: &[u8]) -> Result<ResourceFacts, String> {
    read_one(bytes, Place::default(), check_json).map(|reading| reading.facts)
}

fn read_one(bytes: &[u8], place: Place<'_>, check: impl Fn(&Json<'_>) -> Typed) -> Result<Reading, String> {
    let digest = || *blake3::hash(bytes).as_bytes();
    let is_large = bytes.len() > MAX_RESOURCE;
    thread::scope(|scope| {
        // As long as all else that is done to a large one.
        let beside = is_large.then(|| scope.spawn(move || wiped(digest)));
        let json = parse(bytes).map_err(|error| error.to_string())?;
        let data = data_of(bytes)?;
        let hash = beside.map_or_else(digest, |digest| digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let mut reading = read(&json, bytes.len(), hash, place).ok_or_else(|| "it has no resourceType".to_owned())?;
        reading.facts.typed =
            if is_large { parse(&without_data(bytes, &data)).map_or_else(|error| Typed::Failed(error.to_string()), |thin| check(&thin)) } else { check(&json) };
        Ok(reading)
    })
}

/// Reads what was found with all cores, in its order.
fn read_all(found: &[Found], check: &(impl Fn(&Json<'_>) -> Typed + Sync)) -> Vec<Result<Reading, String>> {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(found.len().div_ceil(SHARE));
    let next = AtomicUsize::new(0);
    let work = || {
        let shares = std::iter::from_fn(|| {
            let start = next.fetch_add(SHARE, Ordering::Relaxed);
            found.get(start..).filter(|rest| !rest.is_empty()).map(|rest| rest.iter().take(SHARE).enumerate().map(move |(at, found)| (start + at, found)))
        });
        let read = shares.flatten().map(|(at, found)| {
            let resource = found.resource.as_ref().map_err(String::clone);
            (at, resource.and_then(|(bytes, full_url)| read_one(bytes, Place { full_url: full_url.as_deref(), base: found.file.base.as_deref() }, check)))
        });
        read.collect::<Vec<_>>()
    };
    let mut read = thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(|| wiped(work))).collect();
        let mut read = work();
        read.extend(others.into_iter().flat_map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
        read
    });
    read.sort_unstable_by_key(|(at, _)| *at);
    read.into_iter().map(|(_, reading)| reading).collect()
}

/// One of the inputs, without its bytes.
struct File {
    index: usize,
    name: String,
    base: Option<String>,
}

/// Where in an input something lies.
#[derive(Clone, Copy, Default)]
struct At {
    line: Option<usize>,
    entry: Option<usize>,
}

impl At {
    /// Whether it is the input itself.
    fn is_everything(self) -> bool {
        self.line.is_none() && self.entry.is_none()
    }

    fn position(self) -> String {
        let line = self.line.map(|line| format!("line {line}"));
        let entry = self.entry.map(|entry| format!("entry[{entry}]"));
        line.into_iter().chain(entry).collect::<Vec<_>>().join(" ")
    }
}

/// What stands where a resource should: its bytes and its `fullUrl`, or why there is none.
struct Found {
    file: Arc<File>,
    at: At,
    resource: Result<(Bytes, Option<String>), String>,
}

struct Reader<'c, C> {
    check: &'c C,
    /// To be read.
    found: Vec<Found>,
    /// Where among the items a version of a resource is, by [`version`].
    seen: BTreeMap<[u8; 32], usize>,
    items: Vec<Item>,
    refused: Vec<Refused>,
    duplicates: usize,
    bytes: usize,
}

/// Why an input is not divided.
enum Failure {
    Unreadable(Unreadable),
    Import(ImportError),
}

impl<C: Fn(&Json<'_>) -> Typed + Sync> Reader<'_, C> {
    fn input(&mut self, file: &Arc<File>, whole: &Bytes, lines: bool) -> Result<(), ImportError> {
        let input = || file.name.clone();
        let bytes = whole.strip_prefix(b"\xef\xbb\xbf").unwrap_or(whole);
        let skipped = whole.len() - bytes.len();
        if bytes.trim_ascii().is_empty() && !lines {
            return Err(ImportError::Empty { input: input() });
        }
        let bytes = whole.slice_ref(bytes);
        let divided = if lines { self.lines(file, &bytes) } else { self.document(file, None, &bytes) };
        divided.map_err(|failure| match failure {
            Failure::Unreadable(Unreadable::Ends(at)) => ImportError::Truncated { input: input(), at: at + skipped },
            Failure::Unreadable(Unreadable::Wrong(at, reason)) => ImportError::Unreadable { input: input(), at: at + skipped, reason: reason.to_owned() },
            Failure::Import(error) => error,
        })
    }

    fn lines(&mut self, file: &Arc<File>, bytes: &Bytes) -> Result<(), Failure> {
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            match self.document(file, Some(index + 1), &bytes.slice_ref(line)) {
                Err(Failure::Unreadable(_)) => self.found(file, At { line: Some(index + 1), entry: None }, Err("it is not JSON".to_owned()))?,
                other => other?,
            }
        }
        Ok(())
    }

    /// A Bundle or a single resource; lines of them, if another one follows the first.
    fn document(&mut self, file: &Arc<File>, line: Option<usize>, bytes: &Bytes) -> Result<(), Failure> {
        let envelope = read_envelope(bytes).map_err(Failure::Unreadable)?;
        match envelope.followed_by {
            None => {}
            Some((_, b'{')) if line.is_none() => return self.lines(file, bytes),
            Some((offset, _)) => return Err(Failure::Unreadable(Unreadable::Wrong(offset, "something follows the end of the JSON"))),
        }
        if !envelope.is_bundle {
            return self.found(file, At { line, entry: None }, Ok((bytes.slice(envelope.span), None)));
        }
        for (index, entry) in envelope.entries.into_iter().enumerate() {
            let resource = entry.map(|entry| (bytes.slice(entry.resource.clone()), entry.full_url(bytes))).map_err(str::to_owned);
            self.found(file, At { line, entry: Some(index) }, resource)?;
        }
        Ok(())
    }

    fn found(&mut self, file: &Arc<File>, at: At, resource: Result<(Bytes, Option<String>), String>) -> Result<(), Failure> {
        self.found.push(Found { file: file.clone(), at, resource });
        if self.found.len() < AT_ONCE { Ok(()) } else { self.read().map_err(Failure::Import) }
    }

    /// Reads what was found and puts it among the others.
    fn read(&mut self) -> Result<(), ImportError> {
        let found = std::mem::take(&mut self.found);
        let read = read_all(&found, self.check);
        for (Found { file, at, resource }, reading) in found.into_iter().zip(read) {
            match (resource, reading) {
                (Ok((bytes, full_url)), Ok(reading)) => self.keep(&file, bytes, full_url, reading)?,
                // The resource that is the whole input.
                (_, Err(reason)) if at.is_everything() => return Err(ImportError::Refused { input: file.name.clone(), reason }),
                (_, Err(reason)) | (Err(reason), _) => self.refused.push(Refused { input: file.name.clone(), position: at.position(), reason }),
            }
        }
        Ok(())
    }

    fn keep(&mut self, file: &File, bytes: Bytes, full_url: Option<String>, reading: Reading) -> Result<(), ImportError> {
        let version = version(&reading.facts);
        if let Some(item) = self.seen.get(&version).and_then(|&known| self.items.get_mut(known)) {
            self.duplicates += 1;
            item.full_urls.extend(full_url);
            // Inputs come one after the other.
            if item.inputs.last() != Some(&file.index) {
                item.inputs.push(file.index);
            }
            return Ok(());
        }
        self.bytes += bytes.len();
        if self.bytes > MAX_IMPORT || self.items.len() >= MAX_RESOURCES {
            return Err(ImportError::TooMuch { input: file.name.clone() });
        }
        self.seen.insert(version, self.items.len());
        self.items.push(Item { bytes, full_urls: full_url.into_iter().collect(), inputs: vec![file.index], reading });
        Ok(())
    }
}

/// What makes it the same version of the same resource: the digest of its key and of its bytes' digest, shorter than the key itself.
fn version(facts: &ResourceFacts) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [facts.source.as_deref().unwrap_or("\n"), &facts.resource_type, &facts.id] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    *hasher.update(&facts.hash).finalize().as_bytes()
}
