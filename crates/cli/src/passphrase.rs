//! The passphrase: from a file or a terminal, never from an argument or the environment, where others can read it.

use std::{
    io::{IsTerminal, stdin},
    path::{Path, PathBuf},
};

use chartmesh_node::api::ApiError;
use zeroize::Zeroizing;

use crate::files;

/// Names the file, if `--passphrase-file` does not.
const VARIABLE: &str = "CHARTMESH_PASSPHRASE_FILE";

/// The passphrase of a home that has one.
pub(crate) fn existing(file: Option<&Path>) -> Result<Zeroizing<String>, ApiError> {
    if let Some(file) = named(file) {
        return from_file(&file);
    }
    if !stdin().is_terminal() {
        return Err(ApiError::usage("the keys of this home are locked with a passphrase, and none was given")
            .advise(format!("--passphrase-file FILE, or {VARIABLE}; at a terminal it is asked for")));
    }
    ask("Passphrase: ")
}

/// The passphrase for new keys: none if that was said, else from a file, else asked for twice.
pub(crate) fn new(file: Option<&Path>, none: bool) -> Result<Option<Zeroizing<String>>, ApiError> {
    if none && file.is_some() {
        return Err(ApiError::usage("--no-passphrase and --passphrase-file exclude each other"));
    }
    if none {
        return Ok(None);
    }
    if let Some(file) = named(file) {
        return from_file(&file).map(Some);
    }
    if !stdin().is_terminal() {
        return Err(ApiError::usage("new keys need a passphrase, and none was given")
            .advise("--passphrase-file FILE, or --no-passphrase where the machine itself protects the disk"));
    }
    let first = ask("New passphrase: ")?;
    if first.is_empty() {
        return Err(ApiError::usage("the passphrase is empty").advise("--no-passphrase, if none is wanted"));
    }
    if *ask("Once more: ")? != *first {
        return Err(ApiError::usage("the two passphrases differ"));
    }
    Ok(Some(first))
}

fn named(file: Option<&Path>) -> Option<PathBuf> {
    file.map(Path::to_owned).or_else(|| std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from))
}

/// The first line of a file.
fn from_file(path: &Path) -> Result<Zeroizing<String>, ApiError> {
    let text = files::read_secret(path)?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Zeroizing::new(line.to_owned())),
        _ => Err(ApiError::failed(format_args!("{} holds no passphrase: its first line is empty", path.display()))),
    }
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, ApiError> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| ApiError::failed(format_args!("cannot ask for the passphrase: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        std::fs::write(&path, "correct horse \r\nnot this\n").unwrap();
        assert_eq!(*new(Some(&path), false).unwrap().unwrap(), "correct horse ");
        assert_eq!(*existing(Some(&path)).unwrap(), "correct horse ");
        std::fs::write(&path, "\n").unwrap();
        assert!(existing(Some(&path)).unwrap_err().what.contains("no passphrase"));
    }

    #[test]
    fn none_must_be_said_alone() {
        assert!(new(None, true).unwrap().is_none());
        assert!(new(Some(Path::new("f")), true).unwrap_err().what.contains("exclude"));
    }
}
