//! A node: the core behind its lock, the blob store, and the network while it runs.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chartmesh_identity::{BlobHash, EndpointKey};
use chartmesh_vault::{Unlock, Vault, VaultError};
use zeroize::Zeroizing;

use crate::{
    api::{ApiError, Request, Response},
    core::Core,
    home::Home,
    net::{Blobs, Gate, Net},
    running::Running,
    session::Signals,
};

/// What to do where a home is damaged.
const LOOK: &str = "`chartmesh doctor` says what is damaged, `chartmesh doctor --repair` mends what can be mended";
/// How long a command waits for another one on the same home to end, and how often it looks.
const LOCK_WAIT: Duration = Duration::from_secs(5);
pub(crate) const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// How long closing may take.
const CLOSE_WAIT: Duration = Duration::from_secs(20);

/// A node of one home directory. One process at a time holds it.
#[derive(Clone)]
pub struct Node(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) home: Home,
    core: Mutex<Core>,
    pub(crate) blobs: Blobs,
    pub(crate) signals: Arc<Signals>,
    pub(crate) running: tokio::sync::Mutex<Option<Running>>,
    /// One change of consent or documents at a time.
    pub(crate) changes: tokio::sync::Mutex<()>,
    /// Held in part by every link's writer, so that the end waits for the last word.
    pub(crate) writing: Arc<tokio::sync::RwLock<()>>,
}

/// What the node does for a program, boxed: so its machinery is compiled once, in this crate, and not again in each one that awaits it.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// What a node says when it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// iroh endpoint id.
    pub endpoint: String,
    /// `IP:PORT`s where it is reached.
    pub addresses: Vec<String>,
}

/// Reads the vault of a home. Another command may be at the end of its work: it is waited for.
pub(crate) async fn open_vault(home: &Home, passphrase: Option<&Zeroizing<String>>) -> Result<Vault, ApiError> {
    patiently(home, passphrase, Vault::open).await.map_err(|error| advised(home, &error))
}

/// Opens something of a home that another command may have open; that is waited for.
pub(crate) async fn patiently<T>(
    home: &Home,
    passphrase: Option<&Zeroizing<String>>,
    open: impl Fn(&std::path::Path, Unlock<'_>) -> Result<T, VaultError>,
) -> Result<T, VaultError> {
    let unlock = passphrase.map_or(Unlock::None, |passphrase| Unlock::Passphrase(passphrase));
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match open(home.path(), unlock) {
            Err(VaultError::InUse(_)) if Instant::now() < deadline => tokio::time::sleep(LOCK_PAUSE).await,
            opened => return opened,
        }
    }
}

/// Why a vault does not open, and what to do about it.
pub(crate) fn advised(home: &Home, error: &VaultError) -> ApiError {
    let advice = match error {
        VaultError::Absent(_) => {
            return ApiError::failed(format_args!("{} is not the home of a node", home.path().display()))
                .advise("`chartmesh init` makes one; --home or CHARTMESH_HOME names another");
        }
        VaultError::InUse(_) => return ApiError::failed(error).advise("wait until the other command has ended, or stop it"),
        VaultError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Some("run it as the user whose home it is, or make that user its owner again; --home or CHARTMESH_HOME names another")
        }
        VaultError::WrongPassphrase => Some("type it again, or look into the file that --passphrase-file names: its first line counts"),
        VaultError::PassphraseNeeded => Some("--passphrase-file FILE; at a terminal it is asked for"),
        VaultError::KeyFile(_) => Some("put back a copy of keys.age, which never changes; without one, a patient's `chartmesh recover` makes a new device"),
        VaultError::Damaged { .. } | VaultError::Behind { .. } | VaultError::Corrupt { .. } | VaultError::Store { .. } => Some(LOOK),
        _ => None,
    };
    let failed = ApiError::failed(format_args!("{}: {error}", home.path().display()));
    advice.into_iter().fold(failed, ApiError::advise)
}

impl Node {
    /// Opens the home of a node; nobody else may have it open.
    pub fn open<'a>(home: &'a Home, passphrase: Option<&'a Zeroizing<String>>) -> Doing<'a, Self> {
        Box::pin(async move { Self::with_vault(home, open_vault(home, passphrase).await?).await })
    }

    /// Opens a home whose vault is open.
    pub(crate) async fn with_vault(home: &Home, vault: Vault) -> Result<Self, ApiError> {
        let mut core = Core::load(vault).map_err(|error| if error.advice.is_none() { error.advise(LOOK) } else { error })?;
        let damaged = |error: crate::net::NetError| ApiError::failed(format_args!("{}: {error}", home.blobs().display())).advise(LOOK);
        let blobs = Blobs::open(&home.blobs()).await.map_err(damaged)?;
        let here: BTreeSet<BlobHash> = blobs.list().await.map_err(damaged)?.into_iter().collect();
        core.forget(|blob| !here.contains(blob))?;
        // What was stored and not acknowledged when the node last ended may not be whole on disk, or nothing names it; unless it is the entries that are missing.
        if !core.is_incomplete() && !core.replica.ledgers.is_empty() {
            let acknowledged: BTreeSet<BlobHash> = core.delivered.iter().map(|(_, blob)| *blob).collect();
            let named = core.named_documents();
            let mut left = Vec::new();
            for blob in here.difference(&acknowledged) {
                if !named.contains(blob) || blobs.get(blob).await.is_err() {
                    left.push(*blob);
                }
            }
            blobs.delete(&left).await.map_err(ApiError::failed)?;
        }
        let signals = core.sessions.signals.clone();
        Ok(Self(Arc::new(Inner {
            home: home.clone(),
            core: Mutex::new(core),
            blobs,
            signals,
            running: tokio::sync::Mutex::default(),
            changes: tokio::sync::Mutex::default(),
            writing: Arc::default(),
        })))
    }

