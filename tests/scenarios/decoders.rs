//! Foreign bytes: every decoder over the seeds in `fuzz/seeds` and over mutations of them, which are the same at every run.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    thread,
};

use chartmesh_tests::{TARGETS, Target};

use crate::world;

/// Mutations of each seed, unless `CHARTMESH_MUTATIONS` says otherwise.
const ROUNDS: usize = 60;
/// Longest input that is mutated, in bytes: what is longer is only replayed.
const LONGEST: usize = 8 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let seeds: Vec<_> = world::files(&fuzz().join("seeds").join(target)).iter().map(|file| fs::read(file).expect("a seed")).collect();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

/// Runs a target; its panic names it and its input.
fn run(name: &str, target: Target, input: &[u8]) {
    let ran = panic::catch_unwind(AssertUnwindSafe(|| target(input)));
    assert!(ran.is_ok(), "{name} fails on {}", input.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
}

#[test]
fn no_decoder_breaks_its_word_on_any_seed_or_mutation_of_one() {
    let rounds = std::env::var("CHARTMESH_MUTATIONS").map_or(ROUNDS, |number| number.parse().expect("CHARTMESH_MUTATIONS is a number"));
    thread::scope(|scope| {
        for (number, (name, target)) in TARGETS.iter().enumerate() {
            scope.spawn(move || {
                let seeds = seeds(name);
                let mut chance = Chance(number as u64);
                for seed in &seeds {
                    run(name, *target, seed);
                    for _ in 0..if seed.len() <= LONGEST { rounds } else { 0 } {
                        run(name, *target, &mutated(seed, &seeds, &mut chance));
                    }
                }
            });
        }
    });
}

#[test]
fn no_decoder_is_without_a_fuzz_target() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("the manifest of the fuzz targets");
    let found = world::files(&fuzz().join("fuzz_targets"));
    assert_eq!(found.len(), TARGETS.len(), "targets are in the table of all targets, and nothing else is");
    for (name, _) in TARGETS {
        let text = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).expect("a fuzz target");
        assert!(text.contains(&format!("chartmesh_tests::{name}(data)")), "{name} runs itself");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is built");
    }
}

/// SplitMix64: the same numbers at every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % (limit.max(1) as u64)) as usize
    }
}

/// One to four changes.
fn mutated(seed: &[u8], others: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    const TELLING: [&[u8]; 10] = [b"\x00", b"\xff\xff\xff\xff", b"\xf6", b"\x1b[2J", "\u{202e}".as_bytes(), b"\"", b"{}", b"[]", b"null", b"\\u0000"];
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + 1 + chance.below(16)).min(bytes.len());
        match chance.below(8) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            2 if at < bytes.len() => bytes[at] = chance.next() as u8,
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            5 => drop(bytes.splice(at..at, TELLING[chance.below(TELLING.len())].iter().copied())),
            6 => {
                let other = &others[chance.below(others.len())];
                let from = chance.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}
