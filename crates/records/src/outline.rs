//! What a resource that comes in pieces looks like from outside, without holding it.

use crate::envelope::read_envelope;

/// Strings up to this long, in bytes, are kept: no name that counts is longer, be every character of it escaped.
const KEPT: usize = 128;

/// Most bytes of an outline. An import takes no resource with more: 16 MiB outside its `data`, and in there 250,000 strings that are kept.
const MOST: usize = 48 << 20;

/// A resource without the insides of its long strings.
#[derive(Default)]
pub struct Outline {
    text: Vec<u8>,
    /// Inside a string, where in `text` it begins.
    string: Option<usize>,
    /// The last byte was the backslash of an escape.
    escaped: bool,
    /// The string is longer than is kept.
    long: bool,
    /// It would have become longer than one can be.
    too_much: bool,
}

impl Outline {
    /// Takes the next bytes of the resource.
    pub fn update(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(byte) = rest.first().filter(|_| !self.too_much) {
            let length = match self.string {
                None => memchr::memchr(b'"', rest).map_or(rest.len(), |at| at + 1),
                Some(_) if self.escaped || matches!(byte, b'"' | b'\\') => 1,
                Some(_) => memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len()),
            };
            let (run, after) = rest.split_at(length);
            if self.string.is_none() && self.text.len() + length > MOST {
                (self.too_much, self.text) = (true, Vec::new());
                return;
            }
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
        self.string.is_none() && !self.too_much && envelope.is_ok_and(|envelope| envelope.followed_by.is_none() && envelope.span == (0..self.text.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::MAX_RESOURCES;

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

    #[test]
    fn what_no_import_takes_is_not_held() {
        let mut outline = Outline::default();
        outline.update(br#"{"entry":["#);
        let zeros = b"0,".repeat(1 << 20);
        for _ in 0..200 {
            outline.update(&zeros);
            assert!(outline.text.capacity() <= 2 * MOST);
        }
        outline.update(b"0]}");
        assert!(!outline.is_resource());
        // Fewer of them are told apart by their number, before each has a place of its own.
        let many = [br#"{"resourceType":"Bundle","entry":["#, &b"0,".repeat(MAX_RESOURCES)[..], b"0]}"].concat();
        assert!(!in_pieces(&many, many.len()).is_resource());
        let fewer = [br#"{"resourceType":"Bundle","entry":["#, &b"0,".repeat(MAX_RESOURCES - 1)[..], b"0]}"].concat();
        assert!(in_pieces(&fewer, fewer.len()).is_resource());
    }

    proptest! {
        #[test]
        fn pieces_are_judged_as_the_whole(text in r#"(\{("(resourceType|entry|a|\\"|\\\\|[x}]{125,131})":("(\\"|\\\\|[x}]{120,135})*"|\[\{\}\]|1),?){0,3}\}|[\{\}"\\a:,]{0,9}){1,2}"#, size in 1usize..200) {
            let bytes = text.as_bytes();
            prop_assert_eq!(in_pieces(bytes, size).is_resource(), at_once(bytes), "{}", text);
        }
    }
}
