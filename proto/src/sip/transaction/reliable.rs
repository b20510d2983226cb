//! A reliable provisional until its PRACK: RFC 3262 3.
//!
//! Runs beside the INVITE server transaction, which sends the first copy and repeats its newest
//! provisional to a repeated INVITE. It never sends that first copy, and doesn't care for the
//! transport: a provisional is acknowledged end to end, so hops that deliver by themselves are not
//! enough.
//!
//! ```text
//!        | provisional released (the transaction sends it)
//!        V
//!   +-----------+  T1, 2*T1, 4*T1, ..: send
//!   |  Waiting  |
//!   +-----------+
//!     |       | 64*T1: tell TU (which refuses the INVITE with 5xx)
//!     | PRACK |
//!     V       V
//!   +------------+
//!   | Terminated |
//!   +------------+
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::timer::{Remaining, Retransmit, Timer, TimerName, after};
use super::{Action, Failure};
use crate::base::limits::T1_X64;
use crate::base::time::Instant;

/// A provisional that waits for its PRACK; `T` is [`Instant`] in a live one, [`Remaining`] in an
/// [`Image`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnackedProvisional<T = Instant> {
    /// No PRACK yet.
    Waiting {
        /// The provisional as sent.
        response: Bytes,
        /// Sends it again.
        again: Retransmit<T>,
        /// Gives up on the PRACK.
        gives_up: T,
    },
    /// Acknowledged, or given up.
    Terminated,
}

/// What lies in a record.
pub type Image = UnackedProvisional<Remaining>;

impl UnackedProvisional {
    /// A provisional that the transaction has just sent.
    #[must_use]
    pub fn new(response: Bytes, now: Instant) -> Self {
        Self::Waiting {
            response,
            again: Retransmit::start(now),
            gives_up: after(now, T1_X64),
        }
    }

    /// Its PRACK came, or the INVITE was answered finally (RFC 3262 3).
    pub fn on_prack(&mut self, actions: &mut Vec<Action>) {
        match self {
            Self::Waiting { .. } => self.terminate(actions),
            Self::Terminated => {}
        }
    }

    /// Handles what is due at `now`.
    pub fn on_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self {
            // RFC 3262 3: after 64*T1 the request is rejected with a 5xx.
            Self::Waiting { gives_up, .. } if *gives_up <= now => {
                actions.push(Action::Failed(Failure::Timeout));
                self.terminate(actions);
            }
            // RFC 3262 3: T1, doubling each time.
            Self::Waiting {
                response, again, ..
            } if again.at <= now => {
                actions.push(Action::Send(response.clone()));
                again.double(now);
            }
            Self::Waiting { .. } | Self::Terminated => {}
        }
    }

    /// The timer that is due first.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timer> {
        match self {
            Self::Waiting {
                again, gives_up, ..
            } => Some(
                Timer::new(TimerName::Unpracked, *gives_up)
                    .earlier(Timer::new(TimerName::Reliable, again.at)),
            ),
            Self::Terminated => None,
        }
    }

    /// When [`UnackedProvisional::on_timeout`] is wanted next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_timer().map(|timer| timer.at)
    }

    /// The machine as it goes into a record at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Image {
        self.map(|deadline| Remaining::until(*deadline, now))
    }

    /// The machine of a record, brought back to life at `now`.
    #[must_use]
    pub fn restore(image: &Image, now: Instant) -> Self {
        image.map(|remaining| remaining.from(now))
    }

    /// From now on `with` makes what is repeated, out of what was repeated so far.
    pub fn rewrite(&mut self, with: impl FnOnce(&Bytes) -> Option<Bytes>) {
        if let Self::Waiting { response, .. } = self
            && let Some(other) = with(response)
        {
            *response = other;
        }
    }

    fn terminate(&mut self, actions: &mut Vec<Action>) {
        *self = Self::Terminated;
        actions.push(Action::Terminated);
    }
}

impl<T> UnackedProvisional<T> {
    /// Whether the wait is over.
    #[must_use]
    pub const fn is_terminated(&self) -> bool {
        matches!(self, Self::Terminated)
    }

    fn map<U>(&self, time: impl Fn(&T) -> U) -> UnackedProvisional<U> {
        match self {
            Self::Waiting {
                response,
                again,
                gives_up,
            } => UnackedProvisional::Waiting {
                response: response.clone(),
                again: again.map(&time),
                gives_up: time(gives_up),
            },
            Self::Terminated => UnackedProvisional::Terminated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{NOW, every_cell, over_the_wire, run_out, table};
    use super::*;
    use crate::base::time::Duration;

    const STATES: &[&str] = &["waiting", "terminated"];
    const EVENTS: &[&str] = &["prack", "timeout", "end"];

    fn machine(state: &str) -> UnackedProvisional {
        match state {
            "waiting" => UnackedProvisional::new(Bytes::from_static(b"183"), NOW),
            "terminated" => UnackedProvisional::Terminated,
            other => panic!("{other}"),
        }
    }

    fn run(state: &str, event: &str) -> (String, Vec<Action>) {
        let mut machine = machine(state);
        let mut actions = Vec::new();
        match event {
            "prack" => machine.on_prack(&mut actions),
            "timeout" => {
                let due = machine.next_deadline().unwrap_or(NOW);
                machine.on_timeout(due, &mut actions);
            }
            "end" => machine.on_timeout(NOW + T1_X64, &mut actions),
            other => panic!("{other}"),
        }
        let after = if machine.is_terminated() {
            "terminated"
        } else {
            "waiting"
        };
        (after.to_owned(), actions)
    }

    // Goal: D16. Method: each (state, event) cell; the transport changes none.
    #[test]
    fn every_cell_of_the_table() {
        let rows = table("the reliable provisional until its PRACK", "UDP");
        every_cell(STATES, EVENTS, &rows, run);
    }

    // Goal: D16. Method: nobody acknowledges; it doubles without a bound but the last.
    #[test]
    fn d16_it_doubles_and_gives_up_at_64_t1() {
        let again = [500, 1_500, 3_500, 7_500, 15_500, 31_500];
        let mut expected: Vec<_> = again.map(|at| (at, "send 183".to_owned())).into();
        expected.push((32_000, "failed timeout; terminated".to_owned()));
        let done = run_out(
            &mut machine("waiting"),
            UnackedProvisional::next_deadline,
            UnackedProvisional::on_timeout,
        );
        assert_eq!(done, expected);
    }

    // Goal: a takeover keeps every state. Method: image, encoding, another clock, time passing.
    #[test]
    fn each_state_survives_a_takeover() {
        for state in STATES {
            let mut machine = machine(state);
            machine.on_timeout(NOW + Duration::from_millis(500), &mut Vec::new());
            let later = NOW + Duration::from_secs(1);
            let image = over_the_wire(&machine.snapshot(later));
            let elsewhere = Instant::from_nanos(7);
            let heir = UnackedProvisional::restore(&image, elsewhere);
            let left = machine.next_deadline().map(|at| at.since(later));
            assert_eq!(heir.next_deadline().map(|at| at.since(elsewhere)), left);
            assert_eq!(UnackedProvisional::restore(&image, later), machine);
        }
    }
}
