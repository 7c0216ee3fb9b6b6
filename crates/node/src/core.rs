//! What a node holds, in one place and behind one lock: vault, keys, ledgers and what can be read of them, contacts, sessions.
//!
//! Nothing here waits for the network. Whoever holds the lock may write to disk, because nothing may be sent before it is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use chartmesh_exchange::{Me, Replica};
use chartmesh_identity::{
    AuthorKey, BlobHash, Card, Contact, EntryHash, GrantId, Kind, LaneId, LedgerId, PartyKey, Signed, Verified, from_canonical, to_canonical,
};
use chartmesh_ledger::{Charter, Checkpoint, Entry, Invitation, Ledger, Refusal, Seed};
use chartmesh_sealing::Identity;
use chartmesh_vault::{Batch, Bodies, Table, Vault};
use serde::{Deserialize, Serialize};

use crate::{
    api::{ApiError, CardInfo},
    peers::Peers,
    secrets::Keys,
    session::Sessions,
    time,
    view::View,
};

/// A ledger id that is typed has at least so many of its digits.
const LEAST_ID: usize = 8;
/// So many nodes are taken over from an invitation: those that its charter lists.
const MOST_NODES: usize = 32;
/// So many of its digits tell a ledger from others.
const SHOWN_ID: usize = 12;

/// Whether a word is the beginning of a ledger's id, and long enough to mean it.
fn begins(id: &LedgerId, word: &str) -> bool {
    word.len() >= LEAST_ID && id.to_string().starts_with(&word.to_lowercase())
}

/// `a patient`, `an organization`.
pub(crate) fn with_article(kind: Kind) -> String {
    let article = match kind {
        Kind::Organization => "an",
        Kind::Patient | Kind::Practitioner | Kind::Custodian => "a",
    };
    format!("{article} {kind}")
}

/// What this node is to a ledger, besides its own role in it: how it came to hold it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Membership {
    /// The circle of this node's party.
    pub(crate) circle: LaneId,
    /// Open the circle's bodies, the newest last.
    pub(crate) identities: Vec<Seed>,
    /// Who serves the ledger, as the invitation said.
    pub(crate) nodes: Vec<Signed<Card>>,
}

/// Everything a node holds.
pub(crate) struct Core {
    pub(crate) vault: Vault,
    pub(crate) keys: Keys,
    pub(crate) replica: Replica,
    pub(crate) views: BTreeMap<LedgerId, View>,
    pub(crate) memberships: BTreeMap<LedgerId, Membership>,
    pub(crate) peers: Peers,
    /// Documents whose full bytes came from their author, a device or a custodian, or were made here.
    pub(crate) delivered: BTreeSet<(EntryHash, BlobHash)>,
    /// Documents of parties whose labels this device has compared with their content since it started.
    pub(crate) checked: BTreeSet<(EntryHash, BlobHash)>,
    /// Documents that turned out not to open or not to hold what they say: left where they are.
    pub(crate) bad: BTreeSet<(EntryHash, BlobHash)>,
    /// Parties that have opened a ledger they were invited to.
    pub(crate) arrived: BTreeSet<(LedgerId, PartyKey)>,
    /// Grants that a node of their party has heard of.
    pub(crate) heard: BTreeSet<(LedgerId, GrantId)>,
    pub(crate) sessions: Sessions,
    /// How far this node has signed in lanes where less was here when the ledger was opened: entries were lost, and may come again.
    signed: BTreeMap<LedgerId, Vec<(LaneId, u64)>>,
    /// Some of what was ever stored was lost, and may not all have come again.
    incomplete: bool,
    /// Set when memory and disk may differ: nothing is done any more.
    broken: bool,
}

/// The node's own contact, in [`Table::Settings`].
pub(crate) const CONTACT: &[u8] = b"contact";
/// In [`Table::Meta`], far from the marks, from a repair on until everything that was lost may have come again.
pub(crate) const INCOMPLETE: &[u8] = b"incomplete";
/// Where the node listened last where it was free to choose.
pub(crate) const LISTENED: &[u8] = b"listened";
/// What to do about a disk that could not be written to.
const MEND: &str = "make room on the disk or mend it, then start the program again";

