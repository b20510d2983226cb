//! The two networks: datagrams between phones and nodes, links between nodes.
//!
//! A link is what QUIC makes of a network: what is sent in a session arrives, late after a cut, in
//! order on the lane; other frames overtake each other and may come twice. A cut longer than
//! [`IDLE`] ends the session and loses what was under way.

use std::collections::BTreeMap;
use std::time::Duration;

use callring_proto::base::ids::MemberId;
use callring_proto::base::rng::Rng;
use callring_proto::base::time::Instant;
use rand::RngExt as _;

use super::plan::Plan;

/// A link that hears nothing for this long is down.
pub(super) const IDLE: Duration = Duration::from_secs(8);

/// Something between nodes, in one direction: bit i of a mask stands for node i.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: u32,
    to: u32,
    until: Instant,
    /// What every frame takes longer; none: nothing passes.
    delay_us: Option<u64>,
}

impl Stretch {
    fn covers(&self, from: usize, to: usize, now: Instant) -> bool {
        self.from >> from & 1 == 1 && self.to >> to & 1 == 1 && from != to && now < self.until
    }
}

/// Delays, losses and cuts.
#[derive(Debug)]
pub(super) struct Net {
    loss: u32,
    duplication: u32,
    delay_us: u64,
    frame_loss: u32,
    frame_duplication: u32,
    /// When the last lane frame from one node to another arrives.
    lanes: BTreeMap<(usize, usize), Instant>,
    /// When the latest of the others does.
    latest: BTreeMap<(usize, usize), Instant>,
    /// Frames that overtook others.
    pub(super) swapped: u64,
    stretches: Vec<Stretch>,
    /// The dead, by whom they would have reached: nothing of theirs arrives after this.
    last_words: BTreeMap<(MemberId, usize), Instant>,
}

/// When a frame arrives, and when its copy does.
pub(super) type Arrivals = (Instant, Option<Instant>);

impl Net {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            loss: plan.loss,
            duplication: plan.duplication,
            delay_us: plan.delay_us,
            frame_loss: plan.frame_loss,
            frame_duplication: plan.frame_duplication,
            lanes: BTreeMap::new(),
            latest: BTreeMap::new(),
            swapped: 0,
            stretches: Vec::new(),
            last_words: BTreeMap::new(),
        }
    }

    /// Nothing passes from these to those.
    pub(super) fn cut(&mut self, from: u32, to: u32, until: Instant) {
        self.stretch(from, to, None, until);
    }

    /// Everything from these to those takes longer, by up to `delay_us`.
    pub(super) fn slow(&mut self, from: u32, to: u32, delay_us: u64, until: Instant) {
        self.stretch(from, to, Some(delay_us), until);
    }

    fn stretch(&mut self, from: u32, to: u32, delay_us: Option<u64>, until: Instant) {
        self.stretches.push(Stretch {
            from,
            to,
            until,
            delay_us,
        });
    }

    /// Everything passes again, as it should.
    pub(super) fn heal(&mut self) {
        self.stretches.clear();
    }

    /// When the cut from one node to another heals, if there is one.
    pub(super) fn cut_until(&self, from: usize, to: usize, now: Instant) -> Option<Instant> {
        let cuts = self.stretches.iter().filter(|one| one.delay_us.is_none());
        let here = cuts.filter(|one| one.covers(from, to, now));
        here.map(|one| one.until).max()
    }

    /// Whether either direction is cut.
    pub(super) fn is_cut(&self, one: usize, other: usize, now: Instant) -> bool {
        self.cut_until(one, other, now).is_some() || self.cut_until(other, one, now).is_some()
    }

    /// `member` dies: of what it sent to each node, only a part was not lost on the way, and nobody
    /// sends the rest again.
    pub(super) fn dies(&mut self, member: MemberId, nodes: usize, now: Instant, rng: &mut Rng) {
        for node in 0..nodes {
            let last = now + micros(rng.random_range(0..=self.delay_us * 2));
            self.last_words.insert((member, node), last);
        }
    }

    /// Whether a frame of `member` still reaches `node`.
    pub(super) fn reaches(&self, member: MemberId, node: usize, now: Instant) -> bool {
        let last = self.last_words.get(&(member, node));
        last.is_none_or(|last| now <= *last)
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
        (from, to): (usize, usize),
        now: Instant,
        rng: &mut Rng,
    ) -> Option<Instant> {
        let lost = self.cut_until(from, to, now).is_some() || rng.random_range(0..1_000) < 10;
        (!lost).then(|| now + self.delay((from, to), now, rng))
    }

    /// Arrivals of a frame.
    pub(super) fn frame(
        &mut self,
        (from, to): (usize, usize),
        lane: bool,
        now: Instant,
        rng: &mut Rng,
    ) -> Arrivals {
        let mut at = now + self.delay((from, to), now, rng);
        // Now and then a packet is lost and comes with the next probe.
        if rng.random_range(0..1_000) < self.frame_loss {
            at += micros(self.delay_us * 3 + 2_000);
        }
        if let Some(heals) = self.cut_until(from, to, now) {
            at = heals + self.delay((from, to), heals, rng);
        }
        if lane {
            let last = self.lanes.entry((from, to)).or_insert(at);
            at = at.max(*last);
            *last = at;
            return (at, None);
        }
        let last = self.latest.entry((from, to)).or_insert(at);
        let overtakes = at < *last;
        *last = at.max(*last);
        self.swapped += u64::from(overtakes);
        let twice = rng.random_range(0..1_000) < self.frame_duplication;
        let again = twice.then(|| at + micros(rng.random_range(0..60_000)));
        (at, again)
    }

    fn delay(&self, (from, to): (usize, usize), now: Instant, rng: &mut Rng) -> Duration {
        let usual = rng.random_range(self.delay_us / 2..=self.delay_us * 3 / 2);
        let slow = self
            .stretches
            .iter()
            .filter(|one| one.covers(from, to, now));
        let more = slow.filter_map(|one| one.delay_us).max().unwrap_or(0);
        micros(usual + rng.random_range(0..=more))
    }
}

pub(super) fn micros(us: u64) -> Duration {
    Duration::from_micros(us)
}
