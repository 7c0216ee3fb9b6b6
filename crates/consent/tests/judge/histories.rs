//! Made-up histories: Consents that are signed, run out and are withdrawn, and what is asked meanwhile.
//!
//! Everything comes from small pools, so that what is written meets what is asked; and from one number, so that it can be had again.

use chartmesh_consent::{Action, Limits, Request, Terms};
use chartmesh_records::{Category, Coding, ResourceFacts, Sensitivity, Typed};
use serde_json::{Map, Value, json};

use crate::codes::{
    ACT_CODE, ACT_REASON, CONFIDENTIALITY, CONSENT_ACTION, CONSENT_SCOPE, OWN_ACTION, OWN_CATEGORY, OWN_SENSITIVITY, PARTICIPATION, RESOURCE_TYPES,
};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).expect("below a usize")
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.roll() % 100 < chance
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn some<T: Copy>(&mut self, chance: u64, all: &[T]) -> Option<T> {
        self.percent(chance).then(|| self.pick(all))
    }
}

/// A Consent on file.
pub(crate) struct Paper {
    pub(crate) json: Value,
    /// From when it is on file, and from when it is withdrawn.
    pub(crate) signed: i64,
    pub(crate) withdrawn: Option<i64>,
    /// The terms that it was written from, if by us.
    pub(crate) ours: Option<Terms>,
}

impl Paper {
    pub(crate) fn again(&self) -> Self {
        Self { json: self.json.clone(), ours: self.ours.clone(), ..*self }
    }
}

/// What happened to one patient.
pub(crate) struct History {
    pub(crate) papers: Vec<Paper>,
    pub(crate) requests: Vec<Request>,
    pub(crate) records: Vec<ResourceFacts>,
    /// By which references the Consents are said to call the party that they are granted to.
    pub(crate) known_as: Vec<String>,
}

/// The party that Consents are granted to.
pub(crate) const PARTY: &str = "urn:chartmesh:party:a";
const UUID: &str = "6d1f4a52-0000-4000-8000-000000000000";
const WHO: [&str; 13] = [
    PARTY,
    PARTY,
    "Practitioner/1",
    "Practitioner/1",
    "Practitioner/2",
    "Organization/1",
    "Group/1",
    "https://a.example/fhir/Practitioner/1",
    "https://b.example/fhir/Practitioner/1",
    "urn:uuid:6d1f4a52-0000-4000-8000-000000000000",
    "urn:chartmesh:party:b",
    "urn:oid:1.2.3",
    "Practitioner/1/_history/2",
];
const DATES: [&str; 16] = [
    "2023",
    "2023-11",
    "2023-11-14",
    "2023-11-15",
    "2023-11-16",
    "2023-11-14T22:13:20Z",
    "2023-11-15T00:00:00+14:00",
    "2023-11-15T12:00:00Z",
    "2023-11-15T13:00:00+01:00",
    "2023-11-14T12:00:00-12:00",
    "2023-11-15T23:59:59.5-05:00",
    "2023-12-31T23:59:60Z",
    "2024-02",
    "2024-02-29",
    "2024",
    "2022-12-31",
];
/// Where something begins or ends by one of [`DATES`], and a moment within.
const MOMENTS: [i64; 16] = [
    1_672_531_200,
    1_698_796_800,
    1_699_920_000,
    1_699_956_000,
    1_700_000_000,
    1_700_006_400,
    1_700_049_600,
    1_700_092_800,
    1_700_110_800,
    1_700_179_200,
    1_701_388_800,
    1_704_067_199,
    1_706_745_600,
    1_709_164_800,
    1_709_251_200,
    1_735_689_600,
];
const REASONS: [&str; 9] = ["TREAT", "TREAT", "TREAT", "ETREAT", "BTG", "HPAYMT", "HRESCH", "CLINTRCHPC", "PurposeOfUse"];
const SENSITIVE: [&str; 18] =
    ["MH", "PSY", "PSYTHPN", "SUD", "ETH", "ETHUD", "BH", "SPI", "COGN", "HIV", "SEX", "STD", "GDIS", "SCA", "VIO", "SDV", "42CFRPart2", "TBOO"];
