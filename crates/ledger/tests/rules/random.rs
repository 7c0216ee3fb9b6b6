//! Random histories of several devices, parties with several nodes, forks, suspensions and rival charters: whatever arrives in whatever order, the same holds.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AccessId, AuthorKey, CharterHash, EntryHash, GrantId, LaneId, NodeRole, Verified};
use chartmesh_ledger::{Action, Charter, Entry, EntryHeader, FULL, Fence, LaneState, Ledger, Point, Use, Verdict, admit_hash};
use proptest::{prelude::*, strategy::ValueTree};

use crate::world::*;

/// What one step of a history does, before it is known to whom.
#[derive(Debug, Clone)]
struct Step {
    kind: u8,
    who: u8,
    what: u8,
    rewind: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..18, 0u8..8, any::<u8>(), prop::bool::weighted(0.12)).prop_map(|(kind, who, what, rewind)| Step { kind, who, what, rewind });
    proptest::collection::vec(step, 4..36)
}

struct History {
    charters: Vec<Verified<Charter>>,
    entries: Vec<Entry>,
}

/// Runs the steps: writers that may forget, sign twice, name the wrong id or write after they were suspended.
struct Author {
    pens: Vec<Pen>,
    ledger: Ledger,
    history: History,
    refused: Vec<Entry>,
}

const DEVICES: usize = 3;

impl Author {
    fn new() -> Self {
        let w = World::new();
        let id = w.ledger.id();
        let roles = [NodeRole::Write, NodeRole::Receipt];
        let devices = [10, 11, 12].map(|seed| Pen::new(id, seed));
        let parties = [Pen::new(id, 20), Pen::node(id, 40, 20, &roles), Pen::node(id, 41, 20, &roles[..1]), Pen::new(id, 21), Pen::node(id, 42, 21, &roles)];
        let pens = devices.into_iter().chain(parties).collect();
        Self { pens, ledger: w.ledger, history: History { charters: vec![w.genesis], entries: vec![] }, refused: vec![] }
    }

    fn run(mut self, steps: &[Step]) -> (History, Ledger) {
        for step in steps {
            self.step(step);
        }
        (self.history, self.ledger)
    }

    fn step(&mut self, step: &Step) {
        let what = step.what as usize;
        match step.kind {
            0 => return self.charter(step),
            1 if step.who > 4 => return self.charter(step),
            _ => {}
        }
        let by_device = step.kind < 12;
        let who = if by_device { step.who as usize % DEVICES } else { DEVICES + step.who as usize % 5 };
        let grant = GrantId::new([step.what % 3; 16]);
        let access = AccessId::new([step.what % 2; 16]);
        let party = secret(20 + step.what % 2).party();
        let lane = [CIRCLE, OTHER][what / 2 % 2];
        let any = |entries: &[Entry]| entries.get(what % entries.len().max(1)).map_or(EntryHash::of(b"none"), Entry::hash);
        let epochs: Vec<EntryHash> = self.ledger.lane(&CATALOG).epochs.keys().copied().collect();
        let covers: Vec<AccessId> = self.ledger.lane(&CATALOG).bars.keys().copied().skip(what % 2).collect();
        let fence = |ledger: &Ledger, lane| {
            let mut fence = ledger.fence(lane);
            fence.0.truncate(fence.0.len().saturating_sub(what % 3));
            fence
        };
        let (lane, action) = match step.kind {
            1 | 2 => (lane, Action::Grant { id: grant, party, until: None, max_age: 100 }),
            3 => (
                lane,
                Action::Envelope {
                    grant,
                    epochs: epochs.into_iter().take(2).collect(),
                    documents: vec![(any(&self.history.entries), blob(1))],
                    catalogs: vec![],
                },
            ),
            4 => (lane, Action::Revoke { grant, fence: fence(&self.ledger, &lane) }),
            5 | 6 => (CATALOG, Action::Admit { id: access, party: admit_hash(&SALT, &party) }),
            7 => (CATALOG, Action::Bar { id: access, fence: fence(&self.ledger, &CATALOG) }),
            8 | 9 => (
                CATALOG,
                Action::Epoch {
                    recipient: recipient(step.what),
                    supersedes: epochs.into_iter().skip(what % 2).collect(),
                    covers,
                    past: fence(&self.ledger, &CATALOG),
                },
            ),
            10 => (CATALOG, Action::Withdraw { publish: any(&self.history.entries), documents: vec![], erase: what.is_multiple_of(2) }),
            11 => (lane, Action::Unknown { code: "release".into(), raw: vec![0xa0] }),
            12 => (lane, Action::Receipt { grant, n: 1 }),
            13 => (lane, Action::Confirm { revoke: any(&self.history.entries) }),
            14 => (lane, Action::Request {}),
            15 => (CATALOG, Action::Withdraw { publish: any(&self.history.entries), documents: vec![], erase: false }),
            _ => (CATALOG, publish(step.what)),
        };
        let uses = match (by_device, lane == CATALOG) {
            (true, _) => None,
            (false, true) => Some(Use::Admit { id: access, salt: SALT }),
            (false, false) => Some(Use::Grant(grant)),
        };
        let crit = if step.kind == 11 && step.what > 200 { vec!["release".to_owned()] } else { vec![] };
        let epoch = self.ledger.lane(&CATALOG).usable;
        let pen = &mut self.pens[who];
        if step.rewind {
            pen.rewind(lane, pen.written(lane).saturating_sub(1 + what % 2));
        }
        let header = EntryHeader { uses, crit, epoch, ..pen.header(lane, action) };
        let entry = pen.sign(header);
        self.add(entry);
    }

