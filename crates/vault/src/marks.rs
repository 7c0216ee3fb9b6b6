//! What keeps our own keys from ever signing one sequence number twice, which would void everything that they sign afterwards.
//!
//! **Restart.** [`Vault::commit_signed`] stores our entries together with a mark, the number and hash signed last by that key in that lane, and refuses whatever does not
//! continue from it. It returns when both are on disk; only then may they be sent.
//!
//! **A damaged store.** Entries of our own may be lost while the marks that tell of them are whole. They come again from peers; until then a node signs nothing in those logs, since
//! that would take their places. [`Vault::marks`] says how far it has to come.
//!
//! **A restored copy.** A home put back from a backup has an old mark, and nothing inside it can tell. Others can: an entry that our own key has signed and that we do not have is
//! proof, and nobody can forge it. The rule for a node: in a session, before it sends entries of its own, it fetches those of its own log that the peer has and it has not, and
//! passes each to [`Vault::check_own`]. The first unknown one makes that key *spent* in that ledger, for good: the vault refuses to sign with it there, and the device
//! continues under a new key that the charter admits. What it had signed and not yet sent is then dropped and done again. What remains is a peer that has not heard
//! of the newer entries either: a fork can then reach it. The ledger's rule for forks contains that, and taking away stands all the same.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AuthorKey, EntryHash, LaneId, LedgerId};
use chartmesh_ledger::Entry;

use crate::{Batch, EntryKey, Table, Vault, VaultError, ledgers::misplaced, vault::Reader};

/// The last entry that a key has signed in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its sequence number, from 1.
    pub seq: u64,
    /// Its hash.
    pub hash: EntryHash,
}

impl Mark {
    fn bytes(&self) -> Vec<u8> {
        [&self.seq.to_be_bytes()[..], self.hash.as_bytes()].concat()
    }

    fn read(key: &[u8], value: &[u8]) -> Result<Self, VaultError> {
        let parts = value.split_at_checked(8).and_then(|(seq, hash)| Some((seq.try_into().ok()?, hash.try_into().ok()?)));
        let (seq, hash) = parts.ok_or_else(|| misplaced(Table::Marks, key))?;
        Ok(Self { seq: u64::from_be_bytes(seq), hash: EntryHash::new(hash) })
    }
}

fn mark_key(ledger: &LedgerId, lane: &LaneId, author: &AuthorKey) -> Vec<u8> {
    [&ledger.as_bytes()[..], lane.as_bytes(), author.as_bytes()].concat()
}

fn spent_key(ledger: &LedgerId, author: &AuthorKey) -> Vec<u8> {
    [&ledger.as_bytes()[..], author.as_bytes()].concat()
}

/// Where it is noted a second time that a key is spent: far from the marks, with which [`Table::Spent`] may lie in one leaf.
fn spent_copy(key: &[u8]) -> Vec<u8> {
    [b"spent", key].concat()
}

/// Where it is noted that a key is spent: in a ledger, or, under the key alone, in all.
fn spent_rows(ledger: &LedgerId, author: &AuthorKey) -> [(Table, Vec<u8>); 4] {
    let (here, everywhere) = (spent_key(ledger, author), author.as_bytes().to_vec());
    [(Table::Meta, spent_copy(&here)), (Table::Meta, spent_copy(&everywhere)), (Table::Spent, here), (Table::Spent, everywhere)]
}

impl Vault {
    /// Stores entries that we have just signed, with their marks and whatever else is in the batch; send them after it has returned, not before.
    ///
    /// # Errors
    /// [`VaultError::NotNext`] if one does not continue its key's log, [`VaultError::Restored`] if its key is spent; nothing is stored then. And those of [`Vault::commit`].
    pub fn commit_signed(&self, mut batch: Batch, own: &[&Entry]) -> Result<(), VaultError> {
        let mut own = own.to_vec();
        own.sort_by_key(|entry| EntryKey::of(entry));
        for entry in &own {
            let header = &entry.header;
            let mark = Mark { seq: header.seq, hash: entry.hash() };
            batch.put_entry(entry).put(Table::Marks, &mark_key(&header.ledger, &header.lane, &header.author), mark.bytes());
        }
        self.commit_if(batch, |stored| continues(stored, &own))
    }

    /// The last entry that our key has signed in a lane, if any.
    ///
    /// # Errors
    /// As [`Vault::get`].
    pub fn mark(&self, ledger: &LedgerId, lane: &LaneId, author: &AuthorKey) -> Result<Option<Mark>, VaultError> {
        let key = mark_key(ledger, lane, author);
        self.get(Table::Marks, &key)?.map(|value| Mark::read(&key, &value)).transpose()
    }