const CODES: [(&str, &str); 4] = [("http://loinc.org", "4548-4"), ("http://loinc.org", "718-7"), ("", "718-7"), ("http://snomed.info/sct", "718-7")];
const SELECTORS: [&str; 14] = [
    "all",
    "results",
    "notes",
    "general",
    "mental-health",
    "substance-use",
    "hiv",
    "violence",
    "mental-health/results",
    "Observation/1",
    "Encounter/1",
    "http://loinc.org|718-7",
    "http://terminology.hl7.org/CodeSystem/v3-ActCode|PSY",
    "http://terminology.hl7.org/CodeSystem/v3-Confidentiality|N",
];

pub(crate) fn history(dice: &mut Dice) -> History {
    let papers = (0..1 + dice.below(3)).map(|_| paper(dice)).collect();
    let requests = (0..2 + dice.below(2)).map(|_| request(dice)).collect();
    let records = (0..2 + dice.below(2)).map(|_| record(dice)).collect();
    let known_as = (0..dice.below(3)).map(|_| dice.pick(&WHO).to_owned()).collect();
    History { papers, requests, records, known_as }
}

fn moment(dice: &mut Dice) -> i64 {
    dice.pick(&MOMENTS) + dice.pick(&[-1, 0, 0, 1, 3600])
}

pub(crate) fn request(dice: &mut Dice) -> Request {
    let system = if dice.percent(5) { "urn:x" } else { ACT_REASON };
    let mut request = Request::read("ledger", dice.pick(&WHO), Coding::new(system, dice.pick(&REASONS)), moment(dice));
    request.acts_for = (0..dice.below(3)).map(|_| dice.pick(&["Organization/1", "Organization/2", "Group/1", "Group/2"]).to_owned()).collect();
    request.action = match dice.below(10) {
        0 => Action::Use,
        1 => Action::Disclose,
        2 => dice.pick(&[Action::Collect, Action::Correct, Action::KeepSealed]),
        _ => Action::Access,
    };
    request.custodian = dice.some(60, &["Organization/1", "Organization/2", "https://a.example/fhir/Organization/1"]).map(str::to_owned);
    request
}

pub(crate) fn record(dice: &mut Dice) -> ResourceFacts {
    let mut sensitivities = std::collections::BTreeSet::new();
    while dice.percent(35) {
        sensitivities.insert(dice.pick(&Sensitivity::ALL[1..]));
    }
    if sensitivities.is_empty() {
        sensitivities.insert(Sensitivity::General);
    }
    let level = dice.some(90, &["L", "N", "N", "R", "V"]).map(|code| Coding::new(CONFIDENTIALITY, code));
    let mut security: Vec<Coding> = (0..dice.below(3)).map(|_| Coding::new(ACT_CODE, dice.pick(&SENSITIVE))).collect();
    security.extend(dice.some(20, &["U", "N", "R"]).map(|code| Coding::new(CONFIDENTIALITY, code)));
    let dated = dice.percent(85);
    ResourceFacts {
        resource_type: dice.pick(&["Observation", "Observation", "Condition", "Encounter", "Practitioner", "Medication"]).to_owned(),
        id: dice.pick(&["1", "1", "2", UUID]).to_owned(),
        version: dice.some(60, &["2", "3"]).map(str::to_owned),
        last_updated: None,
        date: dated.then(|| if dice.percent(3) { "2023-02-30" } else { dice.pick(&DATES) }.to_owned()),
        category: dice.pick(&[Category::Results, Category::Results, Category::Notes, Category::Admin]),
        sensitivities,
        security,
        labels: level.into_iter().chain(dice.some(30, &SENSITIVE).map(|code| Coding::new(ACT_CODE, code))).collect(),
        codes: (0..dice.below(3)).map(|_| dice.pick(&CODES)).map(|(system, code)| Coding::new(system, code)).collect(),
        authors: (0..dice.below(3))
            .map(|_| {
                if dice.percent(10) { dice.pick(&["Practitioner?identifier=x|9", "https://a.example/Organization?name=x", "#author"]) } else { dice.pick(&WHO) }
                    .to_owned()
            })
            .collect(),
        encounter: dice
            .some(60, &["Encounter/1", "Encounter/1", "Encounter/2", "https://a.example/fhir/Encounter/1", "Encounter?identifier=9"])
            .map(str::to_owned),
        subject: dice.some(80, &["Patient/1"]).map(str::to_owned),
        title: None,
        source: dice.some(50, &["https://a.example/fhir", "https://a.example/fhir/", "https://b.example"]).map(str::to_owned),
        typed: Typed::Ok,
        hash: [0; 32],
        length: 0,
    }
}

