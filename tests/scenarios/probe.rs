//! A node made by hand, for doing what no honest program does: it shows any card it likes, names ledgers that are none of its business and asks for blobs by their hashes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use chartmesh_exchange::{Effect, Event, Me, Options, Replica, Session, Side};
use chartmesh_identity::{BlobHash, Card, Contact, EndpointKey, Kind, Profile, Signed, SigningSecret, Ticket, from_canonical};
use chartmesh_ledger::{CertCache, Charter, Entry, Invitation, Ledger, RawEntry};
use chartmesh_node::net::{Blobs, Gate, Net, NetConfig, Pace, Route, Source};
use chartmesh_sealing::{Identity, open};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey,
    endpoint::{Connection, presets},
};
use iroh_blobs::{
    Hash,
    protocol::{ChunkRangesSeq, GetManyRequest, GetRequest, ObserveRequest, PushRequest, Request},
};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

/// ALPN of links.
const ALPN: &[u8] = b"chartmesh/4";
/// How long a call may take.
const CALL: Duration = Duration::from_secs(20);
/// A peer that has said nothing for so long has nothing more to say.
const SILENCE: Duration = Duration::from_secs(2);
/// A peer's answer to a request for blobs is read up to here.
const MOST: usize = 64 << 20;

/// An exported ledger.
#[derive(Deserialize)]
struct LedgerFile {
    #[serde(rename = "format")]
    _format: String,
    charters: Vec<Signed<Charter>>,
    entries: Vec<RawEntry>,
}

/// A hand-made node.
pub(crate) struct Probe {
    runtime: Runtime,
    net: Net,
    raw: Endpoint,
    replica: Replica,
    sealing: Identity,
    blobs: Blobs,
    _dir: TempDir,
}

/// What a visit brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Visit {
    /// Entries that came.
    pub(crate) entries: usize,
    /// Charter versions that came.
    pub(crate) charters: usize,
    /// Invitations that could be opened.
    pub(crate) invitations: usize,
    /// Blobs that were fetched as nodes do it.
    pub(crate) got: BTreeSet<String>,
    /// Bytes that came in answer to requests made by hand, for one blob and for all of them, and to requests that nobody answers.
    pub(crate) bytes: usize,
}

struct Nobody;

impl Gate for Nobody {
    fn admits(&self, _: &EndpointKey) -> bool {
        true
    }

    fn serves(&self, _: &EndpointKey, _: &BlobHash) -> bool {
        false
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    i64::try_from(now.as_secs()).expect("a time")
}

fn hash(blob: &BlobHash) -> Hash {
    Hash::from_bytes(*blob.as_bytes())
}

impl Probe {
    pub(crate) fn new(name: &str) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let dir = TempDir::new().expect("a temporary directory");
        let signing = SigningSecret::generate();
        let sealing = Identity::generate();
        let seed = SigningSecret::generate().expose_seed();
        let (net, blobs, raw) = runtime.block_on(async {
            let blobs = Blobs::open(&dir.path().join("blobs")).await.expect("a store");
            let (links, mut incoming) = mpsc::channel(4);
            tokio::spawn(async move { while incoming.recv().await.is_some() {} });
            let config = NetConfig { listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..NetConfig::default() };
            let net = Net::start(&config, &seed, blobs.clone(), Arc::new(Nobody), links).await.expect("a network");
            let raw =
                Endpoint::builder(presets::Minimal).secret_key(SecretKey::from_bytes(&seed)).relay_mode(RelayMode::Disabled).bind().await.expect("an endpoint");
            (net, blobs, raw)
        });
        let profile = Profile { name: name.to_owned(), kind: Kind::Practitioner, party: signing.party(), recipient: sealing.recipient().clone(), version: 1 };
        let addresses = net.addresses().iter().map(ToString::to_string).collect();
        let contact = Contact { endpoints: vec![net.endpoint()], addresses, relay: None, counter: 1 };
        let card = Card { profile, contact }.sign(&signing).expect("a card");
        let me = Me { card, endpoint: net.endpoint(), author: signing.author() };
        Self { runtime, net, raw, replica: Replica::new(me), sealing, blobs, _dir: dir }
    }

    /// Its card, as a file has it.
    pub(crate) fn card(&self) -> Vec<u8> {
        self.replica.me.card.as_bytes().to_vec()
    }

    /// Takes in an exported ledger, as somebody could who found the file.
    pub(crate) fn learn(&mut self, exported: &[u8]) {
        let file: LedgerFile = from_canonical(exported).expect("an exported ledger");
        let mut charters = file.charters.into_iter();
        let mut ledger = Ledger::begin(charters.next().expect("a charter")).expect("a ledger");
        for charter in charters {
            ledger.add_charter(charter).expect("a charter that fits");
        }
        let mut certs = CertCache::new();
        let entries = file.entries.into_iter().map(|raw| Entry::read_with(raw, &mut certs).expect("an entry")).collect();
        assert!(ledger.add_all(entries).refused.is_empty());
        self.replica.ledgers.insert(ledger.id(), ledger);
    }

