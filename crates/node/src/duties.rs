//! What a patient's device owes and does: epochs, envelopes, bars, documents filed from the inbox or sealed anew, single documents for finer terms. Derived from state, so that
//! no message can be withheld to prevent it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use chartmesh_consent::{Coverage, PermitScope, Request, Scope, coverage, decide_scope, select};
use chartmesh_exchange::Event;
use chartmesh_identity::{BlobHash, EntryHash, GrantId, LaneId, LedgerId, Signed, to_canonical};
use chartmesh_ledger::{Action, Checkpoint, Duty, EnvelopeBody, EpochBody, KeyBody, LaneKey, Peer, Seed, Wanted, admit_hash, duties, lanes_for};
use chartmesh_records::{Coding, Compartment, Input, ResourceFacts, Sensitivity, import, read_bundle, read_resource, write_bundle};
use chartmesh_sealing::{FileKey, Identity, Key, Origin, file_key};
use chartmesh_vault::Table;
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use crate::{
    api::ApiError,
    consents::party_reference,
    core::Core,
    grants::{AccessParts, compartment_key, document_key, write_key},
    manifest::Manifest,
    node::Node,
    parts,
    publish::{MANIFEST_BYTES, Outgoing, Place, publish},
    reading::State,
    time,
    view::Document,
    write::{Parts, Writer, seal_body},
};

/// How often a device looks at its clock.
const TICK: Duration = Duration::from_secs(30);
/// A checkpoint older than this is renewed, in seconds.
const CHECKPOINT_AGE: i64 = 60;
/// Rounds after which something is wrong.
const MOST_ROUNDS: usize = 100_000;
/// Documents whose keys one Envelope hands over at most.
const MAX_SHARED: usize = 1024;
/// Content that is opened and sealed anew at a time, in bytes.
const PER_ROUND: u64 = 32 << 20;

