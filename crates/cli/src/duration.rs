//! Durations as they are typed: `500ms`, `30s`, `2m`, `1h`.

use std::time::Duration;

/// Longest duration: a week.
const MOST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Reads a duration; it is more than nothing and at most a week.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a duration is a number with a unit: 500ms, 30s, 2m or 1h".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a duration begins with a number: 500ms, 30s, 2m or 1h".to_owned())?;
    match number.checked_mul(milliseconds).map(Duration::from_millis) {
        Some(Duration::ZERO) => Err("a duration is more than nothing".to_owned()),
        Some(duration) if duration <= MOST => Ok(duration),
        _ => Err("a duration is at most a week".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_needed_and_known() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["", "30", "s", "-1s", "1.5s", "30 s", "30S", "0s", "200h", "99999999999999999999s", "18446744073709551615h", "३s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_within_bounds(text in any::<String>(), number in 0_u64..1_000_000, unit in "ms|s|m|h") {
            for text in [text, format!("{number}{unit}")] {
                if let Ok(duration) = parse(&text) {
                    prop_assert!(duration > Duration::ZERO && duration <= MOST);
                }
            }
        }
    }
}
