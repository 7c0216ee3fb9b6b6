//! What bad nodes do besides lying: sign twice, write with the time of long ago, under what is not theirs, or in another's name; and what a thief does with a stolen device.

use chartmesh_identity::{EntryHash, LaneId, LedgerId, Signed, to_canonical};
use chartmesh_ledger::{Action, Entry, EntryHeader, RawEntry, Use};
use serde_bytes::ByteBuf;

use super::{
    act::Act,
    cast::{CATALOGS, Role},
    node::Draft,
    people,
    story::{MAX_AGE, Story, pick},
};
use crate::frame::Frame;

impl Story {
    pub(super) fn bad_act(&mut self, act: Act) {
        match act {
            Act::Fork { node, patient, log, depth, what } => self.fork(self.node(node), patient, log, depth, what),
            Act::Backdate { node, patient, which } => self.backdate(self.node(node), self.patient(patient), which),
            Act::Borrow { node, patient, which } => self.borrow(self.node(node), self.patient(patient), which),
            Act::Impersonate { node, victim, patient } => self.impersonate(self.node(node), self.node(victim), self.patient(patient)),
            Act::Rival { device, node } => self.rival(self.node(device), self.node(node)),
            Act::Betray { device, to, catalog } => self.betray(self.node(device), self.node(to), catalog),
            _ => {}
        }
    }

    /// Sends entries to everybody whom a node is connected with.
    fn scatter(&mut self, node: usize, ledger: LedgerId, entry: &RawEntry) {
        for (link, _) in self.world.links_of(node) {
            self.world.send(node, link, Frame::Entries { ledger, entries: vec![entry.clone()] }.encode());
        }
    }

    fn fork(&mut self, node: usize, patient: u64, log: u64, depth: u64, what: u64) {
        self.world.corrupt(node, None);
        let patient = if let Role::Device(of) = self.roles[node] { of } else { self.patient(patient) };
        let author = self.world.nodes[node].person.author();
        let Some(ledger) = self.copy(patient, node) else { return };
        let logs: Vec<LaneId> = ledger.lanes().filter(|lane| ledger.entries_after(lane, &author, 0).next().is_some()).copied().collect();
        let Some(lane) = logs.get(pick(log, logs.len())).copied() else { return };
        let own: Vec<&Entry> = ledger.entries_after(&lane, &author, 0).collect();
        let before = &own[own.len() - 1 - pick(depth, own.len())].header;
        let (seq, prev, uses, epoch, time, same) = (before.seq, before.prev, before.uses.clone(), before.epoch, before.time, before.action.clone());
        let action = self.other_action(patient, node, &lane, what).unwrap_or(same);
        let draft = Draft { uses, epoch, body: Some(vec![7; 40]), ..Draft::new(lane, action) };
        let ledger = self.ledger(patient);
        let other = self.world.nodes[node].sign_at(ledger, draft, time, seq, prev);
        // Most often to one of those that hold everything, so that two of them disagree until they meet.
        let whole: Vec<usize> =
            (0..self.roles.len()).filter(|to| *to != node && (self.roles[*to] == Role::Custodian || self.roles[*to] == Role::Device(patient))).collect();
        let any = self.world.below(self.roles.len());
        let to = if self.world.chance(80) { whole[self.world.below(whole.len())] } else { any };
        self.world.note(|world| format!("{} signs {} for place {seq} again, for {} alone", world.name(node), other.hash().short(), world.name(to)));
        self.world.show_to(node, to, ledger, &other);
        self.world.connect(node, to, None);
    }

    /// What the second entry does that is signed for one place.
    fn other_action(&mut self, patient: usize, node: usize, lane: &LaneId, what: u64) -> Option<Action> {
        let documents = self.documents(what);
        let ledger = self.copy(patient, node)?;
        let is_catalog = self.patients[patient].catalogs.contains(lane);
        let is_device = matches!(self.roles[node], Role::Device(_));
        match what % 4 {
            0 if is_catalog => Some(Action::Publish { documents }),
            1 if is_catalog => {
                let publish = ledger.lane(lane).publishes.keys().next().copied()?;
                Some(Action::Withdraw { publish, documents: Vec::new(), erase: false })
            }
            2 if is_device && !is_catalog => {
                let grant = ledger.lane(lane).grants.keys().next().copied()?;
                Some(Action::Revoke { grant, fence: ledger.fence_of(lane, |rests| *rests == Use::Grant(grant)) })
            }
            3 if is_device && is_catalog => {
                let covers = ledger.lane(lane).bars.keys().copied().collect();
                let supersedes = ledger.lane(lane).epochs.keys().copied().collect();
                Some(Action::Epoch { recipient: people::recipient("a thief's"), supersedes, covers, past: ledger.fence(lane) })
            }
            _ => None,
        }
    }

    /// Writes on under what is barred or revoked, as if long ago.
    fn backdate(&mut self, node: usize, patient: usize, which: u64) {
        self.world.corrupt(node, None);
        let time = self.world.time() - 400 * 86_400;
        let ledger = self.ledger(patient);
        let doors = self.doors(patient, node, true);
        if let Some((lane, uses)) = doors.get(pick(which, doors.len())).cloned() {
            let epoch = self.copy(patient, node).and_then(|ledger| ledger.lane(&lane).epochs.keys().next().copied());
            let action = Action::Publish { documents: self.documents(which) };
            self.world.write_at(node, ledger, Draft { uses: Some(uses), epoch, ..Draft::new(lane, action) }, time);
            return;
        }
        let circle = self.patients[patient].circle(&self.party(node));
        let grant = self.copy(patient, node).and_then(|ledger| ledger.lane(&circle).grants.keys().next().copied());
        if let Some(grant) = grant {
            let draft = Draft { uses: Some(Use::Grant(grant)), ..Draft::new(circle, Action::Request {}) };
            self.world.write_at(node, ledger, draft, time);
        }
    }

