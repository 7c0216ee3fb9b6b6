//! A vault: one home directory, its lock, its keys, its store.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use zeroize::Zeroizing;

use crate::{
    Batch, Checkup, Secrets, Table, Unlock, VaultError,
    check::Parts,
    cipher::Cipher,
    copy,
    engine::{Engine, Row},
    home, keyfile,
    tally::{Note, TALLY, Tally},
};

/// Longest key, in bytes.
pub const MAX_KEY: usize = 512;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 32 * 1024 * 1024;

/// A key and its value.
pub type Item = (Vec<u8>, Zeroizing<Vec<u8>>);

pub(crate) const MARKER: &[u8] = b"format";
pub(crate) const FORMAT: &[u8] = b"chartmesh vault 2";

/// One node's keys and everything that it must remember. Calls block on the disk: from async code use a blocking task.
///
/// Only one `Vault` at a time has a home open. Readers and writers take turns: nobody sees a write before it is on disk, so nothing can be sent on that a power cut takes back.
pub struct Vault {
    home: PathBuf,
    cipher: Cipher,
    vault_key: Zeroizing<[u8; 32]>,
    secrets: Secrets,
    store: Mutex<Store>,
    _lock: home::Lock,
}

/// The open store and what is known of its whole.
struct Store {
    engine: Engine,
    tally: Tally,
    note: Note,
    /// Something was written since it was opened.
    changed: bool,
}

impl Vault {
    /// Makes a vault in `home` (mode 0700), whose key file keeps `secrets`. `work_factor` is log2 of scrypt's N, [`crate::WORK_FACTOR`] unless in a test.
    ///
    /// Interrupted at any point, there is either a whole vault or none.
    ///
    /// # Errors
    /// [`VaultError::Exists`] or [`VaultError::Incomplete`] if there is one or half of one already; [`VaultError::InUse`]; and those of the disk.
    pub fn create(home: &Path, secrets: Secrets, unlock: Unlock<'_>, work_factor: u8) -> Result<Self, VaultError> {
        let mut vault = Self::begin(home, secrets)?;
        vault.finish(unlock, work_factor)?;
        Ok(vault)
    }

    /// The first half of [`Self::create`]: a vault to be filled, of which nothing counts before [`Self::finish`]. If that does not come, the next one begins anew.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn begin(home: &Path, secrets: Secrets) -> Result<Self, VaultError> {
        home::private_dir(home)?;
        let lock = home::Lock::take(home)?;
        let paths = Paths::of(home);
        if paths.keys.exists() {
            return Err(VaultError::Exists(home.to_path_buf()));
        }
        if paths.store.exists() {
            return Err(VaultError::Incomplete { home: home.to_path_buf(), missing: "keys.age" });
        }
        let mut vault_key = Zeroizing::new([0; 32]);
        getrandom::fill(vault_key.as_mut()).expect("the operating system's random source");
        let cipher = Cipher::new(&vault_key);