impl Core {
    /// Reads everything that the vault holds.
    pub(crate) fn load(vault: Vault) -> Result<Self, ApiError> {
        let keys = Keys::read(vault.secrets())?;
        let contact = match vault.get(Table::Settings, CONTACT).map_err(ApiError::failed)? {
            Some(bytes) => from_canonical(&bytes).map_err(|error| ApiError::failed(format_args!("the stored contact: {error}")))?,
            None => Contact { endpoints: vec![keys.endpoint_key()], addresses: Vec::new(), relay: None, counter: 1 },
        };
        let card = own_card(&keys, contact)?;
        let me = Me { card, endpoint: keys.endpoint_key(), author: keys.author() };
        let peers = Peers::load(&vault)?;
        let mut core = Self {
            vault,
            keys,
            replica: Replica::new(me),
            views: BTreeMap::new(),
            memberships: BTreeMap::new(),
            peers,
            delivered: BTreeSet::new(),
            checked: BTreeSet::new(),
            bad: BTreeSet::new(),
            arrived: BTreeSet::new(),
            heard: BTreeSet::new(),
            sessions: Sessions::default(),
            signed: BTreeMap::new(),
            incomplete: false,
            broken: false,
        };
        core.incomplete = core.vault.get(Table::Meta, INCOMPLETE).map_err(ApiError::failed)?.is_some();
        core.load_marks()?;
        for ledger in core.vault.ledgers().map_err(ApiError::failed)? {
            core.load_ledger(ledger)?;
        }
        core.load_checkpoints()?;
        Ok(core)
    }

    fn load_marks(&mut self) -> Result<(), ApiError> {
        for (key, _) in self.vault.scan(Table::Delivered, &[]).map_err(ApiError::failed)? {
            let halves = key.split_first_chunk::<32>().and_then(|(entry, blob)| Some((*entry, <[u8; 32]>::try_from(blob).ok()?)));
            let (entry, blob) = halves.ok_or_else(|| ApiError::failed("a stored delivery mark has no known form"))?;
            self.delivered.insert((EntryHash::new(entry), BlobHash::new(blob)));
        }
        for (key, _) in self.vault.scan(Table::Pending, &[]).map_err(ApiError::failed)? {
            let wrong = || ApiError::failed("a stored arrival has no known form");
            let (ledger, what) = key.split_first_chunk::<32>().ok_or_else(wrong)?;
            let ledger = LedgerId::new(*ledger);
            match (<[u8; 32]>::try_from(what), <[u8; 16]>::try_from(what)) {
                (Ok(party), _) => self.arrived.insert((ledger, PartyKey::new(party))),
                (_, Ok(grant)) => self.heard.insert((ledger, GrantId::new(grant))),
                (Err(_), Err(_)) => return Err(wrong()),
            };
        }
        Ok(())
    }

    /// Reads a ledger anew from disk.
    pub(crate) fn reload(&mut self, id: LedgerId) -> Result<(), ApiError> {
        self.load_ledger(id)
    }

    fn load_ledger(&mut self, id: LedgerId) -> Result<(), ApiError> {
        let wrong = |error: &dyn std::fmt::Display| ApiError::failed(format_args!("the stored ledger {}: {error}", id.short()));
        let stored = self.vault.load_ledger(&id, Bodies::Read).map_err(|error| wrong(&error))?;
        let mut charters = stored.charters.into_iter();
        let genesis = charters.next().ok_or_else(|| wrong(&"it has no charter"))?;
        let mut ledger = Ledger::begin(genesis).map_err(|error| wrong(&error))?;
        for charter in charters {
            ledger.add_charter(charter).map_err(|error| wrong(&error))?;
        }
        let mut certs = chartmesh_ledger::CertCache::new();
        let mut entries = Vec::with_capacity(stored.entries.len());
        for raw in stored.entries {
            entries.push(Entry::read_with(raw, &mut certs).map_err(|error| wrong(&error))?);
        }
        let outcome = ledger.add_all(entries);
        // What they follow may still come.
        if let Some((entry, why)) = outcome.refused.first().filter(|_| !self.incomplete) {
            return Err(wrong(&format_args!("entry {}: {why}", entry.short())));
        }
        self.load_membership(id)?;
        self.replica.ledgers.insert(id, ledger);
        self.replica.look_for_bodies(id);
        self.open_view(id)
    }

