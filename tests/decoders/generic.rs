//! What is asked of more than one decoder.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
    sync::LazyLock,
};

use chartmesh_identity::{Named, Payload, Signed, SignedError, SigningSecret, from_canonical, to_canonical};
use ciborium::Value;
use serde::{Serialize, de::DeserializeOwned};

/// Shorter texts may stand in an error by chance.
const TELLING: usize = 6;
/// What errors may name: fields and codes of the formats, and the words of the errors themselves.
static KNOWN: LazyLock<String> = LazyLock::new(|| {
    let formats = [include_str!("../../schemas/chartmesh.cddl"), include_str!("../../schemas/exchange.cddl"), include_str!("../../schemas/node.cddl")];
    [&formats.concat(), WORDING].concat().to_lowercase()
});
/// Parts of errors that a part of an input may look like.
const WORDING: &str = "missing field ` duplicate field ` unknown field ` it has no resourceType";

/// A key that nobody else has.
pub(crate) fn key() -> SigningSecret {
    SigningSecret::from_seed(&[77; 32])
}

/// No error repeats a text of the input, unless it is a word of the formats; nor a character that steers a terminal.
///
/// libFuzzer learns the words of our errors from wherever they are compared, and puts them into the input. So hashes are compared here, and under it only texts count that are
/// no plain words.
#[allow(unexpected_cfgs, reason = "cargo-fuzz sets `fuzzing`")]
pub(crate) fn assert_quiet<'a>(error: &impl ToString, texts: impl IntoIterator<Item = &'a str>) {
    let error = error.to_string();
    assert_plain(&error);
    let mut parts: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    let telling =
        |text: &&str| (TELLING..=error.len()).contains(&text.len()) && (!cfg!(fuzzing) || text.contains(|c: char| c.is_ascii_digit() || !c.is_ascii()));
    for text in texts.into_iter().filter(telling) {
        let of_that_length = parts.entry(text.len()).or_insert_with(|| error.as_bytes().windows(text.len()).map(hash).collect());
        let repeated = of_that_length.contains(&hash(text.as_bytes()));
        assert!(!repeated || KNOWN.contains(&text.to_lowercase()) || is_wording(text), "an error repeats its input: {error}");
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Words of serde's and of our own that a mutation may hit.
fn is_wording(text: &str) -> bool {
    text.split(|character: char| !character.is_ascii_alphabetic()).all(|word| {
        [
            "", "an", "a", "of", "byte", "bytes", "string", "sequence", "integer", "boolean", "expected", "invalid", "type", "unknown", "variant", "missing",
            "field", "length", "struct", "with", "element", "elements",
        ]
        .contains(&word)
    })
}

/// Fit for one line of a terminal.
pub(crate) fn assert_plain(text: &str) {
    let steers = |character: char| {
        character.is_control() || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert!(!text.chars().any(steers), "a character that steers a screen: {text:?}");
}

/// Every text in a CBOR item, in the payloads of signed objects too.
pub(crate) fn texts(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(tree) = ciborium::de::from_reader_with_recursion_limit::<Value, _>(bytes, 32) {
        collect(&tree, &mut found, 0);
    }
    found
}

fn collect(tree: &Value, found: &mut Vec<String>, depth: usize) {
    match tree {
        Value::Text(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found, depth)),
        Value::Map(entries) => entries.iter().for_each(|(name, value)| {
            collect(name, found, depth);
            collect(value, found, depth);
        }),
        Value::Tag(_, inner) => collect(inner, found, depth),
        Value::Bytes(bytes) if depth < 4 => {
            if let Ok(inner) = ciborium::de::from_reader_with_recursion_limit::<Value, _>(bytes.as_slice(), 32) {
                collect(&inner, found, depth + 1);
            }
        }
        _ => {}
    }
}

/// Reads deterministic CBOR. What is read can be written, and comes back the same.
pub(crate) fn cbor<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match from_canonical::<T>(bytes) {
        Ok(value) => {
            let written = to_canonical(&value);
            assert!(from_canonical::<T>(&written).is_ok_and(|again| to_canonical(&again) == written), "what was written does not read back");
            Some(value)
        }
        Err(error) => {
            assert_quiet(&error, texts(bytes).iter().map(String::as_str));
            None
        }
    }
}

/// As [`cbor`]; and what is read is written as it came, but for map keys that this version does not know or that say null.
pub(crate) fn exact<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value = cbor::<T>(bytes)?;
    let written = to_canonical(&value);
    if written != bytes {
        let tree = |bytes| ciborium::from_reader::<Value, _>(bytes).expect("CBOR that was read before");
        assert!(holds(&tree(bytes), &tree(&written)), "a part comes out otherwise than it went in");
    }
    Some(value)
}

/// Whether `written` is `read` without some of its map keys.
fn holds(read: &Value, written: &Value) -> bool {
    match (read, written) {
        (Value::Map(read), Value::Map(written)) => {
            let of = |name: &Value| read.iter().find(|(other, _)| other == name).map(|(_, value)| value);
            written.iter().all(|(name, value)| of(name).map_or(value.is_null(), |read| holds(read, value)))
        }
        (Value::Array(read), Value::Array(written)) => read.len() == written.len() && read.iter().zip(written).all(|(read, written)| holds(read, written)),
        _ => read == written,
    }
}

/// A signed object, as bytes with a signature and as a payload that is signed here, so that what lies behind the signature is reached too.
pub(crate) fn signed<T: Named>(bytes: &[u8]) -> Option<T> {
    let unchecked = Signed::<T>::from_bytes(bytes.to_vec());
    match unchecked.verify() {
        Ok(verified) => {
            assert_eq!(verified.as_bytes(), bytes);
            let payload = exact::<T>(&payload_of(bytes)).expect("a verified object has a payload");
            assert_eq!(payload.signer(), verified.signer());
            Some(payload)
        }
        Err(error) => {
            quiet(&error, bytes);
            let payload = exact::<T>(bytes)?;
            assert!(Signed::sign(payload, &key()).signed().clone().verify_author(&key().author()).is_ok(), "what is signed here verifies here");
            cbor(bytes)
        }
    }
}

/// The payload of a COSE_Sign1.
fn payload_of(bytes: &[u8]) -> Vec<u8> {
    let cose: Value = ciborium::from_reader(bytes).expect("CBOR that was verified");
    let Value::Tag(_, cose) = cose else { panic!("verified, and no tagged object") };
    cose.into_array().ok().and_then(|mut parts| parts.drain(..).nth(2)).and_then(|payload| payload.into_bytes().ok()).expect("a payload")
}

pub(crate) fn quiet(error: &SignedError, bytes: &[u8]) {
    assert_quiet(error, texts(bytes).iter().map(String::as_str));
}

/// Signs a payload with [`key`].
pub(crate) fn sign<T: Payload>(payload: T) -> Signed<T> {
    Signed::sign(payload, &key()).signed().clone()
}
