//! Fetching blobs: many in one request, from several sources side by side, going on where an earlier fetch stopped.
//!
//! Small blobs are asked for in groups (get-many), since a request each is many times slower; large ones in pieces. Groups and pieces wait in one queue, from which workers, [`WORKERS`] per source,
//! take what their source has not failed to give; over all fetches [`Turns`] bound how many of them ask a source at a time. The first blob of a group that is not given ends the answer, so a source
//! that gives little is asked for each by itself, several side by side: whatever it has comes. Blobs up to 1 MiB are held in memory until they are whole, at most 4 MiB of them per worker; larger ones
//! go into the store leaf by leaf. What a source does not give goes back for the others; one that breaks off again and again is left out. Who has nothing left to do takes over what another source gives too
//! slowly, and hands back what it has not. When one is gone, or its caller has waited enough ([`Pace`]), the fetch ends early: it may be asked anew elsewhere. Every blob's size is
//! compared with the stated one before anything of it is stored, and every leaf is verified against the hash (bao) before it is. All workers run in the caller's task; dropping it stops them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroU64,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bao_tree::io::BaoContentItem;
use chartmesh_identity::{BlobHash, EndpointKey};
use iroh::endpoint::Connection;
use iroh_blobs::{
    Hash,
    api::TempTag,
    get::fsm::{self, AtBlobContent, AtBlobHeader, AtBlobHeaderNextError, AtEndBlob, BlobContentNext, DecodeError, EndBlobNext},
    protocol::{ChunkRanges, ChunkRangesExt, ChunkRangesSeq, GetManyRequest},
};
use n0_future::{FuturesUnordered, StreamExt};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Blobs, Source,
    blobs::{WHOLE, lock, to_hash, to_id},
    connections::Connections,
    turns::{Turns, WORKERS},
};

/// Most bytes and blobs of a group.
const GROUP_BYTES: u64 = 64 << 20;
const GROUP_BLOBS: usize = 1024;
/// Fewest bytes and blobs worth a group of their own when there is work for several sources.
const MIN_GROUP_BYTES: u64 = 1 << 20;
const MIN_GROUP_BLOBS: usize = 64;
/// Larger blobs are fetched in pieces of half this, or in so many that are larger: what a blob is said to be long costs nothing.
const LARGE: u64 = 16 << 20;
const PIECE: u64 = LARGE / 2;
const PIECES: u64 = 64;
/// Blobs and bytes of them that are stored together.
const BATCH_BLOBS: usize = 64;
const BATCH_BYTES: usize = 4 << 20;
/// How long a source may take for the next leaf.
const STALL_WAIT: Duration = Duration::from_secs(20);
/// How long a source has what it was asked for to itself, when another could give it and has nothing else to do; four times as long each time that it is taken over. Also how
/// long others may go on when a source is gone.
const ALONE: Duration = Duration::from_secs(5);
/// Bytes a second that keep it to itself for longer.
const ENOUGH: u64 = 16 << 10;
/// How often a source that has nothing to do looks for what it could take over.
const LOOK: Duration = Duration::from_secs(1);
/// After so many answers in a row that ended early, with fewer blobs than this, a source is asked for each by itself.
const DOUBTFUL: usize = 4;
/// So many blobs side by side, of all workers together as many as a peer answers at a time.
const APART: usize = 16;
/// A source that breaks off so often in a row is left out.
const MAX_BREAKS: usize = 2;

/// What came of a fetch. Every blob that was wanted is in exactly one of the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchReport {
    /// Complete, and on disk.
    pub got: Vec<BlobHash>,
    /// Not, and why.
    pub failed: Vec<(BlobHash, String)>,
    /// Why the store here failed, if it did: what failed then may be had from the same sources another time.
    pub store: Option<String>,
    /// What a source does not give, or nobody can give as stated.
    pub refused: BTreeSet<(EndpointKey, BlobHash)>,
    /// Lengths that sources say a blob has, where that is not the stated one.
    pub others: BTreeMap<BlobHash, BTreeSet<u64>>,
}

/// How a fetch, or a part of it, gets on.
#[derive(Debug, Default)]
pub struct Pace {
    /// Bytes that have come.
    pub moved: AtomicU64,
    /// Cancelled, it ends with what has come.
    pub cut: CancellationToken,
}

