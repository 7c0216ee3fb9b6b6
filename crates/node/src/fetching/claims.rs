//! What is said of documents that are to be fetched. One hash with two lengths is two claims, of which one at most is true. It is asked for under one of them; who has it says how long it is, and it is
//! asked for again if somebody has claimed that. So a false claim, which anybody who may write can make, keeps nobody from having the document, and many cost no more than one.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{BlobHash, EndpointKey};

use crate::{net::FetchReport, session::Missing};

/// The lengths that are said of each document, and what came of asking.
pub(super) struct Claims {
    /// Not asked for; after the first answer, those that somebody who has it says.
    lengths: BTreeMap<BlobHash, BTreeSet<u64>>,
    /// To be asked for, or being asked for.
    next: Vec<(BlobHash, u64)>,
    got: BTreeMap<BlobHash, u64>,
    /// Who does not give it as anybody says that it is.
    refused: BTreeMap<BlobHash, BTreeSet<EndpointKey>>,
}

impl Claims {
    pub(super) fn of(missing: &[Missing]) -> Self {
        let mut lengths: BTreeMap<BlobHash, BTreeSet<u64>> = BTreeMap::new();
        for one in missing {
            lengths.entry(one.blob).or_default().insert(one.length);
        }
        let next = lengths.iter_mut().filter_map(|(blob, lengths)| Some((*blob, lengths.pop_first()?))).collect();
        Self { lengths, next, got: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// What is to be asked for next: nothing when all is known.
    pub(super) fn ask(&self) -> &[(BlobHash, u64)] {
        &self.next
    }

    /// Takes what came of asking.
    pub(super) fn answer(&mut self, report: &FetchReport) {
        let got: BTreeSet<&BlobHash> = report.got.iter().collect();
        let mut refused: BTreeMap<BlobHash, BTreeSet<EndpointKey>> = BTreeMap::new();
        for (peer, blob) in &report.refused {
            refused.entry(*blob).or_default().insert(*peer);
        }
        for (blob, length) in std::mem::take(&mut self.next) {
            let known = self.refused.remove(&blob);
            if got.contains(&blob) {
                self.got.insert(blob, length);
                continue;
            }
            let refused = refused.remove(&blob).unwrap_or_default();
            let lengths = self.lengths.entry(blob).or_default();
            let refused = match known {
                Some(known) => known.intersection(&refused).copied().collect(),
                None => {
                    // A source says one at first: it cannot go on saying others, however many are claimed.
                    lengths.retain(|length| report.others.get(&blob).is_some_and(|told| told.contains(length)));
                    refused
                }
            };
            self.refused.insert(blob, refused);
            self.next.extend(lengths.pop_first().map(|length| (blob, length)));
        }
    }

    /// Whether a document came, as it was said to be.
    pub(super) fn is_true(&self, one: &Missing) -> bool {
        self.got.get(&one.blob) == Some(&one.length)
    }

    /// What came, and what was not given.
    pub(super) fn into_got_and_refused(self) -> (Vec<BlobHash>, BTreeSet<(EndpointKey, BlobHash)>) {
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

    fn report(got: &[u8], refused: &[(u8, u8)], others: &[(u8, u64)]) -> FetchReport {
        FetchReport {
            got: got.iter().map(|letter| blob(*letter)).collect(),
            refused: refused.iter().map(|(from, letter)| (peer(*from), blob(*letter))).collect(),
            others: others.iter().map(|(letter, length)| (blob(*letter), [*length].into())).collect(),
            ..FetchReport::default()
        }
    }

    #[test]
    fn false_lengths_keep_nobody_from_having_the_true_one_however_many_they_are() {
        let mut missing: Vec<Missing> = (1..4000).map(|length| said(b'a', length)).collect();
        missing.push(said(b'b', 5));
        let mut claims = Claims::of(&missing);
        assert_eq!(claims.ask(), [(blob(b'a'), 1), (blob(b'b'), 5)]);
        claims.answer(&report(b"b", &[(1, b'a'), (2, b'a')], &[(b'a', 3000)]));
        assert_eq!(claims.ask(), [(blob(b'a'), 3000)]);
        claims.answer(&report(b"a", &[], &[]));
        assert!(claims.ask().is_empty());
        let is_true: Vec<_> = missing.iter().filter(|one| claims.is_true(one)).map(|one| (one.blob, one.length)).collect();
        assert_eq!(is_true, [(blob(b'a'), 3000), (blob(b'b'), 5)]);
        assert_eq!(claims.into_got_and_refused(), (vec![blob(b'a'), blob(b'b')], BTreeSet::new()));
    }

    #[test]
    fn what_nobody_has_is_refused_at_once_whatever_is_said_of_it() {
        let missing: Vec<Missing> = (1..10).map(|length| said(b'a', length)).collect();
        // Nobody has it; or somebody has it, as nobody says that it is.
        for others in [&[][..], &[(b'a', 77)]] {
            let mut claims = Claims::of(&missing);
            claims.answer(&report(b"", &[(1, b'a')], others));
            assert!(claims.ask().is_empty());
            assert_eq!(claims.into_got_and_refused(), (vec![], [(peer(1), blob(b'a'))].into()));
        }
    }

    #[test]
    fn only_who_refuses_every_length_that_is_asked_for_does_not_give_it() {
        let mut claims = Claims::of(&[said(b'a', 9), said(b'a', 10), said(b'b', 5)]);
        claims.answer(&report(b"", &[(1, b'a'), (2, b'a'), (3, b'b')], &[(b'a', 10)]));
        assert_eq!(claims.ask(), [(blob(b'a'), 10)]);
        // The second, who has it, was out of reach.
        claims.answer(&report(b"", &[(1, b'a'), (3, b'a')], &[]));
        assert!(claims.ask().is_empty());
        assert_eq!(claims.into_got_and_refused(), (vec![], [(peer(1), blob(b'a')), (peer(3), blob(b'b'))].into()));
    }

    #[test]
    fn a_source_that_says_a_false_length_hides_no_other() {
        let mut claims = Claims::of(&[9, 10, 11, 12].map(|length| said(b'a', length)));
        let told = FetchReport { others: [(blob(b'a'), [10, 11].into())].into(), ..report(b"", &[(1, b'a'), (2, b'a')], &[]) };
        claims.answer(&told);
        assert_eq!(claims.ask(), [(blob(b'a'), 10)]);
        // Nor can it have them ask for ever.
        claims.answer(&report(b"", &[(1, b'a'), (2, b'a')], &[(b'a', 12)]));
        assert_eq!(claims.ask(), [(blob(b'a'), 11)]);
        claims.answer(&report(b"a", &[], &[]));
        assert!(claims.ask().is_empty() && claims.is_true(&said(b'a', 11)));
    }
}
