//! The network over real sockets on loopback: no relay, no lookup, nothing outside this process.

mod beside;
mod mute;
mod pace;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chartmesh_identity::{BlobHash, EndpointKey};
use iroh::endpoint::Connection;
use iroh_blobs::{
    get::fsm::{self, ConnectedNext},
    protocol::{ChunkRangesSeq, GetManyRequest, GetRequest, ObserveRequest, PushRequest},
};
use n0_future::StreamExt;
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Blobs, FetchReport, Gate, Link, MAX_FRAME, Net, NetConfig, NetError, Pace, Route, Source,
    blobs::{lock, to_hash},
    endpoint,
};

const WAIT: Duration = Duration::from_secs(10);

/// Serves listed peers, and counts how often it was asked for a blob; after `limit` times it serves nobody.
struct List {
    friends: Mutex<BTreeSet<EndpointKey>>,
    blobs: Mutex<Option<BTreeSet<BlobHash>>>,
    asked: AtomicUsize,
    limit: AtomicUsize,
}

impl List {
    fn new(friends: &[EndpointKey]) -> Arc<Self> {
        let friends = Mutex::new(friends.iter().copied().collect());
        Arc::new(Self { friends, blobs: Mutex::default(), asked: AtomicUsize::new(0), limit: AtomicUsize::new(usize::MAX) })
    }
}

impl Gate for List {
    fn admits(&self, _: &EndpointKey) -> bool {
        true
    }

    fn serves(&self, peer: &EndpointKey, blob: &BlobHash) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let listed = lock(&self.blobs).as_ref().is_none_or(|blobs| blobs.contains(blob));
        asked < self.limit.load(Ordering::SeqCst) && listed && lock(&self.friends).contains(peer)
    }
}

struct Nobody;

impl Gate for Nobody {
    fn admits(&self, _: &EndpointKey) -> bool {
        false
    }

    fn serves(&self, _: &EndpointKey, _: &BlobHash) -> bool {
        true
    }
}

struct Node {
    net: Net,
    links: mpsc::Receiver<Link>,
    blobs: Blobs,
    dir: TempDir,
    /// Links that it has opened.
    opened: Mutex<Vec<Link>>,
}

fn loopback() -> NetConfig {
    NetConfig { listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..NetConfig::default() }
}

fn key(seed: u8) -> EndpointKey {
    EndpointKey::new(*iroh::SecretKey::from_bytes(&[seed; 32]).public().as_bytes())
}

async fn node(seed: u8, gate: Arc<dyn Gate>) -> Node {
    node_with(loopback(), seed, gate).await
}

async fn node_with(config: NetConfig, seed: u8, gate: Arc<dyn Gate>) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(&dir.path().join("blobs")).await.unwrap();
    let (sender, links) = mpsc::channel(4);
    let net = Net::start(&config, &[seed; 32], blobs.clone(), gate, sender).await.unwrap();
    Node { net, links, blobs, dir, opened: Mutex::default() }
}

impl Node {
    fn route(&self) -> Route {
        Route { endpoint: self.net.endpoint(), addresses: self.net.addresses(), relay: None }
    }

    /// Opens links where there are none, and fetches over them.
    async fn fetch(&self, wanted: &[(BlobHash, u64)], from: &[Route]) -> FetchReport {
        for route in from {
            if self.net.connections.newest(&route.endpoint).is_none()
                && let Ok(link) = self.net.connect(route, Duration::from_secs(1)).await
            {
                lock(&self.opened).push(link);
            }
        }
        let sources: Vec<Source> = from.iter().map(|route| Source { endpoint: route.endpoint, gone: CancellationToken::new() }).collect();
        self.net.fetch(&self.blobs, wanted, &sources, &Pace::default()).await
    }

    async fn end(self) {
        self.net.shutdown().await;
        self.blobs.shutdown().await.unwrap();
    }
}

/// Bytes that do not compress and are told apart by their number.
fn bytes(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

/// Names of files below `dir` in which `needle` occurs.
fn files_with(dir: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&entry.path(), needle));
        } else if fs::read(entry.path()).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

fn dead(seed: u8) -> (Route, UdpSocket) {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    (Route { endpoint: key(seed), addresses: vec![silent.local_addr().unwrap()], relay: None }, silent)
}

