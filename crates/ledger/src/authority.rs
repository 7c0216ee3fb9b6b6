//! How far a device's entries in one lane stand, under the charter or under each of its rivals.

use chartmesh_identity::{AuthorKey, EntryHash, LaneId};

use crate::{
    charter::FULL,
    fence::Fence,
    history::History,
    log::{Entries, Log, Span},
    state::Void,
};

/// A device's standing under one charter.
enum Standing {
    /// Not listed, or in a role that this version does not know.
    None,
    Active,
    /// Suspended without a head for this lane.
    Nothing,
    Until(Span),
}

/// How far one device's entries in one lane stand.
pub(crate) struct Reach {
    under: Vec<Standing>,
    fork: Option<u64>,
}

impl Reach {
    pub(crate) fn new(history: &History, lane: &LaneId, author: &AuthorKey, log: &Log, entries: &Entries) -> Self {
        let under = history
            .heads()
            .map(|charter| {
                let Some(device) = charter.device(author).filter(|device| device.role == FULL) else { return Standing::None };
                let Some(heads) = &device.suspended else { return Standing::Active };
                let fence = Fence(heads.iter().filter(|head| head.lane == *lane).map(crate::fence::Head::point).collect());
                fence.point(author).map_or(Standing::Nothing, |point| Standing::Until(Span::new(point, log, entries)))
            })
            .collect();
        Self { under, fork: log.fork() }
    }

    /// Whether an entry that gives, or does neither, stands: it must under every rival charter.
    pub(crate) fn gives(&self, seq: u64, hash: &EntryHash) -> Result<(), Void> {
        self.under.iter().try_for_each(|standing| self.under_one(standing, seq, hash))
    }

    /// Whether an entry that takes away stands: it must under any rival charter, and no fork voids it.
    pub(crate) fn takes(&self, seq: u64, hash: &EntryHash) -> Result<(), Void> {
        let mut why = Void::NoAuthority;
        for standing in &self.under {
            match self.under_one(standing, seq, hash) {
                Ok(()) | Err(Void::Forked) => return Ok(()),
                Err(void) => why = void,
            }
        }
        Err(why)
    }

    fn under_one(&self, standing: &Standing, seq: u64, hash: &EntryHash) -> Result<(), Void> {
        let forked = self.fork.is_some_and(|fork| seq >= fork);
        match standing {
            Standing::None => Err(Void::NoAuthority),
            Standing::Nothing => Err(Void::Fenced),
            Standing::Active if forked => Err(Void::Forked),
            Standing::Active => Ok(()),
            Standing::Until(span) if !span.contains(seq, hash) => Err(Void::Fenced),
            // A head that is held says which branch was meant: the fence settles the fork.
            Standing::Until(span) if forked && !span.is_held() => Err(Void::Forked),
            Standing::Until(_) => Ok(()),
        }
    }
}
