//! What this node can read of a ledger: bodies opened with the identities it has, which in turn hold more identities. Held in memory only.
//!
//! Everything learned stays learned, as in life; what it is worth today is for the ledger's state to say, which is asked again whenever something is shown.
//!
//! Whoever knows to what a body is sealed can seal one, a stolen device too. So a body says something only by an entry with authority; but the identity of an epoch is taken from
//! anybody, since the Epoch says to whom it seals, and what devices call a lane is held against the lane itself.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_consent::Terms;
use chartmesh_identity::{BlobHash, Card, CharterHash, EntryHash, GrantId, LaneId, PartyKey, Recipient, Signed, from_canonical};
use chartmesh_ledger::{Action, Entry, EnvelopeBody, EpochBody, GrantBody, KeyBody, LaneKey, Ledger, PublishBody, ReceiptBody, Seed, Verdict, Void, decode};
use chartmesh_records::Compartment;
use chartmesh_sealing::{FileKey, Identity, Key, open};

use crate::{grants::RevokeBody, manifest::Manifest, publish::MANIFEST_BYTES};

/// So many bytes of lists are read of one Publish, however small they are packed; twice what an honest writer puts there beside a first one.
const MAX_UNPACKED: usize = 2 * MANIFEST_BYTES;

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
    pub(crate) card: Option<Signed<Card>>,
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
    /// Its catalog; none for a party that has the document's file key alone and so sees no catalog.
    pub(crate) lane: Option<LaneId>,
    pub(crate) publish: EntryHash,
    pub(crate) manifest: &'a Manifest,
    /// The party that published it; none for a device, or where that is not known.
    pub(crate) party: Option<PartyKey>,
    /// Published without authority, or by somebody who claims another's work: never shown as good.
    pub(crate) quarantined: bool,
    /// Sealed to an epoch that is not the usable one.
    pub(crate) stale: bool,
    pub(crate) key: Key<'a>,
}

impl Document<'_> {
    /// The ciphertext.
    pub(crate) fn blob(&self) -> BlobHash {
        self.manifest.blob
    }
}

/// What devices have from one another.
struct Keyring {
    identity: Identity,
    /// Derives lanes.
    secret: Seed,
}

/// What an entry waits for: an identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lacks {
    /// Another one of a circle.
    Circle(LaneId),
    Epoch(EntryHash),
}

/// What can be read of one ledger.
#[derive(Default)]
pub(crate) struct View {
    /// On a device of the patient.
    keyring: Option<Keyring>,
    pub(crate) lanes: BTreeMap<LaneId, Purpose>,
    /// Those of `lanes` that are catalogs: there may be a circle for each of a thousand readers, and what is owed to each is asked for every catalog.
    catalogs: BTreeMap<LaneId, Compartment>,
    /// The identities of each circle, the newest last: it is the one to seal to.
    circles: BTreeMap<LaneId, Vec<Identity>>,
    pub(crate) epochs: BTreeMap<EntryHash, Identity>,
    pub(crate) grants: BTreeMap<GrantId, OpenGrant>,
    pub(crate) writes: BTreeMap<LaneId, Vec<WriteAccess>>,
    pub(crate) notices: BTreeMap<GrantId, Vec<String>>,
    pub(crate) receipts: BTreeMap<EntryHash, ReceiptBody>,
    /// Why grants were revoked, where a reason was given.
    pub(crate) reasons: BTreeMap<GrantId, String>,
    manifests: BTreeMap<(EntryHash, BlobHash), Manifest>,
    files: BTreeMap<(EntryHash, BlobHash), (FileKey, Manifest)>,
    /// Entries that are to be read.
    queue: BTreeSet<EntryHash>,
    /// Entries that may say more once something is known. What nobody can open is looked at no oftener than that.
    waiting: BTreeMap<Lacks, BTreeSet<EntryHash>>,
    /// Identities of epochs that are not here yet.
    candidates: BTreeMap<EntryHash, Vec<Seed>>,
    /// The charters under which it was read.
    under: Vec<CharterHash>,
}

