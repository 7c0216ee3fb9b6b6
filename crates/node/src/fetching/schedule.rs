//! Which documents are fetched when: in groups that the same peers may have, side by side, each in its turn. Knows no network and no clock.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use chartmesh_identity::{BlobHash, EndpointKey};
use tokio::time::Instant;

use crate::{
    net::Pace,
    session::{Missing, Source},
};

/// Groups that are fetched side by side, so that one whose sources do not answer holds up no other.
const GROUPS: usize = 16;
/// A group that takes longer is slow: it makes room for another, and may go on beside it.
const BRISK: Duration = Duration::from_secs(10);
/// Groups in all. Of slow ones, when there are so many and others wait, the one that moves least ends: peers that give next to nothing must not keep this node from others.
const MOST_GROUPS: usize = 32;
/// How often one ends so, at most, and how long the next waits for one that has not ended: what had come of the document under way is lost.
const CUT_EVERY: Duration = Duration::from_secs(1);
const CUT_WAIT: Duration = Duration::from_secs(5);
/// Documents of a group at most: they count as here when it has ended, and what has been announced meanwhile comes after it.
const MOST: usize = 4096;
/// How long documents that did not come are left alone, at least, and how much longer for each that was refused, since they are all asked for again: once as long, and up to four times when nothing came
/// again and again.
const REST: Duration = Duration::from_millis(500);
const REST_EACH: Duration = Duration::from_millis(1);
const MOST_VAIN: u32 = 4;
/// Sets of peers of which is known what they were asked for last, before those are forgotten that nothing may be had from now.
const PAST: usize = 256;

/// The peers that documents may be had from, in order.
pub(super) type Peers = Vec<EndpointKey>;

/// Documents that the same peers may have.
pub(super) struct Group {
    pub(super) sources: Vec<Source>,
    pub(super) missing: Vec<Missing>,
}

/// What came of fetching a group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    /// Documents came.
    pub(super) came: bool,
    /// Documents are left, and are to rest.
    pub(super) left: bool,
    /// So many were refused.
    pub(super) refused: usize,
}

impl Outcome {
    /// What came of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self { came: self.came || other.came, left: self.left || other.left, refused: self.refused + other.refused }
    }
}

/// What is known of asking some peers.
#[derive(Default)]
struct Past {
    /// The last document that they were asked for: the next is asked for next, so that the refused ones do not keep the others from their turn.
    last: Option<BlobHash>,
    /// How often in a row nothing came.
    vain: u32,
}

/// A group that is under way.
struct Busy {
    blobs: BTreeSet<BlobHash>,
    begun: Instant,
    pace: Arc<Pace>,
}

impl Busy {
    fn is_slow(&self, now: Instant) -> bool {
        now - self.begun >= BRISK
    }

    /// Bytes that have come, each second.
    fn speed(&self, now: Instant) -> u64 {
        self.pace.moved.load(Ordering::Relaxed) / (now - self.begun).as_secs().max(1)
    }
}

/// What is under way, what comes next, and what rests.
pub(super) struct Schedule {
    busy: BTreeMap<Peers, Busy>,
    /// Looked up all at once, since that passes over everything that is held.
    waiting: VecDeque<(Peers, Group)>,
    /// It is time to look again.
    stale: bool,
    /// The peers that were asked last: the next in their order are asked next.
    last: Peers,
    /// What nobody of some peers could give, and until when it is left alone.
    resting: BTreeMap<(Peers, BlobHash), Instant>,
    /// Of peers that may have something.
    past: BTreeMap<Peers, Past>,
    /// When a slow group was last ended.
    cut: Option<Instant>,
}

impl Schedule {
    pub(super) fn new() -> Self {
        Self { busy: BTreeMap::new(), waiting: VecDeque::new(), stale: true, last: Peers::new(), resting: BTreeMap::new(), past: BTreeMap::new(), cut: None }
    }

