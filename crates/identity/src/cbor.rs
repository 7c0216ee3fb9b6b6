//! Deterministic CBOR (RFC 8949, section 4.2.1): one value, one encoding.
//!
//! Decoding is strict: whatever does not re-encode to the same bytes (long integers, indefinite lengths, unsorted or double keys, trailing bytes) is refused, so that a
//! hash names one meaning. Floats and tags have no place in our objects.

use std::ops::Range;

use ciborium::Value;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// Deepest nesting of arrays and maps that is read.
pub const MAX_DEPTH: usize = 24;
/// Longest reason that is reported, in characters.
const MAX_REASON: usize = 120;
/// Ends an item of indefinite length (RFC 8949, section 3.2.1).
const BREAK: u8 = 0xff;

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
/// If the value's `Serialize` fails, or writes more or less than it announces, which none of chartmesh's types does.
pub fn to_canonical<T: Serialize>(value: &T) -> Vec<u8> {
    let mut written = Vec::new();
    ciborium::into_writer(value, &mut written).expect("our types serialize");
    let mut bytes = Vec::with_capacity(written.len());
    assert_eq!(put_item(&mut bytes, &written), Some(&[][..]), "what was written is one item");
    bytes
}

/// Decodes a value and refuses every encoding of it but the deterministic one.
pub fn from_canonical<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    let tree = tree(bytes)?;
    tree.deserialized().map_err(|error| CborError::Shape(reason(&error.to_string())))
}

/// Decodes again what [`from_canonical`] has taken before, without comparing encodings: several times faster.
pub fn from_known<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    ciborium::de::from_reader_with_recursion_limit(bytes, MAX_DEPTH).map_err(|_| CborError::Malformed)
}

fn tree(bytes: &[u8]) -> Result<Value, CborError> {
    let mut rest = bytes;
    let tree: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).map_err(|_| CborError::Malformed)?;
    if !rest.is_empty() || after_item(bytes) != Some(&[]) {
        return Err(CborError::NotDeterministic);
    }
    Ok(tree)
}

/// Keeps of serde's message what the type says, and nothing that the data says: serde quotes what it found before what it expected.
fn reason(message: &str) -> String {
    // ciborium shows its errors as it would debug them.
    let message = message.strip_prefix("Custom(\"").and_then(|message| message.strip_suffix("\")")).unwrap_or(message);
    let kept = match message.rfind(", expected ") {
        Some(at) => format!("a value does not fit{}", &message[at..]),
        None if message.starts_with("missing field `") => message.to_owned(),
        None => "a value does not have the form that its type asks for".to_owned(),
    };
    kept.chars().take(MAX_REASON).collect()
}

/// Appends the first item of CBOR that ciborium wrote, in its one encoding: heads are the shortest already, lengths may be indefinite, and maps are in any order. What follows it,
/// or none if it is not whole.
fn put_item<'b>(to: &mut Vec<u8>, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let Some((major, argument, rest)) = head(bytes) else { return put_other(to, bytes) };
    to.extend(&bytes[..bytes.len() - rest.len()]);
    match major {
        2 | 3 => {
            let (text, rest) = rest.split_at_checked(usize::try_from(argument).ok()?)?;
            to.extend(text);
            Some(rest)
        }
        4 => (0..argument).try_fold(rest, |rest, _| put_item(to, rest)),
        5 => put_entries(to, rest, argument),
        6 => put_item(to, rest),
        _ => Some(rest),
    }
}

/// [`put_item`] of what has no head of ours: an array or a map of indefinite length, or a float.
fn put_other<'b>(to: &mut Vec<u8>, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let (first, mut rest) = bytes.split_first()?;
    let length = match first {
        0xf9 => 2,
        0xfa => 4,
        0xfb => 8,
        0x9f | 0xbf => {
            let (mut items, mut count) = (Vec::new(), 0);
            while rest.first() != Some(&BREAK) {
                rest = put_item(&mut items, rest)?;
                count += 1;
            }
            if *first == 0xbf {
                put_head(to, 5, count / 2);
                put_entries(to, &items, count / 2)?;
            } else {
                put_head(to, 4, count);
                to.extend(items);
            }
            return rest.get(1..);
        }
        _ => return None,
    };
    let (float, rest) = bytes.split_at_checked(1 + length)?;
    to.extend(float);
    Some(rest)
}

