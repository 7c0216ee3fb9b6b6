//! A patient, devices and parties with keys from fixed seeds, and pens that sign what they are told to.

use std::collections::BTreeMap;

use chartmesh_identity::{
    AccessId, AuthorKey, BlobHash, CardHash, CertId, Certificate, CharterHash, EntryHash, GrantId, LaneId, LedgerId, NodeRole, PartyKey, Recipient, Signed,
    SigningSecret, Verified,
};
use chartmesh_ledger::{Action, Blob, Charter, Custodian, Device, Entry, EntryHeader, FULL, Fence, Head, Ledger, Point, Root, Use, Verdict, admit_hash};

pub(crate) const KEYRING: LaneId = LaneId::new([200; 32]);
pub(crate) const CIRCLE: LaneId = LaneId::new([201; 32]);
pub(crate) const CATALOG: LaneId = LaneId::new([202; 32]);
pub(crate) const OTHER: LaneId = LaneId::new([203; 32]);
pub(crate) const GRANT: GrantId = GrantId::new([1; 16]);
pub(crate) const ACCESS: AccessId = AccessId::new([2; 16]);
pub(crate) const SALT: [u8; 16] = [3; 16];

pub(crate) fn secret(seed: u8) -> SigningSecret {
    SigningSecret::from_seed(&[seed; 32])
}

pub(crate) fn recipient(seed: u8) -> Recipient {
    Recipient::from_bytes(&[seed; Recipient::LEN]).unwrap()
}

pub(crate) fn blob(n: u8) -> BlobHash {
    BlobHash::of(&[n])
}

/// Somebody who signs entries, and remembers its own log.
pub(crate) struct Pen {
    pub(crate) key: SigningSecret,
    pub(crate) cert: Option<Signed<Certificate>>,
    logs: BTreeMap<LaneId, Vec<EntryHash>>,
    pub(crate) ledger: LedgerId,
}

impl Pen {
    pub(crate) fn new(ledger: LedgerId, seed: u8) -> Self {
        Self { key: secret(seed), cert: None, logs: BTreeMap::new(), ledger }
    }

    /// A node of the party whose key has seed `party`.
    pub(crate) fn node(ledger: LedgerId, seed: u8, party: u8, roles: &[NodeRole]) -> Self {
        let mut pen = Self::new(ledger, seed);
        pen.certify(secret(seed), party, CertId::new([seed; 16]), roles);
        pen
    }

    /// Makes it a node of a party, with this key.
    pub(crate) fn certify(&mut self, key: SigningSecret, party: u8, id: CertId, roles: &[NodeRole]) {
        let cert = Certificate { party: secret(party).party(), node: key.author(), id, roles: roles.to_vec() };
        (self.key, self.cert) = (key, Some(Signed::sign(cert, &secret(party)).signed().clone()));
    }

    pub(crate) fn author(&self) -> AuthorKey {
        self.key.author()
    }

    pub(crate) fn party(&self) -> PartyKey {
        self.cert.as_ref().map_or_else(|| self.key.party(), |cert| cert.clone().verify().unwrap().party)
    }

    pub(crate) fn header(&self, lane: LaneId, action: Action) -> EntryHeader {
        let log = self.logs.get(&lane).map_or(&[][..], Vec::as_slice);
        EntryHeader {
            suite: 1,
            ledger: self.ledger,
            lane,
            author: self.author(),
            cert: self.cert.clone(),
            seq: log.len() as u64 + 1,
            prev: log.last().copied(),
            time: 1_000 + log.len() as i64,
            action,
            uses: None,
            epoch: None,
            body: None,
            crit: vec![],
            unknown: vec![],
        }
    }

    pub(crate) fn sign(&mut self, header: EntryHeader) -> Entry {
        let lane = header.lane;
        let entry = Entry::sign(header, None, &self.key);
        self.logs.entry(lane).or_default().push(entry.hash());
        entry
    }

    pub(crate) fn write(&mut self, lane: LaneId, action: Action) -> Entry {
        let header = self.header(lane, action);
        self.sign(header)
    }

    pub(crate) fn uses(&mut self, lane: LaneId, action: Action, uses: Use) -> Entry {
        let header = EntryHeader { uses: Some(uses), ..self.header(lane, action) };
        self.sign(header)
    }

    pub(crate) fn publish(&mut self, lane: LaneId, epoch: Option<EntryHash>, n: u8) -> Entry {
        let header = EntryHeader { epoch, ..self.header(lane, publish(n)) };
        self.sign(header)
    }

    /// Publishes as an admitted party.
    pub(crate) fn contribute(&mut self, epoch: Option<EntryHash>, n: u8) -> Entry {
        let header = EntryHeader { epoch, uses: Some(admitted()), ..self.header(CATALOG, publish(n)) };
        self.sign(header)
    }

    /// Forgets its own log in a lane down to `seq` entries, so that it will sign places twice.
    pub(crate) fn rewind(&mut self, lane: LaneId, seq: usize) {
        self.logs.entry(lane).or_default().truncate(seq);
    }

    pub(crate) fn written(&self, lane: LaneId) -> usize {
        self.logs.get(&lane).map_or(0, Vec::len)
    }
}

pub(crate) fn publish(n: u8) -> Action {
    Action::Publish { documents: vec![Blob { hash: blob(n), length: 100 }] }
}

pub(crate) fn admitted() -> Use {
    Use::Admit { id: ACCESS, salt: SALT }
}

