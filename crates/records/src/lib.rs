//! From FHIR bytes to documents: import, facts, sensitivity labels, grouping, the plaintext bundle.
//!
//! A pure core: bytes in, values out. It opens no file and no socket, reads no clock and draws no
//! random number. The source's bytes are the truth: they are kept and given back byte for byte, and
//! nothing is dropped because a typed model does not understand it.

mod bundle;
mod category;
mod compartment;
mod envelope;
mod extract;
mod facts;
mod group;
mod import;
mod labels;
mod large;
mod outline;
mod resolve;
mod scan;
mod text;
mod version;

pub use bundle::{ReadError, bundle_around, read_bundle, write_bundle};
pub use chartmesh_fhir::Typed;
pub use compartment::{Category, Compartment, Sensitivity, UnknownName};
pub use facts::{Coding, Draft, Resource, ResourceFacts, ResourceKey};
pub use import::{Import, ImportError, Input, MAX_IMPORT, MAX_RESOURCES, Refused, import, import_with, read_resource};
pub use outline::Outline;
pub use version::supersedes;

/// Most bytes of one document's plaintext bundle.
pub const MAX_DOCUMENT: usize = 16 << 20;
/// Most bytes of one resource in a document: what it holds beside its envelope. A longer one travels in parts, and only its `data` strings may make it so long.
pub const MAX_RESOURCE: usize = MAX_DOCUMENT - (128 << 10);
/// Most bytes of one part of a longer resource.
pub const MAX_PART: usize = 8 << 20;
