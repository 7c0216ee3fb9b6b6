//! What a node holds, as sessions see it: plain data, owned by whoever runs them.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AuthorKey, Card, EndpointKey, EntryHash, LaneId, LedgerId, PartyKey, Verified};
use chartmesh_ledger::{Checkpoint, Entry, Ledger, Peer, peer};

/// Seconds by which a checkpoint's time may be ahead of this node's clock. Beyond that it does not count: or one clock in the future would end `max_age` for good.
pub const AHEAD: i64 = 3600;

/// Who this node is.
#[derive(Debug, Clone)]
pub struct Me {
    /// What it shows to peers.
    pub card: Verified<Card>,
    /// Its transport identity; it must be on the card.
    pub endpoint: EndpointKey,
    /// What it signs entries with.
    pub author: AuthorKey,
}

/// Ledgers and checkpoints of one node. All of its sessions share one replica, and take turns.
pub struct Replica {
    /// Who this node is.
    pub me: Me,
    /// Ledgers it holds.
    pub ledgers: BTreeMap<LedgerId, Ledger>,
    /// The newest checkpoint per circle lane.
    pub checkpoints: BTreeMap<(LedgerId, LaneId), Verified<Checkpoint>>,
    /// Entries held whose sealed body is missing: some peer left it out. See [`Replica::look_for_bodies`].
    pub bodiless: BTreeMap<LedgerId, BTreeSet<EntryHash>>,
}

impl Replica {
    /// Holds nothing yet.
    pub fn new(me: Me) -> Self {
        Self { me, ledgers: BTreeMap::new(), checkpoints: BTreeMap::new(), bodiless: BTreeMap::new() }
    }

    /// Keeps a checkpoint if it counts (its signer is an active device of a held ledger, and its time at most [`AHEAD`] beyond `now`) and replaces what is held of its lane, or
    /// what is held does not count. Whether it was kept.
    pub fn hear(&mut self, checkpoint: Verified<Checkpoint>, now: i64) -> bool {
        let key = (checkpoint.ledger, checkpoint.lane);
        let replaces = self.checkpoints.get(&key).is_none_or(|held| !self.counts(held, now) || Checkpoint::replaces(&checkpoint, held));
        if !replaces || !self.counts(&checkpoint, now) {
            return false;
        }
        self.checkpoints.insert(key, checkpoint);
        true
    }

    /// The checkpoint of a circle lane, if its signer is still an active device and its time at most [`AHEAD`] beyond `now`.
    pub fn checkpoint(&self, ledger: LedgerId, lane: LaneId, now: i64) -> Option<&Verified<Checkpoint>> {
        self.checkpoints.get(&(ledger, lane)).filter(|checkpoint| self.counts(checkpoint, now))
    }

    /// When the patient was last heard from about a party's circle, in seconds since 1970, never later than `now`.
    pub fn heard(&self, ledger: LedgerId, party: &PartyKey, now: i64) -> Option<i64> {
        let circles = self.ledgers.get(&ledger)?.circles(party);
        circles.filter_map(|lane| self.checkpoint(ledger, *lane, now)).map(|checkpoint| checkpoint.time.min(now)).max()
    }

    /// Notes every entry of a ledger whose sealed body is not held, so that sessions ask for it: after loading a ledger.
    pub fn look_for_bodies(&mut self, ledger: LedgerId) {
        let Some(held) = self.ledgers.get(&ledger) else { return };
        let without = held.lanes().flat_map(|lane| held.entries(lane)).filter(|entry| lacks_body(entry)).map(Entry::hash);
        self.bodiless.insert(ledger, without.collect());
    }

    /// What a party at an endpoint is to a ledger that is held.
    pub fn standing(&self, ledger: LedgerId, party: &PartyKey, endpoint: &EndpointKey) -> Peer {
        self.ledgers.get(&ledger).map_or(Peer::Stranger, |ledger| peer(ledger, party, endpoint))
    }

    fn counts(&self, checkpoint: &Checkpoint, now: i64) -> bool {
        checkpoint.time <= now.saturating_add(AHEAD) && self.ledgers.get(&checkpoint.ledger).is_some_and(|ledger| ledger.is_active(&checkpoint.author))
    }
}

/// Whether an entry has a sealed body that is not held. A Withdraw changes nothing about that, be it one that erases: it erases the ciphertext of documents, may be about some of a
/// Publish alone, and may turn out to be void.
pub(crate) fn lacks_body(entry: &Entry) -> bool {
    entry.body.is_none() && entry.header.body.is_some()
}
