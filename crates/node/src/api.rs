//! The node's one typed API: what a program may ask and what it gets, in process or over `control.sock`.
//!
//! The answers' serde form is what `--json` prints (schemas/cli/*.schema.json). Instants are RFC 3339 texts in UTC; ids are lower-case hexadecimal.

use std::path::PathBuf;

use chartmesh_identity::{BlobHash, GrantId, LedgerId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What went wrong, and so the exit code of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// It was tried and failed: exit code 1.
    Failed,
    /// The question makes no sense: exit code 2.
    Usage,
    /// Refused by consent or authority: exit code 3.
    Refused,
    /// Nobody could be reached: exit code 4.
    Unreachable,
}

/// An error as a user sees it: what happened, to what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{what}")]
pub struct ApiError {
    /// Its kind.
    pub kind: ErrorKind,
    /// What happened, and to what. Never patient data, never a key.
    pub what: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl ApiError {
    /// Tried and failed.
    pub fn failed(what: impl std::fmt::Display) -> Self {
        Self { kind: ErrorKind::Failed, what: what.to_string(), advice: None }
    }

    /// A question that makes no sense.
    pub fn usage(what: impl std::fmt::Display) -> Self {
        Self { kind: ErrorKind::Usage, what: what.to_string(), advice: None }
    }

    /// Refused by consent or authority.
    pub fn refused(what: impl std::fmt::Display) -> Self {
        Self { kind: ErrorKind::Refused, what: what.to_string(), advice: None }
    }

    /// Nobody could be reached.
    pub fn unreachable(what: impl std::fmt::Display) -> Self {
        Self { kind: ErrorKind::Unreachable, what: what.to_string(), advice: None }
    }

    /// With what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Where a contact comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PeerSource {
    /// A `chartmesh:` ticket; its card is fetched over iroh.
    Ticket(String),
    /// The bytes of a signed card, or of an invitation; works offline.
    File(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// A file or directory to import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportPath {
    /// Its absolute path.
    pub path: PathBuf,
    /// What the user calls it: so it is named in what is said of it.
    pub called: PathBuf,
}

impl From<PathBuf> for ImportPath {
    fn from(path: PathBuf) -> Self {
        Self { called: path.clone(), path }
    }
}

/// The terms of a grant as they are typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermsInput {
    /// `--read`: selectors; none, and neither `--write` nor `--custodian` alone, means `all`.
    pub read: Vec<String>,
    /// `--except`: selectors.
    pub except: Vec<String>,
    /// `--write`: may publish for the patient.
    pub write: bool,
    /// `--custodian`: keeps and serves ciphertext.
    pub custodian: bool,
    /// `--purpose`: v3-ActReason codes; none means TREAT.
    pub purpose: Vec<String>,
    /// `--data-from`: first day of the data, `YYYY-MM-DD`.
    pub data_from: Option<String>,
    /// `--data-until`: last day of the data.
    pub data_until: Option<String>,
    /// `--expires`: a day, or a number of days like `90d`.
    pub expires: Option<String>,
}

/// What a program may ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Own card and ticket.
    Card,
    /// Add a contact.
    PeerAdd {
        /// Ticket, card or invitation.
        source: PeerSource,
        /// Short name; by default made from the card's name.
        alias: Option<String>,
    },
    /// All contacts.
    PeerList,
    /// Forget a contact.
    PeerRemove {
        /// Its alias.
        alias: String,
    },
    /// Import files and directories.
    Import {
        /// What to read.
        paths: Vec<ImportPath>,
        /// For a provider: the patient (alias, name or ledger id) to publish for.
        patient: Option<String>,
    },
    /// What this node holds.
    RecordsList {
        /// Only this patient.
        patient: Option<String>,
        /// Only this FHIR type.
        resource_type: Option<String>,
    },
    /// One resource, byte for byte.
    RecordsShow {
        /// `Type/id`.
        reference: String,
        /// Which patient, if several are held.
        patient: Option<String>,
        /// Which version: the one in this sealed document, named by its hash or the beginning of it; by default the one that counts today.
        document: Option<String>,
        /// v3-ActReason code written into the receipt; by default the grant's first.
        purpose: Option<String>,
        /// Show it even if it was set aside; only for the patient.
        quarantined: bool,
    },
    /// Everything readable, as FHIR Bundles.
    RecordsExport {
        /// Absolute path of a directory.
        directory: PathBuf,
        /// Which patient.
        patient: Option<String>,
        /// v3-ActReason code written into the receipt.
        purpose: Option<String>,
    },
    /// A sealed document as stored.
    RecordsSealed {
        /// Its hash, or the beginning of it.
        document: String,
    },
    /// The age identities that open one's own documents.
    KeyExport,
    /// What a peer would see.
    ConsentPreview {
        /// Alias of the peer.
        peer: String,
        /// The terms.
        terms: TermsInput,
    },
    /// Grant.
    ConsentGrant {
        /// Alias of the peer.
        peer: String,
        /// The terms.
        terms: TermsInput,
    },
    /// All grants.
    ConsentList,
    /// One grant.
    ConsentShow {
        /// Grant id, or the beginning of it.
        grant: String,
    },
    /// End a grant.
    ConsentRevoke {
        /// Grant id, or the beginning of it.
        grant: String,
        /// Reason, sealed into the ledger.
        reason: Option<String>,
    },
    /// A grant as FHIR Consent.
    ConsentExport {
        /// Grant id, or the beginning of it.
        grant: String,
    },
    /// A grant from a FHIR Consent.
    ConsentImport {
        /// FHIR JSON.
        #[serde(with = "serde_bytes")]
        consent: Vec<u8>,
        /// Whom it is granted to; else the one contact that the Consent names.
        peer: Option<String>,
        /// The reference by which the Consent names them, such as `Practitioner/7`.
        named: Option<String>,
    },
    /// The sealed invitation of a grant, to be carried as a file.
    ConsentInvitation {
        /// Grant id, or the beginning of it.
        grant: String,
    },
    /// The entries of the ledgers held.
    LedgerLog {
        /// Which patient.
        patient: Option<String>,
    },
    /// Check everything in the ledgers held; an exported file is for [`crate::verify_ledger_file`].
    LedgerVerify,
    /// A ledger as a file.
    LedgerExport {
        /// Which patient.
        patient: Option<String>,
    },
    /// Who opened what.
    Audit {
        /// Which patient.
        patient: Option<String>,
    },
    /// One exchange with everyone reachable.
    Sync {
        /// Give up after so many milliseconds.
        timeout_ms: u64,
    },
    /// Peers, connections, what is pending.
    Status,
    /// Check everything at rest.
    Doctor {
        /// Mend what can be mended.
        repair: bool,
    },
}

