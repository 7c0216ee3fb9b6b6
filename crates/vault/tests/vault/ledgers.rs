//! Ledgers at rest, and the marks that keep our own keys from forking their logs.

use chartmesh_identity::{AuthorKey, CharterHash, EntryHash, LaneId, LedgerId, Recipient, Signed, SigningSecret, Verified};
use chartmesh_ledger::{Action, Charter, Entry, EntryHeader, RawEntry, SUITE};
use chartmesh_vault::{Batch, Bodies, EntryKey, Mark, Table, VaultError};
use proptest::prelude::*;

use crate::home::Home;

fn header(author: AuthorKey, ledger: u8, lane: u8, seq: u64, prev: Option<EntryHash>) -> EntryHeader {
    EntryHeader {
        suite: SUITE,
        ledger: LedgerId::new([ledger; 32]),
        lane: LaneId::new([lane; 32]),
        author,
        cert: None,
        seq,
        prev,
        time: 0,
        action: Action::Key {},
        uses: None,
        epoch: None,
        body: None,
        crit: Vec::new(),
        unknown: Vec::new(),
    }
}

fn charter(seed: u8, before: Option<&Verified<Charter>>, time: i64) -> Verified<Charter> {
    let key = SigningSecret::from_seed(&[seed; 32]);
    let recipient = Recipient::from_bytes(&[seed; Recipient::LEN]).unwrap();
    let charter = Charter {
        version: before.map_or(0, |before| before.version + 1),
        prev: before.map(|before| CharterHash::of(before.as_bytes())),
        ledger: None,
        signer: key.root(),
        threshold: 1,
        roots: Vec::new(),
        devices: Vec::new(),
        recovery: recipient.clone(),
        keyring: recipient,
        keyring_lane: LaneId::new([seed; 32]),
        custodians: Vec::new(),
        min_suite: 1,
        continues: None,
        crit: Vec::new(),
        time,
    };
    Signed::sign(charter, &key)
}

#[test]
fn charters_come_back_by_version_and_name_their_ledgers() {
    let home = Home::new();
    let vault = home.create();
    assert!(vault.ledgers().unwrap().is_empty());
    let mut expected = Vec::new();
    for seed in [1u8, 2, 255] {
        let genesis = charter(seed, None, 0);
        let second = charter(seed, Some(&genesis), 1);
        let mut rivals = [charter(seed, Some(&second), 2), charter(seed, Some(&second), 3)];
        rivals.sort_by_key(|rival| CharterHash::of(rival.as_bytes()));
        let ledger = CharterHash::of(genesis.as_bytes()).as_ledger();
        for charter in [&rivals[1], &second, &genesis, &rivals[0], &second] {
            vault.save_charter(&ledger, charter).unwrap();
        }
        expected.push((ledger, [&genesis, &second, &rivals[0], &rivals[1]].map(|charter| charter.signed().clone())));
    }
    drop(vault);
    let vault = home.open().unwrap();
    assert_eq!(vault.ledgers().unwrap(), expected.iter().map(|(ledger, _)| *ledger).collect());
    for (ledger, charters) in expected {
        assert_eq!(vault.load_ledger(&ledger, Bodies::Read).unwrap().charters, charters);
    }
    assert!(vault.load_ledger(&LedgerId::new([9; 32]), Bodies::Read).unwrap().charters.is_empty());
}

/// A log of `len` entries of one author in one lane, each with a body.
fn log(seed: u8, ledger: u8, lane: u8, len: u64) -> Vec<Entry> {
    let key = SigningSecret::from_seed(&[seed; 32]);
    let mut entries: Vec<Entry> = Vec::new();
    for seq in 1..=len {
        let prev = entries.last().map(Entry::hash);
        entries.push(Entry::sign(header(key.author(), ledger, lane, seq, prev), Some(vec![seed, lane, seq as u8]), &key));
    }
    entries
}

fn sorted(mut entries: Vec<Entry>) -> Vec<RawEntry> {
    entries.sort_by_key(EntryKey::of);
    entries.iter().map(Entry::to_raw).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn entries_come_back_in_order_and_by_ledger(logs in prop::collection::btree_map((1u8..4, 1u8..3, 1u8..4), 1u64..4, 1..6), seed: u64) {
        let home = Home::new();
        let vault = home.create();
        let all: Vec<Entry> = logs.into_iter().flat_map(|((author, ledger, lane), len)| log(author, ledger, lane, len)).collect();
        let mut shuffled: Vec<&Entry> = all.iter().collect();
        shuffled.sort_by_key(|entry| entry.hash().as_bytes()[0] ^ seed as u8);
        for part in shuffled.chunks(3) {
            vault.save_entries(part.iter().copied()).unwrap();
        }
        drop(vault);
        let vault = home.open().unwrap();
        for ledger in [1u8, 2] {
            let ledger = LedgerId::new([ledger; 32]);
            let expected = sorted(all.iter().filter(|entry| entry.header.ledger == ledger).cloned().collect());
            prop_assert_eq!(&vault.load_ledger(&ledger, Bodies::Read).unwrap().entries, &expected);
            for raw in vault.load_ledger(&ledger, Bodies::Leave).unwrap().entries {
                prop_assert!(raw.body.is_none());
                let entry = Entry::read(raw).unwrap();
                prop_assert!(vault.body(&EntryKey::of(&entry)).unwrap().is_some());
            }
        }
    }
}

