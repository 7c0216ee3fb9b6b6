//! What the entries of one lane come to. Computed by `evaluate`, read by everybody.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AccessId, AuthorKey, BlobHash, EntryHash, GrantId, LaneId, PartyKey, Recipient};

use crate::{action::Blob, fence::Fence};

/// Why an entry is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Void {
    /// Its author may not do this here.
    NoAuthority,
    /// Its author signed two entries for one place, here or before.
    Forked,
    /// Beyond the fence of a suspended device, a Revoke or a Bar.
    Fenced,
    /// Its grant is revoked.
    Revoked,
    /// No Grant that stands has this id.
    NoGrant,
    /// Not an action for this lane.
    WrongLane,
}

/// What an entry comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It holds.
    Stands,
    /// It holds, but its documents are sealed to an epoch that is not the usable one.
    Stale,
    /// It does not hold. Void documents are quarantined for the patient, never dropped.
    Void(Void),
    /// Not known to this version.
    NoEffect,
}

/// The Revoke of a grant; of several the one with the lowest hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The Revoke.
    pub entry: EntryHash,
    /// Who signed it.
    pub author: AuthorKey,
    /// Its place in that log.
    pub seq: u64,
    /// What it fences.
    pub fence: Fence,
    /// Unix seconds by its author's clock. Advisory.
    pub time: i64,
}

/// An Envelope of a device with authority. It gives something only while its grant is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeState {
    /// The Envelope.
    pub entry: EntryHash,
    /// Who signed it.
    pub author: AuthorKey,
    /// Epoch entries that it opens.
    pub epochs: Vec<EntryHash>,
    /// Single documents that it opens.
    pub documents: Vec<(EntryHash, BlobHash)>,
    /// Catalogs that the party may write.
    pub catalogs: Vec<LaneId>,
}

/// A party's testimony that it read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptState {
    /// The Receipt.
    pub entry: EntryHash,
    /// Under which grant, as the party says.
    pub grant: GrantId,
    /// Who speaks.
    pub party: PartyKey,
    /// Which node of it.
    pub author: AuthorKey,
    /// The party's count.
    pub n: u64,
    /// Beyond the fence of a Revoke of that grant: read after withdrawal.
    pub late: bool,
}

/// A party's word that it has stopped serving and purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmState {
    /// The Confirm.
    pub entry: EntryHash,
    /// The Revoke that was carried out.
    pub revoke: EntryHash,
    /// Who speaks.
    pub party: PartyKey,
    /// Which node of it.
    pub author: AuthorKey,
}

/// A party's request for access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestState {
    /// The Request.
    pub entry: EntryHash,
    /// Who asks.
    pub party: PartyKey,
    /// Which node of it.
    pub author: AuthorKey,
}

/// A grant that stands, revoked or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantState {
    /// Who it is granted to.
    pub party: PartyKey,
    /// Unix seconds at which serving stops.
    pub until: Option<i64>,
    /// Seconds a custodian serves without a newer checkpoint.
    pub max_age: u64,
    /// The Grant; of several with one id the one with the lowest hash.
    pub entry: EntryHash,
    /// Set once and for all.
    pub revoked: Option<Revocation>,
    /// What was handed over, in the order of entry hashes. Void once revoked, and then kept to know what to bar.
    pub envelopes: Vec<EnvelopeState>,
    /// Testimony, in the order of entry hashes.
    pub receipts: Vec<ReceiptState>,
    /// Who has carried out the Revoke, in the order of entry hashes.
    pub confirms: Vec<ConfirmState>,
}

impl GrantState {
    /// Whether it is neither revoked nor past its end.
    pub fn is_live(&self, now: i64) -> bool {
        self.revoked.is_none() && self.until.is_none_or(|until| now < until)
    }
}

/// An access to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmitState {
    /// The Admit.
    pub entry: EntryHash,
    /// [`crate::admit_hash`] of the party.
    pub party: [u8; 32],
}

