//! A process that commits without end and says so after each commit, to be cut off; and the check of what it left.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use chartmesh_vault::{Batch, Table, Unlock, Vault};

const HOME: &str = "CHARTMESH_TEST_WRITER_HOME";
/// How many of the latest values are kept.
const KEPT: u64 = 40;

fn value(n: u64) -> Vec<u8> {
    let len = match n {
        n if n % 50 == 0 => 200_000,
        n if n % 7 == 0 => 20_000,
        n => 100 + n % 900,
    };
    n.to_be_bytes().into_iter().cycle().take(len as usize).collect()
}

fn commit(vault: &Vault, n: u64) {
    let mut batch = Batch::new();
    batch.put(Table::Settings, b"last", n.to_be_bytes());
    batch.put(Table::Pending, &n.to_be_bytes(), value(n));
    batch.put(Table::Delivered, blake(n).as_slice(), n.to_be_bytes());
    if let Some(old) = n.checked_sub(KEPT) {
        batch.remove(Table::Pending, &old.to_be_bytes());
    }
    vault.commit(batch).unwrap();
}

/// Spreads the numbers over the key space.
fn blake(n: u64) -> [u8; 8] {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

/// The number of the last commit that is in the vault, after checking that every commit up to it is there whole and none beyond it in part.
pub(crate) fn check(vault: &Vault) -> u64 {
    let last = vault.get(Table::Settings, b"last").unwrap().map_or(0, |last| u64::from_be_bytes(last.as_slice().try_into().unwrap()));
    let pending = vault.scan(Table::Pending, &[]).unwrap();
    let expected = (last + 1).saturating_sub(KEPT).max(1)..=last;
    assert_eq!(pending.len() as u64, expected.clone().count() as u64);
    for ((key, stored), n) in pending.iter().zip(expected) {
        assert!(key[..] == n.to_be_bytes() && **stored == value(n), "value {n} of {last}");
    }
    let delivered = vault.scan(Table::Delivered, &[]).unwrap();
    let mut numbers: Vec<u64> = delivered.iter().map(|(_, n)| u64::from_be_bytes(n.as_slice().try_into().unwrap())).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=last), "commits up to {last}");
    last
}

/// Not a test of its own: what [`Writer`] runs in a process of its own.
#[test]
#[ignore = "run by other tests, in a process of its own"]
fn process() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let vault = Vault::open(&PathBuf::from(home), Unlock::None).unwrap();
    let mut n = check(&vault);
    let mut out = std::io::stdout();
    loop {
        n += 1;
        commit(&vault, n);
        write!(out, "\nack {n}\n").and_then(|()| out.flush()).unwrap();
    }
}

/// A running writer. Killed when dropped.
pub(crate) struct Writer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    /// Starts it on a vault that is there already.
    pub(crate) fn start(home: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "writer::process", "--ignored", "--nocapture", "--test-threads=1"]).env(HOME, home).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next acknowledged commit; none when the process has ended and everything was read.
    pub(crate) fn acknowledged(&mut self) -> Option<u64> {
        self.lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix("ack ").map(|n| n.parse().unwrap()))
    }

    /// SIGKILL; returns the last commit that it acknowledged before, if there is one that was not read yet.
    pub(crate) fn kill(mut self) -> Option<u64> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.acknowledged()).last()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}