fn paper(dice: &mut Dice) -> Paper {
    let ours = dice.percent(30).then(|| terms(dice));
    let written = ours.as_ref().and_then(|terms| crate::compare::written(terms, PARTY));
    let mut ours = ours.filter(|_| written.is_some());
    let mut json = written.unwrap_or_else(|| consent(dice));
    if dice.percent(4) {
        damage(dice, &mut json);
        ours = None;
    }
    let signed = moment(dice);
    Paper { json, signed, withdrawn: dice.percent(25).then(|| signed + dice.pick(&[1, 86_400, 40_000_000])), ours }
}

/// Terms as a command line makes them.
fn terms(dice: &mut Dice) -> Terms {
    let mut selectors = |most| (0..dice.below(most)).map(|_| dice.pick(&SELECTORS).parse().expect("a selector")).collect::<Vec<_>>();
    let (read, except) = (selectors(3), selectors(4));
    let limits = Limits {
        purposes: (0..dice.below(3)).map(|_| Coding::new(ACT_REASON, dice.pick(&REASONS))).collect(),
        data_from: dice.some(20, &DATES).map(str::to_owned),
        data_until: dice.some(20, &DATES).map(str::to_owned),
        expires: dice.percent(30).then(|| moment(dice)),
        write: dice.percent(30),
        custodian: dice.percent(20),
    };
    Terms::from_cli(&read, &except, limits.clone()).or_else(|_| Terms::from_cli(&read, &except, Limits { data_until: None, ..limits })).expect("terms")
}

/// A Consent as others write it.
fn consent(dice: &mut Dice) -> Value {
    let mut consent = json!({
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": CONSENT_SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": "Patient/1"},
    });
    let rule = dice.some(60, &["OPTIN", "OPTOUT", "42CFRPart2"]);
    if let Some(code) = rule {
        consent["policyRule"] = json!({"coding": [{"system": ACT_CODE, "code": code}]});
    }
    if dice.percent(4) {
        // To add records, or to keep them sealed, beside what may be read.
        let (system, code) = dice.pick(&[(CONSENT_ACTION, "collect"), (OWN_ACTION, "keep-sealed")]);
        let adds = json!({"type": "permit", "action": [{"coding": [{"system": system, "code": code}]}]});
        let reads = provision(dice, Some("permit"), 1);
        consent["provision"] = json!({"type": "deny", "provision": [adds, reads]});
    } else if dice.percent(92) || rule.is_none() {
        let untyped = rule == Some("OPTIN") && dice.percent(50);
        let kind = if untyped { None } else { Some(if dice.percent(60) { "permit" } else { "deny" }) };
        consent["provision"] = provision(dice, kind, if untyped { 0 } else { 2 });
    }
    consent
}

