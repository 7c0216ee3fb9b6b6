//! Damage at rest in real homes: every file of a home with bits flipped, ends cut off, contents exchanged. `doctor` finds it, or everything reads exactly as before; `doctor --repair`
//! with a custodian on the line brings everything back.
//!
//! `CHARTMESH_INJECTIONS` says how many bits are flipped in each file (1 unless set); more of them are tried on vaults alone in `crates/vault/tests/vault/check.rs`.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    chart::{self, CHART, Names},
    world::{Home, Ran, World, contains, files},
};

/// Numbers that are the same in every run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % below
    }
}

fn injections() -> usize {
    std::env::var("CHARTMESH_INJECTIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(1)
}

fn edit(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).expect("a file");
    how(&mut content);
    fs::write(path, content).expect("writing it");
}

fn doctor(home: &Home, args: &[&str]) -> (bool, Value) {
    let mut all = vec!["--json", "doctor"];
    all.extend(args);
    let Ran { code, stdout, stderr } = home.run(&all);
    if stdout.is_empty() {
        assert!(code != 0 && stderr.contains("\"error\""), "{stderr}");
        return (false, Value::Null);
    }
    let answer: Value = serde_json::from_slice(&stdout).expect("JSON");
    crate::schema::check("doctor", &answer);
    assert_eq!(answer["ok"] == true, code == 0, "{answer}");
    (code == 0, answer)
}

fn is_sound(home: &Home) -> bool {
    let (ok, answer) = doctor(home, &[]);
    assert!(!ok || answer["findings"].as_array().is_some_and(Vec::is_empty), "{answer}");
    ok
}

/// What a home shows of itself: its log, its grants, its contacts, its records byte for byte.
fn shown(world: &World, home: &Home, directory: &str) -> (Value, Value, Value, std::collections::BTreeSet<Vec<u8>>) {
    let exported = chart::exported(world, home, directory).0;
    fs::remove_dir_all(world.path(directory)).expect("removing it");
    (home.json(&["ledger", "log"]), home.json(&["consent", "list"]), home.json(&["peer", "list"]), exported)
}

/// The files of a home that hold something, below it.
fn full(home: &Home) -> Vec<PathBuf> {
    let all = files(home.path()).into_iter().filter(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0));
    all.map(|file| file.strip_prefix(home.path()).expect("below").to_owned()).collect()
}

/// A few of many like files.
fn sample(all: Vec<PathBuf>) -> Vec<PathBuf> {
    let (documents, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|file| file.starts_with("blobs/data"));
    others.into_iter().chain(documents.into_iter().take(2 * injections())).collect()
}

fn content(home: &Home) -> BTreeMap<PathBuf, Vec<u8>> {
    files(home.path()).into_iter().map(|file| (file.clone(), fs::read(&file).expect("a file"))).collect()
}

/// Base64 that no compressor makes shorter.
fn noise(bytes: usize) -> String {
    let mut numbers = Numbers(5);
    (0..bytes.div_ceil(3) * 4).map(|_| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[numbers.next(64)])).collect()
}

/// Copies of a home are damaged in one place each, and looked at.
struct Trial<'a> {
    world: &'a World,
    home: &'a Home,
    /// What it shows while it is whole.
    whole: (Value, Value, Value, std::collections::BTreeSet<Vec<u8>>),
    numbers: Numbers,
    done: usize,
    found: usize,
}

impl<'a> Trial<'a> {
    fn of(world: &'a World, home: &'a Home) -> Self {
        Self { world, home, whole: shown(world, home, "before"), numbers: Numbers(3), done: 0, found: 0 }
    }

    /// Damages a copy. It is found, or has no effect.
    fn inject(&mut self, what: &str, how: &dyn Fn(&Home)) {
        let copy = self.world.copy(self.home, "copy");
        how(&copy);
        let sound = is_sound(&copy);
        if sound {
            assert!(shown(self.world, &copy, "after") == self.whole, "{what} was not found");
        } else {
            // Whatever else is asked says so or answers rightly, and never panics.
            let ran = copy.run(&["ledger", "verify"]);
            assert!(ran.code <= 1, "{what}: {}", ran.stderr);
        }
        fs::remove_dir_all(copy.path()).expect("removing it");
        self.done += 1;
        self.found += usize::from(!sound);
    }

