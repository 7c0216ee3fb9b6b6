//! Verifying and applying a ledger against `verify_strict` alone over as many signatures, on one core; what one more entry costs when the state is read after each; memory per
//! entry. Rounds of both are interleaved and the best of each is compared. Prints ratios of one run; only they mean something.
//!
//! `cargo bench -p chartmesh-ledger --bench ledger`; `CHARTMESH_ENTRIES=N` sets how many entries (100,000 by default).

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use chartmesh_identity::{BlobHash, CardHash, CertId, Certificate, EntryHash, GrantId, LaneId, LedgerId, NodeRole, Recipient, Signed, SigningSecret};
use chartmesh_ledger::{Action, Blob, CertCache, Charter, Device, Entry, EntryHeader, FULL, Fence, Ledger, RawEntry, Root, Use, Verdict};
use coset::TaggedCborSerializable;
use ed25519_dalek::{Signature, VerifyingKey};

const ROUNDS: usize = 5;
/// Catalogs, among which the documents are spread, most in the first.
const CATALOGS: usize = 20;
/// Of so many entries one is a party's receipt.
const RECEIPTS: usize = 10;
/// What a sealed body takes that holds one manifest.
const BODY: usize = 2_000;
/// So many more entries are added singly, with the state read after each.
const SINGLE: usize = 1_000;

fn secret(seed: u8) -> SigningSecret {
    SigningSecret::from_seed(&[seed; 32])
}

fn recipient(seed: u8) -> Recipient {
    Recipient::from_bytes(&[seed; Recipient::LEN]).expect("a recipient")
}

fn charter() -> Charter {
    let device = secret(10);
    Charter {
        version: 0,
        prev: None,
        ledger: None,
        signer: secret(1).root(),
        threshold: 1,
        roots: vec![Root { key: secret(1).root(), rank: 0 }],
        devices: vec![Device {
            key: device.author(),
            card: CardHash::of(b"card"),
            party: device.party(),
            recipient: recipient(3),
            endpoint: secret(110).endpoint(),
            role: FULL.into(),
            suspended: None,
        }],
        recovery: recipient(1),
        keyring: recipient(2),
        keyring_lane: LaneId::new([200; 32]),
        custodians: Vec::new(),
        min_suite: 1,
        continues: None,
        crit: Vec::new(),
        time: 0,
    }
}

/// Somebody's log in one lane.
struct Log<'a> {
    key: &'a SigningSecret,
    cert: Option<Signed<Certificate>>,
    ledger: LedgerId,
    lane: LaneId,
    seq: u64,
    prev: Option<EntryHash>,
}

impl Log<'_> {
    fn write(&mut self, action: Action, uses: Option<Use>, epoch: Option<EntryHash>, body: Option<Vec<u8>>) -> RawEntry {
        self.seq += 1;
        let header = EntryHeader {
            suite: 1,
            ledger: self.ledger,
            lane: self.lane,
            author: self.key.author(),
            cert: self.cert.clone(),
            seq: self.seq,
            prev: self.prev,
            time: 1_700_000_000 + i64::try_from(self.seq).expect("a time"),
            action,
            uses,
            epoch,
            body: None,
            crit: Vec::new(),
            unknown: Vec::new(),
        };
        let entry = Entry::sign(header, body, self.key);
        self.prev = Some(entry.hash());
        entry.to_raw()
    }
}

/// A device that publishes in some catalogs, and a provider's node that writes receipts in its circle.
fn history(genesis: &Signed<Charter>, count: usize) -> Vec<RawEntry> {
    let ledger = Ledger::begin(genesis.clone()).expect("a ledger").id();
    let (device, node, party) = (secret(10), secret(40), secret(20));
    let cert = Certificate { party: party.party(), node: node.author(), id: CertId::new([7; 16]), roles: vec![NodeRole::Receipt] };
    let cert = Signed::sign(cert, &party).signed().clone();
    let log = |key, cert, lane| Log { key, cert, ledger, lane: LaneId::new([lane; 32]), seq: 0, prev: None };
    let grant = GrantId::new([1; 16]);
    let mut grants = log(&device, None, 100);
    let mut receipts = log(&node, Some(cert), 100);
    let mut entries = vec![grants.write(Action::Grant { id: grant, party: party.party(), until: None, max_age: 604_800 }, None, None, Some(vec![0; BODY]))];
    let mut catalogs: Vec<_> = (0..CATALOGS).map(|lane| log(&device, None, u8::try_from(lane).expect("a lane"))).collect();
    let mut epochs = Vec::new();
    for catalog in &mut catalogs {
        let epoch = Action::Epoch { recipient: recipient(9), supersedes: Vec::new(), covers: Vec::new(), past: Fence::default() };
        entries.push(catalog.write(epoch, None, None, Some(vec![0; BODY])));
        epochs.push(catalog.prev);
    }
    for index in entries.len()..count {
        let body = Some(index.to_le_bytes().repeat(BODY / 8));
        if index % RECEIPTS == 0 {
            entries.push(receipts.write(Action::Receipt { grant, n: index as u64 }, Some(Use::Grant(grant)), None, body));
            continue;
        }
        let at = if index % 2 == 0 { 0 } else { index % CATALOGS };
        let document = Blob { hash: BlobHash::of(&index.to_le_bytes()), length: 4_096 };
        entries.push(catalogs[at].write(Action::Publish { documents: vec![document] }, None, epochs[at], body));
    }
    entries
}

