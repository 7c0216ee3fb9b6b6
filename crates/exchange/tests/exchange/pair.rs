//! Two nodes and one session between them, frame by frame.

use std::collections::VecDeque;

use chartmesh_exchange::{
    Closing, Effect, Event, Frame, Options, Session, Side,
    sim::{Draft, Node, Person, charter, key, lane, recipient},
};
use chartmesh_identity::{BlobHash, EntryHash, GrantId, Kind, LaneId, LedgerId, PartyKey, Signed};
use chartmesh_ledger::{Action, Blob, Claim};

pub(crate) const NOW: i64 = 1_700_000_000;

/// What one side saw and said.
#[derive(Default)]
pub(crate) struct Saw {
    pub(crate) effects: Vec<Effect>,
    pub(crate) sent: Vec<Vec<u8>>,
}

impl Saw {
    pub(crate) fn bytes(&self) -> usize {
        self.sent.iter().map(Vec::len).sum()
    }

    pub(crate) fn frames(&self) -> Vec<&'static str> {
        self.sent.iter().map(|bytes| Frame::decode(bytes).map_or("nonsense", |frame| frame.name())).collect()
    }
}

/// A session between two nodes.
pub(crate) struct Pair {
    pub(crate) sessions: [Session; 2],
    pub(crate) saw: [Saw; 2],
    inbox: [VecDeque<Vec<u8>>; 2],
    /// How a challenge is answered.
    pub(crate) root: Option<String>,
    /// Added to the nonce that a claim signs.
    pub(crate) stale_nonce: bool,
    pub(crate) fetches: bool,
}

impl Pair {
    pub(crate) fn new(nodes: &[Node; 2], options: Options) -> Self {
        let session = |side, other: usize, nonce, options| Session::new(side, nodes[other].person.endpoint, [nonce; 32], options);
        let sessions = [session(Side::Initiator, 1, 1, options), session(Side::Responder, 0, 2, Options::default())];
        Self { sessions, saw: [Saw::default(), Saw::default()], inbox: [VecDeque::new(), VecDeque::new()], root: None, stale_nonce: false, fetches: true }
    }

    pub(crate) fn start(&mut self, nodes: &mut [Node; 2]) {
        for side in 0..2 {
            let effects = self.sessions[side].start(&nodes[side].replica, NOW);
            self.carry_out(nodes, side, effects);
        }
    }

    pub(crate) fn tell(&mut self, nodes: &mut [Node; 2], side: usize, event: Event) {
        let effects = self.sessions[side].handle(&mut nodes[side].replica, event, NOW);
        self.carry_out(nodes, side, effects);
    }

    /// Delivers so many frames, or all. How many.
    pub(crate) fn run(&mut self, nodes: &mut [Node; 2], most: usize) -> usize {
        let mut done = 0;
        while done < most {
            let Some(side) = (0..2).find(|side| !self.inbox[*side].is_empty()) else { break };
            if let Some(bytes) = self.inbox[side].pop_front() {
                done += 1;
                self.tell(nodes, side, Event::Frame(bytes));
            }
        }
        done
    }

    fn carry_out(&mut self, nodes: &mut [Node; 2], side: usize, effects: Vec<Effect>) {
        for effect in effects {
            match &effect {
                Effect::Send(bytes) => {
                    self.saw[side].sent.push(bytes.clone());
                    self.inbox[1 - side].push_back(bytes.clone());
                }
                Effect::Persist { ledger, charters, entries, .. } => {
                    nodes[side].persist(*ledger, charters, entries);
                    if self.fetches {
                        self.tell(nodes, side, Event::Pending { blobs: 0 });
                    }
                }
                Effect::Challenge { responder, nonce } => {
                    if let Some(root) = self.root.as_deref().map(key) {
                        let mut nonce = *nonce;
                        nonce[0] ^= u8::from(self.stale_nonce);
                        let claim = Claim { root: root.root(), card: nodes[side].person.card.signed().clone(), responder: *responder, nonce };
                        self.tell(nodes, side, Event::Claim(Signed::sign(claim, &root).signed().clone()));
                    }
                }
                _ => {}
            }
            self.saw[side].effects.push(effect);
        }
    }
}

/// Why a side ended the session, if it did.
pub(crate) fn closing(pair: &Pair, side: usize) -> Option<&Closing> {
    pair.saw[side].effects.iter().find_map(|effect| if let Effect::Close { reason } = effect { Some(reason) } else { None })
}

/// One whole session.
pub(crate) fn meet(nodes: &mut [Node; 2]) -> Pair {
    meet_for(nodes, usize::MAX)
}

/// A session that breaks after so many frames.
pub(crate) fn meet_for(nodes: &mut [Node; 2], most: usize) -> Pair {
    let mut pair = Pair::new(nodes, Options::default());
    pair.start(nodes);
    pair.run(nodes, most);
    pair
}

/// A phone and a custodian that hold the same new ledger.
pub(crate) fn phone_and_custodian() -> ([Node; 2], LedgerId) {
    let (phone, custodian) = (Person::new("phone", Kind::Patient), Person::new("custodian", Kind::Custodian));
    let genesis = charter(&[&phone], &[&custodian]);
    let mut nodes = [Node::new(phone), Node::new(custodian)];
    let ledgers = nodes.each_mut().map(|node| node.hold(&[genesis.signed().clone()]).unwrap());
    (nodes, ledgers[0])
}

pub(crate) fn write(node: &mut Node, ledger: LedgerId, draft: Draft) -> EntryHash {
    let entry = node.sign(ledger, draft, NOW).unwrap();
    let hash = node.add(ledger, entry).unwrap();
    node.persist(ledger, &[], &[hash]);
    hash
}

/// An epoch and so many publications in a catalog.
pub(crate) fn fill(node: &mut Node, ledger: LedgerId, catalog: &str, count: u64) -> EntryHash {
    let lane = lane(catalog);
    let past = node.replica.ledgers[&ledger].fence(&lane);
    let epoch = Action::Epoch { recipient: recipient(catalog), supersedes: Vec::new(), covers: Vec::new(), past };
    let epoch = write(node, ledger, Draft::new(lane, epoch));
    for n in 0..count {
        publish(node, ledger, lane, epoch, n, 40);
    }
    epoch
}

pub(crate) fn publish(node: &mut Node, ledger: LedgerId, lane: LaneId, epoch: EntryHash, n: u64, length: usize) -> EntryHash {
    let documents = vec![Blob { hash: BlobHash::of(&n.to_be_bytes()), length: 1 }];
    let draft = Draft::new(lane, Action::Publish { documents });
    write(node, ledger, Draft { epoch: Some(epoch), body: Some(vec![5; length]), ..draft })
}

/// A grant of one catalog, and the lane of the circle.
pub(crate) fn grant(node: &mut Node, ledger: LedgerId, party: PartyKey, epoch: EntryHash) -> (GrantId, LaneId) {
    let (id, circle) = (GrantId::new([3; 16]), chartmesh_exchange::sim::circle(&party));
    write(node, ledger, Draft::new(circle, Action::Grant { id, party, until: None, max_age: 1000 }));
    write(node, ledger, Draft::new(circle, Action::Envelope { grant: id, epochs: vec![epoch], documents: Vec::new(), catalogs: Vec::new() }));
    (id, circle)
}

pub(crate) fn count(node: &Node, ledger: LedgerId) -> usize {
    node.replica.ledgers.get(&ledger).map_or(0, chartmesh_ledger::Ledger::len)
}
