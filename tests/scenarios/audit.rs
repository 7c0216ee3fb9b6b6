//! The disclosure log: who opened what, when and what for; also what was opened after consent was withdrawn.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::{
    chart,
    world::{World, until},
};

#[test]
fn the_patient_sees_who_read_what_and_what_for() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let clinic = world.home("practitioner", "clinic");
    let serving = clinic.serve();
    patient.meets(&clinic);
    let grant = patient.grants("clinic", &["--read", "general", "--purpose", "TREAT", "--purpose", "HPAYMT"]);
    patient.json(&["sync"]);
    until("the clinic has it", || chart::readable(&clinic).contains("Observation/hba1c"));
    assert_eq!(patient.json(&["audit"]), Value::Array(Vec::new()), "listing is not opening");
    patient.ok(&["records", "show", "Observation/hba1c"]);
    assert_eq!(patient.json(&["audit"]), Value::Array(Vec::new()), "one's own reading is no disclosure");

    clinic.ok(&["records", "show", "Observation/hba1c"]);
    clinic.ok(&["records", "show", "Observation/glucose", "--purpose", "HPAYMT"]);
    clinic.fails(1, &["records", "show", "Condition/hiv"]);
    let (written, _) = chart::exported(&world, &clinic, "export");
    assert_eq!(clinic.json(&["audit"]).as_array().map(Vec::len), Some(3));
    patient.json(&["sync"]);
    let audit = patient.json(&["audit", "--patient", "maria"]);
    let audit = audit.as_array().expect("an array");
    assert_eq!(audit.len(), 3, "{audit:?}");
    for access in audit {
        assert_eq!(
            (&access["party"], &access["who"], &access["grant"], &access["after_withdrawal"]),
            (&"clinic".into(), &"clinic".into(), &grant.as_str().into(), &false.into())
        );
    }
    let of = |what: &str, purpose: &str| audit.iter().filter(|access| access["what"] == Value::from(vec![what]) && access["purpose"] == purpose).count();
    assert_eq!((of("Observation/hba1c", "TREAT"), of("Observation/glucose", "HPAYMT")), (1, 1), "{audit:?}");
    assert!(audit.iter().any(|access| access["what"].as_array().map(Vec::len) == Some(written.len())), "the export names all that it wrote");

    patient.json(&["consent", "revoke", &grant]);
    patient.json(&["sync"]);
    until("the clinic has heard", || clinic.json(&["consent", "list"])[0]["state"] == "revoked");
    clinic.ok(&["records", "show", "Observation/weight"]);
    patient.json(&["sync"]);
    let late: Vec<Value> = patient.json(&["audit"]).as_array().expect("an array").iter().filter(|access| access["after_withdrawal"] == true).cloned().collect();
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!(late[0]["what"], Value::from(vec!["Observation/weight"]));
    assert!(patient.ok(&["audit"]).text().contains("after withdrawal"));
    serving.stop();
}

#[test]
fn an_access_before_the_withdrawal_that_is_heard_of_later_is_no_access_after_it() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let clinic = world.home("practitioner", "clinic");
    let serving = clinic.serve();
    patient.meets(&clinic);
    let grant = patient.grants("clinic", &[]);
    patient.json(&["sync"]);
    assert_eq!(patient.json(&["consent", "show", &grant])["confirmed"], Value::from(vec!["clinic"]));
    clinic.ok(&["records", "show", "Observation/hba1c"]);
    // Times are told in seconds.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).expect("a time");
    let read = second();
    until("the clock goes on", || second() > read);
    patient.json(&["consent", "revoke", &grant, "--reason", "moved away"]);
    patient.json(&["sync"]);
    let audit = patient.json(&["audit"]);
    assert_eq!((&audit[0]["after_withdrawal"], &audit[0]["told_late"]), (&false.into(), &true.into()), "{audit}");
    assert!(patient.ok(&["audit"]).text().contains("told after withdrawal"));
    let ended = patient.json(&["consent", "show", &grant]);
    assert_eq!((&ended["reason"], &ended["confirmed"]), (&"moved away".into(), &Value::from(vec!["clinic"])));
    let again = patient.grants("clinic", &["--read", "results"]);
    assert_eq!(patient.json(&["consent", "show", &again])["confirmed"], Value::from(Vec::<String>::new()), "it has not heard of this one");
    serving.stop();
}
