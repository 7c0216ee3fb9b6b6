//! A simulated node: what it holds in memory, what of that is on its disk, and its sessions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chartmesh_identity::{EntryHash, LaneId, LedgerId, Signed, Verified};
use chartmesh_ledger::{Action, Charter, Checkpoint, Entry, EntryHeader, Ledger, SUITE, Use};

use super::people::Person;
use crate::{replica::Replica, session::Session};

/// What survives a restart of one ledger.
#[derive(Default, Clone)]
struct Saved {
    charters: Vec<Signed<Charter>>,
    entries: Vec<Entry>,
}

/// All that survives a restart.
#[derive(Default, Clone)]
struct Disk {
    ledgers: BTreeMap<LedgerId, Saved>,
    checkpoints: BTreeMap<(LedgerId, LaneId), Verified<Checkpoint>>,
    /// What its own key has signed last, as the vault keeps it.
    marks: BTreeMap<(LedgerId, LaneId), (u64, EntryHash)>,
    /// Ledgers in which its own key signs no more.
    spent: BTreeSet<LedgerId>,
}

/// A node that can be stopped at any time.
pub struct Node {
    /// Who it is.
    pub person: Arc<Person>,
    /// What it holds.
    pub replica: Replica,
    /// Its sessions, by link.
    pub sessions: BTreeMap<u64, Session>,
    disk: Disk,
    backup: Option<Disk>,
}

/// What a write is about.
#[derive(Clone)]
pub struct Draft {
    /// In which lane.
    pub lane: LaneId,
    /// What it does.
    pub action: Action,
    /// Under what a party writes.
    pub uses: Option<Use>,
    /// On a Publish.
    pub epoch: Option<EntryHash>,
    /// In place of a sealed body.
    pub body: Option<Vec<u8>>,
}

impl Draft {
    /// A device's entry.
    pub fn new(lane: LaneId, action: Action) -> Self {
        Self { lane, action, uses: None, epoch: None, body: Some(vec![lane.as_bytes()[0]; 64]) }
    }
}

impl Node {
    /// A node that holds nothing.
    pub fn new(person: Person) -> Self {
        Self::of(Arc::new(person))
    }

    /// As [`Node::new`], of somebody who is in other worlds as well.
    pub fn of(person: Arc<Person>) -> Self {
        let replica = Replica::new(person.me());
        Self { person, replica, sessions: BTreeMap::new(), disk: Disk::default(), backup: None }
    }

    /// Begins to hold a ledger, durably. Charters that do not fit are left out.
    pub fn hold(&mut self, charters: &[Signed<Charter>]) -> Option<LedgerId> {
        let (first, rest) = charters.split_first()?;
        let mut ledger = Ledger::begin(first.clone()).ok()?;
        let id = ledger.id();
        if self.replica.ledgers.contains_key(&id) {
            return None;
        }
        let rest = rest.iter().filter(|charter| ledger.add_charter((*charter).clone()).is_ok()).cloned();
        let charters = std::iter::once(first.clone()).chain(rest).collect();
        self.disk.ledgers.insert(id, Saved { charters, entries: Vec::new() });
        self.replica.ledgers.insert(id, ledger);
        Some(id)
    }

    /// Signs a draft at the place the ledger gives it. Nothing keeps it yet.
    pub fn sign(&self, ledger: LedgerId, draft: Draft, time: i64) -> Option<Entry> {
        let (seq, prev) = self.replica.ledgers.get(&ledger)?.next(&draft.lane, &self.person.author());
        Some(self.sign_at(ledger, draft, time, seq, prev))
    }

    /// Signs a draft at any place.
    pub fn sign_at(&self, ledger: LedgerId, draft: Draft, time: i64, seq: u64, prev: Option<EntryHash>) -> Entry {
        let header = EntryHeader {
            suite: SUITE,
            ledger,
            lane: draft.lane,
            author: self.person.author(),
            cert: self.person.cert.clone(),
            seq,
            prev,
            time,
            action: draft.action,
            uses: draft.uses,
            epoch: draft.epoch,
            body: None,
            crit: Vec::new(),
            unknown: Vec::new(),
        };
        Entry::sign(header, draft.body, &self.person.key)
    }

