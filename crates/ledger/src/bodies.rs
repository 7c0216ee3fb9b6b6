//! What sealed bodies say. This crate never opens one: it gives their plaintext a shape that all nodes share (schemas/chartmesh.cddl).
//!
//! Secrets in them cannot be printed or copied, and are zeroized.

use chartmesh_identity::{AccessId, BlobHash, CborError, EntryHash, LaneId, LedgerId, from_canonical, to_canonical};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The plaintext of a body, zeroized on drop.
pub fn encode<T: Serialize>(body: &T) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(to_canonical(body))
}

/// Reads the plaintext of a body.
pub fn decode<T: DeserializeOwned>(plaintext: &[u8]) -> Result<T, CborError> {
    from_canonical(plaintext)
}

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident: $len:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
        #[serde(transparent)]
        pub struct $name(#[serde(with = "serde_bytes")] [u8; $len]);

        impl $name {
            /// From its bytes.
            pub fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes, at the point of use.
            pub fn expose(&self) -> &[u8; $len] {
                &self.0
            }
        }
    )*};
}

secrets! {
    /// 32 secret bytes: the seed of an age `mlkem768x25519` identity, or a keyring secret. Zeroized on drop.
    Seed: 32;
    /// The 16-byte file key of one age file (C2SP age specification, "File key"). Zeroized on drop.
    FileKey: 16;
}

/// Of a Grant: the terms, and who it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantBody {
    /// The consent crate's terms, as it encodes them.
    pub terms: ByteBuf,
    /// The party's name as the patient knew it.
    pub party_name: String,
    /// What the access is for, in the patient's words.
    pub purpose: String,
    /// The party's signed card, so that a device that takes over knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<ByteBuf>,
}

/// Of an Envelope: the keys that it hands over.
#[derive(Serialize, Deserialize)]
pub struct EnvelopeBody {
    /// Catalogs that the party may read or write.
    pub catalogs: Vec<AccessKey>,
    /// Single documents.
    pub files: Vec<SharedFile>,
    /// Notices that the party must show, such as that of 42 CFR Part 2.
    pub notices: Vec<String>,
    /// The terms, as in the Grant.
    pub terms: ByteBuf,
}

/// Access to one catalog.
#[derive(Serialize, Deserialize)]
pub struct AccessKey {
    /// The catalog.
    pub lane: LaneId,
    /// What the catalog holds (fhir crate's compartment).
    pub compartment: String,
    /// The Epoch entry.
    pub epoch: EntryHash,
    /// Opens that epoch; none for a party that only writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Seed>,
    /// What the Admit is salted with; none for a party that only reads.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "salt")]
    pub salt: Option<[u8; 16]>,
    /// Names the access.
    pub access: AccessId,
}

mod salt {
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::ByteArray;

    #[allow(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(salt: &Option<[u8; 16]>, serializer: S) -> Result<S::Ok, S::Error> {
        match salt {
            Some(salt) => serializer.serialize_bytes(salt),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 16]>, D::Error> {
        ByteArray::<16>::deserialize(deserializer).map(|salt| Some(salt.into_array()))
    }
}

/// One document by its file key.
#[derive(Serialize, Deserialize)]
pub struct SharedFile {
    /// The Publish that names it.
    pub publish: EntryHash,
    /// The ciphertext.
    pub blob: BlobHash,
    /// Opens that ciphertext and no other.
    pub key: FileKey,
    /// The records crate's manifest of it, as it encodes that.
    pub manifest: ByteBuf,
}

/// Of an Epoch: what opens the past.
#[derive(Serialize, Deserialize)]
pub struct EpochBody {
    /// Identities of the epochs that this one supersedes.
    pub predecessors: Vec<LaneKey>,
}

/// The identity of a lane, or of an epoch of it.
#[derive(Serialize, Deserialize)]
pub struct LaneKey {
    /// The lane.
    pub lane: LaneId,
    /// The Epoch entry; none for the lane's own identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<EntryHash>,
    /// What the lane is for: the party key in hex, or a compartment's name.
    pub purpose: String,
    /// The identity's seed.
    pub identity: Seed,
}

/// Of a Key: what devices share.
#[derive(Serialize, Deserialize)]
pub struct KeyBody {
    /// Lane and epoch identities.
    pub keys: Vec<LaneKey>,
    /// The keyring itself, where the body is sealed to one device or to recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<KeyringKey>,
}

/// What opens the keyring lane and names all others.
#[derive(Serialize, Deserialize)]
pub struct KeyringKey {
    /// Of which ledger.
    pub ledger: LedgerId,
    /// The patient's name, for the card of a device that takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Derives lane and access ids.
    pub secret: Seed,
    /// Opens what is sealed to the keyring recipient.
    pub identity: Seed,
}

/// Of a Publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishBody {
    /// The records crate's manifests as it encodes them, one per document, in the header's order.
    pub manifests: Vec<ByteBuf>,
}

/// Of a Receipt: testimony of reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptBody {
    /// Who read, as the party names its people.
    pub who: String,
    /// What was read.
    pub what: Vec<String>,
    /// What for.
    pub purpose: String,
    /// Unix seconds by the party's clock.
    pub time: i64,
}

/// Of a Confirm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmBody {
    /// Which node, by its name.
    pub node: String,
    /// Whether what it held was purged as well.
    pub purged: bool,
}

/// Of a Request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestBody {
    /// The terms asked for, as the consent crate encodes them.
    pub terms: ByteBuf,
    /// Why, in the party's words.
    pub reason: String,
}
