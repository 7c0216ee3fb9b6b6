//! How fast entries are verified and applied, against the bare signature check: `cargo run --release -p chartmesh-ledger --example rate [entries]`.

use std::{io::Write, time::Instant};

use chartmesh_identity::{AuthorKey, BlobHash, CardHash, EntryHash, LaneId, PartyKey, Recipient, Signed, SigningSecret};
use chartmesh_ledger::{Action, Blob, CertCache, Charter, Device, Entry, EntryHeader, FULL, Ledger, RawEntry, Root};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

fn main() -> std::io::Result<()> {
    let count: u64 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let (root, key) = (SigningSecret::from_seed(&[1; 32]), SigningSecret::from_seed(&[2; 32]));
    let genesis = Signed::sign(charter(&root, &key), &root);
    let mut ledger = Ledger::begin(genesis.signed().clone()).map_err(std::io::Error::other)?;
    let lanes: Vec<LaneId> = (0..10).map(|n| LaneId::new([n; 32])).collect();
    let raw = history(&ledger, &key, &lanes, count);

    let bare = SigningKey::from_bytes(&[3; 32]);
    let public: VerifyingKey = bare.verifying_key();
    let messages: Vec<_> = raw.iter().map(|entry| (bare.sign(entry.header.as_bytes()), entry.header.as_bytes().to_vec())).collect();
    let start = Instant::now();
    let good = messages.iter().filter(|(signature, message)| public.verify_strict(message, signature).is_ok()).count();
    let verify = start.elapsed();

    let start = Instant::now();
    let mut certs = CertCache::new();
    for entry in raw {
        let entry = Entry::read_with(entry, &mut certs).map_err(std::io::Error::other)?;
        ledger.add_entry(entry).map_err(std::io::Error::other)?;
    }
    let apply = start.elapsed();
    let start = Instant::now();
    let judged: usize = lanes.iter().map(|lane| ledger.lane(lane).verdicts.len()).sum();
    let evaluate = start.elapsed();
    let ratio = verify.as_secs_f64() / (apply + evaluate).as_secs_f64();
    let mut out = std::io::stdout();
    writeln!(out, "{good} bare checks {verify:?}; {judged} entries read and added {apply:?}, lanes evaluated {evaluate:?}; ratio {ratio:.2}")
}

fn history(ledger: &Ledger, key: &SigningSecret, lanes: &[LaneId], count: u64) -> Vec<RawEntry> {
    let mut tips: Vec<(u64, Option<EntryHash>)> = vec![(0, None); lanes.len()];
    let entry = |n: u64| {
        let at = usize::try_from(n).unwrap_or(0) % lanes.len();
        let documents = vec![Blob { hash: BlobHash::of(&n.to_be_bytes()), length: n }];
        let (seq, prev) = tips[at];
        let header = EntryHeader {
            suite: 1,
            ledger: ledger.id(),
            lane: lanes[at],
            author: key.author(),
            cert: None,
            seq: seq + 1,
            prev,
            time: 0,
            action: Action::Publish { documents },
            uses: None,
            epoch: Some(EntryHash::of(b"epoch")),
            body: None,
            crit: vec![],
            unknown: vec![],
        };
        let entry = Entry::sign(header, None, key);
        tips[at] = (seq + 1, Some(entry.hash()));
        entry.to_raw()
    };
    (0..count).map(entry).collect()
}

fn charter(root: &SigningSecret, key: &SigningSecret) -> Charter {
    let recipient = Recipient::from_bytes(&[1; Recipient::LEN]).into_iter().next();
    let Some(recipient) = recipient else { unreachable!("of the right length") };
    let author: AuthorKey = key.author();
    let party: PartyKey = key.party();
    let device =
        Device { key: author, card: CardHash::of(b"card"), party, recipient: recipient.clone(), endpoint: key.endpoint(), role: FULL.into(), suspended: None };
    Charter {
        version: 0,
        prev: None,
        ledger: None,
        signer: root.root(),
        threshold: 1,
        roots: vec![Root { key: root.root(), rank: 0 }],
        devices: vec![device],
        recovery: recipient.clone(),
        keyring: recipient,
        keyring_lane: LaneId::new([255; 32]),
        custodians: vec![],
        min_suite: 1,
        continues: None,
        crit: vec![],
        time: 0,
    }
}
