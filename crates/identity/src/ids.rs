//! Every id and public key of chartmesh, made by one macro so that the compiler tells them apart.
//!
//! On the wire each is `[algorithm, bytes]` (schemas/chartmesh.cddl), so that another algorithm can be told from today's; for people it is lower-case hex.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, Unexpected},
};
use serde_bytes::ByteBuf;
use thiserror::Error;

use crate::exactly::Exactly;

/// Why a text or a byte string is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not hexadecimal, or of another length.
    #[error("a {0} is {1} hexadecimal digits")]
    Malformed(&'static str, usize),
}

fn read<'de, D: Deserializer<'de>, const N: usize>(deserializer: D, name: &'static str, algorithm: u64) -> Result<[u8; N], D::Error> {
    if deserializer.is_human_readable() {
        let text = String::deserialize(deserializer)?;
        return parse(&text, name).map_err(D::Error::custom);
    }
    let Exactly((found, bytes)) = Exactly::<(u64, ByteBuf)>::deserialize(deserializer)?;
    if found != algorithm {
        return Err(D::Error::invalid_value(Unexpected::Unsigned(found), &format!("a {name} of algorithm {algorithm}").as_str()));
    }
    bytes.as_slice().try_into().map_err(|_| D::Error::invalid_length(bytes.len(), &format!("a {name} of {N} bytes").as_str()))
}

fn parse<const N: usize>(text: &str, name: &'static str) -> Result<[u8; N], IdError> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map_err(|_| IdError::Malformed(name, N * 2))?;
    bytes.as_slice().try_into().map_err(|_| IdError::Malformed(name, N * 2))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident: $len:literal, algorithm $algorithm:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// From its bytes.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hexadecimal digits, for people; never to be compared.
            pub fn short(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text, stringify!($name)).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    return serializer.collect_str(self);
                }
                ($algorithm as u64, serde_bytes::Bytes::new(&self.0)).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                read(deserializer, stringify!($name), $algorithm).map(Self)
            }
        }
    )*};
}

ids! {
    /// A patient's ledger: BLAKE3 of version 0 of its charter.
    LedgerId: 32, algorithm 1;
    /// One version of a charter: BLAKE3 of its COSE_Sign1 bytes.
    CharterHash: 32, algorithm 1;
    /// A lane of a ledger: BLAKE3, keyed with the keyring secret, of what the lane is for.
    LaneId: 32, algorithm 1;
    /// A ledger entry: BLAKE3 of its COSE_Sign1 bytes.
    EntryHash: 32, algorithm 1;
    /// A sealed document: BLAKE3 of its ciphertext, which is also its iroh-blobs hash.
    BlobHash: 32, algorithm 1;
    /// The stable part of a contact card: BLAKE3 of its deterministic CBOR.
    CardHash: 32, algorithm 1;
    /// Ed25519 key (RFC 8032) that signs charter versions.
    RootKey: 32, algorithm 1;
    /// Ed25519 key of something that grants name: a practitioner, an organization, a custodian, or the patient itself.
    PartyKey: 32, algorithm 1;
    /// Ed25519 key that signs ledger entries: a device's, a party's, or a party's node's.
    AuthorKey: 32, algorithm 1;
    /// iroh endpoint id: the Ed25519 key of a transport identity.
    EndpointKey: 32, algorithm 1;
    /// A grant: 16 random bytes.
    GrantId: 16, algorithm 0;
    /// A grant's access to one catalog, which an Admit opens and a Bar ends: 16 bytes that nobody without the keyring can link to the grant.
    AccessId: 16, algorithm 0;
    /// A certificate of a party for one of its nodes: 16 random bytes.
    CertId: 16, algorithm 0;
}

impl From<PartyKey> for AuthorKey {
    fn from(key: PartyKey) -> Self {
        Self(key.0)
    }
}

/// age recipient of type `mlkem768x25519`: the 1216 bytes of its public key (C2SP age specification, "mlkem768x25519 recipient stanza").
///
/// On the wire `[1, bytes]`. The sealing crate gives it its Bech32 form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(Box<[u8]>);

impl Recipient {
    /// Length in bytes.
    pub const LEN: usize = 1216;

    /// From the bytes of the public key, if there are as many as there must be.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Self::LEN).then(|| Self(bytes.into()))
    }

    /// The bytes of the public key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&data_encoding::HEXLOWER.encode(&self.0));
        }
        (1u64, serde_bytes::Bytes::new(&self.0)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::<D, { Self::LEN }>(deserializer, "Recipient", 1).map(|bytes| Self(Box::new(bytes)))
    }
}

/// BLAKE3-256 of some bytes, as the id type that is asked for.
macro_rules! hashes {
    ($($name:ident)*) => {$(
        impl $name {
            /// BLAKE3-256 of the bytes.
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }
        }
    )*};
}
hashes! { LedgerId CharterHash EntryHash BlobHash CardHash }

impl CharterHash {
    /// The ledger that this hash names if it is that of version 0.
    pub fn as_ledger(&self) -> LedgerId {
        LedgerId(self.0)
    }
}

impl LaneId {
    /// The lane for `purpose` under a ledger's keyring secret: BLAKE3 in keyed mode.
    pub fn derive(keyring_secret: &[u8; 32], purpose: &[u8]) -> Self {
        Self(*blake3::keyed_hash(keyring_secret, purpose).as_bytes())
    }
}

impl GrantId {
    /// A new random id.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        crate::keys::fill(&mut bytes);
        Self(bytes)
    }
}

impl CertId {
    /// A new random id.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        crate::keys::fill(&mut bytes);
        Self(bytes)
    }
}

impl AccessId {
    /// The id of `grant` in `catalog`: the first 16 bytes of BLAKE3 keyed with the keyring secret, so that two devices agree and an outsider cannot link them.
    pub fn derive(keyring_secret: &[u8; 32], grant: &GrantId, catalog: &LaneId) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(keyring_secret);
        hasher.update(b"access").update(&grant.0).update(&catalog.0);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(bytes)
    }

    /// What an Epoch covers in place of a Bar when a device is suspended: the first 16 bytes of BLAKE3 over `chartmesh/1 suspended` and the device's key.
    pub fn of_device(device: &AuthorKey) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&blake3::Hasher::new().update(b"chartmesh/1 suspended").update(&device.0).finalize().as_bytes()[..16]);
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form_names_the_algorithm_and_refuses_others() {
        let id = LedgerId::of(b"x");
        let bytes = crate::to_canonical(&id);
        assert_eq!(bytes[..4], [0x82, 0x01, 0x58, 0x20]);
        assert_eq!(crate::from_canonical::<LedgerId>(&bytes).unwrap(), id);
        let mut other = bytes.clone();
        other[1] = 2;
        assert!(crate::from_canonical::<LedgerId>(&other).is_err());
        assert!(crate::from_canonical::<GrantId>(&bytes).is_err());
    }

    #[test]
    fn text_form_is_hex_both_ways() {
        let id = GrantId::new([7; 16]);
        assert_eq!(id.to_string().parse::<GrantId>().unwrap(), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert_eq!("07".parse::<GrantId>(), Err(IdError::Malformed("GrantId", 32)));
    }
}
