//! A patient, a clinic and a custodian who do one thing after the other while one of them is struck, and what must hold however that goes:
//!
//! - a machine that was struck needs nothing but its next start;
//! - what was acknowledged is there: a command had printed its answer, or another node had been sent it;
//! - what was not is there whole or not at all;
//! - nobody ever signs two entries for one place;
//! - afterwards everybody comes to know everything that they may, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    chance::Chance,
    chart::{self, Names, Resources},
    disk::Disk,
    machine::Machine,
    world::{KILLED, Ran, World, until},
};

/// How long an exchange waits for a node that was struck.
const SYNC: [&str; 3] = ["sync", "--timeout", "3s"];
/// What a deed is taken to last before it was seen.
const UNKNOWN: Duration = Duration::from_millis(300);
/// A node is struck up to so much later than its command is expected to end.
const LATE: f64 = 1.1;

/// Who owns a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Patient,
    Clinic,
    Custodian,
}

/// What is done on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Import,
    Grant,
    Revoke,
    Sync,
    Show,
}

/// What everybody was told, and so must find again.
#[derive(Default)]
struct Told {
    /// What the patient imported.
    records: Resources,
    /// What the clinic wrote.
    written: Resources,
    /// What the clinic may have written.
    maybe_written: Resources,
    /// Grants to the clinic, and whether they are in force.
    grants: BTreeMap<String, bool>,
    /// How often the clinic was shown a record, and how often it may have been.
    shown: usize,
    maybe_shown: usize,
    /// Entries that each has shown or has acknowledged to another.
    entries: BTreeMap<Who, BTreeSet<String>>,
}

/// A story under way.
pub(crate) struct Story {
    patient: Machine,
    clinic: Machine,
    custodian: Machine,
    seed: u64,
    chance: Chance,
    told: Told,
    usual: BTreeMap<(Who, Deed), Duration>,
    steps: Vec<String>,
    strikes: u64,
    world: World,
}

impl Story {
    /// The beginning: nobody has anything yet, but they know one another. `disk` belongs to one of them, who then is the one that is struck.
    pub(crate) fn begin(seed: u64, mut disk: Option<(Who, Disk)>) -> Self {
        let world = World::new();
        let mut machine = |who, kind: &str, name: &str| Machine::new(&world, kind, name, disk.take_if(|(of, _)| *of == who).map(|(_, disk)| disk));
        let patient = machine(Who::Patient, "patient", "maria");
        let clinic = machine(Who::Clinic, "organization", "clinic");
        let custodian = machine(Who::Custodian, "custodian", "vaultco");
        patient.home.meets(&clinic.home);
        patient.home.meets(&custodian.home);
        patient.home.grants("vaultco", &["--custodian"]);
        let usual = BTreeMap::new();
        Self { patient, clinic, custodian, seed, chance: Chance::new(seed), told: Told::default(), usual, steps: Vec::new(), strikes: 0, world }
    }

    /// Strikes so often, and brings the story to its end.
    pub(crate) fn tell(mut self, strikes: u64) {
        while self.strikes < strikes {
            self.go_on();
        }
        self.end();
    }

    fn machine(&mut self, who: Who) -> &mut Machine {
        match who {
            Who::Patient => &mut self.patient,
            Who::Clinic => &mut self.clinic,
            Who::Custodian => &mut self.custodian,
        }
    }

    fn look(&self, who: Who) -> &Machine {
        match who {
            Who::Patient => &self.patient,
            Who::Clinic => &self.clinic,
            Who::Custodian => &self.custodian,
        }
    }

    fn everybody() -> [Who; 3] {
        [Who::Patient, Who::Clinic, Who::Custodian]
    }

