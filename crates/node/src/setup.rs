//! Making homes: new ones, and those of patients who lost their device.

use chartmesh_identity::{Kind, RecoveryWords};
use chartmesh_ledger::{Action, Ledger};
use chartmesh_vault::{Unlock, Vault, WORK_FACTOR};
use zeroize::Zeroizing;

use crate::{
    api::{ApiError, CardInfo},
    charter::{found, keyring_body},
    core::Core,
    home::Home,
    node::advised,
    secrets::Secrets,
    write::{Parts, Writer},
};

pub use crate::recover::{Recovered, recover};

/// What a new home says of itself.
pub struct Initialized {
    /// A patient's recovery words: to be shown or written once, and kept nowhere else.
    pub words: Option<RecoveryWords>,
    /// Its card.
    pub card: CardInfo,
}

/// The home of a new node, all but finished: if it is left so, there is none.
pub struct Draft {
    /// A patient's recovery words, to be written down before [`Draft::finish`].
    pub words: Option<RecoveryWords>,
    core: Core,
}

/// Makes the home of a new node. A patient's gets a ledger too.
pub fn init(home: &Home, kind: Kind, name: &str, passphrase: Option<&Zeroizing<String>>) -> Result<Initialized, ApiError> {
    draft(home, kind, name)?.finish(passphrase)
}

/// Makes all that the home of a new node holds.
pub fn draft(home: &Home, kind: Kind, name: &str) -> Result<Draft, ApiError> {
    let mut secrets = Secrets::generate(name.trim(), kind);
    check_name(&secrets)?;
    let words = (kind == Kind::Patient).then(RecoveryWords::generate);
    let genesis = words.as_ref().map(|words| found(&secrets, words));
    let charter = genesis.map(|genesis| {
        secrets.patient = Some(genesis.secrets);
        genesis.charter
    });
    let mut core = Core::load(begin_vault(home, &secrets)?)?;
    if let (Some(charter), Some(words)) = (charter, &words) {
        let ledger = Ledger::begin(charter.clone()).map_err(ApiError::failed)?;
        let id = ledger.id();
        core.replica.ledgers.insert(id, ledger);
        core.open_view(id)?;
        let mut writer = Writer::new(&mut core, id)?;
        writer.batch().put_charter(&id, &charter.verify().map_err(ApiError::failed)?);
        store_keyring(&mut writer, &secrets, words)?;
        writer.commit()?;
    }
    Ok(Draft { words, core })
}

impl Draft {
    /// From here on it is a home.
    pub fn finish(mut self, passphrase: Option<&Zeroizing<String>>) -> Result<Initialized, ApiError> {
        finish_vault(&mut self.core.vault, passphrase)?;
        Ok(Initialized { words: self.words, card: self.core.card_info() })
    }
}

/// The keyring's first entries: sealed to this device, and to recovery.
fn store_keyring(writer: &mut Writer<'_>, secrets: &Secrets, words: &RecoveryWords) -> Result<(), ApiError> {
    let patient = secrets.patient.as_ref().ok_or_else(|| ApiError::failed("no patient"))?;
    let lane = crate::charter::keyring_lane(&patient.keyring_secret);
    for recipient in [crate::charter::recovery_recipient(words), writer.core.keys.recipient().clone()] {
        let body = keyring_body(patient, &secrets.name, &recipient)?;
        writer.entry(lane, Action::Key {}, Parts::body(body))?;
    }
    Ok(())
}

pub(crate) fn check_name(secrets: &Secrets) -> Result<(), ApiError> {
    let keys = crate::secrets::Keys::from_secrets(secrets);
    let card = chartmesh_identity::Card { profile: keys.profile(), contact: chartmesh_identity::Contact::default() };
    card.sign(&keys.signing).map(|_| ()).map_err(|_| ApiError::usage("a name has 1 to 120 characters, all of which can be seen"))
}

/// Begins the vault of a home that has none. There is none until [`finish_vault`].
pub(crate) fn begin_vault(home: &Home, secrets: &Secrets) -> Result<Vault, ApiError> {
    if Vault::exists(home.path()) {
        return Err(ApiError::failed(format_args!("{} is the home of a node already", home.path().display()))
            .advise("name another with --home, or use the one that is there"));
    }
    Vault::begin(home.path(), secrets.to_vault()).map_err(|error| advised(home, &error))
}

pub(crate) fn finish_vault(vault: &mut Vault, passphrase: Option<&Zeroizing<String>>) -> Result<(), ApiError> {
    let unlock = passphrase.map_or(Unlock::None, |passphrase| Unlock::Passphrase(passphrase));
    let finished = vault.finish(unlock, WORK_FACTOR);
    finished.map_err(|error| ApiError::failed(format_args!("{}: {error}", vault.home().display())))
}

/// Whether a home asks for a passphrase.
pub fn needs_passphrase(home: &Home) -> Result<bool, ApiError> {
    if !Vault::exists(home.path()) {
        return Ok(false);
    }
    Vault::is_protected(home.path()).map_err(ApiError::failed)
}
