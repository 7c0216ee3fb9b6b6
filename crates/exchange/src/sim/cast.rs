//! Who is in every history: two patients with three devices each and one to begin anew with, two custodians, a hospital of three nodes, a clinic of two, two practitioners, and somebody who has no
//! business here.

use std::sync::{Arc, OnceLock};

use chartmesh_identity::{AccessId, CharterHash, GrantId, Kind, LaneId, LedgerId, PartyKey, SigningSecret, Verified};
use chartmesh_ledger::{Charter, Root};

use super::people::{self, Person};

/// Catalogs that a patient has.
pub(super) const CATALOGS: usize = 3;
/// The node that never turns against anybody and is never put back: a custodian.
pub(super) const CUSTODIAN: usize = 8;

/// The patients' names.
const PATIENTS: [&str; 2] = ["Anna", "Ben"];

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One of the devices of a patient.
    Device(usize),
    /// Keeps ciphertext of both.
    Custodian,
    /// A party's node.
    Party,
    /// Has no grant, and knows the ledgers' ids and charters all the same.
    Stranger,
}

/// A patient: two devices from the beginning, a tablet that may come later, and a new device for when the recovery words are needed.
#[derive(Clone)]
pub struct Patient {
    /// For people.
    pub name: &'static str,
    /// The ledger.
    pub ledger: LedgerId,
    /// Its devices' nodes: phone, laptop, tablet, and the new one.
    pub devices: [usize; 4],
    /// The catalogs.
    pub catalogs: [LaneId; CATALOGS],
    secret: [u8; 32],
}

impl Patient {
    /// A patient whose ledger is not yet begun.
    pub fn new(name: &'static str, devices: [usize; 4]) -> Self {
        let secret = *blake3::hash(name.as_bytes()).as_bytes();
        let catalogs = [0, 1, 2].map(|n: u8| LaneId::derive(&secret, &[n]));
        Self { name, ledger: LedgerId::new([0; 32]), devices, catalogs, secret }
    }

    /// The circle of a party.
    pub fn circle(&self, party: &PartyKey) -> LaneId {
        LaneId::derive(&self.secret, party.as_bytes())
    }

    /// The keyring lane.
    pub fn keyring(&self) -> LaneId {
        LaneId::derive(&self.secret, b"keyring")
    }

    /// The root in the recovery words: rank 0.
    pub fn words(&self) -> SigningSecret {
        people::key(&format!("{} words", self.name))
    }

    /// The root of a device: rank 1.
    pub fn root(&self, device: usize) -> SigningSecret {
        people::key(&format!("{} root {device}", self.name))
    }

    /// The access of a grant to a catalog, as every device derives it.
    pub fn access(&self, grant: &GrantId, catalog: &LaneId) -> AccessId {
        AccessId::derive(&self.secret, grant, catalog)
    }

    /// What its Admit is salted with.
    pub fn salt(&self, access: &AccessId) -> [u8; 16] {
        let mut salt = [0; 16];
        salt.copy_from_slice(&blake3::keyed_hash(&self.secret, access.as_bytes()).as_bytes()[..16]);
        salt
    }

    /// The roots of version 0.
    pub fn roots(&self) -> Vec<Root> {
        let devices = self.devices.iter().map(|device| Root { key: self.root(*device).root(), rank: 1 });
        std::iter::once(Root { key: self.words().root(), rank: 0 }).chain(devices).collect()
    }
}

/// Everybody, by node. Made once: their keys and cards are the same in every history.
pub(super) fn cast() -> &'static [(Role, Arc<Person>)] {
    static CAST: OnceLock<Vec<(Role, Arc<Person>)>> = OnceLock::new();
    CAST.get_or_init(|| {
        let mut cast = Vec::new();
        for (patient, name) in PATIENTS.into_iter().enumerate() {
            let devices = ["phone", "laptop", "tablet", "new phone"];
            cast.extend(devices.map(|device| (Role::Device(patient), Person::new(&format!("{name}'s {device}"), Kind::Patient))));
        }
        cast.extend(["custodian", "other custodian"].map(|name| (Role::Custodian, Person::new(name, Kind::Custodian))));
        cast.extend(Person::nodes("hospital", Kind::Organization, 3).into_iter().map(|node| (Role::Party, node)));
        cast.extend(Person::nodes("clinic", Kind::Organization, 2).into_iter().map(|node| (Role::Party, node)));
        cast.extend(["Dr Lee", "Dr Roe"].map(|name| (Role::Party, Person::new(name, Kind::Practitioner))));
        cast.push((Role::Stranger, Person::new("Eve", Kind::Practitioner)));
        cast.into_iter().map(|(role, person)| (role, Arc::new(person))).collect()
    })
}

/// Both patients with version 0 of their charters: phone and laptop are devices. Made once.
pub(super) fn patients() -> &'static [(Patient, Verified<Charter>)] {
    static BOTH: OnceLock<Vec<(Patient, Verified<Charter>)>> = OnceLock::new();
    BOTH.get_or_init(|| {
        let people = cast();
        let begin = |(n, name): (usize, &'static str)| {
            let mut patient = Patient::new(name, [0, 1, 2, 3].map(|device| 4 * n + device));
            let [phone, laptop, ..] = patient.devices;
            let devices = [&*people[phone].1, &*people[laptop].1];
            let custodians = [&*people[CUSTODIAN].1, &*people[CUSTODIAN + 1].1];
            let genesis = people::charter_under(patient.roots(), &patient.root(phone), &devices, &custodians, patient.keyring());
            patient.ledger = CharterHash::of(genesis.as_bytes()).as_ledger();
            (patient, genesis)
        };
        PATIENTS.into_iter().enumerate().map(begin).collect()
    })
}

/// Everybody's name, by node.
pub fn names() -> impl Iterator<Item = &'static str> {
    cast().iter().map(|(_, person)| person.name.as_str())
}
