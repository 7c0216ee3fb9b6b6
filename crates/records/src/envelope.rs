//! The outside of an input: is it a Bundle, where do its entries lie, where in an entry is the resource.
//!
//! The envelope of a Bundle (its own id, links, signature, search scores, requests) is transport and is
//! not kept; the resources in it are.

use std::ops::Range;

use crate::MAX_RESOURCES;
use crate::scan::{Broken, Scanner};

/// One JSON document seen from outside.
pub(crate) struct Envelope {
    /// Where the document lies, without white space around it.
    pub(crate) span: Range<usize>,
    /// Its resourceType is Bundle.
    pub(crate) is_bundle: bool,
    /// What the entries of a Bundle hold, or why nothing.
    pub(crate) entries: Vec<Result<Entry, &'static str>>,
    /// What stands after the document, other than white space.
    pub(crate) followed_by: Option<(usize, u8)>,
}

/// Why the bytes are no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// They end in the middle of it, at this offset.
    Ends(usize),
    /// Something else is wrong, at this offset.
    Wrong(usize, &'static str),
}

impl From<Broken> for Unreadable {
    fn from(broken: Broken) -> Self {
        if broken.ends { Self::Ends(broken.at) } else { Self::Wrong(broken.at, "it is not JSON") }
    }
}

/// Walks the members of the outermost object, and the items of its `entry`, once; those that do not read, twice. There are as many of these as one import takes, at most.
pub(crate) fn read_envelope(bytes: &[u8]) -> Result<Envelope, Unreadable> {
    let mut scanner = Scanner::new(bytes, 0);
    let start = scanner.next_at();
    if scanner.peek().is_some_and(|byte| byte != b'{') {
        return Err(Unreadable::Wrong(start, "it is neither a FHIR resource nor a Bundle in JSON"));
    }
    scanner.open(b'{')?;
    let (mut resource_type, mut entries) = (None, None);
    let mut first = true;
    while scanner.more(&mut first, b'}')? {
        let at = scanner.next_at();
        let name = scanner.name()?;
        let known = match name.as_ref() {
            "resourceType" => resource_type.replace(scanner.value()?).is_some(),
            "entry" if scanner.peek() == Some(b'[') => entries.replace(items(&mut scanner)?).is_some(),
            _ => {
                scanner.value()?;
                false
            }
        };
        if known {
            return Err(Unreadable::Wrong(at, "a key stands twice in one object"));
        }
    }
    let end = scanner.position();
    let followed_by = scanner.peek().map(|byte| (scanner.position(), byte));
    let is_bundle = resource_type.and_then(|span| bytes.get(span)).is_some_and(|text| serde_json::from_slice::<&str>(text).is_ok_and(|text| text == "Bundle"));
    Ok(Envelope { span: start..end, is_bundle, entries: entries.unwrap_or_default(), followed_by })
}

fn items(scanner: &mut Scanner<'_>) -> Result<Vec<Result<Entry, &'static str>>, Unreadable> {
    scanner.open(b'[')?;
    let (mut first, mut found) = (true, Vec::new());
    while scanner.more(&mut first, b']')? {
        if found.len() == MAX_RESOURCES {
            return Err(Unreadable::Wrong(scanner.position(), "it has more entries than one import takes"));
        }
        let before = scanner.clone();
        found.push(match members(scanner) {
            Ok((_, _, true)) => Err("a key stands twice in one object"),
            Ok((full_url, resource, false)) => resource.map(|resource| Entry { full_url, resource }).ok_or("the entry has no resource"),
            // As long as its brackets match, no other entry is touched by it.
            Err(_) => {
                *scanner = before;
                scanner.value()?;
                Err("it is not JSON")
            }
        });
    }
    Ok(found)
}

/// What an entry holds.
pub(crate) struct Entry {
    full_url: Option<Range<usize>>,
    /// Where its resource lies.
    pub(crate) resource: Range<usize>,
}

impl Entry {
    /// Its `fullUrl`, if that is a string; `bytes` are those of the document.
    pub(crate) fn full_url(&self, bytes: &[u8]) -> Option<String> {
        self.full_url.clone().and_then(|span| bytes.get(span)).and_then(|text| serde_json::from_slice(text).ok())
    }
}

type Members = (Option<Range<usize>>, Option<Range<usize>>, bool);

/// Steps over an object. Where its `fullUrl` and its `resource` lie, and whether one of them stands twice.
fn members(scanner: &mut Scanner<'_>) -> Result<Members, Broken> {
    scanner.open(b'{')?;
    let (mut first, mut full_url, mut resource, mut twice) = (true, None, None, false);
    while scanner.more(&mut first, b'}')? {
        let name = scanner.name()?;
        let value = scanner.value()?;
        match name.as_ref() {
            "fullUrl" => twice |= full_url.replace(value).is_some(),
            "resource" => twice |= resource.replace(value).is_some(),
            _ => {}
        }
    }
    Ok((full_url, resource, twice))
}
