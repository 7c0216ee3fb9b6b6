//! One age v1 file (C2SP age specification), in memory: sealed to one recipient, opened with an identity or with the file's own key.

use std::{
    cell::OnceCell,
    io::{Read, Write},
    iter,
};

use age::{DecryptError, Decryptor, Encryptor};
use age_core::{
    format::{FileKey as AgeFileKey, Stanza},
    secrecy::ExposeSecret,
};
use chartmesh_identity::Recipient;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    hybrid::Wrapper,
    keys::{FileKey, Identity},
};

/// Longest header that is read, in bytes: ten recipients' worth. age parses it again from its start at every line, so a bound keeps that from being a lever.
const MAX_HEADER: usize = 16 * 1024;
/// The first line of age v1 files.
const VERSION_LINE: &[u8] = b"age-encryption.org/v1\n";
/// What a stanza's first line begins with; no line of a body can.
const STANZA: &[u8] = b"-> ";
/// What the line that ends a header begins with; no other line can.
const HEADER_END: &[u8] = b"\n---";

/// A sealed file and the key that opens it alone.
pub struct Sealed {
    /// The whole age file, binary.
    pub bytes: Vec<u8>,
    /// Opens this file and no other.
    pub file_key: FileKey,
}

/// Why something cannot be sealed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// The recipient's bytes are not a public key.
    #[error("the recipient is not a valid post-quantum public key")]
    Recipient,
    /// Longer than a document may be; lengths in bytes.
    #[error("{length} bytes are too many for one document of at most {limit}: split it into parts")]
    TooLong {
        /// Length of what was to be sealed.
        length: u64,
        /// The bound.
        limit: u64,
    },
    /// The scrypt work factor is zero or beyond what [`open_passphrase`](crate::open_passphrase) would ever accept.
    #[error("{0} is not a usable scrypt work factor")]
    WorkFactor(u8),
    /// The compressor or the cipher gave up.
    #[error("sealing failed: {0}")]
    Failed(&'static str),
}

/// Why an age file does not open. None of these says anything of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// Not an age file, or its header is malformed, cut short or longer than is read.
    #[error("not a binary age v1 file, or its header is malformed")]
    Header,
    /// An age file of a later version.
    #[error("an age file of a version that is not known here")]
    Version,
    /// Sealed to somebody else.
    #[error("not sealed to this key")]
    NoMatch,
    /// The header was changed, or the file key is another file's.
    #[error("the header does not fit the file's key: it was changed, or the key is another file's")]
    Mac,
    /// The payload was changed or cut short.
    #[error("the content was changed or cut short")]
    Payload,
}

/// What opens a file.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    /// The identity that it is sealed to.
    Identity(&'a Identity),
    /// The file's own key.
    File(&'a FileKey),
}

impl<'a> From<&'a Identity> for Key<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self::Identity(identity)
    }
}

impl<'a> From<&'a FileKey> for Key<'a> {
    fn from(file_key: &'a FileKey) -> Self {
        Self::File(file_key)
    }
}

/// Holds a file key as age's joint wants it: it fits any stanza, and the header's MAC tells whether it is the right one.
struct Bearer<'a>(&'a FileKey);

impl age::Identity for Bearer<'_> {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<Result<AgeFileKey, DecryptError>> {
        Some(Ok(AgeFileKey::init_with_mut(|to| to.copy_from_slice(self.0.expose()))))
    }
}

/// Passes stanzas on and keeps the file key that comes back.
struct Catcher<'a> {
    inner: &'a dyn age::Identity,
    caught: OnceCell<FileKey>,
}

impl age::Identity for Catcher<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<AgeFileKey, DecryptError>> {
        let unwrapped = self.inner.unwrap_stanza(stanza);
        if let Some(Ok(file_key)) = &unwrapped {
            self.caught.get_or_init(|| FileKey::new(*file_key.expose_secret()));
        }
        unwrapped
    }
}

