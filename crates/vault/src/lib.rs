//! What a node keeps: its keys, and everything that it must remember, durably and encrypted.
//!
//! A vault is one home directory: `keys.age` (the key file), `vault/` (the store), `vault.index/` (a copy of its index), `commits` (how many there
//! were), `lock`. It carries out "Keys" and "Durability" of the protocol: write, sync to disk, then send. [`Vault`] is an ordered map in tables with atomic batches across them; on top of it lie the ledgers' charters and entries, and the marks that keep a signing key
//! from taking a sequence number twice. This crate touches files below its home and nothing else: no clock, no network, no tasks of its own beyond sled's compaction thread.
//!
//! Whether all that is still as it was written is for [`Vault::check`] to say, and for [`AtRest`] where a vault no longer opens.
//!
//! At rest every value is encrypted, whatever it is; keys of tables, sizes and counts are not.

mod at_rest;
mod batch;
mod check;
mod cipher;
mod copy;
mod engine;
mod error;
mod home;
mod keyfile;
mod leaves;
mod ledgers;
mod marks;
mod table;
mod tally;
mod vault;

pub use at_rest::AtRest;
pub use batch::Batch;
pub use check::{Checkup, Damage, Reach};
pub use error::VaultError;
pub use keyfile::{Secrets, Unlock, WORK_FACTOR};
pub use ledgers::{Bodies, EntryKey, StoredLedger};
pub use marks::Mark;
pub use table::Table;
pub use vault::{Item, MAX_KEY, MAX_VALUE, Vault};
