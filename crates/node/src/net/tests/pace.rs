//! Sources that give next to nothing, though never nothing for long.

use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};

use super::*;

/// How often a dripping source gives a leaf: a blob of [`LENGTH`] takes it three minutes.
const DRIP: Duration = Duration::from_secs(3);
const LEAF: u64 = 16 << 10;
const LENGTH: u64 = 1 << 20;
/// Less than that, and more than any wait for a source.
const SOON: Duration = Duration::from_secs(45);

/// Stands before a source and hands on what that gives, leaf by leaf. Says when it has begun to.
async fn dripping(seed: u8, source: &Node) -> (Route, UnboundedReceiver<()>) {
    let builder = iroh::Endpoint::builder(iroh::endpoint::presets::Minimal).secret_key(iroh::SecretKey::from_bytes(&[seed; 32]));
    let builder = builder.alpns(vec![endpoint::ALPN.to_vec()]).clear_ip_transports().bind_addr("127.0.0.1:0").unwrap();
    let here = builder.bind().await.unwrap();
    let route = Route { endpoint: key(seed), addresses: here.bound_sockets(), relay: None };
    let behind = endpoint::connect(&here, &source.route(), WAIT).await.unwrap();
    let link = Link::open(behind.clone()).await.unwrap();
    let (said, begun) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let before = here.accept().await.unwrap().await.unwrap();
        let _links = (link, before.accept_bi().await.unwrap());
        while let Ok((mut give, mut asked)) = before.accept_bi().await {
            let request = asked.read_to_end(1 << 20).await.unwrap();
            let (mut ask, mut given) = behind.open_bi().await.unwrap();
            ask.write_all(&request).await.unwrap();
            ask.finish().unwrap();
            let mut drips = tokio::time::interval(DRIP);
            let mut leaf = Vec::new();
            while AsyncReadExt::take(&mut given, LEAF).read_to_end(&mut leaf).await.is_ok_and(|length| length > 0) {
                drips.tick().await;
                if give.write_all(&std::mem::take(&mut leaf)).await.is_err() {
                    break;
                }
                let _ = said.send(());
            }
        }
    });
    (route, begun)
}

#[tokio::test]
async fn what_one_source_drips_another_that_has_it_gives() {
    let (source, sink) = (node(61, List::new(&[key(62), key(63)])).await, node(62, List::new(&[])).await);
    // Something for each worker of both.
    let mut wanted = Vec::new();
    for number in 0..4 {
        wanted.push((source.blobs.put(bytes(number, LENGTH as usize)).await.unwrap(), LENGTH));
    }
    let (drip, mut begun) = dripping(63, &source).await;
    let report = timeout(SOON, sink.fetch(&wanted, &[drip, source.route()])).await.expect("it is not waited for");
    assert_eq!(report.got.len(), wanted.len(), "{:?}", report.failed);
    assert_eq!(begun.try_recv(), Ok(()), "the dripping one had been asked as well");
    source.end().await;
    sink.end().await;
}

/// Another that is asked instead, in vain, costs the one that has it a few seconds.
#[tokio::test]
async fn what_a_slow_source_alone_has_comes() {
    let (source, poor, sink) = (node(67, List::new(&[key(70)])).await, node(68, List::new(&[key(69)])).await, node(69, List::new(&[])).await);
    // More leaves than come before the other is asked.
    let blob = source.blobs.put(bytes(1, 4 * LEAF as usize)).await.unwrap();
    let (drip, mut begun) = dripping(70, &source).await;
    let report = timeout(SOON, sink.fetch(&[(blob, 4 * LEAF)], &[drip, poor.route()])).await.expect("it comes, slowly");
    assert_eq!(report.got, [blob], "{:?}", report.failed);
    assert_eq!(begun.recv().await, Some(()));
    for node in [source, poor, sink] {
        node.end().await;
    }
}

#[tokio::test]
async fn a_fetch_is_over_when_its_caller_has_waited_enough() {
    let (source, sink) = (node(64, List::new(&[key(66)])).await, node(65, List::new(&[])).await);
    let blob = source.blobs.put(bytes(1, LENGTH as usize)).await.unwrap();
    let (drip, mut begun) = dripping(66, &source).await;
    let _link = sink.net.connect(&drip, WAIT).await.unwrap();
    let (from, pace) = ([Source { endpoint: drip.endpoint, gone: CancellationToken::new() }], Pace::default());
    let enough = async {
        while pace.moved.load(Ordering::SeqCst) == 0 {
            begun.recv().await;
        }
        pace.cut.cancel();
    };
    let wanted = [(blob, LENGTH)];
    let fetch = sink.net.fetch(&sink.blobs, &wanted, &from, &pace);
    let (report, ()) = timeout(SOON, async { tokio::join!(fetch, enough) }).await.expect("it is over");
    assert_eq!((report.got.len(), report.failed.len(), report.refused.len()), (0, 1, 0), "nobody has refused it");
    source.end().await;
    sink.end().await;
}
