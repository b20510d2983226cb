//! A node's own clock: it began when the node's life did, anywhere, and runs a little fast or slow.
//! Everything a node is told of time goes through here, and every deadline it names comes back.

use callring_proto::base::time::{Duration, Instant};

/// Parts per million: an even clock.
pub(super) const EVEN: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// The world's time at which it began.
    began: Instant,
    /// What it showed then.
    first: Instant,
    /// How many of its nanoseconds go to a million of the world's.
    ppm: u64,
}

impl Clock {
    pub(super) fn new(began: Instant, first: Instant, ppm: u64) -> Self {
        Self { began, first, ppm }
    }

    /// What it shows at the world's `at`.
    pub(super) fn local(self, at: Instant) -> Instant {
        let product = at.since(self.began).as_nanos() * u128::from(self.ppm);
        self.first + span(product / u128::from(EVEN))
    }

    /// When, in the world's time, it will show `local`, or more by less than a tick.
    pub(super) fn world(self, local: Instant) -> Instant {
        let product = local.since(self.first).as_nanos() * u128::from(EVEN);
        self.began + span(product.div_ceil(u128::from(self.ppm)))
    }
}

fn span(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).expect("a run takes minutes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_when_its_time_has() {
        let first = Instant::START + Duration::from_secs(77);
        for ppm in [900_000, 999_983, EVEN, 1_000_003, 1_100_000] {
            let clock = Clock::new(Instant::START, first, ppm);
            for nanos in [0, 1, 999, 1_000_003, 12_345_678_901] {
                let due = first + Duration::from_nanos(nanos);
                let at = clock.world(due);
                assert!(clock.local(at) >= due, "{ppm} {nanos}");
                assert!(clock.local(at).since(due) <= Duration::from_nanos(1));
            }
        }
    }
}
