//! Who appears in the story: the patient, those who care for her and where they work. All of them are invented.

use super::chart::{Chart, id};
use serde_json::{Value, json};

/// References to everybody in the story.
pub(super) struct People {
    pub(super) patient: String,
    pub(super) practice: String,
    pub(super) hospital: String,
    pub(super) behavioral: String,
    pub(super) laboratory: String,
    pub(super) insurer: String,
    pub(super) gp: String,
    pub(super) gynecologist: String,
    pub(super) psychiatrist: String,
    pub(super) surgeon: String,
    pub(super) radiologist: String,
    pub(super) geneticist: String,
    pub(super) coverage: String,
}

/// Resource type and number of everybody, in the order of [`People`]'s fields; the numbers are those that
/// [`People::enrol`] is given by an empty chart.
const KINDS: [&str; 13] = [
    "Patient",
    "Organization",
    "Organization",
    "Organization",
    "Organization",
    "Organization",
    "Practitioner",
    "Practitioner",
    "Practitioner",
    "Practitioner",
    "Practitioner",
    "Practitioner",
    "Coverage",
];

impl People {
    /// Adds everybody to an empty chart.
    pub(super) fn enrol(chart: &mut Chart) -> Self {
        let patient = chart.add("Patient", patient());
        let mut organization = |number, name, kind| chart.add("Organization", organization(number, name, kind));
        let practice = organization(1, "Riverbend Family Practice (synthetic)", "prov");
        let hospital = organization(2, "Riverbend General Hospital (synthetic)", "prov");
        let behavioral = organization(3, "Lakeside Behavioral Health (synthetic)", "prov");
        let laboratory = organization(4, "Riverbend Laboratory (synthetic)", "prov");
        let insurer = organization(5, "Example Health Plan (synthetic)", "ins");
        let mut practitioner = |number, given, family, gender| chart.add("Practitioner", practitioner(number, given, family, gender));
        let gp = practitioner(1, "Ingrid", "Okafor", "female");
        let gynecologist = practitioner(2, "Leila", "Haddad", "female");
        let psychiatrist = practitioner(3, "Samuel", "Wren", "male");
        let surgeon = practitioner(4, "Tomas", "Berg", "male");
        let radiologist = practitioner(5, "Yuki", "Tanaka", "female");
        let geneticist = practitioner(6, "Amara", "Nwosu", "female");
        let coverage = chart.add(
            "Coverage",
            json!({
                "status": "active",
                "type": {"text": "Health plan of the employer"},
                "subscriberId": "SYN-PLAN-0001",
                "beneficiary": {"reference": patient},
                "period": {"start": "2014-01-01"},
                "payor": [{"reference": insurer}],
            }),
        );
        Self { patient, practice, hospital, behavioral, laboratory, insurer, gp, gynecologist, psychiatrist, surgeon, radiologist, geneticist, coverage }
    }

    /// The same people for a later Bundle that does not contain them: references by type and id.
    pub(super) fn elsewhere() -> Self {
        let [patient, practice, hospital, behavioral, laboratory, insurer, gp, gynecologist, psychiatrist, surgeon, radiologist, geneticist, coverage] =
            std::array::from_fn(|i| format!("{}/{}", KINDS[i], id(0, i + 1)));
        Self { patient, practice, hospital, behavioral, laboratory, insurer, gp, gynecologist, psychiatrist, surgeon, radiologist, geneticist, coverage }
    }
}

fn patient() -> Value {
    json!({
        "text": {
            "status": "generated",
            "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Maria Alvarez-Lind, born 17 March 1984. Synthetic: not a real person.</p></div>",
        },
        "identifier": [{
            "type": {"coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/v2-0203",
                "code": "MR",
                "display": "Medical Record Number",
            }]},
            "system": "urn:example:riverbend:mrn",
            "value": "SYN-000001",
        }],
        "active": true,
        "name": [{"use": "official", "family": "Alvarez-Lind", "given": ["Maria"]}],
        "telecom": [
            {"system": "phone", "value": "555-0142", "use": "mobile"},
            {"system": "email", "value": "maria@example.org"},
        ],
        "gender": "female",
        "birthDate": "1984-03-17",
        "address": [{
            "use": "home",
            "line": ["1 Example Street"],
            "city": "Springfield",
            "state": "MA",
            "postalCode": "01101",
            "country": "US",
        }],
        "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "en-US"}]}, "preferred": true}],
    })
}

fn organization(number: u32, name: &str, kind: &str) -> Value {
    json!({
        "identifier": [{"system": "urn:example:organization", "value": format!("SYN-ORG-{number}")}],
        "active": true,
        "type": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/organization-type", "code": kind}]}],
        "name": name,
        "telecom": [{"system": "phone", "value": format!("555-01{:02}", 10 + number)}],
        "address": [{"city": "Springfield", "state": "MA", "country": "US"}],
    })
}

fn practitioner(number: u32, given: &str, family: &str, gender: &str) -> Value {
    json!({
        "identifier": [{"system": "urn:example:practitioner", "value": format!("SYN-DR-{number}")}],
        "active": true,
        "name": [{"use": "official", "family": family, "given": [given], "prefix": ["Dr."]}],
        "gender": gender,
    })
}
