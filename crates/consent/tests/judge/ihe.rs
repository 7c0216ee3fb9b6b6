//! The published Consents of IHE Privacy Consent on FHIR, from `$CHARTMESH_DATA/ihe-pcf`, and what their notes say of them.

use std::{fs, path::Path};

use chartmesh_consent::Request;
use chartmesh_records::{Category, Coding, ResourceFacts, Sensitivity, Typed};
use serde_json::Value;

use crate::{
    codes::{ACT_CODE, ACT_REASON, CONFIDENTIALITY},
    compare::{Tally, compare},
    histories::{History, PARTY, Paper},
    reading::rules,
    verdict::{Says, one},
};

/// 2022-09-01, 2023-01-01 (the last but one second of the consent that expires, and after it), 2023-06-01.
const MOMENTS: [i64; 4] = [1_661_990_400, 1_672_531_199, 1_672_531_200, 1_685_577_600];

/// For each example, the records that the clerk and the practitioner may read for treatment while it holds: sugar (normal, of 2020),
/// alcohol (restricted, ETHUD), mental (restricted, PSY), abuse (restricted, SDV), elsewhere (of another encounter), practitioner's own.
const NOTES: [(&str, &str, &str); 23] = [
    ("consent-basic-treat", "sambep", "sambep"),
    ("consent-basic-ink", "sambep", "sambep"),
    ("consent-basic-treat-infant", "sambep", "sambep"),
    ("consent-expired-treat", "sambep", "sambep"),
    ("consent-basic-reject", "", ""),
    ("consent-basic-research", "", ""),
    ("consent-intermediate-purpose", "", ""),
    ("consent-intermediate-authoredby", "p", "p"),
    ("consent-intermediate-not-authoredby", "sambe", "sambe"),
    ("consent-intermediate-data", "sa", "sa"),
    ("consent-intermediate-not-data", "smbep", "smbep"),
    ("consent-intermediate-encounter", "sambp", "sambp"),
    ("consent-intermediate-not-encounter", "e", "e"),
    ("consent-intermediate-timeframe", "ambep", "ambep"),
    ("consent-intermediate-not-timeframe", "s", "s"),
    ("consent-advanced-normal", "sep", "sep"),
    ("consent-advanced-normal-restricted", "sambep", "sambep"),
    ("consent-advanced-normal-not-restricted", "sep", "sep"),
    ("consent-advanced-normal-focused-restricted", "sep", "sambep"),
    ("consent-advanced-normal-focused-psy", "sep", "smep"),
    ("consent-advanced-normal-focused-psy-or-sdv", "sep", "smbep"),
    ("consent-advanced-normal-break-glass-restricted", "sep", "sep"),
    ("dissent-intermediate-break-glass", "", ""),
];

