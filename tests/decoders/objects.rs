//! What is signed, and what crosses the wire.

use std::sync::LazyLock;

use chartmesh_exchange::{Frame, MAX_FRAME};
use chartmesh_identity::{Card, Certificate, Signed};
use chartmesh_ledger::{
    Charter, Checkpoint, Claim, ConfirmBody, Entry, EntryHeader, EnvelopeBody, EpochBody, ForkProof, GrantBody, Invitation, KeyBody, Ledger, MAX_BODY,
    PublishBody, RawEntry, ReceiptBody, RequestBody,
};
use chartmesh_sealing::Origin;
use serde_bytes::ByteBuf;

use crate::generic::{self, assert_plain, assert_quiet, exact, key, sign, texts};

/// A contact card.
pub fn card(bytes: &[u8]) {
    let Some(mut card) = generic::signed::<Card>(bytes) else { return };
    card.profile.party = key().party();
    match card.clone().sign(&key()) {
        Ok(signed) => {
            assert_eq!(*Card::read(signed.as_bytes()).expect("a card that was just signed"), card);
            let name = &card.profile.name;
            assert!(!name.trim().is_empty() && name.chars().count() <= 120 && !name.chars().any(char::is_control));
            assert!(card.contact.endpoints.len() <= 32 && card.contact.addresses.len() <= 32);
        }
        Err(error) => {
            assert!(Card::read(sign(card).as_bytes()).is_err(), "what cannot be signed is not read");
            assert_quiet(&error, texts(bytes).iter().map(String::as_str));
        }
    }
}

/// A version of a charter, also as one that begins a ledger.
pub fn charter(bytes: &[u8]) {
    if let Ok(ledger) = Ledger::begin(Signed::from_bytes(bytes.to_vec())) {
        assert_eq!(*ledger.id().as_bytes(), *blake3::hash(bytes).as_bytes());
        assert_eq!(ledger.charters().count(), 1);
    }
    let Some(charter) = generic::signed::<Charter>(bytes) else { return };
    let own = Charter { signer: key().root(), ..charter };
    for signed in
        [sign(own.clone()), sign(Charter { roots: own.roots.iter().map(|root| chartmesh_ledger::Root { key: key().root(), ..*root }).collect(), ..own })]
    {
        match Ledger::begin(signed.clone()) {
            Ok(mut ledger) => {
                let before = ledger.charters().count();
                assert!(ledger.add_charter(signed).is_ok(), "a charter that is known already");
                assert_eq!(ledger.charters().count(), before);
            }
            Err(error) => assert_quiet(&error, texts(bytes).iter().map(String::as_str)),
        }
    }
}

