//! Published Consents read from `CHARTMESH_DATA` and decided as their texts say.
//!
//! IHE Privacy Consent on FHIR (`ihe-pcf`, with its notes on the expected access tokens) and the official
//! R4 examples (`consent`).

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::{fs, path::PathBuf};

use chartmesh_consent::{ConsentReadError, Decision, Imported, Request, decide, decide_all, from_fhir, purpose};
use chartmesh_records::{Category, Coding, ResourceFacts, Sensitivity, Typed};

const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
/// 2022-09-01, while every example holds.
const NOW: i64 = 1_661_990_400;
/// 2023-06-01.
const LATER: i64 = 1_685_577_600;

fn directory(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os("CHARTMESH_DATA").map(|data| PathBuf::from(data).join(name));
    if found.is_none() {
        eprintln!("skipped: CHARTMESH_DATA is not set");
    }
    found
}

fn facts(resource_type: &str, id: &str) -> ResourceFacts {
    ResourceFacts {
        resource_type: resource_type.to_owned(),
        id: id.to_owned(),
        version: None,
        last_updated: None,
        date: Some("2022-06-13".to_owned()),
        category: Category::Results,
        sensitivities: [Sensitivity::General].into(),
        security: vec![Coding::new(CONFIDENTIALITY, "N")],
        labels: vec![Coding::new(CONFIDENTIALITY, "N")],
        codes: Vec::new(),
        authors: vec!["Practitioner/ex-author".to_owned()],
        encounter: Some("Encounter/ex-encounter".to_owned()),
        subject: Some("Patient/ex-patient".to_owned()),
        title: None,
        source: None,
        typed: Typed::Ok,
        hash: [0; 32],
        length: 0,
    }
}

fn restricted(mut facts: ResourceFacts, sensitivity: Sensitivity, code: &str) -> ResourceFacts {
    facts.sensitivities = [sensitivity].into();
    facts.security = vec![Coding::new(CONFIDENTIALITY, "R"), Coding::new(ACT_CODE, code)];
    facts.labels = vec![Coding::new(CONFIDENTIALITY, "R")];
    facts
}

/// Observation/ex-alcoholUse as published: ETHUD, R, of 2022.
fn alcohol() -> ResourceFacts {
    restricted(facts("Observation", "ex-alcoholUse"), Sensitivity::SubstanceUse, "ETHUD")
}

/// Observation/ex-bloodSugar as published: N, of 2020.
fn sugar() -> ResourceFacts {
    ResourceFacts { date: Some("2020-12-04T23:50:50-05:00".to_owned()), ..facts("Observation", "ex-bloodSugar") }
}

fn mental() -> ResourceFacts {
    restricted(facts("Condition", "mental"), Sensitivity::MentalHealth, "PSY")
}

fn abuse() -> ResourceFacts {
    restricted(facts("Condition", "abuse"), Sensitivity::Violence, "SDV")
}

fn elsewhere() -> ResourceFacts {
    ResourceFacts { encounter: Some("Encounter/other".to_owned()), ..facts("Observation", "elsewhere") }
}

fn by_practitioner() -> ResourceFacts {
    ResourceFacts { authors: vec!["Practitioner/ex-practitioner".to_owned()], ..facts("Observation", "theirs") }
}

fn asks(who: &str, code: &str) -> Request {
    let purpose = if code == "FooBar" { Coding::new("http://example.org/policies/purposeOfUse", code) } else { purpose::act_reason(code) };
    Request::read("Patient/ex-patient", who, purpose, NOW)
}

/// The practitioner whom the examples privilege, member of the break-glass group.
fn practitioner(code: &str) -> Request {
    Request { acts_for: vec!["Group/ex-privilegedUsers".to_owned(), "Organization/ex-organization".to_owned()], ..asks("Practitioner/ex-practitioner", code) }
}

/// Anyone else; known to be in another group and organisation.
fn clerk(code: &str) -> Request {
    Request { acts_for: vec!["Group/others".to_owned(), "Organization/ex-organization".to_owned()], ..asks("Practitioner/ex-clerk", code) }
}

