//! Opening ledgers with a peer: one digest first, heads only if it differs.
//!
//! An `Open` gets exactly one answer. If both sides open one ledger at once, the initiator's stands. A side that stops serving a ledger says `Unknown` unasked. Each opening has
//! a number, so that what was said of an earlier one, and crosses a new one on its way, is never taken for an answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chartmesh_identity::{AuthorKey, CharterHash, EntryHash, LaneId, LedgerId};
use chartmesh_ledger::{Ledger, Peer, suspended};

use super::{MAX_UNKNOWNS, Session, Side, Stage, push, push::FIRST_WINDOW, send};
use crate::{
    event::{Closing, Effect},
    frame::{Frame, HEADS_PER_FRAME, MAX_LIST, Tip},
    replica::Replica,
    tips::Tips,
    view::{Heads, View},
};

/// Ledgers that a peer may open in one session.
const MAX_LEDGERS: usize = 1 << 20;
/// Heads, charters and checkpoints that are remembered of what a peer tells of one ledger. Of what is beyond that it is given more than it need be: whoever may write makes as many logs as it likes,
/// and that is no reason to hang up on others who tell of them.
const MAX_HEADS: usize = 1 << 18;

/// How far the opening of a ledger has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// We have sent `Open`.
    Asked,
    /// We have answered an `Open` with our heads and wait for the peer's.
    Told,
    /// Both know what the other holds.
    Live,
    /// Unknown to the peer, or no longer for it.
    Shut,
}

/// One ledger in one session.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) phase: Phase,
    /// The `Open` that this is about, ours or the peer's.
    pub(super) opening: u64,
    /// The highest opening that the peer has named.
    heard: u64,
    /// What the peer is known to hold.
    pub(super) tips: BTreeMap<(LaneId, AuthorKey), Tips>,
    pub(super) charters: BTreeSet<CharterHash>,
    pub(super) checkpoints: BTreeMap<LaneId, i64>,
    heads: usize,
    /// Whether the peer's heads are coming in.
    hearing: bool,
    /// Whether the peer has yet to say which of our heads it holds; until then no entries are sent.
    pub(super) unconfirmed: bool,
    /// Charters held when last pushed.
    pub(super) charters_then: usize,
    /// Charters that were held when an `Unknown` was last answered with them.
    offered: usize,
    /// Frames of content sent, and received.
    pub(super) sent: u64,
    pub(super) got: u64,
    /// Lengths of those sent that are not acknowledged yet.
    pub(super) under_way: VecDeque<usize>,
    /// Whether nothing was left to send when last looked.
    pub(super) exhausted: bool,
    /// Whether content has come since.
    pub(super) stale: bool,
    /// What our last `Done` said: frames received, and that there is no more, unless content was sent since.
    pub(super) told_got: u64,
    pub(super) told_done: bool,
    pub(super) peer_done: bool,
    /// Logs of which an entry was refused: what follows it cannot be accepted either.
    pub(super) blocked: BTreeSet<(LaneId, AuthorKey)>,
    /// Entries whose bodies the peer asked for and is still to get; those of which no body is here, to be sent should one come; and those asked of the peer.
    pub(super) wanted: BTreeSet<EntryHash>,
    pub(super) unmet: BTreeSet<EntryHash>,
    pub(super) asked: BTreeSet<EntryHash>,
    /// How often the peer asked for bodies, and how many answers our last `Done` told of.
    pub(super) heard_wants: u64,
    pub(super) told_answered: u64,
    /// How often we asked for bodies, and how many answers the peer told of.
    pub(super) wants: u64,
    pub(super) answered: u64,
}