    /// A group to begin with, if not enough are under way, and what is to tell how it gets on. `look` finds what is missing, by peers, but for what it is to pass over.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        look: impl FnOnce(&dyn Fn(&Peers, &BlobHash) -> bool) -> BTreeMap<Peers, Group>,
    ) -> Option<(Peers, Group, Arc<Pace>)> {
        if std::mem::take(&mut self.stale) {
            let (busy, resting) = (&self.busy, &self.resting);
            let taken = |peers: &Peers, blob: &BlobHash| {
                busy.contains_key(peers) || busy.values().any(|group| group.blobs.contains(blob)) || resting.contains_key(&(peers.clone(), *blob))
            };
            let mut groups = look(&taken);
            // One that comes and goes goes on where it was.
            if self.past.len() > PAST {
                self.past.retain(|peers, _| groups.contains_key(peers) || busy.contains_key(peers));
            }
            let mut later = groups.split_off(&self.last);
            groups.extend(later.remove_entry(&self.last));
            self.waiting = later.into_iter().chain(groups).collect();
        }
        if self.waiting.is_empty() || !self.has_room(now) {
            return None;
        }
        let (peers, mut group) = self.waiting.pop_front()?;
        let past = self.past.entry(peers.clone()).or_default();
        group.missing = turn(group.missing, past.last);
        past.last = group.missing.last().map(|one| one.blob);
        let pace = Arc::new(Pace::default());
        self.busy.insert(peers.clone(), Busy { blobs: group.missing.iter().map(|one| one.blob).collect(), begun: now, pace: pace.clone() });
        self.last.clone_from(&peers);
        Some((peers, group, pace))
    }

    /// Whether another group may begin. Now and then ends one, if there are too many.
    fn has_room(&mut self, now: Instant) -> bool {
        let (slow, brisk): (Vec<&Busy>, Vec<&Busy>) = self.busy.values().partition(|group| group.is_slow(now));
        if brisk.len() >= GROUPS || self.busy.len() < MOST_GROUPS {
            return brisk.len() < GROUPS;
        }
        let pause = if slow.iter().any(|group| group.pace.cut.is_cancelled()) { CUT_WAIT } else { CUT_EVERY };
        if self.cut.is_none_or(|last| now - last >= pause)
            && let Some(slowest) = slow.iter().filter(|group| !group.pace.cut.is_cancelled()).min_by_key(|group| group.speed(now))
        {
            slowest.pace.cut.cancel();
            self.cut = Some(now);
        }
        false
    }

    /// A group has ended.
    pub(super) fn end(&mut self, peers: &Peers, Outcome { came, left, refused }: Outcome, now: Instant) {
        let blobs = self.busy.remove(peers).map(|group| group.blobs).unwrap_or_default();
        let past = self.past.entry(peers.clone()).or_default();
        past.vain = if came { 0 } else { (past.vain + 1).min(MOST_VAIN) };
        if left {
            let until = now + REST + REST_EACH * u32::try_from(refused).unwrap_or(u32::MAX) * past.vain;
            self.resting.extend(blobs.into_iter().map(|blob| ((peers.clone(), blob), until)));
        }
        self.stale |= self.waiting.is_empty();
    }

    /// When there is something to begin with again, if nothing happens before: something has rested, or a group makes room by being slow.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        let is_full = !self.waiting.is_empty() && self.busy.len() >= GROUPS;
        let makes_room = self.busy.values().filter(|group| is_full && !group.is_slow(now)).map(|group| group.begun + BRISK);
        let cuts = self.cut.into_iter().flat_map(|last| [last + CUT_EVERY, last + CUT_WAIT]).filter(|next| is_full && *next > now);
        self.resting.values().copied().chain(makes_room).chain(cuts).min()
    }

    /// What has rested is looked for again.
    pub(super) fn wake(&mut self, now: Instant) {
        self.resting.retain(|_, until| *until > now);
        self.stale = true;
    }

    /// There may be more to fetch, and who has refused something may give it now: what would not rest long is asked for again, too.
    pub(super) fn look(&mut self, now: Instant) {
        self.wake(now + 2 * REST);
    }

    /// Somebody may have documents who had not: all are looked for.
    pub(super) fn wake_all(&mut self) {
        self.resting.clear();
        self.stale = true;
    }
}

