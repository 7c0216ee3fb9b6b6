//! Golden vectors: `schemas/vectors/*.hex`, described by `index.json`. Made again here from fixed seeds and compared byte for byte, read back, and checked against the CDDL.
//!
//! `CHARTMESH_BLESS=1` writes them anew.

use std::{fs, path::PathBuf};

use chartmesh_identity::{Card, CertId, Certificate, Contact, EntryHash, GrantId, Kind, NodeRole, Profile, Signed, from_canonical, to_canonical};
use chartmesh_ledger::{
    AccessKey, Action, Checkpoint, Claim, ConfirmBody, Entry, EntryHeader, EnvelopeBody, EpochBody, Fence, FileKey, ForkProof, GrantBody, Invitation, KeyBody,
    KeyringKey, LaneKey, Ledger, PublishBody, RawEntry, ReceiptBody, RequestBody, Seed, SharedFile, Use, admit_hash, decode, encode,
};
use serde_bytes::ByteBuf;

use crate::world::*;

const CDDL: &str = include_str!("../../../../schemas/chartmesh.cddl");

struct Vector {
    name: String,
    rule: &'static str,
    about: &'static str,
    bytes: Vec<u8>,
}

fn vector(name: &str, rule: &'static str, about: &'static str, bytes: &[u8]) -> Vector {
    Vector { name: name.into(), rule, about, bytes: bytes.to_vec() }
}

fn card(seed: u8, kind: Kind, name: &str) -> Signed<Card> {
    let profile = Profile { name: name.into(), kind, party: secret(seed).party(), recipient: recipient(seed), version: 1 };
    let contact = Contact { endpoints: vec![secret(seed + 100).endpoint()], addresses: vec!["192.0.2.1:4433".into()], relay: None, counter: 1 };
    Card { profile, contact }.sign(&secret(seed)).unwrap().signed().clone()
}

fn lane_key() -> LaneKey {
    LaneKey { lane: CATALOG, epoch: Some(EntryHash::of(b"epoch")), purpose: "normal/laboratory".into(), identity: Seed::new([5; 32]) }
}

