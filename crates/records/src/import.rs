//! Import: foreign bytes to drafts of documents.
//!
//! An input is a Bundle of any type, a single resource, or lines of either (NDJSON). Bundles are walked
//! entry by entry, so that beside input and output only one entry is held as a tree. A bad entry or line
//! is refused by its position and does not touch the others; an input that is cut or garbage as a whole
//! is an error, and then nothing at all is imported.
//!
//! The typed check costs about twice what reading costs and says nothing that reading needs. So threads, as
//! many as there are cores, check what the reader has read while it reads on, and end before the import goes on.
//! Resources stay where they are, parts of their input: an input is held until its last resource is let go.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use bytes::Bytes;
use chartmesh_sealing::wiped;

use crate::envelope::{Unreadable, entry, read_envelope};
use crate::extract::{Place, Reading, read};
use crate::group::{Item, drafts};
use crate::large::{data_of, without_data};
use crate::{Draft, MAX_RESOURCE, ResourceFacts, Typed, tree};

/// Most bytes of resources in one import.
pub const MAX_IMPORT: usize = 1 << 30;
/// Most resources in one import.
pub const MAX_RESOURCES: usize = 500_000;

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
    import_with(inputs, chartmesh_fhir::check)
}

/// [`import`] with another typed check, such as one that is done elsewhere or later. It is called from several threads. What it is given of a resource beyond [`MAX_RESOURCE`] has
/// short strings in place of its `data`.
///
/// # Errors
/// As [`import`].
pub fn import_with(inputs: impl IntoIterator<Item = Input>, check: impl Fn(&[u8]) -> Typed + Sync) -> Result<Import, ImportError> {
    let (unchecked, waiting) = mpsc::channel();
    let waiting = Mutex::new(waiting);
    let mut reader = Reader { unchecked, seen: BTreeMap::new(), items: Vec::new(), refused: Vec::new(), duplicates: 0, bytes: 0 };
    let (items, refused, duplicates) = thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let checkers: Vec<_> = (0..cores).map(|_| scope.spawn(|| wiped(|| check_all(&waiting, &check)))).collect();
        let read = inputs.into_iter().enumerate().try_for_each(|(at, input)| reader.input(at, &input));
        // The checkers end once the reader hands them nothing more.
        let Reader { unchecked, mut items, refused, duplicates, .. } = reader;
        drop(unchecked);
        for checker in checkers {
            for (at, typed) in checker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                if let Some(item) = items.get_mut(at) {
                    item.reading.facts.typed = typed;
                }
            }
        }
        read.map(|()| (items, refused, duplicates))
    })?;
    let resources = items.len();
    Ok(Import { drafts: drafts(items), refused, resources, duplicates })
}

/// What one resource says of itself, as [`import`] of it alone would have it, without a copy of its bytes.
///
/// # Errors
/// Why an import would refuse it.
pub fn read_resource(bytes: &[u8]) -> Result<ResourceFacts, String> {
    let (mut reading, data) = read_one(bytes, Place::default())?;
    reading.facts.typed = typed(bytes, &data, chartmesh_fhir::check);
    Ok(reading.facts)
}

/// Reads a resource; for a large one also where its `data` lies.
fn read_one(bytes: &[u8], place: Place<'_>) -> Result<(Reading, Vec<Range<usize>>), String> {
    let digest = || *blake3::hash(bytes).as_bytes();
    thread::scope(|scope| {
        // As long as all else that is done to a large one.
        let beside = (bytes.len() > MAX_RESOURCE).then(|| scope.spawn(move || wiped(digest)));
        let json = tree::parse(bytes).map_err(|error| error.to_string())?;
        let data = data_of(bytes)?;
        let hash = beside.map_or_else(digest, |digest| digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let reading = read(&json, bytes.len(), hash, place).ok_or_else(|| "it has no resourceType".to_owned())?;
        Ok((reading, data))
    })
}

fn typed(bytes: &[u8], data: &[Range<usize>], check: impl Fn(&[u8]) -> Typed) -> Typed {
    if bytes.len() <= MAX_RESOURCE { check(bytes) } else { check(&without_data(bytes, data)) }
}

/// A resource's place among the items, and its bytes.
struct Unchecked {
    at: usize,
    bytes: Bytes,
    /// Where the `data` of a large one lies.
    data: Vec<Range<usize>>,
}

/// Checks what the reader hands over, until there is nothing more. What it found that is not in order, and at which place.
fn check_all(waiting: &Mutex<mpsc::Receiver<Unchecked>>, check: impl Fn(&[u8]) -> Typed) -> Vec<(usize, Typed)> {
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    let checked = std::iter::from_fn(next).map(|Unchecked { at, bytes, data }| (at, typed(&bytes, &data, &check)));
    checked.filter(|(_, typed)| *typed != Typed::Ok).collect()
}

struct Reader {
    unchecked: mpsc::Sender<Unchecked>,
    /// Where among the items a version of a resource is, by [`version`].
    seen: BTreeMap<[u8; 32], usize>,
    items: Vec<Item>,
    refused: Vec<Refused>,
    duplicates: usize,
    bytes: usize,
}

/// Where in the inputs the reader is.
struct At<'a> {
    index: usize,
    input: &'a Input,
    line: Option<usize>,
    entry: Option<usize>,
}

