//! Sealing and opening 4 KiB: as a bare age file and as a document; and what it saves to expand an identity once. Prints microseconds per file and ratios.

#[path = "../examples/header/mod.rs"]
mod header;

use std::{
    error::Error,
    hint::black_box,
    io::{self, Write},
    time::{Duration, Instant},
};

use chartmesh_sealing::{Expected, Identity, Packer, open, open_document, open_with_file_key, seal, seal_document};

const ROUNDS: u32 = 300;
const LENGTH: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let identity = Identity::generate();
    let seed = identity.expose_seed();
    let to = identity.recipient();
    let content: Vec<u8> = br#"{"resourceType":"Observation","status":"final","valueQuantity":{"value":6.3}},"#.iter().copied().cycle().take(LENGTH).collect();
    let header = header::header(&content);
    let file = seal(&content, to)?;
    let mut packer = Packer::new(3)?;
    let document = seal_document(&content, &header, to, &mut packer)?;
    let expected = Expected {
        hash: document.hash,
        content_length: document.content_length,
        ledger: header.ledger,
        continues: &[],
        compartment: Some(&header.compartment),
        publisher: header.publisher,
    };

    let seal_file = time(|| seal(&content, to).is_ok());
    let seal_doc = time(|| seal_document(&content, &header, to, &mut packer).is_ok());
    let open_file = time(|| open(&file.bytes, &identity).is_ok());
    let open_expanding = time(|| open(&file.bytes, &Identity::from_seed(&seed)).is_ok());
    let open_doc = time(|| open_document(&document.bytes, &identity, &expected).is_ok());
    let open_key = time(|| open_with_file_key(&file.bytes, &file.file_key).is_ok());

    let mut out = io::stdout().lock();
    writeln!(out, "{LENGTH} bytes: {} as an age file, {} as a document", file.bytes.len(), document.bytes.len())?;
    for (name, took, base) in [
        ("seal, age file", seal_file, seal_file),
        ("seal, document", seal_doc, seal_file),
        ("open, age file, one expanded identity", open_file, open_file),
        ("open, age file, expanding each time", open_expanding, open_file),
        ("open, age file, by file key", open_key, open_file),
        ("open, document, one expanded identity", open_doc, open_file),
    ] {
        let micros = took.as_secs_f64() * 1e6 / f64::from(ROUNDS);
        writeln!(out, "{name:<40} {micros:>8.0} us   x{:.2}", took.as_secs_f64() / base.as_secs_f64())?;
    }
    Ok(())
}

fn time(mut run: impl FnMut() -> bool) -> Duration {
    for _ in 0..ROUNDS / 10 {
        assert!(black_box(run()));
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        assert!(black_box(run()));
    }
    start.elapsed()
}
