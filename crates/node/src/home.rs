//! A node's home directory: where its files are, its settings, and the names of its files.
//!
//! `vault/` and `keys.age` belong to the vault, `blobs/` to iroh-blobs, `control.sock` to a running node, `config.json` to the user.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::api::ApiError;

/// A home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

/// `config.json`: what the user may set (schemas/config.schema.json). Nothing here is published to anybody by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL of a relay; without one, only direct connections are made.
    pub relay: Option<String>,
    /// DNS origin where peers' addresses are looked up; without one, nothing is looked up.
    pub dns: Option<String>,
    /// Publish own addresses there too.
    pub publish: bool,
    /// Announce this node on the local network (mDNS), and find others there.
    pub mdns: bool,
}

impl Home {
    /// A home at this path; nothing is created.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where sealed documents are.
    pub fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    /// Where a running node listens for programs of the same user.
    pub fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// The settings; those of a home without `config.json` are the defaults.
    pub fn config(&self) -> Result<Config, ApiError> {
        let path = self.0.join("config.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(error) => return Err(ApiError::failed(format_args!("cannot read {}: {error}", path.display()))),
        };
        // serde takes a list for a struct too, field by field.
        let parsed = if bytes.trim_ascii_start().starts_with(b"[") {
            Err("it is a list".to_owned())
        } else {
            serde_json::from_slice(&bytes).map_err(|error| error.to_string())
        };
        parsed.map_err(|error| {
            ApiError::failed(format_args!("{} is not a valid configuration: {error}", path.display()))
                .advise("settings are relay, dns, publish and mdns; schemas/config.schema.json describes them")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_strict_and_absent_ones_are_quiet() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().into());
        assert_eq!(home.config().unwrap(), Config::default());
        std::fs::write(dir.path().join("config.json"), r#"{"relay":"https://relay.example","mdns":true}"#).unwrap();
        assert!(home.config().unwrap().mdns);
        for (text, why) in [(r#"{"rellay":1}"#, "rellay"), (r#"["https://relay.example"]"#, "list"), (" []", "list")] {
            std::fs::write(dir.path().join("config.json"), text).unwrap();
            assert!(home.config().unwrap_err().what.contains(why), "{text}");
        }
    }
}
