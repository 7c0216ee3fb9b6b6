//! What bad nodes do to what they send. They run the production session, so that others go on talking to them, and lie in its place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chartmesh_identity::{EntryHash, LedgerId, Signed};
use chartmesh_ledger::{Entry, RawEntry};

use super::world::World;
use crate::frame::Frame;

/// Frames that a bad node remembers.
const REMEMBERED: usize = 24;

/// How a node is bad in all that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vice {
    /// Leaves out entries that take away.
    Withhold,
    /// Says again what it said or heard before.
    Replay,
    /// Changes entries: a byte of them, or their body.
    Forge,
    /// Gives whoever asks whatever it has.
    Leak,
    /// Tells of entries that there are not, keeps back those that there are, and says that it is still fetching.
    Promise,
    /// Says nonsense.
    Garble,
}

impl Vice {
    /// Every vice.
    pub const ALL: [Self; 6] = [Self::Withhold, Self::Replay, Self::Forge, Self::Leak, Self::Promise, Self::Garble];
}

/// Who is bad, and what they have up their sleeves.
#[derive(Default)]
pub(super) struct Crimes {
    vices: BTreeMap<usize, BTreeSet<Vice>>,
    /// Entries that a bad node shows to one other alone, in place of those that it signed first.
    private: BTreeMap<(usize, usize), Vec<(LedgerId, Entry)>>,
    heard: BTreeMap<usize, VecDeque<Vec<u8>>>,
}

impl Crimes {
    /// A frame came or went.
    pub(super) fn remember(&mut self, node: usize, bytes: &[u8]) {
        if !self.vices.contains_key(&node) || bytes.len() > 16_384 {
            return;
        }
        let heard = self.heard.entry(node).or_default();
        heard.push_back(bytes.to_vec());
        if heard.len() > REMEMBERED {
            heard.pop_front();
        }
    }
}

impl World {
    /// Whether a node has turned against the others.
    pub fn is_bad(&self, node: usize) -> bool {
        self.crimes.vices.contains_key(&node)
    }

    /// Turns a node against the others.
    pub fn corrupt(&mut self, node: usize, vice: Option<Vice>) {
        self.crimes.vices.entry(node).or_default().extend(vice);
    }

    /// A bad node shows an entry to one other, whenever they meet, and keeps back its own from that place on.
    pub fn show_to(&mut self, node: usize, to: usize, ledger: LedgerId, entry: &Entry) {
        self.crimes.private.entry((node, to)).or_default().push((ledger, entry.clone()));
    }

    /// What a bad node shows to one other alone of a ledger.
    fn private(&self, node: usize, to: usize, ledger: LedgerId) -> Vec<&Entry> {
        self.crimes.private.get(&(node, to)).into_iter().flatten().filter(|(of, _)| *of == ledger).map(|(_, entry)| entry).collect()
    }

    /// Whether an entry is on the branch that a bad node keeps back from one other.
    fn is_kept_back(&self, node: usize, to: usize, ledger: LedgerId, raw: &RawEntry) -> bool {
        let held = self.nodes[node].replica.ledgers.get(&ledger).and_then(|held| held.get(&EntryHash::of(raw.header.as_bytes())));
        let follows = |of: &Entry, entry: &Entry| entry.header.lane == of.header.lane && entry.author() == of.author() && entry.header.seq >= of.header.seq;
        held.is_some_and(|entry| self.private(node, to, ledger).into_iter().any(|of| follows(of, entry)))
    }

    /// A frame that a bad node remembers.
    pub fn remembered(&self, node: usize, which: u64) -> Option<Vec<u8>> {
        let heard = self.crimes.heard.get(&node).filter(|heard| !heard.is_empty())?;
        heard.get(usize::try_from(which).unwrap_or(0) % heard.len()).cloned()
    }

    /// Every entry that bad nodes have shown to anybody in private.
    pub(super) fn shown_in_private(&self) -> impl Iterator<Item = (LedgerId, &Entry)> {
        self.crimes.private.values().flatten().map(|(ledger, entry)| (*ledger, entry))
    }

