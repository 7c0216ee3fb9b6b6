//! Characters that a reader does not see.

/// Whether a character changes how others are shown, or is not seen at all: Unicode category Cf, line separators, variation selectors, fillers, private use, tags.
pub fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

/// Whether a name shows all that it holds: no control or hidden characters, but for the joiners within words that some scripts need.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let all: Vec<char> = name.chars().collect();
    let letter = |at: Option<usize>| at.and_then(|at| all.get(at)).is_some_and(|character| character.is_alphabetic() && !character.is_ascii());
    all.iter().enumerate().all(|(at, character)| match character {
        '\u{200c}' | '\u{200d}' => letter(at.checked_sub(1)) && letter(Some(at + 1)),
        other => !other.is_control() && !is_hidden(*other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_all_that_it_holds() {
        for name in ["Dr Lee", "Zoë 李", "علی\u{200c}رضا"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["\u{200b}", "Dr Lee\u{200b}", "Dr\u{202e}eeL", "Dr Lee\u{200d}", "Dr\u{200c}Lee", "a\u{1b}[2J"] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
