//! A peer whose address changes while the answers to it are lost: as behind a NAT that is renumbered, on a bad line.

use std::{io::Write, sync::atomic::AtomicBool};

use iroh::endpoint::ConnectionError;
use tokio::net::UdpSocket;

use super::*;

/// How long everything to the new address is lost: longer than it is challenged.
const LOST: Duration = Duration::from_secs(3);
/// Within this it is over: what a peer that sends signs of life alone would not end.
const NOTICED: Duration = Duration::from_secs(20);

/// What stands between two hosts, and calls from another port once it is told to.
struct Nat {
    inside: SocketAddr,
    renumbered: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Nat {
    /// In front of a server that listens on IPv6, for a client that has IPv4 alone: so neither finds a way around it.
    async fn in_front_of(server: SocketAddr) -> Self {
        let (client, before, after) =
            (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("[::1]:0").await.unwrap(), UdpSocket::bind("[::1]:0").await.unwrap());
        let inside = client.local_addr().unwrap();
        let renumbered = Arc::new(AtomicBool::new(false));
        let is_renumbered = renumbered.clone();
        let task = tokio::spawn(async move {
            let mut caller = None;
            let mut changed: Option<Instant> = None;
            let (mut outward, mut old, mut new) = ([0; 2048], [0; 2048], [0; 2048]);
            loop {
                tokio::select! {
                    Ok((length, from)) = client.recv_from(&mut outward) => {
                        caller = Some(from);
                        if is_renumbered.load(Ordering::SeqCst) {
                            changed.get_or_insert_with(Instant::now);
                        }
                        let socket = if changed.is_some() { &after } else { &before };
                        socket.send_to(&outward[..length], server).await.unwrap();
                    }
                    Ok(length) = before.recv(&mut old) => if let Some(caller) = caller.filter(|_| changed.is_none()) {
                        client.send_to(&old[..length], caller).await.unwrap();
                    },
                    Ok(length) = after.recv(&mut new) => if let Some(caller) = caller.filter(|_| changed.is_some_and(|at| at.elapsed() > LOST)) {
                        client.send_to(&new[..length], caller).await.unwrap();
                    },
                }
            }
        });
        Self { inside, renumbered, task }
    }
}

#[tokio::test]
async fn a_connection_on_which_a_peer_can_no_longer_answer_is_ended_and_the_next_call_works() {
    if UdpSocket::bind("[::1]:0").await.is_err() {
        let _ = writeln!(std::io::stderr(), "skipped: there is no IPv6 here");
        return;
    }
    let mut server = node_with(NetConfig { listen: Some("[::1]:0".parse().unwrap()), ..NetConfig::default() }, 1, List::new(&[])).await;
    let client = node(2, List::new(&[])).await;
    let nat = Nat::in_front_of(server.net.addresses()[0]).await;
    let route = Route { addresses: vec![nat.inside], ..server.route() };
    let (mut to_server, mut from_server) = client.net.connect(&route, WAIT).await.unwrap().split();
    to_server.send(b"before").await.unwrap();
    let (mut to_client, mut from_client) = server.links.recv().await.unwrap().split();
    assert_eq!(from_client.recv().await.unwrap().unwrap(), b"before");

    let seen = server.net.connections.newest(&key(2)).unwrap();
    nat.renumbered.store(true, Ordering::SeqCst);
    to_server.send(b"after").await.unwrap();
    assert_eq!(from_client.recv().await.unwrap().unwrap(), b"after");
    // It would come at once if the server could answer; it must not keep anybody waiting if it cannot.
    to_client.send(b"an answer").await.unwrap();
    let answered = tokio::time::timeout(NOTICED, from_server.recv()).await;
    assert!(matches!(&answered, Ok(Err(NetError::Lost(_)))), "the server was heard, and neither answered nor was left: {answered:?}");

    assert!(matches!(seen.close_reason(), Some(ConnectionError::LocallyClosed)), "the side that is mute ends it");

    let (mut to_server, mut from_server) = client.net.connect(&route, WAIT).await.unwrap().split();
    to_server.send(b"again").await.unwrap();
    let (mut to_client, mut from_client) = server.links.recv().await.unwrap().split();
    assert_eq!(from_client.recv().await.unwrap().unwrap(), b"again");
    to_client.send(b"an answer").await.unwrap();
    assert_eq!(from_server.recv().await.unwrap().unwrap(), b"an answer");
    nat.task.abort();
    client.end().await;
    server.end().await;
}
