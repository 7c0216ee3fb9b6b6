//! Both patients' ledgers and everybody in them: how acts are performed, and how everything heals afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chartmesh_identity::{BlobHash, CharterHash, EntryHash, LedgerId, PartyKey};
use chartmesh_ledger::{Blob, Ledger};

use super::{
    act::{Act, Script, Step},
    cast::{CUSTODIAN, Patient, Role, cast, patients},
    crimes::Vice,
    node::Draft,
    world::{Rule, World},
};
use crate::event::Event;

/// Seconds that a custodian serves without hearing from the patient.
pub const MAX_AGE: i64 = 3 * 3600;
/// More happenings than this in one go, and the nodes never come to rest.
pub(super) const RESTLESS: usize = 400_000;

/// A world with two patients' ledgers, and what was done in it.
pub struct Story {
    /// The world.
    pub world: World,
    /// The patients.
    pub patients: Vec<Patient>,
    /// By node.
    pub roles: Vec<Role>,
    /// What a document says, by the hash of its ciphertext: sealed anew it says the same.
    pub contents: BTreeMap<BlobHash, u64>,
    /// Withdraws that only tidy up after a document was sealed anew.
    pub tidied: BTreeSet<EntryHash>,
    /// Whether acts draw from a chance of their own, by script.
    seed: u64,
    counter: u64,
}

impl Story {
    /// Everybody is there, the patients' first devices and the custodians hold the charters, nothing is granted.
    pub fn begin(seed: u64, told: bool) -> Self {
        let roles: Vec<Role> = cast().iter().map(|(role, _)| *role).collect();
        let mut world = World::new(cast().iter().map(|(_, person)| Arc::clone(person)), told);
        world.reseed(seed, 0);
        for (n, (patient, genesis)) in patients().iter().enumerate() {
            world.charters.insert(CharterHash::of(genesis.as_bytes()), (**genesis).clone());
            let holds = |role: &Role| !matches!(role, Role::Party) && !matches!(role, Role::Device(of) if *of != n);
            for (node, role) in roles.iter().enumerate().filter(|(_, role)| holds(role)) {
                world.nodes[node].hold(std::slice::from_ref(genesis.signed()));
                if *role != Role::Stranger {
                    world.truth.whole(patient.ledger, node);
                }
            }
        }
        let patients = patients().iter().map(|(patient, _)| patient.clone()).collect();
        Self { world, patients, roles, contents: BTreeMap::new(), tidied: BTreeSet::new(), seed, counter: 0 }
    }

