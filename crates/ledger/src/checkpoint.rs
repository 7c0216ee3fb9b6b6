//! Checkpoints: a device's word, per circle, of how far it knew the lanes at a time. Not logged; only the latest counts as hearing from the patient.

use chartmesh_identity::{AuthorKey, LaneId, LedgerId, Named, Payload, Signed, SignedError, Verified};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use thiserror::Error;

use crate::{fence::Head, header::MAX_LIST, ledger::Ledger};

/// What a device signs for one circle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Of which ledger.
    pub ledger: LedgerId,
    /// For which circle.
    pub lane: LaneId,
    /// The device that signs.
    pub author: AuthorKey,
    /// The heads of the lanes that the circle's party receives.
    pub heads: Vec<Head>,
    /// Unix seconds at which it was signed.
    pub time: i64,
    /// Reserved for witnesses; empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cosignatures: Vec<ByteBuf>,
}

/// Why a checkpoint does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// Not signed by the device that it names.
    #[error("not a valid checkpoint: {0}")]
    Signed(#[from] SignedError),
    /// Of another ledger.
    #[error("the checkpoint belongs to another ledger")]
    OtherLedger,
    /// Its signer is no active device.
    #[error("the checkpoint is not signed by an active device")]
    NoAuthority,
    /// Too many heads.
    #[error("the checkpoint is too long")]
    Bounds,
}

impl Payload for Checkpoint {
    const TYP: &'static str = "application/chartmesh-checkpoint+cbor";

    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Named for Checkpoint {
    fn signer(&self) -> [u8; 32] {
        *self.author.as_bytes()
    }
}

impl Checkpoint {
    /// So many heads it has at most.
    pub const MAX_HEADS: usize = 2 * MAX_LIST;

    /// Verifies a checkpoint and that an active device of the ledger signed it. To be asked again whenever the charter changes.
    pub fn read(signed: Signed<Self>, ledger: &Ledger) -> Result<Verified<Self>, CheckpointError> {
        let checkpoint = signed.verify()?;
        if checkpoint.ledger != ledger.id() {
            return Err(CheckpointError::OtherLedger);
        }
        if checkpoint.heads.len() > Self::MAX_HEADS || checkpoint.cosignatures.len() > MAX_LIST {
            return Err(CheckpointError::Bounds);
        }
        if !ledger.is_active(&checkpoint.author) {
            return Err(CheckpointError::NoAuthority);
        }
        Ok(checkpoint)
    }

    /// Whether `one` replaces `other` of the same circle: the later, of two of one time the one with the lower hash of its signed bytes.
    pub fn replaces(one: &Verified<Self>, other: &Verified<Self>) -> bool {
        let hash = |checkpoint: &Verified<Self>| *blake3::hash(checkpoint.as_bytes()).as_bytes();
        one.time > other.time || (one.time == other.time && hash(one) < hash(other))
    }
}
