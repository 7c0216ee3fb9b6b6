//! What bodies are believed.

use chartmesh_identity::{Kind, LedgerId, Profile, Recipient, SigningSecret, to_canonical};
use chartmesh_ledger::{AccessKey, Blob, EntryHeader, SUITE, Use};
use serde_bytes::ByteBuf;

use super::*;
use crate::{
    api::{GrantInfo, PeerSource, Request, Response, TermsInput},
    core::Core,
    home::Home,
    node::Node,
    reading::State,
    setup,
    write::{Parts, Writer, seal_body},
};

#[tokio::test]
async fn a_document_counts_only_with_the_length_that_its_entry_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let home = Home::new(directory.path().join("home"));
    setup::init(&home, Kind::Patient, "maria", None).expect("a home");
    let node = Node::open(&home, None).await.expect("a node");
    let file = directory.path().join("basic.json");
    std::fs::write(&file, r#"{"resourceType":"Basic","id":"b","code":{"text":"x"}}"#).expect("a file");
    node.ask(Request::Import { paths: vec![file.into()], patient: None }).await.expect("imported");
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let documents = |core: &crate::core::Core| {
            let (ledger, view) = core.open(&id).expect("a ledger");
            view.documents(ledger).into_iter().map(|document| document.manifest.clone()).collect::<Vec<_>>()
        };
        let manifest = documents(core).pop().expect("a document");
        let place = core.place(&id, &manifest.compartment).expect("a view").expect("an epoch");
        let body = PublishBody { manifests: vec![ByteBuf::from(to_canonical(&manifest))] };
        for (length, known) in [(manifest.length + 1, 1), (manifest.length, 2)] {
            let mut writer = Writer::new(core, id).expect("a writer");
            let action = Action::Publish { documents: vec![Blob { hash: manifest.blob, length }] };
            let body = seal_body(&body, &place.recipient).expect("sealed");
            writer.entry(place.lane, action, Parts { epoch: Some(place.epoch), body: Some(body), ..Parts::default() }).expect("an entry");
            writer.commit().expect("stored");
            assert_eq!(documents(core).len(), known, "{length}");
        }
        // What is made of it must fit where it did, and be held at once.
        let named = Manifest { author_name: "x".repeat(481), ..manifest.clone() };
        assert!(Manifest::read(&to_canonical(&manifest)).is_some() && Manifest::read(&to_canonical(&named)).is_none());
        let (ledger, view) = core.open(&id).expect("a ledger");
        let longer = Manifest { content_length: u64::MAX, ..manifest.clone() };
        let of = |manifest| Document { manifest, ..view.documents(ledger).pop().expect("a document") };
        assert_eq!([&manifest, &longer].map(|manifest| core.state(&of(manifest)) == State::Quarantined), [false, true]);
    });
    node.stop().await.expect("stopped");
}

const RECORDS: [&str; 2] = [
    r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"HbA1c"},"subject":{"reference":"Patient/m"}}"#,
    r#"{"resourceType":"Condition","id":"c","code":{"coding":[{"system":"http://hl7.org/fhir/sid/icd-10-cm","code":"F32.1"}]},"subject":{"reference":"Patient/m"}}"#,
];

fn reader(alias: &str) -> SigningSecret {
    SigningSecret::from_seed(blake3::hash(alias.as_bytes()).as_bytes())
}

/// A patient with records, and two readers: the first may read what is general, the second everything.
async fn patient(directory: &tempfile::TempDir) -> (Node, [GrantInfo; 2]) {
    let home = Home::new(directory.path().join("home"));
    setup::init(&home, Kind::Patient, "Maria", None).expect("a home");
    let node = Node::open(&home, None).await.expect("a node");
    let files = RECORDS.iter().enumerate().map(|(n, record)| {
        let file = directory.path().join(format!("{n}.json"));
        std::fs::write(&file, record).expect("a file");
        file.into()
    });
    node.ask(Request::Import { paths: files.collect(), patient: None }).await.expect("imported");
    let mut grants = Vec::new();
    for (alias, read) in [("first", vec!["general".to_owned()]), ("second", Vec::new())] {
        let key = reader(alias);
        let profile =
            Profile { name: alias.into(), kind: Kind::Practitioner, party: key.party(), recipient: Identity::generate().recipient().clone(), version: 1 };
        let contact = chartmesh_identity::Contact { endpoints: vec![SigningSecret::generate().endpoint()], counter: 1, ..Default::default() };
        let card = Card { profile, contact }.sign(&key).expect("a card").as_bytes().to_vec();
        node.ask(Request::PeerAdd { source: PeerSource::File(card), alias: Some(alias.into()) }).await.expect("a contact");
        let terms = TermsInput { read, ..TermsInput::default() };
        let Response::Grant(info) = node.ask(Request::ConsentGrant { peer: alias.into(), terms }).await.expect("a grant") else { panic!() };
        grants.push(info);
    }
    (node, grants.try_into().expect("two"))
}

