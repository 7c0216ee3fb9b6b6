//! What is read as an entry, and what a ledger takes in.

use chartmesh_identity::{BlobHash, EntryHash, Named, NodeRole, Payload, Signed, SignedError, from_canonical, to_canonical};
use chartmesh_ledger::{Action, Added, CertCache, Entry, EntryError, EntryHeader, Fence, RawEntry, Refusal, Use, Verdict, Void};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::world::*;

/// A header as a later version may write it.
#[derive(Serialize, Deserialize)]
struct Later(std::collections::BTreeMap<String, ciborium::Value>);

impl Payload for Later {
    const TYP: &'static str = EntryHeader::TYP;
}

impl Named for Later {
    fn signer(&self) -> [u8; 32] {
        [0; 32]
    }
}

/// Signs `header` with one more header key or one more argument.
fn later(pen: &mut Pen, header: EntryHeader, key: Option<&str>, argument: Option<&str>) -> Entry {
    let ciborium::Value::Map(map) = ciborium::Value::serialized(&header).unwrap() else { panic!("a map") };
    let mut map: std::collections::BTreeMap<String, ciborium::Value> = map.into_iter().map(|(key, value)| (key.into_text().unwrap(), value)).collect();
    if let Some(key) = key {
        map.insert(key.into(), 7.into());
    }
    if let Some(argument) = argument {
        let action = map.get_mut("action").unwrap().as_array_mut().unwrap();
        action[1].as_map_mut().unwrap().push((argument.into(), 7.into()));
    }
    let signed = Signed::sign(Later(map), &pen.key);
    let entry = Entry::read(RawEntry { header: Signed::from_bytes(signed.as_bytes().to_vec()), body: None }).unwrap();
    pen.rewind(entry.header.lane, entry.header.seq as usize - 1);
    entry
}

#[test]
fn nobody_signs_for_another() {
    let w = World::new();
    let header = w.a.header(CIRCLE, grant(w.x.party()));
    let forged = Entry::sign(header, None, &secret(11));
    assert_eq!(Entry::read(forged.to_raw()), Err(EntryError::Signed(SignedError::Signature)));
}

#[test]
fn a_certificate_is_for_its_own_node_and_signed_by_its_party() {
    let w = World::new();
    let node = Pen::node(w.ledger.id(), 40, 20, &[NodeRole::Write]);
    let mut thief = Pen::new(w.ledger.id(), 41);
    thief.cert = node.cert.clone();
    let stolen = thief.write(CATALOG, publish(1));
    assert_eq!(Entry::read(stolen.to_raw()), Err(EntryError::Certificate));
    let cert = (*node.cert.clone().unwrap().verify().unwrap()).clone();
    let cert = chartmesh_identity::Certificate { node: thief.author(), ..cert };
    thief.cert = Some(Signed::sign(cert, &thief.key).signed().clone());
    let own = thief.write(CATALOG, publish(1));
    let mut certs = CertCache::new();
    for _ in 0..2 {
        assert_eq!(Entry::read_with(own.to_raw(), &mut certs), Err(EntryError::Certificate));
    }
}

#[test]
fn a_body_is_the_one_named_and_may_be_missing() {
    let mut w = World::new();
    let header = w.a.header(CIRCLE, grant(w.x.party()));
    let entry = Entry::sign(header, Some(b"sealed".to_vec()), &w.a.key);
    let raw = entry.to_raw();
    assert_eq!(Entry::read(RawEntry { body: Some(ByteBuf::from(b"other".to_vec())), ..raw.clone() }), Err(EntryError::Body));
    let detached = Entry::read(RawEntry { body: None, ..raw.clone() }).unwrap();
    assert_eq!(w.ledger.add_entry(detached.clone()), Ok(Added::New));
    assert_eq!(w.ledger.add_entry(detached), Ok(Added::Known));
    assert_eq!(w.ledger.add_entry(Entry::read(raw).unwrap()), Ok(Added::New), "the body is new");
    assert_eq!(w.ledger.erase_body(&entry.hash()).as_deref(), Some(&b"sealed"[..]));
    assert_eq!(w.verdict(&entry), Verdict::Stands);
    let bodiless = w.b.write(CIRCLE, grant(w.x.party()));
    assert_eq!(Entry::read(RawEntry { body: Some(ByteBuf::new()), ..bodiless.to_raw() }), Err(EntryError::Body));
}

