//! A power cut: a vault on an ext4 file system of its own, whose block image is copied at some moment while a writer runs, and opened from the copy.
//!
//! What the file system had not handed to its disk at that moment is lost, as it is when the power goes. Needs root, `mkfs.ext4`, `mount` and loop devices, and is skipped without.
//! `CHARTMESH_POWER_CUTS` says how often to cut (3 unless set); `CHARTMESH_POWER_CUT_DIR` where the images lie.

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

/// A disk of its own to cut the power of. Fields are dropped in order: unmounted, then removed.
struct Disk {
    mounted: Mounted,
    image: PathBuf,
    dir: TempDir,
}

impl Disk {
    /// None, with a word about why, where such disks cannot be made.
    fn new() -> Option<Self> {
        let dir = std::env::var_os("CHARTMESH_POWER_CUT_DIR").map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
        let image = dir.path().join("disk");
        File::create(&image).and_then(|file| file.set_len(IMAGE)).unwrap();
        let mounted = run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]).and_then(|()| Mounted::new(&image, &dir.path().join("mnt")));
        match mounted {
            Ok(mounted) => Some(Self { mounted, image, dir }),
            Err(reason) => {
                eprintln!("skipped: no loop-mounted ext4 here ({reason})");
                None
            }
        }
    }

    /// Copies the image, of one moment where the file system below can (reflink), else block by block.
    fn cut(&self) -> PathBuf {
        let copy = self.dir.path().join("copy");
        run("cp", &["--reflink=auto", "--sparse=never", self.image.to_str().unwrap(), copy.to_str().unwrap()]).unwrap();
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
        // Every other time the writer stands still while its disk is copied, so that the copy is of one moment even block by block.
        let stopped = round % 2 == 0;
        let id = writer.id().to_string();
        if stopped {
            run("kill", &["-STOP", &id]).unwrap();
        }
        let copy = disk.cut();
        if stopped {
            run("kill", &["-CONT", &id]).unwrap();
        }
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
