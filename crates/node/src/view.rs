//! What this node can read of a ledger: bodies opened with the identities it has, which in turn hold more identities. Held in memory only.
//!
//! Everything learned stays learned, as in life; what it is worth today is for the ledger's state to say, which is asked again whenever something is shown.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_consent::Terms;
use chartmesh_identity::{BlobHash, EntryHash, GrantId, LaneId, PartyKey, from_canonical};
use chartmesh_ledger::{
    Action, Entry, EnvelopeBody, EpochBody, GrantBody, KeyBody, LaneKey, Ledger, PublishBody, PublishState, ReceiptBody, decode,
};
use chartmesh_records::Compartment;
use chartmesh_sealing::{FileKey, Identity, Key, open};

use crate::manifest::Manifest;

/// What a lane is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The devices' keys.
    Keyring,
    /// All between the patient and one party.
    Circle(PartyKey),
    /// Documents of one compartment.
    Catalog(Compartment),
}

/// A grant whose body could be opened.
pub(crate) struct OpenGrant {
    pub(crate) terms: Terms,
    pub(crate) party: PartyKey,
    pub(crate) party_name: String,
    pub(crate) circle: LaneId,
    /// Unix seconds by the granting device's clock.
    pub(crate) time: i64,
}

/// A right to write in a catalog, as an Envelope gave it.
pub(crate) struct WriteAccess {
    pub(crate) grant: GrantId,
    pub(crate) id: chartmesh_identity::AccessId,
    pub(crate) salt: [u8; 16],
}

/// A document of which the manifest could be read.
pub(crate) struct Document<'a> {
    pub(crate) lane: LaneId,
    pub(crate) publish: EntryHash,
    pub(crate) manifest: &'a Manifest,
    pub(crate) state: &'a PublishState,
    pub(crate) entry: &'a Entry,
    pub(crate) key: Key<'a>,
}

impl Document<'_> {
    /// The ciphertext.
    pub(crate) fn blob(&self) -> BlobHash {
        self.manifest.blob
    }
}

/// What can be read of one ledger.
#[derive(Default)]
pub(crate) struct View {
    keyring: Option<Identity>,
    pub(crate) lanes: BTreeMap<LaneId, Purpose>,
    circles: BTreeMap<LaneId, Identity>,
    pub(crate) epochs: BTreeMap<EntryHash, Identity>,
    pub(crate) grants: BTreeMap<GrantId, OpenGrant>,
    pub(crate) writes: BTreeMap<LaneId, Vec<WriteAccess>>,
    pub(crate) notices: BTreeMap<GrantId, Vec<String>>,
    pub(crate) receipts: BTreeMap<EntryHash, ReceiptBody>,
    manifests: BTreeMap<(EntryHash, BlobHash), Manifest>,
    files: BTreeMap<(EntryHash, BlobHash), (FileKey, Manifest)>,
    waiting: BTreeSet<EntryHash>,
}

impl View {
    /// Of the patient whose keyring this is.
    pub(crate) fn owner(keyring: Identity, ledger: &Ledger) -> Self {
        let lanes = BTreeMap::from([(ledger.charter().keyring_lane, Purpose::Keyring)]);
        Self { keyring: Some(keyring), lanes, ..Self::default() }
    }

    /// Of a party that was handed the identity of its circle.
    pub(crate) fn party(party: PartyKey, circle: LaneId, identity: Identity) -> Self {
        Self { lanes: BTreeMap::from([(circle, Purpose::Circle(party))]), circles: BTreeMap::from([(circle, identity)]), ..Self::default() }
    }

    /// Opens what can be opened of these entries and, with what comes to light, of those that had to wait.
    pub(crate) fn read(&mut self, ledger: &Ledger, entries: impl IntoIterator<Item = EntryHash>) {
        self.waiting.extend(entries);
        loop {
            let before = self.waiting.len();
            for hash in std::mem::take(&mut self.waiting) {
                if ledger.get(&hash).is_some_and(|entry| !self.read_entry(ledger, entry)) {
                    self.waiting.insert(hash);
                }
            }
            if self.waiting.len() == before {
                return;
            }
        }
    }

    /// The circle of a party, if its identity is known.
    pub(crate) fn circle(&self, party: &PartyKey) -> Option<(LaneId, &Identity)> {
        self.lanes.iter().find_map(|(lane, purpose)| match purpose {
            Purpose::Circle(of) if of == party => Some((*lane, self.circles.get(lane)?)),
            _ => None,
        })
    }

    /// The identity of a lane that is a circle.
    pub(crate) fn circle_identity(&self, lane: &LaneId) -> Option<&Identity> {
        self.circles.get(lane)
    }

    /// The catalog of a compartment, if there is one.
    pub(crate) fn catalog(&self, compartment: &Compartment) -> Option<LaneId> {
        self.lanes.iter().find_map(|(lane, purpose)| matches!(purpose, Purpose::Catalog(of) if of == compartment).then_some(*lane))
    }

    /// All catalogs that are known by name.
    pub(crate) fn catalogs(&self) -> impl Iterator<Item = (LaneId, &Compartment)> {
        self.lanes.iter().filter_map(|(lane, purpose)| match purpose {
            Purpose::Catalog(compartment) => Some((*lane, compartment)),
            Purpose::Keyring | Purpose::Circle(_) => None,
        })
    }

