//! Notices a connection whose packets go to where the peer is no more.
//!
//! A peer that moves while a cable is out cannot say so. Its packets arrive again once the cable is mended, iroh even finds a way to where they come from, and closes it as one too many: the one in use, to
//! the old address, seems to be as good. What this side sends is lost there, until the peer has given up.

use std::time::Duration;

use iroh::endpoint::{Connection, PathEvent};
use n0_future::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    endpoint,
    mute::{LOOK, Waiting, to_be_answered},
};

/// How long nothing is acknowledged by a peer that is found elsewhere, beside some round trips. Who calls a peer anew that has not moved loses little.
const PATIENCE: Duration = Duration::from_secs(1);

/// Comes when the peer was found at another address and acknowledges nothing of what it is sent where it was. It can be called there: iroh knows it from then on.
pub(super) async fn astray(connection: &Connection) {
    let mut found = connection.path_events();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut waiting, mut elsewhere) = (Waiting::new(), false);
    loop {
        let opened = tokio::select! {
            _ = looks.tick() => None,
            Some(event) = found.next() => match event {
                PathEvent::Opened { remote_addr, .. } if remote_addr.is_ip() => Some(remote_addr),
                _ => continue,
            }
        };
        let Some((address, stats)) = endpoint::way(connection) else { continue };
        if let Some(opened) = opened {
            elsewhere |= opened != address;
            continue;
        }
        // Acknowledgements come again and again; what is newly acknowledged is measured, to some nanoseconds.
        let waited = waiting.look(to_be_answered(&stats.frame_tx), (address, stats.rtt), Instant::now());
        elsewhere &= !waited.is_zero();
        if elsewhere && waited >= PATIENCE + 3 * stats.rtt {
            tracing::info!("a connection leads to where its peer is no more, and is ended");
            return;
        }
    }
}
