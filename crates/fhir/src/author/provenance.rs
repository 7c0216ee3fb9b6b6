//! Provenance, <https://hl7.org/fhir/R4/provenance.html>: where a document came from.

use fhir_sdk::r4b::codes;
use fhir_sdk::r4b::resources::{Provenance, ProvenanceAgent, ProvenanceEntity};

use super::{AuthorError, Code, Ref, concept, concepts, instant, reference, references, to_json};

const UNWRITABLE: AuthorError = AuthorError::Unwritable { resource: "Provenance" };

/// A Provenance to be written.
#[derive(Debug, Clone, Default)]
pub struct ProvenanceSpec {
    /// Logical id; none leaves it out.
    pub id: Option<String>,
    /// What it speaks about. At least one.
    pub targets: Vec<Ref>,
    /// When it was recorded: FHIR instant. Required.
    pub recorded: String,
    /// Why, from `v3-ActReason`.
    pub reasons: Vec<Code>,
    /// What was done, from `v3-DataOperation` or `v3-DocumentCompletion`.
    pub activity: Option<Code>,
    /// Who did it. At least one.
    pub agents: Vec<ProvenanceAgentSpec>,
    /// What it was taken from (role source).
    pub sources: Vec<Ref>,
}

/// `Provenance.agent`.
#[derive(Debug, Clone, Default)]
pub struct ProvenanceAgentSpec {
    /// Part, from `provenance-participant-type`.
    pub kind: Option<Code>,
    /// Who.
    pub who: Ref,
    /// For whom.
    pub on_behalf_of: Option<Ref>,
}

/// Writes a Provenance as FHIR JSON.
///
/// # Errors
/// No target, no agent, or a `recorded` that is no instant.
pub fn provenance(spec: &ProvenanceSpec) -> Result<Vec<u8>, AuthorError> {
    if spec.targets.is_empty() {
        return Err(AuthorError::Missing { element: "Provenance.target" });
    }
    if spec.agents.is_empty() {
        return Err(AuthorError::Missing { element: "Provenance.agent" });
    }
    let mut built = Provenance::builder()
        .target(references(&spec.targets))
        .recorded(instant(&spec.recorded, "Provenance.recorded")?)
        .reason(concepts(&spec.reasons))
        .agent(spec.agents.iter().map(agent).collect::<Result<_, _>>()?)
        .entity(spec.sources.iter().map(source).collect::<Result<_, _>>()?);
    if let Some(id) = &spec.id {
        built = built.id(id.clone());
    }
    if let Some(activity) = &spec.activity {
        built = built.activity(concept(activity));
    }
    let built = built.build().map_err(|_| UNWRITABLE)?;
    to_json(&built, "Provenance")
}

fn agent(spec: &ProvenanceAgentSpec) -> Result<Option<ProvenanceAgent>, AuthorError> {
    let mut built = ProvenanceAgent::builder().who(reference(&spec.who));
    if let Some(kind) = &spec.kind {
        built = built.r#type(concept(kind));
    }
    if let Some(principal) = &spec.on_behalf_of {
        built = built.on_behalf_of(reference(principal));
    }
    built.build().map(Some).map_err(|_| UNWRITABLE)
}

fn source(what: &Ref) -> Result<Option<ProvenanceEntity>, AuthorError> {
    ProvenanceEntity::builder().role(codes::ProvenanceEntityRole::Source).what(reference(what)).build().map(Some).map_err(|_| UNWRITABLE)
}
