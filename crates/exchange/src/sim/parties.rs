//! What parties' nodes do that keep to the rules: they write where they may, testify, and ask.

use chartmesh_identity::{EntryHash, GrantId, LaneId};
use chartmesh_ledger::{Action, Use, admit_hash};

use super::{
    act::Act,
    cast::Role,
    node::Draft,
    story::{Story, pick},
};

impl Story {
    pub(super) fn party_act(&mut self, act: Act) {
        match act {
            Act::Write { node, patient, which, documents } => self.party_publishes(self.node(node), self.patient(patient), which, documents),
            Act::Retract { node, patient, which } => self.retract(self.node(node), self.patient(patient), which),
            Act::Testify { node, patient, which } => self.testify(self.node(node), self.patient(patient), which),
            Act::Ask { node, patient } => self.ask(self.node(node), self.patient(patient)),
            Act::Future { node, patient } => self.future(self.node(node), self.patient(patient)),
            _ => {}
        }
    }

    pub(super) fn patient(&self, number: u64) -> usize {
        pick(number, self.patients.len())
    }

    /// Under what a party's node may write in which catalogs, as it knows from the Envelopes that it holds.
    pub(super) fn doors(&self, patient: usize, node: usize, barred_too: bool) -> Vec<(LaneId, Use)> {
        let party = self.party(node);
        let of = &self.patients[patient];
        let Some(ledger) = self.copy(patient, node) else { return Vec::new() };
        let grants = ledger.lane(&of.circle(&party)).grants.iter().filter(|(_, grant)| barred_too || grant.revoked.is_none());
        let mut doors = Vec::new();
        for (id, lane) in grants.flat_map(|(id, grant)| grant.envelopes.iter().flat_map(|envelope| &envelope.catalogs).map(move |lane| (*id, *lane))) {
            let access = of.access(&id, &lane);
            let state = ledger.lane(&lane);
            if state.admits.contains_key(&access) && (barred_too || !state.bars.contains_key(&access)) {
                doors.push((lane, Use::Admit { id: access, salt: of.salt(&access) }));
            }
        }
        doors
    }

    fn party_publishes(&mut self, node: usize, patient: usize, which: u64, documents: u64) {
        let doors = self.doors(patient, node, false);
        let Some((lane, uses)) = doors.get(pick(which, doors.len())).cloned() else { return };
        let Some(epoch) = self.copy(patient, node).and_then(|ledger| ledger.lane(&lane).usable) else { return };
        let action = Action::Publish { documents: self.documents(documents) };
        self.write(patient, node, Draft { uses: Some(uses), epoch: Some(epoch), ..Draft::new(lane, action) });
    }

    fn retract(&mut self, node: usize, patient: usize, which: u64) {
        let party = self.party(node);
        let doors = self.doors(patient, node, false);
        let Some((lane, uses)) = doors.get(pick(which, doors.len())).cloned() else { return };
        let Some(ledger) = self.copy(patient, node) else { return };
        let own: Vec<EntryHash> = ledger.lane(&lane).publishes.iter().filter(|(_, publish)| publish.party == Some(party)).map(|(entry, _)| *entry).collect();
        let Some(publish) = own.get(pick(which / 7, own.len())).copied() else { return };
        let action = Action::Withdraw { publish, documents: Vec::new(), erase: false };
        self.write(patient, node, Draft { uses: Some(uses), ..Draft::new(lane, action) });
    }

    /// The grants of its party that a node knows, each with its Revoke.
    fn known_grants(&self, patient: usize, node: usize) -> Vec<(GrantId, Option<EntryHash>)> {
        let circle = self.patients[patient].circle(&self.party(node));
        let Some(ledger) = self.copy(patient, node) else { return Vec::new() };
        ledger.lane(&circle).grants.iter().map(|(id, grant)| (*id, grant.revoked.as_ref().map(|revoke| revoke.entry))).collect()
    }

    fn testify(&mut self, node: usize, patient: usize, which: u64) {
        let circle = self.patients[patient].circle(&self.party(node));
        let grants = self.known_grants(patient, node);
        let Some((grant, revoke)) = grants.get(pick(which, grants.len())).copied() else { return };
        // Reading goes on after a Revoke, and so does testimony.
        let action = match revoke {
            Some(revoke) if which.is_multiple_of(2) => Action::Confirm { revoke },
            _ => Action::Receipt { grant, n: which },
        };
        self.write(patient, node, Draft { uses: Some(Use::Grant(grant)), ..Draft::new(circle, action) });
    }

    fn ask(&mut self, node: usize, patient: usize) {
        let circle = self.patients[patient].circle(&self.party(node));
        let Some((grant, _)) = self.known_grants(patient, node).pop() else { return };
        self.write(patient, node, Draft { uses: Some(Use::Grant(grant)), ..Draft::new(circle, Action::Request {}) });
    }

    /// Something unknown: by a device anywhere, by a party under its access or its grant.
    fn future(&mut self, node: usize, patient: usize) {
        let action = Action::Unknown { code: "future".into(), raw: vec![0xa0] };
        if let Role::Device(patient) = self.roles[node] {
            let lane = self.patients[patient].catalogs[0];
            self.write(patient, node, Draft::new(lane, action));
        } else if let Some((lane, uses)) = self.doors(patient, node, false).pop() {
            self.write(patient, node, Draft { uses: Some(uses), ..Draft::new(lane, action) });
        } else if let Some((grant, _)) = self.known_grants(patient, node).pop() {
            let circle = self.patients[patient].circle(&self.party(node));
            self.write(patient, node, Draft { uses: Some(Use::Grant(grant)), ..Draft::new(circle, action) });
        }
    }

    /// Whether somebody was admitted under this in a lane, as far as a node knows.
    pub(super) fn is_admitted(&self, patient: usize, node: usize, lane: &LaneId, uses: &Use) -> bool {
        let Use::Admit { id, salt } = uses else { return false };
        let party = admit_hash(salt, &self.party(node));
        self.copy(patient, node).is_some_and(|ledger| ledger.lane(lane).admits.get(id).into_iter().flatten().any(|admit| admit.party == party))
    }
}