    fn flip_and_cut(&mut self, name: &Path) {
        let length = fs::metadata(self.home.path().join(name)).expect("a file").len() as usize;
        for _ in 0..injections() {
            let (at, bit) = (self.numbers.next(length), self.numbers.next(8));
            self.inject(&format!("{}: bit {bit} of byte {at} flipped", name.display()), &|home| {
                edit(&home.path().join(name), |content| content[at] ^= 1 << bit);
            });
        }
        let left = self.numbers.next(length);
        self.inject(&format!("{}: cut off at {left}", name.display()), &|home| edit(&home.path().join(name), |content| content.truncate(left)));
    }

    fn end(self) {
        let Self { done, found, .. } = self;
        let _ = writeln!(std::io::stderr(), "{done} injections, {found} found, {} without any effect", done - found);
        assert!(found * 3 > done, "much of a home is in use");
    }
}

#[test]
fn damage_is_found_wherever_it_is() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let (friend, lee) = (world.home("practitioner", "friend"), world.home("practitioner", "lee"));
    for home in [&friend, &lee] {
        let serving = home.serve();
        patient.meets(home);
        serving.stop();
    }
    patient.grants("lee", &["--except", "mental-health"]);
    assert!(is_sound(&patient) && is_sound(&lee), "whole homes are found whole");
    let untouched = content(&patient);
    let (_, answer) = doctor(&patient, &[]);
    assert!(answer["opened"].as_u64().is_some_and(|opened| opened > 5 && answer["documents"] == opened), "{answer}");
    assert!(untouched == content(&patient), "looking changes nothing");
    let mut trial = Trial::of(&world, &patient);
    let all = sample(full(&patient));
    all.iter().for_each(|name| trial.flip_and_cut(name));
    let documents: Vec<&PathBuf> = all.iter().filter(|name| name.starts_with("blobs/data")).collect();
    for pair in documents.windows(2) {
        trial.inject(&format!("{} and its neighbour exchanged", pair[0].display()), &|home| {
            let (one, other) = (home.path().join(pair[0]), home.path().join(pair[1]));
            let (first, second) = (fs::read(&one).expect("a file"), fs::read(&other).expect("a file"));
            fs::write(one, second).and_then(|()| fs::write(other, first)).expect("writing them");
        });
    }
    trial.inject("a document removed", &|home| fs::remove_file(home.path().join(documents[0])).expect("removing it"));
    trial.end();
}

/// The key file of such a home says less, and a document above a mebibyte has a file for its hash tree beside it.
#[test]
fn damage_is_found_in_a_home_with_a_passphrase_and_an_attachment() {
    let world = World::new();
    let patient = world.protected_home("patient", "maria");
    let scan = chart::resource("Binary/scan", &format!(r#""contentType":"application/pdf","data":"{}""#, noise(3 << 19)));
    patient.json(&["import", &world.write("scan.json", scan.as_bytes())]);
    assert!(is_sound(&patient), "a whole home is found whole");
    let mut trial = Trial::of(&world, &patient);
    let tried: Vec<PathBuf> = full(&patient).into_iter().filter(|file| file.starts_with("blobs/data") || *file == Path::new("keys.age")).collect();
    assert_eq!(tried.len(), 3, "keys, document and tree: {tried:?}");
    tried.iter().for_each(|name| trial.flip_and_cut(name));
    for name in &tried {
        trial.inject(&format!("{} removed", name.display()), &|home| fs::remove_file(home.path().join(name)).expect("removing it"));
    }
    trial.end();
}

/// A patient whose custodian has everything and runs, and the chart's resources.
fn kept(world: &World) -> (Home, crate::world::Serving, Home) {
    let patient = chart::patient(world, "maria");
    let custodian = world.home("custodian", "vaultco");
    let keeping = custodian.serve();
    patient.meets(&custodian);
    patient.grants("vaultco", &["--custodian"]);
    patient.json(&["sync"]);
    (patient, keeping, custodian)
}

#[test]
fn a_repair_brings_everything_back_from_a_custodian() {
    let world = World::new();
    let (patient, keeping, _custodian) = kept(&world);
    let source = chart::resources(&chart::bundle(CHART));
    let all: Names = source.keys().cloned().collect();
    let documents = || full(&patient).into_iter().filter(|file| file.starts_with("blobs/data")).map(|file| patient.path().join(file));
    let mend = |what: &str, how: &dyn Fn()| {
        how();
        assert!(!is_sound(&patient), "{what} is found");
        let (ok, answer) = doctor(&patient, &["--repair"]);
        assert!(ok, "{what}: {answer}");
        assert!(answer["findings"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["state"] == "repaired")), "{what}: {answer}");
        assert!(is_sound(&patient), "{what}");
        chart::assert_shows(&patient, &all, &source);
    };
    mend("bits of two documents", &|| documents().take(2).for_each(|file| edit(&file, |content| content[100] ^= 4)));
    mend("a document that is gone", &|| fs::remove_file(documents().next().expect("a document")).expect("removing it"));
    mend("two documents exchanged", &|| {
        let two: Vec<PathBuf> = documents().take(2).collect();
        let (first, second) = (fs::read(&two[0]).expect("a file"), fs::read(&two[1]).expect("a file"));
        fs::write(&two[0], second).and_then(|()| fs::write(&two[1], first)).expect("writing them");
    });
    mend("the database of documents", &|| edit(&patient.path().join("blobs/blobs.db"), |content| content.truncate(5000)));
    let damage_the_index = || {
        let index = files(&patient.path().join("vault/metadata")).into_iter().filter(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0));
        index.for_each(|file| edit(&file, |content| content[9] ^= 1));
    };
    mend("the vault's index", &damage_the_index);
    mend("everything at once", &|| {
        damage_the_index();
        edit(&patient.path().join("commits"), |content| content[30] ^= 1);
        edit(&patient.path().join("blobs/blobs.db"), |content| content[5000] ^= 1);
        documents().take(2).for_each(|file| edit(&file, |content| content[100] ^= 4));
        fs::remove_file(documents().next_back().expect("a document")).expect("removing it");
    });
    mend("the number of commits", &|| edit(&patient.path().join("commits"), |content| content[30] ^= 1));
    // It goes on writing, under the same key.
    let more = world.write("more.json", &chart::result("later"));
    assert_eq!(patient.json(&["import", &more])["published"], 1);
    patient.json(&["sync"]);
    assert_eq!(patient.json(&["ledger", "verify"])["ok"], true);
    keeping.stop();
}

