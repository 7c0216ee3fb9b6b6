//! Whether what the vault holds fits together: every value has the form of its table, every charter and entry its signature, its link and its digest, every log its mark.
//!
//! [`settle`] works on the second vault: what does not fit is taken out of it, so that it opens, and comes again from peers.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AuthorKey, CharterHash, Contact, LedgerId, Signed, from_canonical};
use chartmesh_ledger::{CertCache, Charter, Checkpoint, Entry, EntryError, Ledger, RawEntry};
use chartmesh_vault::{Batch, Checkup, Damage, EntryKey, Reach, Table, Vault};
use serde_bytes::ByteBuf;

use crate::{
    api::{ApiError, DoctorInfo, FindingInfo},
    core::{CONTACT, INCOMPLETE, LISTENED, Membership},
    peers::Peer,
    secrets::Keys,
};

/// How many rows are read at a time.
const PAGE: usize = 512;

pub(super) const ENTRIES: &str = "entries are missing here; the patient's devices and custodians supply them again";
pub(super) const UNFINISHED: &str = "entries may still be missing, and until they have come a patient's device signs nothing";
pub(super) const MENDS: &str = "`chartmesh doctor --repair`, best while a device or custodian of the patient runs";

fn is_setting(key: &[u8], value: &[u8]) -> bool {
    match key {
        CONTACT => from_canonical::<Contact>(value).is_ok(),
        LISTENED => from_canonical::<Vec<String>>(value).is_ok(),
        _ => false,
    }
}

/// What it means when values of a table are gone, and whether peers supply them again or they are made again.
fn meaning(table: Table) -> (&'static str, bool) {
    match table {
        Table::Meta => ("the vault's own notes; they are made again", true),
        Table::Charters => ("charters of ledgers; the patient's devices and custodians supply them again, to a party with a new invitation", true),
        Table::Entries | Table::Bodies => (ENTRIES, true),
        Table::Marks => ("how far this node has signed; without that it must not sign again, unless its own entries are all here", true),
        Table::Spent => ("which of its keys must not sign again", false),
        Table::Ledgers => ("invitations: what was opened with them stays closed until they come again", false),
        Table::Peers => ("contacts", false),
        Table::Delivered => ("which documents are here in full; they are compared with what peers hold, again", true),
        Table::Checkpoints => ("last signs of life of patients; they come again with the next exchange", true),
        Table::Pending => ("whom invitations have reached; they are sent once more", true),
        Table::Settings => ("the node's own addresses; they are made again", true),
        Table::Names | Table::Secrets | Table::Documents => ("nothing that this version keeps", true),
    }
}

/// A finding of the vault in words. `whole`: nothing was lost by it.
pub(super) fn explain(damage: &Damage, whole: bool) -> FindingInfo {
    let tables: Vec<Table> = Table::ALL.into_iter().filter(|table| damage.touches(*table)).collect();
    let (meaning, advice) = match &damage.reach {
        _ if whole => ("nothing is lost: what it says is held twice".to_owned(), Some(MENDS)),
        Reach::Any => ("anything in the vault may be missing or old, and this node must not sign with what it holds".to_owned(), Some(MENDS)),
        _ if tables.is_empty() => ("nothing is lost by it alone".to_owned(), Some(MENDS)),
        _ => {
            let words: BTreeSet<&str> = tables.iter().map(|table| meaning(*table).0).collect();
            (format!("it may have held: {}", words.into_iter().collect::<Vec<_>>().join("; ")), Some(MENDS))
        }
    };
    FindingInfo { object: damage.object.clone(), problem: damage.reason.clone(), state: super::DAMAGED.into(), meaning, advice: advice.map(Into::into) }
}

/// Whether something of what such damage took cannot come again by itself.
pub(super) fn is_final(damage: &Damage) -> bool {
    Table::ALL.into_iter().any(|table| damage.touches(table) && !meaning(table).1)
}

