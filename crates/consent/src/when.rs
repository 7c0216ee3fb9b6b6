//! FHIR date, dateTime and instant literals: what they can mean, and how they compare.
//!
//! Data types: <https://hl7.org/fhir/R4/datatypes.html#dateTime>. A literal without a time is a span
//! of calendar days somewhere on Earth; two literals that do not settle a question leave a doubt.

use time::{Date, Month, OffsetDateTime};

use crate::{answer::Answers, policy::DataPeriod};

const DAY: i64 = 86_400;
/// Julian day number of 1970-01-01.
const EPOCH: i64 = 2_440_588;
/// How far ahead of UTC a calendar day can begin, in seconds (UTC+14).
const EARLIEST: i64 = 14 * 3600;
/// How far behind UTC a calendar day can end, in seconds (UTC-12).
const LATEST: i64 = 12 * 3600;

/// A parsed literal: the calendar days it spans as written, and its instant if it has a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// First calendar day, counted from 1970-01-01.
    first_day: i64,
    /// Last calendar day.
    last_day: i64,
    /// Unix seconds, for a literal with time and zone.
    instant: Option<i64>,
}

impl Moment {
    /// Reads `YYYY`, `YYYY-MM`, `YYYY-MM-DD` or `YYYY-MM-DDThh:mm:ss[.fff](Z|+hh:mm|-hh:mm)`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.is_ascii() {
            return None;
        }
        let (date, clock) = match text.split_once('T') {
            Some((date, clock)) => (date, Some(clock)),
            None => (text, None),
        };
        let mut parts = date.split('-');
        let year = i32::try_from(digits(parts.next()?, 4)?).ok()?;
        let month = parts.next().map(|part| digits(part, 2)).transpose_option()?;
        let day = parts.next().map(|part| digits(part, 2)).transpose_option()?;
        if parts.next().is_some() || year == 0 {
            return None;
        }
        let (first, last) = match (month, day) {
            (None, _) => (calendar(year, 1, 1)?, calendar(year, 12, 31)?),
            (Some(month), None) => {
                let month = month_of(month)?;
                (Date::from_calendar_date(year, month, 1).ok()?, Date::from_calendar_date(year, month, month.length(year)).ok()?)
            }
            (Some(month), Some(day)) => {
                let date = calendar(year, month, day)?;
                (date, date)
            }
        };
        let first_day = i64::from(first.to_julian_day()) - EPOCH;
        let last_day = i64::from(last.to_julian_day()) - EPOCH;
        let instant = match clock {
            None => None,
            Some(clock) => {
                day?;
                Some(first_day * DAY + seconds(clock)?)
            }
        };
        Some(Self { first_day, last_day, instant })
    }

    /// First unix second, a literal without a time read as UTC.
    pub(crate) fn start(self) -> i64 {
        self.instant.unwrap_or(self.first_day * DAY)
    }

    /// First unix second after it, a literal without a time read as UTC. FHIR's period ends are included.
    pub(crate) fn after(self) -> i64 {
        self.instant.map_or((self.last_day + 1) * DAY, |instant| instant + 1)
    }

    fn not_before(self, bound: Self) -> Answers {
        match (self.instant, bound.instant) {
            (Some(at), Some(bound)) => Answers::of(at >= bound),
            (None, Some(bound)) => ordered(self.first_day * DAY - EARLIEST >= bound, (self.last_day + 1) * DAY + LATEST <= bound),
            (_, None) => ordered(self.first_day >= bound.first_day, self.last_day < bound.first_day),
        }
    }

    fn not_after(self, bound: Self) -> Answers {
        match (self.instant, bound.instant) {
            (Some(at), Some(bound)) => Answers::of(at <= bound),
            (None, Some(bound)) => ordered((self.last_day + 1) * DAY + LATEST <= bound, self.first_day * DAY - EARLIEST > bound),
            (_, None) => ordered(self.last_day <= bound.last_day, self.first_day > bound.last_day),
        }
    }
}

/// Whether a resource of this literal date lies within the period.
pub(crate) fn within(date: Option<&str>, period: &DataPeriod) -> Answers {
    let Some(date) = date.and_then(Moment::parse) else {
        return Answers::DOUBT;
    };
    let bound = |literal: &Option<String>, compare: fn(Moment, Moment) -> Answers| match literal {
        None => Answers::YES,
        Some(text) => Moment::parse(text).map_or(Answers::DOUBT, |bound| compare(date, bound)),
    };
    bound(&period.start, Moment::not_before).and(bound(&period.end, Moment::not_after))
}

