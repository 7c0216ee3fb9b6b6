//! What two nodes share of a ledger: the serving rule, seen from either side.
//!
//! Devices and custodians share everything. A party shares with them what the serving rule gives it; both sides work that out from what they hold, so that their digests
//! agree once nothing is missing. What a party holds beyond that, such as what it wrote before it heard of a Revoke, it gives to them as well: a document is quarantined, not
//! dropped. Parties share with their own nodes only, and only what the serving rule gives them.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AuthorKey, CharterHash, EndpointKey, EntryHash, LaneId, LedgerId, PartyKey, Verified, to_canonical};
use chartmesh_ledger::{Checkpoint, Entry, LaneView, Ledger, Peer, lanes_for, shows};

use crate::{frame::Tip, replica::Replica, tips::Tips};

/// What a pair shares of one ledger.
pub(crate) struct View<'a> {
    replica: &'a Replica,
    ledger: &'a Ledger,
    now: i64,
    /// Nothing: all is shared.
    party: Option<(PartyKey, BTreeMap<LaneId, LaneView>)>,
    /// Whether the peer may have everything that this side holds, be it shared or not.
    gives_all: bool,
}

/// Per lane the tips of logs.
pub(crate) type Heads = Vec<(LaneId, Vec<Tip>)>;

fn by_lane(logs: Vec<Log>) -> Heads {
    let mut heads: Heads = Vec::new();
    for log in logs {
        let tips = log.tips.iter().map(|(seq, hash)| (log.author, *seq, *hash));
        match heads.last_mut() {
            Some((lane, all)) if *lane == log.lane => all.extend(tips),
            _ => heads.push((log.lane, tips.collect())),
        }
    }
    heads
}

/// What the peer may have of one author's log in one lane.
pub(crate) struct Log {
    pub(crate) lane: LaneId,
    pub(crate) author: AuthorKey,
    tips: Vec<(u64, EntryHash)>,
}

impl<'a> View<'a> {
    /// What this node and a peer share; nothing if the ledger is not held or not for the peer. A claim makes the peer, or this node, as good as a device.
    pub(crate) fn between(replica: &'a Replica, id: LedgerId, peer: &PartyKey, endpoint: &EndpointKey, claimed: bool, now: i64) -> Option<Self> {
        let ledger = replica.ledgers.get(&id)?;
        let whole = Self { replica, ledger, now, party: None, gives_all: true };
        if claimed {
            return Some(whole);
        }
        let me = replica.me.card.profile.party;
        let mine = replica.standing(id, &me, &replica.me.endpoint);
        let theirs = replica.standing(id, peer, endpoint);
        let heard = |party: &PartyKey, device: bool| if device { Some(now) } else { replica.heard(id, party, now) };
        let (party, heard, gives_all) = match (mine, theirs) {
            (_, Peer::Stranger) => return None,
            (Peer::Device(_) | Peer::Custodian(_), Peer::Device(_) | Peer::Custodian(_)) => return Some(whole),
            (Peer::Device(_), Peer::Party(party)) => (party, heard(&party, true), false),
            (Peer::Custodian(_), Peer::Party(party)) => (party, heard(&party, false), false),
            (Peer::Party(_) | Peer::Stranger, Peer::Device(_)) => (me, heard(&me, true), true),
            (Peer::Party(_) | Peer::Stranger, Peer::Custodian(_)) => (me, heard(&me, false), true),
            (Peer::Party(_) | Peer::Stranger, Peer::Party(party)) if party == me => (party, heard(&party, false), false),
            (Peer::Party(_) | Peer::Stranger, Peer::Party(_)) => return None,
        };
        let lanes = lanes_for(ledger, &Peer::Party(party), now, heard);
        Some(Self { replica, ledger, now, party: Some((party, lanes)), gives_all })
    }

