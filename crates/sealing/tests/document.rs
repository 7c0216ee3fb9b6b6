//! Sealed documents: they come out only if header, origin and entry agree, and their size tells little.

use chartmesh_identity::{AuthorKey, BlobHash, LedgerId, Signed, SignedError, SigningSecret, to_canonical};
use chartmesh_sealing::{
    DocumentError, Expected, Header, Identity, LayoutError, MAX_CONTENT, MAX_SEALED, OpenError, Origin, Packer, SealError, SealedDocument, fits, open,
    open_document, padme, seal, seal_document,
};
use proptest::prelude::*;

fn identity() -> Identity {
    Identity::from_seed(&[9; 32])
}

fn author() -> SigningSecret {
    SigningSecret::from_seed(&[1; 32])
}

fn publisher() -> AuthorKey {
    SigningSecret::from_seed(&[2; 32]).author()
}

fn ledger() -> LedgerId {
    LedgerId::of(b"patient")
}

fn origin(content: &[u8]) -> Origin {
    Origin {
        ledger: ledger(),
        content: *blake3::hash(content).as_bytes(),
        media_type: "application/fhir+json".into(),
        labels: vec!["N".into()],
        time: 1_790_000_000,
        supersedes: vec![BlobHash::of(b"before")],
        author: author().author(),
        derived_from: None,
    }
}

fn header(content: &[u8]) -> Header {
    let origin = Signed::sign(origin(content), &author()).signed().clone();
    Header { ledger: ledger(), compartment: "normal/laboratory".into(), publisher: publisher(), origin }
}

fn expected(sealed: &SealedDocument) -> Expected<'static> {
    Expected {
        hash: sealed.hash,
        content_length: sealed.content_length,
        ledger: ledger(),
        continues: &[],
        compartment: Some("normal/laboratory"),
        publisher: publisher(),
    }
}

fn packer(level: i32) -> Packer {
    Packer::new(level).unwrap()
}

fn sealed(content: &[u8], header: &Header) -> SealedDocument {
    seal_document(content, header, identity().recipient(), &mut packer(3)).unwrap()
}

/// What somebody gets who puts these bytes under our names: a file of its own hash, as a writer who means ill would publish it.
fn forged(plaintext: &[u8], content_length: u64) -> Result<(), DocumentError> {
    let file = seal(plaintext, identity().recipient()).unwrap();
    let document = SealedDocument { hash: BlobHash::of(&file.bytes), bytes: file.bytes, content_length, file_key: file.file_key };
    open_document(&document.bytes, &identity(), &expected(&document)).map(|_| ())
}

fn frame(magic: u32, body: &[u8]) -> Vec<u8> {
    [&magic.to_le_bytes()[..], &(body.len() as u32).to_le_bytes(), body].concat()
}

/// Header, some middle part, and the padding that fits.
fn layout(header: &[u8], middle: &[u8]) -> Vec<u8> {
    let bare = [frame(0x184D_2A50, header), middle.to_vec()].concat();
    let total = padme(bare.len() as u64 + 8) as usize;
    let padding = frame(0x184D_2A51, &vec![0; total - bare.len() - 8]);
    [bare, padding].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn documents_come_back_by_either_key(content in prop_oneof![proptest::collection::vec(any::<u8>(), 0..3000), "([a-z]{1,6} ){0,400}".prop_map(String::into_bytes)], level in 1i32..=19) {
        let header = header(&content);
        let document = seal_document(&content, &header, identity().recipient(), &mut packer(level)).unwrap();
        prop_assert_eq!(document.content_length, content.len() as u64);
        let opened = open_document(&document.bytes, &identity(), &expected(&document)).unwrap();
        prop_assert_eq!(&*opened.content, &content);
        prop_assert_eq!(&opened.header, &header);
        prop_assert_eq!(&*opened.origin, &origin(&content));
        let opened = open_document(&document.bytes, &document.file_key, &expected(&document)).unwrap();
        prop_assert_eq!(&*opened.content, &content);
        let plaintext = open(&document.bytes, &identity()).unwrap();
        prop_assert_eq!(padme(plaintext.len() as u64), plaintext.len() as u64);
        prop_assert_eq!(zstd::decode_all(plaintext.as_slice()).unwrap(), content);
    }

    #[test]
    fn bytes_that_were_touched_are_not_opened(at: prop::sample::Index, bit in 0u8..8) {
        let document = sealed(b"content", &header(b"content"));
        let mut bytes = document.bytes.clone();
        bytes[at.index(document.bytes.len())] ^= 1 << bit;
        prop_assert_eq!(open_document(&bytes, &identity(), &expected(&document)).err(), Some(DocumentError::Hash));
        let republished = Expected { hash: BlobHash::of(&bytes), ..expected(&document) };
        let refused = matches!(open_document(&bytes, &identity(), &republished).err(), Some(DocumentError::Open(_)));
        prop_assert!(refused);
    }

    #[test]
    fn any_plaintext_of_a_writer_who_means_ill_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(forged(&bytes, 10).is_err());
        prop_assert!(forged(&layout(&bytes, &bytes), 10).is_err());
        prop_assert!(forged(&layout(&to_canonical(&header(b"content")), &[&0xFD2F_B528u32.to_le_bytes(), bytes.as_slice()].concat()), 10).is_err());
    }
}

