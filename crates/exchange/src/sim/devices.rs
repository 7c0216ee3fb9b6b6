//! What a patient's devices do. What they owe they are told by the ledger crate's own [`duties`].

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{BlobHash, CharterHash, EntryHash, GrantId, LaneId, PartyKey, Signed, from_canonical, to_canonical};
use chartmesh_ledger::{Access, Action, Checkpoint, Duty, Use, Wanted, admit_hash, duties};

use super::{
    act::Act,
    cast::{CATALOGS, Role},
    node::Draft,
    people,
    story::{MAX_AGE, RESTLESS, Story, pick},
};
use crate::event::Event;

/// In place of the sealed terms of a Grant: catalogs to read and to write.
type Terms = (Vec<LaneId>, Vec<LaneId>);

impl Story {
    pub(super) fn device_act(&mut self, act: Act) {
        match act {
            Act::Publish { device, catalog, documents, length } => self.publish(self.node(device), catalog, documents, length),
            Act::Withdraw { device, catalog, which } => self.withdraw(self.node(device), catalog, which),
            Act::Grant { device, to, reads, writes, ends } => self.grant(self.node(device), self.node(to), reads, writes, ends),
            Act::Revoke { device, of, which, stops } => self.revoke(self.node(device), self.node(of), which, stops),
            Act::Duties { device } => self.duties(self.node(device)),
            Act::Checkpoint { device, of } => self.checkpoint(self.node(device), self.node(of)),
            Act::Enrol { device } => self.enrol(self.node(device)),
            Act::Suspend { device, which } => self.suspend(self.node(device), which),
            Act::Reappoint { device, pause } => self.reappoint(self.node(device), pause),
            _ => {}
        }
    }

    /// Whether a node speaks for its patient as far as it knows: an honest device that knows itself suspended writes no more.
    fn is_active(&self, node: usize) -> bool {
        let Role::Device(patient) = self.roles[node] else { return false };
        self.copy(patient, node).is_some_and(|held| self.world.is_bad(node) || held.is_active(&self.world.nodes[node].person.author()))
    }

    pub(super) fn epoch(&mut self, device: usize, lane: LaneId) -> Option<EntryHash> {
        let label = format!("epoch {:?}", self.fresh());
        let patient = self.patient_of(device);
        let ledger = self.copy(patient, device)?;
        let state = ledger.lane(&lane);
        let supersedes = state.epochs.iter().filter(|(_, epoch)| !epoch.superseded).map(|(entry, _)| *entry).collect();
        let covers = ledger.to_cover(&lane);
        let action = Action::Epoch { recipient: people::recipient(&label), supersedes, covers, past: ledger.fence(&lane) };
        self.write(patient, device, Draft::new(lane, action))
    }

    fn usable(&mut self, device: usize, lane: LaneId) -> Option<EntryHash> {
        let usable = self.copy(self.patient_of(device), device)?.lane(&lane).usable;
        usable.or_else(|| self.epoch(device, lane))
    }

    /// A device publishes in some catalog.
    pub fn publish(&mut self, device: usize, catalog: u64, documents: u64, length: u64) {
        if !self.is_active(device) {
            return;
        }
        let patient = self.patient_of(device);
        let lane = self.patients[patient].catalogs[pick(catalog, CATALOGS)];
        let Some(epoch) = self.usable(device, lane) else { return };
        let action = Action::Publish { documents: self.documents(documents) };
        let body = Some(vec![1; pick(length, 1 << 20)]);
        self.write(patient, device, Draft { epoch: Some(epoch), body, ..Draft::new(lane, action) });
    }

    fn withdraw(&mut self, device: usize, catalog: u64, which: u64) {
        if !self.is_active(device) {
            return;
        }
        let patient = self.patient_of(device);
        let lane = self.patients[patient].catalogs[pick(catalog, CATALOGS)];
        let Some(ledger) = self.copy(patient, device) else { return };
        let shown: Vec<EntryHash> =
            ledger.lane(&lane).publishes.iter().filter(|(_, publish)| publish.shown().next().is_some()).map(|(entry, _)| *entry).collect();
        if let Some(publish) = shown.get(pick(which, shown.len())) {
            self.write(patient, device, Draft::new(lane, Action::Withdraw { publish: *publish, documents: Vec::new(), erase: false }));
        }
    }

