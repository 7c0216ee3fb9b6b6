//! Consents and terms.

use chartmesh_consent::{ConsentMeta, ConsentState, Effect, Provision, Selector, Terms, from_fhir, to_fhir};
use serde_json::Value;

use crate::generic::{assert_plain, assert_quiet, cbor};

/// Seconds since 1970: some time in 2026.
const NOW: i64 = 1_780_000_000;
const GRANTEE: &str = "Practitioner/grantee";

/// A FHIR Consent; what can be granted of it is written as a Consent again, and that reads.
pub fn consent(bytes: &[u8]) {
    let imported = match from_fhir(bytes) {
        Ok(imported) => imported,
        Err(error) => return assert_quiet(&error, texts(bytes).iter().map(String::as_str)),
    };
    assert!(depth(&imported.terms.provisions) <= 18);
    described(&imported.terms);
    let known_as: Vec<String> = imported.recipients.iter().map(|recipient| recipient.reference.clone()).collect();
    let Ok(terms) = imported.grant_to(GRANTEE, &known_as, NOW) else { return };
    described(&terms);
    let meta = ConsentMeta {
        patient: "Patient/1".into(),
        grantee: GRANTEE.into(),
        grantee_name: None,
        grant: "urn:uuid:00000000-0000-4000-8000-000000000001".into(),
        date: "2026-01-01T00:00:00Z".into(),
        state: ConsentState::Active,
    };
    if let Ok(written) = to_fhir(&terms, &meta) {
        assert!(from_fhir(&written).is_ok(), "a Consent that was just written");
    }
}

fn depth(provisions: &[Provision]) -> usize {
    provisions.iter().map(|provision| 1 + depth(&provision.exceptions)).max().unwrap_or_default()
}

fn described(terms: &Terms) {
    let lines = terms.describe();
    assert!(!lines.is_empty() && lines.iter().all(|line| !line.trim().is_empty()));
}

fn texts(bytes: &[u8]) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(fields) => fields.values().for_each(|value| collect(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_slice(bytes) {
        collect(&value, &mut found);
    }
    found
}

/// Terms as they travel, and selectors as they are typed.
pub fn terms(bytes: &[u8]) {
    if let Some(terms) = cbor::<Terms>(bytes) {
        described(&terms);
        let json = serde_json::to_vec(&terms).expect("terms as JSON");
        assert!(serde_json::from_slice::<Terms>(&json).is_ok_and(|again| again == terms), "terms come back from JSON");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Selector>() {
        Ok(selector) => {
            assert_eq!(selector.to_string(), text);
            assert!(!text.chars().any(char::is_control));
            assert_eq!(selector.provision(Effect::Deny).effect, Effect::Deny);
        }
        Err(error) => assert_plain(&error.to_string()),
    }
}
