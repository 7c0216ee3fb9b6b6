//! AuditEvent, <https://hl7.org/fhir/R4/auditevent.html>, in the shape of IHE BALP's disclosure events.

use fhir_sdk::r4b::codes;
use fhir_sdk::r4b::resources::{AuditEvent, AuditEventAgent, AuditEventEntity, AuditEventSource};

use super::{AuthorError, Code, Ref, coding, codings, concept, concepts, instant, reference, to_json};

const UNWRITABLE: AuthorError = AuthorError::Unwritable { resource: "AuditEvent" };

/// `AuditEvent.outcome`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It happened (0).
    #[default]
    Success,
    /// It was refused or failed for a reason of the request (4).
    MinorFailure,
    /// It failed for a reason of the system (8).
    SeriousFailure,
}

/// An AuditEvent to be written: who disclosed what to whom, when and why.
#[derive(Debug, Clone, Default)]
pub struct AuditSpec {
    /// Logical id; none leaves it out.
    pub id: Option<String>,
    /// Kind of event, such as DCM 110106 (export). Required.
    pub kind: Code,
    /// Finer kinds.
    pub subtypes: Vec<Code>,
    /// When it was recorded: FHIR instant. Required.
    pub recorded: String,
    /// How it went.
    pub outcome: AuditOutcome,
    /// Words on how it went.
    pub outcome_text: Option<String>,
    /// Purposes of use, from `v3-ActReason`.
    pub purposes: Vec<Code>,
    /// Who took part. At least one.
    pub agents: Vec<AuditAgent>,
    /// The node that recorded it. Required.
    pub observer: Ref,
    /// What it was about: the patient, documents, the grant.
    pub entities: Vec<AuditEntity>,
}

/// `AuditEvent.agent`.
#[derive(Debug, Clone, Default)]
pub struct AuditAgent {
    /// Part in the event, such as DCM 110153 (source) or 110152 (destination).
    pub kind: Option<Code>,
    /// Who.
    pub who: Ref,
    /// Whether this agent asked for it.
    pub requestor: bool,
    /// Policies and grants that allowed it, as URIs.
    pub policies: Vec<String>,
}

/// `AuditEvent.entity`.
#[derive(Debug, Clone, Default)]
pub struct AuditEntity {
    /// The patient, document or grant.
    pub what: Ref,
    /// Kind, from `audit-entity-type` or `resource-types`.
    pub kind: Option<Code>,
    /// Role, from `object-role`.
    pub role: Option<Code>,
    /// Security labels of what was disclosed.
    pub security_labels: Vec<Code>,
}

/// Writes an AuditEvent as FHIR JSON.
///
/// # Errors
/// A missing kind, agent or observer, or a `recorded` that is no instant.
pub fn audit_event(spec: &AuditSpec) -> Result<Vec<u8>, AuthorError> {
    if spec.kind.code.is_empty() {
        return Err(AuthorError::Missing { element: "AuditEvent.type" });
    }
    if spec.agents.is_empty() {
        return Err(AuthorError::Missing { element: "AuditEvent.agent" });
    }
    if spec.observer == Ref::default() {
        return Err(AuthorError::Missing { element: "AuditEvent.source.observer" });
    }

    let source = AuditEventSource::builder().observer(reference(&spec.observer)).build().map_err(|_| UNWRITABLE)?;
    let mut built = AuditEvent::builder()
        .r#type(coding(&spec.kind))
        .subtype(codings(&spec.subtypes))
        .recorded(instant(&spec.recorded, "AuditEvent.recorded")?)
        .outcome(match spec.outcome {
            AuditOutcome::Success => codes::AuditEventOutcome::N0,
            AuditOutcome::MinorFailure => codes::AuditEventOutcome::N4,
            AuditOutcome::SeriousFailure => codes::AuditEventOutcome::N8,
        })
        .purpose_of_event(concepts(&spec.purposes))
        .agent(spec.agents.iter().map(agent).collect::<Result<_, _>>()?)
        .source(source)
        .entity(spec.entities.iter().map(entity).collect::<Result<_, _>>()?);
    if let Some(id) = &spec.id {
        built = built.id(id.clone());
    }
    if let Some(text) = &spec.outcome_text {
        built = built.outcome_desc(text.clone());
    }
    to_json(&built.build().map_err(|_| UNWRITABLE)?, "AuditEvent")
}

fn agent(spec: &AuditAgent) -> Result<Option<AuditEventAgent>, AuthorError> {
    let mut built = AuditEventAgent::builder().who(reference(&spec.who)).requestor(spec.requestor).policy(spec.policies.iter().cloned().map(Some).collect());
    if let Some(kind) = &spec.kind {
        built = built.r#type(concept(kind));
    }
    built.build().map(Some).map_err(|_| UNWRITABLE)
}

fn entity(spec: &AuditEntity) -> Result<Option<AuditEventEntity>, AuthorError> {
    let mut built = AuditEventEntity::builder().what(reference(&spec.what)).security_label(codings(&spec.security_labels));
    if let Some(kind) = &spec.kind {
        built = built.r#type(coding(kind));
    }
    if let Some(role) = &spec.role {
        built = built.role(coding(role));
    }
    built.build().map(Some).map_err(|_| UNWRITABLE)
}