/// Takes out of the second vault what does not fit, and makes its marks safe. Whether anything was changed.
pub(super) fn settle(vault: &Vault, checkup: &Checkup, whole: bool, info: &mut DoctorInfo) -> Result<bool, ApiError> {
    let keys = Keys::read(vault.secrets())?;
    let mut settled = Settled { vault, own: keys.author(), out: Batch::new(), ledgers: BTreeMap::new() };
    settled.forms(info)?;
    for id in settled.known()? {
        settled.ledger(id, info)?;
    }
    vault.renew_spent().map_err(ApiError::failed)?;
    let before = vault.get(Table::Meta, INCOMPLETE).map_err(ApiError::failed)?.is_some();
    if before {
        info.note("this home", "its repair is not finished", UNFINISHED, Some(MENDS));
    }
    let lost = |table| !whole && checkup.damage.iter().any(|damage| damage.touches(table));
    let mut changed = !settled.out.is_empty();
    let (marks, entries) = (lost(Table::Marks), before || changed || lost(Table::Entries));
    if changed || !whole {
        settled.out.put(Table::Meta, INCOMPLETE, Vec::new());
    }
    let Settled { out, ledgers, own, .. } = settled;
    vault.commit(out).map_err(ApiError::failed)?;
    if marks && (entries || ledgers.values().any(Option::is_none)) {
        vault.spend_everywhere(&own).map_err(ApiError::failed)?;
        info.findings.push(FindingInfo {
            object: "this node's signing key".into(),
            problem: "how far it has signed is not known".into(),
            state: super::LOST.into(),
            meaning: "after a repair this home signs nothing more, since two entries in one place would void all that follow: a patient's still reads and exports, a provider's reads nothing, since it \
                      can leave no receipt"
                .into(),
            advice: Some("a patient: `chartmesh recover` makes a new device; a provider: make a new home and ask the patient for a grant".into()),
        });
        changed = true;
    } else if marks {
        for ledger in ledgers.values().flatten() {
            for lane in ledger.lanes() {
                if let Some(last) = ledger.entries_after(lane, &own, 0).last() {
                    vault.restore_mark(last).map_err(ApiError::failed)?;
                }
            }
        }
        changed = true;
    } else {
        behind(vault, &own, ledgers.values().flatten(), info)?;
    }
    Ok(changed)
}

/// Own logs that end before their mark: entries were lost that may come again.
fn behind<'a>(vault: &Vault, own: &AuthorKey, ledgers: impl Iterator<Item = &'a Ledger>, info: &mut DoctorInfo) -> Result<(), ApiError> {
    for ledger in ledgers {
        for (lane, mark) in vault.marks(&ledger.id(), own).map_err(ApiError::failed)? {
            if ledger.next(&lane, own).0 <= mark.seq {
                let object = format!("lane {} of ledger {}", lane.short(), ledger.id().short());
                info.note(object, "the last entries that this node has signed are missing", ENTRIES, Some(MENDS));
            }
        }
    }
    Ok(())
}

struct Settled<'a> {
    vault: &'a Vault,
    own: AuthorKey,
    out: Batch,
    /// Each ledger that is held, if it opens.
    ledgers: BTreeMap<LedgerId, Option<Ledger>>,
}

