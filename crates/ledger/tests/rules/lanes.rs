//! What the entries of a lane come to.

use chartmesh_identity::{AccessId, CertId, NodeRole, SigningSecret};
use chartmesh_ledger::{Action, EntryHeader, Fence, ForkError, ForkProof, MAX_LIST, Use, Verdict, Void};

use crate::world::*;

fn fence(points: &[&chartmesh_ledger::Entry]) -> Fence {
    Fence(points.iter().map(|entry| point(entry)).collect())
}

const NO_AUTHORITY: Verdict = Verdict::Void(Void::NoAuthority);
const FENCED: Verdict = Verdict::Void(Void::Fenced);
const FORKED: Verdict = Verdict::Void(Void::Forked);

/// A list has bounds, and a party makes as many nodes as it likes.
#[test]
fn who_writes_as_thousands_of_nodes_is_barred_all_the_same() {
    let mut w = World::new();
    let epoch = w.set_up();
    let nodes = (0..MAX_LIST + 9).map(|n| {
        let mut node = Pen::new(w.ledger.id(), 40);
        node.certify(SigningSecret::generate(), 20, CertId::new([40; 16]), &[NodeRole::Write]);
        node.contribute(Some(epoch), u8::try_from(n % 250).unwrap())
    });
    let all: Vec<_> = nodes.collect();
    assert_eq!(w.ledger.add_all(all.clone()).added.len(), all.len());
    let of_another = w.ledger.fence_of(&CATALOG, |rests| matches!(rests, Use::Admit { id, .. } if *id != ACCESS));
    assert_eq!(of_another.0.iter().map(|point| point.author).collect::<Vec<_>>(), [w.a.author()], "whoever else writes there has no part in it");
    assert!(w.ledger.fence(&CATALOG).point(&w.a.author()).is_some_and(|_| w.ledger.fence(&CATALOG).0.len() == MAX_LIST));
    let barred = w.a.write(CATALOG, bar(w.ledger.fence_of(&CATALOG, |rests| *rests == admitted())));
    barred.check_bounds().expect("it can be signed");
    assert_eq!(w.judge(&barred), Verdict::Stands);
    let fenced = all.iter().filter(|entry| w.verdict(entry) == FENCED).count();
    assert_eq!(fenced, all.len() - (MAX_LIST - 1));
}

#[test]
fn a_revoked_grant_never_revives() {
    let mut w = World::new();
    let epoch = w.set_up();
    let before = w.a.write(CIRCLE, envelope(vec![epoch], vec![], vec![]));
    assert_eq!(w.judge(&before), Verdict::Stands);
    let revoked = w.b.write(CIRCLE, revoke(Fence::default()));
    assert_eq!(w.judge(&revoked), Verdict::Stands);
    let again = w.a.write(CIRCLE, grant(w.x.party()));
    let after = w.a.write(CIRCLE, envelope(vec![epoch], vec![], vec![]));
    for entry in [&again, &after] {
        assert_eq!(w.judge(entry), Verdict::Void(Void::Revoked));
    }
    assert_eq!(w.verdict(&before), Verdict::Void(Void::Revoked));
    let grant = &w.ledger.lane(&CIRCLE).grants[&GRANT];
    assert_eq!(grant.revoked.as_ref().map(|revoke| revoke.entry), Some(revoked.hash()));
    assert!(!grant.is_live(i64::MIN));
}

#[test]
fn a_revoke_holds_even_before_its_grant_is_known() {
    let mut w = World::new();
    let revoked = w.b.write(CIRCLE, revoke(Fence::default()));
    assert_eq!(w.judge(&revoked), Verdict::Stands);
    let late = w.a.write(CIRCLE, grant(w.x.party()));
    assert_eq!(w.judge(&late), Verdict::Void(Void::Revoked));
}

