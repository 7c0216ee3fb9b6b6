//! The tables of the store. Each has a number on disk that is never given to another; 255 is the store's own.

/// A table: an ordered map from short opaque keys to values.
///
/// Values are encrypted, keys are not: a key is a hash, a random id or a number, never a name ([`crate::Vault::hide`] makes one of a name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// The vault's own notes: which format it has, which keys it was written with.
    Meta = 0,
    /// Signed charters, by ledger and order of arrival.
    Charters = 1,
    /// Signed headers of entries, by ledger, lane, author, sequence number and hash.
    Entries = 2,
    /// Sealed bodies of entries, under the same keys; these can be erased.
    Bodies = 3,
    /// The highest sequence number that each own key has signed, by ledger, lane and author.
    Marks = 4,
    /// Own keys that must not sign again in a ledger, by ledger and author.
    Spent = 5,
    /// What the node knows of each ledger.
    Ledgers = 6,
    /// Contact cards and what was decided about them.
    Peers = 7,
    /// Which documents were delivered in full under which Publish.
    Delivered = 8,
    /// The latest checkpoint of each lane.
    Checkpoints = 9,
    /// Work that must survive a restart: things to send, fetch or re-seal.
    Pending = 10,
    /// Settings of the node.
    Settings = 11,
    /// Names that the user gave.
    Names = 12,
    /// Secrets that came after the key file was written: lane and epoch identities, received grants.
    Secrets = 13,
    /// What is known of documents: manifests, quarantine, what was read when.
    Documents = 14,
}

impl Table {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Meta,
        Self::Charters,
        Self::Entries,
        Self::Bodies,
        Self::Marks,
        Self::Spent,
        Self::Ledgers,
        Self::Peers,
        Self::Delivered,
        Self::Checkpoints,
        Self::Pending,
        Self::Settings,
        Self::Names,
        Self::Secrets,
        Self::Documents,
    ];

    /// The table whose keys begin with this byte on disk.
    pub(crate) fn of(tag: u8) -> Option<Self> {
        Self::ALL.get(usize::from(tag)).copied()
    }

    /// The byte that its keys begin with on disk.
    pub(crate) fn tag(self) -> u8 {
        self as u8
    }
}
