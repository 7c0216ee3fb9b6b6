//! Sessions as the core sees them: events in, effects carried out in their order. What is to be on disk is there before anything that rests on it leaves.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use chartmesh_exchange::{Closing, Effect, Event, Frame, Options, Session, Side};
use chartmesh_identity::{BlobHash, Card, EndpointKey, EntryHash, LedgerId, PartyKey, Signed, Verified};
use chartmesh_ledger::{Claim, Peer, may_have_blob, was_listed};
use chartmesh_sealing::MAX_SEALED;
use chartmesh_vault::Table;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    api::ApiError,
    core::Core,
    net::{self, Route},
    peers::Met,
    time,
};

/// What a node whose disk has failed says to its peers.
const STOPPED: &str = "this node has stopped";

/// What it says to those whom it calls anew, from another address.
const MOVED: &str = "this node has moved";

/// How long a guest is called.
const GUEST_STAYS: Duration = Duration::from_secs(120);

/// What leaves through a link.
pub(crate) enum Out {
    /// A frame.
    Frame(Vec<u8>),
    /// A frame that has gone out, some more times beside the others.
    Beside(Vec<u8>),
    /// The end, and why.
    Close(String),
}

/// The way to a link's writer. The link ends when it is dropped.
pub(crate) struct Outbox {
    queue: mpsc::Sender<Out>,
    cut: CancellationToken,
    over: CancellationToken,
}

/// The writer's end of it.
pub(crate) struct Outgoing {
    pub(crate) queue: mpsc::Receiver<Out>,
    /// The link is to end at once, whatever waits in the queue: nobody is there, or nobody reads.
    pub(crate) cut: CancellationToken,
    /// No more will come.
    pub(crate) over: CancellationToken,
}

impl Outbox {
    /// For so many frames.
    pub(crate) fn new(room: usize) -> (Self, Outgoing) {
        let (sender, queue) = mpsc::channel(room);
        let (cut, over) = (CancellationToken::new(), CancellationToken::new());
        (Self { queue: sender, cut: cut.clone(), over: over.clone() }, Outgoing { queue, cut, over })
    }

