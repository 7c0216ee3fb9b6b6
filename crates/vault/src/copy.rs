//! The copy of the store's index: without it, one damaged byte there would cost everything.
//!
//! It is made when a vault is closed after a change, and removed before the next one. So where it is, it leads to all that was committed, and the number of commits beside it
//! says so also when it cannot be read itself. After a crash there is none.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{VaultError, cipher::Cipher, home, tally::Note};

/// The number of commits, in the copy's directory.
const COMMITS: &str = "commits";

/// Makes it, in the place of what was there, durably.
pub(crate) fn make(index: &Path, copy: &Path, cipher: &Cipher, commits: u64) -> Result<(), VaultError> {
    let new = beside(copy, ".new");
    home::remove_dir(&new)?;
    home::private_dir(&new)?;
    for file in home::entries(index)? {
        if let Some(name) = file.file_name() {
            fs::copy(&file, new.join(name)).map_err(home::io_error("copying", &file))?;
        }
    }
    drop(Note::create(&new.join(COMMITS), cipher, commits)?);
    home::sync_all(&new)?;
    remove(copy)?;
    home::rename(&new, copy)
}

/// Removes it, durably: whenever the power goes, it is there as it was or not at all.
pub(crate) fn remove(copy: &Path) -> Result<(), VaultError> {
    let old = beside(copy, ".old");
    home::remove_dir(&old)?;
    match home::rename(copy, &old) {
        Err(VaultError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => home::remove_dir(&old),
    }
}

/// The number of commits that it leads to; none if there is no copy, or that is damaged.
pub(crate) fn commits(copy: &Path, cipher: &Cipher) -> Option<u64> {
    Note::read(&copy.join(COMMITS), cipher)
}

fn beside(copy: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(copy);
    name.push(ending);
    name.into()
}
