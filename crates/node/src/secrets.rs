//! A node's own keys, as they lie in the vault's key file.

use std::sync::Arc;

use chartmesh_identity::{AuthorKey, EndpointKey, Kind, LedgerId, PartyKey, Profile, Recipient, SigningSecret};
use chartmesh_ledger::{Seed, decode, encode};
use chartmesh_sealing::Identity;
use serde::{Deserialize, Serialize};

use crate::api::ApiError;

/// The content of the key file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) signing: Seed,
    pub(crate) endpoint: Seed,
    pub(crate) sealing: Seed,
    pub(crate) patient: Option<PatientSecrets>,
}

/// What a patient's device has besides.
#[derive(Serialize, Deserialize)]
pub(crate) struct PatientSecrets {
    pub(crate) ledger: LedgerId,
    /// This device's root of rank 1.
    pub(crate) root: Seed,
    /// Derives lane and access ids.
    pub(crate) keyring_secret: Seed,
    /// Opens the keyring lane.
    pub(crate) keyring: Seed,
}

impl Secrets {
    /// New keys for a node.
    pub(crate) fn generate(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), kind, signing: seed(), endpoint: seed(), sealing: seed(), patient: None }
    }

    /// As the vault keeps it.
    pub(crate) fn to_vault(&self) -> chartmesh_vault::Secrets {
        chartmesh_vault::Secrets::new(encode(self))
    }
}

/// A new random seed.
pub(crate) fn seed() -> Seed {
    Seed::new(*SigningSecret::generate().expose_seed())
}

/// The keys in use.
pub(crate) struct Keys {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) signing: Arc<SigningSecret>,
    pub(crate) endpoint: Seed,
    pub(crate) sealing: Identity,
    pub(crate) patient: Option<PatientKeys>,
}

/// What a patient's device has besides.
pub(crate) struct PatientKeys {
    pub(crate) ledger: LedgerId,
    pub(crate) root: SigningSecret,
    pub(crate) keyring_secret: Seed,
    pub(crate) keyring: Identity,
}

impl Keys {
    /// From the key file.
    pub(crate) fn read(secrets: &chartmesh_vault::Secrets) -> Result<Self, ApiError> {
        let secrets: Secrets = decode(secrets.expose()).map_err(|_| ApiError::failed("the key file has no known form"))?;
        Ok(Self::from_secrets(&secrets))
    }

    /// From secrets at hand.
    pub(crate) fn from_secrets(secrets: &Secrets) -> Self {
        Self {
            name: secrets.name.clone(),
            kind: secrets.kind,
            signing: Arc::new(SigningSecret::from_seed(secrets.signing.expose())),
            endpoint: Seed::new(*secrets.endpoint.expose()),
            sealing: Identity::from_seed(secrets.sealing.expose()),
            patient: secrets.patient.as_ref().map(|patient| PatientKeys {
                ledger: patient.ledger,
                root: SigningSecret::from_seed(patient.root.expose()),
                keyring_secret: Seed::new(*patient.keyring_secret.expose()),
                keyring: Identity::from_seed(patient.keyring.expose()),
            }),
        }
    }

    /// What signs its entries.
    pub(crate) fn author(&self) -> AuthorKey {
        self.signing.author()
    }

    /// Who it is.
    pub(crate) fn party(&self) -> PartyKey {
        self.signing.party()
    }

    /// Its transport identity.
    pub(crate) fn endpoint_key(&self) -> EndpointKey {
        SigningSecret::from_seed(self.endpoint.expose()).endpoint()
    }

    /// What is sealed to it goes to this recipient.
    pub(crate) fn recipient(&self) -> &Recipient {
        self.sealing.recipient()
    }

    /// The stable part of its card.
    pub(crate) fn profile(&self) -> Profile {
        Profile { name: self.name.clone(), kind: self.kind, party: self.party(), recipient: self.recipient().clone(), version: 1 }
    }
}
