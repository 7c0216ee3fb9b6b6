//! Resources beyond [`MAX_RESOURCE`]: only base64 in fields named `data` may make one so large.
//!
//! All else of it is bounded as in any other resource, because all else is what facts, labels and the typed check are made of. Each part of it carries its facts, so that what
//! is outside `data` must not multiply into more than [`MAX_REPEATED`] either.

use std::ops::Range;

use crate::import::MAX_IMPORT;
use crate::scan::{Broken, Scanner};
use crate::{MAX_PART, MAX_RESOURCE};

/// Most bytes outside `data`, times the number of parts.
const MAX_REPEATED: usize = 64 << 20;

/// Where the strings of its `data` fields lie, if the resource is a large one; none for any other.
///
/// It must be JSON within the limits of [`chartmesh_json`], which bound the recursion.
///
/// # Errors
/// Why it is too large.
pub(crate) fn data_of(bytes: &[u8]) -> Result<Vec<Range<usize>>, String> {
    let mut found = Vec::new();
    if bytes.len() <= MAX_RESOURCE {
        return Ok(found);
    }
    if bytes.len() > MAX_IMPORT {
        return Err(format!("it is larger than {MAX_IMPORT} bytes"));
    }
    collect(&mut Scanner::new(bytes, 0), &mut found).map_err(|_| "it is not JSON".to_owned())?;
    let rest = bytes.len() - found.iter().map(Range::len).sum::<usize>();
    let limit = MAX_RESOURCE.min(MAX_REPEATED / bytes.len().div_ceil(MAX_PART));
    if rest > limit { Err(format!("it is larger than {limit} bytes without what its data fields hold")) } else { Ok(found) }
}

fn collect(scanner: &mut Scanner<'_>, found: &mut Vec<Range<usize>>) -> Result<(), Broken> {
    let mut first = true;
    match scanner.peek() {
        Some(b'{') => {
            scanner.open(b'{')?;
            while scanner.more(&mut first, b'}')? {
                let is_data = scanner.name()? == "data";
                if is_data && scanner.peek() == Some(b'"') {
                    found.push(scanner.value()?);
                } else {
                    collect(scanner, found)?;
                }
            }
        }
        Some(b'[') => {
            scanner.open(b'[')?;
            while scanner.more(&mut first, b']')? {
                collect(scanner, found)?;
            }
        }
        _ => {
            scanner.value()?;
        }
    }
    Ok(())
}

/// The resource with four characters in each of these strings, on which a reader of base64 judges as on the whole string: so that the typed check of a large resource costs no
/// more than that of another.
pub(crate) fn without_data(bytes: &[u8], data: &[Range<usize>]) -> Vec<u8> {
    let mut thin = Vec::new();
    let mut at = 0;
    for span in data {
        thin.extend_from_slice(bytes.get(at..span.start).unwrap_or_default());
        thin.push(b'"');
        thin.extend_from_slice(&ending(bytes.get(span.start + 1..span.end - 1).unwrap_or_default()));
        thin.push(b'"');
        at = span.end;
    }
    thin.extend_from_slice(bytes.get(at..).unwrap_or_default());
    thin
}

/// The last four characters of base64, without line breaks; something that is no base64 for what is none.
fn ending(text: &[u8]) -> Vec<u8> {
    const NONE: &[u8] = b"!";
    // Four bytes, the newest lowest: a rotated array takes longer than all else that an import does to an attachment.
    let mut last = u32::from_be_bytes([b'='; 4]);
    let mut count = 0usize;
    let mut rest = text;
    loop {
        // Nearly all of it: letters of the alphabet, which are looked at side by side.
        if let Some((letters, after)) = rest.split_first_chunk::<RUN>()
            && let Some(end) = letters.last_chunk()
            && !last.to_be_bytes().iter().rev().take(count).any(|byte| *byte == b'=')
            && letters.iter().fold(true, |all, byte| all & is_letter(*byte))
        {
            last = u32::from_be_bytes(*end);
            count += RUN;
            rest = after;
            continue;
        }
        let byte = match rest {
            [] => break,
            [b' ', after @ ..] | [b'\\', b'n' | b'r' | b't', after @ ..] => {
                rest = after;
                continue;
            }
            [b'\\', b'/', after @ ..] => {
                rest = after;
                b'/'
            }
            [b'\\', ..] => return NONE.to_vec(),
            [plain, after @ ..] => {
                rest = after;
                *plain
            }
        };
        // Padding stands in the last four alone.
        if !(is_letter(byte) || byte == b'=') || (count >= 4 && last.to_be_bytes()[0] == b'=') {
            return NONE.to_vec();
        }
        last = last << 8 | u32::from(byte);
        count += 1;
    }
    match count {
        0 => Vec::new(),
        _ if count.is_multiple_of(4) => last.to_be_bytes().to_vec(),
        _ => NONE.to_vec(),
    }
}

