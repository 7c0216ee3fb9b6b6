//! What one resource says of itself: facts from generic JSON, and what it refers to.
//!
//! One walk over the tree, by element names that FHIR R4 shares between types, without a typed model: a
//! resource that the typed model refuses still gets its codes read and its labels.

use chartmesh_json::Json;

use crate::category::category_of;
use crate::labels::{Found, Set, assigned, found, sensitivities_of};
use crate::text::clean;
use crate::{Coding, ResourceFacts, Typed};

/// A reference and the part it plays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) role: Role,
    pub(crate) literal: String,
}

/// How a reference is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// `DiagnosticReport.result`, `Observation.hasMember`.
    Member,
    /// A Binary shown by an attachment.
    Content,
    /// Any other.
    Other,
}

/// What was read of one resource.
pub(crate) struct Reading {
    /// Its facts, with its own sensitivities only and the typed check still to be done.
    pub(crate) facts: ResourceFacts,
    /// Its own sensitivities.
    pub(crate) own: Set,
    /// The confidentiality that its source gave it.
    pub(crate) confidentiality: Option<u8>,
    /// `Resource.id` as written.
    pub(crate) literal_id: Option<String>,
    /// Business identifiers as (system, value).
    pub(crate) identifiers: Vec<(String, String)>,
    /// What it refers to, without references to its own contained resources; sorted, each once.
    pub(crate) references: Vec<Reference>,
    /// A report that carries its text as an attachment.
    pub(crate) has_form: bool,
}

/// Where a resource stood: what identity may need beside its own content.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place<'a> {
    pub(crate) full_url: Option<&'a str>,
    pub(crate) base: Option<&'a str>,
}

/// Reads a resource of this many bytes and with this digest. None if it is no object with a resourceType that could be a type's name.
pub(crate) fn read(json: &Json<'_>, length: usize, hash: [u8; 32], place: Place<'_>) -> Option<Reading> {
    let resource_type = json.text_of("resourceType").filter(|name| name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphabetic()))?;
    let mut walk = Walk::default();
    for (name, value) in json.fields() {
        if name != "meta" {
            walk.field(name, name, value, resource_type);
        }
    }
    let meta = json.get("meta");
    let security: Vec<Coding> = meta.map_or(&[][..], |meta| meta.items_of("security")).iter().filter_map(coding_of).collect();
    walk.codes.sort_unstable();
    walk.codes.dedup();
    let codes: Vec<Coding> = walk.codes.iter().map(|&(system, code)| Coding::new(system, code)).collect();
    // Security labels inside contained resources count like those of the resource itself.
    let labelled: Found = found(&security.iter().chain(&walk.inner_security).cloned().collect::<Vec<_>>());
    let listed = codes.iter().fold(Set::default(), |set, coding| set.with(sensitivities_of(coding)));
    let own = labelled.with_codes(listed);

    let literal_id = json.text_of("id").map(str::to_owned);
    let facts = ResourceFacts {
        resource_type: resource_type.to_owned(),
        id: identity(literal_id.as_deref(), place.full_url, &hash),
        version: meta.and_then(|meta| meta.text_of("versionId")).map(str::to_owned),
        last_updated: meta.and_then(|meta| meta.text_of("lastUpdated")).map(str::to_owned),
        date: date_of(json),
        category: category_of(resource_type, json),
        sensitivities: own.to_facts(),
        security,
        labels: assigned(labelled.confidentiality, own),
        codes,
        authors: walk.authors,
        encounter: encounter_of(json),
        subject: SUBJECTS.iter().find_map(|name| json.get(name)?.text_of("reference")).map(str::to_owned),
        title: title_of(json),
        source: source_of(meta, place, resource_type),
        typed: Typed::Ok,
        hash,
        length: length as u64,
    };
    walk.references.sort_unstable();
    walk.references.dedup();
    let references = walk.references.iter().map(|&(role, literal)| Reference { role, literal: literal.to_owned() }).collect();
    let identifiers = json.items_of("identifier").iter().filter_map(|identifier| {
        let value = identifier.text_of("value")?;
        Some((identifier.text_of("system").unwrap_or_default().to_owned(), value.to_owned()))
    });
    Some(Reading {
        own,
        confidentiality: labelled.confidentiality,
        literal_id,
        identifiers: identifiers.collect(),
        references,
        has_form: !json.items_of("presentedForm").is_empty(),
        facts,
    })
}

