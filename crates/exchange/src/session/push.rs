//! Giving: what the peer lacks and may see, in chunks, never more than the window at once.
//!
//! Nothing of a frame can be used before all of it is there. So the first are short, and what opens the rest comes first: catalogs come last. A custodian begins with the last of
//! them, since whoever lacks much has called a device as well.
//!
//! What is shown is asked of the serving rule anew for every push, so that a revocation which arrives meanwhile holds from the next chunk on.

use std::cmp::Reverse;

use chartmesh_identity::{EntryHash, LedgerId, Signed, to_canonical};
use chartmesh_ledger::{Charter, Peer, RawEntry};

use super::{Session, WINDOW, ledgers::Phase, send};
use crate::{
    event::Effect,
    frame::{CHUNK, Frame, MAX_LIST},
    replica::Replica,
};

/// Length at which the first list of entries is cut, in bytes.
pub(super) const FIRST: usize = 16 << 10;
/// What a frame adds to the entries in it, and each entry's framing.
const OVERHEAD: usize = 64;

impl Session {
    /// Sends what the peer lacks of a ledger, as far as the window allows, and reports how things stand.
    pub(super) fn push(&mut self, replica: &Replica, ledger: LedgerId, now: i64, out: &mut Vec<Effect>) {
        let Some(view) = self.view(replica, ledger, now) else { return };
        let mut room = WINDOW.saturating_sub(self.under_way);
        let Some(shared) = self.shared.get_mut(&ledger).filter(|shared| shared.phase == Phase::Live) else { return };
        let before = shared.sent;

        let mut charters_now = 0;
        let mut lacking = Vec::new();
        for (hash, charter) in view.ledger().charter_versions() {
            charters_now += 1;
            if shared.charters.insert(hash) {
                lacking.push(charter.clone());
            }
        }
        if !lacking.is_empty() || shared.charters_then != 0 && shared.charters_then != charters_now {
            // One of the two has not reckoned with all of these charters: by them other checkpoints count, and an older one may be the newest.
            shared.checkpoints.clear();
        }
        shared.charters_then = charters_now;
        shared.sent += charters(ledger, lacking.into_iter(), out);

        for (lane, checkpoint) in view.newest_checkpoints() {
            if shared.checkpoints.get(&lane).is_none_or(|time| *time < checkpoint.time) {
                shared.checkpoints.insert(lane, checkpoint.time);
                shared.sent += 1;
                send(out, &Frame::Checkpoint { ledger, checkpoint: checkpoint.signed().clone() });
            }
        }
        room = room.saturating_sub(shared.sent - before);

        shared.exhausted = false;
        shared.stale = false;
        let mut chunk = Chunk { entries: Vec::new(), length: 0, most: shared.chunk };
        let has_body = |hash: &EntryHash| view.ledger().get(hash).is_some_and(|entry| entry.body.is_some());
        shared.wanted.extend(shared.unmet.extract_if(.., |hash| has_body(hash)));
        while room > 0
            && let Some(hash) = shared.wanted.pop_first()
        {
            match view.ledger().get(&hash) {
                Some(entry) if entry.body.is_some() && view.gives(entry) => {
                    let sent = chunk.add(ledger, entry.to_raw(), out);
                    shared.sent += sent;
                    room = room.saturating_sub(sent);
                }
                Some(entry) if entry.body.is_none() && shared.unmet.len() < MAX_LIST => {
                    shared.unmet.insert(hash);
                }
                _ => {}
            }
        }
        let mut logs = view.logs();
        if matches!(replica.standing(ledger, &replica.me.card.profile.party, &replica.me.endpoint), Peer::Custodian(_)) {
            logs.sort_by_key(|log| Reverse(log.lane));
        }
        logs.sort_by_key(|log| view.is_catalog(&log.lane));
        let mut logs = logs.iter();
        'window: while room > 0 && !shared.unconfirmed {
            let Some(log) = logs.next() else {
                shared.exhausted = true;
                break;
            };
            let key = (log.lane, log.author);
            for entry in view.missing(log, shared.tips.get(&key)) {
                if room == 0 {
                    break 'window;
                }
                shared.tips.entry(key).or_default().add(entry.header.seq, entry.hash(), entry.header.prev);
                let sent = chunk.add(ledger, entry.to_raw(), out);
                shared.sent += sent;
                room = room.saturating_sub(sent);
            }
        }
        shared.sent += chunk.flush(ledger, out);
        shared.chunk = chunk.most;
        if shared.sent > before {
            shared.told_done = false;
        }
        self.under_way += shared.sent - before;
        if shared.exhausted || shared.unconfirmed {
            self.waiting.remove(&ledger);
        } else {
            self.waiting.insert(ledger);
        }
        self.ask_for_bodies(replica, ledger, out);
        self.report(ledger, out);
    }

    /// Asks the peer, once, for the bodies that are missing of what it has: some at a time, the next when it has answered.
    pub(super) fn ask_for_bodies(&mut self, replica: &Replica, ledger: LedgerId, out: &mut Vec<Effect>) {
        let Some(missing) = replica.bodiless.get(&ledger).filter(|missing| !missing.is_empty()) else { return };
        let Some(shared) = self.shared.get_mut(&ledger).filter(|shared| shared.wants == shared.answered) else { return };
        let entries: Vec<_> = missing.difference(&shared.asked).take(MAX_LIST).copied().collect();
        if !entries.is_empty() {
            shared.asked.extend(&entries);
            shared.wants += 1;
            send(out, &Frame::Want { ledger, entries });
        }
    }

    /// The peer lacks bodies of entries that it holds.
    pub(super) fn take_want(&mut self, replica: &Replica, ledger: LedgerId, entries: Vec<EntryHash>, now: i64, out: &mut Vec<Effect>) {
        let Some(shared) = self.shared.get_mut(&ledger).filter(|shared| shared.phase == Phase::Live) else { return };
        shared.heard_wants += 1;
        // Whoever asks again before it was answered is not promised more than it is owed.
        if shared.wanted.len() < MAX_LIST {
            shared.wanted.extend(entries);
        }
        self.push(replica, ledger, now, out);
    }

    /// Says what has come and whether there is more, unless that was said before.
    fn report(&mut self, ledger: LedgerId, out: &mut Vec<Effect>) {
        let Some(shared) = self.shared.get_mut(&ledger).filter(|shared| shared.phase == Phase::Live) else { return };
        let answered = if shared.wanted.is_empty() { shared.heard_wants } else { shared.told_answered };
        if shared.got != shared.told_got || answered != shared.told_answered || (shared.exhausted && !shared.told_done) {
            self.owed = self.owed.saturating_sub(shared.got - shared.told_got);
            self.owing.remove(&ledger);
            (shared.told_got, shared.told_answered, shared.told_done) = (shared.got, answered, shared.exhausted);
            send(out, &Frame::Done { ledger, opening: shared.opening, got: shared.got, answered, done: shared.exhausted });
        }
        self.weigh(ledger);
    }

    /// Goes on with what waited for room in the window.
    pub(super) fn push_waiting(&mut self, replica: &Replica, now: i64, out: &mut Vec<Effect>) {
        while self.under_way < WINDOW
            && let Some(ledger) = self.waiting.pop_first()
        {
            self.push(replica, ledger, now, out);
        }
    }
}

