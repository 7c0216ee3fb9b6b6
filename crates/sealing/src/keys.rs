//! The secrets that open things: hybrid identities and file keys. Neither can be printed, compared by accident or left in memory.

use chartmesh_identity::Recipient;
use zeroize::Zeroizing;

use crate::{
    text::{self, KeyTextError},
    xwing::PrivateKey,
};

/// An age identity of type `mlkem768x25519` (C2SP age specification). Its private key is expanded once, when it is made.
pub struct Identity {
    private: PrivateKey,
    recipient: Recipient,
}

impl Identity {
    /// A new identity from the operating system's random source.
    ///
    /// # Panics
    /// If the operating system has none: no key made after that could be trusted.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).expect("the operating system's random source");
        Self::from_seed(&seed)
    }

    /// The identity of a 32-byte seed. Any seed is one.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let private = PrivateKey::expand(seed);
        let recipient = Recipient::from_bytes(&private.public_bytes()).expect("public keys have the length of a recipient");
        Self { private, recipient }
    }

    /// The same identity for another owner; the key material is shared, not copied.
    pub fn share(&self) -> Self {
        Self { private: self.private.clone(), recipient: self.recipient.clone() }
    }

    /// The seed, to be sealed at once.
    pub fn expose_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.private.seed())
    }

    /// What is sealed to this identity is sealed to this.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// `AGE-SECRET-KEY-PQ-1...`, as the age tools read it.
    pub fn to_bech32(&self) -> Zeroizing<String> {
        text::identity_to_text(self.private.seed())
    }

    /// Reads `AGE-SECRET-KEY-PQ-1...`; white space around it does not matter.
    pub fn from_bech32(text: &str) -> Result<Self, KeyTextError> {
        text::parse_identity(text).map(|seed| Self::from_seed(&seed))
    }

    pub(crate) fn private(&self) -> &PrivateKey {
        &self.private
    }
}

/// The 16-byte key of one age file: whoever holds it opens that file and no other.
pub struct FileKey(Zeroizing<[u8; 16]>);

impl FileKey {
    /// From its bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes, to be sealed at once.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_comes_back_from_its_seed_and_its_text() {
        let identity = Identity::generate();
        let again = Identity::from_seed(&identity.expose_seed());
        assert_eq!(again.recipient(), identity.recipient());
        let text = identity.to_bech32();
        assert!(text.starts_with("AGE-SECRET-KEY-PQ-1"));
        assert_eq!(Identity::from_bech32(&format!(" {}\n", *text)).ok().unwrap().recipient(), identity.recipient());
        assert_eq!(identity.share().recipient(), identity.recipient());
        assert_ne!(Identity::generate().recipient(), identity.recipient());
    }
}
