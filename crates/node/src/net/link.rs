//! A link: one QUIC connection whose first bidirectional stream carries frames; on the others blobs are asked for (`serve.rs`), and have to stand back. It carries the bytes of protocol.md "Replication" and knows nothing of what they mean.
//!
//! On the stream: one byte from the initiator (the framing's version), then in both directions frames of a `u32` length, big endian, and as many bytes, at most 4 MiB. The
//! length `0xffff_ffff` announces the sender's close: a `u32` code and a reason. It travels behind the last frame, so whoever reads it has read everything; it answers by closing the
//! connection, for which the closer waits, at most [`CLOSE_WAIT`]. So a last frame arrives, which a bare QUIC close does not promise.
//!
//! A frame that must arrive although others were lost may also go on a stream of its own, in one direction, which it fills ([`Beside`]): what is lost of a stream is sent again only when something later is acknowledged.
//!
//! Dropping both halves without `close` or `finish` ends the connection at once, and frames on their way may be lost. No task runs here and nothing is buffered beyond QUIC's windows: a
//! sender waits for a slow reader.

use std::{sync::Arc, time::Duration};

use chartmesh_identity::EndpointKey;
use iroh::endpoint::{Connection, ReadExactError, RecvStream, SendStream, VarInt};
use tokio::{task::JoinSet, time::timeout};

use super::error::NetError;

/// Largest frame, in bytes.
pub const MAX_FRAME: usize = 4 << 20;
/// Largest frame on a stream of its own, in bytes.
const MAX_BESIDE: usize = 64 << 10;
/// How long a closing side waits for the peer to have read everything.
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How long the first stream of a connection may take.
const OPEN_WAIT: Duration = Duration::from_secs(10);

const VERSION: u8 = 1;
const CLOSE: u32 = u32::MAX;
const MAX_REASON: usize = 256;
const GONE: VarInt = VarInt::from_u32(0);

/// Frames go before blobs, which have the priority 0.
const FRAMES_FIRST: i32 = 1;

/// A connection that ends when nobody holds the link any more, whoever still serves blobs over it.
#[derive(Debug)]
struct Held(Connection);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.close(GONE, b"");
    }
}

/// A connection to a peer, ready for frames.
#[derive(Debug)]
pub struct Link {
    held: Arc<Held>,
    remote: EndpointKey,
    initiator: bool,
    send: SendStream,
    recv: RecvStream,
}

impl Link {
    pub(super) async fn open(connection: Connection) -> Result<Self, NetError> {
        let opened = async {
            let (mut send, recv) = connection.open_bi().await.map_err(NetError::lost)?;
            send.write_all(&[VERSION]).await.map_err(NetError::lost)?;
            Ok((send, recv))
        };
        let (send, recv) = timeout(OPEN_WAIT, opened).await.map_err(|_| NetError::Lost("the peer takes no stream".into()))??;
        Self::over(connection, true, send, recv)
    }

    pub(super) async fn accept(connection: Connection) -> Result<Self, NetError> {
        let opened = async {
            let (send, mut recv) = connection.accept_bi().await.map_err(NetError::lost)?;
            let mut version = [0];
            recv.read_exact(&mut version).await.map_err(NetError::lost)?;
            if version != [VERSION] {
                return Err(NetError::Lost("the peer uses another framing".into()));
            }
            Ok((send, recv))
        };
        let (send, recv) = timeout(OPEN_WAIT, opened).await.map_err(|_| NetError::Lost("the peer opened no stream".into()))??;
        Self::over(connection, false, send, recv)
    }

    fn over(connection: Connection, initiator: bool, send: SendStream, recv: RecvStream) -> Result<Self, NetError> {
        send.set_priority(FRAMES_FIRST).map_err(NetError::lost)?;
        let remote = EndpointKey::new(*connection.remote_id().as_bytes());
        Ok(Self { held: Arc::new(Held(connection)), remote, initiator, send, recv })
    }

    /// The peer, proved by the handshake.
    pub fn remote(&self) -> EndpointKey {
        self.remote
    }

    /// Whether this side called.
    pub fn initiator(&self) -> bool {
        self.initiator
    }

    /// The two directions, to be used side by side.
    pub fn split(self) -> (LinkSender, LinkReceiver) {
        let receiver = LinkReceiver { held: self.held.clone(), recv: self.recv, ended: false };
        (LinkSender { held: self.held, send: self.send }, receiver)
    }
}

/// The outgoing direction of a link.
#[derive(Debug)]
pub struct LinkSender {
    held: Arc<Held>,
    send: SendStream,
}

