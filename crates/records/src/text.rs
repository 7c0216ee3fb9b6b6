//! Text from foreign data, made fit for a list on a screen.

/// Most characters of a title.
pub(crate) const MAX_TITLE: usize = 200;

/// Removes control, bidirectional, zero-width and other invisible characters, joins white space, and cuts
/// at [`MAX_TITLE`] characters. None if nothing is left.
pub(crate) fn clean(text: &str) -> Option<String> {
    let mut cleaned = String::new();
    let mut length = 0;
    for word in text.split(|character: char| character.is_whitespace() || character.is_control()) {
        let mut visible = word.chars().filter(|&character| !is_hidden(character)).peekable();
        if visible.peek().is_none() {
            continue;
        }
        if length > 0 && length < MAX_TITLE {
            cleaned.push(' ');
            length += 1;
        }
        for character in visible {
            if length == MAX_TITLE {
                break;
            }
            cleaned.push(character);
            length += 1;
        }
        if length == MAX_TITLE {
            break;
        }
    }
    let cleaned = cleaned.trim_end();
    (!cleaned.is_empty()).then(|| cleaned.to_owned())
}

/// Characters that change how others are shown, or are not seen at all (Unicode categories Cf and the
/// fillers, private-use and interlinear blocks).
fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_hides_or_reorders_is_removed() {
        assert_eq!(clean("  Blood\tpressure\n panel\u{1b}[31m "), Some("Blood pressure panel [31m".to_owned()));
        assert_eq!(clean("a\u{202e}b\u{200b}c\u{feff}"), Some("abc".to_owned()));
        assert_eq!(clean("\u{200b} \u{1}"), None);
        assert_eq!(clean("Müller, 李慧"), Some("Müller, 李慧".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_title(text in any::<String>()) {
            if let Some(title) = clean(&text) {
                prop_assert!(!title.is_empty() && title.chars().count() <= MAX_TITLE);
                prop_assert!(!title.chars().any(|character| character.is_control() || is_hidden(character)));
                prop_assert_eq!(clean(&title), Some(title));
            }
        }
    }
}
