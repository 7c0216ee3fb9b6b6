//! The simulator: many nodes, some of them bad, on a network that delays, loses and cuts; restarts that lose memory, backups that are put back, clocks that go wrong.
//!
//! One seed is one history: [`plot()`] makes a [`Script`] of acts from it, [`run_script`] performs them in virtual time with the production [`crate::Session`] and the ledger's
//! own duties, and everything that is drawn comes from the script. Bodies are dummy bytes: whoever holds an Envelope of its own is taken to have opened it.
//!
//! After the acts everything heals. [`Rule`] lists what must hold, checked on the way and at the end; the judge of what entries come to is [`Model`], which shares no code
//! with the ledger's evaluation. A script that breaks a rule is made short by [`shrink()`].
//!
//! Bad nodes are laptops in a thief's hands, a custodian, a node of the hospital, a practitioner and a stranger: [`Vice`] says how they lie, `deeds` what else they do. A third of all
//! histories are without any.

mod act;
mod cast;
mod checks;
mod crimes;
mod deeds;
mod devices;
mod ending;
mod model;
mod network;
mod node;
mod parties;
mod people;
mod plot;
mod shrink;
mod story;
mod watch;
mod world;

pub use self::{
    act::{Act, Script, Step},
    cast::{Patient, Role, names},
    checks::QUIET_SESSION,
    crimes::Vice,
    model::{Model, Ruling},
    node::{Draft, Node},
    people::{Person, as_device, charter, charter_under, key, lane, next_charter, recipient},
    plot::plot,
    shrink::shrink,
    story::{MAX_AGE, Story},
    watch::Truth,
    world::{Problem, Rule, World},
};

use chartmesh_identity::{LaneId, PartyKey};

/// What came of one history.
#[derive(Debug)]
pub struct Report {
    /// What did not hold; empty is what is wanted.
    pub problems: Vec<Problem>,
    /// Hash of all that happened: equal for equal scripts.
    pub trace: String,
    /// What happened, for people, if it was asked for.
    pub lines: Vec<String>,
    /// Entries that the custodian held in the end.
    pub entries: usize,
    /// Frames that were sent.
    pub frames: u64,
}

/// The history of a seed, of so many acts.
pub fn run(seed: u64, acts: usize) -> Report {
    run_script(&plot(seed, acts), false)
}

/// Performs a script, heals, and checks. With `told`, what happened is told.
pub fn run_script(script: &Script, told: bool) -> Report {
    chartmesh_identity::remembering(|| perform(script, told))
}

fn perform(script: &Script, told: bool) -> Report {
    let mut story = Story::begin(script.seed, told);
    story.perform(script);
    story.world.reseed(script.seed, u64::MAX);
    ending::end(&mut story);
    let entries = (0..story.patients.len()).filter_map(|patient| story.copy(patient, cast::CUSTODIAN)).map(chartmesh_ledger::Ledger::len).sum();
    Report {
        problems: std::mem::take(&mut story.world.problems),
        trace: story.world.trace_hash(),
        lines: story.world.trace_lines().map(str::to_owned).collect(),
        entries,
        frames: story.world.frames(),
    }
}

/// The circle of a party under the secret of [`lane`].
pub fn circle(party: &PartyKey) -> LaneId {
    lane(&format!("circle {party}"))
}