impl View {
    /// Of the patient whose keyring this is; the secret derives its lanes.
    pub(crate) fn owner(identity: Identity, secret: Seed, ledger: &Ledger) -> Self {
        let lanes = BTreeMap::from([(ledger.charter().keyring_lane, Purpose::Keyring)]);
        Self { keyring: Some(Keyring { identity, secret }), lanes, under: ledger.charter_heads().to_vec(), ..Self::default() }
    }

    /// Of a party that was handed the identities of its circle, the newest last.
    pub(crate) fn party(party: PartyKey, circle: LaneId, identities: Vec<Identity>, ledger: &Ledger) -> Self {
        let lanes = BTreeMap::from([(circle, Purpose::Circle(party))]);
        Self { lanes, circles: BTreeMap::from([(circle, identities)]), under: ledger.charter_heads().to_vec(), ..Self::default() }
    }

    /// Of somebody who opens nothing.
    pub(crate) fn blind(ledger: &Ledger) -> Self {
        Self { under: ledger.charter_heads().to_vec(), ..Self::default() }
    }

    /// Whether other devices have authority now than when it was read.
    pub(crate) fn is_outdated(&self, ledger: &Ledger) -> bool {
        !ledger.judges_as_under(&self.under)
    }

    /// Opens what can be opened of a ledger. Envelopes last: what is known from elsewhere need not be opened.
    pub(crate) fn read_all(&mut self, ledger: &Ledger) {
        let is_envelope = |entry: &&Entry| matches!(entry.header.action, Action::Envelope { .. });
        let (envelopes, rest): (Vec<_>, Vec<_>) = ledger.lanes().flat_map(|lane| ledger.entries(lane)).partition(is_envelope);
        for entries in [rest, envelopes] {
            self.read(ledger, entries.into_iter().map(Entry::hash));
        }
    }

    /// Opens what can be opened of these entries and, with what comes to light, of those that had to wait.
    pub(crate) fn read(&mut self, ledger: &Ledger, entries: impl IntoIterator<Item = EntryHash>) {
        self.queue.extend(entries);
        while let Some(hash) = self.queue.pop_first() {
            if let Some(lacks) = ledger.get(&hash).and_then(|entry| self.read_entry(ledger, entry)) {
                self.waiting.entry(lacks).or_default().insert(hash);
            }
        }
    }

    /// Takes what this node has itself sealed into Publishes, which it then does not open.
    pub(crate) fn told(&mut self, manifests: Vec<(EntryHash, Manifest)>) {
        self.manifests.extend(manifests.into_iter().map(|(publish, manifest)| ((publish, manifest.blob), manifest)));
    }

    /// Whether the manifests of a Publish are known.
    pub(crate) fn knows(&self, publish: EntryHash) -> bool {
        self.manifests.range((publish, BlobHash::new([0; 32]))..).next().is_some_and(|((known, _), _)| *known == publish)
    }

    /// The circle of a party, if its identity is known.
    pub(crate) fn circle(&self, party: &PartyKey) -> Option<(LaneId, &Identity)> {
        self.lanes.iter().find_map(|(lane, purpose)| match purpose {
            Purpose::Circle(of) if of == party => Some((*lane, self.circle_identity(lane)?)),
            _ => None,
        })
    }

    /// The identity that a circle is sealed to.
    pub(crate) fn circle_identity(&self, lane: &LaneId) -> Option<&Identity> {
        self.circles.get(lane)?.last()
    }

    /// All identities that a circle has had, the newest last.
    pub(crate) fn circle_identities(&self, lane: &LaneId) -> impl DoubleEndedIterator<Item = &Identity> {
        self.circles.get(lane).map(Vec::as_slice).unwrap_or_default().iter()
    }

    /// The catalog of a compartment, if there is one.
    pub(crate) fn catalog(&self, compartment: &Compartment) -> Option<LaneId> {
        self.catalogs.iter().find(|(_, of)| *of == compartment).map(|(lane, _)| *lane)
    }

    /// All catalogs that are known by name.
    pub(crate) fn catalogs(&self) -> impl Iterator<Item = (LaneId, &Compartment)> {
        self.catalogs.iter().map(|(lane, compartment)| (*lane, compartment))
    }

    /// Every document whose manifest is known and that is not withdrawn; quarantined ones too.
    pub(crate) fn documents<'a>(&'a self, ledger: &'a Ledger) -> Vec<Document<'a>> {
        let single = self.files.keys().filter(|place| !self.manifests.contains_key(place));
        self.manifests.keys().chain(single).filter_map(|(publish, blob)| self.document(ledger, publish, blob)).collect()
    }

