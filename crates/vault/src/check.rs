//! Whether everything at rest in a vault is as it was written: files, leaves, values, and that none is missing.
//!
//! Read from the files themselves (`leaves.rs`), so that nothing is changed by looking and one damaged place does not hide the others.

use std::{collections::BTreeSet, path::Path};

use crate::{
    Table, VaultError,
    cipher::Cipher,
    copy,
    engine::{CHUNKS, Form, form, row},
    leaves::{self, Fault, Index, RawRow},
    tally::{Note, TALLY, Tally},
    vault::MARKER,
};

/// What damage reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// What can be made again from the rest, without loss.
    Copy,
    /// One value.
    Value(Table, Vec<u8>),
    /// Every value of these tables whose keys lie in one place; none, where only pieces of long values are.
    Tables(BTreeSet<Table>),
    /// Any value may be missing or old.
    Any,
}

/// Something in a vault that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What, as an engineer finds it: a file below the home, or a table and a key of the store.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
    /// What it reaches.
    pub reach: Reach,
}

impl Damage {
    /// Whether values of a table may be missing.
    pub fn touches(&self, table: Table) -> bool {
        match &self.reach {
            Reach::Copy => false,
            Reach::Value(of, _) => *of == table,
            Reach::Tables(tables) => tables.contains(&table),
            Reach::Any => true,
        }
    }
}

/// What a look at a vault has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkup {
    /// Values that are as they were written.
    pub values: u64,
    /// Their bytes as stored.
    pub bytes: u64,
    /// Whatever is not as it was written.
    pub damage: Vec<Damage>,
}

const OLDER: &str = "some of its values are missing, or older than they should be";

/// Where the parts of a vault are.
pub(crate) struct Parts<'a> {
    pub(crate) store: &'a Path,
    /// The copy of the index.
    pub(crate) copy: &'a Path,
    pub(crate) note: &'a Path,
    pub(crate) cipher: &'a Cipher,
    /// How many commits whoever has the vault open knows of.
    pub(crate) acknowledged: Option<u64>,
}

