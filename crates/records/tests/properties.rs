//! Rules that hold for any input.

use std::collections::BTreeMap;

use chartmesh_records::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const DEPRESSION: &str = "370143000";

fn quick(bytes: Vec<u8>) -> Result<Import, ImportError> {
    import_with([Input::new("input", bytes)], |_| Typed::Ok)
}

fn resource(at: usize) -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "Condition",
        "Encounter",
        "Observation",
        "DiagnosticReport",
        "Claim",
        "Composition",
        "MedicationRequest",
        "Practitioner",
        "Medication",
        "Binary",
    ]);
    let target = || prop::option::of(0usize..10);
    (kind, any::<bool>(), target(), target(), target(), target()).prop_map(move |(kind, sensitive, encounter, reason, result, performer)| {
        let to = |at: usize| json!({"reference": format!("urn:uuid:r{at}")});
        let mut json = json!({"resourceType": kind, "id": format!("r{at}")});
        if sensitive && at.is_multiple_of(3) {
            json["code"] = json!({"coding": [{"system": "http://snomed.info/sct", "code": DEPRESSION}]});
        }
        for (name, target) in [("encounter", encounter), ("reasonReference", reason), ("result", result), ("performer", performer)] {
            if let Some(target) = target {
                json[name] = to(target);
            }
        }
        json
    })
}

fn chart() -> impl Strategy<Value = Vec<Value>> {
    (0..10).map(resource).collect::<Vec<_>>()
}

fn bundle(resources: &[Value]) -> Vec<u8> {
    let entries: Vec<Value> = resources
        .iter()
        .map(|resource| json!({"fullUrl": format!("urn:uuid:{}", resource["id"].as_str().unwrap_or_default()), "resource": resource}))
        .collect();
    json!({"resourceType": "Bundle", "type": "collection", "entry": entries}).to_string().into_bytes()
}

/// A draft as what can be compared: its compartment, and the facts and bytes of each resource.
type Shape = (Compartment, Vec<(String, Vec<u8>)>);

fn shape(import: &Import) -> Vec<Shape> {
    import
        .drafts
        .iter()
        .map(|draft| (draft.compartment, draft.resources.iter().map(|one| (format!("{:?}", one.facts), one.bytes.to_vec())).collect()))
        .collect()
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = quick(bytes.clone());
        let _ = read_bundle(&bytes);
    }

    #[test]
    fn any_json_like_text_gets_an_answer(text in "[\\[\\]{}\",: a1\\\\\n]{0,120}", inside in any::<bool>()) {
        let text = if inside { format!("{{\"resourceType\":\"Bundle\",\"entry\":[{text}]}}") } else { text };
        let _ = quick(text.clone().into_bytes());
        let _ = import_with([Input::lines("lines", text.clone().into_bytes())], |_| Typed::Ok);
        let _ = read_bundle(text.as_bytes());
    }

    #[test]
    fn a_cut_bundle_is_never_taken_for_a_whole_one(resources in chart(), share in 0.0f64..1.0) {
        let mut bytes = bundle(&resources);
        bytes.truncate((bytes.len() as f64 * share) as usize);
        prop_assert!(quick(bytes).is_err());
    }

    #[test]
    fn the_order_of_arrival_changes_nothing(resources in chart(), order in Just((0..10).collect::<Vec<usize>>()).prop_shuffle()) {
        let shuffled: Vec<Value> = order.iter().map(|&at| resources[at].clone()).collect();
        let (one, other) = (quick(bundle(&resources)), quick(bundle(&shuffled)));
        prop_assert_eq!(one.as_ref().map(shape).ok(), other.as_ref().map(shape).ok());
    }

    #[test]
    fn nothing_is_dropped_and_every_resource_is_in_its_compartment(resources in chart()) {
        let import = quick(bundle(&resources)).expect("importable");
        prop_assert!(import.refused.is_empty());
        let mut kept: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for draft in &import.drafts {
            for one in &draft.resources {
                prop_assert_eq!(one.facts.compartment(), draft.compartment);
                prop_assert!(!one.facts.sensitivities.is_empty());
                prop_assert!(one.facts.sensitivities.len() == 1 || !one.facts.sensitivities.contains(&Sensitivity::General));
                *kept.entry(one.bytes.to_vec()).or_default() += 1;
                prop_assert_eq!(*blake3::hash(&one.bytes).as_bytes(), one.facts.hash);
            }
        }
        for resource in &resources {
            let times = kept.get(resource.to_string().as_bytes()).copied().unwrap_or_default();
            let supporting = matches!(resource["resourceType"].as_str(), Some("Practitioner" | "Medication"));
            prop_assert!(times == 1 || (supporting && times > 1), "{} times", times);
        }
    }

    #[test]
    fn a_document_gives_back_the_very_bytes(spaces in prop::collection::vec("[ \t\r\n]{0,3}", 8), texts in prop::collection::vec(any::<String>(), 0..6)) {
        let odd: Vec<Vec<u8>> = texts.iter().map(|text| {
            let text = json!(text);
            let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| spaces[at].as_str());
            format!("{{{a}\"resourceType\"{b}:{c}\"Basic\",{d}\"x\":{e}[1.50e+1,{text}]{f},\"data\"{g}:{text}{h}}}").into_bytes()
        }).collect();
        let entries: Vec<String> = odd.iter().map(|bytes| format!(" {{ \"resource\" : {} }} ", String::from_utf8_lossy(bytes))).collect();
        let import = quick(format!("{{\"resourceType\":\"Bundle\",\"entry\":[{}]}}", entries.join(",")).into_bytes()).expect("importable");
        let mut expected = odd;
        expected.sort();
        expected.dedup();
        let mut found = Vec::new();
        for draft in &import.drafts {
            let pairs: Vec<(&ResourceFacts, &[u8])> = draft.resources.iter().map(|one| (&one.facts, &one.bytes[..])).collect();
            let written = write_bundle(&draft.compartment, &pairs);
            prop_assert!(serde_json::from_slice::<Value>(&written).is_ok());
            found.extend(read_bundle(&written).expect("readable"));
        }
        found.sort();
        prop_assert_eq!(found, expected);
    }
}