#[tokio::test]
async fn frames_go_both_ways_and_the_last_one_arrives_before_the_close() {
    let (alice, mut bob) = (node(1, List::new(&[])).await, node(2, List::new(&[])).await);
    assert_eq!(alice.net.endpoint(), key(1));
    assert!(alice.net.addresses().iter().all(|address| address.ip().is_loopback() && address.port() != 0));
    let link = alice.net.connect(&bob.route(), WAIT).await.unwrap();
    assert!(link.initiator() && link.remote() == key(2));
    let (mut send, mut recv) = link.split();
    send.send(b"hello").await.unwrap();
    let answer = bob.links.recv().await.unwrap();
    assert!(!answer.initiator() && answer.remote() == key(1));
    let (mut bob_send, mut bob_recv) = answer.split();
    assert_eq!(bob_recv.recv().await.unwrap().unwrap(), b"hello");
    bob_send.send(b"").await.unwrap();
    assert_eq!(recv.recv().await.unwrap().unwrap(), b"");
    let path = alice.net.path(&key(2)).unwrap();
    assert!(!path.relayed && path.address.starts_with("127.0.0.1:"), "{path:?}");
    assert!(bob.net.path(&key(1)).is_some());

    let largest = bytes(1, MAX_FRAME);
    let closing = async {
        for _ in 0..4 {
            send.send(&largest).await.unwrap();
        }
        send.close(7, "no such ledger").await;
    };
    let reading = async {
        for _ in 0..4 {
            assert_eq!(bob_recv.recv().await.unwrap().unwrap(), largest);
        }
        match bob_recv.recv().await {
            Err(NetError::Closed { code: 7, reason }) => assert_eq!(reason, "no such ledger"),
            other => panic!("{other:?}"),
        }
        assert!(bob_recv.recv().await.unwrap().is_none());
    };
    tokio::join!(closing, reading);
    assert!(recv.recv().await.is_err() || recv.recv().await.unwrap().is_none());
    assert!(bob_send.send(b"late").await.is_err());
    alice.end().await;
    bob.end().await;
}

#[tokio::test]
async fn finishing_is_the_end_and_not_an_error() {
    let (alice, mut bob) = (node(3, List::new(&[])).await, node(4, List::new(&[])).await);
    let (mut send, _recv) = alice.net.connect(&bob.route(), WAIT).await.unwrap().split();
    let (_bob_send, mut bob_recv) = bob.links.recv().await.unwrap().split();
    let started = Instant::now();
    send.send(b"all").await.unwrap();
    let reading = async { (bob_recv.recv().await.unwrap(), bob_recv.recv().await.unwrap()) };
    let ((), read) = tokio::join!(send.finish(), reading);
    assert_eq!(read, (Some(b"all".to_vec()), None));
    assert!(started.elapsed() < Duration::from_secs(4), "the close waits for the reader only");
    alice.end().await;
    bob.end().await;
}

#[tokio::test]
async fn frames_too_large_are_refused_on_both_sides() {
    let (alice, mut bob) = (node(5, List::new(&[])).await, node(6, List::new(&[])).await);
    let (mut send, _recv) = alice.net.connect(&bob.route(), WAIT).await.unwrap().split();
    let (_bob_send, mut bob_recv) = bob.links.recv().await.unwrap().split();
    assert!(matches!(send.send(&vec![0; MAX_FRAME + 1]).await, Err(NetError::FrameTooLarge(_))));
    send.send(b"still fine").await.unwrap();
    assert_eq!(bob_recv.recv().await.unwrap().unwrap(), b"still fine");

    let rude = endpoint::connect(&alice.net.endpoint, &bob.route(), WAIT).await.unwrap();
    let (mut stream, _) = rude.open_bi().await.unwrap();
    stream.write_all(&[1]).await.unwrap();
    stream.write_all(&(MAX_FRAME as u32 + 1).to_be_bytes()).await.unwrap();
    let (_, mut bob_recv) = bob.links.recv().await.unwrap().split();
    assert!(matches!(bob_recv.recv().await, Err(NetError::FrameTooLarge(_))));
    rude.closed().await;

    let cut = endpoint::connect(&alice.net.endpoint, &bob.route(), WAIT).await.unwrap();
    let (mut stream, _keep) = cut.open_bi().await.unwrap();
    stream.write_all(&[1, 0, 0, 0, 9, 1, 2]).await.unwrap();
    stream.finish().unwrap();
    let (_, mut bob_recv) = bob.links.recv().await.unwrap().split();
    assert!(matches!(bob_recv.recv().await, Err(NetError::Lost(_))));
    alice.end().await;
    bob.end().await;
}

#[tokio::test]
async fn whoever_the_gate_does_not_admit_gets_no_link() {
    let (alice, mut bob) = (node(7, List::new(&[])).await, node(8, Arc::new(Nobody)).await);
    let blob = bob.blobs.put(bytes(1, 100)).await.unwrap();
    if let Ok(link) = alice.net.connect(&bob.route(), WAIT).await {
        let (_send, mut recv) = link.split();
        assert!(recv.recv().await.is_err());
    }
    assert!(bob.links.try_recv().is_err());
    let report = alice.fetch(&[(blob, 100)], &[bob.route()]).await;
    assert!(report.got.is_empty());
    alice.end().await;
    bob.end().await;
}

