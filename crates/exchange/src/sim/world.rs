//! The simulated network: virtual time, links that deliver in order after a while or break, and nodes that stop between any two effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chartmesh_identity::{AuthorKey, EntryHash, LaneId, LedgerId, PartyKey, Signed, from_canonical, to_canonical};
use chartmesh_ledger::{Charter, CheckpointError};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{
    node::{Draft, Node},
    people::Person,
};
use crate::{
    event::{Effect, Event, Refused},
    frame::Frame,
    replica::Replica,
    session::{Options, Session, Side},
};

/// Lines of the trace that are kept.
const KEPT_LINES: usize = 400;
/// Seconds since 1970 at which every simulation begins.
const BEGINNING: i64 = 1_700_000_000;

/// What happens at some time.
enum Happening {
    Frame { link: u64, to: usize, bytes: Vec<u8> },
    Tell { node: usize, link: Option<u64>, event: Event },
    Cut { link: u64 },
}

struct Link {
    ends: [usize; 2],
    /// When the last frame towards each end arrives: frames of one direction keep their order.
    last: [u64; 2],
    /// Frames left until it breaks.
    life: Option<u64>,
}

/// All nodes and what is under way between them.
pub struct World {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// What must not have happened.
    pub problems: Vec<String>,
    /// Bytes sent, and frames.
    pub sent: (u64, u64),
    rng: ChaCha8Rng,
    now: u64,
    tick: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    links: BTreeMap<u64, Link>,
    apart: BTreeSet<(usize, usize)>,
    /// Whether nodes stop at random.
    crashes: bool,
    written: BTreeMap<(LedgerId, LaneId, AuthorKey, u64), EntryHash>,
    trace: blake3::Hasher,
    lines: VecDeque<String>,
}

impl World {
    /// A world of these people. Everything random in it comes from `seed`.
    pub fn new(people: Vec<Person>, seed: u64) -> Self {
        Self {
            nodes: people.into_iter().map(Node::new).collect(),
            problems: Vec::new(),
            sent: (0, 0),
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: 0,
            tick: 0,
            queue: BTreeMap::new(),
            links: BTreeMap::new(),
            apart: BTreeSet::new(),
            crashes: false,
            written: BTreeMap::new(),
            trace: blake3::Hasher::new(),
            lines: VecDeque::new(),
        }
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound as u64).unwrap_or(0)
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Seconds since 1970.
    pub fn now(&self) -> i64 {
        BEGINNING + i64::try_from(self.now / 1000).unwrap_or(0)
    }

    /// Hash of all that happened.
    pub fn trace_hash(&self) -> String {
        self.trace.finalize().to_hex().to_string()
    }

