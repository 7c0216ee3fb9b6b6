//! Who is served what, and what devices owe.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AccessId, NodeRole, Signed};
use chartmesh_ledger::{
    Access, Action, Checkpoint, CheckpointError, Duty, Entry, EntryHeader, Fence, LaneView, Ledger, Peer, Use, Wanted, duties, lane_view, lanes_for,
    may_have_blob, peer, shows,
};

use crate::world::*;

const NOW: i64 = 1_000;
const HEARD: Option<i64> = Some(NOW);

fn party(w: &World) -> Peer {
    Peer::Party(w.x.party())
}

fn lanes(w: &World, now: i64, heard: Option<i64>) -> Vec<chartmesh_identity::LaneId> {
    lanes_for(&w.ledger, &party(w), now, heard).into_keys().collect()
}

/// x reads the catalog whole; device a published blob 1 there.
fn reader(w: &mut World) -> (chartmesh_identity::EntryHash, Entry) {
    let epoch = w.set_up();
    let hands_over = w.a.write(CIRCLE, envelope(vec![epoch], vec![], vec![]));
    let published = w.a.publish(CATALOG, Some(epoch), 1);
    w.add(&hands_over);
    w.add(&published);
    (epoch, published)
}

#[test]
fn a_peer_is_what_charter_and_grants_say() {
    let mut w = World::new();
    let who = |w: &World, seed: u8, endpoint: u8| peer(&w.ledger, &secret(seed).party(), &secret(endpoint).endpoint());
    assert_eq!(who(&w, 20, 1), Peer::Stranger);
    w.set_up();
    assert_eq!(who(&w, 10, 110), Peer::Device(w.a.author()));
    assert_eq!(who(&w, 10, 111), Peer::Stranger, "another endpoint");
    assert_eq!(who(&w, 30, 1), Peer::Custodian(secret(30).party()));
    assert_eq!(who(&w, 20, 1), Peer::Party(w.x.party()));
    assert_eq!(who(&w, 21, 1), Peer::Stranger);
    let revoked = w.a.write(CIRCLE, revoke(Fence::default()));
    w.add(&revoked);
    assert_eq!(who(&w, 20, 1), Peer::Party(w.x.party()), "it may still confirm");
    w.suspend(11, vec![]);
    assert_eq!(who(&w, 11, 111), Peer::Stranger);
}

#[test]
fn devices_and_custodians_get_everything_and_strangers_nothing() {
    let mut w = World::new();
    let (_, published) = reader(&mut w);
    for who in [Peer::Device(w.b.author()), Peer::Custodian(secret(30).party())] {
        assert_eq!(lanes_for(&w.ledger, &who, NOW, None).len(), 2);
        assert_eq!(lane_view(&w.ledger, &who, &KEYRING, NOW, None), LaneView::All);
        assert_eq!(may_have_blob(&w.ledger, &who, &blob(1), NOW, None), [(CATALOG, published.hash())]);
    }
    assert!(lanes_for(&w.ledger, &Peer::Stranger, NOW, HEARD).is_empty());
    assert_eq!(lane_view(&w.ledger, &Peer::Stranger, &CATALOG, NOW, HEARD), LaneView::None);
    assert!(may_have_blob(&w.ledger, &Peer::Stranger, &blob(1), NOW, HEARD).is_empty());
    let unrelated = Peer::Party(w.y.party());
    assert!(lanes_for(&w.ledger, &unrelated, NOW, HEARD).is_empty());
    assert!(may_have_blob(&w.ledger, &unrelated, &blob(1), NOW, HEARD).is_empty());
}

