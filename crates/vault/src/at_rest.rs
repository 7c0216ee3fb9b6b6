//! A vault that is not open: it is looked at, and what can still be read of it makes a new one.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{
    Checkup, Secrets, Unlock, Vault, VaultError,
    cipher::Cipher,
    home, keyfile,
    vault::{Paths, begin},
};

/// How many rows are written at a time.
const ROWS: usize = 1024;

/// A vault that nobody has open, nor can open while this lives.
pub struct AtRest {
    home: PathBuf,
    cipher: Cipher,
    keys: keyfile::Keys,
    lock: home::Lock,
}

impl AtRest {
    /// Takes the lock of `home` and opens its key file.
    ///
    /// # Errors
    /// As [`Vault::open`], for lock and key file.
    pub fn open(home: &Path, unlock: Unlock<'_>) -> Result<Self, VaultError> {
        let paths = Paths::of(home);
        paths.look_for(home)?;
        let lock = home::Lock::take(home)?;
        let keys = keyfile::read(&paths.keys, unlock)?;
        if paths.new_store.exists() {
            paths.finish(home)?;
        }
        Ok(Self { home: home.to_path_buf(), cipher: Cipher::new(&keys.vault_key), keys, lock })
    }

    /// What the key file keeps for the node.
    pub fn secrets(&self) -> &Secrets {
        &self.keys.secrets
    }

    /// Looks at everything, and changes nothing.
    pub fn check(&self) -> Checkup {
        Paths::of(&self.home).parts(&self.cipher).check()
    }

    /// Makes a vault in the empty or absent directory `dir`, with the same keys and everything that can be read of this one. Whether that is all that it ever held.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn rescue(&self, dir: &Path) -> Result<(Vault, bool), VaultError> {
        home::private_dir(dir)?;
        let (from, to) = (Paths::of(&self.home), Paths::of(dir));
        home::private_dir(&to.store)?;
        let mut engine = crate::engine::Engine::open(&to.store)?;
        let mut waiting = Vec::new();
        let (tally, whole) = from.parts(&self.cipher).rescue(|rows| {
            waiting.extend(rows);
            if waiting.len() >= ROWS { engine.load(std::mem::take(&mut waiting)) } else { Ok(()) }
        })?;
        engine.load(waiting)?;
        drop(engine);
        drop(begin(&to.store, &to.note, &self.cipher, tally)?);
        home::sync_all(&to.store)?;
        let lock = home::Lock::take(dir)?;
        let keys =
            keyfile::Keys { vault_key: Zeroizing::new(*self.keys.vault_key), secrets: Secrets::new(Zeroizing::new(self.keys.secrets.expose().to_vec())) };
        Ok((Vault::open_store(dir, &to, keys, lock)?, whole))
    }

    /// Puts the store of the vault in `dir`, which is closed, into the place of this one, which goes to the directory `keep`; then opens it. Interrupted at any point, the one or
    /// the other is there.
    ///
    /// # Errors
    /// Those of the disk, and of [`Vault::open`].
    pub fn replace(self, dir: &Path, keep: &Path) -> Result<Vault, VaultError> {
        let (from, to) = (Paths::of(dir), Paths::of(&self.home));
        let kept = Paths::of(keep);
        home::private_dir(keep)?;
        home::remove_dir(&to.new_store)?;
        home::rename(&from.note, &Paths::note_within(&from.store))?;
        home::rename(&from.store, &to.new_store)?;
        if to.store.exists() {
            home::rename(&to.store, &kept.store)?;
        }
        for (from, to) in [(&to.copy, &kept.copy), (&to.note, &kept.note)] {
            if from.exists() {
                home::rename(from, to)?;
            }
        }
        to.finish(&self.home)?;
        Vault::open_store(&self.home, &to, self.keys, self.lock)
    }
}