#[test]
fn an_envelope_needs_its_grant_in_the_same_lane() {
    let mut w = World::new();
    let epoch = w.set_up();
    let elsewhere = w.a.write(OTHER, envelope(vec![epoch], vec![], vec![]));
    assert_eq!(w.judge(&elsewhere), Verdict::Void(Void::NoGrant));
    let early = w.b.write(OTHER, envelope(vec![epoch], vec![], vec![]));
    w.add(&early);
    let grant = w.a.write(OTHER, grant(w.y.party()));
    w.add(&grant);
    assert_eq!((w.verdict(&elsewhere), w.verdict(&early)), (Verdict::Stands, Verdict::Stands));
}

#[test]
fn a_party_gives_nothing_and_revokes_nothing() {
    let mut w = World::new();
    w.set_up();
    let actions = [
        grant(w.y.party()),
        envelope(vec![], vec![], vec![]),
        revoke(Fence::default()),
        bar(Fence::default()),
        admit(w.y.party()),
        epoch(9, vec![], vec![]),
        Action::Key {},
    ];
    for action in actions {
        for (lane, uses) in [(CIRCLE, Use::Grant(GRANT)), (CATALOG, admitted())] {
            let entry = w.x.uses(lane, action.clone(), uses);
            assert_eq!(w.judge(&entry), NO_AUTHORITY, "{}", entry.header.action.code());
        }
    }
    let under_it = w.y.uses(CIRCLE, receipt(1), Use::Grant(GRANT));
    assert!(w.ledger.add_entry(under_it).is_err(), "what a party grants lets nobody in");
    let circle = w.ledger.lane(&CIRCLE);
    assert!(circle.grants.len() == 1 && circle.revokes.is_empty() && w.ledger.lane(&CATALOG).bars.is_empty());
}

#[test]
fn authority_in_a_lane_comes_from_that_lane_alone() {
    let mut w = World::new();
    w.set_up();
    for (lane, uses) in [(OTHER, admitted()), (OTHER, Use::Grant(GRANT)), (CATALOG, Use::Grant(GRANT)), (CIRCLE, admitted())] {
        let entry = w.x.uses(lane, publish(1), uses);
        assert!(w.ledger.add_entry(entry).is_err());
        w.x.rewind(lane, 0);
    }
    let granted = w.a.write(CATALOG, grant(w.x.party()));
    w.add(&granted);
    let by_grant = w.x.uses(CATALOG, publish(1), Use::Grant(GRANT));
    assert_eq!(w.judge(&by_grant), NO_AUTHORITY, "a grant does not let anybody write documents");
}

#[test]
fn a_party_publishes_only_under_its_own_admit() {
    let mut w = World::new();
    let epoch = w.set_up();
    let own = w.x.contribute(Some(epoch), 1);
    assert_eq!(w.judge(&own), Verdict::Stands);
    for uses in [admitted(), Use::Admit { id: ACCESS, salt: [9; 16] }, Use::Admit { id: AccessId::new([9; 16]), salt: SALT }] {
        let stolen = w.y.uses(CATALOG, publish(2), uses);
        assert!(w.ledger.add_entry(stolen).is_err());
        w.y.rewind(CATALOG, 0);
    }
    let bare = w.y.write(CATALOG, publish(2));
    assert!(w.ledger.add_entry(bare).is_err());
}

#[test]
fn a_partys_node_does_what_its_certificate_says() {
    let mut w = World::new();
    let epoch = w.set_up();
    let id = w.ledger.id();
    let mut writer = Pen::node(id, 40, 20, &[NodeRole::Write]);
    let mut reader = Pen::node(id, 41, 20, &[NodeRole::Receipt]);
    let publishes = [writer.contribute(Some(epoch), 1), reader.contribute(Some(epoch), 2)];
    assert_eq!(publishes.each_ref().map(|entry| w.judge(entry)), [Verdict::Stands, NO_AUTHORITY]);
    let receipts = [writer.uses(CIRCLE, receipt(1), Use::Grant(GRANT)), reader.uses(CIRCLE, receipt(1), Use::Grant(GRANT))];
    assert_eq!(receipts.each_ref().map(|entry| w.judge(entry)), [NO_AUTHORITY, Verdict::Stands]);
    let mut stranger = Pen::node(id, 42, 21, &[NodeRole::Write]);
    assert!(w.ledger.add_entry(stranger.contribute(Some(epoch), 3)).is_err());
    let state = w.ledger.lane(&CATALOG);
    assert_eq!(state.publishes[&publishes[0].hash()].party, Some(w.x.party()));
    assert_eq!(state.publishes[&publishes[1].hash()].void, Some(Void::NoAuthority), "quarantined, not dropped");
}

