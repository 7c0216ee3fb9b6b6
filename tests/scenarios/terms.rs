//! Finer terms: single resources, codes, dates; purposes and expiry; previews that come true; Consents that go out as FHIR and come in again.

use serde_json::Value;

use crate::{
    chart::{self, CHART, Names, set},
    world::{Home, Serving, World, until},
};

struct Pair {
    world: World,
    patient: Home,
    clinic: Home,
    serving: Serving,
}

fn pair() -> Pair {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let clinic = world.home("practitioner", "clinic");
    let serving = clinic.serve();
    patient.meets(&clinic);
    Pair { world, patient, clinic, serving }
}

/// Grants, and fails unless the peer then reads exactly what is expected, byte for byte, and as many records as the preview said; the grant.
fn comes_true(pair: &Pair, terms: &[&str], expected: &Names) -> String {
    let source = chart::resources(&chart::bundle(CHART));
    let mut preview = vec!["consent", "preview", "clinic"];
    preview.extend(terms);
    let preview = pair.patient.json(&preview);
    assert_eq!(preview["readable"].as_u64(), Some(expected.len() as u64), "{terms:?}: {preview}");
    assert_eq!(preview["closed"].as_u64(), Some((CHART.len() - expected.len()) as u64), "{terms:?}: {preview}");
    let grant = pair.patient.grants("clinic", terms);
    assert_eq!(pair.patient.json(&["consent", "show", &grant])["readable"].as_u64(), Some(expected.len() as u64));
    pair.patient.json(&["sync"]);
    until(&format!("the clinic has what {terms:?} covers, which is {expected:?}"), || chart::readable(&pair.clinic) == *expected);
    chart::assert_shows(&pair.clinic, expected, &source);
    for (name, _) in CHART.iter().filter(|(name, _)| !expected.contains(*name)) {
        pair.clinic.fails(1, &["records", "show", name]);
    }
    grant
}

#[test]
fn one_resource_can_be_shared_alone() {
    let pair = pair();
    comes_true(&pair, &["--read", "Observation/hba1c"], &set(["Observation/hba1c"]));
    // Its neighbours are in the same sealed document, which must not have been handed over.
    let own = chart::documents(&pair.patient, |record| record["id"] == "glucose");
    assert!(chart::stored(&pair.clinic, &own).is_empty());
    let keys = chart::identities(&pair.world, &pair.clinic);
    let all = chart::documents(&pair.patient, |_| true);
    assert!(chart::opened_by(&keys, &chart::sealed(&pair.world, &pair.patient, &all)).is_empty(), "no compartment's key was handed over");
    pair.serving.stop();
}

#[test]
fn one_resource_can_be_kept_back_from_among_its_siblings() {
    let pair = pair();
    let expected: Names = CHART.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != "Observation/glucose").collect();
    let grant = comes_true(&pair, &["--except", "Observation/glucose"], &expected);
    let kept = chart::documents(&pair.patient, |record| record["id"] == "glucose");
    assert!(!kept.is_empty() && chart::stored(&pair.clinic, &kept).is_empty());
    for document in &kept {
        pair.clinic.fails(1, &["records", "sealed", document, "--out", &pair.world.name("stolen")]);
    }
    let keys = chart::identities(&pair.world, &pair.clinic);
    assert!(chart::opened_by(&keys, &chart::sealed(&pair.world, &pair.patient, &kept)).is_empty());
    // What matches later is handed over later, by the same terms.
    pair.patient.json(&["import", &pair.world.write("later.json", &chart::result("later"))]);
    pair.patient.json(&["sync"]);
    until("the clinic has what came later", || chart::readable(&pair.clinic).contains("Observation/later"));
    pair.patient.json(&["consent", "revoke", &grant]);
    pair.patient.json(&["import", &pair.world.write("too-late.json", &chart::result("too-late"))]);
    pair.patient.json(&["sync"]);
    pair.clinic.run(&["sync"]);
    assert!(!chart::readable(&pair.clinic).contains("Observation/too-late"));
    pair.serving.stop();
}

#[test]
fn codes_dates_and_categories_choose() {
    let pair = pair();
    let grant = comes_true(&pair, &["--read", "http://loinc.org|4548-4"], &set(["Observation/hba1c"]));
    pair.patient.json(&["consent", "revoke", &grant]);
    pair.serving.stop();

    let pair = self::pair();
    let recent = set(["Condition/diabetes", "Encounter/checkup", "Observation/creatinine", "Observation/glucose", "Observation/hba1c"]);
    comes_true(&pair, &["--read", "general", "--data-from", "2024-01-01", "--data-until", "2024-03-31"], &recent);
    pair.serving.stop();

    let pair = self::pair();
    comes_true(&pair, &["--read", "hiv/results", "--read", "identity"], &set(["Observation/viral-load", "Patient/maria"]));
    pair.serving.stop();
}