/// An author may fill the header to the brim. Under a longer name of its compartment it cannot be sealed again.
#[test]
fn what_cannot_be_sealed_is_told_before() {
    let of_length = |labels: usize, compartment: &str| {
        let origin = Origin { labels: vec!["x".repeat(labels)], ..origin(b"content") };
        Header { compartment: compartment.into(), origin: Signed::sign(origin, &author()).signed().clone(), ..header(b"content") }
    };
    let most = (60_000..70_000).rev().find(|labels| fits(&of_length(*labels, "inbox"))).unwrap();
    let can = |header: &Header| seal_document(b"content", header, identity().recipient(), &mut packer(3)).is_ok();
    for (header, is_possible) in [(of_length(most, "inbox"), true), (of_length(most, "general/results"), false), (of_length(most + 1, "inbox"), false)] {
        assert_eq!((fits(&header), can(&header)), (is_possible, is_possible));
    }
}

#[test]
fn a_reader_who_swaps_the_header_or_the_content_is_found_out() {
    let document = sealed(b"content", &header(b"content"));
    // Sealed anew to the same recipient, as anybody could: the entry names other bytes.
    let swapped = sealed(b"content", &Header { compartment: "normal/other".into(), ..header(b"content") });
    assert_eq!(open_document(&swapped.bytes, &identity(), &expected(&document)).err(), Some(DocumentError::Hash));
    // Published as its own: the author's word does not fit the content.
    let swapped = sealed(b"another", &header(b"content"));
    assert_eq!(open_document(&swapped.bytes, &identity(), &expected(&swapped)).err(), Some(DocumentError::OriginContent));
}

#[test]
fn header_origin_and_entry_must_agree() {
    let document = sealed(b"content", &header(b"content"));
    let open_as = |expected: Expected<'_>| open_document(&document.bytes, &identity(), &expected).err();
    let right = expected(&document);
    assert_eq!(open_as(right), None);
    assert_eq!(open_as(Expected { compartment: None, ..right }), None);
    assert_eq!(open_as(Expected { compartment: Some("restricted/laboratory"), ..right }), Some(DocumentError::Mismatch("compartment")));
    assert_eq!(open_as(Expected { publisher: author().author(), ..right }), Some(DocumentError::Mismatch("publisher")));
    assert_eq!(open_as(Expected { ledger: LedgerId::of(b"somebody else"), ..right }), Some(DocumentError::Mismatch("ledger")));

    let elsewhere = Header { ledger: LedgerId::of(b"somebody else"), ..header(b"content") };
    let document = sealed(b"content", &elsewhere);
    let there = Expected { ledger: elsewhere.ledger, ..expected(&document) };
    assert_eq!(open_document(&document.bytes, &identity(), &there).err(), Some(DocumentError::Mismatch("patient")));
    let continued = Expected { continues: &[ledger()], ..there };
    assert!(open_document(&document.bytes, &identity(), &continued).is_ok());
}

#[test]
fn an_origin_that_its_author_did_not_sign_is_refused() {
    let stranger = SigningSecret::from_seed(&[3; 32]);
    let origin = Signed::sign(origin(b"content"), &stranger).signed().clone();
    let document = sealed(b"content", &Header { origin, ..header(b"content") });
    assert_eq!(open_document(&document.bytes, &identity(), &expected(&document)).err(), Some(DocumentError::Origin(SignedError::Signature)));
}

