//! Makes up a history from a seed: who turns bad, how the network is, and what everybody does.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{
    act::{Act, Script, Step},
    cast::CUSTODIAN,
    crimes::Vice,
};

/// Everybody in the cast.
const NODES: u64 = 18;
/// Devices that are there from the beginning, and the tablets: all that act before anything has to be recovered.
const DEVICES: [u64; 6] = [0, 1, 2, 4, 5, 6];
/// Nodes of parties.
const PARTIES: [u64; 7] = [10, 11, 12, 13, 14, 15, 16];
/// Nodes that may turn bad: laptops, a custodian, a node of the hospital, a practitioner, the stranger.
const SUSPECTS: [u64; 6] = [1, 5, CUSTODIAN as u64 + 1, 11, 16, 17];
/// Nodes that may be put back from a backup.
const RESTORED: [u64; 7] = [0, 1, 4, 5, CUSTODIAN as u64 + 1, 10, 15];

struct Plot {
    rng: ChaCha8Rng,
    bad: Vec<u64>,
    /// What comes next whatever is drawn.
    next: Vec<Act>,
}

/// A history of so many acts.
pub fn plot(seed: u64, acts: usize) -> Script {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A third of all histories are without malice: what must hold among honest nodes is strictest there.
    let count = rng.next_u64() % 3;
    let bad = (0..count).map(|_| SUSPECTS[at(rng.next_u64(), SUSPECTS.len())]).collect();
    let mut plot = Plot { rng, bad, next: Vec::new() };
    let mut steps: Vec<Step> = Vec::with_capacity(acts);
    let mut add = |plot: &mut Plot, act: Act| {
        let chance = steps.len() as u64 + 1;
        steps.push(Step { chance, pause: plot.below(600), act });
    };
    for node in plot.bad.clone() {
        if plot.below(4) < 3 {
            let vice = plot.below(Vice::ALL.len() as u64);
            add(&mut plot, Act::Turn { node, vice });
        }
    }
    if plot.below(3) == 0 {
        let (loss, twice) = (plot.below(40), plot.below(40));
        add(&mut plot, Act::Weather { loss, twice });
    }
    for _ in 0..acts {
        let act = plot.act();
        add(&mut plot, act);
    }
    Script { seed, steps }
}

fn at(number: u64, of: usize) -> usize {
    usize::try_from(number).unwrap_or(0) % of
}

impl Plot {
    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn one(&mut self, of: &[u64]) -> u64 {
        of[at(self.rng.next_u64(), of.len())]
    }

    /// One of the devices, most often the phone.
    fn device(&mut self) -> u64 {
        if self.below(3) == 0 { self.one(&[0, 4]) } else { self.one(&DEVICES) }
    }

    fn act(&mut self) -> Act {
        if let Some(act) = self.next.pop() {
            return act;
        }
        if !self.bad.is_empty() && self.below(8) == 0 {
            return self.bad_act();
        }
        match self.below(100) {
            0..24 => self.meeting(),
            24..66 => self.deed(),
            66..82 => self.party_deed(),
            _ => self.trouble(),
        }
    }

    fn meeting(&mut self) -> Act {
        // Most meetings are of nodes that have something for one another.
        let a = match self.below(4) {
            0 => CUSTODIAN as u64 + self.below(2),
            1 => self.one(&PARTIES),
            _ => self.device(),
        };
        let b = if self.below(5) == 0 { self.below(NODES) } else { self.one(&[0, 1, 4, 5, CUSTODIAN as u64, CUSTODIAN as u64 + 1, 10, 11, 15, 16]) };
        let life = if self.below(5) < 2 { 1 + self.below(30) } else { 0 };
        Act::Meet { a, b, life }
    }

    fn deed(&mut self) -> Act {
        let device = self.device();
        match self.below(42) {
            0..9 => {
                let length = if self.below(100) == 0 { 300_000 } else { 40 + self.below(300) };
                Act::Publish { device, catalog: self.below(3), documents: self.below(3), length }
            }
            9..18 => {
                let ends = if self.below(5) == 0 { 1 + self.below(300) } else { 0 };
                Act::Grant { device, to: self.one(&PARTIES), reads: self.below(8), writes: self.below(8), ends }
            }
            18..24 => self.revoke(device),
            24..31 => Act::Duties { device },
            31..37 => Act::Checkpoint { device, of: self.one(&PARTIES) },
            37..39 => Act::Withdraw { device, catalog: self.below(3), which: self.below(8) },
            39..41 => Act::Enrol { device },
            _ => Act::Suspend { device, which: self.below(2) },
        }
    }

    /// Often of somebody who has just been heard of, and who goes on before it hears of that: this is what fences are for.
    fn revoke(&mut self, device: u64) -> Act {
        let (of, patient) = (self.one(&PARTIES), device / 4);
        let revoke = Act::Revoke { device, of, which: self.below(4), stops: self.below(4) };
        if self.below(2) == 0 {
            return revoke;
        }
        let which = self.below(6);
        let deeds = [Act::Write { node: of, patient, which, documents: 0 }, Act::Testify { node: of, patient, which }];
        let deed = deeds[at(self.below(2), 2)];
        self.next = vec![deed, revoke, Act::Meet { a: of, b: device, life: 0 }];
        deed
    }

    fn party_deed(&mut self) -> Act {
        let (node, patient) = (self.one(&PARTIES), self.below(2));
        match self.below(16) {
            0..8 => Act::Write { node, patient, which: self.below(6), documents: self.below(3) },
            8..10 => Act::Retract { node, patient, which: self.below(40) },
            10..14 => Act::Testify { node, patient, which: self.below(12) },
            14 => Act::Ask { node, patient },
            _ => Act::Future { node: self.one(&[0, 1, 10, 15]), patient },
        }
    }

    fn trouble(&mut self) -> Act {
        match self.below(21) {
            0..3 => Act::Cut { link: self.below(16) },
            3..5 => Act::Part { a: self.below(NODES), b: self.below(NODES) },
            5..7 => Act::Join { a: self.below(NODES), b: self.below(NODES) },
            7..10 => Act::Restart { node: self.below(NODES) },
            10..14 => Act::Backup { node: self.one(&RESTORED) },
            14..16 => Act::Restore { node: self.one(&RESTORED) },
            16 => Act::Skew { node: self.below(NODES), minutes: 1440 + self.below(200) - 100 },
            17 => Act::Weather { loss: self.below(30), twice: self.below(30) },
            18..20 => Act::Wait { minutes: 1 + self.below(200) },
            _ => Act::Reappoint { device: self.one(&[0, 4]), pause: self.below(150) },
        }
    }

    fn bad_act(&mut self) -> Act {
        let bad = self.bad.clone();
        let (node, patient) = (self.one(&bad), self.below(2));
        match self.below(20) {
            0..8 => Act::Fork { node, patient, log: self.below(8), depth: self.below(4), what: self.below(4) },
            8..11 => Act::Backdate { node, patient, which: self.below(8) },
            11..13 => Act::Borrow { node, patient, which: self.below(8) },
            13..15 => Act::Impersonate { node, victim: self.below(NODES), patient },
            15 => Act::Rival { device: node, node: self.one(&[11, 16, 17]) },
            16..18 => Act::Betray { device: node, to: self.one(&[11, 16, 17]), catalog: self.below(3) },
            _ => Act::Replay { node, frame: self.below(24) },
        }
    }
}
