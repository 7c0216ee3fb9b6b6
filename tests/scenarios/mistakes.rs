//! What a person overlooks or does by mistake: the program says so, and nothing is lost by it.

use std::os::unix::fs::symlink;

use crate::{
    chart,
    world::{World, contains, files, text, until},
};

#[test]
fn grants_to_one_peer_are_seen_together() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let clinic = world.home("practitioner", "clinic");
    let serving = clinic.serve();
    patient.meets(&clinic);
    let all = patient.json(&["consent", "grant", "clinic"]);
    let open = all["readable"].as_u64().expect("a number");
    assert_eq!((all["open"].as_u64(), all.get("beside")), (Some(open), None));

    let preview = patient.json(&["consent", "preview", "clinic", "--except", "hiv"]);
    assert_eq!((preview["readable"].as_u64(), preview["closed"].as_u64()), (Some(open), Some(0)), "{preview}");
    assert_eq!(preview["beside"][0], all["grant"]);
    let second = patient.json(&["consent", "grant", "clinic", "--except", "hiv"]);
    assert!(second["readable"].as_u64() < Some(open));
    assert_eq!((&second["beside"][0], second["open"].as_u64()), (&all["grant"], Some(open)));
    let said = patient.ok(&["consent", "revoke", second["grant"].as_str().expect("an id")]).text();
    assert!(said.contains("1 other grant in force") && !said.contains("Nothing new opens"), "{said}");

    patient.json(&["sync"]);
    until("the clinic has everything", || chart::readable(&clinic).len() as u64 == open);
    let listed = clinic.json(&["consent", "show", all["grant"].as_str().expect("an id")]);
    assert_eq!((listed["readable"].as_u64(), listed["open"].as_u64()), (Some(open), Some(open)), "the grantee counts what it has");
    assert!(listed["notes"][0].as_str().is_some_and(|notice| notice.starts_with("42 CFR part 2 prohibits")), "it is told what goes with the records: {listed}");
    let said = patient.ok(&["consent", "revoke", all["grant"].as_str().expect("an id")]).text();
    assert!(said.contains("Nothing new opens for clinic"), "{said}");
    serving.stop();
}

#[test]
fn a_custodian_reads_nothing_because_an_option_was_left_out() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let custodian = world.home("custodian", "keeper");
    let card = world.name("keeper.card");
    custodian.ok(&["card", "--out", &card]);
    patient.json(&["peer", "add", &card, "--alias", "keeper"]);
    for verb in ["preview", "grant"] {
        assert!(patient.fails(2, &["consent", verb, "keeper", "--except", "hiv"]).contains("--custodian"));
    }
    assert_eq!(patient.json(&["consent", "grant", "keeper", "--custodian"])["readable"], 0);
    assert_eq!(patient.json(&["consent", "preview", "keeper", "--read", "Patient/maria"])["readable"], 1, "if it is said, it is meant");
}

#[test]
fn a_provider_always_sees_whose_records_they_are() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let clinic = world.home("practitioner", "clinic");
    let serving = clinic.serve();
    patient.meets(&clinic);
    patient.grants("clinic", &[]);
    patient.json(&["sync"]);
    until("the chart is there", || chart::readable(&clinic).contains("AllergyIntolerance/penicillin"));
    let list = clinic.ok(&["records", "list", "--type", "AllergyIntolerance"]).text();
    assert!(list.starts_with("maria ("), "{list}");
    assert!(!patient.ok(&["records", "list"]).text().contains("maria ("), "on her own there is no doubt");
    serving.stop();
}

#[test]
fn what_came_too_late_is_set_aside_and_can_be_looked_at() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let hospital = world.home("organization", "hospital");
    let serving = hospital.serve();
    patient.meets(&hospital);
    let grant = patient.grants("hospital", &["--write"]);
    patient.json(&["sync"]);
    let bytes = chart::result("late");
    let file = world.write("late.json", &bytes);
    until("the hospital may write", || hospital.run(&["import", &file, "--for", "maria"]).code == 0);
    serving.stop();
    patient.json(&["consent", "revoke", &grant]);
    let serving = hospital.serve();
    patient.meets(&hospital);
    patient.json(&["sync"]);
    let late = || patient.records().into_iter().find(|record| record["id"] == "late");
    until("it has arrived", || late().is_some_and(|record| record["state"] == "quarantined"));
    assert!(patient.fails(3, &["records", "show", "Observation/late"]).contains("--quarantined"));
    let shown = patient.ok(&["records", "show", "Observation/late", "--quarantined"]).stdout;
    assert!(contains(&bytes, &shown), "byte for byte");
    // She takes it in.
    patient.json(&["import", &world.write("mine.json", &shown)]);
    assert_eq!(patient.ok(&["records", "show", "Observation/late"]).stdout, shown);
    serving.stop();
}

