//! Work on records in the clear, away from the threads that answer.

use chartmesh_sealing::wiped;
use tokio::task::{JoinHandle, spawn_blocking};

/// Begins it at once on a thread that may block, and wipes the stack behind it.
pub(crate) fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_blocking(move || wiped(work))
}
