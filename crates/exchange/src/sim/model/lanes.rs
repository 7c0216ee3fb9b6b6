//! What the entries of one lane come to: the two tables of the page, row by row.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AccessId, AuthorKey, EntryHash, GrantId, LaneId, NodeRole};
use chartmesh_ledger::{Action, Charter, Entry, Fence, Point, Use};

use super::{Model, Ruling};

pub(super) struct Lane<'a> {
    id: LaneId,
    keyring: bool,
    charters: &'a [Charter],
    devices: &'a BTreeSet<AuthorKey>,
    entries: Vec<&'a Entry>,
    rulings: BTreeMap<EntryHash, Ruling>,
}

impl<'a> Lane<'a> {
    pub(super) fn new(id: LaneId, keyring: bool, charters: &'a [Charter], devices: &'a BTreeSet<AuthorKey>, entries: Vec<&'a Entry>) -> Self {
        Self { id, keyring, charters, devices, entries, rulings: BTreeMap::new() }
    }

    pub(super) fn decide(mut self, model: &mut Model<'_>) {
        // What takes away rests on nothing else; what gives rests on that; what parties do rests on both.
        let (by_devices, by_parties): (Vec<&Entry>, Vec<&Entry>) = self.entries.iter().partition(|entry| self.devices.contains(&entry.author()));
        for entry in &by_devices {
            let ruling = self.device(entry);
            self.rulings.insert(entry.hash(), ruling);
        }
        let given = self.rulings.clone();
        for entry in &by_devices {
            if let Some(ruling) = self.settle(entry, &given) {
                self.rulings.insert(entry.hash(), ruling);
            }
        }
        if !self.keyring {
            for entry in &by_parties {
                let ruling = self.party(entry, &given);
                self.rulings.insert(entry.hash(), ruling);
            }
        }
        self.epochs(model);
        self.documents(model);
        self.forks(model);
        for entry in self.entries.iter().filter(|entry| self.stands(entry)) {
            if let Action::Receipt { grant, .. } = &entry.header.action
                && self.fences(grant).into_iter().any(|fence| !self.fence_reaches(fence, entry))
            {
                model.late.insert(entry.hash());
            }
        }
        model.rulings.extend(self.rulings);
    }