        home::remove_dir(&paths.new_store)?;
        home::private_dir(&paths.new_store)?;
        let (engine, tally) = begin(&paths.new_store, &paths.note, &cipher, Tally::default())?;
        let store = Mutex::new(Store { engine, tally, note: Note::open(&paths.note)?, changed: false });
        Ok(Self { home: home.to_path_buf(), cipher, vault_key, secrets, store, _lock: lock })
    }

    /// The second half of [`Self::create`]: from here on there is a vault in its home, with everything that was written to it.
    ///
    /// # Errors
    /// [`VaultError::Exists`] if it was finished before; and those of the disk.
    pub fn finish(&mut self, unlock: Unlock<'_>, work_factor: u8) -> Result<(), VaultError> {
        let paths = Paths::of(&self.home);
        if paths.keys.exists() {
            return Err(VaultError::Exists(self.home.clone()));
        }
        let store = self.store.get_mut().unwrap_or_else(PoisonError::into_inner);
        store.engine.close();
        home::sync_all(&paths.new_store)?;
        keyfile::write(&paths.keys, &self.vault_key, &self.secrets, unlock, work_factor)?;
        home::rename(&paths.new_store, &paths.store)?;
        store.engine = Engine::open(&paths.store)?;
        Ok(())
    }

    /// Opens the store that is there. The caller has its lock and its keys.
    pub(crate) fn open_store(home: &Path, paths: &Paths, keys: keyfile::Keys, lock: home::Lock) -> Result<Self, VaultError> {
        let cipher = Cipher::new(&keys.vault_key);
        let mut engine = Engine::open(&paths.store)?;
        match engine.get(Table::Meta, MARKER)? {
            Some(sealed) => {
                let format = cipher.open(Table::Meta, MARKER, sealed).ok_or(VaultError::OtherKeys)?;
                if *format != FORMAT {
                    return Err(VaultError::Store { doing: "opening", reason: "it was written by another version".into() });
                }
            }
            None => return Err(VaultError::Store { doing: "opening", reason: "it has lost its own format record".into() }),
        }
        let tally = engine.get(Table::Meta, TALLY)?.and_then(|record| Tally::open(&cipher, record));
        let tally = tally.ok_or(VaultError::Store { doing: "opening", reason: "it has lost its own tally".into() })?;
        let note = match Note::read(&paths.note, &cipher) {
            Some(noted) if noted > tally.commits => return Err(VaultError::Behind { commits: noted - tally.commits }),
            Some(noted) if noted == tally.commits => Note::open(&paths.note)?,
            _ => Note::create(&paths.note, &cipher, tally.commits)?,
        };
        let store = Mutex::new(Store { engine, tally, note, changed: false });
        Ok(Self { home: home.to_path_buf(), cipher, vault_key: keys.vault_key, secrets: keys.secrets, store, _lock: lock })
    }

    /// Opens the vault in `home`.
    ///
    /// # Errors
    /// [`VaultError::Absent`], [`VaultError::Incomplete`], [`VaultError::InUse`]; [`VaultError::WrongPassphrase`], [`VaultError::PassphraseNeeded`],
    /// [`VaultError::NotProtected`]; [`VaultError::OtherKeys`] if key file and store do not belong together; [`VaultError::Damaged`] and [`VaultError::Behind`] if the store is
    /// not what it was ([`crate::AtRest`] finds out more); and those of the disk.
    pub fn open(home: &Path, unlock: Unlock<'_>) -> Result<Self, VaultError> {
        let paths = Paths::of(home);
        paths.look_for(home)?;
        let lock = home::Lock::take(home)?;
        let keys = keyfile::read(&paths.keys, unlock)?;
        paths.finish(home)?;
        let cipher = Cipher::new(&keys.vault_key);
        paths.parts(&cipher).may_open()?;
        Self::open_store(home, &paths, keys, lock)
    }

    /// Whether there is a vault in `home`.
    pub fn exists(home: &Path) -> bool {
        Paths::of(home).keys.exists()
    }

    /// Whether the vault in `home` asks for a passphrase.
    ///
    /// # Errors
    /// [`VaultError::Absent`], or the key file cannot be read.
    pub fn is_protected(home: &Path) -> Result<bool, VaultError> {
        if !Self::exists(home) {
            return Err(VaultError::Absent(home.to_path_buf()));
        }
        keyfile::is_protected(&Paths::of(home).keys)
    }

    /// The directory it is in.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// What the key file keeps for the node.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Other secrets, for [`Self::finish`] to write.
    pub fn set_secrets(&mut self, secrets: Secrets) {
        self.secrets = secrets;
    }

    /// A key for a name, or for anything else that must not be readable on disk: BLAKE3 keyed by the vault's key, one for each table.
    pub fn hide(&self, table: Table, name: &[u8]) -> [u8; 32] {
        self.cipher.hide(table, name)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`VaultError::Corrupt`] if it is damaged; the rest of the vault stays usable then.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let record = self.store().engine.get(table, key)?;
        record.map(|record| self.unseal(table, key, record)).transpose()
    }

    /// Everything in a table whose key begins with `prefix`, in ascending order of keys, as it is at one moment.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn scan(&self, table: Table, prefix: &[u8]) -> Result<Vec<Item>, VaultError> {
        self.page(table, prefix, None, usize::MAX)
    }

    /// Up to `limit` items of a table whose key begins with `prefix` and comes after `after`, in ascending order of keys: for what may be too much to hold at once.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn page(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Item>, VaultError> {
        let rows = self.store().engine.scan(table, prefix, after, limit)?;
        rows.into_iter().map(|(key, record): Row| self.unseal(table, &key, record).map(|value| (key, value))).collect()
    }

    /// Writes all of a batch, or nothing of it, and returns when it is on disk. About a millisecond, whatever its size: collect what belongs together.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`] before anything is written. [`VaultError::Store`] if the disk fails: whether the batch survives is then unknown until the vault is opened again.
    pub fn commit(&self, batch: Batch) -> Result<(), VaultError> {
        self.commit_if(batch, |_| Ok(()))
    }

    /// [`Self::commit`] of one write.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn put(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), VaultError> {
        let mut batch = Batch::new();
        batch.put(table, key, value);
        self.commit(batch)
    }

    /// [`Self::commit`] of one removal.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn remove(&self, table: Table, key: &[u8]) -> Result<(), VaultError> {
        let mut batch = Batch::new();
        batch.remove(table, key);
        self.commit(batch)
    }

    /// Commits if `check` agrees, with nobody writing in between.
    pub(crate) fn commit_if(&self, batch: Batch, check: impl FnOnce(&mut Reader<'_>) -> Result<(), VaultError>) -> Result<(), VaultError> {
        let mut writes = Vec::with_capacity(batch.len());
        for ((table, key), value) in &batch.writes {
            bound("key", key.len(), MAX_KEY)?;
            bound("value", value.as_ref().map_or(0, |value| value.len()), MAX_VALUE)?;
            writes.push((*table, key.clone(), value.as_ref().map(|value| self.cipher.seal(*table, key, value))));
        }
        let mut store = self.store();
        check(&mut Reader { vault: self, engine: &mut store.engine })?;
        if writes.is_empty() {
            return Ok(());
        }
        let Store { engine, tally, note, changed } = &mut *store;
        if !*changed {
            home::remove_for_good(&Paths::of(&self.home).copy)?;
            *changed = true;
        }
        let mut next = *tally;
        next.commits += 1;
        engine.commit(writes, |writes, before| {
            for ((table, key, after), before) in writes.iter().zip(before) {
                for record in before.iter().chain(after) {
                    next.toggle(&self.cipher, *table, key, record);
                }
            }
            (Table::Meta, TALLY.to_vec(), Some(next.seal(&self.cipher)))
        })?;
        *tally = next;
        note.write(&self.cipher, next.commits)
    }

    /// Looks at everything that is stored, as it is on disk, while nobody reads or writes.
    ///
    /// # Errors
    /// [`VaultError::Closed`]; whatever is damaged is no error but the answer.
    pub fn check(&self) -> Result<Checkup, VaultError> {
        let paths = Paths::of(&self.home);
        let mut store = self.store();
        let parts = Parts { acknowledged: Some(store.tally.commits), ..paths.parts(&self.cipher) };
        store.engine.while_closed(|_| parts.check())
    }

    fn unseal(&self, table: Table, key: &[u8], record: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let damaged = || VaultError::Corrupt { table, key: data_encoding::HEXLOWER.encode(key), reason: "it does not decrypt in this place" };
        self.cipher.open(table, key, record).ok_or_else(damaged)
    }

    /// A panic while the lock is held leaves the engine as it was or marked as failed.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Vault {
    /// Leaves a copy of the store's index, and the number of commits if that was damaged meanwhile. Where it fails they are as after a crash.
    fn drop(&mut self) {
        let paths = Paths::of(&self.home);
        let store = self.store.get_mut().unwrap_or_else(PoisonError::into_inner);
        store.engine.close();
        let (index, commits) = (paths.store.join("metadata"), store.tally.commits);
        if store.engine.has_failed() || !index.exists() {
            return;
        }
        if Note::read(&paths.note, &self.cipher) != Some(commits) {
            Note::create(&paths.note, &self.cipher, commits).ok();
        }
        // A damaged index takes no good copy's place.
        if !copy::is_of(&index, &paths.copy, &self.cipher, commits) && paths.parts(&self.cipher).leads_to(commits) {
            copy::make(&index, &paths.copy, &self.cipher, commits).or_else(|_| home::remove_for_good(&paths.copy)).ok();
        }
    }
}

