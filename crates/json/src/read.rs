//! Reads typed values from a tree, as serde_json reads them from its own.

use std::borrow::Cow;
use std::slice;

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, Unexpected, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Error;

use crate::Json;

impl Json<'_> {
    fn unexpected(&self, expected: &dyn Expected) -> Error {
        let found = match self {
            Self::Null => Unexpected::Unit,
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Unsigned(value) => Unexpected::Unsigned(*value),
            Self::Signed(value) => Unexpected::Signed(*value),
            Self::Float(value) => Unexpected::Float(*value),
            Self::Text(text) => Unexpected::Str(text),
            Self::Array(_) => Unexpected::Seq,
            Self::Object(_) => Unexpected::Map,
        };
        Error::invalid_type(found, expected)
    }
}

type Member<'a> = (Cow<'a, str>, Json<'a>);

fn members<'de>(fields: &'de [Member<'_>]) -> MapDeserializer<'de, impl Iterator<Item = (BorrowedStrDeserializer<'de, Error>, &'de Json<'de>)>, Error> {
    MapDeserializer::new(fields.iter().map(|(name, value)| (BorrowedStrDeserializer::new(name), value)))
}

fn items<'de>(items: &'de [Json<'_>]) -> SeqDeserializer<slice::Iter<'de, Json<'de>>, Error> {
    SeqDeserializer::new(items.iter())
}

impl<'de> IntoDeserializer<'de, Error> for &'de Json<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Json<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Json::Null => visitor.visit_unit(),
            Json::Bool(value) => visitor.visit_bool(*value),
            Json::Unsigned(value) => visitor.visit_u64(*value),
            Json::Signed(value) => visitor.visit_i64(*value),
            Json::Float(value) => visitor.visit_f64(*value),
            Json::Text(text) => visitor.visit_borrowed_str(text),
            Json::Array(values) => {
                let mut values = items(values);
                let read = visitor.visit_seq(&mut values)?;
                values.end()?;
                Ok(read)
            }
            Json::Object(fields) => {
                let mut fields = members(fields);
                let read = visitor.visit_map(&mut fields)?;
                fields.end()?;
                Ok(read)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self, Json::Null) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        match self {
            Json::Text(text) => visitor.visit_enum(Variant { name: text, value: None }),
            Json::Object(fields) => match &fields[..] {
                [(name, value)] => visitor.visit_enum(Variant { name, value: Some(value) }),
                _ => Err(Error::invalid_value(Unexpected::Map, &"map with a single key")),
            },
            other => Err(other.unexpected(&"string or map")),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // A derived visitor would take a number for the place of a variant.
        match self {
            Json::Text(text) => visitor.visit_borrowed_str(text),
            other => Err(other.unexpected(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
    }
}

/// An enum: its variant's name alone, or an object of one member.
struct Variant<'de> {
    name: &'de str,
    value: Option<&'de Json<'de>>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Inside<'de>;

    fn variant_seed<S: serde::de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Inside<'de>), Error> {
        Ok((seed.deserialize(BorrowedStrDeserializer::new(self.name))?, Inside(self.value)))
    }
}

/// What stands in a variant.
struct Inside<'de>(Option<&'de Json<'de>>);

impl<'de> Inside<'de> {
    fn value(self, expected: &str) -> Result<&'de Json<'de>, Error> {
        self.0.ok_or_else(|| Error::invalid_type(Unexpected::UnitVariant, &expected))
    }
}

impl<'de> VariantAccess<'de> for Inside<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.0 {
            None | Some(Json::Null) => Ok(()),
            Some(value) => Err(value.unexpected(&"unit")),
        }
    }

    fn newtype_variant_seed<S: serde::de::DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.value("newtype variant")?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        match self.value("tuple variant")? {
            values @ Json::Array(_) => values.deserialize_any(visitor),
            other => Err(other.unexpected(&"tuple variant")),
        }
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        match self.value("struct variant")? {
            fields @ Json::Object(_) => fields.deserialize_any(visitor),
            other => Err(other.unexpected(&"struct variant")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use serde_json::Value;

    use crate::parse;

    /// One of everything that serde derives and a typed model uses.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "a")]
    enum Tagged {
        #[serde(rename = "x")]
        Plain(Plain),
        #[serde(rename = "y")]
        Empty,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Plain {
        b: Option<f64>,
        c: Option<Vec<Option<Choice>>>,
        d: Option<Wrapped>,
        #[serde(flatten)]
        choice: Option<Choice>,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Choice {
        #[serde(rename = "x")]
        Nothing,
        #[serde(rename = "y")]
        Text(String),
        #[serde(rename = "e")]
        Pair(u8, i64),
        #[serde(rename = "f")]
        Fields { a: bool },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped(u64);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        a: (i8, String),
        b: (),
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (-2i8..3).prop_map(Value::from),
            prop_oneof!["[xy]", ".{0,4}"].prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-fxy]", inner, 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Reads a type from our tree and from serde_json's; errors may differ in their words.
    fn same<T: for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(text: &str, value: &Value) {
        let json = parse(text.as_bytes()).expect("a tree");
        assert_eq!(T::deserialize(&json).ok(), T::deserialize(value).ok(), "{text}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn a_type_is_read_as_serde_json_reads_it(mut value in json(), tag in prop::option::of("[xyz]")) {
            if let (Value::Object(fields), Some(tag)) = (&mut value, tag) {
                fields.insert("a".to_owned(), tag.into());
            }
            let text = value.to_string();
            let value: Value = serde_json::from_str(&text).expect("JSON");
            same::<Value>(&text, &value);
            same::<Tagged>(&text, &value);
            same::<Plain>(&text, &value);
            same::<Choice>(&text, &value);
            same::<Wrapped>(&text, &value);
            same::<Strict>(&text, &value);
            same::<Vec<Option<Choice>>>(&text, &value);
            same::<BTreeMap<String, Option<Tagged>>>(&text, &value);
        }
    }
}