    /// Writes under an access that was given to another party, whose salt it has seen.
    fn borrow(&mut self, node: usize, patient: usize, which: u64) {
        self.world.corrupt(node, None);
        let Some(ledger) = self.copy(patient, node) else { return };
        let seen: Vec<(LaneId, Use)> = ledger
            .lanes()
            .flat_map(|lane| ledger.entries(lane))
            .filter_map(|entry| Some((entry.header.lane, entry.header.uses.clone()?)))
            .filter(|(lane, uses)| matches!(uses, Use::Admit { .. }) && !self.is_admitted(patient, node, lane, uses))
            .collect();
        let Some((lane, uses)) = seen.get(pick(which, seen.len())).cloned() else { return };
        let epoch = ledger.lane(&lane).usable;
        let (seq, prev) = ledger.next(&lane, &self.world.nodes[node].person.author());
        let draft = Draft { uses: Some(uses), epoch, ..Draft::new(lane, Action::Publish { documents: self.documents(which) }) };
        let (ledger, time) = (self.ledger(patient), self.world.time());
        let entry = self.world.nodes[node].sign_at(ledger, draft, time, seq, prev);
        self.world.note(|world| format!("{} writes {} under another's access", world.name(node), entry.hash().short()));
        self.scatter(node, ledger, &entry.to_raw());
    }

    /// Names another as the author, signs itself.
    fn impersonate(&mut self, node: usize, victim: usize, patient: usize) {
        self.world.corrupt(node, None);
        if node == victim {
            return;
        }
        let lane = self.patients[patient].catalogs[0];
        let author = self.world.nodes[victim].person.author();
        let Some(ledger) = self.copy(patient, node) else { return };
        let (seq, prev) = ledger.next(&lane, &author);
        let epoch = ledger.lane(&lane).usable;
        let (ledger, time) = (ledger.id(), self.world.time());
        let draft = Draft { epoch, ..Draft::new(lane, Action::Publish { documents: self.documents(0) }) };
        let header: EntryHeader = (*self.world.nodes[node].sign_at(ledger, draft, time, seq, prev).header).clone();
        let header = EntryHeader { author, cert: None, body: None, ..header };
        let forged = Signed::sign(header, &self.world.nodes[node].person.key);
        let hash = EntryHash::of(forged.as_bytes());
        self.world.note(|world| format!("{} writes {} in the name of {}", world.name(node), hash.short(), world.name(victim)));
        self.world.truth.forged(hash);
        self.scatter(node, ledger, &RawEntry { header: forged.signed().clone(), body: None::<ByteBuf> });
    }

    /// A charter version beside the last one, by a stolen device's root: it lists an accomplice as a device and suspends the others.
    fn rival(&mut self, device: usize, node: usize) {
        let Role::Device(patient) = self.roles[device] else { return };
        self.world.corrupt(device, None);
        let Some(ledger) = self.copy(patient, device) else { return };
        let accomplice = people::as_device(&self.world.nodes[node].person);
        let author = self.world.nodes[device].person.author();
        let charter = ledger.charter();
        if ledger.contested() || charter.device(&accomplice.key).is_some() || !matches!(self.roles[node], Role::Party | Role::Stranger) {
            return;
        }
        let hash = ledger.charter_hash();
        let fences: Vec<_> = charter.devices.iter().map(|listed| ledger.device_fence(&listed.key)).collect();
        let root = self.patients[patient].root(device);
        let next = people::next_charter(charter, hash, ledger.id(), &root, |next| {
            for (listed, fence) in next.devices.iter_mut().zip(fences).filter(|(listed, _)| listed.key != author && listed.suspended.is_none()) {
                listed.suspended = Some(fence);
            }
            next.devices.push(accomplice);
        });
        let ledger = self.ledger(patient);
        self.world.corrupt(node, None);
        self.world.truth.whole(ledger, node);
        self.world.amend(device, ledger, &next);
    }

    /// Hands the usable epoch of a catalog to whom a stolen device likes, under whatever grant there is, or one of its own.
    fn betray(&mut self, device: usize, to: usize, catalog: u64) {
        let Role::Device(patient) = self.roles[device] else { return };
        self.world.corrupt(device, None);
        let (party, lane) = (self.party(to), self.patients[patient].catalogs[pick(catalog, CATALOGS)]);
        let circle = self.patients[patient].circle(&party);
        let Some(ledger) = self.copy(patient, device) else { return };
        let Some(epoch) = ledger.lane(&lane).usable else { return };
        let grant = ledger.lane(&circle).grants.keys().next().copied();
        let id = ledger.id();
        self.world.truth.circle(id, circle, party);
        self.world.truth.reads(id, party, lane);
        let grant = grant.unwrap_or_else(|| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&self.fresh()[..16]);
            chartmesh_identity::GrantId::new(bytes)
        });
        let terms = to_canonical(&(vec![lane], Vec::<LaneId>::new()));
        let action = Action::Grant { id: grant, party, until: None, max_age: MAX_AGE.unsigned_abs() };
        self.write(patient, device, Draft { body: Some(terms), ..Draft::new(circle, action) });
        let action = Action::Envelope { grant, epochs: vec![epoch], documents: Vec::new(), catalogs: Vec::new() };
        self.write(patient, device, Draft::new(circle, action));
    }
}
