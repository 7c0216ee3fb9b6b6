//! Whether damage at rest is found, wherever it is: every file of a vault, with bits flipped, ends cut off, contents exchanged, older files put back.
//!
//! What is found is damage; what is not found must read exactly as before. `CHARTMESH_INJECTIONS` says how many injections of each kind (4 unless set).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use chartmesh_vault::{AtRest, Batch, Checkup, Damage, Reach, Table, Unlock, Vault, VaultError};

use crate::home::Home;

/// Everything that a vault holds.
type All = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

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
    std::env::var("CHARTMESH_INJECTIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(4)
}

/// A vault with values of many lengths, some of them overwritten and removed, over several openings.
fn filled(home: &Home) {
    let mut numbers = Numbers(7);
    drop(home.create());
    for round in 0..3u8 {
        let vault = home.open().unwrap();
        for _ in 0..6 {
            let mut batch = Batch::new();
            for _ in 0..20 {
                let table = Table::ALL[1 + numbers.next(Table::ALL.len() - 1)];
                let key = [numbers.next(64) as u8; 3];
                match numbers.next(8) {
                    0 => batch.remove(table, &key),
                    1 => batch.put(table, &key, vec![round; 9_000 + numbers.next(40_000)]),
                    _ => batch.put(table, &key, vec![round; numbers.next(600)]),
                };
            }
            vault.commit(batch).unwrap();
        }
    }
}

fn everything(home: &Path) -> Result<All, VaultError> {
    let vault = Vault::open(home, Unlock::None)?;
    let mut all = All::new();
    for table in Table::ALL.into_iter().skip(1) {
        all.extend(vault.scan(table, &[])?.into_iter().map(|(key, value)| ((table, key), value.to_vec())));
    }
    Ok(all)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The files of a home that are not empty.
fn full(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    crate::suite::files(home, &mut found);
    let mut found: Vec<_> = found.into_iter().filter(|(_, content)| !content.is_empty()).map(|(path, _)| path).collect();
    found.sort();
    found
}

fn check(home: &Path) -> Result<Checkup, VaultError> {
    Ok(AtRest::open(home, Unlock::None)?.check())
}

fn is_found(home: &Path) -> bool {
    check(home).map_or(true, |found| !found.damage.is_empty())
}

/// Damages a copy of the home; whether it was found. If not, all must read as before.
fn damage(home: &Home, before: &All, what: &str, how: impl FnOnce(&Path)) -> bool {
    let copied = tempfile::tempdir().unwrap();
    copy(&home.path(), copied.path());
    how(copied.path());
    let found = is_found(copied.path());
    if !found {
        assert_eq!(&everything(copied.path()).unwrap_or_else(|error| panic!("{what}: {error}")), before, "{what} was not found");
    }
    found
}

fn edit(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).unwrap();
    how(&mut content);
    fs::write(path, content).unwrap();
}

#[test]
fn a_whole_vault_is_found_whole_open_or_not() {
    let home = Home::new();
    filled(&home);
    let closed = check(&home.path()).unwrap();
    assert_eq!(closed.damage, []);
    let before = everything(&home.path()).unwrap();
    // The marks of the vault itself are counted too.
    assert_eq!(closed.values, before.len() as u64 + 2);
    let vault = home.open().unwrap();
    assert_eq!(vault.check().unwrap().damage, []);
    vault.put(Table::Peers, b"after", b"it goes on").unwrap();
    let open = vault.check().unwrap();
    assert_eq!((open.values, open.damage.len()), (closed.values + 1, 0));
}

#[test]
fn looking_changes_nothing() {
    let home = Home::new();
    filled(&home);
    let mut before = Vec::new();
    crate::suite::files(&home.path(), &mut before);
    check(&home.path()).unwrap();
    let mut after = Vec::new();
    crate::suite::files(&home.path(), &mut after);
    before.sort();
    after.sort();
    assert!(before == after);
}

