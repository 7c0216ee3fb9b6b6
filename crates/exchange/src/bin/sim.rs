//! Runs the simulator over many seeds, on all cores. Of a seed that fails it prints a script that is as short as it gets and breaks the same rule; `--script FILE` runs one again.

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use chartmesh_exchange::sim::{self, Report, Script};

const USAGE: &str = "usage: sim [--seeds N] [--from SEED] [--acts N] [--jobs N] [--seconds N] [--first]
       sim --script FILE [--trace]
       sim --print SEED [--acts N]";
/// Runs that shortening one script may take.
const SHRINKING: usize = 400;
/// Failing seeds that are shortened; of further ones only the problems are told.
const SHORTENED: usize = 3;

struct Options {
    seeds: u64,
    from: u64,
    acts: usize,
    jobs: usize,
    seconds: u64,
    script: Option<String>,
    print: Option<u64>,
    trace: bool,
    /// Ends with the first failure, and only tells which rule broke after how many seeds.
    first: bool,
}

fn options() -> Option<Options> {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut options = Options { seeds: 1000, from: 0, acts: 60, jobs, seconds: u64::MAX, script: None, print: None, trace: false, first: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => options.seeds = words.next()?.parse().ok()?,
            "--from" => options.from = words.next()?.parse().ok()?,
            "--acts" => options.acts = words.next()?.parse().ok()?,
            "--jobs" => options.jobs = words.next()?.parse().ok()?,
            "--seconds" => options.seconds = words.next()?.parse().ok()?,
            "--script" => options.script = Some(words.next()?),
            "--print" => options.print = Some(words.next()?.parse().ok()?),
            "--trace" => options.trace = true,
            "--first" => options.first = true,
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(seed) = options.print {
        print!("{}", sim::plot(seed, options.acts));
        return ExitCode::SUCCESS;
    }
    match &options.script {
        Some(file) => replay(file, options.trace),
        None => many(&options),
    }
}

fn replay(file: &str, trace: bool) -> ExitCode {
    let script = std::fs::read_to_string(file).map_err(|error| error.to_string()).and_then(|text| text.parse::<Script>());
    let script = match script {
        Ok(script) => script,
        Err(error) => {
            println!("{file}: {error}");
            return ExitCode::from(2);
        }
    };
    let report = sim::run_script(&script, trace);
    report.lines.iter().for_each(|line| println!("{line}"));
    tell(&report);
    println!("{} acts, {} entries, {} frames, trace {}", script.steps.len(), report.entries, report.frames, report.trace);
    if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(report: &Report) {
    for problem in &report.problems {
        println!("  {:?}: {}", problem.rule, problem.what);
    }
}

fn many(options: &Options) -> ExitCode {
    let begun = Instant::now();
    let (next, end) = (AtomicU64::new(options.from), options.from.saturating_add(options.seeds));
    let (ran, entries, frames) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failed: Mutex<BTreeMap<u64, Report>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while begun.elapsed().as_secs() < options.seconds && !(options.first && failed.lock().is_ok_and(|failed| !failed.is_empty())) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let report = sim::run(seed, options.acts);
                    ran.fetch_add(1, Ordering::Relaxed);
                    entries.fetch_add(report.entries as u64, Ordering::Relaxed);
                    frames.fetch_add(report.frames, Ordering::Relaxed);
                    if !report.problems.is_empty()
                        && let Ok(mut failed) = failed.lock()
                    {
                        failed.insert(seed, report);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    for (n, (seed, report)) in failed.iter().enumerate() {
        println!("seed {seed} failed:");
        tell(report);
        if n >= SHORTENED || options.first {
            continue;
        }
        let rule = report.problems[0].rule;
        let breaks = |script: &Script| sim::run_script(script, false).problems.iter().any(|problem| problem.rule == rule);
        let script = sim::shrink(&sim::plot(*seed, options.acts), SHRINKING, breaks);
        let nodes: Vec<String> = sim::names().enumerate().map(|(node, name)| format!("{node} {name}")).collect();
        println!("the same rule breaks in this script, to be run with --script FILE:\n# {}\n{script}", nodes.join(", "));
    }
    let (ran, seconds) = (ran.into_inner(), begun.elapsed().as_secs_f64());
    let (entries, frames) = (entries.into_inner(), frames.into_inner());
    let seeds: Vec<u64> = failed.keys().copied().collect();
    println!("{ran} seeds from {} in {seconds:.1} s, {entries} entries, {frames} frames; failed: {seeds:?}", options.from);
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
