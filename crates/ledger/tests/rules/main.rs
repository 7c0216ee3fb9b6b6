//! The rules of the ledger, each with tests that fail when it is taken out.

mod charters;
mod edges;
mod entries;
mod lanes;
mod random;
mod recovery;
mod serving;
mod vectors;
mod world;
