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

/// What is done with the data: `http://terminology.hl7.org/CodeSystem/consentaction`.
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
}

/// A security label that a provision names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// One of chartmesh's sensitivities. A permit reaches resources whose *most restrictive*
    /// sensitivity it is; a deny reaches every resource that carries it.
    Sensitivity(Sensitivity),
    /// A standard code. `v3-Confidentiality` is a water mark (a permit reaches that level and lower,
    /// a deny that level and higher), `v3-ActCode` sensitivities subsume, others match exactly.
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
    /// Literal reference: `Type/id`, a URL that ends so, or `urn:uuid:...`.
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
    /// The code in `consentaction`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Access => "access",
            Self::Use => "use",
            Self::Disclose => "disclose",
            Self::Correct => "correct",
        }
    }

    /// The action of a code of `consentaction`.
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Collect, Self::Access, Self::Use, Self::Disclose, Self::Correct].into_iter().find(|action| action.code() == code)
    }
}