/// Brings an entry of somebody, as a session would. Of so many the hash of some is lower than that of what they are to replace.
fn bring(core: &mut Core, id: LedgerId, key: &SigningSecret, lane: LaneId, action: &Action, body: &impl serde::Serialize, to: &Recipient) {
    for _ in 0..8 {
        let ledger = core.replica.ledgers.get_mut(&id).expect("a ledger");
        let (seq, prev) = ledger.next(&lane, &key.author());
        let own = ledger.lane(&lane).grants.iter().find(|(_, grant)| grant.party == key.party());
        let uses = own.map(|(grant, _)| Use::Grant(*grant));
        let header = EntryHeader {
            suite: SUITE,
            ledger: id,
            lane,
            author: key.author(),
            cert: None,
            seq,
            prev,
            time: 0,
            action: action.clone(),
            uses,
            epoch: None,
            body: None,
            crit: Vec::new(),
            unknown: Vec::new(),
        };
        let entry = Entry::sign(header, Some(seal_body(body, to).expect("sealed")), key);
        let hash = entry.hash();
        ledger.add_entry(entry).expect("it follows");
        core.persist(id, &[], &[hash]).expect("stored");
    }
}

/// What of a view decides who gets which keys.
#[derive(Debug, PartialEq)]
struct Decisive {
    catalogs: BTreeMap<LaneId, Compartment>,
    /// To whom circles are sealed.
    circles: Vec<Vec<u8>>,
    terms: Vec<Vec<u8>>,
}

fn decisive(core: &Core, id: LedgerId) -> Decisive {
    let (ledger, view) = core.open(&id).expect("a view");
    let circles = view.circles.keys().map(|lane| to_canonical(view.circle_identity(lane).expect("an identity").recipient())).collect();
    for (epoch, identity) in &view.epochs {
        let Some(Action::Epoch { recipient, .. }) = ledger.get(epoch).map(|entry| &entry.header.action) else { panic!("an epoch") };
        assert_eq!(identity.recipient(), recipient, "the identity of another epoch");
    }
    Decisive { catalogs: view.catalogs.clone(), circles, terms: view.grants.values().map(|grant| to_canonical(&grant.terms)).collect() }
}

/// The view of the party whose circle this is.
fn party_view(core: &Core, id: LedgerId, circle: LaneId, ledger: &Ledger) -> View {
    let (_, view) = core.open(&id).expect("a view");
    let Some(Purpose::Circle(party)) = view.lanes.get(&circle) else { panic!("a circle") };
    View::party(*party, circle, view.circle_identities(&circle).map(Identity::share).collect(), ledger)
}

/// What the party is told.
fn as_party(core: &Core, id: LedgerId, circle: LaneId) -> (BTreeMap<LaneId, Compartment>, BTreeMap<GrantId, Vec<String>>, usize) {
    let (ledger, _) = core.open(&id).expect("a ledger");
    let mut view = party_view(core, id, circle, ledger);
    view.read(ledger, ledger.lanes().flat_map(|lane| ledger.entries(lane)).map(Entry::hash));
    assert!(!view.catalogs.is_empty());
    (view.catalogs, view.notices, view.writes.values().map(Vec::len).sum())
}

