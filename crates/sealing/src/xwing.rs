//! The KEM MLKEM768-X25519 (draft-connolly-cfrg-xwing-kem, "X-Wing") for the side that opens, with the private key expanded once.
//!
//! The `hpke` crate's own X-Wing expands the private key from its 32-byte seed at every decapsulation, which is most of its cost, and takes an X25519 share of low order, which the
//! age specification refuses. Sealing uses the `hpke` crate's KEM as it is.

use std::sync::Arc;

use hpke::{
    Deserializable, HpkeError, Kem, Serializable,
    hybrid_array::sizes::U32,
    kem::{SharedSecret, XWing},
    rand_core::CryptoRng,
};
use ml_kem::{Decapsulate, KeyExport, ml_kem_768};
use sha3::{Digest, Sha3_256};
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use subtle::{Choice, ConstantTimeEq};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

/// Public key of the KEM: 1216 bytes.
pub(crate) type PublicKey = <XWing as Kem>::PublicKey;
/// Encapsulated key: 1088 bytes of ML-KEM-768 and 32 of X25519.
pub(crate) type EncappedKey = <XWing as Kem>::EncappedKey;

/// XWingLabel (draft-connolly-cfrg-xwing-kem, section 5.3).
const LABEL: &[u8; 6] = br"\.//^\";
const ML_KEM_CIPHERTEXT: usize = 1088;

/// X-Wing with a [`PrivateKey`] that keeps what its seed expands to.
pub(crate) struct ExpandedXWing;

/// A private key, expanded. Clones share it; its parts are zeroized when the last one goes.
#[derive(Clone)]
pub(crate) struct PrivateKey(Arc<Expanded>);

struct Expanded {
    seed: Zeroizing<[u8; 32]>,
    ml_kem: ml_kem_768::DecapsulationKey,
    x25519: StaticSecret,
    x25519_public: x25519_dalek::PublicKey,
}

impl PrivateKey {
    /// expandDecapsulationKey (section 5.2): SHAKE256 of the seed gives the ML-KEM seed (64 bytes) and the X25519 scalar (32 bytes).
    pub(crate) fn expand(seed: &[u8; 32]) -> Self {
        let mut xof = Shake256::default();
        xof.update(seed);
        let mut reader = xof.finalize_xof();
        let mut ml_kem_seed = Zeroizing::new([0; 64]);
        reader.read(ml_kem_seed.as_mut());
        let mut scalar = Zeroizing::new([0; 32]);
        reader.read(scalar.as_mut());
        let x25519 = StaticSecret::from(*scalar);
        Self(Arc::new(Expanded {
            seed: Zeroizing::new(*seed),
            ml_kem: ml_kem_768::DecapsulationKey::from_seed((*ml_kem_seed).into()),
            x25519_public: x25519_dalek::PublicKey::from(&x25519),
            x25519,
        }))
    }

    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.0.seed
    }

    /// The public key's bytes: ML-KEM's 1184, then X25519's 32.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.ml_kem.encapsulation_key().to_bytes().to_vec();
        bytes.extend_from_slice(self.0.x25519_public.as_bytes());
        bytes
    }

    /// Decapsulate (section 5.4) and the check for contributory behaviour (RFC 7748, section 6.1).
    fn decapsulate(&self, enc: &EncappedKey) -> Result<Zeroizing<[u8; 32]>, HpkeError> {
        let enc = enc.to_bytes();
        let (ml_kem_part, x25519_part) = enc.split_at(ML_KEM_CIPHERTEXT);
        let ml_kem_part = ml_kem_768::Ciphertext::try_from(ml_kem_part).map_err(|_| HpkeError::DecapError)?;
        let x25519_part: [u8; 32] = x25519_part.try_into().map_err(|_| HpkeError::DecapError)?;

        let ml_kem_secret = Zeroizing::new(<[u8; 32]>::from(self.0.ml_kem.decapsulate(&ml_kem_part)));
        let x25519_secret = self.0.x25519.diffie_hellman(&x25519_dalek::PublicKey::from(x25519_part));
        if !x25519_secret.was_contributory() {
            return Err(HpkeError::DecapError);
        }

        let mut combiner = Sha3_256::new();
        Digest::update(&mut combiner, ml_kem_secret.as_slice());
        Digest::update(&mut combiner, x25519_secret.as_bytes());
        Digest::update(&mut combiner, x25519_part);
        Digest::update(&mut combiner, self.0.x25519_public.as_bytes());
        Digest::update(&mut combiner, LABEL);
        Ok(Zeroizing::new(combiner.finalize().into()))
    }
}

