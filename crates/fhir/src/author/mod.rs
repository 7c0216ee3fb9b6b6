//! What chartmesh writes in FHIR: Consent, AuditEvent, Provenance, OperationOutcome.
//!
//! Inputs are plain structs of strings, so that no caller names fhir-sdk; the typed structs are built
//! inside and leave as JSON bytes. Dates and instants are FHIR literals and are checked.

mod audit;
mod consent;
mod outcome;
mod provenance;

use std::str::FromStr;

use fhir_sdk::r4b::types::{CodeableConcept, Coding, Identifier, Meta, Period, Reference};
use fhir_sdk::{DateTime, Instant};

pub use audit::{AuditAgent, AuditEntity, AuditOutcome, AuditSpec, audit_event};
pub use consent::{ActorSpec, ConsentSpec, ConsentStatus, DataMeaning, DataSpec, ProvisionSpec, ProvisionType, consent};
pub use outcome::{IssueKind, IssueSpec, Severity, operation_outcome};
pub use provenance::{ProvenanceAgentSpec, ProvenanceSpec, provenance};

/// Why a resource could not be written. Names the element, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorError {
    /// A date, dateTime or instant is not in the form FHIR asks for.
    #[error("{element} is not a FHIR date or time")]
    Date {
        /// FHIR path of the element.
        element: &'static str,
    },
    /// An element that FHIR requires is empty.
    #[error("{element} is required")]
    Missing {
        /// FHIR path of the element.
        element: &'static str,
    },
    /// The typed model refused the whole: provisions nested too deeply, for example.
    #[error("the {resource} cannot be written")]
    Unwritable {
        /// Type of the resource.
        resource: &'static str,
    },
}

/// A code with its system: FHIR `Coding`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Code {
    /// URI of the code system; empty for none.
    pub system: String,
    /// The code.
    pub code: String,
    /// Words for a human reader.
    pub display: Option<String>,
}

impl Code {
    /// `system|code` with words for a human reader.
    pub fn new(system: &str, code: &str, display: &str) -> Self {
        Self { system: system.to_owned(), code: code.to_owned(), display: (!display.is_empty()).then(|| display.to_owned()) }
    }
}

/// Someone or something pointed at: FHIR `Reference`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ref {
    /// Literal reference, such as `Patient/1` or `urn:uuid:...`.
    pub reference: Option<String>,
    /// Business identifier as (system, value), where no literal reference is known.
    pub identifier: Option<(String, String)>,
    /// Words for a human reader.
    pub display: Option<String>,
}

impl Ref {
    /// A literal reference.
    pub fn literal(reference: &str) -> Self {
        Self { reference: Some(reference.to_owned()), ..Self::default() }
    }
}

/// From and until, both FHIR dateTime literals, both optional: FHIR `Period`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// First moment.
    pub start: Option<String>,
    /// Last moment.
    pub end: Option<String>,
}

fn coding(code: &Code) -> Coding {
    let mut built = Coding::builder().code(code.code.clone());
    if !code.system.is_empty() {
        built = built.system(code.system.clone());
    }
    if let Some(display) = &code.display {
        built = built.display(display.clone());
    }
    built.build().unwrap_or_else(|_| unreachable!("every field of a Coding is optional"))
}

fn codings(codes: &[Code]) -> Vec<Option<Coding>> {
    codes.iter().map(|code| Some(coding(code))).collect()
}

fn concept(code: &Code) -> CodeableConcept {
    CodeableConcept::builder().coding(vec![Some(coding(code))]).build().unwrap_or_else(|_| unreachable!("every field of a CodeableConcept is optional"))
}

fn concepts(codes: &[Code]) -> Vec<Option<CodeableConcept>> {
    codes.iter().map(|code| Some(concept(code))).collect()
}

fn reference(to: &Ref) -> Reference {
    let mut built = Reference::builder();
    if let Some(literal) = &to.reference {
        built = built.reference(literal.clone());
    }
    if let Some((system, value)) = &to.identifier {
        let mut identifier = Identifier::builder().value(value.clone());
        if !system.is_empty() {
            identifier = identifier.system(system.clone());
        }
        built = built.identifier(identifier.build().unwrap_or_else(|_| unreachable!("every field of an Identifier is optional")));
    }
    if let Some(display) = &to.display {
        built = built.display(display.clone());
    }
    built.build().unwrap_or_else(|_| unreachable!("every field of a Reference is optional"))
}

fn references(all: &[Ref]) -> Vec<Option<Reference>> {
    all.iter().map(|one| Some(reference(one))).collect()
}

fn date_time(text: &str, element: &'static str) -> Result<DateTime, AuthorError> {
    DateTime::from_str(text).map_err(|_| AuthorError::Date { element })
}

fn instant(text: &str, element: &'static str) -> Result<Instant, AuthorError> {
    Instant::from_str(text).map_err(|_| AuthorError::Date { element })
}

fn period(span: &Span, element: &'static str) -> Result<Period, AuthorError> {
    let mut built = Period::builder();
    if let Some(start) = &span.start {
        built = built.start(date_time(start, element)?);
    }
    if let Some(end) = &span.end {
        built = built.end(date_time(end, element)?);
    }
    Ok(built.build().unwrap_or_else(|_| unreachable!("every field of a Period is optional")))
}

fn meta(profiles: &[&str], security: &[Code]) -> Option<Meta> {
    if profiles.is_empty() && security.is_empty() {
        return None;
    }
    let mut built = Meta::builder();
    if !profiles.is_empty() {
        built = built.profile(profiles.iter().map(|&profile| Some(profile.to_owned())).collect());
    }
    if !security.is_empty() {
        built = built.security(codings(security));
    }
    Some(built.build().unwrap_or_else(|_| unreachable!("every field of a Meta is optional")))
}

fn to_json<T: serde::Serialize>(value: &T, resource: &'static str) -> Result<Vec<u8>, AuthorError> {
    serde_json::to_vec(value).map_err(|_| AuthorError::Unwritable { resource })
}
