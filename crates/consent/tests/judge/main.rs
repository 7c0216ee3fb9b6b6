//! A second evaluator of consent, written from <https://hl7.org/fhir/R4/consent.html> and IHE Privacy Consent on FHIR
//! (<https://profiles.ihe.net/ITI/PCF/>), against the one that makes permits.
//!
//! It shares no code with it: it reads the JSON of a Consent as FHIR has it, with tables of its own from the published code systems, and
//! knows neither terms nor the tree they are. Where FHIR leaves room, it follows what `src/policy.rs`, `src/fhir_in.rs` and
//! `docs/architecture.md` say in words. Both must agree on every history.
//!
//! `CHARTMESH_JUDGE=N` sets how many histories are judged (30,000 by default), `CHARTMESH_JUDGE_SEED=S` the first of them.

#![allow(clippy::print_stderr, reason = "what was compared, and what was skipped, is said")]

mod codes;
mod compare;
mod dates;
mod fields;
mod histories;
mod ihe;
mod reading;
mod references;
mod verdict;

use compare::{Tally, compare};
use histories::{Dice, history};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn both_evaluators_agree_on_every_history() {
    let (count, first) = (setting("CHARTMESH_JUDGE", 30_000), setting("CHARTMESH_JUDGE_SEED", 0));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let part = |thread: u64| {
        let (mut tally, mut disagreements) = (Tally::default(), Vec::new());
        for seed in (first..first + count).filter(|seed| seed % threads == thread) {
            if let Err(disagreement) = compare(&history(&mut Dice::new(seed)), &mut tally) {
                disagreements.push(format!("CHARTMESH_JUDGE_SEED={seed} CHARTMESH_JUDGE=1: {}", disagreement.0));
            }
        }
        (tally, disagreements)
    };
    let (mut all, mut disagreements) = (Tally::default(), Vec::new());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        for thread in threads {
            let (tally, found) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.add(&tally);
            disagreements.extend(found);
        }
    });
    eprintln!("{count} histories: {all:?}");
    let shortest = disagreements.iter().min_by_key(|text| text.len());
    assert!(disagreements.is_empty(), "{} histories disagree; the shortest: {}", disagreements.len(), shortest.map_or("", |text| text));
    // Agreement over silence would show nothing.
    if count >= 10_000 {
        assert!(all.permits * 20 > all.decisions && all.denies * 20 > all.decisions, "{all:?}");
        assert!(all.grant_permits * 20 > all.grants && all.grants > count / 4 && all.refused > count / 100 && all.companions > count / 200, "{all:?}");
    }
}