#[test]
fn a_body_can_be_erased_and_the_entry_stays() {
    let home = Home::new();
    let vault = home.create();
    let entries = log(1, 1, 1, 3);
    vault.save_entries(&entries).unwrap();
    vault.erase_body(&EntryKey::of(&entries[1])).unwrap();
    let stored = vault.load_ledger(&entries[0].header.ledger, Bodies::Read).unwrap().entries;
    assert_eq!(stored.iter().map(|entry| entry.body.is_some()).collect::<Vec<_>>(), [true, false, true]);
    let mut bare = entries[0].clone();
    bare.body = None;
    vault.save_entries([&bare]).unwrap();
    assert!(vault.body(&EntryKey::of(&bare)).unwrap().is_some(), "an entry that comes again without its body must not take it away");
}

#[test]
fn a_key_never_signs_one_number_twice() {
    let home = Home::new();
    let vault = home.create();
    let entries = log(1, 1, 1, 4);
    let all: Vec<&Entry> = entries.iter().collect();
    let EntryKey { ledger, lane, author, .. } = EntryKey::of(all[0]);
    assert_eq!(vault.mark(&ledger, &lane, &author).unwrap(), None);
    assert!(matches!(vault.commit_signed(Batch::new(), &all[1..2]), Err(VaultError::NotNext { seq: 2, next: 1, .. })), "a gap");
    vault.commit_signed(Batch::new(), &[all[1], all[0]]).unwrap();
    drop(vault);

    let vault = home.open().unwrap();
    assert_eq!(vault.mark(&ledger, &lane, &author).unwrap(), Some(Mark { seq: 2, hash: all[1].hash() }));
    let mut batch = Batch::new();
    batch.put(Table::Pending, b"with it", *b"x");
    assert!(matches!(vault.commit_signed(batch, &all[1..3]), Err(VaultError::NotNext { seq: 2, next: 3, .. })), "again");
    assert!(vault.get(Table::Pending, b"with it").unwrap().is_none());
    let key = SigningSecret::from_seed(&[1; 32]);
    let elsewhere = Entry::sign(header(author, 1, 1, 3, Some(all[0].hash())), None, &key);
    assert!(matches!(vault.commit_signed(Batch::new(), &[&elsewhere]), Err(VaultError::NotNext { seq: 3, next: 3, .. })), "after another entry");
    let further = Entry::sign(header(author, 1, 1, 9, Some(all[1].hash())), None, &key);
    assert!(matches!(vault.commit_signed(Batch::new(), &[&further]), Err(VaultError::NotNext { seq: 9, next: 3, .. })), "a gap after the right entry");
    assert!(matches!(vault.commit_signed(Batch::new(), &[all[2], &elsewhere]), Err(VaultError::NotNext { .. })), "a fork within one batch");
    vault.commit_signed(Batch::new(), &all[2..]).unwrap();
    assert_eq!(vault.load_ledger(&ledger, Bodies::Read).unwrap().entries, sorted(entries.clone()));
    let other_lane = log(1, 1, 2, 1);
    vault.commit_signed(Batch::new(), &[&other_lane[0]]).unwrap();
}

#[test]
fn a_restored_copy_is_noticed_and_stops_signing() {
    let home = Home::new();
    let vault = home.create();
    let entries = log(1, 1, 1, 4);
    vault.commit_signed(Batch::new(), &[&entries[0], &entries[1]]).unwrap();
    let EntryKey { ledger, author, .. } = EntryKey::of(&entries[0]);
    vault.check_own(&entries[0]).unwrap();
    assert!(!vault.is_spent(&ledger, &author).unwrap());
    assert!(matches!(vault.check_own(&entries[3]), Err(VaultError::Restored { ledger: l, author: a }) if l == ledger && a == author));
    drop(vault);

    let vault = home.open().unwrap();
    assert!(vault.is_spent(&ledger, &author).unwrap());
    assert!(matches!(vault.commit_signed(Batch::new(), &[&entries[2]]), Err(VaultError::Restored { .. })));
    let elsewhere = log(1, 2, 1, 1);
    vault.commit_signed(Batch::new(), &[&elsewhere[0]]).unwrap();
    let new_key = log(2, 1, 1, 1);
    vault.commit_signed(Batch::new(), &[&new_key[0]]).unwrap();

    // A leaf with one of the two notes is lost.
    vault.remove(Table::Spent, &[&ledger.as_bytes()[..], author.as_bytes()].concat()).unwrap();
    assert!(vault.is_spent(&ledger, &author).unwrap());
    assert!(matches!(vault.commit_signed(Batch::new(), &[&entries[2]]), Err(VaultError::Restored { .. })));
    vault.spend_everywhere(&author).unwrap();
    assert!(matches!(vault.commit_signed(Batch::new(), &[&log(1, 3, 1, 1)[0]]), Err(VaultError::Restored { .. })), "in a ledger that is not known yet");
    vault.remove(Table::Spent, author.as_bytes()).unwrap();
    assert!(vault.is_spent(&LedgerId::new([3; 32]), &author).unwrap());
    vault.renew_spent().unwrap();
    assert_eq!(vault.scan(Table::Spent, &[]).unwrap().len(), 2, "both are noted again");
}

#[test]
fn a_mark_is_never_lowered() {
    let home = Home::new();
    let vault = home.create();
    let entries = log(1, 1, 1, 3);
    vault.commit_signed(Batch::new(), &entries.iter().collect::<Vec<_>>()).unwrap();
    let EntryKey { ledger, lane, author, .. } = EntryKey::of(&entries[0]);
    vault.restore_mark(&entries[1]).unwrap();
    assert_eq!(vault.mark(&ledger, &lane, &author).unwrap().unwrap().seq, 3);
    assert_eq!(vault.marks(&ledger, &author).unwrap().len(), 1);
}
