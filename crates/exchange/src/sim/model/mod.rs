//! The reference model: what charters and entries come to, from schemas/verdicts.md alone.
//!
//! It shares no code with the ledger crate's evaluation: it reads the same signed bytes through the same decoders and then decides by itself, entry by entry, with whatever
//! loops say plainly what the page says. It is slow, and meant for a hundred entries.

mod charters;
mod lanes;

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AuthorKey, BlobHash, CharterHash, EntryHash, GrantId, LaneId, PartyKey};
use chartmesh_ledger::{Action, Charter, Entry, Ledger};

use self::lanes::Lane;

/// What an entry comes to, in the words of the page.
pub type Ruling = &'static str;

/// What a set of charters and entries comes to.
pub struct Model<'a> {
    /// By entry.
    pub rulings: BTreeMap<EntryHash, Ruling>,
    /// By lane: the epoch to seal to.
    pub usable: BTreeMap<LaneId, EntryHash>,
    /// Documents that may be shown, each with its Publish.
    pub shown: BTreeSet<(EntryHash, BlobHash)>,
    /// Receipts of after a withdrawal.
    pub late: BTreeSet<EntryHash>,
    /// Places at which somebody signed twice.
    pub forks: BTreeSet<(LaneId, AuthorKey, u64)>,
    /// Whether rivals contest the charter.
    pub contested: bool,
    entries: BTreeMap<EntryHash, &'a Entry>,
}

impl<'a> Model<'a> {
    /// Decides over everything that a copy holds, of which every charter is `known`.
    pub fn of(copy: &'a Ledger, known: &BTreeMap<CharterHash, Charter>) -> Self {
        let charters: BTreeMap<CharterHash, &Charter> = copy.charter_versions().map(|(hash, _)| (hash, &known[&hash])).collect();
        let (in_force, ends) = charters::in_force(&charters);
        let devices = charters::devices(&charters);
        let mut model = Self {
            rulings: BTreeMap::new(),
            usable: BTreeMap::new(),
            shown: BTreeSet::new(),
            late: BTreeSet::new(),
            forks: BTreeSet::new(),
            contested: ends.len() > 1,
            entries: BTreeMap::new(),
        };
        for lane in copy.lanes() {
            let entries: Vec<&Entry> = copy.entries(lane).collect();
            model.entries.extend(entries.iter().map(|entry| (entry.hash(), *entry)));
            let keyring = in_force.keyring_lane == *lane;
            Lane::new(*lane, keyring, &ends, &devices, entries).decide(&mut model);
        }
        model
    }

    fn stands(&self, entry: &Entry) -> bool {
        self.rulings.get(&entry.hash()) == Some(&"stands")
    }

    fn standing(&self) -> impl Iterator<Item = &'a Entry> + '_ {
        self.entries.values().copied().filter(|entry| self.stands(entry))
    }

    /// The grants of a party that stand and are not revoked.
    pub fn grants_of(&self, party: &PartyKey, now: i64) -> BTreeSet<GrantId> {
        let live = |entry: &Entry| match entry.header.action {
            Action::Grant { id, party: of, until, .. } if of == *party && until.is_none_or(|until| now < until) => Some(id),
            _ => None,
        };
        self.standing().filter_map(live).collect()
    }

    /// Whether a party ever had a grant that stood, be it revoked since or not.
    pub fn had_grant(&self, party: &PartyKey) -> bool {
        let of = |entry: &&Entry| matches!(entry.header.action, Action::Grant { party: of, .. } if of == *party);
        self.entries.values().copied().filter(of).any(|entry| matches!(self.rulings.get(&entry.hash()), Some(&("stands" | "void: revoked"))))
    }

    /// Catalogs that a party reads whole: a standing Envelope of a live grant of it names an epoch there that stands.
    pub fn reads(&self, party: &PartyKey, now: i64) -> BTreeSet<LaneId> {
        let live = self.grants_of(party, now);
        let mut lanes = BTreeSet::new();
        for entry in self.standing() {
            if let Action::Envelope { grant, epochs, .. } = &entry.header.action
                && live.contains(grant)
            {
                let epochs =
                    epochs.iter().filter_map(|epoch| self.entries.get(epoch)).filter(|entry| entry.header.action.code() == "epoch" && self.stands(entry));
                lanes.extend(epochs.map(|entry| entry.header.lane));
            }
        }
        lanes
    }

    /// Revokes that stand, with their grants.
    pub fn revokes(&self) -> BTreeMap<EntryHash, GrantId> {
        let revoke = |entry: &Entry| match entry.header.action {
            Action::Revoke { grant, .. } => Some((entry.hash(), grant)),
            _ => None,
        };
        self.standing().filter_map(revoke).collect()
    }

    /// Withdraws that stand.
    pub fn withdraws(&self) -> impl Iterator<Item = (EntryHash, EntryHash)> + '_ {
        self.standing().filter_map(|entry| match entry.header.action {
            Action::Withdraw { publish, .. } => Some((entry.hash(), publish)),
            _ => None,
        })
    }
}
