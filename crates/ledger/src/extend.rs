//! One more entry in a lane whose state is known: most entries change nothing but what they say themselves, and then the others need not be judged again. Or a lane would cost
//! the square of its length to whoever follows it.
//!
//! Whatever is not plainly of that kind is left to [`crate::evaluate`], which says what is right.

use chartmesh_identity::AuthorKey;

use crate::{
    action::Action,
    charter::FULL,
    entry::Entry,
    header::{Use, admit_hash},
    history::History,
    log::Log,
    state::{EnvelopeState, LaneState, PublishState, ReceiptState, Verdict},
};

/// Takes an entry that has just been added to `log` into the state of its lane. Where that cannot be said without the other entries the answer is false, and the state is void.
pub(crate) fn extend(state: &mut LaneState, history: &History, log: &Log, entry: &Entry) -> bool {
    let header = &entry.header;
    let keyring = history.holder().keyring_lane == header.lane;
    if log.fork().is_some() || !header.understood() {
        return false;
    }
    let stands =
        if history.is_listed(&header.author) { is_active(history, &header.author) && device(state, keyring, entry) } else { !keyring && party(state, entry) };
    if stands {
        state.verdicts.insert(entry.hash(), Verdict::Stands);
    }
    stands
}

/// Whether a device stands without bounds under the charter and under each of its rivals.
fn is_active(history: &History, author: &AuthorKey) -> bool {
    history.heads().all(|charter| charter.device(author).is_some_and(|device| device.role == FULL && device.suspended.is_none()))
}

fn device(state: &mut LaneState, keyring: bool, entry: &Entry) -> bool {
    match &entry.header.action {
        Action::Key {} if keyring => state.keys.insert(entry.hash()),
        Action::Publish { .. } if !keyring => publish(state, entry, false),
        Action::Envelope { grant, epochs, documents, catalogs } if !keyring => {
            let Some(grant) = state.grants.get_mut(grant).filter(|grant| grant.revoked.is_none()) else { return false };
            let (epochs, documents, catalogs) = (epochs.clone(), documents.clone(), catalogs.clone());
            let envelope = EnvelopeState { entry: entry.hash(), author: entry.author(), epochs, documents, catalogs };
            insert(&mut grant.envelopes, envelope, |envelope| envelope.entry);
            true
        }
        _ => false,
    }
}

fn party(state: &mut LaneState, entry: &Entry) -> bool {
    match (&entry.header.action, &entry.header.uses) {
        (Action::Receipt { grant, n }, Some(Use::Grant(id))) => {
            if grant != id || !entry.has_role(chartmesh_identity::NodeRole::Receipt) || state.revokes.contains_key(grant) {
                return false;
            }
            let receipt = ReceiptState { entry: entry.hash(), grant: *grant, party: entry.party(), author: entry.author(), n: *n, late: false };
            if let Some(grant) = state.grants.get_mut(grant).filter(|grant| grant.party == receipt.party) {
                insert(&mut grant.receipts, receipt.clone(), |receipt| receipt.entry);
            }
            insert(&mut state.receipts, receipt, |receipt| receipt.entry);
            true
        }
        (Action::Publish { .. }, Some(Use::Admit { id, salt })) => {
            let party = admit_hash(salt, &entry.party());
            let admitted = state.admits.get(id).is_some_and(|admits| admits.iter().any(|admit| admit.party == party));
            let whole = admitted && !state.bars.contains_key(id) && entry.has_role(chartmesh_identity::NodeRole::Write);
            whole && publish(state, entry, true)
        }
        _ => false,
    }
}

/// A Publish to the epoch in use. Whether another one is stale depends on what superseded it.
fn publish(state: &mut LaneState, entry: &Entry, by_party: bool) -> bool {
    let Action::Publish { documents } = &entry.header.action else { return false };
    let epoch = entry.header.epoch;
    if epoch.is_none() || epoch != state.usable {
        return false;
    }
    let party = by_party.then(|| entry.party());
    let publish = PublishState {
        author: entry.author(),
        party,
        documents: documents.clone(),
        epoch,
        stale: false,
        void: None,
        withdrawn: std::collections::BTreeMap::new(),
    };
    state.publishes.insert(entry.hash(), publish);
    true
}

/// Into a list that is in the order of entry hashes.
fn insert<T>(list: &mut Vec<T>, item: T, entry: impl Fn(&T) -> chartmesh_identity::EntryHash) {
    let at = list.partition_point(|other| entry(other) < entry(&item));
    list.insert(at, item);
}