#[derive(Default)]
struct Walk<'j> {
    /// (system, code)
    codes: Vec<(&'j str, &'j str)>,
    inner_security: Vec<Coding>,
    authors: Vec<String>,
    references: Vec<(Role, &'j str)>,
}

impl<'j> Walk<'j> {
    /// Visits the value of field `name` below the top-level field `top`.
    fn field(&mut self, top: &str, name: &str, value: &'j Json<'_>, resource_type: &str) {
        match value {
            Json::Text(text) if matches!(name, "url" | "reference") && !text.starts_with('#') && !text.is_empty() => self.refer(top, name, text, resource_type),
            Json::Array(items) => items.iter().for_each(|item| self.field(top, name, item, resource_type)),
            Json::Object(fields) => {
                if name == "meta" {
                    self.inner_security.extend(value.items_of("security").iter().filter_map(coding_of));
                    return;
                }
                self.codes.extend(code_in(value).filter(|(system, _)| name == "coding" || !system.is_empty()));
                for (inner, value) in fields {
                    self.field(top, inner, value, resource_type);
                }
            }
            _ => {}
        }
    }

    fn refer(&mut self, top: &str, name: &str, text: &'j str, resource_type: &str) {
        if name == "url" {
            // An attachment's content; the url of an extension resolves to nothing that was imported.
            if text.contains("Binary/") || text.starts_with("urn:") {
                self.references.push((Role::Content, text));
            }
            return;
        }
        if is_author(top, resource_type) && !self.authors.iter().any(|author| author == text) {
            self.authors.push(text.to_owned());
        }
        let role = match (resource_type, top) {
            ("DiagnosticReport", "result") | ("Observation", "hasMember") => Role::Member,
            _ => Role::Other,
        };
        self.references.push((role, text));
    }
}

/// Top-level elements that name who made, asked for or answers for a resource.
fn is_author(top: &str, resource_type: &str) -> bool {
    match top {
        "agent" | "asserter" | "attester" | "author" | "authenticator" | "enterer" | "informationSource" | "interpreter" | "orderer" | "performer"
        | "practitioner" | "prescriber" | "provider" | "recorder" | "requester" | "resultsInterpreter" | "sender" | "serviceProvider" => true,
        "participant" => resource_type == "Encounter",
        "source" => matches!(resource_type, "List" | "QuestionnaireResponse"),
        _ => false,
    }
}

/// Top-level elements that name whom a resource is about.
const SUBJECTS: [&str; 4] = ["subject", "patient", "beneficiary", "for"];

/// `encounter`, `context` (medication administrations), `context.encounter` (document references) or
/// `item.encounter` (claims).
fn encounter_of(json: &Json<'_>) -> Option<String> {
    let direct = json.items_of("encounter").iter().chain(json.items_of("context"));
    let nested = json.items_of("context").iter().chain(json.items_of("item")).flat_map(|outer| outer.items_of("encounter"));
    direct.chain(nested).find_map(|reference| reference.text_of("reference")).map(str::to_owned)
}

/// A Coding: a code with a system, or without one inside a `coding` array. Quantities have a code too.
fn code_in<'j>(value: &'j Json<'_>) -> Option<(&'j str, &'j str)> {
    let code = value.text_of("code")?;
    let system = value.text_of("system").unwrap_or_default();
    let quantity = value.get("value").is_some() || value.get("unit").is_some() || system == "http://unitsofmeasure.org";
    (!quantity).then_some((system, code))
}

fn coding_of(value: &Json<'_>) -> Option<Coding> {
    code_in(value).map(|(system, code)| Coding::new(system, code))
}

