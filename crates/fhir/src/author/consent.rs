//! FHIR R4 Consent, <https://hl7.org/fhir/R4/consent.html>, as IHE Privacy Consent on FHIR profiles it.

use fhir_sdk::r4b::codes;
use fhir_sdk::r4b::resources::{Consent, ConsentPolicy, ConsentProvision, ConsentProvisionActor, ConsentProvisionData, ConsentSource};

use fhir_sdk::r4b::types::Identifier;

use super::{AuthorError, Code, Ref, Span, codings, concept, concepts, date_time, meta, period, reference, references, to_json};

/// Deepest nesting of provisions that is written: what readers' depth limits still take.
const MAX_NESTING: usize = 16;

const UNWRITABLE: AuthorError = AuthorError::Unwritable { resource: "Consent" };

/// `Consent.status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConsentStatus {
    /// In development.
    Draft,
    /// Proposed, not agreed to.
    Proposed,
    /// To be followed and enforced.
    #[default]
    Active,
    /// Refused by a party.
    Rejected,
    /// Terminated or replaced.
    Inactive,
    /// Created wrongly.
    EnteredInError,
}

/// `Consent.provision.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisionType {
    /// Consent is given where this rule applies.
    Permit,
    /// Consent is withheld where this rule applies.
    Deny,
}

/// `Consent.provision.data.meaning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataMeaning {
    /// The referenced resource itself.
    Instance,
    /// The resource and what it refers to.
    Related,
    /// The resource and what refers to it.
    Dependents,
    /// Resources authored by the referenced one.
    AuthoredBy,
}

/// A Consent to be written.
#[derive(Debug, Clone, Default)]
pub struct ConsentSpec {
    /// Logical id; none leaves it out.
    pub id: Option<String>,
    /// Canonical URLs of the profiles it claims.
    pub profiles: Vec<String>,
    /// `meta.security` of the Consent itself.
    pub security: Vec<Code>,
    /// Business identifiers as (system, value).
    pub identifiers: Vec<(String, String)>,
    /// State of the consent.
    pub status: ConsentStatus,
    /// Whose consent it is. Required.
    pub patient: Ref,
    /// When it was made: FHIR dateTime.
    pub date_time: Option<String>,
    /// Who agreed.
    pub performers: Vec<Ref>,
    /// Custodians of the consent.
    pub organizations: Vec<Ref>,
    /// What the consent was taken from.
    pub source: Option<Ref>,
    /// `Consent.policy.uri`.
    pub policies: Vec<String>,
    /// `Consent.policyRule`.
    pub policy_rule: Option<Code>,
    /// The root rule.
    pub provision: Option<ProvisionSpec>,
}

/// A rule: its fields are ANDed, the values of one field ORed, an empty field matches anything.
#[derive(Debug, Clone, Default)]
pub struct ProvisionSpec {
    /// Permit or deny; FHIR leaves it out of a root rule without one and requires it in nested ones.
    pub kind: Option<ProvisionType>,
    /// When the rule holds.
    pub period: Option<Span>,
    /// When the data that it governs was authored or is relevant.
    pub data_period: Option<Span>,
    /// Whom it governs.
    pub actors: Vec<ActorSpec>,
    /// What they may do, from `consentaction`.
    pub actions: Vec<Code>,
    /// Security labels of the data governed.
    pub security_labels: Vec<Code>,
    /// Purposes of use, from `v3-ActReason`.
    pub purposes: Vec<Code>,
    /// Kinds of resource governed, such as `http://hl7.org/fhir/resource-types|Observation`.
    pub classes: Vec<Code>,
    /// Codes found in the data governed.
    pub codes: Vec<Code>,
    /// Single resources governed.
    pub data: Vec<DataSpec>,
    /// Exceptions to this rule.
    pub provisions: Vec<ProvisionSpec>,
}

/// `Consent.provision.actor`.
#[derive(Debug, Clone)]
pub struct ActorSpec {
    /// How the actor is involved, from `v3-ParticipationType` or `v3-RoleClass`.
    pub role: Code,
    /// The actor.
    pub reference: Ref,
}

/// `Consent.provision.data`.
#[derive(Debug, Clone)]
pub struct DataSpec {
    /// How far from the referenced resource the rule reaches.
    pub meaning: DataMeaning,
    /// The resource.
    pub reference: Ref,
}

