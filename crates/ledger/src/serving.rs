//! Who is served what: the serving rule. Asked for every lane, every blob and every kind of request.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AuthorKey, BlobHash, EndpointKey, EntryHash, LaneId, PartyKey};

use crate::{
    charter::{Charter, FULL},
    entry::Entry,
    ledger::{Ledger, Seen},
    state::{GrantState, LaneState},
};

/// Who a peer is to a ledger. The caller has checked that the peer holds the endpoint and that the endpoint is on the party's card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// One of the patient's active devices.
    Device(AuthorKey),
    /// One of the patient's custodians.
    Custodian(PartyKey),
    /// Somebody who holds or held a grant.
    Party(PartyKey),
    /// Anybody else: gets the same answer as for a ledger that is not here. A suspended device ([`suspended`]) may be told that it is one.
    Stranger,
}

/// Which entries of a lane a peer receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneView {
    /// All.
    All,
    /// Its own, and of each other log the entries up to a place: the circle up to the Revoke. Authors not listed: none.
    UpToRevoke {
        /// Whose own.
        party: PartyKey,
        /// How far of the other logs.
        cut: BTreeMap<AuthorKey, u64>,
        /// From which place on its own logs rest on a Grant that is not shown: another node of the party could not accept that.
        unfounded: BTreeMap<AuthorKey, u64>,
    },
    /// Its own and devices': what a party gets that may write but not read.
    DevicesAndOwn {
        /// Whose own.
        party: PartyKey,
        /// Who are devices.
        devices: BTreeSet<AuthorKey>,
    },
    /// None.
    None,
}

/// Who a peer is: a device if party and endpoint are those of a device of role `full` that neither the charter nor a rival of it suspends; a custodian or a party by its party
/// key.
pub fn peer(ledger: &Ledger, party: &PartyKey, endpoint: &EndpointKey) -> Peer {
    let charter = ledger.charter();
    let here = charter.devices.iter().find(|device| device.party == *party && device.endpoint == *endpoint);
    if let Some(device) = here.filter(|device| device.role == FULL) {
        return if ledger.is_active(&device.key) { Peer::Device(device.key) } else { Peer::Stranger };
    }
    let is_custodian = |charter: &Charter| charter.custodians.iter().any(|custodian| custodian.party == *party);
    if is_custodian(charter) && ledger.rivals().all(is_custodian) {
        return Peer::Custodian(*party);
    }
    if circles(ledger, party).next().is_some() { Peer::Party(*party) } else { Peer::Stranger }
}

/// Whether a peer is a device that the charter or a rival of it suspends: it may be given the charters, which say so, and nothing else.
pub fn suspended(ledger: &Ledger, party: &PartyKey, endpoint: &EndpointKey) -> bool {
    let mut devices = ledger.charter().devices.iter();
    devices.any(|device| device.party == *party && device.endpoint == *endpoint && !ledger.is_active(&device.key))
}

/// Whether any charter version held, be it voided or not, lists a peer as a device or a custodian: it has been given everything. Whoever stole a device can strike the others
/// off, and so they still answer the recovery words, which are the patient's.
pub fn was_listed(ledger: &Ledger, party: &PartyKey, endpoint: &EndpointKey) -> bool {
    ledger.verified_charters().any(|charter| {
        let mut devices = charter.devices.iter().filter(|device| device.role == FULL);
        devices.any(|device| device.party == *party && device.endpoint == *endpoint) || charter.custodians.iter().any(|custodian| custodian.party == *party)
    })
}

/// The circles of a party: lanes in which a Grant to it stands.
fn circles<'a>(ledger: &'a Ledger, party: &'a PartyKey) -> impl Iterator<Item = (&'a LaneId, &'a LaneState)> {
    let keyring = ledger.charter().keyring_lane;
    let lanes = ledger.circles(party).filter(move |lane| **lane != keyring).map(|lane| (lane, ledger.lane(lane)));
    lanes.filter(|(_, state)| state.is_circle_of(party))
}