    /// Calls a node, takes all it gives, and then asks it for blobs of known hashes and lengths in every way there is.
    pub(crate) fn visit(&mut self, ticket: &str, wanted: &BTreeMap<String, Vec<u8>>) -> Visit {
        let ticket: Ticket = ticket.parse().expect("a ticket");
        let route = Route { endpoint: ticket.endpoint, addresses: ticket.addresses, relay: None };
        let wanted: Vec<(BlobHash, u64)> = wanted.iter().map(|(name, bytes)| (name.parse().expect("a hash"), bytes.len() as u64)).collect();
        let Self { runtime, net, raw, replica, sealing, blobs, .. } = self;
        runtime.block_on(async {
            let mut visit = Visit::default();
            let link = net.connect(&route, CALL).await.expect("a link");
            let mut session = Session::new(Side::Initiator, link.remote(), *SigningSecret::generate().expose_seed(), Options::default());
            let (mut sender, mut receiver) = link.split();
            let mut effects = VecDeque::from(session.start(replica, now()));
            loop {
                while let Some(effect) = effects.pop_front() {
                    match effect {
                        // A peer that hung up shows in what comes back.
                        Effect::Send(frame) => drop(sender.send(&frame).await),
                        Effect::Persist { entries, charters, .. } => {
                            visit.entries += entries.len();
                            visit.charters += charters.len();
                            effects.extend(session.handle(replica, Event::Pending { blobs: 0 }, now()));
                        }
                        Effect::Invitation { sealed, .. } => {
                            if let Some(ledger) = accept(replica, sealing, &sealed) {
                                visit.invitations += 1;
                                effects.extend(session.handle(replica, Event::Opened(ledger), now()));
                            }
                        }
                        _ => {}
                    }
                }
                match timeout(SILENCE, receiver.recv()).await {
                    Ok(Ok(Some(frame))) => effects.extend(session.handle(replica, Event::Frame(frame), now())),
                    Ok(Ok(None) | Err(_)) | Err(_) => break,
                }
            }
            assert!(session.peer().is_some(), "it has shown its card, so it has seen this one's");
            let report = net.fetch(blobs, &wanted, &[Source { endpoint: route.endpoint, gone: CancellationToken::new() }], &Pace::default()).await;
            drop((sender, receiver));
            visit.got = report.got.iter().map(ToString::to_string).collect();
            visit.bytes = by_hand(raw, replica, &route, &wanted).await;
            visit
        })
    }
}

/// Takes part in the ledger of an invitation, if it can be opened.
fn accept(replica: &mut Replica, sealing: &Identity, sealed: &[u8]) -> Option<chartmesh_identity::LedgerId> {
    let bytes = open(sealed, sealing).ok()?;
    let invitation = Signed::<Invitation>::from_bytes(bytes.to_vec()).verify().expect("a signed invitation");
    let mut charters = invitation.charters.iter().cloned();
    let mut ledger = Ledger::begin(charters.next().expect("a charter")).expect("a ledger");
    for charter in charters {
        ledger.add_charter(charter).expect("a charter that fits");
    }
    let id = ledger.id();
    replica.ledgers.insert(id, ledger);
    Some(id)
}

/// Asks in the words of iroh-blobs' own protocol; how many bytes came back.
async fn by_hand(endpoint: &Endpoint, replica: &Replica, route: &Route, wanted: &[(BlobHash, u64)]) -> usize {
    let id = EndpointId::from_bytes(route.endpoint.as_bytes()).expect("an endpoint");
    let address = route.addresses.iter().fold(EndpointAddr::new(id), |address, hint| address.with_ip_addr(*hint));
    let connection = timeout(CALL, endpoint.connect(address, ALPN)).await.expect("in time").expect("a connection");
    // The first stream is the link's. Who shows no card is a stranger, so both do.
    let (mut link, mut frames) = connection.open_bi().await.expect("a stream");
    link.write_all(&[1]).await.expect("a link");
    let mut session = Session::new(Side::Initiator, route.endpoint, *SigningSecret::generate().expose_seed(), Options::default());
    for effect in session.start(replica, now()) {
        let Effect::Send(frame) = effect else { continue };
        link.write_all(&u32::try_from(frame.len()).expect("a short frame").to_be_bytes()).await.expect("a frame");
        link.write_all(&frame).await.expect("a frame");
    }
    let mut length = [0; 4];
    timeout(CALL, frames.read_exact(&mut length)).await.expect("in time").expect("a frame");
    let mut hello = vec![0; u32::from_be_bytes(length) as usize];
    timeout(CALL, frames.read_exact(&mut hello)).await.expect("in time").expect("the peer's card");
    let mut requests = vec![Request::GetMany(GetManyRequest::new(wanted.iter().map(|(blob, _)| hash(blob)).collect(), ChunkRangesSeq::all()))];
    for (blob, _) in wanted {
        requests.push(Request::Get(GetRequest::blob(hash(blob))));
        requests.push(Request::Get(GetRequest::all(hash(blob))));
        requests.push(Request::Observe(ObserveRequest::new(hash(blob))));
        requests.push(Request::Push(PushRequest::new(hash(blob), ChunkRangesSeq::root())));
    }
    let mut bytes = 0;
    for request in requests {
        bytes += ask(&connection, &request).await;
    }
    connection.close(0_u32.into(), b"");
    bytes
}

async fn ask(connection: &Connection, request: &Request) -> usize {
    let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
    send.write_all(&postcard::to_allocvec(request).expect("a request")).await.expect("a request is sent");
    // A stream that was stopped cannot be finished; what counts is what comes back.
    let _ = send.finish();
    match timeout(CALL, recv.read_to_end(MOST)).await.expect("an answer or an end") {
        Ok(answer) => answer.len(),
        Err(_) => 0,
    }
}
