//! What is said of documents that are to be fetched. One hash with two lengths is two claims, of which one at most is true: they are asked for one after the other, so that a false one, which anybody
//! who may write can make, keeps nobody from having the document. Of very many some are asked for each time.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{BlobHash, EndpointKey};

use crate::{net::FetchReport, session::Missing};

/// Lengths of one document that are asked for in one fetch, one after the other: the other documents of the group wait for that.
const ROUNDS: usize = 4;

/// The lengths that are said of each document, and what came of asking.
pub(super) struct Claims {
    /// Not asked for yet.
    lengths: BTreeMap<BlobHash, Vec<u64>>,
    rounds: usize,
    /// Being asked for.
    asked: Vec<(BlobHash, u64)>,
    got: BTreeMap<BlobHash, u64>,
    /// Who does not give it, whatever length is said.
    refused: BTreeMap<BlobHash, BTreeSet<EndpointKey>>,
}

impl Claims {
    /// `draw` is another number each time: it decides what is asked for where there is too much.
    pub(super) fn of(missing: &[Missing], draw: u64) -> Self {
        let mut lengths: BTreeMap<BlobHash, BTreeSet<u64>> = BTreeMap::new();
        for one in missing {
            lengths.entry(one.blob).or_default().insert(one.length);
        }
        let drawn = |lengths: BTreeSet<u64>| {
            let mut lengths: Vec<u64> = lengths.into_iter().collect();
            if lengths.len() > ROUNDS {
                lengths.sort_by_key(|length| *blake3::hash(&[draw.to_le_bytes(), length.to_le_bytes()].concat()).as_bytes());
            } else {
                lengths.reverse();
            }
            lengths
        };
        let lengths = lengths.into_iter().map(|(blob, lengths)| (blob, drawn(lengths))).collect();
        Self { lengths, rounds: 0, asked: Vec::new(), got: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// What is to be asked for next: nothing when enough has been.
    pub(super) fn ask(&mut self) -> &[(BlobHash, u64)] {
        self.rounds += 1;
        if self.rounds <= ROUNDS {
            self.asked = self.lengths.iter_mut().filter_map(|(blob, lengths)| Some((*blob, lengths.pop()?))).collect();
        }
        &self.asked
    }

    /// Takes what came of asking these peers.
    pub(super) fn answer(&mut self, report: &FetchReport, peers: impl Iterator<Item = EndpointKey> + Clone) {
        let got: BTreeSet<&BlobHash> = report.got.iter().collect();
        let mut refused: BTreeMap<BlobHash, BTreeSet<EndpointKey>> = BTreeMap::new();
        for (peer, blob) in &report.refused {
            refused.entry(*blob).or_default().insert(*peer);
        }
        for (blob, length) in std::mem::take(&mut self.asked) {
            let others = self.lengths.get(&blob).is_some_and(|lengths| !lengths.is_empty());
            let known = self.refused.remove(&blob);
            if got.contains(&blob) {
                self.got.insert(blob, length);
                self.lengths.remove(&blob);
                if others || known.is_some() {
                    // The others are false, and nobody can give what they say.
                    self.refused.insert(blob, peers.clone().collect());
                }
                continue;
            }
            let refused = refused.remove(&blob).unwrap_or_default();
            self.refused.insert(blob, known.map_or(refused.clone(), |known| known.intersection(&refused).copied().collect()));
        }
    }

    /// Whether a document came, as it was said to be.
    pub(super) fn is_true(&self, one: &Missing) -> bool {
        self.got.get(&one.blob) == Some(&one.length)
    }

    /// What came, and what was not given under any length.
    pub(super) fn into_got_and_refused(mut self) -> (Vec<BlobHash>, BTreeSet<(EndpointKey, BlobHash)>) {
        // Of what is left to ask nothing is known.
        self.refused.retain(|blob, _| self.lengths.get(blob).is_none_or(Vec::is_empty));
        let refused = self.refused.into_iter().flat_map(|(blob, peers)| peers.into_iter().map(move |peer| (peer, blob)));
        (self.got.into_keys().collect(), refused.collect())
    }
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::{EntryHash, LedgerId};

    use super::*;

    fn blob(letter: u8) -> BlobHash {
        BlobHash::new([letter; 32])
    }

    fn peer(letter: u8) -> EndpointKey {
        EndpointKey::new([letter; 32])
    }

    fn said(letter: u8, length: u64) -> Missing {
        Missing { ledger: LedgerId::of(b"ledger"), publish: EntryHash::of(&length.to_le_bytes()), blob: blob(letter), length, author: None }
    }

    fn report(got: &[u8], refused: &[(u8, u8)]) -> FetchReport {
        FetchReport {
            got: got.iter().map(|letter| blob(*letter)).collect(),
            refused: refused.iter().map(|(from, letter)| (peer(*from), blob(*letter))).collect(),
            ..FetchReport::default()
        }
    }

    #[test]
    fn a_false_length_keeps_nobody_from_having_the_true_one() {
        let missing = [said(b'a', 9), said(b'a', 10), said(b'a', 11), said(b'b', 5)];
        let mut claims = Claims::of(&missing, 0);
        let peers = || [1, 2].map(peer).into_iter();
        assert_eq!(claims.ask(), [(blob(b'a'), 9), (blob(b'b'), 5)]);
        claims.answer(&report(b"b", &[(1, b'a'), (2, b'a')]), peers());
        assert_eq!(claims.ask(), [(blob(b'a'), 10)]);
        claims.answer(&report(b"a", &[]), peers());
        assert!(claims.ask().is_empty(), "of two lengths one at most is true");
        assert_eq!(missing.each_ref().map(|one| claims.is_true(one)), [false, true, false, true]);
        // Nobody is waited for to give it once more.
        let (got, refused) = claims.into_got_and_refused();
        assert_eq!((got, refused), (vec![blob(b'a'), blob(b'b')], [1, 2].map(|from| (peer(from), blob(b'a'))).into()));
    }

    #[test]
    fn only_who_refuses_every_length_does_not_give_it() {
        let mut claims = Claims::of(&[said(b'a', 9), said(b'a', 10), said(b'b', 5)], 0);
        let peers = || [1, 2, 3].map(peer).into_iter();
        claims.ask();
        claims.answer(&report(b"", &[(1, b'a'), (2, b'a'), (3, b'b')]), peers());
        claims.ask();
        // The second was out of reach.
        claims.answer(&report(b"", &[(1, b'a'), (3, b'a')]), peers());
        assert!(claims.ask().is_empty());
        assert_eq!(claims.into_got_and_refused(), (vec![], [(peer(1), blob(b'a')), (peer(3), blob(b'b'))].into()));
    }

    #[test]
    fn of_very_many_lengths_some_are_asked_for_each_time_and_each_at_some_time() {
        let missing: Vec<Missing> = (0..50).map(|length| said(b'a', length)).collect();
        let mut seen = BTreeSet::new();
        for draw in 0..200 {
            let mut claims = Claims::of(&missing, draw);
            let mut rounds = 0;
            while let [(_, length)] = *claims.ask() {
                seen.insert(length);
                rounds += 1;
                claims.answer(&report(b"", &[(1, b'a')]), [peer(1)].into_iter());
            }
            assert_eq!(rounds, ROUNDS);
            assert!(claims.into_got_and_refused().1.is_empty(), "it is not refused while there is something to ask");
        }
        assert_eq!(seen.len(), 50);
    }
}
