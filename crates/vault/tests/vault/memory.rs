//! An idle node must stay under 64 MiB, and the store is only a part of it: its memory must not grow with what it holds.

use std::{io::Write, path::PathBuf, process::Command};

use chartmesh_vault::{Batch, Table, Unlock, Vault};

use crate::home::Home;

const HOME: &str = "CHARTMESH_TEST_MEMORY_HOME";
/// What the store may add to a process, in KiB, after writing and reading 60 MB.
const MOST: u64 = 40 * 1024;

/// Resident memory of this process in KiB, where it can be asked.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Not a test of its own: run by the test below in a process of its own, so that no other test's memory counts.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn process() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let Some(before) = resident() else { return };
    let vault = Vault::open(&PathBuf::from(home), Unlock::None).unwrap();
    for n in (0..20_000u64).step_by(50) {
        let mut batch = Batch::new();
        for n in n..n + 50 {
            batch.put(Table::Bodies, &n.to_be_bytes(), vec![n as u8; 3_000]);
        }
        vault.commit(batch).unwrap();
    }
    let written = resident().unwrap().saturating_sub(before);
    for n in 0..5_000u64 {
        assert!(vault.get(Table::Bodies, &n.to_be_bytes()).unwrap().is_some());
    }
    let read = resident().unwrap().saturating_sub(before);
    assert!(written < MOST && read < MOST, "{written} KiB after writing, {read} KiB after reading");

    writeln!(std::io::stderr(), "the store takes {written} KiB after writing 60 MB, {read} KiB after reading").unwrap();
}

#[test]
fn memory_does_not_grow_with_what_is_stored() {
    let home = Home::new();
    drop(home.create());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "memory::process", "--ignored", "--nocapture"]).env(HOME, home.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
}
