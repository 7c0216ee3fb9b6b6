//! From the entries of one lane to its state: a pure function of the charters and the set of entries, near-linear in their number.
//!
//! Devices' entries come first, since parties' rest on them; what depends on all of either (usable epoch, late receipts, withdrawals) comes last.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AccessId, AuthorKey, EntryHash, GrantId, LaneId, NodeRole, PartyKey};

use crate::{
    action::Action,
    authority::Reach,
    entry::Entry,
    fence::Fence,
    header::{Use, admit_hash},
    history::History,
    log::{Entries, Log, Span},
    state::{
        AdmitState, BarState, ConfirmState, EnvelopeState, EpochState, GrantState, LaneState, PublishState, ReceiptState, RequestState, Revocation, Verdict,
        Void,
    },
};

type Logs = BTreeMap<AuthorKey, Log>;

/// What the entries of a lane come to.
pub(crate) fn evaluate(history: &History, lane: &LaneId, logs: &Logs, entries: &Entries) -> LaneState {
    let keyring = history.holder().keyring_lane == *lane;
    let mut work = Work::new(keyring, logs, entries);
    for (author, log) in logs.iter().filter(|(author, _)| history.is_listed(author)) {
        let reach = Reach::new(history, lane, author, log, entries);
        for entry in log.from(1).filter_map(|hash| entries.get(&hash)) {
            work.device(entry, &reach);
        }
    }
    work.settle_grants();
    if !keyring {
        for (author, log) in logs.iter().filter(|(author, _)| !history.is_listed(author)) {
            let mut fences = Fences::new(author, log, entries);
            for entry in log.from(1).filter_map(|hash| entries.get(&hash)) {
                work.party(entry, log, &mut fences);
            }
        }
    }
    work.finish()
}

/// One author's spans under the fences of ids, each computed once.
struct Fences<'a> {
    author: &'a AuthorKey,
    log: &'a Log,
    entries: &'a Entries,
    grants: BTreeMap<GrantId, Vec<Option<Span>>>,
    accesses: BTreeMap<AccessId, Vec<Option<Span>>>,
}

impl<'a> Fences<'a> {
    fn new(author: &'a AuthorKey, log: &'a Log, entries: &'a Entries) -> Self {
        Self { author, log, entries, grants: BTreeMap::new(), accesses: BTreeMap::new() }
    }

    /// Within every fence, and so within the lowest.
    fn within(spans: &[Option<Span>], entry: &Entry) -> bool {
        spans.iter().all(|span| span.as_ref().is_some_and(|span| span.contains(entry.header.seq, &entry.hash())))
    }

    fn within_grant(&mut self, state: &LaneState, grant: &GrantId, entry: &Entry) -> bool {
        let (author, log, entries) = (self.author, self.log, self.entries);
        let spans = self.grants.entry(*grant).or_insert_with(|| {
            let revokes = state.revokes.get(grant).into_iter().flatten();
            revokes.map(|revoke| span(&revoke.fence, author, log, entries)).collect()
        });
        Self::within(spans, entry)
    }

    fn within_access(&mut self, state: &LaneState, access: &AccessId, entry: &Entry) -> bool {
        let (author, log, entries) = (self.author, self.log, self.entries);
        let spans = self.accesses.entry(*access).or_insert_with(|| {
            let bars = state.bars.get(access).into_iter().flatten();
            bars.map(|bar| span(&bar.fence, author, log, entries)).collect()
        });
        Self::within(spans, entry)
    }
}

fn span(fence: &Fence, author: &AuthorKey, log: &Log, entries: &Entries) -> Option<Span> {
    fence.point(author).map(|point| Span::new(point, log, entries))
}

/// A Withdraw that stands: by whom, of what.
struct Withdrawal<'a> {
    entry: EntryHash,
    /// None for a device.
    writer: Option<(PartyKey, AccessId)>,
    action: &'a Action,
}

struct Work<'a> {
    keyring: bool,
    logs: &'a Logs,
    entries: &'a Entries,
    state: LaneState,
    grants: BTreeMap<GrantId, Vec<&'a Entry>>,
    envelopes: Vec<&'a Entry>,
    epochs: Vec<&'a Entry>,
    confirms: Vec<ConfirmState>,
    withdrawals: Vec<Withdrawal<'a>>,
}

impl<'a> Work<'a> {
    fn new(keyring: bool, logs: &'a Logs, entries: &'a Entries) -> Self {
        Self {
            keyring,
            logs,
            entries,
            state: LaneState::empty(),
            grants: BTreeMap::new(),
            envelopes: Vec::new(),
            epochs: Vec::new(),
            confirms: Vec::new(),
            withdrawals: Vec::new(),
        }
    }

