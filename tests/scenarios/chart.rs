//! A made-up chart whose every resource is told apart by its bytes, and what can be asked of sealed documents from outside.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_sealing::Identity;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::world::{Home, World, files};

/// Stands in every resource of the made-up chart.
pub(crate) const MARKER: &str = "zebra-crossing-7731";

/// Resources by `Type/id`, each with its source's own bytes.
pub(crate) type Resources = BTreeMap<String, Vec<u8>>;

/// References.
pub(crate) type Names = BTreeSet<String>;

/// The made-up chart: general records, and some of mental health, substance use and HIV. Numbers, white space and escapes are written so that a reader who writes them anew is found out.
pub(crate) const CHART: &[(&str, &str)] = &[
    ("Patient/maria", r#""gender":"female","birthDate":"1971-04-02""#),
    ("Encounter/checkup", r#""status":"finished","class":{"code":"AMB"},"period":{"start":"2024-03-01T09:00:00+00:00"}"#),
    (
        "Condition/diabetes",
        r#""code":{"coding":[{"system":"http://snomed.info/sct","code":"44054006"}],"text":"Diabetes"},"encounter":{"reference":"Encounter/checkup"},"recordedDate":"2024-03-01""#,
    ),
    (
        "Observation/hba1c",
        r#""status":"final","code":{"coding":[{"system":"http://loinc.org","code":"4548-4"}]},"encounter":{"reference":"Encounter/checkup"},"effectiveDateTime":"2024-03-01T09:30:00+00:00","valueQuantity":{"value": 750.00 ,"unit":"\u0025"}"#,
    ),
    (
        "Observation/glucose",
        r#""status":"final","code":{"coding":[{"system":"http://loinc.org","code":"2339-0"}]},"encounter":{"reference":"Encounter/checkup"},"effectiveDateTime":"2024-03-01T09:30:00+00:00","valueQuantity":{"value":1.10e2,"unit":"mg\/dL"}"#,
    ),
    (
        "Observation/creatinine",
        r#""status":"final","code":{"coding":[{"system":"http://loinc.org","code":"2160-0"}]},"encounter":{"reference":"Encounter/checkup"},"effectiveDateTime":"2024-03-01T09:30:00+00:00","valueQuantity":{"value":0.90}"#,
    ),
    (
        "Observation/weight",
        r#""status":"final","code":{"coding":[{"system":"http://loinc.org","code":"29463-7"}]},"effectiveDateTime":"2015-06-01","valueQuantity":{"value":71.0,"unit":"kg"}"#,
    ),
    ("AllergyIntolerance/penicillin", r#""code":{"text":"Penicillin"},"recordedDate":"2012-01-05""#),
    (
        "Immunization/flu",
        r#""status":"completed","vaccineCode":{"coding":[{"system":"http://hl7.org/fhir/sid/cvx","code":"140"}]},"occurrenceDateTime":"2023-10-10""#,
    ),
    ("Encounter/therapy", r#""status":"finished","class":{"code":"AMB"},"period":{"start":"2024-04-02T10:00:00Z"}"#),
    (
        "Condition/depression",
        r#""code":{"coding":[{"system":"http://snomed.info/sct","code":"370143000"}]},"encounter":{"reference":"Encounter/therapy"},"recordedDate":"2024-04-02""#,
    ),
    (
        "MedicationRequest/sertraline",
        r#""status":"active","intent":"order","medicationCodeableConcept":{"text":"a tablet"},"reasonReference":[{"reference":"Condition/depression"}],"authoredOn":"2024-04-02""#,
    ),
    ("Condition/alcohol", r#""code":{"coding":[{"system":"http://snomed.info/sct","code":"7200002"}]},"recordedDate":"2024-05-06""#),
    ("Condition/hiv", r#""code":{"coding":[{"system":"http://snomed.info/sct","code":"165816005"}]},"recordedDate":"2024-06-07""#),
    (
        "Observation/viral-load",
        r#""status":"final","code":{"coding":[{"system":"http://loinc.org","code":"20447-9"}]},"effectiveDateTime":"2024-06-07","valueQuantity":{"value":40.0}"#,
    ),
];

/// What a label must keep apart, by the code lists.
pub(crate) const MENTAL_HEALTH: [&str; 3] = ["Condition/depression", "Encounter/therapy", "MedicationRequest/sertraline"];
/// See [`MENTAL_HEALTH`].
pub(crate) const SUBSTANCE_USE: [&str; 1] = ["Condition/alcohol"];
/// See [`MENTAL_HEALTH`].
pub(crate) const HIV: [&str; 2] = ["Condition/hiv", "Observation/viral-load"];

/// A resource of the made-up patient.
pub(crate) fn resource(reference: &str, rest: &str) -> String {
    let (kind, id) = reference.split_once('/').expect("Type/id");
    let subject = match kind {
        "Patient" => String::new(),
        "AllergyIntolerance" | "Immunization" => r#""patient":{"reference":"Patient/maria"},"#.to_owned(),
        _ => r#""subject" : {"reference":"Patient/maria"},"#.to_owned(),
    };
    format!(
        "{{ \"resourceType\":\"{kind}\",\n\t\"id\":\"{id}\",\"text\":{{\"status\":\"generated\",\"div\":\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\">{MARKER} {id}</div>\"}}, {subject}{rest} }}"
    )
}

/// A Bundle of resources of the made-up patient.
pub(crate) fn bundle(resources: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<String> = resources.iter().map(|(reference, rest)| format!("{{\"resource\" :  {}}}", resource(reference, rest))).collect();
    format!("{{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[\n{}\n]}}\n", entries.join(" ,\n")).into_bytes()
}

/// A laboratory result that is not in the chart.
pub(crate) fn result(id: &str) -> Vec<u8> {
    let rest = r#""status":"final","code":{"coding":[{"system":"http://loinc.org","code":"4548-4"}]},"effectiveDateTime":"2026-01-05T08:00:00+00:00","valueQuantity":{"value": 6.50}"#;
    bundle(&[(&format!("Observation/{id}"), rest)])
}

/// A patient's home with the made-up chart in it.
pub(crate) fn patient(world: &World, name: &str) -> Home {
    let patient = world.home("patient", name);
    let file = world.write(&format!("{name}-chart.json"), &bundle(CHART));
    let info = patient.json(&["import", &file]);
    assert_eq!((&info["refused"], info["published"].as_u64()), (&Value::Array(Vec::new()), Some(CHART.len() as u64)), "{info}");
    patient
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

/// The resources of a Bundle, or the one resource that a file is, cut out of its text.
pub(crate) fn slices(json: &[u8]) -> Vec<&[u8]> {
    let text = std::str::from_utf8(json).expect("text").trim();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let kind: Value = serde_json::from_str(text).expect("JSON");
    if kind["resourceType"] != "Bundle" {
        return vec![text.as_bytes()];
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).expect("a Bundle");
    envelope.entry.iter().filter_map(|entry| entry.resource).map(|resource| resource.get().as_bytes()).collect()
}

/// Which entries of a Bundle hold no resource.
pub(crate) fn without_resource(json: &[u8]) -> Vec<usize> {
    let value: Value = serde_json::from_slice(json).expect("JSON");
    let entries = value["entry"].as_array().filter(|_| value["resourceType"] == "Bundle");
    entries.into_iter().flatten().enumerate().filter(|(_, entry)| entry["resource"].is_null()).map(|(index, _)| index).collect()
}

/// The resources of a Bundle by `Type/id`.
pub(crate) fn resources(json: &[u8]) -> Resources {
    slices(json).into_iter().map(|bytes| (name_of(bytes), bytes.to_vec())).collect()
}

/// `Type/id` of a resource.
pub(crate) fn name_of(bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).expect("a resource");
    format!("{}/{}", value["resourceType"].as_str().unwrap_or_default(), value["id"].as_str().unwrap_or_default())
}

fn reference(record: &Value) -> Option<String> {
    Some(format!("{}/{}", record["type"].as_str()?, record["id"].as_str()?))
}

/// References of those records that fulfil something.
pub(crate) fn names(records: &[Value], wanted: impl Fn(&Value) -> bool) -> Names {
    records.iter().filter(|record| wanted(record)).filter_map(reference).collect()
}

/// References of all that a node can read.
pub(crate) fn readable(home: &Home) -> Names {
    names(&home.records(), |record| record["state"] == "readable")
}

/// Owned names.
pub(crate) fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
    names.into_iter().map(str::to_owned).collect()
}

/// Hashes of the documents that hold records which fulfil something.
pub(crate) fn documents(home: &Home, wanted: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    home.records().iter().filter(|record| wanted(record)).filter_map(|record| record["document"].as_str().map(str::to_owned)).collect()
}

/// Whether a record is one of these.
pub(crate) fn is_one_of(names: &Names) -> impl Fn(&Value) -> bool + '_ {
    |record| reference(record).is_some_and(|name| names.contains(&name))
}

/// The sealed bytes of documents that a node holds.
pub(crate) fn sealed(world: &World, home: &Home, documents: &BTreeSet<String>) -> BTreeMap<String, Vec<u8>> {
    let one = |document: &String| {
        let out = world.name("sealed.age");
        home.json(&["records", "sealed", document, "--out", &out]);
        let bytes = std::fs::read(&out).expect("the file");
        assert_eq!(blake3::hash(&bytes).to_string(), *document, "a document is named by its hash");
        (document.clone(), bytes)
    };
    documents.iter().map(one).collect()
}

/// The names of blob files below a home that belong to these documents.
pub(crate) fn stored(home: &Home, documents: &BTreeSet<String>) -> Vec<String> {
    let all = files(&home.path().join("blobs")).into_iter().filter_map(|path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
    all.filter(|name| documents.iter().any(|document| name.starts_with(document.as_str()))).collect()
}

/// Every identity that a node can be made to give away.
pub(crate) fn identities(world: &World, home: &Home) -> Vec<Identity> {
    let out = world.name("identities.txt");
    home.json(&["key", "export", "--out", &out]);
    let text = std::fs::read_to_string(&out).expect("the file");
    std::fs::remove_file(&out).expect("removing it");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| Identity::from_bech32(line).unwrap_or_else(|_| panic!("a line that is no identity"))).collect()
}

/// Of these sealed documents, those that one of the identities opens.
pub(crate) fn opened_by(identities: &[Identity], sealed: &BTreeMap<String, Vec<u8>>) -> BTreeSet<String> {
    sealed
        .iter()
        .filter(|(_, bytes)| identities.iter().any(|identity| chartmesh_sealing::open(bytes, identity).is_ok()))
        .map(|(document, _)| document.clone())
        .collect()
}

/// Fails unless a node shows each of these byte for byte.
pub(crate) fn assert_shows(home: &Home, wanted: &Names, source: &Resources) {
    for name in wanted {
        assert!(home.ok(&["records", "show", name]).stdout == source[name], "{name} differs from its source");
    }
}

/// The resources that `records export` writes, and how many files.
pub(crate) fn exported(world: &World, home: &Home, directory: &str) -> (BTreeSet<Vec<u8>>, u64) {
    let info = home.json(&["records", "export", &world.name(directory)]);
    let written = files(&world.path(directory));
    assert_eq!(info["files"].as_u64(), Some(written.len() as u64), "{info}");
    let mut found = BTreeSet::new();
    for path in &written {
        assert_eq!(crate::world::mode(path), 0o600, "{}", path.display());
        found.extend(slices(&std::fs::read(path).expect("a file")).into_iter().map(<[u8]>::to_vec));
    }
    (found, written.len() as u64)
}
