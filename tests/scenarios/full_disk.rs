//! A disk that fills up, takes no more writes, or fails late: the program says so and ends with 1, nothing that it acknowledged is lost, and all goes on when the disk is mended.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    chance::Chance,
    chart::{self, Names, Resources},
    disk::Disk,
    world::{Home, Ran, Serving, World, until},
};

const DISK: u64 = 48 << 20;
const KIB: u64 = 1 << 10;
/// Bytes that a note stands for.
const NOTE: u64 = 16 * KIB;
/// What a command says when the disk is the reason.
const REASONS: [&str; 4] = ["No space left on device", "Read-only file system", "Input/output error", "could not write to its disk"];
const SYNC: [&str; 3] = ["sync", "--timeout", "10s"];

/// A patient and a custodian, one of whom has a disk of its own.
struct Household {
    patient: Home,
    custodian: Home,
    /// What the patient's node acknowledged.
    held: Resources,
    /// Imports that failed: all of their records are there, or none.
    failed: Vec<Resources>,
    imports: u64,
    chance: Chance,
    keeping: Option<Serving>,
    serving: Option<Serving>,
    disk: Disk,
    world: World,
}

impl Household {
    fn with_patient_on(disk: Disk) -> Self {
        let world = World::new();
        let (patient, custodian) = (world.home_in(disk.at(), "patient", "maria"), world.home("custodian", "vaultco"));
        Self::settled(world, disk, patient, custodian)
    }

    fn with_custodian_on(disk: Disk) -> Self {
        let world = World::new();
        let (patient, custodian) = (world.home("patient", "maria"), world.home_in(disk.at(), "custodian", "vaultco"));
        Self::settled(world, disk, patient, custodian)
    }

    fn settled(world: World, disk: Disk, patient: Home, custodian: Home) -> Self {
        let keeping = Some(custodian.serve());
        patient.meets(&custodian);
        patient.grants("vaultco", &["--custodian"]);
        let (held, failed, chance) = (Resources::new(), Vec::new(), Chance::new(1));
        let mut household = Self { patient, custodian, held, failed, imports: 0, chance, keeping, serving: None, disk, world };
        household.goes_on();
        household
    }