    fn judge(&mut self, entry: &Entry, verdict: Verdict) {
        self.state.verdicts.insert(entry.hash(), verdict);
    }

    /// An entry of somebody whom a charter that is not void lists as a device.
    fn device(&mut self, entry: &'a Entry, reach: &Reach) {
        let header = &entry.header;
        let (seq, hash) = (header.seq, entry.hash());
        let takes_away = header.action.takes_away();
        let stands = if takes_away { reach.takes(seq, &hash) } else { reach.gives(seq, &hash) };
        // A party's critical entry has no effect and stops nothing: or a party could keep the patient from giving to others.
        self.state.frozen_giving |= stands.is_ok() && header.critical();
        if stands.is_ok() && !takes_away && !header.understood() {
            return self.judge(entry, Verdict::NoEffect);
        }
        let wrong_lane = self.keyring != matches!(header.action, Action::Key {});
        let verdict = match stands {
            Err(void) => Verdict::Void(void),
            Ok(()) if wrong_lane => Verdict::Void(Void::WrongLane),
            Ok(()) => Verdict::Stands,
        };
        if let (Action::Publish { .. }, false) = (&header.action, self.keyring) {
            self.publish(entry, None, stands.err());
        }
        self.judge(entry, verdict);
        if verdict == Verdict::Stands {
            self.apply(entry);
        }
    }

    /// What an entry of a device does that stands.
    fn apply(&mut self, entry: &'a Entry) {
        let hash = entry.hash();
        let state = &mut self.state;
        match &entry.header.action {
            Action::Key {} => {
                state.keys.insert(hash);
            }
            Action::Grant { id, .. } => self.grants.entry(*id).or_default().push(entry),
            Action::Envelope { .. } => self.envelopes.push(entry),
            Action::Revoke { grant, fence } => {
                let header = &entry.header;
                let revocation = Revocation { entry: hash, author: header.author, seq: header.seq, fence: fence.clone(), time: header.time };
                state.revokes.entry(*grant).or_default().push(revocation);
            }
            Action::Admit { id, party } => state.admits.entry(*id).or_default().push(AdmitState { entry: hash, party: *party }),
            Action::Bar { id, fence } => state.bars.entry(*id).or_default().push(BarState { entry: hash, fence: fence.clone() }),
            Action::Epoch { .. } => self.epochs.push(entry),
            Action::Withdraw { .. } => self.withdrawals.push(Withdrawal { entry: hash, writer: None, action: &entry.header.action }),
            Action::Publish { .. } => {}
            // Words of parties; from a device they say nothing.
            Action::Receipt { .. } | Action::Confirm { .. } | Action::Request {} | Action::Unknown { .. } => {
                state.verdicts.insert(hash, Verdict::NoEffect);
            }
        }
    }

    fn publish(&mut self, entry: &Entry, party: Option<PartyKey>, void: Option<Void>) {
        let Action::Publish { documents } = &entry.header.action else { return };
        let (author, epoch) = (entry.author(), entry.header.epoch);
        let publish = PublishState { author, party, documents: documents.clone(), epoch, stale: false, void, withdrawn: BTreeMap::new() };
        self.state.publishes.insert(entry.hash(), publish);
    }

    /// Grants and Envelopes, now that every Revoke is known.
    fn settle_grants(&mut self) {
        for revokes in self.state.revokes.values_mut() {
            revokes.sort_by_key(|revoke| revoke.entry);
        }
        for (id, entries) in &self.grants {
            let revoked = self.state.revokes.get(id).and_then(|revokes| revokes.first()).cloned();
            for entry in entries.iter().filter(|_| revoked.is_some()) {
                self.state.verdicts.insert(entry.hash(), Verdict::Void(Void::Revoked));
            }
            let Some(entry) = entries.iter().min_by_key(|entry| entry.hash()) else { continue };
            let Action::Grant { party, until, max_age, .. } = entry.header.action else { continue };
            let (envelopes, receipts, confirms) = (Vec::new(), Vec::new(), Vec::new());
            let grant = GrantState { party, until, max_age, entry: entry.hash(), revoked, envelopes, receipts, confirms };
            self.state.grants.insert(*id, grant);
        }
        self.envelopes.sort_by_key(|entry| entry.hash());
        for entry in &self.envelopes {
            let Action::Envelope { grant, epochs, documents, catalogs } = &entry.header.action else { continue };
            let (epochs, documents, catalogs) = (epochs.clone(), documents.clone(), catalogs.clone());
            let envelope = EnvelopeState { entry: entry.hash(), author: entry.author(), epochs, documents, catalogs };
            let void = match self.state.grants.get_mut(grant) {
                Some(grant) => {
                    grant.envelopes.push(envelope);
                    grant.revoked.as_ref().map(|_| Void::Revoked)
                }
                None => Some(Void::NoGrant),
            };
            if let Some(void) = void {
                self.state.verdicts.insert(entry.hash(), Verdict::Void(void));
            }
        }
    }

