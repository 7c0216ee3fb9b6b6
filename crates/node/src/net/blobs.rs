//! The blobs of this node: sealed documents in iroh-blobs' file store, usable without any network.
//!
//! iroh-blobs owns the threads and the database (`blobs.db`) behind [`Blobs`]; they end with [`Blobs::shutdown`]. Its inbox holds 100 commands and then makes callers wait. Data are files of
//! their own (`data/HASH.data`), never part of the database, so that a deleted blob's bytes leave no copy in free pages of it (docs/decisions/0021).
//!
//! **Durability**: [`Blobs::sync`] writes the files and then the database to disk; nothing counts as stored before. After one that failed every other fails until the store is opened again: the
//! system may have dropped what it could not write, and does not say so twice. After an unclean end [`Blobs::open`] drops entries whose file
//! was cut off, so that they are fetched again. **Deletion**: iroh-blobs only deletes in its garbage collector, which runs here only when [`Blobs::delete`] asks, with everything else marked as live.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chartmesh_identity::BlobHash;
use iroh_blobs::{
    Hash,
    api::{Store, TempTag, blobs::BlobStatus},
    store::fs::{
        FsStore,
        options::{InlineOptions, Options},
    },
};

use tokio::time::timeout;

use super::{
    error::NetError,
    quiet,
    sweep::{self, Sweeper},
};

/// Present while a store is open: found when opening, the last run ended without [`Blobs::shutdown`].
const MARKER: &str = "open";
const DATABASE: &str = "blobs.db";
/// What redb begins a file with, in bytes. It writes them when all else of a new database is on disk.
const MAGIC: u64 = 9;
/// Blobs up to this are stored in one go, larger ones as their parts arrive.
pub(super) const WHOLE: u64 = 1 << 20;
/// Leaves of a hash tree, and bytes of each of its inner nodes (bao, as iroh-blobs uses it).
const LEAF: u64 = 16 << 10;
const NODE: u64 = 64;
/// Extension of the files of hash trees.
const TREE: &str = "obao4";
/// How long opening the database may take.
const OPEN_WAIT: Duration = Duration::from_secs(60);
/// How often the database is asked whether it has ended, during a deletion.
const ASK: Duration = Duration::from_millis(250);
/// Bytes that are written to see whether the disk takes them: more than the database writes at once in most cases.
const TRIAL: usize = 1 << 20;
/// Threads that write files to disk side by side. They do nothing but wait; so many cut the longest waits (docs/decisions/0021), hardly the usual ones.
const SYNC_THREADS: usize = 64;
/// Calls to the store that wait side by side; it takes what has gathered in one go, too.
const CALLS: usize = 64;

/// The blob store. Clones share it.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    store: Store,
    sweeper: Sweeper,
    /// Written since the last [`Blobs::sync`].
    unsynced: Mutex<BTreeSet<Hash>>,
    /// Whether a sync has failed; locked while one runs.
    syncing: tokio::sync::Mutex<bool>,
    /// While a deletion runs, tags of blobs stored meanwhile are kept, so that its list of live blobs may be a little old.
    sweeping: AtomicBool,
    kept: Mutex<Vec<TempTag>>,
    deleting: tokio::sync::Mutex<()>,
}

impl Blobs {
    /// Opens or creates the store in `dir`. One process at a time.
    pub async fn open(dir: &Path) -> Result<Self, NetError> {
        quiet::install();
        create_private(dir).map_err(NetError::store)?;
        let unclean = dir.join(MARKER).exists();
        File::create(dir.join(MARKER)).map_err(NetError::store)?;
        if is_unfinished(dir).map_err(NetError::store)? {
            fs::remove_file(dir.join(DATABASE)).map_err(NetError::store)?;
        }
        let mut options = Options::new(dir);
        options.inline = InlineOptions { max_data_inlined: 0, max_outboard_inlined: tree_size(WHOLE) };
        let (sweeper, collector) = sweep::channel();
        options.gc = Some(collector);
        let opened = timeout(OPEN_WAIT, FsStore::load_with_opts(dir.join(DATABASE), options)).await;
        let store: Store = opened.map_err(|_| NetError::Store("its database does not open".into()))?.map_err(NetError::store)?.into();
        let blobs = Self(Arc::new(Inner {
            dir: dir.to_owned(),
            store,
            sweeper,
            unsynced: Mutex::default(),
            syncing: tokio::sync::Mutex::default(),
            sweeping: AtomicBool::new(false),
            kept: Mutex::default(),
            deleting: tokio::sync::Mutex::default(),
        }));
        if unclean {
            blobs.heal().await?;
        }
        Ok(blobs)
    }

