//! Keys, cards and charters for simulated nodes, all from names: nothing here is random.

use chartmesh_identity::{
    AuthorKey, Card, CertId, Certificate, CharterHash, Contact, EndpointKey, Kind, LaneId, LedgerId, NodeRole, PartyKey, Profile, Recipient, Signed,
    SigningSecret, Verified,
};
use chartmesh_ledger::{Charter, Custodian, Device, FULL, Root};

use crate::replica::Me;

/// A node's keys and card.
pub struct Person {
    /// For people.
    pub name: String,
    /// Signs entries.
    pub key: SigningSecret,
    /// The party's word for this node's key, if the party has several nodes.
    pub cert: Option<Signed<Certificate>>,
    /// What it shows.
    pub card: Verified<Card>,
    /// Where it is.
    pub endpoint: EndpointKey,
}

/// A key that follows from a label.
pub fn key(label: &str) -> SigningSecret {
    SigningSecret::from_seed(blake3::hash(label.as_bytes()).as_bytes())
}

/// A recipient that nobody can open.
pub fn recipient(label: &str) -> Recipient {
    let mut bytes = [0; Recipient::LEN];
    blake3::Hasher::new().update(label.as_bytes()).finalize_xof().fill(&mut bytes);
    Recipient::from_bytes(&bytes).unwrap_or_else(|| unreachable!("it has the length of a recipient"))
}

/// A lane of the simulated patient.
pub fn lane(purpose: &str) -> LaneId {
    LaneId::derive(&[7; 32], purpose.as_bytes())
}

impl Person {
    /// Somebody with one node.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self::nodes(name, kind, 1).remove(0)
    }

    /// Somebody with several nodes, each with a key and an endpoint of its own, under one card.
    pub fn nodes(name: &str, kind: Kind, count: usize) -> Vec<Self> {
        let party = key(name);
        let endpoints: Vec<EndpointKey> = (0..count).map(|n| key(&format!("{name} endpoint {n}")).endpoint()).collect();
        let profile = Profile { name: name.into(), kind, party: party.party(), recipient: recipient(name), version: 1 };
        let card = Signed::sign(Card { profile, contact: Contact { endpoints: endpoints.clone(), counter: 1, ..Contact::default() } }, &party);
        let several = count > 1;
        let node = |(n, endpoint): (usize, EndpointKey)| {
            let key = if several { key(&format!("{name} node {n}")) } else { key(name) };
            let id = CertId::new([u8::try_from(n).unwrap_or(u8::MAX); 16]);
            let roles = vec![NodeRole::Write, NodeRole::Receipt];
            let cert = several.then(|| Signed::sign(Certificate { party: party.party(), node: key.author(), id, roles }, &party).signed().clone());
            Self { name: if several { format!("{name} {n}") } else { name.into() }, key, cert, card: card.clone(), endpoint }
        };
        endpoints.into_iter().enumerate().map(node).collect()
    }

    /// The party that it is, or is a node of.
    pub fn party(&self) -> PartyKey {
        self.card.profile.party
    }

    /// Its signing key.
    pub fn author(&self) -> AuthorKey {
        self.key.author()
    }

    /// As its sessions know it.
    pub fn me(&self) -> Me {
        Me { card: self.card.clone(), endpoint: self.endpoint, author: self.author() }
    }
}

/// Version 0 of a charter of these devices and custodians: root `rank 0`, and root `rank 1` for day to day.
pub fn charter(devices: &[&Person], custodians: &[&Person]) -> Verified<Charter> {
    let root = key("rank 1");
    let roots = vec![Root { key: key("rank 0").root(), rank: 0 }, Root { key: root.root(), rank: 1 }];
    charter_under(roots, &root, devices, custodians, lane("keyring"))
}

/// Version 0 of a charter under these roots, signed by one of them.
pub fn charter_under(roots: Vec<Root>, root: &SigningSecret, devices: &[&Person], custodians: &[&Person], keyring_lane: LaneId) -> Verified<Charter> {
    let custodian = |person: &&Person| Custodian { party: person.party(), card: person.card.profile.hash(), endpoint: person.endpoint };
    let charter = Charter {
        version: 0,
        prev: None,
        ledger: None,
        signer: root.root(),
        threshold: 1,
        roots,
        devices: devices.iter().map(|person| as_device(person)).collect(),
        recovery: recipient("recovery"),
        keyring: recipient("keyring"),
        keyring_lane,
        custodians: custodians.iter().map(custodian).collect(),
        min_suite: 1,
        continues: None,
        crit: Vec::new(),
        time: 0,
    };
    Signed::sign(charter, root)
}

/// The next version, signed by `root`, with whatever `change` does to it.
pub fn next_charter(before: &Charter, hash: CharterHash, ledger: LedgerId, root: &SigningSecret, change: impl FnOnce(&mut Charter)) -> Verified<Charter> {
    let mut next = Charter { version: before.version + 1, prev: Some(hash), ledger: Some(ledger), signer: root.root(), ..before.clone() };
    change(&mut next);
    Signed::sign(next, root)
}

/// A device as a charter lists it.
pub fn as_device(person: &Person) -> Device {
    Device {
        key: person.author(),
        card: person.card.profile.hash(),
        party: person.party(),
        recipient: person.card.profile.recipient.clone(),
        endpoint: person.endpoint,
        role: FULL.into(),
        suspended: None,
    }
}