fn researcher(code: &str) -> Request {
    asks("Organization/ex-org-researcher", code)
}

fn at(now: i64, request: Request) -> Request {
    Request { now, ..request }
}

fn allowed(imported: &Imported, request: &Request, facts: &ResourceFacts) -> bool {
    matches!(decide(&imported.terms, request, facts), Decision::Permit(_))
}

type Case = (&'static str, Request, ResourceFacts, bool);

fn expected() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    // Basic: treatment, payment and operations, for all data.
    for name in ["basic-treat", "basic-ink", "basic-treat-infant", "expired-treat"] {
        for code in ["TREAT", "HPAYMT", "HOPERAT", "ETREAT", "CLMATTCH"] {
            cases.push((name, clerk(code), alcohol(), true));
        }
        cases.push((name, clerk("HRESCH"), sugar(), false));
        cases.push((name, clerk("HMARKT"), sugar(), false));
        cases.push((name, clerk("PurposeOfUse"), sugar(), false));
    }
    cases.extend([
        ("expired-treat", at(1_672_531_199, clerk("TREAT")), sugar(), true),
        ("expired-treat", at(1_672_531_200, clerk("TREAT")), sugar(), false),
        ("expired-treat", at(LATER, clerk("TREAT")), sugar(), false),
        ("basic-treat", at(LATER, clerk("TREAT")), sugar(), true),
        ("basic-reject", clerk("TREAT"), sugar(), false),
        ("basic-reject", practitioner("HRESCH"), sugar(), false),
        ("basic-research", researcher("HRESCH"), alcohol(), true),
        ("basic-research", researcher("BIORCH"), alcohol(), true),
        ("basic-research", clerk("TREAT"), sugar(), false),
        // Intermediate: one purpose and one organisation.
        ("intermediate-purpose", researcher("FooBar"), alcohol(), true),
        ("intermediate-purpose", researcher("HRESCH"), sugar(), false),
        ("intermediate-purpose", clerk("FooBar"), sugar(), false),
        // Data authored by one practitioner, or all but that.
        ("intermediate-authoredby", clerk("TREAT"), by_practitioner(), true),
        ("intermediate-authoredby", clerk("TREAT"), sugar(), false),
        ("intermediate-authoredby", clerk("HRESCH"), by_practitioner(), false),
        ("intermediate-not-authoredby", clerk("TREAT"), by_practitioner(), false),
        ("intermediate-not-authoredby", clerk("TREAT"), sugar(), true),
        // Listed resources, or all but one.
        ("intermediate-data", clerk("TREAT"), sugar(), true),
        ("intermediate-data", clerk("TREAT"), alcohol(), true),
        ("intermediate-data", clerk("TREAT"), elsewhere(), false),
        ("intermediate-data", clerk("TREAT"), facts("Encounter", "ex-encounter"), true),
        ("intermediate-not-data", clerk("TREAT"), alcohol(), false),
        ("intermediate-not-data", clerk("TREAT"), sugar(), true),
        // One encounter, or all but that.
        ("intermediate-encounter", clerk("TREAT"), alcohol(), true),
        ("intermediate-encounter", clerk("TREAT"), facts("Encounter", "ex-encounter"), true),
        ("intermediate-encounter", clerk("TREAT"), elsewhere(), false),
        ("intermediate-not-encounter", clerk("TREAT"), alcohol(), false),
        ("intermediate-not-encounter", clerk("TREAT"), facts("Encounter", "ex-encounter"), false),
        ("intermediate-not-encounter", clerk("TREAT"), elsewhere(), true),
        // Data of 2022, or all but that.
        ("intermediate-timeframe", clerk("TREAT"), alcohol(), true),
        ("intermediate-timeframe", clerk("TREAT"), sugar(), false),
        ("intermediate-timeframe", at(LATER, clerk("TREAT")), alcohol(), true),
        ("intermediate-not-timeframe", clerk("TREAT"), alcohol(), false),
        ("intermediate-not-timeframe", clerk("TREAT"), sugar(), true),
        ("intermediate-not-timeframe", clerk("TREAT"), ResourceFacts { date: None, ..sugar() }, false),
        // Advanced: normal data; restricted data as each says.
        ("advanced-normal", clerk("TREAT"), sugar(), true),
        ("advanced-normal", practitioner("TREAT"), alcohol(), false),
        ("advanced-normal", clerk("HRESCH"), sugar(), false),
        ("advanced-normal-restricted", clerk("TREAT"), sugar(), true),
        ("advanced-normal-restricted", clerk("TREAT"), alcohol(), true),
        ("advanced-normal-not-restricted", clerk("TREAT"), sugar(), true),
        ("advanced-normal-not-restricted", clerk("TREAT"), alcohol(), false),
        ("advanced-normal-focused-restricted", clerk("TREAT"), sugar(), true),
        ("advanced-normal-focused-restricted", clerk("TREAT"), alcohol(), false),
        ("advanced-normal-focused-restricted", practitioner("TREAT"), alcohol(), true),
        ("advanced-normal-focused-restricted", practitioner("HRESCH"), alcohol(), false),
        ("advanced-normal-focused-psy", clerk("TREAT"), mental(), false),
        ("advanced-normal-focused-psy", practitioner("TREAT"), mental(), true),
        ("advanced-normal-focused-psy", practitioner("TREAT"), abuse(), false),
        ("advanced-normal-focused-psy", practitioner("HRESCH"), mental(), false),
        ("advanced-normal-focused-psy", clerk("TREAT"), sugar(), true),
        ("advanced-normal-focused-psy-or-sdv", practitioner("TREAT"), mental(), true),
        ("advanced-normal-focused-psy-or-sdv", practitioner("TREAT"), abuse(), true),
        ("advanced-normal-focused-psy-or-sdv", practitioner("TREAT"), alcohol(), false),
        ("advanced-normal-focused-psy-or-sdv", clerk("TREAT"), abuse(), false),
        ("advanced-normal-break-glass-restricted", practitioner("TREAT"), alcohol(), false),
        ("advanced-normal-break-glass-restricted", practitioner("BTG"), alcohol(), true),
        ("advanced-normal-break-glass-restricted", practitioner("BTG"), sugar(), true),
        ("advanced-normal-break-glass-restricted", clerk("BTG"), alcohol(), false),
        ("advanced-normal-break-glass-restricted", clerk("TREAT"), sugar(), true),
    ]);
    cases
}