pub(crate) fn grant(party: PartyKey) -> Action {
    Action::Grant { id: GRANT, party, until: None, max_age: 100 }
}

pub(crate) fn envelope(epochs: Vec<EntryHash>, documents: Vec<(EntryHash, BlobHash)>, catalogs: Vec<LaneId>) -> Action {
    Action::Envelope { grant: GRANT, epochs, documents, catalogs }
}

pub(crate) fn revoke(fence: Fence) -> Action {
    Action::Revoke { grant: GRANT, fence }
}

pub(crate) fn admit(party: PartyKey) -> Action {
    Action::Admit { id: ACCESS, party: admit_hash(&SALT, &party) }
}

pub(crate) fn bar(fence: Fence) -> Action {
    Action::Bar { id: ACCESS, fence }
}

pub(crate) fn epoch(seed: u8, supersedes: Vec<EntryHash>, covers: Vec<AccessId>) -> Action {
    Action::Epoch { recipient: recipient(seed), supersedes, covers, past: Fence::default() }
}

pub(crate) fn receipt(n: u64) -> Action {
    Action::Receipt { grant: GRANT, n }
}

pub(crate) fn point(entry: &Entry) -> Point {
    Point { author: entry.author(), seq: entry.header.seq, hash: entry.hash() }
}

pub(crate) fn head(entry: &Entry) -> Head {
    Head { lane: entry.header.lane, author: entry.author(), seq: entry.header.seq, hash: entry.hash() }
}

pub(crate) fn device(seed: u8) -> Device {
    let key = secret(seed);
    Device {
        key: key.author(),
        card: CardHash::of(&[seed]),
        party: key.party(),
        recipient: recipient(seed),
        endpoint: secret(seed + 100).endpoint(),
        role: FULL.into(),
        suspended: None,
    }
}

/// Roots 1 (rank 0), 2 and 3 (rank 1); devices 10 and 11; custodian 30.
pub(crate) fn first_charter() -> Charter {
    Charter {
        version: 0,
        prev: None,
        ledger: None,
        signer: secret(1).root(),
        threshold: 1,
        roots: vec![Root { key: secret(1).root(), rank: 0 }, Root { key: secret(2).root(), rank: 1 }, Root { key: secret(3).root(), rank: 1 }],
        devices: vec![device(10), device(11)],
        recovery: recipient(1),
        keyring: recipient(2),
        keyring_lane: KEYRING,
        custodians: vec![Custodian { party: secret(30).party(), card: CardHash::of(&[30]), endpoint: secret(130).endpoint() }],
        min_suite: 1,
        continues: None,
        crit: vec![],
        time: 0,
    }
}

/// The version after `parent`, signed by root `signer`, changed as told.
pub(crate) fn next_charter(id: LedgerId, parent: &Verified<Charter>, signer: u8, change: impl FnOnce(&mut Charter)) -> Verified<Charter> {
    let mut charter: Charter = (**parent).clone();
    charter.version += 1;
    charter.prev = Some(CharterHash::of(parent.as_bytes()));
    charter.ledger = Some(id);
    charter.signer = secret(signer).root();
    change(&mut charter);
    Signed::sign(charter, &secret(signer))
}

/// A ledger with devices `a` (10) and `b` (11), party `x` (20) and party `y` (21).
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) genesis: Verified<Charter>,
    pub(crate) a: Pen,
    pub(crate) b: Pen,
    pub(crate) x: Pen,
    pub(crate) y: Pen,
}

impl World {
    pub(crate) fn new() -> Self {
        let genesis = Signed::sign(first_charter(), &secret(1));
        let ledger = Ledger::begin(genesis.signed().clone()).unwrap();
        let id = ledger.id();
        Self { ledger, genesis, a: Pen::new(id, 10), b: Pen::new(id, 11), x: Pen::new(id, 20), y: Pen::new(id, 21) }
    }

    pub(crate) fn add(&mut self, entry: &Entry) {
        self.ledger.add_entry(Entry::read(entry.to_raw()).unwrap()).unwrap();
    }

    pub(crate) fn verdict(&self, entry: &Entry) -> Verdict {
        self.ledger.lane(&entry.header.lane).verdicts[&entry.hash()]
    }

    /// Adds an entry and says what it comes to.
    pub(crate) fn judge(&mut self, entry: &Entry) -> Verdict {
        self.add(entry);
        self.verdict(entry)
    }

    pub(crate) fn charter(&mut self, charter: &Verified<Charter>) {
        self.ledger.add_charter(charter.signed().clone()).unwrap();
    }

    /// Suspends device `seed` with these heads, by rank 0.
    pub(crate) fn suspend(&mut self, seed: u8, heads: Vec<Head>) {
        let id = self.ledger.id();
        let key = secret(seed).author();
        let next = next_charter(id, &self.genesis, 1, |charter| {
            charter.devices.iter_mut().find(|device| device.key == key).unwrap().suspended = Some(heads);
        });
        self.charter(&next);
    }

    /// Device `a` grants to x, opens a first epoch and admits x. Returns the epoch.
    pub(crate) fn set_up(&mut self) -> EntryHash {
        let (grant, admit) = (self.a.write(CIRCLE, grant(self.x.party())), self.a.write(CATALOG, admit(self.x.party())));
        let epoch = self.a.write(CATALOG, epoch(1, vec![], vec![]));
        for entry in [&grant, &admit, &epoch] {
            assert_eq!(self.judge(entry), Verdict::Stands);
        }
        epoch.hash()
    }
}
