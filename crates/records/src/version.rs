//! Which of two versions of a resource is the newer.

use std::cmp::Ordering;

use crate::ResourceFacts;

/// Whether `a` supersedes `b`: the same resource ([`ResourceFacts::key`]) with other content, and newer by
/// `meta.versionId` (compared as numbers, where both are), else by `meta.lastUpdated`, else by content:
/// the greater hash, which is arbitrary but the same on every node.
pub fn supersedes(a: &ResourceFacts, b: &ResourceFacts) -> bool {
    a.key() == b.key() && a.hash != b.hash && newer(a, b) == Ordering::Greater
}

fn newer(a: &ResourceFacts, b: &ResourceFacts) -> Ordering {
    let number = |facts: &ResourceFacts| facts.version.as_ref().and_then(|version| version.parse::<u64>().ok());
    let versions = match (number(a), number(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => Ordering::Equal,
    };
    let moment = |facts: &ResourceFacts| facts.last_updated.as_deref().and_then(moment);
    let updates = match (moment(a), moment(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => Ordering::Equal,
    };
    versions.then(updates).then(a.hash.cmp(&b.hash))
}

/// A FHIR instant as (seconds since 1970 in UTC, nanoseconds). None if it is not one.
fn moment(text: &str) -> Option<(i64, u32)> {
    let (date, rest) = text.split_once('T')?;
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (time, zone) = rest.split_at_checked(zone_at)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = time.splitn(3, ':').map(|part| part.parse::<u32>().ok().map(i64::from));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let offset = match zone.as_bytes().first()? {
        b'Z' => 0,
        sign => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let seconds = i64::from(hours.parse::<u16>().ok()?) * 3600 + i64::from(minutes.parse::<u16>().ok()?) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
    };
    let within = (0..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 25 && minute < 60 && second < 61;
    if !within || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some((seconds, nanoseconds.parse().ok()?))
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant, days_from_civil).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Input, import};

    fn facts(version: &str, updated: &str, value: u32) -> ResourceFacts {
        let json = format!(r#"{{"resourceType":"Basic","id":"1","meta":{{"versionId":"{version}","lastUpdated":"{updated}"}},"value":{value}}}"#);
        let import = import([Input::new("one", json.into_bytes())]).expect("an import");
        import.drafts.into_iter().next().and_then(|draft| draft.resources.into_iter().next()).expect("one resource").facts
    }

    #[test]
    fn a_higher_version_then_a_later_update_then_the_content_decides() {
        let pairs = [
            (facts("10", "2020-01-01T00:00:00Z", 1), facts("9", "2021-01-01T00:00:00Z", 2)),
            (facts("a", "2020-01-01T00:00:01Z", 1), facts("b", "2020-01-01T00:00:00Z", 2)),
            (facts("1", "2020-01-01T00:00:00.5Z", 1), facts("1", "2020-01-01T02:00:00.4999+02:00", 2)),
            (facts("1", "2020-03-01T00:00:00Z", 1), facts("1", "2020-02-29T23:59:59Z", 2)),
        ];
        for (new, old) in &pairs {
            assert!(supersedes(new, old) && !supersedes(old, new), "{:?} {:?}", new.version, new.last_updated);
        }
        let (one, other) = (facts("x", "never", 1), facts("x", "never", 2));
        assert!(supersedes(&one, &other) != supersedes(&other, &one));
        assert!(!supersedes(&one, &one));
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(moment("1970-01-01T00:00:00Z"), Some((0, 0)));
        assert_eq!(moment("2000-02-29T12:00:00.25+01:00"), Some((951_822_000, 250_000_000)));
        for none in ["2000", "2000-01-01", "2000-13-01T00:00:00Z", "2000-01-01T00:00:00", "T", "2000-01-01T00:00:00.xZ"] {
            assert_eq!(moment(none), None, "{none}");
        }
    }
}
