//! One side of one connection: the handshake, and what is done about each event.
//!
//! `ledgers` opens ledgers and compares what the two sides hold, `receive` takes content in, `push` gives it out. Everything that a peer can make grow is bounded here: frames
//! refused, ledgers and heads named, invitations, content under way.

mod ledgers;
mod push;
mod receive;

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{Card, EndpointKey, LedgerId, PartyKey, RootKey, Signed, Verified};
use chartmesh_ledger::{CertCache, Claim, Peer, was_listed};
use serde_bytes::ByteBuf;

use self::{ledgers::Shared, push::FIRST_WINDOW};
use crate::{
    event::{Closing, Effect, Event},
    frame::{Frame, MAX_INVITATION},
    replica::Replica,
    view::View,
};

/// The version of the protocol that this program speaks.
pub const VERSION: u64 = 4;
/// Frames of content under way at which no more are begun until the peer acknowledges some. What is begun is finished: a chunk, or the parts of one entry.
pub const WINDOW: u64 = 16;
/// Refusals after which a peer is hung up on.
const MAX_STRIKES: u32 = 32;
/// Invitations that one session takes.
const MAX_INVITATIONS: u32 = 16;
/// Charters for ledgers that are not open, after which a peer is hung up on.
const MAX_LOOSE_CHARTERS: u32 = 64;
/// Answers that a ledger is not here or not for the peer, after which it is hung up on.
const MAX_UNKNOWNS: u32 = 1024;

/// Which side of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Made the connection; speaks first.
    Initiator,
    /// Took it.
    Responder,
}

/// What a session is to do besides replicating.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Ask for ledgers back by a root's claim (recovery): [`Effect::Challenge`] follows the peer's hello. For the initiator.
    pub claim: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing said yet, or our hello.
    Hello,
    /// The peer is known; we still wait for the claim that we are to make.
    Claiming,
    /// The peer is known.
    Open,
    Closed,
}

/// One side of one session.
pub struct Session {
    side: Side,
    remote: EndpointKey,
    nonce: [u8; 32],
    options: Options,
    stage: Stage,
    peer: Option<Verified<Card>>,
    /// Counter of the card that the peer was last shown.
    shown: u64,
    shared: BTreeMap<LedgerId, Shared>,
    /// Names the next `Open` of this side.
    next_opening: u64,
    /// Ledgers that a claim opened, on either side, and by which root. One counts only while the ledger lists the root: see [`Session::claimed`].
    claims: BTreeSet<(LedgerId, RootKey)>,
    /// The root of the claim that this side made.
    claiming: Option<RootKey>,
    named: bool,
    peer_named: bool,
    /// Blobs still to be fetched, as told to the node, as last announced, and as the peer announced.
    pending: u64,
    announced: u64,
    peer_pending: u64,
    invitations: Vec<Vec<u8>>,
    /// Ledgers that something may still happen to before the session is settled.
    unsettled: BTreeSet<LedgerId>,
    /// Ledgers whose push waits for room in the window.
    waiting: BTreeSet<LedgerId>,
    /// Frames of content sent and not acknowledged, and their bytes; how many bytes may be.
    under_way: u64,
    bytes_under_way: usize,
    window: usize,
    part: Option<(LedgerId, Vec<u8>)>,
    certs: CertCache,
    strikes: u32,
    heard_invitations: u32,
    loose_charters: u32,
    /// `Unknown` said in answer.
    unknowns: u32,
    /// Ledgers held here that the peer has named.
    heard_of: BTreeSet<LedgerId>,
    settled: bool,
}

impl Session {
    /// One side of a connection to `remote`, an endpoint that the transport has authenticated. `nonce` is fresh and random.
    pub fn new(side: Side, remote: EndpointKey, nonce: [u8; 32], options: Options) -> Self {
        Self {
            side,
            remote,
            nonce,
            options,
            stage: Stage::Hello,
            peer: None,
            shown: 0,
            shared: BTreeMap::new(),
            next_opening: if side == Side::Initiator { 1 } else { 2 },
            claims: BTreeSet::new(),
            claiming: None,
            named: false,
            peer_named: false,
            pending: 0,
            announced: 0,
            peer_pending: 0,
            invitations: Vec::new(),
            unsettled: BTreeSet::new(),
            waiting: BTreeSet::new(),
            under_way: 0,
            bytes_under_way: 0,
            window: FIRST_WINDOW,
            part: None,
            certs: CertCache::new(),
            strikes: 0,
            heard_invitations: 0,
            loose_charters: 0,
            unknowns: 0,
            heard_of: BTreeSet::new(),
            settled: false,
        }
    }