#[test]
fn bounds_are_kept() {
    let w = World::new();
    let read = |header: EntryHeader| Entry::read(Entry::sign(header, None, &w.a.key).to_raw());
    let plain = || w.a.header(CIRCLE, grant(w.x.party()));
    assert_eq!(read(EntryHeader { suite: 2, ..plain() }), Err(EntryError::Suite(2)));
    assert_eq!(read(EntryHeader { seq: 0, ..plain() }), Err(EntryError::Bounds("place in the log")));
    assert_eq!(read(EntryHeader { seq: 2, ..plain() }), Err(EntryError::Bounds("place in the log")));
    assert_eq!(read(EntryHeader { prev: Some(EntryHash::of(b"x")), ..plain() }), Err(EntryError::Bounds("place in the log")));
    let many = Action::Withdraw { publish: EntryHash::of(b"x"), documents: vec![blob(1); 4097], erase: false };
    assert_eq!(read(EntryHeader { action: many, ..plain() }), Err(EntryError::Bounds("longest list")));
    assert_eq!(read(EntryHeader { crit: vec!["x".repeat(65)], ..plain() }), Err(EntryError::Bounds("name of a key or code")));
    let entry = Entry::sign(plain(), None, &w.a.key);
    let long = RawEntry { header: Signed::from_bytes(vec![0; (1 << 20) + 1]), body: None };
    assert_eq!(Entry::read(long), Err(EntryError::Bounds("header")));
    let heavy = RawEntry { body: Some(ByteBuf::from(vec![0; (16 << 20) + 1])), ..entry.to_raw() };
    assert_eq!(Entry::read(heavy), Err(EntryError::Bounds("body")));
}

#[test]
fn what_is_not_linked_or_not_of_this_ledger_is_refused() {
    let mut w = World::new();
    let one = w.a.write(CIRCLE, grant(w.x.party()));
    let two = w.a.write(CIRCLE, revoke(Fence::default()));
    assert!(matches!(w.ledger.add_entry(two.clone()), Err(Refusal::Gap { seq: 2, held: 0, .. })));
    w.add(&one);
    for prev in [EntryHeader { lane: OTHER, ..(*two.header).clone() }, EntryHeader { seq: 3, ..(*two.header).clone() }] {
        assert!(matches!(w.ledger.add_entry(Entry::sign(prev, None, &w.a.key)), Err(Refusal::Link { .. })));
    }
    let theirs = EntryHeader { prev: Some(one.hash()), seq: 2, ..w.b.header(CIRCLE, revoke(Fence::default())) };
    assert!(matches!(w.ledger.add_entry(Entry::sign(theirs, None, &w.b.key)), Err(Refusal::Link { .. })));
    let elsewhere = EntryHeader { ledger: chartmesh_identity::LedgerId::of(b"x"), ..(*two.header).clone() };
    assert_eq!(w.ledger.add_entry(Entry::sign(elsewhere, None, &w.a.key)), Err(Refusal::OtherLedger));
    w.add(&two);
    let stranger = w.y.write(CIRCLE, receipt(1));
    assert!(matches!(w.ledger.add_entry(stranger), Err(Refusal::NoAuthority { .. })));
}

#[test]
fn what_is_not_known_is_kept_and_linked_without_effect() {
    let mut w = World::new();
    let unknown = w.a.write(CIRCLE, Action::Unknown { code: "release".into(), raw: vec![0xa0] });
    assert_eq!(w.judge(&unknown), Verdict::NoEffect);
    assert_eq!(Entry::read(unknown.to_raw()).unwrap().header.action, unknown.header.action);
    let header = w.a.header(CIRCLE, grant(w.x.party()));
    let narrowed = later(&mut w.a, header, None, Some("condition"));
    assert!(matches!(&narrowed.header.action, Action::Unknown { code, .. } if code == "grant"));
    assert_eq!(w.judge(&narrowed), Verdict::NoEffect);
    let header = EntryHeader { seq: 3, prev: Some(narrowed.hash()), ..w.a.header(CIRCLE, grant(w.x.party())) };
    let keyed = later(&mut w.a, header, Some("guardian"), None);
    assert_eq!(keyed.header.unknown, ["guardian"]);
    assert_eq!(w.judge(&keyed), Verdict::NoEffect);
    let state = w.ledger.lane(&CIRCLE);
    assert!(state.grants.is_empty() && !state.frozen_giving);
    assert_eq!(w.ledger.heads(&CIRCLE), [head(&keyed)]);
}

