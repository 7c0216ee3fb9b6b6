//! What must hold, asked of every honest node, with the reference model as the judge.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AccessId, AuthorKey, EntryHash, GrantId, PartyKey};
use chartmesh_ledger::{Action, Entry, Ledger, Verdict, Void};

use super::{
    cast::{CUSTODIAN, Role},
    model::{Model, Ruling},
    story::Story,
    world::Rule,
};

/// Most bytes of a session that has nothing new, both ways, with both ledgers.
pub const QUIET_SESSION: u64 = 5_000;

fn entries(ledger: &Ledger) -> impl Iterator<Item = &Entry> {
    ledger.lanes().flat_map(|lane| ledger.entries(lane))
}

fn hashes(story: &Story, patient: usize, node: usize) -> BTreeSet<EntryHash> {
    story.copy(patient, node).map_or_else(BTreeSet::new, |ledger| entries(ledger).map(Entry::hash).collect())
}

fn honest(story: &Story) -> Vec<usize> {
    (0..story.roles.len()).filter(|node| !story.world.is_bad(*node)).collect()
}

fn told(story: &mut Story, rule: Rule, problems: Vec<String>) {
    for problem in problems {
        story.world.problem(rule, problem);
    }
}

fn word(verdict: Option<&Verdict>) -> Ruling {
    match verdict {
        None => "none",
        Some(Verdict::Stands) => "stands",
        Some(Verdict::Stale) => "stale",
        Some(Verdict::NoEffect) => "no effect",
        Some(Verdict::Void(Void::NoAuthority)) => "void: no authority",
        Some(Verdict::Void(Void::Forked)) => "void: forked",
        Some(Verdict::Void(Void::Fenced)) => "void: fenced",
        Some(Verdict::Void(Void::Revoked)) => "void: revoked",
        Some(Verdict::Void(Void::NoGrant)) => "void: no grant",
        Some(Verdict::Void(Void::WrongLane)) => "void: wrong lane",
    }
}

/// Every honest node makes of what it holds what the model does. Nodes that hold the same are asked once.
pub(super) fn views(story: &mut Story, when: &str) {
    let mut problems = Vec::new();
    for patient in 0..story.patients.len() {
        let mut seen = BTreeSet::new();
        for node in honest(story) {
            let Some(copy) = story.copy(patient, node) else { continue };
            let held: Vec<EntryHash> = entries(copy).map(Entry::hash).collect();
            if seen.insert((held, copy.charters().count())) {
                let name = &story.world.nodes[node].person.name;
                let differs = differs(copy, &Model::of(copy, &story.world.charters));
                let forged = entries(copy).filter(|entry| story.world.truth.is_forged(&entry.hash())).map(|_| "it holds a forged entry".to_owned());
                problems.extend(differs.into_iter().chain(forged).map(|what| format!("{name}, {when}: {what}")));
            }
        }
    }
    told(story, Rule::Authority, problems);
}

/// Where a copy's own evaluation differs from the model's.
fn differs(copy: &Ledger, model: &Model<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    if model.contested != copy.contested() {
        problems.push(format!("contested is {}, the model says {}", copy.contested(), model.contested));
    }
    // Why something is void under several charters at once has several answers.
    let kind = |ruling: Ruling| if model.contested { ruling.split(':').next().unwrap_or(ruling) } else { ruling };
    let mut late = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for lane in copy.lanes() {
        let state = copy.lane(lane);
        for entry in copy.entries(lane) {
            let (is, should) = (word(state.verdicts.get(&entry.hash())), model.rulings.get(&entry.hash()).copied().unwrap_or("none"));
            if kind(is) != kind(should) {
                problems.push(format!(
                    "{} {}, {} of {}, is {is:?}, the model says {should:?}",
                    entry.header.action.code(),
                    entry.hash().short(),
                    entry.header.seq,
                    entry.author().short()
                ));
            }
        }
        if state.usable != model.usable.get(lane).copied() {
            problems.push(format!("the usable epoch of {} is {:?}, the model says {:?}", lane.short(), state.usable, model.usable.get(lane)));
        }
        late.extend(state.receipts.iter().filter(|receipt| receipt.late).map(|receipt| receipt.entry));
        shown.extend(state.publishes.iter().flat_map(|(entry, publish)| publish.shown().map(|blob| (*entry, blob.hash))));
    }
    if late != model.late {
        problems.push("other receipts are of after a withdrawal".into());
    }
    if shown != model.shown {
        problems.push(format!("{} documents are shown, {} by the model", shown.len(), model.shown.len()));
    }
    let forks: BTreeSet<_> = copy.forks().iter().filter_map(|fork| fork.verify().ok()).map(|fork| (fork.lane, fork.author, fork.seq)).collect();
    if forks != model.forks {
        problems.push(format!("{} forks are proven, there are {}", forks.len(), model.forks.len()));
    }
    problems
}