#[test]
fn a_party_gets_its_circle_and_the_catalogs_that_a_live_grant_opens() {
    let mut w = World::new();
    let epoch = w.set_up();
    assert_eq!(lanes(&w, NOW, HEARD), [CIRCLE], "nothing was handed over yet");
    let unstanding = w.a.write(CIRCLE, envelope(vec![chartmesh_identity::EntryHash::of(b"x")], vec![], vec![]));
    w.add(&unstanding);
    assert_eq!(lanes(&w, NOW, HEARD), [CIRCLE]);
    let hands_over = w.a.write(CIRCLE, envelope(vec![epoch], vec![], vec![]));
    let published = w.a.publish(CATALOG, Some(epoch), 1);
    w.add(&hands_over);
    w.add(&published);
    assert_eq!(lanes(&w, NOW, HEARD), [CIRCLE, CATALOG]);
    assert_eq!(lane_view(&w.ledger, &party(&w), &CATALOG, NOW, HEARD), LaneView::All);
    assert_eq!(lane_view(&w.ledger, &party(&w), &KEYRING, NOW, HEARD), LaneView::None);
    assert_eq!(may_have_blob(&w.ledger, &party(&w), &blob(1), NOW, HEARD), [(CATALOG, published.hash())]);
    assert_eq!(may_have_blob(&w.ledger, &party(&w), &blob(2), NOW, HEARD), []);
}

#[test]
fn serving_stops_at_until_and_when_the_patient_was_not_heard_from() {
    let mut w = World::new();
    let granted = w.a.write(CIRCLE, Action::Grant { id: GRANT, party: w.x.party(), until: Some(NOW + 50), max_age: 100 });
    let opened = w.a.write(CATALOG, epoch(1, vec![], vec![]));
    let hands_over = w.a.write(CIRCLE, envelope(vec![opened.hash()], vec![], vec![]));
    let published = w.a.publish(CATALOG, Some(opened.hash()), 1);
    [&granted, &opened, &hands_over, &published].iter().for_each(|entry| w.add(entry));
    let open = |now, heard| (lanes(&w, now, heard).len() == 2, !may_have_blob(&w.ledger, &party(&w), &blob(1), now, heard).is_empty());
    assert_eq!(open(NOW, HEARD), (true, true));
    assert_eq!(open(NOW + 49, Some(NOW)), (true, true));
    assert_eq!(open(NOW + 50, Some(NOW + 50)), (false, false), "until is over");
    assert_eq!(open(NOW, Some(NOW - 99)), (true, true));
    assert_eq!(open(NOW, Some(NOW - 100)), (false, false), "the checkpoint is too old");
    assert_eq!(open(NOW, None), (false, false), "never heard from");
}

#[test]
fn after_a_revoke_the_circle_up_to_it_is_left() {
    let mut w = World::new();
    let (epoch, _) = reader(&mut w);
    let noted = w.b.write(CIRCLE, Action::Unknown { code: "note".into(), raw: vec![0xa0] });
    w.add(&noted);
    let revoked = w.a.write(CIRCLE, revoke(w.ledger.fence(&CIRCLE)));
    let by_a = w.a.write(CIRCLE, envelope(vec![epoch], vec![], vec![]));
    let by_b = w.b.write(CIRCLE, envelope(vec![epoch], vec![], vec![]));
    let own = w.x.uses(CIRCLE, receipt(1), Use::Grant(GRANT));
    [&revoked, &by_a, &by_b, &own].iter().for_each(|entry| w.add(entry));
    let views = lanes_for(&w.ledger, &party(&w), NOW, HEARD);
    assert_eq!(views.keys().copied().collect::<Vec<_>>(), [CIRCLE]);
    let shown = [&noted, &revoked, &own, &by_a, &by_b].map(|entry| shows(&views[&CIRCLE], entry));
    assert_eq!(shown, [true, true, true, false, false]);
    assert!(may_have_blob(&w.ledger, &party(&w), &blob(1), NOW, HEARD).is_empty());
    let again = w.a.write(CIRCLE, Action::Grant { id: chartmesh_identity::GrantId::new([9; 16]), party: w.x.party(), until: None, max_age: 100 });
    w.add(&again);
    assert_eq!(lane_view(&w.ledger, &party(&w), &CIRCLE, NOW, HEARD), LaneView::All, "a new grant opens the circle");
    assert_eq!(lanes(&w, NOW, HEARD), [CIRCLE], "but hands nothing over");
}

