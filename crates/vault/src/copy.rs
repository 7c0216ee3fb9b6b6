//! The copy of the store's index: without it, one damaged byte there would cost everything.
//!
//! It is made when a vault is closed after a change, and removed before the next one. So where it is, it leads to all that was committed, and the number of commits beside it
//! says so also when it cannot be read itself. After a crash there is none.

use std::{fs, path::Path};

use crate::{VaultError, cipher::Cipher, home, leaves::Index, tally::Note};

/// The number of commits, in the copy's directory.
const COMMITS: &str = "commits";

/// Makes it, in the place of what was there, durably.
pub(crate) fn make(index: &Path, copy: &Path, cipher: &Cipher, commits: u64) -> Result<(), VaultError> {
    let new = home::beside(copy, ".new");
    home::remove_dir(&new)?;
    home::private_dir(&new)?;
    for file in home::entries(index)? {
        if let Some(name) = file.file_name() {
            fs::copy(&file, new.join(name)).map_err(home::io_error("copying", &file))?;
        }
    }
    drop(Note::create(&new.join(COMMITS), cipher, commits)?);
    home::sync_all(&new)?;
    home::remove_for_good(copy)?;
    home::rename(&new, copy)
}

/// Whether it is one of this index: sled also moves leaves when nothing was changed.
pub(crate) fn is_of(index: &Path, copy: &Path, cipher: &Cipher, commits: u64) -> bool {
    let read = |metadata| Index::read(index, metadata).ok();
    self::commits(copy, cipher) == Some(commits) && read(index).zip(read(copy)).is_some_and(|(index, copy)| index.has_same_places(&copy))
}

/// The number of commits that it leads to; none if there is no copy, or that is damaged.
pub(crate) fn commits(copy: &Path, cipher: &Cipher) -> Option<u64> {
    Note::read(&copy.join(COMMITS), cipher)
}