    fn close(&self, reason: &str) {
        if self.queue.try_send(Out::Close(reason.to_owned())).is_err() {
            self.cut.cancel();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// A session and the link it speaks through.
pub(crate) struct Slot {
    side: Side,
    session: Session,
    outbox: Outbox,
    pub(crate) settled: bool,
    told_pending: Option<u64>,
    /// Documents that the peer could not give in this session; asked for again now and then.
    not_given: BTreeSet<BlobHash>,
    /// The peer refused documents before it had heard all: it is asked again once it has.
    asked_early: bool,
    /// Signs a claim when challenged: recovery.
    claim: Option<(chartmesh_identity::SigningSecret, Signed<Card>)>,
    invited: Invited,
    /// An invitation by somebody who is no contact yet.
    unheeded: Option<Vec<u8>>,
}

/// What came of inviting a peer in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invited {
    /// It was not.
    No,
    /// It was sent an invitation.
    Sent,
    /// The invitation is longer than a session carries.
    TooLong,
}

/// Signals between the core and the tasks around it.
#[derive(Default)]
pub(crate) struct Signals {
    /// There may be more documents to be fetched.
    pub(crate) fetch: Notify,
    /// Somebody may have documents who had not been asked, or had not had them.
    pub(crate) sources: Notify,
    /// A device may owe something.
    pub(crate) duties: Notify,
    /// Peers may have to be called.
    pub(crate) dial: Notify,
    /// Something about sessions has changed.
    pub(crate) sessions: Notify,
    /// This node has another address, or a network again.
    pub(crate) moved: Notify,
}

/// All sessions of a node.
#[derive(Default)]
pub(crate) struct Sessions {
    slots: BTreeMap<u64, Slot>,
    next: u64,
    changed: BTreeSet<LedgerId>,
    waiting: VecDeque<(u64, Event)>,
    busy: bool,
    pub(crate) signals: Arc<Signals>,
    /// Entries received since the count was last taken.
    pub(crate) received: u64,
    /// Addresses that peers have left and this node can call them elsewhere; for the caller to look into.
    pub(crate) left: BTreeMap<EndpointKey, BTreeSet<String>>,
    /// Who had a session when this node moved, and is no contact that could be called: where its connection came from, and when that was.
    guests: BTreeMap<EndpointKey, (Route, Instant)>,
    /// Why sessions with contacts ended before all was exchanged, by endpoint; the latest. None: all was.
    pub(crate) ended: BTreeMap<EndpointKey, Option<String>>,
}

impl Sessions {
    /// Notes that a ledger changed here: all sessions are told at the next [`Core::pump`].
    pub(crate) fn changed(&mut self, ledger: LedgerId) {
        self.changed.insert(ledger);
    }

    /// All sessions.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.slots.keys().copied().collect()
    }

    /// Sessions that have seen their peer's card.
    pub(crate) fn met(&self) -> impl Iterator<Item = (u64, &Verified<Card>, &Slot)> {
        self.slots.iter().filter_map(|(id, slot)| Some((*id, slot.session.peer()?, slot)))
    }

    /// Notes what came of asking some peers for documents. A session that has begun meanwhile starts afresh: its peer may have what it had not before. Nothing is noted of a peer that could not be
    /// asked, or only in part: it is to wait, or it would take this side for done. Nor of what a peer refused before it had heard all, which may say that this node may have it.
    pub(crate) fn note_fetched(&mut self, sources: &[Source], got: &[BlobHash], refused: &BTreeSet<(EndpointKey, BlobHash)>) {
        for blob in got {
            for slot in self.slots.values_mut() {
                slot.not_given.remove(blob);
            }
        }
        for (endpoint, blob) in refused {
            for source in sources.iter().filter(|source| source.peer.endpoint == *endpoint) {
                match self.slots.get_mut(&source.session) {
                    Some(slot) if source.even => _ = slot.not_given.insert(*blob),
                    Some(slot) => slot.asked_early = true,
                    None => {}
                }
            }
        }
    }

    /// A session.
    pub(crate) fn slot(&self, id: u64) -> Option<&Slot> {
        self.slots.get(&id)
    }

    /// Drops every session without a further word than that this node has stopped: a link that ends well tells the peer that everything has come.
    pub(crate) fn drop_all(&mut self) {
        for slot in self.slots.values() {
            slot.outbox.close(STOPPED);
        }
        self.slots.clear();
        self.waiting.clear();
        self.signals.sessions.notify_waiters();
    }

    /// Sessions that are lost if this endpoint calls: nobody calls while it has one. One that was begun here counts once the peer has shown its card: before, both may have
    /// called at the same time.
    pub(crate) fn lost(&self, remote: &EndpointKey) -> impl Iterator<Item = u64> {
        let theirs = self.slots.iter().filter(move |(_, slot)| slot.remote() == *remote);
        theirs.filter(|(_, slot)| slot.side == Side::Responder || slot.peer().is_some()).map(|(id, _)| *id)
    }

    /// A session, or the one that has taken its place.
    pub(crate) fn current(&self, id: u64, remote: &EndpointKey) -> Option<&Slot> {
        self.slots.get(&id).or_else(|| self.slots.values().find(|slot| slot.remote() == *remote))
    }

    /// Whether a session has ended before all was exchanged, and none has taken its place.
    pub(crate) fn is_lost(&self, id: u64, remote: &EndpointKey) -> bool {
        self.current(id, remote).is_none() && self.ended.get(remote) != Some(&None)
    }

    /// Who has not come back since this node moved, and may still be where it was.
    pub(crate) fn guests(&mut self) -> Vec<Route> {
        self.guests.retain(|_, (_, since)| since.elapsed() < GUEST_STAYS);
        self.guests.values().map(|(route, _)| route.clone()).collect()
    }

    /// Whether a session with this endpoint is up.
    pub(crate) fn is_up(&self, endpoint: &EndpointKey) -> bool {
        self.slots.values().any(|slot| slot.session.remote() == *endpoint)
    }
}

impl Slot {
    /// The peer's endpoint.
    pub(crate) fn remote(&self) -> EndpointKey {
        self.session.remote()
    }

