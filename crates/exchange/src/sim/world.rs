//! All nodes: how they write, what they do about the effects of their sessions, and that they stop between any two of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chartmesh_identity::{AuthorKey, CharterHash, EntryHash, LaneId, LedgerId, PartyKey, Signed, Verified, from_canonical};
use chartmesh_ledger::{Charter, CheckpointError, Entry, GrantState, Ledger};

use super::{
    crimes::Crimes,
    network::{Happening, Network},
    node::{Draft, Node},
    people::Person,
    watch::Truth,
};
use crate::{
    event::{Effect, Event, Refused},
    replica::Replica,
};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// What a node stored loads again.
    Loads,
    /// Honest nodes refuse nothing of one another, and hang up on none.
    Peace,
    /// Nothing reaches anybody who was not to have it, and nothing new a party whose grants have ended.
    Disclosure,
    /// Who is to hold the same does, and nobody waits.
    Convergence,
    /// Meeting with nothing new costs a constant.
    Quiet,
    /// What a node makes of its entries is what the reference model does: no authority past a fence, nothing lost that stands.
    Authority,
    /// No usable epoch is readable by a party whose grants have ended, or by a suspended device.
    Secrecy,
    /// No document is dropped.
    Documents,
    /// Forks are found when two views first meet.
    Forks,
    /// A key signs one entry for one place, restored or not, as far as it can know.
    Places,
}

/// What did not hold.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Which rule.
    pub rule: Rule,
    /// What happened.
    pub what: String,
}

/// A hash of all that happened. Nobody forges it, so it need not be one that nobody can forge, but one that costs next to nothing.
#[derive(Default)]
struct Trace(u64);

impl Trace {
    fn add(&mut self, bytes: &[u8]) {
        let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (words, rest) = bytes.as_chunks();
        self.0 = words.iter().fold(mix(self.0, bytes.len() as u64), |hash, word| mix(hash, u64::from_le_bytes(*word)));
        self.0 = rest.iter().fold(self.0, |hash, byte| mix(hash, u64::from(*byte)));
    }
}

/// All nodes and what is under way between them.
pub struct World {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// What must not have happened.
    pub problems: Vec<Problem>,
    /// Who was ever to have what.
    pub truth: Truth,
    /// Every charter version that was ever made.
    pub charters: BTreeMap<CharterHash, Charter>,
    pub(super) net: Network,
    pub(super) crimes: Crimes,
    /// Whether nodes stop at random.
    pub(super) crashes: bool,
    written: BTreeMap<(LedgerId, LaneId, AuthorKey, u64), BTreeSet<EntryHash>>,
    trace: Trace,
    lines: Option<Vec<String>>,
}

impl World {
    /// A world of these people. Its trace is kept for people to read if `told`.
    pub fn new(people: impl Iterator<Item = Arc<Person>>, told: bool) -> Self {
        let nodes: Vec<Node> = people.map(Node::of).collect();
        Self {
            net: Network::new(nodes.len()),
            nodes,
            problems: Vec::new(),
            truth: Truth::default(),
            charters: BTreeMap::new(),
            crimes: Crimes::default(),
            crashes: true,
            written: BTreeMap::new(),
            trace: Trace::default(),
            lines: told.then(Vec::new),
        }
    }

    /// Bytes sent so far.
    pub fn bytes(&self) -> u64 {
        self.net.sent.0
    }

    /// Frames sent so far.
    pub fn frames(&self) -> u64 {
        self.net.sent.1
    }

    /// Hash of all that happened.
    pub fn trace_hash(&self) -> String {
        format!("{:016x}", self.trace.0)
    }