    /// An entry of somebody who is no device.
    fn party(&mut self, entry: &'a Entry, log: &Log, fences: &mut Fences<'_>) {
        let party = entry.party();
        let stands = self.party_stands(entry, log, fences);
        if let Action::Publish { .. } = &entry.header.action
            && entry.header.understood()
        {
            self.publish(entry, Some(party), stands.err());
        }
        let verdict = match stands {
            Err(void) => Verdict::Void(void),
            Ok(()) if !entry.header.understood() && !entry.header.action.takes_away() => Verdict::NoEffect,
            Ok(()) => Verdict::Stands,
        };
        self.judge(entry, verdict);
        if verdict == Verdict::Stands {
            self.apply_party(entry, party, fences);
        }
    }

    /// The ledger holds no entry of a party whose grant or access was never given to that party; here is asked whether what gave it stands, and how far.
    fn party_stands(&self, entry: &Entry, log: &Log, fences: &mut Fences<'_>) -> Result<(), Void> {
        let header = &entry.header;
        let forked = log.fork().is_some_and(|fork| header.seq >= fork);
        match (&header.action, &header.uses) {
            // Testimony: nothing voids it.
            (Action::Receipt { grant, .. }, Some(Use::Grant(id))) if grant == id && entry.has_role(NodeRole::Receipt) => Ok(()),
            (Action::Confirm { .. }, Some(Use::Grant(_))) if entry.has_role(NodeRole::Receipt) => Ok(()),
            (Action::Request {} | Action::Unknown { .. }, Some(Use::Grant(id))) => {
                let granted = self.state.grants.get(id).is_some_and(|grant| grant.party == entry.party());
                fenced(granted, forked, || fences.within_grant(&self.state, id, entry))
            }
            (Action::Publish { .. } | Action::Withdraw { .. } | Action::Unknown { .. }, Some(Use::Admit { id, salt })) => {
                let party = admit_hash(salt, &entry.party());
                let admitted = self.state.admits.get(id).into_iter().flatten().any(|admit| admit.party == party);
                let forked = forked && !header.action.takes_away();
                fenced(admitted && entry.has_role(NodeRole::Write), forked, || fences.within_access(&self.state, id, entry))
            }
            _ => Err(Void::NoAuthority),
        }
    }

    /// What an entry of a party does that stands.
    fn apply_party(&mut self, entry: &'a Entry, party: PartyKey, fences: &mut Fences<'_>) {
        let (hash, author) = (entry.hash(), entry.author());
        match (&entry.header.action, &entry.header.uses) {
            (Action::Receipt { grant, n }, _) => {
                let late = !fences.within_grant(&self.state, grant, entry);
                self.state.receipts.push(ReceiptState { entry: hash, grant: *grant, party, author, n: *n, late });
            }
            (Action::Confirm { revoke }, _) => self.confirms.push(ConfirmState { entry: hash, revoke: *revoke, party, author }),
            (Action::Request {}, _) => self.state.requests.push(RequestState { entry: hash, party, author }),
            (action @ Action::Withdraw { .. }, Some(Use::Admit { id, .. })) => {
                self.withdrawals.push(Withdrawal { entry: hash, writer: Some((party, *id)), action });
            }
            _ => {}
        }
    }

    fn finish(mut self) -> LaneState {
        self.settle_testimony();
        self.settle_epochs();
        self.settle_withdrawals();
        let state = &mut self.state;
        for admits in state.admits.values_mut() {
            admits.sort_by_key(|admit| admit.entry);
        }
        for bars in state.bars.values_mut() {
            bars.sort_by_key(|bar| bar.entry);
        }
        self.state
    }

