//! What a session holds a peer to as time goes on: claims whose root is dropped, clocks that are ahead, strangers that ask and ask.

use chartmesh_exchange::{
    AHEAD, Closing, Effect, Event, Frame, MAX_FRAME, Options,
    sim::{Node, Person, circle, key, next_charter, recipient},
};
use chartmesh_identity::{EntryHash, Kind, LaneId, LedgerId, Signed, Verified};
use chartmesh_ledger::{Charter, Checkpoint, Device, Head, Peer, Root};

use crate::pair::{NOW, Pair, count, fill, grant, meet, phone_and_custodian};

/// A session in which somebody claims the phone's ledger from the custodian with this root.
fn claimed(root: &str, amend: impl FnOnce(&mut [Node; 2], LedgerId)) -> ([Node; 2], Pair, LedgerId) {
    let (mut nodes, ledger) = phone_and_custodian();
    fill(&mut nodes[0], ledger, "notes", 3);
    meet(&mut nodes);
    amend(&mut nodes, ledger);
    let [_, custodian] = nodes;
    let mut nodes = [Node::new(Person::new("claimant", Kind::Patient)), custodian];
    let mut pair = Pair::new(&nodes, Options { claim: true });
    pair.root = Some(root.into());
    pair.start(&mut nodes);
    pair.run(&mut nodes, usize::MAX);
    (nodes, pair, ledger)
}

fn amended(node: &mut Node, ledger: LedgerId, root: &str, change: impl FnOnce(&mut Charter)) -> Verified<Charter> {
    let held = &node.replica.ledgers[&ledger];
    let next = next_charter(held.charter(), held.charter_hash(), ledger, &key(root), change);
    assert!(node.add_charter(ledger, next.signed()));
    next
}

#[test]
fn a_thief_that_claimed_with_a_devices_root_is_served_no_more_once_the_words_have_dropped_it() {
    let (mut nodes, mut pair, ledger) = claimed("rank 1", |_, _| {});
    assert_eq!(count(&nodes[0], ledger), 4);
    assert!(pair.sessions[1].claimed(&nodes[1].replica, &ledger));
    amended(&mut nodes[1], ledger, "rank 0", |next| next.roots.retain(|root| root.rank == 0));
    assert!(!pair.sessions[1].claimed(&nodes[1].replica, &ledger));
    pair.tell(&mut nodes, 1, Event::Changed(ledger));
    pair.run(&mut nodes, usize::MAX);
    assert_eq!(pair.saw[1].frames().last(), Some(&"unknown"));
    let sent = pair.saw[1].sent.len();
    let open = Frame::Open { ledger, opening: 99, digest: vec![0; 32].into(), beyond: Vec::new() };
    pair.tell(&mut nodes, 1, Event::Frame(open.encode()));
    assert_eq!(pair.saw[1].frames()[sent..], ["unknown"]);
}

#[test]
fn a_root_that_was_dropped_claims_nothing() {
    let drop_rank_1 = |nodes: &mut [Node; 2], ledger| {
        amended(&mut nodes[1], ledger, "rank 0", |next| next.roots.retain(|root| root.rank == 0));
    };
    let (nodes, pair, ledger) = claimed("rank 1", drop_rank_1);
    assert_eq!(count(&nodes[0], ledger), 0);
    assert_eq!(pair.saw[1].frames(), ["hello", "named"]);
    let (nodes, _, ledger) = claimed("rank 0", drop_rank_1);
    assert_eq!(count(&nodes[0], ledger), 4);
}

#[test]
fn words_that_were_replaced_get_the_charters_alone() {
    let (nodes, pair, ledger) = claimed("rank 0", |nodes, ledger| {
        amended(&mut nodes[1], ledger, "rank 0", |next| next.roots = vec![Root { key: key("new words").root(), rank: 0 }]);
    });
    assert_eq!(pair.saw[1].frames(), ["hello", "charters", "named"]);
    assert!(!pair.saw[1].effects.iter().any(|effect| matches!(effect, Effect::Claimed { .. })));
    assert!(!pair.sessions[0].claimed(&nodes[0].replica, &ledger) && !pair.sessions[1].claimed(&nodes[1].replica, &ledger));
    assert_eq!(count(&nodes[0], ledger), 0);
}

