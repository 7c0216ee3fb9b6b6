//! All that is held of one patient's ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use chartmesh_identity::{AccessId, AuthorKey, BlobHash, CharterHash, EntryHash, GrantId, LaneId, LedgerId, PartyKey, RootKey, Signed};

use crate::{
    action::Action,
    charter::Charter,
    entry::Entry,
    evaluate::evaluate,
    extend::extend,
    fence::{Fence, Head, Point},
    fork::ForkProof,
    header::{MAX_LIST, Use, admit_hash},
    history::History,
    log::{Entries, Log},
    refusal::{Added, Refusal},
    state::LaneState,
};

static EMPTY: LaneState = LaneState::empty();

/// What became of many entries.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Those that were not held before, in an order in which they can be stored.
    pub added: Vec<EntryHash>,
    /// Those refused, whatever else arrived with them.
    pub refused: Vec<(EntryHash, Refusal)>,
}

/// What gives parties a place in a lane, whether it stands or not: it only grows, so that what is accepted does not depend on the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    grants: BTreeSet<(GrantId, PartyKey)>,
    admits: BTreeSet<(AccessId, [u8; 32])>,
}

impl Seen {
    /// Whether a party's entry names a grant or an access that was given to it.
    pub(crate) fn admits(&self, entry: &Entry) -> bool {
        match &entry.header.uses {
            Some(Use::Grant(id)) => self.grants.contains(&(*id, entry.party())),
            Some(Use::Admit { id, salt }) => self.admits.contains(&(*id, admit_hash(salt, &entry.party()))),
            None => false,
        }
    }
}

#[derive(Debug, Default)]
struct Lane {
    logs: BTreeMap<AuthorKey, Log>,
    seen: Seen,
    /// What Withdraws name, be they valid or not: such a Publish may be withdrawn before it comes.
    withdrawn: BTreeSet<EntryHash>,
    state: OnceLock<LaneState>,
}

/// One patient's ledger as far as it is held. See the crate's documentation.
///
/// What is accepted is a function of the set of charters and entries that were offered, each as often as needed: an entry refused with [`Refusal::Gap`] or
/// [`Refusal::NoAuthority`] is accepted once what it rests on is held, and [`Ledger::add_all`] tries as often as that takes. Offer charters first and devices' entries before
/// parties'.
#[derive(Debug)]
pub struct Ledger {
    history: History,
    entries: Entries,
    lanes: BTreeMap<LaneId, Lane>,
    blobs: BTreeMap<BlobHash, BTreeSet<(LaneId, EntryHash)>>,
    circles: BTreeMap<PartyKey, BTreeSet<LaneId>>,
}

impl Ledger {
    /// A ledger from version 0 of its charter, whose hash is its id.
    pub fn begin(genesis: Signed<Charter>) -> Result<Self, Refusal> {
        let history = History::begin(genesis)?;
        Ok(Self { history, entries: BTreeMap::new(), lanes: BTreeMap::new(), blobs: BTreeMap::new(), circles: BTreeMap::new() })
    }

    /// Its id.
    pub fn id(&self) -> LedgerId {
        self.history.id()
    }

    /// The charter version in force. While the charter is contested: the last one before the rivals.
    pub fn charter(&self) -> &Charter {
        self.history.holder()
    }

    /// The hash of [`Ledger::charter`], which the next version names as `prev`.
    pub fn charter_hash(&self) -> CharterHash {
        self.history.holder_hash()
    }

    /// What the next version must follow if rank 0 signs it: the last one that rank 0 has decided on, or version 0. Its hash and its number.
    ///
    /// Whoever holds a root of a device can sign rivals of every version that follows it, and so contest them one by one. Beside a version of rank 0 nothing of theirs holds.
    pub fn decided(&self) -> (CharterHash, u64) {
        let hash = self.history.decided();
        (hash, self.history.charter(&hash).version)
    }