/// What `verify_strict` alone is given: keys expanded, messages laid out.
fn bare(entries: &[RawEntry]) -> Vec<(VerifyingKey, Vec<u8>, Signature)> {
    let bare = |raw: &RawEntry| {
        let header = raw.header.clone().verify().expect("an entry");
        let cose = coset::CoseSign1::from_tagged_slice(raw.header.as_bytes()).expect("a signed object");
        let key = VerifyingKey::from_bytes(header.author.as_bytes()).expect("a key");
        (key, cose.tbs_data(b""), Signature::from_slice(&cose.signature).expect("a signature"))
    };
    entries.iter().map(bare).collect()
}

/// Bytes of memory of this process that are in use now.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
}

struct Times {
    verify: Duration,
    apply: Duration,
    evaluate: Duration,
}

impl Times {
    fn sum(&self) -> Duration {
        self.verify + self.apply + self.evaluate
    }
}

/// From bytes as they are stored or sent to the state of every lane.
fn whole(genesis: &Signed<Charter>, raw: Vec<RawEntry>) -> (Times, Ledger) {
    let mut certs = CertCache::new();
    let start = Instant::now();
    let entries: Vec<Entry> = raw.into_iter().map(|raw| Entry::read_with(raw, &mut certs).expect("an entry")).collect();
    let verify = start.elapsed();
    let start = Instant::now();
    let mut ledger = Ledger::begin(genesis.clone()).expect("a ledger");
    let outcome = ledger.add_all(entries);
    assert!(outcome.refused.is_empty(), "{:?}", outcome.refused.first());
    let apply = start.elapsed();
    let start = Instant::now();
    for lane in ledger.lanes() {
        black_box(ledger.lane(lane));
    }
    (Times { verify, apply, evaluate: start.elapsed() }, ledger)
}

fn main() {
    let count = std::env::var("CHARTMESH_ENTRIES").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let genesis = Signed::sign(charter(), &secret(1)).signed().clone();
    let mut raw = history(&genesis, count + SINGLE);
    let more = raw.split_off(count);
    let header = raw.iter().map(|raw| raw.header.as_bytes().len()).sum::<usize>() / count;
    let held: usize = raw.iter().map(|raw| raw.header.as_bytes().len() + raw.body.as_ref().map_or(0, |body| body.len())).sum();
    println!("{count} entries in {} lanes, headers of {header} bytes, bodies of {BODY}, one thread", CATALOGS + 1);

    let before = resident();
    let copy = raw.clone();
    let (_, ledger) = whole(&genesis, copy);
    let memory = resident().saturating_sub(before) as f64 / count as f64;
    assert_eq!(ledger.len(), count);
    let stands = ledger.lanes().flat_map(|lane| ledger.lane(lane).verdicts.values()).filter(|verdict| **verdict == Verdict::Stands).count();
    assert_eq!(stands, count, "every entry stands");
    drop(ledger);

    let signatures = bare(&raw);
    let mut strict = Vec::new();
    let mut ours = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        assert!(signatures.iter().all(|(key, message, signature)| black_box(key.verify_strict(message, signature)).is_ok()));
        strict.push(start.elapsed());
        drop(last.take());
        let (times, ledger) = whole(&genesis, raw.clone());
        ours.push(times);
        last = Some(ledger);
    }
    let strict = *strict.iter().min().expect("a round");
    let ours = ours.iter().min_by_key(|times| times.sum()).expect("a round");

    let mut ledger = last.expect("a ledger");
    let mut certs = CertCache::new();
    let more: Vec<Entry> = more.into_iter().map(|raw| Entry::read_with(raw, &mut certs).expect("an entry")).collect();
    let start = Instant::now();
    for entry in more {
        let (lane, hash) = (entry.header.lane, entry.hash());
        ledger.add_entry(entry).expect("an entry");
        assert_eq!(ledger.lane(&lane).verdicts.get(&hash), Some(&Verdict::Stands));
    }
    let single = start.elapsed() / u32::try_from(SINGLE).expect("a count");

    let micros = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!("verify_strict alone   {:8.2} us an entry", micros(strict));
    println!(
        "verified and applied  {:8.2} us an entry  ratio {:.2}  (aim: at least 0.70)",
        micros(ours.sum()),
        strict.as_secs_f64() / ours.sum().as_secs_f64()
    );
    println!("  of which read and verified {:.2}, added {:.2}, state {:.2}", micros(ours.verify), micros(ours.apply), micros(ours.evaluate));
    println!("one more, verified before, and the state read after it: {:.1} us", single.as_secs_f64() * 1e6);
    println!("memory {memory:.0} bytes an entry, of which {} are its signed header and sealed body", held / count);
}