/// The patient of the vectors: version 0 of a charter that device 10 signs entries under.
static PATIENT: LazyLock<Signed<Charter>> = LazyLock::new(|| {
    let hex = include_str!("../../schemas/vectors/charter-0.hex").trim();
    let digits: Vec<u8> = hex.bytes().map(|digit| char::from(digit).to_digit(16).expect("hexadecimal") as u8).collect();
    Signed::from_bytes(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
});

/// The header of an entry; what is well-formed is signed by a device of a patient and added to its ledger.
pub fn entry(bytes: &[u8]) {
    match Entry::read(RawEntry { header: Signed::from_bytes(bytes.to_vec()), body: None }) {
        Ok(entry) => {
            assert_eq!(entry.hash().as_bytes(), blake3::hash(bytes).as_bytes());
            let other = RawEntry { body: Some(ByteBuf::from(vec![0; 3])), ..entry.to_raw() };
            assert!(Entry::read(other).is_err(), "a body that the header does not name");
            let long = RawEntry { body: Some(ByteBuf::from(vec![0; MAX_BODY + 1])), ..entry.to_raw() };
            assert!(Entry::read(long).is_err(), "a body beyond its bound");
        }
        Err(error) => assert_quiet(&error, texts(bytes).iter().map(String::as_str)),
    }
    let Some(header) = generic::signed::<EntryHeader>(bytes) else { return };
    let mut ledger = Ledger::begin(PATIENT.clone()).expect("the charter of the vectors");
    let device = chartmesh_identity::SigningSecret::from_seed(&[10; 32]);
    let header = EntryHeader { ledger: ledger.id(), author: device.author(), seq: 1, prev: None, cert: None, ..header };
    let lane = header.lane;
    let signed = Entry::sign(header, None, &device);
    match Entry::read(signed.to_raw()) {
        Ok(entry) => {
            let (hash, known) = (entry.hash(), entry.header.understood());
            let outcome = ledger.add_all(vec![entry.clone(), entry]);
            assert!(outcome.refused.is_empty(), "a device's first entry");
            assert!(ledger.has(&hash) && ledger.len() == 1 && ledger.forks().is_empty());
            assert_eq!(ledger.next(&lane, &device.author()), (2, Some(hash)));
            let state = ledger.lane(&lane);
            assert!(known || state.grants.is_empty() && state.epochs.is_empty() && state.admits.is_empty(), "what is not understood gives nothing");
        }
        Err(error) => assert_quiet(&error, texts(bytes).iter().map(String::as_str)),
    }
}

/// Everything else that is signed: certificates, checkpoints, claims, origins of documents.
pub fn signed(bytes: &[u8]) {
    let read = [
        generic::signed::<Certificate>(bytes).is_some(),
        generic::signed::<Checkpoint>(bytes).is_some(),
        generic::signed::<Claim>(bytes).is_some(),
        generic::signed::<Origin>(bytes).is_some(),
    ];
    let is_signed = ciborium::from_reader::<ciborium::Value, _>(bytes).is_ok_and(|value| value.is_tag());
    assert!(!is_signed || read.iter().filter(|read| **read).count() <= 1, "one signature, and two kinds of object");
}

/// A sealed invitation, opened.
pub fn invitation(bytes: &[u8]) {
    let Some(invitation) = generic::signed::<Invitation>(bytes) else { return };
    for card in &invitation.nodes {
        if let Ok(card) = Card::read(card.as_bytes()) {
            assert_plain_name(&card);
        }
    }
    if let Some(first) = invitation.charters.first()
        && let Ok(ledger) = Ledger::begin(first.clone())
    {
        assert_eq!(ledger.charters().count(), 1);
    }
}

fn assert_plain_name(card: &Card) {
    assert!(!card.profile.name.chars().any(char::is_control));
}

/// A sealed body, opened: tried as each kind of body.
pub fn body(bytes: &[u8]) {
    exact::<GrantBody>(bytes);
    exact::<EnvelopeBody>(bytes);
    exact::<EpochBody>(bytes);
    exact::<KeyBody>(bytes);
    exact::<PublishBody>(bytes);
    exact::<ReceiptBody>(bytes);
    exact::<ConfirmBody>(bytes);
    exact::<RequestBody>(bytes);
}

/// Two headers that prove a fork.
pub fn fork_proof(bytes: &[u8]) {
    let Some(proof) = exact::<ForkProof>(bytes) else { return };
    match proof.verify() {
        Ok(fork) => {
            let swapped = ForkProof { one: proof.other.clone(), other: proof.one.clone() };
            assert_eq!(swapped.verify(), Ok(fork));
            assert!(ForkProof { other: proof.one.clone(), ..proof }.verify().is_err(), "one entry is no fork");
        }
        Err(error) => {
            assert_plain(&error.to_string());
            assert_quiet(&error, texts(bytes).iter().map(String::as_str));
        }
    }
}

/// A frame of a session.
pub fn frame(bytes: &[u8]) {
    match Frame::decode(bytes) {
        Ok(frame) => {
            assert!(bytes.len() <= MAX_FRAME);
            assert!(!frame.name().is_empty());
            let written = frame.encode();
            assert_eq!(Frame::decode(&written), Ok(frame), "a frame that was just written");
            exact::<Frame>(bytes);
        }
        Err(error) => assert_quiet(&error, texts(bytes).iter().map(String::as_str)),
    }
}
