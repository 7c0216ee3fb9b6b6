//! The ledger of one patient: a charter, lanes of signed entries, and the state they add up to.
//!
//! Carries out "The ledger" and the serving rule of the protocol. Pure: signed bytes go in, state comes out; no I/O, no clock, no randomness. Whatever depends on time
//! takes `now`, in seconds since 1970-01-01T00:00:00Z.
//!
//! [`Ledger`] holds what was accepted. [`LaneState`] says what the entries of one lane come to: a pure function of the charters and the entries held, never of the order in
//! which they arrived. [`peer`], [`lane_view`] and [`may_have_blob`] say who is served what, [`duties`] what a device owes.

mod action;
mod authority;
mod bodies;
mod charter;
mod checkpoint;
mod claim;
mod duties;
mod entry;
mod evaluate;
mod extend;
mod fence;
mod fork;
mod header;
mod history;
mod invitation;
mod ledger;
mod log;
mod refusal;
mod serving;
mod state;

pub use action::{Action, Blob};
pub use bodies::{
    AccessKey, ConfirmBody, EnvelopeBody, EpochBody, FileKey, GrantBody, KeyBody, KeyringKey, LaneKey, PublishBody, ReceiptBody, RequestBody, Seed, SharedFile,
    decode, encode,
};
pub use charter::{Charter, Custodian, Device, FULL, Root};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use claim::Claim;
pub use duties::{Access, Duty, Wanted, duties};
pub use entry::{CertCache, Entry, EntryError, RawEntry};
pub use fence::{Fence, Head, Point};
pub use fork::{Fork, ForkError, ForkProof};
pub use header::{DEFAULT_MAX_AGE, EntryHeader, MAX_BODY, MAX_HEADER, MAX_LIST, SUITE, Use, admit_hash};
pub use history::MAX_MEMBERS;
pub use invitation::Invitation;
pub use ledger::{Ledger, Outcome};
pub use refusal::{Added, Refusal};
pub use serving::{LaneView, Peer, lane_view, lanes_for, may_have_blob, peer, shows, suspended, was_listed};
pub use state::{
    AdmitState, BarState, ConfirmState, EnvelopeState, EpochState, GrantState, LaneState, PublishState, ReceiptState, RequestState, Revocation, Verdict, Void,
};
