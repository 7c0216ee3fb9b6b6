//! `<home>/keys.age`: the node's secret keys and the key of its store.
//!
//! With a passphrase it is a plain age file with one scrypt stanza (C2SP age specification, "scrypt recipient stanza"), so that `age -d` opens it. Without one it begins with a
//! line that says so, and whoever can read the file, or a backup or the disk that it lies on, has every key: nothing but the file mode 0600 protects it. Its last 32 bytes are then
//! the BLAKE3 of the content, because one changed bit would make another key of a key.
//!
//! The content is deterministic CBOR `{version, vault_key, secrets}`; the secrets are the node's own bytes.

use std::{fs, io, path::Path};

use chartmesh_identity::{from_canonical, to_canonical};
use chartmesh_sealing::{PassphraseError, open_passphrase, seal_passphrase};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{VaultError, home};

/// What an unprotected key file begins with.
const IN_CLEAR: &[u8] = b"chartmesh keys WITHOUT a passphrase, version 2\n";
/// What a protected one begins with.
const SEALED: &[u8] = b"age-encryption.org/v1\n";
/// log2 of the scrypt work factor N: 2^17 with r = 8 takes 128 MiB and about half a second.
pub const WORK_FACTOR: u8 = 17;
/// Highest that is opened: a damaged or foreign file must not ask for all memory.
const MOST_WORK: u8 = 20;
const VERSION: u64 = 1;
const DAMAGED: &str = "it is damaged";

/// Secret keys, as bytes whose form is the caller's. Zeroized on drop; cannot be printed or copied.
pub struct Secrets(Zeroizing<Vec<u8>>);

impl Secrets {
    /// From the caller's encoding.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The caller's encoding.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// How the key file is, or shall be, protected.
#[derive(Clone, Copy)]
pub enum Unlock<'a> {
    /// By this passphrase.
    Passphrase(&'a str),
    /// By nothing but its mode 0600 (`--no-passphrase`): for servers with protection of their own.
    None,
}

/// What is in a key file.
pub(crate) struct Keys {
    pub(crate) vault_key: Zeroizing<[u8; 32]>,
    pub(crate) secrets: Secrets,
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u64,
    #[serde(with = "serde_bytes")]
    vault_key: Vec<u8>,
    #[serde(with = "serde_bytes")]
    secrets: Vec<u8>,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.vault_key.zeroize();
        self.secrets.zeroize();
    }
}

/// Writes the key file, whole or not at all.
pub(crate) fn write(path: &Path, vault_key: &[u8; 32], secrets: &Secrets, unlock: Unlock<'_>, work_factor: u8) -> Result<(), VaultError> {
    let content = Content { version: VERSION, vault_key: vault_key.to_vec(), secrets: secrets.0.to_vec() };
    let content = Zeroizing::new(to_canonical(&content));
    let file = match unlock {
        Unlock::Passphrase("") => return Err(VaultError::KeyFile("an empty passphrase protects nothing")),
        Unlock::Passphrase(passphrase) => {
            Zeroizing::new(seal_passphrase(&content, passphrase, work_factor).map_err(|_| VaultError::KeyFile("it could not be sealed"))?)
        }
        Unlock::None => Zeroizing::new([IN_CLEAR, &content, blake3::hash(&content).as_bytes()].concat()),
    };
    home::replace(path, &file)
}

/// Reads the key file.
pub(crate) fn read(path: &Path, unlock: Unlock<'_>) -> Result<Keys, VaultError> {
    let file = Zeroizing::new(fs::read(path).map_err(home::io_error("reading", path))?);
    let content = match (file.strip_prefix(IN_CLEAR), unlock) {
        (Some(_), Unlock::Passphrase(_)) => return Err(VaultError::NotProtected),
        (Some(content), Unlock::None) => match content.split_last_chunk::<32>() {
            Some((content, digest)) if blake3::hash(content) == *digest => Zeroizing::new(content.to_vec()),
            _ => return Err(VaultError::KeyFile(DAMAGED)),
        },
        (None, _) if !file.starts_with(SEALED) => return Err(VaultError::KeyFile(DAMAGED)),
        (None, Unlock::None) => return Err(VaultError::PassphraseNeeded),
        (None, Unlock::Passphrase(passphrase)) => open(&file, passphrase)?,
    };
    let mut content: Content = from_canonical(&content).map_err(|_| VaultError::KeyFile("its content has no known form"))?;
    if content.version != VERSION {
        return Err(VaultError::KeyFile("it was written by a newer version"));
    }
    let vault_key = content.vault_key.as_slice().try_into().map_err(|_| VaultError::KeyFile("its content has no known form"))?;
    Ok(Keys { vault_key: Zeroizing::new(vault_key), secrets: Secrets(Zeroizing::new(std::mem::take(&mut content.secrets))) })
}

/// Whether the key file asks for a passphrase.
pub(crate) fn is_protected(path: &Path) -> Result<bool, VaultError> {
    let read = || {
        let mut start = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, IN_CLEAR.len() as u64), &mut start)?;
        Ok(start)
    };
    let start = read().map_err(home::io_error("reading", path))?;
    if start == IN_CLEAR {
        Ok(false)
    } else if start.starts_with(SEALED) {
        Ok(true)
    } else {
        Err(VaultError::KeyFile(DAMAGED))
    }
}

fn open(file: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    open_passphrase(file, passphrase, MOST_WORK).map_err(|error| match error {
        PassphraseError::Wrong => VaultError::WrongPassphrase,
        PassphraseError::Work { .. } => VaultError::KeyFile("opening it asks for more work than is allowed"),
        PassphraseError::File(_) => VaultError::KeyFile("it is damaged, or not sealed with a passphrase"),
    })
}
