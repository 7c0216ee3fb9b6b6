//! Proof that an author signed two entries for one place: two signed headers, which anybody can check.

use chartmesh_identity::{AuthorKey, LaneId, LedgerId, Signed, SignedError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::header::EntryHeader;

/// Two signed headers for one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkProof {
    /// One; from this crate the one whose hash is lower.
    pub one: Signed<EntryHeader>,
    /// The other.
    pub other: Signed<EntryHeader>,
}

/// Where an author signed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// In which ledger.
    pub ledger: LedgerId,
    /// In which lane.
    pub lane: LaneId,
    /// Who.
    pub author: AuthorKey,
    /// At which place.
    pub seq: u64,
}

/// Why two headers prove nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ForkError {
    /// One of them is not signed by its author.
    #[error("no proof of a fork: {0}")]
    Signed(#[from] SignedError),
    /// They are for different places, or the same.
    #[error("no proof of a fork: the two entries are not two for one place")]
    Unrelated,
}

impl ForkProof {
    /// Checks both signatures, and that they are two for one place.
    pub fn verify(&self) -> Result<Fork, ForkError> {
        let one = self.one.clone().verify()?;
        let other = self.other.clone().verify()?;
        let place = |header: &EntryHeader| Fork { ledger: header.ledger, lane: header.lane, author: header.author, seq: header.seq };
        if place(&one) == place(&other) && one != other { Ok(place(&one)) } else { Err(ForkError::Unrelated) }
    }
}
