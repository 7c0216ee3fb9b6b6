//! The caller: sees to it that there is a session with everybody who can be reached, soon after they can be; and that they learn where this node is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use chartmesh_identity::EndpointKey;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    api::ApiError,
    core::Core,
    net::{Net, Route},
    node::Node,
    running::CALL_WAIT,
};

/// Calls at a time.
const CALLS: usize = 32;
/// How often it is looked who is to be called.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after the first call.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two calls to a peer that was there lately: an outage is hoped to end, and it is to be noticed at once when it does.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two calls to one that was not.
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// How long a peer may take to show its card, beside some round trips, the first time that it is called, and when it is called anew. After that it has as long as it takes: it may be busy.
const SHOWS_CARD: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// What is lately.
const LATELY: Duration = Duration::from_secs(600);

/// When peers are to be called next.
#[derive(Default)]
struct Pauses(BTreeMap<EndpointKey, Pause>);

struct Pause {
    next: Instant,
    length: Duration,
    /// When the peer was last there, or when it was first to be called.
    seen: Instant,
}

impl Pauses {
    fn due(&self, peer: &EndpointKey) -> Option<Instant> {
        self.0.get(peer).map(|pause| pause.next)
    }

    /// There is a session.
    fn is_there(&mut self, peer: EndpointKey, now: Instant) {
        let pause = self.0.entry(peer).or_insert(Pause { next: now, length: FIRST_PAUSE, seen: now });
        (pause.length, pause.seen) = (FIRST_PAUSE, now);
    }

    /// A call has ended.
    fn called(&mut self, peer: EndpointKey, answered: bool, now: Instant) {
        let pause = self.0.entry(peer).or_insert(Pause { next: now, length: FIRST_PAUSE / 2, seen: now });
        if answered {
            (pause.length, pause.seen) = (FIRST_PAUSE, now);
        } else {
            let longest = if now.saturating_duration_since(pause.seen) < LATELY { SHORT_PAUSE } else { LONG_PAUSE };
            pause.length = (pause.length * 2).min(longest);
        }
        pause.next = now + pause.length;
    }

    /// Whatever kept peers from answering may be over.
    fn forget(&mut self, now: Instant) {
        for pause in self.0.values_mut() {
            (pause.next, pause.length) = (now, FIRST_PAUSE);
        }
    }
}