    /// One document.
    pub(crate) fn document<'a>(&'a self, ledger: &'a Ledger, publish: &EntryHash, blob: &BlobHash) -> Option<Document<'a>> {
        let place = (*publish, *blob);
        let file = self.files.get(&place);
        let Some(entry) = ledger.get(publish) else {
            let (key, manifest) = file?;
            return Some(Document { lane: None, publish: *publish, manifest, party: None, quarantined: false, stale: false, key: Key::File(key) });
        };
        let lane = entry.header.lane;
        let state = ledger.lane(&lane).publishes.get(publish)?;
        if state.withdrawn.contains_key(blob) {
            return None;
        }
        let (manifest, key) = match (self.manifests.get(&place), file) {
            (Some(manifest), _) => (manifest, Key::Identity(self.epochs.get(&entry.header.epoch?)?)),
            (None, Some((key, manifest))) => (manifest, Key::File(key)),
            (None, None) => return None,
        };
        // Custodians go by what the entry says.
        if !state.documents.iter().any(|listed| listed.hash == *blob && listed.length == manifest.length) {
            return None;
        }
        // A device may carry on what others wrote; anybody else speaks for itself alone.
        let honest = manifest.publisher == entry.author() && (ledger.is_listed(&entry.author()) || manifest.author == entry.author());
        Some(Document {
            lane: Some(lane),
            publish: *publish,
            manifest,
            party: state.party,
            quarantined: state.void.is_some() || !honest,
            stale: state.stale,
            key,
        })
    }

    /// Has what waited for it read again.
    fn has_come(&mut self, lacked: Lacks) {
        self.queue.extend(self.waiting.remove(&lacked).into_iter().flatten());
    }

    /// Takes in what an entry says. Nothing, if it needs no further look.
    fn read_entry(&mut self, ledger: &Ledger, entry: &Entry) -> Option<Lacks> {
        let (lane, hash) = (entry.header.lane, entry.hash());
        if let Action::Epoch { recipient, .. } = &entry.header.action {
            let candidates = self.candidates.remove(&hash).unwrap_or_default();
            candidates.iter().for_each(|seed| self.learn_epoch(hash, recipient, seed));
        }
        if let Action::Grant { id, .. } = &entry.header.action
            && ledger.lane(&lane).grants.get(id).is_some_and(|grant| grant.entry == hash)
            && self.grants.get(id).is_some_and(|open| open.circle == lane)
        {
            // Whatever another Grant with its id says.
            self.grants.remove(id);
        }
        let Some(body) = &entry.body else { return None };
        match &entry.header.action {
            Action::Key {} => {
                let Some(keyring) = &self.keyring else { return None };
                if let Some(body) = opened::<KeyBody>(body, &keyring.identity) {
                    let belief = Belief::of(ledger, entry);
                    body.keys.into_iter().for_each(|key| self.learn(ledger, key, belief));
                }
                None
            }
            Action::Grant { id, party, .. } => self.in_circle(lane, body, |view, body: GrantBody| {
                let Ok(terms) = from_canonical::<Terms>(&body.terms) else { return };
                let card = body.card.map(|card| Signed::from_bytes(card.into_vec()));
                let grant = OpenGrant { terms, party: *party, party_name: body.party_name, card, circle: lane, time: entry.header.time };
                if view.takes_grant(ledger, entry, id, party) {
                    view.grants.insert(*id, grant);
                }
            }),
            // Devices have from the keyring what it hands over, but where an entry of that was lost or came late.
            Action::Envelope { epochs, documents, .. } if self.keyring.is_some() && self.has(epochs, documents) => None,
            Action::Envelope { grant, .. } => self.in_circle(lane, body, |view, body: EnvelopeBody| {
                view.learn_envelope(ledger, *grant, body, Belief::of(ledger, entry));
            }),
            Action::Receipt { .. } => self.in_circle(lane, body, |view, body: ReceiptBody| {
                view.receipts.insert(hash, body);
            }),
            Action::Epoch { .. } => {
                let Some(identity) = self.epochs.get(&hash) else { return Some(Lacks::Epoch(hash)) };
                if let Some(body) = opened::<EpochBody>(body, identity) {
                    let belief = Belief::of(ledger, entry);
                    body.predecessors.into_iter().filter(|key| key.epoch.is_some()).for_each(|key| self.learn(ledger, key, belief));
                }
                None
            }
            Action::Publish { .. } => {
                let epoch = entry.header.epoch?;
                if self.knows(hash) {
                    return None;
                }
                let Some(identity) = self.epochs.get(&epoch) else { return Some(Lacks::Epoch(epoch)) };
                if let Some(body) = opened::<PublishBody>(body, identity) {
                    let mut unpacked = 0;
                    let manifests = body.manifests.iter().filter_map(|manifest| Manifest::read(manifest));
                    let bounded = manifests.take_while(|manifest| {
                        let room = unpacked < MAX_UNPACKED;
                        unpacked += manifest.plain_length();
                        room
                    });
                    self.manifests.extend(bounded.map(|manifest| ((hash, manifest.blob), manifest)));
                }
                None
            }
            Action::Revoke { grant, .. } => self.in_circle(lane, body, |view, body: RevokeBody| {
                if !body.reason.is_empty() && Belief::of(ledger, entry) != Belief::None {
                    view.reasons.insert(*grant, body.reason);
                }
            }),
            Action::Confirm { .. } | Action::Request {} | Action::Admit { .. } | Action::Bar { .. } | Action::Withdraw { .. } => None,
            Action::Unknown { .. } => None,
        }
    }

