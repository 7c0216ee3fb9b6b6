//! What an import makes of small, telling inputs.

use std::collections::BTreeMap;

use chartmesh_json::Json;
use chartmesh_records::*;
use serde_json::{Value, json};

const SNOMED: &str = "http://snomed.info/sct";
/// Major depressive disorder.
const DEPRESSION: &str = "370143000";

fn concept(code: &str) -> Value {
    json!({"coding": [{"system": SNOMED, "code": code}]})
}

fn to(reference: &str) -> Value {
    json!({"reference": reference})
}

fn bundle(resources: &[Value]) -> Vec<u8> {
    let entries: Vec<Value> = resources
        .iter()
        .map(|resource| json!({"fullUrl": format!("urn:uuid:{}", resource["id"].as_str().unwrap_or_default()), "resource": resource}))
        .collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string().into_bytes()
}

fn run(bytes: Vec<u8>) -> Import {
    import([Input::new("input", bytes)]).expect("importable")
}

/// Most restrictive sensitivity of each resource, by id. Copies of supporting resources are left out.
fn sensitivities(import: &Import) -> BTreeMap<String, Sensitivity> {
    let all = import.drafts.iter().flat_map(|draft| &draft.resources);
    all.filter(|resource| !resource.facts.is_supporting()).map(|resource| (resource.facts.id.clone(), resource.facts.sensitivity())).collect()
}

