//! Who gets what: strangers, parties, parties whose grant has ended, roots that claim.

use std::sync::Arc;

use chartmesh_exchange::{
    Closing, Effect, Event, Frame, Options,
    sim::{Draft, Node, Person, as_device, key, lane, next_charter},
};
use chartmesh_identity::{Kind, LedgerId, Signed};
use chartmesh_ledger::{Action, Checkpoint, Peer, Use};

use crate::pair::{NOW, Pair, count, fill, grant, meet, phone_and_custodian, publish, write};

fn with(node: Node, other: Person) -> [Node; 2] {
    [Node::new(other), node]
}

/// The phone's node, and a party's that holds the charter.
fn phone_and_party(phone: Node, ledger: LedgerId) -> [Node; 2] {
    let charters: Vec<_> = phone.replica.ledgers[&ledger].charters().cloned().collect();
    let mut nodes = with(phone, Person::new("Dr Lee", Kind::Practitioner));
    nodes[0].hold(&charters).unwrap();
    nodes
}

#[test]
fn a_stranger_cannot_tell_a_ledger_that_is_not_for_it_from_one_that_is_not_there() {
    let (nodes, ledger) = phone_and_custodian();
    let [mut phone, _] = nodes;
    fill(&mut phone, ledger, "notes", 3);
    let mut nodes = with(phone, Person::new("Eve", Kind::Practitioner));
    let mut pair = Pair::new(&nodes, Options::default());
    pair.start(&mut nodes);
    pair.run(&mut nodes, usize::MAX);
    let mut answers = Vec::new();
    for ledger in [ledger, LedgerId::of(b"nowhere")] {
        let before = pair.saw[1].sent.len();
        let open = Frame::Open { ledger, opening: 99, digest: vec![0; 32].into(), beyond: Vec::new() };
        pair.tell(&mut nodes, 1, Event::Frame(open.encode()));
        let mut answer: Vec<Vec<u8>> = pair.saw[1].sent[before..].to_vec();
        assert_eq!(answer.len(), 1);
        let bytes = answer.remove(0);
        assert_eq!(Frame::decode(&bytes).unwrap(), Frame::Unknown { ledger, opening: 99 });
        answers.push(bytes.len());
    }
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn a_stranger_that_holds_the_charter_gets_nothing() {
    let (nodes, ledger) = phone_and_custodian();
    let [mut phone, _] = nodes;
    fill(&mut phone, ledger, "notes", 3);
    let mut nodes = phone_and_party(phone, ledger);
    let pair = meet(&mut nodes);
    assert_eq!(count(&nodes[0], ledger), 0);
    assert!(pair.saw[1].frames().iter().all(|name| ["hello", "named", "unknown"].contains(name)), "{:?}", pair.saw[1].frames());
}

#[test]
fn a_party_gets_its_circle_and_the_catalog_it_was_granted_and_gives_its_receipts() {
    let (nodes, ledger) = phone_and_custodian();
    let [mut phone, _] = nodes;
    let epoch = fill(&mut phone, ledger, "notes", 3);
    fill(&mut phone, ledger, "results", 5);
    let mut nodes = phone_and_party(phone, ledger);
    let party = nodes[0].person.party();
    let (id, circle) = grant(&mut nodes[1], ledger, party, epoch);
    meet(&mut nodes);
    assert_eq!(count(&nodes[0], ledger), 4 + 2);
    let uses = Some(Use::Grant(id));
    write(&mut nodes[0], ledger, Draft { uses, ..Draft::new(circle, Action::Receipt { grant: id, n: 1 }) });
    let pair = meet(&mut nodes);
    assert_eq!(count(&nodes[1], ledger), 4 + 6 + 2 + 1);
    assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
    assert_eq!(meet(&mut nodes).saw[1].frames(), ["hello", "same", "done", "named"]);
}

#[test]
fn the_devices_logs_come_first_so_that_the_parties_can_be_judged() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 1);
    let before = |name: &String| key(name).author() < nodes[0].person.author();
    let name = (0..).map(|n| format!("Dr {n}")).find(before).unwrap();
    let party = key(&name);
    let (id, circle) = grant(&mut nodes[0], ledger, party.party(), epoch);
    let charters: Vec<_> = nodes[0].replica.ledgers[&ledger].charters().cloned().collect();
    let [phone, custodian] = nodes;
    let mut nodes = with(phone, Person::new(&name, Kind::Practitioner));
    nodes[0].hold(&charters).unwrap();
    meet(&mut nodes);
    let uses = Some(Use::Grant(id));
    write(&mut nodes[0], ledger, Draft { uses, ..Draft::new(circle, Action::Receipt { grant: id, n: 1 }) });
    meet(&mut nodes);
    let [_, phone] = nodes;
    let mut nodes = [phone, custodian];
    let pair = meet(&mut nodes);
    assert_eq!(count(&nodes[1], ledger), 5);
    assert!(!pair.saw[1].effects.iter().any(|effect| matches!(effect, Effect::Refused { .. })));
}

