//! Peers that err or lie: nonsense, forged entries, frames replayed and out of order.

use chartmesh_exchange::{
    Closing, Effect, Event, Frame, Options,
    sim::{Node, Person, charter, key, lane, next_charter},
};
use chartmesh_identity::{CharterHash, EntryHash, Kind, LedgerId, Signed};
use chartmesh_ledger::{Charter, RawEntry};
use proptest::prelude::*;
use serde_bytes::ByteBuf;

use crate::pair::{Pair, closing, count, fill, meet, phone_and_custodian, publish};

#[test]
fn nothing_is_said_before_the_hello() {
    for frame in [Frame::Named, Frame::Pending { blobs: 1 }, Frame::Unknown { ledger: LedgerId::of(b"x"), opening: 1 }] {
        let (mut nodes, _) = phone_and_custodian();
        let mut pair = Pair::new(&nodes, Options::default());
        pair.tell(&mut nodes, 1, Event::Frame(frame.encode()));
        assert_eq!(closing(&pair, 1), Some(&Closing::Unexpected(frame.name())));
        assert!(pair.saw[1].sent.is_empty());
        assert!(pair.sessions[1].handle(&mut nodes[1].replica, Event::Frame(frame.encode()), 0).is_empty(), "nothing after the end");
    }
}

#[test]
fn other_versions_and_second_hellos_are_refused() {
    let (mut nodes, _) = phone_and_custodian();
    let card = nodes[0].person.card.signed().clone();
    let hello = |versions| Event::Frame(Frame::Hello { versions, card: card.clone(), nonce: vec![0; 32].into() }.encode());
    let mut pair = Pair::new(&nodes, Options::default());
    pair.tell(&mut nodes, 1, hello(vec![1, 2, 3]));
    assert_eq!(closing(&pair, 1), Some(&Closing::Version));
    let mut pair = Pair::new(&nodes, Options::default());
    pair.tell(&mut nodes, 1, hello(vec![3, 4]));
    pair.tell(&mut nodes, 1, hello(vec![4]));
    assert_eq!(closing(&pair, 1), Some(&Closing::Unexpected("second hello")));
}

#[test]
fn a_forged_entry_is_refused_by_name_and_the_rest_goes_on() {
    let (mut nodes, ledger) = phone_and_custodian();
    fill(&mut nodes[0], ledger, "notes", 1);
    let mut pair = meet(&mut nodes);
    let forged = Signed::from_bytes(vec![1, 2, 3]);
    let hash = EntryHash::of(forged.as_bytes());
    let entries = Frame::Entries { ledger, entries: vec![RawEntry { header: forged, body: None }] };
    pair.tell(&mut nodes, 1, Event::Frame(entries.encode()));
    assert!(pair.saw[1].effects.iter().any(|effect| matches!(effect, Effect::Refused { entry: Some(entry), .. } if *entry == hash)));
    let epoch = fill(&mut nodes[0], ledger, "results", 1);
    publish(&mut nodes[0], ledger, lane("results"), epoch, 3, 10);
    pair.tell(&mut nodes, 0, Event::Changed(ledger));
    // What the forger sent is not what the session counted as sent: the honest side notices the acknowledgement.
    pair.run(&mut nodes, usize::MAX);
    assert_eq!(count(&nodes[1], ledger), 2 + 3);
}

#[test]
fn a_peer_that_keeps_sending_nonsense_is_hung_up_on() {
    let (mut nodes, ledger) = phone_and_custodian();
    fill(&mut nodes[0], ledger, "notes", 1);
    let mut pair = meet(&mut nodes);
    for n in 0u8..40 {
        let header = Signed::from_bytes(vec![n]);
        let entries = Frame::Entries { ledger, entries: vec![RawEntry { header, body: None }] };
        pair.tell(&mut nodes, 1, Event::Frame(entries.encode()));
    }
    assert_eq!(closing(&pair, 1), Some(&Closing::TooMany("entries")));
}

#[test]
fn what_follows_a_refused_entry_is_passed_over_in_silence() {
    let (mut nodes, ledger) = phone_and_custodian();
    fill(&mut nodes[0], ledger, "notes", 40);
    let notes = lane("notes");
    let log = nodes[0].replica.ledgers[&ledger].entries(&notes).skip(1).map(chartmesh_ledger::Entry::to_raw);
    let entries = Frame::Entries { ledger, entries: log.collect() };
    let (mut other, _) = phone_and_custodian();
    let mut pair = meet(&mut other);
    pair.tell(&mut other, 1, Event::Frame(entries.encode()));
    let refused = pair.saw[1].effects.iter().filter(|effect| matches!(effect, Effect::Refused { .. })).count();
    assert_eq!((refused, closing(&pair, 1), count(&other[1], ledger)), (1, None, 0));
}

#[test]
fn another_body_under_an_honest_header_is_refused() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 0);
    let mut pair = Pair::new(&nodes, Options::default());
    pair.start(&mut nodes);
    pair.run(&mut nodes, 4);
    let mut raw = nodes[0].replica.ledgers[&ledger].get(&epoch).unwrap().to_raw();
    raw.body = Some(ByteBuf::from(vec![9; 9]));
    let (mut other, _) = phone_and_custodian();
    let mut pair = meet(&mut other);
    pair.tell(&mut other, 1, Event::Frame(Frame::Entries { ledger, entries: vec![raw] }.encode()));
    assert_eq!(count(&other[1], ledger), 0);
    assert!(pair.saw[1].effects.iter().any(|effect| matches!(effect, Effect::Refused { .. })));
}

