//! Import against the bare sum of its parts over the same documents: serde_json parse, zstd -3, age seal, BLAKE3. Prints times and ratios of one run; machines are noisy, so
//! only the ratios mean something.
//!
//! `cargo bench -p chartmesh-node --bench import` (with `CHARTMESH_DATA`, over Synthea patients). On one core: `taskset -c 0` in front.

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

#[path = "data.rs"]
mod data;

use std::time::{Duration, Instant};

use chartmesh_identity::Kind;
use chartmesh_node::{
    Node,
    api::{Request, Response},
    home::Home,
    setup,
};
use chartmesh_records::{Input, import, import_with, write_bundle};
use chartmesh_sealing::{Identity, seal};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (source, files) = data::files(directory.path());
    let bytes: u64 = files.iter().map(|file| std::fs::metadata(file).expect("a file").len()).sum();
    println!("{source}: {} files, {:.1} MB, {} cores", files.len(), bytes as f64 / 1e6, std::thread::available_parallelism().map_or(1, usize::from));

    let whole = runtime.block_on(async {
        let mut spent = Duration::ZERO;
        for (index, file) in files.iter().enumerate() {
            let home = Home::new(directory.path().join(format!("home-{index}")));
            setup::init(&home, Kind::Patient, "Bench", None).expect("a home");
            let node = Node::open(&home, None).await.expect("a node");
            let start = Instant::now();
            let answer = node.ask(Request::Import { paths: vec![file.clone().into()], patient: None }).await.expect("an import");
            spent += start.elapsed();
            assert!(matches!(answer, Response::Imported(_)));
            node.stop().await.expect("the end");
        }
        spent
    });

    let recipient = Identity::generate();
    let (mut parse, mut compress, mut sealing, mut hash) = (Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut read, mut check) = (Duration::ZERO, Duration::ZERO);
    let mut documents = 0;
    for file in &files {
        let content = std::fs::read(file).expect("a file");
        let start = Instant::now();
        let value: serde_json::Value = serde_json::from_slice(&content).expect("JSON");
        parse += start.elapsed();
        drop(value);
        let start = Instant::now();
        let unchecked = import_with([Input::new("bench", content.clone())], |_| chartmesh_records::Typed::Ok).expect("readable");
        read += start.elapsed();
        let start = Instant::now();
        drop(import([Input::new("bench", content)]).expect("readable"));
        check += start.elapsed();
        for draft in unchecked.drafts {
            let resources: Vec<_> = draft.resources.iter().map(|resource| (&resource.facts, &resource.bytes[..])).collect();
            let bundle = write_bundle(&draft.compartment, &resources);
            let start = Instant::now();
            let compressed = zstd::bulk::compress(&bundle, 3).expect("zstd");
            compress += start.elapsed();
            let start = Instant::now();
            let sealed = seal(&compressed, recipient.recipient()).expect("age");
            sealing += start.elapsed();
            let start = Instant::now();
            std::hint::black_box(blake3::hash(&sealed.bytes));
            hash += start.elapsed();
            documents += 1;
        }
    }
    let bare = parse + compress + sealing + hash;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{documents} documents");
    println!("bare sum      {:9.1} ms  (serde_json {:.1}, zstd -3 {:.1}, age {:.1}, BLAKE3 {:.1})", ms(bare), ms(parse), ms(compress), ms(sealing), ms(hash));
    println!("import        {:9.1} ms  ratio {:.2}  (aim: at least 0.50)", ms(whole), bare.as_secs_f64() / whole.as_secs_f64());
    println!("of which read {:9.1} ms, typed check {:.1} ms", ms(read), ms(check.saturating_sub(read)));
}
