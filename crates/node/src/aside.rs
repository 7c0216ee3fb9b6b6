//! Work on records in the clear, away from the threads that answer.

use std::{collections::BTreeMap, sync::LazyLock};

use chartmesh_sealing::wiped;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::api::ApiError;

/// Begins it at once on a thread that may block, and wipes the stack behind it.
pub(crate) fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_blocking(move || wiped(work))
}

/// How many threads work side by side. It is asked for each document, and the system tells it from files.
pub(crate) fn workers() -> usize {
    static WORKERS: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    *WORKERS
}

/// Does the same with each item, on all cores, and returns what came of it in the order given. The thread that asks is one of those that work; each begins with what `begin` makes.
pub(crate) fn side_by_side<T: Send, S, R: Send>(
    items: Vec<T>,
    begin: impl Fn() -> Result<S, ApiError> + Sync,
    each: impl Fn(&mut S, T) -> Result<R, ApiError> + Sync,
) -> Result<Vec<R>, ApiError> {
    let workers = workers().min(items.len().max(1));
    let mut shares: Vec<Vec<(usize, T)>> = (0..workers).map(|_| Vec::new()).collect();
    for (index, item) in items.into_iter().enumerate() {
        shares[index % workers].push((index, item));
    }
    let work = |share: Vec<(usize, T)>| {
        wiped(|| {
            let mut with = begin()?;
            share.into_iter().map(|(index, item)| Ok((index, each(&mut with, item)?))).collect::<Result<Vec<_>, ApiError>>()
        })
    };
    let mut done = BTreeMap::new();
    std::thread::scope(|scope| {
        let own = shares.pop().unwrap_or_default();
        let others: Vec<_> = shares.into_iter().map(|share| scope.spawn(|| work(share))).collect();
        done.extend(work(own)?);
        for other in others {
            done.extend(other.join().map_err(|_| ApiError::failed("a thread was cut short"))??);
        }
        Ok::<_, ApiError>(())
    })?;
    Ok(done.into_values().collect())
}