/// Appends the entries of a map in the bytewise order of their encoded keys.
fn put_entries<'b>(to: &mut Vec<u8>, mut bytes: &'b [u8], count: u64) -> Option<&'b [u8]> {
    let mut entries = Vec::new();
    for _ in 0..count {
        let start = to.len();
        bytes = put_item(to, bytes)?;
        let key = start..to.len();
        bytes = put_item(to, bytes)?;
        entries.push((key, to.len()));
    }
    if !entries.is_sorted_by(|(one, _), (other, _)| to[one.clone()] <= to[other.clone()]) {
        let start = entries.first().map_or(to.len(), |(key, _)| key.start);
        let unsorted = to.split_off(start);
        let at = |key: &Range<usize>| key.start - start..key.end - start;
        entries.sort_by(|(one, _), (other, _)| unsorted[at(one)].cmp(&unsorted[at(other)]));
        entries.iter().for_each(|(key, end)| to.extend(&unsorted[key.start - start..end - start]));
    }
    Some(bytes)
}

/// What follows the first item, if that is in its one encoding: shortest heads, definite lengths, no floats, no tags, and every map strictly ascending. It is read from bytes, since to
/// encode a tree once more takes as long as to decode it. Nested no deeper than what was decoded before.
fn after_item(bytes: &[u8]) -> Option<&[u8]> {
    let (major, argument, rest) = head(bytes)?;
    match major {
        0 | 1 => Some(rest),
        2 | 3 => rest.get(usize::try_from(argument).ok()?..),
        4 => (0..argument).try_fold(rest, |rest, _| after_item(rest)),
        5 => {
            let mut last: Option<&[u8]> = None;
            (0..argument).try_fold(rest, |rest, _| {
                let value = after_item(rest)?;
                let key = rest.get(..rest.len() - value.len())?;
                let ascending = last.is_none_or(|last| last < key);
                last = Some(key);
                if ascending { after_item(value) } else { None }
            })
        }
        // false, true, null
        7 if (20..=22).contains(&argument) => Some(rest),
        _ => None,
    }
}

/// Major type, argument and what follows, if the argument is in its shortest form (RFC 8949, section 3).
pub(crate) fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (major, small) = (first >> 5, first & 31);
    let (length, least) = match small {
        0..=23 => return Some((major, u64::from(small), rest)),
        24 => (1, 24),
        25 => (2, 1 << 8),
        26 => (4, 1 << 16),
        27 => (8, 1 << 32),
        _ => return None,
    };
    let (argument, rest) = rest.split_at_checked(length)?;
    let argument = argument.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    // Longer forms of major type 7 are floats and simple values that we do not have.
    (argument >= least && major != 7).then_some((major, argument, rest))
}

