//! What people read and type to tell apart: patients of one name, versions of one record, files by the names that they were given.

use crate::{
    chart,
    world::{Home, World, text, until},
};

/// A patient called maria, whatever its home is called, with one result.
fn maria(world: &World, home: &str) -> Home {
    let patient = world.bare(home);
    patient.json(&["init", "patient", "--name", "maria", "--no-passphrase", "--recovery-file", &world.name(&format!("{home}.words"))]);
    patient.json(&["import", &world.write(&format!("{home}.json"), &chart::result("same"))]);
    patient
}

#[test]
fn patients_of_one_name_are_told_apart() {
    let world = World::new();
    let patients = [maria(&world, "first"), maria(&world, "second")];
    let clinic = world.home("organization", "clinic");
    let serving = clinic.serve();
    for patient in &patients {
        patient.meets(&clinic);
        patient.grants("clinic", &[]);
        patient.json(&["sync"]);
    }
    until("the clinic has both", || clinic.records().iter().filter(|record| record["id"] == "same" && record["state"] == "readable").count() == 2);
    let ids = patients.each_ref().map(Home::ledger);
    let short = ids.each_ref().map(|id| &id[..12]);

    let listed = clinic.ok(&["records", "list"]).text();
    assert!(short.iter().all(|id| listed.lines().any(|line| line == format!("maria ({id})"))), "{listed}");
    let (named, own) = (clinic.records(), patients[0].records());
    assert!(named.iter().all(|record| record["patient_name"] == "maria") && own.iter().all(|record| record.get("patient_name").is_none()));
    for command in [&["consent", "list"][..], &["ledger", "log"]] {
        assert!(clinic.ok(command).text().lines().next().is_some_and(|titles| titles.contains("PATIENT")), "{command:?}");
        assert!(!patients[0].ok(command).text().contains("PATIENT"), "{command:?}");
    }

    let said = clinic.fails(2, &["records", "show", "Observation/same", "--patient", "maria"]);
    assert!(short.iter().all(|id| said.contains(id)), "{said}");
    clinic.fails(2, &["records", "show", "Observation/same"]);
    for (patient, id) in patients.iter().zip(short) {
        clinic.ok(&["records", "show", "Observation/same", "--patient", id]);
        assert_eq!(clinic.json(&["records", "list", "--patient", id])[0]["patient"], patient.ledger());
        patient.ok(&["records", "list", "--patient", id]);
    }
    clinic.fails(1, &["records", "list", "--patient", &short[0][..4]]);
    assert!(clinic.ok(&["audit"]).text().contains("PATIENT"));
    serving.stop();
}

#[test]
fn each_version_of_a_record_can_be_shown() {
    let world = World::new();
    let patient = world.home("patient", "maria");
    let versions = [1, 2, 3].map(|number| chart::resource("Observation/same", &format!(r#""meta":{{"versionId":"{number}"}},"status":"final""#)));
    for (number, version) in versions.iter().enumerate() {
        patient.json(&["import", &world.write(&format!("{number}.json"), version.as_bytes())]);
    }
    let shown = patient.ok(&["records", "show", "Observation/same"]);
    assert_eq!(shown.text(), versions[2]);
    assert!(shown.stderr.contains("2 other versions of Observation/same are held; name one with --document: "), "{}", shown.stderr);
    let documents: Vec<String> = patient.records().iter().filter_map(|record| record["document"].as_str().map(str::to_owned)).collect();
    let mut seen = Vec::new();
    for document in &documents {
        let one = patient.ok(&["records", "show", "Observation/same", "--document", &document[..12]]);
        assert_eq!(one.stderr, "", "it was named");
        assert_eq!(shown.stderr.contains(&document[..12]), one.text() != versions[2], "{}", shown.stderr);
        seen.push(one.text());
    }
    seen.sort();
    assert_eq!(seen, versions, "each of them, by its document");
    assert!(patient.fails(1, &["records", "show", "Observation/same", "--document", "zz"]).contains("zz"));
    assert!(patient.fails(2, &["records", "show", "Observation/same", "--document", ""]).contains("several"));
    assert!(patient.ok(&["records", "list"]).text().contains("by maria"));
}

#[test]
fn errors_name_things_as_they_were_typed() {
    let world = World::new();
    let patient = world.home("patient", "maria");
    let said = patient.fails(2, &["peer", "add", &patient.ticket()]);
    assert!(said.contains("own ticket"), "{said}");

    std::fs::create_dir_all(world.path("files/inner")).expect("a directory");
    let empty = world.name("files");
    assert!(patient.fails(1, &["import", &empty]).contains(&format!("to import in {empty}")));
    std::fs::write(world.path("files/inner/bad.json"), b"{\"resourceType\":").expect("writing");
    let import = |directory: &str| patient.command(&["import", directory]).current_dir(world.path("")).output().expect("it runs");
    for (directory, file) in [("files", "files/inner/bad.json"), ("./files/inner", "./files/inner/bad.json"), ("files/none", "files/none")] {
        let output = import(directory);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(file) && !said.contains(&text(&world.path(file))), "{said}");
    }

    let lab = world.home("organization", "lab");
    lab.json(&["card", "--out", &world.name("lab.card")]);
    patient.json(&["peer", "add", &world.name("lab.card")]);
    for command in ["preview", "grant"] {
        let said = patient.fails(2, &["consent", command, "lab", "--custodian"]);
        assert!(said.contains("lab is an organization, not a custodian"), "{command}: {said}");
    }
    for missing in [&["ledger", "verify", "none"][..], &["--passphrase-file", "none", "init", "patient", "--name", "x"], &["peer", "add", "none"]] {
        let said = world.bare("other").fails(1, missing);
        assert!(said.contains("none") && said.contains("try: "), "{missing:?}: {said}");
    }
}
