//! Ledgers at rest: their charters and entries, with bodies that can be erased.
//!
//! Only what was verified goes in; what comes out is signed bytes again, to be verified by whoever builds a ledger of them.

use std::collections::BTreeSet;

use chartmesh_identity::{AuthorKey, CharterHash, EntryHash, LaneId, LedgerId, Signed, Verified};
use chartmesh_ledger::{Charter, Entry, RawEntry};
use serde_bytes::ByteBuf;

use crate::{Batch, Table, Vault, VaultError};

/// How many rows are read at a time.
const PAGE: usize = 512;

/// Where an entry is stored. Keys sort by ledger, lane, author, sequence number, hash; two entries of one number, a fork, are both kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryKey {
    /// Its ledger.
    pub ledger: LedgerId,
    /// Its lane.
    pub lane: LaneId,
    /// Who signed it.
    pub author: AuthorKey,
    /// Its place in the author's log in that lane.
    pub seq: u64,
    /// Its hash.
    pub hash: EntryHash,
}

impl EntryKey {
    /// Where this entry is stored.
    pub fn of(entry: &Entry) -> Self {
        let header = &entry.header;
        Self { ledger: header.ledger, lane: header.lane, author: header.author, seq: header.seq, hash: entry.hash() }
    }

    /// The key in [`Table::Entries`] and [`Table::Bodies`].
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.ledger.as_bytes()[..], self.lane.as_bytes(), self.author.as_bytes(), &self.seq.to_be_bytes(), self.hash.as_bytes()].concat()
    }
}

/// Whether bodies are read together with their entries. All bodies of a ledger may not fit in memory; [`Vault::body`] reads one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// With each entry.
    Read,
    /// Left where they are.
    Leave,
}

/// A ledger as it is stored.
pub struct StoredLedger {
    /// Its charters, ascending by version, rivals by hash; the first is version 0.
    pub charters: Vec<Signed<Charter>>,
    /// Its entries, ascending by lane, author, sequence number and hash.
    pub entries: Vec<RawEntry>,
}

impl Batch {
    /// Stores a version of a ledger's charter.
    pub fn put_charter(&mut self, ledger: &LedgerId, charter: &Verified<Charter>) -> &mut Self {
        let key = [&ledger.as_bytes()[..], CharterHash::of(charter.as_bytes()).as_bytes()].concat();
        self.put(Table::Charters, &key, charter.as_bytes())
    }

    /// Stores an entry that another has signed. A body that is stored already stays if this one comes without. Entries of our own go through [`Vault::commit_signed`].
    pub fn put_entry(&mut self, entry: &Entry) -> &mut Self {
        let key = EntryKey::of(entry).to_bytes();
        if let Some(body) = &entry.body {
            self.put(Table::Bodies, &key, body.as_slice());
        }
        self.put(Table::Entries, &key, entry.header.as_bytes())
    }
}

impl Vault {
    /// Stores a version of a ledger's charter, durably.
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn save_charter(&self, ledger: &LedgerId, charter: &Verified<Charter>) -> Result<(), VaultError> {
        let mut batch = Batch::new();
        batch.put_charter(ledger, charter);
        self.commit(batch)
    }

    /// Stores entries that others have signed, durably and all or none.
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn save_entries<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), VaultError> {
        let mut batch = Batch::new();
        for entry in entries {
            batch.put_entry(entry);
        }
        self.commit(batch)
    }

    /// Every ledger of which a charter is stored, ascending.
    ///
    /// # Errors
    /// As [`Vault::get`].
    pub fn ledgers(&self) -> Result<BTreeSet<LedgerId>, VaultError> {
        let mut ledgers = BTreeSet::new();
        let mut after: Option<Vec<u8>> = None;
        while let Some((key, _)) = self.page(Table::Charters, &[], after.as_deref(), 1)?.pop() {
            let ledger = key.get(..32).and_then(|id| <[u8; 32]>::try_from(id).ok()).ok_or_else(|| misplaced(Table::Charters, &key))?;
            ledgers.insert(LedgerId::new(ledger));
            after = Some([&ledger[..], &[0xff; 33]].concat());
        }
        Ok(ledgers)
    }

    /// What is stored of a ledger; nothing at all is no error.
    ///
    /// # Errors
    /// As [`Vault::get`].
    pub fn load_ledger(&self, ledger: &LedgerId, bodies: Bodies) -> Result<StoredLedger, VaultError> {
        let prefix = ledger.as_bytes().as_slice();
        let mut charters = Vec::new();
        for (key, value) in self.scan(Table::Charters, prefix)? {
            let charter = Signed::<Charter>::from_bytes(value.to_vec());
            let version = charter.clone().verify().map_err(|_| misplaced(Table::Charters, &key))?.version;
            charters.push((version, key, charter));
        }
        charters.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));

        let mut entries = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.page(Table::Entries, prefix, after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, header) in page {
                let body = match bodies {
                    Bodies::Read => self.get(Table::Bodies, &key)?.map(|body| ByteBuf::from(body.to_vec())),
                    Bodies::Leave => None,
                };
                entries.push(RawEntry { header: Signed::from_bytes(header.to_vec()), body });
            }
        }
        Ok(StoredLedger { charters: charters.into_iter().map(|(_, _, charter)| charter).collect(), entries })
    }

    /// The sealed body of an entry, if it is stored.
    ///
    /// # Errors
    /// As [`Vault::get`].
    pub fn body(&self, entry: &EntryKey) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(self.get(Table::Bodies, &entry.to_bytes())?.map(|body| body.to_vec()))
    }

    /// Erases the body of an entry; the entry stays. On most disks the old bytes linger until they are written over, which is why bodies are sealed.
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub fn erase_body(&self, entry: &EntryKey) -> Result<(), VaultError> {
        self.remove(Table::Bodies, &entry.to_bytes())
    }
}

pub(crate) fn misplaced(table: Table, key: &[u8]) -> VaultError {
    VaultError::Corrupt { table, key: data_encoding::HEXLOWER.encode(key), reason: "it is not what belongs there" }
}
