//! Published data (CHARTMESH_DATA): synthetic patients shared with exceptions, and whole directories of examples, byte for byte.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    chart,
    world::{World, data, text, until},
};

/// Patients of moderate size with records on mental health, substance use, or both.
const CHOSEN: [&str; 3] = ["Garrett_Thompson", "Delbert_Williamson", "Dusty_Stracke"];

#[test]
fn synthetic_patients_are_shared_except_for_what_they_keep() {
    let Some(data) = data() else { return };
    let all = std::env::var_os("CHARTMESH_ALL").is_some();
    let mut files: Vec<PathBuf> = std::fs::read_dir(data.join("synthea")).expect("synthea").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.retain(|file| {
        let name = text(file);
        let name = name.rsplit('/').next().expect("a name");
        !name.starts_with("0_") && (all || CHOSEN.iter().any(|chosen| name.starts_with(chosen)))
    });
    assert_eq!(files.len(), if all { 60 } else { CHOSEN.len() });
    let mut kept = 0;
    for file in files {
        kept += share(&file);
    }
    assert!(kept > 0, "some patient keeps something");
}

/// Shares a patient's file except for mental health and substance use; how many resources stay closed.
fn share(file: &Path) -> usize {
    let world = World::new();
    let bytes = std::fs::read(file).expect("a file");
    let source: BTreeSet<Vec<u8>> = chart::slices(&bytes).into_iter().map(<[u8]>::to_vec).collect();
    let by_name = chart::resources(&bytes);
    let patient = world.home("patient", "patient");
    let info = patient.json(&["import", &text(file)]);
    assert_eq!(info["refused"].as_array().map(Vec::len), Some(0), "{}: {info}", file.display());
    assert_eq!(info["published"].as_u64(), Some(source.len() as u64), "{}: {info}", file.display());
    assert!(chart::exported(&world, &patient, "own").0 == source, "{}: what the patient exports differs", file.display());

    let clinic = world.home("organization", "clinic");
    let serving = clinic.serve();
    patient.meets(&clinic);
    patient.grants("clinic", &["--except", "mental-health", "--except", "substance-use"]);
    patient.json(&["sync", "--timeout", "2m"]);
    let own = patient.records();
    let is_kept = |record: &serde_json::Value| {
        let all = record["sensitivities"].as_array().expect("an array");
        all.iter().any(|one| one == "mental-health" || one == "substance-use")
    };
    let closed = chart::names(&own, is_kept);
    let shared = chart::names(&own, |record| !is_kept(record));
    until(&format!("the clinic has the {} shared records of {}", shared.len(), file.display()), || chart::readable(&clinic) == shared);
    let wanted: BTreeSet<Vec<u8>> = shared.iter().map(|name| by_name[name].clone()).collect();
    assert!(chart::exported(&world, &clinic, "shared").0 == wanted, "{}: what the clinic exports differs", file.display());
    let some: chart::Names = shared.iter().step_by(shared.len().div_ceil(12).max(1)).cloned().collect();
    chart::assert_shows(&clinic, &some, &by_name);
    for name in closed.iter().take(5) {
        clinic.fails(1, &["records", "show", name]);
    }
    let documents = chart::documents(&patient, is_kept);
    assert!(chart::stored(&clinic, &documents).is_empty());
    let keys = chart::identities(&world, &clinic);
    assert!(chart::opened_by(&keys, &chart::sealed(&world, &patient, &documents)).is_empty());
    serving.stop();
    closed.len()
}

#[test]
fn every_published_example_comes_back_byte_for_byte() {
    let Some(data) = data() else { return };
    for directory in ["fhir-r4-examples", "us-core", "ips"] {
        let world = World::new();
        let patient = world.home("patient", "patient");
        let all = data.join(directory);
        let mut files = crate::world::files(&all);
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        let info = patient.json(&["import", &text(&all)]);
        assert_eq!(info["files"].as_u64(), Some(files.len() as u64));
        let mut source = BTreeSet::new();
        let mut empty = BTreeSet::new();
        for file in &files {
            let bytes = std::fs::read(file).expect("a file");
            source.extend(chart::slices(&bytes).into_iter().map(<[u8]>::to_vec));
            let name = text(file);
            empty.extend(chart::without_resource(&bytes).into_iter().map(|index| format!("{name}: entry[{index}]")));
        }
        let refused: BTreeSet<String> =
            info["refused"].as_array().expect("an array").iter().filter_map(|refused| refused["position"].as_str().map(str::to_owned)).collect();
        assert_eq!(refused, empty, "{directory}: refused is what holds no resource, and nothing else");
        let (written, _) = chart::exported(&world, &patient, "export");
        let lost: Vec<String> = source.difference(&written).map(|bytes| chart::name_of(bytes)).take(10).collect();
        let made_up: Vec<String> = written.difference(&source).map(|bytes| chart::name_of(bytes)).take(10).collect();
        assert!(lost.is_empty() && made_up.is_empty(), "{directory}: lost {lost:?}, made up {made_up:?}");
        let listed = patient.records();
        assert!(listed.iter().all(|record| record["state"] == "readable"));
        assert!(listed.len() >= source.len(), "{directory}: {} are listed of {}", listed.len(), source.len());
    }
}

#[test]
fn privacy_consents_of_ihe_are_granted_to_whom_the_patient_says() {
    let Some(data) = data() else { return };
    let world = World::new();
    let patient = world.home("patient", "patient");
    let clinic = world.home("organization", "clinic");
    let card = world.name("clinic.card");
    clinic.ok(&["card", "--out", &card]);
    patient.json(&["peer", "add", &card, "--alias", "clinic"]);
    let mut count = 0;
    for entry in std::fs::read_dir(data.join("ihe-pcf")).expect("ihe-pcf") {
        let file = text(&entry.expect("an entry").path());
        let Some((_, name)) = file.split_once("/Consent-ex-") else { continue };
        count += 1;
        let mut args = vec!["consent", "import", &file, "--to", "clinic"];
        match name.trim_end_matches(".json") {
            // It is over.
            "consent-expired-treat" => drop(patient.fails(1, &args)),
            "consent-basic-reject" => drop(patient.fails(1, &args)),
            "consent-intermediate-purpose" | "dissent-intermediate-break-glass" => {
                assert!(patient.fails(1, &args).contains("--named"));
                args.extend(["--named", if name.starts_with("dissent") { "Group/ex-privilegedUsers" } else { "Organization/ex-org-researcher" }]);
                assert_eq!(patient.json(&args)["state"], "active");
            }
            _ => assert_eq!(patient.json(&args)["state"], "active"),
        }
    }
    assert_eq!(count, 23);
}
