//! What the builders write is read back by the typed model without loss, and what they refuse.

use chartmesh_fhir::author::*;
use chartmesh_fhir::{Typed, check};
use serde_json::Value;

const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";

fn read(json: &[u8]) -> Value {
    assert_eq!(check(json), Typed::Ok);
    serde_json::from_slice(json).expect("JSON")
}

fn rule(kind: Option<ProvisionType>, provisions: Vec<ProvisionSpec>) -> ProvisionSpec {
    ProvisionSpec {
        kind,
        period: Some(Span { start: Some("2024-01-01".to_owned()), end: None }),
        data_period: Some(Span { start: None, end: Some("2024-12-31T23:59:59Z".to_owned()) }),
        actors: vec![ActorSpec {
            role: Code::new("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP", "information recipient"),
            reference: Ref::literal("Organization/clinic"),
        }],
        actions: vec![Code::new("http://terminology.hl7.org/CodeSystem/consentaction", "access", "")],
        security_labels: vec![Code::new("http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "R", "")],
        purposes: vec![Code::new(ACT_REASON, "TREAT", "treatment")],
        classes: vec![Code::new("http://hl7.org/fhir/resource-types", "Observation", "")],
        codes: vec![Code::new("http://loinc.org", "4548-4", "HbA1c")],
        data: vec![DataSpec { meaning: DataMeaning::AuthoredBy, reference: Ref::literal("Practitioner/1") }],
        provisions,
    }
}

#[test]
fn a_consent_carries_every_field_of_its_rules() {
    let spec = ConsentSpec {
        id: Some("c1".to_owned()),
        profiles: vec!["https://profiles.ihe.net/ITI/PCF/StructureDefinition/IHE.PCF.consentAdvanced".to_owned()],
        identifiers: vec![("urn:ietf:rfc:3986".to_owned(), "urn:chartmesh:grant:1".to_owned())],
        status: ConsentStatus::Active,
        patient: Ref::literal("Patient/1"),
        date_time: Some("2024-05-06T07:08:09+02:00".to_owned()),
        performers: vec![Ref::literal("Patient/1")],
        organizations: vec![Ref { display: Some("Clinic".to_owned()), ..Ref::default() }],
        source: Some(Ref::literal("DocumentReference/1")),
        policies: vec!["http://example.org/policy".to_owned()],
        policy_rule: Some(Code::new("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN", "")),
        provision: Some(rule(Some(ProvisionType::Permit), vec![rule(Some(ProvisionType::Deny), Vec::new())])),
        ..ConsentSpec::default()
    };
    let json = read(&consent(&spec).expect("writable"));
    assert_eq!(json["resourceType"], "Consent");
    assert_eq!(json["status"], "active");
    assert_eq!(json["scope"]["coding"][0]["code"], "patient-privacy");
    assert_eq!(json["category"][0]["coding"][0]["code"], "59284-0");
    assert_eq!(json["policy"][0]["uri"], "http://example.org/policy");
    for root in [&json["provision"], &json["provision"]["provision"][0]] {
        assert_eq!(root["period"]["start"], "2024-01-01");
        assert_eq!(root["dataPeriod"]["end"], "2024-12-31T23:59:59Z");
        assert_eq!(root["actor"][0]["reference"]["reference"], "Organization/clinic");
        assert_eq!(root["actor"][0]["role"]["coding"][0]["code"], "IRCP");
        assert_eq!(root["action"][0]["coding"][0]["code"], "access");
        assert_eq!(root["securityLabel"][0]["code"], "R");
        assert_eq!(root["purpose"][0]["code"], "TREAT");
        assert_eq!(root["class"][0]["code"], "Observation");
        assert_eq!(root["code"][0]["coding"][0]["code"], "4548-4");
        assert_eq!(root["data"][0]["meaning"], "authoredby");
    }
    assert_eq!(json["provision"]["type"], "permit");
    assert_eq!(json["provision"]["provision"][0]["type"], "deny");
}

#[test]
fn a_consent_that_would_mislead_is_not_written() {
    let good = || ConsentSpec { patient: Ref::literal("Patient/1"), ..ConsentSpec::default() };
    assert!(consent(&good()).is_ok());
    assert_eq!(consent(&ConsentSpec::default()), Err(AuthorError::Missing { element: "Consent.patient" }));
    let undecided = ConsentSpec { provision: Some(rule(None, vec![rule(None, Vec::new())])), ..good() };
    assert_eq!(consent(&undecided), Err(AuthorError::Missing { element: "Consent.provision.provision.type" }));
    let undated = ConsentSpec { date_time: Some("yesterday".to_owned()), ..good() };
    assert_eq!(consent(&undated), Err(AuthorError::Date { element: "Consent.dateTime" }));
    let deep = (0..40).fold(rule(Some(ProvisionType::Deny), Vec::new()), |inner, _| rule(Some(ProvisionType::Permit), vec![inner]));
    assert_eq!(consent(&ConsentSpec { provision: Some(deep), ..good() }), Err(AuthorError::Unwritable { resource: "Consent" }));
}

#[test]
fn a_disclosure_says_who_what_when_and_why() {
    let dcm = |code, display| Code::new("http://dicom.nema.org/resources/ontology/DCM", code, display);
    let spec = AuditSpec {
        kind: dcm("110106", "Export"),
        recorded: "2024-05-06T07:08:09Z".to_owned(),
        purposes: vec![Code::new(ACT_REASON, "TREAT", "")],
        agents: vec![
            AuditAgent { kind: Some(dcm("110153", "Source Role ID")), who: Ref::literal("Device/1"), requestor: false, policies: vec!["urn:x".to_owned()] },
            AuditAgent { kind: Some(dcm("110152", "Destination Role ID")), who: Ref::literal("Organization/1"), requestor: true, policies: Vec::new() },
        ],
        observer: Ref { identifier: Some(("urn:node".to_owned(), "1".to_owned())), ..Ref::default() },
        entities: vec![AuditEntity {
            what: Ref::literal("Patient/1"),
            kind: Some(Code::new("http://terminology.hl7.org/CodeSystem/audit-entity-type", "1", "Person")),
            role: Some(Code::new("http://terminology.hl7.org/CodeSystem/object-role", "1", "Patient")),
            security_labels: vec![Code::new("http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "N", "")],
        }],
        ..AuditSpec::default()
    };
    let json = read(&audit_event(&spec).expect("writable"));
    assert_eq!(json["type"]["code"], "110106");
    assert_eq!(json["outcome"], "0");
    assert_eq!(json["agent"][1]["requestor"], true);
    assert_eq!(json["agent"][0]["policy"][0], "urn:x");
    assert_eq!(json["source"]["observer"]["identifier"]["value"], "1");
    assert_eq!(json["entity"][0]["securityLabel"][0]["code"], "N");
    assert_eq!(audit_event(&AuditSpec { agents: Vec::new(), ..spec.clone() }), Err(AuthorError::Missing { element: "AuditEvent.agent" }));
    assert_eq!(audit_event(&AuditSpec { recorded: "now".to_owned(), ..spec }), Err(AuthorError::Date { element: "AuditEvent.recorded" }));
}

#[test]
fn a_provenance_names_its_agents_and_sources() {
    let spec = ProvenanceSpec {
        targets: vec![Ref::literal("Observation/1")],
        recorded: "2024-05-06T07:08:09Z".to_owned(),
        agents: vec![ProvenanceAgentSpec { who: Ref::literal("Practitioner/1"), on_behalf_of: Some(Ref::literal("Organization/1")), kind: None }],
        sources: vec![Ref::literal("DocumentReference/1")],
        activity: Some(Code::new("http://terminology.hl7.org/CodeSystem/v3-DataOperation", "CREATE", "create")),
        ..ProvenanceSpec::default()
    };
    let json = read(&provenance(&spec).expect("writable"));
    assert_eq!(json["entity"][0]["role"], "source");
    assert_eq!(json["agent"][0]["onBehalfOf"]["reference"], "Organization/1");
    assert_eq!(provenance(&ProvenanceSpec { targets: Vec::new(), ..spec }), Err(AuthorError::Missing { element: "Provenance.target" }));
}

#[test]
fn an_outcome_has_at_least_one_issue() {
    let issue =
        IssueSpec { severity: Severity::Error, kind: IssueKind::Forbidden, text: "no consent covers this".to_owned(), expression: Some("Patient".to_owned()) };
    let json = read(&operation_outcome(&[issue]).expect("writable"));
    assert_eq!(json["issue"][0]["code"], "forbidden");
    assert_eq!(operation_outcome(&[]), Err(AuthorError::Missing { element: "OperationOutcome.issue" }));
}
