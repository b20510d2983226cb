//! The UAS core's 2xx until its ACK: RFC 3261 13.3.1.4.
//!
//! Runs beside the INVITE server transaction, which sends the first copy and then absorbs the
//! repeated INVITEs (RFC 6026). It never sends that first copy, and doesn't care for the transport:
//! a 2xx is acknowledged end to end, so hops that deliver by themselves are not enough.
//!
//! ```text
//!        | 2xx released (the transaction sends it)
//!        V
//!   +-----------+  T1, 2*T1, .. T2: send
//!   |  Waiting  |
//!   +-----------+
//!     |       | 64*T1: tell TU (which ends the session with BYE)
//!     | ACK   |
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

/// A 2xx that waits for its ACK; `T` is [`Instant`] in a live one, [`Remaining`] in an [`Image`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnackedSuccess<T = Instant> {
    /// No ACK yet.
    Waiting {
        /// The 2xx as sent.
        response: Bytes,
        /// Sends it again.
        again: Retransmit<T>,
        /// Gives up on the ACK.
        gives_up: T,
    },
    /// Acknowledged, or given up.
    Terminated,
}

/// What lies in a record.
pub type Image = UnackedSuccess<Remaining>;

impl UnackedSuccess {
    /// A 2xx that the transaction has just sent.
    #[must_use]
    pub fn new(response: Bytes, now: Instant) -> Self {
        Self::Waiting {
            response,
            again: Retransmit::start(now),
            gives_up: after(now, T1_X64),
        }
    }

    /// The dialog's ACK came, by whatever branch.
    pub fn on_ack(&mut self, actions: &mut Vec<Action>) {
        match self {
            Self::Waiting { .. } => self.terminate(actions),
            Self::Terminated => {}
        }
    }

    /// Handles what is due at `now`.
    pub fn on_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self {
            // RFC 3261 13.3.1.4: after 64*T1 the dialog stands, but the session is ended.
            Self::Waiting { gives_up, .. } if *gives_up <= now => {
                actions.push(Action::Failed(Failure::Timeout));
                self.terminate(actions);
            }
            // RFC 3261 13.3.1.4: T1, doubling up to T2.
            Self::Waiting {
                response, again, ..
            } if again.at <= now => {
                actions.push(Action::Send(response.clone()));
                again.double_to_t2(now);
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
                Timer::new(TimerName::Unacked, *gives_up)
                    .earlier(Timer::new(TimerName::Success, again.at)),
            ),
            Self::Terminated => None,
        }
    }

    /// When [`UnackedSuccess::on_timeout`] is wanted next.
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

impl<T> UnackedSuccess<T> {
    /// The 2xx, for an heir that replays it, while no ACK has come.
    #[must_use]
    pub const fn response(&self) -> Option<&Bytes> {
        match self {
            Self::Waiting { response, .. } => Some(response),
            Self::Terminated => None,
        }
    }

    /// Whether the wait is over.
    #[must_use]
    pub const fn is_terminated(&self) -> bool {
        matches!(self, Self::Terminated)
    }

    fn map<U>(&self, time: impl Fn(&T) -> U) -> UnackedSuccess<U> {
        match self {
            Self::Waiting {
                response,
                again,
                gives_up,
            } => UnackedSuccess::Waiting {
                response: response.clone(),
                again: again.map(&time),
                gives_up: time(gives_up),
            },
            Self::Terminated => UnackedSuccess::Terminated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{NOW, every_cell, over_the_wire, run_out, table, text};
    use super::*;
    use crate::base::time::Duration;

    const STATES: &[&str] = &["waiting", "terminated"];
    const EVENTS: &[&str] = &["ack", "timeout", "end"];

    fn machine(state: &str) -> UnackedSuccess {
        match state {
            "waiting" => UnackedSuccess::new(Bytes::from_static(b"200"), NOW),
            "terminated" => UnackedSuccess::Terminated,
            other => panic!("{other}"),
        }
    }

    fn run(state: &str, event: &str) -> (String, Vec<Action>) {
        let mut machine = machine(state);
        let mut actions = Vec::new();
        match event {
            "ack" => machine.on_ack(&mut actions),
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

    // Goal: D11. Method: each (state, event) cell; the transport changes none.
    #[test]
    fn every_cell_of_the_table() {
        every_cell(STATES, EVENTS, &table("the 2xx until its ACK", "UDP"), run);
    }

    fn out(machine: &mut UnackedSuccess) -> Vec<(u128, String)> {
        run_out(
            machine,
            UnackedSuccess::next_deadline,
            UnackedSuccess::on_timeout,
        )
    }

    // Goal: D11, T20. Method: a 2xx that nobody acknowledges, in virtual time.
    #[test]
    fn it_doubles_to_t2_and_gives_up_once() {
        let again = [
            500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
        ];
        let mut expected: Vec<_> = again.map(|at| (at, "send 200".to_owned())).into();
        expected.push((32_000, "failed timeout; terminated".to_owned()));
        assert_eq!(out(&mut machine("waiting")), expected);
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
            let mut heir = UnackedSuccess::restore(&image, elsewhere);
            let left = machine.next_deadline().map(|at| at.since(later));
            assert_eq!(heir.next_deadline().map(|at| at.since(elsewhere)), left);
            assert_eq!(heir.response(), machine.response());
            let mut actions = Vec::new();
            heir.on_ack(&mut actions);
            assert_eq!(text(&actions).is_empty(), *state == "terminated");
            assert_eq!(UnackedSuccess::restore(&image, later), machine);
        }
    }
}
