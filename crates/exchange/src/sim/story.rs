//! What simulated people do: a patient's devices, a custodian, a practitioner, a hospital of two nodes, another practitioner, and somebody who has no business here.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AccessId, BlobHash, EntryHash, GrantId, Kind, LaneId, LedgerId, PartyKey, Signed};
use chartmesh_ledger::{Action, Blob, Checkpoint, DEFAULT_MAX_AGE, Ledger, Use, admit_hash};

use super::{
    node::Draft,
    people::{self, Person},
    world::World,
};
use crate::{event::Event, session::Options};

/// Catalogs that there are.
const CATALOGS: usize = 3;

/// What a node is in the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One of the patient's.
    Device,
    /// Keeps ciphertext.
    Custodian,
    /// A party's node.
    Party,
    /// Has no grant, and knows the ledger's id and charter all the same.
    Stranger,
}

/// An access to write, as only its party and the devices know it.
struct Access {
    catalog: LaneId,
    id: AccessId,
    salt: [u8; 16],
    party: PartyKey,
    grant: GrantId,
}

/// A world with one patient's ledger, and what was done in it.
pub struct Story {
    /// The world.
    pub world: World,
    /// The one ledger.
    pub ledger: LedgerId,
    /// By node.
    pub roles: Vec<Role>,
    /// Devices that the charter has suspended.
    pub suspended: BTreeSet<usize>,
    /// Catalogs that a party was ever to read.
    pub reads: BTreeSet<(PartyKey, LaneId)>,
    /// Catalogs that a party was ever to write.
    pub writes: BTreeSet<(PartyKey, LaneId)>,
    accesses: Vec<Access>,
    counter: u64,
}

/// The circle lane of a party.
pub fn circle(party: &PartyKey) -> LaneId {
    people::lane(&format!("circle {party}"))
}

fn catalog(n: usize) -> LaneId {
    people::lane(&format!("catalog {n}"))
}

