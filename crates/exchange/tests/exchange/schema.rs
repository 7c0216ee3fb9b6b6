//! The frames are what schemas/exchange.cddl says.

use std::collections::BTreeSet;

use chartmesh_exchange::{Event, Frame, sim::lane};
use chartmesh_identity::{AuthorKey, CharterHash, EntryHash, LedgerId, Signed};

use crate::pair::{fill, meet, phone_and_custodian, publish};

const SCHEMA: &str = concat!(include_str!("../../../../schemas/chartmesh.cddl"), "\n", include_str!("../../../../schemas/exchange.cddl"));

/// The checker knows no tags: embedded objects are byte strings to it.
fn check(bytes: &[u8]) -> Result<(), String> {
    let schema = SCHEMA.replace("#6.18(cose<payload>)", "cose<payload>").replace("bstr .cbor signed<payload>", "bstr");
    cddl_cat::validate_cbor_bytes("frame", &schema, bytes).map_err(|error| error.to_string())
}

#[test]
fn every_frame_fits_the_schema() {
    let (mut nodes, ledger) = phone_and_custodian();
    let epoch = fill(&mut nodes[0], ledger, "notes", 2);
    publish(&mut nodes[0], ledger, lane("notes"), epoch, 5, 300_000);
    let mut pair = meet(&mut nodes);
    pair.tell(&mut nodes, 0, Event::Invite { sealed: vec![1] });
    pair.tell(&mut nodes, 0, Event::Leave);
    let mut said: Vec<Vec<u8>> = pair.saw.iter().flat_map(|saw| saw.sent.clone()).collect();
    said.extend(meet(&mut nodes).saw[1].sent.clone());
    let tips = vec![(lane("notes"), vec![(AuthorKey::new([1; 32]), 1, EntryHash::of(b"e"))])];
    let rest = [
        Frame::Card { card: Signed::from_bytes(vec![1]) },
        Frame::Claim { claim: Signed::from_bytes(vec![1]) },
        Frame::Unknown { ledger, opening: 1 },
        Frame::Open { ledger, opening: 1, digest: vec![0; 32].into(), beyond: tips.clone() },
        Frame::Heads {
            ledger,
            opening: 1,
            charters: vec![CharterHash::of(b"c")],
            lanes: tips.clone(),
            checkpoints: vec![(lane("x"), -1)],
            confirm: true,
            last: false,
        },
        Frame::Held { ledger, opening: 1, lanes: tips, last: true },
        Frame::Charters { ledger, charters: vec![Signed::from_bytes(vec![1])] },
        Frame::Want { ledger, entries: vec![EntryHash::of(b"e")] },
        Frame::Checkpoint { ledger, checkpoint: Signed::from_bytes(vec![1]) },
    ];
    said.extend(rest.iter().map(Frame::encode));
    let mut names = BTreeSet::new();
    for bytes in said {
        let name = Frame::decode(&bytes).unwrap().name();
        assert_eq!(check(&bytes), Ok(()), "{name}");
        names.insert(name);
    }
    assert_eq!(names.len(), 18, "{names:?}");
}

#[test]
fn other_things_do_not() {
    let unknown = Frame::Unknown { ledger: LedgerId::of(b"x"), opening: 1 }.encode();
    let mut other = unknown.clone();
    other[2] ^= 1;
    assert!(check(&unknown).is_ok() && check(&other).is_err());
}
