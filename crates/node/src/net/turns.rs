//! Whose turn it is to ask a peer for blobs: so many requests at a time, whoever fetches.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use chartmesh_identity::EndpointKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::blobs::lock;

/// Requests to one peer at a time.
pub(super) const WORKERS: usize = 2;

#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<EndpointKey, Arc<Semaphore>>>);

impl Turns {
    /// Waits until a peer may be asked for something more. It may be asked until the result is dropped.
    pub(super) async fn turn(&self, peer: &EndpointKey) -> Option<OwnedSemaphorePermit> {
        let turns = lock(&self.0).entry(*peer).or_insert_with(|| Arc::new(Semaphore::new(WORKERS))).clone();
        // Nobody closes it.
        turns.acquire_owned().await.ok()
    }

    /// Forgets peers that nobody asks.
    pub(super) fn tidy(&self) {
        lock(&self.0).retain(|_, turns| Arc::strong_count(turns) > 1);
    }
}
