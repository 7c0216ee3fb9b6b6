//! The directory of a node: who may look into it, who has it open, and files that are replaced whole or not at all.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::VaultError;

/// `source` as a [`VaultError`].
pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VaultError {
    let path = path.to_path_buf();
    move |source| VaultError::Io { doing, path, source }
}

/// Makes a directory that only its owner can enter (mode 0700), or makes an existing one so.
pub(crate) fn private_dir(path: &Path) -> Result<(), VaultError> {
    fs::create_dir_all(path).map_err(io_error("creating", path))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io_error("protecting", path))?;
    }
    Ok(())
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The lock of a home. Released when dropped, or when the process ends, however it ends.
pub(crate) struct Lock(File);

impl Lock {
    /// Takes it, or says at once who has it.
    pub(crate) fn take(home: &Path) -> Result<Self, VaultError> {
        let path = home.join("lock");
        let file = private_file().create(true).truncate(false).open(&path).map_err(io_error("opening", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(VaultError::InUse(home.to_path_buf())),
            Err(TryLockError::Error(error)) => Err(io_error("locking", &path)(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do: a child process that another thread is just starting has the file open too, until it runs its program.
        self.0.unlock().ok();
    }
}

/// Replaces a file (mode 0600): whenever the power goes, it is there with the old or the new content. Returns when the new one is on disk.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), VaultError> {
    let new = path.with_extension("new");
    remove_file(&new)?;
    let mut file = private_file().create_new(true).open(&new).map_err(io_error("creating", &new))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(io_error("writing", &new))?;
    rename(&new, path)
}

fn remove_file(path: &Path) -> Result<(), VaultError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", path)(error)),
        _ => Ok(()),
    }
}

/// Renames within one directory, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), VaultError> {
    fs::rename(from, to).map_err(io_error("renaming", from))?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

fn sync_dir(dir: &Path) -> Result<(), VaultError> {
    #[cfg(unix)]
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("syncing", dir))?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

/// Brings a directory and everything in it to disk.
pub(crate) fn sync_all(dir: &Path) -> Result<(), VaultError> {
    for entry in entries(dir)? {
        if entry.is_dir() {
            sync_all(&entry)?;
        } else {
            OpenOptions::new().append(true).open(&entry).and_then(|file| file.sync_all()).map_err(io_error("syncing", &entry))?;
        }
    }
    sync_dir(dir)
}

/// What lies in a directory.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, VaultError> {
    let list = fs::read_dir(dir).and_then(|list| list.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>());
    list.map_err(io_error("listing", dir))
}

/// Removes a directory and everything in it, if it is there, durably: whenever the power goes, it is there as it was or not at all.
pub(crate) fn remove_for_good(dir: &Path) -> Result<(), VaultError> {
    let old = beside(dir, ".old");
    remove_dir(&old)?;
    match fs::rename(dir, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("renaming", dir)(error)),
        _ => sync_dir(dir.parent().unwrap_or(Path::new(".")))?,
    }
    remove_dir(&old)
}

/// The path of something that is on its way into a place, or out of it.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Removes a directory and everything in it, if it is there.
pub(crate) fn remove_dir(dir: &Path) -> Result<(), VaultError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", dir)(error)),
        _ => Ok(()),
    }
}
