//! Finds where the members of an object and the items of an array lie, without parsing them.
//!
//! This is what lets a Bundle of any size be read entry by entry, and each resource leave with the very
//! bytes it came with. The scanner only matches brackets and strings; whether a span is JSON is for
//! [`chartmesh_json`] to say, one span at a time, so that one bad entry does not take the others with it.
//! No recursion: nesting costs a counter.

use std::borrow::Cow;
use std::ops::Range;

/// The brackets do not match, or something else stands where a member or item should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Offset of the byte that cannot be.
    pub(crate) at: usize,
    /// Whether the input ends there.
    pub(crate) ends: bool,
}

/// A cursor over JSON text.
#[derive(Clone)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at offset `at`.
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Offset of the next byte that is not white space.
    pub(crate) fn next_at(&mut self) -> usize {
        while self.bytes.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.at
    }

    /// Where the cursor stands.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The next byte that is not white space, left in place.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let at = self.next_at();
        self.bytes.get(at).copied()
    }

    fn broken<T>(&self) -> Result<T, Broken> {
        Err(Broken { at: self.at, ends: self.at >= self.bytes.len() })
    }

    fn take(&mut self, byte: u8) -> Result<(), Broken> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.broken()
        }
    }

    /// Opens an object or array.
    pub(crate) fn open(&mut self, bracket: u8) -> Result<(), Broken> {
        self.take(bracket)
    }

    /// Whether another member or item follows; consumes the comma before it, or the closing `bracket`.
    pub(crate) fn more(&mut self, first: &mut bool, bracket: u8) -> Result<bool, Broken> {
        match self.peek() {
            Some(byte) if byte == bracket => {
                self.at += 1;
                Ok(false)
            }
            Some(_) if *first => {
                *first = false;
                Ok(true)
            }
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => self.broken(),
        }
    }

    /// A member's name, and the colon after it.
    pub(crate) fn name(&mut self) -> Result<Cow<'a, str>, Broken> {
        let at = self.next_at();
        let span = self.string()?;
        let text = self.bytes.get(span).unwrap_or_default();
        self.take(b':')?;
        let name = if text.contains(&b'\\') {
            serde_json::from_slice(text).ok().map(Cow::Owned)
        } else {
            text.get(1..text.len().saturating_sub(1)).and_then(|inner| std::str::from_utf8(inner).ok()).map(Cow::Borrowed)
        };
        name.ok_or(Broken { at, ends: false })
    }

    /// Steps over one value of any kind and returns where it lies.
    pub(crate) fn value(&mut self) -> Result<Range<usize>, Broken> {
        let start = self.next_at();
        let mut depth = 0usize;
        loop {
            match self.bytes.get(self.at) {
                None => return self.broken(),
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') if depth == 0 => return self.broken(),
                Some(b'}' | b']') => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(_) if depth == 0 => self.scalar()?,
                Some(_) => {
                    let rest = self.rest();
                    self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']')).unwrap_or(rest.len());
                    continue;
                }
            }
            if depth == 0 {
                return Ok(start..self.at);
            }
        }
    }

    fn scalar(&mut self) -> Result<(), Broken> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|byte| !matches!(byte, b',' | b'{' | b'[' | b'}' | b']' | b':' | b'"' | b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        if self.at == start { self.broken() } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Range<usize>, Broken> {
        let start = self.next_at();
        self.take(b'"')?;
        loop {
            match self.bytes.get(self.at) {
                None => return self.broken(),
                Some(b'\\') => self.at = (self.at + 2).min(self.bytes.len()),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start..self.at);
                }
                Some(_) => {
                    let rest = self.rest();
                    self.at += memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                }
            }
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(text: &str) -> Result<Vec<(String, &str)>, Broken> {
        let mut scanner = Scanner::new(text.as_bytes(), 0);
        scanner.open(b'{')?;
        let (mut first, mut found) = (true, Vec::new());
        while scanner.more(&mut first, b'}')? {
            let name = scanner.name()?.into_owned();
            found.push((name, &text[scanner.value()?]));
        }
        Ok(found)
    }

    #[test]
    fn spans_are_exact_and_names_are_decoded() {
        let text = r#" { "a" : {"x":["}"]} ,"b\u0063":"q\"]" , "d":-1.50e2,"e": null }"#;
        let expected = [("a", r#"{"x":["}"]}"#), ("bc", r#""q\"]""#), ("d", "-1.50e2"), ("e", "null")];
        let expected: Vec<_> = expected.into_iter().map(|(name, span)| (name.to_owned(), span)).collect();
        assert_eq!(members(text), Ok(expected));
    }

    #[test]
    fn a_cut_is_told_from_garbage() {
        for text in [r#"{"a":{"b":1}"#, r#"{"a":"#, r#"{"a"#, "{", r#"{"a":"x\"#] {
            assert!(members(text).is_err_and(|broken| broken.ends), "{text}");
        }
        for text in [r#"{"a" 1}"#, r#"{"a":}"#, r#"{a:1}"#, r#"{"a":1 "b":2}"#, "[1]"] {
            assert!(members(text).is_err_and(|broken| !broken.ends), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends(text in ".{0,80}|[\\[\\]{}\",:\\\\ a1]{0,80}") {
            let _ = members(&text);
            if let Ok(span) = Scanner::new(text.as_bytes(), 0).value() {
                prop_assert!(span.end <= text.len() && span.start < span.end);
            }
        }
    }
}