#[test]
fn a_revoked_party_gets_its_circle_up_to_the_revoke_and_may_still_answer() {
    let (nodes, ledger) = phone_and_custodian();
    let [mut phone, _] = nodes;
    let epoch = fill(&mut phone, ledger, "notes", 3);
    let mut nodes = phone_and_party(phone, ledger);
    let party = nodes[0].person.party();
    let (id, circle) = grant(&mut nodes[1], ledger, party, epoch);
    let fence = nodes[1].replica.ledgers[&ledger].fence(&circle);
    let revoke = write(&mut nodes[1], ledger, Draft::new(circle, Action::Revoke { grant: id, fence }));
    write(&mut nodes[1], ledger, Draft::new(circle, Action::Unknown { code: "later".into(), raw: vec![0xa0] }));
    publish(&mut nodes[1], ledger, lane("notes"), epoch, 9, 10);
    meet(&mut nodes);
    assert_eq!(count(&nodes[0], ledger), 3, "Grant, Envelope, Revoke");
    assert!(nodes[0].replica.ledgers[&ledger].has(&revoke));
    let uses = Some(Use::Grant(id));
    let confirm = write(&mut nodes[0], ledger, Draft { uses, ..Draft::new(circle, Action::Confirm { revoke }) });
    meet(&mut nodes);
    assert!(nodes[1].replica.ledgers[&ledger].has(&confirm));
    assert_eq!(count(&nodes[0], ledger), 4);
}

#[test]
fn a_custodian_that_has_not_heard_of_the_patient_gives_the_circle_alone() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 3);
    let party = Person::new("Dr Lee", Kind::Practitioner).party();
    grant(&mut nodes[0], ledger, party, epoch);
    meet(&mut nodes);
    let [_, custodian] = nodes;
    let mut nodes = phone_and_party(custodian, ledger);
    meet(&mut nodes);
    assert_eq!(count(&nodes[0], ledger), 2);
}

#[test]
fn what_a_party_holds_beyond_what_it_is_served_is_not_sent_to_who_has_it() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 3);
    let party = Person::new("Dr Lee", Kind::Practitioner).party();
    grant(&mut nodes[0], ledger, party, epoch);
    meet(&mut nodes);
    let [phone, custodian] = nodes;
    let mut nodes = phone_and_party(phone, ledger);
    meet(&mut nodes);
    let [lee, _] = nodes;
    assert_eq!(count(&lee, ledger), 6);
    // The custodian has no checkpoint and gives the circle alone, so that the two do not share the catalog. Asked by the party it says so at once; the other way round the
    // party tells its heads, and waits to hear which of them are there.
    let mut nodes = [lee, custodian];
    for party in [0, 1] {
        let pair = meet(&mut nodes);
        let said = pair.saw[party].frames();
        assert_eq!((said.contains(&"heads"), said.contains(&"entries")), (party == 1, false), "{said:?}");
        assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
        nodes.swap(0, 1);
    }
    // A checkpoint that the party has and the custodian has not: they differ, and still nothing is sent twice.
    let (author, lane) = (key("phone").author(), chartmesh_exchange::sim::circle(&nodes[0].person.party()));
    let checkpoint = Checkpoint { ledger, lane, author, heads: Vec::new(), time: NOW, cosignatures: Vec::new() };
    assert!(nodes[0].replica.hear(Signed::sign(checkpoint, &key("phone")), NOW));
    let pair = meet(&mut nodes);
    let said = pair.saw[0].frames();
    assert!(said.contains(&"heads") && said.contains(&"checkpoint") && !said.contains(&"entries"), "{said:?}");
    assert!(nodes[1].replica.checkpoint(ledger, lane, NOW).is_some());
}