    /// What happened, if it was to be told.
    pub fn trace_lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flatten().map(String::as_str)
    }

    /// Records what happened.
    pub fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.lines.is_some() {
            let line = format!("{:>9} ms  {}", self.net.now, line(self));
            self.lines.get_or_insert_default().push(line);
        }
    }

    /// Records what must not happen.
    pub fn problem(&mut self, rule: Rule, what: String) {
        self.note(|_| format!("PROBLEM {rule:?}: {what}"));
        self.problems.push(Problem { rule, what });
    }

    pub(super) fn name(&self, node: usize) -> &str {
        &self.nodes[node].person.name
    }

    /// A frame arrives.
    pub(super) fn hear(&mut self, link: u64, to: usize, bytes: &[u8]) {
        self.trace.add(&self.net.now.to_be_bytes());
        self.trace.add(&link.to_be_bytes());
        self.trace.add(bytes);
        self.note(|world| {
            let name = crate::Frame::decode(bytes).map_or("nonsense", |frame| frame.name());
            format!("{} gets {name} ({} bytes) on {link}", world.name(to), bytes.len())
        });
        self.crimes.remember(to, bytes);
    }

    /// Stops a node and starts it again with what is on its disk.
    pub fn restart(&mut self, node: usize) {
        self.note(|world| format!("{} restarts", world.name(node)));
        for (link, _) in self.links_of(node) {
            self.cut(link);
        }
        if let Err(why) = self.nodes[node].restart() {
            self.problem(Rule::Loads, format!("{} does not load what it stored: {why}", self.name(node)));
        }
    }

    /// Copies a node's disk.
    pub fn back_up(&mut self, node: usize) {
        self.nodes[node].back_up();
    }

    /// Puts a node's last copy back, if there is one.
    pub fn restore(&mut self, node: usize) {
        if self.nodes[node].put_back() {
            self.note(|world| format!("{} is put back from its copy", world.name(node)));
            self.truth.restored(node);
            self.restart(node);
        }
    }

    /// A node writes an entry: signs, stores, then tells its sessions. It may stop before it has stored it.
    pub fn write(&mut self, node: usize, ledger: LedgerId, draft: Draft) -> Option<EntryHash> {
        let now = self.now(node);
        self.write_at(node, ledger, draft, now)
    }

    /// As [`World::write`], with whatever time it says.
    pub fn write_at(&mut self, node: usize, ledger: LedgerId, draft: Draft, time: i64) -> Option<EntryHash> {
        let entry = self.nodes[node].sign(ledger, draft, time)?;
        if !self.nodes[node].may_sign(&entry) {
            self.note(|world| format!("{} does not sign: its key is spent or its log went on without it", world.name(node)));
            return None;
        }
        let hash = self.nodes[node].add(ledger, entry.clone())?;
        if self.crashes && self.chance(3) {
            self.restart(node);
            return None;
        }
        self.nodes[node].mark(&entry);
        self.nodes[node].persist(ledger, &[], &[hash]);
        self.note(|world| format!("{} writes {} {} as {}", world.name(node), entry.header.action.code(), hash.short(), entry.header.seq));
        self.signed(node, &entry);
        if self.crashes && self.chance(2) {
            self.restart(node);
            return Some(hash);
        }
        self.tell(node, None, Event::Changed(ledger));
        Some(hash)
    }

    /// A key has signed: no other entry for that place, unless its node is bad or was put back and could not know.
    fn signed(&mut self, node: usize, entry: &Entry) {
        let header = &entry.header;
        let place = (header.ledger, header.lane, header.author, header.seq);
        let at = self.written.entry(place).or_default();
        at.insert(entry.hash());
        let at = at.clone();
        if at.len() > 1 && !self.is_bad(node) && self.truth.knew(node, &at) {
            self.problem(Rule::Places, format!("{} used place {} of a lane twice", self.name(node), header.seq));
        }
    }

    /// A charter version is made at a node.
    pub fn amend(&mut self, node: usize, ledger: LedgerId, charter: &Verified<Charter>) {
        let added = self.nodes[node].add_charter(ledger, charter.signed());
        self.charters.insert(CharterHash::of(charter.as_bytes()), (**charter).clone());
        self.note(|world| format!("{} amends the charter: {added}", world.name(node)));
        self.tell(node, None, Event::Changed(ledger));
    }

    pub(super) fn handle(&mut self, node: usize, link: u64, event: Event) {
        let now = self.now(node);
        let at = &mut self.nodes[node];
        let Some(session) = at.sessions.get_mut(&link) else { return };
        let effects = session.handle(&mut at.replica, event, now);
        self.carry_out(node, link, effects);
    }

    /// The node at the other end, if neither it nor this one is bad and nothing was lost or doubled in between.
    fn honest_peer(&self, node: usize, link: u64) -> Option<usize> {
        let other = self.other_end(node, link)?;
        let is_dirty = self.net.links.get(&link).is_none_or(|link| link.is_dirty);
        (!is_dirty && !self.is_bad(node) && !self.is_bad(other)).then_some(other)
    }

    pub(super) fn carry_out(&mut self, node: usize, link: u64, effects: Vec<Effect>) {
        for effect in effects {
            if self.crashes && self.net.draw().is_multiple_of(2000) {
                self.restart(node);
                return;
            }
            match effect {
                Effect::Send(bytes) => self.speak(node, link, bytes),
                Effect::Persist { ledger, charters, entries, bodies } => {
                    self.nodes[node].persist(ledger, &charters, &entries);
                    self.nodes[node].persist(ledger, &[], &bodies);
                    let others: Vec<u64> = self.nodes[node].sessions.keys().copied().filter(|other| *other != link).collect();
                    for other in others {
                        self.tell(node, Some(other), Event::Brought { ledger, entries: entries.clone() });
                    }
                    let fetched = self.net.now + 1 + self.net.draw() % 50;
                    self.net.at(fetched, Happening::Tell { node, link: Some(link), event: Event::Pending { blobs: 0 } });
                }
                Effect::CheckpointHeard { ledger, lane } => {
                    self.nodes[node].persist_checkpoint(ledger, lane);
                    let Some(checkpoint) = self.nodes[node].replica.checkpoint(ledger, lane, self.now(node)).cloned() else { continue };
                    self.tell(node, None, Event::Checkpoint(checkpoint));
                }
                Effect::Peer(card) => self.greet(node, link, &card.profile.party),
                Effect::Invitation { sealed, .. } => {
                    let held = from_canonical::<Vec<Signed<Charter>>>(&sealed).ok().and_then(|charters| self.nodes[node].hold(&charters));
                    if let Some(ledger) = held {
                        self.tell(node, None, Event::Opened(ledger));
                    }
                }
                // A peer may not have heard yet that a device was suspended.
                Effect::Refused { reason: Refused::Checkpoint(CheckpointError::NoAuthority), .. } => {}
                Effect::Refused { entry, reason, .. } => {
                    if let Some(other) = self.honest_peer(node, link) {
                        self.problem(Rule::Peace, format!("{} refuses {entry:?} of {}: {reason}", self.name(node), self.name(other)));
                    }
                }
                Effect::Restored { ledger, .. } => {
                    if !self.is_bad(node) && !self.truth.is_restored(node) {
                        self.problem(Rule::Places, format!("{} hears of its own entry from others and was never put back", self.name(node)));
                    }
                    self.nodes[node].spend(ledger);
                }
                Effect::Settled => self.settled(node, link),
                Effect::Close { reason } => {
                    self.note(|world| format!("{} hangs up on {link}: {reason}", world.name(node)));
                    let peace = matches!(reason, crate::Closing::Left | crate::Closing::PeerLeft);
                    if let Some(other) = self.honest_peer(node, link).filter(|_| !peace) {
                        self.problem(Rule::Peace, format!("{} hangs up on {}: {reason}", self.name(node), self.name(other)));
                    }
                    self.cut(link);
                    return;
                }
                Effect::Moved(_) | Effect::Challenge { .. } | Effect::Claimed { .. } | Effect::InvitationTooLong { .. } => {}
            }
        }
    }

    fn settled(&mut self, node: usize, link: u64) {
        self.note(|world| format!("{} is settled on {link}", world.name(node)));
        if let Some(other) = self.honest_peer(node, link) {
            self.has_met(node, other);
        }
    }

    /// A device invites the party it meets to every ledger that has a live grant for it and that the party's node does not hold.
    fn greet(&mut self, node: usize, link: u64, party: &PartyKey) {
        let Some(other) = self.other_end(node, link) else { return };
        let author = self.nodes[node].person.author();
        let replica: &Replica = &self.nodes[node].replica;
        let now = self.now(node);
        let is_live = |grant: &GrantState| grant.party == *party && grant.is_live(now);
        let is_due = |ledger: &Ledger| ledger.is_active(&author) && ledger.circles(party).any(|lane| ledger.lane(lane).grants.values().any(is_live));
        let granted = replica.ledgers.iter().filter(|(_, ledger)| is_due(ledger));
        let granted = granted.map(|(id, _)| *id).filter(|id| !self.nodes[other].replica.ledgers.contains_key(id));
        let granted: Vec<LedgerId> = granted.collect();
        for ledger in granted {
            self.invite(node, link, ledger);
        }
    }

    /// Everybody who is connected invites whom it should have invited.
    pub fn greet_again(&mut self) {
        let ends: Vec<(u64, [usize; 2])> = self.net.links.iter().map(|(id, link)| (*id, link.ends)).collect();
        for (link, [a, b]) in ends {
            for (node, other) in [(a, b), (b, a)] {
                let party = self.nodes[other].person.party();
                self.greet(node, link, &party);
            }
        }
    }
}