    fn add(&mut self, entry: Entry) {
        self.refused.push(entry.clone());
        self.history.entries.push(entry);
        self.retry();
    }

    fn retry(&mut self) {
        let ledger = &mut self.ledger;
        self.refused.retain(|entry| ledger.add_entry(entry.clone()).is_err());
    }

    fn charter(&mut self, step: &Step) {
        let what = step.what as usize;
        let parent = &self.history.charters[what % self.history.charters.len()];
        let signer = [1, 2, 2, 3, 3, 3][step.who as usize % 6];
        let ledger = &self.ledger;
        let seed = 10 + step.what % 3;
        let next = next_charter(ledger.id(), parent, signer, |charter| {
            charter.time = i64::from(step.what);
            if seed == 12 && charter.devices.len() == 2 {
                charter.devices.push(device(12));
            } else if let Some(device) = charter.devices.iter_mut().find(|device| device.key == secret(seed).author()) {
                let mut heads = ledger.device_fence(&device.key);
                heads.truncate(heads.len().saturating_sub(what / 3 % 2));
                device.suspended.get_or_insert(heads);
            }
        });
        match self.ledger.add_charter(next.signed().clone()) {
            Ok(_) => self.history.charters.push(next),
            Err(refusal) => panic!("{refusal}"),
        }
        self.retry();
    }
}

/// One thing that arrives.
#[derive(Clone)]
enum Arrival {
    Charter(Box<Verified<Charter>>),
    Entry(Box<Entry>),
}

/// Offers everything one by one in this order, again and again until nothing more is accepted.
fn deliver(genesis: &Verified<Charter>, mut arrivals: Vec<Arrival>, read: bool) -> Ledger {
    let mut ledger = Ledger::begin(genesis.signed().clone()).unwrap();
    loop {
        let before = arrivals.len();
        arrivals.retain(|arrival| {
            let refused = match arrival.clone() {
                Arrival::Charter(charter) => ledger.add_charter(charter.signed().clone()).is_err(),
                Arrival::Entry(entry) => ledger.add_entry(*entry).is_err(),
            };
            if read {
                [CIRCLE, CATALOG, OTHER].iter().for_each(|lane| assert!(ledger.lane(lane).verdicts.len() <= ledger.len()));
            }
            refused
        });
        if arrivals.len() == before {
            return ledger;
        }
    }
}

type Seen = (CharterHash, bool, BTreeMap<LaneId, LaneState>, Vec<chartmesh_ledger::Head>, Vec<chartmesh_ledger::ForkProof>, Fence);

