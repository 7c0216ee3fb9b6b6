//! FHIR as it comes from elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use chartmesh_records::{
    Import, Input, MAX_DOCUMENT, Outline, Resource, ResourceFacts, Sensitivity, Typed, import_with, read_bundle, read_resource, write_bundle,
};
use serde_json::Value;

use crate::generic::{assert_plain, assert_quiet};

/// A Bundle of any type, or a single resource.
pub fn bundle(bytes: &[u8]) {
    imported(bytes, Input::new("input", bytes.to_vec()));
    if let Ok(resources) = read_bundle(bytes) {
        assert!(resources.iter().all(|resource| contains(bytes, resource)), "resources are the source's bytes");
    }
    in_parts(bytes);
}

/// What came in parts is written into a bundle as it is if its outline is that of a resource: nothing of it may stand outside of its entry.
fn in_parts(bytes: &[u8]) {
    let verdicts = [1, 7, bytes.len().max(1)].map(|size| {
        let mut outline = Outline::default();
        bytes.chunks(size).for_each(|piece| outline.update(piece));
        outline.is_resource()
    });
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "however it is cut: {verdicts:?}");
    if verdicts[0] {
        let bundle = [br#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":"#, bytes, b"}]}"].concat();
        assert_eq!(read_bundle(&bundle), Ok(vec![bytes.to_vec()]));
    }
}

/// Lines of resources or Bundles.
pub fn ndjson(bytes: &[u8]) {
    imported(bytes, Input::lines("input", bytes.to_vec()));
}

/// One resource, with the typed check.
pub fn resource(bytes: &[u8]) {
    match read_resource(bytes) {
        Ok(facts) => {
            check(&facts, bytes);
            if let Typed::Lossy(path) | Typed::Failed(path) = &facts.typed {
                assert!(path.chars().count() <= 300);
                assert_plain(path);
                assert_quiet(path, values(bytes).iter().map(String::as_str));
            }
        }
        Err(reason) => assert_quiet(&reason, values(bytes).iter().map(String::as_str)),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// Imports without the typed check, which [`resource`] has.
fn imported(bytes: &[u8], input: Input) {
    let texts = values(bytes);
    let Import { drafts, refused, resources, .. } = match import_with([input], |_| Typed::Ok) {
        Ok(import) => import,
        Err(error) => return assert_quiet(&error, texts.iter().map(String::as_str)),
    };
    for refused in &refused {
        assert_quiet(&refused.reason, texts.iter().map(String::as_str));
        assert_plain(&refused.position);
    }
    let mut found = BTreeSet::new();
    for draft in &drafts {
        let held: Vec<(&ResourceFacts, &[u8])> = draft.resources.iter().map(|Resource { facts, bytes }| (facts, &bytes[..])).collect();
        for (facts, own) in &held {
            assert!(contains(bytes, own), "a resource is the source's bytes");
            check(facts, own);
            found.insert((facts.key(), facts.hash));
        }
        let written = write_bundle(&draft.compartment, &held);
        assert!(written.len() <= MAX_DOCUMENT);
        assert!(serde_json::from_slice::<Value>(&written).is_ok_and(|bundle| bundle["resourceType"] == "Bundle"), "a document is JSON");
        let again = read_bundle(&written).expect("a bundle that was just written");
        assert!(again.iter().map(Vec::as_slice).eq(held.iter().map(|(_, own)| *own)), "a bundle gives back what was written into it");
    }
    assert_eq!(found.len(), resources, "nothing that was read is lost");
}

fn check(facts: &ResourceFacts, own: &[u8]) {
    assert_eq!(&facts.hash, blake3::hash(own).as_bytes());
    assert_eq!(facts.length, own.len() as u64);
    assert!(!facts.sensitivities.is_empty());
    assert!(facts.sensitivities.len() == 1 || !facts.sensitivities.contains(&Sensitivity::General));
    assert!(!facts.labels.is_empty() && !facts.id.is_empty() && !facts.resource_type.is_empty());
    if let Some(title) = &facts.title {
        assert!(!title.is_empty() && title.chars().count() <= 200);
        assert_plain(title);
    }
}

/// Texts in JSON that may be anybody's; names of members and of types are not.
fn values(bytes: &[u8]) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(fields) => fields.iter().filter(|(name, _)| *name != "resourceType").for_each(|(_, value)| collect(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>().map_while(Result::ok) {
        collect(&value, &mut found);
    }
    found
}

/// Text within what a string in a resource may have.
fn short(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| text.len() <= 1 << 16)
}

/// Any text as the name of a code: what a list shows of it is one visible line.
pub fn title(bytes: &[u8]) {
    let Some(text) = short(bytes) else { return };
    let json = serde_json::json!({"resourceType": "Observation", "status": "final", "code": {"text": text}}).to_string();
    let facts = read(&json);
    let visible = |text: &str| text.chars().filter(|character| character.is_alphanumeric() && *character < '\u{500}').take(50).collect::<String>();
    if let Some(title) = &facts.title {
        let again = serde_json::json!({"resourceType": "Observation", "status": "final", "code": {"text": title}}).to_string();
        assert_eq!(read(&again).title.as_ref(), Some(title), "what was made fit stays as it is");
        if text.chars().count() <= 200 {
            assert_eq!(visible(title), visible(text), "letters and digits stay");
        }
    }
}

fn read(json: &str) -> ResourceFacts {
    let import = import_with([Input::new("input", json.into())], |_| Typed::Ok).expect("a resource");
    let facts = import.drafts.into_iter().flat_map(|draft| draft.resources).next().expect("one resource").facts;
    check(&facts, json.as_bytes());
    facts
}

/// The label files, read here anew: which sensitivities a code as it stands there has.
static LISTED: LazyLock<BTreeMap<(String, String), BTreeSet<String>>> = LazyLock::new(|| {
    let mut listed: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for file in [
        include_str!("../../schemas/labels/genetic.json"),
        include_str!("../../schemas/labels/hiv.json"),
        include_str!("../../schemas/labels/mental-health.json"),
        include_str!("../../schemas/labels/sexual-reproductive.json"),
        include_str!("../../schemas/labels/substance-use.json"),
        include_str!("../../schemas/labels/violence.json"),
    ] {
        let file: Value = serde_json::from_str(file).expect("a label file");
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        for (of, name) in [("codes", "code"), ("prefixes", "prefix")] {
            for code in file.get(of).and_then(Value::as_array).into_iter().flatten() {
                listed.entry((text(&code["system"]), text(&code[name]))).or_default().insert(text(&file["sensitivity"]));
            }
        }
    }
    listed
});

/// A code, `system|code`: what is on a list has that list's sensitivity, with white space around it and in either case where it is ICD.
pub fn labels(bytes: &[u8]) {
    let Some((system, code)) = short(bytes).and_then(|text| text.split_once('|')) else { return };
    let coded = |system: &str, code: &str| {
        let facts =
            read(&serde_json::json!({"resourceType": "Observation", "status": "final", "code": {"coding": [{"system": system, "code": code}]}}).to_string());
        facts.sensitivities.iter().map(ToString::to_string).collect::<BTreeSet<String>>()
    };
    let found = coded(system, code);
    if let Some(listed) = LISTED.get(&(system.to_owned(), code.to_owned())) {
        assert!(listed.is_subset(&found), "{system}|{code} is {found:?}, and listed as {listed:?}");
    }
    if !code.trim().is_empty() && !system.is_empty() && system.trim() == system {
        assert_eq!(coded(&format!(" {system}/ "), &format!(" {code}\t")), found, "white space changes no meaning");
    }
}