/// Charters, oldest first, in frames of about [`CHUNK`]. How many frames.
pub(super) fn charters(ledger: LedgerId, charters: impl Iterator<Item = Signed<Charter>>, out: &mut Vec<Effect>) -> u64 {
    let mut frames = 0;
    let mut length = 0;
    let mut batch = Vec::new();
    for charter in charters {
        let next = charter.as_bytes().len() + OVERHEAD;
        if length + next > CHUNK && !batch.is_empty() {
            send(out, &Frame::Charters { ledger, charters: std::mem::take(&mut batch) });
            frames += 1;
            length = 0;
        }
        length += next;
        batch.push(charter);
    }
    if !batch.is_empty() {
        send(out, &Frame::Charters { ledger, charters: batch });
        frames += 1;
    }
    frames
}

/// Entries that are gathered into one frame.
struct Chunk {
    entries: Vec<RawEntry>,
    length: usize,
    /// Where the frame ends, in bytes: twice as far after each that was full.
    most: usize,
}

impl Chunk {
    /// Adds an entry. How many frames that filled.
    fn add(&mut self, ledger: LedgerId, entry: RawEntry, out: &mut Vec<Effect>) -> u64 {
        let length = entry.header.as_bytes().len() + entry.body.as_ref().map_or(0, |body| body.len()) + OVERHEAD;
        let mut frames = 0;
        if self.length + length > self.most && !self.entries.is_empty() {
            frames += self.flush(ledger, out);
            self.most = (2 * self.most).min(CHUNK);
        }
        if length <= CHUNK {
            self.length += length;
            self.entries.push(entry);
            return frames;
        }
        let bytes = to_canonical(&entry);
        let mut parts = bytes.chunks(CHUNK).peekable();
        while let Some(part) = parts.next() {
            frames += 1;
            send(out, &Frame::Part { ledger, bytes: part.to_vec().into(), last: parts.peek().is_none() });
        }
        frames
    }

    fn flush(&mut self, ledger: LedgerId, out: &mut Vec<Effect>) -> u64 {
        if self.entries.is_empty() {
            return 0;
        }
        self.length = 0;
        send(out, &Frame::Entries { ledger, entries: std::mem::take(&mut self.entries) });
        1
    }
}
