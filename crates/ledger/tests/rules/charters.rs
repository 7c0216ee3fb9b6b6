//! Which charter holds, and who has authority under it.

use chartmesh_identity::{CharterHash, Signed};
use chartmesh_ledger::{Added, Charter, Fence, Ledger, Peer, Refusal, Root, Use, Verdict, Void, lanes_for, peer};
use proptest::prelude::*;

use crate::world::*;

#[test]
fn a_ledger_begins_with_a_version_that_one_of_its_own_roots_signed() {
    let genesis = Signed::sign(first_charter(), &secret(1));
    let ledger = Ledger::begin(genesis.signed().clone()).unwrap();
    assert_eq!(ledger.id(), CharterHash::of(genesis.as_bytes()).as_ledger());
    let stranger = Signed::sign(Charter { signer: secret(9).root(), ..first_charter() }, &secret(9));
    assert_eq!(Ledger::begin(stranger.signed().clone()).unwrap_err(), Refusal::NotARoot(0));
    let forged = Signed::sign(first_charter(), &secret(9));
    assert!(matches!(Ledger::begin(forged.signed().clone()), Err(Refusal::Signed(_))));
    let later = Signed::sign(Charter { version: 1, ..first_charter() }, &secret(1));
    assert_eq!(Ledger::begin(later.signed().clone()).unwrap_err(), Refusal::Version(1));
    let doubled = Signed::sign(Charter { devices: vec![device(10), device(10)], ..first_charter() }, &secret(1));
    assert_eq!(Ledger::begin(doubled.signed().clone()).unwrap_err(), Refusal::Bounds("devices"));
}

#[test]
fn versions_follow_one_another_and_only_roots_sign_them() {
    let mut w = World::new();
    let id = w.ledger.id();
    let one = next_charter(id, &w.genesis, 2, |_| {});
    let two = next_charter(id, &one, 2, |_| {});
    assert!(matches!(w.ledger.add_charter(two.signed().clone()), Err(Refusal::UnknownParent { version: 2, .. })));
    assert_eq!(w.ledger.add_charter(one.signed().clone()), Ok(Added::New));
    assert_eq!(w.ledger.add_charter(one.signed().clone()), Ok(Added::Known));
    assert_eq!(w.ledger.add_charter(two.signed().clone()), Ok(Added::New));
    assert_eq!(w.ledger.charter().version, 2);
    let stranger = next_charter(id, &two, 9, |_| {});
    assert_eq!(w.ledger.add_charter(stranger.signed().clone()), Err(Refusal::NotARoot(3)));
    let added_itself = next_charter(id, &two, 9, |charter| charter.roots[0].key = secret(9).root());
    assert_eq!(w.ledger.add_charter(added_itself.signed().clone()), Err(Refusal::NotARoot(3)));
    let skipped = next_charter(id, &two, 2, |charter| charter.version = 9);
    assert_eq!(w.ledger.add_charter(skipped.signed().clone()), Err(Refusal::Version(9)));
    let elsewhere = next_charter(chartmesh_identity::LedgerId::of(b"x"), &two, 2, |_| {});
    assert_eq!(w.ledger.add_charter(elsewhere.signed().clone()), Err(Refusal::OtherLedger));
}

#[test]
fn a_device_is_never_dropped_and_never_revived() {
    let mut w = World::new();
    let id = w.ledger.id();
    let entry = w.a.write(CIRCLE, grant(w.x.party()));
    w.add(&entry);
    let drops = next_charter(id, &w.genesis, 1, |charter| charter.devices.truncate(1));
    assert!(matches!(w.ledger.add_charter(drops.signed().clone()), Err(Refusal::DropsDevice { .. })));
    let demotes = next_charter(id, &w.genesis, 1, |charter| charter.devices[1].role = "guest".into());
    assert!(matches!(w.ledger.add_charter(demotes.signed().clone()), Err(Refusal::DropsDevice { .. })));
    let suspends = next_charter(id, &w.genesis, 1, |charter| charter.devices[0].suspended = Some(vec![head(&entry)]));
    w.charter(&suspends);
    let revives = next_charter(id, &suspends, 1, |charter| charter.devices[0].suspended = None);
    assert!(matches!(w.ledger.add_charter(revives.signed().clone()), Err(Refusal::Revives { .. })));
    let later = w.a.write(CIRCLE, revoke(Fence::default()));
    let raises = next_charter(id, &suspends, 1, |charter| charter.devices[0].suspended = Some(vec![head(&later)]));
    assert!(matches!(w.ledger.add_charter(raises.signed().clone()), Err(Refusal::Revives { .. })));
    let lowers = next_charter(id, &suspends, 1, |charter| charter.devices[0].suspended = Some(vec![]));
    w.charter(&lowers);
    assert_eq!(w.verdict(&entry), Verdict::Void(Void::Fenced));
}

