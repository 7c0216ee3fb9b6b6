//! Whether one limit of a rule holds for a request and a record, <https://hl7.org/fhir/R4/consent-definitions.html>.
//!
//! Each answers for certain, or (`wary`) whether it may: what a permit says must be certain, and what a deny says is followed
//! when it may be meant. The values of one field are alternatives.

use chartmesh_consent::Request;
use chartmesh_records::ResourceFacts;
use serde_json::Value;

use crate::{
    codes::{self, ACT_CODE, ACT_REASON, CONFIDENTIALITY, LEVELS, OWN_CATEGORY, OWN_SENSITIVITY},
    dates::{Date, within},
    reading::{Field, Limit, bounds, coding, reference},
    references::{Name, is_one_of},
};

pub(crate) fn holds(limit: &Limit, wary: bool, request: &Request, record: &ResourceFacts) -> bool {
    let value = &limit.value;
    match limit.field {
        Field::Period => {
            let (start, end) = bounds(value);
            start.is_none_or(|start| start.begins() <= request.now) && end.is_none_or(|end| request.now < end.over())
        }
        Field::DataPeriod => {
            let (start, end) = bounds(value);
            record.date.as_deref().and_then(Date::read).map_or(wary, |date| within(date, start, end, wary))
        }
        Field::PeriodOfData => {
            let (start, end) = bounds(value);
            let [start, end] = [start.map(Date::begins), end.map(|end| end.over() - 1)].map(|second| second.map(Date::at));
            record.date.as_deref().and_then(Date::read).map_or(wary, |date| within(date, start, end, wary))
        }
        Field::Action => any_code(value, |_, code| code == action_code(request) || (wary && code == "disclose" && action_code(request) == "access")),
        Field::Purpose => any_code(value, |system, code| has_purpose((system, code), request, wary)),
        Field::Label => label(value, wary, record),
        Field::Class => any_code(value, |system, code| code == if system == OWN_CATEGORY { record.category.as_str() } else { &record.resource_type }),
        Field::Code => any_code(value, |system, code| {
            let same = |found: &str| found == system || (wary && (found.is_empty() || system.is_empty()));
            record.codes.iter().any(|found| found.code == code && same(&found.system))
        }),
        Field::Recipient => {
            let known: Vec<&str> = std::iter::once(&request.requester).chain(&request.acts_for).map(String::as_str).collect();
            any_name(value, |named| is_one_of(named, &known, wary))
        }
        Field::Author => any_name(value, |named| wrote(named, record, wary)),
        Field::Custodian => any_name(value, |named| {
            // An organisation keeps what it wrote.
            let keeps = |who: &String| Name::of(who).is(Name::of(named), wary);
            record.authors.iter().any(keeps) || request.custodian.as_ref().map_or(wary, keeps)
        }),
        Field::Data => values(value).any(|data| names_record(data, record, wary)),
    }
}

/// What a rule without `action` is about: everything if it denies; if it permits, to read the records and to work with them.
pub(crate) fn without_action(permits: bool, request: &Request) -> bool {
    !permits || matches!(action_code(request), "access" | "use")
}

fn values(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn any_code(value: &Value, holds: impl Fn(&str, &str) -> bool) -> bool {
    values(value).filter_map(|one| coding(one).ok()).any(|(system, code)| holds(system, code))
}

fn any_name(value: &Value, holds: impl Fn(&str) -> bool) -> bool {
    values(value).filter_map(Value::as_str).any(holds)
}

fn action_code(request: &Request) -> &'static str {
    use chartmesh_consent::Action::{Access, Collect, Correct, Disclose, KeepSealed, Use};
    match request.action {
        Collect => "collect",
        Access => "access",
        Use => "use",
        Disclose => "disclose",
        Correct => "correct",
        KeepSealed => "keep-sealed",
    }
}

/// A request for any purpose at all may be for this one.
fn has_purpose((system, code): (&str, &str), request: &Request, wary: bool) -> bool {
    let asked = (request.purpose.system.as_str(), request.purpose.code.as_str());
    (system, code) == (ACT_REASON, "PurposeOfUse")
        || (system, code) == asked
        || (system == asked.0 && system == ACT_REASON && codes::reason_within(code, asked.1))
        || (wary && asked == (ACT_REASON, "PurposeOfUse"))
}