#[tokio::test]
async fn a_silent_or_unknown_peer_is_unreachable_in_time() {
    let alice = node(9, List::new(&[])).await;
    let (silent, _socket) = dead(10);
    let nowhere = Route { endpoint: key(10), addresses: Vec::new(), relay: None };
    let not_a_key = Route { endpoint: EndpointKey::new([2; 32]), addresses: silent.addresses.clone(), relay: Some("not a url".into()) };
    for route in [silent, nowhere, not_a_key] {
        let started = Instant::now();
        let failed = alice.net.connect(&route, Duration::from_secs(2)).await;
        assert!(matches!(failed, Err(NetError::Unreachable { endpoint, .. }) if endpoint == route.endpoint));
        assert!(started.elapsed() < Duration::from_secs(3));
        assert!(alice.net.path(&route.endpoint).is_none());
    }
    alice.end().await;
}

#[tokio::test]
async fn the_ports_of_last_time_are_taken_again_unless_somebody_else_has_them() {
    let anywhere = |last: &[SocketAddr]| NetConfig { last: last.to_vec(), ..NetConfig::default() };
    let first = node_with(anywhere(&[]), 74, List::new(&[])).await;
    let last = first.net.listening();
    first.end().await;
    let again = node_with(anywhere(&last), 74, List::new(&[])).await;
    assert_eq!(again.net.listening(), last);
    let beside = node_with(anywhere(&last), 75, List::new(&[])).await;
    assert!(beside.net.listening().iter().all(|address| !last.contains(address)));
    beside.end().await;
    again.end().await;
}

#[tokio::test]
async fn connections_to_where_a_peer_was_are_left_at_once_and_others_stay() {
    let (alice, mut bob) = (node(70, List::new(&[])).await, node(71, List::new(&[])).await);
    let (_send, mut recv) = alice.net.connect(&bob.route(), WAIT).await.unwrap().split();
    let theirs = bob.links.recv().await.unwrap();
    alice.net.leave(&bob.net.endpoint(), &BTreeSet::from(["192.0.2.1:7117".into()]));
    assert!(alice.net.path(&bob.net.endpoint()).is_some(), "it does not travel there");
    alice.net.leave(&bob.net.endpoint(), &bob.net.addresses().iter().map(ToString::to_string).collect());
    assert!(alice.net.path(&bob.net.endpoint()).is_none());
    assert!(matches!(recv.recv().await, Err(NetError::Lost(_))));
    drop(theirs);
    let again = alice.net.connect(&bob.route(), WAIT).await.unwrap();
    assert_eq!(again.remote(), bob.net.endpoint());
    alice.end().await;
    bob.end().await;
}

/// Whoever has moved can be asked for blobs over the link that it has called with, and asks over the same.
#[tokio::test]
async fn blobs_go_both_ways_over_a_link_and_end_with_it() {
    let (mut alice, bob) = (node(72, List::new(&[key(73)])).await, node(73, List::new(&[key(72)])).await);
    let (hers, his) = (alice.blobs.put(bytes(1, 5000)).await.unwrap(), bob.blobs.put(bytes(2, 40_000)).await.unwrap());
    let link = bob.net.connect(&alice.route(), WAIT).await.unwrap();
    let (sender, mut receiver) = alice.links.recv().await.unwrap().split();
    let source = |of: &Node| [Source { endpoint: of.net.endpoint(), gone: CancellationToken::new() }];
    assert_eq!(bob.net.fetch(&bob.blobs, &[(hers, 5000)], &source(&alice), &Pace::default()).await.got, [hers]);
    assert_eq!(alice.net.fetch(&alice.blobs, &[(his, 40_000)], &source(&bob), &Pace::default()).await.got, [his]);
    for (one, other) in [(&alice, &bob), (&bob, &alice)] {
        assert_eq!(one.net.connections.open(&other.net.endpoint()).len(), 1);
    }
    sender.abort();
    assert!(matches!(receiver.recv().await, Err(NetError::Lost(_))));
    assert!(matches!(link.split().1.recv().await, Err(NetError::Lost(_))));
    let none = bob.net.fetch(&bob.blobs, &[(BlobHash::new([7; 32]), 100)], &source(&alice), &Pace::default()).await;
    assert_eq!((none.failed.len(), none.refused.len()), (1, 0), "nobody was asked: {none:?}");
    alice.end().await;
    bob.end().await;
}

/// Nobody holds the link any more, though blobs are still served over its connection.
#[tokio::test]
async fn a_link_that_is_dropped_is_over() {
    let (mut alice, bob) = (node(76, List::new(&[])).await, node(77, List::new(&[])).await);
    let link = bob.net.connect(&alice.route(), WAIT).await.unwrap();
    let (_sender, mut receiver) = alice.links.recv().await.unwrap().split();
    drop(link);
    assert!(matches!(receiver.recv().await, Err(NetError::Lost(_))));
    assert!(bob.net.path(&alice.net.endpoint()).is_none());
    alice.end().await;
    bob.end().await;
}

