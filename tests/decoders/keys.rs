//! What people type, paste and scan: tickets, age keys, recovery words.

use chartmesh_identity::{RecoveryWords, Ticket};
use chartmesh_sealing::{Identity, parse_recipient, recipient_to_text};

use crate::generic::assert_quiet;

/// A ticket has one text.
pub fn ticket(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Ticket>() {
        Ok(ticket) => {
            assert_eq!(ticket.to_string(), text.trim());
            assert!(ticket.addresses.len() <= 4);
        }
        Err(error) => assert_quiet(&error, encoded(text)),
    }
}

/// Identities, recipients and recovery words: each has one text, but for case and white space.
pub fn key_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let refused = [
        match Identity::from_bech32(text) {
            Ok(identity) => {
                assert_eq!(*identity.to_bech32(), text.trim().to_uppercase());
                None
            }
            Err(error) => Some(error.to_string()),
        },
        match parse_recipient(text) {
            Ok(recipient) => {
                assert_eq!(recipient_to_text(&recipient), text.trim().to_lowercase());
                None
            }
            Err(error) => Some(error.to_string()),
        },
        match RecoveryWords::parse(text) {
            Ok(words) => {
                assert_eq!(*words.expose(), text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
                None
            }
            Err(error) => Some(error.to_string()),
        },
    ];
    for error in refused.iter().flatten() {
        assert_quiet(error, encoded(text));
    }
}

/// What may be encoded, and is no word of an error.
fn encoded(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().filter(|word| word.chars().any(|character| character.is_ascii_digit()))
}