    fn in_circle<T: serde::de::DeserializeOwned>(&mut self, lane: LaneId, body: &[u8], then: impl FnOnce(&mut Self, T)) -> Option<Lacks> {
        let Some(body) = self.circle_identities(&lane).rev().find_map(|identity| opened(body, identity)) else { return Some(Lacks::Circle(lane)) };
        then(self, body);
        None
    }

    /// Whether a Grant is one of the patient's, in the circle of its party, and no other stands for its id. One that does not stand gives nothing, and is shown as such.
    fn takes_grant(&self, ledger: &Ledger, entry: &Entry, id: &GrantId, party: &PartyKey) -> bool {
        let lane = entry.header.lane;
        let stands = |circle: &LaneId| ledger.lane(circle).grants.get(id).map(|grant| grant.entry);
        let is_first = self.grants.get(id).is_none_or(|open| open.circle == lane || stands(&open.circle).is_none());
        let in_its_circle = self.lanes.get(&lane) == Some(&Purpose::Circle(*party));
        in_its_circle && is_first && ledger.is_listed(&entry.author()) && stands(&lane).is_none_or(|grant| grant == entry.hash())
    }

    /// Whether these epochs can be opened here, and the documents be found.
    fn has(&self, epochs: &[EntryHash], documents: &[(EntryHash, BlobHash)]) -> bool {
        epochs.iter().all(|epoch| self.epochs.contains_key(epoch)) && documents.iter().all(|place| self.manifests.contains_key(place))
    }

    /// Takes in an identity that was found in the keyring, or in what an epoch tells of those before it.
    fn learn(&mut self, ledger: &Ledger, key: LaneKey, belief: Belief) {
        if let Some(epoch) = key.epoch {
            self.learn_catalog(key.lane, &key.purpose, belief);
            self.learn_candidate(ledger, epoch, key.identity, belief);
        } else if let Ok(party) = key.purpose.parse()
            && belief != Belief::None
            && self.is_named(&key.lane, &format!("circle/{party}"))
        {
            self.lanes.insert(key.lane, Purpose::Circle(party));
            let known = self.circles.entry(key.lane).or_default();
            let at = known.iter().position(|one| *one.expose_seed() == *key.identity.expose());
            let identity = at.map_or_else(|| Identity::from_seed(key.identity.expose()), |at| known.remove(at));
            known.push(identity);
            if at.is_none() {
                self.has_come(Lacks::Circle(key.lane));
            }
        }
    }

    /// Whether a device's lane has this name.
    pub(crate) fn is_named(&self, lane: &LaneId, name: &str) -> bool {
        self.keyring.as_ref().is_some_and(|keyring| LaneId::derive(keyring.secret.expose(), name.as_bytes()) == *lane)
    }

