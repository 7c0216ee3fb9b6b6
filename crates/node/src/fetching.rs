//! The fetcher: brings documents that this node should have, from whoever the serving rule lets it have them from.

mod claims;
mod schedule;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use chartmesh_identity::{BlobHash, EndpointKey, EntryHash};
use chartmesh_vault::Batch;
use n0_future::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::{
    api::ApiError,
    net::{self, Blobs, Net},
    node::Node,
    session::{Missing, Source},
};
use claims::Claims;
use schedule::{Group, MOST, Peers, Schedule};

pub(crate) async fn fetch(node: Node, net: Arc<Net>) {
    let scratch = node.0.home.path().join("proof");
    let _ = std::fs::remove_dir_all(&scratch);
    let mut fetching = FuturesUnordered::new();
    let mut schedule = Schedule::new();
    loop {
        while let Some((peers, group)) = schedule.begin(|taken| node.groups(taken)) {
            let (node, net, scratch) = (&node, &net, &scratch);
            fetching.push(async move {
                let count = group.missing.len();
                let left = node.fetch_group(net, group, scratch).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "documents could not be fetched");
                    count
                });
                (peers, left)
            });
        }
        let rested = schedule.rests_until();
        tokio::select! {
            Some((peers, left)) = fetching.next() => schedule.end(&peers, left, Instant::now()),
            () = node.0.signals.fetch.notified() => schedule.look(Instant::now()),
            () = node.0.signals.sources.notified() => schedule.wake_all(),
            () = sleep_until(rested.unwrap_or_else(Instant::now)), if rested.is_some() => schedule.wake(Instant::now()),
        }
    }
}

impl Node {
    /// What is missing and can be had now, but for what is taken. A blob is in one group only: in two, what comes from the peers of one would count as given by those of the other.
    fn groups(&self, taken: impl Fn(&Peers, &BlobHash) -> bool) -> BTreeMap<Peers, Group> {
        self.with(|core| {
            let mut groups: BTreeMap<Peers, Group> = BTreeMap::new();
            let mut given: BTreeMap<BlobHash, Peers> = BTreeMap::new();
            for one in core.missing() {
                let sources = core.sources(&one);
                let mut peers: Peers = sources.iter().map(|source| source.peer.route.endpoint).collect();
                peers.sort_unstable();
                if peers.is_empty() || taken(&peers, &one.blob) || *given.entry(one.blob).or_insert_with(|| peers.clone()) != peers {
                    continue;
                }
                let group = groups.entry(peers).or_insert_with(|| Group { sources, missing: Vec::new() });
                if group.missing.len() < MOST {
                    group.missing.push(one);
                }
            }
            groups
        })
    }

    /// How many documents of a group are left that are to rest a while. What is here already is fetched anew, somewhere below `scratch`.
    async fn fetch_group(&self, net: &Net, Group { sources, missing }: Group, scratch: &Path) -> Result<usize, ApiError> {
        // Bytes that are here already were not given for this Publish: whoever names them must show that it has them, or a hash would be a capability.
        let mut fresh = Vec::new();
        let mut held = Vec::new();
        let blobs: Vec<_> = missing.iter().map(|one| one.blob).collect();
        for (one, size) in missing.iter().zip(self.0.blobs.sizes(&blobs).await) {
            if matches!(size, Ok(Some(_))) { held.push(*one) } else { fresh.push(*one) }
        }
        let mut left = 0;
        if !fresh.is_empty() {
            left += self.fetch_into(net, &self.0.blobs, &sources, fresh).await?;
        }
        if let Some(first) = held.first() {
            self.0.blobs.sync().await.map_err(|error| self.break_off(error))?;
            let directory = scratch.join(first.blob.to_string());
            let _ = std::fs::remove_dir_all(&directory);
            let proved = self.prove(net, &directory, &sources, held).await;
            let _ = std::fs::remove_dir_all(&directory);
            left += proved?;
        }
        Ok(left)
    }

    async fn prove(&self, net: &Net, directory: &Path, sources: &[Source], held: Vec<Missing>) -> Result<usize, ApiError> {
        let blobs = Blobs::open(directory).await.map_err(ApiError::failed)?;
        let proved = self.fetch_into(net, &blobs, sources, held).await;
        blobs.shutdown().await.map_err(ApiError::failed)?;
        proved
    }

    async fn fetch_into(&self, net: &Net, into: &Blobs, sources: &[Source], missing: Vec<Missing>) -> Result<usize, ApiError> {
        // Of several sessions with one endpoint the latest knows where it is.
        let peers: BTreeMap<EndpointKey, &net::Source> = sources.iter().map(|source| (source.peer.route.endpoint, &source.peer)).collect();
        let endpoints: Vec<EndpointKey> = peers.keys().copied().collect();
        let peers: Vec<net::Source> = peers.into_values().cloned().collect();
        let mut claims = Claims::of(&missing);
        let (mut unreachable, mut store) = (BTreeSet::new(), None);
        while store.is_none() {
            let asked = claims.ask();
            if asked.is_empty() {
                break;
            }
            let report = net.fetch_into(into, asked, &peers).await;
            claims.answer(&report, endpoints.iter().copied());
            unreachable.extend(report.unreachable);
            store = report.store;
        }
        let delivered: Vec<(EntryHash, BlobHash)> = missing.iter().filter(|one| claims.is_true(one)).map(|one| (one.publish, one.blob)).collect();
        let failed = missing.len() - delivered.len();
        let (got, refused) = claims.into_got_and_refused();
        self.with(|core| {
            let mut batch = Batch::new();
            core.deliver(delivered, &mut batch);
            if let Err(error) = core.vault.commit(batch) {
                return Err(core.break_off(error));
            }
            if let Some(reason) = &store {
                return Err(core.break_off(reason));
            }
            core.sessions.note_fetched(sources, &got, &refused);
            core.tell_pending();
            for remote in &unreachable {
                core.renew(remote, sources.iter().filter(|source| source.peer.route.endpoint == *remote).map(|source| source.session));
            }
            Ok(())
        })?;
        self.0.signals.sessions.notify_waiters();
        self.0.signals.duties.notify_one();
        // Others will be asked than those.
        let gone = sources.iter().any(|source| source.peer.gone.is_cancelled());
        Ok(if gone { 0 } else { failed })
    }
}