#[test]
fn the_words_are_served_in_spite_of_a_thief_that_tried_to_drop_them() {
    let (nodes, pair, ledger) = claimed("rank 0", |nodes, ledger| {
        let held = &nodes[1].replica.ledgers[&ledger];
        let thief = next_charter(held.charter(), held.charter_hash(), ledger, &key("rank 1"), |next| {
            next.roots.retain(|root| root.rank > 0);
            next.recovery = recipient("thief");
        });
        assert!(!nodes[1].add_charter(ledger, thief.signed()));
    });
    assert_eq!(count(&nodes[0], ledger), 4);
    assert!(pair.sessions[1].claimed(&nodes[1].replica, &ledger));
}

/// The root of a stolen device strikes off whom it likes: the words are the patient's, and answered all the same. Its own root is not.
#[test]
fn who_was_struck_off_answers_the_words() {
    let strike_off = |nodes: &mut [Node; 2], ledger| {
        amended(&mut nodes[1], ledger, "rank 1", |next| next.custodians.clear());
        let (person, held) = (&nodes[1].person, &nodes[1].replica);
        assert_eq!(held.standing(ledger, &person.party(), &held.me.endpoint), Peer::Stranger);
    };
    let (nodes, pair, ledger) = claimed("rank 0", strike_off);
    assert_eq!(count(&nodes[0], ledger), 4);
    assert!(pair.sessions[1].claimed(&nodes[1].replica, &ledger));
    let (nodes, _, ledger) = claimed("rank 1", strike_off);
    assert_eq!(count(&nodes[0], ledger), 0);
}

/// Nothing that a stolen device has made up by the thousand keeps the words from what there is.
#[test]
fn the_words_are_answered_whatever_there_is_of_charters_and_checkpoints() {
    let (nodes, pair, ledger) = claimed("rank 0", |nodes, ledger| {
        for round in 0..70 {
            // Each is longer than goes into one frame with another.
            amended(&mut nodes[1], ledger, "rank 1", |next| {
                next.devices.truncate(1);
                let device = next.devices[0].clone();
                next.devices.extend((0..120).map(|n| Device { key: key(&format!("device {n}")).author(), ..device.clone() }));
                next.time = round;
            });
        }
        let phone = nodes[0].person.clone();
        for n in 0..8_200u32 {
            let lane = LaneId::derive(&[1; 32], &n.to_be_bytes());
            let checkpoint = Checkpoint { ledger, lane, author: phone.author(), heads: Vec::new(), time: NOW, cosignatures: Vec::new() };
            assert!(nodes[1].replica.hear(Signed::sign(checkpoint, &phone.key), NOW));
        }
    });
    assert!(pair.saw.iter().flat_map(|saw| &saw.effects).all(|effect| !matches!(effect, Effect::Close { .. })));
    assert_eq!(count(&nodes[0], ledger), 4);
    assert_eq!(nodes[0].replica.ledgers[&ledger].charters().count(), 71);
}

#[test]
fn the_longest_checkpoint_fits_into_a_frame() {
    let (nodes, ledger) = phone_and_custodian();
    let phone = &nodes[0].person;
    let head = |n: usize| Head { lane: LaneId::new([255; 32]), author: phone.author(), seq: u64::MAX - n as u64, hash: EntryHash::of(&n.to_be_bytes()) };
    let heads = (0..Checkpoint::MAX_HEADS).map(head).collect();
    let checkpoint = Checkpoint { ledger, lane: LaneId::new([1; 32]), author: phone.author(), heads, time: NOW, cosignatures: Vec::new() };
    let checkpoint = Signed::sign(checkpoint, &phone.key);
    Checkpoint::read(checkpoint.signed().clone(), &nodes[0].replica.ledgers[&ledger]).expect("it counts");
    assert!(Frame::Checkpoint { ledger, checkpoint: checkpoint.signed().clone() }.encode().len() < MAX_FRAME);
}

/// A checkpoint of the phone for a party's circle.
fn checkpoint(node: &Node, ledger: LedgerId, party: &Person, time: i64) -> Verified<Checkpoint> {
    let lane = circle(&party.party());
    let heads = node.replica.ledgers[&ledger].heads(&lane);
    Signed::sign(Checkpoint { ledger, lane, author: node.person.author(), heads, time, cosignatures: Vec::new() }, &node.person.key)
}

