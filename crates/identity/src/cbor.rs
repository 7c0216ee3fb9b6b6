//! Deterministic CBOR (RFC 8949, section 4.2.1): one value, one encoding.
//!
//! Decoding is strict: whatever does not re-encode to the same bytes (long integers, indefinite lengths, unsorted or double keys, trailing bytes) is refused, so that a
//! hash names one meaning. Floats and tags have no place in our objects.

use ciborium::Value;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// Deepest nesting of arrays and maps that is read.
pub const MAX_DEPTH: usize = 24;
/// Longest reason that is reported, in characters.
const MAX_REASON: usize = 120;

/// Why bytes are not a deterministic CBOR object of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CborError {
    /// Truncated, malformed or too deeply nested.
    #[error("not CBOR, cut short, or nested deeper than {MAX_DEPTH} levels")]
    Malformed,
    /// CBOR, but not its one deterministic encoding.
    #[error("not deterministic CBOR (RFC 8949, section 4.2.1)")]
    NotDeterministic,
    /// A field is missing or of another type.
    #[error("unexpected content: {0}")]
    Shape(String),
}

/// Encodes a value deterministically: shortest integers, definite lengths, map keys in bytewise order of their encodings.
///
/// # Panics
/// If the value's `Serialize` fails, which none of chartmesh's types does.
pub fn to_canonical<T: Serialize>(value: &T) -> Vec<u8> {
    let mut tree = Value::serialized(value).expect("our types serialize");
    sort(&mut tree);
    encode(&tree)
}

/// Decodes a value and refuses every encoding of it but the deterministic one.
pub fn from_canonical<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    let tree = tree(bytes)?;
    tree.deserialized().map_err(|error| CborError::Shape(reason(&error.to_string())))
}

fn tree(bytes: &[u8]) -> Result<Value, CborError> {
    let mut rest = bytes;
    let tree: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).map_err(|_| CborError::Malformed)?;
    if !rest.is_empty() || !is_plain(&tree) || encode(&tree) != bytes {
        return Err(CborError::NotDeterministic);
    }
    Ok(tree)
}

/// Keeps of serde's message what the type says, and nothing that the data says: serde quotes what it found before what it expected.
fn reason(message: &str) -> String {
    let kept = match message.rfind(", expected ") {
        Some(at) => format!("a value does not fit{}", &message[at..]),
        None if message.starts_with("missing field `") => message.to_owned(),
        None => "a value does not have the form that its type asks for".to_owned(),
    };
    kept.chars().take(MAX_REASON).collect()
}

fn encode(tree: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(tree, &mut bytes).expect("writing to memory");
    bytes
}

fn sort(tree: &mut Value) {
    match tree {
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Map(entries) => {
            for (key, value) in entries.iter_mut() {
                sort(key);
                sort(value);
            }
            entries.sort_by_cached_key(|(key, _)| encode(key));
        }
        _ => {}
    }
}

/// No floats, no tags, and every map strictly ascending.
fn is_plain(tree: &Value) -> bool {
    match tree {
        Value::Array(items) => items.iter().all(is_plain),
        Value::Map(entries) => {
            let ascending = match entries.as_slice() {
                [] | [_] => true,
                entries => entries.windows(2).all(|pair| key_order(&pair[0].0, &pair[1].0)),
            };
            ascending && entries.iter().all(|(key, value)| is_plain(key) && is_plain(value))
        }
        Value::Float(_) | Value::Tag(..) => false,
        _ => true,
    }
}

fn key_order(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => (a.len(), a.as_bytes()) < (b.len(), b.as_bytes()),
        _ => encode(a) < encode(b),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_encodings_are_refused() {
        for (bytes, why) in [
            (&[0x18, 0x01][..], "long integer"),
            (&[0x9f, 0x01, 0xff], "indefinite length"),
            (&[0xa2, 0x02, 0x00, 0x01, 0x00], "unsorted"),
            (&[0xa2, 0x01, 0x00, 0x01, 0x00], "double key"),
            (&[0x01, 0x00], "trailing"),
            (&[0xf9, 0x00, 0x00], "float"),
            (&[0xc1, 0x00], "tag"),
        ] {
            assert_eq!(tree(bytes), Err(CborError::NotDeterministic), "{why}");
        }
        assert_eq!(tree(&[0x82, 0x01]), Err(CborError::Malformed));
        assert_eq!(tree(&[0x81; 100]), Err(CborError::Malformed));
    }

    #[test]
    fn an_error_says_what_was_expected_and_nothing_of_what_was_found() {
        #[derive(Debug, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "lowercase", deny_unknown_fields)]
        enum Kind {
            Known { id: crate::LedgerId },
        }
        let id = |algorithm: u64, bytes: &[u8]| BTreeMap::from([("known", BTreeMap::from([("id", (algorithm, serde_bytes::ByteBuf::from(bytes)))]))]);
        let said = |bytes: &[u8]| from_canonical::<Kind>(bytes).unwrap_err().to_string();
        for (bytes, expected) in [
            (to_canonical(&"SECRET"), "expected `known`"),
            (to_canonical(&"SECRET, expected SECRET"), "expected `known`"),
            (to_canonical(&BTreeMap::from([("known", BTreeMap::from([("SECRET", 1)]))])), "expected `id`"),
            (to_canonical(&BTreeMap::from([("known", BTreeMap::from([("id", "SECRET")]))])), "expected"),
            (to_canonical(&BTreeMap::from([("known", BTreeMap::<&str, u8>::new())])), "missing field `id`"),
            (to_canonical(&id(2, &[0; 32])), "a LedgerId of algorithm 1"),
            (to_canonical(&id(1, b"SECRET")), "a LedgerId of 32 bytes"),
        ] {
            let said = said(&bytes);
            assert!(said.contains(expected) && !said.contains("SECRET"), "{said}");
        }
    }

    #[test]
    fn map_keys_are_sorted_by_their_encoding() {
        let map = BTreeMap::from([("aa", 1), ("b", 2)]);
        assert_eq!(to_canonical(&map), [0xa2, 0x61, b'b', 2, 0x62, b'a', b'a', 1]);
    }

    proptest! {
        #[test]
        fn what_is_accepted_encodes_back_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(tree) = tree(&bytes) {
                prop_assert_eq!(to_canonical(&tree), bytes);
            }
        }

        #[test]
        fn values_come_back(map in proptest::collection::btree_map(".{0,12}", any::<(i64, Vec<u8>)>(), 0..8)) {
            let bytes = to_canonical(&map);
            prop_assert_eq!(from_canonical::<BTreeMap<String, (i64, Vec<u8>)>>(&bytes).unwrap(), map);
        }
    }
}
