//! Runs the simulator over many seeds. A seed that fails prints its number and the end of its trace.

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::process::ExitCode;

use chartmesh_exchange::sim;

const USAGE: &str = "usage: sim [--seeds N] [--from SEED] [--acts N]";

fn main() -> ExitCode {
    let (mut seeds, mut from, mut acts) = (100u64, 0u64, 120u64);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let slot = match word.as_str() {
            "--seeds" => &mut seeds,
            "--from" => &mut from,
            "--acts" => &mut acts,
            _ => {
                println!("{USAGE}");
                return ExitCode::from(2);
            }
        };
        let Some(value) = words.next().and_then(|value| value.parse().ok()) else {
            println!("{USAGE}");
            return ExitCode::from(2);
        };
        *slot = value;
    }
    let mut failed = Vec::new();
    let (mut entries, mut frames) = (0, 0);
    for seed in from..from.saturating_add(seeds) {
        let report = sim::run(seed, usize::try_from(acts).unwrap_or(usize::MAX));
        entries += report.entries;
        frames += report.frames;
        if !report.problems.is_empty() {
            println!("seed {seed} failed; the end of its trace:");
            report.lines.iter().for_each(|line| println!("  {line}"));
            report.problems.iter().for_each(|problem| println!("  {problem}"));
            failed.push(seed);
        }
    }
    println!("{seeds} seeds, {entries} entries, {frames} frames; failed: {failed:?}");
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
