//! What the words decide, and what is owed once a device is suspended.

use chartmesh_identity::{AccessId, CharterHash};
use chartmesh_ledger::{Duty, Refusal, Wanted, duties};

use crate::world::*;

/// A thief who had a device's root from the beginning brings out one rival after another, of every version.
#[test]
fn nothing_contests_what_the_words_have_decided() {
    let mut w = World::new();
    let id = w.ledger.id();
    let one = next_charter(id, &w.genesis, 2, |charter| charter.devices.push(device(12)));
    let two = next_charter(id, &one, 3, |charter| charter.time = 5);
    w.charter(&one);
    w.charter(&two);
    assert_eq!(w.ledger.decided(), (CharterHash::of(w.genesis.as_bytes()), 0));
    // As a recovery makes it: what the version in force says, after the last one that rank 0 decided on.
    let (prev, version) = w.ledger.decided();
    let words = next_charter(id, &two, 1, |charter| {
        (charter.prev, charter.version) = (Some(prev), version + 1);
        charter.roots.retain(|root| root.key != secret(2).root());
    });
    w.charter(&words);
    assert_eq!(w.ledger.charter_hash(), CharterHash::of(words.as_bytes()));
    assert_eq!(w.ledger.decided(), (CharterHash::of(words.as_bytes()), 1));
    for of in [&w.genesis.clone(), &one] {
        let rival = next_charter(id, of, 2, |charter| charter.time = 77);
        w.charter(&rival);
        assert!(!w.ledger.contested());
        assert_eq!(w.ledger.charter_hash(), CharterHash::of(words.as_bytes()));
    }
    let late = next_charter(id, &words, 2, |_| {});
    assert!(matches!(w.ledger.add_charter(late.signed().clone()), Err(Refusal::NotARoot(2))));
    // Day to day versions follow, and the next word follows the last one.
    let daily = next_charter(id, &words, 3, |charter| charter.time = 8);
    w.charter(&daily);
    assert_eq!(w.ledger.charter_hash(), CharterHash::of(daily.as_bytes()));
    assert_eq!(w.ledger.decided(), (CharterHash::of(words.as_bytes()), 1));
}

#[test]
fn a_suspended_device_knows_no_epoch_for_long() {
    let mut w = World::new();
    let first = w.set_up();
    assert_eq!(duties(&w.ledger, &Wanted::default(), 0), []);
    w.suspend(11, vec![]);
    let owed = [Duty::Epoch { catalog: CATALOG }];
    assert_eq!(duties(&w.ledger, &Wanted::default(), 0), owed, "though another device made it");
    let of_device = AccessId::of_device(&w.b.author());
    assert_eq!(w.ledger.to_cover(&CATALOG), [of_device]);
    let forgetful = w.a.write(CATALOG, epoch(2, vec![first], vec![]));
    w.add(&forgetful);
    assert_eq!(duties(&w.ledger, &Wanted::default(), 0), owed);
    let next = w.a.write(CATALOG, epoch(3, vec![forgetful.hash()], vec![of_device]));
    w.add(&next);
    assert_eq!(w.ledger.lane(&CATALOG).usable, Some(next.hash()));
    assert_eq!(duties(&w.ledger, &Wanted::default(), 0), []);
}
