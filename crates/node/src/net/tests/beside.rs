//! Frames on streams of their own.

use super::*;

#[tokio::test]
async fn frames_beside_the_others_arrive_whatever_waits() {
    let (alice, mut bob) = (node(9, List::new(&[])).await, node(10, List::new(&[])).await);
    let link = alice.net.connect(&bob.route(), WAIT).await.unwrap();
    let connection = alice.net.connections.newest(&key(10)).unwrap();
    let (mut send, _recv) = link.split();
    send.send(b"never read").await.unwrap();
    let (_bob_send, bob_recv) = bob.links.recv().await.unwrap().split();
    // One that never ends, and one that is too long, are in nobody's way.
    let mut endless = connection.open_uni().await.unwrap();
    endless.write_all(b"and").await.unwrap();
    let beside = send.beside();
    let (heard, mut frames) = mpsc::unbounded_channel();
    let saying = async {
        beside.send(&[7; (64 << 10) + 1]).await.unwrap();
        for n in 0..20 {
            beside.send(&[n]).await.unwrap();
        }
        let mut got = BTreeSet::new();
        while got.len() < 20 {
            got.insert(frames.recv().await.unwrap());
        }
        assert_eq!(got, (0..20).map(|n| vec![n]).collect());
        // Its end is the end of the listening.
        connection.close(0u32.into(), b"");
    };
    let of_bob = bob_recv.beside();
    let hearing = of_bob.receive(|frame| heard.send(frame).unwrap());
    tokio::time::timeout(WAIT, async { tokio::join!(saying, hearing) }).await.unwrap();
    alice.end().await;
    bob.end().await;
}