/// What a program gets; each variant answers the request of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Nothing to say.
    Done(Done),
    /// Own card.
    Card(CardInfo),
    /// One contact.
    Peer(PeerInfo),
    /// Contacts.
    Peers(Vec<PeerInfo>),
    /// What was imported.
    Imported(ImportInfo),
    /// Resources held.
    Records(Vec<RecordInfo>),
    /// What a peer would see.
    Preview(PreviewInfo),
    /// One grant.
    Grant(GrantInfo),
    /// Grants.
    Grants(Vec<GrantInfo>),
    /// Ledger entries.
    Log(Vec<LogInfo>),
    /// Result of a verification.
    Verified(VerifyInfo),
    /// Accesses.
    Audit(Vec<AuditInfo>),
    /// Result of a sync.
    Synced(SyncInfo),
    /// State of the node.
    Status(StatusInfo),
    /// What is at rest, and whether it is as it was written.
    Doctor(DoctorInfo),
    /// Where an export went.
    Exported(ExportInfo),
    /// One resource.
    Shown(ShownInfo),
    /// Bytes: a sealed document, a card, keys, a ledger, an invitation.
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Response {
    /// What `--json` prints; none for resources and bytes, which are written as they are.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        let value = match self {
            Self::Done(answer) => serde_json::to_value(answer),
            Self::Card(answer) => serde_json::to_value(answer),
            Self::Peer(answer) => serde_json::to_value(answer),
            Self::Peers(answer) => serde_json::to_value(answer),
            Self::Imported(answer) => serde_json::to_value(answer),
            Self::Records(answer) => serde_json::to_value(answer),
            Self::Preview(answer) => serde_json::to_value(answer),
            Self::Grant(answer) => serde_json::to_value(answer),
            Self::Grants(answer) => serde_json::to_value(answer),
            Self::Log(answer) => serde_json::to_value(answer),
            Self::Verified(answer) => serde_json::to_value(answer),
            Self::Audit(answer) => serde_json::to_value(answer),
            Self::Synced(answer) => serde_json::to_value(answer),
            Self::Status(answer) => serde_json::to_value(answer),
            Self::Doctor(answer) => serde_json::to_value(answer),
            Self::Exported(answer) => serde_json::to_value(answer),
            Self::Shown(_) | Self::Bytes(_) => return None,
        };
        value.ok()
    }
}

/// Done; what there is to say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// For people.
    pub done: String,
}

/// Own card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardInfo {
    /// Name on the card.
    pub name: String,
    /// patient, practitioner, organization or custodian.
    pub kind: String,
    /// Ticket for first contact.
    pub ticket: String,
    /// Card hash.
    pub card: String,
    /// Party key.
    pub party: String,
    /// iroh endpoint id.
    pub endpoint: String,
    /// Addresses, if the node is running.
    pub addresses: Vec<String>,
    /// Ledger, of a patient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerId>,
    /// The signed card, hexadecimal.
    pub signed: String,
}

