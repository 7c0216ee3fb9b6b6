//! Sharing, and its end: what terms cover is readable byte for byte, what they except stays closed whatever is tried, and nothing that comes after a revocation can be opened.

use serde_json::Value;

use crate::{
    chart::{self, CHART, HIV, MENTAL_HEALTH, Names, SUBSTANCE_USE, set},
    world::{World, until},
};

#[test]
fn exceptions_stay_closed_and_a_revocation_ends_what_comes_after() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let source = chart::resources(&chart::bundle(CHART));
    let own = patient.records();
    let sensitivity = |wanted: &str| chart::names(&own, |record| record["sensitivity"] == wanted);
    assert_eq!(sensitivity("mental-health"), set(MENTAL_HEALTH));
    assert_eq!(sensitivity("substance-use"), set(SUBSTANCE_USE));
    assert_eq!(sensitivity("hiv"), set(HIV));
    let all: Names = source.keys().cloned().collect();
    assert_eq!(chart::readable(&patient), all);
    chart::assert_shows(&patient, &all, &source);

    let clinic = world.home("organization", "clinic");
    let serving = clinic.serve();
    patient.meets(&clinic);
    let grant = patient.grants("clinic", &["--except", "mental-health", "--except", "substance-use"]);
    patient.json(&["sync"]);
    let kept: Names = set(MENTAL_HEALTH.into_iter().chain(SUBSTANCE_USE));
    let shared: Names = all.difference(&kept).cloned().collect();
    until("the clinic has what was shared", || chart::readable(&clinic) == shared);
    chart::assert_shows(&clinic, &shared, &source);
    let (written, _) = chart::exported(&world, &clinic, "clinic-export");
    assert_eq!(written, shared.iter().map(|name| source[name].clone()).collect());

    let closed = chart::documents(&patient, chart::is_one_of(&kept));
    let open = chart::documents(&patient, chart::is_one_of(&shared));
    assert!(closed.is_disjoint(&open) && !closed.is_empty());
    let listed = clinic.json(&["records", "list"]).to_string();
    for name in &kept {
        assert!(clinic.fails(1, &["records", "show", name]).contains(name.as_str()));
        assert!(!listed.contains(name.split_once('/').expect("Type/id").1), "{name} is listed");
    }
    for document in &closed {
        assert!(clinic.fails(1, &["records", "sealed", document, "--out", &world.name("stolen.age")]).contains(&document[..8]));
        assert!(!world.path("stolen.age").exists());
    }
    assert_eq!(chart::stored(&clinic, &closed), Vec::<String>::new());
    let keys = chart::identities(&world, &clinic);
    let mut sealed = chart::sealed(&world, &patient, &closed);
    sealed.extend(chart::sealed(&world, &patient, &open));
    let opened = chart::opened_by(&keys, &sealed);
    let general = chart::documents(&patient, |record| record["sensitivity"] == "general");
    assert!(opened.is_subset(&open) && opened.is_superset(&general), "of all documents, the clinic's keys open what is shared: {opened:?}");

    let ended = patient.json(&["consent", "revoke", &grant, "--reason", "I have moved."]);
    assert_eq!(ended["state"], "revoked");
    let later = world.write("later.json", &chart::result("later"));
    assert_eq!(patient.json(&["import", &later])["published"], 1);
    patient.json(&["sync"]);
    until("the clinic confirms", || {
        patient.json(&["sync"]);
        patient.json(&["consent", "show", &grant])["confirmed"] == Value::from(vec!["clinic"])
    });
    // The patient's device is off again, and there is no custodian.
    clinic.fails(4, &["sync", "--timeout", "3s"]);
    assert_eq!(chart::readable(&clinic), shared);
    assert_eq!(clinic.json(&["consent", "list"])[0]["state"], "revoked");
    clinic.fails(1, &["records", "show", "Observation/later"]);
    let new = chart::documents(&patient, chart::is_one_of(&set(["Observation/later"])));
    assert_eq!(new.len(), 1);
    assert_eq!(chart::stored(&clinic, &new), Vec::<String>::new());
    assert!(chart::opened_by(&chart::identities(&world, &clinic), &chart::sealed(&world, &patient, &new)).is_empty());
    chart::assert_shows(&clinic, &shared, &source);
    assert!(patient.fails(1, &["consent", "revoke", &grant]).contains("revoked"));
    serving.stop();
    assert!(patient.fails(4, &["sync"]).contains("clinic"));
    assert_eq!(clinic.json(&["ledger", "verify"])["ok"], true);
    assert_eq!(patient.json(&["ledger", "verify"])["ok"], true);
}
