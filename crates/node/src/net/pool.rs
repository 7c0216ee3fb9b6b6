//! Connections for fetching blobs: one per peer, shared by all fetches and closed when nobody has used it for 30 s.
//!
//! The pool runs no task; its owner ([`Net`](super::Net)) calls [`Pool::tidy`] now and then.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chartmesh_identity::EndpointKey;
use iroh::{
    Endpoint,
    endpoint::{Connection, VarInt},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Route, blobs::lock, connections::Connections, endpoint, error::NetError};

/// How long a fetch waits for a source to answer its call.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Requests to one peer at a time, whoever fetches.
pub(super) const WORKERS: usize = 2;
/// How long an unused connection stays.
const IDLE: Duration = Duration::from_secs(30);

pub(super) struct Pool {
    endpoint: Endpoint,
    open: Mutex<BTreeMap<EndpointKey, Entry>>,
    turns: Mutex<BTreeMap<EndpointKey, Arc<Semaphore>>>,
    /// Held while a peer is called, so that it is called once by all who want it: when that came to nothing last, and why.
    calls: Mutex<BTreeMap<EndpointKey, Arc<Calling>>>,
    all: Arc<Connections>,
}

type Calling = tokio::sync::Mutex<Option<(Instant, String)>>;

struct Entry {
    /// Held by each user, too.
    connection: Arc<Connection>,
    idle_since: Option<Instant>,
}

impl Pool {
    pub(super) fn new(endpoint: Endpoint, all: Arc<Connections>) -> Self {
        Self { endpoint, open: Mutex::default(), turns: Mutex::default(), calls: Mutex::default(), all }
    }

    /// Waits until a peer may be called or asked for something more. It may be asked until the result is dropped.
    pub(super) async fn turn(&self, peer: &EndpointKey) -> Option<OwnedSemaphorePermit> {
        let turns = lock(&self.turns).entry(*peer).or_insert_with(|| Arc::new(Semaphore::new(WORKERS))).clone();
        // Nobody closes it.
        turns.acquire_owned().await.ok()
    }

    /// The open connection to a peer, or a new one. It counts as used while the result is held.
    pub(super) async fn get(&self, route: &Route) -> Result<Arc<Connection>, NetError> {
        if let Some(connection) = used(&mut lock(&self.open), &route.endpoint) {
            return Ok(connection);
        }
        let asked = Instant::now();
        let calling = lock(&self.calls).entry(route.endpoint).or_default().clone();
        let mut failed = calling.lock().await;
        // Another fetch called meanwhile.
        if let Some(connection) = used(&mut lock(&self.open), &route.endpoint) {
            return Ok(connection);
        }
        if let Some((_, reason)) = failed.as_ref().filter(|(at, _)| *at > asked) {
            return Err(NetError::Unreachable { endpoint: route.endpoint, reason: reason.clone() });
        }
        let connection = endpoint::connect(&self.endpoint, route, iroh_blobs::ALPN, CONNECT_WAIT).await;
        *failed = match &connection {
            Err(NetError::Unreachable { reason, .. }) => Some((Instant::now(), reason.clone())),
            _ => None,
        };
        let connection = Arc::new(connection?);
        self.all.add(&connection);
        lock(&self.open).insert(route.endpoint, Entry { connection: connection.clone(), idle_since: None });
        Ok(connection)
    }

    /// Forgets a connection that does not work.
    pub(super) fn discard(&self, peer: &EndpointKey, connection: &Connection) {
        connection.close(VarInt::from_u32(0), b"");
        let mut open = lock(&self.open);
        if open.get(peer).is_some_and(|entry| entry.connection.stable_id() == connection.stable_id()) {
            open.remove(peer);
        }
    }

    /// Closes what nobody has used for a while.
    pub(super) fn tidy(&self, now: Instant) {
        lock(&self.turns).retain(|_, turns| Arc::strong_count(turns) > 1);
        lock(&self.calls).retain(|_, calling| Arc::strong_count(calling) > 1);
        lock(&self.open).retain(|_, entry| {
            if entry.connection.close_reason().is_some() {
                return false;
            }
            if Arc::strong_count(&entry.connection) > 1 {
                entry.idle_since = None;
                return true;
            }
            let idle_since = *entry.idle_since.get_or_insert(now);
            let keep = now.saturating_duration_since(idle_since) < IDLE;
            if !keep {
                entry.connection.close(VarInt::from_u32(0), b"idle");
            }
            keep
        });
    }
}

/// The open connection to a peer, which counts as used from now on.
fn used(open: &mut BTreeMap<EndpointKey, Entry>, peer: &EndpointKey) -> Option<Arc<Connection>> {
    let entry = open.get_mut(peer).filter(|entry| entry.connection.close_reason().is_none())?;
    entry.idle_since = None;
    Some(entry.connection.clone())
}
