//! What happens in the lab, made up from a seed: where the hosts are, how good their cables are, which of them fail and for how long, and what people do meanwhile.

use std::time::Duration;

use crate::{chance::Chance, network::Cut};

/// Who has a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Patient,
    Custodian,
    Clinic,
    Practice,
}

pub(crate) const EVERYBODY: [Who; 4] = [Who::Patient, Who::Custodian, Who::Clinic, Who::Practice];
pub(crate) const PROVIDERS: [Who; 2] = [Who::Clinic, Who::Practice];

/// Where the hosts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All on the internet.
    Open,
    /// The patient in one private network, the providers in another; the custodian is on the internet. They meet through a relay.
    Relayed,
    /// The same without a relay: they meet at the custodian's only, and exchange cards and invitations as files.
    Apart,
}

/// A cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cable {
    Of(Who),
    /// The line of the private network of the patient, or of the providers.
    Line(usize),
    Relay,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Cut(Cable, Cut),
    /// The host at the near end gets another address; for a line, the router does.
    Renumbered(Cable),
    RelayRestarted,
}

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Import,
    Grant(Who, &'static [&'static str]),
    Revoke(Who),
    /// The clinic writes a result.
    Write,
    Sync(Who),
}

/// A schedule.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) layout: Layout,
    /// Delay there and back in milliseconds, and loss in a hundred, per cable.
    pub(crate) quality: Vec<(Cable, u64, u64)>,
    /// To the clinic, before anything goes wrong.
    pub(crate) terms: &'static [&'static str],
    pub(crate) faults: Vec<Fault>,
    pub(crate) deeds: Vec<Deed>,
    pub(crate) outage: Duration,
}

/// All that can be read; all but one kind; the general part.
pub(crate) const ALL: &[&str] = &["--read", "all", "--write"];
pub(crate) const EXCEPT: &[&str] = &["--except", "mental-health", "--write"];
pub(crate) const GENERAL: &[&str] = &["--read", "general", "--write"];
const TERMS: [&[&str]; 3] = [ALL, EXCEPT, GENERAL];

impl Schedule {
    /// The schedule of a seed; `relay` says whether there is a program for one.
    pub(crate) fn new(seed: u64, relay: bool) -> Self {
        // Seeds that follow one another would begin alike.
        let mut chance = Chance::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
        let layout = match seed % 3 {
            0 => Layout::Apart,
            1 => Layout::Open,
            _ if relay => Layout::Relayed,
            _ => Layout::Open,
        };
        let mut cables: Vec<Cable> = EVERYBODY.map(Cable::Of).to_vec();
        if layout != Layout::Open {
            cables.extend([Cable::Line(0), Cable::Line(1)]);
        }
        if layout == Layout::Relayed {
            cables.push(Cable::Relay);
        }
        // Of two cables one after the other, each has half.
        let share = if layout == Layout::Open { 1 } else { 2 };
        let quality = cables.iter().map(|cable| (*cable, chance.below(151) / share, chance.below(11) / share)).collect();
        let mut faults = Vec::new();
        for _ in 0..=chance.below(2) {
            let how = if chance.percent(50) { Cut::Unplugged } else { Cut::Silent };
            faults.push(Fault::Cut(chance.one_of(&cables), how));
        }
        if chance.percent(40) {
            // A relay stays where its name says; a custodian of people who have no other way to each other stays where its card says.
            let settled = |cable: &Cable| *cable != Cable::Relay && !(layout == Layout::Apart && *cable == Cable::Of(Who::Custodian));
            let movable: Vec<Cable> = cables.iter().copied().filter(settled).collect();
            faults.push(Fault::Renumbered(chance.one_of(&movable)));
        }
        if layout == Layout::Relayed && chance.percent(25) {
            faults.push(Fault::RelayRestarted);
        }
        let terms = chance.one_of(&TERMS);
        let deeds = deeds(&mut chance);
        let outage = Duration::from_secs(chance.one_of(&[1, 3, 6, 10, 14, 18, 25, 40]));
        Self { layout, quality, terms, faults, deeds, outage }
    }
}

fn deeds(chance: &mut Chance) -> Vec<Deed> {
    let mut live = vec![Who::Clinic];
    let mut deeds = Vec::new();
    for _ in 0..2 + chance.below(4) {
        deeds.push(match chance.below(100) {
            0..30 => Deed::Import,
            // What is written under a grant that somebody else is ending is for the patient to judge: not here.
            30..45 if !deeds.contains(&Deed::Revoke(Who::Clinic)) => Deed::Write,
            45..65 if !live.is_empty() => {
                let who = live.swap_remove(chance.below(live.len() as u64) as usize);
                if deeds.contains(&Deed::Write) && who == Who::Clinic {
                    live.push(who);
                    Deed::Import
                } else {
                    Deed::Revoke(who)
                }
            }
            65..85 if live.len() < PROVIDERS.len() => {
                let who = PROVIDERS.into_iter().find(|who| !live.contains(who)).unwrap_or(Who::Practice);
                live.push(who);
                Deed::Grant(who, chance.one_of(&TERMS))
            }
            _ => Deed::Sync(chance.one_of(&EVERYBODY)),
        });
    }
    deeds
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {:?}, {:?}, {:?}", self.layout, self.faults, self.deeds, self.outage)?;
        self.quality.iter().try_for_each(|(cable, delay, loss)| write!(f, ", {cable:?} {delay} ms {loss} %"))
    }
}