#[test]
fn a_device_that_is_suspended_meanwhile_is_served_no_more() {
    let (phone, tablet) = (Person::new("phone", Kind::Patient), Person::new("tablet", Kind::Patient));
    let genesis = chartmesh_exchange::sim::charter(&[&phone, &tablet], &[]);
    let mut nodes = [Node::new(phone), Node::new(tablet)];
    let ledgers = nodes.each_mut().map(|node| node.hold(&[genesis.signed().clone()]).unwrap());
    let ledger = ledgers[0];
    let epoch = fill(&mut nodes[0], ledger, "notes", 1);
    let mut pair = meet(&mut nodes);
    let held = &nodes[0].replica.ledgers[&ledger];
    let fence = held.device_fence(&nodes[1].person.author());
    let next = next_charter(held.charter(), held.charter_hash(), ledger, &key("rank 1"), |next| next.devices[1].suspended = Some(fence));
    assert!(nodes[0].add_charter(ledger, next.signed()));
    publish(&mut nodes[0], ledger, lane("notes"), epoch, 4, 10);
    let before = pair.saw[0].sent.len();
    pair.tell(&mut nodes, 0, Event::Changed(ledger));
    assert_eq!(pair.saw[0].frames()[before..], ["unknown"]);
    publish(&mut nodes[1], ledger, lane("notes"), epoch, 5, 10);
    pair.tell(&mut nodes, 1, Event::Changed(ledger));
    pair.run(&mut nodes, usize::MAX);
    assert_eq!((count(&nodes[0], ledger), count(&nodes[1], ledger)), (3, 3));
}

fn recover(root: &str, stale_nonce: bool) -> ([Node; 2], Pair, LedgerId) {
    let (mut nodes, ledger) = phone_and_custodian();
    fill(&mut nodes[0], ledger, "notes", 6);
    meet(&mut nodes);
    let [_, custodian] = nodes;
    let mut nodes = with(custodian, Person::new("new phone", Kind::Patient));
    let mut pair = Pair::new(&nodes, Options { claim: true });
    pair.root = Some(root.into());
    pair.stale_nonce = stale_nonce;
    pair.start(&mut nodes);
    pair.run(&mut nodes, usize::MAX);
    (nodes, pair, ledger)
}

#[test]
fn a_root_gets_everything_back_and_its_new_device_is_served_from_then_on() {
    let (mut nodes, mut pair, ledger) = recover("rank 0", false);
    assert_eq!(count(&nodes[0], ledger), 7);
    assert!(pair.saw[1].effects.contains(&Effect::Claimed { ledger, root: key("rank 0").root() }));
    assert!(pair.sessions[0].settled() && pair.sessions[1].settled());
    let held = &nodes[0].replica.ledgers[&ledger];
    let device = as_device(&nodes[0].person);
    let next = next_charter(held.charter(), held.charter_hash(), ledger, &key("rank 0"), |next| next.devices.push(device));
    assert!(nodes[0].add_charter(ledger, next.signed()));
    pair.tell(&mut nodes, 0, Event::Changed(ledger));
    pair.run(&mut nodes, usize::MAX);
    let person = &nodes[0].person;
    assert_eq!(nodes[1].replica.standing(ledger, &person.party(), &person.endpoint), Peer::Device(person.author()));
    assert!(meet(&mut nodes).sessions[0].settled());
}

#[test]
fn a_claim_of_another_session_or_of_no_root_gets_nothing() {
    for (root, stale) in [("rank 0", true), ("nobody", false)] {
        let (nodes, pair, ledger) = recover(root, stale);
        assert_eq!(count(&nodes[0], ledger), 0);
        assert_eq!(pair.saw[1].frames(), ["hello", "named"]);
    }
}

#[test]
fn a_device_whose_peer_has_an_older_charter_brings_it_along() {
    let (mut nodes, ledger) = phone_and_custodian();
    fill(&mut nodes[0], ledger, "notes", 2);
    let tablet = Person::new("tablet", Kind::Patient);
    let held = &nodes[0].replica.ledgers[&ledger];
    let device = as_device(&tablet);
    let next = next_charter(held.charter(), held.charter_hash(), ledger, &key("rank 1"), |next| next.devices.push(device));
    let charters: Vec<_> = held.charters().cloned().chain([next.signed().clone()]).collect();
    let [phone, _] = nodes;
    let mut nodes = with(phone, tablet);
    nodes[0].hold(&charters).unwrap();
    meet(&mut nodes);
    assert_eq!(count(&nodes[0], ledger), 3);
    assert_eq!(nodes[1].replica.ledgers[&ledger].charters().count(), 2);
}

#[test]
fn an_endpoint_that_is_not_on_the_card_is_hung_up_on() {
    let (mut nodes, _) = phone_and_custodian();
    Arc::get_mut(&mut nodes[0].person).expect("nobody else has it").endpoint = key("another endpoint").endpoint();
    let pair = meet(&mut nodes);
    assert_eq!(pair.saw[1].effects.last(), Some(&Effect::Close { reason: Closing::Endpoint }));
    assert!(pair.saw[1].sent.is_empty(), "not even its card");
}
