//! The files that a command names: what it reads, and what it writes where others may look.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf, absolute},
};

use chartmesh_node::api::{ApiError, PeerSource};
use serde::Serialize;
use zeroize::Zeroizing;

/// Most bytes of a card, an invitation or a consent.
const MOST: u64 = 16 << 20;

/// A file was written (schemas/cli/written.schema.json).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Written {
    /// Its path.
    pub(crate) file: PathBuf,
    /// Its length, in bytes.
    pub(crate) bytes: u64,
}

impl Written {
    pub(crate) fn words(&self) -> String {
        format!("wrote {} ({} bytes)\n", self.file.display(), self.bytes)
    }
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Whom the user's umask lets.
    Umask,
    /// The user alone: mode 0600.
    Owner,
}

/// The path, however the working directory may change.
pub(crate) fn full(path: &Path) -> Result<PathBuf, ApiError> {
    absolute(path).map_err(|error| cannot("use", path, &error))
}

/// A file of at most 16 MiB.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(|error| cannot("read", path, &error))?;
    if bytes.len() as u64 > MOST { Err(ApiError::failed(format_args!("{} is larger than {MOST} bytes", path.display()))) } else { Ok(bytes) }
}

/// A short text that must not linger in memory: words, a passphrase.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>, ApiError> {
    // A read that grows its buffer would leave copies behind.
    let mut buffer = Zeroizing::new(vec![0; 4097]);
    let mut file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]).map_err(|error| cannot("read", path, &error))? {
            0 => break,
            read => length += read,
        }
    }
    if length == buffer.len() {
        return Err(ApiError::failed(format_args!("{} is larger than 4096 bytes", path.display())));
    }
    match std::str::from_utf8(&buffer[..length]) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(ApiError::failed(format_args!("{} is not text", path.display()))),
    }
}

/// A ticket as it is typed, or the bytes of a file that holds a card or an invitation.
pub(crate) fn source(text: &str) -> Result<PeerSource, ApiError> {
    if text.starts_with("chartmesh:") {
        return Ok(PeerSource::Ticket(text.to_owned()));
    }
    read(Path::new(text)).map(PeerSource::File).map_err(|error| error.advise("a ticket begins with chartmesh:, anything else is taken for the name of a file"))
}

/// Writes a file whole or not at all, in the place of a regular file of that name.
pub(crate) fn write(path: &Path, bytes: &[u8], readers: Readers) -> Result<Written, ApiError> {
    let path = full(path)?;
    let put = || {
        // A link, a pipe or a terminal is written to, not replaced.
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return OpenOptions::new().write(true).truncate(true).open(&path)?.write_all(bytes);
        }
        let mut draft = tempfile::Builder::new().prefix(".chartmesh-").tempfile_in(path.parent().unwrap_or(&path))?;
        draft.write_all(bytes)?;
        draft.as_file().sync_all()?;
        if readers == Readers::Umask {
            // Another way to learn the umask is to change it, which other threads would see.
            match OpenOptions::new().create_new(true).write(true).open(&path) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            draft.as_file().set_permissions(fs::metadata(&path)?.permissions())?;
        }
        draft.persist(&path).map(drop).map_err(|error| error.error)
    };
    put().map_err(|error| cannot("write", &path, &error))?;
    Ok(Written { file: path, bytes: bytes.len() as u64 })
}

/// A new file that only its owner may read; refuses where there is one already.
pub(crate) fn create_secret(path: &Path) -> Result<File, ApiError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            ApiError::failed(format_args!("{} is already there, and is not overwritten", path.display())).advise("another name, or move that file away")
        }
        _ => cannot("write", path, &error),
    })
}

pub(crate) fn cannot(verb: &str, path: &Path, error: &io::Error) -> ApiError {
    let failed = ApiError::failed(format_args!("cannot {verb} {}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::NotFound if verb == "write" => failed.advise("make the directory first, or name another"),
        io::ErrorKind::NotFound => failed.advise("look for a slip in the name, and which directory this is"),
        io::ErrorKind::PermissionDenied => failed.advise("see who may use that file (`ls -l`)"),
        _ => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words");
        create_secret(&path).unwrap().write_all(b"first").unwrap();
        assert!(create_secret(&path).unwrap_err().what.contains("already there"));
        assert_eq!(*read_secret(&path).unwrap(), "first");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_secrets() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words");
        create_secret(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        let path = dir.path().join("keys");
        fs::write(&path, "older").unwrap();
        assert_eq!(write(&path, b"newer", Readers::Owner).unwrap(), Written { file: path.clone(), bytes: 5 });
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"newer".to_vec()));
        let open = dir.path().join("card");
        fs::write(dir.path().join("usual"), "").unwrap();
        write(&open, b"card", Readers::Umask).unwrap();
        assert_eq!(mode(&open), mode(&dir.path().join("usual")));
    }

    #[test]
    fn what_is_too_large_or_not_text_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        fs::write(&path, vec![b'x'; 4097]).unwrap();
        assert!(read_secret(&path).unwrap_err().what.contains("larger"));
        fs::write(&path, [0xff]).unwrap();
        assert!(read_secret(&path).unwrap_err().what.contains("not text"));
        assert!(matches!(source("chartmesh:abc"), Ok(PeerSource::Ticket(_))));
        assert!(read(&dir.path().join("none")).unwrap_err().advice.unwrap().contains("slip"));
        assert!(source("no-such-file").unwrap_err().advice.unwrap().contains("chartmesh:"));
    }
}
