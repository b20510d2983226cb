//! How much may be under way on a link: Cubic, but never less than a floor.
//!
//! Cubic takes each loss for congestion. On a link that loses a few packets in a hundred by
//! itself its window falls to a handful of packets, and records, answers and pings then wait for
//! seconds while the link is idle. Signalling is a few hundred kilobytes a second: with the floor
//! a lossy link carries that, and a full one is pressed by no more than a short burst. Knows
//! nothing of what is sent.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};

/// At 40 ms of round trip this is three megabytes a second.
const FLOOR_BYTES: u64 = 128 << 10;

/// Makes one [`Floored`] for each link.
#[derive(Debug, Default)]
pub(super) struct FlooredConfig(Arc<CubicConfig>);

impl ControllerFactory for FlooredConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Floored(self.0.clone().build(now, current_mtu)))
    }
}

/// A controller whose window has a floor.
struct Floored(Box<dyn Controller>);

impl Controller for Floored {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.0.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &quinn_proto::RttEstimator,
    ) {
        self.0.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.0
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.0
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.0.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.0.window().max(FLOOR_BYTES)
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
        self.0.initial_window().max(FLOOR_BYTES)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_do_not_close_the_window() {
        let now = Instant::now();
        let mut link = Arc::new(FlooredConfig::default()).build(now, 1_232);
        for n in 1..100 {
            let at = now + std::time::Duration::from_millis(100 * n);
            link.on_congestion_event(at, at, n % 10 == 0, 1_232);
            assert!(link.window() >= FLOOR_BYTES);
        }
        assert_eq!(link.clone_box().window(), FLOOR_BYTES);
    }
}
