//! What lies in a home, what is exported, and what programs of one user say to each other.

use std::{cell::LazyCell, fs};

use chartmesh_node::{
    api::{ApiError, Request, Response},
    home::{Config, Home},
    verify_ledger_file,
};
use chartmesh_vault::{Unlock, Vault, VaultError};
use tempfile::TempDir;

use crate::generic::{assert_plain, assert_quiet, cbor, texts};

thread_local! {
    static HOME: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().expect("a directory"));
}

/// `config.json`: known settings, or an error; never defaults in place of what was meant.
pub fn config(bytes: &[u8]) {
    HOME.with(|home| {
        fs::write(home.path().join("config.json"), bytes).expect("a file");
        match Home::new(home.path().into()).config() {
            Ok(config) => {
                let written = serde_json::to_value(&config).expect("settings as JSON");
                let meant: serde_json::Map<_, _> = serde_json::from_slice(bytes).expect("settings are one JSON object");
                for (name, value) in meant {
                    assert_eq!(written.get(&name), Some(&value), "{name} is not what was written");
                }
            }
            Err(error) => {
                let is_list = serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|value| value.is_array());
                assert!(error.advice.is_some() && (is_list || serde_json::from_slice::<Config>(bytes).is_err()), "good settings are refused: {error}");
            }
        }
    });
}

/// `keys.age`. The home has no store, so that even good keys open nothing.
pub fn key_file(bytes: &[u8]) {
    HOME.with(|home| {
        fs::write(home.path().join("keys.age"), bytes).expect("a file");
        let opened = |unlock| match Vault::open(home.path(), unlock) {
            Ok(_) => panic!("a vault without a store"),
            Err(error) => error,
        };
        let in_clear = opened(Unlock::None);
        let protected = Vault::is_protected(home.path()).expect("a file");
        assert_eq!(protected, matches!(in_clear, VaultError::PassphraseNeeded), "{in_clear}");
        if !protected {
            assert!(matches!(opened(Unlock::Passphrase("passphrase")), VaultError::NotProtected));
        }
        assert_quiet(&in_clear, bytes.split(|byte| *byte == b'\n').nth(1).map(texts).unwrap_or_default().iter().map(String::as_str));
    });
}

/// An exported ledger.
pub fn ledger_file(bytes: &[u8]) {
    let info = verify_ledger_file(bytes);
    assert_eq!(info.ok, info.problems.is_empty() && info.forks.is_empty());
    assert!(!info.ok || info.ledgers == 1 && info.charters > 0);
    let texts = texts(bytes);
    for problem in info.problems.iter().chain(&info.forks) {
        assert_plain(problem);
        assert_quiet(problem, texts.iter().map(String::as_str));
    }
    assert_eq!(verify_ledger_file(bytes), info, "the same file, the same verdict");
}

/// What is said over `control.sock`.
pub fn control(bytes: &[u8]) {
    cbor::<Request>(bytes);
    if let Some(Ok(response)) = cbor::<Result<Response, ApiError>>(bytes) {
        assert_eq!(response.to_json().is_none(), matches!(response, Response::Shown(_) | Response::Bytes(_)), "every answer but bytes is JSON");
    }
}
