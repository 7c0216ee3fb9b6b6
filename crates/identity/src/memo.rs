//! What has verified before, on this thread and only while [`remembering`]: a simulator's eighteen nodes then check one signature once. No program that serves anybody is built with it.

use std::{any::Any, cell::RefCell, collections::HashMap};

use crate::Payload;

/// Objects remembered at most; then all are forgotten.
const MOST: usize = 1 << 14;

/// The end of an object is the end of its signature, which no other object has but by intent.
type Known = HashMap<[u8; 16], Remembered>;

struct Remembered {
    bytes: Vec<u8>,
    /// Whose signature it bears, be it the one that the payload names or not.
    signer: [u8; 32],
    /// What was read of it.
    payload: Option<Box<dyn Any>>,
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// Does `work` with what this thread has signed and verified remembered, from earlier such work as well. What fails to verify is checked every time.
pub fn remembering<R>(work: impl FnOnce() -> R) -> R {
    thread_local! {
        static KEPT: RefCell<Known> = RefCell::new(Known::new());
    }
    let kept = KEPT.with_borrow_mut(std::mem::take);
    let outer = KNOWN.replace(Some(kept));
    let result = work();
    let known = KNOWN.replace(outer);
    KEPT.set(known.unwrap_or_default());
    result
}

fn find<R>(bytes: &[u8], found: impl FnOnce(&Remembered) -> Option<R>) -> Option<R> {
    KNOWN.with_borrow(|known| found(known.as_ref()?.get(bytes.last_chunk()?).filter(|known| known.bytes == bytes)?))
}

fn remember(bytes: &[u8], signer: [u8; 32], payload: Option<Box<dyn Any>>) {
    KNOWN.with_borrow_mut(|known| {
        let (Some(known), Some(end)) = (known, bytes.last_chunk()) else { return };
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(*end, Remembered { bytes: bytes.to_vec(), signer, payload });
    });
}

/// What was read of these bytes, which verify.
pub(crate) fn recall<T: Payload>(bytes: &[u8]) -> Option<T> {
    find(bytes, |known| known.payload.as_ref()?.downcast_ref::<T>()?.again())
}

/// These bytes verify.
pub(crate) fn keep<T: Payload>(bytes: &[u8], signer: [u8; 32], payload: &T) {
    if let Some(payload) = payload.again() {
        remember(bytes, signer, Some(Box::new(payload)));
    }
}

/// This thread has signed these bytes. They are read all the same.
pub(crate) fn keep_signed(bytes: &[u8], signer: [u8; 32]) {
    remember(bytes, signer, None);
}

/// Whether these bytes are known to bear the signature of this key.
pub(crate) fn is_signed(bytes: &[u8], signer: &[u8; 32]) -> bool {
    find(bytes, |known| Some(known.signer == *signer)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use crate::{AuthorKey, Certificate, Named, Payload, Signed, SignedError, SigningSecret};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Note(AuthorKey);
    impl Payload for Note {
        const TYP: &'static str = "application/chartmesh-note+cbor";

        fn again(&self) -> Option<Self> {
            Some(self.clone())
        }
    }
    impl Named for Note {
        fn signer(&self) -> [u8; 32] {
            *self.0.as_bytes()
        }
    }

    #[test]
    fn what_verified_does_again_and_what_did_not_does_not() {
        let (key, thief) = (SigningSecret::from_seed(&[3; 32]), SigningSecret::from_seed(&[4; 32]));
        let by = key.public();
        let (good, forged) = (Signed::sign(Note(key.author()), &key), Signed::sign(Note(key.author()), &thief));
        remembering(|| {
            let signed = Signed::sign(Note(thief.author()), &thief);
            assert!(is_signed(signed.as_bytes(), &thief.public()) && !is_signed(signed.as_bytes(), &by));
            assert_eq!(recall::<Note>(signed.as_bytes()), None, "signed here is not read");
            let in_anothers_name = Signed::sign(Note(key.author()), &thief);
            assert_eq!(in_anothers_name.signed().clone().verify().unwrap_err(), SignedError::Signature);
            for _ in 0..2 {
                assert_eq!(good.signed().clone().verify().unwrap(), good);
                assert_eq!(forged.signed().clone().verify().unwrap_err(), SignedError::Signature);
            }
            assert_eq!(recall::<Note>(good.as_bytes()), Some(Note(key.author())));
            assert_eq!(recall::<Note>(forged.as_bytes()), None);
            assert!(recall::<Certificate>(good.as_bytes()).is_none(), "of another kind");
            let mut changed = good.as_bytes().to_vec();
            changed[40] ^= 1;
            assert!(recall::<Note>(&changed).is_none() && !is_signed(&changed, &by), "of other bytes under the same signature");
        });
        assert_eq!(recall::<Note>(good.as_bytes()), None, "only while remembering");
        remembering(|| assert!(recall::<Note>(good.as_bytes()).is_some(), "over again"));
    }
}