    /// Whether the peer has named a ledger: it holds it.
    pub(crate) fn names(&self, id: &LedgerId) -> bool {
        self.session.named(id)
    }

    /// The peer's card, once it has shown it.
    pub(crate) fn peer(&self) -> Option<&Verified<Card>> {
        self.session.peer()
    }

    /// Documents that are still to be fetched from the peer.
    pub(crate) fn pending(&self) -> u64 {
        self.told_pending.unwrap_or_default()
    }
}

/// A document that is to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Missing {
    pub(crate) ledger: LedgerId,
    pub(crate) publish: EntryHash,
    pub(crate) blob: BlobHash,
    pub(crate) length: u64,
    /// The party that published it; none for a device.
    pub(crate) author: Option<PartyKey>,
}

/// Who may have a document.
pub(crate) struct Source {
    pub(crate) session: u64,
    pub(crate) peer: net::Source,
    /// Whether the two had exchanged all entries: see [`Session::is_even`].
    pub(crate) even: bool,
}

impl Core {
    /// Begins a session over a new link. `claim` is for recovery.
    pub(crate) fn attach(
        &mut self,
        side: Side,
        remote: EndpointKey,
        nonce: [u8; 32],
        outbox: Outbox,
        claim: Option<(chartmesh_identity::SigningSecret, Signed<Card>)>,
    ) -> u64 {
        let options = Options { claim: claim.is_some() };
        if self.is_broken() {
            outbox.close(STOPPED);
        }
        if side == Side::Responder {
            let lost: Vec<u64> = self.sessions.lost(&remote).collect();
            lost.into_iter().for_each(|id| self.give_up(id));
        }
        let mut session = Session::new(side, remote, nonce, options);
        let effects = session.start(&self.replica, time::now());
        let id = self.sessions.next;
        self.sessions.next += 1;
        self.sessions.slots.insert(
            id,
            Slot {
                side,
                session,
                outbox,
                settled: false,
                told_pending: None,
                not_given: BTreeSet::new(),
                asked_early: false,
                claim,
                invited: Invited::No,
                unheeded: None,
            },
        );
        self.sessions.ended.remove(&remote);
        self.carry_out(id, effects);
        id
    }

    /// Tells a session what happened and carries out what it asks for. What comes up meanwhile waits its turn: a session's effects are carried out whole and in order.
    pub(crate) fn event(&mut self, id: u64, event: Event) {
        if self.is_broken() {
            return;
        }
        self.sessions.waiting.push_back((id, event));
        if std::mem::replace(&mut self.sessions.busy, true) {
            return;
        }
        while let Some((id, event)) = self.sessions.waiting.pop_front() {
            let Some(slot) = self.sessions.slots.get_mut(&id) else { continue };
            let effects = slot.session.handle(&mut self.replica, event, time::now());
            slot.settled = slot.session.settled();
            self.carry_out(id, effects);
        }
        self.sessions.busy = false;
    }

    /// Ends a session whose link is gone; no reason: the peer has ended it.
    pub(crate) fn detach(&mut self, id: u64, reason: &str) {
        self.event(id, Event::Closed);
        if let Some(slot) = self.sessions.slots.remove(&id) {
            self.note_end(&slot, reason);
        }
        self.sessions.signals.sessions.notify_waiters();
        self.sessions.signals.dial.notify_one();
    }

