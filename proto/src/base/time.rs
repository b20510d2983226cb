//! The core's own time: nanoseconds since the node started, made only by the shell's clock or by
//! the simulator. It has no epoch, so it can be printed, stored and compared, but never mistaken
//! for a date. Snapshots carry *remaining* durations, never instants.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
pub use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on this node's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instant(u64);

impl Instant {
    /// The node's start. Far from zero, so that a deadline that lay before it, of a record older than
    /// this node, has a place.
    pub const START: Self = Self(1 << 60);

    /// The inverse of [`Instant::as_nanos`].
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The number that stamps carry: meaningful to this node only.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, after: Duration) -> Self {
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, after: Duration) {
        *self = *self + after;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, before: Duration) -> Self {
        let nanos = u64::try_from(before.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.abs_diff(Self::START.0);
        let sign = if *self < Self::START { "-" } else { "" };
        write!(
            f,
            "{sign}{}.{:06}s",
            nanos / 1_000_000_000,
            nanos % 1_000_000_000 / 1_000
        )
    }
}

/// Milliseconds of `span`, saturating: the unit timers have in records and frames.
#[must_use]
pub fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
