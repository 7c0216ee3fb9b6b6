//! Replication against bare iroh-blobs: a custodian takes over a patient's ledger and all documents, and then two bare networks move the very same blobs in their best batching.
//! Both sides verify every byte against its hash, store in the same way and write to disk before they end; ours is timed with the start and the end of the patient's network, bare without.
//! Prints times and ratios of one run over loopback; only the ratios mean something, and they spread by a factor of two: take the median of many.
//!
//! `cargo bench -p chartmesh-node --bench replication` (with `CHARTMESH_DATA`, over Synthea patients).

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

#[path = "data.rs"]
mod data;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chartmesh_identity::{BlobHash, EndpointKey, Kind};
use chartmesh_node::{
    Node,
    api::{PeerSource, Request, Response, TermsInput},
    home::Home,
    net::{Blobs, Gate, Net, NetConfig, Pace, Route, Source},
    setup,
};
use tokio_util::sync::CancellationToken;

struct Open;

impl Gate for Open {
    fn admits(&self, _: &EndpointKey) -> bool {
        true
    }

    fn serves(&self, _: &EndpointKey, _: &BlobHash) -> bool {
        true
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    // Not in the thread that waits here, which is slow to be woken.
    runtime.block_on(runtime.spawn(run())).expect("an end");
}

async fn run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (source, files) = data::files(directory.path());
    let make = |kind, name: &str| {
        let home = Home::new(directory.path().join(name));
        setup::init(&home, kind, name, None).expect("a home");
        home
    };
    let patient = Node::open(&make(Kind::Patient, "patient"), None).await.expect("a node");
    let custodian = Node::open(&make(Kind::Custodian, "custodian"), None).await.expect("a node");
    let loopback = Some("127.0.0.1:0".parse().expect("an address"));
    patient.ask(Request::Import { paths: files.into_iter().map(Into::into).collect(), patient: None }).await.expect("an import");
    custodian.serve(loopback).await.expect("a network");
    let Response::Card(card) = custodian.ask(Request::Card).await.expect("a card") else { panic!("a card") };
    patient.ask(Request::PeerAdd { source: PeerSource::Ticket(card.ticket), alias: Some("custodian".into()) }).await.expect("a contact");
    let terms = TermsInput { custodian: true, ..TermsInput::default() };
    patient.ask(Request::ConsentGrant { peer: "custodian".into(), terms }).await.expect("a grant");

    let start = Instant::now();
    let Response::Synced(synced) = patient.ask(Request::Sync { timeout_ms: 600_000 }).await.expect("a sync") else { panic!("a sync") };
    let ours = start.elapsed();
    assert!(synced.missed.is_empty(), "{:?}", synced.missed);
    let Response::Status(status) = custodian.ask(Request::Status).await.expect("a status") else { panic!("a status") };
    assert_eq!(status.pending, 0);

    let start = Instant::now();
    patient.ask(Request::Sync { timeout_ms: 600_000 }).await.expect("a sync");
    let nothing_new = start.elapsed();
    patient.stop().await.expect("the end");
    custodian.stop().await.expect("the end");

    let full = Blobs::open(&directory.path().join("patient/blobs")).await.expect("blobs");
    let mut wanted = Vec::new();
    for hash in full.list().await.expect("a list") {
        wanted.push((hash, full.size(&hash).await.expect("a size").expect("a blob")));
    }
    let bytes: u64 = wanted.iter().map(|(_, length)| length).sum();
    let empty = Blobs::open(&directory.path().join("bare")).await.expect("blobs");
    let config = NetConfig { listen: loopback, ..NetConfig::default() };
    let (links, _incoming) = tokio::sync::mpsc::channel(1);
    let from = Net::start(&config, &[1; 32], full.clone(), Arc::new(Open), links.clone()).await.expect("a network");
    let to = Net::start(&config, &[2; 32], empty.clone(), Arc::new(Open), links).await.expect("a network");
    let route = Route { endpoint: from.endpoint(), addresses: from.addresses(), relay: None };
    let start = Instant::now();
    let link = to.connect(&route, Duration::from_secs(10)).await.expect("a link");
    let report = to.fetch(&empty, &wanted, &[Source { endpoint: link.remote(), gone: CancellationToken::new() }], &Pace::default()).await;
    let bare = start.elapsed();
    assert_eq!(report.got.len(), wanted.len(), "{:?}", report.failed.first());
    from.shutdown().await;
    to.shutdown().await;

    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{source}: {} documents, {:.1} MB", wanted.len(), bytes as f64 / 1e6);
    println!("bare blobs    {:9.1} ms  {:.1} MB/s", ms(bare), bytes as f64 / 1e6 / bare.as_secs_f64());
    println!("sync          {:9.1} ms  ratio {:.2}  (aim: at least 0.60)", ms(ours), bare.as_secs_f64() / ours.as_secs_f64());
    println!("nothing new   {:9.1} ms", ms(nothing_new));
}
