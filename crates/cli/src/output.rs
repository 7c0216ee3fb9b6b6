//! The way out: answers on stdout, complaints and progress on stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use chartmesh_identity::is_hidden;

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// The answer: as JSON on one line, or in words that `human` makes of it.
    pub(crate) fn answer<T: Serialize>(&self, value: &T, human: impl FnOnce(&T) -> String) -> io::Result<()> {
        if self.json { self.bytes(format!("{}\n", json(value)).as_bytes()) } else { self.bytes(human(value).as_bytes()) }
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// A FHIR resource: byte for byte into a pipe or file; on a terminal with whatever would steer it written as JSON escapes, which mean the same.
    pub(crate) fn resource(&self, bytes: &[u8]) -> io::Result<()> {
        match std::str::from_utf8(bytes) {
            Ok(text) if io::stdout().is_terminal() => {
                let end = if text.ends_with('\n') { "" } else { "\n" };
                self.bytes(format!("{}{end}", escape(text, |character| character.is_whitespace())).as_bytes())
            }
            _ => self.bytes(bytes),
        }
    }

    /// A word on what is going on, for someone who watches; nothing in a pipe.
    pub(crate) fn progress(&self, text: &str) {
        if !self.json && io::stderr().is_terminal() {
            self.complain(text);
        }
    }

    /// A line on stderr. Where that cannot be written, nobody is left to tell.
    pub(crate) fn complain(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// JSON on one line. Characters that would steer a terminal are written as escapes, which mean the same to a program.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    escape(&text, |_| false)
}

/// Writes characters that would steer a terminal as JSON escapes, but for those that are let through.
fn escape(text: &str, lets_through: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        let plain_space = matches!(character, ' ' | '\n' | '\t' | '\r') && lets_through(character);
        if !plain_space && (character.is_control() || is_hidden(character)) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_resource_on_a_terminal_keeps_its_lines_and_loses_its_tricks() {
        let shown = escape("{\n\t\"text\": \"a\u{202e}b\u{9b}31m\"\n}", char::is_whitespace);
        assert_eq!(shown, "{\n\t\"text\": \"a\\u202eb\\u009b31m\"\n}");
    }

    proptest! {
        #[test]
        fn json_means_the_same_and_steers_no_terminal(text in any::<String>()) {
            let line = json(&text);
            prop_assert!(!line.chars().any(|character| character.is_control() || is_hidden(character)));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