    /// Notes why a session has ended; no reason: a side has left. Of strangers who called nothing is noted: there is no end to them.
    fn note_end(&mut self, slot: &Slot, reason: &str) {
        // Whoever serves a ledger is met with its invitation.
        let known = slot.peer().is_some_and(|card| self.peers.get(&card.profile.party).is_some());
        // Of several calls one is used, and may have ended well before another ends that nobody has answered.
        if slot.peer().is_none() && self.sessions.ended.get(&slot.remote()) == Some(&None) {
            return;
        }
        if slot.side == Side::Initiator || known {
            let why = if reason.is_empty() { "its session ended before all was exchanged" } else { reason };
            self.sessions.ended.insert(slot.remote(), (!slot.settled).then(|| why.to_owned()));
        }
    }

    /// Tells all sessions what has changed here, until nothing more comes of it.
    pub(crate) fn pump(&mut self) {
        while let Some(ledger) = self.sessions.changed.pop_first() {
            self.invite_all();
            let ids = self.sessions.ids();
            for id in ids {
                self.event(id, Event::Changed(ledger));
            }
            self.tell_pending();
            let signals = &self.sessions.signals;
            signals.fetch.notify_one();
            signals.duties.notify_one();
            signals.dial.notify_one();
        }
    }

    fn carry_out(&mut self, id: u64, effects: Vec<Effect>) {
        for effect in effects {
            if let Err(error) = self.carry_out_one(id, effect) {
                // Why is for this node's user alone: it may name a file or a person.
                tracing::warn!(kind = ?error.kind, "a session was ended");
                // What it asked for was not done.
                if let Some(slot) = self.sessions.slots.get_mut(&id) {
                    slot.settled = false;
                }
                self.end(id, "this node ended the session", &error.what);
                return;
            }
        }
        let Some(slot) = self.sessions.slots.get_mut(&id) else { return };
        if slot.asked_early && slot.session.is_even() {
            slot.asked_early = false;
            self.sessions.signals.fetch.notify_one();
        }
        let (settled, invited) = (slot.settled, slot.invited);
        let own = self.keys.patient.as_ref().map(|patient| patient.ledger).filter(|ledger| slot.session.named(ledger));
        if let Some((ledger, party)) = own.zip(slot.peer().map(|card| card.profile.party)) {
            let arrived = if invited != Invited::No { self.arrive(ledger, party) } else { Ok(()) };
            let heard = if settled { self.hear(ledger, &party) } else { Ok(()) };
            if let Err(error) = arrived.and(heard) {
                tracing::warn!(%error, "what a party has heard of could not be noted");
            }
        }
        if settled {
            self.sessions.signals.sessions.notify_waiters();
        }
    }