impl Parts<'_> {
    /// The store's own index, or what is wrong with it, also with the number of commits that it leads to.
    pub(crate) fn own_index(&self) -> Result<Index, Damage> {
        let index = self.read_own().map_err(|fault| fault_in_index(&fault))?;
        let lacks = match (self.known(), self.tally(&index)) {
            (Some(known), Some(held)) if known > held.commits => format!("lacks the last {}", known - held.commits),
            (Some(_), Some(_)) => return Ok(index),
            // The tally lies in a damaged leaf, or the index is an old one, whose leaves were overwritten.
            (Some(_), None) if self.is_last(&index) => return Ok(index),
            (_, _) => "may lack the last".to_owned(),
        };
        let why = index.unread.first().map(|fault| format!("; {}: {}", fault.file, fault.reason)).unwrap_or_default();
        Err(Damage { object: "vault".into(), reason: format!("the store {lacks} of its changes{why}"), reach: Reach::Any })
    }

    fn read_own(&self) -> Result<Index, Fault> {
        Index::read(self.store, &self.store.join("metadata"))
    }

    /// Whether an index is the last one, where its tally does not say so: it is as the copy is. Without one, nothing that it leads to looks as if it had been overwritten.
    fn is_last(&self, index: &Index) -> bool {
        let copied = copy::commits(self.copy, self.cipher).and_then(|_| Index::read(self.store, self.copy).ok()).filter(|copied| copied.unread.is_empty());
        let overwritten = || index.leads_astray() || index.get(&row(Table::Meta, TALLY)) == Ok(None);
        index.unread.is_empty() && copied.map_or_else(|| !overwritten(), |copied| copied.has_same_places(index))
    }

    /// Whether the store's own index is such that a copy of it leads to so many commits.
    pub(crate) fn leads_to(&self, commits: u64) -> bool {
        self.read_own().is_ok_and(|index| {
            let held = self.tally(&index).filter(|held| held.commits == commits);
            index.unread.is_empty() && held.is_some_and(|held| self.contents(&index).are(&held))
        })
    }

    /// How many commits there were at least, by whatever tells of it.
    fn known(&self) -> Option<u64> {
        self.noted().max(copy::commits(self.copy, self.cipher)).max(self.acknowledged)
    }

    /// The number of commits that `commits` tells of.
    pub(crate) fn noted(&self) -> Option<u64> {
        Note::read(self.note, self.cipher)
    }

    /// The tally in the store.
    pub(crate) fn tally(&self, index: &Index) -> Option<Tally> {
        match form(&index.get(&row(Table::Meta, TALLY)).ok()??)? {
            Form::Whole(record) => Tally::open(self.cipher, record.to_vec()),
            Form::Pieces(_) => None,
        }
    }

    /// What must hold before sled may open the store: it would stop, wait for ever, or go on with less than there was.
    pub(crate) fn may_open(&self) -> Result<(), VaultError> {
        let damaged = |damage: Damage| VaultError::Damaged { object: damage.object, reason: damage.reason };
        leaves::check_settings(self.store).map_err(|fault| damaged(fault_in_index(&fault)))?;
        let index = Index::read(self.store, &self.store.join("metadata")).map_err(|fault| damaged(fault_in_index(&fault)))?;
        if let Ok(Some(marker)) = index.get(&row(Table::Meta, MARKER))
            && let Some(Form::Whole(marker)) = form(&marker)
            && self.cipher.open(Table::Meta, MARKER, marker.to_vec()).is_none()
        {
            return Err(VaultError::OtherKeys);
        }
        let contents = self.contents(&index);
        // A value that is in pieces is damaged as well where the leaf of one is.
        let is_leaf = |damage: &&Damage| matches!(damage.reach, Reach::Tables(_));
        let damage = &contents.found.damage;
        if let Some(damage) = damage.iter().find(is_leaf).or(damage.first()) {
            return Err(damaged(damage.clone()));
        }
        let known = self.noted().and(self.known()).ok_or_else(|| VaultError::Damaged { object: "commits".into(), reason: "it cannot be read".into() })?;
        let held = self.tally(&index).unwrap_or_default();
        match known.checked_sub(held.commits) {
            Some(commits) if commits > 0 => Err(VaultError::Behind { commits }),
            // The tally's own place may have been used for a later one, in an index that leads to old leaves otherwise.
            _ if !contents.are(&held) => Err(damaged(Damage { object: "vault".into(), reason: OLDER.into(), reach: Reach::Any })),
            _ => Ok(()),
        }
    }

    /// Looks at everything.
    pub(crate) fn check(&self) -> Checkup {
        let mut found = Checkup::default();
        if let Err(fault) = leaves::check_settings(self.store) {
            found.damage.push(Damage { reach: Reach::Copy, ..fault_in_index(&fault) });
        }
        if self.noted().is_none() {
            found.damage.push(Damage { object: "commits".into(), reason: "it cannot be read".into(), reach: Reach::Copy });
        }
        if self.copy.exists()
            && let Some(fault) = self.fault_in_copy()
        {
            found.damage.push(Damage { object: fault.file, reason: fault.reason, reach: Reach::Copy });
        }
        let index = match self.own_index() {
            Ok(index) => index,
            Err(damage) => {
                found.damage.push(damage);
                return found;
            }
        };
        let contents = self.contents(&index);
        // Through an index that is not the last one some leaves are old, and others are not leaves any more.
        if contents.found.damage.is_empty() || !self.is_last(&index) {
            let held = self.tally(&index);
            if held.is_none_or(|held| held.digest != contents.digest) {
                let marked = matches!(index.get(&row(Table::Meta, TALLY)), Ok(Some(_)));
                let reason = if marked { OLDER } else { "it does not say what it should hold" };
                found.damage.push(Damage { object: "vault".into(), reason: reason.into(), reach: Reach::Any });
            }
        }
        found.damage.extend(contents.found.damage);
        Checkup { damage: found.damage, ..contents.found }
    }

    /// Looks at everything that an index leads to.
    fn contents(&self, index: &Index) -> Contents {
        let (mut found, mut tally) = (Checkup::default(), Tally::default());
        for (low, next) in index.ranges() {
            match index.leaf(low) {
                Err(fault) => found.damage.push(fault_in_leaf(&fault, low, next)),
                Ok(rows) => rows.iter().for_each(|(key, record)| self.check_row(index, key, record, &mut tally, &mut found)),
            }
        }
        Contents { found, digest: tally.digest }
    }

    fn fault_in_copy(&self) -> Option<Fault> {
        let fault = |reason: &str| Some(Fault::new("vault.index", reason));
        let Some(commits) = copy::commits(self.copy, self.cipher) else { return fault("its number of commits cannot be read") };
        match Index::read(self.store, self.copy) {
            Err(unread) => Some(unread),
            Ok(index) => match (index.unread.first(), self.tally(&index)) {
                (Some(unread), _) => Some(unread.clone()),
                (None, Some(held)) if held.commits != commits => fault("it does not lead to all that was committed"),
                _ => None,
            },
        }
    }

    fn check_row(&self, index: &Index, key: &[u8], record: &[u8], tally: &mut Tally, found: &mut Checkup) {
        match self.value(index, key, record) {
            Value::Piece => {}
            Value::Sound(table, key, record) => {
                found.values += 1;
                found.bytes += record.len() as u64;
                if (table, key) != (Table::Meta, TALLY) {
                    tally.toggle(self.cipher, table, key, &record);
                }
            }
            Value::Damaged(table, key, reason) => {
                let hexadecimal = data_encoding::HEXLOWER.encode(key);
                found.damage.push(Damage {
                    object: format!("{} {hexadecimal}", table.map_or_else(|| "unknown table,".to_owned(), |table| format!("{table:?}"))),
                    reason: reason.into(),
                    reach: table.map_or(Reach::Copy, |table| Reach::Value(table, key.to_vec())),
                });
            }
        }
    }

    /// What a row holds.
    fn value<'a>(&self, index: &Index, key: &'a [u8], record: &[u8]) -> Value<'a> {
        let Some((tag, key)) = key.split_first() else { return Value::Damaged(None, key, "it has no key") };
        if *tag == CHUNKS {
            return Value::Piece;
        }
        let Some(table) = Table::of(*tag) else { return Value::Damaged(None, key, "it is in no table") };
        match assembled(index, record).and_then(|record| self.opens(table, key, record)) {
            Ok(record) => Value::Sound(table, key, record),
            Err(reason) => Value::Damaged(Some(table), key, reason),
        }
    }

    fn opens(&self, table: Table, key: &[u8], record: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        self.cipher.open(table, key, record.clone()).map(|_| record).ok_or("it does not decrypt in this place")
    }

    /// What an index is good for, and what it leads to.
    fn worth(&self, index: &Index, trusted: bool) -> (Worth, Contents) {
        let (contents, held, known) = (self.contents(index), self.tally(index), self.known());
        let current = known.is_some() && held.is_some_and(|held| Some(held.commits) >= known);
        (Worth { whole: current && held.is_some_and(|held| contents.are(&held)), trusted, current, values: contents.found.values }, contents)
    }

    /// Gives every row that can be read and is sound to `take`, a leaf's at a time, and whether that was everything that was ever committed. Of the two indexes it goes by the better one.
    pub(crate) fn rescue(&self, mut take: impl FnMut(Vec<RawRow>) -> Result<(), VaultError>) -> Result<(Tally, bool), VaultError> {
        let own = self.read_own().ok().map(|index| (self.worth(&index, self.own_index().is_ok()), index));
        let copied = Index::read(self.store, self.copy).ok().map(|index| (self.worth(&index, false), index));
        // Where both are worth the same, the store's own.
        let best = copied.into_iter().chain(own).max_by_key(|((worth, _), _)| *worth);
        let Some(((worth, contents), index)) = best else { return Ok((Tally::default(), false)) };
        let mut tally = Tally { digest: contents.digest, ..Tally::default() };
        for (low, _) in index.ranges() {
            let Ok(rows) = index.leaf(low) else { continue };
            let mut kept = Vec::new();
            for (key, record) in rows {
                match self.value(&index, &key, &record) {
                    Value::Piece | Value::Damaged(..) | Value::Sound(Table::Meta, TALLY, _) => {}
                    // The new store has one of its own.
                    Value::Sound(Table::Meta, MARKER, whole) => tally.toggle(self.cipher, Table::Meta, MARKER, &whole),
                    Value::Sound(..) => {
                        if let Some(Form::Pieces(names)) = form(&record) {
                            kept.extend(names.into_iter().filter_map(|name| Some((name.clone(), index.get(&name).ok()??))));
                        }
                        kept.push((key, record));
                    }
                }
            }
            take(kept)?;
        }
        tally.commits = self.tally(&index).map(|held| held.commits).max(self.known()).unwrap_or_default();
        Ok((tally, worth.whole))
    }
}