    /// The last things that happened.
    pub fn trace_lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Records what happened.
    pub fn note(&mut self, line: String) {
        self.trace.update(line.as_bytes()).update(b"\n");
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>9} ms  {line}", self.now));
    }

    /// Records what must not happen.
    pub fn problem(&mut self, what: String) {
        self.note(format!("PROBLEM {what}"));
        self.problems.push(what);
    }

    fn name(&self, node: usize) -> &str {
        &self.nodes[node].person.name
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.tick += 1;
        self.queue.insert((time, self.tick), happening);
    }

    /// Whether nodes stop, and links break, at random from now on.
    pub fn set_unsafe(&mut self, crashes: bool) {
        self.crashes = crashes;
    }

    /// Puts two nodes apart, or together again.
    pub fn part(&mut self, a: usize, b: usize, apart: bool) {
        let pair = (a.min(b), a.max(b));
        if !apart {
            self.apart.remove(&pair);
            return;
        }
        self.apart.insert(pair);
        let broken: Vec<u64> = self.links.iter().filter(|(_, link)| link.ends == [a, b] || link.ends == [b, a]).map(|(id, _)| *id).collect();
        for link in broken {
            self.cut(link);
        }
    }

    /// Ends every partition.
    pub fn join_all(&mut self) {
        self.apart.clear();
    }

    /// Whether two nodes have a session.
    pub fn linked(&self, a: usize, b: usize) -> bool {
        self.links.values().any(|link| link.ends == [a, b] || link.ends == [b, a])
    }

    /// Whether every session is settled, and if not which are not.
    pub fn unsettled(&self) -> Vec<String> {
        let open = |(id, link): (&u64, &Link)| {
            let waits = link.ends.iter().filter(|node| self.nodes[**node].sessions.get(id).is_some_and(|session| !session.settled()));
            waits.map(|node| format!("link {id}: {} waits", self.name(*node))).collect::<Vec<_>>()
        };
        self.links.iter().flat_map(open).collect()
    }

    /// Connects two nodes, if nothing keeps them apart. The link breaks by itself after `life` frames.
    pub fn connect(&mut self, a: usize, b: usize, options: Options, life: Option<u64>) {
        if a == b || self.apart.contains(&(a.min(b), a.max(b))) || self.linked(a, b) {
            return;
        }
        self.tick += 1;
        let link = self.tick;
        self.note(format!("{} connects to {}", self.name(a), self.name(b)));
        self.links.insert(link, Link { ends: [a, b], last: [self.now; 2], life });
        for (node, other, side) in [(b, a, Side::Responder), (a, b, Side::Initiator)] {
            let mut nonce = [0; 32];
            self.rng.fill_bytes(&mut nonce);
            let options = if side == Side::Initiator { options } else { Options::default() };
            let mut session = Session::new(side, self.nodes[other].person.endpoint, nonce, options);
            let effects = session.start(&self.nodes[node].replica, self.now());
            self.nodes[node].sessions.insert(link, session);
            self.carry_out(node, link, effects);
        }
    }

    /// Breaks some link.
    pub fn cut_any(&mut self) {
        let links: Vec<u64> = self.links.keys().copied().collect();
        if !links.is_empty() {
            let link = links[self.below(links.len())];
            self.cut(link);
        }
    }

    fn cut(&mut self, id: u64) {
        let Some(link) = self.links.remove(&id) else { return };
        self.note(format!("link {id} is gone"));
        for node in link.ends {
            if let Some(mut session) = self.nodes[node].sessions.remove(&id) {
                let now = self.now();
                session.handle(&mut self.nodes[node].replica, Event::Closed, now);
            }
        }
    }

    /// Stops a node and starts it again with what is on its disk.
    pub fn restart(&mut self, node: usize) {
        self.note(format!("{} restarts", self.name(node)));
        let links: Vec<u64> = self.links.iter().filter(|(_, link)| link.ends.contains(&node)).map(|(id, _)| *id).collect();
        for link in links {
            self.cut(link);
        }
        if let Err(why) = self.nodes[node].restart() {
            self.problem(format!("{} does not load what it stored: {why}", self.name(node)));
        }
    }

    /// A node writes an entry: signs, stores, then tells its sessions. It may stop before it has stored it.
    pub fn write(&mut self, node: usize, ledger: LedgerId, draft: Draft) -> Option<EntryHash> {
        let now = self.now();
        let entry = self.nodes[node].sign(ledger, draft, now)?;
        let header = &entry.header;
        let (place, code) = ((ledger, header.lane, header.author, header.seq), header.action.code().to_owned());
        let hash = self.nodes[node].add(ledger, entry);
        let Some(hash) = hash else {
            self.note(format!("{} may not write {code}", self.name(node)));
            return None;
        };
        if self.crashes && self.chance(3) {
            self.restart(node);
            return None;
        }
        self.nodes[node].persist(ledger, &[], &[hash]);
        self.note(format!("{} writes {code} {} as {}", self.name(node), hash.short(), place.3));
        if let Some(before) = self.written.insert(place, hash)
            && before != hash
        {
            self.problem(format!("{} used place {} of a lane twice", self.name(node), place.3));
        }
        if self.crashes && self.chance(2) {
            self.restart(node);
            return Some(hash);
        }
        self.at(self.now, Happening::Tell { node, link: None, event: Event::Changed(ledger) });
        Some(hash)
    }

    /// A charter version is made at a node.
    pub fn amend(&mut self, node: usize, ledger: LedgerId, charter: &Signed<Charter>) {
        let added = self.nodes[node].add_charter(ledger, charter);
        self.note(format!("{} amends the charter: {added}", self.name(node)));
        self.at(self.now, Happening::Tell { node, link: None, event: Event::Changed(ledger) });
    }

    /// Hands an event to one session of a node, or to all.
    pub fn tell(&mut self, node: usize, link: Option<u64>, event: Event) {
        self.at(self.now, Happening::Tell { node, link, event });
    }

    /// A device invites: in the simulation, charters in the clear.
    pub fn invite(&mut self, node: usize, link: u64, ledger: LedgerId) {
        let Some(held) = self.nodes[node].replica.ledgers.get(&ledger) else { return };
        let charters: Vec<Signed<Charter>> = held.charters().cloned().collect();
        self.tell(node, Some(link), Event::Invite { sealed: to_canonical(&charters) });
    }

    /// The links between two nodes.
    pub fn links_between(&self, a: usize, b: usize) -> Vec<u64> {
        self.links.iter().filter(|(_, link)| link.ends == [a, b] || link.ends == [b, a]).map(|(id, _)| *id).collect()
    }

    /// Lets everything happen that is under way, until `most` things have or for so many milliseconds. How many did.
    pub fn run(&mut self, most: usize, until: Option<u64>) -> usize {
        let end = until.map(|millis| self.now + millis);
        for count in 0..most {
            let Some((&(time, tick), _)) = self.queue.first_key_value() else {
                self.now = end.unwrap_or(self.now);
                return count;
            };
            if end.is_some_and(|end| time > end) {
                self.now = end.unwrap_or(self.now);
                return count;
            }
            self.now = self.now.max(time);
            if let Some(happening) = self.queue.remove(&(time, tick)) {
                self.happen(happening);
            }
        }
        most
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Cut { link } => self.cut(link),
            Happening::Frame { link, to, bytes } => {
                if self.links.contains_key(&link) {
                    let name = Frame::decode(&bytes).map_or("nonsense", |frame| frame.name());
                    self.note(format!(
                        "{} gets {name} ({} bytes, {}) on {link}",
                        self.name(to),
                        bytes.len(),
                        blake3::hash(&bytes).to_hex().get(..8).unwrap_or("")
                    ));
                    self.handle(to, link, Event::Frame(bytes));
                }
            }
            Happening::Tell { node, link, event } => {
                let links: Vec<u64> = self.nodes[node].sessions.keys().copied().filter(|id| link.is_none_or(|link| link == *id)).collect();
                for link in links {
                    self.handle(node, link, event.clone());
                }
            }
        }
    }

    fn handle(&mut self, node: usize, link: u64, event: Event) {
        let now = self.now();
        let at = &mut self.nodes[node];
        let Some(session) = at.sessions.get_mut(&link) else { return };
        let effects = session.handle(&mut at.replica, event, now);
        self.carry_out(node, link, effects);
    }

    fn carry_out(&mut self, node: usize, link: u64, effects: Vec<Effect>) {
        for effect in effects {
            if self.crashes && self.rng.next_u64().is_multiple_of(2000) {
                self.restart(node);
                return;
            }
            match effect {
                Effect::Send(bytes) => self.send(node, link, bytes),
                Effect::Persist { ledger, charters, entries, bodies } => {
                    self.nodes[node].persist(ledger, &charters, &entries);
                    self.nodes[node].persist(ledger, &[], &bodies);
                    let others: Vec<u64> = self.nodes[node].sessions.keys().copied().filter(|other| *other != link).collect();
                    for other in others {
                        self.tell(node, Some(other), Event::Changed(ledger));
                    }
                    let fetched = self.now + 1 + u64::try_from(self.below(50)).unwrap_or(0);
                    self.at(fetched, Happening::Tell { node, link: Some(link), event: Event::Pending { blobs: 0 } });
                }
                Effect::CheckpointHeard { ledger, lane } => {
                    self.nodes[node].persist_checkpoint(ledger, lane);
                    let Some(checkpoint) = self.nodes[node].replica.checkpoint(ledger, lane, self.now()).cloned() else { continue };
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
                Effect::Refused { reason: Refused::Checkpoint(CheckpointError::NoAuthority), .. } => {
                    self.note(format!("{} refuses a checkpoint", self.name(node)))
                }
                Effect::Refused { entry, reason, .. } => self.problem(format!("{} refuses {entry:?}: {reason}", self.name(node))),
                Effect::Restored { seq, .. } => self.problem(format!("{} hears of its own entry {seq} from others", self.name(node))),
                Effect::Settled => self.note(format!("{} is settled on {link}", self.name(node))),
                Effect::Close { reason } => {
                    self.note(format!("{} hangs up: {reason}", self.name(node)));
                    self.cut(link);
                    return;
                }
                Effect::Challenge { .. } | Effect::Claimed { .. } | Effect::InvitationTooLong { .. } => {}
            }
        }
    }

    /// A device invites the party it meets to every ledger that has a grant for it and that the party's node does not hold.
    fn greet(&mut self, node: usize, link: u64, party: &PartyKey) {
        let Some(other) = self.links.get(&link).map(|link| if link.ends[0] == node { link.ends[1] } else { link.ends[0] }) else { return };
        let author = self.nodes[node].person.author();
        let replica: &Replica = &self.nodes[node].replica;
        let granted = replica.ledgers.iter().filter(|(_, ledger)| ledger.is_active(&author) && ledger.circles(party).next().is_some());
        let granted = granted.map(|(id, _)| *id).filter(|id| !self.nodes[other].replica.ledgers.contains_key(id));
        let granted: Vec<LedgerId> = granted.collect();
        for ledger in granted {
            self.invite(node, link, ledger);
        }
    }

    /// Everybody who is connected invites whom it should have invited.
    pub fn greet_again(&mut self) {
        let ends: Vec<(u64, [usize; 2])> = self.links.iter().map(|(id, link)| (*id, link.ends)).collect();
        for (link, [a, b]) in ends {
            for (node, other) in [(a, b), (b, a)] {
                let party = self.nodes[other].person.party();
                self.greet(node, link, &party);
            }
        }
    }

    fn send(&mut self, node: usize, id: u64, bytes: Vec<u8>) {
        let delay = 1 + self.rng.next_u64() % 120;
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.life == Some(0) {
            let now = self.now;
            self.at(now, Happening::Cut { link: id });
            return;
        }
        link.life = link.life.map(|life| life - 1);
        let end = usize::from(link.ends[0] == node);
        let to = link.ends[end];
        let time = link.last[end].max(self.now + delay);
        link.last[end] = time;
        self.sent = (self.sent.0 + bytes.len() as u64, self.sent.1 + 1);
        self.at(time, Happening::Frame { link: id, to, bytes });
    }
}
