//! From resources to documents: labels spread, resources grouped, supporting ones copied along.
//!
//! A document holds resources of one compartment and one encounter; those without an encounter go by type
//! and day. Practitioners, organisations, locations and medications travel as copies with each document
//! that points to them, under that document's compartment; what nothing points to, and what is more
//! sensitive than the document, is sealed apart. Nothing here depends on the order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::category::is_supporting;
use crate::extract::{Reading, Role};
use crate::labels::{Links, Set, assigned, spread};
use crate::resolve::{Index, Names};
use crate::{Compartment, Draft, MAX_DOCUMENT, Resource, ResourceFacts, Sensitivity};

/// Room for the envelope of a document and of one entry in it.
const ENVELOPE: usize = 64 << 10;
const PER_ENTRY: usize = 512;
/// Largest resource that is copied along, and most bytes of copies in one import: foreign data must not
/// multiply itself.
const MAX_COPY: usize = 64 << 10;
const MAX_COPIES: usize = 64 << 20;

/// One resource on its way into a document.
pub(crate) struct Item {
    pub(crate) bytes: Bytes,
    pub(crate) full_urls: Vec<String>,
    pub(crate) inputs: Vec<usize>,
    pub(crate) reading: Reading,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Encounter(String),
    Day { day: String, resource_type: String },
}

/// Labels, groups and splits.
pub(crate) fn drafts(mut items: Vec<Item>) -> Vec<Draft> {
    let (targets, links) = resolved(&items);
    for (item, links) in items.iter_mut().zip(links) {
        let facts = &mut item.reading.facts;
        (facts.encounter, facts.subject, facts.authors) = (links.encounter, links.subject, links.authors);
    }
    let sets = label(&mut items, &targets);

    let mut groups: BTreeMap<(Compartment, Group), Vec<usize>> = BTreeMap::new();
    for (at, item) in items.iter().enumerate().filter(|(_, item)| !is_supporting(&item.reading.facts.resource_type)) {
        groups.entry((item.reading.facts.compartment(), group(at, &items, &targets))).or_default().push(at);
    }
    let mut copier = Copier { targets: &targets, sets: &sets, copied: BTreeSet::new(), bytes: 0 };
    let mut plans = Vec::new();
    for ((compartment, _), members) in groups {
        for chunk in chunks(members, &items) {
            let copies = copier.for_document(compartment, &chunk, &items);
            plans.push((compartment, chunk, copies));
        }
    }
    let copied = copier.copied;
    let mut alone: BTreeMap<(Compartment, Group), Vec<usize>> = BTreeMap::new();
    for (at, item) in items.iter().enumerate() {
        if is_supporting(&item.reading.facts.resource_type) && !copied.contains(&at) {
            alone.entry((item.reading.facts.compartment(), day_group(&item.reading.facts))).or_default().push(at);
        }
    }
    for ((compartment, _), members) in alone {
        plans.extend(chunks(members, &items).into_iter().map(|chunk| (compartment, chunk, Vec::new())));
    }

    // Copies first: afterwards the originals move into their documents.
    let lowest = lowest(&plans);
    let labelled = |at: usize| Some((items.get(at)?, sets.get(at).copied()?.with(lowest.get(&at).copied().map_or(Set::of(Sensitivity::General), Set::of))));
    let copies: Vec<Vec<Resource>> = plans
        .iter()
        .map(|(compartment, _, copies)| copies.iter().filter_map(|&at| labelled(at).map(|(item, set)| copy(item, set, *compartment))).collect())
        .collect();
    let mut items: Vec<Option<Item>> = items.into_iter().map(Some).collect();
    let mut drafts = Vec::with_capacity(plans.len());
    for ((compartment, chunk, _), copies) in plans.into_iter().zip(copies) {
        let own = chunk.into_iter().filter_map(|at| items.get_mut(at)?.take()).map(|item| Resource { facts: item.reading.facts, bytes: item.bytes });
        drafts.push(Draft { compartment, resources: own.chain(copies).collect() });
    }
    drafts
}

/// The least sensitive compartment that each copied resource appears in. A psychiatrist is known from mental-health records at the least: whoever is not to see those is not to
/// see the copy in a more sensitive document either.
fn lowest(plans: &[(Compartment, Vec<usize>, Vec<usize>)]) -> BTreeMap<usize, Sensitivity> {
    let mut lowest = BTreeMap::new();
    for (compartment, _, copies) in plans {
        let Compartment::Clinical { sensitivity, .. } = compartment else { continue };
        for at in copies {
            let least = lowest.entry(*at).or_insert(*sensitivity);
            *least = (*least).min(*sensitivity);
        }
    }
    lowest
}

/// For each resource, what each of its references means.
type Targets = Vec<Vec<(Role, Vec<usize>)>>;

/// Whom and what a resource names, by type and id where it was imported along: so that consent can be compared with it.
struct Named {
    encounter: Option<String>,
    subject: Option<String>,
    authors: Vec<String>,
}

