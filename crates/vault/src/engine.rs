//! The one file that names sled: an ordered map of byte strings with durable, atomic batches.
//!
//! Why it is used the way it is stands in docs/decisions/0002-sled.md. In short: one tree, because only one tree's batch is atomic; no background flusher, because that one
//! aborts the process when the disk fails; small leaves and values cut into chunks, because a leaf is read and written whole; closed and opened again when much of it is in
//! memory, because sled keeps every leaf that it has written; and every call guarded, because sled asserts and unwraps where it should report. An engine that has failed
//! once refuses everything that follows: what is in memory may then be ahead of what is on disk.

use std::{
    fs::{self, File},
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Table, VaultError,
    leaves::{Index, RawRow},
};

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
/// How long closing may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// Longest record that is stored in one piece.
const INLINE: usize = 8 * 1024;
/// Length of the pieces of longer ones.
const CHUNK: usize = 32 * 1024;

/// First byte of the rows that hold pieces; tables have lower ones.
pub(crate) const CHUNKS: u8 = 255;
/// Most pieces of a record.
const MOST_PIECES: u32 = 2048;
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

/// A record to store under a key of a table, or none to remove it.
pub(crate) type Write = (Table, Vec<u8>, Option<Vec<u8>>);

/// A key and the record that is stored under it.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

impl Engine {
    /// Opens the store in a directory, or makes one there.
    pub(crate) fn open(dir: &Path) -> Result<Self, VaultError> {
        let mut engine = Self { dir: dir.to_path_buf(), db: Some(open_db(dir)?), next_chunk: 0, failed: false, seen: Seen::default() };
        let last = engine.run("opening", |db| db.last())?;
        if let Some((key, _)) = last
            && key.first() == Some(&CHUNKS)
        {
            engine.next_chunk = key.get(1..9).and_then(|id| id.try_into().ok()).map_or(0, u64::from_be_bytes) + 1;
        }
        Ok(engine)
    }