impl Settled<'_> {
    /// Every row of a table whose key begins so, a page at a time.
    fn each(&self, table: Table, prefix: &[u8], mut take: impl FnMut(&[u8], &[u8])) -> Result<(), ApiError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.vault.page(table, prefix, after.as_deref(), PAGE).map_err(ApiError::failed)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            page.iter().for_each(|(key, value)| take(key, value));
        }
    }

    /// The ledgers of which anything is stored.
    fn known(&self) -> Result<BTreeSet<LedgerId>, ApiError> {
        let mut known = BTreeSet::new();
        for table in [Table::Charters, Table::Entries, Table::Ledgers] {
            self.each(table, &[], |key, _| known.extend(key.first_chunk::<32>().map(|id| LedgerId::new(*id))))?;
        }
        Ok(known)
    }

    /// Tables whose values stand for themselves.
    fn forms(&mut self, info: &mut DoctorInfo) -> Result<(), ApiError> {
        type Check = fn(&[u8], &[u8]) -> bool;
        let checks: [(Table, Check); 7] = [
            (Table::Ledgers, |key, value| key.len() == 32 && from_canonical::<Membership>(value).is_ok()),
            (Table::Peers, |key, value| Peer::read(value).is_ok_and(|peer| peer.party().as_bytes() == key)),
            (Table::Delivered, |key, _| key.len() == 64),
            (Table::Checkpoints, |key, value| key.len() == 64 && Signed::<Checkpoint>::from_bytes(value.to_vec()).verify().is_ok()),
            (Table::Pending, |key, _| key.len() == 64 || key.len() == 48),
            (Table::Settings, is_setting),
            (Table::Marks, |key, value| key.len() == 96 && value.len() == 40),
        ];
        for (table, check) in checks {
            let mut wrong = Vec::new();
            self.each(table, &[], |key, value| {
                if !check(key, value) {
                    wrong.push(key.to_vec())
                }
            })?;
            for key in wrong {
                let object = format!("{table:?} {}", key.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
                info.note(object, "it is not what belongs there", meaning(table).0, Some(MENDS));
                self.out.remove(table, &key);
            }
        }
        Ok(())
    }

    fn ledger(&mut self, id: LedgerId, info: &mut DoctorInfo) -> Result<(), ApiError> {
        info.ledgers += 1;
        let ledger = self.charters(id, info)?;
        self.ledgers.insert(id, None);
        let Some(mut ledger) = ledger else { return Ok(()) };
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        self.each(Table::Entries, id.as_bytes(), |key, header| rows.push((key.to_vec(), header.to_vec())))?;
        let mut certs = CertCache::new();
        let (mut entries, mut places) = (Vec::new(), BTreeMap::new());
        let mut wrong = 0u64;
        for (key, header) in rows {
            let body = self.vault.get(Table::Bodies, &key).map_err(ApiError::failed)?.map(|body| ByteBuf::from(body.to_vec()));
            let mut read = |body| Entry::read_with(RawEntry { header: Signed::from_bytes(header.clone()), body }, &mut certs);
            match read(body) {
                Ok(entry) if EntryKey::of(&entry).to_bytes() == key => {
                    places.insert(entry.hash(), key);
                    entries.push(entry);
                }
                Err(EntryError::Body) => {
                    self.out.remove(Table::Bodies, &key);
                    wrong += 1;
                }
                Ok(_) | Err(_) => {
                    self.out.remove(Table::Entries, &key).remove(Table::Bodies, &key);
                    wrong += 1;
                }
            }
        }
        let called = format!("ledger {}", id.short());
        if wrong > 0 {
            info.note(&called, format!("{wrong} entries are not what they were signed as"), ENTRIES, Some(MENDS));
        }
        let outcome = ledger.add_all(entries);
        info.entries += outcome.added.len() as u64;
        if let Some((_, why)) = outcome.refused.first() {
            let problem = format!("{} entries do not follow from those that are here ({why})", outcome.refused.len());
            info.note(&called, problem, ENTRIES, Some(MENDS));
        }
        for key in outcome.refused.iter().filter_map(|(entry, _)| places.get(entry)) {
            self.out.remove(Table::Entries, key).remove(Table::Bodies, key);
        }
        self.ledgers.insert(id, Some(ledger));
        Ok(())
    }

    /// The ledger with its charters and nothing else; none if the first one is not here.
    fn charters(&mut self, id: LedgerId, info: &mut DoctorInfo) -> Result<Option<Ledger>, ApiError> {
        let mut charters = Vec::new();
        self.each(Table::Charters, id.as_bytes(), |key, value| charters.push((key.to_vec(), Signed::<Charter>::from_bytes(value.to_vec()))))?;
        let version = |charter: &Signed<Charter>| charter.clone().verify().map_or(u64::MAX, |charter| charter.version);
        charters.sort_by_key(|(key, charter)| (version(charter), key.clone()));
        let called = format!("ledger {}", id.short());
        let mut ledger: Option<Ledger> = None;
        for (key, charter) in charters {
            let named = key[32..] == *CharterHash::of(charter.as_bytes()).as_bytes();
            let taken = named
                && match &mut ledger {
                    Some(ledger) => ledger.add_charter(charter).is_ok(),
                    None => Ledger::begin(charter).ok().filter(|begun| begun.id() == id).is_some_and(|begun| ledger.replace(begun).is_none()),
                };
            if taken {
                info.charters += 1;
            } else {
                self.out.remove(Table::Charters, &key);
                info.note(&called, "a charter is not what it was signed as, or an earlier one is missing", meaning(Table::Charters).0, Some(MENDS));
            }
        }
        if ledger.is_none() {
            info.note(&called, "its first charter is missing", "nothing of this patient opens until it comes again", Some(MENDS));
        }
        Ok(ledger)
    }
}
