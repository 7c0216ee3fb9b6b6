//! Two that have the same to give, and one that lacks it: what one has brought the other need not.

use chartmesh_exchange::{
    Effect, Event, Options,
    sim::{Node, Person, charter, lane},
};
use chartmesh_identity::{Kind, LedgerId};

use crate::pair::{Pair, count, fill, meet, publish};

const LENGTH: usize = 4 << 10;

/// A tablet with a session to the phone and one to the custodian.
struct Between {
    /// Each giver and, in the first, the tablet. It takes the other's place in the second while something happens there.
    nodes: [[Node; 2]; 2],
    pairs: [Pair; 2],
    /// Effects of the tablet's sessions that have been looked at.
    seen: [usize; 2],
}

impl Between {
    fn new(givers: [Node; 2], tablet: Node) -> Self {
        let [phone, custodian] = givers;
        let mut nodes = [[phone, tablet], [custodian, Node::new(Person::new("nobody", Kind::Patient))]];
        let mut pairs = [0, 1].map(|at| {
            swap(&mut nodes, at);
            let pair = Pair::new(&nodes[at], Options::default());
            swap(&mut nodes, at);
            pair
        });
        for at in 0..2 {
            swap(&mut nodes, at);
            pairs[at].start(&mut nodes[at]);
            swap(&mut nodes, at);
        }
        Self { nodes, pairs, seen: [0; 2] }
    }

    /// Delivers one frame of each session in turn until there is none, and tells each what the other has brought.
    fn run(&mut self) {
        let mut quiet = 0;
        for at in [0, 1].into_iter().cycle() {
            swap(&mut self.nodes, at);
            quiet = if self.pairs[at].run(&mut self.nodes[at], 1) == 1 { 0 } else { quiet + 1 };
            swap(&mut self.nodes, at);
            let effects = &self.pairs[at].saw[1].effects;
            let brought: Vec<Event> = effects[self.seen[at]..].iter().filter_map(brought).collect();
            self.seen[at] = effects.len();
            let other = 1 - at;
            swap(&mut self.nodes, other);
            for event in brought {
                self.pairs[other].tell(&mut self.nodes[other], 1, event);
            }
            swap(&mut self.nodes, other);
            if quiet == 2 {
                return;
            }
        }
    }
}

fn swap(nodes: &mut [[Node; 2]; 2], at: usize) {
    let [first, second] = nodes;
    if at == 1 {
        std::mem::swap(&mut first[1], &mut second[1]);
    }
}

fn brought(effect: &Effect) -> Option<Event> {
    let Effect::Persist { ledger, entries, .. } = effect else { return None };
    Some(Event::Brought { ledger: *ledger, entries: entries.clone() })
}

/// A phone and a custodian with the same ledger of 64 publications in 8 catalogs, and a tablet that lacks all of them.
fn family() -> ([Node; 2], Node, LedgerId) {
    let [phone, tablet] = ["phone", "tablet"].map(|name| Person::new(name, Kind::Patient));
    let custodian = Person::new("custodian", Kind::Custodian);
    let genesis = charter(&[&phone, &tablet], &[&custodian]);
    let mut givers = [phone, custodian].map(Node::new);
    let mut tablet = Node::new(tablet);
    let ledger = tablet.hold(&[genesis.signed().clone()]).unwrap();
    for node in &mut givers {
        node.hold(&[genesis.signed().clone()]).unwrap();
    }
    for catalog in 0..8 {
        let name = format!("catalog {catalog}");
        let epoch = fill(&mut givers[0], ledger, &name, 0);
        for n in 0..8 {
            publish(&mut givers[0], ledger, lane(&name), epoch, 8 * catalog + n, LENGTH);
        }
    }
    meet(&mut givers);
    assert_eq!(count(&givers[1], ledger), 72);
    (givers, tablet, ledger)
}

#[test]
fn each_gives_a_part() {
    let (givers, tablet, ledger) = family();
    let mut between = Between::new(givers, tablet);
    between.run();
    assert_eq!(count(&between.nodes[0][1], ledger), 72);
    assert!(between.pairs.iter().all(|pair| pair.sessions.iter().all(chartmesh_exchange::Session::settled)));
    let gave = [0, 1].map(|at| between.pairs[at].saw[0].bytes());
    let all = 64 * LENGTH;
    assert!(gave.iter().all(|bytes| *bytes > all / 5), "{gave:?} of {all}");
    assert!(gave.iter().sum::<usize>() < all * 3 / 2, "{gave:?} of {all}");
    let back = [0, 1].map(|at| between.pairs[at].saw[1].bytes());
    assert!(back.iter().all(|bytes| *bytes < all / 10), "what comes from one is not given to the other, who has it: {back:?}");
}