    /// The last entry that our key has signed in each lane of a ledger.
    ///
    /// # Errors
    /// As [`Vault::get`].
    pub fn marks(&self, ledger: &LedgerId, author: &AuthorKey) -> Result<Vec<(LaneId, Mark)>, VaultError> {
        let mut marks = Vec::new();
        for (key, value) in self.scan(Table::Marks, ledger.as_bytes())? {
            let (lane, signer) = key.get(32..).and_then(|key| key.split_first_chunk::<32>()).ok_or_else(|| misplaced(Table::Marks, &key))?;
            if signer == author.as_bytes() {
                marks.push((LaneId::new(*lane), Mark::read(&key, &value)?));
            }
        }
        Ok(marks)
    }

    /// Looks at an entry of our own key that a peer has sent.
    ///
    /// # Errors
    /// [`VaultError::Restored`] if we do not have it and our mark does not tell of it: this home is a restored copy, and that key is spent in that ledger from now on. What was
    /// lost from a damaged store, whose marks are whole, may come back.
    pub fn check_own(&self, entry: &Entry) -> Result<(), VaultError> {
        if self.get(Table::Entries, &EntryKey::of(entry).to_bytes())?.is_some() {
            return Ok(());
        }
        let header = &entry.header;
        let (ledger, author, hash) = (header.ledger, header.author, entry.hash());
        let signed = |mark: Mark| header.seq < mark.seq || (header.seq == mark.seq && hash == mark.hash);
        if self.mark(&ledger, &header.lane, &author)?.is_some_and(signed) {
            return Ok(());
        }
        self.spend(&ledger, &author)?;
        Err(VaultError::Restored { ledger, author })
    }

    /// Never signs with that key in that ledger again: what it signed last is not known.
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn spend(&self, ledger: &LedgerId, author: &AuthorKey) -> Result<(), VaultError> {
        self.note_spent(&spent_key(ledger, author))
    }

    /// As [`Vault::spend`], in every ledger, also in those that this vault does not know or not any more.
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn spend_everywhere(&self, author: &AuthorKey) -> Result<(), VaultError> {
        self.note_spent(author.as_bytes())
    }

    /// Notes again, in either place, what only the other one tells of spent keys.
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn renew_spent(&self) -> Result<(), VaultError> {
        let copied = self.scan(Table::Meta, &spent_copy(&[]))?.into_iter().map(|(key, _)| key[spent_copy(&[]).len()..].to_vec());
        let keys: BTreeSet<Vec<u8>> = self.scan(Table::Spent, &[])?.into_iter().map(|(key, _)| key).chain(copied).collect();
        keys.iter().try_for_each(|key| self.note_spent(key))
    }

    fn note_spent(&self, key: &[u8]) -> Result<(), VaultError> {
        let mut batch = Batch::new();
        batch.put(Table::Spent, key, Vec::new()).put(Table::Meta, &spent_copy(key), Vec::new());
        self.commit(batch)
    }

    /// Makes the mark of a lane again from the last of our own entries in it, of which none may be missing; unless a mark is there that tells of as many.
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn restore_mark(&self, last: &Entry) -> Result<(), VaultError> {
        let header = &last.header;
        if self.mark(&header.ledger, &header.lane, &header.author)?.is_some_and(|mark| mark.seq >= header.seq) {
            return Ok(());
        }
        let mark = Mark { seq: header.seq, hash: last.hash() };
        self.put(Table::Marks, &mark_key(&header.ledger, &header.lane, &header.author), &mark.bytes())
    }

    /// Whether our key must not sign in that ledger again.
    ///
    /// # Errors
    /// As [`Vault::get`].
    pub fn is_spent(&self, ledger: &LedgerId, author: &AuthorKey) -> Result<bool, VaultError> {
        for (table, key) in spent_rows(ledger, author) {
            if self.get(table, &key)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether entries, in the order of their keys, continue what is stored.
fn continues(stored: &mut Reader<'_>, own: &[&Entry]) -> Result<(), VaultError> {
    let signers: BTreeSet<(LedgerId, AuthorKey)> = own.iter().map(|entry| (entry.header.ledger, entry.header.author)).collect();
    for (ledger, author) in signers {
        for (table, key) in spent_rows(&ledger, &author) {
            if stored.get(table, &key)?.is_some() {
                return Err(VaultError::Restored { ledger, author });
            }
        }
    }
    let mut marks: BTreeMap<Vec<u8>, Option<Mark>> = BTreeMap::new();
    for entry in own {
        let header = &entry.header;
        let (ledger, lane, author) = (header.ledger, header.lane, header.author);
        let key = mark_key(&ledger, &lane, &author);
        let last = match marks.get(&key) {
            Some(mark) => *mark,
            None => stored.get(Table::Marks, &key)?.map(|value| Mark::read(&key, &value)).transpose()?,
        };
        let next = last.map_or(1, |mark| mark.seq + 1);
        if header.seq != next || header.prev != last.map(|mark| mark.hash) {
            return Err(VaultError::NotNext { ledger, lane, author, seq: header.seq, next });
        }
        marks.insert(key, Some(Mark { seq: header.seq, hash: entry.hash() }));
    }
    Ok(())
}
