//! Notices a connection on which one side is heard but answers nothing.
//!
//! Who is reached from a new address has to validate it (RFC 9000, sections 8.2 and 9.3). If its challenges are lost, noq-proto 1.4.0 leaves the address unvalidated for good: it sends neither
//! acknowledgements nor streams there any more, but signs of life, which keep both sides waiting. Either side can tell: one has asked, again and again, and the other has acknowledged nothing.

use std::time::Duration;

use iroh::endpoint::{Connection, FrameStats};
use tokio::time::{Instant, interval};

use super::endpoint::SILENCE;

/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Frames that have to be acknowledged, at least so many of which were not.
const ASKED: u64 = 3;

/// Comes when nothing was acknowledged for [`SILENCE`] on either side, though it should have been.
pub(super) async fn half_dead(connection: &Connection) {
    let mut looks = interval(LOOK);
    let (mut this, mut peer) = (Waiting::new(), Waiting::new());
    loop {
        let now = looks.tick().await;
        let stats = connection.stats();
        let unanswered = this.is_in_vain(asked(&stats.frame_tx), answered(&stats.frame_rx), now);
        let mute = peer.is_in_vain(asked(&stats.frame_rx), answered(&stats.frame_tx), now);
        if unanswered || mute {
            tracing::info!(unanswered, mute, "a connection is half dead and is ended");
            return;
        }
    }
}

/// Since when a side waits for an acknowledgement.
struct Waiting {
    asked: u64,
    answered: u64,
    since: Instant,
}

impl Waiting {
    fn new() -> Self {
        Self { asked: 0, answered: 0, since: Instant::now() }
    }

    fn is_in_vain(&mut self, asked: u64, answered: u64, now: Instant) -> bool {
        if answered != self.answered || asked == self.asked {
            *self = Self { asked, answered, since: now };
        }
        asked - self.asked >= ASKED && now - self.since >= SILENCE
    }
}

/// Frames that have to be acknowledged, of the kinds that a quiet or a stuck connection sends.
fn asked(frames: &FrameStats) -> u64 {
    frames.ping + frames.immediate_ack + frames.stream
}

fn answered(frames: &FrameStats) -> u64 {
    frames.acks + frames.path_acks
}