    /// What [`Ledger::decided`] names. Whoever holds a root of a device has changed nothing in it.
    pub fn decided_charter(&self) -> &Charter {
        self.history.charter(&self.history.decided())
    }

    /// The hashes of [`Ledger::rivals`]: as long as they are the same, the same devices have authority.
    pub fn charter_heads(&self) -> &[CharterHash] {
        self.history.head_hashes()
    }

    /// Whether what anybody has signed is worth the same as when the [`Ledger::charter_heads`] were these: custodians and roots may have changed since, and no devices.
    pub fn judges_as_under(&self, heads: &[CharterHash]) -> bool {
        let decisive = |hash| {
            let charter = self.history.charter(hash);
            (&charter.devices, &charter.keyring_lane, charter.understood())
        };
        match (heads, self.charter_heads()) {
            (before, now) if before == now => true,
            ([before], [now]) => decisive(before) == decisive(now),
            _ => false,
        }
    }

    /// The charter in force, or while it is contested the last version of every rival.
    pub fn rivals(&self) -> impl Iterator<Item = &Charter> {
        self.history.heads()
    }

    /// The charter versions that are not void, predecessors first: who has them knows who has authority, whatever else somebody has signed.
    pub fn standing_charters(&self) -> impl Iterator<Item = &Signed<Charter>> {
        self.history.all_standing().map(|charter| charter.signed())
    }

    /// Every charter version held: those of [`Ledger::standing_charters`], then voided ones, predecessors first.
    pub fn charters(&self) -> impl Iterator<Item = &Signed<Charter>> {
        self.charter_versions().map(|(_, charter)| charter)
    }

    /// As [`Ledger::charters`], each with its hash.
    pub fn charter_versions(&self) -> impl Iterator<Item = (CharterHash, &Signed<Charter>)> {
        self.history.all().map(|(hash, charter)| (*hash, charter.signed()))
    }

    /// As [`Ledger::charters`], read.
    pub(crate) fn verified_charters(&self) -> impl Iterator<Item = &Charter> {
        self.history.all().map(|(_, charter)| &**charter)
    }

    /// Whether the charter in force and every rival of it list `root`, of whatever rank: only then does a claim by it give anything.
    pub fn is_root(&self, root: &RootKey) -> bool {
        self.charter().rank(root).is_some() && self.rivals().all(|charter| charter.rank(root).is_some())
    }

    /// Whether any charter version held, be it voided or not, lists `root` with rank 0.
    pub fn was_of_rank_0(&self, root: &RootKey) -> bool {
        self.verified_charters().any(|charter| charter.rank(root) == Some(0))
    }

    /// Whether roots of one rank above 0 signed rival versions: what gives then stands only for devices that stand under each of them, until rank 0 decides.
    pub fn contested(&self) -> bool {
        self.history.contested()
    }

    /// Whether this version of the program knows every part of the charter that it must know to give anything to a party.
    pub fn may_give(&self) -> bool {
        self.history.heads().all(Charter::understood) && self.charter().understood()
    }

    /// Whether a charter version that is not void lists `author` as a device, be it suspended or not.
    pub fn is_listed(&self, author: &AuthorKey) -> bool {
        self.history.is_listed(author)
    }

    /// Whether any charter version held lists `author` as a device, be it suspended, voided or not: so many may have entries here, and not more.
    pub fn is_device(&self, author: &AuthorKey) -> bool {
        self.history.is_device(author)
    }

    /// Everybody whom any charter version held lists as a device.
    pub fn devices(&self) -> &BTreeSet<AuthorKey> {
        self.history.devices()
    }

    /// Whether `author` is a device of role `full`, not suspended under the charter or under any of its rivals.
    pub fn is_active(&self, author: &AuthorKey) -> bool {
        let active = |charter: &Charter| charter.active_devices().any(|device| device.key == *author);
        active(self.charter()) && self.history.heads().all(active)
    }