    /// Performs a script up to the point at which everything heals.
    pub fn perform(&mut self, script: &Script) {
        for step in &script.steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        self.world.reseed(self.seed, step.chance);
        self.world.note(|_| format!("-- {}", step.act));
        self.counter = step.chance << 16;
        self.act(step.act);
        self.world.run(RESTLESS, Some(step.pause));
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Meet { a, b, life } => {
                let (a, b) = (self.node(a), self.node(b));
                self.world.connect(a, b, (life > 0).then_some(life));
            }
            Act::Cut { link } => self.world.cut_any(link),
            Act::Part { a, b } => {
                let (a, b) = (self.node(a), self.node(b));
                self.world.part(a, b, true);
            }
            Act::Join { a, b } => {
                let (a, b) = (self.node(a), self.node(b));
                self.world.part(a, b, false);
            }
            Act::Weather { loss, twice } => self.world.set_weather(loss, twice),
            Act::Restart { node } => {
                let node = self.node(node);
                self.world.restart(node);
            }
            Act::Backup { node } => {
                let node = self.node(node);
                self.world.back_up(node);
            }
            Act::Restore { node } => {
                let node = self.node(node);
                self.world.restore(node);
            }
            Act::Skew { node, minutes } => {
                let node = self.node(node);
                self.world.skew(node, (i64::try_from(minutes).unwrap_or(0) - 1440) * 60);
            }
            Act::Wait { minutes } => self.world.wait(minutes),
            Act::Turn { node, vice } => {
                let node = self.node(node);
                self.world.corrupt(node, Some(Vice::ALL[pick(vice, Vice::ALL.len())]));
            }
            Act::Replay { node, frame } => {
                let node = self.node(node);
                self.world.corrupt(node, None);
                if let (Some(bytes), Some((link, _))) = (self.world.remembered(node, frame), self.world.links_of(node).first().copied()) {
                    self.world.send(node, link, bytes);
                }
            }
            Act::Publish { .. }
            | Act::Withdraw { .. }
            | Act::Grant { .. }
            | Act::Revoke { .. }
            | Act::Duties { .. }
            | Act::Checkpoint { .. }
            | Act::Enrol { .. }
            | Act::Suspend { .. }
            | Act::Reappoint { .. } => self.device_act(act),
            Act::Write { .. } | Act::Retract { .. } | Act::Testify { .. } | Act::Ask { .. } | Act::Future { .. } => self.party_act(act),
            Act::Fork { .. } | Act::Backdate { .. } | Act::Borrow { .. } | Act::Impersonate { .. } | Act::Rival { .. } | Act::Betray { .. } => {
                self.bad_act(act);
            }
        }
    }

    pub(super) fn node(&self, number: u64) -> usize {
        pick(number, self.roles.len())
    }

    /// The patient whose device it is; the first one's for whoever is none.
    pub(super) fn patient_of(&self, node: usize) -> usize {
        match self.roles[node] {
            Role::Device(patient) => patient,
            _ => 0,
        }
    }

    /// A node's copy of a patient's ledger.
    pub fn copy(&self, patient: usize, node: usize) -> Option<&Ledger> {
        self.world.nodes[node].replica.ledgers.get(&self.patients[patient].ledger)
    }

    /// Whose node it is.
    pub fn party(&self, node: usize) -> PartyKey {
        self.world.nodes[node].person.party()
    }

    pub(super) fn ledger(&self, patient: usize) -> LedgerId {
        self.patients[patient].ledger
    }

    pub(super) fn write(&mut self, patient: usize, node: usize, draft: Draft) -> Option<EntryHash> {
        let ledger = self.ledger(patient);
        self.world.write(node, ledger, draft)
    }

    pub(super) fn fresh(&mut self) -> [u8; 32] {
        self.counter += 1;
        *blake3::hash(&self.counter.to_be_bytes()).as_bytes()
    }

    /// Documents that nobody has seen.
    pub(super) fn documents(&mut self, count: u64) -> Vec<Blob> {
        let mut documents = Vec::new();
        for _ in 0..=count % 3 {
            let hash = BlobHash::new(self.fresh());
            self.contents.insert(hash, self.counter);
            documents.push(Blob { hash, length: 4096 });
        }
        documents
    }

    /// Ciphertext anew of what these documents say.
    pub(super) fn sealed_anew(&mut self, documents: &[BlobHash]) -> Vec<Blob> {
        let mut anew = Vec::new();
        for document in documents {
            let hash = BlobHash::new(self.fresh());
            if let Some(content) = self.contents.get(document).copied() {
                self.contents.insert(hash, content);
            }
            anew.push(Blob { hash, length: 4096 });
        }
        anew
    }

    /// Honest nodes that hold everything of a patient's ledger and are not suspended, as the custodian that is never bad knows it.
    pub fn keepers(&self, patient: usize) -> Vec<usize> {
        let Some(held) = self.copy(patient, CUSTODIAN) else { return Vec::new() };
        let stands = |node: &usize| match self.roles[*node] {
            Role::Device(of) => of == patient && held.is_active(&self.world.nodes[*node].person.author()),
            Role::Custodian => true,
            Role::Party | Role::Stranger => false,
        };
        (0..self.roles.len()).filter(|node| !self.world.is_bad(*node)).filter(stands).collect()
    }

    /// Honest devices that may write.
    pub fn writers(&self, patient: usize) -> Vec<usize> {
        let ledger = self.ledger(patient);
        let may = |node: &usize| matches!(self.roles[*node], Role::Device(_)) && !self.world.nodes[*node].is_spent(&ledger);
        self.keepers(patient).into_iter().filter(may).collect()
    }

    /// Nodes of parties that are not bad.
    pub fn honest_parties(&self) -> Vec<usize> {
        (0..self.roles.len()).filter(|node| self.roles[*node] == Role::Party && !self.world.is_bad(*node)).collect()
    }

    /// Pairs that replicate: parties meet the patients' nodes and their own; a phone is enough of a patient.
    fn may_share(&self, a: usize, b: usize) -> bool {
        match (self.roles[a], self.roles[b]) {
            (Role::Stranger, _) | (_, Role::Stranger) => false,
            (Role::Party, Role::Party) => self.party(a) == self.party(b),
            (Role::Device(one), Role::Device(other)) => one == other,
            (Role::Party, Role::Device(of)) => self.patients[of].devices[0] == b,
            (Role::Device(of), Role::Party) => self.patients[of].devices[0] == a,
            (Role::Custodian, _) | (_, Role::Custodian) => true,
        }
    }

    /// Lets everything come to rest.
    pub fn rest(&mut self) {
        if self.world.run(RESTLESS, None) == RESTLESS {
            self.world.problem(Rule::Convergence, "the nodes never come to rest".into());
        }
    }

    /// Lets every two of these nodes meet that may have something for one another.
    pub fn meet(&mut self, nodes: &BTreeSet<usize>) {
        for a in nodes {
            for b in nodes.range(..a) {
                if self.may_share(*a, *b) {
                    self.world.connect(*a, *b, None);
                }
            }
        }
        self.rest();
        self.world.greet_again();
        self.rest();
    }

    /// Whether a node has to do with any patient: as a custodian, as a device that is listed, or as somebody who was granted something or holds something.
    fn is_concerned(&self, node: usize) -> bool {
        let of = |patient: usize| {
            let Some(held) = self.copy(patient, CUSTODIAN) else { return false };
            let (person, copy) = (&self.world.nodes[node].person, self.copy(patient, node));
            let listed = held.is_device(&person.author()) || copy.is_some_and(|copy| copy.is_device(&person.author()));
            listed || held.circles(&person.party()).next().is_some() || copy.is_some_and(|copy| !copy.is_empty())
        };
        self.roles[node] == Role::Custodian || (0..self.patients.len()).any(of)
    }

    /// Lets all honest nodes meet.
    pub fn meet_honest(&mut self) {
        let honest = |node: &usize| !self.world.is_bad(*node) && self.is_concerned(*node);
        self.meet(&(0..self.roles.len()).filter(honest).collect());
    }

    /// Lets everybody meet, the bad ones and the strangers as well.
    pub fn meet_everybody(&mut self) {
        for stranger in (0..self.roles.len()).filter(|node| self.roles[*node] == Role::Stranger) {
            self.world.connect(stranger, CUSTODIAN, None);
        }
        let everybody = (0..self.roles.len()).filter(|node| self.is_concerned(*node)).collect();
        self.meet(&everybody);
    }

    /// Hangs up everywhere.
    pub fn part_all(&mut self) {
        let nodes = 0..self.roles.len();
        for (node, link) in nodes.flat_map(|node| self.world.links_of(node).into_iter().map(move |(link, _)| (node, link))).collect::<Vec<_>>() {
            self.world.tell(node, Some(link), Event::Leave);
        }
        self.rest();
        self.world.cut_all();
    }
}

/// One of so many.
pub(super) fn pick(number: u64, of: usize) -> usize {
    usize::try_from(number).unwrap_or(0) % of.max(1)
}
