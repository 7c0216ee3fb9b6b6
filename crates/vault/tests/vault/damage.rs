//! Damage to the files of the store that is there today: this test knows where sled keeps its leaves.

use std::fs;

use chartmesh_vault::{Batch, Table, VaultError};

use crate::{home::Home, suite::files};

#[test]
fn damage_on_disk_is_an_error_and_never_a_wrong_value() {
    for at in [0usize, 7, 100, 1_000, 5_000] {
        let home = Home::new();
        let vault = home.create();
        for n in 0..300u32 {
            let mut batch = Batch::new();
            batch.put(Table::Peers, &n.to_be_bytes(), vec![n as u8; 300]);
            vault.commit(batch).unwrap();
        }
        drop(vault);
        let mut found = Vec::new();
        files(&home.path().join("vault").join("slabs"), &mut found);
        found.retain(|(_, content)| content.len() > 5_000);
        assert!(!found.is_empty());
        for (path, mut content) in found {
            let middle = content.len() / 2 + at;
            for byte in content.iter_mut().skip(middle % 5_000).step_by(5_000) {
                *byte ^= 0x20;
            }
            fs::write(path, content).unwrap();
        }
        let outcome = home.open().and_then(|vault| vault.scan(Table::Peers, &[]));
        let error = outcome.map(|items| items.len()).expect_err("damage went unnoticed");
        assert!(matches!(error, VaultError::Damaged { .. }), "{error}");
    }
}

/// While it opens, sled writes a snapshot, removes its logs and begins a new one: here it is cut off before it has.
#[test]
fn a_store_whose_opening_was_cut_off_keeps_everything() {
    let home = Home::new();
    let vault = home.create();
    vault.put(Table::Peers, b"kept", &[7; 30_000]).unwrap();
    drop(vault);
    for _ in 0..2 {
        drop(home.open().unwrap());
        for log in fs::read_dir(home.path().join("vault").join("metadata")).unwrap().map(|entry| entry.unwrap().path()) {
            if log.file_name().unwrap().to_str().unwrap().starts_with("log_") {
                assert_eq!(fs::metadata(&log).unwrap().len(), 0, "nothing was written since the snapshot");
                fs::remove_file(log).unwrap();
            }
        }
        for _ in 0..2 {
            let vault = home.open().unwrap();
            assert_eq!(vault.get(Table::Peers, b"kept").unwrap().unwrap().as_slice(), [7; 30_000]);
        }
    }
}
