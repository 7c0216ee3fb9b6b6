//! Signing entries: one writer per change, everything of it on disk at once or not at all.

use chartmesh_identity::{Certificate, CharterHash, EntryHash, LaneId, LedgerId, Signed, SigningSecret, Verified};
use chartmesh_ledger::{Action, Charter, Entry, EntryHeader, SUITE, Use, encode};
use chartmesh_sealing::seal;
use chartmesh_vault::{Batch, VaultError};
use serde::Serialize;

use crate::{
    api::ApiError,
    core::{Core, lacking},
    manifest::Manifest,
    time,
};

/// Collects signed entries of one ledger until [`Writer::commit`].
pub(crate) struct Writer<'a> {
    pub(crate) core: &'a mut Core,
    ledger: LedgerId,
    entries: Vec<EntryHash>,
    /// What was sealed into Publishes among them.
    manifests: Vec<(EntryHash, Manifest)>,
    batch: Batch,
    open: bool,
}

/// What an entry says besides its action.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) uses: Option<Use>,
    pub(crate) epoch: Option<EntryHash>,
    pub(crate) body: Option<Vec<u8>>,
}

impl Parts {
    /// Only a sealed body.
    pub(crate) fn body(sealed: Vec<u8>) -> Self {
        Self { body: Some(sealed), ..Self::default() }
    }
}

/// Seals the plaintext of a body.
pub(crate) fn seal_body<T: Serialize>(body: &T, to: &chartmesh_identity::Recipient) -> Result<Vec<u8>, ApiError> {
    seal(&encode(body), to).map(|sealed| sealed.bytes).map_err(ApiError::failed)
}

impl<'a> Writer<'a> {
    /// Begins a change of one ledger.
    pub(crate) fn new(core: &'a mut Core, ledger: LedgerId) -> Result<Self, ApiError> {
        core.may_sign(&ledger)?;
        Ok(Self { core, ledger, entries: Vec::new(), manifests: Vec::new(), batch: Batch::new(), open: false })
    }

    /// Signs the next entry of this node's log in a lane.
    pub(crate) fn entry(&mut self, lane: LaneId, action: Action, parts: Parts) -> Result<EntryHash, ApiError> {
        let author = self.core.keys.author();
        if self.core.lacks_own(&self.ledger, |lacks| *lacks == lane) {
            return Err(lacking());
        }
        let ledger = self.core.ledger(&self.ledger)?;
        let (seq, prev) = ledger.next(&lane, &author);
        let cert: Option<Signed<Certificate>> = None;
        let header = EntryHeader {
            suite: SUITE,
            ledger: self.ledger,
            lane,
            author,
            cert,
            seq,
            prev,
            time: time::now(),
            action,
            uses: parts.uses,
            epoch: parts.epoch,
            body: None,
            crit: Vec::new(),
            unknown: Vec::new(),
        };
        let entry = Entry::sign(header, parts.body, &self.core.keys.signing);
        // What nobody could read must not be stored either.
        entry.check_bounds().map_err(|error| ApiError::refused(format_args!("this change is larger than an entry may be: {error}")))?;
        let hash = entry.hash();
        let held = self.core.replica.ledgers.get_mut(&self.ledger).ok_or_else(|| ApiError::failed("an unknown ledger"))?;
        self.open = true;
        held.add_entry(entry).map_err(|error| ApiError::refused(format_args!("the ledger does not take this change: {error}")))?;
        self.entries.push(hash);
        Ok(hash)
    }

    /// Adds the next version of the charter, made from the one in force and signed by this device's root.
    pub(crate) fn charter(&mut self, change: impl FnOnce(&mut Charter)) -> Result<(), ApiError> {
        let patient = self.core.keys.patient.as_ref().ok_or_else(|| ApiError::refused("only a patient's device signs a charter"))?;
        let root = SigningSecret::from_seed(&patient.root.expose_seed());
        let ledger = self.core.ledger(&self.ledger)?;
        let (prev, base) = (ledger.charter_hash(), ledger.charter().clone());
        self.charter_by(&root, prev, base, change)
    }

