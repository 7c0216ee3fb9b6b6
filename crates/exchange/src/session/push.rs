//! Giving: what the peer lacks and may see, in chunks, never more than the window at once.
//!
//! Nothing of a frame can be used before all of it is there. So the first are short, and what opens the rest comes first: catalogs come last. A custodian begins with the last of
//! them, since whoever lacks much has called a device as well. What a peer gets from one side the other need not send: it says so ([`Session::tell_brought`]). For that to come in
//! time, the window begins small, and grows by what is acknowledged, as long as there is more to give.
//!
//! What is shown is asked of the serving rule anew for every push, so that a revocation which arrives meanwhile holds from the next chunk on.

use std::{cmp::Reverse, collections::BTreeSet};

use chartmesh_identity::{EntryHash, LedgerId, Signed, to_canonical};
use chartmesh_ledger::{Charter, Peer, RawEntry};

use super::{
    Session, WINDOW,
    ledgers::{Phase, in_frames},
    send,
};
use crate::{
    event::Effect,
    frame::{CHUNK, Frame, MAX_LIST},
    replica::Replica,
};

/// With how many bytes of content under way a burst begins, and the most that it grows to.
pub(super) const FIRST_WINDOW: usize = 32 << 10;
const LAST_WINDOW: usize = WINDOW as usize * CHUNK;
/// What a frame adds to the entries in it, and each entry's framing.
const OVERHEAD: usize = 64;

