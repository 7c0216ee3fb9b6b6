//! What has verified before, on this thread and only while [`remembering`]: a simulator's eighteen nodes then check one signature once. No program that serves anybody is built with it.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    collections::HashMap,
};

use crate::Payload;

/// Objects remembered at most; then all are forgotten.
const MOST: usize = 1 << 14;

/// What was verified, by its kind and the BLAKE3 of its bytes.
type Known = HashMap<(TypeId, [u8; 32]), Box<dyn Any>>;

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// Does `work` with what this thread has verified remembered, from earlier such work as well. What fails to verify is checked every time.
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

pub(crate) fn recall<T: Payload>(bytes: &[u8]) -> Option<T> {
    KNOWN.with_borrow(|known| {
        let known = known.as_ref()?;
        known.get(&(TypeId::of::<T>(), *blake3::hash(bytes).as_bytes()))?.downcast_ref::<T>()?.again()
    })
}

pub(crate) fn keep<T: Payload>(bytes: &[u8], payload: &T) {
    KNOWN.with_borrow_mut(|known| {
        let (Some(known), Some(payload)) = (known, payload.again()) else { return };
        if known.len() >= MOST {
            known.clear();
        }
        known.insert((TypeId::of::<T>(), *blake3::hash(bytes).as_bytes()), Box::new(payload));
    });
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
        let (good, forged) = (Signed::sign(Note(key.author()), &key), Signed::sign(Note(key.author()), &thief));
        remembering(|| {
            for _ in 0..2 {
                assert_eq!(good.signed().clone().verify().unwrap(), good);
                assert_eq!(forged.signed().clone().verify().unwrap_err(), SignedError::Signature);
            }
            assert_eq!(recall::<Note>(good.as_bytes()), Some(Note(key.author())));
            assert_eq!(recall::<Note>(forged.as_bytes()), None);
            assert!(recall::<Certificate>(good.as_bytes()).is_none(), "of another kind");
        });
        assert_eq!(recall::<Note>(good.as_bytes()), None, "only while remembering");
        remembering(|| assert!(recall::<Note>(good.as_bytes()).is_some(), "over again"));
    }
}
