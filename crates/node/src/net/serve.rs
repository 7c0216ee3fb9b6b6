//! The serving rule (protocol.md "Replication") at the door: what a peer gets of the blob store.
//!
//! iroh-blobs serves anybody by default; here its wire protocol is answered by hand, so that the [`Gate`] is asked for the connection, for every blob at the moment it is its turn, and again
//! after every megabyte sent. Answered are: get of one blob, and get-many. Refused are, by a reset: hash sequences (a blob's content would name other blobs), observe, push. A blob that is not here
//! and one that the peer may not have look the same: the response ends where it would begin (a reset would take away the blobs before it, too).
//!
//! Blobs go over the connection of the link, a stream each request: where the one arrives the other does. Either side asks. Tasks: one per stream, at most 33, owned by the connection's task and ended with it. They hold a few leaves of 16 KiB; a peer that does not read for 30 s is dropped.

use std::{sync::Arc, time::Duration};

use chartmesh_identity::EndpointKey;
use iroh::endpoint::{Connection, RecvStream, SendStream};
use iroh_blobs::{
    Hash,
    api::{Store, blobs::EncodedItem},
    protocol::{ChunkRanges, ERR_LIMIT, ERR_PERMISSION, Request},
};
use n0_future::StreamExt;
use tokio::{task::JoinSet, time::timeout};

use super::{Gate, blobs::to_id, endpoint};

/// How long a request may take to arrive.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// How long a peer may leave its window full.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// After so many bytes the gate is asked again.
const ASK_AGAIN: u64 = 1 << 20;

/// How a response ends early. The peer is told no more than this.
enum End {
    /// Where a blob would begin or go on: not here, or not for this peer.
    NotGiven,
    /// No such requests.
    Refused,
    /// The peer takes too long, or is gone.
    Slow,
}

/// Answers a peer's requests until the connection ends.
pub(super) async fn serve(connection: &Connection, store: &Store, gate: &Arc<dyn Gate>) {
    let peer = endpoint::remote(connection);
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = streams.join_next(), if !streams.is_empty() => {}
            accepted = connection.accept_bi() => match accepted {
                Ok((send, recv)) => { streams.spawn(answer(send, recv, peer, store.clone(), gate.clone())); }
                Err(_) => return,
            }
        }
    }
}

async fn answer(mut send: SendStream, mut recv: RecvStream, peer: EndpointKey, store: Store, gate: Arc<dyn Gate>) {
    let request = timeout(REQUEST_WAIT, Request::read_async(&mut recv)).await;
    let answered = match request {
        Ok(Ok((request, _))) => respond(&mut send, request, peer, &store, &*gate).await,
        Ok(Err(_)) => Err(End::Refused),
        Err(_) => Err(End::Slow),
    };
    // Neither can fail but for a stream that is gone already.
    let _ = match answered {
        Ok(()) | Err(End::NotGiven) => send.finish(),
        Err(End::Refused) => recv.stop(ERR_PERMISSION).and(send.reset(ERR_PERMISSION)),
        Err(End::Slow) => recv.stop(ERR_LIMIT).and(send.reset(ERR_LIMIT)),
    };
}

async fn respond(send: &mut SendStream, request: Request, peer: EndpointKey, store: &Store, gate: &dyn Gate) -> Result<(), End> {
    match request {
        Request::Get(request) => {
            let Some((0, ranges)) = request.ranges.as_single() else { return Err(End::Refused) };
            send_blob(send, request.hash, ranges.clone(), peer, store, gate).await
        }
        Request::GetMany(request) => {
            for (index, ranges) in request.ranges.iter_non_empty_infinite() {
                let Some(hash) = usize::try_from(index).ok().and_then(|index| request.hashes.get(index)) else { break };
                send_blob(send, *hash, ranges.clone(), peer, store, gate).await?;
            }
            Ok(())
        }
        Request::Observe(_) | Request::Push(_) => Err(End::Refused),
        Request::Slot2 | Request::Slot3 | Request::Slot4 | Request::Slot5 | Request::Slot6 | Request::Slot7 => Err(End::Refused),
    }
}

/// Sends a blob's size, and the tree and leaves of the ranges (the response format of iroh-blobs).
async fn send_blob(send: &mut SendStream, hash: Hash, ranges: ChunkRanges, peer: EndpointKey, store: &Store, gate: &dyn Gate) -> Result<(), End> {
    let blob = to_id(hash);
    let allowed = || if gate.admits(&peer) && gate.serves(&peer, &blob) { Ok(()) } else { Err(End::NotGiven) };
    allowed()?;
    let mut items = std::pin::pin!(store.export_bao(hash, ranges).stream());
    let mut unasked = 0;
    while let Some(item) = items.next().await {
        let written = match item {
            EncodedItem::Size(size) => timeout(WRITE_WAIT, send.write_all(&size.to_le_bytes())).await,
            EncodedItem::Parent(parent) => {
                let mut pair = [0; 64];
                pair[..32].copy_from_slice(parent.pair.0.as_bytes());
                pair[32..].copy_from_slice(parent.pair.1.as_bytes());
                timeout(WRITE_WAIT, send.write_all(&pair)).await
            }
            EncodedItem::Leaf(leaf) => {
                unasked += leaf.data.len() as u64;
                if unasked >= ASK_AGAIN {
                    allowed()?;
                    unasked = 0;
                }
                timeout(WRITE_WAIT, send.write_chunk(leaf.data)).await
            }
            EncodedItem::Done => return Ok(()),
            EncodedItem::Error(_) => return Err(End::NotGiven),
        };
        match written {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(End::Slow),
        }
    }
    Ok(())
}
