//! The running node: vault, ledgers and documents of one home directory, its use cases, its network, and the one typed API that every program uses.
//!
//! Carries out "Replication" of the protocol around the exchange's state machine. [`Node::ask`] answers an [`api::Request`]; [`client::Client`] does the same whether the node
//! runs in this process or behind `control.sock`.
//!
//! Tasks, all started by [`Node::serve`] or for the length of a sync, owned by [`Node`] and ended by [`Node::stop`] (`running.rs`):
//!
//! - *acceptor*: takes links from the network's queue (16 at most wait) and gives each a reader and a writer;
//! - *reader* and *writer*, per link: frames in and out; the writer's queue is what the session has said and is bounded by the exchange's window;
//! - *fetcher*: fetches missing documents whenever something about them changes, and twice a second while some could not be had;
//! - *steward*: does what a patient's device owes, on change and every 30 s; signs checkpoints;
//! - *caller*: calls peers that have no session, with growing pauses;
//! - *doorkeeper* (`control.rs`): answers programs of the same user over `control.sock`.

pub mod api;
mod aside;
mod calling;
mod charter;
pub mod client;
mod consents;
mod control;
mod core;
mod doctor;
mod duties;
mod export;
mod fetching;
mod filing;
mod grants;
pub mod home;
mod import;
mod inviting;
mod manifest;
pub mod net;
mod node;
mod parts;
mod peers;
mod publish;
mod reading;
mod recover;
mod reports;
mod running;
mod secrets;
mod session;
pub mod setup;
mod sharing;
mod sync;
mod terms;
mod time;
mod view;
mod write;

pub use node::{Doing, Node, Ready};
pub use reports::verify_ledger_file;