/// Calls everybody without a session, side by side: contacts before guests, those who have waited longest first.
pub(crate) async fn call_peers(node: Node, net: Arc<Net>) {
    let mut pauses = Pauses::default();
    let mut calls: JoinSet<(Vec<Route>, bool)> = JoinSet::new();
    let mut called: BTreeSet<EndpointKey> = BTreeSet::new();
    loop {
        // A connection goes on sending to where its peer was, and new ones beside it do as well: only without it is the peer called where it is now.
        node.with(|core| std::mem::take(&mut core.sessions.left)).iter().for_each(|(peer, left)| net.leave(peer, left));
        let now = Instant::now();
        let mut due = Vec::new();
        let callable: Vec<Vec<Route>> = node.callable().into_iter().map(|(_, routes)| routes).collect();
        let known: BTreeSet<EndpointKey> = callable.iter().flatten().map(|route| route.endpoint).collect();
        let guests = node.with(|core| core.sessions.guests()).into_iter().filter(|guest| !known.contains(&guest.endpoint));
        for (guest, routes) in callable.into_iter().map(|routes| (false, routes)).chain(guests.map(|route| (true, vec![route]))) {
            if node.with(|core| routes.iter().any(|route| core.sessions.is_up(&route.endpoint))) {
                routes.iter().for_each(|route| pauses.is_there(route.endpoint, now));
            } else if !routes.iter().any(|route| called.contains(&route.endpoint)) {
                due.push((guest, routes.iter().filter_map(|route| pauses.due(&route.endpoint)).max(), routes));
            }
        }
        due.retain(|(_, when, _)| when.is_none_or(|when| when <= now));
        due.sort_by_key(|(guest, when, _)| (*guest, *when));
        for (.., routes) in due.into_iter().take(CALLS.saturating_sub(calls.len())) {
            called.extend(routes.iter().map(|route| route.endpoint));
            let (node, net) = (node.clone(), net.clone());
            calls.spawn(async move {
                let called = node.reach(&net, &routes).await;
                if let Err(error) = &called {
                    tracing::debug!(%error, "a call came to nothing");
                }
                (routes, called.is_ok())
            });
        }
        tokio::select! {
            () = node.0.signals.moved.notified() => pauses.forget(Instant::now()),
            Some(ended) = calls.join_next() => if let Ok((routes, answered)) = ended {
                for route in &routes {
                    called.remove(&route.endpoint);
                    pauses.called(route.endpoint, answered, Instant::now());
                }
            },
            () = node.0.signals.dial.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

impl Node {
    /// Calls a peer until it shows its card. What is lost of a connection's first packets takes seconds to come again; another connection may not lose them.
    async fn reach(&self, net: &Net, routes: &[Route]) -> Result<(), ApiError> {
        for wait in SHOWS_CARD {
            let (id, endpoint) = self.call(net, routes, CALL_WAIT).await?;
            let trips = net.path(&endpoint).map_or(Duration::ZERO, |path| 3 * path.rtt);
            // It may have called as well. Then neither call is given up here: the peer may have let go of the one for the other.
            let has_met = |core: &Core| core.sessions.slot(id).is_none() || core.sessions.met().any(|(_, _, slot)| slot.remote() == endpoint);
            // Whether it comes in time or late is one: what counts is how it is then.
            let _ = timeout(wait + trips, self.until(|core| has_met(core))).await;
            let is_over = self.with(|core| {
                let has_met = has_met(core);
                if !has_met {
                    core.give_up(id);
                }
                has_met
            });
            if is_over {
                return Ok(());
            }
        }
        self.call(net, routes, CALL_WAIT).await.map(drop)
    }
}

/// Puts this node's addresses on its card when they change, which shows them to peers. When one of its own is gone, what is under way in connections from there may take long to arrive, or may
/// not: whoever can be called is called anew. With the others the old connection has to do, until they call; if it ends before, they are called where it came from.
pub(crate) async fn follow_addresses(node: Node, net: Arc<Net>) {
    let mut addresses = net.addresses();
    let mut own = own_among(&addresses);
    loop {
        addresses = net.moved(&addresses).await;
        if addresses.is_empty() {
            // Without a network; what was true may be so again.
            continue;
        }
        let now = own_among(&addresses);
        let callable = node.callable().into_iter().flat_map(|(_, routes)| routes).map(|route| route.endpoint).collect();
        let told = node.with(|core| {
            if !own.is_subset(&now) {
                core.renew_all(&callable, |peer| net.path(peer).and_then(|path| path.back(*peer)));
            }
            let relay = core.replica.me.card.contact.relay.clone();
            core.set_contact(addresses.iter().map(ToString::to_string).collect(), relay)
        });
        own = now;
        if let Err(error) = told {
            tracing::warn!(%error, "a new address could not be noted");
        }
        node.0.signals.moved.notify_one();
    }
}

/// Those that this machine has itself, other than a router that it is seen behind.
fn own_among(addresses: &[SocketAddr]) -> BTreeSet<IpAddr> {
    addresses.iter().map(SocketAddr::ip).filter(|address| UdpSocket::bind((*address, 0)).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::Kind;

    use super::*;
    use crate::{home::Home, net::ALPN, setup};

    const WAIT: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_shows_no_card_is_called_anew() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().join("home"));
        setup::init(&home, Kind::Patient, "Maria", None).unwrap();
        let node = Node::open(&home, None).await.unwrap();
        node.start_network(Some("127.0.0.1:0".parse().unwrap()), false).await.unwrap();
        let builder = iroh::Endpoint::builder(iroh::endpoint::presets::Minimal).alpns(vec![ALPN.to_vec()]);
        let silent = builder.clear_ip_transports().bind_addr(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().bind().await.unwrap();
        let route = Route { endpoint: EndpointKey::new(*silent.id().as_bytes()), addresses: silent.bound_sockets(), relay: None };
        let net = node.net().await.unwrap();
        let answering = async {
            let mut calls = Vec::new();
            while calls.len() <= SHOWS_CARD.len() {
                // On a busy machine it may be called twice at a time: one of them is used.
                if let Ok(call) = silent.accept().await.unwrap().await
                    && let Ok(link) = call.accept_bi().await
                {
                    calls.push((call, link));
                }
            }
            for (call, _) in &calls[..SHOWS_CARD.len()] {
                call.closed().await;
            }
            calls
        };
        let (called, calls) = timeout(WAIT, async { tokio::join!(node.reach(&net, std::slice::from_ref(&route)), answering) }).await.unwrap();
        called.unwrap();
        assert_eq!(calls[SHOWS_CARD.len()].0.close_reason(), None, "the last may answer late");
        assert!(node.with(|core| core.sessions.is_up(&route.endpoint)));
        drop(net);
        node.stop().await.unwrap();
    }

    #[test]
    fn who_was_there_lately_is_called_often_and_others_ever_more_seldom() {
        let (peer, begun) = (EndpointKey::new([1; 32]), Instant::now());
        let mut pauses = Pauses::default();
        let mut now = begun;
        let mut longest = Duration::ZERO;
        while now < begun + LATELY {
            pauses.called(peer, false, now);
            let next = pauses.due(&peer).unwrap();
            longest = longest.max(next - now);
            now = next + CALL_WAIT;
        }
        assert_eq!(longest, SHORT_PAUSE);
        for _ in 0..10 {
            pauses.called(peer, false, now);
            now = pauses.due(&peer).unwrap() + CALL_WAIT;
        }
        assert_eq!(pauses.due(&peer).unwrap() + CALL_WAIT, now);
        pauses.called(peer, false, now);
        assert_eq!(pauses.due(&peer).unwrap() - now, LONG_PAUSE);

        pauses.forget(now);
        assert_eq!(pauses.due(&peer).unwrap(), now, "on a new network everybody is called at once");
        pauses.called(peer, true, now);
        pauses.is_there(peer, now + LATELY);
        now += LATELY + Duration::from_secs(60);
        for _ in 0..5 {
            pauses.called(peer, false, now);
        }
        assert_eq!(pauses.due(&peer).unwrap() - now, SHORT_PAUSE, "it was there until a minute ago");
    }

    #[test]
    fn only_addresses_of_this_machine_are_its_own() {
        let here: SocketAddr = "127.0.0.1:7117".parse().unwrap();
        let elsewhere: SocketAddr = "198.51.100.1:7117".parse().unwrap();
        assert_eq!(own_among(&[here, elsewhere]), BTreeSet::from([here.ip()]));
    }
}
