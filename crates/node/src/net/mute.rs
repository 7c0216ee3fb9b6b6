//! Notices a connection on which this side can no longer answer.
//!
//! Who is reached from a new address has to validate it (RFC 9000, sections 8.2 and 9.3). If its challenges are lost, noq-proto 1.4.0 leaves the address unvalidated for good: it sends neither
//! acknowledgements nor streams there any more, but signs of life, which keep both sides waiting. No other connection hears what has to be acknowledged and acknowledges none of it.

use std::time::Duration;

use iroh::endpoint::{Connection, FrameStats};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often a connection is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How long a validation may take that succeeds: three times noq's probe timeout, some 4 s where a round trip takes half a second.
const VALIDATION: Duration = Duration::from_secs(4);
/// Frames that have to be acknowledged, so many of which were not.
const ASKED: u64 = 2;

/// Comes when the peer was heard for [`VALIDATION`], and nothing of it acknowledged.
pub(super) async fn mute(connection: &Connection) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting = Waiting::new();
    loop {
        let now = looks.tick().await;
        let stats = connection.stats();
        if waiting.look(to_be_answered(&stats.frame_rx), stats.frame_tx.acks + stats.frame_tx.path_acks, now) >= VALIDATION {
            tracing::info!("a connection has fallen mute and is ended");
            return;
        }
    }
}

/// Frames that have to be acknowledged, of the kinds that a quiet or a stuck connection carries.
pub(super) fn to_be_answered(frames: &FrameStats) -> u64 {
    frames.ping + frames.immediate_ack + frames.stream
}

/// For how long frames that have to be acknowledged have not been. `A` changes with each acknowledgement.
pub(super) struct Waiting<A> {
    asked: u64,
    answered: Option<A>,
    since: Instant,
}

impl<A: PartialEq> Waiting<A> {
    pub(super) fn new() -> Self {
        Self { asked: 0, answered: None, since: Instant::now() }
    }

    /// Looks at how many have been sent, and at what has been acknowledged: for how long the one has been waiting for the other.
    pub(super) fn look(&mut self, asked: u64, answered: A, now: Instant) -> Duration {
        if self.answered.as_ref() != Some(&answered) {
            (self.asked, self.answered) = (asked, Some(answered));
        }
        if asked.saturating_sub(self.asked) < ASKED {
            self.since = now;
        }
        now - self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_asked_twice_waits_until_something_is_answered() {
        let begun = Instant::now();
        let mut waiting = Waiting::new();
        let mut look = |second, asked, answered| waiting.look(asked, answered, begun + Duration::from_secs(second)).as_secs();
        assert_eq!(look(0, 5, 5), 0);
        assert_eq!(look(1, 6, 5), 0, "one may be answered late");
        assert_eq!(look(2, 7, 5), 1, "since the last look at which it did not wait");
        assert_eq!(look(4, 7, 5), 3);
        assert_eq!(look(5, 8, 6), 0);
        assert_eq!(look(9, 10, 6), 4);
    }
}