    /// Somebody does something, and somebody is struck meanwhile.
    fn go_on(&mut self) {
        let actor = if self.chance.percent(65) { Who::Patient } else { Who::Clinic };
        let with_disk = Self::everybody().into_iter().find(|who| self.look(*who).has_disk());
        let victim = with_disk.unwrap_or_else(|| if self.chance.percent(70) { actor } else { self.chance.one_of(&Self::everybody()) });
        let alone = victim == actor && self.chance.percent(60);
        for who in Self::everybody() {
            if who == actor && alone { self.machine(who).stop() } else { self.machine(who).start() }
        }
        let (deed, args, resources) = self.deed(actor);
        let usual = self.usual.get(&(actor, deed)).copied().unwrap_or(UNKNOWN);
        let moment = self.chance.moment(usual.mul_f64(LATE));
        self.steps.push(format!("{actor:?} {deed:?}{}, {victim:?} struck after {moment:?}", if alone { " alone" } else { "" }));

        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let begun = Instant::now();
        let mut running = self.look(actor).home.start(&[&["--json"], &args[..]].concat());
        let ended = running.ends_within(moment);
        if ended {
            self.usual.insert((actor, deed), (usual + begun.elapsed()) / 2);
        }
        if !alone && ended {
            // A node goes on after it has answered: with the sending.
            std::thread::sleep(moment.saturating_sub(begun.elapsed()));
        }
        if !(alone && ended) {
            self.machine(victim).strike((victim == actor).then_some(&mut running));
        }
        let waits_for_other = victim != actor;
        if waits_for_other {
            self.machine(victim).start();
        }
        let ran = running.end();
        // A command may have ended just before it was struck.
        self.strikes += u64::from(!alone || ran.code == KILLED);
        self.machine(actor).start();
        self.machine(victim).start();
        if !ended && ran.code == 0 {
            self.usual.insert((actor, deed), (usual + begun.elapsed().min(3 * usual)) / 2);
        }
        self.note(actor, deed, &ran, resources, waits_for_other);
        self.check(victim);
        if self.chance.percent(25) {
            // Once more, while it catches up.
            let again = self.chance.moment(UNKNOWN);
            self.steps.push(format!("{victim:?} struck again after {again:?}"));
            std::thread::sleep(again);
            self.strikes += 1;
            self.machine(victim).strike(None);
            self.machine(victim).start();
            self.check(victim);
        }
    }

    /// What the actor does next, its arguments, and what it imports.
    fn deed(&mut self, actor: Who) -> (Deed, Vec<String>, Resources) {
        let live = self.told.grants.iter().find(|(_, live)| **live).map(|(grant, _)| grant.clone());
        let words = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        let drawn = self.chance.below(100);
        match actor {
            Who::Patient if drawn < 45 => {
                let (file, resources) = self.file(true);
                (Deed::Import, words(&["import", &file]), resources)
            }
            Who::Patient if drawn < 75 => match live {
                Some(grant) => {
                    // What the clinic wrote under the grant has to arrive before it ends.
                    self.collect();
                    (Deed::Revoke, words(&["consent", "revoke", &grant]), Resources::new())
                }
                None => {
                    let terms = self.chance.one_of(&[&["--read", "all"][..], &["--except", "mental-health"], &["--read", "general"]]);
                    (Deed::Grant, words(&[&["consent", "grant", "clinic", "--write"], terms].concat()), Resources::new())
                }
            },
            Who::Clinic if drawn < 40 && live.is_some_and(|grant| self.clinic_may_write(&grant)) => {
                let (file, resources) = self.file(false);
                (Deed::Import, words(&["import", &file, "--for", "maria"]), resources)
            }
            Who::Clinic if drawn < 70 => match chart::readable(&self.clinic.home).first() {
                Some(name) => (Deed::Show, words(&["records", "show", name]), Resources::new()),
                None => (Deed::Sync, words(&SYNC), Resources::new()),
            },
            Who::Patient | Who::Clinic | Who::Custodian => (Deed::Sync, words(&SYNC), Resources::new()),
        }
    }

    /// A file to import: of the patient, with records of several compartments, or of the clinic, with one.
    fn file(&self, several: bool) -> (String, Resources) {
        let step = self.steps.len();
        let of = |kind: &str| format!("{kind}/{}-{step}", if several { "own" } else { "written" });
        let names = [of("Observation"), of("Condition"), of("AllergyIntolerance")];
        let rest = [
            r#""status":"final","code":{"coding":[{"system":"http://loinc.org","code":"4548-4"}]},"effectiveDateTime":"2026-01-05T08:00:00+00:00""#,
            r#""code":{"coding":[{"system":"http://snomed.info/sct","code":"370143000"}]},"recordedDate":"2026-01-05""#,
            r#""code":{"text":"Penicillin"},"recordedDate":"2012-01-05""#,
        ];
        let all: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(rest).take(if several { 3 } else { 1 }).collect();
        let bundle = chart::bundle(&all);
        (self.world.write(&format!("{step}.json"), &bundle), chart::resources(&bundle))
    }

    /// What the clinic knows of a grant that is in force, as far as it has heard.
    fn clinic_knows(&self, grant: &str) -> Option<Value> {
        let grants = self.clinic.home.json(&["consent", "list"]);
        grants.as_array()?.iter().find(|found| found["grant"] == grant && found["state"] == "active").cloned()
    }

    fn clinic_may_write(&self, grant: &str) -> bool {
        self.clinic_knows(grant).is_some_and(|found| found["ready"] == true)
    }

