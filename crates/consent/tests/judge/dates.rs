//! FHIR dates: what a literal may mean, <https://hl7.org/fhir/R4/datatypes.html#dateTime>.

/// When, as written: calendar days counted from 1970-01-01, and the second if there is a time.
#[derive(Clone, Copy)]
pub(crate) struct Date {
    first: i64,
    last: i64,
    second: Option<i64>,
}

/// Days from 1970-01-01 to the first of a month (1 to 12; 13 is the next January), proleptic Gregorian.
fn first_of(year: i64, month: i64) -> i64 {
    let (year, month) = if month == 13 { (year + 1, 1) } else { (year, month) };
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][usize::try_from(month - 1).expect("a month")];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    365 * (year - 1970) + leaps(year - 1) - leaps(1969) + before + i64::from(leap && month > 2)
}

fn number(text: &str, digits: usize, from: i64, to: i64) -> Option<i64> {
    let all = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| all && (from..=to).contains(value))
}

/// `hh:mm:ss[.f](Z|+hh:mm|-hh:mm)` as seconds after midnight UTC; a leap second is the one before it.
fn clock(text: &str) -> Option<i64> {
    let (local, zone) = text.split_at_checked(8)?;
    let zone = match zone.strip_prefix('.') {
        Some(rest) => {
            let cut = rest.find(|c: char| !c.is_ascii_digit()).filter(|cut| *cut > 0)?;
            &rest[cut..]
        }
        None => zone,
    };
    let pair = |text: &str, most: i64| {
        let (hours, minutes) = text.split_once(':')?;
        Some(number(hours, 2, 0, most)? * 3600 + number(minutes, 2, 0, 59)? * 60)
    };
    let (minutes, seconds) = local.rsplit_once(':')?;
    let local = pair(minutes, 23)? + number(seconds, 2, 0, 60)?.min(59);
    match zone.split_at_checked(1)? {
        ("Z", "") => Some(local),
        ("+", ahead) => Some(local - pair(ahead, 14)?),
        ("-", behind) => Some(local + pair(behind, 14)?),
        _ => None,
    }
}

impl Date {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (day, time) = text.split_once('T').map_or((text, None), |(day, time)| (day, Some(time)));
        let mut parts = day.split('-');
        let year = number(parts.next()?, 4, 1, 9999)?;
        let month = parts.next().map(|part| number(part, 2, 1, 12).ok_or(())).transpose().ok()?;
        let day = parts.next().map(|part| number(part, 2, 1, 31).ok_or(())).transpose().ok()?;
        if parts.next().is_some() {
            return None;
        }
        let (first, after) = match (month, day) {
            (Some(month), Some(day)) => (first_of(year, month) + day - 1, first_of(year, month) + day),
            (Some(month), None) => (first_of(year, month), first_of(year, month + 1)),
            (None, _) => (first_of(year, 1), first_of(year, 13)),
        };
        if day.is_some() && after > first_of(year, month? + 1) {
            return None;
        }
        let second = match time {
            None => None,
            Some(_) if day.is_none() => return None,
            Some(time) => Some(first * 86_400 + clock(time)?),
        };
        Some(Self { first, last: after - 1, second })
    }

    /// A second.
    pub(crate) fn at(second: i64) -> Self {
        let day = second.div_euclid(86_400);
        Self { first: day, last: day, second: Some(second) }
    }

    /// The first second that it means in UTC.
    pub(crate) fn begins(self) -> i64 {
        self.second.unwrap_or(self.first * 86_400)
    }

    /// The first second after it: a Period includes its end.
    pub(crate) fn over(self) -> i64 {
        self.second.map_or((self.last + 1) * 86_400, |second| second + 1)
    }

    /// The first and the last second that it can mean, somewhere from UTC+14 to UTC-12.
    fn anywhere(self) -> (i64, i64) {
        match self.second {
            Some(second) => (second, second),
            None => (self.first * 86_400 - 14 * 3600, (self.last + 1) * 86_400 + 12 * 3600 - 1),
        }
    }
}

/// Whether what happened at `date` lies within the bounds, both included: for certain, or (`wary`) possibly.
///
/// A bound without a time is compared with the day that the source wrote.
pub(crate) fn within(date: Date, start: Option<Date>, end: Option<Date>, wary: bool) -> bool {
    let since = |bound: Date| {
        let (earliest, latest, bound) = match bound.second {
            Some(second) => (date.anywhere().0, date.anywhere().1, second),
            None => (date.first, date.last, bound.first),
        };
        bound <= if wary { latest } else { earliest }
    };
    let until = |bound: Date| {
        let (earliest, latest, bound) = match bound.second {
            Some(second) => (date.anywhere().0, date.anywhere().1, second),
            None => (date.first, date.last, bound.last),
        };
        bound >= if wary { earliest } else { latest }
    };
    start.is_none_or(since) && end.is_none_or(until)
}