#[test]
fn every_injected_damage_is_found_or_has_no_effect() {
    let home = Home::new();
    filled(&home);
    // To open it writes its index anew: the home itself keeps the log of its last commits.
    let opened = tempfile::tempdir().unwrap();
    copy(&home.path(), opened.path());
    let before = everything(opened.path()).unwrap();
    let files = full(&home.path());
    assert!(files.iter().any(|file| file.to_str().unwrap().contains("vault/metadata/log_")), "{files:?}");
    assert!(files.iter().any(|file| file.ends_with("commits")) && files.iter().any(|file| file.ends_with("keys.age")));
    let mut numbers = Numbers(11);
    let (mut done, mut found) = (0, 0);
    let mut count = |was_found| {
        done += 1;
        found += usize::from(was_found);
    };
    for file in &files {
        let name = file.strip_prefix(home.path()).unwrap();
        let length = fs::metadata(file).unwrap().len() as usize;
        for _ in 0..injections().min(length) {
            let (at, bit) = (numbers.next(length), numbers.next(8));
            let found = damage(&home, &before, &format!("{}: bit {bit} of byte {at} flipped", name.display()), |copied| {
                edit(&copied.join(name), |content| content[at] ^= 1 << bit)
            });
            // Only slabs have room that nothing points to.
            assert!(found || name.starts_with("vault/slabs"), "{}: bit {bit} of byte {at}", name.display());
            count(found);
        }
        for left in [0, length / 2, length - 1, numbers.next(length)] {
            count(damage(&home, &before, &format!("{}: cut off at {left}", name.display()), |copied| {
                edit(&copied.join(name), |content| content.truncate(left))
            }));
        }
        count(damage(&home, &before, &format!("{}: removed", name.display()), |copied| fs::remove_file(copied.join(name)).unwrap()));
        let other = files[numbers.next(files.len())].strip_prefix(home.path()).unwrap();
        if other != name {
            let what = format!("{} and {} exchanged", name.display(), other.display());
            count(damage(&home, &before, &what, |copied| {
                fs::rename(copied.join(name), copied.join("aside")).unwrap();
                fs::rename(copied.join(other), copied.join(name)).unwrap();
                fs::rename(copied.join("aside"), copied.join(other)).unwrap();
            }));
        }
    }
    // Slots of one size: whole leaves, each with a good check sum, in each other's place.
    for file in files.iter().filter(|file| file.parent().is_some_and(|slabs| slabs.ends_with("slabs"))) {
        let name = file.strip_prefix(home.path()).unwrap();
        let size: usize = file.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let slots = fs::metadata(file).unwrap().len() as usize / size;
        for (a, b) in (0..slots).flat_map(|a| (0..a).map(move |b| (a, b))).take(injections() * 3) {
            let exchange = |content: &mut Vec<u8>| (0..size).for_each(|at| content.swap(a * size + at, b * size + at));
            count(damage(&home, &before, &format!("{}: slots {a} and {b} exchanged", name.display()), |copied| edit(&copied.join(name), exchange)));
        }
    }
    eprintln!("{done} injections, {found} found, {} without any effect", done - found);
    assert!(found * 3 > done, "much of these files is in use");
}

#[test]
fn an_older_store_put_back_is_found_and_does_not_open() {
    let home = Home::new();
    filled(&home);
    let older = tempfile::tempdir().unwrap();
    copy(&home.path().join("vault"), older.path());
    home.open().unwrap().put(Table::Peers, b"newer", b"value").unwrap();
    fs::remove_dir_all(home.path().join("vault")).unwrap();
    copy(older.path(), &home.path().join("vault"));
    assert!(is_found(&home.path()));
    assert!(matches!(home.open(), Err(VaultError::Behind { commits: 1 })));
}

fn flip(path: &Path) {
    edit(path, |content| content[9] ^= 1);
}

fn is_whole(home: &Path) -> bool {
    let check = tempfile::tempdir().unwrap();
    AtRest::open(home, Unlock::None).unwrap().rescue(check.path()).unwrap().1
}

