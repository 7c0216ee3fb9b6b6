//! The fetcher: brings documents that this node should have, from whoever the serving rule lets it have them from.

mod claims;
mod schedule;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use chartmesh_identity::{BlobHash, EndpointKey};
use chartmesh_vault::Batch;
use n0_future::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::{
    api::ApiError,
    net::{self, Blobs, Net, Pace},
    node::Node,
    session::{Missing, Source},
};
use claims::Claims;
use schedule::{Group, Outcome, Peers, Schedule};

pub(crate) async fn fetch(node: Node, net: Arc<Net>) {
    let scratch = node.0.home.path().join("proof");
    let _ = std::fs::remove_dir_all(&scratch);
    let mut fetching = FuturesUnordered::new();
    let mut schedule = Schedule::new();
    loop {
        let mut now = Instant::now();
        while let Some((peers, group, pace)) = schedule.begin(now, |taken| node.groups(taken)) {
            let (node, net, scratch) = (&node, &net, &scratch);
            fetching.push(async move {
                let ended = node.fetch_group(net, group, scratch, &pace).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "documents could not be fetched");
                    Outcome { left: true, ..Outcome::default() }
                });
                (peers, ended)
            });
            now = Instant::now();
        }
        let rested = schedule.rests_until(now);
        tokio::select! {
            Some((peers, ended)) = fetching.next() => schedule.end(&peers, ended, Instant::now()),
            () = node.0.signals.fetch.notified() => schedule.look(Instant::now()),
            () = node.0.signals.sources.notified() => schedule.wake_all(),
            () = sleep_until(rested.unwrap_or_else(Instant::now)), if rested.is_some() => schedule.wake(Instant::now()),
        }
    }
}

/// What is missing, by what is here already.
struct Apart {
    fresh: Vec<Missing>,
    /// Here, under another Publish.
    held: Vec<Missing>,
    /// Here with another length than is said, and with no other that would be right.
    wrong: BTreeSet<BlobHash>,
}

