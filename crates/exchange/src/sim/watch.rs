//! What is checked while a history runs: every frame of entries that an honest node sends to a party, and what two nodes know of one another once they have met.
//!
//! The rules here are stated over single entries and over what was ever granted; they do not ask the ledger crate what is served.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{EntryHash, GrantId, LaneId, LedgerId, PartyKey};
use chartmesh_ledger::{Action, Entry, Ledger};

use super::world::{Rule, World};
use crate::{frame::Frame, replica::Replica};

/// Who was ever to have what, and which nodes were put back.
#[derive(Default)]
pub struct Truth {
    /// Catalogs that a party was ever to read.
    reads: BTreeSet<(LedgerId, PartyKey, LaneId)>,
    /// Catalogs that a party was ever to write.
    writes: BTreeSet<(LedgerId, PartyKey, LaneId)>,
    /// Whose circle a lane is.
    circles: BTreeMap<(LedgerId, LaneId), PartyKey>,
    /// Nodes that hold everything of a ledger unless it is suspended: devices and custodians.
    whole: BTreeSet<(LedgerId, usize)>,
    /// By node that was put back: entries of its own key that it has been told of since.
    restored: BTreeMap<usize, BTreeSet<EntryHash>>,
    /// Entries that were not signed by whom they name.
    forged: BTreeSet<EntryHash>,
}

impl Truth {
    /// A party was to read a catalog.
    pub fn reads(&mut self, ledger: LedgerId, party: PartyKey, lane: LaneId) {
        self.reads.insert((ledger, party, lane));
    }

    /// A party was to write a catalog.
    pub fn writes(&mut self, ledger: LedgerId, party: PartyKey, lane: LaneId) {
        self.writes.insert((ledger, party, lane));
    }

    /// A lane is the circle of a party.
    pub fn circle(&mut self, ledger: LedgerId, lane: LaneId, party: PartyKey) {
        self.circles.insert((ledger, lane), party);
    }

    /// A node holds everything of a ledger.
    pub fn whole(&mut self, ledger: LedgerId, node: usize) {
        self.whole.insert((ledger, node));
    }

    /// An entry is not signed by whom it names.
    pub fn forged(&mut self, entry: EntryHash) {
        self.forged.insert(entry);
    }

    /// Whether an entry is not signed by whom it names.
    pub fn is_forged(&self, entry: &EntryHash) -> bool {
        self.forged.contains(entry)
    }

    /// A node was put back.
    pub fn restored(&mut self, node: usize) {
        self.restored.insert(node, BTreeSet::new());
    }

    /// Whether a node was put back.
    pub fn is_restored(&self, node: usize) -> bool {
        self.restored.contains_key(&node)
    }

    /// Whether a node could know more than one of these entries of its own for one place.
    pub fn knew(&self, node: usize, entries: &BTreeSet<EntryHash>) -> bool {
        self.restored.get(&node).is_none_or(|told| entries.iter().any(|entry| told.contains(entry)))
    }

    /// Whether a party was ever to have an entry.
    fn allows(&self, party: &PartyKey, entry: &Entry, by_device: bool) -> bool {
        let (ledger, lane) = (entry.header.ledger, entry.header.lane);
        let write_only = by_device && self.writes.contains(&(ledger, *party, lane));
        entry.party() == *party || self.is_circle(ledger, lane, party) || self.reads.contains(&(ledger, *party, lane)) || write_only
    }

    /// Whether anybody ever granted a party something, be it void.
    pub fn has_circle(&self, ledger: LedgerId, party: &PartyKey) -> bool {
        self.circles.iter().any(|((of, _), theirs)| *of == ledger && theirs == party)
    }

    fn is_circle(&self, ledger: LedgerId, lane: LaneId, party: &PartyKey) -> bool {
        self.circles.get(&(ledger, lane)) == Some(party)
    }
}

/// Whether frames of this kind carry entries, without decoding them: a map of one pair whose key is that word.
fn carries_entries(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xa1\x67entries")
}

/// Grants of a party that, as far as this copy goes, no active device has revoked and whose time is not over.
fn live_grants(ledger: &Ledger, circle: &LaneId, party: &PartyKey, now: i64) -> BTreeSet<GrantId> {
    let devices = || ledger.entries(circle).filter(|entry| ledger.is_device(&entry.author()));
    let mut live: BTreeSet<GrantId> = devices()
        .filter_map(|entry| match entry.header.action {
            Action::Grant { id, party: of, until, .. } if of == *party && until.is_none_or(|until| now < until) => Some(id),
            _ => None,
        })
        .collect();
    let active: BTreeSet<_> = ledger.charter().devices.iter().filter(|device| device.suspended.is_none()).map(|device| device.key).collect();
    for entry in devices().filter(|entry| active.contains(&entry.author())) {
        if let Action::Revoke { grant, .. } = &entry.header.action {
            live.remove(grant);
        }
    }
    live
}

