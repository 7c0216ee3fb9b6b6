//! The typed check: parse a resource with fhir-sdk, serialise it again and look for what is gone.
//!
//! What the typed model loses, it loses silently: unknown fields, and optional choice elements whose value
//! does not fit.

use chartmesh_json::{Json, parse};
use fhir_sdk::r4b::resources::Resource;
use serde::{Deserialize, Serialize};

use crate::beside::{Compared, Step, compare};

/// What the typed R4B model makes of a resource's bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Typed {
    /// Parsed, and every JSON path of the original is present after re-serialising.
    Ok,
    /// Parsed, but something of the original is gone: a missing JSON path, such as `valueQuantity.value`.
    Lossy(String),
    /// Not a resource to the typed model: the reason, without any value of the data.
    Failed(String),
}

/// Resources within resources (contained, entry, parameter) that are handed to the typed model. Its stack
/// frames per resource are large; FHIR itself forbids contained in contained.
const MAX_RESOURCES: usize = 4;
/// Longest path that is reported.
const MAX_PATH: usize = 200;

/// [`check_json`] of bytes.
pub fn check(bytes: &[u8]) -> Typed {
    match parse(bytes) {
        Ok(json) => check_json(&json),
        Err(error) => Typed::Failed(error.to_string()),
    }
}

/// Reads one FHIR R4B resource and compares its paths with those of the re-serialised form. Never panics,
/// whatever it is.
pub fn check_json(original: &Json<'_>) -> Typed {
    if resources_within(original) > MAX_RESOURCES {
        return Typed::Failed("too many resources within one another".to_owned());
    }
    let resource = match Resource::deserialize(original) {
        Ok(resource) => resource,
        Err(error) => return Typed::Failed(reason(&error.to_string())),
    };
    match compare(original, &resource) {
        Compared::Whole => Typed::Ok,
        Compared::Lost(path) => Typed::Lossy(render(&path)),
        Compared::Unwritable => Typed::Failed("the typed form cannot be written again".to_owned()),
    }
}

/// How many resources are within one another, where most are.
fn resources_within(json: &Json<'_>) -> usize {
    match json {
        Json::Object(fields) => {
            let inside = fields.iter().map(|(_, inner)| resources_within(inner)).max().unwrap_or_default();
            inside + usize::from(json.get("resourceType").is_some())
        }
        Json::Array(items) => items.iter().map(resources_within).max().unwrap_or_default(),
        _ => 0,
    }
}

/// Keeps of a serde message what the model says, and nothing that the data says.
fn reason(message: &str) -> String {
    let expected = message.rfind(", expected ").map(|at| &message[at + 2..]);
    if message.starts_with("missing field `") || message.starts_with("duplicate field `") {
        shorten(message)
    } else if message.starts_with("unknown variant `") {
        "a code, or the resource type, is not one the model knows".to_owned()
    } else if let Some(expected) = expected {
        let kind = if message.starts_with("invalid type") {
            "a value has the wrong type"
        } else if message.starts_with("invalid length") {
            "a value has the wrong length"
        } else {
            "a value does not fit"
        };
        shorten(&format!("{kind}, {expected}"))
    } else {
        "a value does not have the form its type asks for".to_owned()
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_PATH).collect()
}

