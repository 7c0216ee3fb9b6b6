//! What a session costs that has nothing new to tell, in bytes of frames on both sides, for ledgers of 10, 1,000 and 10,000 entries: it must not grow. The bare alternative is to
//! name every entry that one side holds by its hash, or the head of every log.
//!
//! `cargo bench -p chartmesh-exchange --bench quiet`

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

#[path = "../tests/exchange/pair.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod pair;

use std::time::Instant;

use chartmesh_ledger::Ledger;
use pair::{count, fill, meet, phone_and_custodian};

/// Documents are spread over so many catalogs at most.
const CATALOGS: u64 = 20;

fn main() {
    println!("aim: as many bytes whatever is held");
    let mut costs = Vec::new();
    for entries in [10, 1_000, 10_000] {
        let (mut nodes, ledger) = phone_and_custodian();
        let catalogs = CATALOGS.min(entries / 5);
        for catalog in 0..catalogs {
            fill(&mut nodes[0], ledger, &format!("catalog {catalog}"), entries / catalogs - 1);
        }
        meet(&mut nodes);
        assert_eq!((count(&nodes[0], ledger), count(&nodes[1], ledger)), (entries as usize, entries as usize));
        let start = Instant::now();
        let quiet = meet(&mut nodes);
        let took = start.elapsed();
        assert!(quiet.sessions.iter().all(chartmesh_exchange::Session::settled));
        let held: &Ledger = &nodes[0].replica.ledgers[&ledger];
        let heads: usize = held.lanes().map(|lane| held.heads(lane).len()).sum();
        let bytes = quiet.saw[0].bytes() + quiet.saw[1].bytes();
        let bare = 32 * entries as usize;
        println!(
            "{entries:6} entries, {heads:2} logs: {bytes} bytes in {} frames, {:.2} ms of both sides' work; naming every entry {bare} bytes, ratio {:.1}; every head {} bytes",
            quiet.saw.iter().map(|saw| saw.sent.len()).sum::<usize>(),
            took.as_secs_f64() * 1e3,
            bare as f64 / bytes as f64,
            104 * heads
        );
        costs.push(bytes);
    }
    println!("the most is {:.2} of the least", *costs.iter().max().expect("a cost") as f64 / *costs.iter().min().expect("a cost") as f64);
}