/// As a crash leaves it: with no copy of the index, since there has been a change, and the number of commits damaged as well.
#[test]
fn what_nothing_shows_to_be_whole_is_not() {
    let home = Home::new();
    filled(&home);
    let crashed = tempfile::tempdir().unwrap();
    let vault = home.open().unwrap();
    assert!(home.path().join("vault.index").exists());
    vault.put(Table::Peers, b"newer", b"value").unwrap();
    assert!(!home.path().join("vault.index").exists());
    copy(&home.path(), crashed.path());
    drop(vault);
    assert!(!is_found(crashed.path()));
    assert!(is_whole(crashed.path()));
    flip(&crashed.path().join("commits"));
    assert!(!is_whole(crashed.path()), "the end of the log may be missing as well");
    assert!(check(crashed.path()).unwrap().damage.iter().any(|damage| damage.reason == "the store may lack the last of its changes"));
}

#[test]
fn a_log_that_ends_early_is_found_by_any_of_the_two_numbers() {
    let home = Home::new();
    filled(&home);
    home.open().unwrap().put(Table::Peers, b"newer", b"value").unwrap();
    let cut = |metadata: &Path| {
        let mut logs = full(metadata);
        logs.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with("log_"));
        logs.iter().for_each(|log| edit(log, Vec::clear));
        assert!(!logs.is_empty());
    };
    cut(&home.path().join("vault/metadata"));
    cut(&home.path().join("vault.index"));
    let found = check(&home.path()).unwrap().damage;
    assert!(found.iter().any(|damage| damage.reason == "the store lacks the last 1 of its changes"), "{found:?}");
    assert!(found.iter().any(|damage| damage.object == "vault.index"), "{found:?}");
    for number in ["commits", "vault.index/commits"] {
        let copied = tempfile::tempdir().unwrap();
        copy(&home.path(), copied.path());
        flip(&copied.path().join(number));
        assert!(!is_whole(copied.path()), "without {number}");
    }
}

/// What leaves held is lost then; that anything else may be is not said.
#[test]
fn leaves_and_the_number_of_commits_are_damage_of_each() {
    let home = Home::new();
    filled(&home);
    flip(&home.path().join("commits"));
    for slab in full(&home.path().join("vault/slabs")) {
        edit(&slab, |content| content.iter_mut().skip(9).step_by(1000).for_each(|byte| *byte ^= 1));
    }
    let found = check(&home.path()).unwrap().damage;
    assert!(found.iter().any(|damage| matches!(damage.reach, Reach::Tables(_))), "{found:?}");
    assert!(found.iter().all(|damage| damage.reach != Reach::Any), "{found:?}");
}

/// As many bits of logs of the index as there are frames, and more: slots that an index which ends early leads to have been used again.
#[test]
fn wherever_the_log_is_damaged_the_copy_leads_to_everything_and_without_it_nothing_is_taken_for_whole() {
    let home = Home::new();
    filled(&home);
    let logs = || -> Vec<PathBuf> { full(&home.path().join("vault/metadata")).into_iter().filter(|file| file.to_str().unwrap().contains("log_")).collect() };
    // When a log has grown, sled begins a new one.
    for number in 0..200u8 {
        home.open().unwrap().put(Table::Peers, &[number / 8], &[number; 300]).unwrap();
        if number > 12 && logs().iter().any(|log| fs::metadata(log).unwrap().len() > 500) {
            break;
        }
    }
    let opened = tempfile::tempdir().unwrap();
    copy(&home.path(), opened.path());
    let (logs, before) = (logs(), everything(opened.path()).unwrap());
    let mut flips = 0;
    for log in &logs {
        let length = usize::try_from(fs::metadata(log).unwrap().len()).unwrap();
        for at in (0..length).step_by((length / 16).max(1)) {
            let copied = tempfile::tempdir().unwrap();
            copy(&home.path(), copied.path());
            edit(&copied.path().join(log.strip_prefix(home.path()).unwrap()), |content| content[at] ^= 4);
            if !is_found(copied.path()) {
                // A log that sled has done with.
                assert_eq!(everything(copied.path()).unwrap(), before, "byte {at}");
                continue;
            }
            assert!(Vault::open(copied.path(), Unlock::None).is_err(), "byte {at}");
            let check = tempfile::tempdir().unwrap();
            let (rescued, whole) = AtRest::open(copied.path(), Unlock::None).unwrap().rescue(check.path()).unwrap();
            assert!(whole, "byte {at}");
            drop(rescued);
            assert_eq!(everything_below(copied.path(), check.path()), before, "byte {at}");
            fs::remove_dir_all(copied.path().join("vault.index")).unwrap();
            assert!(!is_whole(copied.path()), "byte {at}");
            let found = self::check(copied.path()).unwrap().damage;
            assert!(found.iter().any(|damage| damage.reach == Reach::Any), "byte {at}: {found:?}");
            flips += 1;
        }
    }
    assert!(flips > 5, "{flips}");
}

