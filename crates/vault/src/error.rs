//! What can go wrong with a vault, in words that name the thing and the reason and nothing that it holds.

use std::{io, path::PathBuf};

use chartmesh_identity::{AuthorKey, LaneId, LedgerId};
use thiserror::Error;

use crate::Table;

/// Why the vault did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VaultError {
    /// Another process, or another `Vault` of this one, has this home open.
    #[error("{} is in use by another command or node", .0.display())]
    InUse(PathBuf),
    /// There is no vault in this home.
    #[error("there is no vault in {}", .0.display())]
    Absent(PathBuf),
    /// There is a vault in this home already.
    #[error("there is a vault in {} already", .0.display())]
    Exists(PathBuf),
    /// One half of the vault is there and the other is not.
    #[error("{} is incomplete: {missing} is missing", .home.display())]
    Incomplete {
        /// The home directory.
        home: PathBuf,
        /// What was not found there.
        missing: &'static str,
    },
    /// The passphrase does not open the key file.
    #[error("the passphrase does not open the key file")]
    WrongPassphrase,
    /// The key file is sealed, and no passphrase was given.
    #[error("the key file is sealed with a passphrase")]
    PassphraseNeeded,
    /// A passphrase was given for a key file that has none: whoever gave it would believe in a protection that is not there.
    #[error("the key file is not protected by any passphrase")]
    NotProtected,
    /// The key file cannot be read or written as one.
    #[error("the key file is unusable: {0}")]
    KeyFile(&'static str),
    /// The store was written under other keys than those of the key file beside it.
    #[error("the store was not written with the keys of this key file")]
    OtherKeys,
    /// The operating system refused something outside the store.
    #[error("{doing} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// One stored value is damaged, or was put in the place of another.
    #[error("the value at {table:?}/{key} is damaged: {reason}")]
    Corrupt {
        /// Its table.
        table: Table,
        /// Its key, hexadecimal.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file of the vault is damaged. Nothing was opened.
    #[error("{object} is damaged: {reason}")]
    Damaged {
        /// Which, as it is called below the home.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store is not what it was after the last commit: an older one was put back, or it has lost the end of its log. Nothing was opened.
    #[error("the store lacks the last {commits} of its changes")]
    Behind {
        /// How many commits are missing.
        commits: u64,
    },
    /// The store failed while doing something. What was being committed is not acknowledged, and the vault refuses everything until it is opened again.
    #[error("the store failed while {doing}: {reason}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// What the store said.
        reason: String,
    },
    /// The store failed earlier; see [`VaultError::Store`].
    #[error("the store failed earlier and must be opened again")]
    Closed,
    /// A key or value beyond [`crate::MAX_KEY`] or [`crate::MAX_VALUE`].
    #[error("a {what} of {len} bytes is too large for the store")]
    TooLarge {
        /// `key` or `value`.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// An entry of our own does not continue what its key has signed here: it would fork its log, or leave a gap in it.
    #[error("{author:?} signs number {next} next in {lane:?} of {ledger:?}, after what it signed last; this is {seq}")]
    NotNext {
        /// The ledger.
        ledger: LedgerId,
        /// The lane.
        lane: LaneId,
        /// Our signing key.
        author: AuthorKey,
        /// The number that would have been signed.
        seq: u64,
        /// The number that it must sign next.
        next: u64,
    },
    /// A peer knows more of our own log than we do: this home is a copy of an older state.
    #[error("{author:?} in {ledger:?} was signed further than this home knows: it is a restored copy, and that key must not sign here again")]
    Restored {
        /// The ledger.
        ledger: LedgerId,
        /// The signing key that is spent.
        author: AuthorKey,
    },
}
