//! Foreign text made fit for a terminal: names, titles and reasons come from other people's programs.

use chartmesh_identity::{LedgerId, is_hidden};

/// Without control, bidirectional, zero-width and other unseen characters; white space of any kind is one blank.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(char::is_whitespace) {
        let before = out.len();
        for character in word.chars().filter(|&character| !character.is_control() && !is_hidden(character)) {
            if out.len() == before && before > 0 {
                out.push(' ');
            }
            out.push(character);
        }
    }
    out
}

/// An instant (RFC 3339, UTC) as a table shows it: to the minute.
pub(crate) fn minute(instant: &str) -> String {
    match (instant.get(..10), instant.get(10..11), instant.get(11..16)) {
        (Some(day), Some("T"), Some(time)) => format!("{day} {time}"),
        _ => instant.to_owned(),
    }
}

/// `1 record`, `2 records`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// The beginning of an id: enough to type, and to tell it from others.
pub(crate) fn short(id: &impl std::fmt::Display) -> String {
    id.to_string().chars().take(12).collect()
}

/// A patient by name; by ledger id, where the name is not known.
pub(crate) fn patient(name: Option<&str>, ledger: &LedgerId) -> String {
    name.map_or_else(|| short(ledger), plain)
}

/// Whether these are not all the same patient's.
pub(crate) fn several(ledgers: impl IntoIterator<Item = LedgerId>) -> bool {
    let mut ledgers = ledgers.into_iter();
    ledgers.next().is_some_and(|first| ledgers.any(|other| other != first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_gone() {
        assert_eq!(plain(" Dr\u{202e}\u{200b} \u{1b}[31mLee\r\n\tMD \u{feff} "), "Dr [31mLee MD");
        assert_eq!(plain("Zoë 李"), "Zoë 李");
    }

    #[test]
    fn instants_are_shown_to_the_minute() {
        assert_eq!(minute("2026-03-02T09:41:07Z"), "2026-03-02 09:41");
        assert_eq!(minute("2026-03-02"), "2026-03-02");
    }

    proptest! {
        #[test]
        fn plain_is_one_visible_line(text in any::<String>()) {
            let clean = plain(&text);
            prop_assert!(!clean.chars().any(|character| character.is_control() || is_hidden(character)));
            prop_assert!(clean.trim() == clean && !clean.contains("  "));
            prop_assert_eq!(plain(&clean), clean);
        }
    }
}