    /// Awaits what the clinic wrote.
    fn collect(&mut self) {
        for who in Self::everybody() {
            self.machine(who).start();
        }
        until("what the clinic wrote is with the patient", || {
            let here = chart::readable(&self.patient.home);
            self.told.written.keys().all(|name| here.contains(name)) || {
                self.clinic.home.run(&SYNC);
                false
            }
        });
    }

    /// What a deed came to, as far as it was said.
    fn note(&mut self, actor: Who, deed: Deed, ran: &Ran, resources: Resources, undisturbed: bool) {
        let answered = !ran.stdout.is_empty() && (deed == Deed::Show || serde_json::from_slice::<Value>(&ran.stdout).is_ok());
        assert!(answered || ran.code != 0, "{actor:?} {deed:?} ended well and did not answer");
        assert!(!undisturbed || ran.code == 0 || (deed == Deed::Sync && ran.code == 4), "{actor:?} {deed:?}: {}", ran.stderr);
        assert!(matches!(ran.code, 0 | 1 | KILLED) || deed == Deed::Sync, "{actor:?} {deed:?}: {}", ran.stderr);
        self.steps.push(format!("  ended with {}{} {}", ran.code, if answered { ", answered" } else { "" }, ran.stderr));
        match (actor, deed) {
            (Who::Patient, Deed::Import) => {
                let found = self.found(&resources);
                assert!(!answered || found, "an import that was acknowledged is lost");
                if found {
                    self.told.records.extend(resources);
                }
            }
            (_, Deed::Import) => if answered { &mut self.told.written } else { &mut self.told.maybe_written }.extend(resources),
            (_, Deed::Grant) => {
                let named = answered.then(|| ran.json()["grant"].as_str().expect("an id").to_owned());
                let new: Vec<String> = self.grants().into_keys().filter(|grant| !self.told.grants.contains_key(grant)).collect();
                assert!(new.len() <= 1 && (named.is_none() || new.first() == named.as_ref()), "granted {named:?}, found {new:?}");
                self.told.grants.extend(new.into_iter().map(|grant| (grant, true)));
            }
            (_, Deed::Revoke) => {
                let now = self.grants();
                let ended = self.told.grants.iter().filter(|(grant, live)| **live && now.get(*grant) == Some(&false)).count();
                assert!(!answered || ended == 1, "a revocation that was acknowledged is lost");
                self.told.grants.extend(now);
            }
            (_, Deed::Show) => *if answered { &mut self.told.shown } else { &mut self.told.maybe_shown } += 1,
            (_, Deed::Sync) => {
                let reached = if answered { ran.json()["reached"].clone() } else { Value::Null };
                let with_custodian = reached.as_array().is_some_and(|reached| reached.iter().any(|name| name == "vaultco"));
                if with_custodian && actor == Who::Patient {
                    let own = self.told.entries.get(&Who::Patient).cloned().unwrap_or_default();
                    self.told.entries.entry(Who::Custodian).or_default().extend(own);
                }
            }
        }
    }

    /// Whether the patient has these records: all of them, or none.
    fn found(&self, resources: &Resources) -> bool {
        let here = chart::readable(&self.patient.home);
        let found = resources.keys().filter(|name| here.contains(*name)).count();
        assert!(found == 0 || found == resources.len(), "{found} of {} records of an import that was cut off", resources.len());
        found > 0
    }

    /// The patient's grants to the clinic, and whether they are in force.
    fn grants(&self) -> BTreeMap<String, bool> {
        let listed = self.patient.home.json(&["consent", "list"]);
        let to_clinic = listed.as_array().expect("an array").iter().filter(|grant| grant["peer"] == "clinic");
        to_clinic.map(|grant| (grant["grant"].as_str().expect("an id").to_owned(), grant["state"] == "active")).collect()
    }

    /// What must hold of a machine at any time. It is running.
    fn check(&mut self, who: Who) {
        let sent = self.log(Who::Custodian, Some("maria"));
        let own = self.log(who, None);
        let known = self.told.entries.entry(who).or_default();
        assert!(known.is_subset(&own), "{who:?} has lost entries that it had shown or acknowledged");
        known.extend(own.iter().cloned());
        assert!(who != Who::Patient || sent.is_subset(&own), "the patient has lost entries that were sent to the custodian");
        self.verify(who);
        if who == Who::Patient {
            let here = chart::readable(&self.patient.home);
            let own: Names = self.told.records.keys().cloned().collect();
            let others: Names = self.told.written.keys().chain(self.told.maybe_written.keys()).cloned().collect();
            assert!(own.is_subset(&here), "acknowledged records are lost: {:?}", own.difference(&here));
            assert!(here.difference(&own).all(|name| others.contains(name)), "records from nowhere: {:?}", here.difference(&own));
            assert_eq!(self.grants(), self.told.grants, "grants are not as they were acknowledged");
        }
    }

