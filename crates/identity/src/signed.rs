//! Signed objects: COSE_Sign1 (RFC 9052, section 4.2) with `alg` Ed25519 and `typ` (RFC 9596) in the protected header, over deterministic CBOR.
//!
//! Parse, don't validate: a [`Signed`] tells nothing of its content. Only [`Verified`] does, and it can be had only by checking the signature.

use std::{fmt, marker::PhantomData, ops::Deref};

use coset::{CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, RegisteredLabelWithPrivate, TaggedCborSerializable, iana};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    cbor::{self, CborError},
    ids::{AuthorKey, PartyKey, RootKey},
    keys::{self, SigningSecret},
};

/// COSE header parameter `typ` (RFC 9596).
const TYP: i64 = 16;

/// Something that is signed: its `typ` keeps a signature over one kind of object from being taken for another.
pub trait Payload: Serialize + DeserializeOwned + 'static {
    /// Media type in the protected header.
    const TYP: &'static str;

    /// A copy, if a simulator may remember it; nothing of what holds secrets.
    fn again(&self) -> Option<Self> {
        None
    }
}

/// A payload that names its own signer.
pub trait Named: Payload {
    /// The Ed25519 public key that must have signed it.
    fn signer(&self) -> [u8; 32];
}

/// Why bytes are not a signed object that can be relied on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignedError {
    /// Not a tagged COSE_Sign1 in its one deterministic encoding.
    #[error("not a COSE_Sign1 object in deterministic encoding")]
    Envelope,
    /// Another algorithm or another kind of object.
    #[error("not an Ed25519-signed {0}")]
    Kind(&'static str),
    /// The payload is not what its `typ` says.
    #[error(transparent)]
    Payload(#[from] CborError),
    /// The signature is not that of the key that must have signed.
    #[error("the signature does not verify")]
    Signature,
}

/// An object with a signature that nobody has checked yet. On the wire, and in stores, it is the bytes of its COSE_Sign1.
pub struct Signed<T> {
    bytes: Vec<u8>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), kind: PhantomData }
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Signed<T> {}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({})", blake3::hash(&self.bytes).to_hex().get(..8).unwrap_or_default())
    }
}

impl<T> Signed<T> {
    /// From bytes as they came; nothing is looked at before verification.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, kind: PhantomData }
    }

    /// The COSE_Sign1 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T: Payload> Signed<T> {
    /// Signs a payload.
    pub fn sign(payload: T, key: &SigningSecret) -> Verified<T> {
        let protected = HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).value(TYP, ciborium::Value::Text(T::TYP.into())).build();
        let bytes = CoseSign1Builder::new()
            .protected(protected)
            .payload(cbor::to_canonical(&payload))
            .create_signature(b"", |message| key.sign(message).to_vec())
            .build()
            .to_tagged_vec()
            .expect("our own COSE_Sign1 encodes");
        Verified { payload, signed: Self::from_bytes(bytes) }
    }

    fn open(&self) -> Result<(T, CoseSign1), SignedError> {
        let cose = CoseSign1::from_tagged_slice(&self.bytes).map_err(|_| SignedError::Envelope)?;
        let header = &cose.protected.header;
        let eddsa = Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::EdDSA));
        let typ = header.rest.iter().any(|(label, value)| *label == coset::Label::Int(TYP) && value.as_text() == Some(T::TYP));
        if header.alg != eddsa || !typ {
            return Err(SignedError::Kind(T::TYP));
        }
        if !cose.unprotected.is_empty() || cose.signature.len() != 64 {
            return Err(SignedError::Envelope);
        }
        let encoded_again = cose.clone().to_tagged_vec().map_err(|_| SignedError::Envelope)?;
        let protected_again = header.clone().to_vec().map_err(|_| SignedError::Envelope)?;
        if encoded_again != self.bytes || cose.protected.original_data.as_deref() != Some(&protected_again) {
            return Err(SignedError::Envelope);
        }
        let payload = cbor::from_canonical(cose.payload.as_deref().ok_or(SignedError::Envelope)?)?;
        Ok((payload, cose))
    }

    fn check(self, payload: T, cose: &CoseSign1, key: &[u8; 32]) -> Result<Verified<T>, SignedError> {
        let checked = cose.verify_signature(b"", |signature, message| if keys::verify(key, message, signature) { Ok(()) } else { Err(()) });
        checked.map_err(|()| SignedError::Signature)?;
        Ok(Verified { payload, signed: self })
    }

    /// Checks that `root` signed this.
    pub fn verify_root(self, root: &RootKey) -> Result<Verified<T>, SignedError> {
        let (payload, cose) = self.open()?;
        self.check(payload, &cose, root.as_bytes())
    }

    /// Checks that `party` signed this.
    pub fn verify_party(self, party: &PartyKey) -> Result<Verified<T>, SignedError> {
        let (payload, cose) = self.open()?;
        self.check(payload, &cose, party.as_bytes())
    }

    /// Checks that `author` signed this.
    pub fn verify_author(self, author: &AuthorKey) -> Result<Verified<T>, SignedError> {
        let (payload, cose) = self.open()?;
        self.check(payload, &cose, author.as_bytes())
    }
}

