//! OperationOutcome, <https://hl7.org/fhir/R4/operationoutcome.html>: what a FHIR face answers when it refuses.

use fhir_sdk::r4b::codes;
use fhir_sdk::r4b::resources::{OperationOutcome, OperationOutcomeIssue};

use super::{AuthorError, to_json};

const UNWRITABLE: AuthorError = AuthorError::Unwritable { resource: "OperationOutcome" };

/// `OperationOutcome.issue.severity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing could be done.
    Fatal,
    /// The request failed.
    Error,
    /// It went through, with something to know.
    Warning,
    /// Nothing wrong.
    Information,
}

/// `OperationOutcome.issue.code`, those that chartmesh answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueKind {
    /// Content is invalid.
    Invalid,
    /// A required element is missing.
    Required,
    /// Structure is invalid: not JSON, not FHIR.
    Structure,
    /// Who asks is not known.
    Login,
    /// Who asks may not.
    Forbidden,
    /// Records were left out for lack of consent.
    Suppressed,
    /// The operation or type is not supported.
    NotSupported,
    /// No such thing, or none that may be seen.
    NotFound,
    /// Too large or too long.
    TooLong,
    /// A conflict with what is stored.
    Conflict,
    /// Too many requests.
    Throttled,
    /// Try again later.
    Transient,
    /// Timeout.
    Timeout,
    /// A failure of the system.
    Exception,
    /// Only to inform.
    Informational,
}

/// One issue.
#[derive(Debug, Clone)]
pub struct IssueSpec {
    /// How bad.
    pub severity: Severity,
    /// What kind.
    pub kind: IssueKind,
    /// Words: what happened, to what, what to do. No patient data.
    pub text: String,
    /// FHIRPath of the element concerned.
    pub expression: Option<String>,
}

/// Writes an OperationOutcome as FHIR JSON.
///
/// # Errors
/// No issue at all: FHIR requires one.
pub fn operation_outcome(issues: &[IssueSpec]) -> Result<Vec<u8>, AuthorError> {
    if issues.is_empty() {
        return Err(AuthorError::Missing { element: "OperationOutcome.issue" });
    }
    let built = OperationOutcome::builder().issue(issues.iter().map(issue).collect::<Result<_, _>>()?).build().map_err(|_| UNWRITABLE)?;
    to_json(&built, "OperationOutcome")
}

fn issue(spec: &IssueSpec) -> Result<Option<OperationOutcomeIssue>, AuthorError> {
    let built = OperationOutcomeIssue::builder()
        .severity(match spec.severity {
            Severity::Fatal => codes::IssueSeverity::Fatal,
            Severity::Error => codes::IssueSeverity::Error,
            Severity::Warning => codes::IssueSeverity::Warning,
            Severity::Information => codes::IssueSeverity::Information,
        })
        .code(match spec.kind {
            IssueKind::Invalid => codes::IssueType::Invalid,
            IssueKind::Required => codes::IssueType::Required,
            IssueKind::Structure => codes::IssueType::Structure,
            IssueKind::Login => codes::IssueType::Login,
            IssueKind::Forbidden => codes::IssueType::Forbidden,
            IssueKind::Suppressed => codes::IssueType::Suppressed,
            IssueKind::NotSupported => codes::IssueType::NotSupported,
            IssueKind::NotFound => codes::IssueType::NotFound,
            IssueKind::TooLong => codes::IssueType::TooLong,
            IssueKind::Conflict => codes::IssueType::Conflict,
            IssueKind::Throttled => codes::IssueType::Throttled,
            IssueKind::Transient => codes::IssueType::Transient,
            IssueKind::Timeout => codes::IssueType::Timeout,
            IssueKind::Exception => codes::IssueType::Exception,
            IssueKind::Informational => codes::IssueType::Informational,
        })
        .diagnostics(spec.text.clone());
    match &spec.expression {
        Some(path) => built.expression(vec![Some(path.clone())]),
        None => built,
    }
    .build()
    .map(Some)
    .map_err(|_| UNWRITABLE)
}
