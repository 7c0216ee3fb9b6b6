//! What tells a store that has lost something from one that is whole.
//!
//! Each commit writes, in the same batch, the vault's **tally**: how many commits there were, and a digest of every row, table, key and record. A row that is gone, or an older
//! one in its place, shows in the digest. The number is also written to a file of its own, `commits`, after each commit: a store with a lower one was put back, or has lost the
//! end of its log. That file reaches the disk with the system's next write; after a power cut it may be behind the store, never ahead of it.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{Table, VaultError, cipher::Cipher, home};

/// Where the tally is in [`Table::Meta`].
pub(crate) const TALLY: &[u8] = b"tally";
const COMMITS: &[u8] = b"commits";

/// The number of commits, and the exclusive or of the keyed BLAKE3 of every row but the tally's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) commits: u64,
    pub(crate) digest: [u8; 32],
}

impl Tally {
    /// Takes a row in, or out again.
    pub(crate) fn toggle(&mut self, cipher: &Cipher, table: Table, key: &[u8], record: &[u8]) {
        let trace = cipher.trace(table, key, record);
        self.digest.iter_mut().zip(trace).for_each(|(sum, byte)| *sum ^= byte);
    }

    /// Its record in the store.
    pub(crate) fn seal(&self, cipher: &Cipher) -> Vec<u8> {
        cipher.seal(Table::Meta, TALLY, &[&self.commits.to_be_bytes()[..], &self.digest].concat())
    }

    /// From its record.
    pub(crate) fn open(cipher: &Cipher, record: Vec<u8>) -> Option<Self> {
        let value = cipher.open(Table::Meta, TALLY, record)?;
        let (commits, digest) = value.split_first_chunk::<8>()?;
        Some(Self { commits: u64::from_be_bytes(*commits), digest: digest.try_into().ok()? })
    }
}

/// The file `commits`: one sealed number, overwritten in place. It is far shorter than what a disk writes at once.
pub(crate) struct Note {
    file: File,
    path: PathBuf,
}

impl Note {
    /// The number that it holds; none if it is damaged.
    pub(crate) fn read(path: &Path, cipher: &Cipher) -> Option<u64> {
        let value = cipher.open(Table::Meta, COMMITS, std::fs::read(path).ok()?)?;
        Some(u64::from_be_bytes(value.as_slice().try_into().ok()?))
    }

    /// Writes it anew, durably.
    pub(crate) fn create(path: &Path, cipher: &Cipher, commits: u64) -> Result<Self, VaultError> {
        home::replace(path, &cipher.seal(Table::Meta, COMMITS, &commits.to_be_bytes()))?;
        Self::open(path)
    }

    /// Opens it to be written.
    pub(crate) fn open(path: &Path) -> Result<Self, VaultError> {
        let file = File::options().write(true).open(path).map_err(home::io_error("opening", path))?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    /// Notes a commit that is on disk.
    pub(crate) fn write(&mut self, cipher: &Cipher, commits: u64) -> Result<(), VaultError> {
        let sealed = cipher.seal(Table::Meta, COMMITS, &commits.to_be_bytes());
        let written = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(&sealed));
        written.map_err(home::io_error("writing", &self.path))
    }
}
