//! The plaintext of a document: a FHIR Bundle of type `collection` that holds the source's own bytes.

use crate::envelope::{Entry, Unreadable, read_envelope};
use crate::labels::{NORMAL, Set, assigned, confidentiality_rank};
use crate::{Compartment, ResourceFacts};

/// Why bytes are not a document's bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They end early.
    #[error("the bundle ends early, at byte {0}")]
    Truncated(usize),
    /// They are not JSON, or not one Bundle and nothing else.
    #[error("not a bundle: {reason}, at byte {at}")]
    NotABundle {
        /// Where.
        at: usize,
        /// Why.
        reason: &'static str,
    },
    /// An entry cannot be read.
    #[error("entry {index} of the bundle: {reason}")]
    Entry {
        /// Which, from 0.
        index: usize,
        /// Why.
        reason: &'static str,
    },
}

/// Writes the bundle: the resources' bytes as they are, `meta.security` = the highest confidentiality and
/// every sensitivity of what it holds. Each resource must be one JSON value, without white space around
/// it, as [`crate::import`] gives them.
pub fn write_bundle(compartment: &Compartment, resources: &[(&ResourceFacts, &[u8])]) -> Vec<u8> {
    let (mut set, mut rank) = (Set::default(), None);
    if let Compartment::Clinical { sensitivity, .. } = compartment {
        set.add(Set::of(*sensitivity));
    }
    for (facts, _) in resources {
        set.add(facts.sensitivities.iter().collect());
        rank = rank.max(facts.labels.iter().filter_map(confidentiality_rank).max().or(Some(NORMAL)));
    }
    let size: usize = resources.iter().map(|(_, bytes)| bytes.len() + 128).sum();
    let mut out = Vec::with_capacity(size + 1024);
    out.extend_from_slice(br#"{"resourceType":"Bundle","meta":{"security":["#);
    for (index, label) in assigned(rank, set).iter().enumerate() {
        // Both come from chartmesh's own tables and need no escaping.
        let comma = if index == 0 { "" } else { "," };
        out.extend_from_slice(format!(r#"{comma}{{"system":"{}","code":"{}"}}"#, label.system, label.code).as_bytes());
    }
    out.extend_from_slice(br#"]},"type":"collection""#);
    // FHIR allows no empty arrays.
    if !resources.is_empty() {
        out.extend_from_slice(br#","entry":["#);
        for (index, (facts, bytes)) in resources.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.push(b'{');
            if is_uuid(&facts.id) {
                out.extend_from_slice(format!(r#""fullUrl":"urn:uuid:{}","#, facts.id).as_bytes());
            }
            out.extend_from_slice(br#""resource":"#);
            out.extend_from_slice(bytes);
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b'}');
    out
}

/// What stands before and after one resource in a bundle that holds it alone: for one that is too large to be copied.
pub fn bundle_around(compartment: &Compartment, facts: &ResourceFacts) -> (Vec<u8>, Vec<u8>) {
    const END: &[u8] = b"}]}";
    let mut before = write_bundle(compartment, &[(facts, &[])]);
    let after = before.split_off(before.len().saturating_sub(END.len()));
    debug_assert_eq!(after, END);
    (before, after)
}

/// Where the id is a UUID, references of the form `urn:uuid:` resolve inside the document.
fn is_uuid(id: &str) -> bool {
    id.len() == 36 && id.bytes().enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

/// The resources of a bundle, each byte for byte as it was written.
///
/// # Errors
/// Bytes that are not one Bundle, or an entry without a resource.
pub fn read_bundle(bytes: &[u8]) -> Result<Vec<Vec<u8>>, ReadError> {
    let envelope = read_envelope(bytes).map_err(|error| match error {
        Unreadable::Ends(at) => ReadError::Truncated(at),
        Unreadable::Wrong(at, reason) => ReadError::NotABundle { at, reason },
    })?;
    if let Some((at, _)) = envelope.followed_by {
        return Err(ReadError::NotABundle { at, reason: "something follows its end" });
    }
    if !envelope.is_bundle {
        return Err(ReadError::NotABundle { at: 0, reason: "its resourceType is not Bundle" });
    }
    let resource = |(index, entry): (usize, Result<Entry, _>)| {
        let found = entry.map_err(|reason| ReadError::Entry { index, reason })?;
        Ok(bytes.get(found.resource).unwrap_or_default().to_vec())
    };
    envelope.entries.into_iter().enumerate().map(resource).collect()
}
