//! The contract of the store. Nothing here knows what is behind it.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use chartmesh_vault::{Batch, Item, MAX_KEY, MAX_VALUE, Table, Vault, VaultError};
use proptest::prelude::*;

use crate::home::Home;

const TABLES: [Table; 3] = [Table::Peers, Table::Pending, Table::Documents];

fn plain(items: Vec<Item>) -> Vec<(Vec<u8>, Vec<u8>)> {
    items.into_iter().map(|(key, value)| (key, value.to_vec())).collect()
}

fn value(vault: &Vault, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    vault.get(table, key).unwrap().map(|value| value.to_vec())
}

#[test]
fn what_is_put_is_there_until_it_is_removed() {
    let home = Home::new();
    let vault = home.create();
    assert_eq!(value(&vault, Table::Peers, b"k"), None);
    vault.put(Table::Peers, b"k", b"one").unwrap();
    vault.put(Table::Peers, b"k", b"two").unwrap();
    vault.put(Table::Peers, b"", b"").unwrap();
    assert_eq!(value(&vault, Table::Peers, b"k").unwrap(), b"two");
    assert_eq!(value(&vault, Table::Peers, b"").unwrap(), b"");
    assert_eq!(value(&vault, Table::Names, b"k"), None);
    vault.remove(Table::Peers, b"k").unwrap();
    vault.remove(Table::Peers, b"never there").unwrap();
    assert_eq!(value(&vault, Table::Peers, b"k"), None);
}

#[test]
fn scans_are_ascending_and_keep_to_their_prefix_and_table() {
    let home = Home::new();
    let vault = home.create();
    let mut batch = Batch::new();
    for key in [&[1, 255][..], &[1], &[1, 0], &[2], &[0, 255], &[1, 255, 255], &[255], &[255, 255]] {
        batch.put(Table::Peers, key, key);
    }
    batch.put(Table::Ledgers, &[1, 7], *b"other table").put(Table::Delivered, &[1, 7], *b"other table");
    vault.commit(batch).unwrap();
    let keys = |items: Vec<Item>| items.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(vault.scan(Table::Peers, &[1]).unwrap()), [vec![1], vec![1, 0], vec![1, 255], vec![1, 255, 255]]);
    assert_eq!(keys(vault.scan(Table::Peers, &[255]).unwrap()), [vec![255], vec![255, 255]]);
    assert_eq!(vault.scan(Table::Peers, &[]).unwrap().len(), 8);
    assert_eq!(keys(vault.page(Table::Peers, &[1], Some(&[1, 0]), 1).unwrap()), [vec![1, 255]]);
    assert_eq!(keys(vault.page(Table::Peers, &[1], Some(&[0]), 2).unwrap()), [vec![1], vec![1, 0]]);
    assert!(vault.page(Table::Peers, &[1], Some(&[1, 255, 255]), 9).unwrap().is_empty());
    assert!(vault.scan(Table::Names, &[]).unwrap().is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(usize, u8, Option<usize>)>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![6 => 0usize..200, 2 => 8_000usize..8_300, 1 => 30_000usize..70_000];
    let write = (0usize..3, 0u8..40, prop_oneof![3 => length.prop_map(Some), 1 => Just(None)]);
    let step = prop_oneof![9 => prop::collection::vec(write, 0..40).prop_map(Step::Commit), 1 => Just(Step::Reopen)];
    prop::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn it_is_an_ordered_map_whatever_happens(steps in steps()) {
        let home = Home::new();
        let mut vault = home.create();
        let mut model: BTreeMap<(Table, Vec<u8>), Vec<u8>> = BTreeMap::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Commit(writes) => {
                    let mut batch = Batch::new();
                    for (table, key, length) in writes {
                        let key = vec![key; usize::from(key % 3)];
                        match length {
                            Some(length) => {
                                let value = vec![at as u8; length];
                                batch.put(TABLES[table], &key, value.as_slice());
                                model.insert((TABLES[table], key), value);
                            }
                            None => {
                                batch.remove(TABLES[table], &key);
                                model.remove(&(TABLES[table], key));
                            }
                        }
                    }
                    vault.commit(batch).unwrap();
                }
                Step::Reopen => {
                    drop(vault);
                    vault = home.open().unwrap();
                }
            }
            for table in TABLES {
                let expected: Vec<_> = model.iter().filter(|((of, _), _)| *of == table).map(|((_, key), value)| (key.clone(), value.clone())).collect();
                prop_assert_eq!(plain(vault.scan(table, &[]).unwrap()), expected);
            }
        }
    }
}

