//! Files sealed with a passphrase: age's `scrypt` recipient (C2SP age specification) with a work factor that is stated, never guessed.

use age::{DecryptError, scrypt, secrecy::SecretString};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::file::{OpenError, SealError, decrypt, encrypt};

/// Work factor for new files: N = 2^18 costs about a second and 256 MiB of memory.
pub const DEFAULT_WORK_FACTOR: u8 = 18;
/// Highest work factor that can be asked for: N = 2^22 costs about 16 seconds and 4 GiB.
pub const MAX_WORK_FACTOR: u8 = 22;

/// Why a passphrase does not open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PassphraseError {
    /// Not the passphrase it was sealed with.
    #[error("wrong passphrase")]
    Wrong,
    /// Opening it would cost more than the caller allows; both as log2 of scrypt's N.
    #[error("opening asks for scrypt work factor {required}, and at most {limit} is allowed")]
    Work {
        /// What the file asks for.
        required: u8,
        /// What is allowed.
        limit: u8,
    },
    /// Not a file of this kind, or damaged.
    #[error(transparent)]
    File(#[from] OpenError),
}

/// Seals bytes with a passphrase. `work_factor` is log2 of scrypt's N, 1 to [`MAX_WORK_FACTOR`].
pub fn seal_passphrase(plaintext: &[u8], passphrase: &str, work_factor: u8) -> Result<Vec<u8>, SealError> {
    if !(1..=MAX_WORK_FACTOR).contains(&work_factor) {
        return Err(SealError::WorkFactor(work_factor));
    }
    let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase));
    recipient.set_work_factor(work_factor);
    encrypt(plaintext, &recipient)
}

/// Opens what [`seal_passphrase`] or `age -p` made, unless it asks for more work than `max_work_factor`, log2 of scrypt's N.
pub fn open_passphrase(bytes: &[u8], passphrase: &str, max_work_factor: u8) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
    let limit = max_work_factor.min(MAX_WORK_FACTOR);
    let mut identity = scrypt::Identity::new(SecretString::from(passphrase));
    identity.set_max_work_factor(limit);
    decrypt(bytes, &Staged(identity)).map_err(|error| match error {
        DecryptError::KeyDecryptionFailed => PassphraseError::Wrong,
        DecryptError::ExcessiveWork { required, .. } => PassphraseError::Work { required, limit },
        other => PassphraseError::File(other.into()),
    })
}

/// Tells a stanza that does not decrypt, which is a wrong passphrase, from a payload that does not.
struct Staged(scrypt::Identity);

impl age::Identity for Staged {
    fn unwrap_stanza(&self, stanza: &age_core::format::Stanza) -> Option<Result<age_core::format::FileKey, DecryptError>> {
        let unwrapped = self.0.unwrap_stanza(stanza)?;
        Some(unwrapped.map_err(|error| match error {
            DecryptError::DecryptionFailed => DecryptError::KeyDecryptionFailed,
            other => other,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn opens_with_its_passphrase_alone(plaintext in proptest::collection::vec(any::<u8>(), 0..300), passphrase in ".{1,20}") {
            let bytes = seal_passphrase(&plaintext, &passphrase, 4).unwrap();
            prop_assert_eq!(&*open_passphrase(&bytes, &passphrase, 4).unwrap(), &plaintext);
            prop_assert_eq!(open_passphrase(&bytes, &format!("{passphrase}x"), 4).unwrap_err(), PassphraseError::Wrong);
        }
    }

    #[test]
    fn work_is_bounded_on_both_sides() {
        let bytes = seal_passphrase(b"x", "p", 6).unwrap();
        assert_eq!(open_passphrase(&bytes, "p", 5).unwrap_err(), PassphraseError::Work { required: 6, limit: 5 });
        assert_eq!(seal_passphrase(b"x", "p", 0).unwrap_err(), SealError::WorkFactor(0));
        assert_eq!(seal_passphrase(b"x", "p", MAX_WORK_FACTOR + 1).unwrap_err(), SealError::WorkFactor(MAX_WORK_FACTOR + 1));
    }

    #[test]
    fn a_changed_file_is_not_taken_for_a_wrong_passphrase() {
        let mut bytes = seal_passphrase(b"secret", "p", 4).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(open_passphrase(&bytes, "p", 4).unwrap_err(), PassphraseError::File(OpenError::Payload));
        let sealed = crate::seal(b"x", crate::Identity::generate().recipient()).unwrap();
        assert_eq!(open_passphrase(&sealed.bytes, "p", 4).unwrap_err(), PassphraseError::File(OpenError::NoMatch));
    }
}
