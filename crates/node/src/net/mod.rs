//! The network of a node: who is listened to, links to peers, blobs from and for them. The only place that knows iroh (protocol.md "Replication", "Finding peers").
//!
//! It moves bytes and decides nothing: what a link's frames mean is the exchange's business, and whether a peer is served is the [`Gate`]'s. Nothing beyond the peers named in a [`Route`] is
//! contacted unless [`NetConfig`] says so.
//!
//! Tasks, all owned by [`Net`] and ended by [`Net::shutdown`]:
//!
//! - *listener*: accepts connections, at most 1024 at a time; further ones are refused until one ends. Each has a task: it asks the gate, then hands a [`Link`] to the `incoming`
//!   queue (whose bound the caller chose; a peer is turned away when it stays full for 5 s) and serves blobs beside it (`serve.rs`), as it does on those that this node made; one that falls mute it ends (`mute.rs`), and one
//!   that it made if the peer has gone elsewhere (`astray.rs`). The listener aborts them when it ends.
//! - *tidier*: every 10 s, forgets connections that have ended.
//! - *line*, where there is a relay: the tunnel to it (`line.rs`).
//!
//! A [`Link`] that was handed over belongs to whoever holds it; shutdown closes it under them. [`Net::fetch`] runs in its caller: dropping it stops it, and what it had so far stays for the next.

mod astray;
mod blobs;
mod connections;
mod endpoint;
mod error;
mod fetch;
mod line;
mod link;
mod mute;
mod quiet;
mod serve;
mod shadow;
mod sweep;
#[cfg(test)]
mod tests;
mod turns;
mod window;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use chartmesh_identity::{BlobHash, EndpointKey};
use iroh::{
    Endpoint,
    endpoint::{Connection, Incoming, VarInt},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

#[cfg(test)]
pub(crate) use self::endpoint::ALPN;
pub use self::{
    blobs::Blobs,
    error::NetError,
    fetch::{FetchReport, Pace},
    link::{Beside, Link, LinkReceiver, LinkSender, MAX_FRAME},
};
pub(crate) use self::{
    blobs::{file_of, files, is_unfinished},
    shadow::unreadable,
};
use self::{connections::Connections, line::Line, turns::Turns};

/// Connections from peers at a time.
const MAX_CONNECTIONS: usize = 1024;
/// How long a handshake may take.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// How long a new link may wait for room in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(5);
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// Connections that may wait to be served.
const WAITING: usize = 16;

const NOT_ADMITTED: VarInt = VarInt::from_u32(1);
const BUSY: VarInt = VarInt::from_u32(2);
const MUTE: VarInt = VarInt::from_u32(3);
const ASTRAY: VarInt = VarInt::from_u32(4);

/// Where a node listens, and whom it may ask or tell where nodes are. The default listens everywhere and asks and tells nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetConfig {
    /// Address to listen on; port 0 is any. `None`: any address, any port.
    pub listen: Option<SocketAddr>,
    /// Where it listened last ([`Net::listening`]). Without `listen`, its ports are taken again if nobody else has them: so that those find it who have heard of it there.
    pub last: Vec<SocketAddr>,
    /// URL of a relay. `None`: direct connections only.
    pub relay: Option<String>,
    /// Where peers' addresses are looked up: a DNS origin, or the URL of a pkarr server. `None`: nowhere.
    pub dns: Option<String>,
    /// Publish own addresses to that pkarr server: the relay if there is one, else the IP addresses.
    pub publish: bool,
    /// Announce this node on the local network, and find others there.
    pub mdns: bool,
}

/// Where a peer may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Who it is; a connection is only made with the holder of this key.
    pub endpoint: EndpointKey,
    /// Where it was last seen.
    pub addresses: Vec<SocketAddr>,
    /// URL of its relay; of use only to nodes that use a relay themselves.
    pub relay: Option<String>,
}

/// A peer that blobs may be fetched from: one with which there is a link.
#[derive(Debug, Clone)]
pub struct Source {
    /// Who it is.
    pub endpoint: EndpointKey,
    /// Cancelled when the link is over: the peer is not waited for any longer.
    pub gone: CancellationToken,
}

/// How a peer is reached at this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Through a relay rather than directly.
    pub relayed: bool,
    /// Round-trip time.
    pub rtt: Duration,
    /// `IP:PORT`, or the relay's URL.
    pub address: String,
}

impl Path {
    /// The way back to the peer that this is the path to.
    pub fn back(self, endpoint: EndpointKey) -> Option<Route> {
        if self.relayed {
            return Some(Route { endpoint, addresses: Vec::new(), relay: Some(self.address) });
        }
        Some(Route { endpoint, addresses: vec![self.address.parse().ok()?], relay: None })
    }
}

/// The serving rule (protocol.md "Replication"). Asked from the network's tasks, often, so an answer must be quick and must not wait.
pub trait Gate: Send + Sync + 'static {
    /// Whether a peer may connect at all, for links or blobs.
    fn admits(&self, peer: &EndpointKey) -> bool;
    /// Whether a peer gets this blob; asked again while a large one is being sent.
    fn serves(&self, peer: &EndpointKey, blob: &BlobHash) -> bool;
}