    /// The record of a key.
    pub(crate) fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        let row = row(table, key);
        let record = match self.run("reading", |db| db.get(&row))? {
            None => None,
            Some(record) => Some(self.assemble(table, key, &record)?),
        };
        self.settle();
        Ok(record)
    }

    /// Up to `limit` rows of a table in ascending order of their keys, those whose keys begin with `prefix` and come after `after`.
    pub(crate) fn scan(&mut self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, VaultError> {
        let prefix = row(table, prefix);
        let mut from = after.map_or_else(|| prefix.clone(), |key| row(table, key));
        if after.is_some() {
            from.push(0);
        }
        let from = from.max(prefix.clone());
        let found = self.run("reading", |db| {
            let rows = db.range(from.as_slice()..).take_while(|row| row.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)));
            rows.take(limit).collect::<Result<Vec<_>, _>>()
        })?;
        let rows = found.into_iter().map(|(key, record)| self.assemble(table, &key[1..], &record).map(|record| (key[1..].to_vec(), record))).collect();
        self.settle();
        rows
    }

    /// Writes all of a batch, and returns when it is on disk. `last` makes the last write of the records, old and new, of the others.
    pub(crate) fn commit(&mut self, mut writes: Vec<Write>, last: impl FnOnce(&[Write], &[Option<Vec<u8>>]) -> Write) -> Result<(), VaultError> {
        let mut batch = sled::Batch::default();
        let mut before = Vec::with_capacity(writes.len());
        for (table, key, _) in &writes {
            before.push(match self.run("reading", |db| db.get(row(*table, key)))? {
                None => None,
                Some(old) => {
                    for chunk in chunks(&old).into_iter().flatten() {
                        batch.remove(chunk);
                    }
                    Some(self.assemble(*table, key, &old)?)
                }
            });
        }
        writes.push(last(&writes, &before));
        for (table, key, record) in writes {
            let row = row(table, &key);
            let length = row.len() + record.as_ref().map_or(0, Vec::len);
            self.seen.rows += 1;
            self.seen.bytes += length;
            self.seen.written += length;
            match record {
                None => batch.remove(row),
                Some(record) if record.len() <= INLINE => batch.insert(row, [&[WHOLE], &record[..]].concat()),
                Some(record) => {
                    let mut head = vec![CHUNKED];
                    head.extend_from_slice(&self.next_chunk.to_be_bytes());
                    head.extend_from_slice(&(record.len().div_ceil(CHUNK) as u32).to_be_bytes());
                    self.next_chunk += 1;
                    for (name, piece) in chunks(&head).into_iter().flatten().zip(record.chunks(CHUNK)) {
                        batch.insert(name, piece);
                    }
                    batch.insert(row, head);
                }
            }
        }
        self.apply(batch)
    }

    /// Writes rows as they lay in another store, and returns when they are on disk.
    pub(crate) fn load(&mut self, rows: Vec<RawRow>) -> Result<(), VaultError> {
        let mut batch = sled::Batch::default();
        for (row, record) in rows {
            let length = row.len() + record.len();
            self.seen.rows += 1;
            self.seen.bytes += length;
            self.seen.written += length;
            batch.insert(row, record);
        }
        self.apply(batch)
    }

    fn apply(&mut self, batch: sled::Batch) -> Result<(), VaultError> {
        self.run("writing", |db| {
            db.apply_batch(batch)?;
            db.flush().map(drop)
        })?;
        self.settle();
        Ok(())
    }

    /// Does something with the files of the store while sled has them closed.
    pub(crate) fn while_closed<T>(&mut self, work: impl FnOnce(&Path) -> T) -> Result<T, VaultError> {
        if self.failed {
            return Err(VaultError::Closed);
        }
        self.close();
        let done = work(&self.dir);
        self.seen = Seen::default();
        self.reopen();
        Ok(done)
    }

    /// Closes the store and opens it again when much of it is in memory, because sled never lets go of a leaf that it has written.
    ///
    /// What is in memory is estimated: leaves that were read, each as full of such rows as were seen, and everything that was written. If opening fails, what was just done
    /// stands, and whatever follows is refused.
    fn settle(&mut self) {
        let Some(db) = &self.db else { return };
        let misses = db.stats().cache.cache_misses;
        let row = OVERHEAD + self.seen.bytes.checked_div(self.seen.rows).unwrap_or(SOME_ROW);
        let read = misses.saturating_sub(self.seen.misses) as usize * USUAL * row;
        let held = self.seen.held + read + self.seen.written;
        self.seen = Seen { misses, held, ..Seen::default() };
        if held > MOST_HELD {
            self.close();
            self.seen = Seen::default();
            self.reopen();
        }
    }

    /// Opens the store again, unless its index was damaged meanwhile: sled would go on with what it can read, and overwrite the traces.
    fn reopen(&mut self) {
        let sound = Index::read(&self.dir, &self.dir.join("metadata")).is_ok_and(|index| index.unread.is_empty());
        match sound.then(|| open_db(&self.dir)) {
            Some(Ok(db)) => self.db = Some(db),
            _ => self.failed = true,
        }
    }

    /// Whether the disk has failed it.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Closes it for good: whatever follows is refused.
    pub(crate) fn close(&mut self) {
        let Some(db) = self.db.take() else { return };
        if self.failed {
            // Closing writes, and after a write that failed sled waits for its end for ever. Everything acknowledged is on disk already.
            return std::mem::forget(db);
        }
        // The disk may also fail now, with the same end; and sled may assert.
        let (open, closed) = mpsc::channel::<()>();
        let closing = thread::Builder::new().spawn(move || {
            drop(db);
            drop(open);
        });
        if closing.is_ok() && closed.recv_timeout(CLOSE_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.failed = true;
        }
    }

    #[cfg(test)]
    pub(crate) fn pieces(&mut self) -> Vec<Vec<u8>> {
        self.run("reading", |db| db.range([CHUNKS].as_slice()..).map(|row| Ok(row?.0.to_vec())).collect()).unwrap()
    }

    #[cfg(test)]
    pub(crate) fn lose(&mut self, piece: &[u8]) {
        self.run("writing", |db| db.remove(piece)).unwrap();
    }

    #[cfg(test)]
    pub(crate) fn fail(&mut self) {
        self.run("failing", |_| Err::<(), _>(std::io::Error::other("on purpose"))).unwrap_err();
    }

    fn assemble(&mut self, table: Table, key: &[u8], record: &[u8]) -> Result<Vec<u8>, VaultError> {
        let corrupt = |reason| VaultError::Corrupt { table, key: data_encoding::HEXLOWER.encode(key), reason };
        self.seen.rows += 1;
        self.seen.bytes += record.len();
        let names = match form(record).ok_or_else(|| corrupt("its record has no known form"))? {
            Form::Whole(record) => return Ok(record.to_vec()),
            Form::Pieces(names) => names,
        };
        let mut whole = Vec::new();
        for name in names {
            let piece = self.run("reading", |db| db.get(&name))?.ok_or_else(|| corrupt("a piece of it is missing"))?;
            self.seen.rows += 1;
            self.seen.bytes += piece.len();
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    fn run<T>(&mut self, doing: &'static str, action: impl FnOnce(&sled::Db<FANOUT>) -> std::io::Result<T>) -> Result<T, VaultError> {
        let db = self.db.as_ref().filter(|_| !self.failed).ok_or(VaultError::Closed)?;
        let done = guarded(doing, || action(db));
        self.failed |= done.is_err();
        done
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Nobody else opens this store, as the home is locked. But a child process that another thread is just starting, and sled starts some, shares sled's own lock until it runs its
/// program, even when sled has closed it: that is waited for.
fn open_db(dir: &Path) -> Result<sled::Db<FANOUT>, VaultError> {
    guarded("opening", || keep_snapshot(dir))?;
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

/// While it opens, sled removes its old logs and begins a new one last. Cut off in between it leaves a snapshot without a log after it, and the next time it would write that very
/// snapshot anew and then remove it, taking it for the one before: everything would be lost with the opening after that. With an empty log it does neither.
fn keep_snapshot(dir: &Path) -> std::io::Result<()> {
    let metadata = dir.join("metadata");
    let names = match fs::read_dir(&metadata) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>()?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let newest = |kind: &str| names.iter().filter_map(|name| u64::from_str_radix(name.to_str()?.strip_prefix(kind)?, 16).ok()).max();
    if let Some(snapshot) = newest("snapshot_")
        && newest("log_").is_none_or(|log| log <= snapshot)
    {
        File::create_new(metadata.join(format!("log_{:016x}", snapshot + 1)))?;
        File::open(&metadata)?.sync_all()?;
    }
    Ok(())
}

fn guarded<T>(doing: &'static str, action: impl FnOnce() -> std::io::Result<T>) -> Result<T, VaultError> {
    match catch_unwind(AssertUnwindSafe(action)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(VaultError::Store { doing, reason: reason(&error.to_string()).into() }),
        Err(_) => Err(VaultError::Store { doing, reason: "its files are damaged or it met a fault of its own".into() }),
    }
}

/// What the system said, without the places in its source that sled puts before it.
fn reason(annotated: &str) -> &str {
    annotated.rsplit(" -> ").next().unwrap_or(annotated)
}

/// The row of a key.
pub(crate) fn row(table: Table, key: &[u8]) -> Vec<u8> {
    [&[table.tag()], key].concat()
}

/// How a record is stored.
pub(crate) enum Form<'a> {
    /// In one piece.
    Whole(&'a [u8]),
    /// In pieces, under these rows.
    Pieces(Vec<Vec<u8>>),
}

/// How what is stored under a row makes up its record, if it has a known form.
pub(crate) fn form(record: &[u8]) -> Option<Form<'_>> {
    match record.split_first()? {
        (&WHOLE, record) => Some(Form::Whole(record)),
        _ => chunks(record).map(|names| Form::Pieces(names.collect())),
    }
}

/// Under which rows the pieces of a chunked record are, if it is one.
fn chunks(record: &[u8]) -> Option<impl Iterator<Item = Vec<u8>> + use<>> {
    let (&CHUNKED, head) = record.split_first()? else { return None };
    let (id, count) = head.split_at_checked(8)?;
    let id: [u8; 8] = id.try_into().ok()?;
    let count = Some(u32::from_be_bytes(count.try_into().ok()?)).filter(|count| *count <= MOST_PIECES)?;
    Some((0..count).map(move |at| [&[CHUNKS], &id[..], &at.to_be_bytes()].concat()))
}