impl Shared {
    fn new(phase: Phase, opening: u64) -> Self {
        Self {
            phase,
            opening,
            heard: 0,
            tips: BTreeMap::new(),
            charters: BTreeSet::new(),
            checkpoints: BTreeMap::new(),
            heads: 0,
            hearing: false,
            unconfirmed: false,
            charters_then: 0,
            offered: 0,
            sent: 0,
            got: 0,
            under_way: VecDeque::new(),
            exhausted: false,
            stale: false,
            told_got: 0,
            told_done: false,
            peer_done: false,
            blocked: BTreeSet::new(),
            wanted: BTreeSet::new(),
            unmet: BTreeSet::new(),
            asked: BTreeSet::new(),
            heard_wants: 0,
            told_answered: 0,
            wants: 0,
            answered: 0,
        }
    }

    /// Takes what we hold for what the peer holds: until it says otherwise, or because it said `Same`.
    fn assume(&mut self, view: &View<'_>) {
        self.tips.clear();
        for (lane, tips) in view.heads() {
            self.learn(lane, &tips);
        }
        self.charters = view.charters();
        self.checkpoints = view.checkpoints();
    }

    fn learn(&mut self, lane: LaneId, tips: &[Tip]) {
        for (author, seq, hash) in tips {
            self.tips.entry((lane, *author)).or_default().add(*seq, *hash, None);
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        match self.phase {
            Phase::Asked | Phase::Told => false,
            Phase::Shut => true,
            Phase::Live => {
                let acknowledged = self.under_way.is_empty() && self.told_got == self.got;
                let answered = self.answered == self.wants && self.told_answered == self.heard_wants;
                self.peer_done && self.exhausted && !self.stale && acknowledged && self.told_done && answered
            }
        }
    }
}

impl Session {
    /// Names every ledger that the pair may share and that is not yet open, and says so.
    pub(super) fn name_all(&mut self, replica: &Replica, now: i64, out: &mut Vec<Effect>) {
        for ledger in replica.ledgers.keys() {
            if !self.shared.contains_key(ledger) {
                self.open(replica, *ledger, now, out);
            }
        }
        self.named = true;
        send(out, &Frame::Named);
    }

    fn open(&mut self, replica: &Replica, ledger: LedgerId, now: i64, out: &mut Vec<Effect>) {
        let Some(view) = self.view(replica, ledger, now) else { return };
        let offered = self.shared.get(&ledger).map_or(0, |shared| shared.offered);
        let opening = self.next_opening;
        self.next_opening += 2;
        let mut shared = Shared::new(Phase::Asked, opening);
        shared.offered = offered;
        shared.assume(&view);
        let mut beyond = view.beyond();
        let mut digest = view.digest();
        if beyond.iter().map(|(_, tips)| tips.len()).sum::<usize>() > HEADS_PER_FRAME {
            // Too many to tell at once: no digest is zero, so that heads are told instead.
            beyond.clear();
            digest = [0; 32];
        }
        send(out, &Frame::Open { ledger, opening, digest: digest.to_vec().into(), beyond });
        self.put(ledger, shared);
    }

    /// Begins a ledger's part in the session anew.
    fn put(&mut self, ledger: LedgerId, mut shared: Shared) {
        if let Some(before) = self.shared.remove(&ledger) {
            self.under_way -= before.under_way.len() as u64;
            self.bytes_under_way -= before.under_way.iter().sum::<usize>();
            shared.heard = shared.heard.max(before.heard);
        }
        self.shared.insert(ledger, shared);
        self.waiting.remove(&ledger);
        if self.part.as_ref().is_some_and(|(of, _)| *of == ledger) {
            self.part = None;
        }
        self.weigh(ledger);
    }

    /// Notes whether a ledger is settled.
    pub(super) fn weigh(&mut self, ledger: LedgerId) {
        if self.shared.get(&ledger).is_none_or(Shared::is_settled) {
            self.unsettled.remove(&ledger);
        } else {
            self.unsettled.insert(ledger);
        }
    }