#[tokio::test]
async fn many_small_blobs_and_a_large_one_are_fetched_and_stay() {
    let gate = List::new(&[key(12)]);
    let (source, sink) = (node(11, gate.clone()).await, node(12, List::new(&[])).await);
    let mut contents: Vec<_> = (0..1000).map(|number| bytes(number, 4096)).collect();
    contents.push(bytes(5000, 32 << 20));
    contents.push(Vec::new());
    let hashes = source.blobs.put_many(contents.clone()).await.unwrap();
    assert!(hashes.iter().zip(&contents).all(|(hash, bytes)| *hash == BlobHash::of(bytes)));
    source.blobs.sync().await.unwrap();
    let wanted: Vec<_> = hashes.iter().zip(&contents).map(|(hash, bytes)| (*hash, bytes.len() as u64)).collect();
    let started = Instant::now();
    let report = sink.fetch(&wanted, &[source.route()]).await;
    eprintln!("1,000 x 4 KiB and 32 MiB: {:?}", started.elapsed());
    assert_eq!(report.failed, []);
    assert_eq!(report.got.len(), wanted.len());
    for (hash, bytes) in hashes.iter().zip(&contents) {
        assert_eq!(sink.blobs.get(hash).await.unwrap().as_ref(), Some(bytes));
    }
    assert_eq!(sink.blobs.len().await.unwrap(), 1001);
    let asked = gate.asked.load(Ordering::SeqCst);
    assert_eq!(sink.fetch(&wanted, &[source.route()]).await.got.len(), wanted.len());
    assert_eq!(gate.asked.load(Ordering::SeqCst), asked, "what is there is not asked for");

    let dir = sink.dir.path().join("blobs");
    sink.net.shutdown().await;
    sink.blobs.shutdown().await.unwrap();
    assert!(!sink.blobs.has(&hashes[0]).await && sink.blobs.put(vec![1]).await.is_err());
    drop(sink.blobs);
    let again = Blobs::open(&dir).await.unwrap();
    assert_eq!(again.list().await.unwrap().len(), 1001);
    assert_eq!(again.get(&hashes[1000]).await.unwrap().unwrap(), contents[1000]);
    again.shutdown().await.unwrap();
    source.end().await;
}

async fn header_arrives(connection: &Connection, request: GetRequest) -> bool {
    match fsm::start(connection.clone(), request, Default::default()).next().await.unwrap().next().await {
        Ok(ConnectedNext::StartRoot(root)) => root.next().next().await.is_ok(),
        Ok(ConnectedNext::StartChild(_) | ConnectedNext::Closing(_)) | Err(_) => false,
    }
}

async fn many_headers(connection: &Connection, blobs: &[BlobHash]) -> usize {
    let request =
        GetManyRequest::new(blobs.iter().map(to_hash).collect(), ChunkRangesSeq::from_ranges(blobs.iter().map(|_| iroh_blobs::protocol::ChunkRanges::all())));
    let mut next = fsm::start_get_many(connection.clone(), request, Default::default()).await.unwrap();
    let mut headers = 0;
    while let Ok(child) = next {
        let Ok(end) = child.next(to_hash(&blobs[headers])).drain().await else { break };
        headers += 1;
        next = match end.next() {
            fsm::EndBlobNext::MoreChildren(child) => Ok(child),
            fsm::EndBlobNext::Closing(closing) => Err(closing),
        };
    }
    headers
}