#[test]
fn entries_beyond_a_bars_fence_are_void_and_of_several_fences_the_lowest_holds() {
    let mut w = World::new();
    let epoch = w.set_up();
    let mut node = Pen::node(w.ledger.id(), 40, 20, &[NodeRole::Write]);
    let by_x: Vec<_> = (1..=3).map(|n| w.x.contribute(Some(epoch), n)).collect();
    let by_node = node.contribute(Some(epoch), 4);
    by_x.iter().chain([&by_node]).for_each(|entry| w.add(entry));
    let second = w.a.write(CATALOG, bar(fence(&[&by_x[1], &by_node])));
    w.add(&second);
    let verdicts = |w: &World| by_x.iter().chain([&by_node]).map(|entry| w.verdict(entry) == FENCED).collect::<Vec<_>>();
    assert_eq!(verdicts(&w), [false, false, true, false]);
    let first = w.b.write(CATALOG, bar(fence(&[&by_x[0]])));
    w.add(&first);
    assert_eq!(verdicts(&w), [false, true, true, true], "the lowest, and none of authors not listed");
    let higher = w.a.write(CATALOG, bar(fence(&[&by_x[2], &by_node])));
    w.add(&higher);
    assert_eq!(verdicts(&w), [false, true, true, true]);
    let admitted_again = w.a.write(CATALOG, admit(w.x.party()));
    w.add(&admitted_again);
    assert_eq!(verdicts(&w), [false, true, true, true], "a barred id never revives");
    let state = w.ledger.lane(&CATALOG);
    assert_eq!(state.publishes[&by_x[2].hash()].void, Some(Void::Fenced));
    let withdraw = w.x.uses(CATALOG, Action::Withdraw { publish: by_x[0].hash(), documents: vec![], erase: true }, admitted());
    assert_eq!(w.judge(&withdraw), FENCED);
}

#[test]
fn a_fence_names_a_branch_and_not_a_number() {
    let mut w = World::new();
    let epoch = w.set_up();
    let one = w.x.contribute(Some(epoch), 1);
    w.add(&one);
    w.x.rewind(CATALOG, 0);
    let other = w.x.contribute(Some(epoch), 2);
    let barred = w.a.write(CATALOG, bar(fence(&[&other])));
    w.add(&barred);
    assert_eq!(w.verdict(&one), FENCED, "the fence names another entry at this place");
}

#[test]
fn nothing_voids_testimony() {
    let mut w = World::new();
    w.set_up();
    let before = w.x.uses(CIRCLE, receipt(1), Use::Grant(GRANT));
    w.add(&before);
    let revoked = w.a.write(CIRCLE, revoke(fence(&[&before])));
    w.add(&revoked);
    let after = w.x.uses(CIRCLE, receipt(2), Use::Grant(GRANT));
    let confirm = w.x.uses(CIRCLE, Action::Confirm { revoke: revoked.hash() }, Use::Grant(GRANT));
    let request = w.x.uses(CIRCLE, Action::Request {}, Use::Grant(GRANT));
    let verdicts = [&after, &confirm, &request].map(|entry| w.judge(entry));
    assert_eq!(verdicts, [Verdict::Stands, Verdict::Stands, FENCED]);
    w.x.rewind(CIRCLE, 1);
    let forked = w.x.uses(CIRCLE, receipt(3), Use::Grant(GRANT));
    assert_eq!(w.judge(&forked), Verdict::Stands);
    w.suspend(10, vec![]);
    assert!(w.ledger.lane(&CIRCLE).grants.is_empty(), "the grant is void");
    for entry in [&before, &after, &confirm, &forked] {
        assert_eq!(w.verdict(entry), Verdict::Stands);
    }
    assert_eq!(w.ledger.lane(&CIRCLE).receipts.len(), 3);
}