/// A contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Short name.
    pub alias: String,
    /// Name on the card.
    pub name: String,
    /// patient, practitioner, organization or custodian.
    pub kind: String,
    /// Card hash.
    pub card: String,
    /// Party key.
    pub party: String,
    /// iroh endpoints.
    pub endpoints: Vec<String>,
    /// Last known addresses.
    pub addresses: Vec<String>,
    /// Its card changed in a way that must be confirmed first; until then nothing is exchanged.
    pub blocked: bool,
}

/// What was imported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportInfo {
    /// Files read.
    pub files: u64,
    /// Resources read.
    pub resources: u64,
    /// Resources that were new or newer and are now published.
    pub published: u64,
    /// Resources already held.
    pub unchanged: u64,
    /// Sealed documents made.
    pub documents: u64,
    /// How many of them per compartment.
    pub compartments: std::collections::BTreeMap<String, u64>,
    /// Resources whose typed parse failed, or lost something; kept and marked.
    pub marked: u64,
    /// What was not accepted and why; nothing of these was imported.
    pub refused: Vec<RefusedInfo>,
    /// Files and links in the directories that were passed over: of another kind, or leading nowhere.
    pub skipped: u64,
    /// The records seem to be of somebody else than this patient, or of several patients.
    pub mixed: bool,
}

/// Something that was not imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedInfo {
    /// File and position.
    pub position: String,
    /// Why.
    pub reason: String,
}

/// A resource, or a sealed document of which nothing more is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordInfo {
    /// FHIR type; null where locked.
    #[serde(rename = "type")]
    pub resource_type: Option<String>,
    /// FHIR id.
    pub id: Option<String>,
    /// The patient's ledger.
    pub patient: LedgerId,
    /// What the patient is called, as far as it is known; left out on the patient's own node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient_name: Option<String>,
    /// Category.
    pub category: Option<String>,
    /// Sensitivity: the most restrictive that it has, which is where it is sealed.
    pub sensitivity: Option<String>,
    /// Every sensitivity that it has; an exception for any of them keeps it closed.
    pub sensitivities: Vec<String>,
    /// Clinical date, literally.
    pub date: Option<String>,
    /// Name of whoever published it.
    pub author: Option<String>,
    /// Hash of the sealed document; of the first that is known of, where it is in parts.
    pub document: BlobHash,
    /// Hashes of all that are known of, in their order, where it is too large for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<BlobHash>,
    /// `readable`, `locked` or `quarantined`.
    pub state: String,
    /// `ok`, `lossy` or `failed`.
    pub typed: Option<String>,
    /// Short title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A newer version of the same resource is held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
}

/// One resource as it came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownInfo {
    /// The other versions that could be shown under the same reference; none where the version was chosen by its document.
    pub others: Vec<VersionInfo>,
    /// Its bytes. Last, as in the encoding: a gigabyte need not be moved to its place.
    #[serde(with = "serde_bytes")]
    pub resource: Vec<u8>,
}

/// One version of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Hash of the sealed document; of the first, where it is in parts.
    pub document: BlobHash,
    /// Name of whoever published it.
    pub author: String,
    /// When, by the author's clock.
    pub published: String,
    /// A newer version by somebody who may supersede it is held.
    pub superseded: bool,
}

/// What a peer would see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewInfo {
    /// Name of the peer.
    pub peer: String,
    /// The terms in plain words.
    pub terms: Vec<String>,
    /// Grants in force to the same peer: what they open is counted as readable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<GrantId>,
    /// Resources that would be readable.
    pub readable: u64,
    /// Resources that would stay closed.
    pub closed: u64,
    /// Per compartment.
    pub compartments: Vec<PreviewLine>,
    /// Notices that go with the records (42 CFR Part 2).
    pub notices: Vec<String>,
}

/// One line of a preview.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewLine {
    /// `sensitivity/category`.
    pub compartment: String,
    /// Resources readable.
    pub readable: u64,
    /// Resources closed.
    pub closed: u64,
    /// Why, in plain words.
    pub because: Vec<String>,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantInfo {
    /// Its id.
    pub grant: GrantId,
    /// The patient's ledger.
    pub patient: LedgerId,
    /// What the patient is called, as far as it is known; left out on the patient's own node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient_name: Option<String>,
    /// Name of the grantee.
    pub peer: String,
    /// Its party key.
    pub party: String,
    /// `active`, `revoked` or `expired`.
    pub state: String,
    /// What it allows, in plain words.
    pub terms: Vec<String>,
    /// Since when.
    pub since: String,
    /// Until when, if it expires or was revoked.
    pub until: Option<String>,
    /// Why it was revoked, if the patient said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// May write.
    pub write: bool,
    /// On the party's own node, of a grant in force that lets it write: whether what it needs for that has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Is a custodian.
    pub custodian: bool,
    /// Purposes.
    pub purpose: Vec<String>,
    /// Resources it opens today.
    pub readable: u64,
    /// Other grants in force to the same peer: what any of them opens is open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<GrantId>,
    /// Resources open to the peer today by all grants in force together.
    pub open: u64,
    /// What whoever grants should look at; on the party's own node, the notices that go with what it was given, such as that of 42 CFR Part 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Nodes that confirmed the revocation, or have fetched the grant.
    pub confirmed: Vec<String>,
}