#[tokio::test]
async fn a_stranger_who_knows_the_hash_gets_no_byte() {
    let gate = List::new(&[key(15)]);
    let (holder, stranger, friend) = (node(13, gate.clone()).await, node(14, List::new(&[])).await, node(15, List::new(&[])).await);
    let blob = holder.blobs.put(bytes(1, 100_000)).await.unwrap();
    let other = holder.blobs.put(bytes(2, 100)).await.unwrap();
    let names = [*to_hash(&blob).as_bytes(), *to_hash(&other).as_bytes()].concat();
    let sequence = holder.blobs.put(names).await.unwrap();
    let connect = |from: &Node, to: &Node| {
        let (endpoint, route) = (from.net.endpoint.clone(), to.route());
        async move {
            let connection = endpoint::connect(&endpoint, &route, WAIT).await.unwrap();
            (Link::open(connection.clone()).await.unwrap(), connection)
        }
    };
    let ((_rude, rude), (_kind, kind)) = (connect(&stranger, &holder).await, connect(&friend, &holder).await);

    assert!(header_arrives(&kind, GetRequest::blob(to_hash(&blob))).await, "the test can tell");
    assert!(!header_arrives(&rude, GetRequest::blob(to_hash(&blob))).await);
    assert_eq!(many_headers(&kind, &[blob, other]).await, 2, "the test can tell");
    assert_eq!(many_headers(&rude, &[blob, other]).await, 0);
    assert_eq!(many_headers(&rude, &[BlobHash::new([9; 32]), other]).await, 0);

    // One blob of a friend's is allowed, the other not: the hash sequence is refused as a whole, get-many stops there.
    *lock(&gate.blobs) = Some(BTreeSet::from([blob, sequence]));
    assert_eq!(many_headers(&kind, &[blob, other, sequence]).await, 1);
    for connection in [&rude, &kind] {
        assert!(!header_arrives(connection, GetRequest::all(to_hash(&sequence))).await, "hash sequences are not served");
    }
    for connection in [&rude, &kind] {
        let mut observed = std::pin::pin!(stranger.blobs.store().remote().observe(connection.clone(), ObserveRequest::new(to_hash(&blob))));
        assert!(!matches!(observed.next().await, Some(Ok(_))), "observe is not answered");
    }
    let pushed = friend.blobs.put(bytes(3, 100)).await.unwrap();
    let push = PushRequest::new(to_hash(&pushed), ChunkRangesSeq::root());
    // Whether the pusher notices depends on timing; what matters is that nothing is stored.
    let _ = friend.blobs.store().remote().execute_push(kind.clone(), push).await;
    assert!(header_arrives(&kind, GetRequest::blob(to_hash(&blob))).await, "the connection is still served");
    assert!(!holder.blobs.has(&pushed).await);

    let report = stranger.fetch(&[(blob, 100_000), (other, 100)], &[holder.route()]).await;
    assert!(report.got.is_empty() && report.failed.len() == 2);
    assert!(stranger.blobs.store().list().hashes().await.unwrap().is_empty());
    holder.end().await;
    stranger.end().await;
    friend.end().await;
}

#[tokio::test]
async fn a_gate_that_closes_stops_the_transfer_and_one_that_opens_lets_it_go_on() {
    let gate = List::new(&[key(17)]);
    let (source, sink) = (node(16, gate.clone()).await, node(17, List::new(&[])).await);
    let content = bytes(1, 40 << 20);
    let blob = source.blobs.put(content.clone()).await.unwrap();
    gate.limit.store(12, Ordering::SeqCst);
    let report = sink.fetch(&[(blob, 40 << 20)], &[source.route()]).await;
    assert!(report.got.is_empty() && !sink.blobs.has(&blob).await);
    let present = sink.blobs.store().observe(to_hash(&blob)).await.unwrap().total_bytes();
    assert!(present > 0 && present <= 12 << 20, "{present}");

    gate.asked.store(0, Ordering::SeqCst);
    gate.limit.store(usize::MAX, Ordering::SeqCst);
    let report = sink.fetch(&[(blob, 40 << 20)], &[source.route()]).await;
    assert_eq!(report.got, [blob]);
    assert!(gate.asked.load(Ordering::SeqCst) < 42, "it went on where it stopped");
    assert_eq!(sink.blobs.get(&blob).await.unwrap().unwrap(), content);
    source.end().await;
    sink.end().await;
}

#[tokio::test]
async fn sources_fill_in_for_each_other() {
    let friends = [key(20)];
    let (left, right, sink) = (node(18, List::new(&friends)).await, node(19, List::new(&friends)).await, node(20, List::new(&[])).await);
    let contents: Vec<_> = (0..300).map(|number| bytes(number, 4096)).chain([bytes(999, 20 << 20)]).collect();
    let mut wanted = Vec::new();
    for (number, content) in contents.iter().enumerate() {
        // Each has what the other lacks; the large one is with both.
        if number % 2 == 0 || number == 300 {
            left.blobs.put(content.clone()).await.unwrap();
        }
        if number % 2 == 1 || number == 300 {
            right.blobs.put(content.clone()).await.unwrap();
        }
        wanted.push((BlobHash::of(content), content.len() as u64));
    }
    let absent = BlobHash::new([7; 32]);
    wanted.push((absent, 4096));
    let (gone, _socket) = dead(21);
    let started = Instant::now();
    let report = sink.fetch(&wanted, &[gone.clone(), left.route(), right.route()]).await;
    assert_eq!(report.got.len(), 301, "{:?}", report.failed);
    assert!(matches!(&report.failed[..], [(hash, _)] if *hash == absent));
    assert_eq!(report.refused, [&left, &right].map(|source| (source.net.endpoint(), absent)).into(), "the dead one has not been asked");
    eprintln!("with a dead source: {:?}", started.elapsed());

    let none = sink.fetch(&[(absent, 4096)], &[]).await;
    assert_eq!((none.got.len(), none.failed.len()), (0, 1));
    left.end().await;
    right.end().await;
    sink.end().await;
}

