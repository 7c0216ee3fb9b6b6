//! What a patient's device owes and does: epochs, envelopes, bars; then what `filing.rs` and `sharing.rs` do with single documents. Derived from state, so that no message can be
//! withheld to prevent it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chartmesh_consent::{Coverage, PermitScope, Request, Scope, coverage, decide_scope};
use chartmesh_exchange::Event;
use chartmesh_identity::{BlobHash, EntryHash, GrantId, LaneId, LedgerId, Recipient, Signed, to_canonical};
use chartmesh_ledger::{
    Action, Checkpoint, Duty, EnvelopeBody, EpochBody, GrantState, Head, KeyBody, LaneKey, Ledger, MAX_LIST, Peer, Point, Seed, Use, Wanted, admit_hash,
    duties, lanes_for,
};
use chartmesh_records::{Compartment, Sensitivity};
use chartmesh_sealing::Identity;
use chartmesh_vault::Table;
use serde_bytes::ByteBuf;

use crate::{
    api::ApiError,
    aside::side_by_side,
    consents::party_reference,
    core::Core,
    grants::{AccessParts, compartment_key, write_key},
    node::Node,
    time,
    write::{Parts, Writer, seal_body},
};

/// How often a device looks at its clock.
const TICK: Duration = Duration::from_secs(30);
/// A checkpoint older than this is renewed, in seconds.
const CHECKPOINT_AGE: i64 = 60;
/// Rounds after which something is wrong.
const MOST_ROUNDS: usize = 100_000;

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

    /// Deletes ciphertext that was withdrawn for good: only what was delivered under that Publish, and under no other that still stands.
    pub(crate) async fn erase(&self, id: LedgerId) -> Result<(), ApiError> {
        let gone: BTreeSet<BlobHash> = self.with(|core| core.erased(&id))?;
        if gone.is_empty() {
            return Ok(());
        }
        let gone: Vec<BlobHash> = gone.into_iter().collect();
        self.0.blobs.delete(&gone).await.map_err(ApiError::failed)
    }
}