    /// Takes an entry of its own into memory. On disk it is after [`Node::persist`].
    pub fn add(&mut self, ledger: LedgerId, entry: Entry) -> Option<EntryHash> {
        let hash = entry.hash();
        self.replica.ledgers.get_mut(&ledger)?.add_entry(entry).ok().map(|_| hash)
    }

    /// Adds a charter version, durably.
    pub fn add_charter(&mut self, ledger: LedgerId, charter: &Signed<Charter>) -> bool {
        let added = self.replica.ledgers.get_mut(&ledger).is_some_and(|ledger| ledger.add_charter(charter.clone()).is_ok());
        if added {
            self.persist(ledger, std::slice::from_ref(charter), &[]);
        }
        added
    }

    /// Writes to disk.
    pub fn persist(&mut self, ledger: LedgerId, charters: &[Signed<Charter>], entries: &[EntryHash]) {
        let Some(held) = self.replica.ledgers.get(&ledger) else { return };
        let saved = self.disk.ledgers.entry(ledger).or_default();
        saved.charters.extend_from_slice(charters);
        saved.entries.extend(entries.iter().filter_map(|hash| held.get(hash)).cloned());
    }

    /// Writes a checkpoint to disk.
    pub fn persist_checkpoint(&mut self, ledger: LedgerId, lane: LaneId) {
        if let Some(checkpoint) = self.replica.checkpoints.get(&(ledger, lane)) {
            self.disk.checkpoints.insert((ledger, lane), checkpoint.clone());
        }
    }

    /// Whether its key may sign this: the vault's rule (`commit_signed`).
    pub fn may_sign(&self, entry: &Entry) -> bool {
        let header = &entry.header;
        let last = self.disk.marks.get(&(header.ledger, header.lane));
        !self.is_spent(&header.ledger) && header.seq == last.map_or(1, |(seq, _)| seq + 1) && header.prev == last.map(|(_, hash)| *hash)
    }

    /// Remembers what its key has signed last, as the vault does in one batch with the entry.
    pub fn mark(&mut self, entry: &Entry) {
        let header = &entry.header;
        self.disk.marks.insert((header.ledger, header.lane), (header.seq, entry.hash()));
    }

    /// It was told of an entry of its own that it does not know: its key signs no more there.
    pub fn spend(&mut self, ledger: LedgerId) {
        self.disk.spent.insert(ledger);
    }

    /// Whether its key signs no more there.
    pub fn is_spent(&self, ledger: &LedgerId) -> bool {
        self.disk.spent.contains(ledger)
    }

    /// Whether it holds entries of its own key that it does not remember to have signed.
    pub fn is_surprised(&self, ledger: &LedgerId) -> bool {
        let Some(held) = self.replica.ledgers.get(ledger) else { return false };
        let author = self.person.author();
        let beyond = |lane: &LaneId| {
            let known = self.disk.marks.get(&(*ledger, *lane)).map_or(0, |(seq, _)| *seq);
            held.entries_after(lane, &author, known).next().is_some()
        };
        held.lanes().any(beyond)
    }

    /// Copies its disk.
    pub fn back_up(&mut self) {
        self.backup = Some(self.disk.clone());
    }

    /// Puts the copy of its disk back. False if there is none.
    pub fn put_back(&mut self) -> bool {
        let Some(backup) = &self.backup else { return false };
        self.disk = backup.clone();
        true
    }

    /// Loses its memory and comes back with what is on disk. Why it could not, if so: what is on disk must always load in the order it was written.
    pub fn restart(&mut self) -> Result<(), String> {
        self.sessions.clear();
        let mut replica = Replica::new(self.person.me());
        for (id, saved) in &self.disk.ledgers {
            let (first, rest) = saved.charters.split_first().ok_or("a ledger on disk without a charter")?;
            let mut ledger = Ledger::begin(first.clone()).map_err(|error| error.to_string())?;
            for charter in rest {
                ledger.add_charter(charter.clone()).map_err(|error| error.to_string())?;
            }
            for entry in &saved.entries {
                ledger.add_entry(entry.clone()).map_err(|error| error.to_string())?;
            }
            replica.ledgers.insert(*id, ledger);
        }
        replica.checkpoints = self.disk.checkpoints.clone();
        self.replica = replica;
        let ledgers: Vec<LedgerId> = self.replica.ledgers.keys().copied().collect();
        for ledger in ledgers {
            self.replica.look_for_bodies(ledger);
        }
        Ok(())
    }
}