/// Writes a Consent (scope patient-privacy, category LOINC 59284-0) as FHIR JSON.
///
/// # Errors
/// A missing patient, a malformed date, a nested provision without a type, or nesting beyond 16.
pub fn consent(spec: &ConsentSpec) -> Result<Vec<u8>, AuthorError> {
    if spec.patient == Ref::default() {
        return Err(AuthorError::Missing { element: "Consent.patient" });
    }
    let mut built = Consent::builder()
        .status(match spec.status {
            ConsentStatus::Draft => codes::ConsentState::Draft,
            ConsentStatus::Proposed => codes::ConsentState::Proposed,
            ConsentStatus::Active => codes::ConsentState::Active,
            ConsentStatus::Rejected => codes::ConsentState::Rejected,
            ConsentStatus::Inactive => codes::ConsentState::Inactive,
            ConsentStatus::EnteredInError => codes::ConsentState::EnteredInError,
        })
        .scope(concept(&Code::new("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy", "Privacy Consent")))
        .category(concepts(&[Code::new("http://loinc.org", "59284-0", "Patient Consent")]))
        .patient(reference(&spec.patient))
        .identifier(spec.identifiers.iter().map(|(system, value)| identifier(system, value)).collect::<Result<_, _>>()?)
        .performer(references(&spec.performers))
        .organization(references(&spec.organizations));
    if let Some(id) = &spec.id {
        built = built.id(id.clone());
    }
    let profiles: Vec<&str> = spec.profiles.iter().map(String::as_str).collect();
    if let Some(meta) = meta(&profiles, &spec.security) {
        built = built.meta(meta);
    }
    if let Some(when) = &spec.date_time {
        built = built.date_time(date_time(when, "Consent.dateTime")?);
    }
    if let Some(source) = &spec.source {
        built = built.source(ConsentSource::Reference(reference(source)));
    }
    if !spec.policies.is_empty() {
        let policies = spec.policies.iter().map(|uri| ConsentPolicy::builder().uri(uri.clone()).build().map(Some).map_err(|_| UNWRITABLE));
        built = built.policy(policies.collect::<Result<_, _>>()?);
    }
    if let Some(rule) = &spec.policy_rule {
        built = built.policy_rule(concept(rule));
    }
    if let Some(root) = &spec.provision {
        built = built.provision(provision(root, 0)?);
    }
    let consent = built.build().map_err(|_| UNWRITABLE)?;
    to_json(&consent, "Consent")
}

fn identifier(system: &str, value: &str) -> Result<Option<Identifier>, AuthorError> {
    Identifier::builder().system(system.to_owned()).value(value.to_owned()).build().map(Some).map_err(|_| UNWRITABLE)
}

fn provision(spec: &ProvisionSpec, depth: usize) -> Result<ConsentProvision, AuthorError> {
    if depth > MAX_NESTING {
        return Err(UNWRITABLE);
    }
    if depth > 0 && spec.kind.is_none() {
        return Err(AuthorError::Missing { element: "Consent.provision.provision.type" });
    }
    let nested: Result<Vec<_>, _> = spec.provisions.iter().map(|inner| provision(inner, depth + 1).map(Some)).collect();
    let mut built = ConsentProvision::builder()
        .actor(spec.actors.iter().map(actor).collect::<Result<_, _>>()?)
        .action(concepts(&spec.actions))
        .security_label(codings(&spec.security_labels))
        .purpose(codings(&spec.purposes))
        .class(codings(&spec.classes))
        .code(concepts(&spec.codes))
        .data(spec.data.iter().map(data).collect::<Result<_, _>>()?)
        .provision(nested?);
    if let Some(kind) = spec.kind {
        built = built.r#type(match kind {
            ProvisionType::Permit => codes::ConsentProvisionType::Permit,
            ProvisionType::Deny => codes::ConsentProvisionType::Deny,
        });
    }
    if let Some(span) = &spec.period {
        built = built.period(period(span, "Consent.provision.period")?);
    }
    if let Some(span) = &spec.data_period {
        built = built.data_period(period(span, "Consent.provision.dataPeriod")?);
    }
    built.build().map_err(|_| UNWRITABLE)
}

fn actor(spec: &ActorSpec) -> Result<Option<ConsentProvisionActor>, AuthorError> {
    ConsentProvisionActor::builder().role(concept(&spec.role)).reference(reference(&spec.reference)).build().map(Some).map_err(|_| UNWRITABLE)
}

fn data(spec: &DataSpec) -> Result<Option<ConsentProvisionData>, AuthorError> {
    ConsentProvisionData::builder()
        .meaning(match spec.meaning {
            DataMeaning::Instance => codes::ConsentDataMeaning::Instance,
            DataMeaning::Related => codes::ConsentDataMeaning::Related,
            DataMeaning::Dependents => codes::ConsentDataMeaning::Dependents,
            DataMeaning::AuthoredBy => codes::ConsentDataMeaning::Authoredby,
        })
        .reference(reference(&spec.reference))
        .build()
        .map(Some)
        .map_err(|_| UNWRITABLE)
}