    fn carry_out_one(&mut self, id: u64, effect: Effect) -> Result<(), ApiError> {
        match effect {
            Effect::Send(frame) => {
                let full = self.sessions.slots.get(&id).is_some_and(|slot| slot.outbox.queue.try_send(Out::Frame(frame)).is_err());
                if full {
                    self.hang_up(id, "the peer does not read what it asks for");
                }
            }
            Effect::Peer(card) => {
                if let Some(slot) = self.sessions.slots.get(&id) {
                    self.sessions.guests.remove(&slot.remote());
                }
                self.meet(id, card)?;
                self.sessions.signals.sessions.notify_waiters();
            }
            Effect::Moved(card) => {
                if let (Some(known), Some(slot)) = (self.peers.get(&card.profile.party), self.sessions.slots.get(&id)) {
                    let left = self.sessions.left.entry(slot.remote()).or_default();
                    left.extend(known.card.contact.addresses.iter().cloned());
                    left.retain(|address| !card.contact.addresses.contains(address));
                    self.peers.meet(card, false, None, &self.vault)?;
                }
                self.sessions.signals.dial.notify_one();
                self.sessions.signals.fetch.notify_one();
            }
            Effect::Persist { ledger, charters, entries, bodies } => {
                let all: Vec<EntryHash> = entries.iter().chain(&bodies).copied().collect();
                self.persist(ledger, &charters, &all)?;
                self.sessions.received += all.len() as u64;
                // Before the acknowledgement that follows: or the peer would take this side for done, and leave with documents that are still to be fetched.
                let counts = self.pending_counts();
                self.tell_pending_now(id, &counts)?;
                if let Err(error) = self.confirm_revocations() {
                    tracing::warn!(%error, "a revocation could not be confirmed");
                    self.check()?;
                }
                let others: Vec<u64> = self.sessions.slots.keys().copied().filter(|other| *other != id).collect();
                for other in others {
                    self.event(other, Event::Brought { ledger, entries: entries.clone() });
                }
                self.tell_counts(&counts);
                self.sessions.signals.fetch.notify_one();
                self.sessions.signals.duties.notify_one();
            }
            Effect::Invitation { sealed, from } => {
                let invitation = self.open_invitation(&sealed)?;
                // A patient takes part in what a contact invites to. Anybody else could begin a ledger, and be given room as a device of it.
                let is_contact = || self.peers.get(&from).is_some_and(|peer| peer.added);
                if self.keys.patient.is_none() || self.replica.ledgers.contains_key(&invitation.ledger) || is_contact() {
                    self.accept_invitation(&invitation, Some(from))?;
                } else if let Some(slot) = self.sessions.slots.get_mut(&id) {
                    tracing::info!(from = from.short(), "an invitation waits for its sender to become a contact");
                    slot.unheeded = Some(sealed);
                }
            }
            Effect::InvitationTooLong { .. } => {
                tracing::warn!("an invitation is too long to be sent");
                if let Some(slot) = self.sessions.slots.get_mut(&id) {
                    slot.invited = Invited::TooLong;
                }
            }
            Effect::CheckpointHeard { ledger, lane } => {
                if let Some(checkpoint) = self.replica.checkpoints.get(&(ledger, lane)).cloned() {
                    let key = [&ledger.as_bytes()[..], lane.as_bytes()].concat();
                    self.vault.put(Table::Checkpoints, &key, checkpoint.as_bytes()).map_err(ApiError::failed)?;
                    let others: Vec<u64> = self.sessions.slots.keys().copied().filter(|other| *other != id).collect();
                    for other in others {
                        self.event(other, Event::Checkpoint(checkpoint.clone()));
                    }
                }
            }
            Effect::Challenge { responder, nonce } => {
                let claim = self.sessions.slots.get(&id).and_then(|slot| slot.claim.as_ref()).map(|(root, card)| {
                    let claim = Claim { root: root.root(), card: card.clone(), responder, nonce };
                    Signed::sign(claim, root).signed().clone()
                });
                if let Some(claim) = claim {
                    self.event(id, Event::Claim(claim));
                }
            }
            Effect::Claimed { ledger, .. } => tracing::info!(ledger = ledger.short(), "a holder of the recovery words is served"),
            Effect::Refused { ledger, entry, reason } => {
                tracing::warn!(ledger = ledger.short(), entry = entry.map(|entry| entry.short()), %reason, "something from a peer was not accepted");
            }
            Effect::Restored { ledger, .. } => {
                self.restored(ledger)?;
            }
            Effect::Settled => {
                if let Some(slot) = self.sessions.slots.get_mut(&id) {
                    slot.settled = true;
                }
            }
            Effect::Close { reason } => {
                let quiet = matches!(reason, Closing::Left | Closing::PeerLeft);
                self.hang_up(id, if quiet { "" } else { "the exchange was refused" });
                if !quiet {
                    tracing::warn!(%reason, "a session was closed");
                }
            }
        }
        Ok(())
    }

    /// A home put back from a backup: its key must not sign again in that ledger.
    fn restored(&mut self, ledger: LedgerId) -> Result<(), ApiError> {
        let held = self.ledger(&ledger)?;
        let author = self.keys.author();
        let own: Vec<_> = held.lanes().flat_map(|lane| held.entries_after(lane, &author, 0)).collect();
        for entry in own {
            if self.vault.check_own(entry).is_err() {
                tracing::error!(ledger = ledger.short(), "this home was restored from an old copy; its signing key is retired in this ledger");
                break;
            }
        }
        Ok(())
    }

    /// Ends a session from this side.
    pub(crate) fn hang_up(&mut self, id: u64, reason: &str) {
        self.end(id, reason, reason);
    }