#[test]
fn a_directory_is_read_for_what_is_in_it() {
    let world = World::new();
    let patient = world.home("patient", "maria");
    let directory = world.path("from-hospital");
    std::fs::create_dir(&directory).expect("a directory");
    std::fs::write(directory.join("A.JSON"), chart::result("a")).expect("a file");
    std::fs::write(directory.join("read-me.txt"), "hello").expect("a file");
    symlink("..", directory.join("loop")).expect("a link");
    symlink("nowhere", directory.join("gone.json")).expect("a link");
    let info = patient.json(&["import", &text(&directory)]);
    assert_eq!((info["files"].as_u64(), info["published"].as_u64(), info["skipped"].as_u64()), (Some(1), Some(1), Some(3)), "{info}");

    let wrong = |name: &str, bytes: &[u8]| patient.fails(1, &["import", &world.write(name, bytes)]);
    assert!(wrong("empty.json", b" \n").contains("is empty"));
    assert!(wrong("latin.json", b"{\"resourceType\":\"Basic\",\"id\":\"M\xfcller\"}").contains("not UTF-8, from its byte 31 on"));
    assert!(wrong("number.json", b"{\"resourceType\":\"Basic\",\"x\":1e99999}").contains("out of range"));
    assert!(wrong("syntax.json", b"{\"resourceType\":\"Basic\",\n\"x\":NaN}").contains("line 2, column"));
}

#[test]
fn records_of_somebody_else_are_told_from_ones_own() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let own = patient.json(&["import", &world.write("own.json", &chart::result("own"))]);
    assert_eq!(own["mixed"], false, "{own}");
    let other = String::from_utf8(chart::result("other")).expect("text").replace("Patient/maria", "Patient/somebody");
    assert!(other.contains("Patient/somebody"));
    let info = patient.json(&["import", &world.write("other.json", other.as_bytes())]);
    assert_eq!((&info["mixed"], info["published"].as_u64()), (&true.into(), Some(1)), "{info}");
}

#[test]
fn one_damaged_document_does_not_hold_back_the_others() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let records = patient.records().len() as u64;
    let document = patient.records().into_iter().find(|record| record["id"] == "flu").expect("a record")["document"].as_str().expect("a hash").to_owned();
    let stored = files(patient.path()).into_iter().find(|file| text(file).contains(&document)).expect("its file");
    let mut bytes = std::fs::read(&stored).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&stored, bytes).expect("a file");
    let ran = patient.run(&["--json", "records", "export", &world.name("export")]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let info = ran.json();
    assert_eq!(info["damaged"].as_array().map(Vec::len), Some(1), "{info}");
    assert!(info["resources"].as_u64().is_some_and(|written| written > 0 && written < records), "{info}");
    assert!(ran.stderr.contains("not everything could be read"), "{}", ran.stderr);
}

#[test]
fn a_node_that_hangs_is_told_from_one_that_works() {
    let world = World::new();
    let clinic = world.home("practitioner", "clinic");
    let serving = clinic.serve();
    serving.signal("STOP");
    assert!(clinic.fails(4, &["status"]).contains("does not answer"));
    serving.signal("CONT");
    until("it works again", || clinic.run(&["status"]).code == 0);
    serving.stop();
}

#[test]
fn a_name_that_cannot_be_seen_is_no_name() {
    let world = World::new();
    for name in ["\u{200b}", "Dr Lee\u{200b}", "Dr\u{202e}eeL"] {
        let said = world.bare("nobody").fails(2, &["init", "practitioner", "--name", name, "--no-passphrase"]);
        assert!(said.contains("can be seen"), "{said}");
    }
}

#[test]
fn a_port_that_is_taken_is_told_with_what_to_do() {
    let world = World::new();
    let clinic = world.home("practitioner", "clinic");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let said = clinic.fails(1, &["serve", "--listen", &address]);
    assert!(said.contains("already in use") && said.contains("--listen names another"), "{said}");
}
