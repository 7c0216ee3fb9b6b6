//! What runs while a node is on the network: see the crate's documentation for the tasks.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use chartmesh_exchange::{Event, Side};
use chartmesh_identity::{Card, EndpointKey, Signed, SigningSecret};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    api::ApiError,
    calling, control,
    net::{Beside, Link, LinkReceiver, LinkSender, Net, NetConfig, NetError, Route},
    node::{Door, Node, Ready},
    peers::routes,
    session::{Out, Outbox, Outgoing},
};

/// Links that may wait to be taken.
const WAITING_LINKS: usize = 16;
/// Frames that may wait for a peer to read; more than the exchange ever has under way.
const WAITING_FRAMES: usize = 4096;
/// How often a card goes out beside the other frames, and after what time the next.
const REPEATS: u32 = 4;
const REPEAT_AFTER: Duration = Duration::from_millis(500);
/// How long a call may take.
pub(crate) const CALL_WAIT: Duration = Duration::from_secs(5);
/// How long the last frames of a session may take.
const LAST_FRAMES: Duration = Duration::from_secs(30);
/// How long the end waits for what sessions still have to say.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A network that is up.
pub(crate) struct Running {
    pub(crate) net: Arc<Net>,
    pub(crate) ready: Ready,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Node {
    /// Starts the network; with `stay`, also the control socket and the caller.
    pub(crate) async fn start_network(&self, listen: Option<SocketAddr>, stay: bool) -> Result<Ready, ApiError> {
        let mut running = self.0.running.lock().await;
        if let Some(running) = running.as_ref() {
            return Ok(running.ready.clone());
        }
        let config = self.0.home.config()?;
        let relay = config.relay.clone();
        let (seed, last) = self.with(|core| Ok::<_, ApiError>((zeroize::Zeroizing::new(*core.keys.endpoint.expose()), core.listened()?)))?;
        let net_config = NetConfig { listen, last, relay: config.relay, dns: config.dns, publish: config.publish, mdns: config.mdns };
        let (links, incoming) = mpsc::channel(WAITING_LINKS);
        let door = Arc::new(Door(Arc::downgrade(&self.0)));
        let net = Net::start(&net_config, &seed, self.0.blobs.clone(), door, links).await.map_err(|error| match error {
            NetError::Bind(_) => ApiError::failed(error).advise("--listen names another address and port; another program may use this one"),
            error => ApiError::failed(error),
        })?;
        let net = Arc::new(net);
        let addresses: Vec<String> = net.addresses().iter().map(ToString::to_string).collect();
        self.with(|core| {
            if listen.is_none() {
                core.set_listened(&net.listening())?;
            }
            core.set_contact(addresses.clone(), relay)
        })?;
        let ready = Ready { endpoint: net.endpoint().to_string(), addresses };
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        if stay {
            let listener = control::listen(&self.0.home)?;
            tasks.spawn(until(stopped.clone(), control::answer(self.clone(), listener)));
            tasks.spawn(until(stopped.clone(), calling::call_peers(self.clone(), net.clone())));
            tasks.spawn(until(stopped.clone(), calling::follow_addresses(self.clone(), net.clone())));
        }
        tasks.spawn(until(stopped.clone(), accept(self.clone(), incoming)));
        tasks.spawn(until(stopped.clone(), crate::fetching::fetch(self.clone(), net.clone())));
        tasks.spawn(until(stopped, crate::duties::steward(self.clone())));
        *running = Some(Running { net, ready: ready.clone(), stop, tasks });
        Ok(ready)
    }

    /// Ends what [`Node::start_network`] started; sessions say goodbye.
    pub(crate) async fn stop_network(&self) {
        let Some(mut running) = self.0.running.lock().await.take() else { return };
        self.with(|core| core.leave_all());
        let _ = tokio::time::timeout(LAST_WORDS, self.0.writing.write()).await;
        let _ = running.stop.send(true);
        while running.tasks.join_next().await.is_some() {}
        let mut net = running.net;
        // Readers and callers hold the network for moments only.
        loop {
            match Arc::try_unwrap(net) {
                Ok(last) => return last.shutdown().await,
                Err(held) => {
                    net = held;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Gives a link its session, its reader and its writer. The session's number.
    pub(crate) fn take_link(&self, link: Link, claim: Option<(SigningSecret, Signed<Card>)>) -> u64 {
        let side = if link.initiator() { Side::Initiator } else { Side::Responder };
        let remote = link.remote();
        let (sender, receiver) = link.split();
        let (outbox, outgoing) = Outbox::new(WAITING_FRAMES);
        let nonce = *SigningSecret::generate().expose_seed();
        let id = self.with(|core| core.attach(side, remote, nonce, outbox, claim));
        let writing = self.0.writing.clone();
        tokio::spawn(async move {
            let _part = writing.read_owned().await;
            write(sender, outgoing).await;
        });
        tokio::spawn(read(self.clone(), id, receiver));
        id
    }

    /// Everybody who may be called: contacts, and who serves the ledgers held.
    pub(crate) fn callable(&self) -> Vec<(String, Vec<Route>)> {
        self.with(|core| {
            let own = core.keys.party();
            let blocked: Vec<_> = core.peers.iter().filter(|peer| peer.rival.is_some()).map(crate::peers::Peer::party).collect();
            let mut cards: std::collections::BTreeMap<_, (String, Card)> = std::collections::BTreeMap::new();
            let invited = core.memberships.values().flat_map(|member| &member.nodes).filter_map(|card| Card::read(card.as_bytes()).ok());
            let known = core.peers.iter().map(|peer| peer.card.clone());
            for card in invited.chain(known) {
                let newer = cards.get(&card.profile.party).is_none_or(|(_, held)| held.contact.counter <= card.contact.counter);
                if newer && card.profile.party != own && !blocked.contains(&card.profile.party) {
                    cards.insert(card.profile.party, (card.profile.name.clone(), (*card).clone()));
                }
            }
            cards.into_values().map(|(name, card)| (name, routes(&card))).collect()
        })
    }

    /// Calls a peer at the first of its endpoints that answers. The session's number, and which that is.
    pub(crate) async fn call(&self, net: &Net, routes: &[Route], wait: Duration) -> Result<(u64, EndpointKey), ApiError> {
        let mut last = ApiError::unreachable("no endpoint is known");
        for route in routes {
            match net.connect(route, wait).await {
                Ok(link) => return Ok((self.take_link(link, None), route.endpoint)),
                Err(error) => last = ApiError::unreachable(error),
            }
        }
        Err(last)
    }
}

/// Runs a task until the node stops.
async fn until(mut stopped: watch::Receiver<bool>, task: impl Future<Output = ()>) {
    tokio::select! {
        _ = stopped.changed() => {}
        () = task => {}
    }
}

async fn accept(node: Node, mut incoming: mpsc::Receiver<Link>) {
    while let Some(link) = incoming.recv().await {
        node.take_link(link, None);
    }
}

async fn write(mut sender: LinkSender, outgoing: Outgoing) {
    let Outgoing { mut queue, cut, over } = outgoing;
    let mut beside = JoinSet::new();
    let until_close = async {
        while let Some(out) = queue.recv().await {
            match out {
                Out::Frame(frame) => {
                    if let Err(error) = sender.send(&frame).await {
                        tracing::debug!(%error, "a link broke");
                        return None;
                    }
                }
                Out::Beside(frame) => {
                    // Instead of an earlier one.
                    beside = JoinSet::new();
                    beside.spawn(repeat(sender.beside(), frame));
                }
                Out::Close(reason) => return Some(reason),
            }
        }
        None
    };
    let in_time = async {
        let mut until_close = pin!(until_close);
        tokio::select! {
            close = &mut until_close => close,
            () = over.cancelled() => timeout(LAST_FRAMES, until_close).await.unwrap_or(None),
        }
    };
    let close = tokio::select! {
        () = cut.cancelled() => None,
        close = in_time => close,
    };
    match close {
        None => sender.abort(),
        Some(reason) if reason.is_empty() => sender.finish().await,
        Some(reason) => sender.close(3, &reason).await,
    }
}

/// Sends a frame as often as it takes for one to arrive on a bad line.
async fn repeat(beside: Beside, frame: Vec<u8>) {
    let mut turns = tokio::time::interval(REPEAT_AFTER);
    for _ in 0..REPEATS {
        turns.tick().await;
        if beside.send(&frame).await.is_err() {
            return;
        }
    }
}

async fn read(node: Node, id: u64, mut receiver: LinkReceiver) {
    let beside = receiver.beside();
    let frames = async {
        loop {
            match receiver.recv().await {
                Ok(Some(frame)) => node.with(|core| core.event(id, Event::Frame(frame))),
                Ok(None) => break String::new(),
                Err(error) => break error.to_string(),
            }
        }
    };
    let others = async {
        beside.receive(|frame| node.with(|core| core.beside(id, frame))).await;
        // Why it ended is for the frames' stream to say.
        std::future::pending().await
    };
    let reason = tokio::select! {
        reason = frames => reason,
        reason = others => reason,
    };
    node.with(|core| core.detach(id, &reason));
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::Kind;

    use super::*;
    use crate::{home::Home, setup};

    /// Whoever has heard of a node where it was finds it there when it has been started again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_listens_where_it_listened_last() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().join("home"));
        setup::init(&home, Kind::Patient, "Maria", None).unwrap();
        let mut places = Vec::new();
        // One that it is told of for once changes nothing.
        for listen in [None, Some("127.0.0.1:0".parse().unwrap()), None] {
            let node = Node::open(&home, None).await.unwrap();
            node.start_network(listen, false).await.unwrap();
            places.push(node.with(|core| core.listened()).unwrap());
            node.stop().await.unwrap();
        }
        assert!(!places[0].is_empty());
        assert_eq!(places, [places[0].clone(), places[0].clone(), places[0].clone()]);
    }
}
