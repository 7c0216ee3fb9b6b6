//! What a peer is known to hold of one author's log in one lane: the tips of that log, from which all before them follows.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::EntryHash;

/// Tips of one log: usually one, several if it is forked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tips(BTreeMap<u64, BTreeSet<EntryHash>>);

impl Tips {
    /// The peer holds this entry, and so all before it.
    pub(crate) fn add(&mut self, seq: u64, hash: EntryHash, prev: Option<EntryHash>) {
        if let Some(prev) = prev
            && let Some(before) = self.0.get_mut(&(seq.saturating_sub(1)))
        {
            before.remove(&prev);
            if before.is_empty() {
                self.0.remove(&(seq - 1));
            }
        }
        self.0.entry(seq).or_default().insert(hash);
    }

    /// A later tip of the same branch is known: those before it that are held here, and so are on that branch as well, say nothing more.
    pub(crate) fn forget_before(&mut self, seq: u64, is_held: impl Fn(&EntryHash) -> bool) {
        for hashes in self.0.range_mut(..seq).map(|(_, hashes)| hashes) {
            hashes.retain(|hash| !is_held(hash));
        }
        self.0.retain(|_, hashes| !hashes.is_empty());
    }

    /// All tips, lowest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, EntryHash)> + '_ {
        self.0.iter().flat_map(|(seq, hashes)| hashes.iter().map(|hash| (*seq, *hash)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(of: u8) -> EntryHash {
        EntryHash::of(&[of])
    }

    #[test]
    fn a_log_that_grows_keeps_one_tip_and_a_fork_two() {
        let mut tips = Tips::default();
        tips.add(1, hash(1), None);
        tips.add(2, hash(2), Some(hash(1)));
        assert_eq!(tips.iter().collect::<Vec<_>>(), [(2, hash(2))]);
        tips.add(2, hash(9), Some(hash(1)));
        assert_eq!(tips.iter().count(), 2);
        tips.add(3, hash(3), Some(hash(2)));
        assert_eq!(tips.iter().collect::<Vec<_>>(), [(2, hash(9)), (3, hash(3))]);
    }

    #[test]
    fn what_is_held_before_a_later_tip_is_forgotten_and_what_is_not_stays() {
        let mut tips = Tips::default();
        for seq in [2, 4, 5, 7] {
            tips.add(seq, hash(seq as u8), None);
        }
        tips.forget_before(5, |held| *held == hash(2));
        assert_eq!(tips.iter().map(|(seq, _)| seq).collect::<Vec<_>>(), [4, 5, 7]);
    }
}