    /// A file of some more bytes than these, which hardly get fewer by compression, and what is in it.
    fn file(&mut self, bytes: u64) -> (String, Resources) {
        self.imports += 1;
        let notes: Vec<String> = (0..=bytes / NOTE).map(|_| format!(r#"{{"text":"{}"}}"#, self.note())).collect();
        let (condition, allergy) = (format!("Condition/c{}", self.imports), format!("AllergyIntolerance/a{}", self.imports));
        let noted = format!(r#""code":{{"text":"noted"}},"recordedDate":"2026-01-05","note":[{}]"#, notes.join(","));
        let bundle = chart::bundle(&[(&condition, &noted), (&allergy, r#""code":{"text":"Penicillin"}"#)]);
        (self.world.write(&format!("{}.json", self.imports), &bundle), chart::resources(&bundle))
    }

    /// Hexadecimal digits that stand for so many random bytes.
    fn note(&mut self) -> String {
        (0..NOTE / 8).map(|_| format!("{:016x}", self.chance.any())).collect()
    }

    /// An import that may fail: then for a reason.
    fn imports(&mut self, bytes: u64) -> Ran {
        let (file, resources) = self.file(bytes);
        let ran = tries(&self.patient, &["import", &file]);
        assert!(!ran.text().contains("Not imported"), "{}", ran.text());
        if ran.code == 0 {
            self.held.extend(resources)
        } else {
            self.failed.push(resources)
        }
        ran
    }

    /// Nothing that was acknowledged is lost, nothing is there in part, and nobody has signed two entries for one place.
    fn nothing_is_lost(&mut self) {
        let here = chart::readable(&self.patient);
        for resources in self.failed.drain(..) {
            let found = resources.keys().filter(|name| here.contains(*name)).count();
            assert!(found == 0 || found == resources.len(), "{found} of {} records of an import that failed", resources.len());
            if found > 0 {
                self.held.extend(resources);
            }
        }
        assert_eq!(here, self.held.keys().cloned().collect::<Names>());
        let sent = entries(&self.custodian, "maria");
        assert!(sent.is_subset(&entries(&self.patient, "maria")), "the patient has lost entries that were sent");
        for home in [&self.patient, &self.custodian] {
            let verified = home.json(&["ledger", "verify"]);
            assert!(verified["ok"] == true && verified["forks"] == Value::Array(Vec::new()), "{verified}");
        }
    }

    /// Everything works: an import, an exchange, and every document at the custodian's, byte for byte.
    fn goes_on(&mut self) {
        assert_eq!(self.imports(KIB).code, 0);
        until("the custodian has everything", || {
            self.patient.run(&SYNC);
            self.custodian.json(&["status"])["pending"] == 0 && entries(&self.patient, "maria") == entries(&self.custodian, "maria")
        });
        self.nothing_is_lost();
        chart::assert_shows(&self.patient, &self.held.keys().cloned().collect(), &self.held);
        let documents = chart::documents(&self.patient, |_| true);
        assert_eq!(chart::sealed(&self.world, &self.custodian, &documents).len(), documents.len());
    }

    /// Ends a node whose disk has failed. That may be an end that says so.
    fn ends(serving: &mut Option<Serving>) {
        let (code, said) = serving.take().expect("a node").terminate();
        assert!(code == 0 || (code == 1 && has_reason(&said)), "ended with {code}: {said}");
    }
}

/// Runs a command that may fail: then because of the disk, and it says so.
fn tries(home: &Home, args: &[&str]) -> Ran {
    let ran = home.run(args);
    let failed = ran.code == 1 && ran.stdout.is_empty() && ran.stderr.starts_with("error: ") && has_reason(&ran.stderr);
    assert!(ran.code == 0 || failed, "{args:?} ended with {}:\n{}\n{}", ran.code, ran.text(), ran.stderr);
    ran
}

fn has_reason(said: &str) -> bool {
    REASONS.iter().any(|reason| said.contains(reason))
}

/// Hashes of the entries that a node holds of an author.
fn entries(home: &Home, author: &str) -> BTreeSet<String> {
    let log = home.json(&["ledger", "log"]);
    let own = log.as_array().expect("an array").iter().filter(|entry| entry["author"] == author);
    own.map(|entry| entry["entry"].as_str().expect("a hash").to_owned()).collect()
}

#[test]
fn a_command_that_fills_the_disk_says_so_and_leaves_everything_as_it_was() {
    let Some(disk) = Disk::new(DISK) else { return };
    let mut household = Household::with_patient_on(disk);
    for room in [0, 16, 128, 512, 1536].map(|room| room * KIB) {
        household.disk.fill(room);
        assert_eq!(household.imports(room + 1024 * KIB).code, 1, "there was no room for it");
        household.imports(0);
        for args in [&["records", "list"][..], &["consent", "list"], &["status"], &["ledger", "verify"], &SYNC] {
            tries(&household.patient, args);
        }
        household.disk.empty();
        household.nothing_is_lost();
    }
    household.goes_on();
}

#[test]
fn a_node_whose_disk_is_full_says_so_and_goes_on_after_its_next_start() {
    let Some(disk) = Disk::new(DISK) else { return };
    let mut household = Household::with_patient_on(disk);
    for room in [0, 64, 512].map(|room| room * KIB) {
        household.serving = Some(household.patient.serve());
        household.disk.fill(room);
        assert_eq!(household.imports(room + 1024 * KIB).code, 1, "there was no room for it");
        for _ in 0..8 {
            household.imports(8 * KIB);
        }
        tries(&household.patient, &["records", "list"]);
        tries(&household.patient, &SYNC);
        household.disk.empty();
        Household::ends(&mut household.serving);
        household.nothing_is_lost();
    }
    household.goes_on();
}

#[test]
fn a_custodian_whose_disk_is_full_has_everything_after_its_next_start() {
    let Some(disk) = Disk::new(DISK) else { return };
    let mut household = Household::with_custodian_on(disk);
    for room in [0, 64, 512].map(|room| room * KIB) {
        household.disk.fill(room);
        assert_eq!(household.imports(room + 1024 * KIB).code, 0);
        let ran = household.patient.run(&["--json", "sync", "--timeout", "3s"]);
        assert!(matches!(ran.code, 0 | 4), "{}", ran.stderr);
        if ran.code == 0 {
            assert_ne!(ran.json()["missed"], Value::Array(Vec::new()), "a custodian that could not store it counts as reached");
        }
        household.disk.empty();
        Household::ends(&mut household.keeping);
        household.keeping = Some(household.custodian.serve());
        household.patient.meets(&household.custodian);
        household.goes_on();
    }
}

#[test]
fn a_disk_that_takes_no_writes_is_reported_and_loses_nothing() {
    let Some(disk) = Disk::new(DISK) else { return };
    let mut household = Household::with_patient_on(disk);
    household.disk.remount("ro");
    assert_eq!(household.imports(0).code, 1);
    for args in [&["records", "list"][..], &["consent", "list"], &["status"], &["ledger", "verify"], &SYNC, &["serve", "--listen", "127.0.0.1:0"]] {
        tries(&household.patient, args);
    }
    household.disk.remount("rw");
    household.goes_on();

    // Under a node that does nothing but end.
    household.serving = Some(household.patient.serve());
    household.disk.remount("abort");
    Household::ends(&mut household.serving);
    household.disk.mend();

    // And under one that goes on, as after a fault that the file system noticed itself.
    household.serving = Some(household.patient.serve());
    household.imports(0);
    household.disk.remount("abort");
    for _ in 0..3 {
        assert_eq!(household.imports(0).code, 1);
    }
    tries(&household.patient, &["records", "list"]);
    Household::ends(&mut household.serving);
    household.disk.mend();
    household.nothing_is_lost();
    household.goes_on();
}

#[test]
fn a_disk_that_fails_late_loses_nothing_that_was_acknowledged() {
    for of_custodian in [false, true] {
        let Some(disk) = Disk::failing(DISK, 12 << 20) else { return };
        let mut household = if of_custodian { Household::with_custodian_on(disk) } else { Household::with_patient_on(disk) };
        household.serving = Some(household.patient.serve());
        let mut imports = 0;
        // Until writing fails: below the disk there is room for some of them.
        while imports < 40 && household.imports(512 * KIB).code == 0 && household.patient.run(&["sync", "--timeout", "3s"]).code == 0 {
            imports += 1;
        }
        assert!((1..40).contains(&imports), "{imports} imports");
        household.imports(KIB);
        Household::ends(&mut household.serving);
        Household::ends(&mut household.keeping);
        household.disk.mend();
        household.keeping = Some(household.custodian.serve());
        household.patient.meets(&household.custodian);
        household.nothing_is_lost();
        household.goes_on();
    }
}