fn entries(w: &mut World) -> Vec<Vector> {
    let signed = |name: &str, about, entry: &Entry| vector(name, "signed-entry", about, entry.header.as_bytes());
    let party = w.x.party();
    let granted = w.a.write(CIRCLE, Action::Grant { id: GRANT, party, until: Some(2_000_000_000), max_age: 604_800 });
    let opened = w.a.write(CATALOG, epoch(1, vec![], vec![]));
    let admits = w.a.write(CATALOG, Action::Admit { id: ACCESS, party: admit_hash(&SALT, &party) });
    let published = w.a.publish(CATALOG, Some(opened.hash()), 1);
    let hands_over = w.a.write(CIRCLE, envelope(vec![opened.hash()], vec![(published.hash(), blob(1))], vec![CATALOG]));
    let contributed = w.x.contribute(Some(opened.hash()), 2);
    let mut node = Pen::node(w.ledger.id(), 40, 20, &[NodeRole::Write, NodeRole::Receipt]);
    let by_node = node.uses(CIRCLE, receipt(1), Use::Grant(GRANT));
    let asks = w.x.uses(CIRCLE, Action::Request {}, Use::Grant(GRANT));
    let revoked = w.a.write(CIRCLE, revoke(Fence(vec![point(&granted), point(&asks)])));
    let confirms = w.x.uses(CIRCLE, Action::Confirm { revoke: revoked.hash() }, Use::Grant(GRANT));
    let barred = w.a.write(CATALOG, bar(Fence(vec![point(&contributed)])));
    let next = Action::Epoch { recipient: recipient(2), supersedes: vec![opened.hash()], covers: vec![ACCESS], past: Fence(vec![point(&published)]) };
    let next = w.a.write(CATALOG, next);
    let withdraws = w.a.write(CATALOG, Action::Withdraw { publish: contributed.hash(), documents: vec![blob(2)], erase: true });
    let keys = w.a.write(KEYRING, Action::Key {});
    let unknown = EntryHeader { crit: vec!["release".into()], ..w.b.header(CIRCLE, Action::Unknown { code: "release".into(), raw: vec![0xa0] }) };
    let unknown = w.b.sign(unknown);
    w.b.rewind(CIRCLE, 0);
    let other = w.b.write(CIRCLE, grant(w.y.party()));
    let fork = ForkProof { one: unknown.header.signed().clone(), other: other.header.signed().clone() };
    let stored = Entry::sign(w.b.header(OTHER, grant(w.y.party())), Some(b"a sealed body".to_vec()), &w.b.key);
    vec![
        signed("entry-grant", "Device 10 grants to party 20", &granted),
        signed("entry-epoch", "Device 10 opens a first epoch of a catalog", &opened),
        signed("entry-admit", "Device 10 lets party 20 write in the catalog", &admits),
        signed("entry-publish", "Device 10 publishes a document sealed to that epoch", &published),
        signed("entry-envelope", "Device 10 hands over the epoch, one document, and leave to write", &hands_over),
        signed("entry-publish-party", "Party 20 publishes under its access", &contributed),
        signed("entry-receipt-node", "Node 40 of party 20, with its certificate, testifies that it read", &by_node),
        signed("entry-request", "Party 20 asks for access", &asks),
        signed("entry-revoke", "Device 10 revokes the grant, with a fence", &revoked),
        signed("entry-confirm", "Party 20 confirms the Revoke", &confirms),
        signed("entry-bar", "Device 10 bars the access, with a fence", &barred),
        signed("entry-epoch-next", "Device 10 opens the next epoch, which covers the Bar", &next),
        signed("entry-withdraw", "Device 10 withdraws the party's document and has it erased", &withdraws),
        signed("entry-key", "Device 10 writes into the keyring lane", &keys),
        signed("entry-unknown", "Device 11 writes an action of a later version, marked critical", &unknown),
        vector("entry-stored", "entry", "An entry with its sealed body, as it is sent and stored", &to_canonical(&stored.to_raw())),
        vector("fork-proof", "fork-proof", "Device 11 signed two entries for one place", &to_canonical(&fork)),
    ]
}

fn bodies(w: &World) -> Vec<Vector> {
    let terms = || ByteBuf::from(b"terms".to_vec());
    let access = |read: bool| AccessKey {
        lane: CATALOG,
        compartment: "normal/laboratory".into(),
        epoch: EntryHash::of(b"epoch"),
        identity: read.then(|| Seed::new([6; 32])),
        salt: (!read).then_some(SALT),
        access: ACCESS,
    };
    let file = SharedFile { publish: EntryHash::of(b"publish"), blob: blob(1), key: FileKey::new([7; 16]), manifest: ByteBuf::from(b"manifest".to_vec()) };
    let keyring = KeyringKey { ledger: w.ledger.id(), name: Some("Alex Example".into()), secret: Seed::new([8; 32]), identity: Seed::new([9; 32]) };
    let envelope = EnvelopeBody { catalogs: vec![access(true), access(false)], files: vec![file], notices: vec!["42 CFR Part 2".into()], terms: terms() };
    let receipt = ReceiptBody { who: "Dr Lee".into(), what: vec!["laboratory".into()], purpose: "treatment".into(), time: 1_000 };
    vec![
        vector(
            "body-grant",
            "grant-body",
            "Of a Grant",
            &encode(&GrantBody { terms: terms(), party_name: "Clinic".into(), purpose: "treatment".into(), card: None }),
        ),
        vector("body-envelope", "envelope-body", "Of an Envelope: one catalog to read, one to write, one document", &encode(&envelope)),
        vector("body-epoch", "epoch-body", "Of an Epoch", &encode(&EpochBody { predecessors: vec![lane_key()] })),
        vector("body-key", "key-body", "Of a Key, sealed to a device", &encode(&KeyBody { keys: vec![lane_key()], keyring: Some(keyring) })),
        vector("body-publish", "publish-body", "Of a Publish", &encode(&PublishBody { manifests: vec![ByteBuf::from(b"manifest".to_vec())] })),
        vector("body-receipt", "receipt-body", "Of a Receipt", &encode(&receipt)),
        vector("body-confirm", "confirm-body", "Of a Confirm", &encode(&ConfirmBody { node: "gateway 1".into(), purged: true })),
        vector("body-request", "request-body", "Of a Request", &encode(&RequestBody { terms: terms(), reason: "follow-up".into() })),
    ]
}

