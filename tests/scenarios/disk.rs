//! Disks of their own: ext4 in a file, mounted over a loop device. They can be cut off, filled up, and made to fail.
//!
//! Needs root, `mkfs.ext4`, `mount` and loop devices; whoever asks for a disk elsewhere is told why there is none, and skips. With `mkfs.xfs` its power can be cut in the middle of writing.
//! What was mounted is unmounted when a disk is dropped.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::world::{text, until};

/// No xfs is smaller.
const XFS: u64 = 320 << 20;

/// A mounted disk.
pub(crate) struct Disk {
    at: PathBuf,
    image: PathBuf,
    /// What the image lies on, if that was mounted for it alone.
    below: Option<PathBuf>,
    /// Whether its copies are of one moment although somebody writes (reflink).
    at_once: bool,
    dir: TempDir,
}

/// Runs a program of the system; what it said if it failed.
fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format_args!("{program}: {error}").to_string())?;
    if output.status.success() { Ok(()) } else { Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim())) }
}

fn must(program: &str, args: &[&str]) {
    run(program, args).unwrap_or_else(|error| panic!("{error}"));
}

impl Disk {
    /// A disk of so many bytes. None, and a word about why on stderr, where such disks cannot be made.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        Self::made(|disk| disk.format(bytes))
    }

    /// A disk whose power can be cut: it lies on a file system that copies a file at one moment, if there is one here.
    pub(crate) fn to_cut(bytes: u64) -> Option<Self> {
        Self::made(|disk| {
            // Without it the image lies where temporary files do.
            let _ = disk.lie_on_xfs();
            disk.format(bytes)?;
            disk.at_once = disk.copied("always").is_ok();
            Ok(())
        })
    }

    /// A disk that believes to have so many bytes, while what it lies on has room for fewer: writing fails late, when the file system hands it over, as on a disk that is breaking.
    /// [`Disk::mend`] gives it room.
    pub(crate) fn failing(bytes: u64, room: u64) -> Option<Self> {
        Self::made(|disk| {
            disk.lie_on(&["-t", "tmpfs", "-o", &format!("size={room}"), "tmpfs"])?;
            disk.format(bytes)
        })
    }

    fn made(make: impl FnOnce(&mut Self) -> Result<(), String>) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut disk = Self { at: dir.path().join("mounted"), image: dir.path().join("image"), below: None, at_once: false, dir };
        match make(&mut disk) {
            Ok(()) => Some(disk),
            Err(reason) => {
                let _ = writeln!(std::io::stderr(), "skipped: no loop-mounted ext4 can be made here ({reason})");
                None
            }
        }
    }

    fn lie_on_xfs(&mut self) -> Result<(), String> {
        let xfs = self.dir.path().join("xfs");
        File::create(&xfs).and_then(|file| file.set_len(XFS)).map_err(|error| error.to_string())?;
        run("mkfs.xfs", &["-q", "-m", "reflink=1", &text(&xfs)])?;
        self.lie_on(&["-o", "loop", &text(&xfs)])
    }

    /// Mounts what the image shall lie on.
    fn lie_on(&mut self, mount: &[&str]) -> Result<(), String> {
        let below = self.dir.path().join("below");
        fs::create_dir(&below).map_err(|error| error.to_string())?;
        run("mount", &[mount, &[&text(&below)]].concat())?;
        self.image = below.join("image");
        self.below = Some(below);
        Ok(())
    }

    fn format(&self, bytes: u64) -> Result<(), String> {
        fs::create_dir(&self.at).map_err(|error| error.to_string())?;
        File::create(&self.image).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &text(&self.image)])?;
        self.mount()
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", &text(&self.image), &text(&self.at)])
    }

    /// Where it is mounted.
    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// Whether its copies are of one moment although somebody writes. Else nobody should write meanwhile.
    pub(crate) fn copies_at_once(&self) -> bool {
        self.at_once
    }

    /// Copies what is on the disk, without what the file system has not yet handed to it.
    pub(crate) fn copy(&self) {
        if self.at_once {
            self.copied("always").unwrap_or_else(|error| panic!("{error}"));
        } else {
            // The file system may write what it was given before: a copy in which blocks are older than others was never on a disk.
            until("the copy is of one moment", || {
                self.copied("never").unwrap_or_else(|error| panic!("{error}"));
                run("cmp", &["-s", &text(&self.image), &text(&self.its_copy())]).is_ok()
            });
        }
    }

    fn copied(&self, reflink: &str) -> Result<(), String> {
        run("cp", &[&format!("--reflink={reflink}"), &text(&self.image), &text(&self.its_copy())])
    }

    fn its_copy(&self) -> PathBuf {
        self.image.with_extension("copy")
    }

    /// Goes on with the copy, as when the power is back. Nobody uses the disk now.
    pub(crate) fn go_on_with_copy(&self) {
        self.unmount();
        fs::rename(self.its_copy(), &self.image).expect("the copy in the place of the image");
        self.mount().unwrap_or_else(|error| panic!("the disk is not mounted after a power cut: {error}"));
    }

    fn unmount(&self) {
        until("the disk can be unmounted", || run("umount", &[&text(&self.at)]).is_ok());
    }

    /// Mounts it with other options: `ro`, or `abort`, after which the file system takes no more writes.
    pub(crate) fn remount(&self, options: &str) {
        must("mount", &["-o", &format!("remount,{options}"), &text(&self.at)]);
    }

    /// Fills it up to so many bytes.
    pub(crate) fn fill(&self, but: u64) {
        let mut filler = File::create(self.filler()).expect("a file");
        let block = vec![0x5a; 64 << 10];
        let mut length = None;
        // What was freed of late is there to be used only after some more has been written to disk.
        while length != Some(filler.metadata().expect("a file").len()) {
            length = Some(filler.metadata().expect("a file").len());
            while filler.write_all(&block).map_err(|error| assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}")).is_ok() {}
            filler.sync_all().expect("sync");
        }
        filler.set_len(length.unwrap_or_default().saturating_sub(but)).expect("a shorter file");
        filler.sync_all().expect("sync");
    }

    /// Makes room again.
    pub(crate) fn empty(&self) {
        fs::remove_file(self.filler()).expect("the filler goes");
        File::open(&self.at).and_then(|root| root.sync_all()).expect("sync");
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Gives a failing disk all the room that it needs, and checks and mounts the file system as a start of the machine would. Nobody uses the disk now.
    pub(crate) fn mend(&self) {
        self.unmount();
        if let Some(below) = &self.below {
            must("mount", &["-o", "remount,size=100%", &text(below)]);
        }
        // 1: faults were found and mended.
        let code = Command::new("e2fsck").args(["-fy", &text(&self.image)]).output().expect("e2fsck").status.code();
        assert!(matches!(code, Some(0 | 1)), "e2fsck: {code:?}");
        self.mount().unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for mounted in [Some(&self.at), self.below.as_ref()].into_iter().flatten() {
            // Lazily: a scenario that failed may have left a process there, which ends with it.
            let _ = run("umount", &["-l", &text(mounted)]);
        }
    }
}