/// References that mean something only within what they came with.
pub(crate) fn is_local(reference: &str) -> bool {
    reference.starts_with("urn:") || reference.contains('?')
}

fn resolved(items: &[Item]) -> (Targets, Vec<Named>) {
    let names = items.iter().map(|item| Names {
        inputs: &item.inputs,
        resource_type: &item.reading.facts.resource_type,
        literal_id: item.reading.literal_id.as_deref(),
        full_urls: &item.full_urls,
        source: item.reading.facts.source.as_deref(),
        identifiers: &item.reading.identifiers,
    });
    let index = Index::new(names.collect());
    let of = |(at, item): (usize, &Item)| {
        let resolve = |reference: &crate::extract::Reference| (reference.role, index.resolve(&reference.literal, at));
        item.reading.references.iter().map(resolve).filter(|(_, found)| !found.is_empty()).collect()
    };
    let name = |at: usize, literal: &String| match index.resolve(literal, at)[..] {
        [one] if is_local(literal) => items.get(one).map(|item| format!("{}/{}", item.reading.facts.resource_type, item.reading.facts.id)),
        _ => None,
    };
    let named = |(at, item): (usize, &Item)| {
        let facts = &item.reading.facts;
        let name = |literal: &String| name(at, literal).unwrap_or_else(|| literal.clone());
        Named { encounter: facts.encounter.as_ref().map(name), subject: facts.subject.as_ref().map(name), authors: facts.authors.iter().map(name).collect() }
    };
    (items.iter().enumerate().map(of).collect(), items.iter().enumerate().map(named).collect())
}

/// Spreads sensitivities and writes them into the facts.
fn label(items: &mut [Item], targets: &Targets) -> Vec<Set> {
    let own: Vec<Set> = items.iter().map(|item| item.reading.own).collect();
    let links: Vec<Links> = items.iter().zip(targets).map(|(item, targets)| links(item, targets, items)).collect();
    let sets = spread(&own, &links);
    for (item, &set) in items.iter_mut().zip(&sets) {
        item.reading.facts.sensitivities = set.to_facts();
        item.reading.facts.labels = assigned(item.reading.confidentiality, set);
    }
    sets
}

fn links(item: &Item, targets: &[(Role, Vec<usize>)], items: &[Item]) -> Links {
    let mut links = Links::default();
    let type_of = |at: usize| items.get(at).map_or("", |item| item.reading.facts.resource_type.as_str());
    for (role, found) in targets {
        for &target in found {
            match (role, type_of(target)) {
                (_, "Encounter") => links.encounters.push(target),
                (_, "Binary") => links.content.push(target),
                (Role::Content, _) => {}
                (Role::Member, _) => links.members.push(target),
                (Role::Other, kind) if says_who_or_where(kind) => {}
                (Role::Other, _) => links.about.push(target),
            }
        }
    }
    let kind = item.reading.facts.resource_type.as_str();
    links.is_event = matches!(kind, "Condition" | "Procedure");
    links.is_note = matches!(kind, "ClinicalImpression" | "Communication" | "Composition" | "DocumentManifest" | "DocumentReference")
        || (kind == "DiagnosticReport" && item.reading.has_form);
    links.tells_of_encounter = matches!(
        kind,
        "CarePlan" | "CareTeam" | "ChargeItem" | "Claim" | "ClaimResponse" | "EpisodeOfCare" | "ExplanationOfBenefit" | "Goal" | "List" | "Provenance" | "Task"
    );
    links
}

/// Types that a reference may name without telling what a record is about.
fn says_who_or_where(kind: &str) -> bool {
    matches!(
        kind,
        "Coverage"
            | "Device"
            | "Endpoint"
            | "Group"
            | "HealthcareService"
            | "Location"
            | "Organization"
            | "Patient"
            | "Person"
            | "Practitioner"
            | "PractitionerRole"
            | "RelatedPerson"
    )
}

fn group(at: usize, items: &[Item], targets: &Targets) -> Group {
    let Some(item) = items.get(at) else {
        return Group::Encounter(String::new());
    };
    let facts = &item.reading.facts;
    let name = |facts: &ResourceFacts| format!("{}|{}", facts.source.as_deref().unwrap_or_default(), facts.id);
    if facts.resource_type == "Encounter" {
        return Group::Encounter(name(facts));
    }
    let encounters = targets.get(at).into_iter().flatten().flat_map(|(_, found)| found).filter_map(|&target| items.get(target));
    let encounters = encounters.map(|item| &item.reading.facts).filter(|facts| facts.resource_type == "Encounter");
    match (encounters.map(name).min(), &facts.encounter) {
        (Some(known), Some(_)) => Group::Encounter(known),
        (None, Some(literal)) => Group::Encounter(literal.clone()),
        (_, None) => day_group(facts),
    }
}

fn day_group(facts: &ResourceFacts) -> Group {
    let day = facts.date.as_deref().map_or("", |date| date.get(..10).unwrap_or(date));
    Group::Day { day: day.to_owned(), resource_type: facts.resource_type.clone() }
}