    /// Drops a session without a word: nobody has answered.
    pub(crate) fn give_up(&mut self, id: u64) {
        if let Some(slot) = self.sessions.slots.remove(&id) {
            slot.outbox.cut.cancel();
        }
        self.sessions.signals.sessions.notify_waiters();
    }

    /// Ends a session: what the peer is told, and what this node's user is.
    fn end(&mut self, id: u64, said: &str, why: &str) {
        if let Some(slot) = self.sessions.slots.remove(&id) {
            slot.outbox.close(said);
            self.sessions.guests.remove(&slot.remote());
            self.note_end(&slot, why);
        }
        self.sessions.signals.sessions.notify_waiters();
    }

    /// This node has moved: ends the sessions with those who can be called, to call them anew. What goes on over the old connections may not arrive, since answers go to where this node was. The others
    /// have to hear of it there, and call; those whose session ends before are called where they are seen.
    pub(crate) fn renew_all(&mut self, callable: &BTreeSet<EndpointKey>, seen: impl Fn(&EndpointKey) -> Option<Route>) {
        let slots: Vec<(u64, EndpointKey)> = self.sessions.slots.iter().map(|(id, slot)| (*id, slot.remote())).collect();
        for (id, remote) in slots {
            if callable.contains(&remote) {
                self.hang_up(id, MOVED);
            } else if let Some(route) = seen(&remote) {
                self.sessions.guests.insert(remote, (route, Instant::now()));
            }
        }
        self.sessions.signals.dial.notify_one();
    }

    /// Shows all peers where this node is now.
    pub(crate) fn tell_moved(&mut self) {
        for id in self.sessions.ids() {
            self.event(id, Event::Moved);
        }
        // What is lost of the first is not sent again as long as the answers go to where this node was.
        let card = Frame::Card { card: self.replica.me.card.signed().clone() }.encode();
        for slot in self.sessions.slots.values().filter(|slot| slot.peer().is_some()) {
            // Where the queue is full, the peer does not read.
            let _ = slot.outbox.queue.try_send(Out::Beside(card.clone()));
        }
    }

    /// A frame has come beside the others: a card, from a peer that has shown one.
    pub(crate) fn beside(&mut self, id: u64, frame: Vec<u8>) {
        if self.sessions.slot(id).is_some_and(|slot| slot.peer().is_some()) && matches!(Frame::decode(&frame), Ok(Frame::Card { .. })) {
            self.event(id, Event::Frame(frame));
        }
    }

    /// Says goodbye in all sessions.
    pub(crate) fn leave_all(&mut self) {
        for id in self.sessions.ids() {
            self.event(id, Event::Leave);
        }
    }

    /// Compares the peer's card with what is pinned, and brings invitations that it has not followed yet.
    fn meet(&mut self, id: u64, card: Verified<Card>) -> Result<(), ApiError> {
        let party = card.profile.party;
        if self.peers.get(&party).is_some() {
            let name = card.profile.name.clone();
            if self.peers.meet(card, false, None, &self.vault)? == Met::Changed {
                return Err(ApiError::refused(format_args!("the card of {name} has changed"))
                    .advise("ask them whether they changed it; then `chartmesh peer remove` and `peer add` again"));
            }
        }
        // Ahead of all that follows: what an earlier session left to be fetched is fetched now, before the peer takes this side for done.
        let counts = self.pending_counts();
        self.tell_pending_now(id, &counts)?;
        self.invite(id);
        self.sessions.signals.sessions.notify_waiters();
        // Strangers, too, come here.
        if counts.contains_key(&id) {
            self.sessions.signals.sources.notify_one();
        }
        Ok(())
    }

    fn invite_all(&mut self) {
        for id in self.sessions.ids() {
            self.invite(id);
        }
    }