/// A blob or a piece of one.
struct Item {
    hash: Hash,
    length: u64,
    ranges: ChunkRanges,
}

#[derive(Default)]
struct Group {
    items: Vec<Item>,
    /// Sources that do not give it.
    refused_by: BTreeSet<usize>,
    /// The source that it was just taken from, for being slow: another is to be asked first.
    slow: Option<usize>,
    /// How often it was taken over.
    taken: u32,
}

impl Group {
    fn may_come_from(&self, source: usize) -> bool {
        !self.refused_by.contains(&source) && self.slow != Some(source)
    }
}

/// What a source is being asked for.
struct Asked {
    /// How much had come when it was looked at last and was enough.
    mark: (Instant, u64),
    /// How long at least the source has it to itself.
    alone: Duration,
    /// Who else may be asked for some of it.
    others: BTreeSet<usize>,
    pace: Arc<Pace>,
}

impl Asked {
    /// Whether it comes too slowly for another source to stand by.
    fn is_late(&mut self, now: Instant) -> bool {
        let ((since, had), has) = (self.mark, self.pace.moved.load(Ordering::Relaxed));
        if self.pace.cut.is_cancelled() || now - since < self.alone {
            return false;
        }
        let is_late = has - had < ENOUGH * (now - since).as_secs();
        if !is_late {
            self.mark = (now, has);
        }
        is_late
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Group>,
    /// By number.
    running: BTreeMap<u64, Asked>,
    /// The next number.
    next: u64,
    /// Why the store itself failed: nothing more is of use.
    broken: Option<String>,
    /// Why a blob could not be had, by the last source that failed.
    reasons: BTreeMap<Hash, String>,
    /// Small blobs that have come, of the stated lengths, and keep them from being deleted: larger ones are tagged before they are fetched.
    stored: Vec<TempTag>,
    /// Lengths that sources say, and that were not stated.
    others: BTreeMap<BlobHash, BTreeSet<u64>>,
}

impl Queue {
    fn is_drained(&self) -> bool {
        self.broken.is_some() || (self.running.is_empty() && self.waiting.is_empty())
    }

    /// The next group that a source has not refused.
    fn take(&mut self, source: usize) -> Option<Group> {
        let at = self.waiting.iter().position(|group| group.may_come_from(source))?;
        self.waiting.remove(at)
    }

    /// Some items that a source has not refused, each by itself: no more bytes than are held for a group, or one.
    fn take_apart(&mut self, source: usize) -> Vec<Group> {
        let mut apart: Vec<Group> = Vec::new();
        let mut bytes = 0;
        while let Some(Group { items, refused_by, slow, taken }) = self.take(source) {
            let mut items = VecDeque::from(items);
            while let Some(item) = items.pop_front_if(|item| apart.is_empty() || (apart.len() < APART && bytes + item.length <= BATCH_BYTES as u64)) {
                bytes += item.length;
                apart.push(Group { items: vec![item], refused_by: refused_by.clone(), slow, taken });
            }
            if !items.is_empty() {
                self.waiting.push_front(Group { items: items.into(), refused_by, slow, taken });
                break;
            }
        }
        apart
    }

    /// Takes something that these sources do not give, for the others: with what is like it, or each would be a request of its own.
    fn refuse(&mut self, item: Item, refused_by: BTreeSet<usize>) {
        let fits = |group: &&mut Group| {
            group.refused_by == refused_by
                && (group.slow, group.taken) == (None, 0)
                && group.items.len() < MIN_GROUP_BLOBS
                && group.items.iter().map(|item| item.length).sum::<u64>() + item.length <= MIN_GROUP_BYTES
        };
        // The last ones only: there may be many that are full.
        match self.waiting.iter_mut().rev().take(APART).find(fits) {
            Some(group) => group.items.push(item),
            None => self.waiting.push_back(Group { items: vec![item], refused_by, ..Group::default() }),
        }
    }

    /// Notes that a source of so many is asked for some groups.
    fn begin(&mut self, source: usize, sources: usize, groups: Vec<Group>, cut: &CancellationToken) -> Batch {
        let others = (0..sources).filter(|other| *other != source && groups.iter().any(|group| !group.refused_by.contains(other))).collect();
        let taken = groups.iter().map(|group| group.taken).max().unwrap_or_default();
        let pace = Arc::new(Pace { moved: AtomicU64::new(0), cut: cut.child_token() });
        let alone = ALONE * 4u32.pow(taken.min(4));
        self.running.insert(self.next, Asked { mark: (Instant::now(), 0), alone, others, pace: pace.clone() });
        self.next += 1;
        Batch { number: self.next - 1, pace, groups }
    }