/// Somebody who has little of what is missing may be the only one who has it.
#[tokio::test]
async fn what_one_source_has_among_much_that_it_has_not_is_fetched() {
    let (poor, other, sink) = (node(48, List::new(&[key(50)])).await, node(49, List::new(&[key(50)])).await, node(50, List::new(&[])).await);
    let contents: BTreeMap<BlobHash, Vec<u8>> = (0..600).map(|number| bytes(number, 300)).map(|content| (BlobHash::of(&content), content)).collect();
    let wanted: Vec<_> = contents.keys().map(|hash| (*hash, 300)).collect();
    // In the order of their hashes, as they are asked for.
    for hash in [&wanted[250].0, &wanted[599].0] {
        poor.blobs.put(contents[hash].clone()).await.unwrap();
    }
    let report = sink.fetch(&wanted, &[poor.route()]).await;
    assert_eq!((report.got, report.failed.len(), report.refused.len()), (vec![wanted[250].0, wanted[599].0], 598, 598));
    for number in (0..600).step_by(3) {
        other.blobs.put(contents[&wanted[number].0].clone()).await.unwrap();
    }
    let report = sink.fetch(&wanted, &[poor.route(), other.route()]).await;
    assert_eq!((report.got.len(), report.failed.len(), report.refused.len()), (202, 398, 2 * 398));
    for one in [poor, other, sink] {
        one.end().await;
    }
}

/// However many fetches there are: a peer is not asked more often at a time than for one, and one that has left is waited for by none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetches_share_the_turns_of_a_source_and_do_not_wait_for_one_that_has_left() {
    let (source, sink) = (node(43, List::new(&[key(44)])).await, node(44, List::new(&[])).await);
    let mut wanted = Vec::new();
    for number in 0..24 {
        wanted.push((source.blobs.put(bytes(number, 3000)).await.unwrap(), 3000));
    }
    let routes = [source.route()];
    let link = sink.net.connect(&source.route(), WAIT).await.unwrap();
    let reports = n0_future::join_all(wanted.chunks(2).map(|few| sink.fetch(few, &routes))).await;
    assert!(reports.iter().all(|report| report.got.len() == 2), "{reports:?}");

    let peer = source.net.endpoint();
    let taken = (sink.net.turns.turn(&peer).await, sink.net.turns.turn(&peer).await);
    let left = Source { endpoint: peer, gone: CancellationToken::new() };
    let absent = (BlobHash::new([7; 32]), 100);
    let leaving = async {
        tokio::task::yield_now().await;
        left.gone.cancel();
    };
    let (sources, pace) = ([left.clone()], Pace::default());
    let (report, ()) = tokio::join!(sink.net.fetch(&sink.blobs, std::slice::from_ref(&absent), &sources, &pace), leaving);
    assert_eq!((report.failed.len(), report.refused.len()), (1, 0));
    drop((taken, link));
    source.end().await;
    sink.end().await;
}

/// A source that cuts its answers short, as it does where a line is too slow for it, has not said that it gives nothing.
#[tokio::test]
async fn an_answer_that_is_cut_short_is_no_refusal() {
    let (server, _) = endpoint::bind(&loopback(), &[46; 32]).await.unwrap();
    let sink = node(47, List::new(&[])).await;
    let route = Route { endpoint: key(46), addresses: endpoint::addresses(&server), relay: None };
    let accepting = server.clone();
    let cutting = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Some(incoming) = accepting.accept().await {
            connections.spawn(async move {
                let connection = incoming.await.unwrap();
                while let Ok((mut send, _recv)) = connection.accept_bi().await {
                    send.reset(iroh_blobs::protocol::ERR_LIMIT).unwrap();
                }
            });
        }
    });
    let wanted = [(BlobHash::new([7; 32]), 100)];
    let report = sink.fetch(&wanted, std::slice::from_ref(&route)).await;
    assert_eq!((report.failed.len(), report.refused.len()), (1, 0), "{report:?}");
    sink.end().await;
    server.close().await;
    cutting.abort();
}

