//! Signed objects: COSE_Sign1 (RFC 9052, section 4.2) with `alg` Ed25519 and `typ` (RFC 9596) in the protected header, over deterministic CBOR.
//!
//! Parse, don't validate: a [`Signed`] tells nothing of its content. Only [`Verified`] does, and it can be had only by checking the signature.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use coset::{CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, RegisteredLabelWithPrivate, TaggedCborSerializable, iana};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    cbor::{self, CborError},
    ids::{AuthorKey, PartyKey, RootKey},
    keys::{self, KeyCache, SigningSecret},
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

/// A signature and what it must be over: `Sig_structure` of RFC 9052, section 4.4.
struct Seal {
    message: Vec<u8>,
    signature: Vec<u8>,
}

/// Payload and signature of an object whose bytes are laid out as [`Signed::sign`] lays them out, which is all that ever comes from honest nodes: there coset has nothing to say.
fn plain<'a>(bytes: &'a [u8], typ: &str) -> Option<(&'a [u8], Seal)> {
    fn bytes_at(at: &[u8]) -> Option<(&[u8], &[u8])> {
        let (major, length, rest) = cbor::head(at)?;
        (major == 2).then(|| rest.split_at_checked(usize::try_from(length).ok()?)).flatten()
    }
    // {1: -8, 16: typ}
    let mut protected = vec![0xa2, 0x01, 0x27, 0x10];
    cbor::put_head(&mut protected, 3, typ.len() as u64);
    protected.extend(typ.as_bytes());

    let (found, rest) = bytes_at(bytes.strip_prefix(&[0xd2, 0x84])?)?;
    let (payload, rest) = bytes_at(rest.strip_prefix(&[0xa0])?)?;
    let (signature, rest) = bytes_at(rest)?;
    if found != protected || signature.len() != 64 || !rest.is_empty() {
        return None;
    }
    let mut message = Vec::with_capacity(payload.len() + protected.len() + 24);
    message.extend(b"\x84\x6aSignature1");
    cbor::put_head(&mut message, 2, protected.len() as u64);
    message.extend(&protected);
    message.push(0x40);
    cbor::put_head(&mut message, 2, payload.len() as u64);
    message.extend(payload);
    Some((payload, Seal { message, signature: signature.to_vec() }))
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
        #[cfg(feature = "memo")]
        crate::memo::keep_signed(&bytes, key.public());
        Verified { payload, signed: Self::from_bytes(bytes) }
    }

    fn open(&self) -> Result<(T, Seal), SignedError> {
        let (payload, seal) = match plain(&self.bytes, T::TYP) {
            Some((payload, seal)) => (Cow::Borrowed(payload), seal),
            None => self.open_any()?,
        };
        Ok((cbor::from_canonical(&payload)?, seal))
    }

    /// With protected headers other than those that [`Signed::sign`] writes, or not to be accepted at all.
    fn open_any(&self) -> Result<(Cow<'_, [u8]>, Seal), SignedError> {
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
        let seal = Seal { message: cose.tbs_data(b""), signature: cose.signature };
        Ok((Cow::Owned(cose.payload.ok_or(SignedError::Envelope)?), seal))
    }

    fn check(self, payload: T, seal: &Seal, key: &[u8; 32]) -> Result<Verified<T>, SignedError> {
        self.believe(payload, keys::verify(key, &seal.message, &seal.signature))
    }

    fn believe(self, payload: T, verifies: bool) -> Result<Verified<T>, SignedError> {
        if verifies { Ok(Verified { payload, signed: self }) } else { Err(SignedError::Signature) }
    }

    /// Checks that `root` signed this.
    pub fn verify_root(self, root: &RootKey) -> Result<Verified<T>, SignedError> {
        let (payload, seal) = self.open()?;
        self.check(payload, &seal, root.as_bytes())
    }

    /// Checks that `party` signed this.
    pub fn verify_party(self, party: &PartyKey) -> Result<Verified<T>, SignedError> {
        let (payload, seal) = self.open()?;
        self.check(payload, &seal, party.as_bytes())
    }

    /// Checks that `author` signed this.
    pub fn verify_author(self, author: &AuthorKey) -> Result<Verified<T>, SignedError> {
        let (payload, seal) = self.open()?;
        self.check(payload, &seal, author.as_bytes())
    }
}

impl<T: Named> Signed<T> {
    /// Checks that the signer whom the payload names signed this. Whether that signer has any authority is another question.
    pub fn verify(self) -> Result<Verified<T>, SignedError> {
        self.verify_by(|key, seal| keys::verify(key, &seal.message, &seal.signature))
    }

    /// As [`Signed::verify`], remembering keys.
    pub fn verify_with(self, keys: &mut KeyCache) -> Result<Verified<T>, SignedError> {
        self.verify_by(|key, seal| keys.verify(key, &seal.message, &seal.signature))
    }

    fn verify_by(self, verifies: impl FnOnce(&[u8; 32], &Seal) -> bool) -> Result<Verified<T>, SignedError> {
        #[cfg(feature = "memo")]
        if let Some(payload) = crate::memo::recall(&self.bytes) {
            return Ok(Verified { payload, signed: self });
        }
        let (payload, seal) = self.open()?;
        let signer = payload.signer();
        #[cfg(feature = "memo")]
        let verifies = |key: &[u8; 32], seal: &Seal| crate::memo::is_signed(&self.bytes, key) || verifies(key, seal);
        let verifies = verifies(&signer, &seal);
        let verified = self.believe(payload, verifies)?;
        #[cfg(feature = "memo")]
        crate::memo::keep(verified.as_bytes(), signer, &*verified);
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
        let mut keys = KeyCache::new();
        for _ in 0..2 {
            assert_eq!(note.signed().clone().verify_with(&mut keys).unwrap(), note);
            let mut forged = note.as_bytes().to_vec();
            *forged.last_mut().unwrap() ^= 1;
            assert_eq!(Signed::<Note>::from_bytes(forged).verify_with(&mut keys).unwrap_err(), SignedError::Signature);
        }
        let stranger = SigningSecret::from_seed(&[4; 32]);
        assert_eq!(note.signed().clone().verify_author(&stranger.author()).unwrap_err(), SignedError::Signature);
    }

    #[test]
    fn what_is_signed_here_is_read_as_coset_reads_it() {
        for text in ["hello".to_owned(), "long ".repeat(20), "longer ".repeat(100), "longest ".repeat(10_000)] {
            let key = SigningSecret::from_seed(&[3; 32]);
            let note = Signed::sign(Note { by: key.author(), text }, &key);
            let (payload, seal) = plain(note.as_bytes(), Note::TYP).expect("laid out as we do");
            let (other_payload, other_seal) = note.signed().open_any().unwrap();
            assert_eq!((payload, &seal.message, &seal.signature), (&*other_payload, &other_seal.message, &other_seal.signature));
        }
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