#[test]
fn a_root_cannot_reach_above_its_rank() {
    let mut w = World::new();
    let id = w.ledger.id();
    let changes: [fn(&mut Charter); 4] = [
        |charter| charter.roots.retain(|root| root.rank > 0),
        |charter| charter.roots[0].rank = 1,
        |charter| charter.roots[1].rank = 0,
        |charter| charter.roots.push(Root { key: secret(9).root(), rank: 0 }),
    ];
    for change in changes {
        let next = next_charter(id, &w.genesis, 2, change);
        assert_eq!(w.ledger.add_charter(next.signed().clone()), Err(Refusal::AboveRank(1)));
    }
    let next = next_charter(id, &w.genesis, 2, |charter| charter.recovery = recipient(9));
    assert_eq!(w.ledger.add_charter(next.signed().clone()), Err(Refusal::Recovery(1)));
    let own_rank = next_charter(id, &w.genesis, 2, |charter| {
        charter.roots.retain(|root| root.key != secret(3).root());
        charter.roots.push(Root { key: secret(4).root(), rank: 1 });
        charter.keyring = recipient(9);
    });
    assert_eq!(w.ledger.add_charter(own_rank.signed().clone()), Ok(Added::New), "its own rank and the keyring are its to change");
    let rank_0 = next_charter(id, &w.genesis, 1, |charter| {
        charter.roots = vec![Root { key: secret(5).root(), rank: 0 }];
        charter.recovery = recipient(9);
    });
    assert_eq!(w.ledger.add_charter(rank_0.signed().clone()), Ok(Added::New));
    assert_eq!(w.ledger.charter().recovery, recipient(9));
}

#[test]
fn a_root_speaks_for_the_patient_while_the_charter_and_every_rival_of_it_list_it() {
    let mut w = World::new();
    let id = w.ledger.id();
    let speak = |w: &World| [1, 2, 3, 4].map(|seed| w.ledger.is_root(&secret(seed).root()));
    assert_eq!(speak(&w), [true, true, true, false]);
    let patient = next_charter(id, &w.genesis, 3, |charter| charter.roots.retain(|root| root.key != secret(2).root()));
    w.charter(&patient);
    assert_eq!(speak(&w), [true, false, true, false]);
    let thief = next_charter(id, &w.genesis, 2, |charter| charter.roots.retain(|root| root.key != secret(3).root()));
    w.charter(&thief);
    assert!(w.ledger.contested());
    assert_eq!(speak(&w), [true, false, false, false], "whoever was dropped does not come back by contesting it");
    let words = next_charter(id, &w.genesis, 1, |charter| charter.roots = vec![Root { key: secret(4).root(), rank: 0 }]);
    w.charter(&words);
    assert_eq!(speak(&w), [false, false, false, true]);
    let ever = [1, 2, 3, 4].map(|seed| w.ledger.was_of_rank_0(&secret(seed).root()));
    assert_eq!(ever, [true, false, false, true]);
}

#[test]
fn a_new_custodian_changes_nothing_about_what_entries_are_worth() {
    let mut w = World::new();
    let id = w.ledger.id();
    let before = w.ledger.charter_heads().to_vec();
    let custodian = chartmesh_ledger::Custodian { party: w.x.party(), card: device(30).card, endpoint: device(30).endpoint };
    let another = next_charter(id, &w.genesis, 2, |charter| charter.custodians.push(custodian));
    w.charter(&another);
    assert!(w.ledger.judges_as_under(&before) && w.ledger.charter_heads() != before);
    let suspended = next_charter(id, &another, 2, |charter| charter.devices[0].suspended = Some(Vec::new()));
    w.charter(&suspended);
    assert!(!w.ledger.judges_as_under(&before));
    let before = w.ledger.charter_heads().to_vec();
    let rival = next_charter(id, &another, 3, |charter| charter.devices.push(device(30)));
    w.charter(&rival);
    assert!(w.ledger.contested() && !w.ledger.judges_as_under(&before));
}

