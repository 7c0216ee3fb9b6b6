//! The last case that a rule lets through, and the first that it does not.

use chartmesh_identity::{EntryHash, NodeRole, Signed};
use chartmesh_ledger::{Action, Added, Checkpoint, CheckpointError, Duty, EntryHeader, Fence, Head, MAX_LIST, Refusal, Use, Verdict, Void, Wanted, duties};

use crate::world::*;

fn confirm(pen: &mut Pen, revoke: EntryHash) -> chartmesh_ledger::Entry {
    pen.uses(CIRCLE, Action::Confirm { revoke }, Use::Grant(GRANT))
}

#[test]
fn only_a_node_that_may_testify_confirms() {
    let mut w = World::new();
    w.set_up();
    let revoked = w.a.write(CIRCLE, revoke(Fence::default()));
    w.add(&revoked);
    let id = w.ledger.id();
    let (mut writer, mut reader) = (Pen::node(id, 40, 20, &[NodeRole::Write]), Pen::node(id, 41, 20, &[NodeRole::Receipt]));
    let confirms = [confirm(&mut writer, revoked.hash()), confirm(&mut reader, revoked.hash())];
    assert_eq!(confirms.each_ref().map(|entry| w.judge(entry)), [Verdict::Void(Void::NoAuthority), Verdict::Stands]);
    let confirmed: Vec<_> = w.ledger.lane(&CIRCLE).grants[&GRANT].confirms.iter().map(|confirm| confirm.author).collect();
    assert_eq!(confirmed, [reader.author()]);
}

#[test]
fn a_request_is_listed() {
    let mut w = World::new();
    w.set_up();
    let asks = w.x.uses(CIRCLE, Action::Request {}, Use::Grant(GRANT));
    assert_eq!(w.judge(&asks), Verdict::Stands);
    let requests: Vec<_> = w.ledger.lane(&CIRCLE).requests.iter().map(|request| (request.entry, request.party)).collect();
    assert_eq!(requests, [(asks.hash(), w.x.party())]);
}

#[test]
fn checkpoints_have_one_order_and_bounds() {
    let w = World::new();
    let read = |time, heads: usize, cosignatures: usize| {
        let head = Head { lane: CATALOG, author: w.a.author(), seq: 1, hash: EntryHash::new([1; 32]) };
        let checkpoint = Checkpoint {
            ledger: w.ledger.id(),
            lane: CIRCLE,
            author: w.a.author(),
            heads: vec![head; heads],
            time,
            cosignatures: vec![serde_bytes::ByteBuf::new(); cosignatures],
        };
        Checkpoint::read(Signed::sign(checkpoint, &w.a.key).signed().clone(), &w.ledger)
    };
    let (one, other, later) = (read(5, 0, 0).unwrap(), read(5, 1, 0).unwrap(), read(6, 0, 0).unwrap());
    assert!(Checkpoint::replaces(&later, &one) && !Checkpoint::replaces(&one, &later));
    assert!(!Checkpoint::replaces(&one, &one));
    let lower = |a: &[u8], b: &[u8]| blake3::hash(a).as_bytes() < blake3::hash(b).as_bytes();
    assert_eq!(Checkpoint::replaces(&one, &other), lower(one.as_bytes(), other.as_bytes()), "of one time the lower hash");
    assert_eq!(Checkpoint::replaces(&other, &one), lower(other.as_bytes(), one.as_bytes()));

    assert!(read(5, Checkpoint::MAX_HEADS, MAX_LIST).is_ok());
    assert_eq!(read(5, Checkpoint::MAX_HEADS + 1, 0).unwrap_err(), CheckpointError::Bounds);
    assert_eq!(read(5, 0, MAX_LIST + 1).unwrap_err(), CheckpointError::Bounds);
}

#[test]
fn a_suspended_device_may_be_suspended_again_where_it_is() {
    let mut w = World::new();
    let id = w.ledger.id();
    let first = w.a.write(CIRCLE, grant(w.x.party()));
    w.a.rewind(CIRCLE, 0);
    let header = EntryHeader { time: 7, ..w.a.header(CIRCLE, grant(w.x.party())) };
    let branch = w.a.sign(header);
    let suspends = next_charter(id, &w.genesis, 1, |charter| charter.devices[0].suspended = Some(vec![head(&first)]));
    w.charter(&suspends);
    let elsewhere = next_charter(id, &suspends, 1, |charter| charter.devices[0].suspended = Some(vec![head(&branch)]));
    assert!(matches!(w.ledger.add_charter(elsewhere.signed().clone()), Err(Refusal::Revives { .. })), "another branch of the same length");
    let other_lane = next_charter(id, &suspends, 1, |charter| charter.devices[0].suspended = Some(vec![Head { lane: OTHER, ..head(&first) }]));
    assert!(matches!(w.ledger.add_charter(other_lane.signed().clone()), Err(Refusal::Revives { .. })), "a lane that was cut off whole");
    let again = next_charter(id, &suspends, 1, |charter| charter.time = 9);
    assert_eq!(w.ledger.add_charter(again.signed().clone()), Ok(Added::New));
}

#[test]
fn a_catalog_without_an_epoch_is_owed_one_once_somebody_is_barred_there() {
    let mut w = World::new();
    let barred = w.a.write(CATALOG, bar(Fence::default()));
    w.add(&barred);
    assert_eq!(duties(&w.ledger, &Wanted::default(), 0), [Duty::Epoch { catalog: CATALOG }]);
}