/// Both stop serving one another and begin again at once: what was said of the session before must not be taken for an answer.
#[test]
fn both_sides_may_begin_a_ledger_anew_at_once() {
    let [one, other] = ["custodian", "other custodian"].map(|name| Person::new(name, Kind::Custodian));
    let phone = Person::new("phone", Kind::Patient);
    let genesis = charter(&[&phone], &[&one, &other]);
    let both = genesis.custodians.clone();
    let mut nodes = [Node::new(one), Node::new(other)];
    let ledger = nodes.each_mut().map(|node| node.hold(&[genesis.signed().clone()]).unwrap())[0];
    let without = next_charter(&genesis, CharterHash::of(genesis.as_bytes()), ledger, &key("rank 1"), |next| next.custodians.clear());
    let again = next_charter(&without, CharterHash::of(without.as_bytes()), ledger, &key("rank 1"), |next| next.custodians = both);
    let mut pair = meet(&mut nodes);
    for next in [&without, &again] {
        for side in [1, 0] {
            assert!(nodes[side].add_charter(ledger, next.signed()));
            pair.tell(&mut nodes, side, Event::Changed(ledger));
        }
    }
    pair.run(&mut nodes, usize::MAX);
    assert_eq!([closing(&pair, 0), closing(&pair, 1)], [None, None]);
    assert!(pair.sessions.iter().all(chartmesh_exchange::Session::settled));
}

#[test]
fn that_a_ledger_is_unknown_counts_for_the_opening_that_it_names() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 1);
    for (opening, goes_on_with) in [(3, "entries"), (1, "open")] {
        let mut pair = meet(&mut nodes);
        let said = pair.saw[0].sent.len();
        pair.tell(&mut nodes, 0, Event::Frame(Frame::Unknown { ledger, opening }.encode()));
        publish(&mut nodes[0], ledger, lane("notes"), epoch, opening, 10);
        pair.tell(&mut nodes, 0, Event::Changed(ledger));
        assert_eq!(pair.saw[0].frames()[said], goes_on_with, "{opening} of 1");
    }
}

/// The phone has a version without the custodian, and serves it nothing. Once words have decided for the custodian, which hears of that within the same session, so must the phone.
#[test]
fn whoever_does_not_know_us_gets_our_charters_again_when_there_are_more() {
    let (mut nodes, ledger) = phone_and_custodian();
    fill(&mut nodes[0], ledger, "notes", 1);
    let held = &nodes[0].replica.ledgers[&ledger];
    let (genesis, hash) = (held.charter().clone(), held.charter_hash());
    let next = |root, change: fn(&mut Charter)| next_charter(&genesis, hash, ledger, &key(root), change);
    let (without, decided) = (next("rank 1", |next| next.custodians.clear()), next("rank 0", |_| {}));
    assert!(nodes[0].add_charter(ledger, without.signed()));
    let mut pair = meet(&mut nodes);
    assert_eq!(count(&nodes[1], ledger), 0, "the phone tells a custodian that is none nothing");
    assert!(nodes[1].add_charter(ledger, decided.signed()));
    pair.tell(&mut nodes, 1, Event::Changed(ledger));
    pair.run(&mut nodes, usize::MAX);
    assert_eq!(count(&nodes[1], ledger), 2);
}

#[test]
fn an_opening_is_numbered_by_the_side_that_says_it_and_never_said_twice() {
    let (mut nodes, ledger) = phone_and_custodian();
    let mut pair = meet(&mut nodes);
    let said = pair.saw[1].sent.len();
    let open = |opening| Event::Frame(Frame::Open { ledger, opening, digest: vec![0; 32].into(), beyond: Vec::new() }.encode());
    pair.tell(&mut nodes, 1, open(1));
    assert_eq!(pair.saw[1].sent.len(), said, "of the number that it has answered");
    pair.tell(&mut nodes, 1, open(2));
    assert_eq!(closing(&pair, 1), Some(&Closing::Unexpected("open")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn frames_replayed_or_out_of_order_do_no_harm(order in proptest::collection::vec(any::<(bool, u16)>(), 1..40)) {
        let (mut nodes, ledger) = phone_and_custodian();
        fill(&mut nodes[0], ledger, "notes", 3);
        let mut pair = meet(&mut nodes);
        let said = [pair.saw[0].sent.clone(), pair.saw[1].sent.clone()];
        for (side, at) in order {
            let side = usize::from(side);
            let frame = said[1 - side][usize::from(at) % said[1 - side].len()].clone();
            pair.tell(&mut nodes, side, Event::Frame(frame));
        }
        prop_assert_eq!(count(&nodes[0], ledger), 4);
        prop_assert_eq!(count(&nodes[1], ledger), 4);
        let again = meet(&mut nodes);
        prop_assert!(again.sessions[0].settled() && again.sessions[1].settled());
    }

    #[test]
    fn frames_with_bytes_changed_never_panic(changes in proptest::collection::vec(any::<(u16, u16, u8)>(), 1..30)) {
        let (mut nodes, ledger) = phone_and_custodian();
        fill(&mut nodes[0], ledger, "notes", 2);
        let said = meet(&mut nodes).saw[0].sent.clone();
        let (mut fresh, _) = phone_and_custodian();
        let mut pair = meet(&mut fresh);
        for (which, at, to) in changes {
            let mut frame = said[usize::from(which) % said.len()].clone();
            let at = usize::from(at) % frame.len();
            frame[at] = to;
            pair.tell(&mut fresh, 1, Event::Frame(frame));
        }
        prop_assert!(count(&fresh[1], ledger) <= 3);
    }
}