#[test]
fn what_a_party_wrote_under_a_grant_that_it_is_not_shown_is_not_shown_to_its_other_nodes() {
    let mut w = World::new();
    w.set_up();
    let id = chartmesh_identity::GrantId::new([9; 16]);
    let by_b = w.b.write(CIRCLE, Action::Grant { id, party: w.x.party(), until: None, max_age: 100 });
    let mut node = Pen::node(w.ledger.id(), 40, 20, &[NodeRole::Receipt]);
    let testifies = |n| Action::Receipt { grant: id, n };
    let own = [
        w.x.uses(CIRCLE, receipt(1), Use::Grant(GRANT)),
        w.x.uses(CIRCLE, testifies(2), Use::Grant(id)),
        node.uses(CIRCLE, testifies(3), Use::Grant(id)),
        node.uses(CIRCLE, receipt(4), Use::Grant(GRANT)),
    ];
    [&by_b].into_iter().chain(&own).for_each(|entry| w.add(entry));
    // The device that revokes knew of what the party's nodes wrote, not of the grant, whose device is suspended.
    let fence = w.ledger.fence(&CIRCLE).0.into_iter().filter(|point| point.author != w.b.author()).collect();
    let revoked = w.a.write(CIRCLE, revoke(Fence(fence)));
    w.add(&revoked);
    assert_eq!(lane_view(&w.ledger, &party(&w), &CIRCLE, NOW, HEARD), LaneView::All, "that grant stands");
    w.suspend(11, vec![]);
    let view = lane_view(&w.ledger, &party(&w), &CIRCLE, NOW, HEARD);
    let shown: Vec<&Entry> = w.ledger.entries(&CIRCLE).filter(|entry| shows(&view, entry)).collect();
    assert!(shown.contains(&w.ledger.get(&own[0].hash()).unwrap()));
    assert!(shown.iter().all(|entry| entry.hash() != own[1].hash() && entry.author() != node.author()), "not by itself, and not what follows it");
    let mut other = Ledger::begin(w.genesis.signed().clone()).unwrap();
    let outcome = other.add_all(shown.into_iter().cloned().collect());
    assert_eq!((outcome.added.len(), outcome.refused), (3, Vec::new()), "Grant, Revoke, Receipt");
}

#[test]
fn who_writes_without_reading_gets_devices_logs_and_its_own() {
    let mut w = World::new();
    let epoch = w.set_up();
    let other = AccessId::new([7; 16]);
    let lets = w.a.write(CIRCLE, envelope(vec![], vec![], vec![CATALOG]));
    let admit_y = w.a.write(CATALOG, Action::Admit { id: other, party: chartmesh_ledger::admit_hash(&SALT, &w.y.party()) });
    let mut node = Pen::node(w.ledger.id(), 40, 20, &[NodeRole::Write]);
    let own = [w.x.contribute(Some(epoch), 1), node.contribute(Some(epoch), 2)];
    let by_y = EntryHeader { uses: Some(Use::Admit { id: other, salt: SALT }), ..w.y.header(CATALOG, publish(3)) };
    let by_y = w.y.sign(by_y);
    [&lets, &admit_y, &own[0], &own[1], &by_y].iter().for_each(|entry| w.add(entry));
    let view = lane_view(&w.ledger, &party(&w), &CATALOG, NOW, HEARD);
    assert_eq!([&admit_y, &own[0], &own[1], &by_y].map(|entry| shows(&view, entry)), [true, true, true, false]);
    assert!(may_have_blob(&w.ledger, &party(&w), &blob(3), NOW, HEARD).is_empty());
}

#[test]
fn a_single_document_gives_that_document() {
    let mut w = World::new();
    let epoch = w.set_up();
    let published = [w.a.publish(CATALOG, Some(epoch), 1), w.a.publish(CATALOG, Some(epoch), 2), w.a.publish(CATALOG, Some(epoch), 1)];
    let shares = w.a.write(CIRCLE, envelope(vec![], vec![(published[0].hash(), blob(1))], vec![]));
    published.iter().chain([&shares]).for_each(|entry| w.add(entry));
    assert_eq!(lanes(&w, NOW, HEARD), [CIRCLE]);
    assert_eq!(may_have_blob(&w.ledger, &party(&w), &blob(1), NOW, HEARD), [(CATALOG, published[0].hash())]);
    assert!(may_have_blob(&w.ledger, &party(&w), &blob(2), NOW, HEARD).is_empty());
    let withdraws = w.a.write(CATALOG, Action::Withdraw { publish: published[0].hash(), documents: vec![blob(1)], erase: false });
    w.add(&withdraws);
    assert!(may_have_blob(&w.ledger, &party(&w), &blob(1), NOW, HEARD).is_empty());
}

