//! One JSON value, borrowed from its bytes, read under the limits on input.
//!
//! Limits: depth 64, 250,000 nodes, 1 MiB a string except base64 in a field named `data`,
//! duplicate keys refused. A number is what serde_json makes of it: its literal stays in the bytes.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of objects and arrays.
pub const MAX_DEPTH: usize = 64;
/// Most values in one resource.
pub const MAX_NODES: usize = 250_000;
/// Longest string in bytes, except in a field named `data`.
pub const MAX_STRING: usize = 1 << 20;

/// A JSON value (RFC 8259).
pub enum Json<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer that is not negative.
    Unsigned(u64),
    /// A negative integer.
    Signed(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object, in the order of the source.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// The value of a field of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a string field of an object, if it is not empty.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Json::text).filter(|text| !text.is_empty())
    }

    /// The items of an array; a lone value counts as an array of itself.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// The items of a field: none if it is absent.
    pub fn items_of(&self, name: &str) -> &[Self] {
        self.get(name).map_or(&[], Json::items)
    }

    /// The fields of an object: none if it is something else.
    pub fn fields(&self) -> &[(Cow<'a, str>, Json<'a>)] {
        match self {
            Self::Object(fields) => fields,
            _ => &[],
        }
    }
}

/// Why bytes were not read. Says nothing of what they hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Cut off in the middle.
    #[error("it is not JSON: it ends early")]
    Ends,
    /// No JSON, from here on (both count from 1).
    #[error("it is not JSON: syntax error in line {line}, column {column}")]
    Syntax {
        /// Which line.
        line: usize,
        /// Which byte of the line.
        column: usize,
    },
    /// No UTF-8, from this byte on.
    #[error("it is not UTF-8, from its byte {0} on")]
    Encoding(usize),
    /// No 64-bit number can hold it.
    #[error("a number in line {line}, column {column} is out of range")]
    Number {
        /// Which line.
        line: usize,
        /// Which byte of the line.
        column: usize,
    },
    /// Beyond [`MAX_DEPTH`].
    #[error("it is nested more than {MAX_DEPTH} deep")]
    Depth,
    /// Beyond [`MAX_NODES`].
    #[error("it has more than {MAX_NODES} values")]
    Nodes,
    /// Beyond [`MAX_STRING`].
    #[error("a string in it is longer than {MAX_STRING} bytes")]
    Text,
    /// Two members of one object have the same name.
    #[error("a key stands twice in one object")]
    Duplicate,
}

/// Reads one JSON value.
///
/// # Errors
/// If the bytes are no JSON, or beyond a limit.
pub fn parse(bytes: &[u8]) -> Result<Json<'_>, TreeError> {
    let state = State { nodes: Cell::new(0), refused: Cell::new(None) };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Node { state: &state, depth: 0, is_data: false }.deserialize(&mut deserializer);
    let read = read.and_then(|json| deserializer.end().map(|()| json));
    read.map_err(|error| state.refused.take().unwrap_or_else(|| syntax(bytes, &error)))
}

fn syntax(bytes: &[u8], error: &serde_json::Error) -> TreeError {
    let (line, column) = (error.line(), error.column());
    match (std::str::from_utf8(bytes), error.classify()) {
        (Err(encoding), _) => TreeError::Encoding(encoding.valid_up_to()),
        (Ok(_), serde_json::error::Category::Eof) => TreeError::Ends,
        // What serde_json calls it; there is no kind to ask for.
        (Ok(_), _) if error.to_string().starts_with("number out of range") => TreeError::Number { line, column },
        (Ok(_), _) => TreeError::Syntax { line, column },
    }
}

struct State {
    nodes: Cell<usize>,
    refused: Cell<Option<TreeError>>,
}

impl State {
    fn refuse<E: serde::de::Error>(&self, why: TreeError) -> E {
        self.refused.set(Some(why));
        E::custom("limit")
    }
}

#[derive(Clone, Copy)]
struct Node<'s> {
    state: &'s State,
    depth: usize,
    is_data: bool,
}