#[test]
fn purposes_bind_and_expiry_is_told() {
    let pair = pair();
    let expires = pair.patient.json(&["consent", "grant", "clinic", "--read", "general", "--purpose", "HPAYMT", "--expires", "1d"]);
    assert_eq!((&expires["state"], &expires["purpose"]), (&"active".into(), &Value::from(vec!["HPAYMT"])), "{expires}");
    let (since, until_when) = (expires["since"].as_str().expect("a time"), expires["until"].as_str().expect("a time"));
    assert!(until_when > since && until_when[..10] != since[..10], "{expires}");
    pair.patient.json(&["sync"]);
    until("the clinic has it", || chart::readable(&pair.clinic).contains("Observation/hba1c"));
    assert_eq!(pair.clinic.json(&["consent", "list"])[0]["until"], expires["until"]);
    pair.clinic.ok(&["records", "show", "Observation/hba1c"]);
    pair.clinic.ok(&["records", "show", "Observation/hba1c", "--purpose", "HPAYMT"]);
    for refused in ["TREAT", "HRESCH"] {
        assert!(pair.clinic.fails(3, &["records", "show", "Observation/hba1c", "--purpose", refused]).contains("consent"));
    }
    pair.clinic.fails(3, &["records", "export", &pair.world.name("export"), "--purpose", "TREAT"]);
    pair.clinic.fails(2, &["records", "show", "Observation/hba1c", "--purpose", "NOSUCHCODE"]);
    for wrong in [
        &["--expires", "2001-01-01"][..],
        &["--expires", "soon"],
        &["--read", "everything"],
        &["--purpose", "fun"],
        &["--data-from", "01.02.2020"],
        &["--custodian"],
    ] {
        let mut args = vec!["consent", "grant", "clinic"];
        args.extend(wrong);
        pair.patient.fails(2, &args);
    }
    assert_eq!(pair.patient.json(&["consent", "list"]).as_array().map(Vec::len), Some(1));
    pair.serving.stop();
}

#[test]
fn a_consent_goes_out_as_fhir_and_comes_in_again() {
    let pair = pair();
    let general: Names = set([
        "AllergyIntolerance/penicillin",
        "Condition/diabetes",
        "Encounter/checkup",
        "Immunization/flu",
        "Observation/creatinine",
        "Observation/glucose",
        "Observation/hba1c",
        "Observation/weight",
        "Patient/maria",
    ]);
    let grant = comes_true(&pair, &["--read", "general", "--expires", "90d"], &general);
    let granted = pair.patient.json(&["consent", "show", &grant]);
    let consent = pair.patient.ok(&["consent", "export", &grant]);
    let json = consent.json();
    assert_eq!((&json["resourceType"], &json["status"]), (&"Consent".into(), &"active".into()));
    let ended = pair.patient.json(&["consent", "revoke", &grant]);
    assert_eq!(pair.patient.ok(&["consent", "export", &grant]).json()["status"], "inactive");
    let again = pair.patient.json(&["consent", "import", &pair.world.write("consent.json", &consent.stdout)]);
    let same = |grant: &Value| ["peer", "party", "purpose", "write", "custodian"].map(|name| grant[name].clone());
    assert_eq!(same(&again), same(&ended));
    assert_eq!((&again["until"], again["readable"].as_u64()), (&granted["until"], Some(general.len() as u64)), "{again}");
    assert_ne!(again["grant"], ended["grant"]);
    pair.patient.json(&["import", &pair.world.write("later.json", &chart::result("later"))]);
    pair.patient.json(&["sync"]);
    until("the clinic reads under the new grant", || chart::readable(&pair.clinic).contains("Observation/later"));

    for terms in [
        &["--read", "general/summary", "--read", "hiv/results"][..],
        &["--read", "results", "--write"],
        &["--except", "hiv", "--write"],
        &["--write", "--expires", "30d"],
        &["--except", "hiv", "--purpose", "TREAT", "--purpose", "HPAYMT"],
    ] {
        let grant = pair.patient.grants("clinic", terms);
        let granted = pair.patient.json(&["consent", "show", &grant]);
        assert_eq!(granted["readable"].as_u64().is_some_and(|readable| readable > 0), terms[0] != "--write", "{granted}");
        let consent = pair.patient.ok(&["consent", "export", &grant]).stdout;
        pair.patient.json(&["consent", "revoke", &grant]);
        let again = pair.patient.json(&["consent", "import", &pair.world.write("again.json", &consent)]);
        let words = |grant: &Value| grant["terms"].to_string().replace("With this exception: ", "");
        assert_eq!((same(&again), &again["readable"], words(&again)), (same(&granted), &granted["readable"], words(&granted)), "{terms:?}");
        pair.patient.json(&["consent", "revoke", again["grant"].as_str().expect("an id")]);
    }
    let stranger =
        String::from_utf8(consent.stdout).expect("text").replace(again["party"].as_str().expect("a key"), &"ab".repeat(32)).replace("\"clinic\"", "\"nobody\"");
    assert!(pair.patient.fails(1, &["consent", "import", &pair.world.write("stranger.json", stranger.as_bytes())]).contains("contact"));
    pair.patient.fails(1, &["consent", "import", &pair.world.write("none.json", b"{\"resourceType\":\"Patient\"}")]);
    assert!(pair.clinic.fails(3, &["consent", "grant", "maria"]).contains("patient"));

    let custodian = pair.world.home("custodian", "vault");
    let keeping = custodian.serve();
    pair.patient.meets(&custodian);
    let keeps = pair.patient.grants("vault", &["--custodian", "--expires", "90d"]);
    let consent = pair.patient.ok(&["consent", "export", &keeps]).stdout;
    let kept = pair.patient.json(&["consent", "revoke", &keeps]);
    let again = pair.patient.json(&["consent", "import", &pair.world.write("keeps.json", &consent)]);
    assert_eq!((same(&again), &again["custodian"]), (same(&kept), &true.into()));
    keeping.stop();
    pair.serving.stop();
}