fn label(value: &Value, wary: bool, record: &ResourceFacts) -> bool {
    // One of ours is written with the standard code for it, and both say what ours says.
    let codings = || values(value).filter_map(|one| coding(one).ok());
    let translations: Vec<&str> = codings().filter(|(system, _)| *system == OWN_SENSITIVITY).filter_map(|(_, code)| codes::standard(code)).collect();
    any_code(value, |system, code| match system {
        OWN_SENSITIVITY if wary && code != "general" => record.sensitivities.iter().any(|kind| kind.as_str() == code),
        OWN_SENSITIVITY => most_restrictive(record) == code,
        CONFIDENTIALITY if code.len() == 1 && LEVELS.contains(code) => match level(record) {
            // A permit is for that level and lower, a deny for it and higher.
            Some(level) => {
                if wary {
                    LEVELS.find(code) <= Some(level)
                } else {
                    LEVELS.find(code) >= Some(level)
                }
            }
            None => wary,
        },
        ACT_CODE if translations.contains(&code) => false,
        _ if wary => is_denied_label(system, code, record),
        _ => is_permitted_label(system, code, record),
    })
}

fn labels(record: &ResourceFacts) -> impl Iterator<Item = (&str, &str)> {
    record.security.iter().chain(&record.labels).map(|label| (label.system.as_str(), label.code.as_str()))
}

fn level(record: &ResourceFacts) -> Option<usize> {
    labels(record).filter(|(system, code)| *system == CONFIDENTIALITY && code.len() == 1).filter_map(|(_, code)| LEVELS.find(code)).max()
}

pub(crate) fn most_restrictive(record: &ResourceFacts) -> &'static str {
    record.sensitivities.iter().map(|kind| kind.as_str()).max_by_key(|kind| codes::rank(kind)).unwrap_or("general")
}

/// A permit for a label is for records that carry it or one below it, unless they are kept apart for something else that is more restrictive.
fn is_permitted_label(system: &str, code: &str, record: &ResourceFacts) -> bool {
    let kind = most_restrictive(record);
    let of_its_kind = if system == ACT_CODE && codes::is_about_any(code) { codes::is_about(code, kind) } else { kind == "general" };
    of_its_kind
        && labels(record)
            .any(|(found_system, found)| found_system == system && (found == code || (system == ACT_CODE && codes::sensitivity_within(code, found))))
}

/// A deny is also for records that carry a wider label, and for those of its kind that do not say what of it.
fn is_denied_label(system: &str, code: &str, record: &ResourceFacts) -> bool {
    let related = |found: &str| found == code || (system == ACT_CODE && (codes::meant_by(code, found) || codes::meant_by(found, code)));
    let silent = |kind: &str| !labels(record).any(|(system, found)| system == ACT_CODE && codes::is_about(found, kind));
    let unsaid = || record.sensitivities.iter().map(|kind| kind.as_str()).any(|kind| system == ACT_CODE && codes::is_about(code, kind) && silent(kind));
    labels(record).any(|(found_system, found)| found_system == system && related(found)) || unsaid()
}

/// Whether somebody wrote a record. Without an author, anybody may have.
fn wrote(named: &str, record: &ResourceFacts, wary: bool) -> bool {
    let author = |author: &String| Name::of(author).is(Name::of(named), wary);
    if record.authors.is_empty() { wary } else { record.authors.iter().any(author) }
}

fn names_record(data: &Value, record: &ResourceFacts, wary: bool) -> bool {
    let Ok(text) = reference(&data["reference"]) else { return wary };
    let named = Name::of(text);
    let itself = match named {
        Name::Resource { base, kind, id, version } => {
            let from_there = base.is_none_or(|base| record.source.as_deref().is_some_and(|source| source.trim_end_matches('/') == base));
            let of_that_version = version.is_none_or(|version| record.version.as_deref() == Some(version));
            kind == record.resource_type && id == record.id && (wary || (from_there && of_that_version))
        }
        Name::Urn(_, text) => text.rsplit_once(':').is_some_and(|(_, uuid)| record.id.eq_ignore_ascii_case(uuid)),
        _ => false,
    };
    match data["meaning"].as_str() {
        Some("instance") => itself,
        Some("authoredby") => wrote(text, record, wary),
        _ => {
            let mut links = record.authors.iter().chain(&record.encounter).chain(&record.subject);
            // Of a record, its encounter, its subject and its authors are known, and no other link.
            let may_link = wary && !matches!(named, Name::Resource { kind: "Encounter", .. });
            itself || may_link || links.any(|link| Name::of(link).is(named, wary))
        }
    }
}