/// Seals bytes to one recipient.
pub fn seal(plaintext: &[u8], to: &Recipient) -> Result<Sealed, SealError> {
    let wrapper = Wrapper::new(to).ok_or(SealError::Recipient)?;
    let bytes = encrypt(plaintext, &wrapper)?;
    let file_key = wrapper.file_key.into_inner().ok_or(SealError::Failed("no file key"))?;
    Ok(Sealed { bytes, file_key })
}

/// Opens a file that is sealed to this identity.
pub fn open(bytes: &[u8], identity: &Identity) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    decrypt(bytes, identity.private()).map_err(OpenError::from)
}

/// Opens the one file whose key this is.
pub fn open_with_file_key(bytes: &[u8], file_key: &FileKey) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    decrypt(bytes, &Bearer(file_key)).map_err(OpenError::from)
}

/// The key of a file that is sealed to this identity. The header is authenticated; the payload may be missing.
pub fn file_key(bytes: &[u8], identity: &Identity) -> Result<FileKey, OpenError> {
    let catcher = Catcher { inner: identity.private(), caught: OnceCell::new() };
    decryptor(bytes)?.decrypt(iter::once(&catcher as _)).map_err(OpenError::from)?;
    catcher.caught.into_inner().ok_or(OpenError::NoMatch)
}

pub(crate) fn open_with(bytes: &[u8], key: Key<'_>) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    match key {
        Key::Identity(identity) => open(bytes, identity),
        Key::File(file_key) => open_with_file_key(bytes, file_key),
    }
}

pub(crate) fn encrypt(plaintext: &[u8], to: &dyn age::Recipient) -> Result<Vec<u8>, SealError> {
    let encryptor = Encryptor::with_recipients(iter::once(to)).map_err(|_| SealError::Failed("no stanza"))?;
    let mut bytes = Vec::with_capacity(plaintext.len() + plaintext.len() / 2048 + 4096);
    let mut writer = encryptor.wrap_output(&mut bytes).map_err(|_| SealError::Failed("no header"))?;
    writer.write_all(plaintext).and_then(|()| writer.finish()).map_err(|_| SealError::Failed("no payload"))?;
    Ok(bytes)
}

pub(crate) fn decrypt(bytes: &[u8], with: &dyn age::Identity) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let mut reader = decryptor(bytes)?.decrypt(iter::once(with))?;
    // As long as the ciphertext, which is longer than the plaintext: the buffer never moves and leaves no copy behind.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(bytes.len()));
    reader.read_to_end(&mut plaintext).map_err(|_| DecryptError::DecryptionFailed)?;
    Ok(plaintext)
}

fn decryptor(bytes: &[u8]) -> Result<Decryptor<&[u8]>, DecryptError> {
    if bytes.starts_with(VERSION_LINE) {
        let start = &bytes[..bytes.len().min(MAX_HEADER)];
        let end = start.windows(HEADER_END.len()).position(|window| window == HEADER_END);
        if !end.is_some_and(|end| has_full_stanzas(&start[..end])) {
            return Err(DecryptError::InvalidHeader);
        }
    }
    Decryptor::new_buffered(bytes)
}

/// Whether every stanza's body ends in a line of fewer than 64 characters, as the specification demands; age reads an older form without it too.
fn has_full_stanzas(header: &[u8]) -> bool {
    let mut lines = header.split(|byte| *byte == b'\n').skip(1).peekable();
    while let Some(line) = lines.next() {
        let is_last = lines.peek().is_none_or(|next| next.starts_with(STANZA));
        if is_last && (line.starts_with(STANZA) || line.len() >= 64) {
            return false;
        }
    }
    true
}

impl From<DecryptError> for OpenError {
    fn from(error: DecryptError) -> Self {
        match error {
            DecryptError::DecryptionFailed => Self::Payload,
            DecryptError::InvalidMac => Self::Mac,
            DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed => Self::NoMatch,
            DecryptError::UnknownFormat => Self::Version,
            DecryptError::InvalidHeader | DecryptError::Io(_) | DecryptError::ExcessiveWork { .. } => Self::Header,
        }
    }
}
