//! What a resource that comes in pieces looks like from outside, without holding it.

use crate::envelope::read_envelope;

/// Strings up to this long, in bytes, are kept: no name that counts is longer, be every character of it escaped.
const KEPT: usize = 128;

/// A resource without the insides of its long strings.
///
/// It grows with what is outside of them, and is as long as the resource at most.
#[derive(Default)]
pub struct Outline {
    text: Vec<u8>,
    /// Inside a string, where in `text` it begins.
    string: Option<usize>,
    /// The last byte was the backslash of an escape.
    escaped: bool,
    /// The string is longer than is kept.
    long: bool,
}

impl Outline {
    /// Takes the next bytes of the resource.
    pub fn update(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(byte) = rest.first() {
            let length = match self.string {
                None => memchr::memchr(b'"', rest).map_or(rest.len(), |at| at + 1),
                Some(_) if self.escaped || matches!(byte, b'"' | b'\\') => 1,
                Some(_) => memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len()),
            };
            let (run, after) = rest.split_at(length);
            self.run(run);
            rest = after;
        }
    }

    /// Text outside strings up to the quote that begins one, or what of a string is alike: one byte of an escape, its end, or text.
    fn run(&mut self, run: &[u8]) {
        let Some(start) = self.string else {
            self.text.extend_from_slice(run);
            if run.ends_with(b"\"") {
                self.string = Some(self.text.len());
            }
            return;
        };
        if run == b"\"" && !self.escaped {
            self.text.push(b'"');
            (self.string, self.long) = (None, false);
            return;
        }
        self.escaped = run == b"\\" && !self.escaped;
        self.long |= self.text.len() - start + run.len() > KEPT;
        if self.long {
            self.text.truncate(start);
        } else {
            self.text.extend_from_slice(run);
        }
    }

    /// Whether all that came is one JSON object without white space around it, so that nothing of it can stand outside an entry of a bundle that it is written into.
    pub fn is_resource(&self) -> bool {
        let envelope = read_envelope(&self.text);
        self.string.is_none() && envelope.is_ok_and(|envelope| envelope.followed_by.is_none() && envelope.span == (0..self.text.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the whole says, read at once.
    fn at_once(bytes: &[u8]) -> bool {
        read_envelope(bytes).is_ok_and(|envelope| envelope.followed_by.is_none() && envelope.span == (0..bytes.len()))
    }

    fn in_pieces(bytes: &[u8], size: usize) -> Outline {
        let mut outline = Outline::default();
        bytes.chunks(size).for_each(|piece| outline.update(piece));
        outline
    }

    #[test]
    fn long_strings_leave_nothing_behind() {
        for filling in ["x", "\\\"", "\\\\", "é", "}"] {
            let text = format!(r#"{{"a":"{}","b":"\"","c":[{{"data":"{}"}}]}}"#, filling.repeat(200), filling.repeat(400));
            for size in [1, 2, 3, 7, 100, text.len()] {
                let outline = in_pieces(text.as_bytes(), size);
                assert!(outline.is_resource(), "{filling} {size}");
                assert_eq!(outline.text, br#"{"a":"","b":"\"","c":[{"data":""}]}"#, "{filling} {size}");
            }
        }
        assert!(!in_pieces(br#"{"a":"x"#, 3).is_resource());
        assert!(!Outline::default().is_resource());
    }

    proptest! {
        #[test]
        fn pieces_are_judged_as_the_whole(text in r#"(\{("(resourceType|entry|a|\\"|\\\\|[x}]{125,131})":("(\\"|\\\\|[x}]{120,135})*"|\[\{\}\]|1),?){0,3}\}|[\{\}"\\a:,]{0,9}){1,2}"#, size in 1usize..200) {
            let bytes = text.as_bytes();
            prop_assert_eq!(in_pieces(bytes, size).is_resource(), at_once(bytes), "{}", text);
        }
    }
}
