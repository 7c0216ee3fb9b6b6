//! Those who should get nothing: a stranger who knows every ledger and every hash, a custodian that is curious, a party whose consent was withdrawn.

use crate::{
    chart::{self, MARKER, set},
    probe::{Probe, Visit},
    world::{World, contains, files, until},
};

#[test]
fn a_stranger_who_knows_everything_gets_no_byte() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let (clinic, custodian) = (world.home("organization", "clinic"), world.home("custodian", "vaultco"));
    let nodes = [custodian.serve(), clinic.serve()];
    patient.meets(&custodian);
    patient.meets(&clinic);
    patient.grants("vaultco", &["--custodian"]);
    patient.grants("clinic", &[]);
    let at_home = patient.serve();
    let all = chart::documents(&patient, |_| true);
    until("everything has arrived", || {
        let held = |home| chart::stored(home, &all).iter().filter(|name| name.ends_with(".data")).count();
        held(&clinic) == all.len() && held(&custodian) == all.len()
    });
    let sealed = chart::sealed(&world, &patient, &all);
    patient.json(&["ledger", "export", &world.name("ledger")]);
    let ledger = std::fs::read(world.path("ledger")).expect("the file");

    for home in [&patient, &clinic, &custodian] {
        let ticket = home.ticket();
        let mut ignorant = Probe::new("Somebody");
        assert_eq!(ignorant.visit(&ticket, &sealed), Visit::default(), "{}", home.path().display());
        let mut stranger = Probe::new("Somebody else");
        stranger.learn(&ledger);
        assert_eq!(stranger.visit(&ticket, &sealed), Visit::default(), "{}", home.path().display());
    }
    drop(at_home);
    for node in nodes {
        node.stop();
    }
}

#[test]
fn a_custodian_keeps_everything_and_can_read_nothing() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let custodian = world.home("custodian", "vaultco");
    let serving = custodian.serve();
    patient.meets(&custodian);
    patient.grants("vaultco", &["--custodian"]);
    patient.json(&["sync"]);
    let all = chart::documents(&patient, |_| true);
    until("everything has arrived", || chart::documents(&custodian, |_| true) == all && custodian.json(&["status"])["pending"] == 0);
    let records = custodian.records();
    assert!(
        records.iter().all(|record| record["state"] == "locked" && record["title"].is_null() && record["type"].is_null() && record["sensitivity"].is_null()),
        "{records:?}"
    );
    custodian.fails(1, &["records", "show", "Observation/hba1c"]);
    custodian.run(&["records", "export", &world.name("nothing")]);
    assert!(!world.path("nothing").exists() || files(&world.path("nothing")).is_empty());
    assert_eq!(custodian.json(&["audit"]), serde_json::Value::Array(Vec::new()), "it has read nothing");
    let keys = chart::identities(&world, &custodian);
    assert!(chart::opened_by(&keys, &chart::sealed(&world, &patient, &all)).is_empty());
    assert_eq!(chart::sealed(&world, &custodian, &all), chart::sealed(&world, &patient, &all), "and it has them all");
    serving.stop();
    for needle in [MARKER, "Penicillin", "370143000", "Patient/maria"] {
        let found: Vec<_> = files(custodian.path()).into_iter().filter(|path| contains(&std::fs::read(path).expect("a file"), needle.as_bytes())).collect();
        assert!(found.is_empty(), "{needle} is in {found:?}");
    }
}

#[test]
fn a_party_gets_bytes_only_while_its_grant_holds() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let custodian = world.home("custodian", "vaultco");
    let keeping = custodian.serve();
    patient.meets(&custodian);
    patient.grants("vaultco", &["--custodian"]);
    let mut clinic = Probe::new("clinic");
    patient.json(&["peer", "add", &world.write("clinic.card", &clinic.card()), "--alias", "clinic"]);
    let grant = patient.grants("clinic", &["--read", "general"]);
    let serving = patient.serve();
    let all = chart::documents(&patient, |_| true);
    until("the custodian has everything", || chart::documents(&custodian, |_| true) == all && custodian.json(&["status"])["pending"] == 0);
    let sealed = chart::sealed(&world, &patient, &all);
    let general = chart::documents(&patient, |record| record["sensitivity"] == "general");

    let first = clinic.visit(&patient.ticket(), &sealed);
    assert_eq!((first.invitations, &first.got), (1, &general), "as long as it may, it gets what it may have, and no more");
    assert!(first.entries > 0 && first.bytes > 0, "{first:?}");
    let mut again = clinic.visit(&custodian.ticket(), &sealed);
    assert!(again.bytes > 0, "{again:?}");
    again.got.retain(|document| !general.contains(document));
    assert!(again.got.is_empty(), "{again:?}");

    patient.json(&["consent", "revoke", &grant]);
    let later = world.write("later.json", &chart::result("later"));
    patient.json(&["import", &later]);
    let new = chart::documents(&patient, chart::is_one_of(&set(["Observation/later"])));
    until("the custodian has the new one", || chart::documents(&custodian, |_| true).is_superset(&new) && custodian.json(&["status"])["pending"] == 0);
    let newer = chart::sealed(&world, &patient, &new);
    for home in [&patient, &custodian] {
        let visit = clinic.visit(&home.ticket(), &newer);
        assert_eq!((visit.got.len(), visit.bytes), (0, 0), "{}: {visit:?}", home.path().display());
        let old = clinic.visit(&home.ticket(), &sealed);
        assert_eq!(old.bytes, 0, "{}: {old:?}", home.path().display());
    }
    serving.stop();
    keeping.stop();
}
