//! The two networks: datagrams between phones and nodes, links between nodes.
//!
//! A link is what QUIC makes of a network: what is sent in a session arrives, late after a cut, in
//! order on the lane; other frames overtake each other. A cut longer than [`IDLE`] ends the session
//! and loses what was under way.

use std::collections::BTreeMap;
use std::time::Duration;

use callring_proto::base::rng::Rng;
use callring_proto::base::time::Instant;
use rand::RngExt as _;

use super::plan::Plan;

/// A link that hears nothing for this long is down.
pub(super) const IDLE: Duration = Duration::from_secs(8);

/// Delays, losses and cuts.
#[derive(Debug)]
pub(super) struct Net {
    loss: u32,
    duplication: u32,
    delay_us: u64,
    /// When the last lane frame from one node to another arrives.
    lanes: BTreeMap<(usize, usize), Instant>,
    /// Nodes on the far side of a cut, and when it heals.
    cut: Option<(u32, Instant)>,
}

impl Net {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            loss: plan.loss,
            duplication: plan.duplication,
            delay_us: plan.delay_us,
            lanes: BTreeMap::new(),
            cut: None,
        }
    }

    pub(super) fn cut(&mut self, far: u32, until: Instant) {
        self.cut = Some((far, until));
    }

    pub(super) fn heal(&mut self) {
        self.cut = None;
    }

    /// When the cut between two nodes heals, if there is one.
    pub(super) fn cut_until(&self, one: usize, other: usize) -> Option<Instant> {
        let (far, until) = self.cut?;
        let side = |node: usize| far >> node & 1;
        (side(one) != side(other)).then_some(until)
    }

    /// Arrivals of a SIP datagram: none, one or two.
    pub(super) fn datagram(&self, now: Instant, rng: &mut Rng) -> Vec<Instant> {
        let mut arrivals = Vec::new();
        if rng.random_range(0..1_000) >= self.loss {
            arrivals.push(now + micros(rng.random_range(50..3_000)));
        }
        if rng.random_range(0..1_000) < self.duplication {
            arrivals.push(now + micros(rng.random_range(50..40_000)));
        }
        arrivals
    }

    /// Arrival of a gossip datagram, if it arrives.
    pub(super) fn gossip(
        &self,
        from: usize,
        to: usize,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<Instant> {
        let lost = self.cut_until(from, to).is_some() || rng.random_range(0..1_000) < 10;
        (!lost).then(|| now + self.delay(rng))
    }

    /// Arrival of a frame.
    pub(super) fn frame(
        &mut self,
        (from, to): (usize, usize),
        lane: bool,
        now: Instant,
        rng: &mut Rng,
    ) -> Instant {
        let mut at = now + self.delay(rng);
        // Now and then a packet is lost and comes with the next probe.
        if rng.random_range(0..1_000) < 3 {
            at += micros(self.delay_us * 3 + 2_000);
        }
        if let Some(heals) = self.cut_until(from, to) {
            at = heals + self.delay(rng);
        }
        if lane {
            let last = self.lanes.entry((from, to)).or_insert(at);
            at = at.max(*last);
            *last = at;
        }
        at
    }

    pub(super) fn delay(&self, rng: &mut Rng) -> Duration {
        micros(rng.random_range(self.delay_us / 2..=self.delay_us * 3 / 2))
    }
}

pub(super) fn micros(us: u64) -> Duration {
    Duration::from_micros(us)
}
