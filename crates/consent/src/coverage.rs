//! Whether terms reach a whole compartment: what may be enforced by handing over its key.

use chartmesh_records::{Compartment, Sensitivity};

use crate::{answer::Outcomes, decide::Request, evaluate, matching::Subject, terms::Terms};

/// How much of a compartment terms reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// No resource that the compartment could ever hold.
    None,
    /// Some may be, and some may not.
    Partial,
    /// Every resource that it could ever hold, whatever its codes, dates, authors, ids and further labels.
    Whole,
}

/// How much of a compartment the terms reach for a request within their envelope (a purpose that
/// they cover, before they end). Rules that depend on who asks, when or what for count as uncertain.
pub fn coverage(terms: &Terms, compartment: Compartment) -> Coverage {
    of(&[terms], None, compartment)
}

/// How much of a compartment the terms reach for this request.
pub fn coverage_for(terms: &Terms, request: &Request, compartment: Compartment) -> Coverage {
    of(&[terms], Some(request), compartment)
}

pub(crate) fn of(all: &[&Terms], request: Option<&Request>, compartment: Compartment) -> Coverage {
    match outcomes(all, request, compartment, None) {
        None => Coverage::None,
        Some(Outcomes::PERMIT) => Coverage::Whole,
        Some(outcomes) if outcomes.contains(Outcomes::PERMIT) => Coverage::Partial,
        Some(_) => Coverage::None,
    }
}

/// Every outcome that a resource of the compartment could have; none for the inbox, which only the
/// patient's devices open.
pub(crate) fn outcomes(all: &[&Terms], request: Option<&Request>, compartment: Compartment, carrying: Option<Sensitivity>) -> Option<Outcomes> {
    match compartment {
        Compartment::Inbox => None,
        Compartment::Clinical { sensitivity, category } => Some(evaluate::weigh(all, request, Subject::Any { sensitivity, category, carrying }).outcomes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        decide::{Decision, decide},
        terms::Limits,
        testing::{any_facts, any_request, any_terms, permitted},
    };

    fn terms(read: &[&str], except: &[&str]) -> Terms {
        let parse = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        Terms::from_cli(&parse(read), &parse(except), Limits::default()).unwrap()
    }

    fn covered(read: &[&str], except: &[&str], compartment: &str) -> Coverage {
        coverage(&terms(read, except), compartment.parse().unwrap())
    }

    #[test]
    fn whole_compartments() {
        assert_eq!(covered(&[], &[], "hiv/results"), Coverage::Whole);
        assert_eq!(covered(&["results"], &[], "hiv/results"), Coverage::Whole);
        assert_eq!(covered(&["results"], &[], "hiv/notes"), Coverage::None);
        assert_eq!(covered(&["hiv"], &[], "hiv/notes"), Coverage::Whole);
        assert_eq!(covered(&["hiv"], &[], "general/notes"), Coverage::None);
        assert_eq!(covered(&["hiv/notes"], &["general"], "hiv/notes"), Coverage::Whole);
    }

    #[test]
    fn an_excepted_sensitivity_may_hide_in_more_restrictive_compartments() {
        assert_eq!(covered(&[], &["mental-health"], "mental-health/results"), Coverage::None);
        assert_eq!(covered(&[], &["mental-health"], "general/results"), Coverage::Whole);
        assert_eq!(covered(&[], &["mental-health"], "hiv/results"), Coverage::Partial);
        assert_eq!(covered(&[], &["violence"], "hiv/results"), Coverage::Whole);
    }

    #[test]
    fn finer_terms_cover_partly() {
        assert_eq!(covered(&[], &["http://loinc.org|4548-4"], "general/results"), Coverage::Partial);
        assert_eq!(covered(&[], &["Observation/1"], "general/notes"), Coverage::Partial);
        assert_eq!(covered(&["Observation/1"], &[], "general/results"), Coverage::Partial);
        assert_eq!(covered(&["Observation/1"], &["results"], "general/results"), Coverage::None);
        let mut dated = terms(&[], &[]);
        dated.data_until = Some("2020".to_owned());
        assert_eq!(coverage(&dated, "general/results".parse().unwrap()), Coverage::Partial);
    }

    #[test]
    fn the_inbox_is_never_covered() {
        assert_eq!(covered(&[], &[], "inbox"), Coverage::None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn coverage_agrees_with_every_decision(terms in any_terms(), request in any_request(), facts in any_facts()) {
            let decision = decide(&terms, &request, &facts);
            match coverage_for(&terms, &request, facts.compartment()) {
                Coverage::Whole => prop_assert!(permitted(&decision)),
                Coverage::None => prop_assert!(!permitted(&decision)),
                Coverage::Partial => {}
            }
            // Without a request: the same for any request within the envelope.
            let in_envelope = terms.expires.is_none_or(|end| request.now < end)
                && terms.purposes().iter().any(|allowed| crate::purpose::covers(allowed, &request.purpose))
                && request.action == crate::policy::Action::Access;
            if in_envelope {
                match coverage(&terms, facts.compartment()) {
                    Coverage::Whole => prop_assert!(matches!(decision, Decision::Permit(_))),
                    Coverage::None => prop_assert!(matches!(decision, Decision::Denied(_))),
                    Coverage::Partial => {}
                }
            }
        }
    }
}