    /// Starts the network and the control socket, and keeps both up until [`Node::stop`].
    pub fn serve(&self, listen: Option<SocketAddr>) -> Doing<'_, Ready> {
        Box::pin(self.start_network(listen, true))
    }

    /// Ends everything that runs and closes the stores. What was acknowledged is on disk before.
    pub fn stop(&self) -> Doing<'_, ()> {
        Box::pin(self.close())
    }

    async fn close(&self) -> Result<(), ApiError> {
        let close = async {
            self.stop_network().await;
            self.0.blobs.shutdown().await.map_err(ApiError::failed)
        };
        // A disk that fails can hold up whoever waits for it for ever.
        let closed = tokio::time::timeout(CLOSE_WAIT, close).await.unwrap_or_else(|_| Err(self.break_off("its stores did not close")));
        // Of a disk that failed this says more than what the store makes of it.
        self.with(|core| core.check()).and(closed)
    }

    /// Stops changing and sending, because the disk failed.
    pub(crate) fn break_off(&self, error: impl std::fmt::Display) -> ApiError {
        self.with(|core| core.break_off(error))
    }

    /// Answers a question.
    pub fn ask(&self, request: Request) -> Doing<'_, Response> {
        Box::pin(self.answer(request))
    }

    async fn answer(&self, request: Request) -> Result<Response, ApiError> {
        match request {
            Request::Card => Ok(Response::Card(self.with(|core| core.card_info()))),
            Request::PeerAdd { source, alias } => self.peer_add(source, alias).await.map(Response::Peer),
            Request::PeerList => Ok(Response::Peers(self.with(|core| core.peers.iter().filter(|peer| peer.added).map(crate::peers::Peer::info).collect()))),
            Request::PeerRemove { alias } => self.peer_remove(&alias).map(Response::Peer),
            Request::Import { paths, patient } => self.import(paths, patient.as_deref()).await.map(Response::Imported),
            Request::RecordsList { patient, resource_type } => self.records_list(patient.as_deref(), resource_type.as_deref()).await.map(Response::Records),
            Request::RecordsShow { reference, patient, document, purpose, quarantined } => {
                self.records_show(&reference, patient.as_deref(), document.as_deref(), purpose.as_deref(), quarantined).await.map(Response::Shown)
            }
            Request::RecordsExport { directory, patient, purpose } => {
                self.records_export(&directory, patient.as_deref(), purpose.as_deref()).await.map(Response::Exported)
            }
            Request::RecordsSealed { document } => self.records_sealed(&document).await.map(Response::Bytes),
            Request::KeyExport => self.key_export().map(Response::Bytes),
            Request::ConsentPreview { peer, terms } => self.consent_preview(&peer, &terms).map(Response::Preview),
            Request::ConsentGrant { peer, terms } => self.consent_grant(&peer, &terms).await.map(Response::Grant),
            Request::ConsentList => self.consent_list().map(Response::Grants),
            Request::ConsentShow { grant } => self.consent_show(&grant).map(Response::Grant),
            Request::ConsentRevoke { grant, reason } => self.consent_revoke(&grant, reason.as_deref()).await.map(Response::Grant),
            Request::ConsentExport { grant } => self.consent_export(&grant).map(Response::Bytes),
            Request::ConsentImport { consent, peer, named } => self.consent_import(&consent, peer.as_deref(), named).await.map(Response::Grant),
            Request::ConsentInvitation { grant } => self.consent_invitation(&grant).map(Response::Bytes),
            Request::LedgerLog { patient } => self.ledger_log(patient.as_deref()).map(Response::Log),
            Request::LedgerVerify => self.ledger_verify().map(Response::Verified),
            Request::LedgerExport { patient } => self.ledger_export(patient.as_deref()).map(Response::Bytes),
            Request::Audit { patient } => self.audit(patient.as_deref()).map(Response::Audit),
            Request::Sync { timeout_ms } => self.sync(std::time::Duration::from_millis(timeout_ms)).await.map(Response::Synced),
            Request::Status => self.status().await.map(Response::Status),
            Request::Doctor { repair } => self.doctor(repair).await.map(Response::Doctor),
        }
    }

    /// Works on the core. Whatever changed is passed on to the sessions before the lock is released.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.0.core.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut core);
        core.pump();
        result
    }

    /// The network, if it runs.
    pub(crate) async fn net(&self) -> Option<Arc<Net>> {
        self.0.running.lock().await.as_ref().map(|running| running.net.clone())
    }
}

/// The serving rule, asked by the network.
pub(crate) struct Door(pub(crate) std::sync::Weak<Inner>);

impl Gate for Door {
    fn admits(&self, _: &EndpointKey) -> bool {
        // Who a peer is shows only in its card; the exchange tells strangers nothing.
        self.0.strong_count() > 0
    }

    fn serves(&self, peer: &EndpointKey, blob: &BlobHash) -> bool {
        let Some(inner) = self.0.upgrade() else { return false };
        let core = inner.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.serves(peer, blob)
    }
}
