//! What a patient types to name records: `all`, `results`, `mental-health`, `hiv/results`,
//! `http://loinc.org|4548-4`, `Observation/123`.

use std::{fmt, str::FromStr};

use chartmesh_records::{Category, Coding, Sensitivity};

use crate::{
    label,
    policy::{Class, DataReference, Effect, Label, Meaning, Provision},
};

/// Names a part of a patient's records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// Everything.
    All,
    /// Every record of a category, whatever its sensitivity.
    Category(Category),
    /// Every record of a sensitivity, whatever its category.
    Sensitivity(Sensitivity),
    /// One compartment.
    Compartment(Sensitivity, Category),
    /// Every record with a code. A security label of `v3-ActCode` or `v3-Confidentiality` selects by label.
    Code(Coding),
    /// One resource.
    Resource {
        /// FHIR type name.
        resource_type: String,
        /// The resource's id.
        id: String,
    },
}

/// A text that selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot tell which records this names: expected all; a category ({}); a sensitivity ({}); SENSITIVITY/CATEGORY such as hiv/results; SYSTEM|CODE; or TYPE/ID such as Observation/123",
    names(&Category::ALL), names(&Sensitivity::ALL))]
pub struct UnknownSelector;

fn names(all: &[impl fmt::Display]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Selector {
    /// The rule that applies to what is selected.
    pub fn provision(&self, effect: Effect) -> Provision {
        let mut rule = Provision::everything(effect);
        match self {
            Self::All => {}
            Self::Category(category) => rule.classes = vec![Class::Category(*category)],
            Self::Sensitivity(sensitivity) => rule.labels = vec![Label::Sensitivity(*sensitivity)],
            Self::Compartment(sensitivity, category) => {
                rule.labels = vec![Label::Sensitivity(*sensitivity)];
                rule.classes = vec![Class::Category(*category)];
            }
            Self::Code(code) if label::is_label(code) => rule.labels = vec![Label::Code(code.clone())],
            Self::Code(code) => rule.codes = vec![code.clone()],
            Self::Resource { resource_type, id } => {
                rule.data = vec![DataReference { meaning: Meaning::Instance, reference: format!("{resource_type}/{id}") }];
            }
        }
        rule
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Category(category) => write!(f, "{category}"),
            Self::Sensitivity(sensitivity) => write!(f, "{sensitivity}"),
            Self::Compartment(sensitivity, category) => write!(f, "{sensitivity}/{category}"),
            Self::Code(Coding { system, code }) => write!(f, "{system}|{code}"),
            Self::Resource { resource_type, id } => write!(f, "{resource_type}/{id}"),
        }
    }
}

impl FromStr for Selector {
    type Err = UnknownSelector;

    fn from_str(text: &str) -> Result<Self, UnknownSelector> {
        if text == "all" {
            return Ok(Self::All);
        }
        if let Ok(category) = text.parse() {
            return Ok(Self::Category(category));
        }
        if let Ok(sensitivity) = text.parse() {
            return Ok(Self::Sensitivity(sensitivity));
        }
        if let Some((system, code)) = text.rsplit_once('|') {
            let sound = |part: &str| !part.is_empty() && part.trim() == part && !part.chars().any(char::is_control);
            return if sound(system) && sound(code) { Ok(Self::Code(Coding::new(system, code))) } else { Err(UnknownSelector) };
        }
        let (front, back) = text.split_once('/').ok_or(UnknownSelector)?;
        if let (Ok(sensitivity), Ok(category)) = (front.parse(), back.parse()) {
            return Ok(Self::Compartment(sensitivity, category));
        }
        let is_type = front.starts_with(|c: char| c.is_ascii_uppercase()) && front.bytes().all(|b| b.is_ascii_alphabetic());
        // FHIR's `id` data type.
        let is_id = (1..=64).contains(&back.len()) && back.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        if is_type && is_id { Ok(Self::Resource { resource_type: front.to_owned(), id: back.to_owned() }) } else { Err(UnknownSelector) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::any_selector;

    #[test]
    fn the_error_lists_what_is_possible() {
        for text in ["", "everything", "mental-health/", "inbox", "results/mental-health", "observation/1", "Observation/a b", "|x", "x|"] {
            let error = text.parse::<Selector>().expect_err(text).to_string();
            assert!(error.contains("mental-health") && error.contains("results") && error.contains("TYPE/ID"), "{error}");
        }
    }

    #[test]
    fn a_label_code_selects_by_label() {
        let selector: Selector = format!("{}|PSY", label::ACT_CODE).parse().unwrap();
        assert!(selector.provision(Effect::Deny).codes.is_empty());
        assert_eq!(selector.provision(Effect::Deny).labels.len(), 1);
    }

    proptest! {
        #[test]
        fn a_displayed_selector_reads_back(selector in any_selector()) {
            prop_assert_eq!(selector.to_string().parse(), Ok(selector));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string(), text);
            }
        }
    }
}