/// As many as are fetched at a time, with all that is said of each: those after the last one, and from the first again.
fn turn(mut missing: Vec<Missing>, last: Option<BlobHash>) -> Vec<Missing> {
    missing.sort_by_key(|one| one.blob);
    let after = last.map_or(0, |last| missing.partition_point(|one| one.blob <= last));
    missing.rotate_left(after);
    if let Some(most) = missing.get(MOST - 1).map(|one| one.blob) {
        let end = missing.iter().skip(MOST).position(|one| one.blob != most).map_or(missing.len(), |more| MOST + more);
        missing.truncate(end);
    }
    missing
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::{EntryHash, LedgerId};

    use super::*;

    fn peers(numbers: &[u8]) -> Peers {
        numbers.iter().map(|number| EndpointKey::new([*number; 32])).collect()
    }

    fn blob(number: u32) -> BlobHash {
        BlobHash::of(&number.to_le_bytes())
    }

    /// A patient's mesh: who may have what.
    struct World(Vec<(Peers, Vec<u32>)>);

    impl World {
        fn groups(&self, taken: &dyn Fn(&Peers, &BlobHash) -> bool) -> BTreeMap<Peers, Group> {
            let missing = |number: &u32| Missing {
                ledger: LedgerId::of(b"ledger"),
                publish: EntryHash::of(&number.to_le_bytes()),
                blob: blob(*number),
                length: 1,
                author: None,
            };
            let groups = self.0.iter().map(|(peers, numbers)| {
                let missing = numbers.iter().filter(|number| !taken(peers, &blob(**number))).map(missing).collect();
                (peers.clone(), Group { sources: Vec::new(), missing })
            });
            groups.filter(|(_, group)| !group.missing.is_empty()).collect()
        }
    }

    /// Begins all that can be: by whose peers, and how many documents.
    fn begin_all(schedule: &mut Schedule, world: &World) -> Vec<(Peers, usize)> {
        begin_all_at(schedule, world, Instant::now())
    }

    fn begin_all_at(schedule: &mut Schedule, world: &World, now: Instant) -> Vec<(Peers, usize)> {
        std::iter::from_fn(|| schedule.begin(now, |taken| world.groups(taken))).map(|(peers, group, _)| (peers, group.missing.len())).collect()
    }

    #[test]
    fn slow_groups_make_room_for_others_and_of_too_many_the_slowest_ends() {
        let world = World((0..100).map(|number| (peers(&[number]), vec![u32::from(number)])).collect());
        let mut schedule = Schedule::new();
        let now = Instant::now();
        assert_eq!(begin_all_at(&mut schedule, &world, now).len(), GROUPS);
        for number in 0..16 {
            schedule.busy[&peers(&[number])].pace.moved.store(100 * (1 + (u64::from(number) + 9) % 16), Ordering::Relaxed);
        }
        assert_eq!(schedule.rests_until(now), Some(now + BRISK));
        let cut = |schedule: &Schedule| {
            let cut = schedule.busy.iter().filter(|(_, group)| group.pace.cut.is_cancelled());
            cut.map(|(peers, _)| peers.clone()).collect::<Vec<_>>()
        };
        let later = now + BRISK;
        schedule.wake(later);
        assert_eq!(begin_all_at(&mut schedule, &world, later).len(), GROUPS, "beside those that have become slow");
        assert_eq!((schedule.busy.len(), cut(&schedule).len()), (MOST_GROUPS, 0));
        let full = later + BRISK;
        for number in 16..32 {
            schedule.busy[&peers(&[number])].pace.moved.store(100_000, Ordering::Relaxed);
        }
        schedule.wake(full);
        assert!(begin_all_at(&mut schedule, &world, full).is_empty());
        assert_eq!(cut(&schedule), [peers(&[7])]);
        assert!(begin_all_at(&mut schedule, &world, full).is_empty());
        schedule.wake(full + CUT_EVERY);
        assert!(begin_all_at(&mut schedule, &world, full + CUT_EVERY).is_empty());
        assert_eq!(cut(&schedule), [peers(&[7])], "one after the other");
        assert_eq!(schedule.rests_until(full), Some(full + CUT_EVERY));
        assert_eq!(schedule.rests_until(full + CUT_EVERY), Some(full + CUT_WAIT));
        schedule.end(&peers(&[7]), Outcome { came: false, left: true, refused: 0 }, full);
        assert_eq!(begin_all_at(&mut schedule, &world, full).len(), 1);
        assert!(begin_all_at(&mut schedule, &world, full + CUT_EVERY).is_empty());
        assert_eq!(cut(&schedule), [peers(&[8])]);
    }

    #[test]
    fn nobody_is_cut_off_for_whom_nobody_waits() {
        let world = World((0..16).map(|number| (peers(&[number]), vec![u32::from(number)])).collect());
        let mut schedule = Schedule::new();
        let now = Instant::now();
        begin_all_at(&mut schedule, &world, now);
        schedule.wake(now + 2 * BRISK);
        begin_all_at(&mut schedule, &world, now + 2 * BRISK);
        assert!(schedule.busy.values().all(|group| !group.pace.cut.is_cancelled()));
        assert_eq!(schedule.rests_until(now), None);
    }

    #[test]
    fn groups_run_side_by_side_and_no_document_twice() {
        let mut world = World(vec![(peers(&[1]), vec![1, 2]), (peers(&[1, 2]), vec![3]), (peers(&[3]), vec![4])]);
        let mut schedule = Schedule::new();
        let now = Instant::now();
        assert_eq!(begin_all(&mut schedule, &world), [(peers(&[1]), 2), (peers(&[1, 2]), 1), (peers(&[3]), 1)]);
        assert!(begin_all(&mut schedule, &world).is_empty());
        schedule.wake_all();
        assert!(begin_all(&mut schedule, &world).is_empty(), "all of it is under way");
        // Another may have it now, too.
        world.0.push((peers(&[3]), vec![2, 4]));
        world.0.remove(2);
        schedule.end(&peers(&[3]), Outcome::default(), now);
        assert_eq!(begin_all(&mut schedule, &world), [(peers(&[3]), 1)], "document 2 is with the first");
    }

    #[test]
    fn the_next_in_order_is_asked_next_and_no_more_at_a_time_than_is_allowed() {
        let many: Vec<_> = (0..40).map(|number| (peers(&[number]), vec![u32::from(number)])).collect();
        let world = World(many);
        let mut schedule = Schedule::new();
        let now = Instant::now();
        assert_eq!(begin_all(&mut schedule, &world).len(), GROUPS);
        let mut order = Vec::new();
        for number in 0..40 {
            schedule.end(&peers(&[number]), Outcome::default(), now);
            // All is looked up anew, as if everything were still missing.
            schedule.wake(now);
            order.extend(begin_all(&mut schedule, &world).into_iter().map(|(peers, _)| peers));
        }
        let expected: Vec<_> = (16..40).chain(0..16).map(|number| peers(&[number])).collect();
        assert_eq!(order, expected);
    }

    fn refused(count: usize) -> Outcome {
        Outcome { came: false, left: true, refused: count }
    }

    #[test]
    fn what_nobody_gives_rests_the_longer_the_more_it_is_and_the_more_often() {
        let (few, many) = (peers(&[1]), peers(&[2]));
        let world = World(vec![(few.clone(), vec![1]), (many.clone(), (100..3100).collect())]);
        let mut schedule = Schedule::new();
        let now = Instant::now();
        assert_eq!(begin_all(&mut schedule, &world).len(), 2);
        schedule.end(&few, refused(1), now);
        schedule.end(&many, refused(3000), now);
        assert!(begin_all(&mut schedule, &world).is_empty());
        let first = now + REST + REST_EACH;
        assert_eq!(schedule.rests_until(now), Some(first));
        schedule.wake(first);
        assert_eq!(begin_all(&mut schedule, &world), [(few.clone(), 1)]);
        schedule.end(&few, refused(1), first);
        schedule.look(first);
        assert_eq!(begin_all(&mut schedule, &world), [(few.clone(), 1)], "news do not wait, nor does what may be refused no longer");
        assert_eq!(schedule.rests_until(now), Some(now + REST + REST_EACH * 3000), "but what is much, lest each of them have it all asked for");
        schedule.wake_all();
        assert_eq!(begin_all(&mut schedule, &world), [(many.clone(), 3000)]);
        schedule.end(&few, Outcome::default(), now);
        begin_all(&mut schedule, &world);
        for vain in [2, 3, 4, 4] {
            schedule.end(&many, refused(3000), now);
            assert_eq!(schedule.rests_until(now), Some(now + REST + REST_EACH * 3000 * vain));
            schedule.wake_all();
            begin_all(&mut schedule, &world);
        }
        schedule.end(&many, Outcome { came: true, ..refused(2999) }, now);
        assert_eq!(schedule.rests_until(now), Some(now + REST), "who gives something may have more soon");
        schedule.wake_all();
        begin_all(&mut schedule, &world);
        schedule.end(&many, refused(0), now);
        assert_eq!(schedule.rests_until(now), Some(now + REST), "who could not be asked has not been asked in vain");
    }

    #[test]
    fn many_that_are_refused_keep_no_other_from_its_turn() {
        let count = u32::try_from(3 * MOST + 1).expect("few");
        let one = peers(&[1]);
        let world = World(vec![(one.clone(), (0..count).collect())]);
        let mut schedule = Schedule::new();
        let mut now = Instant::now();
        let mut asked = BTreeSet::new();
        for _ in 0..4 {
            let (peers, group, _) = schedule.begin(now, |taken| world.groups(taken)).expect("more");
            assert!(group.missing.len() <= MOST);
            asked.extend(group.missing.iter().map(|one| one.blob));
            // To ask takes longer than any rest.
            now += Duration::from_secs(3600);
            schedule.end(&peers, refused(MOST), now);
            // The peer leaves, and comes back.
            schedule.wake_all();
            assert!(begin_all(&mut schedule, &World(Vec::new())).is_empty());
            schedule.wake_all();
        }
        assert_eq!(asked.len(), 3 * MOST + 1);
    }

    #[test]
    fn what_is_said_of_one_document_stays_together() {
        let said = |number: u32, length| Missing {
            length,
            ..World(vec![(peers(&[1]), vec![number])]).groups(&|_, _| false).remove(&peers(&[1])).expect("one").missing[0]
        };
        let mut all: Vec<Missing> =
            (0..10).flat_map(|number| (0..1000).map(move |length| (number, length))).map(|(number, length)| said(number, length)).collect();
        all.reverse();
        let first = turn(all.clone(), None);
        assert_eq!(first.len(), 5000, "the fifth in full");
        let next = turn(all, first.last().map(|one| one.blob));
        assert!(next.iter().take(5000).all(|one| first.iter().all(|before| before.blob != one.blob)));
    }
}
