//! The program is killed, or the power goes, at any moment of a story. Moments and deeds follow from a seed; a failure prints it.
//!
//! `CHARTMESH_KILLS` and `CHARTMESH_POWER_CUTS` say how often (see CONTRIBUTING.md), `CHARTMESH_CRASH_SEED` with which seed to begin.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    chance::{Chance, asked_for},
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
            let _ = writeln!(std::io::stderr(), "{strikes} {what}, seeds {first} to {seed}, in {:?}", begun.elapsed());
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
    tell("power cuts", asked_for("CHARTMESH_POWER_CUTS", 3), |seed| Disk::to_cut(DISK).map(|disk| Some((whose(seed), disk))));
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

fn init(words: &str) -> [&str; 7] {
    ["init", "patient", "--name", "maria", "--no-passphrase", "--recovery-file", words]
}

/// Whenever it is killed, there is no home and it can be done again, or there is one with everything, and somebody has its words.
#[test]
fn a_home_is_there_whole_or_not_at_all_when_its_making_is_killed() {
    let world = World::new();
    let mut chance = Chance::new(asked_for("CHARTMESH_CRASH_SEED", 1));
    let mut usual = Duration::from_millis(300);
    for round in 0..asked_for("CHARTMESH_KILLS", 24) / 4 {
        let home = world.bare(&format!("home-{round}"));
        let words = world.name(&format!("words-{round}"));
        let begun = Instant::now();
        let mut running = home.start(&init(&words));
        if running.ends_within(chance.moment(usual.mul_f64(1.1))) {
            usual = begun.elapsed();
        } else {
            running.kill();
        }
        running.end();
        let second = world.name(&format!("second-words-{round}"));
        let again = home.run(&init(&second));
        let kept = if again.code == 0 { second } else { words };
        assert!(again.code == 0 || again.stderr.contains("is the home of a node already"), "{}", again.stderr);
        assert_eq!(std::fs::read_to_string(&kept).expect("the words").split_whitespace().count(), 24);
        home.json(&["import", &world.write("result.json", &chart::result("first"))]);
        assert_eq!(home.json(&["ledger", "verify"])["ok"], true);
        std::fs::remove_dir_all(home.path()).expect("removing a home");
    }
}

/// Whenever a recovery is killed, there is no home and it can be done again, or the home is the patient's device.
#[test]
fn a_recovery_that_is_killed_can_be_done_again_or_has_happened() {
    let mut chance = Chance::new(asked_for("CHARTMESH_CRASH_SEED", 1));
    let mut usual = Duration::from_millis(500);
    let rounds: Vec<u64> = (0..asked_for("CHARTMESH_KILLS", 24) / 8).collect();
    // Every device that a patient loses makes the ledger longer.
    for rounds in rounds.chunks(12) {
        recover_and_kill(rounds, &mut chance, &mut usual);
    }
}

fn recover_and_kill(rounds: &[u64], chance: &mut Chance, usual: &mut Duration) {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let custodian = world.home("custodian", "vaultco");
    let keeping = custodian.serve();
    patient.meets(&custodian);
    patient.grants("vaultco", &["--custodian"]);
    patient.json(&["sync"]);
    let mut all = chart::readable(&patient);
    std::fs::remove_dir_all(patient.path()).expect("the device is lost");
    let (words, ticket) = (world.name("maria.words"), custodian.ticket());
    let recover = ["recover", "--words-file", &words, "--from", &ticket, "--no-passphrase"];
    for round in rounds {
        let new = world.bare(&format!("new-{round}"));
        let begun = Instant::now();
        let mut running = new.start(&recover);
        if running.ends_within(chance.moment(usual.mul_f64(1.1))) {
            *usual = begun.elapsed();
        } else {
            running.kill();
        }
        running.end();
        let again = new.run(&recover);
        assert!(again.code == 0 || again.stderr.contains("is the home of a node already"), "{}", again.stderr);
        assert_eq!(new.json(&["sync"])["reached"], Value::from(vec!["vaultco"]));
        assert_eq!(chart::readable(&new), all);
        let after = format!("after-{round}");
        new.json(&["import", &world.write("result.json", &chart::result(&after))]);
        all.insert(format!("Observation/{after}"));
        assert_eq!(new.json(&["sync"])["reached"], Value::from(vec!["vaultco"]));
        let [kept, own] = [&custodian, &new].map(|home| home.json(&["status"]));
        assert_eq!([&kept["documents"], &kept["pending"]], [&own["documents"], &own["pending"]], "a sync ends when the other side has everything");
        assert_eq!(new.json(&["ledger", "verify"])["ok"], true);
        std::fs::remove_dir_all(new.path()).expect("this one is lost too");
    }
    keeping.stop();
}