/// Whether a grant gives anything at `now`, having last heard from the patient at `checkpoint`.
fn is_live(grant: &GrantState, now: i64, checkpoint: Option<i64>) -> bool {
    let max_age = i64::try_from(grant.max_age).unwrap_or(i64::MAX);
    grant.is_live(now) && checkpoint.is_some_and(|heard| now.saturating_sub(heard) < max_age)
}

/// The live grants of a party, in circles where nothing stops giving.
fn live_grants<'a>(ledger: &'a Ledger, party: &'a PartyKey, now: i64, checkpoint: Option<i64>) -> impl Iterator<Item = &'a GrantState> {
    let giving = ledger.may_give();
    let states = circles(ledger, party).map(|(_, state)| state).filter(move |state| giving && !state.frozen_giving);
    states.flat_map(|state| state.grants.values()).filter(move |grant| grant.party == *party && is_live(grant, now, checkpoint))
}

/// Catalogs that a party reads whole: those of which an Envelope of a live grant names an epoch that stands; and those that it may only write.
fn catalogs(ledger: &Ledger, party: &PartyKey, now: i64, checkpoint: Option<i64>) -> (BTreeSet<LaneId>, BTreeSet<LaneId>) {
    let (mut reads, mut writes) = (BTreeSet::new(), BTreeSet::new());
    for envelope in live_grants(ledger, party, now, checkpoint).flat_map(|grant| &grant.envelopes) {
        for epoch in &envelope.epochs {
            let lane = ledger.get(epoch).map(|entry| entry.header.lane);
            reads.extend(lane.filter(|lane| ledger.lane(lane).epochs.contains_key(epoch)));
        }
        writes.extend(&envelope.catalogs);
    }
    let keyring = ledger.charter().keyring_lane;
    let open = |lane: &LaneId| *lane != keyring && !ledger.lane(lane).frozen_giving;
    reads.retain(open);
    writes.retain(|lane| open(lane) && !reads.contains(lane));
    (reads, writes)
}

/// Which entries of a lane a peer receives at `now`.
///
/// `checkpoint` is when the patient was last heard from about this peer's circle: the time of the latest [`crate::Checkpoint`], or `now` on a device of the patient itself.
/// None means never: then a party gets its circle alone. Both in Unix seconds.
pub fn lane_view(ledger: &Ledger, peer: &Peer, lane: &LaneId, now: i64, checkpoint: Option<i64>) -> LaneView {
    match peer {
        Peer::Device(_) | Peer::Custodian(_) => LaneView::All,
        Peer::Stranger => LaneView::None,
        Peer::Party(party) => lanes_for_party(ledger, party, now, checkpoint).remove(lane).unwrap_or(LaneView::None),
    }
}

/// Every lane of which a peer receives anything at `now`, and which entries. `checkpoint` as in [`lane_view`].
pub fn lanes_for(ledger: &Ledger, peer: &Peer, now: i64, checkpoint: Option<i64>) -> BTreeMap<LaneId, LaneView> {
    match peer {
        Peer::Device(_) | Peer::Custodian(_) => ledger.lanes().map(|lane| (*lane, LaneView::All)).collect(),
        Peer::Stranger => BTreeMap::new(),
        Peer::Party(party) => lanes_for_party(ledger, party, now, checkpoint),
    }
}

fn lanes_for_party(ledger: &Ledger, party: &PartyKey, now: i64, checkpoint: Option<i64>) -> BTreeMap<LaneId, LaneView> {
    let (reads, writes) = catalogs(ledger, party, now, checkpoint);
    let write_only = || LaneView::DevicesAndOwn { party: *party, devices: ledger.devices().clone() };
    let mut views: BTreeMap<_, _> = writes.into_iter().map(|lane| (lane, write_only())).collect();
    views.extend(reads.into_iter().map(|lane| (lane, LaneView::All)));
    views.extend(circles(ledger, party).map(|(lane, state)| (*lane, circle_view(ledger, lane, state, party))));
    views
}