/// Honest devices and custodians meet two by two: whatever one of them has, the other has then, and what was signed twice is found.
pub(super) fn first_meetings(story: &mut Story) {
    for patient in 0..story.patients.len() {
        let keepers = story.keepers(patient);
        for (n, a) in keepers.iter().enumerate() {
            for b in &keepers[..n] {
                let ledger = story.patients[patient].ledger;
                let (one, other) = (hashes(story, patient, *a), hashes(story, patient, *b));
                let charters = |node: usize| story.copy(patient, node).map(|copy| copy.charters().count());
                if one == other && charters(*a) == charters(*b) {
                    continue;
                }
                let both: BTreeSet<EntryHash> = one.union(&other).copied().collect();
                story.world.connect(*a, *b, None);
                story.rest();
                let mut problems = Vec::new();
                for node in [*a, *b].into_iter().filter(|_| story.world.see_one_another(ledger, *a, *b)) {
                    let lacks = both.difference(&hashes(story, patient, node)).count();
                    if lacks > 0 {
                        problems.push(format!("{} lacks {lacks} entries after a meeting", story.world.nodes[node].person.name));
                    }
                    let Some(copy) = story.copy(patient, node) else { continue };
                    let places: Vec<_> = entries(copy).map(|entry| (entry.header.lane, entry.author(), entry.header.seq)).collect();
                    let distinct: BTreeSet<_> = places.iter().collect();
                    let proven = copy.forks().iter().filter(|fork| fork.verify().is_ok()).count();
                    if proven == 0 && distinct.len() < places.len() {
                        problems.push(format!("{} does not see a fork", story.world.nodes[node].person.name));
                    }
                }
                told(story, Rule::Forks, problems);
                story.world.cut_all();
            }
        }
    }
}

/// Once the words were used nothing is contested, whatever thieves bring out later.
pub(super) fn decided(story: &mut Story) {
    let contested = |patient: usize| story.copy(patient, CUSTODIAN).is_some_and(Ledger::contested);
    let problems =
        (0..story.patients.len()).filter(|patient| contested(*patient)).map(|patient| format!("the charter of {} is contested", story.patients[patient].name));
    told(story, Rule::Authority, problems.collect());
}

