//! What a Publish says of each of its documents, sealed in its body: enough to list, to decide and to check a document without opening it.

use chartmesh_identity::{AuthorKey, BlobHash, from_canonical, from_known, to_canonical};
use chartmesh_records::{Compartment, ResourceFacts};
use chartmesh_sealing::{Packer, packed_length, unpack};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

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
    pub(crate) resources: Listed,
    /// The document that this is an extract of: a copy of those of its resources that some terms cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extract_of: Option<BlobHash>,
    /// That its content is a part of its one resource, and no Bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) part: Option<Part>,
}

impl Manifest {
    /// As somebody has sealed it. None if it is no manifest, or one that says more than a document or a name can have: what is made of it must fit where it did.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let manifest = from_canonical::<Self>(bytes).ok()?;
        (manifest.author_name.len() <= MAX_NAME && manifest.resources.packed.len() <= MAX_PACKED).then_some(manifest)
    }

    /// How many bytes it takes to keep or to read it, roughly: those of its list, as it is or unpacked.
    pub(crate) fn plain_length(&self) -> usize {
        let unpacked = packed_length(&self.resources.packed).and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
        unpacked.max(self.resources.packed.len())
    }
}

/// Longest name of an author, in bytes: 120 characters of a card.
const MAX_NAME: usize = 480;
/// Longest list, in bytes before packing. A document's content is no longer, and facts say less than the resource that they are of.
const MAX_LISTED: usize = 16 << 20;
/// The same after packing: one manifest fits into a body, with room to spare.
const MAX_PACKED: usize = 8 << 20;

/// What is known of a document's resources, packed: a node keeps it of every resource that it can list, and facts of the resources of one document are much alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    count: usize,
    packed: Box<[u8]>,
}

impl Listed {
    /// Packs facts. None if they are too long for one document, or there is no memory to pack them.
    pub(crate) fn new(facts: &[ResourceFacts], packer: &mut Packer) -> Option<Self> {
        let plain = Zeroizing::new(to_canonical(&facts));
        let packed = packer.pack(&plain).filter(|packed| plain.len() <= MAX_LISTED && packed.len() <= MAX_PACKED)?;
        Some(Self { count: facts.len(), packed: packed.into() })
    }

    /// The facts of all resources.
    pub(crate) fn facts(&self) -> Vec<ResourceFacts> {
        // It was packed or read before it became one.
        unpack(&self.packed, MAX_LISTED).and_then(|plain| from_known(&plain).ok()).unwrap_or_default()
    }

    /// How many resources it lists.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Its bytes, the same for the same facts by the same author.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.packed
    }
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.packed)
    }
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = ByteBuf::deserialize(deserializer)?.into_vec();
        let read = unpack(&packed, MAX_LISTED).and_then(|plain| from_canonical::<Vec<ResourceFacts>>(&plain).ok());
        let count = read.ok_or_else(|| D::Error::custom("no packed list of facts"))?.len();
        Ok(Self { count, packed: packed.into() })
    }
}

#[cfg(test)]
mod tests {
    use chartmesh_records::read_resource;

    use super::*;

    fn facts(n: usize) -> Vec<ResourceFacts> {
        let resource = |n: usize| {
            format!(r#"{{"resourceType":"Observation","id":"o{n}","status":"final","code":{{"text":"HbA1c"}},"subject":{{"reference":"Patient/p"}}}}"#)
        };
        (0..n).map(|n| read_resource(resource(n).as_bytes()).expect("a resource")).collect()
    }

    fn packer() -> Packer {
        Packer::new(3).expect("memory")
    }

    fn read(plain: &[u8]) -> Result<Listed, String> {
        let bytes = ByteBuf::from(packer().pack(plain).expect("packed"));
        from_canonical::<Listed>(&to_canonical(&bytes)).map_err(|error| error.to_string())
    }

    #[test]
    fn facts_come_back_and_take_little() {
        let facts = facts(20);
        let listed = Listed::new(&facts, &mut packer()).expect("short");
        let encoded = to_canonical(&listed);
        assert_eq!(from_canonical::<Listed>(&encoded).expect("a list"), listed);
        assert_eq!((listed.facts(), listed.len()), (facts.clone(), 20));
        // A hash of 32 bytes each does not pack.
        let plain = to_canonical(&facts).len();
        assert!(encoded.len() < plain / 4, "{} of {plain}", encoded.len());
    }

    #[test]
    fn what_is_no_list_is_refused_without_a_word_of_it() {
        for (plain, what) in [(&b"\x81\x66SECRET"[..], "texts"), (b"SECRET", "no CBOR"), (b"\x9f\xff", "another encoding")] {
            assert!(read(plain).is_err_and(|error| !error.contains("SECRET")), "{what}");
        }
        assert_eq!(read(&to_canonical(&[0u8; 0])).map(|listed| listed.len()), Ok(0));
        assert!(from_canonical::<Listed>(&to_canonical(&ByteBuf::from(b"SECRET".to_vec()))).is_err_and(|error| !error.to_string().contains("SECRET")));
        assert!(read(&vec![0x80; MAX_LISTED + 1]).is_err(), "too long, whatever it is");
    }
}
