//! The network lab: schedules of what goes wrong between hosts, each made up from its seed, each of which must end with everybody up to date soon after the cables are mended.
//!
//! `CHARTMESH_LAB` says how many, `CHARTMESH_LAB_SEED` with which seed to begin, `CHARTMESH_LAB_BESIDE` how many go side by side (see CONTRIBUTING.md).

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    chance::asked_for,
    network,
    outage::{Outage, Outcome},
    schedule::Schedule,
};

/// How long after the mending everybody must be up to date. It counts where `CHARTMESH_LAB` asks for it: in the usual run the machine has other work beside, and it is enough that they get there.
const BOUND: Duration = Duration::from_secs(10);

/// The program of a relay, if there is one.
fn relay() -> Option<PathBuf> {
    let named = std::env::var_os("CHARTMESH_RELAY").map(PathBuf::from);
    let found = || std::env::split_paths(&std::env::var_os("PATH")?).map(|place| place.join("iroh-relay")).find(|program| program.exists());
    named.or_else(found)
}

#[test]
fn everybody_is_up_to_date_soon_after_an_outage() {
    if !network::is_possible() {
        return;
    }
    network::sweep();
    let mut out = std::io::stderr();
    let relay = relay();
    if relay.is_none() {
        let _ = writeln!(out, "network lab: without a relay (no iroh-relay in PATH; CONTRIBUTING.md says how to get it)");
    }
    let (count, first) = (asked_for("CHARTMESH_LAB", 3), asked_for("CHARTMESH_LAB_SEED", 1));
    let bound = if std::env::var_os("CHARTMESH_LAB").is_some() { BOUND } else { Duration::MAX };
    let next = AtomicU64::new(first);
    let results = Mutex::new(Vec::new());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..asked_for("CHARTMESH_LAB_BESIDE", 3).min(count) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let result = carry_out(seed, relay.as_deref(), bound);
                    results.lock().expect("nobody panics with it").push((seed, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("nobody panics with it");
    results.sort_by_key(|(seed, _)| *seed);
    let mut times: Vec<Duration> = results.iter().filter_map(|(_, result)| result.as_ref().ok().copied()).collect();
    times.sort();
    if let (Some(shortest), Some(longest)) = (times.first(), times.last()) {
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        let _ = writeln!(
            out,
            "{count} schedules in {:.0?}; from mending to being up to date: {shortest:.1?} to {longest:.1?}, half within {:.1?}, nine of ten within {:.1?}",
            begun.elapsed(),
            at(50),
            at(90)
        );
    }
    let failed: Vec<String> = results.iter().filter_map(|(seed, result)| result.as_ref().err().map(|why| format!("seed {seed}: {why}"))).collect();
    assert!(failed.is_empty() && times.len() as u64 == count, "{} of {count} schedules failed:\n{}", failed.len(), failed.join("\n"));
}

fn carry_out(seed: u64, relay: Option<&Path>, bound: Duration) -> Result<Duration, String> {
    let schedule = Schedule::new(seed, relay.is_some());
    let result = std::panic::catch_unwind(|| Outage::prepare(&schedule, relay).run());
    let told = match &result {
        Ok(Outcome { healed: Ok(time), path }) => format!("up to date after {time:.1?}, {}", path.as_deref().unwrap_or("not connected")),
        Ok(Outcome { healed: Err(unmet), .. }) => format!("not up to date: {unmet}"),
        Err(_) => "panicked".into(),
    };
    let _ = writeln!(std::io::stderr(), "seed {seed}: {told}; {schedule}");
    match result {
        Ok(Outcome { healed: Ok(time), .. }) if time <= bound => Ok(time),
        Ok(Outcome { healed: Ok(time), .. }) => Err(format!("up to date only after {time:.1?}")),
        Ok(Outcome { healed: Err(unmet), .. }) => Err(unmet),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            Err(said.unwrap_or_else(|| "it panicked".into()))
        }
    }
}
