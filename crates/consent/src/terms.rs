//! Terms: what a grant says. They travel in ledger bodies (CBOR) and in `--json` output.

use std::collections::BTreeSet;

use chartmesh_records::{Coding, Sensitivity};
use serde::{Deserialize, Serialize};

use crate::{
    notice,
    policy::{DataPeriod, Effect, Provision},
    purpose,
    selector::Selector,
    when::Moment,
};

/// A law that binds whoever receives the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Law {
    /// 42 CFR Part 2: substance use disorder patient records (United States).
    #[serde(rename = "42cfr-part2")]
    Part2,
}

impl Law {
    /// Where the law is published, as written to `Consent.policy.uri`.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Part2 => "https://www.ecfr.gov/current/title-42/chapter-I/subchapter-A/part-2",
        }
    }
}

/// What a grant says: provisions within an envelope that limits all of them.
///
/// Unknown fields are refused when reading: one could hold a limit that this version does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The rules. Their order means nothing: deny overrides permit, and silence denies.
    pub provisions: Vec<Provision>,
    /// Purposes of use covered, with what is below each in `v3-ActReason`; empty means treatment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<Coding>,
    /// Only records of this day or later: FHIR date or dateTime literal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_from: Option<String>,
    /// Only records of this day or earlier: FHIR date or dateTime literal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_until: Option<String>,
    /// First unix second at which the terms no longer hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Whether the grantee may add records. It gives no right to read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub write: bool,
    /// Whether the grantee keeps and serves ciphertext for the patient. It gives no right to read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub custodian: bool,
    /// Laws whose notices go with what is disclosed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub laws: BTreeSet<Law>,
}

/// The envelope of new terms, as given on a command line.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// See [`Terms::purposes`].
    pub purposes: Vec<Coding>,
    /// See [`Terms::data_from`].
    pub data_from: Option<String>,
    /// See [`Terms::data_until`].
    pub data_until: Option<String>,
    /// See [`Terms::expires`].
    pub expires: Option<i64>,
    /// See [`Terms::write`].
    pub write: bool,
    /// See [`Terms::custodian`].
    pub custodian: bool,
}

/// Why terms could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// A date is malformed.
    #[error("{which} is not a date: expected YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ")]
    Date {
        /// Which of the dates.
        which: &'static str,
    },
    /// The dates enclose nothing.
    #[error("the first day of the shared records lies after the last")]
    Empty,
}

impl Terms {
    /// The terms of a command line: share what `read` selects (nothing given: all) except what `except` selects.
    ///
    /// # Errors
    /// A date that is none, or a range that encloses nothing.
    pub fn from_cli(read: &[Selector], except: &[Selector], limits: Limits) -> Result<Self, TermsError> {
        let parse = |text: &Option<String>, which| text.as_deref().map(|text| Moment::parse(text).ok_or(TermsError::Date { which })).transpose();
        let from = parse(&limits.data_from, "the first day of the shared records")?;
        let until = parse(&limits.data_until, "the last day of the shared records")?;
        if let (Some(from), Some(until)) = (from, until)
            && from.start() >= until.after()
        {
            return Err(TermsError::Empty);
        }
        let read = if read.is_empty() { &[Selector::All] } else { read };
        let permits = read.iter().map(|selector| selector.provision(Effect::Permit));
        let denies = except.iter().map(|selector| selector.provision(Effect::Deny));
        let Limits { purposes, data_from, data_until, expires, write, custodian } = limits;
        let mut terms = Self { provisions: permits.chain(denies).collect(), purposes, data_from, data_until, expires, write, custodian, laws: BTreeSet::new() };
        if notice::can_disclose(&terms, Sensitivity::SubstanceUse) {
            terms.laws.insert(Law::Part2);
        }
        Ok(terms)
    }

    /// The purposes covered: treatment if none are named.
    pub fn purposes(&self) -> Vec<Coding> {
        if self.purposes.is_empty() { vec![purpose::act_reason(purpose::TREAT)] } else { self.purposes.clone() }
    }

    /// The dates of the records covered; none if any date is.
    pub fn data_period(&self) -> Option<DataPeriod> {
        (self.data_from.is_some() || self.data_until.is_some()).then(|| DataPeriod { start: self.data_from.clone(), end: self.data_until.clone() })
    }

    /// The terms in words for a patient, one sentence each; never empty.
    pub fn describe(&self) -> Vec<String> {
        crate::describe::terms(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::any_terms;

    #[test]
    fn no_read_means_all() {
        let terms = Terms::from_cli(&[], &[Selector::Sensitivity(Sensitivity::Hiv)], Limits::default()).unwrap();
        assert_eq!(terms.provisions[0], Provision::everything(Effect::Permit));
        assert_eq!(terms.provisions[1].effect, Effect::Deny);
        assert!(terms.laws.contains(&Law::Part2));
    }

    #[test]
    fn dates_are_checked() {
        let limits = |from: &str, until: &str| Limits { data_from: Some(from.to_owned()), data_until: Some(until.to_owned()), ..Limits::default() };
        assert!(Terms::from_cli(&[], &[], limits("2020", "2020-01-01")).is_ok());
        assert_eq!(Terms::from_cli(&[], &[], limits("2021", "2020")), Err(TermsError::Empty));
        assert!(matches!(Terms::from_cli(&[], &[], limits("last year", "2020")), Err(TermsError::Date { .. })));
    }

    #[test]
    fn an_unknown_limit_is_refused() {
        assert!(serde_json::from_str::<Terms>(r#"{"provisions":[],"only_on_sundays":true}"#).is_err());
        assert!(serde_json::from_str::<Terms>(r#"{"provisions":[{"effect":"permit","moon":"full"}]}"#).is_err());
    }

    proptest! {
        #[test]
        fn terms_round_trip_in_cbor_and_json(terms in any_terms()) {
            let json = serde_json::to_vec(&terms).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Terms>(&json).unwrap(), &terms);
            let mut cbor = Vec::new();
            ciborium::into_writer(&terms, &mut cbor).unwrap();
            prop_assert_eq!(&ciborium::from_reader::<Terms, _>(&cbor[..]).unwrap(), &terms);
        }

        #[test]
        fn a_description_is_never_empty(terms in any_terms()) {
            let lines = terms.describe();
            prop_assert!(!lines.is_empty());
            prop_assert!(lines.iter().all(|line| !line.trim().is_empty() && line.ends_with('.')));
        }
    }
}