#[test]
fn a_receipt_after_the_revoke_shows_as_late() {
    let mut w = World::new();
    w.set_up();
    let before = w.x.uses(CIRCLE, receipt(1), Use::Grant(GRANT));
    let after = w.x.uses(CIRCLE, receipt(2), Use::Grant(GRANT));
    let revoked = w.a.write(CIRCLE, revoke(fence(&[&before])));
    [&before, &revoked, &after].iter().for_each(|entry| w.add(entry));
    let confirm = w.x.uses(CIRCLE, Action::Confirm { revoke: revoked.hash() }, Use::Grant(GRANT));
    w.add(&confirm);
    let grant = &w.ledger.lane(&CIRCLE).grants[&GRANT];
    let mut late: Vec<_> = grant.receipts.iter().map(|receipt| (receipt.n, receipt.late)).collect();
    late.sort_unstable();
    assert_eq!(late, [(1, false), (2, true)]);
    assert_eq!(grant.confirms.len(), 1);
}

#[test]
fn forks_are_void_and_proven_but_what_takes_away_stands() {
    let mut w = World::new();
    let epoch = w.set_up();
    let fine = w.b.publish(CATALOG, Some(epoch), 1);
    let one = w.b.publish(CATALOG, Some(epoch), 2);
    let later = w.b.publish(CATALOG, Some(epoch), 3);
    w.b.rewind(CATALOG, 1);
    let other = w.b.publish(CATALOG, Some(epoch), 4);
    let bars = w.b.write(CATALOG, bar(Fence::default()));
    let withdraws = w.b.write(CATALOG, Action::Withdraw { publish: fine.hash(), documents: vec![], erase: false });
    let all = [&fine, &one, &later, &other, &bars, &withdraws];
    all.iter().for_each(|entry| w.add(entry));
    let verdicts = all.map(|entry| w.verdict(entry));
    assert_eq!(verdicts, [Verdict::Stale, FORKED, FORKED, FORKED, Verdict::Stands, Verdict::Stands]);
    assert!(!w.ledger.lane(&CATALOG).publishes[&fine.hash()].withdrawn.is_empty());
    let elsewhere = w.b.write(CIRCLE, grant(w.x.party()));
    assert_eq!(w.judge(&elsewhere), Verdict::Stands, "a fork counts in its own lane");

    let proofs = w.ledger.forks();
    let proven: Vec<_> = proofs.iter().map(|proof| proof.verify().unwrap()).map(|fork| (fork.author, fork.seq)).collect();
    assert_eq!(proven, [(w.b.author(), 2), (w.b.author(), 3)]);
    let same = ForkProof { one: proofs[0].one.clone(), other: proofs[0].one.clone() };
    assert_eq!(same.verify(), Err(ForkError::Unrelated));
    let unrelated = ForkProof { one: proofs[0].one.clone(), other: proofs[1].one.clone() };
    assert_eq!(unrelated.verify(), Err(ForkError::Unrelated));
    assert_eq!(w.ledger.heads(&CATALOG).len(), 3, "a's, and both tips of b's");
    assert_eq!(w.ledger.fence(&CATALOG).point(&w.b.author()), Some(point(&fine)));
}

#[test]
fn a_party_that_forks_writes_nothing_more() {
    let mut w = World::new();
    let epoch = w.set_up();
    let fine = w.x.contribute(Some(epoch), 1);
    let one = w.x.contribute(Some(epoch), 2);
    w.x.rewind(CATALOG, 1);
    let other = w.x.contribute(Some(epoch), 3);
    let later = w.x.contribute(Some(epoch), 4);
    let withdraws = w.x.uses(CATALOG, Action::Withdraw { publish: fine.hash(), documents: vec![], erase: true }, admitted());
    let all = [&fine, &one, &other, &later, &withdraws];
    all.iter().for_each(|entry| w.add(entry));
    assert_eq!(all.map(|entry| w.verdict(entry)), [Verdict::Stands, FORKED, FORKED, FORKED, Verdict::Stands]);
}