    /// As [`Writer::charter`], decided by the root of the recovery words: no version of a device's root can come beside it. It begins with the last version that such a root decided:
    /// whoever stole a device may have signed one since that suspends the honest ones, or that nobody could follow.
    pub(crate) fn charter_by_words(&mut self, root: &SigningSecret, change: impl FnOnce(&mut Charter)) -> Result<(), ApiError> {
        let ledger = self.core.ledger(&self.ledger)?;
        let (prev, base) = (ledger.decided().0, ledger.decided_charter().clone());
        self.charter_by(root, prev, base, change)
    }

    /// The next version after another, made from this one.
    fn charter_by(&mut self, root: &SigningSecret, prev: CharterHash, base: Charter, change: impl FnOnce(&mut Charter)) -> Result<(), ApiError> {
        let ledger = self.core.replica.ledgers.get_mut(&self.ledger).ok_or_else(|| ApiError::failed("an unknown ledger"))?;
        let mut next = Charter { version: base.version + 1, prev: Some(prev), ledger: Some(self.ledger), signer: root.root(), time: time::now(), ..base };
        change(&mut next);
        self.open = true;
        let signed: Verified<Charter> = Signed::sign(next, root);
        ledger.add_charter(signed.signed().clone()).map_err(|error| ApiError::refused(format_args!("the charter cannot be changed: {error}")))?;
        self.batch.put_charter(&self.ledger, &signed);
        Ok(())
    }

    /// Takes note that these documents are here in full.
    pub(crate) fn delivered(&mut self, documents: impl IntoIterator<Item = (EntryHash, chartmesh_identity::BlobHash)>) {
        self.core.deliver(documents, &mut self.batch);
    }

    /// Takes note of what was sealed into a Publish, so that it need not be opened again.
    pub(crate) fn sealed(&mut self, publish: EntryHash, manifests: Vec<Manifest>) {
        self.manifests.extend(manifests.into_iter().map(|manifest| (publish, manifest)));
    }

    /// What else is to be stored with it.
    pub(crate) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Writes everything to disk, then reads it and tells the sessions. Nothing is sent before.
    pub(crate) fn commit(mut self) -> Result<Vec<EntryHash>, ApiError> {
        let id = self.ledger;
        let entries = std::mem::take(&mut self.entries);
        let (manifests, batch) = (std::mem::take(&mut self.manifests), std::mem::take(&mut self.batch));
        self.open = false;
        let core = &mut *self.core;
        let ledger = core.replica.ledgers.get(&id).ok_or_else(|| ApiError::failed("an unknown ledger"))?;
        let own: Vec<&Entry> = entries.iter().filter_map(|entry| ledger.get(entry)).collect();
        match core.vault.commit_signed(batch, &own) {
            Ok(()) => {}
            Err(VaultError::Restored { .. } | VaultError::NotNext { .. }) => {
                // What was refused must not stay in memory, from where it would be sent.
                return Err(core.reload(id).map_or_else(|error| core.break_off(error), |()| restored()));
            }
            Err(error) => return Err(core.break_off(error)),
        }
        if let Some(view) = core.views.get_mut(&id) {
            view.told(manifests);
        }
        if let Err(error) = core.refresh(id, entries.iter().copied()) {
            return Err(core.break_off(error));
        }
        core.sessions.changed(id);
        Ok(entries)
    }
}

/// Why a home that was copied writes no more.
pub(crate) fn restored() -> ApiError {
    ApiError::refused("this home was put back from an older copy, and its signing key must not sign for that patient again")
        .advise("a patient: `chartmesh recover` makes a new device; a provider: make a new home and ask the patient for a grant")
}

impl Drop for Writer<'_> {
    /// A change that was given up is forgotten: the ledger is read anew from disk.
    fn drop(&mut self) {
        if self.open
            && let Err(error) = self.core.reload(self.ledger)
        {
            self.core.break_off(error);
        }
    }
}