    /// Sends the peer of a session the invitation that it is owed.
    fn invite(&mut self, id: u64) {
        let Some(patient) = &self.keys.patient else { return };
        let ledger = patient.ledger;
        let Some(party) = self.sessions.slot(id).filter(|slot| slot.invited == Invited::No).and_then(Slot::peer).map(|card| card.profile.party) else { return };
        if self.arrived.contains(&(ledger, party)) {
            return;
        }
        match self.invitation(&ledger, &party) {
            Ok(Some(sealed)) => {
                let Some(slot) = self.sessions.slots.get_mut(&id) else { return };
                slot.invited = Invited::Sent;
                // At once, ahead of the ledger's name, which says nothing to a peer that has not opened the invitation.
                let effects = slot.session.handle(&mut self.replica, Event::Invite { sealed }, time::now());
                slot.settled = slot.session.settled();
                self.carry_out(id, effects);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "no invitation could be made"),
        }
    }

    /// Whether the peer of a session was sent an invitation and has not opened it yet: there is more to come once it has.
    pub(crate) fn awaits_answer(&self, slot: &Slot) -> bool {
        slot.invited == Invited::Sent && !self.has_arrived(slot)
    }

    /// Whether the peer of a session is owed an invitation that is too long to be sent.
    pub(crate) fn cannot_invite(&self, slot: &Slot) -> bool {
        slot.invited == Invited::TooLong && !self.has_arrived(slot)
    }

    fn has_arrived(&self, slot: &Slot) -> bool {
        let arrived = |party| self.keys.patient.as_ref().is_none_or(|patient| self.arrived.contains(&(patient.ledger, party)));
        slot.peer().is_none_or(|card| arrived(card.profile.party))
    }

    /// Takes part in what somebody has invited to before becoming a contact.
    pub(crate) fn heed(&mut self, party: &PartyKey) {
        let slots = self.sessions.slots.iter_mut().filter(|(_, slot)| slot.peer().is_some_and(|card| card.profile.party == *party));
        let waiting: Vec<(u64, Vec<u8>)> = slots.filter_map(|(id, slot)| Some((*id, slot.unheeded.take()?))).collect();
        for (id, sealed) in waiting {
            self.carry_out(id, vec![Effect::Invitation { sealed, from: *party }]);
        }
    }

    /// What a peer is to a ledger, at its session's word where it claimed it with a root.
    fn standing(&self, slot: &Slot, ledger: &LedgerId) -> Peer {
        let Some(card) = slot.peer() else { return Peer::Stranger };
        if slot.session.claimed(&self.replica, ledger) {
            return Peer::Device(card.profile.party.into());
        }
        self.replica.standing(*ledger, &card.profile.party, &slot.remote())
    }

    /// Whether a peer may have a blob now: under some Publish that the serving rule names and that was delivered in full.
    pub(crate) fn serves(&self, endpoint: &EndpointKey, blob: &BlobHash) -> bool {
        let now = time::now();
        self.sessions.slots.values().filter(|slot| slot.remote() == *endpoint).any(|slot| {
            self.replica.ledgers.iter().any(|(id, ledger)| {
                if ledger.publishes(blob).next().is_none() {
                    return false;
                }
                let peer = self.standing(slot, id);
                let heard = self.heard(id, &peer, now);
                may_have_blob(ledger, &peer, blob, now, heard).iter().any(|(_, publish)| self.delivered.contains(&(*publish, *blob)))
            })
        })
    }

    /// When the patient was last heard from about a peer's circle.
    fn heard(&self, id: &LedgerId, peer: &Peer, now: i64) -> Option<i64> {
        if self.is_owner(id) {
            return Some(now);
        }
        let Peer::Party(party) = peer else { return None };
        self.replica.heard(*id, party, now)
    }