fn assert_sensitive(resources: &[Value], expected: &[&str]) {
    let mut all = resources.to_vec();
    for turn in 0..all.len() {
        all.rotate_left(1);
        if turn % 2 == 0 {
            all.swap(0, turn / 2);
        }
        let found: Vec<String> =
            sensitivities(&run(bundle(&all))).into_iter().filter(|(_, sensitivity)| *sensitivity != Sensitivity::General).map(|(id, _)| id).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn an_encounter_is_as_sensitive_as_its_reason_and_vitals_stay_general() {
    assert_sensitive(
        &[
            json!({"resourceType": "Encounter", "id": "e", "reasonCode": [concept(DEPRESSION)]}),
            json!({"resourceType": "Observation", "id": "vital", "encounter": to("urn:uuid:e"), "code": {"text": "pulse"}}),
            json!({"resourceType": "Claim", "id": "claim", "item": [{"encounter": [to("urn:uuid:e")]}]}),
            json!({"resourceType": "ExplanationOfBenefit", "id": "eob", "claim": to("urn:uuid:claim")}),
            json!({"resourceType": "DocumentReference", "id": "note", "context": {"encounter": [to("urn:uuid:e")]}, "content": [{"attachment": {"url": "urn:uuid:text"}}]}),
            json!({"resourceType": "Binary", "id": "text", "contentType": "text/plain", "data": "eA=="}),
            json!({"resourceType": "Encounter", "id": "other"}),
            json!({"resourceType": "Claim", "id": "other-claim", "item": [{"encounter": [to("urn:uuid:other")]}]}),
        ],
        &["claim", "e", "eob", "note", "text"],
    );
}

#[test]
fn a_sensitive_condition_reaches_its_encounter_its_drug_its_plan_and_its_summary() {
    assert_sensitive(
        &[
            json!({"resourceType": "Condition", "id": "c", "code": concept(DEPRESSION), "encounter": to("Encounter/e"), "subject": to("Patient/p")}),
            json!({"resourceType": "Patient", "id": "p"}),
            json!({"resourceType": "Encounter", "id": "e", "subject": to("Patient/p")}),
            json!({"resourceType": "MedicationRequest", "id": "drug", "encounter": to("Encounter/e"), "reasonReference": [to("Condition/c")]}),
            json!({"resourceType": "MedicationRequest", "id": "antibiotic", "encounter": to("Encounter/e")}),
            json!({"resourceType": "CarePlan", "id": "plan", "addresses": [to("Condition/c")]}),
            json!({"resourceType": "Goal", "id": "goal", "addresses": [to("CarePlan/plan")]}),
            json!({"resourceType": "Composition", "id": "summary", "section": [{"entry": [to("Condition/c"), to("Observation/lab")]}]}),
            json!({"resourceType": "Observation", "id": "lab", "encounter": to("Encounter/e")}),
        ],
        &["c", "drug", "e", "goal", "plan", "summary"],
    );
}

#[test]
fn a_panel_and_its_members_share() {
    assert_sensitive(
        &[
            json!({"resourceType": "DiagnosticReport", "id": "panel", "code": concept(DEPRESSION), "result": [to("urn:uuid:answer")]}),
            json!({"resourceType": "Observation", "id": "answer"}),
            json!({"resourceType": "DiagnosticReport", "id": "mixed", "result": [to("urn:uuid:score"), to("urn:uuid:glucose")]}),
            json!({"resourceType": "Observation", "id": "score", "code": concept(DEPRESSION)}),
            json!({"resourceType": "Observation", "id": "glucose"}),
        ],
        &["answer", "mixed", "panel", "score"],
    );
}

#[test]
fn a_code_counts_wherever_it_stands() {
    assert_sensitive(
        &[
            json!({"resourceType": "Basic", "id": "contained", "contained": [{"resourceType": "Condition", "id": "x", "code": concept(DEPRESSION)}]}),
            json!({"resourceType": "Basic", "id": "extension", "extension": [{"url": "u", "valueCodeableConcept": concept(DEPRESSION)}]}),
            json!({"resourceType": "Basic", "id": "labelled", "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}]}}),
            json!({"resourceType": "Basic", "id": "tagged", "meta": {"tag": [{"system": SNOMED, "code": DEPRESSION}]}}),
            json!({"resourceType": "Basic", "id": "plain", "code": concept("38341003")}),
        ],
        &["contained", "extension", "labelled"],
    );
}

#[test]
fn restricted_for_no_stated_reason_counts_as_every_sensitivity() {
    let resource = json!({"resourceType": "Basic", "id": "1", "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]}});
    let import = run(resource.to_string().into_bytes());
    let facts = &import.drafts[0].resources[0].facts;
    assert_eq!(facts.sensitivities.iter().copied().collect::<Vec<_>>(), Sensitivity::ALL[1..]);
    assert_eq!(import.drafts[0].compartment.to_string(), "violence/admin");
    assert_eq!(facts.labels.iter().filter(|label| label.system.ends_with("v3-Confidentiality")).count(), 1);
}

#[test]
fn facts_are_read_literally() {
    let resource = json!({
        "resourceType": "Observation", "id": "o1",
        "meta": {"versionId": "3", "lastUpdated": "2024-01-02T03:04:05+01:00", "source": "http://lab.example/fhir#tx9"},
        "category": [{"coding": [{"system": "c", "code": "laboratory"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "4548-4", "display": "HbA1c\u{202e} \u{1b}[2J"}]},
        "subject": to("Patient/p"), "encounter": to("Encounter/e"), "performer": [to("Practitioner/x"), to("Organization/y")],
        "effectiveDateTime": "2024-01-01", "issued": "2024-01-02T00:00:00Z",
        "valueQuantity": {"value": 6.10, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"},
    });
    let import = run(resource.to_string().into_bytes());
    let facts = &import.drafts[0].resources[0].facts;
    assert_eq!((facts.resource_type.as_str(), facts.id.as_str()), ("Observation", "o1"));
    assert_eq!(facts.version.as_deref(), Some("3"));
    assert_eq!(facts.last_updated.as_deref(), Some("2024-01-02T03:04:05+01:00"));
    assert_eq!(facts.source.as_deref(), Some("http://lab.example/fhir"));
    assert_eq!(facts.date.as_deref(), Some("2024-01-01"));
    assert_eq!(facts.title.as_deref(), Some("HbA1c [2J"));
    assert_eq!(facts.codes, [Coding::new("c", "laboratory"), Coding::new("http://loinc.org", "4548-4")]);
    assert_eq!(facts.authors, ["Practitioner/x", "Organization/y"]);
    assert_eq!((facts.encounter.as_deref(), facts.subject.as_deref()), (Some("Encounter/e"), Some("Patient/p")));
    assert_eq!(facts.compartment().to_string(), "general/results");
    assert_eq!(facts.typed, Typed::Failed("missing field `status`".to_owned()));

    let mut cbor = Vec::new();
    ciborium::into_writer(facts, &mut cbor).expect("CBOR");
    assert_eq!(&ciborium::from_reader::<ResourceFacts, _>(cbor.as_slice()).expect("CBOR"), facts);
    let text = serde_json::to_string(facts).expect("JSON");
    assert_eq!(&serde_json::from_str::<ResourceFacts>(&text).expect("JSON"), facts);
}

#[test]
fn a_resource_without_an_id_can_still_be_named() {
    let in_bundle = run(br#"{"resourceType":"Bundle","type":"batch","entry":[{"fullUrl":"urn:uuid:ab-1","resource":{"resourceType":"Basic"}}]}"#.to_vec());
    assert_eq!(in_bundle.drafts[0].resources[0].facts.id, "ab-1");
    let alone = run(br#"{"resourceType":"Basic"}"#.to_vec());
    let id = &alone.drafts[0].resources[0].facts.id;
    assert_eq!((id.len(), id.bytes().all(|byte| byte.is_ascii_hexdigit())), (32, true));
    let hostile = run(br#"{"resourceType":"Basic","id":"../../x"}"#.to_vec());
    assert_eq!(hostile.drafts[0].resources[0].facts.id.len(), 32);
}

#[test]
fn one_bad_entry_leaves_the_others_alone() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let text = format!(
        r#"{{"entry":[{{"resource":{{"resourceType":"Basic","id":"a"}}}},{{"resource":{{"resourceType":"Basic","x":NaN}}}},{{"request":{{}}}},{{"resource":{{"id":"b"}}}},
        {{"resource":{{"resourceType":"Basic","x":{deep}}}}},{{"resource":{{"resourceType":"Basic","x":1,"x":2}}}},{{"resource":7}},null,
        {{"resource":{{"resourceType":"Basic"}},"x" 1}},{{"resource":{{}}],{{"a":{{}},}},[}},
        {{"resource":{{"resourceType":"Observation","id":"untyped","status":{{}}}}}}],"type":"collection","resourceType":"Bundle"}}"#
    );
    let import = run(text.into_bytes());
    let refused: Vec<(&str, &str)> = import.refused.iter().map(|refused| (refused.position.as_str(), refused.reason.as_str())).collect();
    assert_eq!(
        refused,
        [
            ("entry[1]", "it is not JSON: syntax error in line 1, column 29"),
            ("entry[2]", "the entry has no resource"),
            ("entry[3]", "it has no resourceType"),
            ("entry[4]", "it is nested more than 64 deep"),
            ("entry[5]", "a key stands twice in one object"),
            ("entry[6]", "it has no resourceType"),
            ("entry[7]", "it is not JSON"),
            ("entry[8]", "it is not JSON"),
            ("entry[9]", "it is not JSON"),
            ("entry[10]", "it is not JSON"),
            ("entry[11]", "it is not JSON"),
        ]
    );
    assert_eq!(sensitivities(&import).into_keys().collect::<Vec<_>>(), ["a", "untyped"]);
}

#[test]
fn lines_are_read_one_by_one() {
    let text = "\u{feff}{\"resourceType\":\"Basic\",\"id\":\"a\"}\r\n\n{\"resourceType\":\"Ba\n{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{\"resourceType\":\"Basic\",\"id\":\"b\"}},{}]}\n";
    let import = run(text.as_bytes().to_vec());
    assert_eq!(import.resources, 2);
    let positions: Vec<&str> = import.refused.iter().map(|refused| refused.position.as_str()).collect();
    assert_eq!(positions, ["line 3", "line 4 entry[1]"]);
    let broken_first = "oops\n{\"resourceType\":\"Basic\"}\n";
    assert!(import_with([Input::new("x", broken_first.into())], |_| Typed::Ok).is_err());
    assert_eq!(import_with([Input::lines("x", broken_first.into())], |_| Typed::Ok).map(|import| (import.resources, import.refused.len())), Ok((1, 1)));
}

#[test]
fn every_resource_gets_its_own_bytes_and_its_own_verdict() {
    let resources: Vec<Value> =
        (0..6000).map(|number| json!({"resourceType": "Basic", "id": format!("b{number}"), "code": {"text": "x".repeat(number % 500)}})).collect();
    let verdict = |json: &Json<'_>| Typed::Lossy(json.text_of("id").unwrap_or_default().to_owned());
    let import = import_with([Input::new("first", bundle(&resources[..2000])), Input::new("second", bundle(&resources[1000..]))], verdict).expect("importable");
    assert_eq!((import.resources, import.duplicates), (6000, 1000));
    let all: Vec<&Resource> = import.drafts.iter().flat_map(|draft| &draft.resources).collect();
    assert_eq!(all.len(), 6000);
    for resource in all {
        assert_eq!(resource.facts.hash, *blake3::hash(&resource.bytes).as_bytes());
        assert_eq!(resource.facts.typed, Typed::Lossy(resource.facts.id.clone()));
    }
}

#[test]
#[should_panic(expected = "the check gave up")]
fn a_check_that_panics_ends_the_import() {
    let _ = import_with([Input::new("input", bundle(&[json!({"resourceType": "Basic", "id": "a"})]))], |_| panic!("the check gave up"));
}

#[test]
fn an_input_that_is_no_document_is_an_error_and_nothing_is_imported() {
    let good = || Input::new("good", br#"{"resourceType":"Basic"}"#.to_vec());
    let cut = br#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Basic"}},{"resource":"#;
    assert_eq!(import([good(), Input::new("cut", cut.to_vec())]).err(), Some(ImportError::Truncated { input: "cut".to_owned(), at: cut.len() }));
    for garbage in [
        "",
        "hello",
        "[1]",
        "{\"a\":1}",
        "{\"resourceType\":\"Basic\"} x",
        "{\"resourceType\":\"Bundle\",\"entry\":[],\"entry\":[]}",
        "{\"resourceType\":\"Basic\",\"id\":1,\"id\":2}",
    ] {
        assert!(import([good(), Input::new("garbage", garbage.into())]).is_err(), "{garbage}");
    }
}

#[test]
fn the_same_twice_is_one_and_another_version_stays_beside_it() {
    let old = json!({"resourceType": "Basic", "id": "a", "meta": {"versionId": "1"}});
    let new = json!({"resourceType": "Basic", "id": "a", "meta": {"versionId": "2"}});
    let import = import([Input::new("1", bundle(&[old.clone(), new.clone(), old.clone()])), Input::new("2", bundle(&[new]))]).expect("importable");
    assert_eq!((import.resources, import.duplicates), (2, 2));
    let facts: Vec<&ResourceFacts> = import.drafts.iter().flat_map(|draft| &draft.resources).map(|resource| &resource.facts).collect();
    assert_eq!(facts.iter().filter(|a| facts.iter().any(|b| supersedes(a, b))).map(|facts| facts.version.as_deref()).collect::<Vec<_>>(), [Some("2")]);
}

#[test]
fn who_and_where_travel_with_what_points_to_them() {
    let directory = bundle(&[
        json!({"resourceType": "Practitioner", "id": "dr", "identifier": [{"system": "npi", "value": "9"}]}),
        json!({"resourceType": "Organization", "id": "org", "partOf": to("urn:uuid:parent")}),
        json!({"resourceType": "Organization", "id": "parent"}),
        json!({"resourceType": "Organization", "id": "nobody"}),
        json!({"resourceType": "Medication", "id": "pill", "code": concept(DEPRESSION)}),
    ]);
    let chart = bundle(&[
        json!({"resourceType": "Condition", "id": "c", "code": concept(DEPRESSION), "recorder": to("Practitioner?identifier=npi|9")}),
        json!({"resourceType": "Observation", "id": "o", "performer": [to("urn:uuid:org")], "effectiveDateTime": "2020-01-01"}),
        json!({"resourceType": "MedicationRequest", "id": "m", "medicationReference": to("Medication/pill")}),
    ]);
    let import = import([Input::new("directory", directory), Input::new("chart", chart)]).expect("importable");
    let mut found: Vec<String> = Vec::new();
    for draft in &import.drafts {
        for resource in &draft.resources {
            assert_eq!(resource.facts.compartment(), draft.compartment, "{}", resource.facts.id);
        }
        let ids: Vec<&str> = draft.resources.iter().map(|resource| resource.facts.id.as_str()).collect();
        found.push(format!("{} {}", draft.compartment, ids.join(" ")));
    }
    found.sort();
    assert_eq!(found, ["general/admin nobody", "general/results o org parent", "mental-health/summary c dr", "mental-health/summary m pill"]);
}

#[test]
fn documents_follow_compartment_and_encounter_and_stay_below_their_size() {
    let mut resources = vec![json!({"resourceType": "Encounter", "id": "e1"}), json!({"resourceType": "Encounter", "id": "e2"})];
    for (id, encounter) in [("a", "e1"), ("b", "e1"), ("c", "e2")] {
        resources.push(json!({"resourceType": "Observation", "id": id, "encounter": to(&format!("Encounter/{encounter}"))}));
    }
    for (id, day) in [("d", "2020-01-01T08:00:00Z"), ("e", "2020-01-01T09:00:00Z"), ("f", "2020-01-02")] {
        resources.push(json!({"resourceType": "Observation", "id": id, "effectiveDateTime": day}));
    }
    for index in 0..3 {
        resources.push(json!({"resourceType": "Binary", "id": format!("big{index}"), "data": "A".repeat(7 << 20)}));
    }
    let import = run(bundle(&resources));
    let mut found: Vec<String> = import
        .drafts
        .iter()
        .map(|draft| {
            let pairs: Vec<(&ResourceFacts, &[u8])> = draft.resources.iter().map(|resource| (&resource.facts, &resource.bytes[..])).collect();
            assert!(write_bundle(&draft.compartment, &pairs).len() <= MAX_DOCUMENT);
            draft.resources.iter().map(|resource| resource.facts.id.as_str()).collect::<Vec<_>>().join(" ")
        })
        .collect();
    found.sort();
    assert_eq!(found, ["a b", "big0 big1", "big2", "c", "d e", "e1", "e2", "f"]);
}

#[test]
fn a_resource_too_large_for_a_document_is_read_like_any_other_and_goes_alone() {
    let scan = |letters: usize| {
        let data = "A".repeat(letters);
        let security = [{ json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}) }];
        json!({"resourceType": "Binary", "id": "scan", "meta": {"security": security, "versionId": "3"}, "contentType": "application/pdf", "data": data})
    };
    let about = json!({"resourceType": "DocumentReference", "id": "note", "status": "current", "author": [to("Practitioner/d")],
        "content": [{"attachment": {"url": "Binary/scan"}}], "docStatus": "final"});
    let doctor = json!({"resourceType": "Practitioner", "id": "d"});
    let import = run(bundle(&[scan(20 << 20), about, doctor]));
    assert_eq!(import.refused, []);
    let mut found: Vec<(bool, Vec<&str>)> =
        import.drafts.iter().map(|draft| (draft.is_large(), draft.resources.iter().map(|resource| resource.facts.id.as_str()).collect())).collect();
    found.sort();
    assert_eq!(found, [(false, vec!["note", "d"]), (true, vec!["scan"])]);
    let large = import.drafts.iter().find(|draft| draft.is_large()).expect("it is there");
    let Resource { facts, bytes } = &large.resources[0];
    assert_eq!(facts.hash, *blake3::hash(bytes).as_bytes());
    assert_eq!((facts.sensitivity(), facts.version.as_deref(), facts.length, &facts.typed), (Sensitivity::Hiv, Some("3"), bytes.len() as u64, &Typed::Ok));
    let mut alone = read_resource(bytes).expect("readable");
    alone.source.clone_from(&facts.source);
    assert_eq!(&alone, facts, "read alone it is the same");
    // The same small one, but for its data.
    let small = run(bundle(&[scan(4)]));
    let small = &small.drafts[0].resources[0].facts;
    assert_eq!(ResourceFacts { hash: facts.hash, length: facts.length, ..small.clone() }, *facts);
    let (before, after) = bundle_around(&large.compartment, facts);
    assert_eq!([&before[..], bytes, &after[..]].concat(), write_bundle(&large.compartment, &[(facts, bytes)]));
    let is_resource = |pieces: &[&[u8]]| {
        let mut outline = Outline::default();
        pieces.iter().for_each(|piece| outline.update(piece));
        outline.is_resource()
    };
    assert!(is_resource(&bytes.chunks(1 << 20).collect::<Vec<_>>()) && !is_resource(&[bytes, b" "]) && !is_resource(&[b"{}},{\"resource\":{}"]));
}

#[test]
fn only_data_makes_a_resource_larger_than_a_document() {
    let notes = vec![format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20)); 16].join(",");
    let large = |id: &str, field: &str| format!(r#"{{"resourceType":"Basic","id":"{id}","code":{{}},{field}}}"#);
    let lines =
        [large("notes", &format!(r#""note":[{notes}]"#)), large("small", r#""data":"AAAA""#), large("text", &format!(r#""text":"{}""#, "x".repeat(17 << 20)))];
    let import = run(lines.join("\n").into_bytes());
    let refused: Vec<(&str, &str)> = import.refused.iter().map(|refused| (refused.position.as_str(), refused.reason.as_str())).collect();
    assert_eq!(
        refused,
        [("line 1", "it is larger than 16646144 bytes without what its data fields hold"), ("line 3", "a string in it is longer than 1048576 bytes")]
    );
    assert_eq!(import.resources, 1);
}

#[test]
fn a_document_states_its_high_water_mark() {
    let import = run(bundle(&[json!({"resourceType": "Condition", "id": "c", "code": concept(DEPRESSION)})]));
    let draft = &import.drafts[0];
    let pairs: Vec<(&ResourceFacts, &[u8])> = draft.resources.iter().map(|resource| (&resource.facts, &resource.bytes[..])).collect();
    let written: Value = serde_json::from_slice(&write_bundle(&draft.compartment, &pairs)).expect("JSON");
    let codes: Vec<&str> = written["meta"]["security"].as_array().expect("labels").iter().filter_map(|label| label["code"].as_str()).collect();
    assert_eq!(codes, ["R", "MH"]);
    let empty: Value = serde_json::from_slice(&write_bundle(&Compartment::Inbox, &[])).expect("JSON");
    assert_eq!((empty["meta"]["security"][0]["code"].as_str(), empty.get("entry")), (Some("N"), None));
}

#[test]
fn what_was_imported_along_is_named_by_type_and_id() {
    let facts = |resources: &[Value]| {
        let import = run(bundle(resources));
        let all: BTreeMap<String, ResourceFacts> =
            import.drafts.into_iter().flat_map(|draft| draft.resources).map(|one| (one.facts.id.clone(), one.facts)).collect();
        all
    };
    let note = json!({
        "resourceType": "Observation", "id": "o", "encounter": to("urn:uuid:e"), "subject": to("urn:uuid:p"), "code": {"text": "x"},
        "performer": [to("Practitioner?identifier=urn:npi|7"), to("Organization/elsewhere")],
    });
    let together = facts(&[
        note.clone(),
        json!({"resourceType": "Encounter", "id": "e"}),
        json!({"resourceType": "Patient", "id": "p"}),
        json!({"resourceType": "Practitioner", "id": "d", "identifier": [{"system": "urn:npi", "value": "7"}]}),
    ]);
    let found = &together["o"];
    assert_eq!((found.encounter.as_deref(), found.subject.as_deref()), (Some("Encounter/e"), Some("Patient/p")));
    assert_eq!(found.authors, ["Practitioner/d", "Organization/elsewhere"]);
    assert!(!found.names_locally());
    let alone = &facts(&[note])["o"];
    assert_eq!(alone.encounter.as_deref(), Some("urn:uuid:e"));
    assert!(alone.names_locally());
}
