//! Foreign JSON as a tree, read once under limits: facts and labels are read from it, and typed models.
//!
//! The tree borrows from its bytes, keeps the order of the source and interprets nothing.

mod read;
mod tree;

pub use tree::{Json, MAX_DEPTH, MAX_NODES, MAX_STRING, TreeError, parse};
