//! Why a ledger refuses what it is given.

use chartmesh_identity::{AuthorKey, CharterHash, LaneId, SignedError};
use thiserror::Error;

/// What became of something valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It was not held before; or its body was not.
    New,
    /// It was held already.
    Known,
}

/// Why a ledger refuses a charter version or an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Not signed by the one it names.
    #[error("{0}")]
    Signed(#[from] SignedError),
    /// Too long, or with doubles where there may be none.
    #[error("the charter's {0} are out of bounds")]
    Bounds(&'static str),
    /// Of another ledger.
    #[error("it belongs to another ledger")]
    OtherLedger,
    /// Its predecessor is not held: send that first.
    #[error("charter version {version} follows one that is not held")]
    UnknownParent {
        /// Of the refused charter.
        version: u64,
        /// What it follows.
        prev: CharterHash,
    },
    /// Not the number after its predecessor's, or a first version with a predecessor.
    #[error("charter version {0} does not follow its predecessor")]
    Version(u64),
    /// Signed by a key that the version before does not list as a root.
    #[error("charter version {0} is not signed by a root of the version before")]
    NotARoot(u64),
    /// It adds, drops or moves a root of a lower rank than its signer's: that is for those roots alone.
    #[error("charter version {0} changes roots that stand above its signer")]
    AboveRank(u64),
    /// It changes the recovery recipient, which is for rank 0 alone.
    #[error("charter version {0} changes the recovery recipient, and its signer is not of rank 0")]
    Recovery(u64),
    /// A device that was listed is missing or in another role.
    #[error("charter version {version} drops a device or changes its role; it can only suspend it")]
    DropsDevice {
        /// Of the refused charter.
        version: u64,
        /// Which device.
        device: AuthorKey,
    },
    /// A device that was suspended is not any more, or its fence is raised.
    #[error("charter version {version} revives a suspended device")]
    Revives {
        /// Of the refused charter.
        version: u64,
        /// Which device.
        device: AuthorKey,
    },
    /// The version before needs more than this program knows.
    #[error("charter version {0} follows one that needs several signatures")]
    Threshold(u64),
    /// The entry before it is not held: send that first.
    #[error("entry {seq} of {author} in lane {lane} follows one that is not held")]
    Gap {
        /// The lane.
        lane: LaneId,
        /// Whose log.
        author: AuthorKey,
        /// Of the refused entry.
        seq: u64,
        /// How far that log is held.
        held: u64,
    },
    /// The entry before it is of another log or place.
    #[error("entry {seq} of {author} in lane {lane} names a predecessor of another log or place")]
    Link {
        /// The lane.
        lane: LaneId,
        /// Whose log.
        author: AuthorKey,
        /// Of the refused entry.
        seq: u64,
    },
    /// Its author is no device of any charter held, and no Grant or Admit that is held gives it a place in this lane: send devices' entries first.
    #[error("{author} has no authority in lane {lane}")]
    NoAuthority {
        /// The lane.
        lane: LaneId,
        /// Whose entry.
        author: AuthorKey,
    },
}
