//! Facts, requests and terms for the tests of this crate.

use chartmesh_records::{Category, Coding, ResourceFacts, Sensitivity, Typed};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    decide::{Decision, Request},
    label::{ACT_CODE, CONFIDENTIALITY},
    policy::{Action, Class, DataPeriod, DataReference, Effect, Label, Meaning, Period, Provision},
    purpose,
    selector::Selector,
    terms::{Law, Terms},
};

pub(crate) fn facts(resource_type: &str, id: &str) -> ResourceFacts {
    ResourceFacts {
        resource_type: resource_type.to_owned(),
        id: id.to_owned(),
        version: None,
        last_updated: None,
        date: Some("2021-06-01".to_owned()),
        category: Category::Results,
        sensitivities: [Sensitivity::General].into(),
        security: Vec::new(),
        labels: vec![Coding::new(CONFIDENTIALITY, "N")],
        codes: Vec::new(),
        authors: vec!["Practitioner/1".to_owned()],
        encounter: None,
        subject: Some("Patient/1".to_owned()),
        title: None,
        source: None,
        typed: Typed::Ok,
        hash: [0; 32],
        length: 0,
    }
}

pub(crate) fn request(requester: &str) -> Request {
    Request::read("ledger", requester, purpose::act_reason(purpose::TREAT), 1_700_000_000)
}

pub(crate) fn permitted(decision: &Decision) -> bool {
    matches!(decision, Decision::Permit(_))
}

fn any_category() -> impl Strategy<Value = Category> {
    select(Category::ALL.to_vec())
}

fn any_sensitivity() -> impl Strategy<Value = Sensitivity> {
    select(Sensitivity::ALL.to_vec())
}

fn any_date() -> impl Strategy<Value = String> {
    select(vec!["2020", "2021-06", "2021-06-01", "2021-06-01T12:00:00Z", "2021-06-01T23:30:00-05:00", "2022-02-28", "2023-01-01T00:00:00+02:00"])
        .prop_map(str::to_owned)
}

fn any_code() -> impl Strategy<Value = Coding> {
    select(vec![("http://loinc.org", "4548-4"), ("http://loinc.org", "718-7"), ("http://snomed.info/sct", "370143000"), ("", "718-7")])
        .prop_map(|(system, code)| Coding::new(system, code))
}

fn any_label_code() -> impl Strategy<Value = Coding> {
    let act = select(vec!["BH", "MH", "PSY", "SUD", "ETH", "ETHUD", "HIV", "SDV", "TABOO"]).prop_map(|code| Coding::new(ACT_CODE, code));
    let level = select(vec!["L", "N", "R", "V"]).prop_map(|code| Coding::new(CONFIDENTIALITY, code));
    prop_oneof![act, level]
}

fn any_who() -> impl Strategy<Value = String> {
    select(vec![
        "party-a",
        "party-b",
        "Practitioner/1",
        "Practitioner/2",
        "Organization/1",
        "https://a.example/fhir/Practitioner/1",
        "urn:uuid:6d1f4a52-0000-4000-8000-000000000000",
    ])
    .prop_map(str::to_owned)
}

fn any_purpose() -> impl Strategy<Value = Coding> {
    prop_oneof![
        8 => select(vec!["TREAT", "ETREAT", "BTG", "HPAYMT", "HRESCH", "CLINTRCH"]).prop_map(purpose::act_reason),
        1 => Just(purpose::act_reason(purpose::ANY)),
        1 => Just(Coding::new("urn:x", "FooBar")),
    ]
}

prop_compose! {
    pub(crate) fn any_facts()(
        kind in select(vec!["Observation", "Condition", "Encounter"]),
        id in select(vec!["1", "2", "3"]),
        date in option::weighted(0.8, any_date()),
        category in any_category(),
        marks in vec(any_sensitivity(), 0..3),
        security in vec(any_label_code(), 0..3),
        level in select(vec!["N", "R", "V"]),
        codes in vec(any_code(), 0..3),
        authors in vec(any_who(), 0..3),
        encounter in option::of(select(vec!["Encounter/1", "Encounter/2"])),
        source in option::of(Just("https://a.example/fhir".to_owned())),
    ) -> ResourceFacts {
        let mut resource = facts(kind, id);
        resource.date = date;
        resource.category = category;
        resource.sensitivities = marks.into_iter().filter(|mark| *mark != Sensitivity::General).collect();
        if resource.sensitivities.is_empty() {
            resource.sensitivities.insert(Sensitivity::General);
        }
        resource.security = security;
        resource.labels = vec![Coding::new(CONFIDENTIALITY, level)];
        resource.codes = codes;
        resource.authors = authors;
        resource.encounter = encounter.map(str::to_owned);
        resource.source = source;
        resource
    }
}

prop_compose! {
    pub(crate) fn any_request()(
        requester in any_who(),
        acts_for in vec(any_who(), 0..2),
        purpose in any_purpose(),
        action in prop_oneof![6 => Just(Action::Access), 1 => Just(Action::Disclose), 1 => Just(Action::Collect)],
        custodian in option::of(any_who()),
        now in 1_000_i64..3_000,
    ) -> Request {
        Request { patient: "ledger".to_owned(), requester, acts_for, purpose, action, custodian, now }
    }
}

