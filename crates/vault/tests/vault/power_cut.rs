//! A power cut: a vault on an ext4 file system of its own, whose block image is copied at some moment while a writer runs, and opened from the copy.
//!
//! What the file system had not handed to its disk at that moment is lost, as it is when the power goes. Needs root, `mkfs.ext4`, `mount` and loop devices, and is skipped without.
//! With `mkfs.xfs` the image lies on a file system that copies a file at one moment, and the writer is cut in the middle of its writing; else it stands still meanwhile.
//! `CHARTMESH_POWER_CUTS` says how often to cut (3 unless set).

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use chartmesh_vault::{Table, Unlock, Vault};
use tempfile::TempDir;

use crate::{
    home::create_in,
    writer::{self, Writer},
};

const IMAGE: u64 = 96 << 20;
/// No xfs is smaller.
const XFS: u64 = 320 << 20;

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())) }
}

/// A mounted image; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        run("mount", &["-o", "loop", image.to_str().unwrap(), at.to_str().unwrap()])?;
        Ok(Self(at.to_path_buf()))
    }

    fn home(&self) -> PathBuf {
        self.0.join("home")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]).ok();
    }
}

fn made(image: &Path, bytes: u64, make: &str, options: &[&str]) -> Result<(), String> {
    File::create(image).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
    run(make, &[options, &["-q", image.to_str().unwrap()]].concat())
}

/// A disk of its own to cut the power of. Fields are dropped in order: unmounted, then removed.
struct Disk {
    mounted: Mounted,
    /// What the image lies on, where it can be made: xfs.
    below: Option<Mounted>,
    image: PathBuf,
    dir: TempDir,
}

impl Disk {
    /// None, with a word about why, where such disks cannot be made.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let xfs = dir.path().join("xfs");
        let below = made(&xfs, XFS, "mkfs.xfs", &["-m", "reflink=1"]).and_then(|()| Mounted::new(&xfs, &dir.path().join("below"))).ok();
        let image = below.as_ref().map_or(dir.path(), |below| &below.0).join("disk");
        let mounted = made(&image, IMAGE, "mkfs.ext4", &["-F"]).and_then(|()| Mounted::new(&image, &dir.path().join("mnt")));
        match mounted {
            Ok(mounted) => Some(Self { mounted, below, image, dir }),
            Err(reason) => {
                eprintln!("skipped: no loop-mounted ext4 here ({reason})");
                None
            }
        }
    }

    /// Whether a copy is of one moment although somebody writes.
    fn copies_at_once(&self) -> bool {
        self.below.is_some()
    }

    /// Copies the image as it is at one moment.
    fn cut(&self) -> PathBuf {
        let copy = self.image.with_extension("copy");
        let [from, to] = [&self.image, &copy].map(|path| path.to_str().unwrap());
        if self.copies_at_once() {
            run("cp", &["--reflink=always", from, to]).unwrap();
        } else {
            // The file system may write what it was given before: a copy in which blocks are older than others was never on a disk.
            while run("cp", &["--reflink=never", from, to]).map(|()| run("cmp", &["-s", from, to]).is_err()).unwrap() {}
        }
        copy
    }

    /// What is found when the power is back.
    fn restart(&self, copy: &Path) -> Mounted {
        Mounted::new(copy, &self.dir.path().join("copied")).unwrap()
    }
}

#[test]
fn acknowledged_commits_survive_a_power_cut() {
    let Some(disk) = Disk::new() else { return };
    let home = disk.mounted.home();
    drop(create_in(&home));
    let cuts = std::env::var("CHARTMESH_POWER_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(3u64);
    for round in 0..cuts {
        let mut writer = Writer::start(&home);
        let mut acknowledged = 0;
        for _ in 0..=20 + round * 37 % 101 {
            acknowledged = writer.acknowledged().expect("the writer goes on until it is killed");
        }
        let id = writer.id().to_string();
        if !disk.copies_at_once() {
            run("kill", &["-STOP", &id]).unwrap();
        }
        let copy = disk.cut();
        run("kill", &["-CONT", &id]).unwrap();
        let after = writer.kill().unwrap_or(acknowledged);

        let copied = disk.restart(&copy);
        let vault = Vault::open(&copied.home(), Unlock::None).unwrap();
        let found = writer::check(&vault);
        eprintln!("cut {round}: {acknowledged} acknowledged before it, {after} when the copy was done, {found} found");
        assert!((acknowledged..=after + 1).contains(&found));
        vault.put(Table::Peers, b"after", b"still writable").unwrap();
    }
}

/// What is acknowledged in the first moments of a vault rests on files that were just made.
#[test]
fn a_vault_survives_a_power_cut_right_after_its_creation() {
    let Some(disk) = Disk::new() else { return };
    let vault = create_in(&disk.mounted.home());
    vault.put(Table::Peers, b"first", b"acknowledged").unwrap();
    let copy = disk.cut();
    drop(vault);
    let copied = disk.restart(&copy);
    let vault = Vault::open(&copied.home(), Unlock::None).unwrap();
    assert_eq!(vault.get(Table::Peers, b"first").unwrap().unwrap().as_slice(), b"acknowledged");
}
