//! "What will Dr Lee see?", computed by the code that enforces.

use std::collections::BTreeMap;

use chartmesh_records::{Compartment, ResourceFacts};
use serde::Serialize;

use crate::{
    decide::Request,
    evaluate::{self, Verdict},
    matching::Subject,
    terms::Terms,
};

/// What terms show and hide of a patient's present records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// Per compartment that holds anything.
    pub compartments: BTreeMap<Compartment, Tally>,
}

/// What terms show and hide of one compartment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Resources that are permitted.
    pub shown: usize,
    /// Resources that are not.
    pub hidden: usize,
    /// Why resources are shown or hidden, with how many each reason concerns.
    pub reasons: BTreeMap<String, usize>,
}

impl Preview {
    /// Resources shown in all compartments.
    pub fn shown(&self) -> usize {
        self.compartments.values().map(|tally| tally.shown).sum()
    }

    /// Resources hidden in all compartments.
    pub fn hidden(&self) -> usize {
        self.compartments.values().map(|tally| tally.hidden).sum()
    }
}

/// Decides on every resource and counts.
pub fn preview<'f>(terms: &Terms, request: &Request, facts: impl IntoIterator<Item = &'f ResourceFacts>) -> Preview {
    let mut preview = Preview::default();
    for resource in facts {
        let verdict: Verdict = evaluate::weigh(&[terms], Some(request), Subject::Resource(resource));
        let tally = preview.compartments.entry(resource.compartment()).or_default();
        if verdict.permits() {
            tally.shown += 1;
        } else {
            tally.hidden += 1;
        }
        for reason in verdict.because {
            *tally.reasons.entry(reason.words).or_default() += 1;
        }
    }
    preview
}

#[cfg(test)]
mod tests {
    use chartmesh_records::Sensitivity;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        decide::decide,
        terms::Limits,
        testing::{any_facts, any_request, any_terms, facts, permitted, request},
    };

    #[test]
    fn a_preview_counts_and_says_why() {
        let mut secret = facts("Condition", "2");
        secret.sensitivities = [Sensitivity::MentalHealth].into();
        let all = [facts("Condition", "1"), secret];
        let terms = Terms::from_cli(&[], &["mental-health".parse().unwrap()], Limits::default()).unwrap();
        let preview = preview(&terms, &request("party"), &all);
        assert_eq!((preview.shown(), preview.hidden()), (1, 1));
        let hidden = &preview.compartments[&all[1].compartment()];
        assert_eq!(hidden.reasons["mental health records are excepted"], 1);
        assert!(serde_json::to_string(&preview).unwrap().contains("mental-health/"));
    }

    proptest! {
        #[test]
        fn a_preview_is_what_deciding_says(terms in any_terms(), request in any_request(), all in proptest::collection::vec(any_facts(), 0..6)) {
            let shown = all.iter().filter(|facts| permitted(&decide(&terms, &request, facts))).count();
            let preview = preview(&terms, &request, &all);
            prop_assert_eq!(preview.shown(), shown);
            prop_assert_eq!(preview.hidden(), all.len() - shown);
        }
    }
}