fn provision(dice: &mut Dice, kind: Option<&str>, depth: usize) -> Value {
    let mut provision = Map::new();
    if let Some(kind) = kind {
        provision.insert("type".to_owned(), json!(kind));
    }
    for (name, chance) in [("period", 12), ("dataPeriod", 18)] {
        if dice.percent(chance) {
            provision.insert(name.to_owned(), period(dice));
        }
    }
    let roles = if dice.percent(12) { &["AUT", "CST", "IRCP"][..] } else { &["IRCP", "IRCP", "PRCP"] };
    let role = dice.pick(roles);
    let mut repeat = |name: &str, chance: u64, one: &mut dyn FnMut(&mut Dice) -> Value| {
        if dice.percent(chance) {
            let values: Vec<Value> = (0..1 + dice.below(2)).map(|_| one(dice)).collect();
            provision.insert(name.to_owned(), Value::Array(values));
        }
    };
    repeat("actor", 30, &mut |dice| {
        let role = if dice.percent(if kind == Some("permit") { 10 } else { 3 }) { "AUT" } else { role };
        json!({"role": {"coding": [{"system": PARTICIPATION, "code": role}]}, "reference": {"reference": dice.pick(&WHO)}})
    });
    repeat("action", 20, &mut |dice| {
        let (system, code) = match dice.below(6) {
            0 => (OWN_ACTION, "keep-sealed"),
            1 => (CONSENT_ACTION, "collect"),
            2 => (CONSENT_ACTION, "disclose"),
            3 => (CONSENT_ACTION, "use"),
            _ => (CONSENT_ACTION, "access"),
        };
        json!({"coding": [{"system": system, "code": code}]})
    });
    repeat("securityLabel", 30, &mut |dice| {
        let (system, code) = match dice.below(10) {
            0..4 => (OWN_SENSITIVITY, dice.pick(&Sensitivity::ALL).as_str()),
            4..6 => (CONFIDENTIALITY, dice.pick(&["L", "N", "R", "V"])),
            _ => (ACT_CODE, dice.pick(&SENSITIVE)),
        };
        json!({"system": system, "code": code})
    });
    repeat("purpose", 25, &mut |dice| json!({"system": if dice.percent(4) { "urn:x" } else { ACT_REASON }, "code": dice.pick(&REASONS)}));
    repeat("class", 20, &mut |dice| match dice.below(3) {
        0 => json!({"system": RESOURCE_TYPES, "code": dice.pick(&["Observation", "Condition", "Medication"])}),
        _ => json!({"system": OWN_CATEGORY, "code": dice.pick(&["results", "notes", "admin"])}),
    });
    repeat("code", 10, &mut |dice| {
        let (system, code) = dice.pick(&CODES);
        json!({"coding": [if system.is_empty() { json!({"code": code}) } else { json!({"system": system, "code": code}) }]})
    });
    repeat("data", 15, &mut |dice| {
        let named = [
            "Observation/1",
            "Observation/1/_history/2",
            "Encounter/1",
            "https://a.example/fhir/Observation/1",
            "Practitioner/1",
            "Patient/1",
            &format!("urn:uuid:{}", UUID.to_uppercase()),
        ];
        json!({"meaning": dice.pick(&["instance", "instance", "related", "dependents", "authoredby"]), "reference": {"reference": dice.pick(&named)}})
    });
    if depth > 0 && dice.percent(55) {
        let nested = (0..1 + dice.below(2)).map(|_| {
            let kind = dice.pick(&["permit", "deny"]);
            self::provision(dice, Some(kind), depth - 1)
        });
        let nested: Vec<Value> = nested.collect();
        provision.insert("provision".to_owned(), Value::Array(nested));
    }
    Value::Object(provision)
}

fn period(dice: &mut Dice) -> Value {
    let (start, end) = (dice.pick(&DATES), dice.pick(&DATES));
    match dice.below(3) {
        0 => json!({"start": start}),
        1 => json!({"end": end}),
        _ => json!({"start": start, "end": end}),
    }
}

/// Something that cannot be followed, or must not be.
fn damage(dice: &mut Dice, consent: &mut Value) {
    match dice.below(14) {
        0 => consent["status"] = json!(dice.pick(&["draft", "proposed", "rejected", "entered-in-error", "on-hold"])),
        1 => consent["scope"]["coding"][0]["code"] = json!("research"),
        2 => consent["verification"] = json!([{"verified": dice.percent(50)}]),
        3 => consent["policyRule"] = json!({"coding": [{"system": ACT_CODE, "code": dice.pick(&["EMRGONLY", "OPTINR", "OPTIN"])}]}),
        4 => consent["modifierExtension"] = json!([{"url": "urn:x", "valueBoolean": true}]),
        5 => consent["resourceType"] = json!("Contract"),
        _ if !consent["provision"].is_object() => {}
        6 => drop(consent["provision"].as_object_mut().and_then(|root| root.remove("type"))),
        7 => consent["provision"]["modifierExtension"] = json!([{"url": "urn:x", "valueBoolean": true}]),
        8 => consent["provision"]["class"] = json!([]),
        9 => consent["provision"]["action"] = json!([{"coding": [{"system": CONSENT_ACTION, "code": "sell"}]}]),
        10 => consent["provision"]["period"] = json!({"start": dice.pick(&["2023-13", "soon", "2023-02-29"])}),
        11 => {
            let role = dice.pick(&["CALLBCK", "IRCP", "AUT"]);
            let reference = dice.pick(&["#him", "Practitioner?identifier=x|9", "Practitioner/1"]);
            consent["provision"]["actor"] = json!([{"role": {"coding": [{"system": PARTICIPATION, "code": role}]}, "reference": {"reference": reference}}]);
        }
        12 => {
            let reference = dice.pick(&["#that", "Observation?code=1", "https://a.example/that", "urn:oid:1.2.3"]);
            consent["provision"]["data"] = json!([{"meaning": "instance", "reference": {"reference": reference}}]);
        }
        _ => consent["provision"]["provision"] = json!([{"securityLabel": [{"system": ACT_CODE, "code": "PSY"}]}]),
    }
}
