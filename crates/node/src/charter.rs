//! The first version of a charter, and the keyring's first entries.

use chartmesh_identity::{LaneId, Recipient, RecoveryWords, RootKey, Signed, SigningSecret};
use chartmesh_ledger::{Charter, Device, FULL, KeyBody, KeyringKey, Root, SUITE, Seed};
use chartmesh_sealing::Identity;

use crate::{
    api::ApiError,
    secrets::{Keys, PatientSecrets, Secrets, seed},
    time,
    write::seal_body,
};

/// What a new ledger consists of.
pub(crate) struct Genesis {
    pub(crate) charter: Signed<Charter>,
    pub(crate) secrets: PatientSecrets,
}

/// This node as a device.
pub(crate) fn device(keys: &Keys) -> Device {
    Device {
        key: keys.author(),
        card: keys.profile().hash(),
        party: keys.party(),
        recipient: keys.recipient().clone(),
        endpoint: keys.endpoint_key(),
        role: FULL.to_owned(),
        suspended: None,
    }
}

/// Where the keyring's entries are.
pub(crate) fn keyring_lane(keyring_secret: &Seed) -> LaneId {
    LaneId::derive(keyring_secret.expose(), b"keyring")
}

/// Version 0, signed by this device's new root of rank 1; the words' root has rank 0.
pub(crate) fn found(secrets: &Secrets, words: &RecoveryWords) -> Genesis {
    let keys = Keys::from_secrets(secrets);
    let root = seed();
    let signer = SigningSecret::from_seed(root.expose());
    let keyring_secret = seed();
    let keyring = seed();
    let charter = Charter {
        version: 0,
        prev: None,
        ledger: None,
        signer: signer.root(),
        threshold: 1,
        roots: roots(words, signer.root()),
        devices: vec![device(&keys)],
        recovery: recovery_recipient(words),
        keyring: Identity::from_seed(keyring.expose()).recipient().clone(),
        keyring_lane: keyring_lane(&keyring_secret),
        custodians: Vec::new(),
        min_suite: SUITE,
        continues: None,
        crit: Vec::new(),
        time: time::now(),
    };
    let charter = Signed::sign(charter, &signer).signed().clone();
    let ledger = chartmesh_identity::CharterHash::of(charter.as_bytes()).as_ledger();
    Genesis { charter, secrets: PatientSecrets { ledger, root, keyring_secret, keyring } }
}

/// The roots of a charter with one device.
pub(crate) fn roots(words: &RecoveryWords, device: RootKey) -> Vec<Root> {
    vec![Root { key: words.root().root(), rank: 0 }, Root { key: device, rank: 1 }]
}

/// What the words open.
pub(crate) fn recovery_recipient(words: &RecoveryWords) -> Recipient {
    Identity::from_seed(&words.recovery_seed()).recipient().clone()
}

/// The keyring itself, sealed to a device or to recovery.
pub(crate) fn keyring_body(patient: &PatientSecrets, name: &str, to: &Recipient) -> Result<Vec<u8>, ApiError> {
    let keyring = KeyringKey {
        ledger: patient.ledger,
        name: Some(name.to_owned()),
        secret: Seed::new(*patient.keyring_secret.expose()),
        identity: Seed::new(*patient.keyring.expose()),
    };
    seal_body(&KeyBody { keys: Vec::new(), keyring: Some(keyring) }, to)
}