impl LinkSender {
    /// Sends a frame of at most [`MAX_FRAME`] bytes; waits while the peer is slow. After an error, or when cancelled, the link is of no more use.
    pub async fn send(&mut self, frame: &[u8]) -> Result<(), NetError> {
        let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= MAX_FRAME).ok_or(NetError::FrameTooLarge(frame.len() as u64))?;
        self.send.write_all(&length.to_be_bytes()).await.map_err(NetError::lost)?;
        self.send.write_all(frame).await.map_err(NetError::lost)
    }

    /// Where frames go beside the others.
    pub fn beside(&self) -> Beside {
        Beside(self.held.0.clone())
    }

    /// Ends the link after everything sent has been read by the peer: [`close`](Self::close) with code 0.
    pub async fn finish(self) {
        self.close(0, "").await;
    }

    /// Ends the link at once, if it has not ended. What is under way is lost.
    pub fn abort(self) {
        // A second end would take the place of the first, and of its reason.
        if self.held.0.close_reason().is_none() {
            self.held.0.close(GONE, b"");
        }
    }

    /// Ends the link: the peer reads all frames sent before, then `code` and `reason` (cut to 256 bytes). Returns when the peer has read them, or after five seconds.
    pub async fn close(mut self, code: u32, reason: &str) {
        let reason = &reason.as_bytes()[..reason.len().min(MAX_REASON)];
        let said = async {
            self.send.write_all(&CLOSE.to_be_bytes()).await.ok()?;
            self.send.write_all(&code.to_be_bytes()).await.ok()?;
            self.send.write_all(reason).await.ok()?;
            self.send.finish().ok()?;
            Some(self.held.0.closed().await)
        };
        if timeout(CLOSE_WAIT, said).await.is_err() {
            tracing::debug!("a peer did not read to the end of its link");
        }
        self.held.0.close(VarInt::from_u32(code), reason);
    }
}

/// The incoming direction of a link.
#[derive(Debug)]
pub struct LinkReceiver {
    held: Arc<Held>,
    recv: RecvStream,
    ended: bool,
}

impl LinkReceiver {
    /// The next frame; `None` after the peer finished. A peer's close with another code than 0 is [`NetError::Closed`].
    ///
    /// Not cancel safe: a call dropped midway loses its place in the stream, so one task reads until the end.
    pub async fn recv(&mut self) -> Result<Option<Vec<u8>>, NetError> {
        if self.ended {
            return Ok(None);
        }
        let frame = self.next().await;
        self.ended = !matches!(frame, Ok(Some(_)));
        frame
    }

    /// Where frames come beside the others.
    pub fn beside(&self) -> Beside {
        Beside(self.held.0.clone())
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, NetError> {
        let mut length = [0; 4];
        match self.recv.read_exact(&mut length).await {
            Ok(()) => {}
            Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
            Err(error) => return Err(NetError::lost(error)),
        }
        let length = u32::from_be_bytes(length);
        if length == CLOSE {
            return self.closing().await;
        }
        if length as usize > MAX_FRAME {
            self.held.0.close(VarInt::from_u32(1), b"frame too large");
            return Err(NetError::FrameTooLarge(length.into()));
        }
        // Grows as bytes arrive, so that an announced length costs nobody memory.
        let mut frame = Vec::with_capacity((length as usize).min(64 << 10));
        while frame.len() < length as usize {
            match self.recv.read_chunk(length as usize - frame.len()).await {
                Ok(Some(chunk)) => frame.extend_from_slice(&chunk),
                Ok(None) => return Err(NetError::Lost("the stream ended within a frame".into())),
                Err(error) => return Err(NetError::lost(error)),
            }
        }
        Ok(Some(frame))
    }

    /// Reads the rest of a close, and lets the closer go.
    async fn closing(&mut self) -> Result<Option<Vec<u8>>, NetError> {
        let rest = self.recv.read_to_end(4 + MAX_REASON).await.map_err(NetError::lost)?;
        self.held.0.close(GONE, b"");
        let Some((code, reason)) = rest.split_first_chunk::<4>() else { return Err(NetError::Lost("the peer's close was cut short".into())) };
        match u32::from_be_bytes(*code) {
            0 => Ok(None),
            code => Err(NetError::Closed { code, reason: String::from_utf8_lossy(reason).chars().filter(|c| !c.is_control()).collect() }),
        }
    }
}

/// Streams of one frame each. They end with the connection, and keep nothing open.
#[derive(Debug)]
pub struct Beside(Connection);

impl Beside {
    /// Sends a frame of at most 64 KiB, as far as the peer takes such streams.
    pub async fn send(&self, frame: &[u8]) -> Result<(), NetError> {
        let mut stream = self.0.open_uni().await.map_err(NetError::lost)?;
        // Ahead of what waits.
        stream.set_priority(FRAMES_FIRST + 1).map_err(NetError::lost)?;
        stream.write_all(frame).await.map_err(NetError::lost)?;
        stream.finish().map_err(NetError::lost)
    }

    /// Hands on every frame that comes whole, in any order, until the connection ends.
    pub async fn receive(&self, mut hand_on: impl FnMut(Vec<u8>)) {
        let mut coming = JoinSet::new();
        loop {
            tokio::select! {
                Some(frame) = coming.join_next(), if !coming.is_empty() => if let Ok(Ok(frame)) = frame { hand_on(frame) },
                accepted = self.0.accept_uni() => match accepted {
                    Ok(mut stream) => _ = coming.spawn(async move { stream.read_to_end(MAX_BESIDE).await }),
                    Err(_) => return,
                }
            }
        }
    }
}
