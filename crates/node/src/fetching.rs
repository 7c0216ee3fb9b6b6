//! The fetcher: brings documents that this node should have, from whoever the serving rule lets it have them from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chartmesh_identity::{BlobHash, EndpointKey, EntryHash};
use chartmesh_vault::Batch;

use crate::{
    api::ApiError,
    net::{Blobs, Net, Route},
    node::Node,
    session::{Missing, Source},
};

/// How long documents that nobody could give are left alone.
const AGAIN: Duration = Duration::from_millis(500);

/// Documents that the same peers may have.
struct Group {
    sources: Vec<Source>,
    missing: Vec<Missing>,
}

pub(crate) async fn fetch(node: Node, net: Arc<Net>) {
    loop {
        let left = match node.fetch_round(&net).await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, "documents could not be fetched");
                true
            }
        };
        if left {
            tokio::select! {
                () = node.0.signals.fetch.notified() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        } else {
            node.0.signals.fetch.notified().await;
        }
    }
}

impl Node {
    /// Fetches what is missing and can be had now. Whether something is left that may be had later.
    async fn fetch_round(&self, net: &Net) -> Result<bool, ApiError> {
        let groups = self.with(|core| {
            let mut groups: BTreeMap<Vec<EndpointKey>, Group> = BTreeMap::new();
            for one in core.missing() {
                let sources = core.sources(&one);
                if !sources.is_empty() {
                    let mut key: Vec<EndpointKey> = sources.iter().map(|source| source.route.endpoint).collect();
                    key.sort_unstable();
                    groups.entry(key).or_insert_with(|| Group { sources, missing: Vec::new() }).missing.push(one);
                }
            }
            groups
        });
        let mut left = false;
        for group in groups.into_values() {
            left |= self.fetch_group(net, &group.sources, group.missing).await?;
        }
        Ok(left)
    }

    async fn fetch_group(&self, net: &Net, sources: &[Source], missing: Vec<Missing>) -> Result<bool, ApiError> {
        // Bytes that are here already were not given for this Publish: whoever names them must show that it has them, or a hash would be a capability.
        let mut fresh = Vec::new();
        let mut held = Vec::new();
        let blobs: Vec<_> = missing.iter().map(|one| one.blob).collect();
        for (one, size) in missing.iter().zip(self.0.blobs.sizes(&blobs).await) {
            if matches!(size, Ok(Some(_))) { held.push(*one) } else { fresh.push(*one) }
        }
        let mut left = false;
        if !fresh.is_empty() {
            left |= self.fetch_into(net, &self.0.blobs, sources, fresh).await?;
        }
        if !held.is_empty() {
            self.0.blobs.sync().await.map_err(|error| self.break_off(error))?;
            let directory = self.0.home.path().join("proof");
            let _ = std::fs::remove_dir_all(&directory);
            let scratch = Blobs::open(&directory).await.map_err(ApiError::failed)?;
            let proved = self.fetch_into(net, &scratch, sources, held).await;
            scratch.shutdown().await.map_err(ApiError::failed)?;
            let _ = std::fs::remove_dir_all(&directory);
            left |= proved?;
        }
        Ok(left)
    }

    async fn fetch_into(&self, net: &Net, into: &Blobs, sources: &[Source], missing: Vec<Missing>) -> Result<bool, ApiError> {
        // One hash with two lengths is two claims: one of them is asked for at a time.
        let mut asked: BTreeMap<BlobHash, u64> = BTreeMap::new();
        for one in &missing {
            asked.entry(one.blob).or_insert(one.length);
        }
        let missing: Vec<Missing> = missing.into_iter().filter(|one| asked.get(&one.blob) == Some(&one.length)).collect();
        let wanted: Vec<(BlobHash, u64)> = asked.into_iter().collect();
        let routes: BTreeMap<EndpointKey, Route> = sources.iter().map(|source| (source.route.endpoint, source.route.clone())).collect();
        let routes: Vec<Route> = routes.into_values().collect();
        let report = net.fetch_into(into, &wanted, &routes).await;
        let got: BTreeSet<BlobHash> = report.got.into_iter().collect();
        let delivered: Vec<(EntryHash, BlobHash)> = missing.iter().filter(|one| got.contains(&one.blob)).map(|one| (one.publish, one.blob)).collect();
        let failed = missing.len() - delivered.len();
        self.with(|core| {
            let mut batch = Batch::new();
            core.deliver(delivered, &mut batch);
            if let Err(error) = core.vault.commit(batch) {
                return Err(core.break_off(error));
            }
            if let Some(reason) = report.store {
                return Err(core.break_off(reason));
            }
            core.sessions.note_fetched(sources, &got, missing.iter().map(|one| one.blob));
            core.tell_pending();
            report.unreachable.iter().for_each(|remote| core.renew(remote));
            Ok(())
        })?;
        self.0.signals.sessions.notify_waiters();
        self.0.signals.duties.notify_one();
        Ok(failed > 0)
    }
}