    /// Stores a blob; durable after the next [`sync`](Self::sync).
    pub async fn put(&self, bytes: Vec<u8>) -> Result<BlobHash, NetError> {
        let tag = self.put_tagged(bytes).await?;
        let hash = tag.hash();
        self.release([tag]);
        Ok(to_id(hash))
    }

    /// Stores many, in order, several at a time.
    pub async fn put_many(&self, blobs: Vec<Vec<u8>>) -> Result<Vec<BlobHash>, NetError> {
        several(blobs.into_iter().map(|bytes| self.put(bytes))).await.into_iter().collect()
    }

    /// As [`put_many`](Self::put_many); nothing of it is deleted before the tags are [released](Self::release).
    pub(super) async fn put_many_tagged(&self, blobs: Vec<Vec<u8>>) -> Result<Vec<TempTag>, NetError> {
        several(blobs.into_iter().map(|bytes| self.put_tagged(bytes))).await.into_iter().collect()
    }

    async fn put_tagged(&self, bytes: Vec<u8>) -> Result<TempTag, NetError> {
        match self.store().add_bytes(bytes).temp_tag().await {
            Ok(tag) => {
                self.written([tag.hash()]);
                Ok(tag)
            }
            Err(error) => Err(self.cause(error).await),
        }
    }

    /// Writes everything stored so far to disk: files first, then the database. Only after this may a blob be acknowledged.
    pub async fn sync(&self) -> Result<(), NetError> {
        let mut failed = self.0.syncing.lock().await;
        if *failed {
            return Err(NetError::store("earlier it could not write to its disk"));
        }
        let hashes = std::mem::take(&mut *lock(&self.0.unsynced));
        let written = self.write_out(hashes).await;
        *failed = written.is_err();
        written
    }