    /// Documents that this node should have and has not: all for a device or a custodian, those it can open for a party. What is said to be longer than a document can be is none: nobody could open it,
    /// and whoever may write would fill the disks of the others. Nor is one that is here with another length.
    pub(crate) fn missing(&self) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (id, ledger) in &self.replica.ledgers {
            let blind = self.is_owner(id) || ledger.charter().custodians.iter().any(|custodian| custodian.party == self.keys.party());
            if blind {
                for lane in ledger.lanes() {
                    for (publish, state) in &ledger.lane(lane).publishes {
                        let kept = state.documents.iter().filter(|blob| state.withdrawn.get(&blob.hash) != Some(&true));
                        missing.extend(kept.map(|blob| Missing { ledger: *id, publish: *publish, blob: blob.hash, length: blob.length, author: state.party }));
                    }
                }
            } else if let Some(view) = self.views.get(id) {
                missing.extend(view.documents(ledger).into_iter().filter(|document| document.manifest.publisher != self.keys.author()).map(|document| {
                    Missing { ledger: *id, publish: document.publish, blob: document.blob(), length: document.manifest.length, author: document.party }
                }));
            }
        }
        let mut here = Vec::new();
        missing.retain(|one| {
            let is_here = self.delivered.contains(&(one.publish, one.blob));
            here.extend(is_here.then_some((one.blob, one.length)));
            !is_here && one.length <= MAX_SEALED
        });
        let mut lengths: BTreeMap<BlobHash, BTreeSet<u64>> = missing.iter().map(|one| (one.blob, BTreeSet::new())).collect();
        for (blob, length) in here {
            lengths.entry(blob).and_modify(|lengths| _ = lengths.insert(length));
        }
        // One Publish may say two of what it has given: then it is not known here which is true.
        missing.retain(|one| lengths.get(&one.blob).is_none_or(|lengths| lengths.len() != 1 || lengths.contains(&one.length)));
        missing
    }

    /// Where a missing document may be fetched: devices and custodians of its ledger, and for those also its author.
    pub(crate) fn sources(&self, one: &Missing) -> Vec<Source> {
        let met = self.sessions.met().filter(|(_, card, slot)| match self.standing(slot, &one.ledger) {
            Peer::Device(_) | Peer::Custodian(_) => true,
            // Who was struck off has what it had, and gives it to a device.
            Peer::Party(_) | Peer::Stranger => {
                let had = |ledger| self.is_owner(&one.ledger) && was_listed(ledger, &card.profile.party, &slot.remote());
                one.author == Some(card.profile.party) || self.replica.ledgers.get(&one.ledger).is_some_and(had)
            }
        });
        met.map(|(session, _, slot)| Source {
            session,
            peer: net::Source { endpoint: slot.remote(), gone: slot.outbox.over.clone() },
            even: slot.session.is_even(),
        })
        .collect()
    }

    /// Tells one session at once, ahead of what it has yet to send.
    fn tell_pending_now(&mut self, id: u64, counts: &BTreeMap<u64, u64>) -> Result<(), ApiError> {
        let Some(slot) = self.sessions.slots.get_mut(&id) else { return Ok(()) };
        let blobs = counts.get(&id).copied().unwrap_or_default();
        slot.told_pending = Some(blobs);
        let effects = slot.session.handle(&mut self.replica, Event::Pending { blobs }, time::now());
        slot.settled = slot.session.settled();
        effects.into_iter().try_for_each(|effect| self.carry_out_one(id, effect))
    }

    /// How many documents are still to be fetched from the peer of each session.
    fn pending_counts(&self) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        for one in self.missing() {
            for source in self.sources(&one) {
                if self.sessions.slot(source.session).is_some_and(|slot| !slot.not_given.contains(&one.blob)) {
                    *counts.entry(source.session).or_default() += 1;
                }
            }
        }
        counts
    }

    /// Tells each session how many documents are still to be fetched from its peer.
    pub(crate) fn tell_pending(&mut self) {
        let counts = self.pending_counts();
        self.tell_counts(&counts);
    }

    fn tell_counts(&mut self, counts: &BTreeMap<u64, u64>) {
        for id in self.sessions.ids() {
            let Some(slot) = self.sessions.slots.get_mut(&id) else { continue };
            let count = counts.get(&id).copied().unwrap_or_default();
            slot.told_pending = Some(count);
            self.event(id, Event::Pending { blobs: count });
        }
    }
}