    fn load_membership(&mut self, id: LedgerId) -> Result<(), ApiError> {
        if let Some(bytes) = self.vault.get(Table::Ledgers, id.as_bytes()).map_err(ApiError::failed)? {
            let membership = from_canonical(&bytes).map_err(|error| ApiError::failed(format_args!("the stored ledger {}: {error}", id.short())))?;
            self.memberships.insert(id, membership);
        }
        Ok(())
    }

    /// A ledger whose first charter has come again: what else of it is stored here counts, as far as it follows. The rest stays, as long as what it follows may come.
    fn take_up(&mut self, id: LedgerId) -> Result<(), ApiError> {
        self.load_membership(id)?;
        if !self.take_in_stored(id)? && !self.incomplete {
            self.vault.put(Table::Meta, INCOMPLETE, &[]).map_err(ApiError::failed)?;
            self.incomplete = true;
        }
        self.sessions.changed(id);
        self.open_view(id)
    }

    /// Adds what is stored of a ledger to what is in memory. Whether all of it follows.
    fn take_in_stored(&mut self, id: LedgerId) -> Result<bool, ApiError> {
        let stored = self.vault.load_ledger(&id, Bodies::Read).map_err(ApiError::failed)?;
        let Some(ledger) = self.replica.ledgers.get_mut(&id) else { return Ok(true) };
        let mut certs = chartmesh_ledger::CertCache::new();
        let outcome = ledger.add_all(stored.entries.into_iter().filter_map(|raw| Entry::read_with(raw, &mut certs).ok()).collect());
        self.replica.look_for_bodies(id);
        Ok(outcome.refused.is_empty())
    }

    fn load_checkpoints(&mut self) -> Result<(), ApiError> {
        for (_, bytes) in self.vault.scan(Table::Checkpoints, &[]).map_err(ApiError::failed)? {
            let signed = Signed::<Checkpoint>::from_bytes(bytes.to_vec());
            let checkpoint = signed.verify().map_err(|error| ApiError::failed(format_args!("a stored checkpoint: {error}")))?;
            self.replica.hear(checkpoint, time::now());
        }
        Ok(())
    }

    /// Reads a ledger anew with the identities at hand.
    pub(crate) fn open_view(&mut self, id: LedgerId) -> Result<(), ApiError> {
        let Some(ledger) = self.replica.ledgers.get(&id) else { return Ok(()) };
        let author = self.keys.author();
        let marks = self.vault.marks(&id, &author).map_err(ApiError::failed)?;
        let ahead = marks.into_iter().map(|(lane, mark)| (lane, mark.seq)).filter(|(lane, seq)| ledger.next(lane, &author).0 <= *seq);
        self.signed.insert(id, ahead.collect());
        let mut view = match (&self.keys.patient, self.memberships.get(&id)) {
            (Some(patient), _) if patient.ledger == id => View::owner(patient.keyring.share(), Seed::new(*patient.keyring_secret.expose()), ledger),
            (_, Some(member)) => {
                let identities = member.identities.iter().map(|seed| Identity::from_seed(seed.expose())).collect();
                View::party(self.keys.party(), member.circle, identities, ledger)
            }
            _ => View::blind(ledger),
        };
        view.read_all(ledger);
        self.views.insert(id, view);
        Ok(())
    }