#[tokio::test]
async fn what_is_handed_over_before_it_is_there_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let (node, [_, wide]) = patient(&directory).await;
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let (ledger, view) = core.open(&id).expect("a view");
        let circle = view.grants[&wide.grant].circle;
        let mut charters = ledger.charters().cloned();
        let mut held = Ledger::begin(charters.next().expect("a charter")).expect("a ledger");
        for charter in charters {
            held.add_charter(charter).expect("it follows");
        }
        let mut party = party_view(core, id, circle, &held);
        for circles in [true, false] {
            for lane in ledger.lanes().filter(|lane| (**lane == circle) == circles) {
                let entries: Vec<Entry> = ledger.entries(lane).cloned().collect();
                let hashes: Vec<EntryHash> = entries.iter().map(Entry::hash).collect();
                held.add_all(entries);
                party.read(&held, hashes);
            }
        }
        assert_eq!(party.documents(&held).len(), view.documents(ledger).len());
        assert!(party.candidates.is_empty());
    });
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_suspended_device_names_and_replaces_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (node, [narrow, wide]) = patient(&directory).await;
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let stolen = SigningSecret::generate();
        let device = chartmesh_ledger::Device { key: stolen.author(), suspended: Some(Vec::new()), ..crate::charter::device(&core.keys) };
        let mut writer = Writer::new(core, id).expect("a writer");
        writer.charter(|next| next.devices.push(device)).expect("a charter");
        writer.commit().expect("stored");
        let before = decisive(core, id);

        let (ledger, view) = core.open(&id).expect("a view");
        let (keyring, recipient) = (ledger.charter().keyring_lane, ledger.charter().keyring.clone());
        let own = || Seed::new(*Identity::generate().expose_seed());
        let mut keys = Vec::new();
        for ((lane, compartment), (_, other)) in view.catalogs().zip(view.catalogs().skip(1).chain(view.catalogs().take(1))) {
            assert_ne!(compartment, other);
            keys.push(LaneKey { lane, epoch: ledger.lane(&lane).usable, purpose: other.to_string(), identity: own() });
        }
        keys.extend(view.lanes.iter().filter_map(|(lane, purpose)| match purpose {
            Purpose::Circle(party) => Some(LaneKey { lane: *lane, epoch: None, purpose: party.to_string(), identity: own() }),
            _ => None,
        }));
        // Of a contact that nothing was ever granted to.
        let third = SigningSecret::generate().party();
        let secret = core.keys.patient.as_ref().expect("a patient").keyring_secret.expose();
        keys.push(LaneKey { lane: LaneId::derive(secret, format!("circle/{third}").as_bytes()), epoch: None, purpose: third.to_string(), identity: own() });
        assert!(keys.len() >= 5, "catalogs and three circles");
        let access = view.catalogs().map(|(lane, _)| AccessKey {
            lane,
            compartment: Compartment::Inbox.to_string(),
            epoch: ledger.lane(&lane).usable.expect("an epoch"),
            identity: Some(own()),
            salt: Some([1; 16]),
            access: chartmesh_identity::AccessId::new([1; 16]),
        });
        let envelope = EnvelopeBody { catalogs: access.collect(), files: Vec::new(), notices: vec!["Nothing to heed.".into()], terms: ByteBuf::new() };
        let circle = view.grants[&narrow.grant].circle;
        let to = view.circle_identity(&circle).expect("an identity").recipient().clone();
        let terms = ByteBuf::from(to_canonical(&view.grants[&wide.grant].terms));
        let state = &ledger.lane(&circle).grants[&narrow.grant];
        let grant = Action::Grant { id: narrow.grant, party: state.party, until: None, max_age: state.max_age };
        bring(core, id, &stolen, keyring, &Action::Key {}, &chartmesh_ledger::KeyBody { keys, keyring: None }, &recipient);
        bring(core, id, &stolen, circle, &grant, &GrantBody { terms, party_name: "first".into(), purpose: String::new(), card: None }, &to);

        let action = Action::Envelope { grant: narrow.grant, epochs: vec![EntryHash::new([1; 32])], documents: Vec::new(), catalogs: Vec::new() };
        let party = as_party(core, id, circle);
        bring(core, id, &stolen, circle, &action, &envelope, &to);

        assert_eq!(decisive(core, id), before, "as they arrive");
        core.open_view(id).expect("a view");
        assert_eq!(decisive(core, id), before, "with all that there is");
        assert_eq!(as_party(core, id, circle), party, "and nobody else is told anything");
    });
    node.stop().await.expect("stopped");
}