/// Makes a store in a directory that is empty, and notes its first commit.
pub(crate) fn begin(dir: &Path, note: &Path, cipher: &Cipher, mut tally: Tally) -> Result<(Engine, Tally), VaultError> {
    let mut engine = Engine::open(dir)?;
    tally.commits += 1;
    let marker = cipher.seal(Table::Meta, MARKER, FORMAT);
    tally.toggle(cipher, Table::Meta, MARKER, &marker);
    engine.commit(vec![(Table::Meta, MARKER.to_vec(), Some(marker))], |_, _| (Table::Meta, TALLY.to_vec(), Some(tally.seal(cipher))))?;
    drop(Note::create(note, cipher, tally.commits)?);
    Ok((engine, tally))
}

/// Reads within a commit.
pub(crate) struct Reader<'a> {
    vault: &'a Vault,
    engine: &'a mut Engine,
}

impl Reader<'_> {
    pub(crate) fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let record = self.engine.get(table, key)?;
        record.map(|record| self.vault.unseal(table, key, record)).transpose()
    }
}

fn bound(what: &'static str, len: usize, max: usize) -> Result<(), VaultError> {
    if len > max { Err(VaultError::TooLarge { what, len }) } else { Ok(()) }
}

/// Where the parts of a vault are.
pub(crate) struct Paths {
    pub(crate) keys: PathBuf,
    pub(crate) store: PathBuf,
    /// A store that is being made. It is whole once the key file is there.
    pub(crate) new_store: PathBuf,
    /// A copy of the store's index, while that is as it was copied.
    pub(crate) copy: PathBuf,
    /// The number of commits.
    pub(crate) note: PathBuf,
}

