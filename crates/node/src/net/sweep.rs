//! Runs iroh-blobs' garbage collector exactly when a deletion asks for it.
//!
//! The collector is a task of the store: it waits, asks a callback what to keep, deletes the rest, and starts over. This callback waits for a [`Sweeper::sweep`], so being asked again means that the
//! run before is done. Owner: the store. Inbox: one sweep. End: [`Sweeper::end`], after the store has closed; a sweeper that is merely dropped leaves the callback waiting, which deletes nothing.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use iroh_blobs::{
    Hash,
    store::{GcConfig, ProtectOutcome},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{blobs::lock, error::NetError};

/// How long a deletion may take.
const SWEEP_WAIT: Duration = Duration::from_secs(60);

struct Sweep {
    live: HashSet<Hash>,
    done: oneshot::Sender<()>,
}

/// Asks for deletions.
pub(super) struct Sweeper(mpsc::Sender<Sweep>);

/// A sweeper, and the settings of the store that listens to it.
pub(super) fn channel() -> (Sweeper, GcConfig) {
    let (sender, receiver) = mpsc::channel::<Sweep>(1);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let running: Arc<Mutex<Option<oneshot::Sender<()>>>> = Arc::default();
    let collector = GcConfig {
        interval: Duration::ZERO,
        add_protected: Some(Arc::new(move |live: &mut HashSet<Hash>| {
            let (receiver, running) = (receiver.clone(), running.clone());
            Box::pin(async move {
                if let Some(done) = lock(&running).take() {
                    // A caller that went away does not care.
                    let _ = done.send(());
                }
                let next = receiver.lock().await.recv().await;
                let Some(sweep) = next else { return std::future::pending().await };
                live.extend(sweep.live);
                *lock(&running) = Some(sweep.done);
                ProtectOutcome::Continue
            })
        })),
    };
    (Sweeper(sender), collector)
}

impl Sweeper {
    /// Deletes everything but `live` and what tags protect; returns when it is gone and the database written to disk.
    ///
    /// A collector that fails says nothing, since the store keeps its callback; it fails when the database has ended, which `ended` tells.
    pub(super) async fn sweep(&self, live: HashSet<Hash>, ended: impl Future<Output = NetError>) -> Result<(), NetError> {
        let finished = self.send(live).await?;
        let waited = async {
            tokio::select! {
                finished = finished => finished.map_err(|_| NetError::Store("it is closed".into())),
                why = ended => Err(why),
            }
        };
        timeout(SWEEP_WAIT, waited).await.unwrap_or_else(|_| Err(NetError::Store("a deletion did not come to its end".into())))
    }

    /// Lets the collector of a store that has closed come to its end: its next run fails, because the database is closed.
    pub(super) async fn end(&self) {
        // An error means that it has ended.
        let _ = self.send(HashSet::new()).await;
    }

    async fn send(&self, live: HashSet<Hash>) -> Result<oneshot::Receiver<()>, NetError> {
        let (done, finished) = oneshot::channel();
        let sent = timeout(SWEEP_WAIT, self.0.send(Sweep { live, done })).await;
        if sent.is_ok_and(|sent| sent.is_ok()) { Ok(finished) } else { Err(NetError::Store("it is closed".into())) }
    }
}