#[test]
fn a_batch_that_cannot_be_written_whole_is_not_written_at_all() {
    let home = Home::new();
    let vault = home.create();
    for (key, len) in [(vec![1; MAX_KEY + 1], 0), (vec![1], MAX_VALUE + 1)] {
        let mut batch = Batch::new();
        batch.put(Table::Peers, b"a", *b"small").put(Table::Pending, &key, vec![0; len]);
        assert!(matches!(vault.commit(batch), Err(VaultError::TooLarge { .. })));
        assert_eq!(value(&vault, Table::Peers, b"a"), None);
    }
}

#[test]
fn large_values_come_back_and_go_away() {
    let home = Home::new();
    let vault = home.create();
    let large: Vec<u8> = (0..16u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vault.put(Table::Bodies, b"large", &large).unwrap();
    vault.put(Table::Bodies, b"next to it", b"small").unwrap();
    drop(vault);
    let vault = home.open().unwrap();
    assert!(value(&vault, Table::Bodies, b"large").unwrap() == large);
    vault.put(Table::Bodies, b"large", &large[..9_000]).unwrap();
    assert!(value(&vault, Table::Bodies, b"large").unwrap() == large[..9_000]);
    vault.remove(Table::Bodies, b"large").unwrap();
    assert_eq!(plain(vault.scan(Table::Bodies, &[]).unwrap()), [(b"next to it".to_vec(), b"small".to_vec())]);
}

#[test]
fn a_hundred_thousand_keys() {
    let home = Home::new();
    let vault = home.create();
    let key = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes();
    for from in (0..100_000u32).step_by(5_000) {
        let mut batch = Batch::new();
        for n in from..from + 5_000 {
            batch.put(Table::Entries, &key(n), n.to_be_bytes());
        }
        vault.commit(batch).unwrap();
    }
    drop(vault);
    let vault = home.open().unwrap();
    let mut seen = 0;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = vault.page(Table::Entries, &[], after.as_deref(), 1_000).unwrap();
        let Some((last, _)) = page.last() else { break };
        assert!(page.is_sorted_by(|a, b| a.0 < b.0) && after.is_none_or(|after| after < page[0].0));
        for (stored, value) in &page {
            let n = u32::from_be_bytes(value.as_slice().try_into().unwrap());
            assert_eq!(stored[..], key(n));
        }
        seen += page.len();
        after = Some(last.clone());
    }
    assert_eq!(seen, 100_000);
}

#[test]
fn readers_see_whole_batches_only() {
    let home = Home::new();
    let vault = home.create();
    let done = AtomicBool::new(false);
    let both = |n: u32| {
        let mut batch = Batch::new();
        batch.put(Table::Peers, b"a", n.to_be_bytes()).put(Table::Peers, b"z", [&n.to_be_bytes()[..], &[0; 20_000]].concat());
        vault.commit(batch).unwrap();
    };
    both(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let items = vault.scan(Table::Peers, &[]).unwrap();
                    assert_eq!(items[0].1[..4], items[1].1[..4], "half a batch");
                    let now = u32::from_be_bytes(items[0].1[..4].try_into().unwrap());
                    assert!(now >= last, "back in time");
                    last = now;
                }
            });
        }
        for n in 1..200 {
            both(n);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_second_opener_is_refused_at_once() {
    let home = Home::new();
    let vault = home.create();
    assert!(matches!(home.open(), Err(VaultError::InUse(path)) if path == home.path()));
    drop(vault);
    for _ in 0..10 {
        drop(home.open().unwrap());
    }
}

/// Threads that start child processes must not keep the locks of others alive.
#[test]
fn vaults_of_one_process_open_and_close_without_getting_in_each_others_way() {
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let home = Home::new();
                drop(home.create());
                for n in 0..12u8 {
                    let vault = home.open().unwrap();
                    assert_eq!(value(&vault, Table::Peers, b"n"), n.checked_sub(1).map(|n| vec![n]));
                    vault.put(Table::Peers, b"n", &[n]).unwrap();
                }
            });
        }
    });
}

/// Every file below a directory, with its content.
pub(crate) fn files(dir: &Path, found: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn nothing_is_readable_on_disk_and_nobody_else_may_look() {
    let home = Home::new();
    let vault = home.create();
    let secret = b"Jane Roe of Springfield";
    vault.put(Table::Names, &vault.hide(Table::Names, secret), secret).unwrap();
    vault.put(Table::Peers, b"long", &secret.repeat(2_000)).unwrap();
    assert_eq!(value(&vault, Table::Names, &vault.hide(Table::Names, secret)).unwrap(), secret);
    drop(vault);
    let mut found = Vec::new();
    files(&home.path(), &mut found);
    assert!(found.len() > 3);
    for (path, content) in found {
        assert!(!content.windows(secret.len()).any(|window| window == secret), "{}", path.display());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| fs::metadata(home.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("vault"), mode("keys.age"), mode("lock")), (0o700, 0o700, 0o600, 0o600));
    }
}
