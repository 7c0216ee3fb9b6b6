//! A serializer that writes nothing: it walks a JSON value beside what is being serialised, and looks for
//! what the value says and the serialised form does not.
//!
//! Paths are compared, not literals: the typed model writes `750.00` as `750.0` and `+00:00` as `Z`, which
//! loses no element. What the typed model never writes (bytes, tuples) is not known here.

use std::borrow::Cow;
use std::fmt::{self, Display};

use chartmesh_json::Json;
use serde::ser::{self, Serialize};

/// One step from a value to one within it.
#[derive(Clone, Copy)]
pub(crate) enum Step<'v> {
    /// A member of an object.
    Field(&'v str),
    /// An item of an array.
    Item(usize),
}

/// What became of a comparison.
pub(crate) enum Compared<'v> {
    /// Everything that `original` says is there.
    Whole,
    /// Something is missing: the way to it.
    Lost(Vec<Step<'v>>),
    /// It cannot be serialised.
    Unwritable,
}

/// Whether everything that `original` says is there when `typed` is serialised. Stops at the first thing that is not.
pub(crate) fn compare<'v>(original: &'v Json<'v>, typed: &impl Serialize) -> Compared<'v> {
    let mut walk = Walk { path: Vec::new(), met: Vec::new(), lost: false };
    match typed.serialize(Beside { original, walk: &mut walk }) {
        Ok(()) => Compared::Whole,
        Err(Stop) if walk.lost => Compared::Lost(walk.path),
        Err(Stop) => Compared::Unwritable,
    }
}

struct Walk<'v> {
    /// Where the walk is, or where it ended.
    path: Vec<Step<'v>>,
    /// Members met so far of the objects that are open, one object after the other.
    met: Vec<&'v str>,
    lost: bool,
}

impl<'v> Walk<'v> {
    /// Goes one step, and back.
    fn within(&mut self, step: Step<'v>, inner: &'v Json<'v>, typed: &(impl Serialize + ?Sized)) -> Result<(), Stop> {
        self.path.push(step);
        typed.serialize(Beside { original: inner, walk: self })?;
        self.path.pop();
        Ok(())
    }

    fn lose<T>(&mut self) -> Result<T, Stop> {
        self.lost = true;
        Err(Stop)
    }
}

/// Whether a value says nothing at all: null, or nothing but nulls.
fn is_empty(value: &Json<'_>) -> bool {
    match value {
        Json::Null => true,
        Json::Array(items) => items.iter().all(is_empty),
        Json::Object(fields) => fields.iter().all(|(_, inner)| is_empty(inner)),
        _ => false,
    }
}

/// Ends the walk.
#[derive(Debug)]
struct Stop;

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it cannot be written")
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

struct Beside<'v, 'w> {
    original: &'v Json<'v>,
    walk: &'w mut Walk<'v>,
}

impl<'v, 'w> Beside<'v, 'w> {
    /// A string, a number or a boolean is written.
    fn scalar(self) -> Result<(), Stop> {
        match self.original {
            Json::Array(_) | Json::Object(_) if !is_empty(self.original) => self.walk.lose(),
            _ => Ok(()),
        }
    }

    /// Nothing is written.
    fn nothing(self) -> Result<(), Stop> {
        if is_empty(self.original) { Ok(()) } else { self.walk.lose() }
    }

    fn items(self) -> Result<Items<'v, 'w>, Stop> {
        match self.original {
            Json::Array(items) => Ok(Items { items, next: 0, walk: self.walk }),
            other if is_empty(other) => Ok(Items { items: &[], next: 0, walk: self.walk }),
            _ => self.walk.lose(),
        }
    }

    fn fields(self) -> Result<Fields<'v, 'w>, Stop> {
        let fields = match self.original {
            Json::Object(fields) => Some(&fields[..]),
            other if is_empty(other) => None,
            _ => return self.walk.lose(),
        };
        Ok(Fields { fields, next: None, first: self.walk.met.len(), walk: self.walk })
    }

