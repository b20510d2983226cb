//! Timers of transactions (RFC 3261 17 and Annex A, RFC 6026 7): names, deadlines, and deadlines as
//! remaining time for records. There is no timer object to cancel: a deadline lives in the state it
//! belongs to and goes with it, so a stale wake-up finds nothing due.

use serde::{Deserialize, Serialize};

use crate::base::limits::{T1, T2};
use crate::base::time::{Duration, Instant, millis};

/// How long a TU may stay silent about an INVITE over UDP before 100 goes out (RFC 3261 17.2.1).
pub const TRYING_AFTER: Duration = Duration::from_millis(200);

/// Which timer a deadline is. Also the reason that a wake-up can be logged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerName {
    /// INVITE client: retransmits the request, doubling from T1.
    A,
    /// INVITE client: gives up on a provisional, 64*T1.
    B,
    /// INVITE client: absorbs repeats of 3xx-6xx, 32 s over UDP, 0 over streams.
    D,
    /// Non-INVITE client: retransmits the request, from T1 doubling to T2.
    E,
    /// Non-INVITE client: gives up on a final response, 64*T1.
    F,
    /// INVITE server: retransmits 3xx-6xx, from T1 doubling to T2.
    G,
    /// INVITE server: gives up on the ACK, 64*T1.
    H,
    /// INVITE server: absorbs repeats of the ACK, T4 over UDP, 0 over streams.
    I,
    /// Non-INVITE server: answers repeats of the request, 64*T1 over UDP, 0 over streams.
    J,
    /// Non-INVITE client: absorbs repeats of the final, T4 over UDP, 0 over streams.
    K,
    /// INVITE server after a 2xx: absorbs repeats of the INVITE, 64*T1 (RFC 6026 7.1).
    L,
    /// INVITE client after a 2xx: hands on further 2xx, 64*T1 (RFC 6026 7.2).
    M,
    /// INVITE server: sends 100 if the TU stayed silent, 200 ms.
    Trying,
    /// Non-INVITE server without a final: the client's Timer F has fired by now, 64*T1 (RFC 4320).
    Late,
    /// UAS core: retransmits a 2xx, from T1 doubling to T2 (RFC 3261 13.3.1.4).
    Success,
    /// UAS core: gives up on the ACK to a 2xx, 64*T1 (RFC 3261 13.3.1.4).
    Unacked,
    /// UAS core: retransmits a reliable provisional, doubling from T1 (RFC 3262 3).
    Reliable,
    /// UAS core: gives up on the PRACK of a reliable provisional, 64*T1 (RFC 3262 3).
    Unpracked,
}

/// A named deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Why the machine wants to be woken.
    pub name: TimerName,
    /// When.
    pub at: Instant,
}

impl Timer {
    /// The timer `name` at `at`.
    #[must_use]
    pub const fn new(name: TimerName, at: Instant) -> Self {
        Self { name, at }
    }

    /// The one that is due first.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }
}

/// A deadline as it lies in a record: milliseconds that were left, rounded up so that a timer is
/// never early for having moved, 0 if it was overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining(pub u32);

impl Remaining {
    /// What is left of `deadline` at `now`.
    #[must_use]
    pub fn until(deadline: Instant, now: Instant) -> Self {
        let whole = deadline
            .since(now)
            .saturating_add(Duration::from_nanos(999_999));
        Self(millis(whole))
    }

    /// The deadline on the clock that says `now`.
    #[must_use]
    pub fn from(self, now: Instant) -> Instant {
        after(now, Duration::from_millis(u64::from(self.0)))
    }
}

/// A retransmission timer: when next, and how long the wait for it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retransmit<T = Instant> {
    /// The next retransmission.
    pub at: T,
    /// The wait that ends at `at`, milliseconds.
    pub interval_ms: u32,
}

impl Retransmit {
    /// First after T1.
    #[must_use]
    pub fn start(now: Instant) -> Self {
        Self {
            at: after(now, T1),
            interval_ms: millis(T1),
        }
    }

    /// Twice as long as before, at most T2 (Timers E and G, and a 2xx).
    pub fn double_to_t2(&mut self, now: Instant) {
        self.wait(now, self.interval_ms.saturating_mul(2).min(millis(T2)));
    }

    /// Twice as long as before (Timer A).
    pub fn double(&mut self, now: Instant) {
        self.wait(now, self.interval_ms.saturating_mul(2));
    }

    /// T2 from now on (Timer E in state Proceeding).
    pub fn at_t2(&mut self, now: Instant) {
        self.wait(now, millis(T2));
    }

    /// Counts from `now`, not from the deadline: a node that was paused doesn't catch up in a
    /// burst. Never less than T1: what a record says may be anything, and no time would go on for
    /// ever.
    fn wait(&mut self, now: Instant, interval_ms: u32) {
        let interval_ms = interval_ms.max(millis(T1));
        *self = Self {
            at: after(now, Duration::from_millis(u64::from(interval_ms))),
            interval_ms,
        };
    }
}

impl<T> Retransmit<T> {
    /// The same with the deadline as `time` tells it.
    pub(super) fn map<U>(&self, time: impl Fn(&T) -> U) -> Retransmit<U> {
        Retransmit {
            at: time(&self.at),
            interval_ms: self.interval_ms,
        }
    }
}

/// `now + span`, saturating.
#[expect(clippy::arithmetic_side_effects, reason = "Instant saturates")]
pub(super) fn after(now: Instant, span: Duration) -> Instant {
    now + span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_is_never_early() {
        let now = Instant::from_nanos(5);
        assert_eq!(Remaining::until(now + T1, now), Remaining(500));
        assert_eq!(
            Remaining::until(now + Duration::from_nanos(1), now),
            Remaining(1)
        );
        assert_eq!(Remaining::until(now, now + T1), Remaining(0));
        assert_eq!(Remaining(500).from(now), now + T1);
    }

    #[test]
    fn the_earlier_timer_wins_and_the_first_on_a_tie() {
        let (now, later) = (Instant::START, Instant::START + T1);
        let (g, h) = (
            Timer::new(TimerName::G, later),
            Timer::new(TimerName::H, now),
        );
        assert_eq!(g.earlier(h), h);
        assert_eq!(h.earlier(g), h);
        assert_eq!(h.earlier(Timer::new(TimerName::G, now)), h);
    }
}