    /// What to do first. `now` is in seconds since 1970.
    pub fn start(&mut self, replica: &Replica, _now: i64) -> Vec<Effect> {
        match self.side {
            Side::Initiator => vec![Effect::Send(self.hello(replica).encode())],
            Side::Responder => Vec::new(),
        }
    }

    /// What to do about an event. `now` is in seconds since 1970. After [`Effect::Close`] nothing more comes.
    pub fn handle(&mut self, replica: &mut Replica, event: Event, now: i64) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.stage == Stage::Closed {
            return out;
        }
        match self.event(replica, event, now, &mut out) {
            // Whatever gave room in the window.
            Ok(()) => self.push_waiting(replica, now, &mut out),
            Err(reason) => {
                self.stage = Stage::Closed;
                out.push(Effect::Close { reason });
            }
        }
        if self.stage != Stage::Closed {
            let settled = self.is_settled();
            if settled && !self.settled {
                out.push(Effect::Settled);
            }
            self.settled = settled;
        }
        out
    }

    /// The peer's card, once it has shown it.
    pub fn peer(&self) -> Option<&Verified<Card>> {
        self.peer.as_ref()
    }

    /// The peer's endpoint.
    pub fn remote(&self) -> EndpointKey {
        self.remote
    }

    /// Whether both sides have given, stored and fetched all they have for one another, or had when the session closed.
    pub fn settled(&self) -> bool {
        self.settled
    }

    /// Whether the session is over.
    pub fn closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Whether the peer is served this ledger because it proved to hold a root that the ledger still lists: asked anew each time, so that a claim ends with its root.
    pub fn claimed(&self, replica: &Replica, ledger: &LedgerId) -> bool {
        let Some(held) = replica.ledgers.get(ledger) else { return false };
        self.claims.iter().any(|(claimed, root)| claimed == ledger && held.is_root(root))
    }

    /// Whether the peer has named this ledger in this session, be it unasked or in answer, and so holds it. Only ledgers that are held here are noted.
    pub fn named(&self, ledger: &LedgerId) -> bool {
        self.heard_of.contains(ledger)
    }

    /// Whether both sides have given and stored all entries that they have for one another: what the peer now refuses is not for this side, as far as the two know.
    pub fn is_even(&self) -> bool {
        self.stage == Stage::Open && self.named && self.peer_named && self.unsettled.is_empty()
    }

    fn is_settled(&self) -> bool {
        let quiet = self.pending == 0 && self.announced == 0 && self.peer_pending == 0 && self.invitations.is_empty();
        quiet && self.is_even()
    }

    fn event(&mut self, replica: &mut Replica, event: Event, now: i64, out: &mut Vec<Effect>) -> Result<(), Closing> {
        match event {
            Event::Frame(bytes) => {
                let frame = Frame::decode(&bytes)?;
                self.frame(replica, frame, now, out)?;
            }
            Event::Changed(ledger) | Event::Opened(ledger) => self.refresh(replica, ledger, now, out),
            Event::Brought { ledger, entries } => {
                self.tell_brought(replica, ledger, &entries, now, out);
                self.refresh(replica, ledger, now, out);
            }
            Event::Invite { sealed } if sealed.len() > MAX_INVITATION => out.push(Effect::InvitationTooLong { length: sealed.len() }),
            Event::Invite { sealed } => {
                self.invitations.push(sealed);
                self.flush(replica, out);
            }
            Event::Pending { blobs } => {
                self.pending = blobs;
                self.flush(replica, out);
            }
            Event::Moved => self.flush(replica, out),
            Event::Checkpoint(checkpoint) => {
                let ledger = checkpoint.ledger;
                replica.hear(checkpoint, now);
                self.refresh(replica, ledger, now, out);
            }
            Event::Claim(claim) if self.stage == Stage::Claiming => {
                self.claiming = claim.clone().verify().ok().map(|claim| claim.root);
                self.stage = Stage::Open;
                send(out, &Frame::Claim { claim });
                self.name_all(replica, now, out);
            }
            Event::Claim(_) => {}
            Event::Leave => {
                send(out, &Frame::Bye);
                return Err(Closing::Left);
            }
            Event::Closed => self.stage = Stage::Closed,
        }
        Ok(())
    }

    fn frame(&mut self, replica: &mut Replica, frame: Frame, now: i64, out: &mut Vec<Effect>) -> Result<(), Closing> {
        if let Frame::Hello { versions, card, nonce } = frame {
            return self.take_hello(replica, &versions, &card, &nonce, now, out);
        }
        if frame == Frame::Bye {
            return Err(Closing::PeerLeft);
        }
        if self.peer.is_none() {
            return Err(Closing::Unexpected(frame.name()));
        }
        if let Some(ledger) = frame.names()
            && replica.ledgers.contains_key(&ledger)
        {
            self.heard_of.insert(ledger);
        }
        match frame {
            Frame::Hello { .. } | Frame::Bye => {}
            Frame::Card { card } => self.take_card(&card, out)?,
            Frame::Claim { claim } => self.take_claim(replica, claim, out)?,
            Frame::Named => {
                self.peer_named = true;
                if !self.named && self.stage == Stage::Open {
                    self.name_all(replica, now, out);
                }
            }
            Frame::Open { ledger, opening, digest, beyond } => self.take_open(replica, ledger, opening, &digest, &beyond, now, out)?,
            Frame::Unknown { ledger, opening } => self.take_unknown(replica, ledger, opening, now, out),
            Frame::Same { ledger, opening } => self.take_same(replica, ledger, opening, now, out),
            Frame::Heads { ledger, opening, charters, lanes, checkpoints, confirm, last } => {
                self.take_heads(replica, ledger, opening, charters, lanes, checkpoints, confirm, last, now, out)?;
            }
            Frame::Held { ledger, opening, lanes, last } => self.take_held(replica, ledger, opening, lanes, last, now, out)?,
            Frame::Charters { ledger, charters } => self.take_charters(replica, ledger, charters, out)?,
            Frame::Entries { ledger, entries } => self.take_entries(replica, ledger, entries, now, out)?,
            Frame::Want { ledger, entries } => self.take_want(replica, ledger, entries, now, out),
            Frame::Part { ledger, bytes, last } => self.take_part(replica, ledger, &bytes, last, now, out)?,
            Frame::Checkpoint { ledger, checkpoint } => self.take_checkpoint(replica, ledger, checkpoint, now, out)?,
            Frame::Done { ledger, opening, got, answered, done } => self.take_done(replica, ledger, (opening, got, answered, done), now, out)?,
            Frame::Pending { blobs } => self.peer_pending = blobs,
            Frame::Invite { sealed } => {
                self.heard_invitations += 1;
                if self.heard_invitations > MAX_INVITATIONS {
                    return Err(Closing::TooMany("invitations"));
                }
                if let Some(from) = self.party() {
                    out.push(Effect::Invitation { sealed: sealed.into_vec(), from });
                }
            }
        }
        Ok(())
    }

    fn hello(&mut self, replica: &Replica) -> Frame {
        self.shown = replica.me.card.contact.counter;
        Frame::Hello { versions: vec![VERSION], card: replica.me.card.signed().clone(), nonce: ByteBuf::from(self.nonce) }
    }

    fn take_hello(&mut self, replica: &Replica, versions: &[u64], card: &Signed<Card>, nonce: &[u8], now: i64, out: &mut Vec<Effect>) -> Result<(), Closing> {
        if self.peer.is_some() {
            return Err(Closing::Unexpected("second hello"));
        }
        if !versions.contains(&VERSION) {
            return Err(Closing::Version);
        }
        let card = Card::read(card.as_bytes())?;
        if !card.contact.endpoints.contains(&self.remote) {
            return Err(Closing::Endpoint);
        }
        if self.side == Side::Responder {
            let hello = self.hello(replica);
            send(out, &hello);
        }
        out.push(Effect::Peer(card.clone()));
        self.peer = Some(card);
        self.stage = Stage::Open;
        match self.side {
            Side::Responder => {}
            Side::Initiator if self.options.claim => {
                self.stage = Stage::Claiming;
                let nonce = nonce.try_into().map_err(|_| Closing::Unexpected("hello"))?;
                out.push(Effect::Challenge { responder: self.remote, nonce });
            }
            Side::Initiator => self.name_all(replica, now, out),
        }
        self.flush(replica, out);
        Ok(())
    }

    /// A card says where the same peer is now. An earlier one was overtaken: a card also travels beside the other frames. Another one of the same number is not an honest node's.
    fn take_card(&mut self, card: &Signed<Card>, out: &mut Vec<Effect>) -> Result<(), Closing> {
        let Some(held) = self.peer.as_ref().filter(|held| held.signed() != card) else { return Ok(()) };
        let card = Card::read(card.as_bytes())?;
        if card.profile != held.profile || card.contact.counter == held.contact.counter {
            return Err(Closing::OtherCard);
        }
        if card.contact.counter < held.contact.counter {
            return Ok(());
        }
        if !card.contact.endpoints.contains(&self.remote) {
            return Err(Closing::Endpoint);
        }
        out.push(Effect::Moved(card.clone()));
        self.peer = Some(card);
        Ok(())
    }

    /// Serves every held ledger that lists the claim's root, as long as it does, for this session and for reading; what the peer may write is for the ledger to say. The words
    /// are answered also by who was struck off: a stolen device can do that. Recovery words that were replaced get the charters alone, which say so.
    fn take_claim(&mut self, replica: &Replica, claim: Signed<Claim>, out: &mut Vec<Effect>) -> Result<(), Closing> {
        let Some(card) = &self.peer else { return Ok(()) };
        let fits = |claim: &Claim| {
            claim.responder == replica.me.endpoint && claim.nonce == self.nonce && Card::read(claim.card.as_bytes()).is_ok_and(|of| of.profile == card.profile)
        };
        let Some(claim) = claim.verify().ok().filter(|claim| fits(claim)) else {
            return self.strike("claims");
        };
        let root = claim.root;
        for (id, ledger) in &replica.ledgers {
            let (is_root, is_words) = (ledger.is_root(&root), ledger.was_of_rank_0(&root));
            let serves = match self.standing(replica, *id) {
                Peer::Device(_) | Peer::Custodian(_) => is_root || is_words,
                Peer::Party(_) | Peer::Stranger => is_words && was_listed(ledger, &replica.me.card.profile.party, &replica.me.endpoint),
            };
            if serves && self.claims.insert((*id, root)) {
                if is_root {
                    out.push(Effect::Claimed { ledger: *id, root });
                }
                push::charters(*id, ledger.charters().cloned(), out);
            }
        }
        Ok(())
    }

    /// Says what was held back until the peer was known, and where this node is if that has changed.
    fn flush(&mut self, replica: &Replica, out: &mut Vec<Effect>) {
        if self.peer.is_none() {
            return;
        }
        let own = &replica.me.card;
        if self.shown < own.contact.counter {
            self.shown = own.contact.counter;
            send(out, &Frame::Card { card: own.signed().clone() });
        }
        for sealed in self.invitations.drain(..) {
            send(out, &Frame::Invite { sealed: sealed.into() });
        }
        if self.pending != self.announced {
            self.announced = self.pending;
            send(out, &Frame::Pending { blobs: self.pending });
        }
    }

    fn strike(&mut self, what: &'static str) -> Result<(), Closing> {
        self.strikes += 1;
        if self.strikes > MAX_STRIKES { Err(Closing::TooMany(what)) } else { Ok(()) }
    }

    fn party(&self) -> Option<PartyKey> {
        self.peer.as_ref().map(|card| card.profile.party)
    }

    /// What this node itself is to a ledger.
    fn standing(&self, replica: &Replica, ledger: LedgerId) -> Peer {
        replica.standing(ledger, &replica.me.card.profile.party, &replica.me.endpoint)
    }

    /// What the pair shares of a ledger; nothing if it is not held or not for the peer.
    fn view<'a>(&self, replica: &'a Replica, ledger: LedgerId, now: i64) -> Option<View<'a>> {
        View::between(replica, ledger, &self.party()?, &self.remote, self.claimed(replica, &ledger), now)
    }
}

/// Adds a frame to what is to be sent. How many bytes it has.
fn send(out: &mut Vec<Effect>, frame: &Frame) -> usize {
    let bytes = frame.encode();
    let length = bytes.len();
    out.push(Effect::Send(bytes));
    length
}
