//! A sealed document: header, compressed content and padding in one age file to one recipient, named by the BLAKE3 of its ciphertext.
//!
//! age does not authenticate a sender, and whoever can read could put another content under the same header. A document is therefore opened against what its Publish entry says,
//! and comes out only if header, origin and entry agree.

use chartmesh_identity::{AuthorKey, BlobHash, CborError, LedgerId, Recipient, SignedError, Verified, from_canonical, to_canonical};
use thiserror::Error;
use zeroize::Zeroizing;
use zstd::zstd_safe::compress_bound;

use crate::{
    file::{Key, OpenError, SealError, open_with, seal},
    frames::{self, LayoutError},
    keys::FileKey,
    origin::{Header, Origin},
    packed::Packer,
    stack::wiped,
};

/// Longest content of one document, in bytes. Longer attachments travel in parts.
pub const MAX_CONTENT: u64 = 16 * 1024 * 1024;
/// No sealed document is longer, in bytes: content that cannot be compressed, the longest header, padding, and what age adds.
pub const MAX_SEALED: u64 = 20 * 1024 * 1024;

/// A document ready to be stored and published.
pub struct SealedDocument {
    /// The age file.
    pub bytes: Vec<u8>,
    /// BLAKE3-256 of the age file.
    pub hash: BlobHash,
    /// Length of the content before compression, in bytes: what the Publish body states.
    pub content_length: u64,
    /// Opens this document alone.
    pub file_key: FileKey,
}

/// What the Publish entry and its body say of a document.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// BLAKE3-256 of the age file.
    pub hash: BlobHash,
    /// Length of the content, in bytes, at most [`MAX_CONTENT`]. Decompression stops there.
    pub content_length: u64,
    /// The ledger that holds the entry.
    pub ledger: LedgerId,
    /// Earlier ledgers of the same patient, which `ledger` continues: origins from their time name one of them.
    pub continues: &'a [LedgerId],
    /// The compartment whose catalog holds the entry, if the reader knows its name.
    pub compartment: Option<&'a str>,
    /// The entry's author.
    pub publisher: AuthorKey,
}

/// A document whose header, origin and entry agree.
pub struct OpenedDocument {
    /// What stands in front of the content.
    pub header: Header,
    /// The author's word, its signature checked.
    pub origin: Verified<Origin>,
    /// The content, byte for byte as it was sealed.
    pub content: Zeroizing<Vec<u8>>,
}

/// Why a document is not to be shown. None of these quotes any content.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// Not the bytes that were published.
    #[error("the sealed bytes are not those that were published")]
    Hash,
    /// The age file does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stated length is beyond what a document may have.
    #[error("a content of {0} bytes is more than a document may have")]
    TooLong(u64),
    /// Not header, content and padding.
    #[error("the layout is not that of a document: {0}")]
    Layout(#[from] LayoutError),
    /// The header is not one.
    #[error("the header: {0}")]
    Header(CborError),
    /// Not decompressible, or longer than stated.
    #[error("the content does not decompress to the {0} bytes that were stated")]
    Content(u64),
    /// The origin's signature or form is wrong.
    #[error("the origin: {0}")]
    Origin(SignedError),
    /// Signed over another content.
    #[error("the author signed another content")]
    OriginContent,
    /// Header, origin and entry name different things.
    #[error("header, origin and entry disagree on the {0}")]
    Mismatch(&'static str),
}

/// Seals a document to a compartment's recipient.
///
/// The header is taken as it is: whether its origin is signed and fits the content, those who open it will check.
/// The stack is the caller's to wipe ([`crate::wiped`]), once for all that it seals.
pub fn seal_document(content: &[u8], header: &Header, to: &Recipient, packer: &mut Packer) -> Result<SealedDocument, SealError> {
    let content_length = content.len() as u64;
    if content_length > MAX_CONTENT {
        return Err(SealError::TooLong { length: content_length, limit: MAX_CONTENT });
    }
    let plaintext = frames::join(&to_canonical(header), compress_bound(content.len()), |room| packer.pack_to(content, room))
        .map(Zeroizing::new)
        .ok_or(SealError::Failed("compression"))?;
    let sealed = seal(&plaintext, to)?;
    Ok(SealedDocument { hash: BlobHash::of(&sealed.bytes), bytes: sealed.bytes, content_length, file_key: sealed.file_key })
}

/// Whether a header is short enough for [`seal_document`]: an origin bears whatever labels its author gave it.
pub fn fits(header: &Header) -> bool {
    to_canonical(header).len() <= frames::MAX_HEADER
}

/// Opens a document with the identity that it is sealed to or with its own file key, and checks it against its entry.
pub fn open_document<'k>(bytes: &[u8], key: impl Into<Key<'k>>, expected: &Expected<'_>) -> Result<OpenedDocument, DocumentError> {
    wiped(|| open_content(bytes, key.into(), expected))
}

fn open_content(bytes: &[u8], key: Key<'_>, expected: &Expected<'_>) -> Result<OpenedDocument, DocumentError> {
    if BlobHash::of(bytes) != expected.hash {
        return Err(DocumentError::Hash);
    }
    let length = expected.content_length;
    let capacity = usize::try_from(length).ok().filter(|_| length <= MAX_CONTENT).ok_or(DocumentError::TooLong(length))?;
    let plaintext = open_with(bytes, key)?;
    let (header, compressed) = frames::split(&plaintext)?;
    let header: Header = from_canonical(header).map_err(DocumentError::Header)?;
    let content = Zeroizing::new(zstd::bulk::decompress(compressed, capacity).map_err(|_| DocumentError::Content(length))?);
    if content.len() != capacity {
        return Err(DocumentError::Content(length));
    }
    let origin = header.origin.clone().verify().map_err(DocumentError::Origin)?;
    agree(&header, &origin, expected)?;
    if blake3::hash(&content) != origin.content {
        return Err(DocumentError::OriginContent);
    }
    Ok(OpenedDocument { header, origin, content })
}

fn agree(header: &Header, origin: &Origin, expected: &Expected<'_>) -> Result<(), DocumentError> {
    if header.ledger != expected.ledger {
        return Err(DocumentError::Mismatch("ledger"));
    }
    if origin.ledger != expected.ledger && !expected.continues.contains(&origin.ledger) {
        return Err(DocumentError::Mismatch("patient"));
    }
    if header.publisher != expected.publisher {
        return Err(DocumentError::Mismatch("publisher"));
    }
    if expected.compartment.is_some_and(|compartment| compartment != header.compartment) {
        return Err(DocumentError::Mismatch("compartment"));
    }
    Ok(())
}
