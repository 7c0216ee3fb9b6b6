//! The simulator: many nodes on a network that delays and cuts, restarts that lose memory, and what must hold afterwards.
//!
//! One seed is one history: virtual time, one generator of chance (ChaCha8), the production [`crate::Session`]. Bodies are dummy bytes. After the unsafe part everything
//! heals, all pairs meet, and then [`run`] checks:
//!
//! - convergence: the patient's devices and custodians hold the same, and every party what the serving rule gives it; nobody waits;
//! - a meeting with nothing new costs a constant;
//! - nothing reached anybody who was not to have it, and nothing new reaches a party after its last grant has ended;
//! - no author forked itself, and no restart used a place of a log twice;
//! - what a node stored always loads again.

mod node;
mod people;
mod story;
mod world;

use std::collections::BTreeSet;

use chartmesh_identity::{EntryHash, LaneId};
use chartmesh_ledger::{Entry, Peer, lanes_for, peer, shows};

pub use self::{
    node::{Draft, Node},
    people::{Person, as_device, charter, key, lane, next_charter, recipient},
    story::{Role, Story, circle},
    world::World,
};

/// Most bytes of a session that has nothing new, both ways, with one ledger.
pub const QUIET_SESSION: u64 = 4_000;

/// What came of one seed.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What did not hold; empty is what is wanted.
    pub problems: Vec<String>,
    /// Hash of all that happened: equal for equal seeds.
    pub trace: String,
    /// The end of the trace, for people.
    pub lines: Vec<String>,
    /// Entries that the devices held in the end.
    pub entries: usize,
    /// Frames that were sent.
    pub frames: u64,
}

/// Runs one history of so many acts and checks it.
pub fn run(seed: u64, acts: usize) -> Report {
    let mut story = Story::begin(seed);
    story.world.set_unsafe(true);
    for _ in 0..acts {
        story.act();
    }
    story.settle_charter();
    story.heal(true);
    converged(&mut story);
    quiet(&mut story);
    ended(&mut story);
    let entries = story.copy(0).map_or(0, chartmesh_ledger::Ledger::len);
    Report {
        seed,
        problems: story.world.problems.clone(),
        trace: story.world.trace_hash(),
        lines: story.world.trace_lines().map(str::to_owned).collect(),
        entries,
        frames: story.world.sent.1,
    }
}

fn held(story: &Story, node: usize) -> BTreeSet<EntryHash> {
    let entries = |ledger| entries(ledger).map(Entry::hash).collect();
    story.copy(node).map_or_else(BTreeSet::new, entries)
}

fn entries(ledger: &chartmesh_ledger::Ledger) -> impl Iterator<Item = &Entry> {
    ledger.lanes().flat_map(|lane| ledger.entries(lane))
}

fn converged(story: &mut Story) {
    let mut problems = story.world.unsettled();
    let all = held(story, 0);
    let charters = |story: &Story, node: usize| story.copy(node).map_or(0, |ledger| ledger.charters().count());
    for node in story.of(Role::Device).into_iter().chain(story.of(Role::Custodian)) {
        let theirs = held(story, node);
        if theirs != all || charters(story, node) != charters(story, 0) {
            problems.push(format!("{} holds {} entries, the phone {}", story.world.nodes[node].person.name, theirs.len(), all.len()));
        }
    }
    for node in story.of(Role::Party) {
        problems.extend(party(story, node, &all));
    }
    for node in story.of(Role::Stranger) {
        if !held(story, node).is_empty() {
            problems.push("a stranger holds entries".into());
        }
    }
    for node in 0..story.roles.len() {
        if story.copy(node).is_some_and(|ledger| !ledger.forks().is_empty()) {
            problems.push(format!("{} sees a fork", story.world.nodes[node].person.name));
        }
    }
    for problem in problems {
        story.world.problem(problem);
    }
}

