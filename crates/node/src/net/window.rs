//! Congestion control for lines that lose packets without being congested.
//!
//! Cubic (RFC 9438) takes each loss for congestion. On a line that loses one packet in seven its window stays at the least that RFC 9002 (section 7.2) has, two packets a round trip, and what a grant
//! hands over takes ten seconds. Here it never falls below what the same section lets every new connection begin with.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use noq_proto::{
    RttEstimator,
    congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig},
};

/// Least window, in bytes: ten packets of the size that every path carries.
const LEAST: u64 = 12_000;

/// Builds [`Floored`] controllers.
#[derive(Default)]
pub(super) struct Floor(Arc<CubicConfig>);

impl ControllerFactory for Floor {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Floored(self.0.clone().build(now, current_mtu)))
    }
}

/// Cubic with a window of at least [`LEAST`].
#[derive(Debug)]
struct Floored(Box<dyn Controller>);

impl Controller for Floored {
    fn on_sent(&mut self, now: Instant, bytes: u64, largest_pn: u64) {
        self.0.on_sent(now, bytes, largest_pn);
    }

    fn on_packet_sent(&mut self, now: Instant, bytes: u16, pn: u64) {
        self.0.on_packet_sent(now, bytes, pn);
    }

    fn on_cwnd_limited(&mut self) {
        self.0.on_cwnd_limited();
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, pn: u64, app_limited: bool, rtt: &RttEstimator) {
        self.0.on_ack(now, sent, bytes, pn, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.0.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, is_ecn: bool, lost_bytes: u64, largest_lost_pn: u64) {
        self.0.on_congestion_event(now, sent, is_persistent_congestion, is_ecn, lost_bytes, largest_lost_pn);
    }

    fn on_packet_lost(&mut self, lost_bytes: u16, pn: u64, now: Instant) {
        self.0.on_packet_lost(lost_bytes, pn, now);
    }

    fn on_spurious_congestion_event(&mut self) {
        self.0.on_spurious_congestion_event();
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.0.on_mtu_update(new_mtu);
    }

    fn on_ack_frequency_update(&mut self, ack_eliciting_threshold: u64, requested_max_ack_delay: Duration) {
        self.0.on_ack_frequency_update(ack_eliciting_threshold, requested_max_ack_delay);
    }

    fn window(&self) -> u64 {
        self.0.window().max(LEAST)
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.0.metrics();
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self(self.0.clone_box()))
    }

    fn initial_window(&self) -> u64 {
        self.0.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_leave_a_window_that_a_new_connection_would_have() {
        let begin = Instant::now();
        let mut controllers = [Arc::new(Floor::default()).build(begin, 1200), Arc::new(CubicConfig::default()).build(begin, 1200)];
        for controller in &mut controllers {
            for packet in 0..50 {
                let now = begin + Duration::from_millis(100 * packet);
                controller.on_congestion_event(now, now, false, false, 1200, packet);
            }
        }
        assert_eq!(controllers.each_ref().map(|controller| controller.window()), [LEAST, 2400]);
        assert_eq!(controllers[0].clone_box().metrics().congestion_window, LEAST);
        assert_eq!(controllers[0].initial_window(), LEAST);
    }
}