fn identity(id: Option<&str>, full_url: Option<&str>, hash: &[u8; 32]) -> String {
    let usable = |id: &&str| !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let from_url = || full_url.and_then(|url| url.strip_prefix("urn:uuid:"));
    if let Some(id) = id.filter(usable).or_else(|| from_url().filter(usable)) {
        return id.to_owned();
    }
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// `meta.source` without its fragment, which names a transaction rather than a source; else the base of
/// the fullUrl; else the base that the caller gave.
fn source_of(meta: Option<&Json<'_>>, place: Place<'_>, resource_type: &str) -> Option<String> {
    let stated = meta.and_then(|meta| meta.text_of("source")).map(|source| source.split_once('#').map_or(source, |(base, _)| base));
    stated
        .filter(|source| !source.is_empty())
        .or_else(|| place.full_url.and_then(|url| base_of(url, resource_type)))
        .or(place.base)
        .map(|source| source.trim_end_matches('/').to_owned())
}

/// `https://example.org/fhir` of `https://example.org/fhir/Patient/1`.
pub(crate) fn base_of<'a>(full_url: &'a str, resource_type: &str) -> Option<&'a str> {
    let (rest, _id) = full_url.rsplit_once('/')?;
    rest.strip_suffix(resource_type)?.strip_suffix('/').filter(|base| base.contains("://"))
}

/// Elements that date a resource clinically, the most telling first.
const DATES: [&str; 38] = [
    "effectiveDateTime",
    "effectivePeriod",
    "effectiveInstant",
    "effectiveTiming",
    "onsetDateTime",
    "onsetPeriod",
    "performedDateTime",
    "performedPeriod",
    "occurrenceDateTime",
    "occurrencePeriod",
    "occurrenceTiming",
    "servicedDate",
    "servicedPeriod",
    "billablePeriod",
    "whenHandedOver",
    "whenPrepared",
    "period",
    "started",
    "authoredOn",
    "authored",
    "recordedDate",
    "recorded",
    "dateWritten",
    "date",
    "dateTime",
    "dateAsserted",
    "collection",
    "createdDateTime",
    "createdPeriod",
    "start",
    "startDate",
    "created",
    "issued",
    "sent",
    "received",
    "receivedTime",
    "statusDate",
    "context",
];

fn date_of(json: &Json<'_>) -> Option<String> {
    DATES.iter().find_map(|name| date_in(json.get(name)?, 0)).map(str::to_owned)
}

fn date_in<'j>(value: &'j Json<'_>, depth: usize) -> Option<&'j str> {
    match value {
        Json::Text(text) => Some(text.as_ref()).filter(|text| is_date(text)),
        Json::Object(_) if depth < 2 => {
            ["start", "end", "event", "collectedDateTime", "collectedPeriod", "period"].iter().find_map(|name| date_in(value.get(name)?, depth + 1))
        }
        Json::Array(items) => items.first().and_then(|first| date_in(first, depth + 1)),
        _ => None,
    }
}

/// Whether it begins like a FHIR date and holds nothing that no date holds.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    (4..=40).contains(&bytes.len())
        && bytes.iter().take(4).all(u8::is_ascii_digit)
        && bytes.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b'+' | b'T' | b'Z'))
}

fn title_of(json: &Json<'_>) -> Option<String> {
    const CONCEPTS: [&str; 14] = [
        "title",
        "code",
        "vaccineCode",
        "medicationCodeableConcept",
        "medicationReference",
        "name",
        "type",
        "description",
        "serviceType",
        "specialty",
        "category",
        "relationship",
        "class",
        "reasonCode",
    ];
    CONCEPTS.iter().find_map(|name| json.items_of(name).iter().find_map(words)).and_then(|text| clean(&text))
}

/// The words of a string, CodeableConcept, Coding, Reference or HumanName.
fn words(value: &Json<'_>) -> Option<String> {
    if let Some(text) = value.text().or_else(|| value.text_of("text")).or_else(|| value.text_of("display")) {
        return Some(text.to_owned()).filter(|text| !text.trim().is_empty());
    }
    let codings = value.items_of("coding");
    if let Some(text) = codings.iter().find_map(|coding| coding.text_of("display")).or_else(|| codings.iter().find_map(|coding| coding.text_of("code"))) {
        return Some(text.to_owned());
    }
    let given = value.items_of("given").iter().filter_map(Json::text);
    let name: Vec<&str> = given.chain(value.text_of("family")).collect();
    if name.is_empty() { value.text_of("code").map(str::to_owned) } else { Some(name.join(" ")) }
}