/// How many characters are looked at side by side.
const RUN: usize = 64;

/// Whether it is one of the 64 (RFC 4648, section 4).
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | (byte == b'+') | (byte == b'/')
}

#[cfg(test)]
mod tests {
    use chartmesh_fhir::{Typed, check};

    use super::*;

    fn binary(data: &str) -> Vec<u8> {
        format!(r#"{{"resourceType":"Binary","contentType":"application/pdf","data":"{data}"}}"#).into_bytes()
    }

    #[test]
    fn the_typed_check_judges_on_four_characters_as_on_all() {
        for data in [
            "",
            "QUJD",
            "QUJDQUI=",
            "QUJDQQ==",
            "QUJDQUJDQR==",
            "QUJDQUI",
            "QU=DQUJD",
            "QUJ=QUJD",
            "QUJD\\r\\nQUJD",
            "QUJDQUJ\\n",
            "QUJD QUJD",
            "\\u0051UJDQU!",
            "QUJDQU!D",
            "QUJD+\\/+\\/",
            "QUJD====",
            "====",
            "=UJD",
        ] {
            agree(data);
        }
    }

    #[test]
    fn a_run_of_letters_is_judged_as_each_of_them() {
        for before in ["", "A", "=", "Q=", "QU=", "QUI=", "QUJD", "QUJD=", " ", "\\n"] {
            for after in ["", "=", "QQ==", "!", "\\/", "QUI", "\\n", " QUI="] {
                for middle in [RUN - 4, RUN - 1, RUN, RUN + 1, 3 * RUN] {
                    agree(&[before, &"Q".repeat(middle), after].concat());
                    agree(&[before, &"Q".repeat(middle), "=", &"Q".repeat(RUN - 1), after].concat());
                }
            }
        }
    }

    fn agree(data: &str) {
        let bytes = binary(data);
        let mut found = Vec::new();
        collect(&mut Scanner::new(&bytes, 0), &mut found).expect("JSON");
        assert_eq!(found.len(), 1);
        let thin = without_data(&bytes, &found);
        assert_eq!(matches!(check(&thin), Typed::Failed(_)), matches!(check(&bytes), Typed::Failed(_)), "{data}");
    }

    #[test]
    fn what_is_outside_data_is_bounded_by_itself_and_times_the_parts() {
        let resource = |rest: usize, data: usize| format!(r#"{{"rest":"{}","data":"{}"}}"#, "x".repeat(rest - 19), "A".repeat(data)).into_bytes();
        let length = |rest: usize, data: usize| data_of(&resource(rest, data)).map(|found| found.iter().map(Range::len).sum::<usize>());
        assert_eq!(length(1000, 10), Ok(0), "not a large one");
        assert_eq!(length(1000, 20 << 20), Ok((20 << 20) + 2));
        assert_eq!(length(MAX_RESOURCE, 1 << 20), Ok((1 << 20) + 2));
        assert!(length(MAX_RESOURCE + 1, 1 << 20).is_err_and(|why| why.contains("16646144")));
        assert_eq!(length(MAX_REPEATED / 7, 46 << 20), Ok((46 << 20) + 2));
        assert!(length(MAX_REPEATED / 7, 47 << 20).is_err_and(|why| why.contains("8388608")), "eight parts");
    }

    #[test]
    fn data_is_found_wherever_it_lies_and_nothing_else() {
        let text = r#"{"a":[{"data":"x\"y"},{"data":["n"],"b":{"d\u0061ta" : "zz"}}],"data":{"data":""},"datum":"data"}"#;
        let mut found = Vec::new();
        collect(&mut Scanner::new(text.as_bytes(), 0), &mut found).expect("JSON");
        let found: Vec<&str> = found.into_iter().map(|span| &text[span]).collect();
        assert_eq!(found, [r#""x\"y""#, r#""zz""#, r#""""#]);
    }
}
