//! Builds the resources of a chart and numbers them; knows FHIR's shapes and nothing of the story.

use super::people::People;
use serde_json::{Map, Value, json};

const SNOMED: &str = "http://snomed.info/sct";
const LOINC: &str = "http://loinc.org";
const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
const CVX: &str = "http://hl7.org/fhir/sid/cvx";
const ICD_10_CM: &str = "http://hl7.org/fhir/sid/icd-10-cm";
const UCUM: &str = "http://unitsofmeasure.org";

/// The resources made so far. Ids are counted within a `space`, so that two Bundles never use one id for two things.
pub(super) struct Chart {
    space: u32,
    entries: Vec<Value>,
}

/// When, where and with whom something happened; what every resource of a visit repeats.
pub(super) struct Visit {
    encounter: Option<String>,
    date: String,
    by: String,
    at: String,
}

impl Visit {
    /// Something that happened outside of a visit, such as a laboratory's later result.
    pub(super) fn without_encounter(date: &str, by: &str, at: &str) -> Self {
        Self { encounter: None, date: date.to_owned(), by: by.to_owned(), at: at.to_owned() }
    }

    fn at_hour(&self, time: &str) -> String {
        format!("{}T{time}Z", self.date)
    }
}

fn concept(codings: Value, text: &str) -> Value {
    json!({"coding": codings, "text": text})
}

pub(super) fn snomed(code: &str, display: &str) -> Value {
    concept(json!([{"system": SNOMED, "code": code, "display": display}]), display)
}

pub(super) fn loinc(code: &str, display: &str) -> Value {
    concept(json!([{"system": LOINC, "code": code, "display": display}]), display)
}

pub(super) fn rxnorm(code: &str, display: &str) -> Value {
    concept(json!([{"system": RXNORM, "code": code, "display": display}]), display)
}

pub(super) fn cvx(code: &str, display: &str) -> Value {
    concept(json!([{"system": CVX, "code": code, "display": display}]), display)
}

/// A diagnosis in both SNOMED CT and ICD-10-CM, as hospitals send it; `display` is SNOMED's.
pub(super) fn diagnosis(snomed: &str, icd: &str, display: &str) -> Value {
    let codings = json!([
        {"system": SNOMED, "code": snomed, "display": display},
        {"system": ICD_10_CM, "code": icd},
    ]);
    concept(codings, display)
}

fn coded(system: &str, code: &str) -> Value {
    json!({"coding": [{"system": format!("http://terminology.hl7.org/CodeSystem/{system}"), "code": code}]})
}

fn link(reference: &str) -> Value {
    json!({"reference": reference})
}

/// The id of the `number`th resource of a space. The form is that of a random UUID (version 4, RFC 9562, section 5.4).
pub(super) fn id(space: u32, number: usize) -> String {
    format!("{space:08x}-5e7a-4000-8000-{number:012x}")
}

fn quantity(value: impl Into<Value>, unit: &str) -> Value {
    json!({"value": value.into(), "unit": unit, "system": UCUM, "code": unit})
}

impl Chart {
    pub(super) fn new(space: u32) -> Self {
        Self { space, entries: Vec::new() }
    }

    /// Adds a resource under the next id and returns the reference to it.
    pub(super) fn add(&mut self, kind: &str, mut resource: Value) -> String {
        let id = id(self.space, self.entries.len() + 1);
        let full_url = format!("urn:uuid:{id}");
        if let Some(fields) = resource.as_object_mut() {
            fields.insert("resourceType".into(), json!(kind));
            fields.insert("id".into(), json!(id));
            let meta = fields.entry("meta").or_insert_with(|| Value::Object(Map::new()));
            let test_data = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
            meta["tag"] = json!([{"system": test_data, "code": "HTEST", "display": "test health data"}]);
        }
        self.entries.push(json!({
            "fullUrl": full_url,
            "resource": resource,
            "request": {"method": "POST", "url": kind},
        }));
        full_url
    }

    pub(super) fn into_transaction(self) -> Vec<u8> {
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": self.entries});
        bundle.to_string().into_bytes()
    }