/// The end of an access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarState {
    /// The Bar.
    pub entry: EntryHash,
    /// How far the party's entries stand.
    pub fence: Fence,
}

/// An epoch that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochState {
    /// What is sealed to it.
    pub recipient: Recipient,
    /// Who made it.
    pub author: AuthorKey,
    /// A standing epoch names it as superseded.
    pub superseded: bool,
    /// Unsuperseded and covering every Bar of the lane. Of several such, [`LaneState::usable`] says which is used.
    pub usable: bool,
}

/// A Publish, be it void or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishState {
    /// Who signed it.
    pub author: AuthorKey,
    /// For whom, if not a device.
    pub party: Option<PartyKey>,
    /// Its sealed documents.
    pub documents: Vec<Blob>,
    /// The epoch they are sealed to.
    pub epoch: Option<EntryHash>,
    /// Sealed to an epoch that is not the usable one: a device re-seals it.
    pub stale: bool,
    /// Quarantined for the patient, and why.
    pub void: Option<Void>,
    /// Documents that are withdrawn, each with whether the ciphertext is to be erased.
    pub withdrawn: BTreeMap<BlobHash, bool>,
}

impl PublishState {
    /// Documents that may be shown: none of a void Publish, none withdrawn.
    pub fn shown(&self) -> impl Iterator<Item = &Blob> {
        self.documents.iter().filter(|blob| self.void.is_none() && !self.withdrawn.contains_key(&blob.hash))
    }
}

/// What the entries of one lane come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneState {
    /// Grants that stand, by id.
    pub grants: BTreeMap<GrantId, GrantState>,
    /// Every Revoke that stands, by grant, in the order of entry hashes; of ids never granted too.
    pub revokes: BTreeMap<GrantId, Vec<Revocation>>,
    /// Every Receipt, in the order of entry hashes, of void grants too.
    pub receipts: Vec<ReceiptState>,
    /// Every Request that stands, in the order of entry hashes.
    pub requests: Vec<RequestState>,
    /// Accesses that stand, by id, be they barred or not.
    pub admits: BTreeMap<AccessId, Vec<AdmitState>>,
    /// Bars that stand, by id.
    pub bars: BTreeMap<AccessId, Vec<BarState>>,
    /// Epochs that stand, by entry.
    pub epochs: BTreeMap<EntryHash, EpochState>,
    /// The epoch to seal to; none means the inbox.
    pub usable: Option<EntryHash>,
    /// Every Publish, void ones too.
    pub publishes: BTreeMap<EntryHash, PublishState>,
    /// Key entries that stand.
    pub keys: BTreeSet<EntryHash>,
    /// A device's entry that has authority names as critical what this version does not know: nothing may be given in this lane. A party's cannot do that.
    pub frozen_giving: bool,
    /// What each entry comes to.
    pub verdicts: BTreeMap<EntryHash, Verdict>,
}

impl LaneState {
    pub(crate) const fn empty() -> Self {
        Self {
            grants: BTreeMap::new(),
            revokes: BTreeMap::new(),
            receipts: Vec::new(),
            requests: Vec::new(),
            admits: BTreeMap::new(),
            bars: BTreeMap::new(),
            epochs: BTreeMap::new(),
            usable: None,
            publishes: BTreeMap::new(),
            keys: BTreeSet::new(),
            frozen_giving: false,
            verdicts: BTreeMap::new(),
        }
    }

    /// The epoch to seal to and its recipient; none means: seal to the inbox.
    pub fn usable_epoch(&self) -> Option<(EntryHash, &Recipient)> {
        let entry = self.usable?;
        self.epochs.get(&entry).map(|epoch| (entry, &epoch.recipient))
    }

    /// Whether this is a circle of `party`: it holds a Grant to it.
    pub fn is_circle_of(&self, party: &PartyKey) -> bool {
        self.grants.values().any(|grant| grant.party == *party)
    }
}
