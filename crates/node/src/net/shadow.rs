//! Reads a store that must not be changed: through a copy of its database in a directory of its own, which leads to the same files.

use std::{fs, io, path::Path, time::Duration};

use chartmesh_identity::BlobHash;
use iroh_blobs::{
    api::{Store, blobs::BlobStatus},
    store::fs::{FsStore, options::Options},
};
use tokio::time::timeout;

use super::{blobs::to_hash, error::NetError, quiet};

/// How long one answer of the store may take. A damaged database may give none.
const WAIT: Duration = Duration::from_secs(20);

/// Which of these blobs, whose files are in the store at `dir`, cannot be read through its database. Fails if that does not open at all.
pub(crate) async fn unreadable(dir: &Path, scratch: &Path, wanted: &[BlobHash]) -> Result<Vec<BlobHash>, NetError> {
    quiet::install();
    let shadow = scratch.join("blobs");
    copy(dir, &shadow).map_err(NetError::store)?;
    let hung = |_| NetError::Store("its database does not answer".into());
    // Without a collector: nothing is ever deleted through it.
    let store = timeout(WAIT, FsStore::load_with_opts(shadow.join("blobs.db"), Options::new(&shadow))).await.map_err(hung)?.map_err(NetError::store)?;
    let listed = timeout(WAIT, store.list().hashes()).await.map_err(hung)?.map_err(NetError::store);
    let mut unreadable = Vec::new();
    for blob in wanted {
        if !matches!(timeout(WAIT, reads(&store, blob)).await, Ok(true)) {
            unreadable.push(*blob);
        }
    }
    // A store that has failed may not be able to close.
    let _ = timeout(WAIT, store.shutdown()).await;
    listed.map(|_| unreadable)
}

async fn reads(store: &Store, blob: &BlobHash) -> bool {
    let hash = to_hash(blob);
    let whole = matches!(store.status(hash).await, Ok(BlobStatus::Complete { .. }));
    whole && store.get_bytes(hash).await.is_ok_and(|bytes| BlobHash::of(&bytes) == *blob)
}

fn copy(dir: &Path, shadow: &Path) -> io::Result<()> {
    fs::create_dir(shadow)?;
    std::os::unix::fs::symlink(dir.join("data"), shadow.join("data"))?;
    match fs::copy(dir.join("blobs.db"), shadow.join("blobs.db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        copied => copied.map(drop),
    }
}
