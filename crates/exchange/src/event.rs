//! What a session is told, and what it asks for.

use chartmesh_identity::{Card, CardError, EndpointKey, EntryHash, LaneId, LedgerId, PartyKey, RootKey, Signed, Verified};
use chartmesh_ledger::{Charter, Checkpoint, CheckpointError, Claim, EntryError, Refusal};
use thiserror::Error;

use crate::frame::FrameError;

/// What happened, for [`crate::Session::handle`].
#[derive(Debug, Clone)]
pub enum Event {
    /// The peer sent this.
    Frame(Vec<u8>),
    /// The replica's copy of a ledger has changed otherwise than by this session: own entries, or a new charter.
    Changed(LedgerId),
    /// Another session has brought these entries, and they are stored.
    Brought {
        /// Of which ledger.
        ledger: LedgerId,
        /// None: charters alone, or bodies.
        entries: Vec<EntryHash>,
    },
    /// The replica now holds a ledger that it did not hold (an invitation accepted).
    Opened(LedgerId),
    /// This node's own card in the replica has another contact part.
    Moved,
    /// Sends the peer an invitation, an age file sealed to it.
    Invite {
        /// The file.
        sealed: Vec<u8>,
    },
    /// How many blobs this node still means to fetch from the peer. To be told after every [`Effect::Persist`] that brought Publish entries, and when the number changes.
    Pending {
        /// Zero: none.
        blobs: u64,
    },
    /// A checkpoint made here or heard elsewhere; kept in the replica and passed on if it is the newest of its lane.
    Checkpoint(Verified<Checkpoint>),
    /// The answer to [`Effect::Challenge`], signed by a root of the ledger to be had back.
    Claim(Signed<Claim>),
    /// This side wants to end: says goodbye and closes.
    Leave,
    /// The connection is gone.
    Closed,
}

/// What whoever runs the session must do. Effects are carried out in order; [`Effect::Persist`] completes, synced to disk, before the next one starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this frame to the peer.
    Send(Vec<u8>),
    /// The peer is who this card says, and its endpoint is on the card. To be compared with the card that is pinned.
    Peer(Verified<Card>),
    /// The same peer is now reached as this card says; its stable part is the one that [`Effect::Peer`] showed. To be kept if the peer is.
    Moved(Verified<Card>),
    /// New in the replica and to be stored durably; then other sessions are to be told [`Event::Brought`], and this one [`Event::Pending`] if documents were published.
    Persist {
        /// Of which ledger. It may be new itself (recovery).
        ledger: LedgerId,
        /// Charter versions.
        charters: Vec<Signed<Charter>>,
        /// Entries, in an order in which the ledger accepts them again; found with [`chartmesh_ledger::Ledger::get`].
        entries: Vec<EntryHash>,
        /// Bodies that have come for entries held without.
        bodies: Vec<EntryHash>,
    },
    /// The peer sent an invitation sealed to this node. Nothing about it has been checked.
    Invitation {
        /// An age file.
        sealed: Vec<u8>,
        /// Who sent it.
        from: PartyKey,
    },
    /// An [`Event::Invite`] was longer than [`crate::MAX_INVITATION`] and is not sent.
    InvitationTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A newer checkpoint is in the replica: to be stored.
    CheckpointHeard {
        /// Of which ledger.
        ledger: LedgerId,
        /// Of which circle lane.
        lane: LaneId,
    },
    /// To be answered by [`Event::Claim`], signed over this endpoint and nonce: only with [`crate::Options::claim`].
    Challenge {
        /// The peer's endpoint.
        responder: EndpointKey,
        /// The peer's nonce.
        nonce: [u8; 32],
    },
    /// The peer proved to hold a root of this ledger and is served as a device for this session, as long as the ledger lists that root.
    Claimed {
        /// Which.
        ledger: LedgerId,
        /// With which root.
        root: RootKey,
    },
    /// Something that the peer sent was not accepted; the session goes on.
    Refused {
        /// Of which ledger.
        ledger: LedgerId,
        /// Which entry, if one could be named.
        entry: Option<EntryHash>,
        /// Why.
        reason: Refused,
    },
    /// The peer holds an entry signed by this node that this node did not hold: it was restored from an old copy and must not go on with this key in this lane.
    Restored {
        /// Of which ledger.
        ledger: LedgerId,
        /// In which lane.
        lane: LaneId,
        /// Its place in this node's log.
        seq: u64,
    },
    /// Both sides have given, stored and fetched all they have for one another. May be said again after a change.
    Settled,
    /// Hang up; nothing follows.
    Close {
        /// Why.
        reason: Closing,
    },
}

/// Why something from the peer was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// Not a valid entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The ledger does not take it.
    #[error(transparent)]
    Ledger(#[from] Refusal),
    /// The parts of a long entry do not make one.
    #[error("a long entry came in parts that do not fit")]
    Parts,
    /// It belongs to another ledger.
    #[error("it belongs to another ledger")]
    OtherLedger,
    /// Not a valid checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Closing {
    /// This side left.
    #[error("done")]
    Left,
    /// The other side left.
    #[error("the peer has left")]
    PeerLeft,
    /// What the peer sent is no frame.
    #[error("the peer sent something that is not a frame: {0}")]
    Frame(#[from] FrameError),
    /// A frame out of place.
    #[error("the peer sent a {0} frame where none may be")]
    Unexpected(&'static str),
    /// No version in common.
    #[error("the peer speaks no version of the protocol that this program knows")]
    Version,
    /// The card does not verify.
    #[error("the peer's card: {0}")]
    Card(#[from] CardError),
    /// The connection's endpoint is not on the card.
    #[error("the peer's card does not list the endpoint that it connects with")]
    Endpoint,
    /// A card within the session that is not one of the same peer, or says otherwise than another of the same number.
    #[error("the peer showed a card that is not another one of its own")]
    OtherCard,
    /// Too much nonsense, or more than a session may name.
    #[error("the peer sent too many {0}")]
    TooMany(&'static str),
}