    /// Adds what happened at a visit: subject, encounter and the fields given.
    fn add_of(&mut self, people: &People, visit: &Visit, kind: &str, mut resource: Value) -> String {
        if let Some(fields) = resource.as_object_mut() {
            let subject = match kind {
                "AllergyIntolerance" | "Immunization" => "patient",
                _ => "subject",
            };
            fields.insert(subject.into(), link(&people.patient));
            if let Some(encounter) = &visit.encounter {
                fields.insert("encounter".into(), link(encounter));
            }
        }
        self.add(kind, resource)
    }

    /// A finished encounter of half an hour, or of fifty hours when `class` is `IMP`; `with` is the practitioner and the place.
    pub(super) fn encounter(&mut self, people: &People, date: &str, class: &str, kind: Value, reason: Option<Value>, with: (&str, &str)) -> Visit {
        let mut visit = Visit::without_encounter(date, with.0, with.1);
        let hours = if class == "IMP" { 50.0 } else { 0.5 };
        let mut resource = json!({
            "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": class},
            "type": [kind],
            "participant": [{"individual": link(with.0)}],
            "period": {"start": visit.at_hour("09:00:00")},
            "length": quantity(hours, "h"),
            "serviceProvider": link(with.1),
        });
        if class != "IMP" {
            resource["period"]["end"] = json!(visit.at_hour("09:30:00"));
        }
        if let Some(reason) = reason {
            resource["reasonCode"] = json!([reason]);
        }
        visit.encounter = Some(self.add_of(people, &visit, "Encounter", resource));
        visit
    }

    fn observation(&mut self, people: &People, visit: &Visit, category: &str, code: Value, value: Value) -> String {
        let mut resource = json!({
            "status": "final",
            "category": [coded("observation-category", category)],
            "code": code,
            "effectiveDateTime": visit.at_hour("09:10:00"),
            "issued": visit.at_hour("09:12:00"),
            "performer": [link(&visit.by)],
        });
        if let (Some(fields), Value::Object(value)) = (resource.as_object_mut(), value) {
            fields.extend(value);
        }
        self.add_of(people, visit, "Observation", resource)
    }

    pub(super) fn vital(&mut self, people: &People, visit: &Visit, code: Value, value: Value, unit: &str) -> String {
        self.observation(people, visit, "vital-signs", code, json!({"valueQuantity": quantity(value, unit)}))
    }

    pub(super) fn blood_pressure(&mut self, people: &People, visit: &Visit, systolic: u32, diastolic: u32) -> String {
        let parts = json!({"component": [
            {"code": loinc("8480-6", "Systolic blood pressure"), "valueQuantity": quantity(systolic, "mm[Hg]")},
            {"code": loinc("8462-4", "Diastolic blood pressure"), "valueQuantity": quantity(diastolic, "mm[Hg]")},
        ]});
        self.observation(people, visit, "vital-signs", loinc("85354-9", "Blood pressure panel"), parts)
    }

    pub(super) fn laboratory(&mut self, people: &People, visit: &Visit, code: Value, value: f64, unit: &str) -> String {
        self.observation(people, visit, "laboratory", code, json!({"valueQuantity": quantity(value, unit)}))
    }

    /// A finding in words or codes, such as "Not detected".
    pub(super) fn finding(&mut self, people: &People, visit: &Visit, category: &str, code: Value, value: Value) -> String {
        self.observation(people, visit, category, code, json!({"valueCodeableConcept": value}))
    }

    /// The total of a questionnaire.
    pub(super) fn score(&mut self, people: &People, visit: &Visit, code: Value, points: u32) -> String {
        self.observation(people, visit, "survey", code, json!({"valueQuantity": quantity(points, "{score}")}))
    }

    pub(super) fn report(&mut self, people: &People, visit: &Visit, code: Value, results: &[String], conclusion: &str) -> String {
        let resource = json!({
            "status": "final",
            "category": [coded("v2-0074", "LAB")],
            "code": code,
            "effectiveDateTime": visit.at_hour("09:10:00"),
            "issued": visit.at_hour("15:00:00"),
            "performer": [link(&people.laboratory)],
            "result": results.iter().map(|r| link(r)).collect::<Vec<_>>(),
            "conclusion": conclusion,
        });
        self.add_of(people, visit, "DiagnosticReport", resource)
    }

    /// A condition that began at the visit and, where `until` is given, ended then.
    pub(super) fn condition(&mut self, people: &People, visit: &Visit, code: Value, status: &str, until: Option<&str>) -> String {
        let mut resource = json!({
            "clinicalStatus": coded("condition-clinical", status),
            "verificationStatus": coded("condition-ver-status", "confirmed"),
            "category": [coded("condition-category", "problem-list-item")],
            "code": code,
            "onsetDateTime": visit.date,
            "recordedDate": visit.at_hour("09:20:00"),
            "recorder": link(&visit.by),
        });
        if let Some(until) = until {
            resource["abatementDateTime"] = json!(until);
        }
        self.add_of(people, visit, "Condition", resource)
    }

    /// A prescription: `code` is a CodeableConcept, or a reference to a Medication when it is a string.
    pub(super) fn prescription(&mut self, people: &People, visit: &Visit, code: Value, status: &str, reason: &str, dosage: &str) -> String {
        let mut resource = json!({
            "status": status,
            "intent": "order",
            "authoredOn": visit.at_hour("09:25:00"),
            "requester": link(&visit.by),
            "reasonReference": [link(reason)],
            "dosageInstruction": [{"text": dosage}],
        });
        match code {
            Value::String(medication) => resource["medicationReference"] = link(&medication),
            code => resource["medicationCodeableConcept"] = code,
        }
        self.add_of(people, visit, "MedicationRequest", resource)
    }

    pub(super) fn procedure(&mut self, people: &People, visit: &Visit, code: Value, reason: Option<&str>) -> String {
        let mut resource = json!({
            "status": "completed",
            "code": code,
            "performedDateTime": visit.at_hour("09:15:00"),
            "performer": [{"actor": link(&visit.by)}],
        });
        if let Some(reason) = reason {
            resource["reasonReference"] = json!([link(reason)]);
        }
        self.add_of(people, visit, "Procedure", resource)
    }

    pub(super) fn immunization(&mut self, people: &People, visit: &Visit, vaccine: Value) -> String {
        let resource = json!({
            "status": "completed",
            "vaccineCode": vaccine,
            "occurrenceDateTime": visit.at_hour("09:18:00"),
            "primarySource": true,
            "performer": [{"actor": link(&visit.by)}],
        });
        self.add_of(people, visit, "Immunization", resource)
    }

    pub(super) fn allergy(&mut self, people: &People, visit: &Visit, code: Value, category: &str, reaction: Value) -> String {
        let resource = json!({
            "clinicalStatus": coded("allergyintolerance-clinical", "active"),
            "verificationStatus": coded("allergyintolerance-verification", "confirmed"),
            "type": "allergy",
            "category": [category],
            "criticality": "low",
            "code": code,
            "recordedDate": visit.at_hour("09:20:00"),
            "recorder": link(&visit.by),
            "reaction": [{"manifestation": [reaction]}],
        });
        self.add_of(people, visit, "AllergyIntolerance", resource)
    }

    /// A note in plain text, inline in a DocumentReference. Returns the resource for the caller to label and [`Chart::add`].
    pub(super) fn note_resource(people: &People, visit: &Visit, kind: Value, title: &str, text: &str) -> Value {
        json!({
            "status": "current",
            "docStatus": "final",
            "type": kind,
            "category": [{"coding": [{
                "system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
                "code": "clinical-note",
                "display": "Clinical Note",
            }]}],
            "subject": link(&people.patient),
            "date": visit.at_hour("16:00:00"),
            "author": [link(&visit.by)],
            "custodian": link(&visit.at),
            "description": title,
            "content": [{"attachment": {
                "contentType": "text/plain; charset=utf-8",
                "title": title,
                "data": base64(text.as_bytes()),
            }}],
            "context": {"encounter": visit.encounter.iter().map(|e| link(e)).collect::<Vec<_>>()},
        })
    }

    pub(super) fn note(&mut self, people: &People, visit: &Visit, kind: Value, title: &str, text: &str) -> String {
        self.add("DocumentReference", Self::note_resource(people, visit, kind, title, text))
    }

    /// A radiological study of one series and its report. `study` is the code of what was done.
    pub(super) fn imaging(&mut self, people: &People, visit: &Visit, modality: &str, study: Value, conclusion: &str) {
        let uid = format!("2.25.5307{:06}", self.entries.len());
        let dicom = json!({"system": "http://dicom.nema.org/resources/ontology/DCM", "code": modality});
        let imaging = self.add_of(
            people,
            visit,
            "ImagingStudy",
            json!({
                "identifier": [{"system": "urn:dicom:uid", "value": format!("urn:oid:{uid}")}],
                "status": "available",
                "modality": [dicom],
                "started": visit.at_hour("10:00:00"),
                "interpreter": [link(&people.radiologist)],
                "numberOfSeries": 1,
                "numberOfInstances": 2,
                "procedureCode": [study],
                "series": [{"uid": format!("{uid}.1"), "number": 1, "modality": dicom, "numberOfInstances": 2}],
            }),
        );
        let report = json!({
            "status": "final",
            "category": [coded("v2-0074", "RAD")],
            "code": study,
            "effectiveDateTime": visit.at_hour("10:00:00"),
            "issued": visit.at_hour("14:00:00"),
            "performer": [link(&people.radiologist)],
            "imagingStudy": [link(&imaging)],
            "conclusion": conclusion,
        });
        self.add_of(people, visit, "DiagnosticReport", report);
    }

    /// A care plan and the team that carries it out.
    pub(super) fn plan(&mut self, people: &People, visit: &Visit, category: Value, reason: &str, activities: &[Value], active: bool) {
        let status = if active { "active" } else { "inactive" };
        let team = self.add_of(
            people,
            visit,
            "CareTeam",
            json!({
                "status": status,
                "name": category["text"],
                "period": {"start": visit.date},
                "participant": [{"member": link(&people.patient)}, {"member": link(&visit.by)}],
                "reasonReference": [link(reason)],
                "managingOrganization": [link(&visit.at)],
            }),
        );
        let status = if active { "active" } else { "completed" };
        self.add_of(
            people,
            visit,
            "CarePlan",
            json!({
                "status": status,
                "intent": "order",
                "category": [category],
                "period": {"start": visit.date},
                "careTeam": [link(&team)],
                "addresses": [link(reason)],
                "activity": activities
                    .iter()
                    .map(|code| json!({"detail": {"status": "in-progress", "code": code}}))
                    .collect::<Vec<_>>(),
            }),
        );
    }

    /// A claim for the visit, in whole dollars, and what the insurer answered.
    pub(super) fn claim(&mut self, people: &People, visit: &Visit, service: Value, reason: Option<&str>, dollars: u32) {
        let money = |amount: u32| json!({"value": amount, "currency": "USD"});
        let mut item = json!({
            "sequence": 1,
            "productOrService": service,
            "net": money(dollars),
            "encounter": visit.encounter.iter().map(|e| link(e)).collect::<Vec<_>>(),
        });
        let mut claim = json!({
            "status": "active",
            "type": coded("claim-type", "professional"),
            "use": "claim",
            "patient": link(&people.patient),
            "created": visit.at_hour("18:00:00"),
            "billablePeriod": {"start": visit.date, "end": visit.date},
            "provider": link(&visit.at),
            "priority": coded("processpriority", "normal"),
            "insurance": [{"sequence": 1, "focal": true, "coverage": link(&people.coverage)}],
            "total": money(dollars),
        });
        if let Some(reason) = reason {
            claim["diagnosis"] = json!([{"sequence": 1, "diagnosisReference": link(reason)}]);
            item["diagnosisSequence"] = json!([1]);
        }
        let mut benefit = claim.clone();
        claim["item"] = json!([item]);
        let claim = self.add("Claim", claim);
        if let Some(fields) = benefit.as_object_mut() {
            fields.remove("priority");
            fields.remove("total");
        }
        benefit["insurer"] = link(&people.insurer);
        benefit["insurance"] = json!([{"focal": true, "coverage": link(&people.coverage)}]);
        benefit["claim"] = link(&claim);
        benefit["outcome"] = json!("complete");
        benefit["item"] = json!([item]);
        benefit["payment"] = json!({"amount": money(dollars / 5 * 4)});
        self.add("ExplanationOfBenefit", benefit);
    }
}

/// Base64 with padding (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let index = (group >> (18 - 6 * i) & 0x3f) as usize;
            text.push(if i > chunk.len() { '=' } else { char::from(ALPHABET[index]) });
        }
    }
    text
}
