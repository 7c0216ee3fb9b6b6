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

    /// The peer holds these, which are all of its tips, and so all before them.
    pub(crate) fn advance(&mut self, tips: &[(u64, EntryHash)]) {
        if let Some(lowest) = tips.iter().map(|(seq, _)| *seq).min() {
            self.0 = self.0.split_off(&lowest);
        }
        for (seq, hash) in tips {
            self.add(*seq, *hash, None);
        }
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
    fn what_is_before_all_that_the_peer_tells_is_forgotten_and_what_is_beyond_is_not() {
        let mut tips = Tips::default();
        for seq in [2, 4, 7] {
            tips.add(seq, hash(seq as u8), None);
        }
        tips.advance(&[(5, hash(5)), (4, hash(44))]);
        assert_eq!(tips.iter().collect::<Vec<_>>(), {
            let mut four = [hash(4), hash(44)];
            four.sort();
            [(4, four[0]), (4, four[1]), (5, hash(5)), (7, hash(7))]
        });
        tips.advance(&[]);
        assert_eq!(tips.iter().count(), 4);
    }
}