    async fn write_out(&self, hashes: BTreeSet<Hash>) -> Result<(), NetError> {
        if !hashes.is_empty() {
            let dir = self.0.dir.clone();
            let synced = tokio::task::spawn_blocking(move || sync_files(&dir, &hashes.into_iter().collect::<Vec<_>>()));
            synced.await.map_err(NetError::store)?.map_err(NetError::store)?;
        }
        match self.store().sync_db().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.cause(error).await),
        }
    }

    /// Why the store failed. Once its database has ended, its errors say no more than that; the disk that it could not write to says why.
    async fn cause(&self, error: impl std::fmt::Display) -> NetError {
        let dir = self.0.dir.clone();
        match tokio::task::spawn_blocking(move || takes_writes(&dir)).await {
            Ok(Err(disk)) => NetError::store(disk),
            Ok(Ok(())) | Err(_) => NetError::store(error),
        }
    }

    /// Comes when the database has ended, with the reason.
    async fn ended(&self) -> NetError {
        let mut asks = tokio::time::interval(ASK);
        loop {
            asks.tick().await;
            // Any hash will do, but that of nothing: the database is not asked for it.
            if let Err(error) = self.store().status(Hash::from_bytes([0; 32])).await {
                return self.cause(error).await;
            }
        }
    }

    /// A complete blob's bytes, checked against its hash; its tree, which peers are served from, is not looked at.
    pub async fn read(&self, hash: &BlobHash) -> Result<Option<Vec<u8>>, NetError> {
        if self.size(hash).await?.is_none() {
            return Ok(None);
        }
        let (path, hash) = (file_of(&self.0.dir, hash), *hash);
        let read = tokio::task::spawn_blocking(move || fs::read(path).ok().filter(|bytes| BlobHash::of(bytes) == hash));
        read.await.map_err(NetError::store)?.ok_or(NetError::Damaged(hash)).map(Some)
    }

    /// A complete blob's bytes, checked against its tree and its hash.
    pub async fn get(&self, hash: &BlobHash) -> Result<Option<Vec<u8>>, NetError> {
        if self.size(hash).await?.is_none() {
            return Ok(None);
        }
        match self.store().get_bytes(to_hash(hash)).await {
            Ok(bytes) if BlobHash::of(&bytes) == *hash => Ok(Some(bytes.into())),
            Ok(_) | Err(_) => Err(NetError::Damaged(*hash)),
        }
    }

    /// Whether a blob is there, completely.
    pub async fn has(&self, hash: &BlobHash) -> bool {
        matches!(self.size(hash).await, Ok(Some(_)))
    }

    /// A complete blob's length in bytes.
    pub async fn size(&self, hash: &BlobHash) -> Result<Option<u64>, NetError> {
        match self.store().status(to_hash(hash)).await.map_err(NetError::store)? {
            BlobStatus::Complete { size } => Ok(Some(size)),
            BlobStatus::Partial { .. } | BlobStatus::NotFound => Ok(None),
        }
    }

    /// [`size`](Self::size) of many, in their order, several at a time.
    pub async fn sizes(&self, hashes: &[BlobHash]) -> Vec<Result<Option<u64>, NetError>> {
        let ask = |hash: BlobHash| async move { self.size(&hash).await };
        several(hashes.iter().copied().map(ask)).await
    }

    /// How many complete blobs there are.
    pub async fn len(&self) -> Result<usize, NetError> {
        Ok(self.list().await?.len())
    }

    /// Whether there is no complete blob.
    pub async fn is_empty(&self) -> Result<bool, NetError> {
        Ok(self.len().await? == 0)
    }

    /// All complete blobs, in the order of their hashes.
    pub async fn list(&self) -> Result<Vec<BlobHash>, NetError> {
        let mut all: Vec<BlobHash> = self.entries().await?.into_iter().map(to_id).collect();
        all.sort_unstable();
        let sizes = self.sizes(&all).await;
        Ok(all.into_iter().zip(sizes).filter(|(_, size)| matches!(size, Ok(Some(_)))).map(|(hash, _)| hash).collect())
    }

    /// Deletes blobs, complete or not, from disk; returns when they are gone. Unknown ones are no error. One that is being stored or fetched at this very time stays.
    pub async fn delete(&self, hashes: &[BlobHash]) -> Result<(), NetError> {
        let doomed: BTreeSet<Hash> = hashes.iter().map(to_hash).collect();
        if doomed.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.0.deleting.lock().await;
        let _kept = Kept::start(&self.0);
        let live = self.entries().await?.into_iter().filter(|hash| !doomed.contains(hash)).collect();
        self.0.sweeper.sweep(live, self.ended()).await?;
        let dir = self.0.dir.join("data");
        tokio::task::spawn_blocking(move || File::open(dir)?.sync_all()).await.map_err(NetError::store)?.map_err(NetError::store)
    }

    /// Writes everything to disk and closes the store. Later calls fail.
    pub async fn shutdown(&self) -> Result<(), NetError> {
        self.sync().await?;
        self.store().shutdown().await.map_err(NetError::store)?;
        self.0.sweeper.end().await;
        fs::remove_file(self.0.dir.join(MARKER)).map_err(NetError::store)
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Protects a blob that is about to be fetched from a deletion.
    pub(super) async fn protect(&self, hash: Hash) -> Result<TempTag, NetError> {
        self.store().tags().temp_tag(hash).await.map_err(NetError::store)
    }

    /// Ends the protection of blobs that are stored now.
    pub(super) fn release(&self, tags: impl IntoIterator<Item = TempTag>) {
        if self.0.sweeping.load(Ordering::SeqCst) {
            lock(&self.0.kept).extend(tags);
        }
    }

    /// Notes blobs that the next sync has to write to disk.
    pub(super) fn written(&self, hashes: impl IntoIterator<Item = Hash>) {
        lock(&self.0.unsynced).extend(hashes);
    }

    /// Every hash that the store knows, complete or not.
    async fn entries(&self) -> Result<Vec<Hash>, NetError> {
        match self.store().list().hashes().await {
            Ok(hashes) => Ok(hashes),
            Err(error) => Err(self.cause(error).await),
        }
    }

    /// After an unclean end: an entry can have reached the disk before its file did.
    async fn heal(&self) -> Result<(), NetError> {
        let mut broken = Vec::new();
        for hash in self.entries().await? {
            let Some(size) = self.size(&to_id(hash)).await? else { continue };
            let data = data_path(&self.0.dir, &hash);
            let tree = data.with_extension(TREE);
            if file_size(&data) != size || (size > WHOLE && file_size(&tree) != tree_size(size)) {
                broken.push(to_id(hash));
            }
        }
        if !broken.is_empty() {
            tracing::warn!(blobs = broken.len(), "dropped blobs that were cut off when the node last ended");
        }
        self.delete(&broken).await
    }
}