impl Core {
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
        let mut revoked: BTreeMap<GrantId, Vec<&GrantState>> = BTreeMap::new();
        for (grant, state) in ledger.lanes().flat_map(|lane| &ledger.lane(lane).grants).filter(|(_, state)| state.revoked.is_some()) {
            revoked.entry(*grant).or_default().push(state);
        }
        for (grant, open) in &view.grants {
            let Some(state) = ledger.lane(&open.circle).grants.get(grant) else { continue };
            // What a revoked grant gave access to, in whatever circle; nothing more is asked of one in force.
            let given = revoked.get(grant).into_iter().flatten().flat_map(|state| &state.envelopes).flat_map(|envelope| {
                envelope.catalogs.iter().copied().chain(envelope.epochs.iter().filter_map(|epoch| ledger.get(epoch).map(|entry| entry.header.lane)))
            });
            let had: BTreeSet<LaneId> = given.collect();
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
        let (ledger, view) = self.open(id)?;
        // A thief's device may have begun catalogs that nobody can name: nothing is sealed to those, and they must not keep the others waiting.
        let is_for_now = |duty: &Duty| match duty {
            Duty::Reseal { .. } => false,
            Duty::Epoch { catalog } => wanted.catalogs.contains(catalog) && can_renew(ledger, catalog),
            // It may have given the id of a grant to another one as well, of which nothing is known.
            Duty::Envelope { grant, circle, .. } => view.grants.get(grant).is_some_and(|open| open.circle == *circle),
            Duty::Bar { grant, .. } => {
                let own = view.grants.get(grant).and_then(|open| ledger.lane(&open.circle).grants.get(grant));
                own.is_none_or(|state| state.revoked.is_some())
            }
            _ => true,
        };
        let owed: Vec<Duty> = duties(ledger, &wanted, now).into_iter().filter(is_for_now).collect();
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
                    let fence = writer.core.ledger(id)?.fence_of(&circle, |rests| *rests == Use::Grant(grant));
                    writer.entry(circle, Action::Revoke { grant, fence }, Parts::default())?;
                }
                Duty::Bar { catalog, id: access, .. } => {
                    let fence = writer.core.ledger(id)?.fence_of(&catalog, |rests| matches!(rests, Use::Admit { id, .. } if *id == access));
                    writer.entry(catalog, Action::Bar { id: access, fence }, Parts::default())?;
                }
                Duty::Epoch { catalog } if !taking => keys.push(renew(&mut writer, id, catalog)?),
                Duty::Admit { grant, catalog, id: access } if !taking && !renewing => {
                    let (_, view) = writer.core.open(id)?;
                    let Some(party) = view.grants.get(&grant).map(|grant| grant.party) else { continue };
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
            let drafts = envelopes.iter().filter_map(|(grant, lanes)| {
                let draft = writer.core.envelope(id, &wanted, *grant, lanes);
                // A grant may say one thing in its header and another in its terms: it must not keep the others waiting.
                draft.inspect_err(|error| tracing::warn!(%error, grant = grant.short(), "nothing is handed over")).ok().flatten()
            });
            let drafts: Vec<Draft> = drafts.collect();
            // There may be a thousand readers, and nobody else gets a word in meanwhile.
            for (circle, action, body) in side_by_side(drafts, || Ok(()), |(), draft: Draft| draft.seal())? {
                writer.entry(circle, action, Parts::body(body))?;
            }
        }
        store_keys(&mut writer, id, keys)?;
        Ok(!writer.commit()?.is_empty())
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
                let told = state.envelopes.iter().any(|envelope| envelope.catalogs.contains(lane) && ledger.is_active(&envelope.author));
                if let Some(epoch) = ledger.lane(lane).usable.filter(|_| !told) {
                    doors.entry(*grant).or_default().insert(*lane, epoch);
                }
            }
        }
        Ok(doors)
    }

    /// What hands a grant the identities of catalogs that it reads whole, and what it needs to write; nothing, if it gets none of these.
    fn envelope(&self, id: &LedgerId, wanted: &Wanted, grant: GrantId, lanes: &BTreeMap<LaneId, EntryHash>) -> Result<Option<Draft>, ApiError> {
        let (_, view) = self.open(id)?;
        let open = view.grants.get(&grant).ok_or_else(|| ApiError::failed("an unknown grant"))?;
        let request = read_request(id, &party_reference(&open.party), &open.terms, time::now());
        let access = wanted.access.get(&grant);
        let (mut epochs, mut catalogs, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for (lane, epoch) in lanes {
            let Some(access) = access.and_then(|access| access.get(lane)) else { continue };
            let Some((_, compartment)) = view.catalogs().find(|(catalog, _)| catalog == lane) else { continue };
            let salt = if access.writes { Some(self.salt(&access.id)?) } else { None };
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
            return Ok(None);
        }
        let body = EnvelopeBody { catalogs: keys, files: Vec::new(), notices: notices(&open.terms), terms: ByteBuf::from(to_canonical(&open.terms)) };
        let circle = open.circle;
        let identity = view.circle_identity(&circle).ok_or_else(|| ApiError::failed("a circle without identity"))?;
        let action = Action::Envelope { grant, epochs, documents: Vec::new(), catalogs };
        Ok(Some(Draft { circle, action, body, recipient: identity.recipient().clone() }))
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

    /// Signs checkpoints for circles with live grants, so that custodians go on serving.
    fn checkpoint(&mut self, id: &LedgerId) -> Result<(), ApiError> {
        let now = time::now();
        let (ledger, view) = self.open(id)?;
        let points = |lane: &LaneId| {
            let head = |Point { author, seq, hash }| Head { lane: *lane, author, seq, hash };
            ledger.fence(lane).0.into_iter().map(head).collect::<Vec<_>>()
        };
        let mut due = Vec::new();
        let custodians: Vec<_> = ledger.charter().custodians.iter().map(|custodian| custodian.party).collect();
        if !custodians.is_empty() {
            for (lane, purpose) in &view.lanes {
                let crate::view::Purpose::Circle(party) = purpose else { continue };
                let live = ledger.lane(lane).grants.values().any(|grant| grant.is_live(now));
                let fresh = self.replica.checkpoints.get(&(*id, *lane)).is_some_and(|held| (0..CHECKPOINT_AGE).contains(&(now - held.time)));
                if live && !fresh {
                    let lanes = lanes_for(ledger, &Peer::Party(*party), now, Some(now));
                    due.push((*lane, lanes.keys().flat_map(points).take(Checkpoint::MAX_HEADS).collect()));
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

/// An Envelope that is not sealed yet.
struct Draft {
    circle: LaneId,
    action: Action,
    body: EnvelopeBody,
    recipient: Recipient,
}

impl Draft {
    fn seal(self) -> Result<(LaneId, Action, Vec<u8>), ApiError> {
        Ok((self.circle, self.action, seal_body(&self.body, &self.recipient)?))
    }
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
    let (ledger, view) = core.open(id)?;
    let lanes: Vec<LaneId> = view.catalogs().map(|(lane, _)| lane).filter(|lane| can_renew(ledger, lane)).collect();
    let mut writer = Writer::new(core, *id)?;
    let keys = lanes.into_iter().map(|lane| renew(&mut writer, id, lane)).collect::<Result<_, _>>()?;
    store_keys(&mut writer, id, keys)?;
    writer.commit()?;
    Ok(())
}

/// Whether an Epoch can cover all that it has to. A device that was stolen can sign more Bars than that: then nothing new is sealed to the catalog until the words cut it off.
fn can_renew(ledger: &Ledger, catalog: &LaneId) -> bool {
    let can = ledger.to_cover(catalog).len() <= MAX_LIST;
    if !can {
        tracing::warn!(catalog = catalog.short(), "more accesses are barred than an epoch can cover: recover with the words");
    }
    can
}

/// A new epoch for a catalog whose name is known.
fn renew(writer: &mut Writer<'_>, id: &LedgerId, lane: LaneId) -> Result<LaneKey, ApiError> {
    let (_, view) = writer.core.open(id)?;
    let name = view.catalogs().find(|(catalog, _)| *catalog == lane).map(|(_, compartment)| compartment.to_string());
    let name = name.ok_or_else(|| ApiError::failed(format_args!("catalog {} is not known here", lane.short())))?;
    new_epoch(writer, id, lane, name)
}

/// A new epoch: covers every Bar and every suspended device, supersedes all before it, opens their past. Of more than a list may have, the next one supersedes the rest; those that
/// can be opened come first.
fn new_epoch(writer: &mut Writer<'_>, id: &LedgerId, lane: LaneId, purpose: String) -> Result<LaneKey, ApiError> {
    let identity = Identity::generate();
    let (ledger, view) = writer.core.open(id)?;
    let state = ledger.lane(&lane);
    let mut supersedes: Vec<EntryHash> = state.epochs.iter().filter(|(_, epoch)| !epoch.superseded).map(|(entry, _)| *entry).collect();
    supersedes.sort_by_key(|epoch| !view.epochs.contains_key(epoch));
    supersedes.truncate(MAX_LIST);
    let covers = ledger.to_cover(&lane);
    let past = ledger.fence(&lane);
    let predecessors: Vec<LaneKey> = supersedes
        .iter()
        .filter_map(|epoch| Some(LaneKey { lane, epoch: Some(*epoch), purpose: purpose.clone(), identity: Seed::new(*view.epochs.get(epoch)?.expose_seed()) }))
        .collect();
    // The first of its lane has no past to open.
    let parts = if predecessors.is_empty() { Parts::default() } else { Parts::body(seal_body(&EpochBody { predecessors }, identity.recipient())?) };
    let action = Action::Epoch { recipient: identity.recipient().clone(), supersedes, covers, past };
    let epoch = writer.entry(lane, action, parts)?;
    Ok(LaneKey { lane, epoch: Some(epoch), purpose, identity: Seed::new(*identity.expose_seed()) })
}

/// Puts new identities into the keyring.
pub(crate) fn store_keys(writer: &mut Writer<'_>, id: &LedgerId, mut keys: Vec<LaneKey>) -> Result<(), ApiError> {
    let charter = writer.core.ledger(id)?.charter();
    let (lane, recipient) = (charter.keyring_lane, charter.keyring.clone());
    while !keys.is_empty() {
        let mut end = keys.len().min(MAX_LIST);
        // The last identity of a circle is the one to seal to, and bodies are not read in order: those of one circle stay together.
        while keys.get(end).is_some_and(|next| next.epoch.is_none() && next.lane == keys[end - 1].lane) {
            end += 1;
        }
        let rest = keys.split_off(end);
        let body = seal_body(&KeyBody { keys, keyring: None }, &recipient)?;
        writer.entry(lane, Action::Key {}, Parts::body(body))?;
        keys = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::Signed;
    use chartmesh_identity::{AccessId, Kind};
    use chartmesh_ledger::{CertCache, Charter, Entry, Fence, RawEntry};

    use super::*;
    use crate::{
        api::{Request, Response},
        home::Home,
        setup,
    };

    #[tokio::test]
    async fn a_catalog_that_nobody_can_name_keeps_no_duty_waiting() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::new(directory.path().join("home"));
        setup::init(&home, Kind::Patient, "Maria", None).expect("a home");
        let node = Node::open(&home, None).await.expect("a node");
        let lane = LaneId::new([9; 32]);
        // As by a device that was stolen: an epoch whose key it tells nobody, which does not cover a Bar.
        node.with(|core| {
            let id = core.own_ledger().expect("a patient");
            let mut writer = Writer::new(core, id).expect("a writer");
            let recipient = Identity::generate().recipient().clone();
            let epoch = Action::Epoch { recipient, supersedes: Vec::new(), covers: Vec::new(), past: Fence::default() };
            writer.entry(lane, epoch, Parts::default()).expect("an epoch");
            writer.entry(lane, Action::Bar { id: AccessId::new([8; 16]), fence: Fence::default() }, Parts::default()).expect("a bar");
            writer.commit().expect("stored");
        });
        let id = node.with(|core| core.own_ledger().expect("a patient"));
        let owed = node.with(|core| duties(core.ledger(&id).expect("a ledger"), &core.wanted(&id).expect("what is wanted"), time::now()));
        assert!(owed.iter().any(|duty| matches!(duty, Duty::Epoch { catalog } if *catalog == lane)), "it is owed: {owed:?}");
        node.tend().await.expect("nothing fails for it");
        let record = directory.path().join("record.json");
        std::fs::write(&record, r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"HbA1c"}}"#).expect("a file");
        let Response::Imported(info) = node.ask(Request::Import { paths: vec![record.into()], patient: None }).await.expect("an import") else { panic!() };
        assert_eq!(info.documents, 1);
        node.stop().await.expect("the end");
    }

    /// A patient whose charter was lost, and of whose entries only some are left. Its marks are whole. What there was.
    async fn damaged(directory: &tempfile::TempDir, left: impl Fn(u64) -> bool) -> (Node, LedgerId, Vec<Signed<Charter>>, Vec<RawEntry>) {
        let home = Home::new(directory.path().join("home"));
        setup::init(&home, Kind::Patient, "Maria", None).expect("a home");
        let node = Node::open(&home, None).await.expect("a node");
        let record = directory.path().join("record.json");
        std::fs::write(&record, r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"HbA1c"}}"#).expect("a file");
        node.ask(Request::Import { paths: vec![record.into()], patient: None }).await.expect("an import");
        let (id, charters, entries) = node.with(|core| {
            let id = core.own_ledger().expect("a patient");
            for table in [Table::Charters, Table::Entries] {
                for (key, _) in core.vault.scan(table, id.as_bytes()).expect("rows") {
                    if table == Table::Charters || !left(u64::from_be_bytes(key[96..104].try_into().expect("a number"))) {
                        core.vault.remove(table, &key).expect("removing it");
                    }
                }
            }
            let ledger = core.ledger(&id).expect("a ledger");
            (id, ledger.charters().cloned().collect(), ledger.lanes().flat_map(|lane| ledger.entries(lane)).map(Entry::to_raw).collect())
        });
        node.stop().await.expect("the end");
        drop(node);
        (Node::open(&home, None).await.expect("a node"), id, charters, entries)
    }

    /// As a session brings it.
    fn bring(node: &Node, id: LedgerId, charters: &[Signed<Charter>], entries: &[RawEntry]) {
        node.with(|core| {
            let ledger = core.replica.ledgers.entry(id).or_insert_with(|| Ledger::begin(charters[0].clone()).expect("a ledger"));
            let mut certs = CertCache::new();
            let added = ledger.add_all(entries.iter().map(|raw| Entry::read_with(raw.clone(), &mut certs).expect("an entry")).collect()).added;
            core.persist(id, charters, &added).expect("stored");
        });
    }

    #[tokio::test]
    async fn who_lacks_what_it_has_signed_signs_nothing_in_its_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let (node, id, charters, entries) = damaged(&directory, |seq| seq > 1).await;
        let held = || node.with(|core| core.ledger(&id).expect("a ledger").len());
        bring(&node, id, &charters, &[]);
        node.tend().await.expect("nothing that it may not do");
        assert_eq!(held(), 0, "nothing is signed");
        node.stop().await.expect("the end");
        let home = node.0.home.clone();
        drop(node);
        let node = Node::open(&home, None).await.expect("a home of which part is still to come");
        let held = || node.with(|core| core.ledger(&id).expect("a ledger").len());
        assert_eq!(held(), 0, "nothing is there that does not follow");
        assert!(node.with(|core| core.may_sign(&id)).is_err_and(|refused| refused.what.contains("were lost")));
        let first: Vec<_> =
            entries.iter().filter(|raw| Entry::read_with((*raw).clone(), &mut CertCache::new()).is_ok_and(|entry| entry.header.seq == 1)).cloned().collect();
        bring(&node, id, &charters, &first);
        assert!(node.with(|core| core.may_sign(&id)).is_err());
        node.with(Core::is_complete_again).expect("what had waited follows now");
        node.with(|core| core.may_sign(&id)).expect("all that it has signed is here again");
        node.tend().await.expect("done");
        assert_eq!(held(), entries.len(), "nothing more is owed");
        // Others' entries may be missing as well.
        node.with(|core| core.vault.put(Table::Meta, crate::core::INCOMPLETE, &[]).expect("stored"));
        node.stop().await.expect("the end");
        drop(node);
        let node = Node::open(&home, None).await.expect("a node");
        assert!(node.with(|core| core.may_sign(&id)).is_err());
        node.with(|core| {
            core.is_complete_again().expect("stored");
            core.may_sign(&id).expect("all is here");
        });
        node.stop().await.expect("the end");
    }

    /// What nobody else has yet is not lost with the charter.
    #[tokio::test]
    async fn entries_count_again_with_the_charter_that_comes_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let (node, id, charters, entries) = damaged(&directory, |_| true).await;
        bring(&node, id, &charters, &[]);
        assert_eq!(node.with(|core| core.ledger(&id).expect("a ledger").len()), entries.len());
        node.with(|core| core.may_sign(&id)).expect("all that it has signed is here");
        node.tend().await.expect("done");
        let Response::Records(records) = node.ask(Request::RecordsList { patient: None, resource_type: None }).await.expect("a list") else { panic!() };
        assert_eq!(records.len(), 1);
        node.stop().await.expect("the end");
    }
}
