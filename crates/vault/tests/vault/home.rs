//! A home directory to test in: the one place that says how a vault is made.

use std::path::{Path, PathBuf};

use chartmesh_vault::{Secrets, Unlock, Vault, VaultError};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// A home that is removed at the end.
pub(crate) struct Home {
    dir: TempDir,
}

pub(crate) fn secrets(text: &[u8]) -> Secrets {
    Secrets::new(Zeroizing::new(text.to_vec()))
}

/// Makes a vault in a directory, without a passphrase.
pub(crate) fn create_in(path: &Path) -> Vault {
    Vault::create(path, secrets(b"the node's keys"), Unlock::None, 1).unwrap()
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn create(&self) -> Vault {
        create_in(&self.path())
    }

    pub(crate) fn open(&self) -> Result<Vault, VaultError> {
        Vault::open(&self.path(), Unlock::None)
    }
}
