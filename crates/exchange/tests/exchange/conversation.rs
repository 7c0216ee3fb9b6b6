//! A session in good order: what is exchanged, what it costs, where it resumes.

use chartmesh_exchange::{
    CHUNK, Effect, Event, Options,
    sim::{Draft, Node, lane},
};
use chartmesh_identity::{BlobHash, Kind};
use chartmesh_ledger::{Action, Blob};
use proptest::prelude::*;

use crate::pair::{NOW, Pair, count, fill, meet, meet_for, phone_and_custodian, publish, write};

#[test]
fn what_one_side_lacks_comes_stored_before_it_is_acknowledged() {
    let (mut nodes, ledger) = phone_and_custodian();
    fill(&mut nodes[0], ledger, "notes", 20);
    let pair = meet(&mut nodes);
    assert_eq!(count(&nodes[1], ledger), 21);
    assert!(pair.sessions.iter().all(chartmesh_exchange::Session::settled));
    let effects = &pair.saw[1].effects;
    let persist = effects.iter().position(|effect| matches!(effect, Effect::Persist { .. })).unwrap();
    let done = effects.iter().rposition(|effect| matches!(effect, Effect::Send(_))).unwrap();
    assert!(persist < done);
    assert_eq!(pair.saw[1].effects.last(), Some(&Effect::Settled));
}

#[test]
fn nothing_new_costs_the_same_whatever_is_held() {
    let cost = |entries| {
        let (mut nodes, ledger) = phone_and_custodian();
        fill(&mut nodes[0], ledger, "notes", entries);
        meet(&mut nodes);
        let again = meet(&mut nodes);
        assert!(again.sessions.iter().all(chartmesh_exchange::Session::settled));
        assert_eq!(again.saw[0].frames(), ["hello", "open", "named", "done"]);
        assert_eq!(again.saw[1].frames(), ["hello", "same", "done", "named"]);
        again.saw[0].bytes() + again.saw[1].bytes()
    };
    let (few, many) = (cost(10), cost(2_000));
    assert_eq!(few, many);
    assert!(many < 4_000, "{many} bytes");
}

#[test]
fn what_is_written_later_is_pushed_at_once() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 1);
    let mut pair = meet(&mut nodes);
    publish(&mut nodes[0], ledger, lane("notes"), epoch, 99, 10);
    pair.tell(&mut nodes, 0, Event::Changed(ledger));
    assert!(!pair.sessions[0].settled());
    pair.run(&mut nodes, usize::MAX);
    assert_eq!(count(&nodes[1], ledger), 3);
    assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
}

#[test]
fn an_entry_longer_than_a_chunk_comes_in_parts() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 1);
    let long = publish(&mut nodes[0], ledger, lane("notes"), epoch, 7, 3 * CHUNK);
    publish(&mut nodes[0], ledger, lane("notes"), epoch, 8, 10);
    let pair = meet(&mut nodes);
    assert_eq!(pair.saw[0].frames().iter().filter(|name| **name == "part").count(), 4);
    let held = nodes[1].replica.ledgers[&ledger].get(&long).unwrap();
    assert_eq!(held.body.as_ref().map(Vec::len), Some(3 * CHUNK));
    assert_eq!(count(&nodes[1], ledger), 4);
    assert!(pair.sessions[1].settled());
}

#[test]
fn more_than_the_window_goes_in_steps() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 1);
    for n in 0..60 {
        publish(&mut nodes[0], ledger, lane("notes"), epoch, n, 2 * CHUNK / 3);
    }
    let mut pair = meet_for(&mut nodes, 4);
    let under_way = pair.saw[0].frames().iter().filter(|name| **name == "entries").count() as u64;
    assert!((1..=chartmesh_exchange::WINDOW + 1).contains(&under_way), "{under_way}");
    while pair.run(&mut nodes, 1) == 1 {
        assert!(!pair.sessions[1].settled() || count(&nodes[1], ledger) == 62, "settled while there is more");
    }
    assert_eq!(count(&nodes[1], ledger), 62);
    assert!(pair.sessions.iter().all(chartmesh_exchange::Session::settled));
}