/// A unix second as a FHIR dateTime in UTC; none outside the years 1 to 9999.
pub(crate) fn literal(second: i64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(second).ok()?;
    (1..=9999)
        .contains(&at.year())
        .then(|| format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", at.year(), u8::from(at.month()), at.day(), at.hour(), at.minute(), at.second()))
}

fn ordered(yes: bool, no: bool) -> Answers {
    match (yes, no) {
        (true, _) => Answers::YES,
        (false, true) => Answers::NO,
        (false, false) => Answers::DOUBT,
    }
}

/// A number of exactly `length` digits.
fn digits(text: &str, length: usize) -> Option<u32> {
    (text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn month_of(number: u32) -> Option<Month> {
    Month::try_from(u8::try_from(number).ok()?).ok()
}

fn calendar(year: i32, month: u32, day: u32) -> Option<Date> {
    Date::from_calendar_date(year, month_of(month)?, u8::try_from(day).ok()?).ok()
}

/// `hh:mm:ss[.fff]` with a zone, as seconds from midnight UTC of the written day.
fn seconds(clock: &str) -> Option<i64> {
    let zone_at = clock.find(['Z', '+', '-'])?;
    let (local, zone) = clock.split_at(zone_at);
    let whole = match local.split_once('.') {
        None => local,
        Some((whole, fraction)) => {
            if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            whole
        }
    };
    let mut parts = whole.split(':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = digits(parts.next()?, 2)?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let offset = if zone == "Z" {
        0
    } else {
        let (hours, minutes) = zone.get(1..)?.split_once(':')?;
        let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
        if hours > 14 || minutes > 59 {
            return None;
        }
        let ahead = i64::from(hours * 3600 + minutes * 60);
        if zone.starts_with('+') { ahead } else { -ahead }
    };
    Some(i64::from(hour * 3600 + minute * 60 + second.min(59)) - offset)
}

/// `Option<Option<T>>` of an optional part: absent stays absent, malformed fails the whole.
trait TransposeOption<T> {
    fn transpose_option(self) -> Option<Option<T>>;
}

impl<T> TransposeOption<T> for Option<Option<T>> {
    fn transpose_option(self) -> Option<Option<T>> {
        match self {
            None => Some(None),
            Some(None) => None,
            Some(Some(value)) => Some(Some(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(date: &str, start: Option<&str>, end: Option<&str>) -> Answers {
        within(Some(date), &DataPeriod { start: start.map(str::to_owned), end: end.map(str::to_owned) })
    }

    #[test]
    fn calendar_bounds_compare_by_the_day_as_written() {
        assert!(asked("2022-12-31T23:30:00-05:00", None, Some("2022-12-31")).is_yes());
        assert!(asked("2022-01-01", Some("2022-01-01"), Some("2022-12-31")).is_yes());
        assert!(asked("2021-12-31", Some("2022-01-01"), None).is_no());
        assert!(asked("2023", None, Some("2022-12-31")).is_no());
        assert_eq!(asked("2022", Some("2022-03-01"), None), Answers::DOUBT);
    }

    #[test]
    fn moments_compare_as_instants() {
        let bound = Some("2022-06-01T12:00:00Z");
        assert!(asked("2022-06-01T14:00:00+02:00", bound, bound).is_yes());
        assert!(asked("2022-06-01T11:59:59Z", bound, None).is_no());
        assert_eq!(asked("2022-06-01", bound, None), Answers::DOUBT);
        assert!(asked("2022-06-03", bound, None).is_yes());
    }

    #[test]
    fn what_cannot_be_read_is_a_doubt() {
        assert_eq!(within(None, &DataPeriod::default()), Answers::DOUBT);
        for text in ["", "2022-13", "2022-02-30", "2022-1-1", "2022-01-01T10:00:00", "2022-01-01T25:00:00Z", "2022-01T10:00:00Z", "0000", "२०२२"] {
            assert_eq!(Moment::parse(text), None, "{text}");
            assert_eq!(asked(text, None, None), Answers::DOUBT);
        }
    }

    proptest! {
        #[test]
        fn a_written_second_reads_back(second in -62_000_000_000_i64..250_000_000_000) {
            let text = literal(second).unwrap();
            let read = Moment::parse(&text).unwrap();
            prop_assert_eq!(read.start(), second);
            prop_assert_eq!(read.after(), second + 1);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = Moment::parse(&text);
        }
    }
}