    /// Every document whose manifest is known and that is not withdrawn; those of void Publishes too.
    pub(crate) fn documents<'a>(&'a self, ledger: &'a Ledger) -> Vec<Document<'a>> {
        let whole = self.manifests.iter().map(|(place, manifest)| (place, manifest, None));
        let single = self.files.iter().filter(|(place, _)| !self.manifests.contains_key(place)).map(|(place, (key, manifest))| (place, manifest, Some(key)));
        whole.chain(single).filter_map(|(place, manifest, file)| self.document(ledger, place, manifest, file)).collect()
    }

    fn document<'a>(&'a self, ledger: &'a Ledger, (publish, blob): &(EntryHash, BlobHash), manifest: &'a Manifest, file: Option<&'a FileKey>) -> Option<Document<'a>> {
        let entry = ledger.get(publish)?;
        let lane = entry.header.lane;
        let state = ledger.lane(&lane).publishes.get(publish)?;
        if state.withdrawn.contains_key(blob) || !state.documents.iter().any(|listed| listed.hash == *blob) {
            return None;
        }
        let key = match file {
            Some(file) => Key::File(file),
            None => Key::Identity(self.epochs.get(&entry.header.epoch?)?),
        };
        Some(Document { lane, publish: *publish, manifest, state, entry, key })
    }

    /// Whether the entry needs no further look.
    fn read_entry(&mut self, ledger: &Ledger, entry: &Entry) -> bool {
        let Some(body) = &entry.body else { return true };
        let lane = entry.header.lane;
        let hash = entry.hash();
        let by_device = ledger.is_device(&entry.author());
        match &entry.header.action {
            Action::Key {} => {
                let Some(identity) = &self.keyring else { return true };
                if let Some(body) = opened::<KeyBody>(body, identity).filter(|_| by_device) {
                    body.keys.into_iter().for_each(|key| self.learn(key));
                }
                true
            }
            Action::Grant { id, party, .. } => self.in_circle(lane, body, |view, body: GrantBody| {
                let Ok(terms) = from_canonical::<Terms>(&body.terms) else { return };
                let grant = OpenGrant { terms, party: *party, party_name: body.party_name, circle: lane, time: entry.header.time };
                if by_device {
                    view.grants.entry(*id).or_insert(grant);
                }
            }),
            Action::Envelope { grant, .. } => self.in_circle(lane, body, |view, body: EnvelopeBody| {
                if by_device {
                    view.learn_envelope(*grant, body);
                }
            }),
            Action::Receipt { .. } => self.in_circle(lane, body, |view, body: ReceiptBody| {
                view.receipts.insert(hash, body);
            }),
            Action::Epoch { .. } => {
                let Some(identity) = self.epochs.get(&hash) else { return false };
                if let Some(body) = opened::<EpochBody>(body, identity).filter(|_| by_device) {
                    body.predecessors.into_iter().for_each(|key| self.learn(key));
                }
                true
            }
            Action::Publish { .. } => {
                let Some(epoch) = entry.header.epoch else { return true };
                let Some(identity) = self.epochs.get(&epoch) else { return false };
                if let Some(body) = opened::<PublishBody>(body, identity) {
                    let manifests = body.manifests.iter().filter_map(|manifest| from_canonical::<Manifest>(manifest).ok());
                    self.manifests.extend(manifests.map(|manifest| ((hash, manifest.blob), manifest)));
                }
                true
            }
            Action::Revoke { .. } | Action::Confirm { .. } | Action::Request {} | Action::Admit { .. } | Action::Bar { .. } | Action::Withdraw { .. } => true,
            Action::Unknown { .. } => true,
        }
    }

    fn in_circle<T: serde::de::DeserializeOwned>(&mut self, lane: LaneId, body: &[u8], then: impl FnOnce(&mut Self, T)) -> bool {
        let Some(identity) = self.circles.get(&lane) else { return false };
        if let Some(body) = opened(body, identity) {
            then(self, body);
        }
        true
    }

    /// Takes in an identity that was handed over or found in the keyring.
    fn learn(&mut self, key: LaneKey) {
        let identity = Identity::from_seed(key.identity.expose());
        match key.epoch {
            Some(epoch) => {
                if let Ok(compartment) = key.purpose.parse() {
                    self.lanes.insert(key.lane, Purpose::Catalog(compartment));
                }
                self.epochs.insert(epoch, identity);
            }
            None => {
                if let Ok(party) = key.purpose.parse() {
                    self.lanes.insert(key.lane, Purpose::Circle(party));
                    self.circles.insert(key.lane, identity);
                }
            }
        }
    }

    fn learn_envelope(&mut self, grant: GrantId, body: EnvelopeBody) {
        for access in body.catalogs {
            if let Ok(compartment) = access.compartment.parse() {
                self.lanes.insert(access.lane, Purpose::Catalog(compartment));
            }
            if let Some(seed) = &access.identity {
                self.epochs.insert(access.epoch, Identity::from_seed(seed.expose()));
            }
            if let Some(salt) = access.salt {
                self.writes.entry(access.lane).or_default().push(WriteAccess { grant, id: access.access, salt });
            }
        }
        for file in body.files {
            if let Ok(manifest) = from_canonical::<Manifest>(&file.manifest) {
                self.files.insert((file.publish, file.blob), (FileKey::new(*file.key.expose()), manifest));
            }
        }
        if !body.notices.is_empty() {
            self.notices.insert(grant, body.notices);
        }
    }
}

/// A body that the identity opens and that has the expected form; anything else says nothing.
fn opened<T: serde::de::DeserializeOwned>(body: &[u8], identity: &Identity) -> Option<T> {
    decode(&open(body, identity).ok()?).ok()
}
