//! What devices owe, derived from state: no message can be withheld to prevent it.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AccessId, EntryHash, GrantId, LaneId};

use crate::{action::Action, ledger::Ledger, state::GrantState};

/// What only devices know, from the keyring and the opened bodies of Grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Every catalog that should have a usable epoch.
    pub catalogs: BTreeSet<LaneId>,
    /// Per grant, revoked ones too, the catalogs that its party may read whole or write, and the id of that access.
    pub access: BTreeMap<GrantId, BTreeMap<LaneId, Access>>,
}

/// A grant's access to one catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Its id: [`AccessId::derive`].
    pub id: AccessId,
    /// Whether the party may read the catalog whole, and so is owed an Envelope for each new epoch.
    pub reads: bool,
    /// Whether the party may write there, and so is owed an Admit.
    pub writes: bool,
}

/// One thing that some device has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// End a grant whose time is over: sign a Revoke.
    Expire {
        /// Which grant.
        grant: GrantId,
        /// In which circle.
        circle: LaneId,
    },
    /// End the access of a revoked grant: sign a Bar.
    Bar {
        /// Of which grant.
        grant: GrantId,
        /// In which catalog.
        catalog: LaneId,
        /// Which access.
        id: AccessId,
    },
    /// No epoch is usable, or a suspended device knows the one that is, or made it: sign a new one that supersedes all and covers what [`Ledger::to_cover`] says.
    Epoch {
        /// In which catalog.
        catalog: LaneId,
    },
    /// A live grant lets its party write where no Admit does so yet: sign one.
    Admit {
        /// Of which grant.
        grant: GrantId,
        /// In which catalog.
        catalog: LaneId,
        /// Which access.
        id: AccessId,
    },
    /// A live reader has not been handed the usable epoch: sign an Envelope.
    Envelope {
        /// Under which grant.
        grant: GrantId,
        /// In which circle.
        circle: LaneId,
        /// For which catalog.
        catalog: LaneId,
        /// Its usable epoch.
        epoch: EntryHash,
    },
    /// Documents are sealed to an epoch that is not the usable one: publish them anew, then withdraw these.
    Reseal {
        /// In which catalog.
        catalog: LaneId,
        /// Which Publish.
        publish: EntryHash,
    },
}

/// What devices owe at `now` (Unix seconds), taking away first. In a lane where giving is frozen, only what takes away.
pub fn duties(ledger: &Ledger, wanted: &Wanted, now: i64) -> Vec<Duty> {
    let mut owed = BTreeSet::new();
    let mut catalogs = wanted.catalogs.clone();
    catalogs.extend(wanted.access.values().flat_map(BTreeMap::keys));
    catalogs.extend(ledger.lanes().filter(|lane| !ledger.lane(lane).epochs.is_empty() || !ledger.lane(lane).bars.is_empty()));
    let ended: BTreeMap<LaneId, BTreeSet<AccessId>> = catalogs.iter().map(|catalog| (*catalog, ended(ledger, catalog))).collect();
    for circle in ledger.lanes() {
        let state = ledger.lane(circle);
        for (id, grant) in &state.grants {
            let access = wanted.access.get(id).into_iter().flatten();
            if grant.revoked.is_some() {
                owed.extend(access.filter(|(catalog, access)| !ledger.lane(catalog).bars.contains_key(&access.id)).map(|(catalog, access)| Duty::Bar {
                    grant: *id,
                    catalog: *catalog,
                    id: access.id,
                }));
            } else if !grant.is_live(now) {
                owed.insert(Duty::Expire { grant: *id, circle: *circle });
            } else if ledger.may_give() && !state.frozen_giving {
                let standing = access.filter(|(catalog, access)| !ended[*catalog].contains(&access.id));
                owed.extend(standing.flat_map(|(catalog, access)| owed_to(ledger, (id, grant), circle, (catalog, access))));
            }
        }
    }
    if ledger.may_give() {
        owed.extend(catalogs.iter().flat_map(|catalog| owed_in(ledger, catalog)));
    }
    owed.into_iter().collect()
}

/// What a live grant is owed in one catalog where its access has not [`ended`].
fn owed_to(ledger: &Ledger, (id, grant): (&GrantId, &GrantState), circle: &LaneId, (catalog, access): (&LaneId, &Access)) -> Vec<Duty> {
    let state = ledger.lane(catalog);
    let mut owed = Vec::new();
    if state.frozen_giving {
        return owed;
    }
    if access.writes && !state.admits.contains_key(&access.id) {
        owed.push(Duty::Admit { grant: *id, catalog: *catalog, id: access.id });
    }
    if let Some(epoch) = state.usable.filter(|_| access.reads) {
        let handed_over = grant.envelopes.iter().any(|envelope| envelope.epochs.contains(&epoch));
        if !handed_over {
            owed.push(Duty::Envelope { grant: *id, circle: *circle, catalog: *catalog, epoch });
        }
    }
    owed
}

/// Accesses that have ended, as far as can be known: a Bar says so, or an Epoch covers them, whose maker knew a Bar that has not come here.
fn ended(ledger: &Ledger, catalog: &LaneId) -> BTreeSet<AccessId> {
    let state = ledger.lane(catalog);
    let covered = state.epochs.keys().filter_map(|epoch| match &ledger.get(epoch)?.header.action {
        Action::Epoch { covers, .. } => Some(covers.iter().copied()),
        _ => None,
    });
    state.bars.keys().copied().chain(covered.flatten()).collect()
}

/// What is owed in a catalog, whoever reads it.
fn owed_in(ledger: &Ledger, catalog: &LaneId) -> Vec<Duty> {
    let state = ledger.lane(catalog);
    if state.frozen_giving {
        return Vec::new();
    }
    let covers = |epoch| match ledger.get(&epoch).map(|entry| &entry.header.action) {
        Some(Action::Epoch { covers, .. }) => ledger.suspensions().all(|device| covers.contains(&device)),
        _ => false,
    };
    // Whoever was suspended knows what it made, and may have covered itself.
    let by_active = |epoch| state.epochs.get(&epoch).is_some_and(|epoch| ledger.is_active(&epoch.author));
    if !state.usable.is_some_and(|epoch| covers(epoch) && by_active(epoch)) {
        return vec![Duty::Epoch { catalog: *catalog }];
    }
    let stale = state.publishes.iter().filter(|(_, publish)| publish.stale && publish.shown().next().is_some());
    stale.map(|(publish, _)| Duty::Reseal { catalog: *catalog, publish: *publish }).collect()
}