#[test]
fn the_lowest_rank_wins_and_voids_its_rivals_and_their_successors() {
    let mut w = World::new();
    let id = w.ledger.id();
    let thief = next_charter(id, &w.genesis, 2, |charter| charter.devices.push(device(12)));
    let successor = next_charter(id, &thief, 2, |_| {});
    w.charter(&thief);
    w.charter(&successor);
    let mut pen = Pen::new(id, 12);
    let by_thief = pen.write(CIRCLE, grant(w.x.party()));
    assert_eq!(w.judge(&by_thief), Verdict::Stands);
    let patient = next_charter(id, &w.genesis, 1, |charter| charter.time = 7);
    w.charter(&patient);
    assert!(!w.ledger.contested());
    assert_eq!(w.ledger.charter_hash(), CharterHash::of(patient.as_bytes()));
    assert_eq!(w.verdict(&by_thief), Verdict::Void(Void::NoAuthority));
    assert_eq!(w.ledger.charters().count(), 4, "voided versions are kept");
    let standing: Vec<_> = w.ledger.standing_charters().cloned().collect();
    assert_eq!(standing, [w.genesis.signed().clone(), patient.signed().clone()]);
    assert!(w.ledger.charters().cloned().collect::<Vec<_>>().starts_with(&standing), "and come after the others");
}

#[test]
fn of_several_of_rank_0_the_lowest_hash_wins() {
    for flip in [false, true] {
        let mut w = World::new();
        let id = w.ledger.id();
        let mut both = [1, 2].map(|time| next_charter(id, &w.genesis, 1, |charter| charter.time = time));
        let lowest = both.iter().map(|charter| CharterHash::of(charter.as_bytes())).min().unwrap();
        if flip {
            both.reverse();
        }
        both.iter().for_each(|charter| w.charter(charter));
        assert!(!w.ledger.contested());
        assert_eq!(w.ledger.charter_hash(), lowest);
    }
}

#[test]
fn while_contested_giving_needs_all_rivals_and_taking_away_any() {
    let mut w = World::new();
    let id = w.ledger.id();
    // Root 2 suspends device 11 and admits 12; root 3 admits 13.
    let one = next_charter(id, &w.genesis, 2, |charter| {
        charter.devices[1].suspended = Some(vec![]);
        charter.devices.push(device(12));
    });
    let other = next_charter(id, &w.genesis, 3, |charter| charter.devices.push(device(13)));
    w.charter(&one);
    w.charter(&other);
    assert!(w.ledger.contested());
    assert_eq!(w.ledger.charter().version, 0, "the version before the rivals stays in force");
    let (mut c, mut d) = (Pen::new(id, 12), Pen::new(id, 13));
    let gives = [w.a.write(CIRCLE, grant(w.x.party())), w.b.write(CIRCLE, grant(w.x.party())), c.write(OTHER, grant(w.y.party()))];
    let verdicts = gives.each_ref().map(|entry| w.judge(entry));
    assert_eq!(verdicts, [Verdict::Stands, Verdict::Void(Void::Fenced), Verdict::Void(Void::NoAuthority)]);
    assert!(w.ledger.lane(&CIRCLE).grants[&GRANT].revoked.is_none());
    let takes = d.write(CIRCLE, revoke(Fence::default()));
    assert_eq!(w.judge(&takes), Verdict::Stands);
    assert!(w.ledger.lane(&CIRCLE).grants[&GRANT].revoked.is_some());
    let takes = w.b.write(CIRCLE, revoke(Fence::default()));
    assert_eq!(w.judge(&takes), Verdict::Stands, "11 is suspended by one rival only");
    let served = [10, 11, 12, 13].map(|seed| peer(&w.ledger, &secret(seed).party(), &secret(seed + 100).endpoint()));
    assert_eq!(served, [Peer::Device(w.a.author()), Peer::Stranger, Peer::Stranger, Peer::Stranger]);

    let decided = next_charter(id, &w.genesis, 1, |charter| charter.devices.push(device(12)));
    w.charter(&decided);
    assert!(!w.ledger.contested());
    assert_eq!(gives.each_ref().map(|entry| w.verdict(entry)), [Verdict::Void(Void::Revoked), Verdict::Void(Void::Revoked), Verdict::Stands]);
    assert_eq!(w.ledger.lane(&CIRCLE).grants[&GRANT].party, w.x.party());
}