    /// Adds a charter version, whose predecessor must be held.
    pub fn add_charter(&mut self, charter: Signed<Charter>) -> Result<Added, Refusal> {
        let added = self.history.add(charter)?;
        if added == Added::New {
            let entries = &self.entries;
            for lane in self.lanes.values_mut() {
                lane.state = OnceLock::new();
                lane.see_again(&self.history, entries, &mut self.circles);
            }
        }
        Ok(added)
    }

    /// Adds an entry, whose predecessor must be held. Entries that are void are added like others: whether one has any effect is for [`LaneState`] to say.
    pub fn add_entry(&mut self, entry: Entry) -> Result<Added, Refusal> {
        match self.check(&entry)? {
            Added::Known => Ok(self.add_body(entry)),
            Added::New => {
                self.insert(entry);
                Ok(Added::New)
            }
        }
    }

    /// Adds entries in whatever order they must be added in. The result does not depend on the order they are given in.
    pub fn add_all(&mut self, mut entries: Vec<Entry>) -> Outcome {
        let mut outcome = Outcome::default();
        entries.sort_by_key(|entry| (!self.is_device(&entry.author()), entry.header.lane, entry.author(), entry.header.seq, entry.hash()));
        loop {
            let before = entries.len();
            let mut left = Vec::new();
            outcome.refused.clear();
            for entry in entries {
                let hash = entry.hash();
                match self.check(&entry) {
                    Ok(Added::New) => {
                        self.insert(entry);
                        outcome.added.push(hash);
                    }
                    Ok(Added::Known) => {
                        if self.add_body(entry) == Added::New {
                            outcome.added.push(hash);
                        }
                    }
                    Err(refusal) => {
                        outcome.refused.push((hash, refusal));
                        left.push(entry);
                    }
                }
            }
            if left.is_empty() || left.len() == before {
                return outcome;
            }
            entries = left;
        }
    }

    fn check(&self, entry: &Entry) -> Result<Added, Refusal> {
        let header = &entry.header;
        if header.ledger != self.id() {
            return Err(Refusal::OtherLedger);
        }
        if self.entries.contains_key(&entry.hash()) {
            return Ok(Added::Known);
        }
        let (lane, author, seq) = (header.lane, header.author, header.seq);
        let held = self.lanes.get(&lane);
        if !self.is_device(&author) && !held.is_some_and(|lane| lane.seen.admits(entry)) {
            return Err(Refusal::NoAuthority { lane, author });
        }
        let Some(prev) = &header.prev else { return Ok(Added::New) };
        let Some(prev) = self.entries.get(prev) else {
            let held = held.and_then(|lane| lane.logs.get(&author)).map_or(0, Log::len);
            return Err(Refusal::Gap { lane, author, seq, held });
        };
        let linked = prev.header.lane == lane && prev.author() == author && prev.header.seq.checked_add(1) == Some(seq);
        if linked { Ok(Added::New) } else { Err(Refusal::Link { lane, author, seq }) }
    }

    fn insert(&mut self, entry: Entry) {
        let header = &entry.header;
        let lane = self.lanes.entry(header.lane).or_default();
        let state = lane.state.take();
        let log = lane.logs.entry(header.author).or_default();
        log.push(header.seq, entry.hash());
        if let Some(mut state) = state
            && !lane.withdrawn.contains(&entry.hash())
            && extend(&mut state, &self.history, log, &entry)
        {
            lane.state = OnceLock::from(state);
        }
        if let Action::Withdraw { publish, .. } = &header.action {
            lane.withdrawn.insert(*publish);
        }
        if self.history.is_device(&header.author) {
            lane.seen.see(&entry, &mut self.circles);
        }
        if let Action::Publish { documents } = &header.action {
            for blob in documents {
                self.blobs.entry(blob.hash).or_default().insert((header.lane, entry.hash()));
            }
        }
        self.entries.insert(entry.hash(), entry);
    }

