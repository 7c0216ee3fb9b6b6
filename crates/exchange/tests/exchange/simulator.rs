//! The simulator is deterministic, scripts replay, and what must hold does over some histories. The `sim` program runs many more.

use chartmesh_exchange::sim::{self, Script};

#[test]
fn one_seed_is_one_history() {
    let (one, again, other) = (sim::run(7, 40), sim::run(7, 40), sim::run(8, 40));
    assert_eq!(one.trace, again.trace);
    assert_ne!(one.trace, other.trace);
}

#[test]
fn a_script_replays_the_history_that_it_was_written_for() {
    let script = sim::plot(11, 40);
    let read: Script = script.to_string().parse().unwrap();
    let told = sim::run_script(&read, true);
    assert_eq!(told.trace, sim::run(11, 40).trace);
    assert!(told.lines.iter().any(|line| line.contains("-- meet")), "what happened is told");
}

/// This broke a rule once.
#[test]
fn a_bar_that_is_withheld_is_known_by_the_epoch_that_covers_it() {
    let script: Script = include_str!("scripts/withheld-bar.txt").parse().unwrap();
    let report = sim::run_script(&script, false);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
}

#[test]
fn the_words_put_back_custodians_that_rivals_are_without() {
    let script: Script = include_str!("scripts/without-custodians.txt").parse().unwrap();
    let report = sim::run_script(&script, true);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    assert!(report.lines.iter().any(|line| line.contains("the words put the custodians back")), "it came to that");
}

/// This broke a rule once.
#[test]
fn a_body_that_was_left_out_comes_though_its_documents_are_withdrawn_by_then() {
    let script: Script = include_str!("scripts/withdrawn-body.txt").parse().unwrap();
    let report = sim::run_script(&script, true);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    assert!(report.lines.iter().any(|line| line.contains("Ben's phone gets want")), "it came to that");
}

/// This broke a rule once.
#[test]
fn a_custodian_that_is_put_back_within_a_session_hears_of_it() {
    let script: Script = include_str!("scripts/put-back.txt").parse().unwrap();
    let report = sim::run_script(&script, true);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    assert!(report.lines.iter().any(|line| line.contains("the words put the custodians back")), "it came to that");
}

#[test]
fn what_must_hold_does() {
    for seed in 0..8 {
        let report = sim::run(seed, 60);
        assert!(report.entries > 0, "nothing happened in seed {seed}");
        assert!(report.problems.is_empty(), "seed {seed}: {:#?}", report.problems);
    }
}
