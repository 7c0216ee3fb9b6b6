//! Certificates: a party's word that a node's key acts for it (a hospital has many nodes).

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AuthorKey, CertId, PartyKey},
    signed::{Named, Payload},
};

/// What a party's node may do for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Publish into catalogs that the party may write.
    Write,
    /// Sign receipts and confirmations.
    Receipt,
}

/// The party's signature over {node key, certificate id, roles}.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The party that speaks.
    pub party: PartyKey,
    /// The node's own signing key.
    pub node: AuthorKey,
    /// Names this certificate.
    pub id: CertId,
    /// What the node may do.
    pub roles: Vec<NodeRole>,
}

impl Payload for Certificate {
    const TYP: &'static str = "application/chartmesh-certificate+cbor";

    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Named for Certificate {
    fn signer(&self) -> [u8; 32] {
        *self.party.as_bytes()
    }
}
