//! Import against the bare sum of its parts over the same documents: serde_json parse, zstd -3, age seal, BLAKE3. Of every file and part the best of three rounds counts, in which ours
//! and the bare parts take turns: machines are noisy, so only the ratio means something.
//!
//! `cargo bench -p chartmesh-node --bench import` (with `CHARTMESH_DATA`, over Synthea patients). On one core: `taskset -c 0` in front.

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

#[path = "data.rs"]
mod data;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chartmesh_identity::Kind;
use chartmesh_node::{
    Node,
    api::{Request, Response},
    home::Home,
    setup,
};
use chartmesh_records::{Input, import, import_with, write_bundle};
use chartmesh_sealing::{Identity, seal};

/// How often each file is imported and taken through the bare parts.
const ROUNDS: usize = 3;

/// What one round over one file took.
#[derive(Clone, Copy)]
struct Round {
    import: Duration,
    parse: Duration,
    compress: Duration,
    seal: Duration,
    hash: Duration,
    read: Duration,
    check: Duration,
}

impl Round {
    /// Part by part, what `with` makes of both.
    fn each(self, other: Self, with: fn(Duration, Duration) -> Duration) -> Self {
        Self {
            import: with(self.import, other.import),
            parse: with(self.parse, other.parse),
            compress: with(self.compress, other.compress),
            seal: with(self.seal, other.seal),
            hash: with(self.hash, other.hash),
            read: with(self.read, other.read),
            check: with(self.check, other.check),
        }
    }
}

fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *spent += start.elapsed();
    result
}

/// From the file to synced documents and entries of a fresh home.
async fn import_file(home: Home, file: PathBuf) -> Duration {
    setup::init(&home, Kind::Patient, "Bench", None).expect("a home");
    let node = Node::open(&home, None).await.expect("a node");
    let start = Instant::now();
    let answer = node.ask(Request::Import { paths: vec![file.into()], patient: None }).await.expect("an import");
    let spent = start.elapsed();
    assert!(matches!(answer, Response::Imported(_)));
    node.stop().await.expect("the end");
    spent
}

/// The bare parts over the same file and its documents; how many those are.
fn bare(file: &Path, recipient: &Identity, import_took: Duration) -> (Round, usize) {
    let content = std::fs::read(file).expect("a file");
    let zero = Duration::ZERO;
    let mut round = Round { import: import_took, parse: zero, compress: zero, seal: zero, hash: zero, read: zero, check: zero };
    drop(timed(&mut round.parse, || serde_json::from_slice::<serde_json::Value>(&content).expect("JSON")));
    let unchecked = timed(&mut round.read, || import_with([Input::new("bench", content.clone())], |_| chartmesh_records::Typed::Ok).expect("readable"));
    drop(timed(&mut round.check, || import([Input::new("bench", content)]).expect("readable")));
    let documents = unchecked.drafts.len();
    for draft in unchecked.drafts {
        let resources: Vec<_> = draft.resources.iter().map(|resource| (&resource.facts, &resource.bytes[..])).collect();
        let bundle = write_bundle(&draft.compartment, &resources);
        let compressed = timed(&mut round.compress, || zstd::bulk::compress(&bundle, 3).expect("zstd"));
        let sealed = timed(&mut round.seal, || seal(&compressed, recipient.recipient()).expect("age"));
        timed(&mut round.hash, || std::hint::black_box(blake3::hash(&sealed.bytes)));
    }
    (round, documents)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (source, files) = data::files(directory.path());
    let bytes: u64 = files.iter().map(|file| std::fs::metadata(file).expect("a file").len()).sum();
    println!("{source}: {} files, {:.1} MB, {} cores", files.len(), bytes as f64 / 1e6, std::thread::available_parallelism().map_or(1, usize::from));

    let recipient = Identity::generate();
    let mut documents = 0;
    let mut sum: Option<Round> = None;
    for (index, file) in files.iter().enumerate() {
        let mut best: Option<Round> = None;
        for round in 0..ROUNDS {
            let home = Home::new(directory.path().join(format!("home-{index}-{round}")));
            // By a worker, as the program does: the thread that waits is slow to be woken.
            let import_took = runtime.block_on(runtime.spawn(import_file(home.clone(), file.clone()))).expect("an import");
            std::fs::remove_dir_all(home.path()).expect("a home that can go");
            let (round_took, made) = bare(file, &recipient, import_took);
            documents += if round == 0 { made } else { 0 };
            best = Some(best.map_or(round_took, |best| best.each(round_took, Duration::min)));
        }
        let best = best.expect("a round");
        sum = Some(sum.map_or(best, |sum| sum.each(best, |one, other| one + other)));
    }
    let Round { import, parse, compress, seal, hash, read, check } = sum.expect("a file");
    let bare = parse + compress + seal + hash;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{documents} documents, best of {ROUNDS} rounds");
    println!("bare sum      {:9.1} ms  (serde_json {:.1}, zstd -3 {:.1}, age {:.1}, BLAKE3 {:.1})", ms(bare), ms(parse), ms(compress), ms(seal), ms(hash));
    println!("import        {:9.1} ms  ratio {:.2}  (aim: at least 0.50)", ms(import), bare.as_secs_f64() / import.as_secs_f64());
    println!("of which read {:9.1} ms, typed check {:.1} ms", ms(read), ms(check.saturating_sub(read)));
}