/// Everything in a rescued vault, which has its keys from the home it comes from.
fn everything_below(home: &Path, rescued: &Path) -> All {
    fs::copy(home.join("keys.age"), rescued.join("keys.age")).unwrap();
    everything(rescued).unwrap()
}

/// What is damaged while the vault is open is not copied: the copy would say of it that it is whole.
#[test]
fn a_log_that_was_damaged_before_the_copy_was_made_is_found() {
    let home = Home::new();
    filled(&home);
    let vault = home.open().unwrap();
    for number in 0..6u8 {
        vault.put(Table::Peers, b"often", &[number; 300]).unwrap();
    }
    let logs = full(&home.path().join("vault/metadata"));
    logs.iter().filter(|file| file.to_str().unwrap().contains("log_")).for_each(|log| flip(log));
    drop(vault);
    assert!(!home.path().join("vault.index").exists());
    assert!(!is_whole(&home.path()));
    let found = check(&home.path()).unwrap().damage;
    assert!(found.iter().any(|damage| damage.reach == Reach::Any), "{found:?}");
}

/// A vault that is only looked into leaves the copy as it is.
#[test]
fn a_good_copy_is_not_replaced_by_a_damaged_index() {
    let home = Home::new();
    filled(&home);
    home.open().unwrap().put(Table::Peers, b"newer", b"value").unwrap();
    let opened = tempfile::tempdir().unwrap();
    copy(&home.path(), opened.path());
    let before = everything(opened.path()).unwrap();
    let vault = home.open().unwrap();
    full(&home.path().join("vault/metadata")).iter().for_each(|file| flip(file));
    drop(vault);
    let check = tempfile::tempdir().unwrap();
    let (rescued, whole) = AtRest::open(&home.path(), Unlock::None).unwrap().rescue(check.path()).unwrap();
    assert!(whole);
    drop(rescued);
    assert_eq!(everything_below(&home.path(), check.path()), before);
}

