//! Every open connection: how a peer is reached, and what it is asked over for blobs. Holds weak handles only, so nothing stays open for being listed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use chartmesh_identity::EndpointKey;
use iroh::endpoint::{Connection, VarInt, WeakConnectionHandle};

use super::{Path, blobs::lock, endpoint};

#[derive(Default)]
pub(super) struct Connections(Mutex<BTreeMap<EndpointKey, Vec<WeakConnectionHandle>>>);

impl Connections {
    pub(super) fn add(&self, connection: &Connection) {
        let mut all = lock(&self.0);
        all.entry(endpoint::remote(connection)).or_default().push(connection.weak_handle());
    }

    /// The newest open connection to a peer: of two, it is the one that works.
    pub(super) fn newest(&self, peer: &EndpointKey) -> Option<Connection> {
        self.open(peer).pop()
    }

    /// How it travels.
    pub(super) fn path(&self, peer: &EndpointKey) -> Option<Path> {
        self.newest(peer).as_ref().and_then(endpoint::path)
    }

    /// Closes all connections to a peer if one of them travels to one of these addresses.
    pub(super) fn leave(&self, peer: &EndpointKey, left: &BTreeSet<String>) {
        let open = self.open(peer);
        let goes_there = |path: Path| left.contains(&path.address);
        if open.iter().filter_map(endpoint::path).any(goes_there) {
            open.iter().for_each(|connection| connection.close(VarInt::from_u32(0), b"moved"));
        }
    }

    /// In the order in which they were opened.
    pub(super) fn open(&self, peer: &EndpointKey) -> Vec<Connection> {
        let handles = lock(&self.0).get(peer).cloned().unwrap_or_default();
        handles.iter().filter_map(WeakConnectionHandle::upgrade).filter(|connection| connection.close_reason().is_none()).collect()
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