    /// Takes in what is said to be the identity of an epoch. Where that is not here yet, it is kept until it comes, if it is believed.
    fn learn_candidate(&mut self, ledger: &Ledger, epoch: EntryHash, seed: Seed, belief: Belief) {
        match ledger.get(&epoch).map(|entry| &entry.header.action) {
            Some(Action::Epoch { recipient, .. }) => self.learn_epoch(epoch, recipient, &seed),
            Some(_) => {}
            None if belief != Belief::None => {
                let candidates = self.candidates.entry(epoch).or_default();
                if candidates.iter().all(|other| other.expose() != seed.expose()) {
                    candidates.push(seed);
                }
            }
            None => {}
        }
    }

    /// Takes in the identity of an epoch that seals to this recipient.
    fn learn_epoch(&mut self, epoch: EntryHash, recipient: &Recipient, seed: &Seed) {
        // To expand a seed takes long, and every epoch names all before it.
        if self.epochs.contains_key(&epoch) {
            return;
        }
        let identity = Identity::from_seed(seed.expose());
        if identity.recipient() == recipient {
            self.epochs.insert(epoch, identity);
            self.has_come(Lacks::Epoch(epoch));
        }
    }

    fn learn_catalog(&mut self, lane: LaneId, name: &str, belief: Belief) {
        let Ok(compartment) = name.parse::<Compartment>() else { return };
        if self.catalogs.get(&lane) == Some(&compartment) {
            return;
        }
        let believed = match (&self.keyring, belief) {
            (Some(_), _) => self.is_named(&lane, &format!("catalog/{compartment}")),
            (None, Belief::Full) => true,
            (None, Belief::Past) => !self.lanes.contains_key(&lane),
            (None, Belief::None) => false,
        };
        if believed {
            self.lanes.insert(lane, Purpose::Catalog(compartment));
            self.catalogs.insert(lane, compartment);
        }
    }

    fn learn_envelope(&mut self, ledger: &Ledger, grant: GrantId, body: EnvelopeBody, belief: Belief) {
        for access in body.catalogs {
            self.learn_catalog(access.lane, &access.compartment, belief);
            if let Some(seed) = access.identity {
                self.learn_candidate(ledger, access.epoch, seed, belief);
            }
            if let Some(salt) = access.salt.filter(|_| belief != Belief::None) {
                self.writes.entry(access.lane).or_default().push(WriteAccess { grant, id: access.access, salt });
            }
        }
        if belief == Belief::None {
            return;
        }
        for file in body.files {
            // A device sees for itself what is published.
            if self.keyring.is_some() && ledger.get(&file.publish).is_none() {
                continue;
            }
            if let Some(manifest) = Manifest::read(&file.manifest) {
                self.files.insert((file.publish, file.blob), (FileKey::new(*file.key.expose()), manifest));
            }
        }
        if !body.notices.is_empty() {
            self.notices.insert(grant, body.notices);
        }
    }
}

/// How far what an entry says counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belief {
    /// Its author has no authority for it.
    None,
    /// Its author had authority and is suspended since, or has signed something else in its place, as a home does that was put back from a copy: what others say comes first.
    Past,
    Full,
}

impl Belief {
    /// Its author has authority, whatever has become of its grant. While the charter is contested it is enough to have it under the one before: no rival closes a chart that was open.
    fn of(ledger: &Ledger, entry: &Entry) -> Self {
        let verdict = ledger.lane(&entry.header.lane).verdicts.get(&entry.hash());
        let stands = matches!(verdict, Some(Verdict::Stands | Verdict::Stale | Verdict::Void(Void::Revoked | Void::NoGrant | Void::WrongLane)));
        match ledger.charter().active_devices().any(|device| device.key == entry.author()) {
            true if stands || ledger.contested() => Self::Full,
            false if stands => Self::Past,
            _ if verdict == Some(&Verdict::Void(Void::Forked)) => Self::Past,
            _ => Self::None,
        }
    }
}

/// A body that the identity opens and that has the expected form; anything else says nothing.
fn opened<T: serde::de::DeserializeOwned>(body: &[u8], identity: &Identity) -> Option<T> {
    decode(&open(body, identity).ok()?).ok()
}

#[cfg(test)]
mod tests;
