//! A custodian keeps a record in circulation while the patient's device is off, and what others send meanwhile is filed when it is back.

use crate::{
    chart::{self, CHART, Names, set},
    world::{World, until},
};

#[test]
fn the_record_goes_round_while_the_patient_is_away() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let source = chart::resources(&chart::bundle(CHART));
    let (custodian, clinic) = (world.home("custodian", "vaultco"), world.home("organization", "clinic"));
    let (hospital, laboratory) = (world.home("organization", "hospital"), world.home("organization", "laboratory"));
    let keeping = custodian.serve();
    patient.meets(&custodian);
    patient.grants("vaultco", &["--custodian"]);
    for (home, terms) in [(&clinic, &["--except", "violence"][..]), (&hospital, &["--write", "--read", "all"]), (&laboratory, &["--write"])] {
        let serving = home.serve();
        patient.meets(home);
        patient.grants(home.path().file_name().and_then(|name| name.to_str()).expect("a name"), terms);
        // Nothing but the invitation is to come from the patient's own device.
        patient.json(&["sync", "--timeout", "20s"]);
        serving.stop();
    }
    patient.json(&["sync"]);

    // The patient is away from here on.
    let all: Names = source.keys().cloned().collect();
    until("the clinic has everything from the custodian", || {
        clinic.run(&["sync"]);
        chart::readable(&clinic) == all
    });
    chart::assert_shows(&clinic, &all, &source);

    let report = chart::result("from-hospital");
    assert_eq!(hospital.json(&["import", &world.write("hospital.json", &report), "--for", "maria"])["published"], 1);
    hospital.json(&["sync"]);
    clinic.json(&["sync"]);
    let from_hospital = set(["Observation/from-hospital"]);
    chart::assert_shows(&clinic, &from_hospital, &chart::resources(&report));

    let sensitive = chart::bundle(&[(
        "Observation/from-laboratory",
        r#""status":"final","code":{"coding":[{"system":"http://loinc.org","code":"20447-9"}]},"effectiveDateTime":"2026-02-05T08:00:00+00:00","valueQuantity":{"value": 20.0}"#,
    )]);
    assert_eq!(laboratory.json(&["import", &world.write("laboratory.json", &sensitive), "--for", "maria"])["published"], 1);
    assert_eq!(
        laboratory.json(&["import", &world.write("laboratory.json", &sensitive), "--for", "maria"])["unchanged"],
        1,
        "what was published is not published again"
    );
    laboratory.json(&["sync"]);
    assert!(!chart::readable(&laboratory).contains("Observation/hba1c"), "whoever may only write reads nothing");
    laboratory.fails(1, &["records", "show", "Observation/hba1c"]);
    clinic.json(&["sync"]);
    clinic.fails(1, &["records", "show", "Observation/from-laboratory"]);

    // Back again: what lies in the inbox is filed where it belongs.
    patient.json(&["sync"]);
    patient.json(&["sync"]);
    let both = set(["Observation/from-hospital", "Observation/from-laboratory"]);
    let mut own = chart::resources(&report);
    own.extend(chart::resources(&sensitive));
    chart::assert_shows(&patient, &both, &own);
    let filed = patient.records().into_iter().find(|record| record["id"] == "from-laboratory").expect("it is listed");
    assert_eq!((&filed["sensitivity"], &filed["category"], &filed["author"]), (&"hiv".into(), &"results".into(), &"laboratory".into()));
    until("the clinic has what was filed", || {
        clinic.json(&["sync"]);
        chart::readable(&clinic).contains("Observation/from-laboratory")
    });
    chart::assert_shows(&clinic, &both, &own);
    keeping.stop();
    for home in [&patient, &custodian, &clinic, &hospital, &laboratory] {
        let verified = home.json(&["ledger", "verify"]);
        assert_eq!(verified["ok"], true, "{verified}");
    }
}

#[test]
fn an_invitation_travels_as_a_file_where_nobody_is_online() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let (clinic, other) = (world.home("practitioner", "clinic"), world.home("practitioner", "other"));
    clinic.json(&["card", "--out", &world.name("clinic.card")]);
    patient.json(&["peer", "add", &world.name("clinic.card"), "--alias", "clinic"]);
    let grant = patient.grants("clinic", &["--read", "general"]);
    let file = world.name("invitation");
    patient.json(&["consent", "invitation", &grant, "--out", &file]);
    assert!(other.fails(3, &["peer", "add", &file]).contains("invitation"), "it is for somebody else");
    assert_eq!(clinic.json(&["peer", "add", &file, "--alias", "maria"])["name"], "maria");
    // Whose invitation it is does not depend on who else has sent one.
    let second = world.home("patient", "paula");
    second.json(&["peer", "add", &world.name("clinic.card"), "--alias", "clinic"]);
    let from_paula = world.name("invitation-of-paula");
    second.json(&["consent", "invitation", &second.grants("clinic", &[]), "--out", &from_paula]);
    assert_eq!(clinic.json(&["peer", "add", &from_paula])["name"], "paula");
    assert_eq!(clinic.json(&["peer", "add", &file, "--alias", "maria"])["name"], "maria");
    let serving = patient.serve();
    // Its card says where the patient is now.
    patient.json(&["card", "--out", &world.name("maria.card")]);
    clinic.json(&["peer", "add", &world.name("maria.card")]);
    until("the clinic reads", || {
        clinic.run(&["sync"]);
        chart::readable(&clinic).contains("Observation/hba1c")
    });
    assert!(!chart::readable(&clinic).contains("Condition/hiv"));
    serving.stop();
}
