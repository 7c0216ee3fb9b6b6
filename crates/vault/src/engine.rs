//! The one file that names sled: an ordered map of byte strings with durable, atomic batches.
//!
//! Why it is used the way it is stands in docs/decisions/0002-sled.md. In short: one tree, because only one tree's batch is atomic; no background flusher, because that one
//! aborts the process when the disk fails; small leaves and values cut into chunks, because a leaf is read and written whole; closed and opened again when much of it is in
//! memory, because sled keeps every leaf that it has written; and every call guarded, because sled asserts and unwraps where it should report. An engine that has failed
//! once refuses everything that follows: what is in memory may then be ahead of what is on disk.

use std::{
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{Table, VaultError};

/// Entries per leaf, fixed for the life of a store.
const FANOUT: usize = 32;
/// Entries in a leaf of usual fill.
const USUAL: usize = FANOUT * 3 / 4;
/// How much may have been read into memory, by estimate and in bytes, before the store is closed and opened again.
const MOST_HELD: usize = 10 * 1024 * 1024;
/// What sled is told to keep of leaves that were only read, in bytes.
const CACHE: usize = 4 * 1024 * 1024;
/// What a row is taken to be long if none was seen, in bytes.
const SOME_ROW: usize = 512;
/// What a row costs in memory beside its record, in bytes: its key, and what allocating both takes.
const OVERHEAD: usize = 160;
/// How long sled's own lock is waited for, and in which steps.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(2);
/// Longest record that is stored in one piece.
const INLINE: usize = 8 * 1024;
/// Length of the pieces of longer ones.
const CHUNK: usize = 32 * 1024;

/// First byte of the rows that hold pieces; tables have lower ones.
const CHUNKS: u8 = 255;
const WHOLE: u8 = 0;
const CHUNKED: u8 = 1;

/// An open store.
pub(crate) struct Engine {
    dir: PathBuf,
    db: Option<sled::Db<FANOUT>>,
    next_chunk: u64,
    failed: bool,
    seen: Seen,
}

/// What one operation went over, and what is in memory for it and those before.
#[derive(Default)]
struct Seen {
    rows: usize,
    bytes: usize,
    written: usize,
    misses: u64,
    held: usize,
}

/// A key and the record that is stored under it.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

impl Engine {
    /// Opens the store in a directory, or makes one there.
    pub(crate) /// Nobody else opens this store, as the home is locked. But a child process that another thread is just starting, and sled starts some, shares sled's own lock until it runs its
/// program, even when sled has closed it: that is waited for.
fn open(dir: &Path) -> Result<sled::Db<FANOUT>, VaultError> {
    let config = sled::Config::new().path(dir).cache_capacity_bytes(CACHE).flush_every_ms(None).zstd_compression_level(1);
    let deadline = Instant::now() + LOCK_PATIENCE;
    guarded("opening", || {
        loop {
            match config.open::<FANOUT>() {
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => thread::sleep(LOCK_PAUSE),
                opened => return opened,
            }
        }
    })
}

fn guarded<T>(doing: &'static str, action: impl FnOnce() -> std::io::Result<T>) -> Result<T, VaultError> {
    match catch_unwind(AssertUnwindSafe(action)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(VaultError::Store { doing, reason: error.to_string() }),
        Err(_) => Err(VaultError::Store { doing, reason: "its files are damaged or it met a fault of its own".into() }),
    }
}

fn row(table: Table, key: &[u8]) -> Vec<u8> {
    [&[table.tag()], key].concat()
}

/// Under which rows the pieces of a chunked record are, if it is one.
fn chunks(record: &[u8]) -> Option<impl Iterator<Item = Vec<u8>> + use<>> {
    let (&CHUNKED, head) = record.split_first()? else { return None };
    let (id, count) = head.split_at_checked(8)?;
    let id: [u8; 8] = id.try_into().ok()?;
    let count = u32::from_be_bytes(count.try_into().ok()?);
    Some((0..count).map(move |at| [&[CHUNKS], &id[..], &at.to_be_bytes()].concat()))
}
