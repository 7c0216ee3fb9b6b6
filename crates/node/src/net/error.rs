//! What can go wrong between two nodes, and in the blob store.

use chartmesh_identity::{BlobHash, EndpointKey};
use thiserror::Error;

/// Why something on the network or in the blob store did not work. No text here carries a peer's or a patient's data.
#[derive(Debug, Error)]
pub enum NetError {
    /// A setting does not make sense.
    #[error("network settings: {0}")]
    Config(String),
    /// The address could not be listened on.
    #[error("could not open the network: {0}")]
    Bind(String),
    /// Nobody answered at the peer's addresses in time.
    #[error("{} could not be reached: {reason}", endpoint.short())]
    Unreachable {
        /// Who was called.
        endpoint: EndpointKey,
        /// What happened.
        reason: String,
    },
    /// The connection broke, or the peer broke the framing.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The peer closed the link and said why.
    #[error("the peer closed the link (code {code}): {reason}")]
    Closed {
        /// The peer's code, never 0.
        code: u32,
        /// The peer's words, at most 256 characters, printable.
        reason: String,
    },
    /// A frame is larger than 4 MiB.
    #[error("a frame of {0} bytes is larger than the 4 MiB that are allowed")]
    FrameTooLarge(u64),
    /// The blob store could not do what it was asked.
    #[error("the blob store in the home directory failed: {0}")]
    Store(String),
    /// A blob is in the store, but its bytes no longer match its hash.
    #[error("blob {} is damaged on disk", .0.short())]
    Damaged(BlobHash),
}

impl NetError {
    /// With what the store's error was caused by, such as a full disk.
    pub(super) fn store(error: impl std::fmt::Display) -> Self {
        Self::Store(format!("{error:#}"))
    }

    pub(super) fn lost(error: impl std::fmt::Display) -> Self {
        Self::Lost(error.to_string())
    }
}