fn vectors() -> Vec<Vector> {
    let mut w = World::new();
    let id = w.ledger.id();
    let suspends = next_charter(id, &w.genesis, 2, |charter| {
        charter.devices[1].suspended = Some(vec![]);
        charter.continues = Some(id);
        charter.time = 60;
    });
    let cert = Certificate { party: secret(20).party(), node: secret(40).author(), id: CertId::new([4; 16]), roles: vec![NodeRole::Write, NodeRole::Receipt] };
    let cert = Signed::sign(cert, &secret(20));
    let mut all = vec![
        vector("card", "signed-card", "The card of party 20", card(20, Kind::Organization, "St. Example").as_bytes()),
        vector("certificate", "signed-certificate", "Party 20 certifies its node 40", cert.as_bytes()),
        vector("charter-0", "signed-charter", "Version 0: its hash is the ledger's id", w.genesis.as_bytes()),
        vector("charter-1", "signed-charter", "Version 1, signed by a root of rank 1, suspends device 11", suspends.as_bytes()),
    ];
    let granted = entries(&mut w);
    let grant_hash = EntryHash::of(&granted[0].bytes);
    all.extend(granted);
    let heads = vec![chartmesh_ledger::Head { lane: CIRCLE, author: secret(10).author(), seq: 1, hash: grant_hash }];
    let checkpoint = Checkpoint { ledger: id, lane: CIRCLE, author: secret(10).author(), heads, time: 1_000, cosignatures: vec![] };
    let charters = vec![w.genesis.signed().clone(), suspends.signed().clone()];
    let nodes = vec![card(10, Kind::Patient, "phone"), card(30, Kind::Custodian, "keeper")];
    let invitation = Invitation { ledger: id, author: secret(10).author(), charters, circle: CIRCLE, identity: Seed::new([5; 32]), nodes };
    let claim = Claim { root: secret(1).root(), card: card(13, Kind::Patient, "new phone"), responder: secret(130).endpoint(), nonce: [6; 32] };
    all.push(vector("checkpoint", "signed-checkpoint", "Device 10 was here", Signed::sign(checkpoint, &secret(10)).as_bytes()));
    all.push(vector("invitation", "signed-invitation", "Device 10 invites party 20; only ever sealed", Signed::sign(invitation, &secret(10)).as_bytes()));
    all.push(vector("claim", "signed-claim", "The root of rank 0 claims for a new device", Signed::sign(claim, &secret(1)).as_bytes()));
    all.extend(bodies(&w));
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn index(vectors: &[Vector]) -> String {
    let list = vectors.iter().map(|v| {
        let (file, blake3) = (format!("{}.hex", v.name), blake3::hash(&v.bytes).to_hex().to_string());
        serde_json::json!({ "name": v.name, "file": file, "cddl": v.rule, "about": v.about, "length": v.bytes.len(), "blake3": blake3 })
    });
    let about = "Signing keys are Ed25519 keys whose 32-byte seed repeats the number that names them (device 10: ten, 32 times); recipients are 1216 times their number and no real keys.";
    let index = serde_json::json!({ "about": about, "vectors": list.collect::<Vec<_>>() });
    serde_json::to_string_pretty(&index).unwrap() + "\n"
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "schemas", "vectors"].iter().collect()
}

