//! Fetching blobs: many in one request, from several sources side by side, going on where an earlier fetch stopped.
//!
//! Small blobs are asked for in groups (get-many), since a request each is many times slower; large ones in pieces. Groups and pieces wait in one queue, from which workers, [`WORKERS`] per source,
//! take what their source has not failed to give; over all fetches [`Turns`] bound how many of them ask a source at a time. The first blob of a group that is not given ends the answer, so a source
//! that gives little is asked for each by itself, several side by side: whatever it has comes. Blobs up to 1 MiB are held in memory until they are whole, at most 4 MiB of them per worker; larger ones
//! go into the store leaf by leaf. What a source does not give goes back for the others; one that breaks off again and again is left out. Who has nothing left to do takes over what another source has been
//! giving for long. When one is gone, or its caller has waited enough ([`Pace`]), the fetch ends early: it may be asked anew elsewhere. Every blob's size is
//! compared with the stated one before anything of it is stored, and every leaf is verified against the hash (bao) before it is. All workers run in the caller's task; dropping it stops them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroU64,
    sync::{
        Mutex,
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
    time::{Instant, sleep, timeout},
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
/// How long a source has what it was asked for to itself, when another could give it and has nothing else to do.
const ALONE: Duration = Duration::from_secs(5);
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

/// How a fetch gets on, for its caller.
#[derive(Debug, Default)]
pub struct Pace {
    /// Bytes that have come.
    pub moved: AtomicU64,
    /// Cancelled, the fetch ends with what has come.
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
    /// The source that it was taken from, for being slow: another is to have it.
    slow: Option<usize>,
}

impl Group {
    fn may_come_from(&self, source: usize) -> bool {
        !self.refused_by.contains(&source) && self.slow != Some(source)
    }
}

/// A request that is under way.
struct Asked {
    since: Instant,
    /// Who else may be asked for it; nobody, if it has been taken from a source already.
    others: BTreeSet<usize>,
    late: CancellationToken,
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
        while let Some(Group { items, refused_by, slow }) = self.take(source) {
            let mut items = VecDeque::from(items);
            while let Some(item) = items.pop_front_if(|item| apart.is_empty() || (apart.len() < APART && bytes + item.length <= BATCH_BYTES as u64)) {
                bytes += item.length;
                apart.push(Group { items: vec![item], refused_by: refused_by.clone(), slow });
            }
            if !items.is_empty() {
                self.waiting.push_front(Group { items: items.into(), refused_by, slow });
                break;
            }
        }
        apart
    }

    /// Takes something that these sources do not give, for the others: with what is like it, or each would be a request of its own.
    fn refuse(&mut self, item: Item, refused_by: BTreeSet<usize>) {
        let fits = |group: &&mut Group| {
            group.refused_by == refused_by
                && group.slow.is_none()
                && group.items.len() < MIN_GROUP_BLOBS
                && group.items.iter().map(|item| item.length).sum::<u64>() + item.length <= MIN_GROUP_BYTES
        };
        // The last ones only: there may be many that are full.
        match self.waiting.iter_mut().rev().take(APART).find(fits) {
            Some(group) => group.items.push(item),
            None => self.waiting.push_back(Group { items: vec![item], refused_by, slow: None }),
        }
    }

    /// Notes that a source of so many is asked for a group: its number, and what is cancelled when it is to stop.
    fn begin(&mut self, source: usize, sources: usize, group: &Group, cut: &CancellationToken) -> (u64, CancellationToken) {
        let others = (0..sources).filter(|other| *other != source && group.slow.is_none() && group.may_come_from(*other)).collect();
        let late = cut.child_token();
        self.running.insert(self.next, Asked { since: Instant::now(), others, late: late.clone() });
        self.next += 1;
        (self.next - 1, late)
    }

    /// What this source could give, and another has been asked for the longest.
    fn late(&self, source: usize, now: Instant) -> Option<&Asked> {
        let late = self.running.values().filter(|asked| asked.others.contains(&source) && now - asked.since >= ALONE);
        late.min_by_key(|asked| asked.since)
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
    let job = Job { blobs, connections, turns, sources, pace, queue, changed: Notify::new() };
    if !missing.is_empty() {
        n0_future::join_all((0..sources.len() * WORKERS).map(|worker| job.work(worker / WORKERS))).await;
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

/// What a source is asked for.
struct Request {
    number: u64,
    late: CancellationToken,
    group: Group,
}

/// What there is for a worker.
enum Next {
    /// To be asked for side by side.
    Work(Vec<Request>),
    /// Others are at work, and may leave something.
    Later,
    Nothing,
}

impl Job<'_> {
    /// One worker of a source, until there is nothing left that the source could give.
    async fn work(&self, source: usize) {
        let peer = &self.sources[source].endpoint;
        let (mut doubts, mut breaks) = (0, 0);
        while breaks < MAX_BREAKS {
            let changed = self.changed.notified();
            let turn = tokio::select! {
                turn = self.turns.turn(peer) => turn,
                () = self.drained() => return,
                () = self.over() => return,
            };
            let Some(connection) = self.connections.newest(peer) else { return self.absent(source) };
            let requests = match self.next(source, doubts >= DOUBTFUL) {
                Next::Work(requests) => requests,
                Next::Later => {
                    drop((turn, connection));
                    tokio::select! {
                        () = changed => {}
                        () = self.over() => return,
                        () = sleep(ALONE) => self.take_over(source),
                    }
                    continue;
                }
                Next::Nothing => return,
            };
            let asked = requests.into_iter().map(async |mut request| {
                let (done, fault) = self.request(&connection, &mut request).await;
                (request, done, fault)
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
            for (request, done, fault) in answers {
                self.put_back(source, request, done, fault);
            }
        }
    }

    /// Waits until a source is gone, or the caller has waited enough.
    async fn over(&self) {
        let mut gone: FuturesUnordered<_> = self.sources.iter().map(|source| source.gone.cancelled()).collect();
        tokio::select! {
            _ = gone.next() => {}
            () = self.pace.cut.cancelled() => {}
        }
    }

    /// Another source is to stop giving what this one could give.
    fn take_over(&self, source: usize) {
        if let Some(asked) = lock(&self.queue).late(source, Instant::now()) {
            asked.late.cancel();
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
        let running = !queue.running.is_empty();
        if queue.broken.is_some() || self.pace.cut.is_cancelled() || self.sources.iter().any(|source| source.gone.is_cancelled()) {
            return Next::Nothing;
        }
        let groups = if apart { queue.take_apart(source) } else { queue.take(source).into_iter().collect() };
        if groups.is_empty() {
            return if running { Next::Later } else { Next::Nothing };
        }
        let begun = groups.into_iter().map(|group| {
            let (number, late) = queue.begin(source, self.sources.len(), &group, &self.pace.cut);
            Request { number, late, group }
        });
        Next::Work(begun.collect())
    }

    /// Returns what a request left undone to the queue.
    fn put_back(&self, source: usize, Request { number, group, .. }: Request, done: usize, fault: Option<Fault>) {
        let mut queue = lock(&self.queue);
        queue.running.remove(&number);
        let Group { mut items, refused_by, .. } = group;
        let mut slow = None;
        let mut rest = items.split_off(done.min(items.len()));
        match fault {
            None => {}
            Some(Fault::Item(reason)) if !rest.is_empty() => {
                let item = rest.remove(0);
                queue.reasons.insert(item.hash, reason);
                let mut refused_by = refused_by.clone();
                refused_by.insert(source);
                queue.refuse(item, refused_by);
            }
            Some(Fault::Item(_)) => {}
            Some(Fault::Broken(reason)) => {
                for item in &rest {
                    queue.reasons.insert(item.hash, reason.clone());
                }
            }
            Some(Fault::Late) => {
                slow = Some(source);
                for item in &rest {
                    queue.reasons.insert(item.hash, "it did not come in time".to_owned());
                }
            }
            Some(Fault::Store(reason)) => {
                for item in &rest {
                    queue.reasons.insert(item.hash, reason.clone());
                }
                queue.broken = Some(reason);
            }
        }
        if !rest.is_empty() {
            queue.waiting.push_front(Group { items: rest, refused_by, slow });
        }
        drop(queue);
        self.changed.notify_waiters();
    }

    /// One request for what is missing of a group: how many items are done, in their order, and what stopped it. Items that are there already leave the group.
    async fn request(&self, connection: &Connection, Request { group, late, .. }: &mut Request) -> (usize, Option<Fault>) {
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
        let (done, fault) = self.receive(connection, &group.items, request, late).await;
        // A broken connection shows as a failure of the blob that was under way.
        match fault {
            Some(Fault::Item(reason)) if connection.close_reason().is_some() => (done, Some(Fault::Broken(reason))),
            fault => (done, fault),
        }
    }

    async fn receive(&self, connection: &Connection, items: &[Item], request: GetManyRequest, late: &CancellationToken) -> (usize, Option<Fault>) {
        let mut next = match in_time(fsm::start_get_many(connection.clone(), request, Default::default()), late).await {
            Ok(Ok(next)) => next,
            Ok(Err(error)) => return (0, Some(Fault::Broken(format!("{error:#}")))),
            Err(fault) => return (0, Some(fault)),
        };
        let mut done = 0;
        let mut whole = Whole::default();
        let fault = loop {
            let (Ok(child), Some(item)) = (next, items.get(done)) else { break None };
            let end = match self.receive_blob(child.next(item.hash), item, &mut whole, late).await {
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
    async fn receive_blob(&self, header: AtBlobHeader, item: &Item, whole: &mut Whole, late: &CancellationToken) -> Result<AtEndBlob, Fault> {
        let (mut content, size) = match in_time(header.next(), late).await? {
            Ok(header) => header,
            Err(AtBlobHeaderNextError::NotFound { .. }) => return Err(Fault::Item("the source does not give it".into())),
            Err(error @ AtBlobHeaderNextError::Read { .. }) => return Err(Fault::Broken(error.to_string())),
        };
        let Some(size) = NonZeroU64::new(size).filter(|size| size.get() == item.length) else {
            lock(&self.queue).others.entry(to_id(item.hash)).or_default().insert(size);
            return Err(Fault::Item("it has another length than stated".into()));
        };
        if item.length > WHOLE {
            return self.import(content, item.hash, size, late).await;
        }
        let mut bytes = Vec::new();
        let end = loop {
            match self.arrive(content, late).await? {
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

    async fn import(&self, mut content: AtBlobContent, hash: Hash, size: NonZeroU64, late: &CancellationToken) -> Result<AtEndBlob, Fault> {
        let import = self.blobs.store().import_bao(hash, size, 32).await.map_err(|error| Fault::Store(error.to_string()))?;
        let received = loop {
            match self.arrive(content, late).await {
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
    async fn arrive(&self, content: AtBlobContent, late: &CancellationToken) -> Result<Arrived, Fault> {
        match in_time(content.next(), late).await? {
            BlobContentNext::More((rest, Ok(verified))) => {
                if let BaoContentItem::Leaf(leaf) = &verified {
                    self.pace.moved.fetch_add(leaf.data.len() as u64, Ordering::Relaxed);
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
async fn in_time<T>(doing: impl Future<Output = T>, late: &CancellationToken) -> Result<T, Fault> {
    tokio::select! {
        done = timeout(STALL_WAIT, doing) => done.map_err(|_| Fault::Broken(format!("the source sent nothing for {} s", STALL_WAIT.as_secs()))),
        () = late.cancelled() => Err(Fault::Late),
    }
}