#[test]
fn void_documents_and_frozen_lanes_give_nothing() {
    let mut w = World::new();
    let (epoch, _) = reader(&mut w);
    let voided = w.b.publish(CATALOG, Some(epoch), 5);
    w.add(&voided);
    assert!(!may_have_blob(&w.ledger, &party(&w), &blob(5), NOW, HEARD).is_empty());
    w.suspend(11, vec![]);
    assert!(may_have_blob(&w.ledger, &party(&w), &blob(5), NOW, HEARD).is_empty());
    for lane in [CATALOG, CIRCLE] {
        let mut w = World::new();
        reader(&mut w);
        let header = EntryHeader { crit: vec!["release".into()], ..w.a.header(lane, Action::Unknown { code: "release".into(), raw: vec![0xa0] }) };
        let critical = w.a.sign(header);
        w.add(&critical);
        assert_eq!(lanes(&w, NOW, HEARD), [CIRCLE]);
        assert!(may_have_blob(&w.ledger, &party(&w), &blob(1), NOW, HEARD).is_empty());
    }
}

fn wanted(reads: bool, writes: bool) -> Wanted {
    let access = BTreeMap::from([(CATALOG, Access { id: ACCESS, reads, writes })]);
    Wanted { catalogs: BTreeSet::from([CATALOG]), access: BTreeMap::from([(GRANT, access)]) }
}

#[test]
fn duties_follow_from_state() {
    let mut w = World::new();
    let wanted = wanted(true, true);
    let owed = |w: &World, now| duties(&w.ledger, &wanted, now);
    assert_eq!(owed(&w, NOW), [Duty::Epoch { catalog: CATALOG }]);
    let granted = w.a.write(CIRCLE, Action::Grant { id: GRANT, party: w.x.party(), until: Some(NOW + 1), max_age: 100 });
    let first = w.a.write(CATALOG, epoch(1, vec![], vec![]));
    w.add(&granted);
    w.add(&first);
    let hand_over = |epoch: &Entry| Duty::Envelope { grant: GRANT, circle: CIRCLE, catalog: CATALOG, epoch: epoch.hash() };
    assert_eq!(owed(&w, NOW), [Duty::Admit { grant: GRANT, catalog: CATALOG, id: ACCESS }, hand_over(&first)]);
    let admits = w.a.write(CATALOG, admit(w.x.party()));
    let hands_over = w.a.write(CIRCLE, envelope(vec![first.hash()], vec![], vec![]));
    w.add(&admits);
    w.add(&hands_over);
    assert_eq!(owed(&w, NOW), []);
    let next = w.b.write(CATALOG, epoch(2, vec![first.hash()], vec![]));
    let stale = w.x.contribute(Some(first.hash()), 1);
    w.add(&next);
    w.add(&stale);
    assert_eq!(owed(&w, NOW), [hand_over(&next), Duty::Reseal { catalog: CATALOG, publish: stale.hash() }]);
    assert_eq!(owed(&w, NOW + 1)[0], Duty::Expire { grant: GRANT, circle: CIRCLE });
    let revoked = w.b.write(CIRCLE, revoke(Fence::default()));
    w.add(&revoked);
    assert_eq!(owed(&w, NOW)[0], Duty::Bar { grant: GRANT, catalog: CATALOG, id: ACCESS });
    let barred = w.b.write(CATALOG, bar(Fence(vec![point(&stale)])));
    w.add(&barred);
    assert_eq!(owed(&w, NOW), [Duty::Epoch { catalog: CATALOG }]);
    let covers = w.b.write(
        CATALOG,
        Action::Epoch { recipient: recipient(3), supersedes: vec![next.hash(), first.hash()], covers: vec![ACCESS], past: w.ledger.fence(&CATALOG) },
    );
    w.add(&covers);
    assert_eq!(owed(&w, NOW), [], "the revoked party is owed nothing, and the next epoch knew its document");
}

