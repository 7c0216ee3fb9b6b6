//! One author's log in one lane: entries by place, and what was signed twice.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::EntryHash;

use crate::{entry::Entry, fence::Point};

/// All entries held, by hash.
pub(crate) type Entries = BTreeMap<EntryHash, Entry>;

/// Entries by place. A place with more than one is a fork.
#[derive(Debug, Default)]
pub(crate) struct Log {
    first: Vec<EntryHash>,
    more: BTreeMap<u64, BTreeSet<EntryHash>>,
}

impl Log {
    /// Adds an entry whose predecessor is held.
    pub(crate) fn push(&mut self, seq: u64, hash: EntryHash) {
        if seq == self.len() + 1 {
            self.first.push(hash);
        } else {
            self.more.entry(seq).or_default().insert(hash);
        }
    }

    /// The highest place held.
    pub(crate) fn len(&self) -> u64 {
        self.first.len() as u64
    }

    /// The lowest place with more than one entry.
    pub(crate) fn fork(&self) -> Option<u64> {
        self.more.keys().next().copied()
    }

    /// The entries of one place, by hash.
    pub(crate) fn at(&self, seq: u64) -> Vec<EntryHash> {
        let index = seq.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let mut all: Vec<_> = index.and_then(|index| self.first.get(index)).copied().into_iter().collect();
        if let Some(more) = self.more.get(&seq) {
            all.extend(more);
            all.sort_unstable();
        }
        all
    }

    /// All entries from place `seq` on, by place and then hash.
    pub(crate) fn from(&self, seq: u64) -> impl Iterator<Item = EntryHash> {
        let seq = seq.max(1);
        let alone = self.more.is_empty();
        let skip = usize::try_from(seq - 1).unwrap_or(usize::MAX);
        let straight = self.first.iter().skip(skip).copied().filter(move |_| alone);
        let forked = (seq..=self.len()).take_while(move |_| !alone).flat_map(|seq| self.at(seq));
        straight.chain(forked)
    }

    /// Entries that no other follows, by place and then hash.
    pub(crate) fn tips(&self, entries: &Entries) -> Vec<(u64, EntryHash)> {
        let Some(fork) = self.fork() else { return self.first.last().map(|last| (self.len(), *last)).into_iter().collect() };
        let followed: BTreeSet<_> = self.from(fork).filter_map(|hash| entries.get(&hash)?.header.prev).collect();
        let start = fork.saturating_sub(1).max(1);
        (start..=self.len()).flat_map(|seq| self.at(seq).into_iter().map(move |hash| (seq, hash))).filter(|(_, hash)| !followed.contains(hash)).collect()
    }

    /// The last entry before anything was signed twice.
    pub(crate) fn undisputed(&self) -> Option<(u64, EntryHash)> {
        let seq = self.fork().map_or(self.len(), |fork| fork - 1);
        let index = usize::try_from(seq).ok()?.checked_sub(1)?;
        self.first.get(index).map(|hash| (seq, *hash))
    }
}

/// The part of a log that leads up to one point.
#[derive(Debug)]
pub(crate) struct Span {
    end: Point,
    held: bool,
    fork: Option<u64>,
    branch: BTreeSet<EntryHash>,
}

impl Span {
    pub(crate) fn new(end: Point, log: &Log, entries: &Entries) -> Self {
        let held = log.at(end.seq).contains(&end.hash);
        let fork = log.fork();
        let mut branch = BTreeSet::new();
        if let (true, Some(fork)) = (held, fork) {
            let mut next = Some(end.hash);
            while let Some(entry) = next.and_then(|hash| entries.get(&hash)).filter(|entry| entry.header.seq >= fork) {
                branch.insert(entry.hash());
                next = entry.header.prev;
            }
        }
        Self { end, held, fork, branch }
    }

    /// Whether the point is held, so that it is known which of two branches leads to it.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Whether an entry of the log leads up to the point, or may do so as far as is known.
    pub(crate) fn contains(&self, seq: u64, hash: &EntryHash) -> bool {
        if !self.held {
            return seq < self.end.seq;
        }
        let on_branch = self.fork.is_none_or(|fork| seq < fork || self.branch.contains(hash));
        seq <= self.end.seq && on_branch
    }
}
