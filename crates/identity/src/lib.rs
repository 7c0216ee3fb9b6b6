//! Who is who: ids and keys as types that cannot be mixed up, objects that are worth nothing until verified, contact cards, tickets and recovery words.
//!
//! Everything signed in chartmesh is a COSE_Sign1 (RFC 9052, section 4.2) over deterministic CBOR (RFC 8949, section 4.2.1). A [`Signed`] gives no access
//! to what it says; [`Verified`] does. This crate touches no file, socket or clock.

mod card;
mod cbor;
mod certificate;
mod exactly;
mod hidden;
mod ids;
mod keys;
#[cfg(feature = "memo")]
mod memo;
mod signed;
mod ticket;
#[cfg(test)]
mod vectors;
mod words;

pub use card::{Card, CardError, Contact, Kind, Profile};
pub use cbor::{CborError, MAX_DEPTH, from_canonical, from_known, to_canonical};
pub use certificate::{Certificate, NodeRole};
pub use exactly::Exactly;
pub use hidden::is_hidden;
pub use ids::{
    AccessId, AuthorKey, BlobHash, CardHash, CertId, CharterHash, EndpointKey, EntryHash, GrantId, IdError, LaneId, LedgerId, PartyKey, Recipient, RootKey,
};
pub use keys::{KeyCache, SigningSecret};
#[cfg(feature = "memo")]
pub use memo::remembering;
pub use signed::{Named, Payload, Signed, SignedError, Verified};
pub use ticket::{Ticket, TicketError};
pub use words::{RecoveryWords, WordsError};