fn json(directory: &Path, name: &str) -> Value {
    let bytes = fs::read(directory.join(format!("{name}.json"))).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The records, in the order of the letters `sambep`.
fn records(directory: &Path) -> Vec<ResourceFacts> {
    let record = |observation: &Value, id: &str, kind: Sensitivity, labels: &[(&str, &str)]| ResourceFacts {
        resource_type: "Observation".to_owned(),
        id: id.to_owned(),
        version: None,
        last_updated: None,
        date: observation["effectiveDateTime"].as_str().map(str::to_owned),
        category: Category::Results,
        sensitivities: [kind].into(),
        security: labels.iter().map(|(system, code)| Coding::new(*system, *code)).collect(),
        labels: Vec::new(),
        codes: Vec::new(),
        authors: vec!["Practitioner/ex-author".to_owned()],
        encounter: observation["encounter"]["reference"].as_str().map(str::to_owned).or(Some("Encounter/ex-encounter".to_owned())),
        subject: observation["subject"]["reference"].as_str().map(str::to_owned),
        title: None,
        source: None,
        typed: Typed::Ok,
        hash: [0; 32],
        length: 0,
    };
    let published = |name: &str, kind: Sensitivity| {
        let observation = json(directory, &format!("Observation-{name}"));
        let labels = observation["meta"]["security"].as_array().into_iter().flatten();
        let labels: Vec<(&str, &str)> = labels.map(|label| (label["system"].as_str().unwrap(), label["code"].as_str().unwrap())).collect();
        record(&observation, name, kind, &labels)
    };
    let made_up = |id: &str, kind, labels: &[(&str, &str)]| record(&serde_json::json!({"effectiveDateTime": "2022-06-13"}), id, kind, labels);
    let normal = [(CONFIDENTIALITY, "N")];
    let restricted = |code| [(CONFIDENTIALITY, "R"), (ACT_CODE, code)];
    vec![
        published("ex-bloodSugar", Sensitivity::General),
        published("ex-alcoholUse", Sensitivity::SubstanceUse),
        made_up("mental", Sensitivity::MentalHealth, &restricted("PSY")),
        made_up("abuse", Sensitivity::Violence, &restricted("SDV")),
        ResourceFacts { encounter: Some("Encounter/other".to_owned()), ..made_up("elsewhere", Sensitivity::General, &normal) },
        ResourceFacts { authors: vec!["Practitioner/ex-practitioner".to_owned()], ..made_up("own", Sensitivity::General, &normal) },
    ]
}

fn asks(who: &str, group: &str, system: &str, code: &str, now: i64) -> Request {
    let acts_for = vec![format!("Group/{group}"), "Organization/ex-organization".to_owned()];
    Request { acts_for, ..Request::read("Patient/ex-patient", who, Coding::new(system, code), now) }
}

fn requests(now: i64) -> Vec<Request> {
    let mut all = Vec::new();
    for code in ["TREAT", "BTG", "HPAYMT", "CLMATTCH", "HRESCH", "BIORCH", "HMARKT", "PurposeOfUse"] {
        all.push(asks("Practitioner/ex-clerk", "others", ACT_REASON, code, now));
        all.push(asks("Practitioner/ex-practitioner", "ex-privilegedUsers", ACT_REASON, code, now));
        all.push(Request { acts_for: Vec::new(), ..asks("Organization/ex-org-researcher", "", ACT_REASON, code, now) });
        all.push(Request { acts_for: Vec::new(), ..asks(PARTY, "", ACT_REASON, code, now) });
    }
    all.push(asks("Organization/ex-org-researcher", "others", "http://example.org/policies/purposeOfUse", "FooBar", now));
    all
}

fn directory() -> Option<std::path::PathBuf> {
    let found = std::env::var_os("CHARTMESH_DATA").map(|data| Path::new(&data).join("ihe-pcf"));
    if found.is_none() {
        eprintln!("skipped: CHARTMESH_DATA is not set");
    }
    found
}

#[test]
fn the_judge_reads_the_ihe_examples_as_their_notes_do() {
    let Some(directory) = directory() else { return };
    let records = records(&directory);
    for (name, clerk, practitioner) in NOTES {
        let rules = rules(&json(&directory, &format!("Consent-ex-{name}"))).unwrap_or_else(|why| panic!("{name}: {why:?}"));
        let seen = |who, group| {
            let request = asks(who, group, ACT_REASON, "TREAT", MOMENTS[0]);
            let open = "sambep".chars().zip(&records).filter(|(_, record)| one(&rules, &request, record) == Says::Permit);
            open.map(|(letter, _)| letter).collect::<String>()
        };
        assert_eq!(seen("Practitioner/ex-clerk", "others"), clerk, "{name}, the clerk");
        assert_eq!(seen("Practitioner/ex-practitioner", "ex-privilegedUsers"), practitioner, "{name}, the practitioner");
    }
}

#[test]
fn both_evaluators_agree_on_the_ihe_examples_alone_and_in_pairs() {
    let Some(directory) = directory() else { return };
    let paper = |name: &str| Paper { json: json(&directory, &format!("Consent-ex-{name}")), signed: 0, withdrawn: None, ours: None };
    let mut tally = Tally::default();
    for (index, (first, ..)) in NOTES.iter().enumerate() {
        for (second, ..) in &NOTES[index..] {
            let papers = if first == second { vec![paper(first)] } else { vec![paper(first), paper(second)] };
            let (moments, names) = if first == second { (&MOMENTS[..], 3) } else { (&MOMENTS[..1], 1) };
            for known_as in &["Practitioner/ex-practitioner", "Organization/ex-org-researcher", "Group/ex-privilegedUsers"][..names] {
                let requests = moments.iter().flat_map(|now| requests(*now)).collect();
                let history = History {
                    papers: papers.iter().map(Paper::again).collect(),
                    requests,
                    records: records(&directory),
                    known_as: vec![(*known_as).to_owned()],
                };
                if let Err(disagreement) = compare(&history, &mut tally) {
                    panic!("{first} and {second}: {}", disagreement.0);
                }
            }
        }
    }
    eprintln!("IHE examples: {tally:?}");
    assert!(tally.permits > 50_000 && tally.denies > 20_000 && tally.grant_permits > 20_000 && tally.refused == 0, "{tally:?}");
}
