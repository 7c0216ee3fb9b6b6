use super::{chart::base64, date, later_visit, new_result, synthetic_patient};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

fn entries(bundle: &[u8]) -> Vec<Value> {
    let bundle: Value = serde_json::from_slice(bundle).expect("the generator writes JSON");
    bundle["entry"].as_array().expect("a Bundle has entries").clone()
}

fn references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("reference") {
                into.push(reference.clone());
            }
            fields.values().for_each(|v| references(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn codes(value: &Value, into: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(fields) => {
            if let (Some(Value::String(system)), Some(Value::String(code))) = (fields.get("system"), fields.get("code")) {
                into.insert((system.clone(), code.clone()));
            }
            fields.values().for_each(|v| codes(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| codes(v, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn names(entries: &[Value]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in entries {
        let (kind, id) = (&entry["resource"]["resourceType"], &entry["resource"]["id"]);
        let (Value::String(url), Value::String(kind), Value::String(id)) = (&entry["fullUrl"], kind, id) else {
            panic!("an entry has a fullUrl, and its resource a type and an id");
        };
        assert_eq!(*url, format!("urn:uuid:{id}"));
        assert!(names.insert(url.clone()), "{url} is used twice");
        names.insert(format!("{kind}/{id}"));
    }
    names
}

#[test]
fn the_chart_is_long_and_of_many_kinds() {
    let entries = entries(&synthetic_patient());
    let mut kinds = BTreeMap::new();
    for entry in &entries {
        *kinds.entry(entry["resource"]["resourceType"].to_string()).or_insert(0) += 1;
        assert_eq!(entry["request"]["url"], entry["resource"]["resourceType"]);
        assert_eq!(entry["resource"]["meta"]["tag"][0]["code"], "HTEST");
    }
    assert!((340..=500).contains(&entries.len()), "{} resources", entries.len());
    assert!(kinds.len() >= 20, "{kinds:?}");
    assert_eq!(kinds["\"Patient\""], 1);
}

#[test]
fn the_same_bytes_every_time() {
    assert_eq!(synthetic_patient(), synthetic_patient());
    assert_eq!(new_result(3), new_result(3));
    assert_ne!(new_result(3), new_result(4));
    assert_eq!(later_visit(), later_visit());
}

#[test]
fn references_resolve_and_ids_are_unique() {
    let chart = synthetic_patient();
    let everybody = names(&entries(&chart));
    let mut seen = BTreeSet::new();
    for bundle in [chart, new_result(0), new_result(1), new_result(400), later_visit()] {
        let entries = entries(&bundle);
        let own = names(&entries);
        assert!(own.is_disjoint(&seen), "an id is used by two Bundles");
        seen.extend(own.iter().cloned());
        let mut found = Vec::new();
        entries.iter().for_each(|entry| references(entry, &mut found));
        assert!(!found.is_empty());
        for reference in found {
            let within = if reference.starts_with("urn:uuid:") { &own } else { &everybody };
            assert!(within.contains(&reference), "{reference} does not resolve");
        }
    }
}

#[test]
fn every_sensitivity_of_the_lists_occurs() {
    let mut found = BTreeSet::new();
    entries(&synthetic_patient()).iter().for_each(|entry| codes(entry, &mut found));
    for list in [
        include_str!("../../../../../schemas/labels/mental-health.json"),
        include_str!("../../../../../schemas/labels/substance-use.json"),
        include_str!("../../../../../schemas/labels/sexual-reproductive.json"),
        include_str!("../../../../../schemas/labels/hiv.json"),
        include_str!("../../../../../schemas/labels/genetic.json"),
        include_str!("../../../../../schemas/labels/violence.json"),
    ] {
        let list: Value = serde_json::from_str(list).expect("a list of codes is JSON");
        let mut listed = BTreeSet::new();
        codes(&list["codes"], &mut listed);
        let both = listed.intersection(&found).count();
        assert!(both >= 2, "{} codes of {}", both, list["sensitivity"]);
    }
}

#[test]
fn later_bundles_carry_general_codes_alone() {
    let mut found = BTreeSet::new();
    for bundle in [new_result(1), later_visit()] {
        entries(&bundle).iter().for_each(|entry| codes(entry, &mut found));
    }
    let mental = include_str!("../../../../../schemas/labels/mental-health.json");
    let mental: Value = serde_json::from_str(mental).expect("a list of codes is JSON");
    let mut listed = BTreeSet::new();
    codes(&mental["codes"], &mut listed);
    assert!(found.contains(&("http://loinc.org".to_owned(), "4548-4".to_owned())));
    assert_eq!(listed.intersection(&found).count(), 0);
}

#[test]
fn dates_and_base64_follow_their_definitions() {
    assert_eq!(date(0), "1970-01-01");
    assert_eq!(date(11_016), "2000-02-29");
    assert_eq!(date(super::LAST_DAY), "2026-03-02");
    assert_eq!(date(super::LAST_DAY + 30), "2026-04-01");
    // RFC 4648, section 10.
    for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(base64(plain.as_bytes()), text);
    }
}