    fn get(&self, hash: &EntryHash) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.hash() == *hash).copied()
    }

    fn stands(&self, entry: &Entry) -> bool {
        self.rulings.get(&entry.hash()) == Some(&"stands")
    }

    /// Two entries for one place, here or before in this log.
    fn is_forked(&self, entry: &Entry) -> bool {
        let log: Vec<u64> = self.entries.iter().filter(|other| other.author() == entry.author()).map(|other| other.header.seq).collect();
        (1..=entry.header.seq).any(|place| log.iter().filter(|seq| **seq == place).count() > 1)
    }

    fn is_held(&self, point: &Point) -> bool {
        self.get(&point.hash).is_some_and(|entry| entry.author() == point.author && entry.header.seq == point.seq)
    }

    /// The entry is the point's or comes before it on its branch; if the point's entry is not held: it has a lower seq.
    fn reaches(&self, point: &Point, entry: &Entry) -> bool {
        if !self.is_held(point) {
            return entry.header.seq < point.seq;
        }
        let mut next = self.get(&point.hash);
        while let Some(before) = next {
            if before.hash() == entry.hash() {
                return true;
            }
            next = before.header.prev.as_ref().and_then(|prev| self.get(prev));
        }
        false
    }

    fn lowest<'f>(fence: &'f [Point], author: &AuthorKey) -> Option<&'f Point> {
        fence.iter().filter(|point| point.author == *author).min_by_key(|point| (point.seq, point.hash))
    }

    fn fence_reaches(&self, fence: &Fence, entry: &Entry) -> bool {
        Self::lowest(&fence.0, &entry.author()).is_some_and(|point| self.reaches(point, entry))
    }

    /// The first rows of the table of devices, under one charter; none if none of them applies.
    fn barred(&self, charter: &Charter, entry: &Entry) -> Option<Ruling> {
        let listed = charter.devices.iter().find(|device| device.key == entry.author());
        let Some(device) = listed.filter(|device| device.role == "full") else { return Some("void: no authority") };
        let mut held = false;
        if let Some(heads) = &device.suspended {
            let points: Vec<Point> =
                heads.iter().filter(|head| head.lane == self.id).map(|head| Point { author: head.author, seq: head.seq, hash: head.hash }).collect();
            match Self::lowest(&points, &entry.author()) {
                Some(point) if self.reaches(point, entry) => held = self.is_held(point),
                _ => return Some("void: fenced"),
            }
        }
        (self.is_forked(entry) && !entry.header.action.takes_away() && !held).then_some("void: forked")
    }

    fn device(&self, entry: &Entry) -> Ruling {
        let header = &entry.header;
        let under: Vec<Option<Ruling>> = self.charters.iter().map(|charter| self.barred(charter, entry)).collect();
        let stands = if header.action.takes_away() { under.iter().any(Option::is_none) } else { under.iter().all(Option::is_none) };
        if !stands {
            return under.into_iter().flatten().next().unwrap_or("void: no authority");
        }
        if !header.action.takes_away() && !header.understood() {
            return "no effect";
        }
        if (header.action.code() == "key") != self.keyring {
            return "void: wrong lane";
        }
        match header.action {
            Action::Receipt { .. } | Action::Confirm { .. } | Action::Request {} => "no effect",
            _ => "stands",
        }
    }

    /// The rows about grants, once it is known what the rows above say.
    fn settle(&self, entry: &Entry, given: &BTreeMap<EntryHash, Ruling>) -> Option<Ruling> {
        let grant = match &entry.header.action {
            Action::Grant { id, .. } => id,
            Action::Envelope { grant, .. } => grant,
            _ => return None,
        };
        if given.get(&entry.hash()) != Some(&"stands") {
            return None;
        }
        if self.grant(grant, given).is_none() {
            return Some("void: no grant");
        }
        (!self.fences(grant).is_empty()).then_some("void: revoked")
    }

    /// The Grant that is given under an id: of several the one with the lowest hash.
    fn grant(&self, id: &GrantId, given: &BTreeMap<EntryHash, Ruling>) -> Option<&'a Entry> {
        let named = self.entries.iter().filter(|entry| matches!(&entry.header.action, Action::Grant { id: of, .. } if of == id));
        named.filter(|entry| given.get(&entry.hash()) == Some(&"stands")).min_by_key(|entry| entry.hash()).copied()
    }

    /// Fences of the Revokes of a grant that stand.
    fn fences(&self, grant: &GrantId) -> Vec<&'a Fence> {
        let fence = |entry: &&'a Entry| match &entry.header.action {
            Action::Revoke { grant: of, fence } if of == grant && self.stands(entry) => Some(fence),
            _ => None,
        };
        self.entries.iter().filter_map(fence).collect()
    }

    /// Fences of the Bars of an access that stand.
    fn bars(&self, access: &AccessId) -> Vec<&'a Fence> {
        let fence = |entry: &&'a Entry| match &entry.header.action {
            Action::Bar { id, fence } if id == access && self.stands(entry) => Some(fence),
            _ => None,
        };
        self.entries.iter().filter_map(fence).collect()
    }

    fn party(&self, entry: &Entry, given: &BTreeMap<EntryHash, Ruling>) -> Ruling {
        let header = &entry.header;
        let testifies = entry.has_role(NodeRole::Receipt);
        match (&header.action, &header.uses) {
            (Action::Receipt { grant, .. }, Some(Use::Grant(id))) if grant == id && testifies => return self.known(entry, "stands"),
            (Action::Confirm { .. }, Some(Use::Grant(_))) if testifies => return self.known(entry, "stands"),
            _ => {}
        }
        let (is_given, fences) = match (&header.action, &header.uses) {
            (Action::Request {} | Action::Unknown { .. }, Some(Use::Grant(id))) => {
                let grant = self.grant(id, given);
                (grant.is_some_and(|grant| matches!(&grant.header.action, Action::Grant { party, .. } if *party == entry.party())), self.fences(id))
            }
            (Action::Publish { .. } | Action::Withdraw { .. } | Action::Unknown { .. }, Some(Use::Admit { id, salt })) => {
                let name = *blake3::hash(&[salt.as_slice(), entry.party().as_bytes()].concat()).as_bytes();
                let admits = |admit: &&Entry| matches!(&admit.header.action, Action::Admit { id: of, party } if of == id && *party == name);
                let admitted = self.entries.iter().copied().filter(admits).any(|admit| given.get(&admit.hash()) == Some(&"stands"));
                (admitted && entry.has_role(NodeRole::Write), self.bars(id))
            }
            _ => return "void: no authority",
        };
        if !is_given {
            return "void: no authority";
        }
        if self.is_forked(entry) && !header.action.takes_away() {
            return "void: forked";
        }
        if fences.into_iter().any(|fence| !self.fence_reaches(fence, entry)) {
            return "void: fenced";
        }
        if let Action::Withdraw { publish, .. } = &header.action
            && let Some(target) = self.get(publish).filter(|target| target.header.action.code() == "publish")
        {
            let access = |entry: &Entry| entry.header.uses.as_ref().map(|uses| if let Use::Admit { id, .. } = uses { Some(*id) } else { None });
            let own = !self.devices.contains(&target.author()) && target.party() == entry.party() && access(target) == access(entry);
            return if own { "stands" } else { "void: no authority" };
        }
        self.known(entry, "stands")
    }

    fn known(&self, entry: &Entry, ruling: Ruling) -> Ruling {
        if entry.header.understood() || entry.header.action.takes_away() { ruling } else { "no effect" }
    }

    /// The usable epoch, and what is sealed to another.
    fn epochs(&mut self, model: &mut Model<'_>) {
        let standing: Vec<&Entry> = self.entries.iter().copied().filter(|entry| self.stands(entry)).collect();
        let parts = |entry: &'a Entry| match &entry.header.action {
            Action::Epoch { supersedes, covers, past, .. } => Some((entry.hash(), supersedes, covers, past)),
            _ => None,
        };
        let epochs: Vec<_> = self.entries.iter().copied().filter(|entry| self.stands(entry)).filter_map(parts).collect();
        let bars: BTreeSet<AccessId> =
            standing.iter().filter_map(|entry| if let Action::Bar { id, .. } = &entry.header.action { Some(*id) } else { None }).collect();
        let is_usable = |epoch: &EntryHash, covers: &[AccessId]| {
            !epochs.iter().any(|(_, supersedes, ..)| supersedes.contains(epoch)) && bars.iter().all(|bar| covers.contains(bar))
        };
        let usable = epochs.iter().filter(|(epoch, _, covers, _)| is_usable(epoch, covers)).map(|(epoch, ..)| *epoch).min();
        model.usable.extend(usable.map(|usable| (self.id, usable)));
        let mut stale = Vec::new();
        for entry in standing.iter().filter(|entry| entry.header.action.code() == "publish") {
            let to = entry.header.epoch;
            let past = epochs.iter().any(|(_, supersedes, _, past)| to.is_some_and(|to| supersedes.contains(&to)) && self.fence_reaches(past, entry));
            if !(to.is_some() && to == usable || past) {
                stale.push(entry.hash());
            }
        }
        self.rulings.extend(stale.into_iter().map(|entry| (entry, "stale")));
    }

    /// Documents of a Publish that is not void, unless a Withdraw that stands takes them back.
    fn documents(&self, model: &mut Model<'_>) {
        let parts = |entry: &&'a Entry| match &entry.header.action {
            Action::Withdraw { publish, documents, .. } => Some((*publish, documents)),
            _ => None,
        };
        let withdraws: Vec<_> = self.entries.iter().filter(|entry| self.stands(entry)).filter_map(parts).collect();
        for entry in &self.entries {
            let Action::Publish { documents } = &entry.header.action else { continue };
            if !matches!(self.rulings.get(&entry.hash()), Some(&("stands" | "stale"))) {
                continue;
            }
            let withdrawn = |blob| withdraws.iter().any(|(publish, blobs)| *publish == entry.hash() && (blobs.is_empty() || blobs.contains(blob)));
            model.shown.extend(documents.iter().filter(|blob| !withdrawn(&blob.hash)).map(|blob| (entry.hash(), blob.hash)));
        }
    }

    fn forks(&self, model: &mut Model<'_>) {
        let mut seen = BTreeSet::new();
        for entry in &self.entries {
            let place = (self.id, entry.author(), entry.header.seq);
            if !seen.insert(place) {
                model.forks.insert(place);
            }
        }
    }
}