    /// The variant of an enum with something in it: an object of one member.
    fn variant(self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Stop> {
        let mut fields = self.fields()?;
        fields.field(name, value)?;
        fields.done()
    }
}

/// An array, item by item.
struct Items<'v, 'w> {
    items: &'v [Json<'v>],
    next: usize,
    walk: &'w mut Walk<'v>,
}

impl Items<'_, '_> {
    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Stop> {
        let at = self.next;
        self.next += 1;
        self.items.get(at).map_or(Ok(()), |inner| self.walk.within(Step::Item(at), inner, value))
    }

    fn done(self) -> Result<(), Stop> {
        match self.items.iter().skip(self.next).position(|inner| !is_empty(inner)) {
            None => Ok(()),
            Some(further) => {
                self.walk.path.push(Step::Item(self.next + further));
                self.walk.lose()
            }
        }
    }
}

/// An object, member by member.
struct Fields<'v, 'w> {
    /// None if the original is empty without being an object.
    fields: Option<&'v [(Cow<'v, str>, Json<'v>)]>,
    /// The member whose name has been written and its value not yet.
    next: Option<(&'v str, &'v Json<'v>)>,
    /// Where its members begin in [`Walk::met`].
    first: usize,
    walk: &'w mut Walk<'v>,
}

impl<'v> Fields<'v, '_> {
    fn named(&self, name: &str) -> Option<(&'v str, &'v Json<'v>)> {
        self.fields?.iter().find(|(field, _)| field == name).map(|(name, inner)| (name.as_ref(), inner))
    }

    fn value(&mut self, member: Option<(&'v str, &'v Json<'v>)>, value: &(impl Serialize + ?Sized)) -> Result<(), Stop> {
        let Some((name, inner)) = member else { return Ok(()) };
        self.walk.met.push(name);
        self.walk.within(Step::Field(name), inner, value)
    }

    fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Stop> {
        self.value(self.named(name), value)
    }

    fn done(self) -> Result<(), Stop> {
        let met = self.walk.met.get(self.first..).unwrap_or_default();
        let fields = self.fields.filter(|fields| fields.len() != met.len());
        let missing = fields.and_then(|fields| fields.iter().find(|(name, inner)| !met.contains(&name.as_ref()) && !is_empty(inner)));
        self.walk.met.truncate(self.first);
        match missing {
            None => Ok(()),
            Some((name, _)) => {
                self.walk.path.push(Step::Field(name));
                self.walk.lose()
            }
        }
    }
}

macro_rules! scalars {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, _: $type) -> Result<(), Stop> {
            self.scalar()
        })*
    };
}

impl<'v, 'w> ser::Serializer for Beside<'v, 'w> {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Items<'v, 'w>;
    type SerializeTuple = ser::Impossible<(), Stop>;
    type SerializeTupleStruct = ser::Impossible<(), Stop>;
    type SerializeTupleVariant = ser::Impossible<(), Stop>;
    type SerializeMap = Fields<'v, 'w>;
    type SerializeStruct = Fields<'v, 'w>;
    type SerializeStructVariant = ser::Impossible<(), Stop>;

