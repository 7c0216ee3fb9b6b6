//! Where a home directory is when none is named.

use std::{ffi::OsString, path::PathBuf};

/// The platform's directory for the data of programs, and in it `chartmesh`: `$XDG_DATA_HOME` or `~/.local/share` (XDG Base Directory
/// Specification), `~/Library/Application Support` on macOS, `%APPDATA%` on Windows. None if the environment says nothing of a user.
pub(crate) fn home(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = if cfg!(windows) {
        absolute("APPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
    };
    data.map(|data| data.join("chartmesh"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_relative_data_directory_is_ignored() {
        let from = |pairs: &'static [(&str, &str)]| home(move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()));
        assert_eq!(from(&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/x")]), Some("/data/chartmesh".into()));
        assert_eq!(from(&[("XDG_DATA_HOME", "data"), ("HOME", "/home/x")]), Some("/home/x/.local/share/chartmesh".into()));
        assert_eq!(from(&[]), None);
    }
}