#[test]
fn a_role_that_is_not_known_gives_no_authority() {
    let mut w = World::new();
    let id = w.ledger.id();
    let next = next_charter(id, &w.genesis, 1, |charter| {
        let mut guest = device(12);
        guest.role = "guardian".into();
        charter.devices.push(guest);
    });
    w.charter(&next);
    let mut guest = Pen::new(id, 12);
    for action in [grant(w.x.party()), revoke(Fence::default())] {
        let entry = guest.write(CIRCLE, action);
        assert_eq!(w.judge(&entry), Verdict::Void(Void::NoAuthority));
    }
    assert_eq!(peer(&w.ledger, &secret(12).party(), &secret(112).endpoint()), Peer::Stranger);
}

#[test]
fn a_charter_that_is_not_understood_stops_giving() {
    let changes: [fn(&mut Charter); 3] = [|charter| charter.crit = vec!["witnesses".into()], |charter| charter.min_suite = 2, |charter| charter.threshold = 2];
    for change in changes {
        let mut w = World::new();
        let epoch = w.set_up();
        let hands_over = w.a.write(CIRCLE, envelope(vec![epoch], vec![], vec![]));
        w.add(&hands_over);
        let lanes = |w: &World| lanes_for(&w.ledger, &Peer::Party(w.x.party()), 0, Some(0)).len();
        assert_eq!(lanes(&w), 2);
        let id = w.ledger.id();
        let next = next_charter(id, &w.genesis, 1, change);
        w.charter(&next);
        assert_eq!(lanes(&w), 1, "the circle alone");
        let after = next_charter(id, &next, 1, |_| {});
        if w.ledger.charter().threshold > 1 {
            assert_eq!(w.ledger.add_charter(after.signed().clone()), Err(Refusal::Threshold(2)));
        }
    }
}

#[test]
fn entries_of_somebody_who_is_listed_later_count_from_then_on_like_those_that_come_later() {
    let mut w = World::new();
    let id = w.ledger.id();
    w.set_up();
    let grants = w.x.uses(CIRCLE, grant(w.y.party()), Use::Grant(GRANT));
    assert_eq!(w.judge(&grants), Verdict::Void(Void::NoAuthority));
    let next = next_charter(id, &w.genesis, 1, |charter| charter.devices.push(device(20)));
    w.charter(&next);
    assert_eq!(w.verdict(&grants), Verdict::Stands);
    let receipt = w.y.uses(CIRCLE, receipt(1), Use::Grant(GRANT));
    assert_eq!(w.judge(&receipt), Verdict::Stands);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever roots of rank 1 or more sign, one after the other, the roots of rank 0 and the recovery recipient stay as they were.
    #[test]
    fn roots_above_rank_0_never_touch_rank_0_or_recovery(steps in proptest::collection::vec((2u8..5, 1u8..6, 0u64..3, any::<bool>(), any::<bool>()), 1..12)) {
        let mut w = World::new();
        let id = w.ledger.id();
        let mut last = w.genesis.clone();
        for (signer, whom, rank, drop, recovery) in steps {
            let next = next_charter(id, &last, signer, |charter| {
                charter.roots.retain(|root| root.key != secret(whom).root());
                if !drop {
                    charter.roots.push(Root { key: secret(whom).root(), rank });
                }
                if recovery {
                    charter.recovery = recipient(9);
                }
            });
            if w.ledger.add_charter(next.signed().clone()).is_ok() {
                last = next;
            }
        }
        let of_rank_0 = |charter: &Charter| charter.roots.iter().filter(|root| root.rank == 0).copied().collect::<Vec<_>>();
        prop_assert_eq!(of_rank_0(w.ledger.charter()), of_rank_0(&w.genesis));
        prop_assert_eq!(&w.ledger.charter().recovery, &w.genesis.recovery);
    }
}