    /// A source has nothing to do: another stops giving what this one may give faster, and what was taken from this one and nobody else has begun to give may come from it again.
    fn take_over(&mut self, source: usize, now: Instant) {
        for group in self.waiting.iter_mut().filter(|group| group.slow == Some(source)) {
            group.slow = None;
        }
        let mut others = self.running.values_mut().filter(|asked| asked.others.contains(&source));
        if let Some(asked) = others.find_map(|asked| asked.is_late(now).then_some(asked)) {
            asked.pace.cut.cancel();
        }
    }

    /// Whether a source may yet have something to do.
    fn may_need(&self, source: usize) -> bool {
        !self.running.is_empty() || self.waiting.iter().any(|group| !group.refused_by.contains(&source))
    }
}

/// Why a request ended early.
enum Fault {
    /// This blob is not to be had from this source.
    Item(String),
    /// The answer was cut short, or nothing comes.
    Broken(String),
    /// It has taken too long.
    Late,
    /// The store failed.
    Store(String),
}

/// Small blobs that have arrived and are not stored yet.
#[derive(Default)]
struct Whole {
    blobs: Vec<Vec<u8>>,
    bytes: usize,
}

struct Job<'a> {
    blobs: &'a Blobs,
    connections: &'a Connections,
    turns: &'a Turns,
    sources: &'a [Source],
    pace: &'a Pace,
    /// Ends all of it.
    cut: CancellationToken,
    queue: Mutex<Queue>,
    changed: Notify,
}

pub(super) async fn fetch(blobs: &Blobs, connections: &Connections, turns: &Turns, wanted: &[(BlobHash, u64)], sources: &[Source], pace: &Pace) -> FetchReport {
    let wanted: BTreeMap<BlobHash, u64> = wanted.iter().copied().collect();
    let ids: Vec<BlobHash> = wanted.keys().copied().collect();
    let mut missing = Vec::new();
    let mut tags = Vec::new();
    for ((id, length), size) in wanted.iter().zip(blobs.sizes(&ids).await) {
        // Errors of the store come up again, and are reported, where the result is looked at.
        if *length > 0 && matches!(size, Ok(None)) {
            let hash = to_hash(id);
            if *length > WHOLE {
                tags.extend(blobs.protect(hash).await.ok());
            }
            missing.push((hash, *length));
        }
    }
    let queue = Mutex::new(Queue { waiting: plan(&missing, sources.len()), ..Queue::default() });
    let job = Job { blobs, connections, turns, sources, pace, cut: pace.cut.child_token(), queue, changed: Notify::new() };
    if !missing.is_empty() {
        let workers = n0_future::join_all((0..sources.len() * WORKERS).map(|worker| job.work(worker / WORKERS)));
        let left = async {
            job.left().await;
            sleep(ALONE).await;
            job.cut.cancel();
            std::future::pending().await
        };
        tokio::select! {
            _ = workers => {}
            () = left => {}
        }
        blobs.written(missing.iter().filter(|(_, length)| *length > WHOLE).map(|(hash, _)| *hash));
    }
    let synced = blobs.sync().await;
    let Queue { waiting, reasons, stored, broken, others, .. } = std::mem::take(&mut *lock(&job.queue));
    let come: BTreeSet<BlobHash> = stored.iter().map(|tag| to_id(tag.hash())).collect();
    let store = broken.or_else(|| synced.as_ref().err().map(ToString::to_string));
    let endpoint = |source: usize| sources[source].endpoint;
    let refused = waiting.iter().flat_map(|group| {
        let refusing = group.refused_by.iter().map(|source| endpoint(*source));
        refusing.flat_map(|source| group.items.iter().map(move |item| (source, to_id(item.hash))))
    });
    let mut report = FetchReport { store, refused: refused.collect(), others, ..FetchReport::default() };
    let unsure: Vec<BlobHash> = wanted.keys().filter(|id| !come.contains(id)).copied().collect();
    let mut sizes: BTreeMap<BlobHash, _> = unsure.iter().copied().zip(blobs.sizes(&unsure).await).collect();
    for (id, length) in wanted {
        let size = sizes.remove(&id).unwrap_or(Ok(Some(length)));
        if length == 0 || matches!(size, Ok(Some(found)) if found != length) {
            report.refused.extend(sources.iter().map(|source| (source.endpoint, id)));
        }
        let failure = match (&synced, size) {
            (Err(error), _) => error.to_string(),
            (Ok(()), Ok(Some(found))) if found == length => {
                report.got.push(id);
                continue;
            }
            (Ok(()), Ok(Some(_))) => "it has another length than stated".into(),
            (Ok(()), Ok(None)) => reasons.get(&to_hash(&id)).cloned().unwrap_or_else(|| "no source gave it".into()),
            (Ok(()), Err(error)) => error.to_string(),
        };
        report.failed.push((id, failure));
    }
    blobs.release(tags.into_iter().chain(stored));
    report
}