    scalars!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str
    );

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Stop> {
        Err(Stop)
    }

    fn serialize_none(self) -> Result<(), Stop> {
        self.nothing()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Stop> {
        self.nothing()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Stop> {
        self.nothing()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Stop> {
        self.scalar()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Stop> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(self, _: &'static str, _: u32, variant: &'static str, value: &T) -> Result<(), Stop> {
        self.variant(variant, value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'v, 'w>, Stop> {
        self.items()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Stop> {
        Err(Stop)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Stop> {
        Err(Stop)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self::SerializeTupleVariant, Stop> {
        Err(Stop)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'v, 'w>, Stop> {
        self.fields()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'v, 'w>, Stop> {
        self.fields()
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self::SerializeStructVariant, Stop> {
        Err(Stop)
    }
}

impl ser::SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.item(value)
    }

    fn end(self) -> Result<(), Stop> {
        self.done()
    }
}

impl ser::SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Stop> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Stop> {
        self.done()
    }
}

impl ser::SerializeMap for Fields<'_, '_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        let name = serde_json::to_value(key).ok().and_then(|name| name.as_str().map(str::to_owned)).ok_or(Stop)?;
        self.next = self.named(&name);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        let member = self.next.take();
        self.value(member, value)
    }

    fn end(self) -> Result<(), Stop> {
        self.done()
    }
}

#[cfg(test)]
mod tests {
    use chartmesh_json::parse;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn says_nothing(value: &Value) -> bool {
        match value {
            Value::Array(items) => items.iter().all(says_nothing),
            Value::Object(fields) => fields.values().all(says_nothing),
            other => other.is_null(),
        }
    }

    /// What is missing, found the slow way: in the form written as a tree.
    fn lost(original: &Value, again: &Value) -> bool {
        match (original, again) {
            (Value::Object(fields), Value::Object(found)) => {
                fields.iter().any(|(name, inner)| found.get(name).map_or(!says_nothing(inner), |again| lost(inner, again)))
            }
            (Value::Array(items), Value::Array(found)) => {
                items.iter().enumerate().any(|(at, inner)| found.get(at).map_or(!says_nothing(inner), |again| lost(inner, again)))
            }
            (Value::Object(_) | Value::Array(_), _) => !says_nothing(original),
            (_, Value::Null | Value::Object(_) | Value::Array(_)) => !says_nothing(original),
            _ => false,
        }
    }

    fn at<'v>(value: &'v Json<'v>, path: &[Step<'v>]) -> Option<&'v Json<'v>> {
        path.iter().try_fold(value, |value, step| match (step, value) {
            (Step::Field(name), value) => value.get(name),
            (Step::Item(at), Json::Array(items)) => items.get(*at),
            (Step::Item(_), _) => None,
        })
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i8>().prop_map(Value::from), Just(Value::from("x"))];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Two values that differ little.
    fn pair() -> impl Strategy<Value = (Value, Value)> {
        fn pruned(value: &Value, drop: &mut impl FnMut() -> bool) -> Value {
            match value {
                _ if drop() => Value::Null,
                Value::Array(items) => items.iter().map(|inner| pruned(inner, drop)).collect(),
                Value::Object(fields) => {
                    Value::Object(fields.iter().map(|(name, inner)| (name.clone(), pruned(inner, drop))).filter(|(_, inner)| !inner.is_null()).collect())
                }
                other => other.clone(),
            }
        }
        let near = (json(), prop::collection::vec(prop::bool::weighted(0.05), 64)).prop_map(|(original, drops)| {
            let mut drops = drops.into_iter();
            let again = pruned(&original, &mut || drops.next().unwrap_or_default());
            (original, again)
        });
        prop_oneof![near, (json(), json())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_is_missing_is_found_as_in_a_tree((original, again) in pair()) {
            let text = original.to_string();
            let json = parse(text.as_bytes()).expect("a tree");
            match compare(&json, &again) {
                Compared::Whole => prop_assert!(!lost(&original, &again)),
                Compared::Lost(path) => {
                    prop_assert!(lost(&original, &again));
                    prop_assert!(at(&json, &path).is_some_and(|value| !is_empty(value)));
                }
                Compared::Unwritable => prop_assert!(false, "a tree can be written"),
            }
        }
    }

    #[test]
    fn members_of_objects_side_by_side_are_told_apart() {
        let original = serde_json::json!({"a": {"x": 1, "y": 2}, "b": {"x": 1, "z": {"y": 1}}});
        let text = original.to_string();
        let json = parse(text.as_bytes()).expect("a tree");
        assert!(matches!(compare(&json, &original), Compared::Whole));
        let again = serde_json::json!({"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2, "z": {}}});
        let Compared::Lost(path) = compare(&json, &again) else { panic!("something is missing") };
        assert!(matches!(path[..], [Step::Field("b"), Step::Field("z"), Step::Field("y")]));
    }
}