    fn add_body(&mut self, entry: Entry) -> Added {
        match self.entries.get_mut(&entry.hash()) {
            Some(held) if held.body.is_none() && entry.body.is_some() => {
                held.body = entry.body;
                Added::New
            }
            _ => Added::Known,
        }
    }

    /// What the next Epoch in a lane has to cover: every access that is barred there, and every device that the charter suspends, which knew the epochs before.
    pub fn to_cover(&self, lane: &LaneId) -> Vec<AccessId> {
        self.lane(lane).bars.keys().copied().chain(self.suspensions()).collect()
    }

    /// The devices that the charter in force suspends, as an Epoch covers them.
    pub(crate) fn suspensions(&self) -> impl Iterator<Item = AccessId> {
        self.charter().devices.iter().filter(|device| device.suspended.is_some()).map(|device| AccessId::of_device(&device.key))
    }

    /// Forgets the sealed body of an entry; the entry stands as before. Returns it.
    pub fn erase_body(&mut self, entry: &EntryHash) -> Option<Vec<u8>> {
        self.entries.get_mut(entry)?.body.take()
    }

    /// All lanes of which entries are held.
    pub fn lanes(&self) -> impl Iterator<Item = &LaneId> {
        self.lanes.keys()
    }

    /// Who has entries in a lane.
    pub fn authors(&self, lane: &LaneId) -> impl Iterator<Item = &AuthorKey> {
        self.lanes.get(lane).into_iter().flat_map(|lane| lane.logs.keys())
    }

    /// The last entry of every log in a lane; all last ones of a log that forked. In the order of authors, places, hashes.
    pub fn heads(&self, lane: &LaneId) -> Vec<Head> {
        let logs = self.lanes.get(lane).into_iter().flat_map(|lane| &lane.logs);
        logs.flat_map(|(author, log)| log.tips(&self.entries).into_iter().map(|(seq, hash)| Head { lane: *lane, author: *author, seq, hash })).collect()
    }

    /// The last undisputed entry of every log in a lane: what an Epoch carries to say how much of the lane its author knew.
    ///
    /// As all fences, at most [`MAX_LIST`] points, those of devices first: whoever may write can do so as any number of nodes, and must not keep anybody from signing by that.
    pub fn fence(&self, lane: &LaneId) -> Fence {
        self.fence_where(lane, |_| true)
    }

    /// The same of devices' logs and of those with an entry that rests on a grant or an access: what a Revoke or a Bar of it carries.
    pub fn fence_of(&self, lane: &LaneId, rests: impl Fn(&Use) -> bool) -> Fence {
        self.fence_where(lane, |log| log.from(1).filter_map(|hash| self.entries.get(&hash)?.header.uses.as_ref()).any(&rests))
    }

    fn fence_where(&self, lane: &LaneId, counts: impl Fn(&Log) -> bool) -> Fence {
        let logs = self.lanes.get(lane).into_iter().flat_map(|lane| &lane.logs);
        let (devices, others): (Vec<_>, Vec<_>) = logs.partition(|(author, _)| self.is_listed(author));
        let counted = devices.into_iter().chain(others.into_iter().filter(|(_, log)| counts(log)));
        let points = counted.filter_map(|(author, log)| log.undisputed().map(|(seq, hash)| Point { author: *author, seq, hash }));
        Fence(points.take(MAX_LIST).collect())
    }

    /// The last undisputed entry of one author in every lane: what a charter carries to suspend a device without losing what it did.
    pub fn device_fence(&self, author: &AuthorKey) -> Vec<Head> {
        let logs = self.lanes.iter().filter_map(|(lane, held)| Some((lane, held.logs.get(author)?)));
        logs.filter_map(|(lane, log)| log.undisputed().map(|(seq, hash)| Head { lane: *lane, author: *author, seq, hash })).collect()
    }

    /// Whether an entry is held.
    pub fn has(&self, entry: &EntryHash) -> bool {
        self.entries.contains_key(entry)
    }

    /// An entry that is held.
    pub fn get(&self, entry: &EntryHash) -> Option<&Entry> {
        self.entries.get(entry)
    }

