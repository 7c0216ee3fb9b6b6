//! The one door through which `fhir-sdk` enters chartmesh.
//!
//! Two things live here, and only non-generic functions are public, because whichever crate
//! instantiates fhir-sdk's `Deserialize` pays minutes of compile time:
//!
//! - [`check_json`]: reads a foreign resource with the typed R4B model and says what that model lost;
//! - [`author`]: typed builders for the resources chartmesh writes itself.
//!
//! Nothing here holds a foreign resource as typed data: the source's bytes are the truth, and the
//! typed model is only a check on them. The crate does no I/O and reads no clock.

pub mod author;
mod beside;
mod check;

pub use check::{Typed, check, check_json};
