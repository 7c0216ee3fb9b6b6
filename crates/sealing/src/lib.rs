//! What chartmesh keeps secret at rest and on the wire: plain age v1 files, and nothing else.
//!
//! Everything is sealed to one post-quantum hybrid recipient (`mlkem768x25519`) or to a passphrase (`scrypt`), so that the stock age tools open it. A document is such a
//! file around zstd frames, so that `age -d | zstd -d` gives FHIR. This crate touches no file, socket or clock; it takes random bytes from the operating system. It carries out
//! "Keys" and "Sealing a document" of the protocol.

mod document;
mod file;
mod frames;
mod hybrid;
mod keys;
mod origin;
mod packed;
mod passphrase;
mod stack;
mod text;
mod xwing;

pub use document::{DocumentError, Expected, MAX_CONTENT, MAX_SEALED, OpenedDocument, SealedDocument, fits, open_document, seal_document};
pub use file::{Key, OpenError, SealError, Sealed, file_key, open, open_with_file_key, seal};
pub use frames::{LayoutError, padme};
pub use keys::{FileKey, Identity};
pub use origin::{Header, Origin};
pub use packed::{PackError, Packer, packed_length, unpack};
pub use passphrase::{DEFAULT_WORK_FACTOR, MAX_WORK_FACTOR, PassphraseError, open_passphrase, seal_passphrase};
pub use stack::wiped;
pub use text::{KeyTextError, parse_recipient, recipient_to_text};
