//! Documents whose labels are not this device's own word: what parties published is looked into, compared with its content and filed where it belongs; and what lies under an epoch
//! that is not used any more is sealed anew.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chartmesh_identity::{BlobHash, EntryHash, LaneId, LedgerId, Signed};
use chartmesh_ledger::Action;
use chartmesh_records::{Coding, Compartment, Input, ResourceFacts, Sensitivity, import, read_bundle, read_resource};
use chartmesh_sealing::{Origin, Packer, fits, wiped};
use zeroize::Zeroizing;

use crate::{
    api::ApiError,
    aside::aside,
    core::Core,
    manifest::{Listed, Manifest},
    node::Node,
    parts,
    publish::{LEVEL, Outgoing, Place, Publisher, Word, publish},
    reading::State,
    view::Document,
    write::{Parts, Writer},
};

/// Content that is opened and sealed anew at a time, in bytes.
const PER_ROUND: u64 = 32 << 20;

/// A document to be looked into, or a resource with all of its parts.
struct Due {
    lane: LaneId,
    /// Where each is published, and what was said of it.
    documents: Vec<(EntryHash, Manifest)>,
}

/// What was due, opened.
struct Looked {
    /// What its content calls for.
    manifests: Vec<Manifest>,
    /// The author's word on each document, and the length of its content.
    origins: Vec<(Signed<Origin>, usize)>,
    /// The contents, one after the other.
    content: Zeroizing<Vec<u8>>,
}

impl Looked {
    /// Whether it can be sealed there: a document that its author has filled to the brim may be filed elsewhere under a longer name.
    fn fits(&self, publisher: &Publisher, place: &Place) -> bool {
        self.origins.iter().all(|(origin, _)| fits(&publisher.header(place, origin.clone())))
    }

    /// The same to be sealed there, each document when it is asked for.
    fn seal(self, place: Place) -> Box<dyn Iterator<Item = Outgoing> + Send> {
        let (origins, lengths): (Vec<_>, Vec<_>) = self.origins.into_iter().unzip();
        let contents = parts::cut(Bytes::from_owner(self.content), lengths).map(|(_, content)| content);
        Box::new(contents.zip(origins).zip(self.manifests).map(move |((content, origin), manifest)| Outgoing {
            place: place.clone(),
            compartment: manifest.compartment,
            content,
            extract_of: manifest.extract_of,
            part: manifest.part,
            word: Word::Given(origin, Box::new(manifest)),
        }))
    }
}

