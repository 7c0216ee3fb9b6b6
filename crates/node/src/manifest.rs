//! What a Publish says of each of its documents, sealed in its body: enough to list, to decide and to check a document without opening it.

use chartmesh_identity::{AuthorKey, BlobHash};
use chartmesh_records::{Compartment, ResourceFacts};
use serde::{Deserialize, Serialize};

use crate::parts::Part;

/// One sealed document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// BLAKE3 of the ciphertext.
    pub(crate) blob: BlobHash,
    /// Length of the ciphertext in bytes.
    pub(crate) length: u64,
    /// Who sealed it and signs the Publish.
    pub(crate) publisher: AuthorKey,
    /// Length of the content in bytes; decompression stops there.
    pub(crate) content_length: u64,
    /// Which compartment its author meant it for; in the inbox, where a device will file it.
    pub(crate) compartment: Compartment,
    /// Who signed its origin.
    pub(crate) author: AuthorKey,
    /// The name that author goes by, in its own words.
    pub(crate) author_name: String,
    /// Unix seconds of the origin, by the author's clock.
    pub(crate) time: i64,
    /// Its resources, in the order of the Bundle's entries; the one that it is a part of.
    pub(crate) resources: Vec<ResourceFacts>,
    /// The document that this is an extract of: a copy of those of its resources that some terms cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extract_of: Option<BlobHash>,
    /// That its content is a part of its one resource, and no Bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) part: Option<Part>,
}
