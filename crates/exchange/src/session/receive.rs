//! Taking in: charters, entries and checkpoints that the peer sends, each judged before it is kept.
//!
//! What is kept is told in one [`Effect::Persist`] per frame, ahead of the acknowledgement. What is refused is named and does not touch what else came.

use chartmesh_identity::{CharterHash, EntryHash, LedgerId, Signed, from_canonical};
use chartmesh_ledger::{Action, Added, Charter, Checkpoint, CheckpointError, Entry, Ledger, RawEntry};

use super::{
    MAX_LOOSE_CHARTERS, Session,
    ledgers::{Phase, Shared},
};
use crate::{
    event::{Closing, Effect, Refused},
    frame::MAX_ENTRY,
    replica::{Replica, lacks_body},
};

impl Session {
    fn is_live(&self, ledger: &LedgerId) -> bool {
        self.shared.get(ledger).is_some_and(|shared| shared.phase == Phase::Live)
    }

    /// Counts a frame of content of a live ledger. It is acknowledged when the peer says how things stand.
    fn count(&mut self, ledger: LedgerId) {
        let Some(shared) = self.shared.get_mut(&ledger) else { return };
        shared.got += 1;
        shared.stale = true;
        shared.peer_done = false;
        self.weigh(ledger);
    }

    pub(super) fn take_done(
        &mut self,
        replica: &Replica,
        ledger: LedgerId,
        (opening, got, answered, done): (u64, u64, u64, bool),
        now: i64,
        out: &mut Vec<Effect>,
    ) -> Result<(), Closing> {
        let of_this = |shared: &&mut Shared| shared.phase == Phase::Live && shared.opening == opening;
        let Some(shared) = self.shared.get_mut(&ledger).filter(of_this) else { return Ok(()) };
        if got > shared.sent || answered > shared.wants {
            return Err(Closing::Unexpected("done"));
        }
        // Of those under way; an earlier `done` may have said more.
        let acknowledged = (shared.under_way.len() as u64).saturating_sub(shared.sent - got) as usize;
        shared.answered = shared.answered.max(answered);
        shared.peer_done = done;
        let stale = shared.stale;
        self.acknowledged(ledger, acknowledged);
        self.ask_for_bodies(replica, ledger, out);
        self.weigh(ledger);
        if stale {
            self.refresh(replica, ledger, now, out);
        }
        Ok(())
    }

    pub(super) fn take_charters(&mut self, replica: &mut Replica, id: LedgerId, charters: Vec<Signed<Charter>>, out: &mut Vec<Effect>) -> Result<(), Closing> {
        let live = self.is_live(&id);
        let mut kept = Vec::new();
        let (mut refused, mut all_known) = (0, true);
        for charter in charters {
            let hash = CharterHash::of(charter.as_bytes());
            let result = match replica.ledgers.get_mut(&id) {
                Some(ledger) => ledger.add_charter(charter.clone()),
                None if self.begins(id, &charter) => Ledger::begin(charter.clone()).map(|ledger| {
                    replica.ledgers.insert(id, ledger);
                    Added::New
                }),
                // Verified all the same: whoever guesses at ledgers learns nothing from the time it takes.
                None => {
                    let _ = charter.verify();
                    all_known = false;
                    continue;
                }
            };
            all_known &= result == Ok(Added::Known);
            match result {
                Ok(added) => {
                    if let Some(shared) = self.shared.get_mut(&id) {
                        shared.charters.insert(hash);
                    }
                    if added == Added::New {
                        kept.push(charter);
                    }
                }
                Err(reason) => {
                    refused += 1;
                    out.push(Effect::Refused { ledger: id, entry: None, reason: reason.into() });
                }
            }
        }
        // Who claims with the words has asked for all that there is, whoever has made it up. With the others a session more brings what follows: what is known does not count.
        if !live && self.claiming.is_none() && !all_known {
            self.loose_charters += 1;
        }
        if !kept.is_empty() {
            out.push(Effect::Persist { ledger: id, charters: kept, entries: Vec::new(), bodies: Vec::new() });
            // After our claim: the ledger is ours to read while it lists the root.
            self.claims.extend(self.claiming.map(|root| (id, root)));
        }
        if self.loose_charters > MAX_LOOSE_CHARTERS {
            return Err(Closing::TooMany("charters"));
        }
        for _ in 0..refused {
            self.strike("charters")?;
        }
        if live {
            self.count(id);
        }
        Ok(())
    }

    /// Whether a charter of a ledger that is not held may begin it: it is version 0, and a claim of ours is open.
    fn begins(&self, id: LedgerId, charter: &Signed<Charter>) -> bool {
        self.claiming.is_some() && CharterHash::of(charter.as_bytes()).as_ledger() == id
    }

    pub(super) fn take_part(&mut self, replica: &mut Replica, id: LedgerId, bytes: &[u8], last: bool, now: i64, out: &mut Vec<Effect>) -> Result<(), Closing> {
        if !self.is_live(&id) {
            return Ok(());
        }
        let mut whole = match self.part.take() {
            Some((of, whole)) if of == id => whole,
            Some(_) => return Err(Closing::Unexpected("part")),
            None => Vec::new(),
        };
        whole.extend_from_slice(bytes);
        if whole.len() > MAX_ENTRY {
            return Err(Closing::TooMany("bytes of one entry"));
        }
        if !last {
            self.part = Some((id, whole));
            self.count(id);
            return Ok(());
        }
        match from_canonical::<RawEntry>(&whole) {
            Ok(entry) => self.take_entries(replica, id, vec![entry], now, out),
            Err(_) => {
                out.push(Effect::Refused { ledger: id, entry: None, reason: Refused::Parts });
                self.count(id);
                self.strike("entries")
            }
        }
    }