/// Calls to the store, side by side. Their results, in order.
async fn several<T>(calls: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    use n0_future::StreamExt;
    n0_future::BufferedStreamExt::buffered_ordered(n0_future::stream::iter(calls), CALLS).collect().await
}

/// While it lives, tags of newly stored blobs are kept.
struct Kept<'a>(&'a Inner);

impl<'a> Kept<'a> {
    fn start(inner: &'a Inner) -> Self {
        inner.sweeping.store(true, Ordering::SeqCst);
        Self(inner)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.sweeping.store(false, Ordering::SeqCst);
        lock(&self.0.kept).clear();
    }
}

pub(super) fn to_hash(hash: &BlobHash) -> Hash {
    Hash::from_bytes(*hash.as_bytes())
}

pub(super) fn to_id(hash: Hash) -> BlobHash {
    BlobHash::new(*hash.as_bytes())
}

/// A panic elsewhere leaves these sets usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether the making of the store's database was cut off. It was not if there is a document.
pub(crate) fn is_unfinished(dir: &Path) -> io::Result<bool> {
    let mut magic = Vec::new();
    match File::open(dir.join(DATABASE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?.take(MAGIC).read_to_end(&mut magic)?,
    };
    Ok(magic.iter().all(|byte| *byte == 0) && files(dir)?.is_empty())
}

/// The file of a blob's bytes, in the store's directory.
pub(crate) fn file_of(dir: &Path, hash: &BlobHash) -> PathBuf {
    data_path(dir, &to_hash(hash))
}

/// The blobs whose files are in the store's directory, whole or not.
pub(crate) fn files(dir: &Path) -> io::Result<BTreeSet<BlobHash>> {
    let data = match fs::read_dir(dir.join("data")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        list => list?,
    };
    let mut found = BTreeSet::new();
    for entry in data {
        let name = entry?.file_name();
        let hash = name.to_str().and_then(|name| name.strip_suffix(".data")).and_then(|hash| hash.parse().ok());
        found.extend(hash.map(to_id));
    }
    Ok(found)
}

fn data_path(dir: &Path, hash: &Hash) -> PathBuf {
    dir.join("data").join(format!("{}.data", hash.to_hex()))
}

/// 0 if there is none.
fn file_size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Bytes of the hash tree of a blob; it stays in the database for blobs up to [`WHOLE`].
const fn tree_size(blob: u64) -> u64 {
    blob.div_ceil(LEAF).saturating_sub(1) * NODE
}

/// Fails as the disk does.
fn takes_writes(dir: &Path) -> io::Result<()> {
    let mut file = tempfile::tempfile_in(dir)?;
    file.write_all(&vec![0; TRIAL])?;
    file.sync_all()
}

fn create_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Writes the blobs' files to disk, and then the directory that names them. Files that were deleted meanwhile are no error.
fn sync_files(dir: &Path, hashes: &[Hash]) -> io::Result<()> {
    let share = hashes.len().div_ceil(SYNC_THREADS).max(1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = hashes.chunks(share).map(|share| scope.spawn(move || share.iter().try_for_each(|hash| sync_blob(dir, hash)))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread that writes to disk failed"))))
    })?;
    File::open(dir.join("data"))?.sync_all()
}

fn sync_blob(dir: &Path, hash: &Hash) -> io::Result<()> {
    let data = data_path(dir, hash);
    for path in [data.with_extension(TREE), data] {
        match File::open(path) {
            Ok(file) => file.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[tokio::test]
    async fn a_deletion_in_a_store_whose_database_has_ended_says_at_once_what_the_disk_says() {
        let dir = tempfile::tempdir().expect("a directory");
        let blobs = Blobs::open(dir.path()).await.expect("a store");
        blobs.store().shutdown().await.expect("its database ends");
        fs::remove_dir_all(dir.path()).expect("the disk is gone");

        for ended in [blobs.0.sweeper.sweep(HashSet::new(), blobs.ended()).await, blobs.delete(&[BlobHash::of(b"any")]).await] {
            assert!(matches!(&ended, Err(NetError::Store(why)) if why.contains("No such file")), "{ended:?}");
        }
    }
}
