//! Tests of the vault over its public face alone: one suite that any store behind it must pass, and what happens when the process or the power goes.

#![expect(clippy::print_stderr, reason = "tests say what they skip and what they measured")]

mod check;
mod damage;
mod home;
mod keys;
mod kill;
mod ledgers;
mod memory;
mod power_cut;
mod suite;
mod writer;