pub(crate) fn any_selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        Just(Selector::All),
        any_category().prop_map(Selector::Category),
        any_sensitivity().prop_map(Selector::Sensitivity),
        (any_sensitivity(), any_category()).prop_map(|(sensitivity, category)| Selector::Compartment(sensitivity, category)),
        ("[a-z]{1,8}:[!-{}~]{0,12}", "[!-{}~]{1,12}").prop_map(|(system, code)| Selector::Code(Coding::new(system, code))),
        any_label_code().prop_map(Selector::Code),
        any_code().prop_filter("has a system", |code| !code.system.is_empty()).prop_map(Selector::Code),
        (select(vec!["Observation", "Condition"]), "[A-Za-z0-9.-]{1,64}").prop_map(|(kind, id)| Selector::Resource { resource_type: kind.to_owned(), id }),
        select(vec!["1", "2"]).prop_map(|id| Selector::Resource { resource_type: "Observation".to_owned(), id: id.to_owned() }),
    ]
}

fn any_label() -> impl Strategy<Value = Label> {
    prop_oneof![any_sensitivity().prop_map(Label::Sensitivity), any_label_code().prop_map(Label::Code)]
}

fn any_data() -> impl Strategy<Value = DataReference> {
    (
        select(vec![Meaning::Instance, Meaning::Related, Meaning::Dependents, Meaning::AuthoredBy]),
        select(vec!["Observation/1", "Encounter/1", "https://a.example/fhir/Condition/2", "Practitioner/1", "Task/1"]),
    )
        .prop_map(|(meaning, reference)| DataReference { meaning, reference: reference.to_owned() })
}

fn any_effect() -> impl Strategy<Value = Effect> {
    prop_oneof![3 => Just(Effect::Permit), 2 => Just(Effect::Deny)]
}

fn any_span() -> impl Strategy<Value = Period> {
    (option::of(500_i64..2_000), option::of(1_500_i64..4_000)).prop_map(|(start, end)| Period { start, end })
}

/// Fields drawn sparsely: with all of them set nothing would ever match.
fn any_rule() -> impl Strategy<Value = Provision> {
    let sparse = |weight: f64| option::weighted(weight, Just(()));
    (
        any_effect(),
        (option::weighted(0.1, any_span()), option::weighted(0.15, (option::of(any_date()), option::of(any_date())))),
        (vec(any_who(), 1..3), sparse(0.2), vec(any_who(), 1..3), sparse(0.05), sparse(0.05)),
        (vec(any_label(), 1..3), sparse(0.4)),
        (vec(any_purpose(), 1..3), sparse(0.2)),
        (vec(prop_oneof![3 => any_category().prop_map(Class::Category), 1 => Just(Class::Type("Observation".to_owned()))], 1..3), sparse(0.3)),
        (vec(any_code(), 1..3), sparse(0.1)),
        (vec(any_data(), 1..3), sparse(0.15)),
        (vec(select(vec![Action::Access, Action::Use, Action::Disclose, Action::Collect]), 1..3), sparse(0.1)),
    )
        .prop_map(|(effect, (period, dates), (who, has_who, keepers, has_keepers, has_authors), labels, purposes, classes, codes, data, actions)| {
            fn kept<T>((values, keep): (Vec<T>, Option<()>)) -> Vec<T> {
                keep.map_or_else(Vec::new, |()| values)
            }
            Provision {
                effect,
                period,
                data_period: dates.map(|(start, end)| DataPeriod { start, end }),
                recipients: kept((who, has_who)),
                authors: kept((keepers.clone(), has_authors)),
                custodians: kept((keepers, has_keepers)),
                actions: kept(actions),
                labels: kept(labels),
                purposes: kept(purposes),
                classes: kept(classes),
                codes: kept(codes),
                data: kept(data),
                exceptions: Vec::new(),
            }
        })
}

pub(crate) fn any_provision() -> impl Strategy<Value = Provision> {
    any_rule().prop_recursive(2, 6, 2, |inner| (any_rule(), vec(inner, 0..3)).prop_map(|(rule, exceptions)| Provision { exceptions, ..rule }))
}

/// Terms as a command line makes them.
pub(crate) fn any_cli_terms() -> impl Strategy<Value = Terms> {
    let selectors = || vec(any_selector(), 0..4);
    (selectors(), selectors(), any_envelope()).prop_map(|(read, except, envelope)| {
        let read = if read.is_empty() { vec![Selector::All] } else { read };
        let permits = read.iter().map(|selector| selector.provision(Effect::Permit));
        let denies = except.iter().map(|selector| selector.provision(Effect::Deny));
        Terms { provisions: permits.chain(denies).collect(), ..envelope }
    })
}

prop_compose! {
    fn any_envelope()(
        purposes in vec(any_purpose(), 0..3),
        data_from in option::weighted(0.2, any_date()),
        data_until in option::weighted(0.2, any_date()),
        expires in option::weighted(0.3, 1_500_i64..4_000),
        write in any::<bool>(),
        custodian in any::<bool>(),
        part2 in any::<bool>(),
    ) -> Terms {
        Terms {
            provisions: Vec::new(),
            purposes,
            data_from,
            data_until,
            expires,
            write,
            custodian,
            laws: part2.then_some(Law::Part2).into_iter().collect(),
        }
    }
}

/// Terms of any shape.
pub(crate) fn any_terms() -> impl Strategy<Value = Terms> {
    let free = (vec(any_provision(), 0..4), any_envelope()).prop_map(|(provisions, envelope)| Terms { provisions, ..envelope });
    prop_oneof![any_cli_terms(), free]
}
