//! Every open connection, to tell how a peer is reached. Holds weak handles only, so nothing stays open for being listed.

use std::{collections::BTreeMap, sync::Mutex};

use chartmesh_identity::EndpointKey;
use iroh::endpoint::{Connection, WeakConnectionHandle};

use super::{Path, blobs::lock, endpoint};

#[derive(Default)]
pub(super) struct Connections(Mutex<BTreeMap<EndpointKey, Vec<WeakConnectionHandle>>>);

impl Connections {
    pub(super) fn add(&self, connection: &Connection) {
        let mut all = lock(&self.0);
        all.entry(endpoint::remote(connection)).or_default().push(connection.weak_handle());
    }

    /// How the newest open connection to a peer travels.
    pub(super) fn path(&self, peer: &EndpointKey) -> Option<Path> {
        let handles = lock(&self.0).get(peer)?.clone();
        handles.iter().rev().filter_map(WeakConnectionHandle::upgrade).find(|connection| connection.close_reason().is_none()).as_ref().and_then(endpoint::path)
    }

    /// Forgets connections that have ended.
    pub(super) fn tidy(&self) {
        let is_open = |handle: &WeakConnectionHandle| handle.upgrade().is_some_and(|connection| connection.close_reason().is_none());
        lock(&self.0).retain(|_, handles| {
            handles.retain(is_open);
            !handles.is_empty()
        });
    }
}