impl Session {
    /// Sends what the peer lacks of a ledger, as far as the window allows, and reports how things stand.
    pub(super) fn push(&mut self, replica: &Replica, ledger: LedgerId, now: i64, out: &mut Vec<Effect>) {
        let Some(view) = self.view(replica, ledger, now) else { return };
        let frames = WINDOW.saturating_sub(self.under_way) as usize;
        let bytes = self.window.saturating_sub(self.bytes_under_way);
        let Some(shared) = self.shared.get_mut(&ledger).filter(|shared| shared.phase == Phase::Live) else { return };

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
        let mut sent = charters(ledger, lacking.into_iter(), out);

        for (lane, checkpoint) in view.newest_checkpoints() {
            if shared.checkpoints.get(&lane).is_none_or(|time| *time < checkpoint.time) {
                shared.checkpoints.insert(lane, checkpoint.time);
                sent.push(send(out, &Frame::Checkpoint { ledger, checkpoint: checkpoint.signed().clone() }));
            }
        }

        shared.exhausted = false;
        shared.stale = false;
        let how_things_stand = Frame::Done { ledger, opening: shared.opening, got: shared.told_got, answered: shared.told_answered, done: false };
        let mut giving = Giving { ledger, most: (self.window / 4).min(CHUNK), how_things_stand, entries: Vec::new(), length: 0, sent, frames, bytes };
        let has_body = |hash: &EntryHash| view.ledger().get(hash).is_some_and(|entry| entry.body.is_some());
        shared.wanted.extend(shared.unmet.extract_if(.., |hash| has_body(hash)));
        while giving.has_room()
            && let Some(hash) = shared.wanted.pop_first()
        {
            match view.ledger().get(&hash) {
                Some(entry) if entry.body.is_some() && view.gives(entry) => giving.add(entry.to_raw(), out),
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
        'window: while giving.has_room() && !shared.unconfirmed {
            let Some(log) = logs.next() else {
                shared.exhausted = true;
                break;
            };
            let key = (log.lane, log.author);
            for entry in view.missing(log, shared.tips.get(&key)) {
                if !giving.has_room() {
                    break 'window;
                }
                shared.tips.entry(key).or_default().add(entry.header.seq, entry.hash(), entry.header.prev);
                giving.add(entry.to_raw(), out);
            }
        }
        giving.flush(out);
        if shared.exhausted || shared.unconfirmed {
            self.waiting.remove(&ledger);
        } else {
            self.waiting.insert(ledger);
        }
        let sent = giving.sent;
        self.under_way += sent.len() as u64;
        self.bytes_under_way += sent.iter().sum::<usize>();
        shared.sent += sent.len() as u64;
        shared.told_done &= sent.is_empty();
        let asks = !sent.is_empty();
        shared.under_way.extend(sent);
        self.ask_for_bodies(replica, ledger, out);
        self.report(ledger, asks, out);
    }

    /// The peer has so many more frames of content of a ledger.
    pub(super) fn acknowledged(&mut self, ledger: LedgerId, frames: usize) {
        let Some(shared) = self.shared.get_mut(&ledger) else { return };
        let bytes: usize = shared.under_way.drain(..frames).sum();
        self.under_way -= frames as u64;
        self.bytes_under_way -= bytes;
        let is_over = self.under_way == 0 && self.waiting.is_empty();
        self.window = if is_over { FIRST_WINDOW } else { (self.window + bytes).min(LAST_WINDOW) };
    }

    /// Another session has brought these entries. The peer may be about to give them as well, and is told how far their logs are here; not while it takes in nothing, since nothing bounds what it
    /// is told, and not of logs that are forked, which it has to see.
    pub(super) fn tell_brought(&self, replica: &Replica, ledger: LedgerId, entries: &[EntryHash], now: i64, out: &mut Vec<Effect>) {
        let has_room = self.under_way < WINDOW && self.bytes_under_way < self.window;
        let Some(shared) = self.shared.get(&ledger).filter(|shared| shared.phase == Phase::Live && has_room && !entries.is_empty()) else { return };
        let Some(view) = self.view(replica, ledger, now) else { return };
        let logs: BTreeSet<_> = entries.iter().filter_map(|hash| view.ledger().get(hash)).map(|entry| (entry.header.lane, entry.header.author)).collect();
        let heads = view.heads_of(&logs);
        if !heads.is_empty() {
            in_frames(heads, |lanes, last| _ = send(out, &Frame::Held { ledger, opening: shared.opening, lanes, last }));
        }
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

    /// Says what has come and whether there is more, unless that was said before and the peer is not asked for the same.
    fn report(&mut self, ledger: LedgerId, asks: bool, out: &mut Vec<Effect>) {
        let Some(shared) = self.shared.get_mut(&ledger).filter(|shared| shared.phase == Phase::Live) else { return };
        let answered = if shared.wanted.is_empty() { shared.heard_wants } else { shared.told_answered };
        if asks || shared.got != shared.told_got || answered != shared.told_answered || (shared.exhausted && !shared.told_done) {
            (shared.told_got, shared.told_answered, shared.told_done) = (shared.got, answered, shared.exhausted);
            send(out, &Frame::Done { ledger, opening: shared.opening, got: shared.got, answered, done: shared.exhausted });
        }
        self.weigh(ledger);
    }

    /// Goes on with what waited for room in the window.
    pub(super) fn push_waiting(&mut self, replica: &Replica, now: i64, out: &mut Vec<Effect>) {
        while self.under_way < WINDOW
            && self.bytes_under_way < self.window
            && let Some(ledger) = self.waiting.pop_first()
        {
            self.push(replica, ledger, now, out);
        }
    }
}

/// Charters, oldest first, in frames of about [`CHUNK`]. How long these are.
pub(super) fn charters(ledger: LedgerId, charters: impl Iterator<Item = Signed<Charter>>, out: &mut Vec<Effect>) -> Vec<usize> {
    let mut frames = Vec::new();
    let mut length = 0;
    let mut batch = Vec::new();
    for charter in charters {
        let next = charter.as_bytes().len() + OVERHEAD;
        if length + next > CHUNK && !batch.is_empty() {
            frames.push(send(out, &Frame::Charters { ledger, charters: std::mem::take(&mut batch) }));
            length = 0;
        }
        length += next;
        batch.push(charter);
    }
    if !batch.is_empty() {
        frames.push(send(out, &Frame::Charters { ledger, charters: batch }));
    }
    frames
}

/// Content on its way out.
struct Giving {
    ledger: LedgerId,
    /// Where a list of entries ends, in bytes.
    most: usize,
    /// Said after a list of entries that others follow, so that the peer acknowledges it.
    how_things_stand: Frame,
    /// What is gathered into the next, and how long that is.
    entries: Vec<RawEntry>,
    length: usize,
    /// Lengths of the frames that went out.
    sent: Vec<usize>,
    /// How many may, and how many bytes.
    frames: usize,
    bytes: usize,
}

impl Giving {
    fn has_room(&self) -> bool {
        self.sent.len() < self.frames && self.sent.iter().sum::<usize>() + self.length < self.bytes
    }

    fn add(&mut self, entry: RawEntry, out: &mut Vec<Effect>) {
        let length = entry.header.as_bytes().len() + entry.body.as_ref().map_or(0, |body| body.len()) + OVERHEAD;
        if self.length + length > self.most && !self.entries.is_empty() {
            self.flush(out);
            send(out, &self.how_things_stand);
        }
        if length <= CHUNK {
            self.length += length;
            self.entries.push(entry);
            return;
        }
        let bytes = to_canonical(&entry);
        let mut parts = bytes.chunks(CHUNK).peekable();
        while let Some(part) = parts.next() {
            self.sent.push(send(out, &Frame::Part { ledger: self.ledger, bytes: part.to_vec().into(), last: parts.peek().is_none() }));
        }
    }

    fn flush(&mut self, out: &mut Vec<Effect>) {
        if !self.entries.is_empty() {
            self.length = 0;
            self.sent.push(send(out, &Frame::Entries { ledger: self.ledger, entries: std::mem::take(&mut self.entries) }));
        }
    }
}