pub(crate) async fn steward(node: Node) {
    loop {
        if let Err(error) = node.tend().await {
            tracing::warn!(%error, "a duty could not be done");
        }
        tokio::select! {
            () = node.0.signals.duties.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

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
    /// The same to be sealed there, each document when it is asked for.
    fn seal(self, place: Place) -> Box<dyn Iterator<Item = Outgoing> + Send> {
        let (origins, lengths): (Vec<_>, Vec<_>) = self.origins.into_iter().unzip();
        let contents = parts::cut(self.content, lengths).map(|(_, content)| content);
        Box::new(contents.zip(origins).zip(self.manifests).map(move |((content, origin), manifest)| Outgoing {
            place: place.clone(),
            compartment: manifest.compartment,
            content,
            resources: manifest.resources.clone(),
            extract_of: manifest.extract_of,
            part: manifest.part,
            origin: Some((origin, manifest)),
        }))
    }
}

/// Documents of a grant's catalogs that finer terms let it have, and how.
struct Share {
    grant: GrantId,
    publish: EntryHash,
    manifest: Manifest,
    /// Positions of the resources that are covered; all of them if none is left out.
    covered: Vec<usize>,
}

impl Node {
    /// Does everything that this node owes.
    pub(crate) async fn tend(&self) -> Result<(), ApiError> {
        let Some(id) = self.with(|core| core.keys.patient.as_ref().map(|patient| patient.ledger)) else {
            self.with(Core::confirm_revocations)?;
            let ids: Vec<LedgerId> = self.with(|core| core.replica.ledgers.keys().copied().collect());
            for id in ids {
                self.erase(id).await?;
            }
            return Ok(());
        };
        if self.with(|core| core.may_sign(&id)).is_err() {
            return Ok(());
        }
        let _one_at_a_time = self.0.changes.lock().await;
        // Custodians go on serving whatever else could not be done.
        let settled = self.settle(id).await;
        self.with(|core| core.checkpoint(&id))?;
        settled
    }

    /// Does everything that a device of this ledger owes. The caller holds the lock on changes.
    pub(crate) async fn settle(&self, id: LedgerId) -> Result<(), ApiError> {
        for _ in 0..MOST_ROUNDS {
            if self.with(|core| core.perform(&id))? {
                continue;
            }
            if self.file_and_renew(id).await? || self.share_documents(id).await? {
                continue;
            }
            return self.erase(id).await;
        }
        Err(ApiError::failed("the device's duties do not come to an end"))
    }

    /// Looks once into every document that a party published, files what lies in the inbox or in a wrong compartment, and seals anew what lies under an epoch that is not used any
    /// more. Whether there was any.
    async fn file_and_renew(&self, id: LedgerId) -> Result<bool, ApiError> {
        let (publisher, work) = self.with(|core| Ok::<_, ApiError>((core.publisher(id), core.due(&id)?)))?;
        if work.is_empty() {
            return Ok(false);
        }
        let mut outgoing: Vec<Box<dyn Iterator<Item = Outgoing> + Send>> = Vec::new();
        let mut done = Vec::new();
        for due in work {
            let places: Vec<(EntryHash, BlobHash)> = due.documents.iter().map(|(publish, manifest)| (*publish, manifest.blob)).collect();
            let looked = self.look_into(&id, &due).await;
            let Some((compartment, looked)) = looked.and_then(|looked| Some((looked.manifests.first()?.compartment, looked))) else {
                self.with(|core| core.bad.extend(&places));
                continue;
            };
            self.with(|core| core.ensure_catalogs(&id, [compartment]))?;
            let Some(place) = self.with(|core| core.place(&id, &compartment))? else { continue };
            let stale = self.with(|core| {
                core.checked.extend(&places);
                core.open(&id)
                    .is_ok_and(|(ledger, view)| places.iter().any(|(publish, blob)| view.document(ledger, publish, blob).is_some_and(|one| one.stale)))
            });
            let as_it_was = looked.manifests.iter().eq(due.documents.iter().map(|(_, manifest)| manifest));
            if !stale && place.lane == due.lane && as_it_was {
                continue;
            }
            outgoing.push(looked.seal(place));
            done.extend(places);
        }
        if done.is_empty() {
            return Ok(true);
        }
        let stored = self.seal_and_store(publisher, Box::new(outgoing.into_iter().flatten())).await?;
        self.with(|core| {
            let mut withdrawals: BTreeMap<(LaneId, EntryHash), Vec<BlobHash>> = BTreeMap::new();
            let (ledger, view) = core.open(&id)?;
            let mut extracts: BTreeMap<BlobHash, Vec<(LaneId, EntryHash, BlobHash)>> = BTreeMap::new();
            for document in view.documents(ledger) {
                if let (Some(lane), Some(of)) = (document.lane, document.manifest.extract_of) {
                    extracts.entry(of).or_default().push((lane, document.publish, document.blob()));
                }
            }
            for (entry, blob) in done {
                let lane = ledger.get(&entry).map(|entry| entry.header.lane).ok_or_else(|| ApiError::failed("an unknown entry"))?;
                withdrawals.entry((lane, entry)).or_default().push(blob);
                for (lane, publish, extract) in extracts.get(&blob).into_iter().flatten() {
                    withdrawals.entry((*lane, *publish)).or_default().push(*extract);
                }
            }
            let mut writer = Writer::new(core, id)?;
            publish(&mut writer, stored)?;
            for ((lane, publish), documents) in withdrawals {
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
        let parts::Joined { bytes, origins, .. } = self.join(id, &places, first.resources.first()?).await.ok()?;
        let (content, facts) = tokio::task::spawn_blocking(move || read_resource(&bytes).ok().map(|facts| (bytes, facts))).await.ok()??;
        let derived = BTreeMap::from([(facts.hash, facts)]);
        let manifests = due.documents.iter().map(|(_, manifest)| relabel(manifest, &derived)).collect::<Option<_>>()?;
        Some(Looked { manifests, origins, content })
    }

    /// Hands over single documents under terms finer than a compartment; where a document is covered in part, an extract of it is published first. Whether there was any.
    async fn share_documents(&self, id: LedgerId) -> Result<bool, ApiError> {
        let shares = self.with(|core| core.shares(&id))?;
        let (whole, parts): (Vec<Share>, Vec<Share>) = shares.into_iter().partition(|share| share.covered.len() == share.manifest.resources.len());
        if !parts.is_empty() {
            self.extract(id, parts).await?;
            return Ok(true);
        }
        if whole.is_empty() {
            return Ok(false);
        }
        let mut keys: BTreeMap<(EntryHash, BlobHash), FileKey> = BTreeMap::new();
        for share in &whole {
            let place = (share.publish, share.manifest.blob);
            if let std::collections::btree_map::Entry::Vacant(vacant) = keys.entry(place) {
                match self.file_key(&id, &place.0, &place.1).await {
                    Ok(key) => {
                        vacant.insert(key);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a document could not be handed over");
                        self.with(|core| core.bad.insert(place));
                    }
                }
            }
        }
        self.with(|core| core.hand_over_documents(&id, &whole, &keys))?;
        Ok(true)
    }

    async fn extract(&self, id: LedgerId, parts: Vec<Share>) -> Result<(), ApiError> {
        let publisher = self.with(|core| core.publisher(id));
        let mut made: BTreeSet<(BlobHash, Vec<usize>)> = BTreeSet::new();
        let mut outgoing = Vec::new();
        for share in parts {
            if !made.insert((share.manifest.blob, share.covered.clone())) {
                continue;
            }
            let Ok(opened) = self.open_document(&id, &share.publish, &share.manifest.blob).await else {
                self.with(|core| core.bad.insert((share.publish, share.manifest.blob)));
                continue;
            };
            let Some(resources) = listed(&share.manifest, &opened.content) else {
                self.with(|core| core.bad.insert((share.publish, share.manifest.blob)));
                continue;
            };
            let covered: Vec<_> =
                share.covered.iter().filter_map(|index| Some((share.manifest.resources.get(*index)?, resources.get(*index)?.as_slice()))).collect();
            let compartment = share.manifest.compartment;
            let place = self.with(|core| core.place(&id, &compartment))?.ok_or_else(|| ApiError::failed(format_args!("{compartment} has no usable epoch")))?;
            outgoing.push(Outgoing {
                place,
                compartment,
                content: Zeroizing::new(write_bundle(&compartment, &covered)),
                resources: covered.iter().map(|(facts, _)| (*facts).clone()).collect(),
                origin: None,
                extract_of: Some(share.manifest.blob),
                part: None,
            });
        }
        let stored = self.seal_and_store(publisher, Box::new(outgoing.into_iter())).await?;
        self.with(|core| {
            let mut writer = Writer::new(core, id)?;
            publish(&mut writer, stored)?;
            writer.commit()
        })?;
        Ok(())
    }

    /// Deletes ciphertext that was withdrawn for good: only what was delivered under that Publish, and under no other that still stands.
    pub(crate) async fn erase(&self, id: LedgerId) -> Result<(), ApiError> {
        let gone: BTreeSet<BlobHash> = self.with(|core| core.erased(&id))?;
        if gone.is_empty() {
            return Ok(());
        }
        let gone: Vec<BlobHash> = gone.into_iter().collect();
        self.0.blobs.delete(&gone).await.map_err(ApiError::failed)
    }

    async fn file_key(&self, id: &LedgerId, publish: &EntryHash, blob: &BlobHash) -> Result<FileKey, ApiError> {
        let bytes = self.blob(blob).await?;
        self.with(|core| {
            let (ledger, view) = core.open(id)?;
            match view.document(ledger, publish, blob).map(|document| document.key) {
                Some(Key::Identity(identity)) => file_key(&bytes, identity).map_err(ApiError::failed),
                Some(Key::File(key)) => Ok(FileKey::new(*key.expose())),
                None => Err(ApiError::failed(format_args!("document {} cannot be opened here", blob.short()))),
            }
        })
    }
}

impl Core {
    /// What a device has to look into: what a party published and this device has not seen yet, and what lies under an epoch that is not used any more. Of a resource in parts all, once
    /// all are here.
    fn due(&self, id: &LedgerId) -> Result<Vec<Due>, ApiError> {
        let is_due = |document: &Document<'_>| document.stale || (document.party.is_some() && !self.checked.contains(&(document.publish, document.blob())));
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

    /// Documents that are withdrawn for good and that nothing else names; their delivery marks are dropped.
    fn erased(&mut self, id: &LedgerId) -> Result<BTreeSet<BlobHash>, ApiError> {
        let ledger = self.ledger(id)?;
        let mut marks = Vec::new();
        for lane in ledger.lanes() {
            for (publish, state) in &ledger.lane(lane).publishes {
                let erased = state.withdrawn.iter().filter(|(_, erase)| **erase).map(|(blob, _)| (*publish, *blob));
                marks.extend(erased.filter(|mark| self.delivered.contains(mark)));
            }
        }
        if marks.is_empty() {
            return Ok(BTreeSet::new());
        }
        let gone: BTreeSet<(EntryHash, BlobHash)> = marks.into_iter().collect();
        let still: BTreeSet<BlobHash> = self.delivered.difference(&gone).map(|(_, blob)| *blob).collect();
        self.unmark(&gone)?;
        Ok(gone.into_iter().map(|(_, blob)| blob).filter(|blob| !still.contains(blob)).collect())
    }

    /// What devices of the patient want, from the terms of all grants.
    fn wanted(&self, id: &LedgerId) -> Result<Wanted, ApiError> {
        let (ledger, view) = self.open(id)?;
        let secret = &self.keys.patient.as_ref().ok_or_else(|| ApiError::refused("only a patient's device"))?.keyring_secret;
        let mut wanted = Wanted { catalogs: view.catalogs().map(|(lane, _)| lane).collect(), ..Wanted::default() };
        for (grant, open) in &view.grants {
            let Some(state) = ledger.lane(&open.circle).grants.get(grant) else { continue };
            let had: BTreeSet<LaneId> = state
                .envelopes
                .iter()
                .flat_map(|envelope| {
                    envelope.catalogs.iter().copied().chain(envelope.epochs.iter().filter_map(|epoch| ledger.get(epoch).map(|entry| entry.header.lane)))
                })
                .collect();
            let mut access = BTreeMap::new();
            for (lane, compartment) in view.catalogs() {
                let reads = coverage(&open.terms, *compartment) == Coverage::Whole;
                let writes = open.terms.write && (reads || is_open_to_writers(compartment));
                if (reads || writes) && (state.revoked.is_none() || had.contains(&lane)) {
                    let id = chartmesh_identity::AccessId::derive(secret.expose(), grant, &lane);
                    access.insert(lane, chartmesh_ledger::Access { id, reads, writes });
                }
            }
            wanted.access.insert(*grant, access);
        }
        Ok(wanted)
    }

    /// Does what needs no document: revokes, bars, epochs, admits, envelopes. Whether there was any.
    fn perform(&mut self, id: &LedgerId) -> Result<bool, ApiError> {
        let wanted = self.wanted(id)?;
        let now = time::now();
        let owed: Vec<Duty> = duties(self.ledger(id)?, &wanted, now).into_iter().filter(|duty| !matches!(duty, Duty::Reseal { .. })).collect();
        let doors = self.owed_doors(id, &wanted, now)?;
        if owed.is_empty() && doors.is_empty() {
            return Ok(false);
        }
        // Taking away comes first and alone: what is given depends on it.
        let taking = owed.iter().any(|duty| matches!(duty, Duty::Expire { .. } | Duty::Bar { .. }));
        let renewing = owed.iter().any(|duty| matches!(duty, Duty::Epoch { .. }));
        let mut writer = Writer::new(self, *id)?;
        let mut keys = Vec::new();
        let mut envelopes: BTreeMap<GrantId, BTreeMap<LaneId, EntryHash>> = BTreeMap::new();
        for duty in owed {
            match duty {
                Duty::Expire { grant, circle } => {
                    let fence = writer.core.ledger(id)?.fence(&circle);
                    writer.entry(circle, Action::Revoke { grant, fence }, Parts::default())?;
                }
                Duty::Bar { catalog, id: access, .. } => {
                    let fence = writer.core.ledger(id)?.fence(&catalog);
                    writer.entry(catalog, Action::Bar { id: access, fence }, Parts::default())?;
                }
                Duty::Epoch { catalog } if !taking => keys.push(renew(&mut writer, id, catalog)?),
                Duty::Admit { grant, catalog, id: access } if !taking && !renewing => {
                    let (_, view) = writer.core.open(id)?;
                    let party = view.grants.get(&grant).map(|grant| grant.party).ok_or_else(|| ApiError::failed("an unknown grant"))?;
                    let salt = writer.core.salt(&access)?;
                    writer.entry(catalog, Action::Admit { id: access, party: admit_hash(&salt, &party) }, Parts::default())?;
                }
                Duty::Envelope { grant, catalog, epoch, .. } if !taking && !renewing => {
                    envelopes.entry(grant).or_default().insert(catalog, epoch);
                }
                Duty::Epoch { .. } | Duty::Admit { .. } | Duty::Envelope { .. } | Duty::Reseal { .. } => {}
            }
        }
        if !taking && !renewing {
            for (grant, lanes) in doors {
                let of_grant = envelopes.entry(grant).or_default();
                for (lane, epoch) in lanes {
                    of_grant.insert(lane, epoch);
                }
            }
            for (grant, lanes) in envelopes {
                envelope(&mut writer, id, &wanted, grant, &lanes)?;
            }
        }
        store_keys(&mut writer, id, keys)?;
        writer.commit()?;
        Ok(true)
    }

    /// Catalogs that a live grant may write and has not been told how.
    fn owed_doors(&self, id: &LedgerId, wanted: &Wanted, now: i64) -> Result<BTreeMap<GrantId, BTreeMap<LaneId, EntryHash>>, ApiError> {
        let (ledger, view) = self.open(id)?;
        let mut doors: BTreeMap<GrantId, BTreeMap<LaneId, EntryHash>> = BTreeMap::new();
        for (grant, access) in &wanted.access {
            let Some(state) = view.grants.get(grant).and_then(|open| ledger.lane(&open.circle).grants.get(grant)).filter(|state| state.is_live(now)) else {
                continue;
            };
            for (lane, _) in access.iter().filter(|(_, access)| access.writes) {
                let told = state.envelopes.iter().any(|envelope| envelope.catalogs.contains(lane));
                if let Some(epoch) = ledger.lane(lane).usable.filter(|_| !told) {
                    doors.entry(*grant).or_default().insert(*lane, epoch);
                }
            }
        }
        Ok(doors)
    }

    /// What an Admit is salted with: the same on every device.
    pub(crate) fn salt(&self, access: &chartmesh_identity::AccessId) -> Result<[u8; 16], ApiError> {
        let secret = &self.keys.patient.as_ref().ok_or_else(|| ApiError::refused("only a patient's device"))?.keyring_secret;
        let whole = LaneId::derive(secret.expose(), &[&b"salt"[..], access.as_bytes()].concat());
        let mut salt = [0; 16];
        salt.copy_from_slice(&whole.as_bytes()[..16]);
        Ok(salt)
    }

    /// Makes catalogs for compartments that have none yet.
    pub(crate) fn ensure_catalogs(&mut self, id: &LedgerId, compartments: impl IntoIterator<Item = Compartment>) -> Result<(), ApiError> {
        let (_, view) = self.open(id)?;
        let secret = &self.keys.patient.as_ref().ok_or_else(|| ApiError::refused("only a patient's device makes catalogs"))?.keyring_secret;
        let missing: BTreeMap<LaneId, Compartment> = compartments
            .into_iter()
            .filter(|compartment| view.catalog(compartment).is_none())
            .map(|compartment| (LaneId::derive(secret.expose(), format!("catalog/{compartment}").as_bytes()), compartment))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut writer = Writer::new(self, *id)?;
        let mut keys = Vec::new();
        for (lane, compartment) in missing {
            keys.push(new_epoch(&mut writer, id, lane, compartment.to_string())?);
        }
        store_keys(&mut writer, id, keys)?;
        writer.commit()?;
        Ok(())
    }

    /// Documents that live grants with finer terms are owed.
    fn shares(&self, id: &LedgerId) -> Result<Vec<Share>, ApiError> {
        let (ledger, view) = self.open(id)?;
        let now = time::now();
        let documents = view.documents(ledger);
        let mut shares = Vec::new();
        for (grant, open) in &view.grants {
            let Some(state) = ledger.lane(&open.circle).grants.get(grant).filter(|state| state.is_live(now)) else { continue };
            let given: BTreeSet<(EntryHash, BlobHash)> = state.envelopes.iter().flat_map(|envelope| envelope.documents.iter().copied()).collect();
            let request = read_request(id, &party_reference(&open.party), &open.terms, now);
            let partial: BTreeSet<LaneId> =
                view.catalogs().filter(|(_, compartment)| coverage(&open.terms, **compartment) == Coverage::Partial).map(|(lane, _)| lane).collect();
            let live = documents.iter().filter(|document| document.lane.is_some_and(|lane| partial.contains(&lane)) && !document.quarantined);
            // Only what this device has looked into, or some device has published, is decided on by its manifest.
            let ready = |document: &&Document<'_>| {
                let place = (document.publish, document.blob());
                let known = document.party.is_none() || self.checked.contains(&place);
                known && document.manifest.extract_of.is_none() && self.delivered.contains(&place) && !self.bad.contains(&place)
            };
            for document in live.filter(ready) {
                let manifest = document.manifest;
                let selection = select(&open.terms, &request, manifest.compartment, &manifest.resources);
                if selection.permitted.is_empty() {
                    continue;
                }
                let whole = selection.permitted.len() == manifest.resources.len();
                let covered: Vec<_> = selection.permitted.iter().map(|index| manifest.resources[*index].hash).collect();
                let extract = documents.iter().find(|other| {
                    other.manifest.extract_of == Some(manifest.blob)
                        && other.party.is_none()
                        && !other.quarantined
                        && self.delivered.contains(&(other.publish, other.blob()))
                        && other.manifest.resources.iter().map(|facts| facts.hash).eq(covered.iter().copied())
                });
                let target = if whole { Some(document) } else { extract };
                let share = match target {
                    Some(target) if given.contains(&(target.publish, target.blob())) => continue,
                    Some(target) => Share {
                        grant: *grant,
                        publish: target.publish,
                        manifest: target.manifest.clone(),
                        covered: (0..target.manifest.resources.len()).collect(),
                    },
                    None => Share { grant: *grant, publish: document.publish, manifest: manifest.clone(), covered: selection.permitted },
                };
                shares.push(share);
            }
        }
        Ok(shares)
    }

    fn hand_over_documents(&mut self, id: &LedgerId, shares: &[Share], keys: &BTreeMap<(EntryHash, BlobHash), FileKey>) -> Result<(), ApiError> {
        let now = time::now();
        let mut by_grant: BTreeMap<GrantId, Vec<&Share>> = BTreeMap::new();
        for share in shares {
            by_grant.entry(share.grant).or_default().push(share);
        }
        let mut writer = Writer::new(self, *id)?;
        for (grant, shares) in by_grant {
            let lengths: Vec<usize> = shares.iter().map(|share| to_canonical(&share.manifest).len()).collect();
            for shares in portions(&lengths).into_iter().filter_map(|portion| shares.get(portion)) {
                let (_, view) = writer.core.open(id)?;
                let open = view.grants.get(&grant).ok_or_else(|| ApiError::failed("an unknown grant"))?;
                let request = read_request(id, &party_reference(&open.party), &open.terms, now);
                let mut files = Vec::new();
                let mut documents = Vec::new();
                for share in shares {
                    let place = (share.publish, share.manifest.blob);
                    let blob = share.manifest.blob.to_string();
                    let scope = Scope::Document { id: &blob, compartment: share.manifest.compartment, resources: &share.manifest.resources };
                    let Ok(permit) = decide_scope(&open.terms, &request, scope) else {
                        tracing::warn!(document = share.manifest.blob.short(), "a document is not covered after all");
                        continue;
                    };
                    let Some(key) = keys.get(&place) else { continue };
                    files.push(document_key(permit, share.publish, &share.manifest, key)?);
                    documents.push(place);
                }
                let body = EnvelopeBody { catalogs: Vec::new(), files, notices: notices(&open.terms), terms: ByteBuf::from(to_canonical(&open.terms)) };
                let circle = open.circle;
                let identity = view.circle_identity(&circle).ok_or_else(|| ApiError::failed("a circle without identity"))?;
                let body = seal_body(&body, identity.recipient())?;
                writer.entry(circle, Action::Envelope { grant, epochs: Vec::new(), documents, catalogs: Vec::new() }, Parts::body(body))?;
            }
        }
        writer.commit()?;
        Ok(())
    }

    /// Signs checkpoints for circles with live grants, so that custodians go on serving.
    fn checkpoint(&mut self, id: &LedgerId) -> Result<(), ApiError> {
        let now = time::now();
        let (ledger, view) = self.open(id)?;
        let mut due = Vec::new();
        let custodians: Vec<_> = ledger.charter().custodians.iter().map(|custodian| custodian.party).collect();
        if !custodians.is_empty() {
            for (lane, purpose) in &view.lanes {
                let crate::view::Purpose::Circle(party) = purpose else { continue };
                let live = ledger.lane(lane).grants.values().any(|grant| grant.is_live(now));
                let fresh = self.replica.checkpoints.get(&(*id, *lane)).is_some_and(|held| (0..CHECKPOINT_AGE).contains(&(now - held.time)));
                if live && !fresh {
                    let lanes = lanes_for(ledger, &Peer::Party(*party), now, Some(now));
                    due.push((*lane, lanes.keys().flat_map(|lane| ledger.heads(lane)).collect()));
                }
            }
        }
        for (lane, heads) in due {
            let checkpoint = Checkpoint { ledger: *id, lane, author: self.keys.author(), heads, time: now, cosignatures: Vec::new() };
            let signed = Signed::sign(checkpoint, &self.keys.signing);
            self.vault.put(Table::Checkpoints, &[&id.as_bytes()[..], lane.as_bytes()].concat(), signed.as_bytes()).map_err(ApiError::failed)?;
            let sessions: Vec<u64> = self.sessions.met().map(|(id, _, _)| id).collect();
            self.replica.hear(signed.clone(), now);
            for session in sessions {
                self.event(session, Event::Checkpoint(signed.clone()));
            }
        }
        Ok(())
    }
}

/// What a document's content says of its resources. None if the content is not what the manifest lists.
fn derived(manifest: &Manifest, content: &[u8]) -> Option<BTreeMap<[u8; 32], ResourceFacts>> {
    listed(manifest, content)?;
    let derived = import([Input::new("document", content.to_vec())]).ok()?;
    Some(derived.drafts.into_iter().flat_map(|draft| draft.resources).map(|resource| (resource.facts.hash, resource.facts)).collect())
}

/// The manifest that a document deserves: its author's labels are united with those that its content calls for, and the more restrictive decides where it is filed. None if the
/// content says nothing of a resource.
fn relabel(old: &Manifest, derived: &BTreeMap<[u8; 32], ResourceFacts>) -> Option<Manifest> {
    let mut manifest = old.clone();
    let mut highest = Sensitivity::General;
    for facts in &mut manifest.resources {
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
        let category = manifest.resources.first()?.category;
        manifest.compartment = Compartment::Clinical { sensitivity: highest, category };
    }
    Some(manifest)
}

/// The resources of a document, if they are those that its manifest lists.
fn listed(manifest: &Manifest, content: &[u8]) -> Option<Vec<Vec<u8>>> {
    let resources = read_bundle(content).ok()?;
    let same = resources.len() == manifest.resources.len()
        && resources.iter().zip(&manifest.resources).all(|(bytes, facts)| facts.hash == *blake3::hash(bytes).as_bytes());
    same.then_some(resources)
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

/// How many shares with manifests of these lengths go into one Envelope, whose lists and body are bounded.
fn portions(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut portions = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (at, length) in lengths.iter().enumerate() {
        if at > start && (at - start == MAX_SHARED || size + length > MANIFEST_BYTES) {
            portions.push(start..at);
            (start, size) = (at, 0);
        }
        size += length;
    }
    portions.push(start..lengths.len());
    portions
}

/// A party's request to read, for the purpose that its terms name first.
pub(crate) fn read_request(id: &LedgerId, party: &str, terms: &chartmesh_consent::Terms, now: i64) -> Request {
    let purpose = terms.purposes().into_iter().next().unwrap_or_else(|| chartmesh_consent::purpose::act_reason(chartmesh_consent::purpose::TREAT));
    Request::read(id.to_string(), party, purpose, now)
}

/// Whether every writer may write there: in the inbox, and in general compartments, whose existence tells nothing. Whoever reads a compartment whole may write there too; all else goes
/// through the inbox, so that a writer never learns which sensitive compartments a patient has.
fn is_open_to_writers(compartment: &Compartment) -> bool {
    match compartment {
        Compartment::Inbox => true,
        Compartment::Clinical { sensitivity, .. } => *sensitivity == Sensitivity::General,
    }
}

/// The compartments that a grant to write needs.
pub(crate) fn open_to_writers() -> impl Iterator<Item = Compartment> {
    Compartment::all().filter(is_open_to_writers)
}

/// The notices that go with what terms disclose.
pub(crate) fn notices(terms: &chartmesh_consent::Terms) -> Vec<String> {
    chartmesh_consent::notices(terms).into_iter().map(|notice| format!("{} Scope of the consent: {}", notice.text, notice.scope.join(" "))).collect()
}

/// A new epoch for every catalog: after a device was lost.
pub(crate) fn renew_all(core: &mut Core, id: &LedgerId) -> Result<(), ApiError> {
    let (_, view) = core.open(id)?;
    let lanes: Vec<LaneId> = view.catalogs().map(|(lane, _)| lane).collect();
    let mut writer = Writer::new(core, *id)?;
    let keys = lanes.into_iter().map(|lane| renew(&mut writer, id, lane)).collect::<Result<_, _>>()?;
    store_keys(&mut writer, id, keys)?;
    writer.commit()?;
    Ok(())
}

/// A new epoch for a catalog whose name is known.
fn renew(writer: &mut Writer<'_>, id: &LedgerId, lane: LaneId) -> Result<LaneKey, ApiError> {
    let (_, view) = writer.core.open(id)?;
    let name = view.catalogs().find(|(catalog, _)| *catalog == lane).map(|(_, compartment)| compartment.to_string());
    let name = name.ok_or_else(|| ApiError::failed(format_args!("catalog {} is not known here", lane.short())))?;
    new_epoch(writer, id, lane, name)
}

/// A new epoch: covers every Bar, supersedes all before it, opens their past.
fn new_epoch(writer: &mut Writer<'_>, id: &LedgerId, lane: LaneId, purpose: String) -> Result<LaneKey, ApiError> {
    let identity = Identity::generate();
    let (ledger, view) = writer.core.open(id)?;
    let state = ledger.lane(&lane);
    let supersedes: Vec<EntryHash> = state.epochs.iter().filter(|(_, epoch)| !epoch.superseded).map(|(entry, _)| *entry).collect();
    let covers = state.bars.keys().copied().collect();
    let past = ledger.fence(&lane);
    let predecessors = supersedes
        .iter()
        .filter_map(|epoch| Some(LaneKey { lane, epoch: Some(*epoch), purpose: purpose.clone(), identity: Seed::new(*view.epochs.get(epoch)?.expose_seed()) }))
        .collect();
    let body = seal_body(&EpochBody { predecessors }, identity.recipient())?;
    let action = Action::Epoch { recipient: identity.recipient().clone(), supersedes, covers, past };
    let epoch = writer.entry(lane, action, Parts::body(body))?;
    Ok(LaneKey { lane, epoch: Some(epoch), purpose, identity: Seed::new(*identity.expose_seed()) })
}

/// Puts new identities into the keyring.
pub(crate) fn store_keys(writer: &mut Writer<'_>, id: &LedgerId, keys: Vec<LaneKey>) -> Result<(), ApiError> {
    if keys.is_empty() {
        return Ok(());
    }
    let charter = writer.core.ledger(id)?.charter();
    let (lane, recipient) = (charter.keyring_lane, charter.keyring.clone());
    let body = seal_body(&KeyBody { keys, keyring: None }, &recipient)?;
    writer.entry(lane, Action::Key {}, Parts::body(body))?;
    Ok(())
}

/// Hands a grant the identities of catalogs that it reads whole, and what it needs to write.
fn envelope(writer: &mut Writer<'_>, id: &LedgerId, wanted: &Wanted, grant: GrantId, lanes: &BTreeMap<LaneId, EntryHash>) -> Result<(), ApiError> {
    let now = time::now();
    let (_, view) = writer.core.open(id)?;
    let open = view.grants.get(&grant).ok_or_else(|| ApiError::failed("an unknown grant"))?;
    let request = read_request(id, &party_reference(&open.party), &open.terms, now);
    let access = wanted.access.get(&grant);
    let (mut epochs, mut catalogs, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for (lane, epoch) in lanes {
        let Some(access) = access.and_then(|access| access.get(lane)) else { continue };
        let Some((_, compartment)) = view.catalogs().find(|(catalog, _)| catalog == lane) else { continue };
        let salt = if access.writes { Some(writer.core.salt(&access.id)?) } else { None };
        let parts = AccessParts { lane: *lane, compartment: *compartment, epoch: *epoch, access: access.id, salt };
        if access.reads {
            let permit = decide_scope(&open.terms, &request, Scope::Compartment(*compartment)).map_err(ApiError::refused)?;
            debug_assert_eq!(permit.scope(), &PermitScope::Compartment(*compartment));
            let identity = view.epochs.get(epoch).ok_or_else(|| ApiError::failed(format_args!("the identity of {compartment} is missing here")))?;
            keys.push(compartment_key(permit, parts, identity)?);
            epochs.push(*epoch);
        } else {
            keys.push(write_key(parts));
        }
        if access.writes {
            catalogs.push(*lane);
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    let body = EnvelopeBody { catalogs: keys, files: Vec::new(), notices: notices(&open.terms), terms: ByteBuf::from(to_canonical(&open.terms)) };
    let circle = open.circle;
    let identity = view.circle_identity(&circle).ok_or_else(|| ApiError::failed("a circle without identity"))?;
    let body = seal_body(&body, identity.recipient())?;
    writer.entry(circle, Action::Envelope { grant, epochs, documents: Vec::new(), catalogs }, Parts::body(body))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_bounded_in_number_and_bytes() {
        assert_eq!(portions(&[1; 2050]), [0..1024, 1024..2048, 2048..2050]);
        assert_eq!(portions(&[MANIFEST_BYTES / 2; 5]), [0..2, 2..4, 4..5]);
        assert_eq!(portions(&[1, MANIFEST_BYTES + 1, MANIFEST_BYTES, 1]), [0..1, 1..2, 2..3, 3..4], "one that is longer goes alone");
    }
}
