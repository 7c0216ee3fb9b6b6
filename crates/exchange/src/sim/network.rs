//! The network: virtual time, and links that deliver in order after a while, lose and double frames, or break.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{LedgerId, Signed, to_canonical};
use chartmesh_ledger::Charter;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::world::World;
use crate::{
    event::Event,
    session::{Options, Session, Side},
};

/// Seconds since 1970 at which every simulation begins.
const BEGINNING: i64 = 1_700_000_000;

/// What happens at some time.
pub(super) enum Happening {
    Frame { link: u64, to: usize, bytes: Vec<u8> },
    Tell { node: usize, link: Option<u64>, event: Event },
    Cut { link: u64 },
}

pub(super) struct Link {
    pub(super) ends: [usize; 2],
    /// When the last frame towards each end arrives: frames of one direction keep their order.
    last: [u64; 2],
    /// Frames left until it breaks.
    life: Option<u64>,
    /// Whether a frame was lost or doubled on it: then refusals prove nothing.
    pub(super) is_dirty: bool,
}

/// Time, links, and what is under way.
pub(super) struct Network {
    rng: ChaCha8Rng,
    /// Milliseconds since the beginning.
    pub(super) now: u64,
    tick: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    pub(super) links: BTreeMap<u64, Link>,
    apart: BTreeSet<(usize, usize)>,
    /// Of a thousand frames so many are lost, and so many come twice.
    pub(super) weather: (u64, u64),
    /// Seconds by which each node's clock is ahead.
    pub(super) skews: Vec<i64>,
    /// Bytes sent, and frames.
    pub(super) sent: (u64, u64),
}

impl Network {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(0),
            now: 0,
            tick: 0,
            queue: BTreeMap::new(),
            links: BTreeMap::new(),
            apart: BTreeSet::new(),
            weather: (0, 0),
            skews: vec![0; nodes],
            sent: (0, 0),
        }
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.rng.next_u64()
    }

    pub(super) fn at(&mut self, time: u64, happening: Happening) {
        self.tick += 1;
        self.queue.insert((time, self.tick), happening);
    }
}