#[test]
fn golden_vectors_are_made_again_byte_for_byte() {
    let vectors = vectors();
    let files = vectors.iter().map(|vector| (format!("{}.hex", vector.name), hex(&vector.bytes) + "\n")).chain([("index.json".into(), index(&vectors))]);
    for (name, text) in files {
        let path = folder().join(&name);
        if std::env::var_os("CHARTMESH_BLESS").is_some() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(golden == text, "{name} is not what this version makes; what is signed or stored elsewhere would no longer be read");
    }
}

#[test]
fn golden_vectors_read_back() {
    let vectors = vectors();
    let bytes = |name: &str| vectors.iter().find(|vector| vector.name == name).map(|vector| vector.bytes.clone()).unwrap();
    let mut ledger = Ledger::begin(Signed::from_bytes(bytes("charter-0"))).unwrap();
    ledger.add_charter(Signed::from_bytes(bytes("charter-1"))).unwrap();
    let entries = vectors.iter().filter(|vector| vector.rule == "signed-entry");
    let entries = entries.map(|vector| Entry::read(RawEntry { header: Signed::from_bytes(vector.bytes.clone()), body: None }).unwrap()).collect();
    let outcome = ledger.add_all(entries);
    assert_eq!((outcome.added.len(), outcome.refused), (15, vec![]));
    assert!(ledger.lane(&CIRCLE).grants[&GrantId::new([1; 16])].revoked.is_some());
    assert!(from_canonical::<ForkProof>(&bytes("fork-proof")).unwrap().verify().is_ok());
    assert!(Entry::read(from_canonical(&bytes("entry-stored")).unwrap()).unwrap().body.is_some());
    assert!(Checkpoint::read(Signed::from_bytes(bytes("checkpoint")), &ledger).is_ok());
    assert_eq!(Signed::<Invitation>::from_bytes(bytes("invitation")).verify().unwrap().identity.expose(), &[5; 32]);
    assert_eq!(Signed::<Claim>::from_bytes(bytes("claim")).verify().unwrap().nonce, [6; 32]);
    let envelope: EnvelopeBody = decode(&bytes("body-envelope")).unwrap();
    assert_eq!(envelope.catalogs.iter().map(|access| (access.identity.is_some(), access.salt)).collect::<Vec<_>>(), [(true, None), (false, Some(SALT))]);
    assert_eq!(envelope.files[0].key.expose(), &[7; 16]);
    let key: KeyBody = decode(&bytes("body-key")).unwrap();
    assert_eq!(key.keyring.unwrap().secret.expose(), &[8; 32]);
}

/// The checker knows no tags: it gets the schema and the objects without the tag 18, and embedded objects, which are vectors themselves, as byte strings.
fn check(rule: &str, bytes: &[u8]) -> Result<(), String> {
    let schema = CDDL.replace("#6.18(cose<payload>)", "cose<payload>").replace("bstr .cbor signed<payload>", "bstr");
    cddl_cat::validate_cbor_bytes(rule, &schema, bytes.strip_prefix(&[0xd2]).unwrap_or(bytes)).map_err(|error| error.to_string())
}

#[test]
fn golden_vectors_match_the_cddl() {
    for vector in vectors() {
        check(vector.rule, &vector.bytes).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    }
    let w = World::new();
    let broken = to_canonical(&ConfirmBody { node: "x".into(), purged: true });
    assert!(check("receipt-body", &broken).is_err());
    assert!(check("signed-entry", w.genesis.as_bytes()).is_err());
}

#[test]
fn every_known_action_matches_its_rule() {
    for vector in vectors().iter().filter(|vector| vector.rule == "signed-entry" && vector.name != "entry-unknown") {
        let entry = Entry::read(RawEntry { header: Signed::from_bytes(vector.bytes.clone()), body: None }).unwrap();
        check("known-action", &to_canonical(&entry.header.action)).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    }
    let unknown = Action::Unknown { code: "grant".into(), raw: vec![0xa0] };
    assert!(check("known-action", &to_canonical(&unknown)).is_err());
    assert!(check("action", &to_canonical(&unknown)).is_ok());
}