fn read_pcf(directory: &std::path::Path, name: &str) -> Imported {
    let bytes = fs::read(directory.join(format!("Consent-{name}.json"))).unwrap_or_else(|error| panic!("{name}: {error}"));
    from_fhir(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn ihe_privacy_consents_are_decided_as_their_notes_say() {
    let Some(directory) = directory("ihe-pcf") else { return };
    for (name, request, facts, expected) in expected() {
        let imported = read_pcf(&directory, &format!("ex-consent-{name}"));
        let got = allowed(&imported, &request, &facts);
        assert_eq!(got, expected, "{name}: {} for {} asks for {}/{}", request.requester, request.purpose.code, facts.resource_type, facts.id);
    }
    let dissent = read_pcf(&directory, "ex-dissent-intermediate-break-glass");
    assert!(!allowed(&dissent, &practitioner("TREAT"), &sugar()));
    assert!(!allowed(&dissent, &clerk("BTG"), &sugar()));
    assert!(allowed(&dissent, &practitioner("BTG"), &alcohol()));
}

/// What a party known to the Consent as `request` says may read under the grant that it becomes; none if it gives nothing.
fn granted(imported: &Imported, request: &Request, facts: &ResourceFacts) -> Option<bool> {
    const PARTY: &str = "urn:chartmesh:party:1";
    let known_as = [vec![request.requester.clone()], request.acts_for.clone()].concat();
    let terms = imported.clone().grant_to(PARTY, &known_as, request.now).ok()?;
    let request = Request { requester: PARTY.to_owned(), acts_for: Vec::new(), ..request.clone() };
    Some(matches!(decide(&terms, &request, facts), Decision::Permit(_)))
}

#[test]
fn ihe_privacy_consents_decide_the_same_as_grants() {
    let Some(directory) = directory("ihe-pcf") else { return };
    for (name, request, facts, expected) in expected() {
        let imported = read_pcf(&directory, &format!("ex-consent-{name}"));
        let got = granted(&imported, &request, &facts);
        assert_eq!(got.unwrap_or(false), expected, "{name}: {} for {} asks for {}/{}", request.requester, request.purpose.code, facts.resource_type, facts.id);
        let gives = match name {
            "basic-reject" => false,
            "expired-treat" => request.now < 1_672_531_200,
            "intermediate-purpose" => request.requester == "Organization/ex-org-researcher",
            _ => true,
        };
        assert_eq!(got.is_some(), gives, "{name} for {}", request.requester);
    }
    let dissent = read_pcf(&directory, "ex-dissent-intermediate-break-glass");
    assert_eq!(granted(&dissent, &practitioner("BTG"), &alcohol()), Some(true));
    assert_eq!(granted(&dissent, &practitioner("TREAT"), &alcohol()), Some(false));
    assert_eq!(granted(&dissent, &clerk("BTG"), &alcohol()), None);
}

#[test]
fn every_ihe_privacy_consent_is_read_and_covered_by_a_case() {
    let Some(directory) = directory("ihe-pcf") else { return };
    let mut count = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let Some(name) = name.strip_prefix("Consent-ex-") else { continue };
        count += 1;
        let imported = from_fhir(&fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(imported.patient.as_deref(), Some("Patient/ex-patient"));
        assert_eq!(imported.policies.len(), 1);
        assert!(!imported.terms.describe().is_empty());
        let cased = name == "dissent-intermediate-break-glass" || expected().iter().any(|(case, ..)| Some(*case) == name.strip_prefix("consent-"));
        assert!(cased, "{name} has no case");
    }
    assert_eq!(count, 23);
}

#[test]
fn of_several_ihe_consents_a_deny_overrides() {
    let Some(directory) = directory("ihe-pcf") else { return };
    let treat = read_pcf(&directory, "ex-consent-basic-treat").terms;
    let reject = read_pcf(&directory, "ex-consent-basic-reject").terms;
    let research = read_pcf(&directory, "ex-consent-basic-research").terms;
    let not_data = read_pcf(&directory, "ex-consent-intermediate-not-data").terms;
    let asked = |all: &[&_], code: &str, facts: &ResourceFacts| matches!(decide_all(all, &clerk(code), facts), Decision::Permit(_));
    assert!(asked(&[&treat, &research], "HRESCH", &sugar()));
    assert!(asked(&[&research, &treat], "TREAT", &sugar()));
    assert!(!asked(&[&treat, &reject], "TREAT", &sugar()));
    assert!(!asked(&[&treat, &not_data], "TREAT", &alcohol()));
    assert!(asked(&[&treat, &not_data], "TREAT", &sugar()));
    assert!(!asked(&[], "TREAT", &sugar()));
}

enum Read {
    Decided(Box<Imported>),
    Refused(ConsentReadError),
}

fn read_official(directory: &std::path::Path, name: &str) -> Read {
    let bytes = fs::read(directory.join(format!("r4-official__Consent-consent-example-{name}.json"))).unwrap();
    match from_fhir(&bytes) {
        Ok(imported) => Read::Decided(Box::new(imported)),
        Err(error) => Read::Refused(error),
    }
}

#[test]
fn the_official_withholding_examples_are_decided_as_their_texts_say() {
    let Some(directory) = directory("consent") else { return };
    let decided = |name: &str| match read_official(&directory, name) {
        Read::Decided(imported) => *imported,
        Read::Refused(error) => panic!("{name}: {error}"),
    };
    let other =
        || Request { custodian: Some("Organization/other".to_owned()), acts_for: vec!["Organization/other".to_owned()], ..asks("Practitioner/13", "TREAT") };

    // "he would like withhold consent to disclose the order and all results associated with that specific order"
    let this = decided("notThis");
    assert!(!allowed(&this, &other(), &facts("Task", "example3")));
    // Whether an observation belongs to a task is not known from its facts, and a doubt denies.
    assert!(!allowed(&this, &other(), &sugar()));

    // "she does not want her ex-spouse to have any access"
    let them = decided("notThem");
    assert!(!allowed(&them, &Request { requester: "Practitioner/f204".to_owned(), ..other() }, &sugar()));
    assert!(allowed(&them, &other(), &sugar()));

    // "withhold disclosure of all data from a timeframe to any provider": January 2015
    let time = decided("notTime");
    assert!(!allowed(&time, &other(), &ResourceFacts { date: Some("2015-01-20".to_owned()), ..sugar() }));
    assert!(allowed(&time, &other(), &ResourceFacts { date: Some("2015-06-20T10:00:00Z".to_owned()), ..sugar() }));
    assert!(!allowed(&time, &other(), &ResourceFacts { date: None, ..sugar() }));

    // "he would like to withdraw/withhold consent to disclose any instance of his health information to Good Health Clinic"
    let organisation = decided("notOrg");
    assert!(!allowed(&organisation, &asks("Organization/f001", "TREAT"), &sugar()));
    assert!(!allowed(&organisation, &Request { acts_for: vec!["Organization/f001".to_owned()], ..other() }, &sugar()));
    assert!(!allowed(&organisation, &asks("Practitioner/13", "TREAT"), &sugar()), "for whom this practitioner works is not known");
    assert!(allowed(&organisation, &other(), &sugar()));

    // "all of the PHI collected at the Good Health Psychiatric Hospital restricted from disclosure to every provider"
    let author = decided("notAuthor");
    assert!(!allowed(&author, &Request { custodian: Some("Organization/f001".to_owned()), ..other() }, &sugar()));
    assert!(!allowed(&author, &other(), &ResourceFacts { authors: vec!["Organization/f001".to_owned()], ..sugar() }));
    assert!(!allowed(&author, &Request { custodian: None, ..other() }, &sugar()), "who keeps the record is not known");
    assert!(allowed(&author, &other(), &sugar()));

    // None of them opens anything beyond treatment.
    for imported in [this, them, time, organisation, author] {
        assert!(!allowed(&imported, &Request { purpose: purpose::act_reason("HRESCH"), ..other() }, &elsewhere()));
    }
}

#[test]
fn the_other_official_examples_are_read_or_refused_by_element() {
    let Some(directory) = directory("consent") else { return };
    // A root without a type that may permit or deny, and nested rules without a type, are refused.
    for (name, element) in [
        ("Emergency", "Consent.provision.type"),
        ("Out", "Consent.provision.type"),
        ("grantor", "Consent.provision.actor"),
        ("pkb", "Consent.provision.provision[0].type"),
        ("signature", "Consent.provision.provision[0].class[0]"),
        ("smartonfhir", "Consent.provision.type"),
    ] {
        match read_official(&directory, name) {
            Read::Refused(ConsentReadError::Element { element: named, .. }) => assert_eq!(named, element, "{name}"),
            Read::Refused(error) => panic!("{name}: {error}"),
            Read::Decided(_) => panic!("{name} is ambiguous and was read"),
        }
    }
    // "basic" has the form of "notTime": an exception to OPTIN for a period.
    let Read::Decided(basic) = read_official(&directory, "basic") else { panic!("basic is read") };
    assert!(!allowed(&basic, &asks("Practitioner/13", "TREAT"), &ResourceFacts { date: Some("1990".to_owned()), ..sugar() }));
}