#[test]
fn a_suspended_device_has_no_authority_past_its_fence_not_even_to_take_away() {
    let mut w = World::new();
    w.set_up();
    let stands = w.b.write(CIRCLE, grant(w.x.party()));
    w.add(&stands);
    let fence = w.ledger.device_fence(&w.b.author());
    assert_eq!(fence, [head(&stands)]);
    let later = [w.b.write(CIRCLE, revoke(Fence::default())), w.b.write(CATALOG, bar(Fence::default()))];
    later.iter().for_each(|entry| w.add(entry));
    assert!(w.ledger.lane(&CIRCLE).grants[&GRANT].revoked.is_some());
    w.suspend(11, fence);
    assert_eq!(w.verdict(&stands), Verdict::Stands);
    assert_eq!(later.each_ref().map(|entry| w.verdict(entry)), [FENCED, FENCED]);
    assert!(w.ledger.lane(&CIRCLE).grants[&GRANT].revoked.is_none());
    assert!(w.ledger.lane(&CATALOG).bars.is_empty());
}

#[test]
fn the_fence_of_a_suspended_device_settles_its_forks() {
    let mut w = World::new();
    let epoch = w.set_up();
    let honest: Vec<_> = (1..=3).map(|n| w.b.publish(CATALOG, Some(epoch), n)).collect();
    w.b.rewind(CATALOG, 0);
    let thief = [w.b.publish(CATALOG, Some(epoch), 7), w.b.write(CATALOG, bar(Fence::default()))];
    honest.iter().chain(&thief).for_each(|entry| w.add(entry));
    assert_eq!(w.verdict(&honest[0]), FORKED);
    w.suspend(11, vec![head(&honest[1])]);
    let verdicts: Vec<_> = honest.iter().chain(&thief).map(|entry| w.verdict(entry)).collect();
    assert_eq!(verdicts, [Verdict::Stands, Verdict::Stands, FENCED, FENCED, FENCED]);
}

#[test]
fn the_usable_epoch_is_unsuperseded_covers_every_bar_and_has_the_lowest_hash() {
    let mut w = World::new();
    let first = w.set_up();
    assert_eq!(w.ledger.lane(&CATALOG).usable_epoch().map(|(entry, recipient)| (entry, recipient.clone())), Some((first, recipient(1))));
    let pair = [w.a.write(CATALOG, epoch(2, vec![first], vec![])), w.b.write(CATALOG, epoch(3, vec![first], vec![]))];
    pair.iter().for_each(|entry| w.add(entry));
    let lowest = pair.each_ref().map(chartmesh_ledger::Entry::hash).into_iter().min();
    assert_eq!(w.ledger.lane(&CATALOG).usable, lowest);
    let barred = w.a.write(CATALOG, bar(Fence::default()));
    w.add(&barred);
    assert_eq!(w.ledger.lane(&CATALOG).usable, None, "writers seal to the inbox");
    let covers = w.b.write(CATALOG, epoch(4, pair.each_ref().map(chartmesh_ledger::Entry::hash).to_vec(), vec![ACCESS]));
    w.add(&covers);
    assert_eq!(w.ledger.lane(&CATALOG).usable, Some(covers.hash()));
    let state = w.ledger.lane(&CATALOG);
    assert!(state.epochs[&first].superseded && !state.epochs[&first].usable && !state.epochs[&covers.hash()].superseded);
}

#[test]
fn an_epoch_superseded_by_a_void_one_is_usable_still() {
    let mut w = World::new();
    let first = w.set_up();
    let next = w.b.write(CATALOG, epoch(2, vec![first], vec![]));
    w.add(&next);
    assert_eq!(w.ledger.lane(&CATALOG).usable, Some(next.hash()));
    w.suspend(11, vec![]);
    assert_eq!(w.ledger.lane(&CATALOG).usable, Some(first));
}

