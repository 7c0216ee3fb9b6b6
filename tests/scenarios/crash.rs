//! The program is killed, or the power goes, at any moment of a story. Moments and deeds follow from a seed; a failure prints it.
//!
//! `CHARTMESH_KILLS` and `CHARTMESH_POWER_CUTS` say how often (see CONTRIBUTING.md), `CHARTMESH_CRASH_SEED` with which seed to begin.

use std::time::Instant;

use serde_json::Value;

use crate::{
    chance::asked_for,
    chart,
    disk::Disk,
    machine::Machine,
    story::{Story, Who},
    world::{World, until},
};

/// A new story begins after so many strikes: a ledger that grows makes every step slower.
const PER_STORY: u64 = 40;
/// Bytes of a disk whose power is cut.
const DISK: u64 = 64 << 20;

fn tell(what: &str, strikes: u64, disk: impl Fn(u64) -> Option<Option<(Who, Disk)>>) {
    let begun = Instant::now();
    let first = asked_for("CHARTMESH_CRASH_SEED", 1);
    let mut left = strikes;
    for seed in first.. {
        let now = left.min(PER_STORY);
        let Some(disk) = disk(seed) else { return };
        Story::begin(seed, disk).tell(now);
        left -= now;
        if left == 0 {
            eprintln!("{strikes} {what}, seeds {first} to {seed}, in {:?}", begun.elapsed());
            return;
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_program_is_killed() {
    tell("kills", asked_for("CHARTMESH_KILLS", 24), |_| Some(None));
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes() {
    let whose = |seed: u64| [Who::Patient, Who::Custodian, Who::Clinic][(seed % 3) as usize];
    tell("power cuts", asked_for("CHARTMESH_POWER_CUTS", 3), |seed| Disk::new(DISK).map(|disk| Some((whose(seed), disk))));
}

/// A session that the patient's node had begun ends with the clinic's, and nobody says so.
#[test]
fn a_node_that_was_killed_and_is_back_is_exchanged_with_at_once() {
    let world = World::new();
    let patient = world.home("patient", "maria");
    let mut clinic = Machine::new(&world, "practitioner", "clinic", None);
    patient.meets(&clinic.home);
    patient.grants("clinic", &[]);
    let serving = patient.serve();
    until("they have a session", || clinic.home.json(&["status"])["peers"][0]["online"] == true);
    for round in 0..3 {
        clinic.strike(None);
        clinic.start();
        let result = world.write("result.json", &chart::result(&format!("after-{round}")));
        patient.json(&["import", &result]);
        assert_eq!(patient.json(&["sync", "--timeout", "10s"])["reached"], Value::from(vec!["clinic"]));
        assert!(chart::readable(&clinic.home).contains(&format!("Observation/after-{round}")), "a sync ends when the other side has everything");
    }
    serving.stop();
}