/// What an index leads to.
struct Contents {
    /// Its values, and what is wrong with them.
    found: Checkup,
    /// As in the tally.
    digest: [u8; 32],
}

impl Contents {
    /// Whether this is all that a tally tells of.
    fn are(&self, tally: &Tally) -> bool {
        self.found.damage.is_empty() && self.digest == tally.digest
    }
}

/// What an index is good for, in the order in which it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    /// It leads to everything that was ever committed.
    whole: bool,
    /// It is the store's own, and what is said of the damage is said of it.
    trusted: bool,
    /// It leads to the last commit.
    current: bool,
    /// So many sound values.
    values: u64,
}

enum Value<'a> {
    /// A piece of a long value: it is read with that.
    Piece,
    Sound(Table, &'a [u8], Vec<u8>),
    Damaged(Option<Table>, &'a [u8], &'static str),
}

fn assembled(index: &Index, record: &[u8]) -> Result<Vec<u8>, &'static str> {
    let names = match form(record).ok_or("its record has no known form")? {
        Form::Whole(record) => return Ok(record.to_vec()),
        Form::Pieces(names) => names,
    };
    let mut whole = Vec::new();
    for name in names {
        let piece = index.get(&name).map_err(|_| "a piece of it cannot be read")?;
        whole.extend_from_slice(&piece.ok_or("a piece of it is missing")?);
    }
    Ok(whole)
}

fn fault_in_index(fault: &Fault) -> Damage {
    Damage { object: format!("vault/{}", fault.file), reason: fault.reason.clone(), reach: Reach::Any }
}

/// A leaf that cannot be read may have held anything between its lowest key and that of the next.
fn fault_in_leaf(fault: &Fault, low: &[u8], next: Option<&[u8]>) -> Damage {
    let first = low.first().copied().unwrap_or_default();
    let last = match next {
        // The next one's lowest key may be the first of its table.
        Some([tag]) => tag.saturating_sub(1),
        Some(next) => next.first().copied().unwrap_or(CHUNKS),
        None => CHUNKS,
    };
    let tables = (first..=last).filter_map(Table::of).collect();
    Damage { object: format!("vault/{}", fault.file), reason: fault.reason.clone(), reach: Reach::Tables(tables) }
}