    pub(super) fn take_entries(&mut self, replica: &mut Replica, id: LedgerId, entries: Vec<RawEntry>, now: i64, out: &mut Vec<Effect>) -> Result<(), Closing> {
        // A peer may still be sending what it no longer may.
        if !self.is_live(&id) {
            return Ok(());
        }
        if self.view(replica, id, now).is_none() {
            self.shut(id, out);
            return Ok(());
        }
        let mut taken = Taken::default();
        let mut refused = 0;
        for raw in entries {
            let hash = EntryHash::of(raw.header.as_bytes());
            if let Err(reason) = self.take_entry(replica, id, hash, raw, &mut taken) {
                refused += 1;
                out.push(Effect::Refused { ledger: id, entry: Some(hash), reason });
            }
        }
        for (lane, seq) in taken.restored {
            out.push(Effect::Restored { ledger: id, lane, seq });
        }
        // Said before the node can say how many are left, which it does once it has stored the entries.
        if taken.documents > 0 {
            self.pending = self.pending.saturating_add(taken.documents);
            self.flush(replica, out);
        }
        if !(taken.entries.is_empty() && taken.bodies.is_empty()) {
            out.push(Effect::Persist { ledger: id, charters: Vec::new(), entries: taken.entries, bodies: taken.bodies });
        }
        for _ in 0..refused {
            self.strike("entries")?;
        }
        self.count(id);
        Ok(())
    }

    fn take_entry(&mut self, replica: &mut Replica, id: LedgerId, hash: EntryHash, raw: RawEntry, taken: &mut Taken) -> Result<(), Refused> {
        let (Some(shared), Some(ledger)) = (self.shared.get_mut(&id), replica.ledgers.get_mut(&id)) else { return Ok(()) };
        if let Some(held) = ledger.get(&hash) {
            let header = &held.header;
            shared.tips.entry((header.lane, header.author)).or_default().add(header.seq, hash, header.prev);
            if raw.body.is_none() || !lacks_body(held) {
                return Ok(());
            }
        }
        let entry = Entry::read_with(raw, &mut self.certs)?;
        let header = &entry.header;
        if header.ledger != id {
            return Err(Refused::OtherLedger);
        }
        let (lane, author, seq, prev) = (header.lane, header.author, header.seq, header.prev);
        if shared.blocked.contains(&(lane, author)) {
            return Ok(());
        }
        let known = ledger.has(&hash);
        let documents = match &header.action {
            Action::Publish { documents } => documents.len() as u64,
            _ => 0,
        };
        if let Err(reason) = ledger.add_entry(entry) {
            shared.blocked.insert((lane, author));
            return Err(reason.into());
        }
        shared.tips.entry((lane, author)).or_default().add(seq, hash, prev);
        let bodiless = replica.bodiless.entry(id).or_default();
        bodiless.remove(&hash);
        if known {
            taken.bodies.push(hash);
            return Ok(());
        }
        if ledger.get(&hash).is_some_and(lacks_body) {
            bodiless.insert(hash);
        }
        if author == replica.me.author {
            taken.restored.push((lane, seq));
        }
        taken.documents += documents;
        taken.entries.push(hash);
        Ok(())
    }

    pub(super) fn take_checkpoint(
        &mut self,
        replica: &mut Replica,
        id: LedgerId,
        checkpoint: Signed<Checkpoint>,
        now: i64,
        out: &mut Vec<Effect>,
    ) -> Result<(), Closing> {
        let Some(ledger) = replica.ledgers.get(&id).filter(|_| self.is_live(&id)) else { return Ok(()) };
        if self.view(replica, id, now).is_none() {
            self.shut(id, out);
            return Ok(());
        }
        match Checkpoint::read(checkpoint, ledger) {
            Ok(checkpoint) => {
                let (lane, time) = (checkpoint.lane, checkpoint.time);
                if let Some(shared) = self.shared.get_mut(&id) {
                    let held = shared.checkpoints.entry(lane).or_insert(time);
                    *held = time.max(*held);
                }
                if replica.hear(checkpoint, now) {
                    out.push(Effect::CheckpointHeard { ledger: id, lane });
                }
            }
            // The peer may not have heard yet that the device was suspended.
            Err(reason @ CheckpointError::NoAuthority) => out.push(Effect::Refused { ledger: id, entry: None, reason: reason.into() }),
            Err(reason) => {
                out.push(Effect::Refused { ledger: id, entry: None, reason: reason.into() });
                self.strike("checkpoints")?;
            }
        }
        self.count(id);
        Ok(())
    }
}

/// What came of one frame of entries.
#[derive(Default)]
struct Taken {
    entries: Vec<EntryHash>,
    bodies: Vec<EntryHash>,
    restored: Vec<(chartmesh_identity::LaneId, u64)>,
    documents: u64,
}
