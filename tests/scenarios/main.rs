//! End-to-end scenarios: real processes of the real program on real homes, over real sockets on loopback. One file per theme.

mod chart;
mod schema;
mod sharing;
mod world;
