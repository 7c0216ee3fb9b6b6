//! A revoke: how long until an online peer's confirmation is back, over real sockets on loopback, and how many entries it takes, with 1, 10, 100 and 1,000 readers who stay.
//! The bare alternative in the same run is one durable write of an entry's size at either end: what cannot be saved, since nothing is sent before it is on disk.
//!
//! `cargo bench -p chartmesh-node --bench revoke`; `CHARTMESH_READERS=N` ends with the last step up to N readers, `CHARTMESH_REVOKES=N` sets how many are timed at each step
//! (10 by default).

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use chartmesh_identity::{Card, Contact, Kind, Profile, SigningSecret};
use chartmesh_node::{
    Node,
    api::{GrantInfo, PeerSource, Request, Response, TermsInput},
    home::Home,
    setup,
};
use chartmesh_sealing::Identity;

const STEPS: [usize; 4] = [1, 10, 100, 1_000];
/// One resource in each: so many compartments are granted.
const RECORDS: [&str; 3] = [
    r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"HbA1c"},"subject":{"reference":"Patient/m"}}"#,
    r#"{"resourceType":"Condition","id":"c","code":{"text":"Asthma"},"subject":{"reference":"Patient/m"}}"#,
    r#"{"resourceType":"DocumentReference","id":"d","status":"current","subject":{"reference":"Patient/m"},"content":[{"attachment":{"title":"Letter"}}]}"#,
];
/// How long a peer may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

/// The card of somebody who is never online.
fn card(n: usize) -> Vec<u8> {
    let key = SigningSecret::generate();
    let profile =
        Profile { name: format!("Dr {n}"), kind: Kind::Practitioner, party: key.party(), recipient: Identity::generate().recipient().clone(), version: 1 };
    let contact = Contact { endpoints: vec![SigningSecret::generate().endpoint()], counter: 1, ..Contact::default() };
    Card { profile, contact }.sign(&key).expect("a card").as_bytes().to_vec()
}

async fn grant(patient: &Node, peer: &str) -> String {
    let Response::Grant(info) = patient.ask(Request::ConsentGrant { peer: peer.into(), terms: TermsInput::default() }).await.expect("a grant") else {
        panic!("a grant")
    };
    info.grant.to_string()
}

/// Waits until a node of the peer has said that it heard of the grant.
async fn heard(patient: &Node, grant: &str) {
    until(patient, grant, "active").await;
}

/// Waits until a node of the peer has confirmed that it heard of the grant's end.
async fn heard_end(patient: &Node, grant: &str) {
    until(patient, grant, "revoked").await;
}

async fn until(patient: &Node, grant: &str, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Response::Grant(GrantInfo { confirmed, state, .. }) = patient.ask(Request::ConsentShow { grant: grant.into() }).await.expect("a grant") else {
            panic!("a grant")
        };
        if state == wanted && !confirmed.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "the peer does not answer");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How many entries of each kind there are.
async fn entries(patient: &Node) -> BTreeMap<String, usize> {
    let Response::Log(log) = patient.ask(Request::LedgerLog { patient: None }).await.expect("a log") else { panic!("a log") };
    let mut counts = BTreeMap::new();
    for entry in log {
        // The first word tells the actions apart: grants, hands over, revokes, bars, new epoch, stores keys, confirms.
        let word = entry.action.split(' ').next().unwrap_or_default().to_owned();
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}

/// One write of 2 KiB that is on disk.
fn durable(directory: &Path) -> Duration {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(directory.join("bare")).expect("a file");
    let start = Instant::now();
    file.write_all(&[7; 2048]).and_then(|()| file.sync_data()).expect("a write");
    start.elapsed()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(runtime.spawn(run())).expect("an end");
}

async fn run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let node = async |kind, name: &str| {
        let home = Home::new(directory.path().join(name));
        setup::init(&home, kind, name, None).expect("a home");
        Node::open(&home, None).await.expect("a node")
    };
    let (patient, clinic) = (node(Kind::Patient, "patient").await, node(Kind::Practitioner, "clinic").await);
    let files = RECORDS.iter().enumerate().map(|(n, record)| {
        let path = directory.path().join(format!("{n}.json"));
        std::fs::write(&path, record).expect("a file");
        path.into()
    });
    patient.ask(Request::Import { paths: files.collect(), patient: None }).await.expect("an import");
    let loopback = Some("127.0.0.1:0".parse().expect("an address"));
    patient.serve(loopback).await.expect("a network");
    clinic.serve(loopback).await.expect("a network");
    let Response::Card(card_of_clinic) = clinic.ask(Request::Card).await.expect("a card") else { panic!("a card") };
    patient.ask(Request::PeerAdd { source: PeerSource::Ticket(card_of_clinic.ticket), alias: Some("clinic".into()) }).await.expect("a contact");

    let (most, times) = (number("CHARTMESH_READERS", 1_000), number("CHARTMESH_REVOKES", 10).max(1));
    println!("{} compartments, {times} revokes at each step; aim: confirmed within 1,000 ms", RECORDS.len());
    let mut readers = 0;
    for step in STEPS.into_iter().filter(|step| *step <= most) {
        while readers < step {
            let alias = format!("reader-{readers}");
            patient.ask(Request::PeerAdd { source: PeerSource::File(card(readers)), alias: Some(alias.clone()) }).await.expect("a contact");
            grant(&patient, &alias).await;
            readers += 1;
        }
        let (mut took, mut whole, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        let mut written = BTreeMap::new();
        for _ in 0..times {
            let grant = grant(&patient, "clinic").await;
            heard(&patient, &grant).await;
            let before = entries(&patient).await;
            bare.push(durable(directory.path()) + durable(directory.path()));
            let start = Instant::now();
            let revoke = async {
                patient.ask(Request::ConsentRevoke { grant: grant.clone(), reason: None }).await.expect("a revoke");
                start.elapsed()
            };
            let confirmed = async {
                heard_end(&patient, &grant).await;
                start.elapsed()
            };
            let (returned, confirmed) = tokio::join!(revoke, confirmed);
            took.push(confirmed);
            whole.push(returned);
            written = entries(&patient).await;
            written.iter_mut().for_each(|(action, count)| *count -= before.get(action).copied().unwrap_or(0));
            written.retain(|_, count| *count > 0);
        }
        took.sort();
        bare.sort();
        whole.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let middle = times / 2;
        println!(
            "{readers:5} readers stay: confirmed in {:.0} / {:.0} / {:.0} ms (least, median, most), command done in {:.0}; two bare durable writes {:.1} ms, ratio {:.3}",
            ms(took[0]),
            ms(took[middle]),
            ms(took[times - 1]),
            ms(whole[middle]),
            ms(bare[middle]),
            bare[middle].as_secs_f64() / took[middle].as_secs_f64()
        );
        println!("      entries: {} {written:?}", written.values().sum::<usize>());
    }
    patient.stop().await.expect("the end");
    clinic.stop().await.expect("the end");
}