impl<T: Named> Signed<T> {
    /// Checks that the signer whom the payload names signed this. Whether that signer has any authority is another question.
    pub fn verify(self) -> Result<Verified<T>, SignedError> {
        #[cfg(feature = "memo")]
        if let Some(payload) = crate::memo::recall(&self.bytes) {
            return Ok(Verified { payload, signed: self });
        }
        let (payload, cose) = self.open()?;
        let key = payload.signer();
        let verified = self.check(payload, &cose, &key)?;
        #[cfg(feature = "memo")]
        crate::memo::keep(verified.as_bytes(), &*verified);
        Ok(verified)
    }
}

/// An object whose signature has been checked.
#[derive(Debug)]
pub struct Verified<T> {
    payload: T,
    signed: Signed<T>,
}

impl<T: Clone> Clone for Verified<T> {
    fn clone(&self) -> Self {
        Self { payload: self.payload.clone(), signed: self.signed.clone() }
    }
}

impl<T> Verified<T> {
    /// The signed bytes, to send on or to store.
    pub fn signed(&self) -> &Signed<T> {
        &self.signed
    }

    /// The signed bytes, to send on or to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.signed.bytes
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.payload
    }
}

impl<T> PartialEq for Verified<T> {
    fn eq(&self, other: &Self) -> bool {
        self.signed == other.signed
    }
}

impl<T> Eq for Verified<T> {}

impl<T> Serialize for Signed<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(&self.bytes, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Signed<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_bytes::ByteBuf::deserialize(deserializer).map(|bytes| Self::from_bytes(bytes.into_vec()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Note {
        by: AuthorKey,
        text: String,
    }
    impl Payload for Note {
        const TYP: &'static str = "application/chartmesh-note+cbor";
    }
    impl Named for Note {
        fn signer(&self) -> [u8; 32] {
            *self.by.as_bytes()
        }
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Other {
        by: AuthorKey,
        text: String,
    }
    impl Payload for Other {
        const TYP: &'static str = "application/chartmesh-other+cbor";
    }

    fn note() -> (SigningSecret, Verified<Note>) {
        let key = SigningSecret::from_seed(&[3; 32]);
        let note = Signed::sign(Note { by: key.author(), text: "hello".into() }, &key);
        (key, note)
    }

    #[test]
    fn a_signed_object_verifies_and_another_key_does_not() {
        let (key, note) = note();
        assert_eq!(note.signed().clone().verify().unwrap(), note);
        assert!(note.signed().clone().verify_author(&key.author()).is_ok());
        let stranger = SigningSecret::from_seed(&[4; 32]);
        assert_eq!(note.signed().clone().verify_author(&stranger.author()).unwrap_err(), SignedError::Signature);
    }

    #[test]
    fn one_kind_is_never_taken_for_another() {
        let (key, note) = note();
        let other = Signed::<Other>::from_bytes(note.as_bytes().to_vec());
        assert_eq!(other.verify_author(&key.author()).unwrap_err(), SignedError::Kind(Other::TYP));
    }

    proptest! {
        #[test]
        fn any_change_of_a_byte_is_noticed(at in 0usize..400, bit in 0u8..8) {
            let (_, note) = note();
            let mut bytes = note.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(Signed::<Note>::from_bytes(bytes).verify().is_err());
        }

        #[test]
        fn nonsense_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Signed::<Note>::from_bytes(bytes).verify().is_err());
        }
    }
}
