//! Ed25519 signing keys (RFC 8032). The secret half cannot be printed, copied or forgotten in memory.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::ids::{AuthorKey, EndpointKey, PartyKey, RootKey};

/// Fills a buffer from the operating system's random source.
///
/// # Panics
/// If the operating system has none: no key made after that could be trusted.
pub(crate) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system's random source");
}

/// An Ed25519 signing key. Zeroized on drop.
pub struct SigningSecret(SigningKey);

impl SigningSecret {
    /// A new key from the operating system's random source.
    pub fn generate() -> Self {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        fill(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// The key of a 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be sealed at once.
    pub fn expose_seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The public half, used as a root of a charter.
    pub fn root(&self) -> RootKey {
        RootKey::new(self.public())
    }

    /// The public half, used as a party's key.
    pub fn party(&self) -> PartyKey {
        PartyKey::new(self.public())
    }

    /// The public half, used to sign ledger entries.
    pub fn author(&self) -> AuthorKey {
        AuthorKey::new(self.public())
    }

    /// The public half, used as an endpoint id.
    pub fn endpoint(&self) -> EndpointKey {
        EndpointKey::new(self.public())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// Checks a signature as `verify_strict` does: canonical, no small-order keys.
pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| verify_by(&key, message, signature))
}

fn verify_by(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
}

/// Public keys that have been expanded before, which takes a tenth of a verification: one key signs thousands of entries. Holds at most 1024.
#[derive(Debug, Default)]
pub struct KeyCache {
    known: BTreeMap<[u8; 32], VerifyingKey>,
}

impl KeyCache {
    const MOST: usize = 1024;

    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`verify`].
    pub(crate) fn verify(&mut self, key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
        if let Some(known) = self.known.get(key) {
            return verify_by(known, message, signature);
        }
        let Ok(expanded) = VerifyingKey::from_bytes(key) else { return false };
        if self.known.len() >= Self::MOST {
            self.known.clear();
        }
        self.known.insert(*key, expanded);
        verify_by(&expanded, message, signature)
    }
}