/// redb writes the first bytes of a new database last.
#[test]
fn a_store_of_documents_whose_making_was_cut_off_is_made_again() {
    let world = World::new();
    let patient = world.home("patient", "maria");
    fs::create_dir_all(patient.path().join("blobs")).expect("a directory");
    fs::write(patient.path().join("blobs/blobs.db"), vec![0; 50_000]).expect("a file");
    assert!(is_sound(&patient));
    assert_eq!(patient.json(&["import", &world.write("chart.json", &chart::result("first"))])["published"], 1);
    assert!(is_sound(&patient));
}

#[test]
fn a_vault_that_has_lost_a_part_still_gives_the_rest_and_gets_its_entries_back() {
    let world = World::new();
    let (patient, keeping, custodian) = kept(&world);
    let source = chart::resources(&chart::bundle(CHART));
    let all: Names = source.keys().cloned().collect();
    let slabs: Vec<PathBuf> =
        files(&patient.path().join("vault/slabs")).into_iter().filter(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0)).collect();
    let intact = world.copy(&patient, "intact");
    let mut lost = 0;
    for slab in &slabs {
        let name = slab.strip_prefix(patient.path()).expect("below");
        let copy = world.copy(&intact, "copy");
        let size: usize = slab.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).expect("a size");
        edit(&copy.path().join(name), |content| content.iter_mut().skip(size / 2).step_by(size).for_each(|byte| *byte ^= 0x10));
        if !is_sound(&copy) {
            let error = copy.fails(1, &["records", "list"]);
            assert!(error.contains("chartmesh doctor") && error.contains("vault/slabs"), "{error}");
            let (_, answer) = doctor(&copy, &["--repair"]);
            let contacts_left = !copy.json(&["peer", "list"]).as_array().expect("an array").is_empty();
            if contacts_left {
                lost += 1;
                let mut findings = answer["findings"].as_array().expect("findings").iter();
                assert!(
                    findings.all(|finding| finding["state"] == "repaired" || !finding["object"].as_str().is_some_and(|object| object.starts_with("ledger"))),
                    "what has come again is not lost: {answer}"
                );
                assert_eq!(chart::readable(&copy), all, "{}: {answer}", name.display());
                chart::assert_shows(&copy, &all, &source);
                assert_eq!(copy.json(&["ledger", "verify"])["ok"], true);
                assert!(is_sound(&copy), "{}", name.display());
            } else {
                assert!(contains(answer.to_string().as_bytes(), b"lost"), "what nobody can supply is named: {answer}");
            }
            for home in [&copy, &custodian] {
                let log = home.json(&["ledger", "log"]);
                let stands = |entry: &Value| entry["verdict"] == "stands";
                assert!(log.as_array().is_some_and(|log| log.iter().all(stands)), "{}: nothing is signed twice: {log}", name.display());
            }
        }
        fs::remove_dir_all(copy.path()).expect("removing it");
    }
    assert!(lost > 0, "none of the vault's leaves was in use");
    keeping.stop();
    assert!(is_sound(&custodian), "nobody else was harmed");
}

