//! The signed header of an entry: everything but the sealed body.

use chartmesh_identity::{AccessId, AuthorKey, BlobHash, Certificate, EntryHash, GrantId, LaneId, LedgerId, Named, PartyKey, Payload, Signed};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use crate::action::Action;

/// The one suite of algorithms of this version: Ed25519, BLAKE3, age `mlkem768x25519`.
pub const SUITE: u64 = 1;
/// Longest signed header, in bytes.
pub const MAX_HEADER: usize = 1 << 20;
/// Longest sealed body, in bytes.
pub const MAX_BODY: usize = 16 << 20;
/// Longest list in a header.
pub const MAX_LIST: usize = 4096;
/// What `max_age` of a Grant is unless the patient says otherwise: seven days, in seconds.
pub const DEFAULT_MAX_AGE: u64 = 7 * 24 * 3600;

/// What an Admit names a party by: BLAKE3 of salt and party key, so that readers of the catalog learn no party.
pub fn admit_hash(salt: &[u8; 16], party: &PartyKey) -> [u8; 32] {
    *blake3::Hasher::new().update(salt).update(party.as_bytes()).finalize().as_bytes()
}

/// Under what a party writes. Every entry of a party names it; entries of devices do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Use {
    /// In its circle: one of its grants.
    Grant(GrantId),
    /// In a catalog: its access.
    Admit {
        /// Names the access.
        id: AccessId,
        /// What the Admit's hash was salted with.
        #[serde(with = "serde_bytes")]
        salt: [u8; 16],
    },
}

/// The signed part of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryHeader {
    /// Algorithms: [`SUITE`].
    pub suite: u64,
    /// The ledger it belongs to.
    pub ledger: LedgerId,
    /// The lane it belongs to.
    pub lane: LaneId,
    /// Who signed it.
    pub author: AuthorKey,
    /// Where the author is one of a party's nodes: the party's certificate for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<Signed<Certificate>>,
    /// Its place in the author's log in this lane, from 1.
    pub seq: u64,
    /// The entry before it there; none for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev: Option<EntryHash>,
    /// Unix seconds by the author's clock. Advisory: nothing is decided by it.
    pub time: i64,
    /// What it does.
    pub action: Action,
    /// Under what a party writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<Use>,
    /// On a Publish: the Epoch entry that its documents are sealed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<EntryHash>,
    /// BLAKE3 of the sealed body, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<BlobHash>,
    /// Header keys and action codes without which it must not be acted upon.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
    /// Header keys that this version does not know, in the order read. Never written.
    #[serde(skip_serializing)]
    pub unknown: Vec<String>,
}

impl EntryHeader {
    /// Every key of a header that this version knows.
    const KEYS: [&'static str; 13] = ["suite", "ledger", "lane", "author", "cert", "seq", "prev", "time", "action", "uses", "epoch", "body", "crit"];

    /// Whether every part of it is known to this version.
    pub fn understood(&self) -> bool {
        self.unknown.is_empty() && !self.critical() && !matches!(self.action, Action::Unknown { .. })
    }

    /// Whether it names as critical what this version does not know.
    pub fn critical(&self) -> bool {
        self.crit.iter().any(|name| !Action::CODES.contains(&name.as_str()) && !Self::KEYS.contains(&name.as_str()))
    }
}

impl Payload for EntryHeader {
    const TYP: &'static str = "application/chartmesh-entry+cbor";

    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Named for EntryHeader {
    fn signer(&self) -> [u8; 32] {
        *self.author.as_bytes()
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Suite,
    Ledger,
    Lane,
    Author,
    Cert,
    Seq,
    Prev,
    Time,
    Action,
    Uses,
    Epoch,
    Body,
    Crit,
    Other(String),
}

impl<'de> Deserialize<'de> for EntryHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = EntryHeader;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the header of an entry")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EntryHeader, A::Error> {
        let (mut suite, mut ledger, mut lane, mut author, mut seq, mut time, mut action) = (None, None, None, None, None, None, None);
        let (mut cert, mut prev, mut uses, mut epoch, mut body) = (None, None, None, None, None);
        let (mut crit, mut unknown) = (Vec::new(), Vec::new());
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Suite => suite = Some(map.next_value()?),
                Key::Ledger => ledger = Some(map.next_value()?),
                Key::Lane => lane = Some(map.next_value()?),
                Key::Author => author = Some(map.next_value()?),
                Key::Cert => cert = Some(map.next_value()?),
                Key::Seq => seq = Some(map.next_value()?),
                Key::Prev => prev = Some(map.next_value()?),
                Key::Time => time = Some(map.next_value()?),
                Key::Action => action = Some(map.next_value()?),
                Key::Uses => uses = Some(map.next_value()?),
                Key::Epoch => epoch = Some(map.next_value()?),
                Key::Body => body = Some(map.next_value()?),
                Key::Crit => crit = map.next_value()?,
                Key::Other(name) => {
                    map.next_value::<IgnoredAny>()?;
                    unknown.push(name);
                }
            }
        }
        let missing = A::Error::missing_field;
        Ok(EntryHeader {
            suite: suite.ok_or_else(|| missing("suite"))?,
            ledger: ledger.ok_or_else(|| missing("ledger"))?,
            lane: lane.ok_or_else(|| missing("lane"))?,
            author: author.ok_or_else(|| missing("author"))?,
            cert,
            seq: seq.ok_or_else(|| missing("seq"))?,
            prev,
            time: time.ok_or_else(|| missing("time"))?,
            action: action.ok_or_else(|| missing("action"))?,
            uses,
            epoch,
            body,
            crit,
            unknown,
        })
    }
}
