//! Invitations: how a grant reaches a party.

use chartmesh_identity::{AuthorKey, Card, LaneId, LedgerId, Named, Payload, Signed};
use serde::{Deserialize, Serialize};

use crate::{bodies::Seed, charter::Charter};

/// All that a party needs to take part in its circle. Signed by a device; holds a secret, so it travels only sealed to the party.
#[derive(Serialize, Deserialize)]
pub struct Invitation {
    /// The ledger.
    pub ledger: LedgerId,
    /// The device that signs.
    pub author: AuthorKey,
    /// Its charter, all versions held, predecessors first.
    pub charters: Vec<Signed<Charter>>,
    /// The party's circle.
    pub circle: LaneId,
    /// Opens the circle's bodies.
    pub identity: Seed,
    /// Cards of the devices and custodians that serve it.
    pub nodes: Vec<Signed<Card>>,
}

impl Payload for Invitation {
    const TYP: &'static str = "application/chartmesh-invitation+cbor";
}

impl Named for Invitation {
    fn signer(&self) -> [u8; 32] {
        *self.author.as_bytes()
    }
}