/// As after a crash: there is no copy, and the last log is gone at the end of a frame.
#[test]
fn an_index_that_leads_to_overwritten_places_is_not_the_last_one() {
    let home = Home::new();
    filled(&home);
    let vault = home.open().unwrap();
    for number in 0..12u8 {
        vault.put(Table::Peers, b"often", &[number; 300]).unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(&home.path(), crashed.path());
    drop(vault);
    let logs = full(&crashed.path().join("vault/metadata"));
    logs.iter().filter(|file| file.to_str().unwrap().contains("log_")).for_each(|log| edit(log, Vec::clear));
    assert!(!is_whole(crashed.path()));
    let found = check(crashed.path()).unwrap().damage;
    assert!(found.iter().any(|damage| damage.reach == Reach::Any), "{found:?}");
}

/// Rescues the store of a home, as far as the new one lies beside it.
fn make_new_store(home: &Path) {
    let check = home.join("check");
    drop(AtRest::open(home, Unlock::None).unwrap().rescue(&check).unwrap());
    fs::rename(check.join("commits"), check.join("vault/commits")).unwrap();
    fs::rename(check.join("vault"), home.join("vault.new")).unwrap();
    fs::remove_dir_all(check).unwrap();
}

#[test]
fn a_new_store_beside_the_old_one_never_takes_its_place() {
    let home = Home::new();
    filled(&home);
    let path = home.path();
    make_new_store(&path);
    home.open().unwrap().put(Table::Peers, b"newer", b"value").unwrap();
    assert!(!path.join("vault.new").exists());
    fs::remove_dir_all(path.join("vault")).unwrap();
    assert!(home.open().is_err());
}

#[test]
fn an_open_vault_knows_its_number_of_commits_and_leaves_it_behind() {
    let home = Home::new();
    filled(&home);
    let vault = home.open().unwrap();
    vault.put(Table::Peers, b"newer", b"value").unwrap();
    flip(&home.path().join("commits"));
    let found = vault.check().unwrap().damage;
    assert!(matches!(&found[..], [Damage { reach: Reach::Copy, object, .. }] if object == "commits"), "{found:?}");
    drop(vault);
    assert_eq!(check(&home.path()).unwrap().damage, []);
}

#[test]
fn nothing_is_committed_beside_a_copy_that_cannot_be_removed() {
    let home = Home::new();
    filled(&home);
    let in_the_way = home.path().join("vault.index.old");
    fs::write(&in_the_way, b"").unwrap();
    let vault = home.open().unwrap();
    for _ in 0..2 {
        assert!(vault.put(Table::Peers, b"newer", b"value").is_err());
        assert_eq!(vault.get(Table::Peers, b"newer").unwrap(), None);
        assert!(home.path().join("vault.index/commits").exists());
    }
    fs::remove_file(&in_the_way).unwrap();
    vault.put(Table::Peers, b"newer", b"value").unwrap();
    drop(vault);
    assert_eq!(check(&home.path()).unwrap().damage, []);
}

/// The moment in which neither the old store is in its place nor the new one.
#[test]
fn a_replacement_that_is_interrupted_is_finished_without_the_copy_of_the_old_one() {
    let home = Home::new();
    filled(&home);
    let before = everything(&home.path()).unwrap();
    let (path, kept) = (home.path(), tempfile::tempdir().unwrap());
    flip(&path.join("commits"));
    make_new_store(&path);
    fs::rename(path.join("vault"), kept.path().join("vault")).unwrap();
    assert_eq!(check(&path).unwrap().damage, []);
    assert!(!path.join("vault.index").exists());
    assert_eq!(everything(&path).unwrap(), before);
}

#[test]
fn a_rescue_brings_back_all_that_can_be_read() {
    let home = Home::new();
    filled(&home);
    let before = everything(&home.path()).unwrap();
    let whole = |how: &dyn Fn(&Path)| {
        how(&home.path());
        let at_rest = AtRest::open(&home.path(), Unlock::None).unwrap();
        let (rescued, whole) = at_rest.rescue(&home.path().join("check")).unwrap();
        drop(rescued);
        let vault = at_rest.replace(&home.path().join("check"), &home.path().join("kept")).unwrap();
        assert_eq!(vault.check().unwrap().damage, []);
        drop(vault);
        fs::remove_dir_all(home.path().join("check")).unwrap();
        fs::remove_dir_all(home.path().join("kept")).unwrap();
        assert_eq!(check(&home.path()).unwrap().damage, []);
        (whole, everything(&home.path()).unwrap())
    };
    assert_eq!(whole(&|_| {}), (true, before.clone()), "nothing was damaged");
    // The index has a copy.
    assert_eq!(whole(&|home| full(&home.join("vault/metadata")).iter().for_each(|file| flip(file))), (true, before.clone()));
    assert_eq!(whole(&|home| flip(&home.join("commits"))), (true, before.clone()));
    // A copy that is there is the last one, also where the number of commits is not known.
    let both = whole(&|home| {
        full(&home.join("vault/metadata")).iter().for_each(|file| flip(file));
        flip(&home.join("commits"));
    });
    assert_eq!(both, (true, before.clone()));
    // A leaf has no copy.
    let (complete, after) = whole(&|home| {
        let largest = full(&home.join("vault/slabs")).into_iter().max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
        edit(&largest, |content| content.iter_mut().step_by(1000).for_each(|byte| *byte ^= 1));
    });
    assert!(!complete && !after.is_empty() && after.len() < before.len());
    assert!(after.iter().all(|(key, value)| before.get(key) == Some(value)));
}