    /// A node says something on a link, as it is or as a bad node would have it.
    pub(super) fn speak(&mut self, node: usize, link: u64, bytes: Vec<u8>) {
        let Some(to) = self.other_end(node, link) else { return };
        let Some(vices) = self.crimes.vices.get(&node).cloned() else {
            self.watch(node, to, &bytes);
            return self.send(node, link, bytes);
        };
        self.crimes.remember(node, &bytes);
        for frame in self.distort(node, to, &vices, bytes) {
            self.send(node, link, frame);
        }
        if vices.contains(&Vice::Replay) && self.chance(25) {
            let which = self.net.draw();
            if let Some(frame) = self.remembered(node, which) {
                self.send(node, link, frame);
            }
        }
        if vices.contains(&Vice::Garble) && self.chance(10) {
            let nonsense = (0..self.below(40)).map(|_| self.net.draw().to_be_bytes()[0]).collect();
            self.send(node, link, nonsense);
        }
    }

    fn distort(&mut self, node: usize, to: usize, vices: &BTreeSet<Vice>, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let Ok(frame) = Frame::decode(&bytes) else { return vec![bytes] };
        match frame {
            Frame::Entries { ledger, mut entries } => {
                entries.retain(|raw| !self.is_kept_back(node, to, ledger, raw));
                if vices.contains(&Vice::Withhold) {
                    let held = self.nodes[node].replica.ledgers.get(&ledger);
                    let takes_away = |raw: &RawEntry| {
                        let entry = held.and_then(|held| held.get(&EntryHash::of(raw.header.as_bytes())));
                        entry.is_some_and(|entry| entry.header.action.takes_away())
                    };
                    entries.retain(|raw| !takes_away(raw));
                }
                if vices.contains(&Vice::Promise) {
                    entries.clear();
                }
                if vices.contains(&Vice::Leak) {
                    entries.extend(self.anything(node, ledger));
                }
                if vices.contains(&Vice::Forge) && !entries.is_empty() {
                    let at = self.below(entries.len());
                    self.forge(&mut entries[at]);
                }
                entries.extend(self.private(node, to, ledger).into_iter().map(Entry::to_raw));
                if entries.is_empty() { Vec::new() } else { vec![Frame::Entries { ledger, entries }.encode()] }
            }
            Frame::Done { ledger, .. } => {
                let entries: Vec<RawEntry> = self.private(node, to, ledger).into_iter().map(Entry::to_raw).collect();
                if entries.is_empty() { vec![bytes] } else { vec![bytes, Frame::Entries { ledger, entries }.encode()] }
            }
            Frame::Heads { ledger, opening, charters, mut lanes, checkpoints, confirm, last } if vices.contains(&Vice::Promise) => {
                for (_, tips) in &mut lanes {
                    let more = tips.iter().map(|(author, seq, hash)| (*author, seq + 5, EntryHash::of(hash.as_bytes()))).collect::<Vec<_>>();
                    tips.extend(more);
                }
                let heads = Frame::Heads { ledger, opening, charters, lanes, checkpoints, confirm, last };
                vec![heads.encode(), Frame::Pending { blobs: 7 }.encode()]
            }
            _ => vec![bytes],
        }
    }

    /// Some entries of a ledger, whoever they are for.
    fn anything(&mut self, node: usize, ledger: LedgerId) -> Vec<RawEntry> {
        let skip = self.below(30);
        let Some(held) = self.nodes[node].replica.ledgers.get(&ledger) else { return Vec::new() };
        held.lanes().flat_map(|lane| held.entries(lane)).skip(skip).take(8).map(Entry::to_raw).collect()
    }

    fn forge(&mut self, raw: &mut RawEntry) {
        let mut header = raw.header.as_bytes().to_vec();
        match self.below(3) {
            0 => raw.body = Some(vec![9; 64].into()),
            1 => raw.body = None,
            _ => {
                let at = self.below(header.len());
                header[at] ^= 1 << self.below(8);
                raw.header = Signed::from_bytes(header);
            }
        }
    }
}