    /// Number of entries held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An author's entries in a lane beyond place `seq` (0 for all), by place and then hash: predecessors first.
    pub fn entries_after(&self, lane: &LaneId, author: &AuthorKey, seq: u64) -> impl Iterator<Item = &Entry> {
        let log = self.lanes.get(lane).and_then(|lane| lane.logs.get(author)).filter(|_| seq < u64::MAX);
        log.into_iter().flat_map(move |log| log.from(seq.saturating_add(1))).filter_map(|hash| self.entries.get(&hash))
    }

    /// All entries of a lane, by author, place and hash.
    pub fn entries(&self, lane: &LaneId) -> impl Iterator<Item = &Entry> {
        let logs = self.lanes.get(lane).into_iter().flat_map(|lane| lane.logs.values());
        logs.flat_map(|log| log.from(1)).filter_map(|hash| self.entries.get(&hash))
    }

    /// What `author`'s next entry in a lane must carry: its place, and its predecessor.
    pub fn next(&self, lane: &LaneId, author: &AuthorKey) -> (u64, Option<EntryHash>) {
        let log = self.lanes.get(lane).and_then(|lane| lane.logs.get(author));
        let tip = log.and_then(|log| log.tips(&self.entries).into_iter().max_by_key(|(seq, hash)| (*seq, std::cmp::Reverse(*hash))));
        tip.map_or((1, None), |(seq, hash)| (seq + 1, Some(hash)))
    }

    /// What the entries of a lane come to. Most entries change it as they are added; after any other it is computed when it is read, in time near-linear in the entries of the lane.
    pub fn lane(&self, lane: &LaneId) -> &LaneState {
        let Some(held) = self.lanes.get(lane) else { return &EMPTY };
        held.state.get_or_init(|| evaluate(&self.history, lane, &held.logs, &self.entries))
    }

    /// Lanes in which a Grant to `party` was ever seen.
    pub fn circles(&self, party: &PartyKey) -> impl Iterator<Item = &LaneId> {
        self.circles.get(party).into_iter().flatten()
    }

    /// Every Publish that names a blob.
    pub fn publishes(&self, blob: &BlobHash) -> impl Iterator<Item = &(LaneId, EntryHash)> {
        self.blobs.get(blob).into_iter().flatten()
    }

    /// One proof per place at which an author signed twice, in the order of lanes, authors and places.
    pub fn forks(&self) -> Vec<ForkProof> {
        let mut proofs = Vec::new();
        for log in self.lanes.values().flat_map(|lane| lane.logs.values()) {
            let Some(fork) = log.fork() else { continue };
            for seq in fork..=log.len() {
                let mut two = log.at(seq).into_iter().filter_map(|hash| self.entries.get(&hash)).map(|entry| entry.header.signed().clone());
                if let (Some(one), Some(other)) = (two.next(), two.next()) {
                    proofs.push(ForkProof { one, other });
                }
            }
        }
        proofs
    }
}

impl Lane {
    /// Entries of somebody who was no device when they came may count now.
    fn see_again(&mut self, history: &History, entries: &Entries, circles: &mut BTreeMap<PartyKey, BTreeSet<LaneId>>) {
        for (_, log) in self.logs.iter().filter(|(author, _)| history.is_device(author)) {
            for entry in log.from(1).filter_map(|hash| entries.get(&hash)) {
                self.seen.see(entry, circles);
            }
        }
    }
}

impl Seen {
    pub(crate) fn see(&mut self, entry: &Entry, circles: &mut BTreeMap<PartyKey, BTreeSet<LaneId>>) {
        match &entry.header.action {
            Action::Grant { id, party, .. } => {
                self.grants.insert((*id, *party));
                circles.entry(*party).or_default().insert(entry.header.lane);
            }
            Action::Admit { id, party } => {
                self.admits.insert((*id, *party));
            }
            _ => {}
        }
    }
}