#[test]
fn a_burst_begins_small_and_grows_by_what_is_acknowledged() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 0);
    let mut pair = meet(&mut nodes);
    for n in 0..400 {
        publish(&mut nodes[0], ledger, lane("notes"), epoch, n, 4 << 10);
    }
    let mut said = pair.saw[0].bytes();
    let mut bursts = Vec::new();
    pair.tell(&mut nodes, 0, Event::Changed(ledger));
    loop {
        bursts.push(pair.saw[0].bytes() - said);
        said = pair.saw[0].bytes();
        if pair.run(&mut nodes, 1) == 0 {
            break;
        }
    }
    assert!((28 << 10..40 << 10).contains(&bursts[0]), "{bursts:?}");
    assert!(bursts.iter().any(|length| *length > 128 << 10), "{bursts:?}");
    assert_eq!(count(&nodes[1], ledger), 401);
}

#[test]
fn a_session_is_not_settled_while_blobs_are_to_be_fetched() {
    let (mut nodes, ledger) = phone_and_custodian();
    fill(&mut nodes[0], ledger, "notes", 3);
    let mut pair = Pair::new(&nodes, Options::default());
    pair.fetches = false;
    pair.start(&mut nodes);
    pair.run(&mut nodes, usize::MAX);
    assert!(!pair.sessions[0].settled() && !pair.sessions[1].settled());
    pair.tell(&mut nodes, 1, Event::Pending { blobs: 0 });
    pair.run(&mut nodes, usize::MAX);
    assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
}

#[test]
fn both_sides_of_a_fork_learn_of_it() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 2);
    meet(&mut nodes);
    // The same device signs two futures: one is kept by the custodian, one by the phone.
    let draft = |n: u64| chartmesh_exchange::sim::Draft {
        epoch: Some(epoch),
        body: None,
        ..chartmesh_exchange::sim::Draft::new(
            lane("notes"),
            chartmesh_ledger::Action::Publish {
                documents: vec![chartmesh_ledger::Blob { hash: chartmesh_identity::BlobHash::of(&n.to_be_bytes()), length: 1 }],
            },
        )
    };
    let other = nodes[0].sign(ledger, draft(50), NOW).unwrap();
    nodes[1].add(ledger, other).unwrap();
    for n in 60..63 {
        write(&mut nodes[0], ledger, draft(n));
    }
    meet(&mut nodes);
    for node in &nodes {
        assert_eq!(count(node, ledger), 7);
        assert_eq!(node.replica.ledgers[&ledger].forks().len(), 1);
    }
    assert_eq!(meet(&mut nodes).saw[0].frames(), ["hello", "open", "named", "done"]);
}

#[test]
fn a_device_restored_from_an_old_copy_is_told() {
    let (mut nodes, ledger) = phone_and_custodian();
    fill(&mut nodes[0], ledger, "notes", 5);
    meet(&mut nodes);
    let genesis: Vec<_> = nodes[0].replica.ledgers[&ledger].charters().cloned().collect();
    let mut old = chartmesh_exchange::sim::Node::new(chartmesh_exchange::sim::Person::new("phone", Kind::Patient));
    old.hold(&genesis).unwrap();
    nodes[0] = old;
    let pair = meet(&mut nodes);
    let restored = pair.saw[0].effects.iter().filter_map(|effect| if let Effect::Restored { seq, .. } = effect { Some(*seq) } else { None });
    assert_eq!(restored.max(), Some(6));
}

#[test]
fn a_body_that_one_peer_left_out_comes_from_another() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 2);
    meet(&mut nodes);
    nodes[1].replica.ledgers.get_mut(&ledger).unwrap().erase_body(&epoch);
    nodes[1].replica.look_for_bodies(ledger);
    let pair = meet(&mut nodes);
    assert!(pair.saw[1].frames().contains(&"want"));
    assert!(nodes[1].replica.ledgers[&ledger].get(&epoch).unwrap().body.is_some());
    assert!(nodes[1].replica.bodiless[&ledger].is_empty());
    assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
}

#[test]
fn a_session_is_not_settled_while_bodies_that_were_asked_for_are_under_way() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 2);
    let long = publish(&mut nodes[0], ledger, lane("notes"), epoch, 9, 3 * CHUNK);
    meet(&mut nodes);
    for entry in [epoch, long] {
        nodes[1].replica.ledgers.get_mut(&ledger).unwrap().erase_body(&entry);
    }
    nodes[1].replica.look_for_bodies(ledger);
    let mut pair = Pair::new(&nodes, Options::default());
    pair.start(&mut nodes);
    let mut frames = 0;
    while pair.run(&mut nodes, 1) > 0 {
        frames += 1;
        let missing = nodes[1].replica.bodiless[&ledger].len();
        assert!(missing == 0 || !pair.sessions[1].settled(), "settled after {frames} frames, {missing} bodies are missing");
        assert!(missing == 0 || !pair.sessions[0].settled() || !pair.saw[1].frames().contains(&"want"), "the one who was asked, after {frames} frames");
    }
    assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
    assert!(nodes[1].replica.bodiless[&ledger].is_empty());
}