/// Sorts the members of a group and splits them where a document would become too large.
fn chunks(mut members: Vec<usize>, items: &[Item]) -> Vec<Vec<usize>> {
    members.sort_by_key(|&at| {
        items.get(at).map(|item| {
            let facts = &item.reading.facts;
            (facts.date.as_deref(), facts.resource_type.as_str(), facts.id.as_str(), facts.hash)
        })
    });
    let mut chunks: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for at in members {
        let size = items.get(at).map_or(0, |item| item.bytes.len()) + PER_ENTRY;
        match chunks.last_mut() {
            Some(chunk) if size <= room => chunk.push(at),
            _ => {
                chunks.push(vec![at]);
                room = MAX_DOCUMENT - ENVELOPE;
            }
        }
        room = room.saturating_sub(size);
    }
    chunks
}

struct Copier<'a> {
    targets: &'a Targets,
    sets: &'a [Set],
    copied: BTreeSet<usize>,
    bytes: usize,
}

impl Copier<'_> {
    /// The supporting resources that a document's members point to, directly or through one another.
    fn for_document(&mut self, compartment: Compartment, members: &[usize], items: &[Item]) -> Vec<usize> {
        let Compartment::Clinical { sensitivity, .. } = compartment else {
            return Vec::new();
        };
        let size = |at: usize| items.get(at).map_or(usize::MAX, |item| item.bytes.len());
        let mut room = (MAX_DOCUMENT - ENVELOPE).saturating_sub(members.iter().map(|&at| size(at) + PER_ENTRY).sum());
        let (mut copies, mut waiting) = (BTreeSet::new(), members.to_vec());
        while let Some(at) = waiting.pop() {
            for &target in self.targets.get(at).into_iter().flatten().flat_map(|(_, found)| found) {
                let supports = items.get(target).is_some_and(|item| is_supporting(&item.reading.facts.resource_type));
                let fits = self.sets.get(target).is_some_and(|set| set.most() <= sensitivity) && size(target) <= MAX_COPY;
                if supports && fits && !copies.contains(&target) {
                    let needed = size(target) + PER_ENTRY;
                    if needed <= room && self.bytes + needed <= MAX_COPIES {
                        room -= needed;
                        self.bytes += needed;
                        copies.insert(target);
                        waiting.push(target);
                    }
                }
            }
        }
        self.copied.extend(&copies);
        let mut copies: Vec<usize> = copies.into_iter().collect();
        copies
            .sort_by_key(|&at| items.get(at).map(|item| (item.reading.facts.resource_type.as_str(), item.reading.facts.id.as_str(), item.reading.facts.hash)));
        copies
    }
}

/// A copy takes on the compartment of the document that it travels with.
fn copy(item: &Item, set: Set, compartment: Compartment) -> Resource {
    let mut facts = item.reading.facts.clone();
    if let Compartment::Clinical { sensitivity, category } = compartment {
        let set = set.with(Set::of(sensitivity));
        facts.category = category;
        facts.sensitivities = set.to_facts();
        facts.labels = assigned(item.reading.confidentiality, set);
    }
    Resource { facts, bytes: item.bytes.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Input, import};

    #[test]
    fn a_copy_is_as_closed_as_the_least_sensitive_place_it_is_known_from() {
        let condition = |id: &str, code: &str| {
            format!(
                r#"{{"resource":{{"resourceType":"Condition","id":"{id}","code":{{"coding":[{{"system":"http://snomed.info/sct","code":"{code}"}}]}},"subject":{{"reference":"Patient/p"}},"asserter":{{"reference":"Practitioner/d"}}}}}}"#
            )
        };
        let doctor = r#"{"resource":{"resourceType":"Practitioner","id":"d"}}"#;
        let bundle =
            |entries: &[String]| Input::new("test", format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{}]}}"#, entries.join(",")).into_bytes());
        let copies = |entries: &[String]| -> Vec<(Sensitivity, BTreeSet<Sensitivity>)> {
            let drafts = import([bundle(entries)]).unwrap().drafts;
            let doctors = drafts.iter().flat_map(|draft| &draft.resources).filter(|resource| resource.facts.resource_type == "Practitioner");
            doctors.map(|resource| (resource.facts.sensitivity(), resource.facts.sensitivities.clone())).collect()
        };
        let (depression, hiv, cold) = (condition("a", "370143000"), condition("b", "86406008"), condition("c", "82272006"));
        let sensitive = copies(&[doctor.into(), depression.clone(), hiv.clone()]);
        assert!(sensitive.contains(&(Sensitivity::MentalHealth, BTreeSet::from([Sensitivity::MentalHealth]))));
        assert!(sensitive.contains(&(Sensitivity::Hiv, BTreeSet::from([Sensitivity::MentalHealth, Sensitivity::Hiv]))));
        let known = copies(&[doctor.into(), depression, hiv, cold]);
        assert!(known.contains(&(Sensitivity::Hiv, BTreeSet::from([Sensitivity::Hiv]))));
    }
}
