//! After the acts: everything heals, what was stolen or put back is replaced with the recovery words, devices do what they owe, and what must hold is checked on the way.

use std::collections::BTreeSet;

use chartmesh_identity::AuthorKey;

use super::{
    cast::{CUSTODIAN, patients},
    checks, people,
    story::Story,
    world::Rule,
};

/// Heals and checks.
pub(super) fn end(story: &mut Story) {
    checks::views(story, "before anything heals");
    // In the other half, what is under way is lost.
    if story.world.chance(50) {
        story.rest();
        nobody_waits(story);
    }
    let before = checks::contents(story);
    story.world.clear_up();
    checks::first_meetings(story);
    story.meet_honest();
    let mut recovered = Vec::new();
    for patient in 0..story.patients.len() {
        let appointed = appoint(story, patient);
        if recover(story, patient) || appointed {
            recovered.push(patient);
        }
    }
    story.rest();
    story.meet_everybody();
    checks::decided(story);
    for patient in recovered {
        renew(story, patient);
    }
    settle(story);
    be_heard(story);
    story.meet_everybody();
    checks::views(story, "in the end");
    checks::convergence(story);
    checks::secrecy(story, "in the end");
    checks::documents(story, &before);
    checks::quiet(story);
    finish(story);
}

/// The words put the custodians back where the charter is contested over a version without them: such rivals follow one that only a part of the devices had heard of. Whether they did.
fn appoint(story: &mut Story, patient: usize) -> bool {
    let without = |node: &usize| !story.world.is_bad(*node) && story.copy(patient, *node).is_some_and(|held| held.charter().custodians.is_empty());
    let Some(device) = story.patients[patient].devices.into_iter().find(without) else { return false };
    let Some(held) = story.copy(patient, device) else { return false };
    let (decided, version) = held.decided();
    let (ledger, custodians) = (held.id(), patients()[patient].1.custodians.clone());
    let next = people::next_charter(held.charter(), decided, ledger, &story.patients[patient].words(), |next| {
        next.version = version + 1;
        next.custodians = custodians;
    });
    story.world.note(|world| format!("the words put the custodians back at {}", world.name(device)));
    story.world.amend(device, ledger, &next);
    story.rest();
    true
}

/// A new device takes over where a device is stolen, its key is spent or forked, or the charter is contested. Whether it did.
fn recover(story: &mut Story, patient: usize) -> bool {
    let Some(held) = story.copy(patient, CUSTODIAN) else { return false };
    let forked: BTreeSet<AuthorKey> = held.forks().iter().filter_map(|fork| fork.verify().ok()).map(|fork| fork.author).collect();
    let ledger = held.id();
    let lost = |node: usize| {
        let person = &story.world.nodes[node].person;
        story.world.is_bad(node) || story.world.nodes[node].is_spent(&ledger) || forked.contains(&person.author())
    };
    let listed = |node: &usize| held.charter().device(&story.world.nodes[*node].person.author()).is_some_and(|device| device.suspended.is_none());
    let lost: Vec<usize> = (0..story.roles.len()).filter(listed).filter(|node| lost(*node)).collect();
    // Of devices in a thief's hands, suspended or not: it may have signed versions that nobody has seen yet.
    let devices = story.patients[patient].devices;
    let stolen: Vec<_> = devices.into_iter().filter(|node| story.world.is_bad(*node)).map(|node| story.patients[patient].root(node).root()).collect();
    // Whoever a void version made a device has no standing, and needs none to be taken away.
    let standing = story.writers(patient).len();
    if lost.is_empty() && stolen.is_empty() && !held.contested() && standing > 0 {
        return false;
    }
    let fences: Vec<_> = lost.iter().map(|node| story.world.nodes[*node].person.author()).map(|author| (author, held.device_fence(&author))).collect();
    let spare = story.patients[patient].devices[3];
    let device = people::as_device(&story.world.nodes[spare].person);
    let words = story.patients[patient].words();
    let (decided, version) = held.decided();
    let next = people::next_charter(held.charter(), decided, ledger, &words, |next| {
        next.version = version + 1;
        next.roots.retain(|root| !stolen.contains(&root.key));
        for (author, fence) in fences {
            next.devices.iter_mut().filter(|device| device.key == author).for_each(|device| device.suspended = Some(fence.clone()));
        }
        if !next.devices.iter().any(|listed| listed.key == device.key) {
            next.devices.push(device);
        }
    });
    story.world.note(|world| format!("{} takes over", world.name(spare)));
    story.world.amend(CUSTODIAN, ledger, &next);
    story.rest();
    story.world.connect(spare, CUSTODIAN, None);
    story.rest();
    true
}

/// A recovery gives every catalog a new epoch, since what comes after it is not opened with keys that devices had of which the charter in force knows nothing. Where there were none, that is
/// left to the duties: they know of devices that it suspends, and nothing else tells whether they do.
fn renew(story: &mut Story, patient: usize) {
    let Some(held) = story.copy(patient, CUSTODIAN) else { return };
    let unknown = held.devices().iter().any(|device| held.charter().device(device).is_none());
    if let Some(device) = story.writers(patient).first().copied().filter(|_| unknown) {
        for lane in story.patients[patient].catalogs {
            story.epoch(device, lane);
        }
    }
    story.rest();
}

/// Every device does what it owes, until nothing is owed.
fn settle(story: &mut Story) {
    for patient in 0..story.patients.len() {
        for _ in 0..2 {
            for device in story.writers(patient) {
                story.duties(device);
                story.rest();
            }
        }
    }
}

/// The patients are heard from, so that custodians serve.
fn be_heard(story: &mut Story) {
    for patient in 0..story.patients.len() {
        if let Some(device) = story.writers(patient).first().copied() {
            story.checkpoint_all(device);
        }
    }
    story.rest();
}

/// All grants end; nothing that comes later reaches a party.
fn finish(story: &mut Story) {
    for patient in 0..story.patients.len() {
        if let Some(device) = story.writers(patient).first().copied() {
            story.revoke_all(device);
        }
    }
    story.rest();
    settle(story);
    checks::secrecy(story, "after every grant has ended");
    let before = checks::held_by_parties(story);
    for patient in 0..story.patients.len() {
        for catalog in 0..3 {
            if let Some(device) = story.writers(patient).first().copied() {
                story.publish(device, catalog, 0, 64);
            }
        }
    }
    story.rest();
    checks::nothing_new(story, &before);
    checks::views(story, "after every grant has ended");
    nobody_waits(story);
}

/// Nothing is under way: whoever is connected has said all.
fn nobody_waits(story: &mut Story) {
    for what in story.world.unsettled() {
        story.world.problem(Rule::Convergence, what);
    }
}
