//! Claims: how the holder of a root asks a custodian or a device for everything back.

use chartmesh_identity::{Card, EndpointKey, Named, Payload, RootKey, Signed};
use serde::{Deserialize, Serialize};

/// A root's word to one responder in one session that a new device speaks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The root that signs. It is served while [`crate::Ledger::is_root`] says so.
    pub root: RootKey,
    /// The new device's card.
    pub card: Signed<Card>,
    /// The responder's endpoint: a claim is worth nothing to another.
    pub responder: EndpointKey,
    /// The responder's nonce of this session.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 32],
}

impl Payload for Claim {
    const TYP: &'static str = "application/chartmesh-claim+cbor";
}

impl Named for Claim {
    fn signer(&self) -> [u8; 32] {
        *self.root.as_bytes()
    }
}