/// Devices and custodians hold the same, and parties what they are to have.
pub(super) fn convergence(story: &mut Story) {
    let mut problems = story.world.unsettled();
    for patient in 0..story.patients.len() {
        let Some(copy) = story.copy(patient, CUSTODIAN) else { continue };
        let all = hashes(story, patient, CUSTODIAN);
        let charters = copy.charters().count();
        let whose = story.patients[patient].name;
        for node in story.keepers(patient) {
            let (theirs, name) = (hashes(story, patient, node), &story.world.nodes[node].person.name);
            if theirs != all || story.copy(patient, node).map_or(0, |copy| copy.charters().count()) != charters {
                problems.push(format!("{name} holds {} entries of {whose}, the custodian {}", theirs.len(), all.len()));
            }
        }
        let bodies = |node: usize| story.copy(patient, node).into_iter().flat_map(entries).filter(|entry| entry.body.is_some()).map(Entry::hash);
        let with_body: BTreeSet<EntryHash> = story.keepers(patient).into_iter().flat_map(bodies).collect();
        for node in story.keepers(patient) {
            let lacks = with_body.len() - bodies(node).count();
            if lacks > 0 {
                problems.push(format!("{} lacks the bodies of {lacks} entries of {whose} that others have", story.world.nodes[node].person.name));
            }
        }
        let model = Model::of(copy, &story.world.charters);
        for node in story.honest_parties() {
            problems.extend(party(story, patient, node, copy, &model));
        }
        // A thief may have granted it something.
        for node in honest(story).into_iter().filter(|node| story.roles[*node] == Role::Stranger) {
            if !hashes(story, patient, node).is_empty() && !story.world.truth.has_circle(copy.id(), &story.party(node)) {
                problems.push(format!("a stranger holds entries of {whose}"));
            }
        }
    }
    told(story, Rule::Convergence, problems);
}

/// What a party's node holds: everything of its circle and of the catalogs that it reads; and nothing of its own that the custodian lacks.
fn party(story: &Story, patient: usize, node: usize, all: &Ledger, model: &Model<'_>) -> Vec<String> {
    let (party, name) = (story.party(node), &story.world.nodes[node].person.name);
    let Some(copy) = story.copy(patient, node) else { return Vec::new() };
    let mut problems = Vec::new();
    let now = story.world.time();
    let mut lanes = model.reads(&party, now);
    let circle = story.patients[patient].circle(&party);
    if !model.grants_of(&party, now).is_empty() {
        lanes.insert(circle);
    }
    let mine = hashes(story, patient, node);
    let lacks = lanes.iter().flat_map(|lane| all.entries(lane)).filter(|entry| !mine.contains(&entry.hash())).count();
    if lacks > 0 {
        problems.push(format!("{name} lacks {lacks} entries that it is to have"));
    }
    if model.had_grant(&party) {
        let own: BTreeSet<EntryHash> = entries(copy).filter(|entry| entry.author() == story.world.nodes[node].person.author()).map(Entry::hash).collect();
        let kept = own.iter().filter(|hash| !all.has(hash)).count();
        if kept > 0 {
            problems.push(format!("{name} holds {kept} entries of its own that the custodian lacks"));
        }
        let named =
            |grant: &GrantId| entries(copy).any(|entry| matches!(&entry.header.action, Action::Grant { id, party: of, .. } if id == grant && *of == party));
        let ended: BTreeSet<GrantId> = model.revokes().into_values().filter(named).collect();
        let heard: BTreeSet<GrantId> = Model::of(copy, &story.world.charters).revokes().into_values().collect();
        let unheard = ended.difference(&heard).count();
        if unheard > 0 {
            problems.push(format!("{name} has not heard of {unheard} revocations of its own grants"));
        }
    }
    problems
}

