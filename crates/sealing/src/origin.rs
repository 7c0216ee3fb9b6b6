//! What a document says of itself: the author's signed origin, which outlives every re-sealing, and the header around it, which does not.

use chartmesh_identity::{AuthorKey, BlobHash, LedgerId, Named, Payload, Signed};
use serde::{Deserialize, Serialize};

/// What the author signs over a document's content. Re-sealing keeps it, so provenance survives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The ledger of the patient whom the content is about.
    pub ledger: LedgerId,
    /// BLAKE3-256 of the content: a Bundle's bytes, or those of a part of an attachment.
    #[serde(with = "content_hash")]
    pub content: [u8; 32],
    /// Media type of the content (RFC 6838): `application/fhir+json` for a Bundle, with parameters for a part.
    pub media_type: String,
    /// Security labels: the high-water mark of the content.
    pub labels: Vec<String>,
    /// Seconds since 1970-01-01 UTC by the author's clock; advisory.
    pub time: i64,
    /// Sealed documents that this one takes the place of.
    pub supersedes: Vec<BlobHash>,
    /// Who signs.
    pub author: AuthorKey,
    /// The sealed document that this one was made from, if it was.
    pub derived_from: Option<BlobHash>,
}

impl Payload for Origin {
    const TYP: &'static str = "application/chartmesh-origin+cbor";
}

impl Named for Origin {
    fn signer(&self) -> [u8; 32] {
        *self.author.as_bytes()
    }
}

/// What stands in front of the content, in the clear only for those who can open the document. Anybody who can read can also write another; the Publish entry tells which one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The ledger that the document is published in.
    pub ledger: LedgerId,
    /// The compartment that it is sealed for.
    pub compartment: String,
    /// Who sealed and published it.
    pub publisher: AuthorKey,
    /// The author's word on the content.
    pub origin: Signed<Origin>,
}

/// A BLAKE3 hash on the wire: `[1, bytes]`, as the ids have it.
mod content_hash {
    use chartmesh_identity::BlobHash;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        BlobHash::new(*hash).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        BlobHash::deserialize(deserializer).map(|hash| *hash.as_bytes())
    }
}