    fn settle_testimony(&mut self) {
        let state = &mut self.state;
        state.receipts.sort_by_key(|receipt| receipt.entry);
        state.requests.sort_by_key(|request| request.entry);
        self.confirms.sort_by_key(|confirm| confirm.entry);
        for receipt in &state.receipts {
            if let Some(grant) = state.grants.get_mut(&receipt.grant).filter(|grant| grant.party == receipt.party) {
                grant.receipts.push(receipt.clone());
            }
        }
        let revoked: BTreeMap<EntryHash, GrantId> =
            state.revokes.iter().flat_map(|(grant, revokes)| revokes.iter().map(|revoke| (revoke.entry, *grant))).collect();
        for confirm in &self.confirms {
            let grant = revoked.get(&confirm.revoke).and_then(|grant| state.grants.get_mut(grant));
            if let Some(grant) = grant.filter(|grant| grant.party == confirm.party) {
                grant.confirms.push(confirm.clone());
            }
        }
    }

    fn settle_epochs(&mut self) {
        let state = &mut self.state;
        let mut superseded: BTreeSet<EntryHash> = BTreeSet::new();
        let mut pasts: BTreeMap<EntryHash, Vec<&'a Fence>> = BTreeMap::new();
        for entry in &self.epochs {
            let Action::Epoch { supersedes, past, .. } = &entry.header.action else { continue };
            superseded.extend(supersedes);
            for before in supersedes {
                pasts.entry(*before).or_default().push(past);
            }
        }
        for entry in &self.epochs {
            let Action::Epoch { recipient, covers, .. } = &entry.header.action else { continue };
            let superseded = superseded.contains(&entry.hash());
            let covers: BTreeSet<_> = covers.iter().collect();
            let usable = !superseded && state.bars.keys().all(|bar| covers.contains(bar));
            state.epochs.insert(entry.hash(), EpochState { recipient: recipient.clone(), author: entry.author(), superseded, usable });
        }
        state.usable = state.epochs.iter().find(|(_, epoch)| epoch.usable).map(|(entry, _)| *entry);
        let mut spans = Pasts { pasts, logs: self.logs, entries: self.entries, spans: BTreeMap::new() };
        for (hash, publish) in state.publishes.iter_mut().filter(|(_, publish)| publish.void.is_none()) {
            let usable = publish.epoch.is_some() && publish.epoch == state.usable;
            publish.stale = !usable && !spans.opened(publish, hash);
            if publish.stale {
                state.verdicts.insert(*hash, Verdict::Stale);
            }
        }
    }

    fn settle_withdrawals(&mut self) {
        let state = &mut self.state;
        for withdrawal in &self.withdrawals {
            let Action::Withdraw { publish: target, documents, erase } = withdrawal.action else { continue };
            let Some(publish) = state.publishes.get_mut(target) else { continue };
            let own = withdrawal.writer.is_none_or(|(party, access)| {
                let same_access = self.entries.get(target).is_some_and(|entry| matches!(entry.header.uses, Some(Use::Admit { id, .. }) if id == access));
                publish.party == Some(party) && same_access
            });
            if !own {
                state.verdicts.insert(withdrawal.entry, Verdict::Void(Void::NoAuthority));
                continue;
            }
            let all = publish.documents.iter().map(|blob| blob.hash);
            for blob in all.filter(|blob| documents.is_empty() || documents.contains(blob)).collect::<Vec<_>>() {
                *publish.withdrawn.entry(blob).or_insert(false) |= erase;
            }
        }
    }
}

/// What was published before an epoch was superseded: the epoch that did so opens it.
struct Pasts<'a> {
    pasts: BTreeMap<EntryHash, Vec<&'a Fence>>,
    logs: &'a Logs,
    entries: &'a Entries,
    spans: BTreeMap<(EntryHash, AuthorKey), Vec<Span>>,
}

impl Pasts<'_> {
    fn opened(&mut self, publish: &PublishState, hash: &EntryHash) -> bool {
        let (Some(epoch), Some(log), Some(entry)) = (publish.epoch, self.logs.get(&publish.author), self.entries.get(hash)) else { return false };
        let spans = self.spans.entry((epoch, publish.author)).or_insert_with(|| {
            let fences = self.pasts.get(&epoch).into_iter().flatten();
            fences.filter_map(|fence| span(fence, &publish.author, log, self.entries)).collect()
        });
        spans.iter().any(|span| span.contains(entry.header.seq, hash))
    }
}

fn fenced(given: bool, forked: bool, within: impl FnOnce() -> bool) -> Result<(), Void> {
    match (given, forked) {
        (false, _) => Err(Void::NoAuthority),
        (true, true) => Err(Void::Forked),
        (true, false) if within() => Ok(()),
        (true, false) => Err(Void::Fenced),
    }
}