impl Paths {
    pub(crate) fn of(home: &Path) -> Self {
        Self {
            keys: home.join("keys.age"),
            store: home.join("vault"),
            new_store: home.join("vault.new"),
            copy: home.join("vault.index"),
            note: home.join("commits"),
        }
    }

    /// Whether there is a vault, as far as one may look.
    pub(crate) fn look_for(&self, home: &Path) -> Result<(), VaultError> {
        match self.keys.try_exists() {
            Ok(true) => Ok(()),
            Ok(false) if self.store.exists() => Err(VaultError::Incomplete { home: home.to_path_buf(), missing: "keys.age" }),
            Ok(false) => Err(VaultError::Absent(home.to_path_buf())),
            Err(source) => Err(VaultError::Io { doing: "looking for", path: self.keys.clone(), source }),
        }
    }

    /// Puts a store that was made into its place, if that is free. What belonged to the one before goes first. Where that is in its place still, it counts.
    pub(crate) fn finish(&self, home: &Path) -> Result<(), VaultError> {
        match (self.store.exists(), self.new_store.exists()) {
            (true, false) => Ok(()),
            (true, true) => home::remove_for_good(&self.new_store),
            (false, true) => {
                home::remove_for_good(&self.copy)?;
                let note = Self::note_within(&self.new_store);
                if note.exists() {
                    home::rename(&note, &self.note)?;
                }
                home::rename(&self.new_store, &self.store)
            }
            (false, false) => Err(VaultError::Incomplete { home: home.to_path_buf(), missing: "the store" }),
        }
    }

    /// Where the number of commits of a store that is to take another's place waits.
    pub(crate) fn note_within(store: &Path) -> PathBuf {
        store.join("commits")
    }

    pub(crate) fn parts<'a>(&'a self, cipher: &'a Cipher) -> Parts<'a> {
        Parts { store: &self.store, copy: &self.copy, note: &self.note, cipher, acknowledged: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(home: &Path) -> Vault {
        Vault::create(home, Secrets::new(Zeroizing::new(vec![1])), Unlock::None, 1).unwrap()
    }

    #[test]
    fn a_value_in_the_place_of_another_is_named_and_the_rest_stays_readable() {
        let home = tempfile::tempdir().unwrap();
        let vault = vault(home.path());
        vault.put(Table::Peers, &[0xab], b"one").unwrap();
        vault.put(Table::Peers, &[0xcd], b"two").unwrap();
        let record = vault.store().engine.get(Table::Peers, &[0xab]).unwrap();
        vault.store().engine.commit(vec![(Table::Peers, vec![0xcd], record.clone())], |_, _| (Table::Peers, vec![0xcd], record)).unwrap();
        let error = vault.get(Table::Peers, &[0xcd]).unwrap_err();
        assert!(matches!(&error, VaultError::Corrupt { table: Table::Peers, key, .. } if key == "cd"), "{error}");
        assert!(vault.scan(Table::Peers, &[]).is_err());
        assert_eq!(vault.get(Table::Peers, &[0xab]).unwrap().unwrap().as_slice(), b"one");
    }

    #[test]
    fn a_large_value_with_a_piece_missing_is_named() {
        let home = tempfile::tempdir().unwrap();
        let vault = vault(home.path());
        vault.put(Table::Bodies, &[1], &[7; 100_000]).unwrap();
        let pieces = vault.store().engine.pieces();
        vault.store().engine.lose(&pieces[2]);
        assert!(matches!(vault.get(Table::Bodies, &[1]), Err(VaultError::Corrupt { table: Table::Bodies, .. })));
    }

    #[test]
    fn pieces_go_with_their_value_and_are_numbered_on_after_reopening() {
        let home = tempfile::tempdir().unwrap();
        let vault = vault(home.path());
        vault.put(Table::Bodies, &[1], &[7; 100_000]).unwrap();
        let first = vault.store().engine.pieces();
        assert_eq!(first.len(), 4);
        drop(vault);
        let vault = Vault::open(home.path(), Unlock::None).unwrap();
        vault.put(Table::Bodies, &[2], &[8; 100_000]).unwrap();
        vault.put(Table::Bodies, &[1], &[9; 50_000]).unwrap();
        let second = vault.store().engine.pieces();
        assert!(second.len() == 6 && second.iter().all(|piece| !first.contains(piece)));
        vault.put(Table::Bodies, &[1], &[9]).unwrap();
        vault.remove(Table::Bodies, &[2]).unwrap();
        assert!(vault.store().engine.pieces().is_empty());
    }

    #[test]
    fn after_a_failure_everything_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let vault = vault(home.path());
        vault.store().engine.fail();
        assert!(matches!(vault.get(Table::Peers, b"k"), Err(VaultError::Closed)));
        assert!(matches!(vault.put(Table::Peers, b"k", b"v"), Err(VaultError::Closed)));
    }
}
