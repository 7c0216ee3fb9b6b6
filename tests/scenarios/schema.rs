//! Checks answers against `schemas/cli`. Knows the part of JSON Schema 2020-12 that those files use, and refuses to guess at anything else.

use std::path::Path;

use serde_json::{Map, Value};

/// Which schema the answer to a command follows (schemas/cli/README.md).
fn schema_of(args: &[&str]) -> Option<&'static str> {
    Some(match (args.first().copied()?, args.get(1).copied().unwrap_or_default()) {
        ("init", _) => "init",
        ("recover", _) => "recovered",
        ("card", _) => "card",
        ("peer", "add" | "remove") => "peer",
        ("peer", "list") => "peers",
        ("import", _) => "import",
        ("records", "list") => "records",
        ("records", "export") => "export",
        ("records", "sealed") | ("key", "export") | ("ledger", "export") | ("consent", "invitation") => "written",
        ("consent", "preview") => "preview",
        ("consent", "grant" | "show" | "revoke" | "import") => "grant",
        ("consent", "list") => "grants",
        ("ledger", "log") => "log",
        ("ledger", "verify") => "verified",
        ("audit", _) => "audit",
        ("sync", _) => "synced",
        ("status", _) => "status",
        ("doctor", _) => "doctor",
        ("demo", _) => "demo",
        _ => return None,
    })
}

/// Fails unless the answer to a command is as its schema says.
pub(crate) fn check_answer(args: &[&str], answer: &Value) {
    let name = schema_of(args).unwrap_or_else(|| panic!("no schema for {args:?}"));
    check(name, answer);
}

/// Fails unless the value is as the schema says.
pub(crate) fn check(name: &str, value: &Value) {
    if let Err(why) = valid(&load(name), value, name) {
        panic!("not as schemas/cli/{name}.schema.json says: {why}\n{value}");
    }
}

fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/cli").join(format!("{name}.schema.json"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn valid(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Err(format!("{at}: the schema is no object")) };
    for (keyword, rule) in schema {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" => true,
            "type" => one_or_many(rule).any(|kind| is_a(value, kind)),
            "enum" => rule.as_array().is_some_and(|allowed| allowed.contains(value)),
            "const" => rule == value,
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap_or_default(), text)),
            "format" => rule == "date-time" && value.as_str().is_none_or(is_instant),
            "minimum" => value.as_f64().is_none_or(|number| rule.as_f64().is_some_and(|least| number >= least)),
            "minLength" => value.as_str().is_none_or(|text| rule.as_u64().is_some_and(|least| text.chars().count() as u64 >= least)),
            "maxLength" => value.as_str().is_none_or(|text| rule.as_u64().is_some_and(|most| text.chars().count() as u64 <= most)),
            "required" => value.as_object().is_none_or(|object| one_or_many(rule).all(|name| object.contains_key(name))),
            "properties" | "additionalProperties" => {
                if let Some(object) = value.as_object() {
                    members(schema, object, at)?;
                }
                true
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    valid(rule, item, &format!("{at}[{index}]"))?;
                }
                true
            }
            "$ref" => {
                let name = rule.as_str().and_then(|name| name.strip_prefix("urn:chartmesh:schema:cli:")).ok_or_else(|| format!("{at}: {rule}"))?;
                valid(&load(name), value, at)?;
                true
            }
            other => return Err(format!("{at}: this test does not know the keyword {other}")),
        };
        if !holds {
            return Err(format!("{at}: {keyword} is {rule}"));
        }
    }
    Ok(())
}

fn members(schema: &Map<String, Value>, object: &Map<String, Value>, at: &str) -> Result<(), String> {
    let known = schema.get("properties").and_then(Value::as_object);
    for (name, value) in object {
        let inside = format!("{at}.{name}");
        match (known.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
            (Some(rule), _) => valid(rule, value, &inside)?,
            (None, Some(Value::Bool(false))) => return Err(format!("{inside} is not in the schema")),
            (None, Some(rule @ Value::Object(_))) => valid(rule, value, &inside)?,
            (None, _) => {}
        }
    }
    Ok(())
}

fn one_or_many(rule: &Value) -> impl Iterator<Item = &str> {
    let many = rule.as_array().map(Vec::as_slice).unwrap_or_else(|| std::slice::from_ref(rule));
    many.iter().filter_map(Value::as_str)
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

/// The patterns that the schemas use, by name.
fn matches(pattern: &str, text: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    match pattern {
        "^[0-9a-f]{64}$" => text.len() == 64 && hex(text),
        "^[0-9a-f]{32}$" => text.len() == 32 && hex(text),
        "^([0-9a-f]{2})+$" => !text.is_empty() && text.len().is_multiple_of(2) && hex(text),
        "^([a-z]+ ){23}[a-z]+$" => {
            let words: Vec<&str> = text.split(' ').collect();
            words.len() == 24 && words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        }
        "^chartmesh:[A-Za-z0-9_-]+$" => {
            let rest = text.strip_prefix("chartmesh:").unwrap_or_default();
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        }
        other => panic!("this test does not know the pattern {other}"),
    }
}

/// RFC 3339, in UTC.
fn is_instant(text: &str) -> bool {
    let shape = "0000-00-00T00:00:00Z";
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(|(byte, like)| if like == b'0' { byte.is_ascii_digit() } else { byte == like })
}

#[test]
fn the_checker_tells_right_from_wrong() {
    let good = serde_json::json!({"file": "/a", "bytes": 1});
    check("written", &good);
    for bad in [
        serde_json::json!({"file": "/a"}),
        serde_json::json!({"file": "/a", "bytes": -1}),
        serde_json::json!({"file": "/a", "bytes": 1, "more": 2}),
        serde_json::json!([]),
    ] {
        assert!(valid(&load("written"), &bad, "written").is_err(), "{bad}");
    }
}