/// Until somebody was asked who holds the rest, what it signs could take the place of what it has lost.
#[test]
fn a_repair_that_reaches_nobody_is_finished_by_a_later_one() {
    let world = World::new();
    let (patient, keeping, custodian) = kept(&world);
    keeping.stop();
    let intact = world.copy(&patient, "intact");
    let whole = intact.json(&["ledger", "log"]);
    let slabs = files(&patient.path().join("vault/slabs"));
    let loses_entries = |slab: &&PathBuf| {
        let size: usize = slab.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).expect("a size");
        edit(slab, |content| content.iter_mut().skip(size / 2).step_by(size).for_each(|byte| *byte ^= 0x10));
        let answer = doctor(&patient, &[]).1.to_string();
        let says = |words: &str| contains(answer.as_bytes(), words.as_bytes());
        let lost = says("entries are missing here") && !says("signing key") && !says("contacts") && !says("invitations");
        if !lost {
            edit(slab, |content| content.iter_mut().skip(size / 2).step_by(size).for_each(|byte| *byte ^= 0x10));
        }
        lost
    };
    slabs.iter().find(loses_entries).expect("a leaf of entries, without their marks");

    let (ok, answer) = doctor(&patient, &["--repair"]);
    assert!(!ok && contains(answer.to_string().as_bytes(), b"its repair is not finished"), "{answer}");
    let more = world.write("more.json", &chart::result("later"));
    let refused = patient.run(&["import", &more]);
    assert!(refused.code != 0 && refused.stderr.contains("doctor"), "{}", refused.stderr);
    assert!(!is_sound(&patient));

    let keeping = custodian.serve();
    let (ok, answer) = doctor(&patient, &["--repair"]);
    assert!(ok, "{answer}");
    assert_eq!(patient.json(&["ledger", "log"]), whole, "what it had signed has come again, and nothing beside it");
    assert_eq!(patient.json(&["import", &more])["published"], 1);
    keeping.stop();
}

#[test]
fn a_running_node_is_looked_at_and_gets_its_documents_again() {
    let world = World::new();
    let (patient, keeping, _custodian) = kept(&world);
    let serving = patient.serve();
    assert!(is_sound(&patient));
    let document = full(&patient).into_iter().find(|file| file.starts_with("blobs/data")).expect("a document");
    edit(&patient.path().join(&document), |content| content[50] ^= 1);
    assert!(!is_sound(&patient));
    let (ok, answer) = doctor(&patient, &["--repair"]);
    assert!(ok && answer["findings"][0]["state"] == "repaired", "{answer}");
    assert!(is_sound(&patient));
    let source = chart::resources(&chart::bundle(CHART));
    chart::assert_shows(&patient, &source.keys().cloned().collect(), &source);
    serving.stop();
    assert!(is_sound(&patient));
    keeping.stop();
}

#[test]
fn what_nobody_can_supply_is_named() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let document = full(&patient).into_iter().find(|file| file.starts_with("blobs/data")).expect("a document");
    let damaged = patient.path().join(&document);
    edit(&damaged, |content| content[50] ^= 1);
    let bytes = fs::read(&damaged).expect("the file");
    let (ok, answer) = doctor(&patient, &["--repair"]);
    assert!(!ok && answer["findings"][0]["state"] == "lost" && answer["findings"][0]["advice"].is_string(), "{answer}");
    let kept = Path::new(answer["kept"].as_str().expect("a directory")).join(document.file_name().expect("a name"));
    assert!(fs::read(kept).expect("it is kept") == bytes, "what is taken out is kept as it was");
    // The key file is not to be had from anybody, and the documents can still be compared with their names.
    edit(&patient.path().join("keys.age"), |content| content[200] ^= 1);
    let (ok, answer) = doctor(&patient, &["--repair"]);
    assert!(!ok && answer["findings"][0]["object"] == "keys.age", "{answer}");
    assert!(answer["documents"].as_u64().is_some_and(|documents| documents > 5), "{answer}");
    assert!(patient.fails(1, &["records", "list"]).contains("key file"));
}