impl Node {
    /// Looks once into every document that a party published, files what lies in the inbox or in a wrong compartment, and seals anew what lies under an epoch that is not used any
    /// more. Whether there was any.
    pub(crate) async fn file_and_renew(&self, id: LedgerId) -> Result<bool, ApiError> {
        let (publisher, work) = self.with(|core| Ok::<_, ApiError>((core.publisher(id), core.due(&id)?)))?;
        if work.is_empty() {
            return Ok(false);
        }
        let mut outgoing: Vec<Box<dyn Iterator<Item = Outgoing> + Send>> = Vec::new();
        let (mut done, mut looked_at) = (Vec::new(), false);
        for due in work {
            let places: Vec<(EntryHash, BlobHash)> = due.documents.iter().map(|(publish, manifest)| (*publish, manifest.blob)).collect();
            let looked = self.look_into(&id, &due).await;
            let Some((compartment, looked)) = looked.and_then(|looked| Some((looked.manifests.first()?.compartment, looked))) else {
                self.with(|core| core.bad.extend(&places));
                looked_at = true;
                continue;
            };
            self.with(|core| core.ensure_catalogs(&id, [compartment]))?;
            let Some(place) = self.with(|core| core.place(&id, &compartment))? else { continue };
            looked_at = true;
            let stale = self.with(|core| {
                core.checked.extend(&places);
                core.open(&id)
                    .is_ok_and(|(ledger, view)| places.iter().any(|(publish, blob)| view.document(ledger, publish, blob).is_some_and(|one| one.stale)))
            });
            if !looked.fits(&publisher, &place) {
                self.with(|core| core.bad.extend(&places));
                continue;
            }
            let as_it_was = looked.manifests.iter().eq(due.documents.iter().map(|(_, manifest)| manifest));
            if !stale && place.lane == due.lane && as_it_was {
                continue;
            }
            outgoing.push(looked.seal(place));
            done.extend(places);
        }
        if done.is_empty() {
            return Ok(looked_at);
        }
        let stored = self.seal_and_store(publisher, Box::new(outgoing.into_iter().flatten())).await?;
        self.with(|core| {
            let mut withdrawals: BTreeMap<(LaneId, EntryHash), BTreeSet<BlobHash>> = BTreeMap::new();
            let (ledger, view) = core.open(&id)?;
            let mut extracts: BTreeMap<BlobHash, Vec<(LaneId, EntryHash, BlobHash)>> = BTreeMap::new();
            for document in view.documents(ledger) {
                if let (Some(lane), Some(of)) = (document.lane, document.manifest.extract_of) {
                    extracts.entry(of).or_default().push((lane, document.publish, document.blob()));
                }
            }
            for (entry, blob) in done {
                let lane = ledger.get(&entry).map(|entry| entry.header.lane).ok_or_else(|| ApiError::failed("an unknown entry"))?;
                withdrawals.entry((lane, entry)).or_default().insert(blob);
                for (lane, publish, extract) in extracts.get(&blob).into_iter().flatten() {
                    withdrawals.entry((*lane, *publish)).or_default().insert(*extract);
                }
            }
            let mut writer = Writer::new(core, id)?;
            publish(&mut writer, stored)?;
            for ((lane, publish), documents) in withdrawals {
                let documents = documents.into_iter().collect();
                writer.entry(lane, Action::Withdraw { publish, documents, erase: true }, Parts::default())?;
            }
            writer.commit()
        })?;
        Ok(true)
    }

    /// Opens what is due and compares what was said of it with its content. None if it does not open or is not what was said.
    async fn look_into(&self, id: &LedgerId, due: &Due) -> Option<Looked> {
        let (publish, first) = due.documents.first()?;
        if first.part.is_none() {
            let opened = self.open_document(id, publish, &first.blob).await.ok()?;
            let manifest = relabel(first, &derived(first, &opened.content)?)?;
            return Some(Looked { manifests: vec![manifest], origins: vec![(opened.header.origin, opened.content.len())], content: opened.content });
        }
        let places: Vec<(EntryHash, BlobHash)> = due.documents.iter().map(|(publish, manifest)| (*publish, manifest.blob)).collect();
        let parts::Joined { bytes, origins } = self.join(id, &places, first.resources.facts().first()?).await.ok()?;
        let (content, facts) = aside(move || read_resource(&bytes).ok().map(|facts| (bytes, facts))).await.ok()??;
        let derived = BTreeMap::from([(facts.hash, facts)]);
        let manifests = due.documents.iter().map(|(_, manifest)| relabel(manifest, &derived)).collect::<Option<_>>()?;
        Some(Looked { manifests, origins, content })
    }
}

impl Core {
    /// What a device has to look into: what a party published and this device has not seen yet, and what lies under an epoch that is not used any more. Of a resource in parts all, once
    /// all are here.
    fn due(&self, id: &LedgerId) -> Result<Vec<Due>, ApiError> {
        let ledger = self.ledger(id)?;
        // Where nothing can be sealed, nothing is sealed anew.
        let is_stale = |document: &Document<'_>| document.stale && document.lane.is_some_and(|lane| ledger.lane(&lane).usable.is_some());
        let is_due = |document: &Document<'_>| is_stale(document) || (document.party.is_some() && !self.checked.contains(&(document.publish, document.blob())));
        let mut size = 0;
        let mut work: Vec<Due> = Vec::new();
        for whole in self.wholes(id)? {
            let Some(lane) = whole.first().lane.filter(|_| whole.state == State::Readable && whole.documents.iter().any(is_due)) else { continue };
            size += whole.documents.iter().map(|document| document.manifest.content_length).sum::<u64>();
            if !work.is_empty() && size > PER_ROUND {
                break;
            }
            work.push(Due { lane, documents: whole.documents.iter().map(|document| (document.publish, document.manifest.clone())).collect() });
        }
        Ok(work)
    }
}

