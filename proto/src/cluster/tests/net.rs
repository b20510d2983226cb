//! What the fabric may do to frames: delay them, let short ones overtake and arrive twice, lose all
//! that is under way when a link is reset, hold a direction back.
//!
//! Lane frames keep their order within a session. Nothing is lost without a reset: QUIC repeats.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand::RngExt as _;

use crate::base::ids::MemberId;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant};
use crate::wire;

/// A frame on its way to a node.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) from: MemberId,
    pub(super) to: MemberId,
    pub(super) session: u64,
    pub(super) bytes: Bytes,
}

/// The links between nodes, by index; ordered pairs are directions.
#[derive(Debug, Default)]
pub(super) struct Net {
    /// Session of the present link of a pair (lower index first).
    sessions: BTreeMap<(usize, usize), u64>,
    next_session: u64,
    /// No lane frame of a direction arrives before this.
    last: BTreeMap<(usize, usize), Instant>,
    cuts: BTreeSet<(usize, usize)>,
    held: BTreeMap<(usize, usize), Vec<Parcel>>,
    /// Longest ordinary delay.
    pub(super) delay_max: Duration,
    /// Short frames that arrive twice, per thousand.
    twice_permille: u32,
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

impl Net {
    pub(super) fn new(delay_max: Duration, twice_permille: u32) -> Self {
        Self {
            delay_max,
            twice_permille,
            ..Self::default()
        }
    }

    pub(super) fn delay(&self, rng: &mut Rng) -> Duration {
        let most = u64::try_from(self.delay_max.as_micros())
            .unwrap_or(1)
            .max(2);
        // Mostly near the minimum, as networks are.
        let draw = rng.random_range(1..most).min(rng.random_range(1..most));
        Duration::from_micros(draw + 50)
    }

    pub(super) fn session(&self, one: usize, other: usize) -> Option<u64> {
        self.sessions.get(&pair(one, other)).copied()
    }

    /// A new link: its session. Lane frames of it arrive after `from` at the earliest.
    pub(super) fn establish(&mut self, one: usize, other: usize, from: Instant) -> u64 {
        self.next_session += 1;
        self.sessions.insert(pair(one, other), self.next_session);
        self.last.insert((one, other), from);
        self.last.insert((other, one), from);
        self.next_session
    }

    /// The link is gone, with all that was held back on it.
    pub(super) fn reset(&mut self, one: usize, other: usize) -> Option<u64> {
        self.held.remove(&(one, other));
        self.held.remove(&(other, one));
        self.sessions.remove(&pair(one, other))
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Whether any direction is cut.
    pub(super) fn has_cuts(&self) -> bool {
        !self.cuts.is_empty()
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// The direction works again: what was held back on the present link may go.
    pub(super) fn mend(&mut self, from: usize, to: usize) -> Vec<Parcel> {
        self.cuts.remove(&(from, to));
        self.held.remove(&(from, to)).unwrap_or_default()
    }

    /// When copies of `parcel` arrive: none if it is held back, two if it is doubled.
    pub(super) fn arrivals(
        &mut self,
        (from, to): (usize, usize),
        parcel: &Parcel,
        now: Instant,
        rng: &mut Rng,
    ) -> Vec<Instant> {
        if self.is_cut(from, to) {
            self.held
                .entry((from, to))
                .or_default()
                .push(parcel.clone());
            return Vec::new();
        }
        let header = wire::peek(&parcel.bytes).expect("a frame of ours has a header");
        let mut at = now + self.delay(rng);
        let last = self.last.entry((from, to)).or_insert(now);
        if header.is_lane() {
            at = at.max(*last + Duration::from_nanos(1));
            *last = at;
            return vec![at];
        }
        // A short frame may overtake lanes, but not the news that the link stands.
        let mut at = vec![at];
        if rng.random_range(0..1_000) < self.twice_permille {
            at.push(now + self.delay(rng) * 3);
        }
        at
    }
}
