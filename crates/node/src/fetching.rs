//! The fetcher: brings documents that this node should have, from whoever the serving rule lets it have them from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chartmesh_identity::{BlobHash, EntryHash};
use chartmesh_vault::Batch;

use crate::{
    api::ApiError,
    net::{Net, Route},
    node::Node,
    session::Missing,
};

/// How long documents that nobody could give are left alone.
const AGAIN: Duration = Duration::from_millis(500);

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
            let mut groups: BTreeMap<Vec<[u8; 32]>, (Vec<Route>, Vec<Missing>)> = BTreeMap::new();
            for one in core.missing() {
                let sources = core.sources(&one);
                if !sources.is_empty() {
                    let mut key: Vec<[u8; 32]> = sources.iter().map(|route| *route.endpoint.as_bytes()).collect();
                    key.sort_unstable();
                    groups.entry(key).or_insert_with(|| (sources, Vec::new())).1.push(one);
                }
            }
            groups
        });
        let mut left = false;
        for (sources, missing) in groups.into_values() {
            left |= self.fetch_group(net, &sources, missing).await?;
        }
        Ok(left)
    }

    async fn fetch_group(&self, net: &Net, sources: &[Route], missing: Vec<Missing>) -> Result<bool, ApiError> {
        // Bytes that are here under no Publish were not given for this one: they are fetched anew, or somebody could name what it has never had.
        let mut here = Vec::new();
        for one in &missing {
            if self.0.blobs.has(&one.blob).await {
                here.push(one.blob);
            }
        }
        let unclaimed: Vec<BlobHash> = self.with(|core| {
            let claimed = |blob: &BlobHash| core.delivered.iter().any(|(_, delivered)| delivered == blob);
            here.iter().filter(|blob| !claimed(blob)).copied().collect()
        });
        let taken: BTreeSet<BlobHash> = here.iter().filter(|blob| !unclaimed.contains(blob)).copied().collect();
        if !unclaimed.is_empty() {
            self.0.blobs.delete(&unclaimed).await.map_err(ApiError::failed)?;
        }
        let missing: Vec<Missing> = missing.into_iter().filter(|one| !taken.contains(&one.blob)).collect();
        let wanted: Vec<(BlobHash, u64)> = missing.iter().map(|one| (one.blob, one.length)).collect();
        if wanted.is_empty() {
            return Ok(false);
        }
        let report = net.fetch(&wanted, sources).await;
        let got: BTreeSet<BlobHash> = report.got.into_iter().collect();
        let delivered: Vec<(EntryHash, BlobHash)> = missing.iter().filter(|one| got.contains(&one.blob)).map(|one| (one.publish, one.blob)).collect();
        let failed = missing.len() - delivered.len();
        self.with(|core| {
            let mut batch = Batch::new();
            core.deliver(delivered, &mut batch);
            if let Err(error) = core.vault.commit(batch) {
                return Err(core.break_off(error));
            }
            for one in &missing {
                if got.contains(&one.blob) {
                    core.sessions.failed.remove(&one.blob);
                } else {
                    core.sessions.failed.insert(one.blob);
                }
            }
            core.tell_pending();
            Ok(())
        })?;
        self.0.signals.sessions.notify_waiters();
        self.0.signals.duties.notify_one();
        Ok(failed > 0)
    }
}
