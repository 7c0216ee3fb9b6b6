//! What the words decide, and what is owed once a device is suspended.

use chartmesh_identity::{AccessId, CharterHash};
use chartmesh_ledger::{Device, Duty, Refusal, Verdict, Wanted, duties};

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
    // As a recovery makes it: after the last one that rank 0 decided on.
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

#[test]
fn an_epoch_of_a_suspended_device_is_replaced_also_if_it_covers_itself() {
    let mut w = World::new();
    let first = w.set_up();
    let of_device = AccessId::of_device(&w.b.author());
    let own = w.b.write(CATALOG, epoch(2, vec![first], vec![of_device]));
    w.add(&own);
    assert_eq!(duties(&w.ledger, &Wanted::default(), 0), []);
    w.suspend(11, vec![head(&own)]);
    assert_eq!(w.ledger.lane(&CATALOG).usable, Some(own.hash()), "it was made before the fence");
    assert_eq!(duties(&w.ledger, &Wanted::default(), 0), [Duty::Epoch { catalog: CATALOG }]);
    let next = w.a.write(CATALOG, epoch(3, vec![own.hash()], vec![of_device]));
    w.add(&next);
    assert_eq!(duties(&w.ledger, &Wanted::default(), 0), []);
}

/// A thief lists a provider among the devices, of which that one then would be one without authority.
#[test]
fn a_void_charter_makes_nobody_a_device() {
    let mut w = World::new();
    let id = w.ledger.id();
    let epoch = w.set_up();
    let publish = w.x.contribute(Some(epoch), 1);
    assert_eq!(w.judge(&publish), Verdict::Stands);
    w.suspend(11, vec![]);
    let listed = Device { key: w.x.author(), ..device(12) };
    let rival = next_charter(id, &w.genesis, 2, |charter| charter.devices.push(listed));
    w.charter(&rival);
    assert!(w.ledger.is_device(&w.x.author()) && !w.ledger.is_listed(&w.x.author()));
    assert_eq!(w.verdict(&publish), Verdict::Stands);
    let late = w.x.contribute(Some(epoch), 2);
    assert_eq!(w.judge(&late), Verdict::Stands);
}