/// When a custodian last heard from a patient about a circle, as far as it keeps that.
fn heard(replica: &Replica, ledger: LedgerId, circle: LaneId) -> Option<i64> {
    replica.checkpoints.get(&(ledger, circle)).map(|checkpoint| checkpoint.time)
}

impl World {
    /// An honest node is about to send a frame.
    pub(super) fn watch(&mut self, node: usize, to: usize, bytes: &[u8]) {
        if !carries_entries(bytes) {
            return;
        }
        let Ok(Frame::Entries { ledger, entries }) = Frame::decode(bytes) else { return };
        let Some(held) = self.nodes[node].replica.ledgers.get(&ledger) else { return };
        let (sender, receiver) = (self.truth.whole.contains(&(ledger, node)), self.truth.whole.contains(&(ledger, to)));
        let person = &self.nodes[to].person;
        if receiver {
            let is_suspended = held.charter().device(&person.author()).is_some_and(|device| device.suspended.is_some());
            if is_suspended {
                self.problem(Rule::Disclosure, format!("{} sends entries to {}, which it knows to be suspended", self.name(node), self.name(to)));
            }
            return;
        }
        let party = person.party();
        let entries: Vec<&Entry> = entries.iter().filter_map(|raw| held.get(&EntryHash::of(raw.header.as_bytes()))).collect();
        let why = if sender { self.may_give(node, held, &party, &entries) } else { self.may_share(node, held, &party, &entries) };
        if let Some(why) = why {
            self.problem(Rule::Disclosure, format!("{} sends {}: {why}", self.name(node), self.name(to)));
        }
    }

    /// Why a device or custodian may not give a party these entries.
    fn may_give(&self, node: usize, held: &Ledger, party: &PartyKey, entries: &[&Entry]) -> Option<String> {
        let ledger = held.id();
        if let Some(entry) = entries.iter().find(|entry| !self.truth.allows(party, entry, held.is_device(&entry.author()))) {
            return Some(format!("{} was never for it", entry.hash().short()));
        }
        let elsewhere = entries.iter().find(|entry| !self.truth.is_circle(ledger, entry.header.lane, party))?;
        let now = self.now(node);
        let circles: Vec<LaneId> =
            self.truth.circles.iter().filter(|((of, _), theirs)| *of == ledger && *theirs == party).map(|((_, lane), _)| *lane).collect();
        if circles.iter().all(|circle| live_grants(held, circle, party, now).is_empty()) {
            return Some(format!("{} of a catalog, and every grant of it has ended", elsewhere.hash().short()));
        }
        let replica = &self.nodes[node].replica;
        let is_device = held.is_device(&self.nodes[node].person.author());
        let recent = circles.iter().any(|circle| heard(replica, ledger, *circle).is_some_and(|time| now - time < super::story::MAX_AGE));
        (!is_device && !recent).then(|| format!("{} of a catalog, and it has not heard from the patient", elsewhere.hash().short()))
    }

    /// Why a party's node may not share these entries with another party.
    fn may_share(&self, node: usize, held: &Ledger, party: &PartyKey, entries: &[&Entry]) -> Option<String> {
        if self.nodes[node].person.party() != *party {
            return Some("entries, of party to party".into());
        }
        let strange = entries.iter().find(|entry| !self.truth.allows(party, entry, held.is_device(&entry.author())))?;
        Some(format!("{} was never for it", strange.hash().short()))
    }

    /// Two honest nodes have settled: whoever was put back has been told what its own key signed later.
    pub(super) fn has_met(&mut self, node: usize, other: usize) {
        if !self.truth.is_restored(node) {
            return;
        }
        let author = self.nodes[node].person.author();
        let ledgers: Vec<LedgerId> = self.nodes[node].replica.ledgers.keys().copied().collect();
        for ledger in ledgers {
            if self.nodes[node].is_surprised(&ledger) && !self.nodes[node].is_spent(&ledger) {
                self.problem(Rule::Places, format!("{} holds later entries of its own and was not told that it was put back", self.name(node)));
            }
            let both_whole =
                self.truth.whole.contains(&(ledger, node)) && self.truth.whole.contains(&(ledger, other)) && self.see_one_another(ledger, node, other);
            let from = if both_whole { other } else { node };
            let Some(held) = self.nodes[from].replica.ledgers.get(&ledger) else { continue };
            let own: Vec<EntryHash> = held.lanes().flat_map(|lane| held.entries_after(lane, &author, 0)).map(Entry::hash).collect();
            self.truth.restored.entry(node).or_default().extend(own);
        }
    }

    /// Whether two devices or custodians take one another for such: each holds the charters that say so.
    pub(super) fn see_one_another(&self, ledger: LedgerId, a: usize, b: usize) -> bool {
        let sees = |a: usize, b: usize| {
            let Some(held) = self.nodes[a].replica.ledgers.get(&ledger) else { return false };
            let person = &self.nodes[b].person;
            let device = held.charter().device(&person.author());
            device.map_or_else(|| held.charter().custodians.iter().any(|custodian| custodian.party == person.party()), |_| held.is_active(&person.author()))
        };
        sees(a, b) && sees(b, a)
    }
}
