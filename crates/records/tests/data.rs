//! Published data: Synthea patients, the FHIR R4 and US Core examples, International Patient Summaries.
//!
//! Read from the directory in `CHARTMESH_DATA`; without it these tests say so and do nothing.

#![allow(clippy::print_stderr, reason = "says what was skipped and what was found")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use chartmesh_records::*;
use serde_json::Value;
use serde_json::value::RawValue;

fn files(folder: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let Some(root) = std::env::var_os("CHARTMESH_DATA") else {
        eprintln!("skipped: CHARTMESH_DATA is not set");
        return None;
    };
    let folder = PathBuf::from(root).join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "{}", folder.display());
    let read = |path: PathBuf| (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(&path).expect("a file"));
    Some(paths.into_iter().map(read).collect())
}

#[derive(serde::Deserialize)]
struct Bundle<'a> {
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(serde::Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

/// The bytes of each resource of a file, found independently of the importer.
fn resources(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    let value: Value = serde_json::from_slice(bytes).expect("JSON");
    if value["resourceType"] == "Bundle" {
        let bundle: Bundle<'_> = serde_json::from_slice(bytes).expect("a bundle");
        bundle.entry.iter().filter_map(|entry| entry.resource).map(|raw| raw.get().as_bytes().to_vec()).collect()
    } else {
        vec![bytes.to_vec()]
    }
}

fn check_kept(import: &Import, expected: &BTreeSet<Vec<u8>>) {
    let mut found = BTreeSet::new();
    for draft in &import.drafts {
        let pairs: Vec<(&ResourceFacts, &[u8])> = draft.resources.iter().map(|one| (&one.facts, &one.bytes[..])).collect();
        let written = write_bundle(&draft.compartment, &pairs);
        assert!(written.len() <= MAX_DOCUMENT);
        let read = read_bundle(&written).expect("readable");
        assert_eq!(read.len(), draft.resources.len());
        for (bytes, resource) in read.into_iter().zip(&draft.resources) {
            assert_eq!(*blake3::hash(&bytes).as_bytes(), resource.facts.hash);
            assert_eq!(resource.facts.compartment(), draft.compartment);
            found.insert(bytes);
        }
    }
    assert!(found == *expected, "{} of {} resources came back as they were", found.intersection(expected).count(), expected.len());
}

#[test]
fn every_synthea_patient_is_kept_byte_for_byte() {
    let Some(files) = files("synthea") else { return };
    let (directories, patients): (Vec<_>, Vec<_>) = files.into_iter().partition(|(name, _)| name.starts_with("0_"));
    assert!(patients.len() >= 60, "{}", patients.len());
    let mut compartments: BTreeMap<String, usize> = BTreeMap::new();
    for (name, bytes) in &patients {
        let mut expected: BTreeSet<Vec<u8>> = resources(bytes).into_iter().collect();
        let own = expected.len();
        expected.extend(directories.iter().flat_map(|(_, bytes)| resources(bytes)));
        let inputs = directories.iter().chain([&(name.clone(), bytes.clone())]).map(|(name, bytes)| Input::new(name, bytes.clone())).collect::<Vec<_>>();
        let import = import_with(inputs, |_| Typed::Ok).expect("importable");
        assert_eq!(import.refused, []);
        check_kept(&import, &expected);
        assert!(import.drafts.len() < own, "{name}: {} documents for {own} resources", import.drafts.len());
        for draft in &import.drafts {
            *compartments.entry(draft.compartment.to_string()).or_default() += draft.resources.len();
        }
    }
    // Sixty lives have something of most kinds, and most of it is ordinary.
    for sensitive in ["mental-health/summary", "substance-use/summary", "sexual-reproductive/summary"] {
        assert!(compartments.contains_key(sensitive), "{sensitive} is missing in {compartments:?}");
    }
    let (general, all) =
        (compartments.iter().filter(|(name, _)| name.starts_with("general")).map(|(_, count)| count).sum::<usize>(), compartments.values().sum::<usize>());
    assert!(general * 2 > all && general < all, "{general} of {all} are general: {compartments:?}");
    eprintln!("{compartments:?}");
}

#[test]
fn the_typed_check_takes_synthea_and_finds_no_failure() {
    let Some(files) = files("synthea") else { return };
    for (name, bytes) in files.into_iter().filter(|(name, _)| !name.starts_with("0_")).take(3) {
        let import = import([Input::new(name, bytes)]).expect("importable");
        for resource in import.drafts.iter().flat_map(|draft| &draft.resources) {
            assert!(!matches!(resource.facts.typed, Typed::Failed(_)), "{:?}", resource.facts.typed);
        }
    }
}

fn check_examples(folder: &str, typed: bool) -> BTreeMap<&'static str, usize> {
    let mut outcomes = BTreeMap::new();
    let Some(files) = files(folder) else { return outcomes };
    for (name, bytes) in files {
        let expected: BTreeSet<Vec<u8>> = resources(&bytes).into_iter().collect();
        let check = |json: &chartmesh_json::Json<'_>| if typed { chartmesh_fhir::check_json(json) } else { Typed::Ok };
        let import = import_with([Input::new(&name, bytes)], check).expect("importable");
        let refused: Vec<&Refused> = import.refused.iter().filter(|refused| refused.reason != "the entry has no resource").collect();
        assert!(refused.is_empty(), "{refused:?}");
        check_kept(&import, &expected);
        for resource in import.drafts.iter().flat_map(|draft| &draft.resources) {
            let outcome = match &resource.facts.typed {
                Typed::Ok => "ok",
                Typed::Lossy(_) => "lossy",
                Typed::Failed(_) => "failed",
            };
            *outcomes.entry(outcome).or_default() += 1;
        }
    }
    eprintln!("{folder}: {outcomes:?}");
    outcomes
}

#[test]
fn every_official_example_is_kept_byte_for_byte() {
    check_examples("fhir-r4-examples", false);
}

#[test]
fn every_us_core_example_is_kept_and_typed() {
    let outcomes = check_examples("us-core", true);
    assert!(outcomes.is_empty() || outcomes["ok"] > 100, "{outcomes:?}");
}

#[test]
fn every_patient_summary_is_kept_even_where_the_typed_model_fails() {
    let outcomes = check_examples("ips", true);
    assert!(outcomes.is_empty() || (outcomes["failed"] > 0 && outcomes["ok"] > outcomes["failed"]), "{outcomes:?}");
}