/// Whether the phone knows a party: not if all its grants come from a suspended device, beyond its fence. Then it tries in vain.
fn is_known(story: &Story, node: usize) -> bool {
    let person = &story.world.nodes[node].person;
    story.copy(0).is_some_and(|ledger| peer(ledger, &person.party(), &person.endpoint) != Peer::Stranger)
}

/// What a party holds: all that it is served, nothing that it never was to have.
fn party(story: &Story, node: usize, all: &BTreeSet<EntryHash>) -> Vec<String> {
    let mut problems = Vec::new();
    let party = story.party(node);
    let name = &story.world.nodes[node].person.name;
    let (Some(patient), mine) = (story.copy(0), held(story, node)) else { return problems };
    let now = story.world.now();
    for (lane, view) in lanes_for(patient, &Peer::Party(party), now, Some(now)) {
        let lacks = patient.entries(&lane).filter(|entry| shows(&view, entry) && !mine.contains(&entry.hash())).count();
        if lacks > 0 {
            problems.push(format!("{name} lacks {lacks} entries of lane {}", lane.short()));
        }
    }
    // What a suspended device did beyond its fence has no authority and need not get any further.
    let fenced: BTreeSet<_> = story.suspended.iter().map(|node| story.world.nodes[*node].person.author()).collect();
    let strange: Vec<&Entry> = mine.difference(all).filter_map(|hash| story.copy(node)?.get(hash)).filter(|entry| !fenced.contains(&entry.author())).collect();
    if !strange.is_empty() && is_known(story, node) {
        let strange: Vec<String> =
            strange.into_iter().map(|entry| format!("{} {} by {}", entry.hash().short(), entry.header.action.code(), entry.author().short())).collect();
        problems.push(format!("{name} holds entries that the phone does not: {}", strange.join(", ")));
    }
    let leaked = |entry: &&Entry| {
        let lane: LaneId = entry.header.lane;
        let own = entry.party() == party || lane == circle(&party);
        let reads = story.reads.contains(&(party, lane));
        let writes = story.writes.contains(&(party, lane)) && patient.is_device(&entry.author());
        !(own || reads || writes)
    };
    for entry in story.copy(node).into_iter().flat_map(entries).filter(leaked) {
        problems.push(format!("{name} holds {}, which was never for it", entry.hash().short()));
    }
    problems
}

/// Meeting again with nothing new costs a constant.
fn quiet(story: &mut Story) {
    let before = story.world.sent;
    story.meet_again(false);
    let pairs = (0..story.roles.len()).flat_map(|a| (0..a).map(move |b| (a, b))).filter(|(a, b)| story.world.linked(*a, *b)).count() as u64;
    let bytes = story.world.sent.0 - before.0;
    let known = |node: &usize| story.copy(*node).is_none() || is_known(story, *node);
    if story.of(Role::Party).iter().all(known) && bytes > pairs * QUIET_SESSION {
        story.world.problem(format!("{pairs} sessions with nothing new cost {bytes} bytes"));
    }
}

/// After its last grant has ended a party gets the Revoke and nothing that comes later.
fn ended(story: &mut Story) {
    let parties: BTreeSet<_> = story.of(Role::Party).into_iter().map(|node| story.party(node)).collect();
    for party in &parties {
        story.revoke_all(0, *party);
    }
    story.heal(true);
    converged(story);
    let mut before: BTreeSet<EntryHash> = held(story, 0);
    for node in story.of(Role::Party) {
        before.extend(held(story, node));
    }
    for _ in 0..12 {
        story.publish();
        story.world.run(usize::MAX, None);
    }
    story.meet_again(true);
    converged(story);
    for node in story.of(Role::Party) {
        let party = story.party(node);
        let Some(copy) = story.copy(node) else { continue };
        let news = entries(copy).filter(|entry| !before.contains(&entry.hash()) && entry.party() != party).count();
        if news > 0 {
            let name = story.world.nodes[node].person.name.clone();
            story.world.problem(format!("{name} got {news} entries after its last grant had ended"));
        }
    }
}