/// Groups and pieces, so many that every source has some work.
fn plan(missing: &[(Hash, u64)], sources: usize) -> VecDeque<Group> {
    let (large, small): (Vec<_>, Vec<_>) = missing.iter().partition(|(_, length)| *length > LARGE);
    let shares = (sources * WORKERS).max(1);
    let total: u64 = small.iter().fold(0, |sum, (_, length)| sum.saturating_add(*length));
    let most_bytes = (total / shares as u64).clamp(MIN_GROUP_BYTES, GROUP_BYTES);
    let most_blobs = (small.len() / shares).clamp(MIN_GROUP_BLOBS, GROUP_BLOBS);
    let mut groups = VecDeque::new();
    let mut group = Group::default();
    let mut bytes = 0;
    for (hash, length) in small {
        if !group.items.is_empty() && (group.items.len() >= most_blobs || bytes + length > most_bytes) {
            groups.push_back(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += length;
        group.items.push(Item { hash, length, ranges: ChunkRanges::all() });
    }
    if !group.items.is_empty() {
        groups.push_back(group);
    }
    for (hash, length) in large {
        let piece = length.div_ceil(PIECES).next_multiple_of(PIECE);
        let mut start = 0;
        while start < length {
            let end = start + piece;
            // The last piece is open, so that it proves the size.
            let ranges = if end < length { ChunkRanges::bytes(start..end) } else { ChunkRanges::bytes(start..) };
            groups.push_back(Group { items: vec![Item { hash, length, ranges }], ..Group::default() });
            start = end;
        }
    }
    groups
}

/// Groups that a source is asked for side by side.
struct Batch {
    number: u64,
    pace: Arc<Pace>,
    groups: Vec<Group>,
}

/// What there is for a worker.
enum Next {
    Work(Batch),
    /// Others are at work, and may leave something.
    Later,
    Nothing,
}

impl Job<'_> {
    /// One worker of a source, until there is nothing left that the source could give.
    async fn work(&self, source: usize) {
        let peer = &self.sources[source].endpoint;
        let (mut doubts, mut breaks) = (0, 0);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while breaks < MAX_BREAKS {
            let changed = self.changed.notified();
            let turn = tokio::select! {
                turn = self.turns.turn(peer) => turn,
                () = self.drained() => return,
                () = self.over() => return,
            };
            let Some(connection) = self.connections.newest(peer) else { return self.absent(source) };
            let Batch { number, pace, groups } = match self.next(source, doubts >= DOUBTFUL) {
                Next::Work(batch) => batch,
                Next::Later => {
                    drop((turn, connection));
                    tokio::select! {
                        () = changed => {}
                        () = self.over() => return,
                        _ = looks.tick() => lock(&self.queue).take_over(source, Instant::now()),
                    }
                    continue;
                }
                Next::Nothing => return,
            };
            let asked = groups.into_iter().map(async |mut group| {
                let (done, fault) = self.request(&connection, &mut group, &pace).await;
                (group, done, fault)
            });
            let answers = n0_future::join_all(asked).await;
            let done: usize = answers.iter().map(|(_, done, _)| *done).sum();
            let has = |is: fn(&Fault) -> bool| answers.iter().any(|(_, _, fault)| fault.as_ref().is_some_and(is));
            if done > 0 {
                breaks = 0;
            }
            if has(|fault| matches!(fault, Fault::Broken(_))) {
                breaks += 1;
            }
            if !has(|fault| matches!(fault, Fault::Item(_))) {
                doubts = 0;
            } else if done < DOUBTFUL {
                doubts += 1;
            }
            self.put_back(source, number, answers);
            looks.reset();
        }
    }

    /// Waits until a source is gone.
    async fn left(&self) {
        let mut gone: FuturesUnordered<_> = self.sources.iter().map(|source| source.gone.cancelled()).collect();
        gone.next().await;
    }

    /// Waits until a source is gone, or the caller has waited enough.
    async fn over(&self) {
        tokio::select! {
            () = self.left() => {}
            () = self.cut.cancelled() => {}
        }
    }

    /// Waits until nothing is left to do.
    async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            if lock(&self.queue).is_drained() {
                return;
            }
            changed.await;
        }
    }

    /// There is no connection to a source: what nobody else gives fails for that.
    fn absent(&self, source: usize) {
        let mut queue = lock(&self.queue);
        let Queue { waiting, reasons, .. } = &mut *queue;
        for item in waiting.iter().filter(|group| group.may_come_from(source)).flat_map(|group| &group.items) {
            reasons.entry(item.hash).or_insert_with(|| "the source has left".to_owned());
        }
    }

    /// What a source is to be asked for: a group, or `apart` several of its items, each by itself.
    fn next(&self, source: usize, apart: bool) -> Next {
        let mut queue = lock(&self.queue);
        if queue.broken.is_some() || self.cut.is_cancelled() || self.sources.iter().any(|source| source.gone.is_cancelled()) {
            return Next::Nothing;
        }
        let groups = if apart { queue.take_apart(source) } else { queue.take(source).into_iter().collect() };
        if groups.is_empty() {
            return if queue.may_need(source) { Next::Later } else { Next::Nothing };
        }
        Next::Work(queue.begin(source, self.sources.len(), groups, &self.cut))
    }

    /// Returns what requests left undone to the queue: of each group, how many items are done, and what stopped it.
    fn put_back(&self, source: usize, number: u64, answers: Vec<(Group, usize, Option<Fault>)>) {
        let mut queue = lock(&self.queue);
        queue.running.remove(&number);
        for (Group { mut items, refused_by, taken, .. }, done, fault) in answers {
            let mut rest = items.split_off(done.min(items.len()));
            let mut left = Group { refused_by, taken, ..Group::default() };
            let reason = match fault {
                None => None,
                Some(Fault::Item(reason)) => {
                    if !rest.is_empty() {
                        let item = rest.remove(0);
                        queue.reasons.insert(item.hash, reason);
                        let mut refused_by = left.refused_by.clone();
                        refused_by.insert(source);
                        queue.refuse(item, refused_by);
                    }
                    None
                }
                Some(Fault::Broken(reason)) => Some(reason),
                Some(Fault::Late) => {
                    (left.slow, left.taken) = (Some(source), taken + 1);
                    Some("it did not come in time".to_owned())
                }
                Some(Fault::Store(reason)) => {
                    queue.broken = Some(reason.clone());
                    Some(reason)
                }
            };
            if let Some(reason) = reason {
                queue.reasons.extend(rest.iter().map(|item| (item.hash, reason.clone())));
            }
            if !rest.is_empty() {
                queue.waiting.push_front(Group { items: rest, ..left });
            }
        }
        drop(queue);
        self.changed.notify_waiters();
    }

    /// One request for what is missing of a group: how many items are done, in their order, and what stopped it. Items that are there already leave the group.
    async fn request(&self, connection: &Connection, group: &mut Group, pace: &Pace) -> (usize, Option<Fault>) {
        let mut ranges = Vec::new();
        let mut items = Vec::new();
        for item in std::mem::take(&mut group.items) {
            let mut missing = item.ranges.clone();
            if item.length > WHOLE
                && let Ok(present) = self.blobs.store().observe(item.hash).await
            {
                missing = &missing - &present.ranges;
            }
            if !missing.is_empty() {
                ranges.push(missing);
                items.push(item);
            }
        }
        group.items = items;
        if group.items.is_empty() {
            return (0, None);
        }
        let request = GetManyRequest::new(group.items.iter().map(|item| item.hash).collect(), ChunkRangesSeq::from_ranges(ranges));
        let (done, fault) = self.receive(connection, &group.items, request, pace).await;
        // A broken connection shows as a failure of the blob that was under way.
        match fault {
            Some(Fault::Item(reason)) if connection.close_reason().is_some() => (done, Some(Fault::Broken(reason))),
            fault => (done, fault),
        }
    }

    async fn receive(&self, connection: &Connection, items: &[Item], request: GetManyRequest, pace: &Pace) -> (usize, Option<Fault>) {
        let mut next = match in_time(fsm::start_get_many(connection.clone(), request, Default::default()), pace).await {
            Ok(Ok(next)) => next,
            Ok(Err(error)) => return (0, Some(Fault::Broken(format!("{error:#}")))),
            Err(fault) => return (0, Some(fault)),
        };
        let mut done = 0;
        let mut whole = Whole::default();
        let fault = loop {
            let (Ok(child), Some(item)) = (next, items.get(done)) else { break None };
            let end = match self.receive_blob(child.next(item.hash), item, &mut whole, pace).await {
                Ok(end) => end,
                Err(fault) => break Some(fault),
            };
            done += 1;
            if (whole.blobs.len() >= BATCH_BLOBS || whole.bytes >= BATCH_BYTES)
                && let Err(fault) = self.store(std::mem::take(&mut whole)).await
            {
                break Some(fault);
            }
            next = match end.next() {
                EndBlobNext::MoreChildren(child) => Ok(child),
                EndBlobNext::Closing(closing) => Err(closing),
            };
        };
        match self.store(whole).await {
            Ok(()) => (done, fault),
            Err(fault) => (done, Some(fault)),
        }
    }

    /// Stores small blobs, which have been verified against hash and length.
    async fn store(&self, whole: Whole) -> Result<(), Fault> {
        let tags = self.blobs.put_many_tagged(whole.blobs).await.map_err(|error| Fault::Store(error.to_string()))?;
        lock(&self.queue).stored.extend(tags);
        Ok(())
    }

    /// Receives a blob, or a piece of one, leaf by verified leaf: a large one into the store, a small one into `whole`.
    async fn receive_blob(&self, header: AtBlobHeader, item: &Item, whole: &mut Whole, pace: &Pace) -> Result<AtEndBlob, Fault> {
        let (mut content, size) = match in_time(header.next(), pace).await? {
            Ok(header) => header,
            Err(AtBlobHeaderNextError::NotFound { .. }) => return Err(Fault::Item("the source does not give it".into())),
            Err(error @ AtBlobHeaderNextError::Read { .. }) => return Err(Fault::Broken(error.to_string())),
        };
        let Some(size) = NonZeroU64::new(size).filter(|size| size.get() == item.length) else {
            lock(&self.queue).others.entry(to_id(item.hash)).or_default().insert(size);
            return Err(Fault::Item("it has another length than stated".into()));
        };
        if item.length > WHOLE {
            return self.import(content, item.hash, size, pace).await;
        }
        let mut bytes = Vec::new();
        let end = loop {
            match self.arrive(content, pace).await? {
                Arrived::Item(rest, item) => {
                    if let BaoContentItem::Leaf(leaf) = item {
                        bytes.extend_from_slice(&leaf.data);
                    }
                    content = rest;
                }
                Arrived::End(end) => break end,
            }
        };
        whole.bytes += bytes.len();
        whole.blobs.push(bytes);
        Ok(end)
    }

    async fn import(&self, mut content: AtBlobContent, hash: Hash, size: NonZeroU64, pace: &Pace) -> Result<AtEndBlob, Fault> {
        let import = self.blobs.store().import_bao(hash, size, 32).await.map_err(|error| Fault::Store(error.to_string()))?;
        let received = loop {
            match self.arrive(content, pace).await {
                Ok(Arrived::Item(rest, item)) => {
                    if import.tx.send(item).await.is_err() {
                        break Err(Fault::Store("the blob store stopped taking data".into()));
                    }
                    content = rest;
                }
                Ok(Arrived::End(end)) => break Ok(end),
                Err(fault) => break Err(fault),
            }
        };
        drop(import.tx);
        match import.rx.await {
            Ok(Ok(())) => received,
            Ok(Err(error)) => Err(Fault::Store(format!("{}: {error}", to_id(hash).short()))),
            Err(error) => Err(Fault::Store(error.to_string())),
        }
    }

    /// Waits for the next leaf or inner node.
    async fn arrive(&self, content: AtBlobContent, pace: &Pace) -> Result<Arrived, Fault> {
        match in_time(content.next(), pace).await? {
            BlobContentNext::More((rest, Ok(verified))) => {
                if let BaoContentItem::Leaf(leaf) = &verified {
                    for pace in [self.pace, pace] {
                        pace.moved.fetch_add(leaf.data.len() as u64, Ordering::Relaxed);
                    }
                }
                Ok(Arrived::Item(rest, verified))
            }
            BlobContentNext::More((_, Err(error @ DecodeError::Read { .. }))) => Err(Fault::Broken(error.to_string())),
            BlobContentNext::More((_, Err(error))) => Err(Fault::Item(format!("its bytes did not arrive as its hash says: {error}"))),
            BlobContentNext::Done(end) => Ok(Arrived::End(end)),
        }
    }
}