#[test]
fn a_consent_that_names_nobody_is_granted_to_whom_the_patient_says() {
    let pair = pair();
    let coding = |system: &str, code: &str| serde_json::json!({ "system": system, "code": code });
    let consent = |provision: Value| {
        let scope = coding("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy");
        let consent = serde_json::json!({
            "resourceType": "Consent", "status": "active", "scope": { "coding": [scope] }, "category": [{ "coding": [coding("http://loinc.org", "59284-0")] }],
            "patient": { "reference": "Patient/at-the-hospital" }, "provision": provision,
        });
        pair.world.write("consent.json", &serde_json::to_vec(&consent).expect("JSON"))
    };
    let treat = coding("http://terminology.hl7.org/CodeSystem/v3-ActReason", "TREAT");
    let sensitivity = |code: &str| coding("https://chartmesh.org/fhir/CodeSystem/sensitivity", code);
    let practitioner = serde_json::json!({
        "role": { "coding": [coding("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP")] }, "reference": { "reference": "Practitioner/7" },
    });
    // General records to everybody, HIV records to one practitioner.
    let focused = consent(serde_json::json!({
        "type": "permit", "purpose": [treat], "securityLabel": [sensitivity("general")],
        "provision": [{ "type": "permit", "securityLabel": [sensitivity("hiv")], "actor": [practitioner] }],
    }));
    assert!(pair.patient.fails(1, &["consent", "import", &focused]).contains("--to"));
    pair.patient.fails(2, &["consent", "import", &focused, "--named", "Practitioner/7"]);
    pair.patient.fails(2, &["consent", "import", &focused, "--to", "clinic", "--named", "Practitioner/8"]);
    let grant = pair.patient.json(&["consent", "import", &focused, "--to", "clinic"]);
    assert_eq!((&grant["peer"], &grant["purpose"]), (&"clinic".into(), &serde_json::json!(["TREAT"])), "{grant}");
    pair.patient.json(&["sync"]);
    until("the clinic reads what everybody may", || chart::readable(&pair.clinic).contains("Observation/hba1c"));
    assert!(!chart::readable(&pair.clinic).contains("Observation/viral-load"));
    pair.patient.json(&["consent", "revoke", grant["grant"].as_str().expect("an id")]);

    pair.patient.json(&["consent", "import", &focused, "--to", "clinic", "--named", "Practitioner/7"]);
    pair.patient.json(&["sync"]);
    until("the clinic reads what the practitioner may", || chart::readable(&pair.clinic).contains("Observation/viral-load"));

    let other = consent(serde_json::json!({ "type": "permit", "purpose": [treat], "actor": [practitioner] }));
    let said = pair.patient.fails(1, &["consent", "import", &other, "--to", "clinic"]);
    assert!(said.contains("gives them nothing") && said.contains("--named"), "{said}");
    let deny = consent(serde_json::json!({ "type": "deny" }));
    assert!(pair.patient.fails(1, &["consent", "import", &deny, "--to", "clinic"]).contains("consent revoke"));
    let some = consent(serde_json::json!({
        "type": "permit", "class": [coding("http://hl7.org/fhir/resource-types", "Observation")],
        "action": [{ "coding": [coding("http://terminology.hl7.org/CodeSystem/consentaction", "collect")] }],
    }));
    assert!(pair.patient.fails(1, &["consent", "import", &some, "--to", "clinic"]).contains("which records may be added"));
    pair.serving.stop();
}