/// A ledger entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogInfo {
    /// Its hash.
    pub entry: String,
    /// The ledger.
    pub patient: LedgerId,
    /// What the patient is called, as far as it is known; left out on the patient's own node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient_name: Option<String>,
    /// The lane, as far as it is known: `keyring`, `circle Dr Lee`, `catalog general/results`, or its id.
    pub lane: String,
    /// Who wrote it, as far as known.
    pub author: String,
    /// Its number in that author's log of that lane.
    pub seq: u64,
    /// When, by the author's clock.
    pub time: String,
    /// What it does.
    pub action: String,
    /// `stands`, `stale`, `void: reason` or `no effect`.
    pub verdict: String,
}

/// Result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyInfo {
    /// True if nothing is wrong.
    pub ok: bool,
    /// Ledgers checked.
    pub ledgers: u64,
    /// Charter versions checked.
    pub charters: u64,
    /// Entries checked.
    pub entries: u64,
    /// Forks found, each with its proof's entries.
    pub forks: Vec<String>,
    /// Whatever else is wrong.
    pub problems: Vec<String>,
}

/// An access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditInfo {
    /// When, by the reader's clock.
    pub time: String,
    /// The patient's ledger.
    pub patient: LedgerId,
    /// What the patient is called, as far as it is known; left out on the patient's own node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient_name: Option<String>,
    /// Who: the party.
    pub party: String,
    /// Who: the person or program at that party.
    pub who: String,
    /// What: `Type/id` references.
    pub what: Vec<String>,
    /// v3-ActReason code.
    pub purpose: String,
    /// Under which grant.
    pub grant: GrantId,
    /// It was heard of after the revocation, and says nothing of an earlier time.
    pub after_withdrawal: bool,
    /// It was heard of after the revocation, and says that it happened before: true where the reader's clock is.
    pub told_late: bool,
}

/// Result of a sync.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncInfo {
    /// Names of those reached and done.
    pub reached: Vec<String>,
    /// Names of those not reached, or not done in time, and why.
    pub missed: Vec<String>,
    /// Entries received.
    pub entries: u64,
    /// Documents received.
    pub documents: u64,
    /// Documents still missing.
    pub pending: u64,
}

/// State of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusInfo {
    /// Name on the card.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// A node is running on this home.
    pub running: bool,
    /// Patients whose ledger is held.
    pub ledgers: u64,
    /// Documents held.
    pub documents: u64,
    /// Documents known of and still to be fetched.
    pub pending: u64,
    /// Why this node may not write any more, if so: it was replaced, or is a copy of a home that went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// Peers.
    pub peers: Vec<PeerStatus>,
}

/// A peer, and the connection to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// A session is up.
    pub online: bool,
    /// `direct`, `relayed`, or null where there is no connection.
    pub path: Option<String>,
    /// Round trip, in microseconds.
    pub round_trip_us: Option<u64>,
    /// Documents still to be fetched from it.
    pub pending: u64,
    /// A changed card must be confirmed first.
    pub blocked: bool,
}

/// What is at rest in a home, and whether it is as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorInfo {
    /// Nothing is damaged any more.
    pub ok: bool,
    /// Values of the vault that are as they were written.
    pub values: u64,
    /// Ledgers checked.
    pub ledgers: u64,
    /// Charter versions checked.
    pub charters: u64,
    /// Entries whose signature, link and digest are right.
    pub entries: u64,
    /// Sealed documents whose bytes are those that they are named for.
    pub documents: u64,
    /// How many of them this node can open, and found to hold what their entries say.
    pub opened: u64,
    /// Whatever is damaged, or was.
    pub findings: Vec<FindingInfo>,
    /// Where damaged files were moved to, if any were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<PathBuf>,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingInfo {
    /// What: a file below the home, a document, a ledger, a table and key of the vault.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// `damaged`; after a repair `repaired`, or `lost` where nobody could supply it.
    pub state: String,
    /// What that means for whoever runs the node.
    pub meaning: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Where an export went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportInfo {
    /// The directory.
    pub directory: PathBuf,
    /// Files written.
    pub files: u64,
    /// Resources written, each once.
    pub resources: u64,
    /// Documents that could not be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<RefusedInfo>,
}