fn seen(ledger: &Ledger) -> Seen {
    let states = ledger.lanes().map(|lane| (*lane, ledger.lane(lane).clone())).collect();
    let heads = ledger.lanes().flat_map(|lane| ledger.heads(lane)).collect();
    (ledger.charter_hash(), ledger.contested(), states, heads, ledger.forks(), ledger.fence(&CATALOG))
}

fn entries(ledger: &Ledger) -> Vec<&Entry> {
    ledger.lanes().flat_map(|lane| ledger.entries(lane)).collect()
}

fn verdict(ledger: &Ledger, entry: &Entry) -> Verdict {
    ledger.lane(&entry.header.lane).verdicts[&entry.hash()]
}

fn up_to(ledger: &Ledger, entry: &Entry, point: Option<Point>) -> bool {
    let mut at = point.and_then(|point| ledger.get(&point.hash));
    while let Some(here) = at {
        if here.hash() == entry.hash() {
            return true;
        }
        at = here.header.prev.and_then(|prev| ledger.get(&prev));
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn state_does_not_depend_on_the_order_of_arrival(steps in steps(), order in any::<proptest::sample::Index>(), keys in proptest::collection::vec(any::<u64>(), 80)) {
        let (history, _) = Author::new().run(&steps);
        let genesis = &history.charters[0];
        let charters = history.charters[1..].iter().cloned().map(Box::new).map(Arrival::Charter);
        let arrivals: Vec<_> = charters.chain(history.entries.iter().cloned().map(Box::new).map(Arrival::Entry)).collect();
        let in_order = deliver(genesis, arrivals.clone(), false);
        let mut shuffled: Vec<_> = arrivals.iter().cloned().zip(keys.iter().cycle()).collect();
        shuffled.sort_by_key(|(_, key)| **key);
        let mut shuffled: Vec<_> = shuffled.into_iter().map(|(arrival, _)| arrival).collect();
        if !shuffled.is_empty() {
            let middle = order.index(shuffled.len());
            shuffled.rotate_left(middle);
        }
        let other = deliver(genesis, shuffled, true);
        prop_assert_eq!(seen(&in_order), seen(&other));

        let mut at_once = Ledger::begin(genesis.signed().clone()).unwrap();
        for charter in &history.charters[1..] {
            at_once.add_charter(charter.signed().clone()).unwrap();
        }
        at_once.add_all(history.entries.iter().rev().cloned().collect());
        prop_assert_eq!(seen(&in_order), seen(&at_once));
    }

    #[test]
    fn taking_away_is_never_undone_by_anything_that_arrives(steps in steps()) {
        let (history, _) = Author::new().run(&steps);
        let mut ledger = Ledger::begin(history.charters[0].signed().clone()).unwrap();
        for charter in &history.charters[1..] {
            ledger.add_charter(charter.signed().clone()).unwrap();
        }
        let mut gone: BTreeSet<(LaneId, [u8; 16])> = BTreeSet::new();
        for entry in &history.entries {
            let _ = ledger.add_entry(entry.clone());
            let now: BTreeSet<_> = ledger
                .lanes()
                .flat_map(|lane| {
                    let state = ledger.lane(lane);
                    let revoked = state.revokes.keys().map(|id| *id.as_bytes());
                    revoked.chain(state.bars.keys().map(|id| *id.as_bytes())).map(|id| (*lane, id))
                })
                .collect();
            prop_assert!(gone.is_subset(&now));
            gone = now;
        }
    }

    #[test]
    fn the_rules_hold_in_every_history(steps in steps()) {
        let (_, ledger) = Author::new().run(&steps);
        for lane in [CIRCLE, OTHER, CATALOG] {
            let state = ledger.lane(&lane);
            for (id, grant) in &state.grants {
                prop_assert_eq!(grant.revoked.is_some(), state.revokes.contains_key(id), "a revoked grant never revives");
                for envelope in grant.envelopes.iter().filter(|_| grant.revoked.is_some()) {
                    prop_assert!(matches!(state.verdicts[&envelope.entry], Verdict::Void(_)));
                }
            }
            if let Some(usable) = &state.usable {
                let Action::Epoch { covers, .. } = &ledger.get(usable).unwrap().header.action else { panic!("an epoch") };
                prop_assert!(state.bars.keys().all(|bar| covers.contains(bar)), "the usable epoch covers every bar");
                let standing = ledger.entries(&lane).filter(|entry| state.epochs.contains_key(&entry.hash()));
                for entry in standing {
                    let Action::Epoch { supersedes, .. } = &entry.header.action else { panic!("an epoch") };
                    prop_assert!(!supersedes.contains(usable), "the usable epoch is not superseded");
                }
            }
        }
        for entry in entries(&ledger) {
            holds_for(&ledger, entry)?;
        }
    }
}

/// The rules for one entry, told without the code that carries them out.
fn holds_for(ledger: &Ledger, entry: &Entry) -> Result<(), TestCaseError> {
    let stands = !matches!(verdict(ledger, entry), Verdict::Void(_));
    let author = entry.author();
    let (lane, seq) = (entry.header.lane, entry.header.seq);
    if ledger.is_device(&author) {
        let under: Vec<bool> = ledger.rivals().map(|charter| has_authority(ledger, charter, &author, entry)).collect();
        if stands && !entry.header.action.takes_away() {
            prop_assert!(under.iter().all(|under| *under), "what gives stands under every rival");
        }
        if stands {
            prop_assert!(under.iter().any(|under| *under), "no authority past a fence");
        }
        if entry.header.action.takes_away() {
            let yours = !matches!(entry.header.action, Action::Withdraw { .. });
            prop_assert!(stands || !yours || under.iter().all(|under| !*under), "what takes away stands");
        }
        return Ok(());
    }
    let testimony = matches!(entry.header.action, Action::Receipt { .. } | Action::Confirm { .. });
    let forked = (1..=seq).any(|seq| ledger.entries_after(&lane, &author, seq - 1).take_while(|other| other.header.seq == seq).count() > 1);
    if stands && !testimony && !entry.header.action.takes_away() {
        prop_assert!(!forked, "nothing stands from a fork on");
    }
    match (&entry.header.action, &entry.header.uses) {
        (Action::Publish { .. } | Action::Withdraw { .. }, Some(Use::Admit { id, salt })) if stands => {
            let state = ledger.lane(&lane);
            let hash = admit_hash(salt, &entry.party());
            prop_assert!(state.admits[id].iter().any(|admit| admit.party == hash));
            for bar in state.bars.get(id).into_iter().flatten() {
                prop_assert!(up_to(ledger, entry, bar.fence.point(&author)), "within every fence");
            }
        }
        (Action::Publish { .. }, _) => prop_assert!(!stands, "only under an admit"),
        (Action::Receipt { grant, .. }, Some(Use::Grant(id))) if grant == id && entry.has_role(NodeRole::Receipt) => {
            prop_assert!(stands, "nothing voids testimony")
        }
        _ => {}
    }
    Ok(())
}

fn has_authority(ledger: &Ledger, charter: &Charter, author: &AuthorKey, entry: &Entry) -> bool {
    let Some(device) = charter.device(author).filter(|device| device.role == FULL) else { return false };
    let Some(heads) = &device.suspended else { return true };
    let head = heads.iter().find(|head| head.lane == entry.header.lane && head.author == *author);
    up_to(ledger, entry, head.map(chartmesh_ledger::Head::point))
}

#[test]
fn histories_are_not_trivial() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut counts, mut refusals) = (BTreeMap::new(), 0);
    for _ in 0..40 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let (history, ledger) = Author::new().run(&steps);
        for entry in entries(&ledger) {
            *counts.entry(verdict(&ledger, entry)).or_insert(0) += 1;
        }
        refusals += history.entries.iter().filter(|entry| !ledger.has(&entry.hash())).count();
        *counts.entry(Verdict::NoEffect).or_insert(0) += usize::from(ledger.contested());
    }
    assert!(counts.len() >= 7 && refusals > 0, "{counts:?}, {refusals} refused");
}