    /// Hashes of the entries that somebody holds, of one author or all.
    fn log(&self, who: Who, author: Option<&str>) -> BTreeSet<String> {
        let log = self.look(who).home.json(&["ledger", "log"]);
        let entries = log.as_array().expect("an array").iter().filter(|entry| author.is_none_or(|author| entry["author"] == author));
        entries.map(|entry| entry["entry"].as_str().expect("a hash").to_owned()).collect()
    }

    fn verify(&self, who: Who) {
        let verified = self.look(who).home.json(&["ledger", "verify"]);
        assert!(verified["ok"] == true && verified["forks"] == Value::Array(Vec::new()), "{who:?}: {verified}");
    }

    /// Exchanges until everybody was reached.
    fn meet_all(&self, who: Who) {
        let all = |ran: &Ran| ran.code == 0 && ran.json()["missed"] == Value::Array(Vec::new());
        until("everybody is reached", || all(&self.look(who).home.run(&[&["--json"], &SYNC[..]].concat())));
    }

    /// A custodian that was struck calls those whom it knows, and a clinic is not among them: the clinic would notice half a minute later.
    fn clinic_calls_anew(&mut self) {
        self.clinic.stop();
        self.clinic.start();
    }

    /// Everybody comes to know everything that they may.
    fn end(&mut self) {
        self.steps.push("the end".to_owned());
        self.clinic_calls_anew();
        self.collect();
        if let Some(grant) = self.told.grants.iter().find(|(_, live)| **live).map(|(grant, _)| grant.clone()) {
            until("the clinic may write", || {
                self.patient.home.run(&SYNC);
                self.clinic_may_write(&grant)
            });
            self.patient.home.json(&["consent", "revoke", &grant]);
            self.told.grants.insert(grant.clone(), false);
            until("the clinic has heard of the end", || {
                self.patient.home.run(&SYNC);
                self.clinic_knows(&grant).is_none()
            });
        }
        let (file, late) = self.file(true);
        self.patient.home.json(&["import", &file]);
        self.meet_all(Who::Patient);
        self.meet_all(Who::Clinic);
        assert!(chart::readable(&self.clinic.home).is_disjoint(&late.keys().cloned().collect()), "the clinic reads on after the end");
        self.told.records.extend(late);

        let grant = self.patient.home.grants("clinic", &["--read", "all"]);
        self.told.grants.insert(grant, true);
        until("the custodian and the clinic's invitation are up to date", || {
            self.meet_all(Who::Patient);
            let pending = self.custodian.home.json(&["status"])["pending"] == 0;
            pending && self.log(Who::Custodian, None) == self.log(Who::Patient, None)
        });
        self.patient.stop();
        self.custodian.strike(None);
        self.custodian.start();
        self.clinic_calls_anew();
        let mut all = self.told.records.clone();
        all.extend(self.told.written.clone());
        until("the clinic has everything, from the custodian alone", || {
            self.clinic.home.run(&SYNC);
            let here = chart::readable(&self.clinic.home);
            all.keys().all(|name| here.contains(name))
        });
        self.patient.start();
        for (who, directory) in [(Who::Clinic, "clinic-export"), (Who::Patient, "patient-export")] {
            let (bytes, _) = chart::exported(&self.world, &self.look(who).home, directory);
            let may: BTreeSet<Vec<u8>> = all.values().chain(self.told.maybe_written.values()).cloned().collect();
            assert!(all.values().all(|one| bytes.contains(one)) && bytes.is_subset(&may), "{who:?} does not export what was imported, byte for byte");
        }
        self.told.shown += 1;
        until("the patient knows every time that the clinic was shown something", || {
            self.meet_all(Who::Clinic);
            let seen = self.patient.home.json(&["audit"]).as_array().map_or(0, Vec::len);
            assert!(seen <= self.told.shown + self.told.maybe_shown, "{seen} receipts");
            seen >= self.told.shown
        });
        for who in Self::everybody() {
            self.check(who);
        }
        let kept = self.log(Who::Patient, None);
        until("everybody holds the same", || {
            self.meet_all(Who::Patient);
            self.log(Who::Custodian, None) == self.log(Who::Patient, None)
        });
        assert!(kept.is_subset(&self.log(Who::Patient, None)));
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let told = self.steps.iter().rev().take(24).rev().fold(String::new(), |text, step| text + step + "\n");
            let _ =
                write!(std::io::stderr(), "the last steps of seed {} (CHARTMESH_CRASH_SEED={}), {} in all:\n{told}", self.seed, self.seed, self.steps.len());
        }
    }
}