    pub(crate) fn ledger(&self) -> &'a Ledger {
        self.ledger
    }

    /// Whether this side has to hear which of its heads the peer holds: it gives more than it is told of.
    pub(crate) fn is_partys(&self) -> bool {
        self.gives_all && self.party.is_some()
    }

    /// Whether a lane is a catalog: that of a compartment.
    pub(crate) fn is_catalog(&self, lane: &LaneId) -> bool {
        !self.ledger.lane(lane).epochs.is_empty()
    }

    /// Whether the peer may have an entry.
    pub(crate) fn gives(&self, entry: &Entry) -> bool {
        self.gives_all || self.shares(entry)
    }

    fn shares(&self, entry: &Entry) -> bool {
        self.party.as_ref().is_none_or(|(_, lanes)| lanes.get(&entry.header.lane).is_some_and(|lane| shows(lane, entry)))
    }

    /// All charter versions held.
    pub(crate) fn charters(&self) -> BTreeSet<CharterHash> {
        self.ledger.charter_versions().map(|(hash, _)| hash).collect()
    }

    /// The logs that the peer may have: lane by lane, in each the devices' before the parties'.
    pub(crate) fn logs(&self) -> Vec<Log> {
        self.logs_of(self.gives_all)
    }

    fn logs_of(&self, all: bool) -> Vec<Log> {
        let mut logs = Vec::new();
        for lane in self.ledger.lanes() {
            let start = logs.len();
            let mut heads = self.ledger.heads(lane).into_iter().peekable();
            while let Some(head) = heads.next() {
                let mut tips = vec![(head.seq, head.hash)];
                while let Some(next) = heads.next_if(|next| next.author == head.author) {
                    tips.push((next.seq, next.hash));
                }
                let tips = if all { tips } else { self.shared(lane, &head.author, tips) };
                if !tips.is_empty() {
                    logs.push(Log { lane: *lane, author: head.author, tips });
                }
            }
            logs[start..].sort_by_key(|log| !self.ledger.is_device(&log.author));
        }
        logs
    }

    /// The tips of what is shared of a log whose own tips are these.
    fn shared(&self, lane: &LaneId, author: &AuthorKey, tips: Vec<(u64, EntryHash)>) -> Vec<(u64, EntryHash)> {
        let is_shared = |(_, hash): &(u64, EntryHash)| self.ledger.get(hash).is_some_and(|entry| self.shares(entry));
        if tips.iter().all(is_shared) {
            return tips;
        }
        // Only a circle that ends at a Revoke cuts a log short; elsewhere a log is shown whole or not at all.
        let cut = self.party.as_ref().and_then(|(_, lanes)| lanes.get(lane)).is_some_and(|lane| matches!(lane, LaneView::UpToRevoke { .. }));
        if !cut {
            return Vec::new();
        }
        let mut shared = Tips::default();
        for entry in self.ledger.entries_after(lane, author, 0).filter(|entry| self.shares(entry)) {
            shared.add(entry.header.seq, entry.hash(), entry.header.prev);
        }
        shared.iter().collect()
    }

    /// What the peer may have, per lane the tips of every log.
    pub(crate) fn heads(&self) -> Heads {
        by_lane(self.logs())
    }

    /// The same of some logs, as far as these are not forked.
    pub(crate) fn heads_of(&self, which: &BTreeSet<(LaneId, AuthorKey)>) -> Heads {
        by_lane(self.logs().into_iter().filter(|log| log.tips.len() == 1 && which.contains(&(log.lane, log.author))).collect())
    }

    /// Whether an entry is on the one branch of its log that is held here.
    pub(crate) fn is_on_the_only_branch(&self, lane: &LaneId, author: &AuthorKey, hash: &EntryHash) -> bool {
        self.ledger.has(hash) && self.ledger.heads(lane).iter().filter(|head| head.author == *author).count() == 1
    }

    /// What this side holds and gives beyond what is shared.
    pub(crate) fn beyond(&self) -> Heads {
        if !self.is_partys() {
            return Vec::new();
        }
        let shared: BTreeSet<EntryHash> = self.logs_of(false).into_iter().flat_map(|log| log.tips).map(|(_, hash)| hash).collect();
        let mut logs = self.logs_of(true);
        for log in &mut logs {
            log.tips.retain(|(_, hash)| !shared.contains(hash));
        }
        logs.retain(|log| !log.tips.is_empty());
        by_lane(logs)
    }

    /// The shared checkpoints: a party's are those of its circles.
    pub(crate) fn newest_checkpoints(&self) -> Vec<(LaneId, &'a Verified<Checkpoint>)> {
        let id = self.ledger.id();
        let lanes: Vec<LaneId> = match &self.party {
            None => self.replica.checkpoints.range((id, LaneId::new([0; 32]))..=(id, LaneId::new([255; 32]))).map(|((_, lane), _)| *lane).collect(),
            Some((party, _)) => self.ledger.circles(party).copied().collect(),
        };
        lanes.into_iter().filter_map(|lane| Some((lane, self.replica.checkpoint(id, lane, self.now)?))).collect()
    }

    /// When the shared checkpoints were signed.
    pub(crate) fn checkpoints(&self) -> BTreeMap<LaneId, i64> {
        self.newest_checkpoints().into_iter().map(|(lane, checkpoint)| (lane, checkpoint.time)).collect()
    }

    /// One hash over all that is shared: BLAKE3 of the deterministic CBOR of [domain, ledger, charter hashes, heads, checkpoints' hashes].
    pub(crate) fn digest(&self) -> [u8; 32] {
        let checkpoints: Vec<_> = self.newest_checkpoints().into_iter().map(|(lane, checkpoint)| (lane, checkpoint.time)).collect();
        let mut heads = by_lane(self.logs_of(false));
        for (_, tips) in &mut heads {
            tips.sort_unstable();
        }
        *blake3::hash(&to_canonical(&("chartmesh/1 digest", self.ledger.id(), self.charters(), heads, checkpoints))).as_bytes()
    }

    /// The entries of a log that the peer lacks as far as can be told from the tips it is known to hold, predecessors first.
    ///
    /// A tip that is not held here is either ahead of this log, and then nothing is lacking; or it is on another branch, which is certain if the log reaches its place. Then
    /// all goes, so that both sides see the fork.
    pub(crate) fn missing<'v>(&'v self, log: &'v Log, known: Option<&Tips>) -> Box<dyn Iterator<Item = &'v Entry> + 'v> {
        let ours = |hash: &EntryHash| self.ledger.get(hash).filter(|entry| entry.header.lane == log.lane && entry.author() == log.author);
        let mut held = Vec::new();
        let mut unknown = Vec::new();
        for (seq, hash) in known.into_iter().flat_map(Tips::iter) {
            match ours(&hash) {
                Some(entry) => held.push(entry),
                None => unknown.push(seq),
            }
        }
        let last = log.tips.iter().map(|(seq, _)| *seq).max().unwrap_or(0);
        let hashes: BTreeSet<EntryHash> = held.iter().map(|entry| entry.hash()).collect();
        if log.tips.iter().all(|(_, hash)| hashes.contains(hash)) {
            return Box::new(std::iter::empty());
        }
        if held.is_empty() && !unknown.is_empty() && unknown.iter().all(|seq| *seq > last) {
            return Box::new(std::iter::empty());
        }
        if let [_] = log.tips.as_slice() {
            let from = held.iter().map(|entry| entry.header.seq).max().unwrap_or(0);
            return Box::new(self.ledger.entries_after(&log.lane, &log.author, from).filter(|entry| self.gives(entry)));
        }
        let mut before = BTreeSet::new();
        for entry in held {
            let mut next = Some(entry);
            while let Some(entry) = next.filter(|entry| before.insert(entry.hash())) {
                next = entry.header.prev.as_ref().and_then(|prev| self.ledger.get(prev));
            }
        }
        let entries = self.ledger.entries_after(&log.lane, &log.author, 0);
        Box::new(entries.filter(move |entry| self.gives(entry) && !before.contains(&entry.hash())))
    }
}