#[test]
fn a_body_that_the_one_who_was_asked_gets_later_is_passed_on() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 2);
    meet(&mut nodes);
    let whole = nodes[0].replica.ledgers[&ledger].get(&epoch).unwrap().clone();
    for node in &mut nodes {
        node.replica.ledgers.get_mut(&ledger).unwrap().erase_body(&epoch);
        node.replica.look_for_bodies(ledger);
    }
    let mut pair = meet(&mut nodes);
    assert!(pair.sessions[0].settled() && pair.sessions[1].settled(), "neither has it, and both have said so");
    assert_eq!(nodes[1].replica.bodiless[&ledger], [epoch].into());
    nodes[0].replica.ledgers.get_mut(&ledger).unwrap().add_entry(whole).unwrap();
    nodes[0].replica.look_for_bodies(ledger);
    pair.tell(&mut nodes, 0, Event::Changed(ledger));
    pair.run(&mut nodes, usize::MAX);
    assert!(nodes[1].replica.bodiless[&ledger].is_empty());
    assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
}

/// The body describes the other document too, and a Withdraw may turn out to be void.
#[test]
fn the_body_of_a_publish_is_asked_for_and_taken_though_documents_of_it_are_to_be_erased() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 0);
    let blob = |n: u8| Blob { hash: BlobHash::of(&[n]), length: 1 };
    let two = Action::Publish { documents: vec![blob(1), blob(2)] };
    let publish = write(&mut nodes[0], ledger, Draft { epoch: Some(epoch), ..Draft::new(lane("notes"), two) });
    let one = Action::Withdraw { publish, documents: vec![blob(1).hash], erase: true };
    write(&mut nodes[0], ledger, Draft::new(lane("notes"), one));
    let whole = nodes[0].replica.ledgers[&ledger].get(&publish).unwrap().clone();
    let forget = |node: &mut Node| node.replica.ledgers.get_mut(&ledger).unwrap().erase_body(&publish);
    let has_body = |node: &Node| node.replica.ledgers[&ledger].get(&publish).unwrap().body.is_some();

    // Left out of what comes first: noted before the Withdraw is known.
    forget(&mut nodes[0]);
    meet(&mut nodes);
    assert_eq!(nodes[1].replica.bodiless[&ledger], [publish].into());
    nodes[0].replica.ledgers.get_mut(&ledger).unwrap().add_entry(whole).unwrap();
    meet(&mut nodes);
    assert!(has_body(&nodes[1]), "what was asked for is taken");
    assert!(nodes[1].replica.bodiless[&ledger].is_empty());
    assert!(!meet(&mut nodes).saw[1].frames().contains(&"want"), "nothing is asked for twice");

    // Found to be missing later, when the Withdraw is known.
    forget(&mut nodes[1]);
    nodes[1].replica.look_for_bodies(ledger);
    meet(&mut nodes);
    assert!(has_body(&nodes[1]), "it is asked for");
}

#[test]
fn an_entry_that_comes_without_its_body_is_remembered() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 1);
    let body = nodes[0].replica.ledgers.get_mut(&ledger).unwrap().erase_body(&epoch);
    assert!(body.is_some());
    meet(&mut nodes);
    assert_eq!(nodes[1].replica.bodiless[&ledger], [epoch].into());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_session_cut_anywhere_loses_nothing(cuts in proptest::collection::vec(0usize..40, 1..4)) {
        let (mut nodes, ledger) = phone_and_custodian();
        let epoch = fill(&mut nodes[0], ledger, "notes", 8);
        publish(&mut nodes[0], ledger, lane("notes"), epoch, 70, 2 * CHUNK);
        fill(&mut nodes[0], ledger, "results", 4);
        for cut in cuts {
            meet_for(&mut nodes, cut);
            for node in &mut nodes {
                node.restart().unwrap();
            }
        }
        let pair = meet(&mut nodes);
        prop_assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
        prop_assert_eq!(count(&nodes[1], ledger), 15);
    }
}