/// `name[0].given`: field names that could not be a FHIR element's are written as `?`, as they may be data.
fn render(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Item(index) => text.push_str(&format!("[{index}]")),
            Step::Field(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                let plain = name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                text.push_str(if plain { name } else { "?" });
            }
        }
    }
    shorten(&text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn checked(json: &Value) -> Typed {
        check(json.to_string().as_bytes())
    }

    fn observation(extra: (&str, Value)) -> Value {
        let mut json = serde_json::json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}});
        json[extra.0] = extra.1;
        json
    }

    #[test]
    fn a_plain_resource_is_ok() {
        let json = observation(("valueQuantity", serde_json::json!({"value": 750.00, "unit": "mg"})));
        assert_eq!(checked(&json), Typed::Ok);
        assert_eq!(checked(&observation(("effectiveDateTime", "2020-01-01T00:00:00+00:00".into()))), Typed::Ok);
    }

    #[test]
    fn what_the_model_drops_is_named() {
        let text_value = observation(("valueQuantity", serde_json::json!({"value": "12.5"})));
        assert_eq!(checked(&text_value), Typed::Lossy("valueQuantity".to_owned()));
        assert_eq!(checked(&observation(("invented", true.into()))), Typed::Lossy("invented".to_owned()));
        let nested = observation(("note", serde_json::json!([{"text": "a"}, {"text": "b", "mood": "c"}])));
        assert_eq!(checked(&nested), Typed::Lossy("note[1].mood".to_owned()));
    }

    #[test]
    fn a_field_name_that_may_be_data_is_not_repeated() {
        assert_eq!(checked(&observation(("Maria has it", true.into()))), Typed::Lossy("?".to_owned()));
    }

    #[test]
    fn a_failure_says_why_without_the_value() {
        let cases = [
            (serde_json::json!({"resourceType": "Observation", "status": "SECRET", "code": {}}), None),
            (serde_json::json!({"resourceType": "SECRET"}), None),
            (serde_json::json!({"resourceType": "Patient", "name": "SECRET, expected SECRET"}), Some("expected")),
            (serde_json::json!({"resourceType": "Patient", "birthDate": "SECRET"}), None),
            (serde_json::json!({"resourceType": "Observation", "status": "final"}), Some("missing field `code`")),
            (serde_json::json!({"id": "SECRET"}), Some("missing field `resourceType`")),
        ];
        for (json, part) in cases {
            let Typed::Failed(reason) = checked(&json) else { panic!("not failed: {json}") };
            assert!(!reason.contains("SECRET"), "{reason}");
            assert!(reason.contains(part.unwrap_or_default()), "{reason}");
        }
        assert_eq!(check(b"{\"resourceType\":"), Typed::Failed("it is not JSON: it ends early".to_owned()));
    }

    #[test]
    fn deep_input_is_refused_before_the_typed_model_recurses() {
        let nest = |open: &str, close: &str, times: usize| format!("{}{{\"resourceType\":\"Basic\",\"code\":{{}}}}{}", open.repeat(times), close.repeat(times));
        for (open, close) in
            [("{\"resourceType\":\"Patient\",\"contained\":[", "]}"), ("{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"resource\":", "}]}")]
        {
            assert_eq!(check(nest(open, close, 3).as_bytes()), Typed::Ok);
            assert!(matches!(check(nest(open, close, 12).as_bytes()), Typed::Failed(_)));
            assert!(matches!(check(nest(open, close, 4000).as_bytes()), Typed::Failed(_)));
        }
        let extension =
            |times: usize| format!("{{\"resourceType\":\"Patient\",\"extension\":{}[]{}}}", "[{\"url\":\"x\",\"extension\":".repeat(times), "}]".repeat(times));
        assert!(matches!(check(extension(30).as_bytes()), Typed::Ok | Typed::Lossy(_)));
        assert!(matches!(check(extension(33).as_bytes()), Typed::Failed(_)));
    }

    fn json(depth: u32) -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), ".{0,8}".prop_map(Value::from)];
        let name = prop_oneof![
            prop::sample::select(vec!["resourceType", "name", "contained", "extension", "valueQuantity", "code", "status", "text"]).prop_map(str::to_owned),
            ".{0,6}",
        ];
        leaf.prop_recursive(depth, 48, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.clone(), inner, 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            check(&bytes);
        }

        #[test]
        fn any_json_gets_an_answer(mut value in json(6), kind in prop::sample::select(vec!["Patient", "Observation", "Bundle", "Consent"])) {
            if let Value::Object(fields) = &mut value {
                fields.insert("resourceType".to_owned(), kind.into());
            }
            checked(&value);
        }

        #[test]
        fn an_unknown_field_is_never_overlooked(name in "zz[a-z]{1,8}", kind in prop::sample::select(vec!["Patient", "Location", "Schedule"])) {
            let mut json = serde_json::json!({"resourceType": kind, "actor": [{"display": "x"}]});
            if kind != "Schedule" { json.as_object_mut().expect("an object").remove("actor"); }
            json[name.as_str()] = serde_json::json!("x");
            prop_assert_eq!(checked(&json), Typed::Lossy(name));
        }
    }
}
