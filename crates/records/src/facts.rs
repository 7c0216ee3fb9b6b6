//! What is known of one resource without interpreting it.
//!
//! [`ResourceFacts`] is everything that labels, consent decisions and listings need; it travels in
//! manifests (CBOR) and in `--json` output. Nothing here reads or writes anything.

use std::collections::BTreeSet;

use bytes::Bytes;
use chartmesh_fhir::Typed;
use serde::{Deserialize, Serialize};

use crate::category::is_supporting;
use crate::group::is_local;
use crate::{Category, Compartment, Sensitivity};

/// A code and the system that defines it. An absent system is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Coding {
    /// URI of the code system.
    pub system: String,
    /// The code, as written by the source.
    pub code: String,
}

impl Coding {
    /// The coding `system|code`.
    pub fn new(system: impl Into<String>, code: impl Into<String>) -> Self {
        Self { system: system.into(), code: code.into() }
    }
}

/// Everything that labels, consent and listings need of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceFacts {
    /// FHIR type name, such as `Observation`.
    pub resource_type: String,
    /// `Resource.id`; without one, the UUID of its `urn:uuid:` fullUrl, else 32 hex digits of the content hash.
    pub id: String,
    /// `meta.versionId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `meta.lastUpdated`, literally.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<String>,
    /// The clinical date as the literal FHIR date, dateTime or instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// What kind of record it is.
    pub category: Category,
    /// Never empty; `{General}` if nothing else applies, and `General` never stands beside another.
    pub sensitivities: BTreeSet<Sensitivity>,
    /// `meta.security` as found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security: Vec<Coding>,
    /// DS4P labels that chartmesh assigned: exactly one confidentiality code, then sensitivity codes.
    pub labels: Vec<Coding>,
    /// Every code of the resource's CodeableConcepts and Codings, without those under `meta`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<Coding>,
    /// References to performers, authors, recorders, asserters, requesters and the like: literal, but `Type/id` where a `urn:uuid:` or
    /// conditional one could be resolved within the import.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// Reference to the encounter, as those of the authors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encounter: Option<String>,
    /// Reference to the subject, as those of the authors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Short human title: no control, bidirectional or zero-width characters, at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `meta.source`, else the base of the fullUrl; part of a resource's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What the typed model made of it.
    pub typed: Typed,
    /// BLAKE3 of the resource's original bytes.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
    /// Length of the resource's original bytes.
    pub length: u64,
}

impl ResourceFacts {
    /// The most restrictive of its sensitivities.
    pub fn sensitivity(&self) -> Sensitivity {
        self.sensitivities.last().copied().unwrap_or(Sensitivity::General)
    }

    /// Where it is sealed.
    pub fn compartment(&self) -> Compartment {
        Compartment::Clinical { sensitivity: self.sensitivity(), category: self.category }
    }

    /// Whether it says who, where or with what (a practitioner, an organisation, a medication, ...), and therefore travels as
    /// a copy in each document that points to it. A copy has that document's category and sensitivity.
    pub fn is_supporting(&self) -> bool {
        is_supporting(&self.resource_type)
    }

    /// Whether its encounter, subject or an author is named by a reference that means something only within what it came with.
    pub fn names_locally(&self) -> bool {
        self.encounter.iter().chain(&self.subject).chain(&self.authors).any(|literal| is_local(literal))
    }

    /// What makes it the same resource as another version of it.
    pub fn key(&self) -> ResourceKey {
        ResourceKey { source: self.source.clone(), resource_type: self.resource_type.clone(), id: self.id.clone() }
    }
}

/// Identity of a resource within what one author publishes: source base, type and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// `meta.source`, else the base of the fullUrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// FHIR type name.
    pub resource_type: String,
    /// The resource's id.
    pub id: String,
}

/// One resource: its facts and the source's own bytes. No `Debug`: the bytes are patient data.
pub struct Resource {
    /// What is known of it.
    pub facts: ResourceFacts,
    /// The bytes as they came, a part of the input that they came in.
    pub bytes: Bytes,
}

/// One document before sealing: resources of one compartment.
pub struct Draft {
    /// The compartment that it is to be sealed to.
    pub compartment: Compartment,
    /// What it holds: resources whose bundle is at most [`crate::MAX_DOCUMENT`] bytes, or a single one beyond [`crate::MAX_RESOURCE`].
    pub resources: Vec<Resource>,
}

impl Draft {
    /// Whether it holds one resource that is too large for a document and goes out in parts.
    pub fn is_large(&self) -> bool {
        self.resources.iter().any(|resource| resource.bytes.len() > crate::MAX_RESOURCE)
    }
}