#[tokio::test]
async fn a_blob_of_another_length_is_refused_and_nothing_of_it_stored() {
    let (source, sink) = (node(22, List::new(&[key(23)])).await, node(23, List::new(&[])).await);
    let (small, large) = (source.blobs.put(bytes(1, 5000)).await.unwrap(), source.blobs.put(bytes(2, 17 << 20)).await.unwrap());
    let wrong = [(small, 4999), (small, 5001), (large, 100), (large, (17 << 20) + 1), (small, 0), (large, u64::MAX >> 20)];
    for (blob, length) in wrong {
        let report = sink.fetch(&[(blob, length)], &[source.route()]).await;
        assert!(report.got.is_empty() && report.failed[0].0 == blob, "{length}");
        assert_eq!(report.refused, [(source.net.endpoint(), blob)].into(), "{length}");
        let true_length = if blob == small { 5000 } else { 17 << 20 };
        assert!(length == 0 || report.others == [(blob, [true_length].into())].into(), "{length}: {:?}", report.others);
        assert!(sink.blobs.store().list().hashes().await.unwrap().is_empty(), "{length}");
    }
    assert_eq!(sink.fetch(&[(small, 5000)], &[source.route()]).await.got, [small]);
    assert!(sink.fetch(&[(small, 4999)], &[source.route()]).await.got.is_empty(), "not even if it is there");
    source.end().await;
    sink.end().await;
}