impl ConstantTimeEq for PrivateKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.seed().ct_eq(other.seed())
    }
}

impl Serializable for PrivateKey {
    type OutputSize = U32;

    fn write_exact(&self, buf: &mut [u8]) {
        buf.copy_from_slice(self.seed());
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        let seed = encoded.try_into().map_err(|_| HpkeError::IncorrectInputLength(32, encoded.len()))?;
        Ok(Self::expand(seed))
    }
}

impl Kem for ExpandedXWing {
    type PublicKey = PublicKey;
    type PrivateKey = PrivateKey;
    type EncappedKey = EncappedKey;
    type NSecret = U32;

    const KEM_ID: u16 = XWing::KEM_ID;

    fn sk_to_pk(sk: &PrivateKey) -> PublicKey {
        PublicKey::from_bytes(&sk.public_bytes()).expect("an expanded key's public half is one")
    }

    fn derive_keypair(ikm: &[u8]) -> (PrivateKey, PublicKey) {
        let (private, public) = XWing::derive_keypair(ikm);
        let seed = Zeroizing::new(<[u8; 32]>::from(private.to_bytes()));
        (PrivateKey::expand(&seed), public)
    }

    fn decap(sk_recip: &PrivateKey, pk_sender_id: Option<&PublicKey>, enc: &EncappedKey) -> Result<SharedSecret<Self>, HpkeError> {
        if pk_sender_id.is_some() {
            return Err(HpkeError::DecapError);
        }
        let secret = sk_recip.decapsulate(enc)?;
        Ok(SharedSecret((*secret).into()))
    }

    fn encap_with_rng(
        pk_recip: &PublicKey,
        sender_id_keypair: Option<(&PrivateKey, &PublicKey)>,
        csprng: &mut impl CryptoRng,
    ) -> Result<(SharedSecret<Self>, EncappedKey), HpkeError> {
        if sender_id_keypair.is_some() {
            return Err(HpkeError::EncapError);
        }
        let (secret, enc) = XWing::encap_with_rng(pk_recip, None, csprng)?;
        Ok((SharedSecret(secret.0), enc))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn agrees_with_the_hpke_crates_kem(seed: [u8; 32]) {
            let theirs = <XWing as Kem>::PrivateKey::from_bytes(&seed).unwrap();
            let ours = PrivateKey::expand(&seed);
            let public = XWing::sk_to_pk(&theirs);
            prop_assert_eq!(&ExpandedXWing::sk_to_pk(&ours), &public);
            let (secret, enc) = XWing::encap(&public, None).unwrap();
            prop_assert_eq!(ExpandedXWing::decap(&ours, None, &enc).unwrap().0, secret.0);
            let mut broken = enc.to_bytes();
            broken[7] ^= 1;
            let broken = EncappedKey::from_bytes(&broken).unwrap();
            prop_assert_eq!(ExpandedXWing::decap(&ours, None, &broken).unwrap().0, XWing::decap(&theirs, None, &broken).unwrap().0);
        }
    }

    #[test]
    fn a_share_of_low_order_is_refused() {
        let key = PrivateKey::expand(&[5; 32]);
        let (_, enc) = XWing::encap(&ExpandedXWing::sk_to_pk(&key), None).unwrap();
        let mut enc = enc.to_bytes();
        enc[ML_KEM_CIPHERTEXT..].fill(0);
        let enc = EncappedKey::from_bytes(&enc).unwrap();
        assert!(matches!(ExpandedXWing::decap(&key, None, &enc), Err(HpkeError::DecapError)));
    }
}