/// What a document's content says of its resources. None if the content is not what the manifest lists.
fn derived(manifest: &Manifest, content: &[u8]) -> Option<BTreeMap<[u8; 32], ResourceFacts>> {
    listed(manifest, content)?;
    let derived = wiped(|| import([Input::new("document", content.to_vec())])).ok()?;
    Some(derived.drafts.into_iter().flat_map(|draft| draft.resources).map(|resource| (resource.facts.hash, resource.facts)).collect())
}

/// The manifest that a document deserves: its author's labels are united with those that its content calls for, and the more restrictive decides where it is filed. None if the
/// content says nothing of a resource.
fn relabel(old: &Manifest, derived: &BTreeMap<[u8; 32], ResourceFacts>) -> Option<Manifest> {
    let mut manifest = old.clone();
    let mut highest = Sensitivity::General;
    let said = old.resources.facts();
    let mut resources = said.clone();
    for facts in &mut resources {
        let found = derived.get(&facts.hash)?;
        let mut facts_now = found.clone();
        facts_now.category = if facts.is_supporting() { facts.category } else { found.category };
        // What was known of it where it came from, and cannot be seen in the document alone.
        facts_now.id.clone_from(&facts.id);
        facts_now.source.clone_from(&facts.source);
        if facts_now.names_locally() {
            facts_now.encounter.clone_from(&facts.encounter);
            facts_now.subject.clone_from(&facts.subject);
            facts_now.authors.clone_from(&facts.authors);
        }
        facts_now.labels = unite_labels(&facts.labels, &found.labels);
        facts_now.sensitivities.extend(facts.sensitivities.iter().copied());
        if facts_now.sensitivities.len() > 1 {
            facts_now.sensitivities.remove(&Sensitivity::General);
        }
        highest = highest.max(facts_now.sensitivity());
        *facts = facts_now;
    }
    if let Compartment::Clinical { sensitivity, .. } = &mut manifest.compartment {
        *sensitivity = highest.max(*sensitivity);
    } else {
        let category = resources.first()?.category;
        manifest.compartment = Compartment::Clinical { sensitivity: highest, category };
    }
    // The same facts may have been packed in another way.
    if resources != said {
        manifest.resources = Listed::new(&resources, &mut Packer::new(LEVEL).ok()?)?;
    }
    Some(manifest)
}

/// The resources of a document, if they are those that its manifest lists.
pub(crate) fn listed(manifest: &Manifest, content: &[u8]) -> Option<Vec<Vec<u8>>> {
    wiped(|| {
        let resources = read_bundle(content).ok()?;
        let same = resources.len() == manifest.resources.len()
            && resources.iter().zip(manifest.resources.facts()).all(|(bytes, facts)| facts.hash == *blake3::hash(bytes).as_bytes());
        same.then_some(resources)
    })
}

/// All labels of both, with the higher confidentiality.
fn unite_labels(a: &[Coding], b: &[Coding]) -> Vec<Coding> {
    const CONFIDENTIALITY: [&str; 6] = ["U", "L", "M", "N", "R", "V"];
    let rank =
        |label: &Coding| (label.system == chartmesh_consent::CONFIDENTIALITY).then(|| CONFIDENTIALITY.iter().position(|code| *code == label.code)).flatten();
    let all = || a.iter().chain(b);
    let highest = all().filter(|label| rank(label).is_some()).max_by_key(|label| rank(label));
    let others: BTreeSet<&Coding> = all().filter(|label| rank(label).is_none()).collect();
    highest.into_iter().chain(others).cloned().collect()
}