#[test]
fn decompression_stops_at_the_stated_length() {
    let bomb = vec![0; 8 << 20];
    let document = sealed(&bomb, &header(&bomb));
    assert!(document.bytes.len() < 4096, "{} bytes", document.bytes.len());
    for stated in [0, 1, (8 << 20) - 1, (8 << 20) + 1] {
        let wrong = Expected { content_length: stated, ..expected(&document) };
        assert_eq!(open_document(&document.bytes, &identity(), &wrong).err(), Some(DocumentError::Content(stated)));
    }
    let wild = Expected { content_length: u64::MAX, ..expected(&document) };
    assert_eq!(open_document(&document.bytes, &identity(), &wild).err(), Some(DocumentError::TooLong(u64::MAX)));
    let too_long = vec![0; MAX_CONTENT as usize + 1];
    let refused = SealError::TooLong { length: MAX_CONTENT + 1, limit: MAX_CONTENT };
    assert_eq!(seal_document(&too_long, &header(b""), identity().recipient(), &mut packer(3)).err(), Some(refused));
}

#[test]
fn no_sealed_document_is_longer_than_is_said() {
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut content = vec![0; MAX_CONTENT as usize];
    noise.fill(&mut content);
    let longest = Header { compartment: "x".repeat(64 * 1024 - 700), ..header(&content) };
    let document = sealed(&content, &longest);
    assert!((MAX_CONTENT..=MAX_SEALED).contains(&(document.bytes.len() as u64)), "{} bytes", document.bytes.len());
    let longer = Header { compartment: "x".repeat(64 * 1024), ..longest };
    assert!(seal_document(&content, &longer, identity().recipient(), &mut packer(3)).is_err());
}

#[test]
fn a_frame_that_does_not_say_its_length_is_bounded_as_well() {
    let content = vec![7; 100_000];
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    std::io::copy(&mut content.as_slice(), &mut encoder).unwrap();
    let plaintext = layout(&to_canonical(&header(&content)), &encoder.finish().unwrap());
    assert_eq!(forged(&plaintext, 100_000), Ok(()));
    assert_eq!(forged(&plaintext, 99_999), Err(DocumentError::Content(99_999)));
}

#[test]
fn other_layouts_are_named() {
    let content = zstd::bulk::compress(b"content", 3).unwrap();
    let header = to_canonical(&header(b"content"));
    let good = layout(&header, &content);
    assert_eq!(forged(&good, 7), Ok(()));
    assert_eq!(forged(&content, 7), Err(DocumentError::Layout(LayoutError::Header)));
    assert_eq!(forged(&layout(&header, b""), 7), Err(DocumentError::Layout(LayoutError::Content)));
    assert_eq!(forged(&layout(&header, &[content.as_slice(), &content].concat()), 7), Err(DocumentError::Layout(LayoutError::Padding)));
    assert_eq!(forged(&[good.as_slice(), b"more"].concat(), 7), Err(DocumentError::Layout(LayoutError::Padding)));
    assert!(matches!(forged(&layout(b"not CBOR", &content), 7), Err(DocumentError::Header(_))));
}

#[test]
fn neither_another_identity_nor_another_documents_key_opens_it() {
    let document = sealed(b"content", &header(b"content"));
    let other = Identity::from_seed(&[8; 32]);
    assert_eq!(open_document(&document.bytes, &other, &expected(&document)).err(), Some(DocumentError::Open(OpenError::NoMatch)));
    let foreign = sealed(b"content", &header(b"content"));
    assert_eq!(open_document(&document.bytes, &foreign.file_key, &expected(&document)).err(), Some(DocumentError::Open(OpenError::Mac)));
}

#[test]
fn lengths_close_to_each_other_cannot_be_told_apart() {
    // Random bytes, so that compression does not blur the lengths.
    let lengths = (0..64).map(|more| {
        let mut content = vec![0; 40_000 + more];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        open(&sealed(&content, &header(&content)).bytes, &identity()).unwrap().len()
    });
    let distinct: std::collections::BTreeSet<usize> = lengths.collect();
    assert!(distinct.len() <= 2, "{distinct:?}");
}
