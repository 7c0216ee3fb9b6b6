//! A document's header for examples and benchmarks.

use chartmesh_identity::{LedgerId, Signed, SigningSecret};
use chartmesh_sealing::{Header, Origin};

/// As a new author in an example ledger would write it.
pub(crate) fn header(content: &[u8]) -> Header {
    let author = SigningSecret::generate();
    let origin = Origin {
        ledger: LedgerId::of(b"example"),
        content: *blake3::hash(content).as_bytes(),
        media_type: "application/fhir+json".into(),
        labels: Vec::new(),
        time: 0,
        supersedes: Vec::new(),
        author: author.author(),
        derived_from: None,
    };
    let origin = Signed::sign(origin, &author).signed().clone();
    Header { ledger: LedgerId::of(b"example"), compartment: "example".into(), publisher: author.author(), origin }
}
