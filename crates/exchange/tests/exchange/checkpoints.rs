//! What a suspension means to a session under way: other checkpoints count, and a party whose grants end with the device is a stranger.

use chartmesh_exchange::{
    Effect, Event, Options,
    sim::{Node, Person, charter, circle, key, next_charter},
};
use chartmesh_identity::{Kind, LaneId, LedgerId, Signed, Verified};
use chartmesh_ledger::Checkpoint;

use crate::pair::{NOW, Pair, fill, grant, meet};

fn checkpoint(device: &str, ledger: LedgerId, lane: LaneId, time: i64) -> Verified<Checkpoint> {
    let device = key(device);
    Signed::sign(Checkpoint { ledger, lane, author: device.author(), heads: Vec::new(), time, cosignatures: Vec::new() }, &device)
}

/// A phone and a custodian with the same entries. The phone alone knows that the laptop is suspended; the custodian holds a checkpoint that the laptop signed just now.
fn after_a_suspension() -> ([Node; 2], LedgerId, LaneId) {
    let [phone, laptop, tablet] = ["phone", "laptop", "tablet"].map(|name| Person::new(name, Kind::Patient));
    let custodian = Person::new("custodian", Kind::Custodian);
    let genesis = charter(&[&phone, &laptop, &tablet], &[&custodian]);
    let mut nodes = [Node::new(phone), Node::new(custodian)];
    let [ledger, _] = nodes.each_mut().map(|node| node.hold(&[genesis.signed().clone()]).unwrap());
    let epoch = fill(&mut nodes[0], ledger, "notes", 1);
    let party = Person::new("Dr Lee", Kind::Practitioner).party();
    grant(&mut nodes[0], ledger, party, epoch);
    meet(&mut nodes);
    let lane = circle(&party);
    assert!(nodes[1].replica.hear(checkpoint("laptop", ledger, lane, NOW), NOW));
    let held = &nodes[0].replica.ledgers[&ledger];
    let fence = held.device_fence(&laptop.author());
    let next = next_charter(held.charter(), held.charter_hash(), ledger, &key("rank 1"), |next| next.devices[1].suspended = Some(fence));
    assert!(nodes[0].add_charter(ledger, next.signed()));
    (nodes, ledger, lane)
}

fn time(node: &Node, ledger: LedgerId, lane: LaneId) -> Option<i64> {
    node.replica.checkpoint(ledger, lane, NOW).map(|checkpoint| checkpoint.time)
}

#[test]
fn whoever_hears_of_a_suspension_hears_the_checkpoint_that_counts_with_it() {
    for phone in [0, 1] {
        let (mut nodes, ledger, lane) = after_a_suspension();
        // Older than the suspended laptop's.
        assert!(nodes[0].replica.hear(checkpoint("phone", ledger, lane, NOW - 10), NOW));
        nodes.rotate_right(phone);
        let pair = meet(&mut nodes);
        assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
        assert!(pair.saw[1 - phone].effects.contains(&Effect::CheckpointHeard { ledger, lane }), "it is stored");
        assert_eq!(time(&nodes[1 - phone], ledger, lane), Some(NOW - 10));
        assert_eq!(meet(&mut nodes).saw[1].frames(), ["hello", "same", "done", "named"]);
    }
}

#[test]
fn a_checkpoint_that_the_peer_refused_does_not_hide_the_next_that_counts() {
    let (mut nodes, ledger, lane) = after_a_suspension();
    nodes.swap(0, 1);
    let mut pair = Pair::new(&nodes, Options::default());
    pair.start(&mut nodes);
    pair.run(&mut nodes, usize::MAX);
    // The custodian gave the laptop's before it had heard of the suspension.
    assert!(pair.saw[0].frames().contains(&"checkpoint"), "{:?}", pair.saw[0].frames());
    assert!(pair.saw[1].effects.iter().any(|effect| matches!(effect, Effect::Refused { .. })));
    assert_eq!([0, 1].map(|side| time(&nodes[side], ledger, lane)), [None, None]);
    // Then the tablet brings the custodian one, older than what the phone refused.
    pair.tell(&mut nodes, 0, Event::Checkpoint(checkpoint("tablet", ledger, lane, NOW - 10)));
    pair.run(&mut nodes, usize::MAX);
    assert_eq!([0, 1].map(|side| time(&nodes[side], ledger, lane)), [Some(NOW - 10), Some(NOW - 10)]);
    assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
}

#[test]
fn a_party_that_a_charter_makes_a_stranger_is_told_so_and_served_again_under_a_new_grant() {
    let [phone, laptop] = ["phone", "laptop"].map(|name| Person::new(name, Kind::Patient));
    let (custodian, lee) = (Person::new("custodian", Kind::Custodian), Person::new("Dr Lee", Kind::Practitioner));
    let (party, laptops) = (lee.party(), laptop.author());
    let genesis = [charter(&[&phone, &laptop], &[&custodian]).signed().clone()];
    let [mut phone, mut laptop, lee, custodian] = [phone, laptop, lee, custodian].map(Node::new);
    let mut nodes = [lee, custodian];
    let [lees, custodians] = &mut nodes;
    let ledgers = [&mut phone, &mut laptop, lees, custodians].map(|node| node.hold(&genesis).unwrap());
    let ledger = ledgers[0];
    // The laptop alone gave the party a grant; the charter that suspends it, which the custodian has not heard of, lets nothing of that stand.
    let epoch = fill(&mut laptop, ledger, "notes", 1);
    let (_, lane) = grant(&mut laptop, ledger, party, epoch);
    let copy = |from: &Node, author, to: &mut Node| {
        let held = &from.replica.ledgers[&ledger];
        for entry in held.lanes().flat_map(|lane| held.entries_after(lane, &author, 0)) {
            to.replica.ledgers.get_mut(&ledger).unwrap().add_entry(entry.clone()).unwrap();
        }
    };
    for node in &mut nodes {
        copy(&laptop, laptops, node);
    }
    let held = &phone.replica.ledgers[&ledger];
    let next = next_charter(held.charter(), held.charter_hash(), ledger, &key("rank 1"), |next| next.devices[1].suspended = Some(Vec::new()));
    assert!(nodes[0].add_charter(ledger, next.signed()));
    assert!(nodes[0].replica.hear(checkpoint("phone", ledger, lane, NOW), NOW));
    let mut pair = Pair::new(&nodes, Options::default());
    pair.start(&mut nodes);
    while nodes[1].replica.ledgers[&ledger].charters().count() == 1 {
        assert_eq!(pair.run(&mut nodes, 1), 1);
    }
    // The checkpoint: nothing from the party is taken any more.
    pair.run(&mut nodes, 1);
    // Now the custodian hears of a grant of the phone's.
    let epoch = fill(&mut phone, ledger, "notes", 1);
    grant(&mut phone, ledger, party, epoch);
    copy(&phone, phone.person.author(), &mut nodes[1]);
    pair.tell(&mut nodes, 1, Event::Changed(ledger));
    pair.run(&mut nodes, usize::MAX);
    assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
    assert!(pair.saw[1].frames().contains(&"unknown"), "{:?}", pair.saw[1].frames());
    assert_eq!([0, 1].map(|side| time(&nodes[side], ledger, lane)), [Some(NOW), Some(NOW)]);
}
