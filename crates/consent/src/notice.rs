//! Notices that must go with what is disclosed.

use chartmesh_records::{Compartment, Sensitivity};
use serde::{Deserialize, Serialize};

use crate::{
    answer::Outcomes,
    coverage,
    terms::{Law, Terms},
};

/// 42 CFR 2.32(a)(2), in the wording of the rule of 2024.
const PART2_SHORT: &str = "42 CFR part 2 prohibits unauthorized use or disclosure of these records.";
/// What 42 CFR 2.32(a)(1) says at length, in our words.
const PART2_LONG: &str = "These records may include substance use disorder patient records that Federal confidentiality rules protect. Do not use or \
     disclose them further, or testimony about what they contain, in any civil, criminal, administrative or legislative proceeding against the \
     patient, unless the patient consents or a court orders it under those rules; make no other use or disclosure unless 42 CFR part 2 permits it.";

/// A notice to whoever receives records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The law that asks for it.
    pub law: Law,
    /// The statement that the law prescribes, and what it means.
    pub text: String,
    /// The scope of the consent (42 CFR 2.32(b)): the terms in plain words.
    pub scope: Vec<String>,
}

/// The notices that envelopes under these terms must carry.
///
/// Computed from what the terms can disclose, and not from [`Terms::laws`] alone, so that terms
/// written elsewhere cannot drop one.
pub fn notices(terms: &Terms) -> Vec<Notice> {
    if terms.laws.contains(&Law::Part2) || can_disclose(terms, Sensitivity::SubstanceUse) {
        vec![Notice { law: Law::Part2, text: format!("{PART2_SHORT} {PART2_LONG}"), scope: terms.describe() }]
    } else {
        Vec::new()
    }
}

/// Whether the terms could permit a resource that carries this sensitivity, in whatever compartment.
pub(crate) fn can_disclose(terms: &Terms, sensitivity: Sensitivity) -> bool {
    Compartment::all()
        .filter(|compartment| matches!(compartment, Compartment::Clinical { sensitivity: sealed, .. } if *sealed >= sensitivity))
        .any(|compartment| coverage::outcomes(&[terms], None, compartment, Some(sensitivity)).is_some_and(|all| all.contains(Outcomes::PERMIT)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Limits;

    fn noticed(read: &[&str], except: &[&str]) -> bool {
        let parse = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let terms = Terms::from_cli(&parse(read), &parse(except), Limits::default()).unwrap();
        let notices = notices(&terms);
        assert!(notices.iter().all(|notice| notice.text.starts_with("42 CFR part 2 prohibits") && notice.scope == terms.describe()));
        !notices.is_empty()
    }

    #[test]
    fn the_part_2_notice_goes_with_whatever_could_hold_such_records() {
        assert!(noticed(&[], &[]));
        assert!(noticed(&["substance-use/notes"], &[]));
        assert!(noticed(&["hiv"], &[]), "an HIV record may also be a substance use record");
        assert!(!noticed(&["general"], &[]));
        assert!(!noticed(&["mental-health"], &[]));
        assert!(!noticed(&[], &["substance-use"]));
    }

    #[test]
    fn terms_that_name_the_law_keep_the_notice() {
        let mut terms = Terms::from_cli(&["general".parse().unwrap()], &[], Limits::default()).unwrap();
        terms.laws.insert(Law::Part2);
        assert_eq!(notices(&terms).len(), 1);
    }
}