    /// A ledger has changed otherwise than by this session: who may see it may have changed too.
    pub(super) fn refresh(&mut self, replica: &Replica, ledger: LedgerId, now: i64, out: &mut Vec<Effect>) {
        let allowed = self.view(replica, ledger, now).is_some();
        match self.shared.get(&ledger).map(|shared| shared.phase) {
            None | Some(Phase::Shut) if allowed && self.named && self.stage == Stage::Open => self.open(replica, ledger, now, out),
            None | Some(Phase::Shut | Phase::Asked) => {}
            Some(Phase::Live) if allowed => self.push(replica, ledger, now, out),
            Some(Phase::Told) if allowed => {}
            Some(Phase::Told | Phase::Live) => self.shut(ledger, out),
        }
    }

    /// Stops serving.
    pub(super) fn shut(&mut self, ledger: LedgerId, out: &mut Vec<Effect>) {
        let opening = self.shared.get(&ledger).map_or(0, |shared| shared.opening);
        self.decline(ledger, opening, out);
    }

    /// Whether a number is for this side to give.
    fn is_own(&self, opening: u64) -> bool {
        (opening % 2 == 1) == (self.side == Side::Initiator)
    }

    /// Does not serve what was opened.
    fn decline(&mut self, ledger: LedgerId, opening: u64, out: &mut Vec<Effect>) {
        let mut shut = Shared::new(Phase::Shut, opening);
        if !self.is_own(opening) {
            shut.heard = opening;
        }
        self.put(ledger, shut);
        send(out, &Frame::Unknown { ledger, opening });
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one frame")]
    pub(super) fn take_open(
        &mut self,
        replica: &Replica,
        ledger: LedgerId,
        opening: u64,
        digest: &[u8],
        beyond: &[(LaneId, Vec<Tip>)],
        now: i64,
        out: &mut Vec<Effect>,
    ) -> Result<(), Closing> {
        if self.is_own(opening) {
            return Err(Closing::Unexpected("open"));
        }
        let phase = self.shared.get(&ledger).map(|shared| shared.phase);
        if let Some(shared) = self.shared.get_mut(&ledger) {
            if opening <= shared.heard {
                return Ok(());
            }
            shared.heard = opening;
        }
        if phase == Some(Phase::Asked) && self.side == Side::Initiator {
            return Ok(());
        }
        let Some(view) = self.view(replica, ledger, now) else {
            self.unknowns += 1;
            if self.unknowns > MAX_UNKNOWNS {
                return Err(Closing::TooMany("ledgers"));
            }
            let is_suspended = |held: &Ledger| self.party().is_some_and(|party| suspended(held, &party, &self.remote));
            if let Some(held) = replica.ledgers.get(&ledger).filter(|held| phase.is_none() && is_suspended(held)) {
                push::charters(ledger, held.charters().cloned(), out);
                self.decline(ledger, opening, out);
            } else if phase.is_some() {
                self.decline(ledger, opening, out);
            } else {
                send(out, &Frame::Unknown { ledger, opening });
            }
            return Ok(());
        };
        if self.shared.len() >= MAX_LEDGERS {
            return Err(Closing::TooMany("ledgers"));
        }
        let all_held = beyond.iter().flat_map(|(_, tips)| tips).all(|(_, _, hash)| view.ledger().has(hash));
        if all_held && view.beyond().is_empty() && view.digest() == digest {
            let mut shared = Shared::new(Phase::Live, opening);
            shared.heard = opening;
            shared.assume(&view);
            for (lane, tips) in beyond {
                shared.learn(*lane, tips);
            }
            self.put(ledger, shared);
            send(out, &Frame::Same { ledger, opening });
            self.push(replica, ledger, now, out);
        } else {
            let mut shared = Shared::new(Phase::Told, opening);
            shared.heard = opening;
            shared.unconfirmed = tell_heads(&view, ledger, opening, out);
            self.put(ledger, shared);
        }
        Ok(())
    }

    pub(super) fn take_same(&mut self, replica: &Replica, ledger: LedgerId, opening: u64, now: i64, out: &mut Vec<Effect>) {
        let answers = |shared: &&mut Shared| shared.phase == Phase::Asked && shared.opening == opening && !shared.hearing;
        if let Some(shared) = self.shared.get_mut(&ledger).filter(answers) {
            shared.phase = Phase::Live;
            self.push_or_shut(replica, ledger, now, out);
        }
    }

    /// The peer does not hold the ledger, or not for us. If our charter lists the peer, its copy may be older than ours: it gets our charters, again when there are more, and is
    /// asked again.
    pub(super) fn take_unknown(&mut self, replica: &Replica, ledger: LedgerId, opening: u64, now: i64, out: &mut Vec<Effect>) {
        let Some(shared) = self.shared.get(&ledger).filter(|shared| shared.opening == opening) else { return };
        let (asked, offered) = (shared.phase == Phase::Asked, shared.offered);
        let held = replica.ledgers.get(&ledger);
        let charters = held.map_or(0, |held| held.charters().count());
        let mut shut = Shared::new(Phase::Shut, opening);
        shut.offered = charters;
        self.put(ledger, shut);
        let Some(party) = self.party() else { return };
        let listed = matches!(replica.standing(ledger, &party, &self.remote), Peer::Device(_) | Peer::Custodian(_));
        if asked
            && charters > offered
            && listed
            && let Some(held) = held
        {
            push::charters(ledger, held.charters().cloned(), out);
            self.open(replica, ledger, now, out);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one frame")]
    pub(super) fn take_heads(
        &mut self,
        replica: &Replica,
        ledger: LedgerId,
        opening: u64,
        charters: Vec<CharterHash>,
        lanes: Vec<(LaneId, Vec<Tip>)>,
        checkpoints: Vec<(LaneId, i64)>,
        confirm: bool,
        last: bool,
        now: i64,
        out: &mut Vec<Effect>,
    ) -> Result<(), Closing> {
        let waits = |shared: &&mut Shared| matches!(shared.phase, Phase::Asked | Phase::Told) && shared.opening == opening;
        let Some(shared) = self.shared.get_mut(&ledger).filter(waits) else { return Ok(()) };
        if !shared.hearing {
            shared.hearing = true;
            shared.tips.clear();
            shared.charters.clear();
            shared.checkpoints.clear();
        }
        shared.heads += charters.len() + checkpoints.len() + lanes.iter().map(|(_, tips)| 1 + tips.len()).sum::<usize>();
        if shared.heads <= MAX_HEADS {
            shared.charters.extend(charters);
            shared.checkpoints.extend(checkpoints);
            for (lane, tips) in lanes {
                shared.learn(lane, &tips);
            }
        }
        if !last {
            return Ok(());
        }
        let asked = shared.phase == Phase::Asked;
        shared.phase = Phase::Live;
        let told: Heads = shared.tips.iter().map(|((lane, author), tips)| (*lane, tips.iter().map(|(seq, hash)| (*author, seq, hash)).collect())).collect();
        if let Some(view) = self.view(replica, ledger, now) {
            let unconfirmed = asked && tell_heads(&view, ledger, opening, out);
            if confirm {
                tell_held(&view, told, ledger, opening, out);
            }
            if asked && let Some(shared) = self.shared.get_mut(&ledger) {
                shared.unconfirmed = unconfirmed;
            }
        }
        self.push_or_shut(replica, ledger, now, out);
        Ok(())
    }

    /// What the peer holds: in answer to our heads, which is waited for, or because others have brought it.
    #[expect(clippy::too_many_arguments, reason = "the fields of one frame")]
    pub(super) fn take_held(
        &mut self,
        replica: &Replica,
        ledger: LedgerId,
        opening: u64,
        lanes: Heads,
        last: bool,
        now: i64,
        out: &mut Vec<Effect>,
    ) -> Result<(), Closing> {
        let hears = |shared: &&mut Shared| (shared.phase == Phase::Live || shared.phase == Phase::Told && shared.unconfirmed) && shared.opening == opening;
        let Some(shared) = self.shared.get_mut(&ledger).filter(hears) else { return Ok(()) };
        shared.heads += lanes.iter().map(|(_, tips)| 1 + tips.len()).sum::<usize>();
        if shared.heads <= MAX_HEADS {
            for (lane, tips) in &lanes {
                shared.learn(*lane, tips);
            }
        }
        if shared.unconfirmed {
            shared.unconfirmed = !last;
        } else {
            if !shared.exhausted {
                // Somebody else gives the peer the same: little is to be under way when it says what it has got.
                self.window = FIRST_WINDOW;
            }
            self.forget_earlier(replica, ledger, &lanes, now);
        }
        if last {
            self.push_or_shut(replica, ledger, now, out);
        }
        Ok(())
    }

    /// Of logs that the peer tells of again and again, the latest tips do.
    fn forget_earlier(&mut self, replica: &Replica, ledger: LedgerId, lanes: &Heads, now: i64) {
        let Some(view) = self.view(replica, ledger, now) else { return };
        let Some(shared) = self.shared.get_mut(&ledger) else { return };
        for (lane, (author, seq, hash)) in lanes.iter().flat_map(|(lane, tips)| tips.iter().map(move |tip| (lane, tip))) {
            if view.is_on_the_only_branch(lane, author, hash)
                && let Some(tips) = shared.tips.get_mut(&(*lane, *author))
            {
                tips.forget_before(*seq, |hash| view.ledger().has(hash));
            }
        }
    }

    fn push_or_shut(&mut self, replica: &Replica, ledger: LedgerId, now: i64, out: &mut Vec<Effect>) {
        if self.view(replica, ledger, now).is_some() { self.push(replica, ledger, now, out) } else { self.shut(ledger, out) }
    }
}

/// Everything of the ledger that the peer may have. Whether it was asked to say what of that it holds.
fn tell_heads(view: &View<'_>, ledger: LedgerId, opening: u64, out: &mut Vec<Effect>) -> bool {
    let confirm = view.is_partys();
    let mut charters: Vec<CharterHash> = view.charters().into_iter().collect();
    let mut checkpoints: Vec<(LaneId, i64)> = view.checkpoints().into_iter().collect();
    // There may be more of either than a frame takes, if somebody has made them up.
    while charters.len() > MAX_LIST || checkpoints.len() > MAX_LIST {
        let first = |all: usize| all.min(MAX_LIST);
        let (charters, checkpoints) = (charters.drain(..first(charters.len())).collect(), checkpoints.drain(..first(checkpoints.len())).collect());
        send(out, &Frame::Heads { ledger, opening, charters, lanes: Vec::new(), checkpoints, confirm, last: false });
    }
    in_frames(view.heads(), |lanes, last| {
        let (charters, checkpoints) = (std::mem::take(&mut charters), std::mem::take(&mut checkpoints));
        send(out, &Frame::Heads { ledger, opening, charters, lanes, checkpoints, confirm, last });
    });
    confirm
}

/// Which of the tips that the peer has told are held here. It learns no more than it said itself.
fn tell_held(view: &View<'_>, told: Heads, ledger: LedgerId, opening: u64, out: &mut Vec<Effect>) {
    let held = |(lane, tips): (LaneId, Vec<Tip>)| (lane, tips.into_iter().filter(|(_, _, hash)| view.ledger().has(hash)).collect::<Vec<_>>());
    let held = told.into_iter().map(held).filter(|(_, tips)| !tips.is_empty()).collect();
    in_frames(held, |lanes, last| _ = send(out, &Frame::Held { ledger, opening, lanes, last }));
}

/// Hands heads on in as many lists as it takes, at least one, and says which is the last.
pub(super) fn in_frames(heads: Heads, mut tell: impl FnMut(Heads, bool)) {
    let mut lanes: Heads = Vec::new();
    let mut count = 0;
    for (lane, tips) in heads {
        for tips in tips.chunks(HEADS_PER_FRAME) {
            if count + tips.len() > HEADS_PER_FRAME {
                tell(std::mem::take(&mut lanes), false);
                count = 0;
            }
            count += tips.len();
            lanes.push((lane, tips.to_vec()));
        }
    }
    tell(lanes, true);
}