/// Appends a head in its shortest form.
pub(crate) fn put_head(bytes: &mut Vec<u8>, major: u8, argument: u64) {
    let long = argument.to_be_bytes();
    let (small, length) = match argument {
        0..24 => return bytes.push(major << 5 | long[7]),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    bytes.push(major << 5 | small);
    bytes.extend(&long[8 - length..]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

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
                entries.sort_by(|(one, _), (other, _)| match (one, other) {
                    // As their encodings compare: the head of a longer text is the greater.
                    (Value::Text(one), Value::Text(other)) => (one.len(), one).cmp(&(other.len(), other)),
                    _ => encode(one).cmp(&encode(other)),
                });
            }
            _ => {}
        }
    }

    /// [`to_canonical`] by way of a tree.
    fn by_tree<T: Serialize>(value: &T) -> Vec<u8> {
        let mut tree = Value::serialized(value).expect("it serializes");
        sort(&mut tree);
        encode(&tree)
    }

    /// What serde writes in other orders and lengths than ours.
    #[derive(serde::Serialize)]
    struct Wild {
        zeta: Option<bool>,
        #[serde(flatten)]
        rest: std::collections::HashMap<String, Vec<i64>>,
        alpha: (u8, i128, f64),
        kind: Kind,
    }

    #[derive(serde::Serialize)]
    enum Kind {
        Unit,
        New(serde_bytes::ByteBuf),
        Tuple(u8, String),
        Struct { b: u64, aa: Option<()>, a: std::collections::HashMap<i64, Wide> },
    }

    #[derive(Debug, Clone)]
    struct Wide(Vec<u8>);

    impl Serialize for Wide {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut items = serializer.serialize_seq(None)?;
            self.0.iter().try_for_each(|item| items.serialize_element(&BTreeMap::from([("a long key", *item), ("b", 2)])))?;
            items.end()
        }
    }

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
            assert!(said.contains(expected) && !said.contains("SECRET"), "{expected}: {said}");
        }
    }

    #[test]
    fn map_keys_are_sorted_by_their_encoding() {
        let map = BTreeMap::from([("aa", 1), ("b", 2)]);
        assert_eq!(to_canonical(&map), [0xa2, 0x61, b'b', 2, 0x62, b'a', b'a', 1]);
        let long = |first: char, length: usize| first.to_string() + &"m".repeat(length - 1);
        let lengths = [1, 2, 23, 24, 25, 255, 256, 257, 65_536];
        let keys: BTreeMap<String, u8> = ['a', 'z', '\u{e9}'].into_iter().flat_map(|first| lengths.map(|length| (long(first, length), 0))).collect();
        assert_eq!(from_canonical::<BTreeMap<String, u8>>(&to_canonical(&keys)).unwrap(), keys);
        let mixed = Value::Map(
            [Value::Text("a".into()), Value::Bytes(vec![9]), Value::Integer((-1).into()), Value::Integer(500.into())].map(|key| (key, Value::Null)).into(),
        );
        assert_eq!(tree(&to_canonical(&mixed)).map(|_| ()), Ok(()));
    }

    /// The same, told by trees: plain, and encoded again to the same bytes.
    fn encodes_back(bytes: &[u8]) -> bool {
        fn is_plain(tree: &Value) -> bool {
            match tree {
                Value::Array(items) => items.iter().all(is_plain),
                Value::Map(entries) => {
                    entries.windows(2).all(|pair| encode(&pair[0].0) < encode(&pair[1].0))
                        && entries.iter().all(|(key, value)| is_plain(key) && is_plain(value))
                }
                Value::Float(_) | Value::Tag(..) => false,
                _ => true,
            }
        }
        let mut rest = bytes;
        let tree = ciborium::de::from_reader_with_recursion_limit::<Value, _>(&mut rest, MAX_DEPTH);
        tree.is_ok_and(|tree| rest.is_empty() && is_plain(&tree) && encode(&tree) == bytes)
    }

    /// Items of every kind, in encodings good and bad.
    fn item() -> impl Strategy<Value = Vec<u8>> {
        let head = |majors: std::ops::Range<u8>| {
            (majors, prop_oneof![0u64..30, 200u64..300, 65_000u64..66_000, 4_294_967_000u64..4_294_968_000, any::<u64>()], 0u8..12).prop_map(
                |(major, argument, form)| {
                    let mut bytes = Vec::new();
                    match form {
                        0 => bytes.extend([major << 5 | 24, argument as u8]),
                        1 => bytes.extend([&[major << 5 | 25][..], &(argument as u16).to_be_bytes()].concat()),
                        2 => bytes.extend([&[major << 5 | 26][..], &(argument as u32).to_be_bytes()].concat()),
                        3 => bytes.extend([&[major << 5 | 27][..], &argument.to_be_bytes()].concat()),
                        _ => put_head(&mut bytes, major, argument),
                    }
                    bytes
                },
            )
        };
        let text = (2u8..4, "[a-c]{0,3}", any::<bool>()).prop_map(|(major, text, long)| {
            let mut bytes = Vec::new();
            if long && major == 3 {
                bytes.extend([0x78, text.len() as u8])
            } else {
                put_head(&mut bytes, major, text.len() as u64)
            }
            bytes.extend(text.as_bytes());
            bytes
        });
        let leaf = prop_oneof![8 => head(0..2), 6 => text, 3 => (0xf0u8..=0xff).prop_map(|byte| vec![byte]), 1 => head(7..8), 1 => Just(vec![0x9f, 0xff])];
        leaf.prop_recursive(4, 24, 6, |inner| {
            (prop_oneof![5 => Just(4u8), 5 => Just(5u8), 1 => Just(6u8)], proptest::collection::vec(inner, 0..6), any::<bool>()).prop_map(
                |(major, mut items, sorted)| {
                    if major == 5 {
                        items.truncate(items.len() / 2 * 2);
                        if sorted {
                            let mut pairs: Vec<_> = items.chunks(2).map(<[Vec<u8>]>::to_vec).collect();
                            pairs.sort();
                            items = pairs.concat();
                        }
                    }
                    let mut bytes = Vec::new();
                    put_head(&mut bytes, major, if major == 5 { items.len() as u64 / 2 } else { items.len() as u64 });
                    bytes.extend(items.concat());
                    bytes
                },
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn to_read_the_bytes_and_to_encode_them_again_say_the_same(bytes in item(), cut in 0usize..40) {
            prop_assert_eq!(tree(&bytes).is_ok(), encodes_back(&bytes));
            let short = &bytes[..bytes.len().saturating_sub(cut / 8)];
            prop_assert_eq!(tree(short).is_ok(), encodes_back(short));
        }

        #[test]
        fn the_same_of_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            prop_assert_eq!(tree(&bytes).is_ok(), encodes_back(&bytes));
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_encodes_back_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(tree) = tree(&bytes) {
                prop_assert_eq!(to_canonical(&tree), bytes);
            }
        }

        #[test]
        fn bytes_put_in_order_are_those_of_a_sorted_tree(
            rest in proptest::collection::hash_map("[a-z]{1,30}", proptest::collection::vec(any::<i64>(), 0..4), 0..30),
            numbers in (any::<u8>(), any::<i128>(), any::<f64>(), any::<u64>()),
            text in ".{0,40}",
            wide in proptest::collection::hash_map(any::<i64>(), proptest::collection::vec(any::<u8>(), 0..300).prop_map(Wide), 0..5),
            which in 0u8..4,
        ) {
            let kind = match which {
                0 => Kind::Unit,
                1 => Kind::New(serde_bytes::ByteBuf::from(text.into_bytes())),
                2 => Kind::Tuple(numbers.0, text),
                _ => Kind::Struct { b: numbers.3, aa: None, a: wide },
            };
            let wild = Wild { zeta: (which > 1).then_some(which > 2), rest, alpha: (numbers.0, numbers.1, numbers.2), kind };
            prop_assert_eq!(to_canonical(&wild), by_tree(&wild));
        }

        #[test]
        fn values_come_back(map in proptest::collection::btree_map(".{0,12}", any::<(i64, Vec<u8>)>(), 0..8)) {
            let bytes = to_canonical(&map);
            prop_assert_eq!(&from_known::<BTreeMap<String, (i64, Vec<u8>)>>(&bytes).unwrap(), &map);
            prop_assert_eq!(from_canonical::<BTreeMap<String, (i64, Vec<u8>)>>(&bytes).unwrap(), map);
        }
    }
}