#[test]
fn a_publish_to_an_unusable_epoch_is_stale_unless_the_next_epoch_knew_it() {
    let mut w = World::new();
    let first = w.set_up();
    let known = w.x.contribute(Some(first), 1);
    assert_eq!(w.judge(&known), Verdict::Stands);
    let Action::Epoch { recipient, covers, .. } = epoch(2, vec![], vec![]) else { unreachable!() };
    let next = Action::Epoch { recipient, covers, supersedes: vec![first], past: w.ledger.fence(&CATALOG) };
    let next = w.a.write(CATALOG, next);
    let unknown = w.x.contribute(Some(first), 2);
    let current = w.x.contribute(Some(next.hash()), 3);
    let nowhere = w.x.contribute(None, 4);
    let all = [&next, &known, &unknown, &current, &nowhere];
    all.iter().for_each(|entry| w.add(entry));
    let verdicts = all.map(|entry| w.verdict(entry));
    assert_eq!(verdicts, [Verdict::Stands, Verdict::Stands, Verdict::Stale, Verdict::Stands, Verdict::Stale]);
}

#[test]
fn a_party_withdraws_its_own_a_device_any() {
    let mut w = World::new();
    let epoch = w.set_up();
    let other = AccessId::new([7; 16]);
    let admit_y = w.a.write(CATALOG, Action::Admit { id: other, party: chartmesh_ledger::admit_hash(&SALT, &w.y.party()) });
    let by_x = w.x.contribute(Some(epoch), 1);
    let by_y = EntryHeader { epoch: Some(epoch), uses: Some(Use::Admit { id: other, salt: SALT }), ..w.y.header(CATALOG, publish(2)) };
    let by_y = w.y.sign(by_y);
    let by_a = w.a.publish(CATALOG, Some(epoch), 3);
    [&admit_y, &by_x, &by_y, &by_a].iter().for_each(|entry| w.add(entry));
    let withdraw = |publish: &chartmesh_ledger::Entry, erase| Action::Withdraw { publish: publish.hash(), documents: vec![], erase };
    for (publish, verdict) in [(&by_y, NO_AUTHORITY), (&by_a, NO_AUTHORITY), (&by_x, Verdict::Stands)] {
        let entry = w.x.uses(CATALOG, withdraw(publish, false), admitted());
        assert_eq!(w.judge(&entry), verdict);
    }
    let entry = w.b.write(CATALOG, withdraw(&by_y, true));
    assert_eq!(w.judge(&entry), Verdict::Stands);
    let state = w.ledger.lane(&CATALOG);
    let withdrawn = [&by_x, &by_y, &by_a].map(|entry| state.publishes[&entry.hash()].withdrawn.values().copied().collect::<Vec<_>>());
    assert_eq!(withdrawn, [vec![false], vec![true], vec![]]);
    assert_eq!(state.publishes[&by_x.hash()].shown().count(), 0);
    assert_eq!(state.publishes[&by_a.hash()].shown().count(), 1);
}

#[test]
fn the_keyring_lane_is_for_devices_keys_alone() {
    let mut w = World::new();
    let key = w.a.write(KEYRING, Action::Key {});
    assert_eq!(w.judge(&key), Verdict::Stands);
    assert!(w.ledger.lane(&KEYRING).keys.contains(&key.hash()));
    let wrong = [w.a.write(KEYRING, grant(w.x.party())), w.a.write(CIRCLE, Action::Key {})];
    for entry in &wrong {
        assert_eq!(w.judge(entry), Verdict::Void(Void::WrongLane));
    }
}

#[test]
fn of_several_points_for_one_author_the_lowest_holds() {
    let mut w = World::new();
    let epoch = w.set_up();
    let both = [w.x.contribute(Some(epoch), 1), w.x.contribute(Some(epoch), 2)];
    both.iter().for_each(|entry| w.add(entry));
    let barred = w.a.write(CATALOG, bar(fence(&[&both[1], &both[0]])));
    w.add(&barred);
    assert_eq!(both.each_ref().map(|entry| w.verdict(entry)), [Verdict::Stale, FENCED]);
}