    /// Says no once memory and disk may differ.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.broken {
            return Err(ApiError::failed("this node could not write to its disk and has stopped changing anything").advise(MEND));
        }
        Ok(())
    }

    /// Says no where nothing that this node signs would count: the charter suspends it, it is a copy of a home that went on, or entries that it has signed were lost and it would sign others in their
    /// place.
    pub(crate) fn may_sign(&self, id: &LedgerId) -> Result<(), ApiError> {
        self.check()?;
        let author = self.keys.author();
        if self.vault.is_spent(id, &author).map_err(ApiError::failed)? {
            return Err(crate::write::restored());
        }
        let replaced =
            self.is_owner(id) && self.replica.ledgers.get(id).is_some_and(|ledger| ledger.charter().device(&author).is_some() && !ledger.is_active(&author));
        if replaced {
            return Err(ApiError::refused(
                "this device was replaced: the patient's records were recovered elsewhere, and nothing that it does counts any more",
            )
            .advise("use the new device; what was imported here since then must be imported there"));
        }
        // What others have signed counts as well: a device that takes access away says up to where they had it.
        if self.is_owner(id) && (self.incomplete || self.lacks_own(id, |_| true)) {
            return Err(lacking());
        }
        Ok(())
    }

    /// Whether entries that this node has signed in one of these lanes are missing here.
    pub(crate) fn lacks_own(&self, id: &LedgerId, lanes: impl Fn(&LaneId) -> bool) -> bool {
        let author = self.keys.author();
        let lacks = |ledger: &Ledger, signed: &Vec<(LaneId, u64)>| signed.iter().any(|(lane, seq)| lanes(lane) && ledger.next(lane, &author).0 <= *seq);
        self.replica.ledgers.get(id).zip(self.signed.get(id)).is_some_and(|(ledger, signed)| lacks(ledger, signed))
    }

    /// Whether something was lost that may not have come again.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Everything has come again that is to be had.
    pub(crate) fn is_complete_again(&mut self) -> Result<(), ApiError> {
        let mut batch = Batch::new();
        for id in self.replica.ledgers.keys().copied().collect::<Vec<_>>() {
            self.take_in_stored(id)?;
            let ledger = self.ledger(&id)?;
            for (key, _) in self.vault.scan(Table::Entries, id.as_bytes()).map_err(ApiError::failed)? {
                let hash = key.last_chunk::<32>().map(|hash| EntryHash::new(*hash));
                if hash.is_none_or(|hash| !ledger.has(&hash)) {
                    batch.remove(Table::Entries, &key).remove(Table::Bodies, &key);
                }
            }
            self.open_view(id)?;
            self.sessions.changed(id);
        }
        batch.remove(Table::Meta, INCOMPLETE);
        if let Err(error) = self.vault.commit(batch) {
            return Err(self.break_off(error));
        }
        self.incomplete = false;
        Ok(())
    }

    /// Whether memory and disk may differ: then nothing leaves this node.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Memory and disk may differ: nothing more is said to anybody.
    pub(crate) fn fall_silent(&mut self) {
        self.broken = true;
        self.sessions.drop_all();
    }

    /// Notes that memory and disk may differ, and hangs up on everybody.
    pub(crate) fn break_off(&mut self, error: impl std::fmt::Display) -> ApiError {
        self.fall_silent();
        ApiError::failed(format_args!("this node could not write to its disk: {error}")).advise(MEND)
    }

    /// Every document that an entry names.
    pub(crate) fn named_documents(&self) -> BTreeSet<BlobHash> {
        let lanes = self.replica.ledgers.values().flat_map(|ledger| ledger.lanes().map(|lane| ledger.lane(lane)));
        lanes.flat_map(|lane| lane.publishes.values()).flat_map(|publish| &publish.documents).map(|blob| blob.hash).collect()
    }

    /// A ledger that is held.
    pub(crate) fn ledger(&self, id: &LedgerId) -> Result<&Ledger, ApiError> {
        self.replica.ledgers.get(id).ok_or_else(|| self.not_held(id))
    }

    /// A patient's own is missing only after damage.
    fn not_held(&self, id: &LedgerId) -> ApiError {
        let error = ApiError::failed(format_args!("no ledger {} is held here", id.short()));
        if self.is_owner(id) { error.advise("`chartmesh doctor --repair` while a custodian or another device of the patient runs") } else { error }
    }

    /// A ledger and what can be read of it.
    pub(crate) fn open(&self, id: &LedgerId) -> Result<(&Ledger, &View), ApiError> {
        let view = self.views.get(id).ok_or_else(|| self.not_held(id))?;
        Ok((self.ledger(id)?, view))
    }

    /// The patient's own ledger.
    pub(crate) fn own_ledger(&self) -> Result<LedgerId, ApiError> {
        self.keys.patient.as_ref().map(|patient| patient.ledger).ok_or_else(|| {
            ApiError::refused(format_args!("this is the home of {}, and only a patient decides about consent", with_article(self.keys.kind)))
                .advise("use the patient's home with --home")
        })
    }

    /// Whether this node acts for the patient of that ledger.
    pub(crate) fn is_owner(&self, id: &LedgerId) -> bool {
        self.keys.patient.as_ref().is_some_and(|patient| patient.ledger == *id)
    }

    /// The name of the patient of a ledger; its id, as long as that is not known.
    pub(crate) fn patient_name(&self, id: &LedgerId) -> String {
        if self.is_owner(id) { self.keys.name.clone() } else { self.other_patient(id).unwrap_or_else(|| id.short()) }
    }

    /// The name of the patient of a ledger, as far as it is known; none for the patient whose node this is.
    pub(crate) fn other_patient(&self, id: &LedgerId) -> Option<String> {
        if self.is_owner(id) {
            return None;
        }
        let devices = self.replica.ledgers.get(id).into_iter().flat_map(|ledger| &ledger.charter().devices);
        let known = devices.filter_map(|device| self.peers.get(&device.party)).map(|peer| peer.name().to_owned()).next();
        let invited = || {
            let cards = self.memberships.get(id)?.nodes.iter().filter_map(|card| card.clone().verify().ok());
            cards.filter(|card| card.profile.kind == Kind::Patient).map(|card| card.profile.name.clone()).next()
        };
        known.or_else(invited)
    }

    /// The ledger that a user means by alias, name or id of a patient; without a word the only one.
    pub(crate) fn find_patient(&self, word: Option<&str>) -> Result<LedgerId, ApiError> {
        if let Some(patient) = &self.keys.patient {
            let own = patient.ledger;
            return match word {
                Some(word) if !begins(&own, word) && word != self.keys.name => {
                    Err(ApiError::failed(format_args!("this is {}'s home; no other patient is held here", self.keys.name)))
                }
                _ => Ok(own),
            };
        }
        let Some(word) = word else {
            let mut all = self.replica.ledgers.keys();
            return match (all.next(), all.next()) {
                (Some(only), None) => Ok(*only),
                (None, _) => {
                    Err(ApiError::failed("no patient has shared anything with this node yet").advise("ask the patient for a grant, then run `chartmesh sync`"))
                }
                _ => Err(ApiError::usage("several patients are held here").advise("name one with --patient")),
            };
        };
        let aliased = self.peers.find(word).ok().map(chartmesh_party);
        let matches = |id: &&LedgerId| {
            let devices = &self.replica.ledgers[*id].charter().devices;
            begins(id, word) || self.patient_name(id) == word || devices.iter().any(|device| Some(device.party) == aliased)
        };
        let mut found: Vec<&LedgerId> = self.replica.ledgers.keys().filter(matches).collect();
        // Somebody else's name may look like an id.
        if let Some(exact) = found.iter().position(|id| id.to_string() == word) {
            found = vec![found[exact]];
        }
        match found.as_slice() {
            [one] => Ok(**one),
            [] => {
                Err(ApiError::failed(format_args!("no patient {word:?} is held here"))
                    .advise("`chartmesh status` shows what is held; ask the patient for a grant"))
            }
            many => {
                let ids: Vec<String> = many.iter().map(|id| id.to_string().chars().take(SHOWN_ID).collect()).collect();
                Err(ApiError::usage(format_args!("several patients are called {word:?}: {}", ids.join(", ")))
                    .advise("name one by its ledger id; these beginnings will do"))
            }
        }
    }

    /// What somebody who signs entries is called.
    pub(crate) fn author_name(&self, id: &LedgerId, author: &AuthorKey, party: &PartyKey) -> String {
        if self.replica.ledgers.get(id).is_some_and(|ledger| ledger.is_listed(author)) {
            return self.patient_name(id);
        }
        self.party_name(id, party)
    }

    /// What a party is called, as far as it is known.
    pub(crate) fn party_name(&self, id: &LedgerId, party: &PartyKey) -> String {
        if *party == self.keys.party() {
            return self.keys.name.clone();
        }
        let granted = || self.views.get(id)?.grants.values().find(|grant| grant.party == *party).map(|grant| grant.party_name.clone());
        self.peers.get(party).map(|peer| peer.name().to_owned()).or_else(granted).unwrap_or_else(|| party.short())
    }

    /// Takes note that documents are here in full under these Publishes. The caller commits the batch.
    pub(crate) fn deliver(&mut self, documents: impl IntoIterator<Item = (EntryHash, BlobHash)>, batch: &mut Batch) {
        for (publish, blob) in documents {
            if self.delivered.insert((publish, blob)) {
                batch.put(Table::Delivered, &[&publish.as_bytes()[..], blob.as_bytes()].concat(), Vec::new());
            }
        }
    }

    /// Forgets delivery marks of documents that are not here.
    pub(crate) fn forget(&mut self, gone: impl Fn(&BlobHash) -> bool) -> Result<(), ApiError> {
        let marks: BTreeSet<(EntryHash, BlobHash)> = self.delivered.iter().filter(|(_, blob)| gone(blob)).copied().collect();
        self.unmark(&marks)
    }

    /// Drops delivery marks.
    pub(crate) fn unmark(&mut self, marks: &BTreeSet<(EntryHash, BlobHash)>) -> Result<(), ApiError> {
        if marks.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for (publish, blob) in marks {
            batch.remove(Table::Delivered, &[&publish.as_bytes()[..], blob.as_bytes()].concat());
            self.delivered.remove(&(*publish, *blob));
        }
        match self.vault.commit(batch) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.break_off(error)),
        }
    }

    /// Takes note that a party has opened a ledger that it was invited to.
    pub(crate) fn arrive(&mut self, ledger: LedgerId, party: PartyKey) -> Result<(), ApiError> {
        if self.arrived.insert((ledger, party)) {
            self.vault.put(Table::Pending, &[&ledger.as_bytes()[..], party.as_bytes()].concat(), &[]).map_err(ApiError::failed)?;
        }
        Ok(())
    }

    /// Takes note that a node of a party holds everything that it is served of a ledger, its live grants among it.
    pub(crate) fn hear(&mut self, id: LedgerId, party: &PartyKey) -> Result<(), ApiError> {
        let (ledger, view) = self.open(&id)?;
        let Some((circle, _)) = view.circle(party) else { return Ok(()) };
        let live = ledger.lane(&circle).grants.iter().filter(|(_, grant)| grant.party == *party && grant.revoked.is_none());
        let new: Vec<GrantId> = live.map(|(grant, _)| *grant).filter(|grant| !self.heard.contains(&(id, *grant))).collect();
        for grant in new {
            self.vault.put(Table::Pending, &[&id.as_bytes()[..], grant.as_bytes()].concat(), &[]).map_err(ApiError::failed)?;
            self.heard.insert((id, grant));
        }
        Ok(())
    }

    /// Stores what has come from peers, durably; it is in the replica already.
    pub(crate) fn persist(&mut self, id: LedgerId, charters: &[Signed<Charter>], entries: &[EntryHash]) -> Result<(), ApiError> {
        let mut batch = Batch::new();
        let verified = charters.iter().map(|charter| charter.clone().verify()).collect::<Result<Vec<_>, _>>().map_err(ApiError::failed)?;
        for charter in &verified {
            batch.put_charter(&id, charter);
        }
        let ledger = self.replica.ledgers.get(&id).ok_or_else(|| ApiError::failed("an unknown ledger"))?;
        for entry in entries.iter().filter_map(|entry| ledger.get(entry)) {
            batch.put_entry(entry);
        }
        if let Err(error) = self.vault.commit(batch) {
            return Err(self.break_off(error));
        }
        if !self.views.contains_key(&id) {
            return self.take_up(id);
        }
        self.refresh(id, entries.iter().copied())
    }

    /// Reads new entries of a ledger, and all of it anew if a new charter says whose word counts.
    pub(crate) fn refresh(&mut self, id: LedgerId, entries: impl IntoIterator<Item = EntryHash>) -> Result<(), ApiError> {
        let Some((ledger, view)) = self.replica.ledgers.get(&id).zip(self.views.get_mut(&id)) else { return Ok(()) };
        if view.is_outdated(ledger) {
            return self.open_view(id);
        }
        view.read(ledger, entries);
        Ok(())
    }

    /// Takes part in a ledger that an invitation tells of. Whether it is new here.
    pub(crate) fn join(&mut self, invitation: &Invitation) -> Result<bool, ApiError> {
        let wrong = |error: Refusal| ApiError::failed(format_args!("the invitation's charter: {error}"));
        let mut charters = invitation.charters.iter().cloned();
        let genesis = charters.next().ok_or_else(|| ApiError::failed("the invitation has no charter"))?;
        let mut ledger = Ledger::begin(genesis).map_err(wrong)?;
        for charter in charters {
            ledger.add_charter(charter).map_err(wrong)?;
        }
        let id = ledger.id();
        if id != invitation.ledger {
            return Err(ApiError::refused("the invitation's charter is that of another ledger"));
        }
        if self.is_owner(&id) {
            return Ok(false);
        }
        let is_new = !self.replica.ledgers.contains_key(&id);
        let mut batch = Batch::new();
        let held = self.replica.ledgers.entry(id).or_insert(ledger);
        let mut taken = Ok(());
        for charter in &invitation.charters {
            taken = held.add_charter(charter.clone()).map(drop).map_err(wrong);
            if taken.is_err() {
                break;
            }
            batch.put_charter(&id, &charter.clone().verify().map_err(ApiError::failed)?);
        }
        // Asked of all that is known: an invitation's own charters may be old.
        if taken.is_ok() && !held.is_active(&invitation.author) {
            taken = Err(ApiError::refused("the invitation is not signed by a device of that patient"));
        }
        let charter = held.charter();
        let serves = |card: &&Signed<Card>| {
            let party = Card::read(card.as_bytes()).ok().map(|card| card.profile.party);
            let devices = charter.devices.iter().map(|device| device.party);
            party.is_some_and(|party| devices.chain(charter.custodians.iter().map(|custodian| custodian.party)).any(|listed| listed == party))
        };
        let nodes: Vec<Signed<Card>> = invitation.nodes.iter().filter(serves).take(MOST_NODES).cloned().collect();
        if taken.is_err() && is_new {
            self.replica.ledgers.remove(&id);
            batch = Batch::new();
        }
        if let Err(refused) = taken {
            // The charters of a ledger that was held are signed whoever has sent them, and in memory already.
            return Err(self.vault.commit(batch).map_or_else(|error| self.break_off(error), |()| refused));
        }
        if is_new {
            self.load_membership(id)?;
        }
        let mut identities: Vec<Seed> = match self.memberships.get(&id).filter(|member| member.circle == invitation.circle) {
            Some(member) => member.identities.iter().map(|seed| Seed::new(*seed.expose())).collect(),
            None => Vec::new(),
        };
        identities.retain(|seed| seed.expose() != invitation.identity.expose());
        identities.push(Seed::new(*invitation.identity.expose()));
        let membership = Membership { circle: invitation.circle, identities, nodes };
        batch.put(Table::Ledgers, id.as_bytes(), to_canonical(&membership));
        if let Err(error) = self.vault.commit(batch) {
            return Err(self.break_off(error));
        }
        self.memberships.insert(id, membership);
        if is_new {
            self.take_up(id)?
        } else {
            self.open_view(id)?
        }
        Ok(is_new)
    }

    /// Own card, with these addresses.
    pub(crate) fn set_contact(&mut self, addresses: Vec<String>, relay: Option<String>) -> Result<(), ApiError> {
        let held = &self.replica.me.card.contact;
        let endpoints = vec![self.keys.endpoint_key()];
        if held.addresses == addresses && held.relay == relay && held.endpoints == endpoints {
            return Ok(());
        }
        let counter = held.counter.saturating_add(1).max(u64::try_from(time::now()).unwrap_or_default());
        let contact = Contact { endpoints, addresses, relay, counter };
        self.vault.put(Table::Settings, CONTACT, &to_canonical(&contact)).map_err(ApiError::failed)?;
        self.replica.me.card = own_card(&self.keys, contact)?;
        self.tell_moved();
        Ok(())
    }

    /// Where this node listened last; nowhere if that cannot be read.
    pub(crate) fn listened(&self) -> Result<Vec<SocketAddr>, ApiError> {
        let stored = self.vault.get(Table::Settings, LISTENED).map_err(ApiError::failed)?;
        let texts: Vec<String> = stored.and_then(|bytes| from_canonical(&bytes).ok()).unwrap_or_default();
        Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }

    pub(crate) fn set_listened(&self, addresses: &[SocketAddr]) -> Result<(), ApiError> {
        if self.listened()? == addresses {
            return Ok(());
        }
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        self.vault.put(Table::Settings, LISTENED, &to_canonical(&texts)).map_err(ApiError::failed)
    }

    /// Own card for the API. Addresses are those where the node runs now.
    pub(crate) fn card_info(&self) -> CardInfo {
        let card = &self.replica.me.card;
        let addresses: Vec<_> = card.contact.addresses.iter().filter_map(|address| address.parse().ok()).collect();
        let ticket = chartmesh_identity::Ticket { card: card.profile.hash(), endpoint: self.keys.endpoint_key(), addresses };
        CardInfo {
            name: self.keys.name.clone(),
            kind: self.keys.kind.to_string(),
            ticket: ticket.to_string(),
            card: card.profile.hash().to_string(),
            party: self.keys.party().to_string(),
            endpoint: self.keys.endpoint_key().to_string(),
            addresses: card.contact.addresses.clone(),
            ledger: self.keys.patient.as_ref().map(|patient| patient.ledger),
            signed: card.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

fn chartmesh_party(peer: &crate::peers::Peer) -> PartyKey {
    peer.party()
}

fn own_card(keys: &Keys, contact: Contact) -> Result<Verified<Card>, ApiError> {
    Card { profile: keys.profile(), contact }.sign(&keys.signing).map_err(ApiError::usage)
}

/// Why a node signs nothing, or nothing in a lane.
pub(crate) fn lacking() -> ApiError {
    ApiError::refused("entries that belong here were lost, and what this node signs now could take their place").advise(
        "`chartmesh sync` while a custodian or another device of the patient runs; if nobody has them: a patient: `chartmesh serve` here, and `chartmesh recover` with this home's ticket makes a new \
         device; a provider: make a new home and ask the patient for a grant",
    )
}
