//! age files, and what is in them.

use std::sync::LazyLock;

use chartmesh_identity::{AuthorKey, BlobHash, LedgerId, Signed};
use chartmesh_sealing::{
    Expected, Header, Identity, MAX_CONTENT, Origin, Packer, PassphraseError, file_key, open, open_document, open_passphrase, open_with_file_key, padme, seal,
    seal_document,
};

use crate::generic::{assert_quiet, key, texts};

/// That of the age specification's vector `hybrid`.
static PUBLISHED: LazyLock<Identity> = LazyLock::new(|| {
    let published = Identity::from_bech32("AGE-SECRET-KEY-PQ-1HZLGZUPT4ETPKDEV8HSGFDCYZ4E522W0A7PU2LHT8EH9W6YLNC3SW78XKG");
    published.unwrap_or_else(|_| panic!("the published identity"))
});

/// An age file with hybrid stanzas.
pub fn age(bytes: &[u8]) {
    let opened = open(bytes, &PUBLISHED);
    let key = file_key(bytes, &PUBLISHED);
    match (&opened, &key) {
        (Ok(plaintext), Ok(key)) => {
            assert!(plaintext.len() < bytes.len());
            assert!(open_with_file_key(bytes, key).is_ok_and(|again| *again == **plaintext), "a file's own key opens it");
        }
        (Err(_), Ok(key)) => assert_eq!(open_with_file_key(bytes, key).err(), opened.as_ref().err().copied(), "the header was sound, so the payload is not"),
        (Err(opened), Err(key)) => assert_eq!(opened, key),
        (Ok(_), Err(_)) => panic!("opened, and no file key"),
    }
}

/// A file sealed with a passphrase.
pub fn passphrase(bytes: &[u8]) {
    const MOST_WORK: u8 = 3;
    match open_passphrase(bytes, "passphrase", MOST_WORK) {
        Ok(plaintext) => assert!(plaintext.len() < bytes.len()),
        Err(PassphraseError::Work { required, limit }) => assert!(required > limit && limit == MOST_WORK),
        Err(PassphraseError::Wrong | PassphraseError::File(_)) => {}
    }
}

fn expected(hash: BlobHash, content_length: u64) -> Expected<'static> {
    Expected { hash, content_length, ledger: LedgerId::new([1; 32]), continues: &[], compartment: Some("general/results"), publisher: AuthorKey::new([2; 32]) }
}

/// The plaintext of a document, sealed here: layout, header, compressed content, padding. After the content's length in four bytes, little endian.
pub fn document(bytes: &[u8]) {
    if bytes.len() < 3000 {
        as_content(bytes);
    }
    let Some((length, plaintext)) = bytes.split_first_chunk::<4>() else { return };
    let length = u64::from(u32::from_le_bytes(*length));
    let sealed = seal(plaintext, PUBLISHED.recipient()).expect("anything can be sealed");
    match open_document(&sealed.bytes, &sealed.file_key, &expected(BlobHash::of(&sealed.bytes), length)) {
        Ok(opened) => {
            assert!(opened.content.len() as u64 == length && length <= MAX_CONTENT);
            assert_eq!(padme(plaintext.len() as u64), plaintext.len() as u64);
            assert_eq!(blake3::hash(&opened.content), opened.origin.content);
            assert_eq!(opened.header.compartment, "general/results");
        }
        Err(error) => assert_quiet(&error, plaintext.get(8..).map(texts).unwrap_or_default().iter().map(String::as_str)),
    }
}

/// Any content comes back from a document of it.
fn as_content(content: &[u8]) {
    let origin = Origin {
        ledger: LedgerId::new([1; 32]),
        content: *blake3::hash(content).as_bytes(),
        media_type: "application/fhir+json".into(),
        labels: vec!["general/results".into()],
        time: 0,
        supersedes: Vec::new(),
        author: key().author(),
        derived_from: None,
    };
    let header = Header {
        ledger: LedgerId::new([1; 32]),
        compartment: "general/results".into(),
        publisher: AuthorKey::new([2; 32]),
        origin: Signed::sign(origin, &key()).signed().clone(),
    };
    let sealed = seal_document(content, &header, PUBLISHED.recipient(), &mut Packer::new(3).expect("memory")).expect("a short content");
    let opened = open_document(&sealed.bytes, &sealed.file_key, &expected(sealed.hash, sealed.content_length));
    assert!(opened.is_ok_and(|opened| *opened.content == content), "a document that was just sealed");
}