/// A node's running network.
pub struct Net {
    endpoint: Endpoint,
    connections: Arc<Connections>,
    turns: Arc<Turns>,
    /// Connections that this node has made, to be served.
    made: mpsc::Sender<Connection>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Net {
    /// Opens the network under the identity that `endpoint_seed` is the Ed25519 seed of. Links from peers go to `incoming`.
    pub async fn start(
        config: &NetConfig,
        endpoint_seed: &[u8; 32],
        blobs: Blobs,
        gate: Arc<dyn Gate>,
        incoming: mpsc::Sender<Link>,
    ) -> Result<Self, NetError> {
        let (endpoint, line) = endpoint::bind(config, endpoint_seed).await?;
        let connections = Arc::new(Connections::default());
        let turns = Arc::new(Turns::default());
        let (made, to_serve) = mpsc::channel(WAITING);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let door = Door { blobs, gate, incoming, connections: connections.clone() };
        tasks.spawn(listen(endpoint.clone(), Arc::new(door), to_serve, stopped.clone()));
        tasks.spawn(tidy(turns.clone(), connections.clone(), stopped.clone()));
        if let Some(line) = line {
            tasks.spawn(carry(line, stopped));
        }
        Ok(Self { endpoint, connections, turns, made, tasks, stop })
    }

    /// Who this node is on the network.
    pub fn endpoint(&self) -> EndpointKey {
        EndpointKey::new(*self.endpoint.id().as_bytes())
    }

    /// Where it listens: addresses as they are bound, that of no interface for all of them.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.endpoint.bound_sockets()
    }

    /// Where others can reach this node directly, as far as is known.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        endpoint::addresses(&self.endpoint)
    }

    /// Waits until this node can be reached elsewhere than at `from`; where that is then.
    pub async fn moved(&self, from: &[SocketAddr]) -> Vec<SocketAddr> {
        endpoint::moved(&self.endpoint, from).await
    }

    /// Calls a peer and opens a link. Fails with [`NetError::Unreachable`] at the latest after `wait`.
    pub async fn connect(&self, to: &Route, wait: Duration) -> Result<Link, NetError> {
        let connection = endpoint::connect(&self.endpoint, to, wait).await?;
        // The link's stream comes before any request.
        let link = Link::open(connection.clone()).await?;
        self.connections.add(&connection);
        // Fails only if the network ends.
        let _ = self.made.send(connection).await;
        Ok(link)
    }

    /// Fetches blobs of stated lengths into a store, from all sources side by side, the nearest first, and writes them to disk. What is there already counts as got. A blob of another length is refused, and never
    /// more than the stated length is stored; what was fetched of a blob that failed stays in the store, and the next fetch goes on from there.
    pub async fn fetch(&self, blobs: &Blobs, wanted: &[(BlobHash, u64)], sources: &[Source], pace: &Pace) -> FetchReport {
        let mut sources = sources.to_vec();
        sources.sort_by_cached_key(|source| self.path(&source.endpoint).map_or((true, Duration::MAX), |path| (path.relayed, path.rtt)));
        fetch::fetch(blobs, &self.connections, &self.turns, wanted, &sources, pace).await
    }

    /// Closes every connection to a peer if they travel to one of these addresses (`IP:PORT`), where it is no more.
    pub fn leave(&self, peer: &EndpointKey, left: &BTreeSet<String>) {
        self.connections.leave(peer, left);
    }

    /// How a peer is reached at this time; `None` while there is no connection.
    pub fn path(&self, peer: &EndpointKey) -> Option<Path> {
        self.connections.path(peer)
    }

    /// Stops listening, closes every connection and waits for the tasks. The blob store stays open.
    pub async fn shutdown(mut self) {
        // Fails only if the tasks have ended already.
        let _ = self.stop.send(true);
        endpoint::close(&self.endpoint).await;
        while self.tasks.join_next().await.is_some() {}
    }
}

/// What the listener's tasks need.
struct Door {
    blobs: Blobs,
    gate: Arc<dyn Gate>,
    incoming: mpsc::Sender<Link>,
    connections: Arc<Connections>,
}

impl Door {
    /// Serves blobs over a connection until it ends, and ends it when it falls mute or, where this side can call again, goes astray.
    async fn attend(&self, connection: Connection) {
        tokio::select! {
            () = serve::serve(&connection, self.blobs.store(), &self.gate) => {}
            () = mute::mute(&connection) => connection.close(MUTE, b"mute"),
            () = astray::astray(&connection), if connection.side().is_client() => connection.close(ASTRAY, b"astray"),
        }
    }
}

async fn listen(endpoint: Endpoint, door: Arc<Door>, mut made: mpsc::Receiver<Connection>, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            Some(connection) = made.recv() => {
                let door = door.clone();
                tasks.spawn(async move { door.attend(connection).await });
                continue;
            }
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let Ok(place) = room.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let door = door.clone();
        tasks.spawn(async move {
            if let Err(error) = admit(incoming, &door).await {
                tracing::debug!(%error, "an incoming connection came to nothing");
            }
            drop(place);
        });
    }
    tasks.shutdown().await;
}

/// Takes a connection through the handshake and past the gate. Returns when a link has been handed over and ended.
async fn admit(incoming: Incoming, door: &Door) -> Result<(), NetError> {
    let accepted = async { incoming.accept().map_err(NetError::lost)?.await.map_err(NetError::lost) };
    let connection: Connection = timeout(HANDSHAKE_WAIT, accepted).await.map_err(NetError::lost)??;
    let peer = endpoint::remote(&connection);
    if !door.gate.admits(&peer) {
        connection.close(NOT_ADMITTED, b"");
        return Ok(());
    }
    let link = Link::accept(connection.clone()).await?;
    door.connections.add(&connection);
    if timeout(QUEUE_WAIT, door.incoming.send(link)).await.is_ok_and(|sent| sent.is_ok()) {
        // Its holder decides how long it lives; until then it takes up a place.
        door.attend(connection).await;
    } else {
        connection.close(BUSY, b"busy");
    }
    Ok(())
}

async fn carry(line: Line, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        _ = stopped.changed() => {}
        () = line.carry() => {}
    }
}

async fn tidy(turns: Arc<Turns>, connections: Arc<Connections>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(TIDY_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            _ = ticks.tick() => {
                turns.tidy();
                connections.tidy();
            }
        }
    }
}
