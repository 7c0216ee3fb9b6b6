//! What an entry does. On the wire `[code, arguments]`, the arguments a map.
//!
//! An action that gives is read only when every argument is known: with an argument that this version does not know it is [`Action::Unknown`], without effect (a later
//! version may have narrowed it, as the reserved `condition` on an envelope does). What takes away is read in spite of arguments that are not known.

use chartmesh_identity::{AccessId, BlobHash, EntryHash, GrantId, LaneId, PartyKey, Recipient, from_canonical, to_canonical};
use ciborium::Value;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, IgnoredAny, SeqAccess, Visitor},
};

use crate::fence::Fence;

/// A sealed document as a Publish names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blob {
    /// BLAKE3 of the ciphertext.
    pub hash: BlobHash,
    /// Length of the ciphertext in bytes.
    pub length: u64,
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $code:literal, strict $strict:literal { $($(#[doc = $field_doc:literal])* $(#[serde($($serde:tt)*)])* $field:ident: $type:ty,)* })*) => {
        /// What an entry does. All that authority needs is here, in the clear; the rest is in the sealed body.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $name { $($(#[doc = $field_doc])* $field: $type,)* },)*
            /// Something this version does not know: stored, linked and forwarded without effect.
            Unknown {
                /// Its code.
                code: String,
                /// Its arguments, deterministic CBOR.
                raw: Vec<u8>,
            },
        }

        mod arguments {
            use super::*;
            $(
                #[derive(Serialize, Deserialize)]
                pub(super) struct $name { $($(#[serde($($serde)*)])* pub(super) $field: $type,)* }
                impl $name {
                    pub(super) const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
                }
            )*
        }

        impl Action {
            /// The codes that this version knows.
            pub(crate) const CODES: &'static [&'static str] = &[$($code),*];

            /// Its code on the wire.
            pub fn code(&self) -> &str {
                match self {
                    $(Self::$name { .. } => $code,)*
                    Self::Unknown { code, .. } => code,
                }
            }

            fn read(code: String, value: Value) -> Result<Self, String> {
                let Value::Map(map) = &value else { return Err("the arguments of an action are a map".into()) };
                let knows = |fields: &[&str]| map.iter().all(|(key, _)| key.as_text().is_some_and(|key| fields.contains(&key)));
                match code.as_str() {
                    $($code if !$strict || knows(arguments::$name::FIELDS) => {
                        let arguments: arguments::$name = value.deserialized().map_err(|error| error.to_string())?;
                        // Parts of arguments are known only if they come out as they went in.
                        let raw = to_canonical(&value);
                        if $strict && to_canonical(&arguments) != raw {
                            return Ok(Self::Unknown { code, raw });
                        }
                        let arguments::$name { $($field),* } = arguments;
                        Ok(Self::$name { $($field),* })
                    })*
                    _ => Ok(Self::Unknown { code, raw: to_canonical(&value) }),
                }
            }
        }

        impl Serialize for Action {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.clone() {
                    $(Self::$name { $($field),* } => ($code, arguments::$name { $($field),* }).serialize(serializer),)*
                    Self::Unknown { code, raw } => {
                        let value: Value = from_canonical(&raw).map_err(serde::ser::Error::custom)?;
                        (code, value).serialize(serializer)
                    }
                }
            }
        }
    };
}

actions! {
    /// Keyring lane, devices: hands on lane and epoch identities, or the keyring identity itself; all in the body.
    Key = "key", strict true {}
    /// Circle, devices: access for a party. The terms are in the body.
    Grant = "grant", strict true {
        /// Names the grant for good.
        id: GrantId,
        /// Whose circle this is.
        party: PartyKey,
        /// Unix seconds at which honest nodes stop serving.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<i64>,
        /// Seconds that a custodian serves without hearing from the patient.
        max_age: u64,
    }
    /// Circle, devices: hands over identities or file keys, in the body. Names what it opens.
    Envelope = "envelope", strict true {
        /// Under which grant.
        grant: GrantId,
        /// Epoch entries whose identities it hands over: the party gets those catalogs whole.
        epochs: Vec<EntryHash>,
        /// Single documents: a Publish, and the blob of it.
        documents: Vec<(EntryHash, BlobHash)>,
        /// Catalogs in which the party may write without reading.
        catalogs: Vec<LaneId>,
    }
    /// Circle, devices: ends a grant for good.
    Revoke = "revoke", strict false {
        /// Which grant.
        grant: GrantId,
        /// The heads of the circle, devices' too, as the revoking device knew them: [`crate::Ledger::fence`].
        fence: Fence,
    }
    /// Circle, the party: testimony that somebody read under the grant; who and what is in the body.
    Receipt = "receipt", strict true {
        /// Under which grant.
        grant: GrantId,
        /// Counts the party's receipts under the grant.
        n: u64,
    }
    /// Circle, the party: it has stopped serving and purged.
    Confirm = "confirm", strict true {
        /// The Revoke that it has carried out.
        revoke: EntryHash,
    }
    /// Circle, the party: asks for access, in the body.
    Request = "request", strict true {}
    /// Catalog, devices: lets a party write here.
    Admit = "admit", strict true {
        /// Names the access for good.
        id: AccessId,
        /// [`crate::admit_hash`] of the party.
        #[serde(with = "serde_bytes")]
        party: [u8; 32],
    }
    /// Catalog, devices: ends an access for good, be it to write or to read.
    Bar = "bar", strict false {
        /// Which access.
        id: AccessId,
        /// How far the party's entries stand.
        fence: Fence,
    }
    /// Catalog, devices: a new recipient for what is sealed from now on; predecessors' identities are in the body.
    Epoch = "epoch", strict true {
        /// What documents are sealed to.
        recipient: Recipient,
        /// Epochs of this lane that are no longer to be used.
        supersedes: Vec<EntryHash>,
        /// Every Bar that was known, and every suspended device ([`crate::Ledger::to_cover`]): those do not hold this identity.
        covers: Vec<AccessId>,
        /// The heads of the lane when the epoch was made: what was published up to here to an epoch that this one supersedes is opened through it and needs no re-sealing.
        past: Fence,
    }
    /// Catalog, devices and admitted writers: documents; manifests are in the body. The header names the epoch they are sealed to.
    Publish = "publish", strict true {
        /// The sealed documents.
        documents: Vec<Blob>,
    }
    /// Catalog, devices and for its own Publish the writer: not to be shown any more.
    Withdraw = "withdraw", strict false {
        /// Which Publish.
        publish: EntryHash,
        /// Which documents of it; empty means all.
        documents: Vec<BlobHash>,
        /// Whether the ciphertext is to be deleted as well.
        erase: bool,
    }
}

impl Action {
    /// Whether it takes away: Revoke, Bar, Withdraw. Such entries stand where others of their author would not.
    pub fn takes_away(&self) -> bool {
        match self {
            Self::Revoke { .. } | Self::Bar { .. } | Self::Withdraw { .. } => true,
            Self::Key {}
            | Self::Grant { .. }
            | Self::Envelope { .. }
            | Self::Receipt { .. }
            | Self::Confirm { .. }
            | Self::Request {}
            | Self::Admit { .. }
            | Self::Epoch { .. }
            | Self::Publish { .. }
            | Self::Unknown { .. } => false,
        }
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Action;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an action: [code, arguments]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Action, A::Error> {
                let code: String = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let value: Value = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::invalid_length(3, &self));
                }
                if seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    return Err(A::Error::invalid_length(3, &self));
                }
                Action::read(code, value).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_seq(Pair)
    }
}