/// Whoever made the epoch knew of a Bar that has not come here, say because a custodian keeps it back: the reader whom it bars is owed neither that epoch nor an Admit.
#[test]
fn who_is_covered_by_an_epoch_is_barred_before_the_bar_has_come() {
    let mut w = World::new();
    let wanted = wanted(true, true);
    let granted = w.a.write(CIRCLE, grant(w.x.party()));
    let first = w.a.write(CATALOG, epoch(1, vec![], vec![]));
    w.add(&granted);
    w.add(&first);
    let renewed = w.b.write(CATALOG, epoch(2, vec![first.hash()], vec![ACCESS]));
    w.add(&renewed);
    assert_eq!(w.ledger.lane(&CATALOG).usable, Some(renewed.hash()));
    assert_eq!(duties(&w.ledger, &wanted, NOW), []);
}

#[test]
fn in_a_frozen_lane_only_taking_away_is_owed() {
    let mut w = World::new();
    let wanted = wanted(true, true);
    let granted = w.a.write(CIRCLE, grant(w.x.party()));
    let header = EntryHeader { crit: vec!["release".into()], ..w.a.header(CATALOG, Action::Unknown { code: "release".into(), raw: vec![0xa0] }) };
    let critical = w.a.sign(header);
    w.add(&granted);
    w.add(&critical);
    assert_eq!(duties(&w.ledger, &wanted, NOW), []);
    let revoked = w.a.write(CIRCLE, revoke(Fence::default()));
    w.add(&revoked);
    assert_eq!(duties(&w.ledger, &wanted, NOW), [Duty::Bar { grant: GRANT, catalog: CATALOG, id: ACCESS }]);
}

#[test]
fn a_checkpoint_counts_from_active_devices_and_the_latest_replaces() {
    let mut w = World::new();
    let sign = |w: &World, seed: u8, time| {
        let checkpoint = Checkpoint { ledger: w.ledger.id(), lane: CIRCLE, author: secret(seed).author(), heads: vec![], time, cosignatures: vec![] };
        Signed::sign(checkpoint, &secret(seed))
    };
    let read = |w: &World, seed, time| Checkpoint::read(sign(w, seed, time).signed().clone(), &w.ledger);
    let one = read(&w, 10, 5).unwrap();
    let later = read(&w, 11, 6).unwrap();
    let rival = read(&w, 11, 5).unwrap();
    assert!(Checkpoint::replaces(&later, &one) && !Checkpoint::replaces(&one, &later));
    assert!(Checkpoint::replaces(&one, &rival) != Checkpoint::replaces(&rival, &one));
    assert!(!Checkpoint::replaces(&one, &one));
    assert_eq!(read(&w, 20, 5).unwrap_err(), CheckpointError::NoAuthority);
    w.suspend(11, vec![]);
    assert_eq!(read(&w, 11, 7).unwrap_err(), CheckpointError::NoAuthority);
}

#[test]
fn neither_a_void_epoch_nor_another_partys_envelope_opens_a_catalog() {
    let mut w = World::new();
    let opened = w.b.write(CATALOG, epoch(1, vec![], vec![]));
    let granted = w.a.write(CIRCLE, grant(w.x.party()));
    let hands_over = w.a.write(CIRCLE, envelope(vec![opened.hash()], vec![], vec![]));
    let to_y = w.a.write(CIRCLE, Action::Grant { id: chartmesh_identity::GrantId::new([9; 16]), party: w.y.party(), until: None, max_age: 100 });
    [&opened, &granted, &hands_over, &to_y].iter().for_each(|entry| w.add(entry));
    assert_eq!(lanes(&w, NOW, HEARD), [CIRCLE, CATALOG]);
    assert_eq!(lanes_for(&w.ledger, &Peer::Party(w.y.party()), NOW, HEARD).into_keys().collect::<Vec<_>>(), [CIRCLE]);
    w.suspend(11, vec![]);
    assert_eq!(lanes(&w, NOW, HEARD), [CIRCLE]);
}