impl Apart {
    /// Tells apart what is missing; with each the length of what is here.
    fn of(missing: impl Iterator<Item = (Missing, Option<u64>)>) -> Self {
        let mut apart = Self { fresh: Vec::new(), held: Vec::new(), wrong: BTreeSet::new() };
        for (one, size) in missing {
            match size {
                None => apart.fresh.push(one),
                Some(size) if size == one.length => apart.held.push(one),
                Some(_) => _ = apart.wrong.insert(one.blob),
            }
        }
        for one in &apart.held {
            apart.wrong.remove(&one.blob);
        }
        apart
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
                let mut peers: Peers = sources.iter().map(|source| source.peer.endpoint).collect();
                peers.sort_unstable();
                if peers.is_empty() || taken(&peers, &one.blob) || *given.entry(one.blob).or_insert_with(|| peers.clone()) != peers {
                    continue;
                }
                groups.entry(peers).or_insert_with(|| Group { sources, missing: Vec::new() }).missing.push(one);
            }
            groups
        })
    }

    /// Fetches a group. What is here already is fetched anew, somewhere below `scratch`.
    async fn fetch_group(&self, net: &Net, Group { sources, missing }: Group, scratch: &Path, pace: &Pace) -> Result<Outcome, ApiError> {
        // Bytes that are here already were not given for this Publish: whoever names them must show that it has them, or a hash would be a capability.
        let blobs: Vec<_> = missing.iter().map(|one| one.blob).collect();
        let sizes = self.0.blobs.sizes(&blobs).await.into_iter().map(|size| size.ok().flatten());
        let Apart { fresh, held, wrong } = Apart::of(missing.into_iter().zip(sizes));
        let mut outcome = Outcome { left: !wrong.is_empty(), refused: wrong.len(), ..Outcome::default() };
        if !wrong.is_empty() {
            self.give_up(&sources, wrong);
        }
        if !fresh.is_empty() {
            outcome = outcome.and(self.fetch_into(net, &self.0.blobs, &sources, fresh, pace).await?);
        }
        if let Some(first) = held.first() {
            self.0.blobs.sync().await.map_err(|error| self.break_off(error))?;
            let directory = scratch.join(first.blob.to_string());
            let _ = std::fs::remove_dir_all(&directory);
            let proved = self.prove(net, &directory, &sources, held, pace).await;
            let _ = std::fs::remove_dir_all(&directory);
            outcome = outcome.and(proved?);
        }
        Ok(outcome)
    }

    /// Nobody is waited for to give documents that are here with another length than is said.
    fn give_up(&self, sources: &[Source], blobs: BTreeSet<BlobHash>) {
        let refused = blobs.into_iter().flat_map(|blob| sources.iter().map(move |source| (source.peer.endpoint, blob))).collect();
        self.with(|core| {
            core.sessions.note_fetched(sources, &[], &refused);
            core.tell_pending();
        });
        self.0.signals.sessions.notify_waiters();
    }

    async fn prove(&self, net: &Net, directory: &Path, sources: &[Source], held: Vec<Missing>, pace: &Pace) -> Result<Outcome, ApiError> {
        let blobs = Blobs::open(directory).await.map_err(ApiError::failed)?;
        let proved = self.fetch_into(net, &blobs, sources, held, pace).await;
        blobs.shutdown().await.map_err(ApiError::failed)?;
        proved
    }

    async fn fetch_into(&self, net: &Net, into: &Blobs, sources: &[Source], missing: Vec<Missing>, pace: &Pace) -> Result<Outcome, ApiError> {
        // Of several sessions with one endpoint the latest is asked.
        let peers: BTreeMap<EndpointKey, &net::Source> = sources.iter().map(|source| (source.peer.endpoint, &source.peer)).collect();
        let peers: Vec<net::Source> = peers.into_values().cloned().collect();
        let mut claims = Claims::of(&missing);
        while !claims.ask().is_empty() {
            let report = net.fetch(into, claims.ask(), &peers, pace).await;
            claims.answer(&report);
            let got: BTreeSet<BlobHash> = report.got.into_iter().collect();
            let came = missing.iter().filter(|one| got.contains(&one.blob) && claims.is_true(one)).map(|one| (one.publish, one.blob));
            self.with(|core| {
                let mut batch = Batch::new();
                core.deliver(came, &mut batch);
                core.vault.commit(batch).map_err(|error| core.break_off(error))?;
                report.store.map_or(Ok(()), |reason| Err(core.break_off(reason)))
            })?;
        }
        let failed = missing.iter().any(|one| !claims.is_true(one));
        let (got, refused) = claims.into_got_and_refused();
        self.with(|core| {
            core.sessions.note_fetched(sources, &got, &refused);
            core.tell_pending();
        });
        self.0.signals.sessions.notify_waiters();
        self.0.signals.duties.notify_one();
        // Others will be asked than those.
        let gone = sources.iter().any(|source| source.peer.gone.is_cancelled());
        // What was refused early is asked for again soon.
        let early: BTreeSet<EndpointKey> = sources.iter().filter(|source| !source.even).map(|source| source.peer.endpoint).collect();
        let refused: BTreeSet<BlobHash> = refused.into_iter().filter(|(endpoint, _)| !early.contains(endpoint)).map(|(_, blob)| blob).collect();
        Ok(Outcome { came: !got.is_empty(), left: failed && !gone, refused: refused.len() })
    }
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::{EntryHash, LedgerId};

    use super::*;

    #[test]
    fn what_is_here_with_another_length_is_asked_of_nobody() {
        let said = |letter: u8, length| Missing {
            ledger: LedgerId::of(b"ledger"),
            publish: EntryHash::of(&[letter, length]),
            blob: BlobHash::new([letter; 32]),
            length: length.into(),
            author: None,
        };
        let all = [(said(b'a', 1), None), (said(b'b', 2), Some(2)), (said(b'b', 3), Some(2)), (said(b'c', 4), Some(5))];
        let Apart { fresh, held, wrong } = Apart::of(all.into_iter());
        assert_eq!((fresh, held, wrong), (vec![said(b'a', 1)], vec![said(b'b', 2)], BTreeSet::from([BlobHash::new([b'c'; 32])])));
    }
}