/// By party, or by suspended device under the party key of its own card: the epochs that it was ever handed the identity of, with those that these open.
fn readable(story: &Story, patient: usize) -> BTreeMap<PartyKey, BTreeSet<EntryHash>> {
    let copies = || (0..story.roles.len()).filter_map(|node| story.copy(patient, node));
    let ledger = story.patients[patient].ledger;
    let private = story.world.shown_in_private().filter(|(of, _)| *of == ledger).map(|(_, entry)| entry);
    let all: BTreeMap<EntryHash, &Entry> = copies().flat_map(entries).chain(private).map(|entry| (entry.hash(), entry)).collect();
    let custodian = story.copy(patient, CUSTODIAN);
    let is_suspended = |author: &AuthorKey| custodian.and_then(|held| held.charter().device(author)).is_some_and(|device| device.suspended.is_some());
    // What a device had signed before it was put back, and nobody but the party has heard of, nobody can take away while that device stands (SECURITY.md, Disk).
    let restored = (0..story.roles.len()).filter(|node| story.world.truth.is_restored(*node)).map(|node| story.world.nodes[node].person.author());
    let restored: BTreeSet<AuthorKey> = restored.filter(|author| !is_suspended(author)).collect();
    let is_lost = |entry: &Entry| restored.contains(&entry.author()) && !custodian.is_some_and(|held| held.has(&entry.hash()));
    let mut parties: BTreeMap<GrantId, BTreeSet<PartyKey>> = BTreeMap::new();
    for entry in all.values() {
        if let Action::Grant { id, party, .. } = entry.header.action {
            parties.entry(id).or_default().insert(party);
        }
    }
    let mut readable: BTreeMap<PartyKey, BTreeSet<EntryHash>> = BTreeMap::new();
    for entry in all.values().filter(|entry| !is_lost(entry)) {
        if let Action::Envelope { grant, epochs, .. } = &entry.header.action {
            for party in parties.get(grant).into_iter().flatten() {
                readable.entry(*party).or_default().extend(epochs);
            }
        }
    }
    for node in (0..story.roles.len()).filter(|node| is_suspended(&story.world.nodes[*node].person.author())) {
        // Whoever makes an epoch that covers a device does not seal its identity to it: the entry alone opens nothing.
        let suspension = AccessId::of_device(&story.world.nodes[node].person.author());
        let knows = |entry: &&Entry| matches!(&entry.header.action, Action::Epoch { covers, .. } if !covers.contains(&suspension));
        let held = story.copy(patient, node).into_iter().flat_map(entries).filter(knows);
        readable.entry(story.party(node)).or_default().extend(held.map(Entry::hash));
    }
    for epochs in readable.values_mut() {
        let mut open: Vec<EntryHash> = epochs.iter().copied().collect();
        while let Some(epoch) = open.pop() {
            if let Some(Action::Epoch { supersedes, .. }) = all.get(&epoch).map(|entry| &entry.header.action) {
                open.extend(supersedes.iter().filter(|before| epochs.insert(**before)));
            }
        }
    }
    readable
}

/// No usable epoch is readable by a party all of whose grants have ended, or by a suspended device.
pub(super) fn secrecy(story: &mut Story, when: &str) {
    let mut problems = Vec::new();
    for patient in 0..story.patients.len() {
        let readable = readable(story, patient);
        for node in story.keepers(patient) {
            let Some(copy) = story.copy(patient, node) else { continue };
            let model = Model::of(copy, &story.world.charters);
            for (party, epochs) in readable.iter().filter(|(party, _)| model.grants_of(party, i64::MIN).is_empty()) {
                let open = model.usable.values().filter(|usable| epochs.contains(usable)).count();
                if open > 0 {
                    problems.push(format!(
                        "{}, {when}: {open} usable epochs are readable by {}, whose access has ended",
                        story.world.nodes[node].person.name,
                        party.short()
                    ));
                }
            }
        }
    }
    told(story, Rule::Secrecy, problems);
}

/// What every document says that an honest device or custodian holds, by patient and node.
pub(super) fn contents(story: &Story) -> Vec<(usize, usize, BTreeSet<u64>)> {
    let of = |patient: usize, node: usize| {
        let documents = story.copy(patient, node).into_iter().flat_map(entries).filter_map(|entry| match &entry.header.action {
            Action::Publish { documents } => Some(documents),
            _ => None,
        });
        documents.flatten().filter_map(|blob| story.contents.get(&blob.hash).copied()).collect()
    };
    let nodes = (0..story.patients.len()).flat_map(|patient| story.keepers(patient).into_iter().map(move |node| (patient, node)));
    nodes.map(|(patient, node)| (patient, node, of(patient, node))).collect()
}

