//! Sealed files: what goes in comes out, for the right key alone, and nothing that was touched comes out at all.

use chartmesh_identity::Recipient;
use chartmesh_sealing::{FileKey, Identity, OpenError, SealError, file_key, open, open_passphrase, open_with_file_key, seal};
use proptest::prelude::*;

fn identity() -> Identity {
    Identity::from_seed(&[9; 32])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_sealed_opens(plaintext in prop_oneof![proptest::collection::vec(any::<u8>(), 0..2000), (65530usize..65545).prop_map(|length| vec![7; length])]) {
        let sealed = seal(&plaintext, identity().recipient()).unwrap();
        prop_assert_eq!(&*open(&sealed.bytes, &identity()).unwrap(), &plaintext);
        prop_assert_eq!(&*open_with_file_key(&sealed.bytes, &sealed.file_key).unwrap(), &plaintext);
        let found = file_key(&sealed.bytes, &identity()).unwrap();
        prop_assert_eq!(found.expose(), sealed.file_key.expose());
        prop_assert_eq!(open(&sealed.bytes, &Identity::from_seed(&[8; 32])).err(), Some(OpenError::NoMatch));
        prop_assert_eq!(open_with_file_key(&sealed.bytes, &FileKey::new([1; 16])).err(), Some(OpenError::Mac));
    }

    #[test]
    fn any_change_is_an_error(at: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index, more in proptest::collection::vec(any::<u8>(), 1..40)) {
        let sealed = seal(b"a document", identity().recipient()).unwrap();
        let mut flipped = sealed.bytes.clone();
        flipped[at.index(sealed.bytes.len())] ^= 1 << bit;
        let cut = &sealed.bytes[..cut.index(sealed.bytes.len())];
        let longer = [sealed.bytes.as_slice(), &more].concat();
        for bytes in [flipped.as_slice(), cut, &longer] {
            prop_assert!(open(bytes, &identity()).is_err());
            prop_assert!(open_with_file_key(bytes, &sealed.file_key).is_err());
        }
    }

    #[test]
    fn nonsense_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let after_magic = [b"age-encryption.org/v1\n".as_slice(), &bytes].concat();
        for bytes in [bytes, after_magic] {
            prop_assert!(open(&bytes, &identity()).is_err());
            prop_assert!(file_key(&bytes, &identity()).is_err());
            prop_assert!(open_passphrase(&bytes, "x", 4).is_err());
        }
    }
}

#[test]
fn the_file_key_is_had_from_the_header_alone_but_only_if_it_is_whole() {
    let sealed = seal(&[1; 5000], identity().recipient()).unwrap();
    let end = sealed.bytes.windows(4).position(|window| window == b"\n---").unwrap() + 1;
    let nonce = sealed.bytes[end..].iter().position(|byte| *byte == b'\n').unwrap() + end + 17;
    assert_eq!(file_key(&sealed.bytes[..nonce], &identity()).unwrap().expose(), sealed.file_key.expose());
    assert_eq!(file_key(&sealed.bytes[..end + 5], &identity()).err(), Some(OpenError::Header));
    assert_eq!(open(&sealed.bytes[..nonce], &identity()).err(), Some(OpenError::Payload));
}

#[test]
fn a_header_without_end_is_refused_before_it_is_parsed() {
    let mut bytes = b"age-encryption.org/v1\n".to_vec();
    while bytes.len() < 4 << 20 {
        bytes.extend_from_slice(b"-> x\n\n");
    }
    assert_eq!(open(&bytes, &identity()).err(), Some(OpenError::Header));
    assert_eq!(open(b"age-encryption.org/v2\nwhatever", &identity()).err(), Some(OpenError::Version));
}

#[test]
fn nobody_seals_to_bytes_that_are_no_key() {
    let no_key = Recipient::from_bytes(&[0xff; Recipient::LEN]).unwrap();
    assert_eq!(seal(b"x", &no_key).err(), Some(SealError::Recipient));
}

#[test]
fn two_seals_of_one_plaintext_have_nothing_in_common() {
    let one = seal(b"same", identity().recipient()).unwrap();
    let two = seal(b"same", identity().recipient()).unwrap();
    assert_ne!(one.bytes, two.bytes);
    assert_ne!(one.file_key.expose(), two.file_key.expose());
}
