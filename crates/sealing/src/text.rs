//! Identities and recipients as text: Bech32 (BIP 173) without its length limit, as the C2SP age specification writes them.

use bech32::{Bech32, Checksum, Hrp, primitives::decode::CheckedHrpstring};
use chartmesh_identity::Recipient;
use thiserror::Error;
use zeroize::Zeroizing;

const RECIPIENT: Hrp = Hrp::parse_unchecked("age1pq");
const IDENTITY: Hrp = Hrp::parse_unchecked("age-secret-key-pq-");

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyTextError {
    /// Mistyped or cut short: the checksum does not fit, or it is not Bech32 at all.
    #[error("the key is mistyped or cut short")]
    Damaged,
    /// A well-formed key of another kind, a classic age key for example.
    #[error("not a post-quantum age key of the kind {0}...")]
    Kind(&'static str),
    /// Bytes that are not a public key.
    #[error("not a valid public key")]
    Invalid,
}

/// Bech32 for data of any length: the same code, of which only the promise to find a few wrong characters is bound to 1023 of them.
enum Unbounded {}

impl Checksum for Unbounded {
    type MidstateRepr = <Bech32 as Checksum>::MidstateRepr;
    type CorrectionField = <Bech32 as Checksum>::CorrectionField;

    const ROOT_GENERATOR: Self::CorrectionField = Bech32::ROOT_GENERATOR;
    const ROOT_EXPONENTS: core::ops::RangeInclusive<usize> = Bech32::ROOT_EXPONENTS;
    const CODE_LENGTH: usize = usize::MAX;
    const CHECKSUM_LENGTH: usize = Bech32::CHECKSUM_LENGTH;
    const GENERATOR_SH: [Self::MidstateRepr; 5] = Bech32::GENERATOR_SH;
    const TARGET_RESIDUE: Self::MidstateRepr = Bech32::TARGET_RESIDUE;
}

/// `age1pq1...`, as the age tools read it: 1959 characters.
///
/// # Panics
/// Never: any recipient can be written.
pub fn recipient_to_text(recipient: &Recipient) -> String {
    bech32::encode_lower::<Unbounded>(RECIPIENT, recipient.as_bytes()).expect("no length is too long")
}

/// Reads `age1pq1...`; white space around it does not matter. The public key is checked as well, so that sealing to it cannot fail.
pub fn parse_recipient(text: &str) -> Result<Recipient, KeyTextError> {
    let bytes = decode(text, RECIPIENT, "age1pq1")?;
    let recipient = Recipient::from_bytes(&bytes).ok_or(KeyTextError::Invalid)?;
    crate::hybrid::Wrapper::new(&recipient).map(|_| recipient).ok_or(KeyTextError::Invalid)
}

pub(crate) fn identity_to_text(seed: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(bech32::encode_upper::<Unbounded>(IDENTITY, seed).expect("no length is too long"))
}

pub(crate) fn parse_identity(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyTextError> {
    let bytes = decode(text, IDENTITY, "AGE-SECRET-KEY-PQ-1")?;
    let seed: [u8; 32] = bytes.as_slice().try_into().map_err(|_| KeyTextError::Damaged)?;
    Ok(Zeroizing::new(seed))
}

fn decode(text: &str, kind: Hrp, name: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyTextError> {
    let checked = CheckedHrpstring::new::<Unbounded>(text.trim()).map_err(|_| KeyTextError::Damaged)?;
    if checked.hrp() != kind {
        return Err(KeyTextError::Kind(name));
    }
    let bytes = Zeroizing::new(checked.byte_iter().collect::<Vec<_>>());
    // Bits beyond the last byte would give one key several texts.
    let length = bech32::encoded_length::<Unbounded>(kind, &bytes).map_err(|_| KeyTextError::Damaged)?;
    (length == text.trim().len()).then_some(bytes).ok_or(KeyTextError::Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Identity;

    /// From the published test vector `hybrid`.
    const PUBLISHED: &str = "AGE-SECRET-KEY-PQ-1HZLGZUPT4ETPKDEV8HSGFDCYZ4E522W0A7PU2LHT8EH9W6YLNC3SW78XKG";

    #[test]
    fn recipients_read_back() {
        let identity = Identity::generate();
        let text = recipient_to_text(identity.recipient());
        assert!(text.starts_with("age1pq1"));
        assert_eq!(text.len(), 1959);
        assert_eq!(parse_recipient(&format!("\t{text}\n")), Ok(identity.recipient().clone()));
        assert_eq!(parse_recipient(&text.to_uppercase()), Ok(identity.recipient().clone()));
    }

    #[test]
    fn the_published_identity_is_read_and_written_alike() {
        let identity = Identity::from_bech32(PUBLISHED).ok().unwrap();
        assert_eq!(identity.to_bech32().as_str(), PUBLISHED);
    }

    #[test]
    fn other_keys_are_named() {
        let classic = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0";
        assert_eq!(Identity::from_bech32(classic).err(), Some(KeyTextError::Kind("AGE-SECRET-KEY-PQ-1")));
        assert_eq!(parse_recipient(PUBLISHED), Err(KeyTextError::Kind("age1pq1")));
        let no_key = Recipient::from_bytes(&[0xff; Recipient::LEN]).unwrap();
        assert_eq!(parse_recipient(&recipient_to_text(&no_key)), Err(KeyTextError::Invalid));
        assert_eq!(parse_identity(&PUBLISHED.replace("HZLG", "HZLL")).err(), Some(KeyTextError::Damaged));
        assert_eq!(Identity::from_bech32("").err(), Some(KeyTextError::Damaged));
    }

    proptest! {
        #[test]
        fn a_wrong_character_is_noticed(at in 19usize..77, to in "[AC-HJ-NP-Z2-9]") {
            let mut text = PUBLISHED.to_owned();
            prop_assume!(text.as_bytes().get(at).is_some_and(|from| *from != to.as_bytes()[0]));
            text.replace_range(at..=at, &to);
            prop_assert!(Identity::from_bech32(&text).is_err());
        }
    }
}
