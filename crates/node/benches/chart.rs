//! Opening a chart of 1,000 resources against bare `age` over its documents: the list of what there is, and then every document read from the store, opened, checked and written out;
//! bare, the same files are decrypted from memory with one expanded identity on one core and nothing else is done. Written is to a file system in memory (`/dev/shm`), so that it is
//! opening that is compared; beside it to disk, where each file is an `fsync`; the start of a node that holds the chart; and one resource shown. Rounds of both are
//! interleaved and the best of each is compared. On one core: `taskset -c 0` in front.
//!
//! `cargo bench -p chartmesh-node --bench chart`; `CHARTMESH_RESOURCES=N` sets how many (1,000 by default).

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::{
    collections::BTreeSet,
    hint::black_box,
    time::{Duration, Instant},
};

use chartmesh_identity::Kind;
use chartmesh_node::{
    Node,
    api::{Request, Response},
    home::Home,
    setup,
};
use chartmesh_sealing::{Identity, open};

const ROUNDS: usize = 5;

/// Results of one patient, two in each encounter, of about a kilobyte each.
fn chart(resources: usize) -> String {
    let mut entries = Vec::new();
    for n in 0..resources {
        let (encounter, day) = (n / 2, 1 + n / 2 % 28);
        let month = 1 + n / 56 % 12;
        let text = "measured at rest, in the sitting position, with the cuff at heart level; ".repeat(8);
        entries.push(format!(
            r#"{{"resource":{{"resourceType":"Observation","id":"o{n}","status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"4548-4"}}],"text":"HbA1c"}},"subject":{{"reference":"Patient/m"}},"encounter":{{"reference":"Encounter/e{encounter}"}},"effectiveDateTime":"20{:02}-{month:02}-{day:02}T09:00:00Z","valueQuantity":{{"value":6.{n},"unit":"%"}},"note":[{{"text":"{text}"}}]}}}}"#,
            10 + n / 672 % 14
        ));
    }
    format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{}]}}"#, entries.join(","))
}

/// Processor time of all threads of this process so far, in ticks of 10 ms: on a crowded machine eight threads get more of it than one does, and the clock says nothing.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(runtime.spawn(run())).expect("an end");
}

async fn run() {
    let resources = std::env::var("CHARTMESH_RESOURCES").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = Home::new(directory.path().join("home"));
    setup::init(&home, Kind::Patient, "Bench", None).expect("a home");
    let file = directory.path().join("chart.json");
    std::fs::write(&file, chart(resources)).expect("a file");
    let node = Node::open(&home, None).await.expect("a node");
    node.ask(Request::Import { paths: vec![file.into()], patient: None }).await.expect("an import");
    node.stop().await.expect("the end");
    drop(node);

    let start = Instant::now();
    let node = Node::open(&home, None).await.expect("a node");
    let opened = start.elapsed();

    let Response::Records(records) = node.ask(Request::RecordsList { patient: None, resource_type: None }).await.expect("a list") else { panic!("a list") };
    assert_eq!(records.len(), resources);
    let hashes: BTreeSet<_> = records.iter().map(|record| record.document).collect();
    let Response::Bytes(keys) = node.ask(Request::KeyExport).await.expect("keys") else { panic!("keys") };
    let identities: Vec<Identity> = String::from_utf8(keys)
        .expect("text")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| Identity::from_bech32(line).expect("an identity"))
        .collect();
    let mut sealed = Vec::new();
    for hash in &hashes {
        let Response::Bytes(bytes) = node.ask(Request::RecordsSealed { document: hash.to_string() }).await.expect("a document") else { panic!("a document") };
        let own = identities.iter().position(|identity| open(&bytes, identity).is_ok()).expect("one of our identities");
        sealed.push((bytes, own));
    }

    let memory = tempfile::tempdir_in("/dev/shm").ok();
    let (mut bare, mut export, mut durable, mut list, mut show) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut bare_ticks, mut our_ticks) = (0, 0);
    for round in 0..ROUNDS {
        let before = ticks();
        let start = Instant::now();
        for (bytes, own) in &sealed {
            black_box(open(bytes, &identities[*own]).expect("it opens"));
        }
        bare.push(start.elapsed());
        bare_ticks += ticks() - before;

        let mut first = Some(ticks());
        let start = Instant::now();
        black_box(node.ask(Request::RecordsList { patient: None, resource_type: None }).await.expect("a list"));
        list.push(start.elapsed());
        for (times, directory) in [(&mut export, memory.as_ref().unwrap_or(&directory)), (&mut durable, &directory)] {
            let to = directory.path().join(format!("export-{round}-{}", times.len()));
            let start = Instant::now();
            let Response::Exported(info) = node.ask(Request::RecordsExport { directory: to.clone(), patient: None, purpose: None }).await.expect("an export")
            else {
                panic!("an export")
            };
            times.push(start.elapsed());
            // The list and the first of the two exports.
            our_ticks += first.take().map_or(0, |before| ticks() - before);
            assert_eq!((info.resources, info.damaged.len()), (resources as u64, 0));
            std::fs::remove_dir_all(to).expect("it is there");
        }

        let request = Request::RecordsShow { reference: format!("Observation/o{round}"), patient: None, document: None, purpose: None, quarantined: false };
        let start = Instant::now();
        black_box(node.ask(request).await.expect("a resource"));
        show.push(start.elapsed());
    }
    node.stop().await.expect("the end");
    let least = |times: &[Duration]| *times.iter().min().expect("a round");
    let (bare, export, durable, list, show) = (least(&bare), least(&export), least(&durable), least(&list), least(&show));
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{resources} resources in {} documents", sealed.len());
    println!("bare age open   {:9.1} ms", ms(bare));
    println!("listed, opened  {:9.1} ms  ratio {:.2}  (aim: at least 0.50)", ms(list + export), bare.as_secs_f64() / (list + export).as_secs_f64());
    println!("by processor time ratio {:.2}: {} and {} ms in {ROUNDS} rounds", bare_ticks as f64 / our_ticks as f64, bare_ticks * 10, our_ticks * 10);
    println!("  of which the list {:.1} ms; opened and written to disk {:.1} ms", ms(list), ms(durable));
    println!(
        "one resource shown {:.1} ms; start of a node that holds the chart {:.1} ms, ratio to bare {:.2}",
        ms(show),
        ms(opened),
        bare.as_secs_f64() / opened.as_secs_f64()
    );
}