#[tokio::test]
async fn nothing_of_a_deleted_blob_is_left() {
    let gate = List::new(&[key(25)]);
    let (source, sink) = (node(24, gate.clone()).await, node(25, List::new(&[])).await);
    let contents = [bytes(1, 300), bytes(2, 4096), bytes(3, 200_000), bytes(4, 20 << 20), bytes(5, 700)];
    let hashes = source.blobs.put_many(contents.to_vec()).await.unwrap();
    let wanted: Vec<_> = hashes.iter().zip(&contents).map(|(hash, bytes)| (*hash, bytes.len() as u64)).collect();
    assert_eq!(sink.fetch(&wanted, &[source.route()]).await.failed, []);
    let half = bytes(6, 40 << 20);
    let partial = source.blobs.put(half.clone()).await.unwrap();
    gate.limit.store(gate.asked.load(Ordering::SeqCst) + 9, Ordering::SeqCst);
    assert_eq!(sink.fetch(&[(partial, 40 << 20)], &[source.route()]).await.got, []);
    assert_eq!(files_with(sink.dir.path(), &contents[1][100..200]).len(), 1, "the test can tell");

    let doomed = [hashes[0], hashes[1], hashes[2], hashes[3], partial, BlobHash::new([1; 32])];
    sink.blobs.delete(&doomed).await.unwrap();
    assert_eq!(sink.blobs.list().await.unwrap(), [hashes[4]]);
    for content in contents[..4].iter().chain([&half]) {
        for at in [0, content.len() / 2, content.len() - 100] {
            assert_eq!(files_with(sink.dir.path(), &content[at..at + 100]), Vec::<String>::new());
        }
    }
    let left: Vec<_> = fs::read_dir(sink.dir.path().join("blobs/data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [format!("{}.data", hashes[4]).as_str()]);
    assert_eq!(sink.blobs.get(&hashes[4]).await.unwrap().unwrap(), contents[4]);
    gate.limit.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(sink.fetch(&wanted, &[source.route()]).await.got.len(), 5, "it can be had again");
    assert_eq!(sink.blobs.put(contents[0].clone()).await.unwrap(), hashes[0]);
    source.end().await;
    sink.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_while_others_are_deleted_stays() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).await.unwrap();
    let old = blobs.put_many((0..200).map(|number| bytes(number, 600)).collect()).await.unwrap();
    let putting = tokio::spawn({
        let blobs = blobs.clone();
        async move { blobs.put_many((1000..1400).map(|number| bytes(number, 600)).collect()).await.unwrap() }
    });
    for doomed in old.chunks(10) {
        blobs.delete(doomed).await.unwrap();
    }
    let mut new = putting.await.unwrap();
    new.sort_unstable();
    assert_eq!(blobs.list().await.unwrap(), new);
    assert_eq!(blobs.len().await.unwrap(), 400);
    blobs.shutdown().await.unwrap();
}

#[tokio::test]
async fn after_a_power_cut_a_blob_is_whole_or_not_there() {
    let (dir, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let blobs = Blobs::open(dir.path()).await.unwrap();
    let [whole, torn, lost] = blobs.put_many(vec![bytes(1, 5000), bytes(2, 5000), bytes(3, 5000)]).await.unwrap()[..] else { panic!() };
    blobs.sync().await.unwrap();
    for name in ["data", "temp"] {
        fs::create_dir(cut.path().join(name)).unwrap();
    }
    for name in ["open", "blobs.db"].map(str::to_owned).into_iter().chain([whole, torn].map(|hash| format!("data/{hash}.data"))) {
        fs::copy(dir.path().join(&name), cut.path().join(&name)).unwrap();
    }
    fs::OpenOptions::new().write(true).open(cut.path().join(format!("data/{torn}.data"))).unwrap().set_len(4096).unwrap();
    let healed = Blobs::open(cut.path()).await.unwrap();
    assert_eq!(healed.list().await.unwrap(), [whole]);
    assert_eq!(healed.put(bytes(2, 5000)).await.unwrap(), torn);
    assert!(healed.get(&torn).await.unwrap().is_some() && healed.get(&lost).await.unwrap().is_none());
    healed.shutdown().await.unwrap();
    blobs.shutdown().await.unwrap();
}

/// As redb leaves it: the first bytes are written last.
#[tokio::test]
async fn a_database_whose_making_was_cut_off_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("blobs.db");
    fs::write(&database, [vec![0; 9], vec![1; 5000]].concat()).unwrap();
    let blobs = Blobs::open(dir.path()).await.unwrap();
    let blob = blobs.put(bytes(1, 5000)).await.unwrap();
    blobs.shutdown().await.unwrap();
    let mut damaged = fs::read(&database).unwrap();
    damaged[..9].fill(0);
    fs::write(&database, &damaged).unwrap();
    assert!(Blobs::open(dir.path()).await.is_err(), "where there are documents, it was whole once");
    assert_eq!(fs::read(&database).unwrap(), damaged);
    fs::remove_file(dir.path().join(format!("data/{blob}.data"))).unwrap();
    damaged[8] = 1;
    fs::write(&database, &damaged).unwrap();
    assert!(Blobs::open(dir.path()).await.is_err(), "that is not what a cut leaves");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_counts_as_stored_until_the_store_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).await.unwrap();
    let blob = blobs.put(bytes(1, 5000)).await.unwrap();
    let (path, aside) = (dir.path().join(format!("data/{blob}.data")), dir.path().join("aside"));
    fs::rename(&path, &aside).unwrap();
    // A loop of links cannot be opened, and so not be written out.
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert!(blobs.sync().await.is_err());
    fs::remove_file(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    // The system may have dropped what it failed to write, and would say that all is well.
    assert!(blobs.sync().await.is_err());
    assert!(blobs.shutdown().await.is_err());
    drop(blobs);
}

#[tokio::test]
async fn bytes_damaged_on_disk_are_never_handed_out() {
    let (source, sink) = (node(26, List::new(&[key(27)])).await, node(27, List::new(&[])).await);
    let blob = source.blobs.put(bytes(1, 50_000)).await.unwrap();
    let mut damaged = bytes(1, 50_000);
    damaged[40_000] ^= 1;
    fs::write(source.dir.path().join(format!("blobs/data/{blob}.data")), damaged).unwrap();
    assert!(matches!(source.blobs.get(&blob).await, Err(NetError::Damaged(hash)) if hash == blob));
    assert!(matches!(source.blobs.read(&blob).await, Err(NetError::Damaged(hash)) if hash == blob));
    assert!(sink.fetch(&[(blob, 50_000)], &[source.route()]).await.got.is_empty());
    source.end().await;
    sink.end().await;
}

/// iroh sends all HTTP through the proxy that it is told of, which is the line to the relay.
#[tokio::test]
async fn a_pkarr_server_is_asked_itself_where_there_is_a_relay_too() {
    let (relay, server) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = |listener: &TcpListener| Some(format!("http://{}/pkarr", listener.local_addr().unwrap()));
    let node = node_with(NetConfig { relay: url(&relay), dns: url(&server), ..loopback() }, 1, List::new(&[])).await;
    let nowhere = Route { endpoint: key(9), addresses: Vec::new(), relay: None };
    let asked = async {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut request = [0; 11];
        stream.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"GET /pkarr/");
    };
    tokio::select! {
        () = asked => {}
        called = node.net.connect(&nowhere, Duration::from_secs(60)) => panic!("the server was not asked: {:?}", called.err()),
    }
    node.end().await;
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_and_mdns_never_prevents_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).await.unwrap();
    let start = |config: NetConfig| {
        let blobs = blobs.clone();
        async move { Net::start(&config, &[28; 32], blobs, List::new(&[]), mpsc::channel(1).0).await }
    };
    for config in [
        NetConfig { publish: true, ..loopback() },
        NetConfig { publish: true, dns: Some("dns.example".into()), ..loopback() },
        NetConfig { dns: Some("https://".into()), ..loopback() },
        NetConfig { relay: Some("nonsense".into()), ..loopback() },
    ] {
        assert!(matches!(start(config.clone()).await, Err(NetError::Config(_))), "{config:?}");
    }
    let taken = start(loopback()).await.unwrap();
    let twice = NetConfig { listen: taken.addresses().first().copied(), ..NetConfig::default() };
    assert!(matches!(start(twice).await, Err(NetError::Bind(_))));
    taken.shutdown().await;
    let net = start(NetConfig { mdns: true, ..loopback() }).await.unwrap();
    net.shutdown().await;
    let anywhere = start(NetConfig::default()).await.unwrap();
    assert!(anywhere.addresses().iter().all(|address| !address.ip().is_unspecified() && address.port() != 0));
    anywhere.shutdown().await;
    blobs.shutdown().await.unwrap();
}