#[test]
fn a_checkpoint_from_the_future_does_not_count_and_does_not_stand_in_the_way() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 1);
    let lee = Person::new("Dr Lee", Kind::Practitioner);
    let (_, lane) = grant(&mut nodes[0], ledger, lee.party(), epoch);
    meet(&mut nodes);
    let [ahead, far, fair] = [NOW + AHEAD, NOW + AHEAD + 1, NOW].map(|time| checkpoint(&nodes[0], ledger, &lee, time));
    let replica = &mut nodes[1].replica;
    assert!(!replica.hear(far.clone(), NOW));
    assert_eq!(replica.heard(ledger, &lee.party(), NOW), None);
    assert!(replica.hear(fair.clone(), NOW));
    assert!(replica.hear(ahead, NOW));
    assert_eq!(replica.heard(ledger, &lee.party(), NOW), Some(NOW), "never later than now");
    // Heard while this node's own clock was ahead too.
    assert!(replica.hear(far.clone(), NOW + 1));
    assert_eq!(replica.heard(ledger, &lee.party(), NOW), None);
    assert_eq!(replica.checkpoint(ledger, lane, NOW), None);
    assert!(replica.hear(fair, NOW));
    assert_eq!(replica.heard(ledger, &lee.party(), NOW + 500), Some(NOW));

    // The phone, an hour and more ahead, brings one: it is not kept, and the session goes on.
    assert!(nodes[0].replica.hear(far.clone(), far.time));
    let mut pair = Pair::new(&nodes, Options::default());
    pair.start(&mut nodes);
    pair.run(&mut nodes, usize::MAX);
    let sent = Frame::Checkpoint { ledger, checkpoint: far.signed().clone() };
    pair.tell(&mut nodes, 1, Event::Frame(sent.encode()));
    assert!(!pair.saw[1].effects.iter().any(|effect| matches!(effect, Effect::CheckpointHeard { .. } | Effect::Close { .. })));
    assert_eq!(nodes[1].replica.checkpoint(ledger, lane, NOW).map(|held| held.time), Some(NOW));
}

#[test]
fn a_session_knows_which_ledgers_its_peer_has_named() {
    let (nodes, ledger) = phone_and_custodian();
    let [mut phone, _] = nodes;
    let epoch = fill(&mut phone, ledger, "notes", 1);
    let charters: Vec<_> = phone.replica.ledgers[&ledger].charters().cloned().collect();
    let lee = Person::new("Dr Lee", Kind::Practitioner);
    grant(&mut phone, ledger, lee.party(), epoch);
    let mut nodes = [phone, Node::new(lee)];
    let mut pair = Pair::new(&nodes, Options::default());
    pair.start(&mut nodes);
    pair.run(&mut nodes, usize::MAX);
    assert!(!pair.sessions[0].named(&ledger), "the party does not hold it yet");
    assert!(pair.sessions[1].peer().is_some() && !pair.sessions[1].named(&ledger), "what is not held is not noted");
    nodes[1].hold(&charters).unwrap();
    pair.tell(&mut nodes, 1, Event::Opened(ledger));
    pair.run(&mut nodes, usize::MAX);
    assert!(pair.sessions[0].named(&ledger) && pair.sessions[1].named(&ledger));
    assert_eq!(count(&nodes[1], ledger), 4);
    assert!(!pair.sessions[0].named(&LedgerId::of(b"another")));
}

#[test]
fn whoever_asks_for_ledger_after_ledger_is_hung_up_on() {
    let (mut nodes, ledger) = phone_and_custodian();
    let mut pair = meet(&mut nodes);
    let before = pair.saw[1].sent.len();
    for n in 0..1100u16 {
        let open = Frame::Open { ledger: LedgerId::of(&n.to_be_bytes()), opening: 99, digest: vec![0; 32].into(), beyond: Vec::new() };
        pair.tell(&mut nodes, 1, Event::Frame(open.encode()));
    }
    assert_eq!(pair.saw[1].frames()[before..], ["unknown"; 1024]);
    assert_eq!(pair.saw[1].effects.last(), Some(&Effect::Close { reason: Closing::TooMany("ledgers") }));
    assert!(pair.sessions[1].named(&ledger));
}