/// A party writes into its circle what it likes, also a Grant under the id of somebody else's.
#[tokio::test]
async fn a_party_grants_nothing_and_takes_no_grants_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let (node, [narrow, wide]) = patient(&directory).await;
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let circles = |core: &Core| core.open(&id).expect("a view").1.grants.iter().map(|(grant, open)| (*grant, open.circle)).collect::<BTreeMap<_, _>>();
        let before = circles(core);
        let (ledger, view) = core.open(&id).expect("a view");
        let circle = before[&narrow.grant];
        let to = view.circle_identity(&circle).expect("an identity").recipient().clone();
        let terms = ByteBuf::from(to_canonical(&view.grants[&wide.grant].terms));
        let state = ledger.lane(&circle).grants[&narrow.grant].clone();
        for id_of in [wide.grant, narrow.grant, GrantId::random()] {
            let grant = Action::Grant { id: id_of, party: state.party, until: None, max_age: state.max_age };
            let body = GrantBody { terms: terms.clone(), party_name: "first".into(), purpose: String::new(), card: None };
            bring(core, id, &reader("first"), circle, &grant, &body, &to);
        }
        assert_eq!(circles(core), before, "as they arrive");
        core.open_view(id).expect("a view");
        assert_eq!(circles(core), before, "with all that there is");
    });
    let revoked = node.ask(Request::ConsentRevoke { grant: wide.grant.to_string(), reason: None }).await.expect("a revoke");
    assert!(matches!(revoked, Response::Grant(info) if info.state == "revoked"));
    node.stop().await.expect("stopped");
}

/// An entry of the keyring may be lost, or be sealed to a keyring from before a recovery.
#[tokio::test]
async fn what_the_keyring_lacks_is_taken_from_envelopes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (node, _) = patient(&directory).await;
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let (ledger, view) = core.open(&id).expect("a view");
        let patient = core.keys.patient.as_ref().expect("a patient");
        let from = |entries: Vec<EntryHash>| {
            let mut view = View::owner(patient.keyring.share(), Seed::new(*patient.keyring_secret.expose()), ledger);
            view.read(ledger, entries);
            view
        };
        let all = || ledger.lanes().flat_map(|lane| ledger.entries(lane)).map(Entry::hash);
        let documents = view.documents(ledger).len();
        assert!(documents > 0);
        // Without any one of them the documents can be read, and circles are found in others.
        let mut without = 0;
        for lost in ledger.entries(&ledger.charter().keyring_lane).map(Entry::hash) {
            let view = from(all().filter(|hash| *hash != lost).collect());
            if view.circles.len() == 2 {
                assert_eq!(view.documents(ledger).len(), documents, "without {}", lost.short());
                without += 1;
            }
        }
        assert!(without > 1);
    });
    node.stop().await.expect("stopped");
}

/// As when a home was put back from a copy and went on.
#[tokio::test]
async fn a_forked_keyring_still_opens_what_was_put_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let (node, _) = patient(&directory).await;
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let before = decisive(core, id);
        let lane = core.ledger(&id).expect("a ledger").charter().keyring_lane;
        let ledger = core.replica.ledgers.get_mut(&id).expect("a ledger");
        let second = ledger.entries(&lane).find(|entry| entry.header.seq == 2).expect("an entry");
        let other = EntryHeader { time: 0, ..(*second.header).clone() };
        let entry = Entry::sign(other, second.body.clone(), &core.keys.signing);
        let hash = entry.hash();
        ledger.add_entry(entry).expect("it follows");
        assert!(ledger.lane(&lane).verdicts.values().filter(|verdict| **verdict == Verdict::Void(Void::Forked)).count() > 2);
        core.persist(id, &[], &[hash]).expect("stored");
        core.open_view(id).expect("a view");
        assert_eq!(decisive(core, id), before);
        assert_eq!(before.circles.len(), 2);
    });
    node.stop().await.expect("stopped");
}
