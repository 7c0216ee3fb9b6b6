//! Notices a connection on which this side can no longer answer.
//!
//! Who is reached from a new address has to validate it (RFC 9000, sections 8.2 and 9.3). If its challenges are lost, noq-proto 1.4.0 leaves the address unvalidated for good: it sends neither
//! acknowledgements nor streams there any more, but signs of life, which keep both sides waiting. No other connection hears what has to be acknowledged and acknowledges none of it.

use std::time::Duration;

use iroh::endpoint::{Connection, FrameStats};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a validation may take that succeeds: three times noq's probe timeout, some 4 s where a round trip takes half a second.
const VALIDATION: Duration = Duration::from_secs(4);
/// Frames that have to be acknowledged, so many of which were not.
const ASKED: u64 = 2;

/// Comes when the peer was heard for [`VALIDATION`], and nothing of it acknowledged.
pub(super) async fn mute(connection: &Connection) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut asked, mut answered, mut since) = (0, 0, Instant::now());
    loop {
        let now = looks.tick().await;
        let stats = connection.stats();
        let (heard, said) = (to_be_answered(&stats.frame_rx), stats.frame_tx.acks + stats.frame_tx.path_acks);
        if said != answered {
            (asked, answered) = (heard, said);
        }
        if heard - asked < ASKED {
            since = now;
        } else if now - since >= VALIDATION {
            tracing::info!("a connection has fallen mute and is ended");
            return;
        }
    }
}

/// Frames that have to be acknowledged, of the kinds that a quiet or a stuck connection carries.
fn to_be_answered(frames: &FrameStats) -> u64 {
    frames.ping + frames.immediate_ack + frames.stream
}
