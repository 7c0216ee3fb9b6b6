//! The exchange from outside: two real nodes' state machines, frame by frame, and the simulator.

mod access;
mod cards;
mod checkpoints;
mod conversation;
mod limits;
mod pair;
mod schema;
mod simulator;
mod sources;
mod trouble;