#[test]
fn while_the_head_of_a_fence_is_not_held_forks_stay_void_and_taking_away_stands() {
    let mut w = World::new();
    let epoch = w.set_up();
    let branch = [w.b.publish(CATALOG, Some(epoch), 1), w.b.publish(CATALOG, Some(epoch), 2)];
    w.b.rewind(CATALOG, 0);
    let other = w.b.write(CATALOG, bar(Fence::default()));
    w.add(&branch[0]);
    w.add(&other);
    w.suspend(11, vec![head(&branch[1])]);
    assert_eq!([&branch[0], &other].map(|entry| w.verdict(entry)), [FORKED, Verdict::Stands]);
    w.add(&branch[1]);
    assert_eq!([&branch[0], &branch[1], &other].map(|entry| w.verdict(entry)), [Verdict::Stands, Verdict::Stands, FENCED]);
}

#[test]
fn of_several_grants_with_one_id_the_lowest_hash_counts() {
    let mut w = World::new();
    let both = [w.a.write(CIRCLE, grant(w.x.party())), w.b.write(CIRCLE, grant(w.y.party())), w.a.write(CIRCLE, grant(w.y.party()))];
    both.iter().for_each(|entry| w.add(entry));
    let lowest = both.iter().map(chartmesh_ledger::Entry::hash).min();
    assert_eq!(Some(w.ledger.lane(&CIRCLE).grants[&GRANT].entry), lowest);
}

#[test]
fn one_access_id_given_to_two_parties_lets_neither_speak_for_the_other() {
    let mut w = World::new();
    let epoch = w.set_up();
    let admit_y = w.b.write(CATALOG, admit(w.y.party()));
    let by_y = w.y.contribute(Some(epoch), 1);
    w.add(&admit_y);
    assert_eq!(w.judge(&by_y), Verdict::Stands);
    let withdraws = w.x.uses(CATALOG, Action::Withdraw { publish: by_y.hash(), documents: vec![], erase: false }, admitted());
    assert_eq!(w.judge(&withdraws), NO_AUTHORITY);
    w.suspend(11, vec![]);
    assert_eq!(w.verdict(&by_y), NO_AUTHORITY, "its own admit is void, and the other's is not for it");
}

#[test]
fn a_state_that_grew_is_the_one_that_all_entries_come_to() {
    let mut w = World::new();
    let epoch = w.set_up();
    let mut entries: Vec<chartmesh_ledger::Entry> = w.ledger.lanes().flat_map(|lane| w.ledger.entries(lane)).cloned().collect();
    let withdrawn = w.a.publish(CATALOG, Some(epoch), 9);
    let withdraw = w.b.write(CATALOG, Action::Withdraw { publish: withdrawn.hash(), documents: vec![], erase: true });
    let mut more = vec![w.a.write(CIRCLE, envelope(vec![epoch], vec![], vec![])), withdraw, withdrawn];
    for n in 0..20 {
        more.push(w.a.publish(CATALOG, Some(epoch), n));
        more.push(w.x.contribute(Some(epoch), 100 + n));
        more.push(w.x.uses(CIRCLE, receipt(u64::from(n)), Use::Grant(GRANT)));
        more.push(w.b.write(CIRCLE, envelope(vec![], vec![(epoch, blob(n))], vec![])));
    }
    more.push(w.a.publish(CATALOG, None, 50));
    more.push(w.x.contribute(None, 51));
    more.push(w.a.write(CIRCLE, revoke(Fence::default())));
    more.push(w.x.uses(CIRCLE, receipt(99), Use::Grant(GRANT)));
    more.push(w.b.write(CIRCLE, envelope(vec![epoch], vec![], vec![])));
    more.push(w.b.write(CATALOG, bar(Fence::default())));
    more.push(w.x.contribute(Some(epoch), 52));
    more.push(w.a.publish(CATALOG, Some(epoch), 53));
    for entry in more {
        w.judge(&entry);
        entries.push(entry);
        let mut anew = chartmesh_ledger::Ledger::begin(w.genesis.signed().clone()).unwrap();
        assert!(anew.add_all(entries.clone()).refused.is_empty());
        for lane in anew.lanes() {
            assert_eq!(anew.lane(lane), w.ledger.lane(lane));
        }
    }
}
