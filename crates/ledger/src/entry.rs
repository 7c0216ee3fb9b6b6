//! Entries: a signed header and a sealed body that can be detached and erased.

use std::collections::BTreeMap;

use chartmesh_identity::{AuthorKey, BlobHash, Certificate, EntryHash, KeyCache, NodeRole, PartyKey, Signed, SignedError, SigningSecret, Verified};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use thiserror::Error;

use crate::{
    action::Action,
    header::{EntryHeader, MAX_BODY, MAX_HEADER, MAX_LIST, SUITE},
};

/// Longest code, key name or role, in bytes.
const MAX_NAME: usize = 64;

/// An entry as it is sent and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawEntry {
    /// The signed header.
    pub header: Signed<EntryHeader>,
    /// The sealed body, unless it is detached, erased or was never there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<ByteBuf>,
}

/// An entry whose signature, certificate, body hash and bounds have been checked. Whether it has any effect is for [`crate::LaneState`] to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The signed header.
    pub header: Verified<EntryHeader>,
    hash: EntryHash,
    cert: Option<Certificate>,
    /// The sealed body, if it is here.
    pub body: Option<Vec<u8>>,
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryError {
    /// Not signed by its author, or not an entry at all.
    #[error("not a valid entry: {0}")]
    Signed(#[from] SignedError),
    /// The certificate is not signed by the party that it names, or is for another node.
    #[error("not a valid entry: its certificate is not one for its author")]
    Certificate,
    /// The body is not the one that the header names.
    #[error("the body is not the one that the entry names")]
    Body,
    /// Too long, or a list in it is.
    #[error("not a valid entry: its {0} is out of bounds")]
    Bounds(&'static str),
    /// Signed with algorithms of a later version.
    #[error("entry of suite {0}, which this program does not know")]
    Suite(u64),
}

/// Certificates that have been verified before, so that a node's thousand entries cost one verification of its certificate, and authors' keys that have been expanded. Holds at most
/// 1024 of each.
#[derive(Debug, Default)]
pub struct CertCache {
    known: BTreeMap<[u8; 32], Certificate>,
    keys: KeyCache,
}

impl CertCache {
    const MOST: usize = 1024;

    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    fn verify(&mut self, cert: &Signed<Certificate>) -> Result<Certificate, EntryError> {
        let hash = *blake3::hash(cert.as_bytes()).as_bytes();
        if let Some(known) = self.known.get(&hash) {
            return Ok(known.clone());
        }
        let cert = (*verify_cert(cert)?).clone();
        if self.known.len() >= Self::MOST {
            self.known.clear();
        }
        self.known.insert(hash, cert.clone());
        Ok(cert)
    }
}

fn verify_cert(cert: &Signed<Certificate>) -> Result<Verified<Certificate>, EntryError> {
    cert.clone().verify().map_err(|_| EntryError::Certificate)
}

impl Entry {
    /// Signs an entry. `header.body` is set to the hash of `body`; the other fields are the caller's: take `seq` and `prev` from [`crate::Ledger::next`].
    pub fn sign(mut header: EntryHeader, body: Option<Vec<u8>>, key: &SigningSecret) -> Self {
        header.body = body.as_deref().map(BlobHash::of);
        let cert = header.cert.as_ref().and_then(|cert| cert.clone().verify().ok()).map(|cert| (*cert).clone());
        let header = Signed::sign(header, key);
        Self { hash: EntryHash::of(header.as_bytes()), header, cert, body }
    }

    /// Reads and verifies an entry: signature, certificate, hash of the body if that is here, and bounds.
    pub fn read(raw: RawEntry) -> Result<Self, EntryError> {
        Self::read_with(raw, &mut CertCache::new())
    }

    /// As [`Entry::read`], remembering certificates.
    pub fn read_with(raw: RawEntry, certs: &mut CertCache) -> Result<Self, EntryError> {
        let body = raw.body.map(ByteBuf::into_vec);
        check_lengths(raw.header.as_bytes(), body.as_deref())?;
        let header = raw.header.verify_with(&mut certs.keys)?;
        check(&header)?;
        if body.is_some() && body.as_deref().map(BlobHash::of) != header.body {
            return Err(EntryError::Body);
        }
        let cert = header.cert.as_ref().map(|cert| certs.verify(cert)).transpose()?;
        if cert.as_ref().is_some_and(|cert| cert.node != header.author) {
            return Err(EntryError::Certificate);
        }
        Ok(Self { hash: EntryHash::of(header.as_bytes()), header, cert, body })
    }

    /// Whether whoever reads it will take it: what was signed here is not read again before it is stored.
    ///
    /// # Errors
    /// [`EntryError::Bounds`].
    pub fn check_bounds(&self) -> Result<(), EntryError> {
        check_lengths(self.header.as_bytes(), self.body.as_deref())?;
        check(&self.header)
    }

    /// BLAKE3 of the signed header.
    pub fn hash(&self) -> EntryHash {
        self.hash
    }

    /// For whom its author speaks, if it is not a device: the party of its certificate, or the author itself.
    pub fn party(&self) -> PartyKey {
        self.cert.as_ref().map_or_else(|| PartyKey::new(*self.header.author.as_bytes()), |cert| cert.party)
    }

    /// Whether its author may do that for its party: a party's own key may do everything, a node what its certificate says.
    pub fn has_role(&self, role: NodeRole) -> bool {
        self.cert.as_ref().is_none_or(|cert| cert.roles.contains(&role))
    }

    /// The verified certificate, if it carries one.
    pub fn cert(&self) -> Option<&Certificate> {
        self.cert.as_ref()
    }

    /// Who signed it.
    pub fn author(&self) -> AuthorKey {
        self.header.author
    }

    /// As it is sent and stored.
    pub fn to_raw(&self) -> RawEntry {
        RawEntry { header: self.header.signed().clone(), body: self.body.clone().map(ByteBuf::from) }
    }
}

fn check_lengths(header: &[u8], body: Option<&[u8]>) -> Result<(), EntryError> {
    if header.len() > MAX_HEADER {
        return Err(EntryError::Bounds("header"));
    }
    if body.is_some_and(|body| body.len() > MAX_BODY) {
        return Err(EntryError::Bounds("body"));
    }
    Ok(())
}

fn check(header: &EntryHeader) -> Result<(), EntryError> {
    if header.suite != SUITE {
        return Err(EntryError::Suite(header.suite));
    }
    if header.seq == 0 || (header.seq == 1) != header.prev.is_none() {
        return Err(EntryError::Bounds("place in the log"));
    }
    let names = header.crit.iter().chain(&header.unknown).map(String::as_str).chain([header.action.code()]);
    let mut count = 0;
    for name in names {
        count += 1;
        if name.is_empty() || name.len() > MAX_NAME || count > 64 {
            return Err(EntryError::Bounds("name of a key or code"));
        }
    }
    let longest = match &header.action {
        Action::Envelope { epochs, documents, catalogs, .. } => epochs.len().max(documents.len()).max(catalogs.len()),
        Action::Revoke { fence, .. } | Action::Bar { fence, .. } => fence.0.len(),
        Action::Epoch { supersedes, covers, past, .. } => supersedes.len().max(covers.len()).max(past.0.len()),
        Action::Publish { documents } => documents.len(),
        Action::Withdraw { documents, .. } => documents.len(),
        Action::Key {}
        | Action::Grant { .. }
        | Action::Receipt { .. }
        | Action::Confirm { .. }
        | Action::Request {}
        | Action::Admit { .. }
        | Action::Unknown { .. } => 0,
    };
    if longest > MAX_LIST {
        return Err(EntryError::Bounds("longest list"));
    }
    Ok(())
}
