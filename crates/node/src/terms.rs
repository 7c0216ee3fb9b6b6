//! Terms as they are typed, made into terms of consent.

use chartmesh_consent::{Limits, Selector, Terms, purpose};
use time::{Date, OffsetDateTime, format_description::well_known::Iso8601};

use crate::api::{ApiError, TermsInput};

const DAY: i64 = 24 * 3600;

/// Reads what was typed. `now` is in Unix seconds.
pub(crate) fn parse(input: &TermsInput, now: i64) -> Result<Terms, ApiError> {
    let selectors = |words: &[String], option: &str| {
        words
            .iter()
            .map(|word| word.parse::<Selector>().map_err(|error| ApiError::usage(format_args!("{option} {word}: {error}"))))
            .collect::<Result<Vec<_>, _>>()
    };
    let read = selectors(&input.read, "--read")?;
    let except = selectors(&input.except, "--except")?;
    let purposes = input.purpose.iter().map(|word| purpose::parse(word).map_err(|error| ApiError::usage(format_args!("--purpose {word}: {error}"))));
    let expires = input.expires.as_deref().map(|word| parse_expiry(word, now)).transpose()?;
    let limits = Limits {
        purposes: purposes.collect::<Result<_, _>>()?,
        data_from: input.data_from.clone(),
        data_until: input.data_until.clone(),
        expires,
        write: input.write,
        custodian: input.custodian,
    };
    // Writing or keeping ciphertext alone gives no right to read.
    let nothing = read.is_empty() && except.is_empty() && (input.write || input.custodian);
    let mut terms = Terms::from_cli(&read, &except, limits).map_err(ApiError::usage)?;
    if nothing {
        terms.provisions.clear();
        terms.laws.clear();
    }
    Ok(terms)
}

/// `90d`, or a day: then the grant holds through that day.
fn parse_expiry(word: &str, now: i64) -> Result<i64, ApiError> {
    let wrong = || ApiError::usage(format_args!("--expires {word}: expected a number of days like 90d, or a day like 2027-01-31"));
    let until = match word.strip_suffix('d') {
        Some(days) => {
            let days: i64 = days.parse().map_err(|_| wrong())?;
            days.checked_mul(DAY).and_then(|length| now.checked_add(length)).ok_or_else(wrong)?
        }
        None => {
            let day = Date::parse(word, &Iso8601::DATE).map_err(|_| wrong())?;
            day.next_day().ok_or_else(wrong)?.midnight().assume_utc().unix_timestamp()
        }
    };
    if OffsetDateTime::from_unix_timestamp(until).is_err() {
        return Err(wrong());
    }
    if until <= now {
        return Err(ApiError::usage(format_args!("--expires {word}: that is over already")));
    }
    Ok(until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ErrorKind;

    #[test]
    fn expiry_is_days_or_a_day_and_in_the_future() {
        let now = 1_700_000_000;
        assert_eq!(parse_expiry("90d", now).unwrap(), now + 90 * DAY);
        assert_eq!(parse_expiry("2023-11-15", now).unwrap(), 1_700_092_800);
        for word in ["d", "-1d", "0d", "2001-01-01", "soon", "99999999999d", "99999999999999999999d"] {
            assert_eq!(parse_expiry(word, now).unwrap_err().kind, ErrorKind::Usage, "{word}");
        }
    }

    #[test]
    fn writing_alone_reads_nothing() {
        let terms = |input: TermsInput| parse(&input, 0).unwrap();
        assert!(terms(TermsInput { write: true, ..TermsInput::default() }).provisions.is_empty());
        assert!(!terms(TermsInput::default()).provisions.is_empty());
        assert!(!terms(TermsInput { write: true, except: vec!["hiv".into()], ..TermsInput::default() }).provisions.is_empty());
        assert!(parse(&TermsInput { read: vec!["everything".into()], ..TermsInput::default() }, 0).is_err());
    }
}