impl Node<'_> {
    fn check_text<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        if text.len() > MAX_STRING && !self.is_data { Err(self.state.refuse(TreeError::Text)) } else { Ok(()) }
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.state.refuse(TreeError::Depth));
        }
        Ok(Self { state: self.state, depth: self.depth + 1, is_data: false })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        let nodes = self.state.nodes.get() + 1;
        if nodes > MAX_NODES {
            return Err(self.state.refuse(TreeError::Nodes));
        }
        self.state.nodes.set(nodes);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Signed(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        self.check_text(text)?;
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Json<'de>, E> {
        self.check_text(text)?;
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut fields: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            let value = map.next_value_seed(Node { is_data: name == "data", ..inner })?;
            fields.push((name, value));
        }
        if has_duplicates(&fields) {
            return Err(A::Error::custom(self.state.refuse::<A::Error>(TreeError::Duplicate)));
        }
        Ok(Json::Object(fields))
    }
}

fn has_duplicates(fields: &[(Cow<'_, str>, Json<'_>)]) -> bool {
    if fields.len() <= 16 {
        return fields.iter().enumerate().any(|(index, (name, _))| fields.iter().take(index).any(|(earlier, _)| earlier == name));
    }
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}

/// A key, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl<'de> Visitor<'de> for Key {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<TreeError> {
        parse(text.as_bytes()).err()
    }

    #[test]
    fn each_limit_holds_at_its_edge() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(refusal(&nested(MAX_DEPTH)), None);
        assert_eq!(refusal(&nested(MAX_DEPTH + 1)), Some(TreeError::Depth));
        assert_eq!(refusal(&nested(100_000)), Some(TreeError::Depth));

        let wide = |values: usize| format!("[{}1]", "1,".repeat(values - 1));
        assert_eq!(refusal(&wide(MAX_NODES - 1)), None);
        assert_eq!(refusal(&wide(MAX_NODES)), Some(TreeError::Nodes));

        let long = "x".repeat(MAX_STRING);
        assert_eq!(refusal(&format!("{{\"a\":\"{long}\"}}")), None);
        assert_eq!(refusal(&format!("{{\"a\":\"{long}x\"}}")), Some(TreeError::Text));
        assert_eq!(refusal(&format!("{{\"a\":[\"{long}\\n\"]}}")), Some(TreeError::Text));
        assert_eq!(refusal(&format!("{{\"data\":\"{long}x\"}}")), None);
    }

    #[test]
    fn a_key_may_stand_once() {
        assert_eq!(refusal(r#"{"a":1,"b":{"a":1}}"#), None);
        assert_eq!(refusal(r#"{"a":1,"b":2,"a":1}"#), Some(TreeError::Duplicate));
        assert_eq!(refusal(r#"{"a":1,"\u0061":1}"#), Some(TreeError::Duplicate));
        let many: Vec<String> = (0..40).map(|index| format!("\"k{index}\":0")).collect();
        assert_eq!(refusal(&format!("{{{}}}", many.join(","))), None);
        assert_eq!(refusal(&format!("{{{},\"k7\":1}}", many.join(","))), Some(TreeError::Duplicate));
    }

    #[test]
    fn what_is_not_json_is_said_to_be_so() {
        assert_eq!(refusal(r#"{"a":"#), Some(TreeError::Ends));
        for text in ["{]", "{} {}", "{\"a\":NaN}", "{\"a\":\"\u{1}\"}", "\u{feff}{}"] {
            assert!(matches!(refusal(text), Some(TreeError::Syntax { line: 1, .. })), "{text}");
        }
        assert_eq!(refusal("{\n \"a\": x}"), Some(TreeError::Syntax { line: 2, column: 7 }));
        assert_eq!(refusal("{\"a\":1e99999}").map(|error| matches!(error, TreeError::Number { line: 1, .. })), Some(true));
        assert_eq!(parse(b"{\"a\":\"\xff\"}").err(), Some(TreeError::Encoding(6)));
    }
}