    fn grant(&mut self, device: usize, to: usize, reads: u64, writes: u64, ends: u64) {
        if !self.is_active(device) || !matches!(self.roles[to], Role::Party | Role::Stranger) {
            return;
        }
        let (patient, party) = (self.patient_of(device), self.party(to));
        let ledger = self.ledger(patient);
        let mut id = [0; 16];
        id.copy_from_slice(&self.fresh()[..16]);
        let grant = GrantId::new(id);
        let of = &self.patients[patient];
        let chosen = |bits: u64| of.catalogs.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, lane)| *lane).collect::<Vec<_>>();
        let (circle, terms): (LaneId, Terms) = (of.circle(&party), (chosen(reads), chosen(writes)));
        self.world.truth.circle(ledger, circle, party);
        terms.0.iter().for_each(|lane| self.world.truth.reads(ledger, party, *lane));
        terms.1.iter().for_each(|lane| self.world.truth.writes(ledger, party, *lane));
        let until = (ends > 0).then(|| self.world.now(device) + i64::try_from(ends).unwrap_or(0) * 60);
        let action = Action::Grant { id: grant, party, until, max_age: MAX_AGE.unsigned_abs() };
        if self.write(patient, device, Draft { body: Some(to_canonical(&terms)), ..Draft::new(circle, action) }).is_none() {
            return;
        }
        self.duties(device);
        // Where it writes: the Envelope says so.
        let door = Action::Envelope { grant, epochs: Vec::new(), documents: Vec::new(), catalogs: terms.1 };
        self.write(patient, device, Draft::new(circle, door));
        for link in self.world.links_between(device, to) {
            self.world.invite(device, link, ledger);
        }
    }

    fn revoke(&mut self, device: usize, of: usize, which: u64, stops: u64) {
        if !self.is_active(device) {
            return;
        }
        let patient = self.patient_of(device);
        let circle = self.patients[patient].circle(&self.party(of));
        let Some(ledger) = self.copy(patient, device) else { return };
        let live: Vec<GrantId> = ledger.lane(&circle).grants.iter().filter(|(_, grant)| grant.revoked.is_none()).map(|(id, _)| *id).collect();
        let Some(grant) = live.get(pick(which, live.len())).copied() else { return };
        let fence = ledger.fence_of(&circle, |rests| *rests == Use::Grant(grant));
        self.write(patient, device, Draft::new(circle, Action::Revoke { grant, fence }));
        if stops.is_multiple_of(4) {
            self.world.restart(device);
        } else {
            self.duties(device);
        }
    }

    /// A device ends every grant that it knows.
    pub fn revoke_all(&mut self, device: usize) {
        let patient = self.patient_of(device);
        let circles: Vec<LaneId> = (0..self.roles.len()).map(|node| self.patients[patient].circle(&self.party(node))).collect();
        let Some(ledger) = self.copy(patient, device) else { return };
        let live = |lane: &LaneId| ledger.lane(lane).grants.values().filter(|grant| grant.revoked.is_none()).count() as u64;
        let live: Vec<u64> = circles.iter().map(live).collect();
        for (node, grants) in live.into_iter().enumerate() {
            (0..grants).for_each(|_| self.revoke(device, node, 0, 1));
        }
        self.duties(device);
    }

    /// What the grants that a device can read say: who is to have what; of a revoked one, what was handed over.
    fn wanted(&self, patient: usize, device: usize) -> Wanted {
        let mut wanted = Wanted { catalogs: self.patients[patient].catalogs.into_iter().collect(), access: BTreeMap::new() };
        let Some(ledger) = self.copy(patient, device) else { return wanted };
        for (id, grant) in ledger.lanes().flat_map(|lane| &ledger.lane(lane).grants) {
            let body = ledger.get(&grant.entry).and_then(|entry| entry.body.as_deref());
            let Some((reads, writes)) = body.and_then(|body| from_canonical::<Terms>(body).ok()) else { continue };
            let handed = grant.envelopes.iter().flat_map(|envelope| {
                let epochs = envelope.epochs.iter().filter_map(|epoch| ledger.get(epoch).map(|entry| entry.header.lane));
                envelope.catalogs.iter().copied().chain(epochs)
            });
            let handed: BTreeSet<LaneId> = handed.collect();
            let lanes: BTreeSet<LaneId> = reads.iter().chain(&writes).filter(|lane| grant.revoked.is_none() || handed.contains(lane)).copied().collect();
            let access = |lane: LaneId| Access { id: self.patients[patient].access(id, &lane), reads: reads.contains(&lane), writes: writes.contains(&lane) };
            wanted.access.insert(*id, lanes.into_iter().map(|lane| (lane, access(lane))).collect());
        }
        wanted
    }

    /// A device does what is owed, taking away first.
    pub fn duties(&mut self, device: usize) {
        let patient = self.patient_of(device);
        for _ in 0..8 {
            let Some(ledger) = self.copy(patient, device).filter(|_| self.is_active(device)) else { return };
            let owed = duties(ledger, &self.wanted(patient, device), self.world.now(device));
            let taking = owed.iter().any(|duty| matches!(duty, Duty::Expire { .. } | Duty::Bar { .. }));
            let renewing = owed.iter().any(|duty| matches!(duty, Duty::Epoch { .. }));
            let now: Vec<Duty> = owed
                .into_iter()
                .filter(|duty| match duty {
                    Duty::Expire { .. } | Duty::Bar { .. } => true,
                    Duty::Epoch { .. } => !taking,
                    Duty::Admit { .. } | Duty::Envelope { .. } | Duty::Reseal { .. } => !taking && !renewing,
                })
                .collect();
            let mut written = false;
            for duty in now {
                written |= self.perform_duty(patient, device, duty);
            }
            if !written {
                return;
            }
        }
    }

    /// Whether it was written.
    fn perform_duty(&mut self, patient: usize, device: usize, duty: Duty) -> bool {
        let Some(ledger) = self.copy(patient, device) else { return false };
        let draft = match duty {
            Duty::Expire { grant, circle } => {
                Draft::new(circle, Action::Revoke { grant, fence: ledger.fence_of(&circle, |rests| *rests == Use::Grant(grant)) })
            }
            Duty::Bar { catalog, id, .. } => {
                Draft::new(catalog, Action::Bar { id, fence: ledger.fence_of(&catalog, |rests| matches!(rests, Use::Admit { id: of, .. } if *of == id)) })
            }
            Duty::Epoch { catalog } => return self.epoch(device, catalog).is_some(),
            Duty::Admit { grant, catalog, id } => {
                let of = &self.patients[patient];
                let party = ledger.lanes().find_map(|lane| ledger.lane(lane).grants.get(&grant)).map(|grant| grant.party);
                let Some(party) = party else { return false };
                Draft::new(catalog, Action::Admit { id, party: admit_hash(&of.salt(&id), &party) })
            }
            Duty::Envelope { grant, circle, epoch, .. } => {
                Draft::new(circle, Action::Envelope { grant, epochs: vec![epoch], documents: Vec::new(), catalogs: Vec::new() })
            }
            Duty::Reseal { catalog, publish } => return self.reseal(patient, device, catalog, publish),
        };
        self.write(patient, device, draft).is_some()
    }

    fn reseal(&mut self, patient: usize, device: usize, catalog: LaneId, publish: EntryHash) -> bool {
        let Some(state) = self.copy(patient, device).map(|ledger| ledger.lane(&catalog)) else { return false };
        let (Some(epoch), Some(stale)) = (state.usable, state.publishes.get(&publish)) else { return false };
        let shown: Vec<BlobHash> = stale.shown().map(|blob| blob.hash).collect();
        let documents = self.sealed_anew(&shown);
        let anew = Draft { epoch: Some(epoch), ..Draft::new(catalog, Action::Publish { documents }) };
        if self.write(patient, device, anew).is_none() {
            return false;
        }
        let tidy = self.write(patient, device, Draft::new(catalog, Action::Withdraw { publish, documents: shown, erase: true }));
        self.tidied.extend(tidy);
        tidy.is_some()
    }

    fn checkpoint(&mut self, device: usize, of: usize) {
        if !self.is_active(device) {
            return;
        }
        let patient = self.patient_of(device);
        let lane = self.patients[patient].circle(&self.party(of));
        let now = self.world.now(device);
        let Some(ledger) = self.copy(patient, device) else { return };
        let person = &self.world.nodes[device].person;
        let checkpoint = Checkpoint { ledger: ledger.id(), lane, author: person.author(), heads: ledger.heads(&lane), time: now, cosignatures: Vec::new() };
        let signed = Signed::sign(checkpoint, &person.key);
        let ledger = self.ledger(patient);
        if self.world.nodes[device].replica.hear(signed.clone(), now) {
            self.world.nodes[device].persist_checkpoint(ledger, lane);
            self.world.tell(device, None, Event::Checkpoint(signed));
        }
    }

    /// Signs a checkpoint for every party that has a circle.
    pub fn checkpoint_all(&mut self, device: usize) {
        let patient = self.patient_of(device);
        let Some(ledger) = self.copy(patient, device) else { return };
        let parties: BTreeMap<PartyKey, usize> = (0..self.roles.len()).map(|node| (self.party(node), node)).collect();
        let known: Vec<usize> = parties.into_iter().filter(|(party, _)| ledger.circles(party).next().is_some()).map(|(_, node)| node).collect();
        for node in known {
            self.checkpoint(device, node);
        }
    }

    fn enrol(&mut self, device: usize) {
        let patient = self.patient_of(device);
        let tablet = self.patients[patient].devices[2];
        let listed = people::as_device(&self.world.nodes[tablet].person);
        let Some(ledger) = self.copy(patient, device).filter(|_| self.is_active(device)) else { return };
        if ledger.contested() || ledger.charter().devices.len() > 2 {
            return;
        }
        let root = self.patients[patient].root(device);
        let next = people::next_charter(ledger.charter(), ledger.charter_hash(), ledger.id(), &root, |next| next.devices.push(listed));
        let ledger = self.ledger(patient);
        self.world.amend(device, ledger, &next);
    }

    fn suspend(&mut self, device: usize, which: u64) {
        let patient = self.patient_of(device);
        let Some(ledger) = self.copy(patient, device).filter(|_| self.is_active(device)) else { return };
        let author = self.world.nodes[device].person.author();
        let others: Vec<_> = ledger.charter().active_devices().map(|listed| listed.key).filter(|key| *key != author).collect();
        let Some(other) = others.get(pick(which, others.len())).copied().filter(|_| !ledger.contested()) else { return };
        let fence = ledger.device_fence(&other);
        let root = self.patients[patient].root(device);
        let next = people::next_charter(ledger.charter(), ledger.charter_hash(), ledger.id(), &root, |next| {
            next.devices.iter_mut().filter(|listed| listed.key == other).for_each(|listed| listed.suspended = Some(fence.clone()));
        });
        let ledger = self.ledger(patient);
        self.world.amend(device, ledger, &next);
    }

    /// Sessions of the custodians with one another end on both sides, and begin anew while the end of the other is still on its way.
    fn reappoint(&mut self, device: usize, pause: u64) {
        let patient = self.patient_of(device);
        let Some(ledger) = self.copy(patient, device).filter(|_| self.is_active(device)) else { return };
        let custodians = ledger.charter().custodians.clone();
        if ledger.contested() || custodians.is_empty() {
            return;
        }
        let (id, root) = (ledger.id(), self.patients[patient].root(device));
        let without = people::next_charter(ledger.charter(), ledger.charter_hash(), id, &root, |next| next.custodians.clear());
        let again = people::next_charter(&without, CharterHash::of(without.as_bytes()), id, &root, |next| next.custodians = custodians);
        self.world.amend(device, id, &without);
        self.world.run(RESTLESS, Some(pause));
        self.world.amend(device, id, &again);
    }
}