#[test]
fn taking_away_stands_in_spite_of_parts_that_are_not_known() {
    for (key, argument) in [(Some("why"), None), (None, Some("why"))] {
        let mut w = World::new();
        w.set_up();
        let header = w.a.header(CIRCLE, revoke(Fence::default()));
        let entry = later(&mut w.a, header, key, argument);
        assert_eq!(w.judge(&entry), Verdict::Stands);
        assert!(w.ledger.lane(&CIRCLE).grants[&GRANT].revoked.is_some());
    }
}

#[test]
fn what_is_critical_and_not_known_stops_giving_in_its_lane_alone() {
    let mut w = World::new();
    w.set_up();
    let harmless = EntryHeader { crit: vec!["uses".into(), "grant".into()], ..w.a.header(CIRCLE, Action::Unknown { code: "note".into(), raw: vec![0xa0] }) };
    let harmless = w.a.sign(harmless);
    w.add(&harmless);
    assert!(!w.ledger.lane(&CIRCLE).frozen_giving);
    let stranger = EntryHeader {
        crit: vec!["release".into()],
        uses: Some(Use::Grant(GRANT)),
        ..w.x.header(CATALOG, Action::Unknown { code: "release".into(), raw: vec![0xa0] })
    };
    let stranger = w.x.sign(stranger);
    assert!(matches!(w.ledger.add_entry(stranger), Err(Refusal::NoAuthority { .. })));
    w.x.rewind(CATALOG, 0);
    for (lane, uses) in [(CIRCLE, Use::Grant(GRANT)), (CATALOG, admitted())] {
        let header = w.x.header(lane, Action::Unknown { code: "release".into(), raw: vec![0xa0] });
        let party = w.x.sign(EntryHeader { crit: vec!["release".into()], uses: Some(uses), ..header });
        assert_eq!(w.judge(&party), Verdict::NoEffect);
        assert!(!w.ledger.lane(&lane).frozen_giving, "a party cannot stop the patient from giving to others");
    }
    let critical = EntryHeader { crit: vec!["release".into()], ..w.a.header(CIRCLE, Action::Unknown { code: "release".into(), raw: vec![0xa0] }) };
    let critical = w.a.sign(critical);
    assert_eq!(w.judge(&critical), Verdict::NoEffect);
    assert!(w.ledger.lane(&CIRCLE).frozen_giving);
    assert!(!w.ledger.lane(&CATALOG).frozen_giving);
    w.suspend(10, vec![]);
    assert!(!w.ledger.lane(&CIRCLE).frozen_giving, "no authority past a fence, not to freeze either");
    assert_eq!(w.verdict(&critical), Verdict::Void(Void::Fenced));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nonsense_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let read = Entry::read(RawEntry { header: Signed::from_bytes(bytes), body: None });
        prop_assert!(read.is_err());
    }

    #[test]
    fn an_author_that_asks_what_comes_next_never_forks(steps in proptest::collection::vec((0u8..3, any::<bool>()), 1..24)) {
        let mut w = World::new();
        let lanes = [CIRCLE, CATALOG, OTHER];
        for (lane, other) in steps {
            let lane = lanes[lane as usize];
            let pen = if other { &mut w.b } else { &mut w.a };
            let (seq, prev) = w.ledger.next(&lane, &pen.author());
            let header = EntryHeader { seq, prev, ..pen.header(lane, revoke(Fence::default())) };
            w.ledger.add_entry(Entry::sign(header, None, &pen.key)).unwrap();
        }
        prop_assert!(w.ledger.forks().is_empty());
        prop_assert!(lanes.iter().all(|lane| w.ledger.heads(lane).len() <= 2));
    }
}

#[test]
fn a_part_of_an_argument_that_is_not_known_leaves_the_action_without_effect() {
    #[derive(Serialize)]
    struct Blob {
        hash: BlobHash,
        length: u64,
        moon: &'static str,
    }
    #[derive(Serialize)]
    struct Publish {
        documents: Vec<Blob>,
    }
    let hash = BlobHash::of(b"x");
    let known = Action::Publish { documents: vec![chartmesh_ledger::Blob { hash, length: 7 }] };
    let unknown = ("publish", Publish { documents: vec![Blob { hash, length: 7, moon: "full" }] });
    let read = |bytes: &[u8]| from_canonical::<Action>(bytes).expect("an action");
    assert_eq!(read(&to_canonical(&known)), known);
    assert!(matches!(read(&to_canonical(&unknown)), Action::Unknown { code, .. } if code == "publish"));
}
