//! A card within a session: where the peer is now, and what is no card of its.

use chartmesh_exchange::{
    Closing, Effect, Event, Frame, Options,
    sim::{Person, key},
};
use chartmesh_identity::{Card, Contact, EndpointKey, Kind, Signed, Verified};
use proptest::prelude::*;

use crate::pair::{Pair, closing, fill, meet, phone_and_custodian};

/// A later card, by so much, with another address.
fn elsewhere(person: &Person, later: u64) -> Verified<Card> {
    let card = &person.card;
    let contact = Contact { addresses: vec![format!("192.0.2.{later}:7117")], counter: card.contact.counter + later, ..card.contact.clone() };
    Signed::sign(Card { contact, ..(**card).clone() }, &key(&card.profile.name))
}

fn shown(pair: &Pair, side: usize) -> Vec<&Verified<Card>> {
    pair.saw[side].effects.iter().filter_map(|effect| if let Effect::Moved(card) = effect { Some(card) } else { None }).collect()
}

fn cards_sent(pair: &Pair, side: usize) -> usize {
    pair.saw[side].frames().iter().filter(|name| **name == "card").count()
}

#[test]
fn either_side_shows_a_new_card_within_the_session_and_once() {
    for mover in [0, 1] {
        let (mut nodes, ledger) = phone_and_custodian();
        fill(&mut nodes[0], ledger, "notes", 1);
        let mut pair = meet(&mut nodes);
        let card = elsewhere(&nodes[mover].person, 1);
        nodes[mover].replica.me.card = card.clone();
        for _ in 0..2 {
            pair.tell(&mut nodes, mover, Event::Moved);
            pair.run(&mut nodes, usize::MAX);
        }
        assert_eq!(shown(&pair, 1 - mover), [&card]);
        assert_eq!(pair.sessions[1 - mover].peer(), Some(&card));
        assert_eq!((cards_sent(&pair, mover), cards_sent(&pair, 1 - mover)), (1, 0));
        assert!(pair.sessions.iter().all(chartmesh_exchange::Session::settled));
    }
}

#[test]
fn a_card_that_changes_during_the_handshake_is_shown_after_it() {
    let (mut nodes, _) = phone_and_custodian();
    let mut pair = Pair::new(&nodes, Options::default());
    pair.start(&mut nodes);
    let card = elsewhere(&nodes[0].person, 1);
    nodes[0].replica.me.card = card.clone();
    pair.tell(&mut nodes, 0, Event::Moved);
    assert_eq!(pair.saw[0].frames(), ["hello"], "whom the peer is, is not known yet");
    pair.run(&mut nodes, usize::MAX);
    assert_eq!(shown(&pair, 1), [&card]);
    assert_eq!([closing(&pair, 0), closing(&pair, 1)], [None, None]);
}

#[test]
fn a_side_that_has_moved_before_its_hello_shows_no_card_beside() {
    let (mut nodes, _) = phone_and_custodian();
    let mut pair = Pair::new(&nodes, Options::default());
    let card = elsewhere(&nodes[1].person, 1);
    nodes[1].replica.me.card = card.clone();
    pair.tell(&mut nodes, 1, Event::Moved);
    assert!(pair.saw[1].sent.is_empty());
    pair.start(&mut nodes);
    pair.run(&mut nodes, usize::MAX);
    assert_eq!((pair.sessions[0].peer(), cards_sent(&pair, 1)), (Some(&card), 0));
}

#[test]
fn what_is_no_other_card_of_the_same_peer_ends_the_session() {
    let (nodes, _) = phone_and_custodian();
    let phone = &nodes[0].person;
    let resigned = |change: &dyn Fn(&mut Card)| {
        let mut card = (*elsewhere(phone, 7)).clone();
        change(&mut card);
        Signed::sign(card, &key("phone")).signed().clone()
    };
    let stranger = Person::new("phone", Kind::Organization);
    let mut forged = elsewhere(phone, 7).as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for (what, card, expected) in [
        ("of another", elsewhere(&stranger, 7).signed().clone(), Some(Closing::OtherCard)),
        ("with another name", resigned(&|card| card.profile.name = "other".into()), Some(Closing::OtherCard)),
        ("older", resigned(&|card| card.contact.counter = 4), None),
        ("as old, and another", resigned(&|card| card.contact.counter = 6), Some(Closing::OtherCard)),
        ("without the endpoint", resigned(&|card| card.contact.endpoints = vec![EndpointKey::new([9; 32])]), Some(Closing::Endpoint)),
        ("the same", elsewhere(phone, 5).signed().clone(), None),
    ] {
        let (mut nodes, _) = phone_and_custodian();
        nodes[0].replica.me.card = elsewhere(&nodes[0].person, 5);
        let held = nodes[0].replica.me.card.clone();
        let mut pair = meet(&mut nodes);
        pair.tell(&mut nodes, 1, Event::Frame(Frame::Card { card }.encode()));
        assert_eq!(closing(&pair, 1), expected.as_ref(), "{what}");
        assert_eq!((shown(&pair, 1), pair.sessions[1].peer()), (Vec::new(), Some(&held)), "{what}");
    }
    let (mut nodes, _) = phone_and_custodian();
    let mut pair = meet(&mut nodes);
    pair.tell(&mut nodes, 1, Event::Frame(Frame::Card { card: Signed::from_bytes(forged) }.encode()));
    assert!(matches!(closing(&pair, 1), Some(Closing::Card(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever else is under way: the peer ends with the last card, has seen them in their order, and all that was to come has come.
    #[test]
    fn the_last_card_arrives_whenever_it_changes(moves in proptest::collection::vec(any::<(bool, u8)>(), 1..12)) {
        let (mut nodes, ledger) = phone_and_custodian();
        fill(&mut nodes[0], ledger, "notes", 20);
        let mut pair = Pair::new(&nodes, Options::default());
        pair.start(&mut nodes);
        for (number, (mover, after)) in moves.into_iter().enumerate() {
            let mover = usize::from(mover);
            pair.run(&mut nodes, usize::from(after % 5));
            let card = elsewhere(&nodes[mover].person, number as u64 + 1);
            nodes[mover].replica.me.card = card;
            pair.tell(&mut nodes, mover, Event::Moved);
        }
        pair.run(&mut nodes, usize::MAX);
        for side in 0..2 {
            prop_assert_eq!(closing(&pair, side), None);
            prop_assert_eq!(pair.sessions[side].peer(), Some(&nodes[1 - side].replica.me.card));
            prop_assert!(shown(&pair, side).is_sorted_by(|one, next| one.contact.counter < next.contact.counter));
            prop_assert!(pair.sessions[side].settled());
            prop_assert_eq!(crate::pair::count(&nodes[side], ledger), 21);
        }
    }
}
