//! Every decoder of bytes that come from elsewhere, with what must hold whatever the bytes are.
//!
//! Each function is one target: it hands its input to a decoder and panics if the decoder does, or if one of these is broken: what is accepted comes out as it went in;
//! bounds hold; a refusal repeats nothing of the input; what is made for a screen has no character that steers it. The scenarios run them over the seeds in `fuzz/seeds`
//! and over mutations of those; `fuzz/` gives them to libFuzzer.

mod consents;
mod files;
mod generic;
mod keys;
mod objects;
mod records;
mod sealed;

pub use consents::{consent, terms};
pub use files::{config, control, key_file, ledger_file};
pub use keys::{key_text, ticket};
pub use objects::{body, card, charter, entry, fork_proof, frame, invitation, signed};
pub use records::{bundle, labels, ndjson, resource, title};
pub use sealed::{age, document, passphrase};

/// A decoder under test.
pub type Target = fn(&[u8]);

/// All targets by name; each has seeds in `fuzz/seeds/NAME`.
pub const TARGETS: &[(&str, Target)] = &[
    ("age", age),
    ("body", body),
    ("bundle", bundle),
    ("card", card),
    ("charter", charter),
    ("config", config),
    ("consent", consent),
    ("control", control),
    ("document", document),
    ("entry", entry),
    ("fork_proof", fork_proof),
    ("frame", frame),
    ("invitation", invitation),
    ("key_file", key_file),
    ("key_text", key_text),
    ("labels", labels),
    ("ledger_file", ledger_file),
    ("ndjson", ndjson),
    ("passphrase", passphrase),
    ("resource", resource),
    ("signed", signed),
    ("terms", terms),
    ("ticket", ticket),
    ("title", title),
];
