//! The charter: rare, linear, signed by a root. It says which devices speak for the patient.

use chartmesh_identity::{AuthorKey, CardHash, CharterHash, EndpointKey, LaneId, LedgerId, Named, PartyKey, Payload, Recipient, RootKey};
use serde::{Deserialize, Serialize};

use crate::fence::Head;

/// The one device role that this version knows; devices of any other role have no authority.
pub const FULL: &str = "full";

/// A key that signs charter versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The key.
    pub key: RootKey,
    /// 0 is in the recovery words and overrides all others. A root changes roots of its own rank number and of higher ones, never of a lower one.
    pub rank: u64,
}

/// One of the patient's devices. Once listed it stays listed, in the same role: it can only be suspended, and stays so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Signs its entries.
    pub key: AuthorKey,
    /// The stable part of its card.
    pub card: CardHash,
    /// The party key on its card.
    pub party: PartyKey,
    /// What is sealed to it.
    pub recipient: Recipient,
    /// Where it is on the network.
    pub endpoint: EndpointKey,
    /// [`FULL`].
    pub role: String,
    /// If suspended, the fence: its entries up to these heads stand, all others have no authority, not even to take away. No head for a lane: none stands there. The device
    /// keeps what it has and is no longer served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Vec<Head>>,
}

/// A node that keeps and serves ciphertext it cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custodian {
    /// Its party key.
    pub party: PartyKey,
    /// The stable part of its card.
    pub card: CardHash,
    /// Where it is on the network.
    pub endpoint: EndpointKey,
}

/// One version of the charter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charter {
    /// Counts from 0.
    pub version: u64,
    /// The version before; none in version 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<CharterHash>,
    /// The ledger; none in version 0, whose hash it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerId>,
    /// The root that signs this version: one of the version before, of its own in version 0.
    pub signer: RootKey,
    /// How many roots must sign; 1 is all that this version of the program knows.
    pub threshold: u64,
    /// Who signs the next version.
    pub roots: Vec<Root>,
    /// The patient's devices.
    pub devices: Vec<Device>,
    /// Opens the keyring again; its identity is in the recovery words. Only a root of rank 0 replaces it.
    pub recovery: Recipient,
    /// What the keyring lane's bodies are sealed to. Any root replaces it.
    pub keyring: Recipient,
    /// The keyring lane.
    pub keyring_lane: LaneId,
    /// Who keeps ciphertext.
    pub custodians: Vec<Custodian>,
    /// Lowest suite of algorithms that may be used.
    pub min_suite: u64,
    /// Another ledger of the same patient that this one takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<LedgerId>,
    /// Parts without which it must not be acted upon: a version that does not know one gives nothing more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
    /// Unix seconds by the signer's clock. Advisory.
    pub time: i64,
}

impl Payload for Charter {
    const TYP: &'static str = "application/chartmesh-charter+cbor";

    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Named for Charter {
    fn signer(&self) -> [u8; 32] {
        *self.signer.as_bytes()
    }
}

impl Charter {
    /// The device whose entries `author` signs, whatever its role and be it suspended or not.
    pub fn device(&self, author: &AuthorKey) -> Option<&Device> {
        self.devices.iter().find(|device| device.key == *author)
    }

    /// The rank of a root, if it is one.
    pub fn rank(&self, root: &RootKey) -> Option<u64> {
        self.roots.iter().find(|known| known.key == *root).map(|known| known.rank)
    }

    /// Devices of role [`FULL`] that are not suspended.
    pub fn active_devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.role == FULL && device.suspended.is_none())
    }

    /// Whether this version of the program knows every part that it must know to give under this charter.
    pub fn understood(&self) -> bool {
        self.crit.is_empty() && self.threshold == 1 && self.min_suite <= crate::header::SUITE
    }
}