impl At<'_> {
    fn position(&self) -> String {
        let line = self.line.map(|line| format!("line {line}"));
        let entry = self.entry.map(|entry| format!("entry[{entry}]"));
        line.into_iter().chain(entry).collect::<Vec<_>>().join(" ")
    }
}

enum Failure {
    /// The import as a whole cannot go on.
    TooMuch,
    /// This resource, or what should be one, cannot be taken.
    Refused(String),
    /// These bytes are no JSON document.
    Unreadable(Unreadable),
}

impl Reader {
    fn input(&mut self, index: usize, input: &Input) -> Result<(), ImportError> {
        let bytes = input.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&input.bytes);
        let skipped = input.bytes.len() - bytes.len();
        if bytes.trim_ascii().is_empty() && !input.lines {
            return Err(ImportError::Empty { input: input.name.clone() });
        }
        let mut at = At { index, input, line: None, entry: None };
        let read = if input.lines { self.lines(&mut at, bytes) } else { self.document(&mut at, bytes) };
        read.map_err(|failure| match failure {
            Failure::TooMuch => ImportError::TooMuch { input: input.name.clone() },
            Failure::Refused(reason) => ImportError::Refused { input: input.name.clone(), reason },
            Failure::Unreadable(Unreadable::Ends(at)) => ImportError::Truncated { input: input.name.clone(), at: at + skipped },
            Failure::Unreadable(Unreadable::Wrong(at, reason)) => {
                ImportError::Unreadable { input: input.name.clone(), at: at + skipped, reason: reason.to_owned() }
            }
        })
    }

    fn lines(&mut self, at: &mut At<'_>, bytes: &[u8]) -> Result<(), Failure> {
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            (at.line, at.entry) = (Some(index + 1), None);
            match self.document(at, line) {
                Ok(()) => {}
                Err(Failure::TooMuch) => return Err(Failure::TooMuch),
                Err(Failure::Refused(reason)) => self.refuse(at, reason),
                Err(Failure::Unreadable(_)) => self.refuse(at, "it is not JSON".to_owned()),
            }
        }
        Ok(())
    }

    /// A Bundle or a single resource; lines of them, if another one follows the first.
    fn document(&mut self, at: &mut At<'_>, bytes: &[u8]) -> Result<(), Failure> {
        let envelope = read_envelope(bytes).map_err(Failure::Unreadable)?;
        match envelope.followed_by {
            None => {}
            Some((_, b'{')) if at.line.is_none() => return self.lines(at, bytes),
            Some((offset, _)) => return Err(Failure::Unreadable(Unreadable::Wrong(offset, "something follows the end of the JSON"))),
        }
        if !envelope.is_bundle {
            return self.resource(at, bytes.get(envelope.span).unwrap_or_default(), None);
        }
        for (index, span) in envelope.entries.into_iter().enumerate() {
            at.entry = Some(index);
            let taken = entry(bytes, span).map_err(|reason| Failure::Refused(reason.to_owned())).and_then(|entry| {
                let resource = bytes.get(entry.resource).unwrap_or_default();
                self.resource(at, resource, entry.full_url.as_deref())
            });
            match taken {
                Ok(()) => {}
                Err(Failure::Refused(reason)) => self.refuse(at, reason),
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    fn resource(&mut self, at: &At<'_>, bytes: &[u8], full_url: Option<&str>) -> Result<(), Failure> {
        let (reading, data) = read_one(bytes, Place { full_url, base: at.input.base.as_deref() }).map_err(Failure::Refused)?;
        self.keep(at, bytes, full_url, reading, data)
    }

    fn keep(&mut self, at: &At<'_>, bytes: &[u8], full_url: Option<&str>, reading: Reading, data: Vec<Range<usize>>) -> Result<(), Failure> {
        let version = version(&reading.facts);
        if let Some(item) = self.seen.get(&version).and_then(|&known| self.items.get_mut(known)) {
            self.duplicates += 1;
            item.full_urls.extend(full_url.map(str::to_owned));
            // Inputs come one after the other.
            if item.inputs.last() != Some(&at.index) {
                item.inputs.push(at.index);
            }
            return Ok(());
        }
        self.bytes += bytes.len();
        if self.bytes > MAX_IMPORT || self.items.len() >= MAX_RESOURCES {
            return Err(Failure::TooMuch);
        }
        let at_item = self.items.len();
        let bytes = at.input.bytes.slice_ref(bytes);
        // Nobody to check it: a checker has panicked, and so will the import.
        let _ = self.unchecked.send(Unchecked { at: at_item, bytes: bytes.clone(), data });
        self.seen.insert(version, at_item);
        self.items.push(Item { bytes, full_urls: full_url.map(str::to_owned).into_iter().collect(), inputs: vec![at.index], reading });
        Ok(())
    }

    fn refuse(&mut self, at: &At<'_>, reason: String) {
        self.refused.push(Refused { input: at.input.name.clone(), position: at.position(), reason });
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