impl World {
    /// From now on everything is drawn from these.
    pub fn reseed(&mut self, seed: u64, chance: u64) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8..16].copy_from_slice(&chance.to_be_bytes());
        self.net.rng = ChaCha8Rng::from_seed(bytes);
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.net.draw() % bound as u64).unwrap_or(0)
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Seconds since 1970, by no clock in particular.
    pub fn time(&self) -> i64 {
        BEGINNING + i64::try_from(self.net.now / 1000).unwrap_or(0)
    }

    /// Seconds since 1970 by a node's clock.
    pub fn now(&self, node: usize) -> i64 {
        self.time() + self.net.skews[node]
    }

    /// Sets a node's clock wrong by so many seconds.
    pub fn skew(&mut self, node: usize, seconds: i64) {
        self.net.skews[node] = seconds;
    }

    /// Lets time pass in which nothing is sent.
    pub fn wait(&mut self, minutes: u64) {
        self.net.now += minutes * 60_000;
    }

    /// Of a thousand frames so many are lost, and so many come twice.
    pub fn set_weather(&mut self, loss: u64, twice: u64) {
        self.net.weather = (loss, twice);
    }

    /// Puts two nodes apart, or together again.
    pub fn part(&mut self, a: usize, b: usize, apart: bool) {
        let pair = (a.min(b), a.max(b));
        if !apart {
            self.net.apart.remove(&pair);
            return;
        }
        self.net.apart.insert(pair);
        for link in self.links_between(a, b) {
            self.cut(link);
        }
    }

    /// Ends every partition, rights every clock, and every link is gone: what was lost on it will not be told there.
    pub fn clear_up(&mut self) {
        self.net.apart.clear();
        self.net.weather = (0, 0);
        self.net.skews.fill(0);
        self.crashes = false;
        self.cut_all();
    }

    /// Breaks every link.
    pub fn cut_all(&mut self) {
        let links: Vec<u64> = self.net.links.keys().copied().collect();
        for link in links {
            self.cut(link);
        }
    }

    /// The links between two nodes.
    pub fn links_between(&self, a: usize, b: usize) -> Vec<u64> {
        let between = |(_, link): &(&u64, &Link)| link.ends == [a, b] || link.ends == [b, a];
        self.net.links.iter().filter(between).map(|(id, _)| *id).collect()
    }

    /// The links of a node, each with the node at its other end.
    pub fn links_of(&self, node: usize) -> Vec<(u64, usize)> {
        let of = |(id, link): (&u64, &Link)| match link.ends {
            [a, b] if a == node => Some((*id, b)),
            [a, b] if b == node => Some((*id, a)),
            _ => None,
        };
        self.net.links.iter().filter_map(of).collect()
    }

    /// The node at the other end of a link of this node, while there is that link.
    pub(super) fn other_end(&self, node: usize, link: u64) -> Option<usize> {
        let [a, b] = self.net.links.get(&link)?.ends;
        Some(if a == node { b } else { a })
    }

    /// Every session of two nodes that are not bad and that is not settled, though nothing was lost of it.
    pub fn unsettled(&self) -> Vec<String> {
        let open = |(id, link): (&u64, &Link)| {
            let good = !link.is_dirty && link.ends.iter().all(|node| !self.is_bad(*node));
            let waits = link.ends.iter().filter(|node| good && self.nodes[**node].sessions.get(id).is_some_and(|session| !session.settled()));
            waits.map(|node| format!("link {id}: {} waits", self.name(*node))).collect::<Vec<_>>()
        };
        self.net.links.iter().flat_map(open).collect()
    }

    /// Number of links.
    pub fn linked(&self) -> u64 {
        self.net.links.len() as u64
    }

    /// Connects two nodes, if nothing keeps them apart. The link breaks by itself after `life` frames.
    pub fn connect(&mut self, a: usize, b: usize, life: Option<u64>) {
        if a == b || self.net.apart.contains(&(a.min(b), a.max(b))) || !self.links_between(a, b).is_empty() {
            return;
        }
        self.net.tick += 1;
        let link = self.net.tick;
        self.note(|world| format!("{} connects to {} as {link}", world.name(a), world.name(b)));
        self.net.links.insert(link, Link { ends: [a, b], last: [self.net.now; 2], life, is_dirty: false });
        for (node, other, side) in [(b, a, Side::Responder), (a, b, Side::Initiator)] {
            let mut nonce = [0; 32];
            self.net.rng.fill_bytes(&mut nonce);
            let mut session = Session::new(side, self.nodes[other].person.endpoint, nonce, Options::default());
            let effects = session.start(&self.nodes[node].replica, self.now(node));
            self.nodes[node].sessions.insert(link, session);
            self.carry_out(node, link, effects);
        }
    }

    /// Breaks one of the links.
    pub fn cut_any(&mut self, which: u64) {
        let links: Vec<u64> = self.net.links.keys().copied().collect();
        if !links.is_empty() {
            self.cut(links[usize::try_from(which).unwrap_or(0) % links.len()]);
        }
    }

    pub(super) fn cut(&mut self, id: u64) {
        let Some(link) = self.net.links.remove(&id) else { return };
        self.note(|_| format!("link {id} is gone"));
        for node in link.ends {
            if let Some(mut session) = self.nodes[node].sessions.remove(&id) {
                let now = self.now(node);
                session.handle(&mut self.nodes[node].replica, Event::Closed, now);
            }
        }
    }

    /// Hands an event to one session of a node, or to all.
    pub fn tell(&mut self, node: usize, link: Option<u64>, event: Event) {
        let now = self.net.now;
        if let Event::Changed(ledger) = event {
            // What is still to be told says it all: a node tells its sessions what has changed, not how often.
            let same = |happening: &Happening| matches!(happening, Happening::Tell { node: of, link: on, event: Event::Changed(what) } if (*of, *on, *what) == (node, link, ledger));
            if self.net.queue.range((now, 0)..(now + 1, 0)).any(|(_, happening)| same(happening)) {
                return;
            }
        }
        self.net.at(now, Happening::Tell { node, link, event });
    }

    /// A device invites: in the simulation, charters in the clear.
    pub fn invite(&mut self, node: usize, link: u64, ledger: LedgerId) {
        let Some(held) = self.nodes[node].replica.ledgers.get(&ledger) else { return };
        let charters: Vec<Signed<Charter>> = held.charters().cloned().collect();
        self.tell(node, Some(link), Event::Invite { sealed: to_canonical(&charters) });
    }

    /// Lets everything happen that is under way, until `most` things have or for so many milliseconds. How many did.
    pub fn run(&mut self, most: usize, until: Option<u64>) -> usize {
        let end = until.map(|millis| self.net.now + millis);
        for count in 0..most {
            let next = self.net.queue.first_key_value().map(|(key, _)| *key).filter(|(time, _)| end.is_none_or(|end| *time <= end));
            let Some(next) = next else {
                self.net.now = end.unwrap_or(self.net.now);
                return count;
            };
            self.net.now = self.net.now.max(next.0);
            if let Some(happening) = self.net.queue.remove(&next) {
                self.happen(happening);
            }
        }
        most
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Cut { link } => self.cut(link),
            Happening::Frame { link, to, bytes } => {
                if self.net.links.contains_key(&link) {
                    self.hear(link, to, &bytes);
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

    /// Puts a frame on its way.
    pub(super) fn send(&mut self, node: usize, id: u64, bytes: Vec<u8>) {
        let delay = 1 + self.net.draw() % 120;
        let (loss, twice) = self.net.weather;
        let luck = self.net.draw() % 1000;
        let now = self.net.now;
        let Some(link) = self.net.links.get_mut(&id) else { return };
        if link.life == Some(0) {
            self.net.at(now, Happening::Cut { link: id });
            return;
        }
        link.life = link.life.map(|life| life - 1);
        let end = usize::from(link.ends[0] == node);
        let to = link.ends[end];
        let time = link.last[end].max(now + delay);
        link.last[end] = time;
        self.net.sent = (self.net.sent.0 + bytes.len() as u64, self.net.sent.1 + 1);
        link.is_dirty |= luck < loss + twice;
        if luck < loss {
            return;
        }
        if luck < loss + twice {
            self.net.at(time, Happening::Frame { link: id, to, bytes: bytes.clone() });
        }
        self.net.at(time, Happening::Frame { link: id, to, bytes });
    }
}