/// What has arrived of a blob, verified.
enum Arrived {
    Item(AtBlobContent, BaoContentItem),
    End(AtEndBlob),
}

/// What a source does: it may be slow, but not silent, and not be late.
async fn in_time<T>(doing: impl Future<Output = T>, pace: &Pace) -> Result<T, Fault> {
    tokio::select! {
        done = timeout(STALL_WAIT, doing) => done.map_err(|_| Fault::Broken(format!("the source sent nothing for {} s", STALL_WAIT.as_secs()))),
        () = pace.cut.cancelled() => Err(Fault::Late),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        Group { items: vec![Item { hash: Hash::new(b"one"), length: 100, ranges: ChunkRanges::all() }], ..Group::default() }
    }

    #[test]
    fn what_comes_too_slowly_is_taken_over_once_and_then_longer_left_alone() {
        let (mut queue, cut) = (Queue::default(), CancellationToken::new());
        let mut taken = group();
        let begun = Instant::now();
        for alone in [ALONE, 4 * ALONE, 16 * ALONE] {
            let batch = queue.begin(0, 2, vec![taken], &cut);
            queue.take_over(1, begun + alone - LOOK);
            queue.take_over(0, begun + 100 * ALONE);
            assert!(!batch.pace.cut.is_cancelled(), "it has that long, and its own source does not take it over");
            batch.pace.moved.store(ENOUGH * (alone + LOOK).as_secs(), Ordering::Relaxed);
            queue.take_over(1, begun + alone + LOOK);
            assert!(!batch.pace.cut.is_cancelled(), "it comes fast enough");
            queue.take_over(1, begun + 2 * alone);
            assert!(!batch.pace.cut.is_cancelled(), "it has as long again");
            queue.take_over(1, begun + 2 * alone + 2 * LOOK);
            assert!(batch.pace.cut.is_cancelled(), "what came before does not count");
            queue.running.clear();
            taken = Group { taken: batch.groups[0].taken + 1, ..group() };
        }
        assert!(!cut.is_cancelled());
    }

    #[test]
    fn the_next_one_is_taken_over_while_the_first_has_not_ended() {
        let (mut queue, cut) = (Queue::default(), CancellationToken::new());
        let batches = [queue.begin(0, 2, vec![group()], &cut), queue.begin(0, 2, vec![group()], &cut)];
        let later = Instant::now() + ALONE + LOOK;
        queue.take_over(1, later);
        queue.take_over(1, later);
        assert!(batches.iter().all(|batch| batch.pace.cut.is_cancelled()));
    }

    #[test]
    fn a_source_that_was_too_slow_waits_until_the_others_have_not_given_it() {
        let mut queue = Queue::default();
        queue.waiting.push_back(Group { slow: Some(0), taken: 1, ..group() });
        assert!(queue.take(0).is_none() && queue.may_need(0), "another is to be asked first");
        let given = queue.take(1).expect("it may have it");
        queue.refuse(given.items.into_iter().next().expect("one"), [1].into());
        assert!(queue.take(0).is_some() && !queue.may_need(1));

        queue.waiting.push_back(Group { slow: Some(0), taken: 1, ..group() });
        queue.take_over(0, Instant::now());
        assert!(queue.take(0).is_some(), "nobody has begun to give it");
    }
}
