//! The model of a rule: FHIR R4 `Consent.provision`, <https://hl7.org/fhir/R4/consent.html>, with
//! chartmesh's own sensitivities and categories beside the standard codes.
//!
//! Within a provision the fields are ANDed, the values of one field ORed, an empty field matches
//! anything. Nested provisions are exceptions: they take each field that they leave empty from the
//! provision they sit in, and where one applies it overrides that provision.

use chartmesh_records::{Category, Coding, Sensitivity};
use serde::{Deserialize, Serialize};

/// Code system of chartmesh's [`Category`] in `Consent.provision.class`.
pub const CATEGORY_SYSTEM: &str = "https://chartmesh.org/fhir/CodeSystem/category";
/// Code system of chartmesh's [`Sensitivity`] in `Consent.provision.securityLabel`.
pub const SENSITIVITY_SYSTEM: &str = "https://chartmesh.org/fhir/CodeSystem/sensitivity";
/// Code system of what is done with data and `consentaction` has no code for, in `Consent.provision.action`.
pub const ACTION_SYSTEM: &str = "https://chartmesh.org/fhir/CodeSystem/consent-action";
/// Code system of actions.
const CONSENT_ACTION: &str = "http://terminology.hl7.org/CodeSystem/consentaction";

/// What a provision does where it applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Consent is given.
    Permit,
    /// Consent is withheld.
    #[default]
    Deny,
}

/// When a provision holds: a half-open span of unix seconds, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// First second in which it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<i64>,
    /// First second in which it no longer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
}

/// Of when the data is, as FHIR date or dateTime literals, both ends included.
///
/// A bound without a time is compared by calendar day with the day that the source wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataPeriod {
    /// First day or moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Last day or moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// What is done with the data: `http://terminology.hl7.org/CodeSystem/consentaction`, and [`ACTION_SYSTEM`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Gather and store it.
    Collect,
    /// Read it.
    Access,
    /// Work with it.
    Use,
    /// Hand it on.
    Disclose,
    /// Change it.
    Correct,
    /// Keep it sealed and pass it on so, without being able to read it; of [`ACTION_SYSTEM`].
    KeepSealed,
}

/// A security label that a provision names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// One of chartmesh's sensitivities. A permit reaches resources whose *most restrictive*
    /// sensitivity it is; a deny reaches every resource that carries it.
    Sensitivity(Sensitivity),
    /// A standard code. `v3-Confidentiality` is a water mark (a permit reaches that level and lower,
    /// a deny that level and higher), `v3-ActCode` sensitivities subsume (a permit as published, a deny
    /// also what is wider and what is meant by it), others match exactly.
    Code(Coding),
}

/// A kind of record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// One of chartmesh's categories.
    Category(Category),
    /// A FHIR resource type.
    Type(String),
}

/// How far from a referenced resource a provision reaches: `consent-data-meaning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// The resource itself.
    Instance,
    /// It and what is related to it. Known for encounters, subjects and authors; else a doubt.
    Related,
    /// It and what refers to it. Known for encounters, subjects and authors; else a doubt.
    Dependents,
    /// What the referenced person or organisation authored.
    AuthoredBy,
}

/// A resource that a provision names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataReference {
    /// How far from it the provision reaches.
    pub meaning: Meaning,
    /// Literal reference: `Type/id`, a URL that ends so, or `urn:uuid:...`. With `/_history/version`, a
    /// permit is for that version alone, a deny for all.
    pub reference: String,
}

/// One rule with its exceptions. The default is "deny everything".
///
/// Unknown fields are refused when reading: one could hold a limit that this version does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// Permit or deny.
    pub effect: Effect,
    /// When the rule holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// Of when the data is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_period: Option<DataPeriod>,
    /// Who asks: literal references or party keys (actor roles IRCP, PRCP).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Who authored the data: literal references (actor role AUT).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// Who keeps the data: literal references (actor role CST).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custodians: Vec<String>,
    /// What may be done. Empty in a permit: access and use, and what [`crate::Terms::write`] adds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// Security labels of the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// Purposes of use; each covers what is below it in `v3-ActReason`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<Coding>,
    /// Kinds of record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Class>,
    /// Codes found in the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<Coding>,
    /// Single resources and what belongs to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataReference>,
    /// Exceptions to this rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Provision>,
}

impl Provision {
    /// A rule that applies to everything.
    pub fn everything(effect: Effect) -> Self {
        Self { effect, ..Self::default() }
    }
}

impl Action {
    const ALL: [Self; 6] = [Self::Collect, Self::Access, Self::Use, Self::Disclose, Self::Correct, Self::KeepSealed];

    /// The code in FHIR: of `consentaction`, or of [`ACTION_SYSTEM`].
    pub fn coding(self) -> Coding {
        let (system, code) = match self {
            Self::Collect => (CONSENT_ACTION, "collect"),
            Self::Access => (CONSENT_ACTION, "access"),
            Self::Use => (CONSENT_ACTION, "use"),
            Self::Disclose => (CONSENT_ACTION, "disclose"),
            Self::Correct => (CONSENT_ACTION, "correct"),
            Self::KeepSealed => (ACTION_SYSTEM, "keep-sealed"),
        };
        Coding::new(system, code)
    }

    /// The action of such a code.
    pub fn from_coding(coding: &Coding) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.coding() == *coding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_code_systems_are_what_is_written() {
        let actions: Vec<&str> = vec!["keep-sealed"];
        assert!(actions.iter().all(|code| Action::from_coding(&Coding::new(ACTION_SYSTEM, *code)).is_some()));
        let own = Action::ALL.iter().filter(|action| action.coding().system == ACTION_SYSTEM).count();
        assert_eq!(own, actions.len());
        for (file, system, codes) in [
            (include_str!("../../../schemas/fhir/CodeSystem-category.json"), CATEGORY_SYSTEM, Category::ALL.iter().map(|one| one.as_str()).collect()),
            (include_str!("../../../schemas/fhir/CodeSystem-sensitivity.json"), SENSITIVITY_SYSTEM, Sensitivity::ALL.iter().map(|one| one.as_str()).collect()),
            (include_str!("../../../schemas/fhir/CodeSystem-consent-action.json"), ACTION_SYSTEM, actions),
        ] {
            assert_eq!(chartmesh_fhir::check(file.as_bytes()), chartmesh_fhir::Typed::Ok);
            let published: serde_json::Value = serde_json::from_str(file).unwrap();
            assert_eq!(published["url"], system);
            assert_eq!(published["count"], codes.len());
            let concepts: Vec<&str> = published["concept"].as_array().unwrap().iter().map(|concept| concept["code"].as_str().unwrap()).collect();
            assert_eq!(concepts, codes);
        }
    }
}