impl Story {
    /// Everybody is there, the devices and the custodian hold the charter, nothing is granted.
    pub fn begin(seed: u64) -> Self {
        let mut cast = vec![
            (Role::Device, Person::new("phone", Kind::Patient)),
            (Role::Device, Person::new("laptop", Kind::Patient)),
            (Role::Device, Person::new("tablet", Kind::Patient)),
            (Role::Custodian, Person::new("custodian", Kind::Custodian)),
            (Role::Party, Person::new("Dr Lee", Kind::Practitioner)),
            (Role::Party, Person::new("Dr Roe", Kind::Practitioner)),
            (Role::Stranger, Person::new("Eve", Kind::Practitioner)),
        ];
        cast.extend(Person::nodes("hospital", Kind::Organization, 2).into_iter().map(|node| (Role::Party, node)));
        let (roles, people): (Vec<Role>, Vec<Person>) = cast.into_iter().unzip();
        let genesis = people::charter(&[&people[0], &people[1]], &[&people[3]]);
        let charters = [genesis.signed().clone()];
        let mut world = World::new(people, seed);
        let mut ledger = LedgerId::new([0; 32]);
        for (node, role) in roles.iter().enumerate() {
            if *role != Role::Party {
                ledger = world.nodes[node].hold(&charters).unwrap_or(ledger);
            }
        }
        let (suspended, reads, writes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { world, ledger, roles, suspended, reads, writes, accesses: Vec::new(), counter: 0 }
    }

    /// Nodes of a role that stand.
    pub fn of(&self, role: Role) -> Vec<usize> {
        (0..self.roles.len()).filter(|node| self.roles[*node] == role && !self.suspended.contains(node)).collect()
    }

    /// A node's copy of the ledger.
    pub fn copy(&self, node: usize) -> Option<&Ledger> {
        self.world.nodes[node].replica.ledgers.get(&self.ledger)
    }

    /// Whose node it is.
    pub fn party(&self, node: usize) -> PartyKey {
        self.world.nodes[node].person.party()
    }

    fn pick(&mut self, role: Role) -> usize {
        let nodes = self.of(role);
        nodes[self.world.below(nodes.len())]
    }

    fn fresh(&mut self) -> [u8; 32] {
        self.counter += 1;
        *blake3::hash(&self.counter.to_be_bytes()).as_bytes()
    }

    fn fresh_16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.fresh()[..16]);
        bytes
    }

    fn write(&mut self, node: usize, draft: Draft) -> Option<EntryHash> {
        self.world.write(node, self.ledger, draft)
    }

    /// Something happens.
    pub fn act(&mut self) {
        match self.world.below(100) {
            0..30 => self.meet(),
            30..45 => self.publish(),
            45..55 => self.grant(),
            55..68 => self.party_acts(),
            68..74 => self.revoke_some(),
            74..80 => self.checkpoint(),
            80..85 => self.world.cut_any(),
            85..89 => {
                let (a, b) = (self.world.below(self.roles.len()), self.world.below(self.roles.len()));
                let apart = self.world.chance(60);
                self.world.part(a, b, apart);
            }
            89..93 => {
                let node = self.world.below(self.roles.len());
                self.world.restart(node);
            }
            93..95 => self.amend(),
            _ => {}
        }
        let (most, millis) = (self.world.below(400), self.world.below(600));
        self.world.run(most, Some(millis as u64));
    }

    fn meet(&mut self) {
        let (a, b) = (self.world.below(self.roles.len()), self.world.below(self.roles.len()));
        let life = self.world.chance(40).then_some(()).map(|()| self.world.below(40) as u64);
        self.world.connect(a, b, Options::default(), life);
    }

    /// Ends what is unsafe and lets every two nodes meet that may have something for one another, until nothing is under way.
    pub fn heal(&mut self, with_strangers: bool) {
        self.world.set_unsafe(false);
        self.world.join_all();
        for _ in 0..2 {
            for a in 0..self.roles.len() {
                for b in 0..a {
                    if (self.may_share(a, b) && !self.is_stranger(a) && !self.is_stranger(b)) || (with_strangers && self.is_stranger(a) != self.is_stranger(b))
                    {
                        self.world.connect(a, b, Options::default(), None);
                    }
                }
            }
            self.world.greet_again();
            if self.world.run(2_000_000, None) == 2_000_000 {
                self.world.problem("the nodes never come to rest".into());
            }
        }
    }

    /// Hangs up everywhere, and lets every two nodes meet once more.
    pub fn meet_again(&mut self, with_strangers: bool) {
        for a in 0..self.roles.len() {
            for b in 0..a {
                for link in self.world.links_between(a, b) {
                    self.world.tell(a, Some(link), Event::Leave);
                }
            }
        }
        self.world.run(usize::MAX, None);
        self.heal(with_strangers);
    }

    fn is_stranger(&self, node: usize) -> bool {
        self.roles[node] == Role::Stranger || self.suspended.contains(&node)
    }

    /// Pairs that replicate: parties meet the patient's nodes and their own.
    pub fn may_share(&self, a: usize, b: usize) -> bool {
        match (self.roles[a], self.roles[b]) {
            (Role::Stranger, _) | (_, Role::Stranger) => false,
            (Role::Party, Role::Party) => self.party(a) == self.party(b),
            (Role::Device | Role::Custodian, _) | (_, Role::Device | Role::Custodian) => true,
        }
    }

    fn epoch(&mut self, device: usize, lane: LaneId) -> Option<EntryHash> {
        let label = format!("epoch {}", self.counter);
        self.fresh();
        let ledger = self.copy(device)?;
        let state = ledger.lane(&lane);
        let supersedes = state.epochs.iter().filter(|(_, epoch)| !epoch.superseded).map(|(entry, _)| *entry).collect();
        let covers = state.bars.keys().copied().collect();
        let action = Action::Epoch { recipient: people::recipient(&label), supersedes, covers, past: ledger.fence(&lane) };
        self.write(device, Draft::new(lane, action))
    }

    fn usable(&mut self, device: usize, lane: LaneId) -> Option<EntryHash> {
        let usable = self.copy(device)?.lane(&lane).usable;
        usable.or_else(|| self.epoch(device, lane))
    }

    fn documents(&mut self) -> Vec<Blob> {
        (0..=self.world.below(3)).map(|_| Blob { hash: BlobHash::new(self.fresh()), length: 4096 }).collect()
    }

    /// A device publishes in some catalog.
    pub fn publish(&mut self) {
        let device = self.pick(Role::Device);
        let lane = catalog(self.world.below(CATALOGS));
        let Some(epoch) = self.usable(device, lane) else { return };
        let action = Action::Publish { documents: self.documents() };
        // Now and then one that does not fit a frame.
        let length = if self.world.chance(3) { 700_000 } else { 300 };
        self.write(device, Draft { epoch: Some(epoch), body: Some(vec![1; length]), ..Draft::new(lane, action) });
    }

    /// A device grants some catalogs to some party.
    pub fn grant(&mut self) {
        let device = self.pick(Role::Device);
        let node = self.pick(Role::Party);
        let (party, grant) = (self.party(node), GrantId::new(self.fresh_16()));
        let lane = circle(&party);
        let action = Action::Grant { id: grant, party, until: None, max_age: DEFAULT_MAX_AGE };
        if self.write(device, Draft::new(lane, action)).is_none() {
            return;
        }
        let (mut epochs, mut catalogs) = (Vec::new(), Vec::new());
        for catalog in (0..CATALOGS).map(catalog) {
            match self.world.below(4) {
                0 => {
                    let Some(epoch) = self.usable(device, catalog) else { continue };
                    epochs.push(epoch);
                    self.reads.insert((party, catalog));
                }
                1 => {
                    catalogs.push(catalog);
                    self.writes.insert((party, catalog));
                }
                _ => continue,
            }
            let (id, salt) = (AccessId::new(self.fresh_16()), self.fresh_16());
            self.write(device, Draft::new(catalog, Action::Admit { id, party: admit_hash(&salt, &party) }));
            self.accesses.push(Access { catalog, id, salt, party, grant });
        }
        self.write(device, Draft::new(lane, Action::Envelope { grant, epochs, documents: Vec::new(), catalogs }));
        for link in self.world.links_between(device, node) {
            self.world.invite(device, link, self.ledger);
        }
    }

    fn revoke_some(&mut self) {
        let device = self.pick(Role::Device);
        let node = self.pick(Role::Party);
        let lane = circle(&self.party(node));
        let live: Vec<GrantId> = self
            .copy(device)
            .map_or_else(Vec::new, |ledger| ledger.lane(&lane).grants.iter().filter(|(_, grant)| grant.revoked.is_none()).map(|(id, _)| *id).collect());
        if !live.is_empty() {
            let grant = live[self.world.below(live.len())];
            self.revoke(device, lane, grant);
        }
    }

    fn revoke(&mut self, device: usize, lane: LaneId, grant: GrantId) {
        let Some(fence) = self.copy(device).map(|ledger| ledger.fence(&lane)) else { return };
        self.write(device, Draft::new(lane, Action::Revoke { grant, fence }));
        let ended: Vec<(LaneId, AccessId)> = self.accesses.iter().filter(|access| access.grant == grant).map(|access| (access.catalog, access.id)).collect();
        for (catalog, id) in ended {
            let Some(fence) = self.copy(device).map(|ledger| ledger.fence(&catalog)) else { return };
            self.write(device, Draft::new(catalog, Action::Bar { id, fence }));
            self.epoch(device, catalog);
        }
    }

    /// A device ends every grant of a party that it knows.
    pub fn revoke_all(&mut self, device: usize, party: PartyKey) {
        let lane = circle(&party);
        let live: Vec<GrantId> = self
            .copy(device)
            .map_or_else(Vec::new, |ledger| ledger.lane(&lane).grants.iter().filter(|(_, grant)| grant.revoked.is_none()).map(|(id, _)| *id).collect());
        for grant in live {
            self.revoke(device, lane, grant);
        }
    }

    /// A party's node writes: a document where it may, a receipt, or the confirmation of a revoke.
    pub fn party_acts(&mut self) {
        let node = self.pick(Role::Party);
        let party = self.party(node);
        let lane = circle(&party);
        let documents = self.documents();
        let Some(ledger) = self.copy(node) else { return };
        let grants: BTreeMap<GrantId, Option<EntryHash>> =
            ledger.lane(&lane).grants.iter().map(|(id, grant)| (*id, grant.revoked.as_ref().map(|revoke| revoke.entry))).collect();
        let mine = |access: &&Access| {
            let state = ledger.lane(&access.catalog);
            access.party == party && state.admits.contains_key(&access.id) && !state.bars.contains_key(&access.id)
        };
        let access = self.accesses.iter().find(mine).map(|access| (access.catalog, Use::Admit { id: access.id, salt: access.salt }));
        let epoch = access.as_ref().and_then(|(catalog, _)| ledger.lane(catalog).usable);
        if let (Some((catalog, uses)), Some(epoch)) = (access, epoch)
            && self.world.chance(60)
        {
            self.write(node, Draft { uses: Some(uses), epoch: Some(epoch), ..Draft::new(catalog, Action::Publish { documents }) });
            return;
        }
        let Some((grant, revoke)) = grants.into_iter().next_back() else { return };
        self.counter += 1;
        let action = match revoke {
            Some(revoke) => Action::Confirm { revoke },
            None => Action::Receipt { grant, n: self.counter },
        };
        self.write(node, Draft { uses: Some(Use::Grant(grant)), ..Draft::new(lane, action) });
    }

    fn checkpoint(&mut self) {
        let device = self.pick(Role::Device);
        let node = self.pick(Role::Party);
        let lane = circle(&self.party(node));
        let now = self.world.now();
        let Some(ledger) = self.copy(device) else { return };
        let (heads, author) = (ledger.heads(&lane), self.world.nodes[device].person.author());
        let checkpoint = Checkpoint { ledger: self.ledger, lane, author, heads, time: now, cosignatures: Vec::new() };
        let signed = Signed::sign(checkpoint, &self.world.nodes[device].person.key);
        if self.world.nodes[device].replica.hear(signed.clone(), now) {
            self.world.nodes[device].persist_checkpoint(self.ledger, lane);
            self.world.tell(device, None, Event::Checkpoint(signed));
        }
    }

    /// The phone adds the tablet to the charter; later it suspends the laptop.
    fn amend(&mut self) {
        let (phone, laptop, tablet) = (0, 1, 2);
        let Some(ledger) = self.copy(phone) else { return };
        let (charter, hash) = (ledger.charter().clone(), ledger.charter_hash());
        let fence = ledger.device_fence(&self.world.nodes[laptop].person.author());
        let root = people::key("rank 1");
        let next = if charter.devices.len() == 2 {
            let device = people::as_device(&self.world.nodes[tablet].person);
            people::next_charter(&charter, hash, self.ledger, &root, |next| next.devices.push(device))
        } else if self.suspended.is_empty() && self.world.chance(25) {
            self.suspended.insert(laptop);
            people::next_charter(&charter, hash, self.ledger, &root, |next| next.devices[1].suspended = Some(fence))
        } else {
            return;
        };
        self.world.amend(phone, self.ledger, next.signed());
    }

    /// The tablet is in the charter, so that everybody who should be is.
    pub fn settle_charter(&mut self) {
        if self.copy(0).is_some_and(|ledger| ledger.charter().devices.len() == 2) {
            self.amend();
        }
    }
}
