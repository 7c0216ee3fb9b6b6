//! Rules that hold for all terms, requests and resources.

use chartmesh_records::{Compartment, Sensitivity};
use proptest::{collection::vec, prelude::*};

use crate::{
    Coverage, Decision, NoGrant, PermitScope, Scope, coverage_for,
    decide::{Request, decide, decide_all, decide_scope, select},
    fhir_in::from_fhir,
    fhir_out::{ConsentMeta, ConsentState, to_fhir},
    policy::{Action, Effect, Provision},
    purpose,
    terms::Terms,
    testing::{any_cli_terms, any_facts, any_provision, any_request, any_selector, any_terms, facts, permitted, request},
};

fn meta(grantee: &str) -> ConsentMeta {
    ConsentMeta {
        patient: "Patient/1".to_owned(),
        grantee: grantee.to_owned(),
        grantee_name: Some("Dr Lee".to_owned()),
        grant: "urn:uuid:5a3f0c1e-0000-4000-8000-000000000000".to_owned(),
        date: "2024-05-06T07:08:09Z".to_owned(),
        state: ConsentState::Active,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_deny_that_applies_overrides_every_permit(terms in any_terms(), request in any_request(), facts in any_facts()) {
        let mut denied = terms.clone();
        denied.provisions.push(Provision::everything(Effect::Deny));
        prop_assert!(!permitted(&decide(&denied, &request, &facts)));
    }

    #[test]
    fn adding_a_deny_never_permits_more(terms in any_terms(), selector in any_selector(), at in 0_usize..8, request in any_request(), facts in any_facts()) {
        let mut more = terms.clone();
        more.provisions.insert(at % (terms.provisions.len() + 1), selector.provision(Effect::Deny));
        prop_assert!(!permitted(&decide(&more, &request, &facts)) || permitted(&decide(&terms, &request, &facts)));
    }

    #[test]
    fn adding_a_nested_deny_never_permits_more(terms in any_terms(), selector in any_selector(), request in any_request(), facts in any_facts()) {
        let mut more = terms.clone();
        if let Some(rule) = more.provisions.first_mut() {
            rule.exceptions.push(selector.provision(Effect::Deny));
        }
        prop_assert!(!permitted(&decide(&more, &request, &facts)) || permitted(&decide(&terms, &request, &facts)));
    }

    #[test]
    fn the_order_of_provisions_means_nothing(
        (terms, shuffled) in any_terms().prop_flat_map(|terms| (Just(terms.clone()), Just(terms.provisions).prop_shuffle())),
        request in any_request(),
        facts in any_facts(),
    ) {
        let other = Terms { provisions: shuffled, ..terms.clone() };
        prop_assert_eq!(permitted(&decide(&terms, &request, &facts)), permitted(&decide(&other, &request, &facts)));
    }

    #[test]
    fn nothing_is_permitted_from_expiry_on(terms in any_terms(), request in any_request(), facts in any_facts(), before in 0_i64..500) {
        let expired = Terms { expires: Some(request.now - before), ..terms };
        prop_assert!(!permitted(&decide(&expired, &request, &facts)));
    }

    #[test]
    fn a_permit_outlives_no_change_of_the_answer(terms in any_terms(), request in any_request(), facts in any_facts(), later in 1_i64..2_000) {
        if let Decision::Permit(permit) = decide(&terms, &request, &facts) {
            let mut then = request.clone();
            then.now += later;
            if permit.expires().is_none_or(|end| then.now < end) {
                prop_assert!(permitted(&decide(&terms, &then, &facts)));
            }
        }
    }

    #[test]
    fn a_purpose_that_is_not_covered_is_denied(terms in any_terms(), request in any_request(), facts in any_facts()) {
        if !terms.purposes().iter().any(|allowed| purpose::covers(allowed, &request.purpose)) {
            prop_assert!(!permitted(&decide(&terms, &request, &facts)));
        }
    }

    #[test]
    fn every_decision_says_why(terms in any_terms(), request in any_request(), facts in any_facts()) {
        match decide(&terms, &request, &facts) {
            Decision::Permit(permit) => {
                prop_assert!(!permit.because().is_empty());
                prop_assert!(permit.because().iter().all(|reason| reason.effect == Effect::Permit && !reason.provision.is_empty()));
            }
            Decision::Denied(denied) => {
                prop_assert!(!denied.because.is_empty());
                prop_assert!(denied.because.iter().all(|reason| reason.effect == Effect::Deny && !reason.words.is_empty()));
            }
        }
    }

    #[test]
    fn of_several_consents_a_deny_overrides_and_silence_denies(all in vec(any_terms(), 0..4), request in any_request(), facts in any_facts()) {
        let all: Vec<&Terms> = all.iter().collect();
        let together = permitted(&decide_all(&all, &request, &facts));
        let any = all.iter().any(|terms| permitted(&decide(terms, &request, &facts)));
        prop_assert!(!together || any);
        let reversed: Vec<&Terms> = all.iter().rev().copied().collect();
        prop_assert_eq!(together, permitted(&decide_all(&reversed, &request, &facts)));
    }

    #[test]
    fn a_scope_is_permitted_only_if_all_of_it_is(terms in any_terms(), request in any_request(), all in vec(any_facts(), 0..4)) {
        let each = all.iter().map(|facts| permitted(&decide(&terms, &request, facts))).collect::<Vec<_>>();
        let every = !all.is_empty() && each.iter().all(|yes| *yes);
        let compartment = all.first().map_or(Compartment::Inbox, |facts| facts.compartment());
        prop_assert_eq!(decide_scope(&terms, &request, Scope::Resources(&all)).is_ok(), every);
        let document = Scope::Document { id: "d", compartment, resources: &all };
        prop_assert_eq!(decide_scope(&terms, &request, document).is_ok(), every);
        let selected = select(&terms, &request, compartment, &all);
        let expected: Vec<usize> = each.iter().enumerate().filter(|(_, yes)| **yes).map(|(index, _)| index).collect();
        prop_assert_eq!(selected.permitted.len() + selected.denied.len(), all.len());
        prop_assert_eq!(selected.permit.is_some(), !expected.is_empty());
        prop_assert_eq!(selected.permitted, expected);
    }

    #[test]
    fn the_circle_is_for_whoever_is_given_anything(terms in any_terms(), request in any_request(), facts in any_facts()) {
        let circle = |terms: &Terms| decide_scope(terms, &request, Scope::Circle).is_ok();
        if permitted(&decide(&terms, &request, &facts)) {
            prop_assert!(circle(&terms));
        }
        let barren = Terms { provisions: Vec::new(), write: false, custodian: false, ..terms.clone() };
        prop_assert!(!circle(&barren));
        let writer = Terms { expires: None, write: true, ..barren.clone() };
        let custodian = Terms { expires: None, custodian: true, ..barren };
        let ended = Terms { expires: Some(request.now), write: true, ..terms };
        prop_assert!(circle(&writer) && circle(&custodian) && !circle(&ended));
    }

    #[test]
    fn a_compartment_is_permitted_only_if_wholly_covered(terms in any_terms(), request in any_request(), facts in any_facts()) {
        let compartment = facts.compartment();
        let whole = coverage_for(&terms, &request, compartment) == Coverage::Whole;
        prop_assert_eq!(decide_scope(&terms, &request, Scope::Compartment(compartment)).is_ok(), whole);
        prop_assert!(decide_scope(&terms, &request, Scope::Compartment(Compartment::Inbox)).is_err());
    }

    #[test]
    fn terms_of_a_command_line_are_the_same_grant_after_fhir(terms in any_cli_terms(), request in any_request(), facts in any_facts()) {
        let request = reading(request);
        // Only a selector for a sensitivity beside one for its standard code has no place in FHIR.
        if let Ok(bytes) = to_fhir(&terms, &meta(&request.requester)) {
            let imported = from_fhir(&bytes).unwrap();
            let permits = permitted(&decide(&terms, &request, &facts));
            prop_assert_eq!(permitted(&decide(&imported.terms, &request, &facts)), permits);
            prop_assert!(imported.terms.laws.is_superset(&terms.laws));
            match imported.grant_to(&request.requester, &[], 0) {
                Ok(granted) => {
                    prop_assert_eq!(permitted(&decide(&granted, &request, &facts)), permits);
                    prop_assert_eq!((granted.write, granted.custodian, granted.expires), (terms.write, terms.custodian, terms.expires));
                    prop_assert!(granted.laws.is_superset(&terms.laws));
                }
                Err(why) => {
                    prop_assert_eq!(why, NoGrant::Nothing);
                    prop_assert!(!permits && !terms.write && !terms.custodian);
                }
            }
        }
    }

    #[test]
    fn imported_terms_decide_the_same_after_fhir_and_as_a_grant(rules in vec(any_provision(), 1..4), request in any_request(), facts in any_facts()) {
        let terms = Terms { provisions: rules.into_iter().map(unperioded).collect(), purposes: vec![purpose::act_reason(purpose::ANY)], ..Terms::default() };
        if let Ok(bytes) = to_fhir(&terms, &meta(&request.requester)) {
            let imported = from_fhir(&bytes).unwrap();
            let request = Request { action: Action::Access, ..request };
            prop_assert_eq!(permitted(&decide(&imported.terms, &request, &facts)), permitted(&decide(&terms, &request, &facts)));
            let request = reading(request);
            let permits = permitted(&decide(&imported.terms, &request, &facts));
            match imported.grant_to(&request.requester, &[], request.now) {
                Ok(granted) => prop_assert_eq!(permitted(&decide(&granted, &request, &facts)), permits),
                Err(NoGrant::Nothing) => {
                    // What any purpose may have but none that is named, nor treatment, is not looked for.
                    let treatment = Request { purpose: purpose::act_reason(purpose::TREAT), ..request };
                    prop_assert!(!permitted(&decide(&terms, &treatment, &facts)));
                }
                Err(NoGrant::PartOfRecords) => {}
            }
        }
    }

    #[test]
    fn a_name_in_a_consent_stands_for_the_grantee(rules in vec(any_provision(), 1..4), request in any_request(), facts in any_facts()) {
        let terms = Terms { provisions: rules.into_iter().map(unperioded).collect(), purposes: vec![purpose::act_reason(purpose::ANY)], ..Terms::default() };
        let named = Request { requester: "Practitioner/1".to_owned(), ..reading(request) };
        let party = Request { requester: "urn:chartmesh:party:1".to_owned(), ..named.clone() };
        if let Ok(bytes) = to_fhir(&terms, &meta(&named.requester)) {
            let imported = from_fhir(&bytes).unwrap();
            let permits = permitted(&decide(&imported.terms, &named, &facts));
            if let Ok(granted) = imported.grant_to(&party.requester, &[named.requester], party.now) {
                // A reference of another form is a doubt for a party that was not named so before: never more than the Consent gives.
                prop_assert!(permits || !permitted(&decide(&granted, &party, &facts)));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(from_fhir(&bytes).is_err());
    }

    #[test]
    fn a_damaged_consent_is_read_or_refused(terms in any_cli_terms(), at in any::<prop::sample::Index>(), with in "[\\[\\]{}\",:a-z0-9]{0,3}", cut in 0_usize..8) {
        if let Ok(bytes) = to_fhir(&terms, &meta("party-a")) {
            let mut text = String::from_utf8(bytes).unwrap();
            let from = at.index(text.len());
            let to = (from + cut).min(text.len());
            if text.is_char_boundary(from) && text.is_char_boundary(to) {
                text.replace_range(from..to, &with);
                let _ = from_fhir(text.as_bytes());
            }
        }
    }
}

/// As a party asks.
fn reading(request: Request) -> Request {
    Request { action: Action::Access, acts_for: Vec::new(), ..request }
}

/// A deny for a period is read more restrictively than it is meant, so it cannot round-trip.
fn unperioded(mut rule: Provision) -> Provision {
    if rule.effect == Effect::Deny {
        rule.period = None;
    }
    rule.exceptions = rule.exceptions.into_iter().map(unperioded).collect();
    rule
}

#[test]
fn a_permit_names_what_it_is_for() {
    let terms = Terms { expires: Some(1_800_000_000), ..all_but("mental-health") };
    let Decision::Permit(permit) = decide(&terms, &request("party-a"), &facts("Observation", "1")) else {
        panic!("permitted");
    };
    assert_eq!((permit.patient(), permit.requester(), permit.action()), ("ledger", "party-a", Action::Access));
    assert_eq!(permit.purpose(), &purpose::act_reason("TREAT"));
    assert_eq!(permit.expires(), Some(1_800_000_000));
    assert_eq!(permit.because()[0].words, "all records are shared");
    assert!(matches!(permit.scope(), PermitScope::Resources(keys) if keys[0].id == "1"));
}

fn all_but(selector: &str) -> Terms {
    Terms::from_cli(&[], &[selector.parse().unwrap()], crate::Limits::default()).unwrap()
}

#[test]
fn a_refusal_reads_well() {
    let mut secret = facts("Condition", "1");
    secret.sensitivities = [Sensitivity::MentalHealth].into();
    let words = |terms: &Terms, ask: &crate::Request| match decide(terms, ask, &secret) {
        Decision::Denied(denied) => denied.to_string(),
        Decision::Permit(_) => panic!("denied"),
    };
    let mut ask = request("party-a");
    assert_eq!(words(&all_but("mental-health"), &ask), "denied: mental health records are excepted");
    assert_eq!(words(&Terms::default(), &ask), "denied: mental health test results and measurements are not shared");
    ask.purpose = purpose::act_reason("HRESCH");
    assert_eq!(words(&all_but("hiv"), &ask), "denied: these terms do not cover research");
}

#[test]
fn what_travels_with_a_document_is_shown_with_it() {
    let observation = facts("Observation", "1");
    let mut practitioner = facts("Practitioner", "9");
    practitioner.category = chartmesh_records::Category::Admin;
    practitioner.date = None;
    let compartment = observation.compartment();
    let document = [observation, practitioner];
    let allowed = |read: &str, except: &[&str]| {
        let except: Vec<_> = except.iter().map(|text| text.parse().unwrap()).collect();
        let limits = crate::Limits { data_from: Some("2020".to_owned()), ..crate::Limits::default() };
        let terms = Terms::from_cli(&[read.parse().unwrap()], &except, limits).unwrap();
        select(&terms, &request("party-a"), compartment, &document).permitted
    };
    assert_eq!(allowed("results", &[]), [0, 1]);
    assert_eq!(allowed("results", &["admin"]), [0, 1]);
    assert_eq!(allowed("results", &["Practitioner/9"]), [0]);
    assert_eq!(allowed("notes", &[]), [0_usize; 0]);
    let mut sensitive = document.clone();
    sensitive[1].sensitivities = [Sensitivity::Hiv].into();
    let terms = Terms::from_cli(&["general".parse().unwrap()], &[], crate::Limits::default()).unwrap();
    assert_eq!(select(&terms, &request("party-a"), compartment, &sensitive).permitted, [0]);
}

#[test]
fn writing_needs_its_own_word() {
    let mut ask = request("party-a");
    ask.action = Action::Collect;
    let mut terms = all_but("hiv");
    assert!(!permitted(&decide(&terms, &ask, &facts("Observation", "1"))));
    terms.write = true;
    assert!(permitted(&decide(&terms, &ask, &facts("Observation", "1"))));
    ask.action = Action::Disclose;
    assert!(!permitted(&decide(&terms, &ask, &facts("Observation", "1"))));
}

#[test]
fn adding_and_keeping_sealed_go_out_and_come_in_again() {
    for (write, custodian, reads) in [(true, false, false), (false, true, false), (true, true, false), (true, true, true)] {
        let terms = Terms {
            provisions: if reads { all_but("hiv").provisions } else { Vec::new() },
            purposes: vec![purpose::act_reason("TREAT"), purpose::act_reason("HPAYMT")],
            expires: Some(1_800_000_000),
            write,
            custodian,
            ..Terms::default()
        };
        let bytes = to_fhir(&terms, &meta("urn:chartmesh:party:1")).unwrap();
        assert_eq!(chartmesh_fhir::check(&bytes), chartmesh_fhir::Typed::Ok);
        let granted = from_fhir(&bytes).unwrap().grant_to("urn:chartmesh:party:1", &[], 1_700_000_000).unwrap();
        assert_eq!(Terms { laws: terms.laws.clone(), ..granted.clone() }, terms);
        assert_eq!(granted.laws.is_empty(), !reads, "what discloses comes with its notice");
    }
}

#[test]
fn what_a_grant_cannot_say_is_refused() {
    let grant = |rules: Vec<Provision>| {
        let terms = Terms { provisions: rules, purposes: vec![purpose::act_reason(purpose::ANY)], ..Terms::default() };
        from_fhir(&to_fhir(&terms, &meta("party-a")).unwrap()).unwrap().grant_to("party-a", &[], 1_700_000_000)
    };
    let permit = |actions: &[Action]| Provision { actions: actions.to_vec(), ..Provision::everything(Effect::Permit) };
    let some = |rule: Provision| Provision { classes: vec![crate::Class::Type("Observation".to_owned())], ..rule };
    assert!(grant(vec![permit(&[Action::Collect])]).unwrap().write);
    let all = grant(vec![permit(&[Action::Access, Action::Use, Action::Collect, Action::Correct])]).unwrap();
    assert!(all.write && all.provisions == [Provision::everything(Effect::Permit)]);
    assert_eq!(grant(vec![some(permit(&[Action::Collect]))]), Err(NoGrant::PartOfRecords));
    assert_eq!(grant(vec![permit(&[Action::Correct])]), Err(NoGrant::PartOfRecords));
    assert_eq!(grant(vec![some(permit(&[Action::KeepSealed])), permit(&[Action::Access])]), Err(NoGrant::PartOfRecords));
    assert_eq!(grant(vec![permit(&[Action::Collect]), some(Provision::everything(Effect::Deny))]), Err(NoGrant::PartOfRecords));
    let within = Provision { exceptions: vec![some(Provision::everything(Effect::Deny))], ..Provision::everything(Effect::Permit) };
    let terms = Terms { provisions: vec![permit(&[Action::KeepSealed]), within], purposes: vec![purpose::act_reason(purpose::ANY)], ..Terms::default() };
    let imported = from_fhir(&to_fhir(&all_but("hiv"), &meta("party-a")).unwrap()).unwrap();
    assert_eq!(crate::Imported { terms, ..imported }.grant_to("party-a", &[], 0), Err(NoGrant::PartOfRecords));
    assert_eq!(grant(vec![Provision::everything(Effect::Deny)]), Err(NoGrant::Nothing));
    assert_eq!(grant(vec![Provision { recipients: vec!["party-b".to_owned()], ..permit(&[Action::Access]) }]), Err(NoGrant::Nothing));
    assert_eq!(grant(vec![permit(&[Action::Disclose])]), Err(NoGrant::Nothing));
}

#[test]
fn a_purpose_of_one_rule_is_no_limit_of_the_others() {
    let rule = |label: &str, code: &str| Provision {
        labels: vec![crate::Label::Code(chartmesh_records::Coding::new(crate::CONFIDENTIALITY, label))],
        purposes: vec![purpose::act_reason(code)],
        ..Provision::everything(Effect::Permit)
    };
    let root = Provision { exceptions: vec![rule("R", "BTG")], ..rule("N", "TREAT") };
    let terms = Terms { provisions: vec![root], purposes: vec![purpose::act_reason(purpose::ANY)], ..Terms::default() };
    let granted = from_fhir(&to_fhir(&terms, &meta("party-a")).unwrap()).unwrap().grant_to("party-a", &[], 0).unwrap();
    assert_eq!(granted.purposes, [purpose::act_reason("TREAT"), purpose::act_reason("BTG")]);
    let restricted =
        chartmesh_records::ResourceFacts { labels: vec![chartmesh_records::Coding::new(crate::CONFIDENTIALITY, "R")], ..facts("Observation", "1") };
    let asks = |code: &str| Request { purpose: purpose::act_reason(code), ..request("party-a") };
    assert!(permitted(&decide(&granted, &asks("BTG"), &restricted)));
    assert!(!permitted(&decide(&granted, &asks("TREAT"), &restricted)));
    assert!(permitted(&decide(&granted, &asks("TREAT"), &facts("Observation", "1"))));
}

#[test]
fn any_purpose_but_one_is_granted_for_treatment() {
    let but = Provision { purposes: vec![purpose::act_reason("ETREAT")], ..Provision::everything(Effect::Deny) };
    let root = Provision { purposes: vec![purpose::act_reason(purpose::ANY)], exceptions: vec![but], ..Provision::everything(Effect::Permit) };
    let terms = Terms { provisions: vec![root], purposes: vec![purpose::act_reason(purpose::ANY)], ..Terms::default() };
    let mut written: serde_json::Value = serde_json::from_slice(&to_fhir(&terms, &meta("party-a")).unwrap()).unwrap();
    // As others write it.
    written["provision"]["purpose"] = serde_json::json!([{"system": purpose::ACT_REASON, "code": purpose::ANY}]);
    let granted = from_fhir(written.to_string().as_bytes());
    let granted = granted.unwrap().grant_to("party-a", &[], 0).unwrap();
    assert_eq!(granted.purposes()[0], purpose::act_reason("TREAT"));
    let asks = |code: &str| Request { purpose: purpose::act_reason(code), ..request("party-a") };
    assert!(permitted(&decide(&granted, &asks("TREAT"), &facts("Observation", "1"))));
    assert!(!permitted(&decide(&granted, &asks("BTG"), &facts("Observation", "1"))));
}

#[test]
fn what_is_written_passes_the_typed_model() {
    let terms = Terms { expires: Some(1_800_000_000), data_from: Some("2020-01".to_owned()), write: true, ..all_but("mental-health") };
    let bytes = to_fhir(&terms, &meta("Practitioner/1")).unwrap();
    assert_eq!(chartmesh_fhir::check(&bytes), chartmesh_fhir::Typed::Ok);
    let imported = from_fhir(&bytes).unwrap();
    assert_eq!(imported.patient.as_deref(), Some("Patient/1"));
    assert_eq!(imported.identifiers, ["urn:uuid:5a3f0c1e-0000-4000-8000-000000000000"]);
    let inactive = ConsentMeta { state: ConsentState::Inactive, ..meta("Practitioner/1") };
    assert_eq!(from_fhir(&to_fhir(&terms, &inactive).unwrap()), Err(crate::ConsentReadError::NotInForce));
}

#[test]
fn an_excepted_sensitivity_is_denied_wherever_it_is_sealed() {
    let mut both = facts("Condition", "1");
    both.sensitivities = [Sensitivity::MentalHealth, Sensitivity::Hiv].into();
    assert!(!permitted(&decide(&all_but("mental-health"), &request("party-a"), &both)));
    assert!(permitted(&decide(&all_but("violence"), &request("party-a"), &both)));
}

#[test]
fn expiry_survives_fhir_to_the_second() {
    let terms = Terms { expires: Some(1_800_000_000), ..all_but("hiv") };
    let imported = from_fhir(&to_fhir(&terms, &meta("party-a")).unwrap()).unwrap().terms;
    let at = |now| crate::Request { now, ..request("party-a") };
    for terms in [&terms, &imported] {
        assert!(permitted(&decide(terms, &at(1_799_999_999), &facts("Observation", "1"))));
        assert!(!permitted(&decide(terms, &at(1_800_000_000), &facts("Observation", "1"))));
    }
}

#[test]
fn elements_that_cannot_be_represented_are_named() {
    let good = String::from_utf8(to_fhir(&all_but("hiv"), &meta("party-a")).unwrap()).unwrap();
    assert!(from_fhir(good.as_bytes()).is_ok());
    for (from, to, element) in [
        ("\"provision\":{", "\"provision\":{\"modifierExtension\":[{\"url\":\"urn:x\"}],", "Consent.provision.modifierExtension"),
        ("\"provision\":{", "\"provision\":{\"class\":[],", "Consent.provision.class"),
        ("\"IRCP\"", "\"CALLBCK\"", "Consent.provision.actor[0].role"),
        ("\"OPTOUT\"", "\"EMRGONLY\"", "Consent.policyRule"),
        ("\"patient-privacy\"", "\"research\"", "Consent.scope"),
        ("\"resourceType\"", "\"implicitRules\":\"urn:x\",\"resourceType\"", "Consent.implicitRules"),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        match from_fhir(changed.as_bytes()) {
            Err(crate::ConsentReadError::Element { element: named, .. }) => assert_eq!(named, element),
            other => panic!("{element}: {other:?}"),
        }
    }
    let data = r#""provision":{"data":[{"meaning":"instance","reference":{"reference":"WHAT"}}],"#;
    for (from, to, with, element) in [
        ("party-a", "party-a", "#him", "Consent.provision.actor[0].reference"),
        ("party-a", "party-a", "Practitioner?identifier=x|9", "Consent.provision.actor[0].reference"),
        ("\"provision\":{", data, "#that", "Consent.provision.data[0].reference"),
        ("\"provision\":{", data, "Observation?code=1", "Consent.provision.data[0].reference"),
        ("\"provision\":{", data, "urn:oid:1.2.3", "Consent.provision.data[0].reference"),
    ] {
        let changed = good.replacen(from, &to.replace("party-a", with).replace("WHAT", with), 1);
        match from_fhir(changed.as_bytes()) {
            Err(crate::ConsentReadError::Element { element: named, .. }) => assert_eq!(named, element, "{with}"),
            other => panic!("{with}: {other:?}"),
        }
    }
    let twice = good.replacen("\"type\":\"deny\"", "\"type\":\"deny\",\"type\":\"permit\"", 1);
    assert_eq!(from_fhir(twice.as_bytes()), Err(crate::ConsentReadError::Json));
}