/// Everything that an honest device or custodian held is shown, or quarantined, or withdrawn by somebody who may. Not what only devices held that are suspended since: those
/// keep it, and are told.
pub(super) fn documents(story: &mut Story, before: &[(usize, usize, BTreeSet<u64>)]) {
    let mut problems = Vec::new();
    for patient in 0..story.patients.len() {
        let keepers = story.keepers(patient);
        let before: BTreeSet<u64> =
            before.iter().filter(|(of, node, _)| *of == patient && keepers.contains(node)).flat_map(|(.., contents)| contents).copied().collect();
        let Some(copy) = story.copy(patient, CUSTODIAN) else { continue };
        let model = Model::of(copy, &story.world.charters);
        let withdrawn: BTreeSet<EntryHash> = model.withdraws().filter(|(entry, _)| !story.tidied.contains(entry)).map(|(_, publish)| publish).collect();
        let mut kept = BTreeSet::new();
        for lane in copy.lanes() {
            for (entry, publish) in &copy.lane(lane).publishes {
                let shown: BTreeSet<_> = publish.shown().map(|blob| blob.hash).collect();
                let there = |hash| shown.contains(hash) || publish.void.is_some() || withdrawn.contains(entry);
                kept.extend(publish.documents.iter().filter(|blob| there(&blob.hash)).filter_map(|blob| story.contents.get(&blob.hash).copied()));
            }
        }
        let dropped = before.difference(&kept).count();
        if dropped > 0 {
            problems.push(format!("{dropped} documents of {} are neither shown nor quarantined nor withdrawn", story.patients[patient].name));
        }
    }
    told(story, Rule::Documents, problems);
}

/// Meeting again with nothing new costs a constant: for honest nodes that have a standing. Others try in vain, which costs more.
pub(super) fn quiet(story: &mut Story) {
    if !story.world.chance(20) {
        return;
    }
    let mut nodes: BTreeSet<usize> = (0..story.patients.len()).flat_map(|patient| story.keepers(patient)).collect();
    let known = |node: &usize| {
        (0..story.patients.len())
            .filter(|patient| story.copy(*patient, *node).is_some())
            .all(|patient| story.copy(patient, CUSTODIAN).is_some_and(|copy| Model::of(copy, &story.world.charters).had_grant(&story.party(*node))))
    };
    nodes.extend(story.honest_parties().into_iter().filter(known));
    story.part_all();
    let before = story.world.bytes();
    story.meet(&nodes);
    let (bytes, links) = (story.world.bytes() - before, story.world.linked());
    if bytes > links * QUIET_SESSION {
        story.world.problem(Rule::Quiet, format!("{links} sessions with nothing new cost {bytes} bytes"));
    }
    story.meet_everybody();
}

/// What every honest node of a party holds.
pub(super) fn held_by_parties(story: &Story) -> BTreeMap<(usize, usize), BTreeSet<EntryHash>> {
    let nodes = || story.honest_parties().into_iter();
    (0..story.patients.len())
        .flat_map(|patient| nodes().map(move |node| (patient, node)))
        .map(|(patient, node)| ((patient, node), hashes(story, patient, node)))
        .collect()
}

/// Nothing but their own has reached honest nodes of parties since, or a liar gave it.
pub(super) fn nothing_new(story: &mut Story, before: &BTreeMap<(usize, usize), BTreeSet<EntryHash>>) {
    let mut problems = Vec::new();
    let bad = (0..story.roles.len()).any(|node| story.world.is_bad(node));
    for ((patient, node), held) in before.iter().filter(|_| !bad) {
        let news = story
            .copy(*patient, *node)
            .into_iter()
            .flat_map(entries)
            .filter(|entry| !held.contains(&entry.hash()) && entry.party() != story.party(*node))
            .count();
        if news > 0 {
            problems.push(format!("{} got {news} entries after its last grant had ended", story.world.nodes[*node].person.name));
        }
    }
    told(story, Rule::Disclosure, problems);
}
