//! Recovery words: 24 BIP39 words whose 32 bytes of entropy give, by HKDF-SHA256 (RFC 5869) with separate labels, the rank 0 root and the recovery identity.

use bip39::{Language, Mnemonic};
use hkdf::Hkdf;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::keys::{self, SigningSecret};

/// Why a text is not a set of recovery words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WordsError {
    /// Not 24 words.
    #[error("recovery words are 24 words, not {0}")]
    Count(usize),
    /// A word that is not on the list; counted from 1.
    #[error("word {0} is not on the BIP39 English list")]
    Unknown(usize),
    /// Words of the list, but together they do not check.
    #[error("the words do not fit together: one is wrong or two are swapped")]
    Checksum,
}

/// The 24 words. Zeroized on drop.
pub struct RecoveryWords(Zeroizing<[u8; 32]>);

impl RecoveryWords {
    /// New words from the operating system's random source.
    pub fn generate() -> Self {
        let mut entropy = Zeroizing::new([0; 32]);
        keys::fill(entropy.as_mut());
        Self(entropy)
    }

    /// Reads words separated by white space; case does not matter, and numbers in front of them are passed over.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let is_number = |word: &str| word.trim_end_matches(['.', ':', ')']).bytes().all(|byte| byte.is_ascii_digit());
        let text = Zeroizing::new(text.split_whitespace().filter(|word| !is_number(word)).collect::<Vec<_>>().join(" ").to_lowercase());
        let count = text.split(' ').filter(|word| !word.is_empty()).count();
        if count != 24 {
            return Err(WordsError::Count(count));
        }
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &text).map_err(|error| match error {
            bip39::Error::UnknownWord(index) => WordsError::Unknown(index + 1),
            _ => WordsError::Checksum,
        })?;
        let bytes = Zeroizing::new(mnemonic.to_entropy());
        let mut entropy = Zeroizing::new([0; 32]);
        entropy.copy_from_slice(&bytes);
        Ok(Self(entropy))
    }

    /// The words, to be shown or written once.
    pub fn expose(&self) -> Zeroizing<String> {
        let mnemonic = Mnemonic::from_entropy_in(Language::English, self.0.as_ref()).expect("32 bytes are 24 words");
        Zeroizing::new(mnemonic.to_string())
    }

    /// The root of rank 0.
    pub fn root(&self) -> SigningSecret {
        SigningSecret::from_seed(&self.derive(b"chartmesh/1 root rank 0"))
    }

    /// The 32-byte seed of the recovery identity (age `mlkem768x25519`).
    pub fn recovery_seed(&self) -> Zeroizing<[u8; 32]> {
        self.derive(b"chartmesh/1 recovery identity")
    }

    fn derive(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, self.0.as_ref()).expand(label, out.as_mut()).expect("32 bytes are within HKDF's bound");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_give_separate_keys() {
        let words = RecoveryWords::generate();
        let again = RecoveryWords::parse(&format!("  {}\n", words.expose().to_uppercase())).unwrap();
        assert_eq!(words.root().root(), again.root().root());
        let numbered: Vec<String> = words.expose().split(' ').enumerate().map(|(at, word)| format!("{}. {word}", at + 1)).collect();
        assert_eq!(RecoveryWords::parse(&numbered.join("  ")).unwrap().recovery_seed(), words.recovery_seed());
        assert_eq!(words.recovery_seed(), again.recovery_seed());
        assert_ne!(*words.root().expose_seed(), *words.recovery_seed());
    }

    #[test]
    fn mistakes_are_named() {
        let text = RecoveryWords(Zeroizing::new([0; 32])).expose();
        let bad = text.replacen("abandon", "abandom", 1);
        assert_eq!(RecoveryWords::parse(&bad).err(), Some(WordsError::Unknown(1)));
        assert_eq!(RecoveryWords::parse("abandon abandon").err(), Some(WordsError::Count(2)));
        assert_eq!(RecoveryWords::parse(&text.replacen("art", "zoo", 1)).err(), Some(WordsError::Checksum));
    }
}