/// A circle while any grant of it is not revoked; else up to the Revoke: the revoking device's log up to that entry, the other devices' up to the Revoke's fence.
fn circle_view(ledger: &Ledger, lane: &LaneId, state: &LaneState, party: &PartyKey) -> LaneView {
    let mut cut = BTreeMap::new();
    for grant in state.grants.values().filter(|grant| grant.party == *party) {
        let Some(revoke) = &grant.revoked else { return LaneView::All };
        let authors: BTreeSet<_> = revoke.fence.0.iter().map(|point| point.author).collect();
        let fenced = authors.into_iter().filter(|author| *author != revoke.author).filter_map(|author| revoke.fence.point(&author));
        for (author, seq) in fenced.map(|point| (point.author, point.seq)).chain([(revoke.author, revoke.seq)]) {
            let place = cut.entry(author).or_insert(seq);
            *place = seq.max(*place);
        }
    }
    let unfounded = unfounded(ledger, lane, party, &cut);
    LaneView::UpToRevoke { party: *party, cut, unfounded }
}

/// Of every log of a party, the place of the first entry that names a Grant which is not shown, such as one of a suspended device beyond its fence.
fn unfounded(ledger: &Ledger, lane: &LaneId, party: &PartyKey, cut: &BTreeMap<AuthorKey, u64>) -> BTreeMap<AuthorKey, u64> {
    let mut seen = Seen::default();
    for (author, last) in cut.iter().filter(|(author, _)| ledger.is_device(author)) {
        let shown = ledger.entries_after(lane, author, 0).take_while(|entry| entry.header.seq <= *last);
        shown.for_each(|entry| seen.see(entry, &mut BTreeMap::new()));
    }
    let own = ledger.authors(lane).filter(|author| !ledger.is_device(author));
    let first = |author| ledger.entries_after(lane, author, 0).find(|entry| entry.party() == *party && !seen.admits(entry));
    own.filter_map(|author| Some((*author, first(author)?.header.seq))).collect()
}

/// Whether a view of its lane shows an entry.
pub fn shows(view: &LaneView, entry: &Entry) -> bool {
    match view {
        LaneView::All => true,
        LaneView::None => false,
        LaneView::UpToRevoke { party, cut, unfounded } => {
            let (author, seq) = (entry.author(), entry.header.seq);
            if entry.party() == *party { unfounded.get(&author).is_none_or(|first| seq < *first) } else { cut.get(&author).is_some_and(|last| seq <= *last) }
        }
        LaneView::DevicesAndOwn { party, devices } => entry.party() == *party || devices.contains(&entry.author()),
    }
}

/// The Publish entries under which a peer may have a blob at `now`, by lane; none means it is refused. `checkpoint` as in [`lane_view`].
///
/// A hash is never a capability: whoever serves must also have received the full bytes from the author of one of these entries, or from a device.
pub fn may_have_blob(ledger: &Ledger, peer: &Peer, blob: &BlobHash, now: i64, checkpoint: Option<i64>) -> Vec<(LaneId, EntryHash)> {
    let party = match peer {
        Peer::Device(_) | Peer::Custodian(_) => return ledger.publishes(blob).copied().collect(),
        Peer::Stranger => return Vec::new(),
        Peer::Party(party) => party,
    };
    let (reads, _) = catalogs(ledger, party, now, checkpoint);
    let single: BTreeSet<EntryHash> = live_grants(ledger, party, now, checkpoint)
        .flat_map(|grant| &grant.envelopes)
        .flat_map(|envelope| &envelope.documents)
        .filter(|(_, document)| document == blob)
        .map(|(publish, _)| *publish)
        .collect();
    let open = |(lane, publish): &&(LaneId, EntryHash)| {
        let state = ledger.lane(lane);
        let shown = state.publishes.get(publish).is_some_and(|publish| publish.shown().any(|document| document.hash == *blob));
        shown && !state.frozen_giving && (reads.contains(lane) || single.contains(publish))
    };
    ledger.publishes(blob).filter(open).copied().collect()
}
