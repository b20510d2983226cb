//! The server transaction of every request but INVITE and ACK: RFC 3261 17.2.2 with RFC 4320.
//!
//! It never sends on its own, above all no 100 (RFC 4320 4.1). Like the INVITE's, it learns of a
//! final response when that is released, not when it is decided (see `server_invite`).
//!
//! ```text
//!                      | request: to the TU
//!                      V
//!                +-----------+
//!   request: -   |  Trying   |----------------------+
//!                +-----------+                      |
//!   200-699 from TU |     | 1xx from TU: send       | 64*T1 without a final
//!   send            |     V                         | tell TU (RFC 4320)
//!                   |  +------------+               |
//!   request: send   |  | Proceeding |---------------+
//!   1xx: send       |  +------------+  or transport error: tell TU
//!                   |     | 200-699 from TU: send   |
//!                   V     V                         |
//!                +-----------+                      |
//!   request:     | Completed |                      |
//!   send         +-----------+                      |
//!                      | Timer J: -                 |
//!                      V                            |
//!                +------------+                     |
//!                | Terminated |<--------------------+
//!                +------------+
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::timer::{Remaining, Timer, TimerName, after};
use super::{Action, Failure};
use crate::base::limits::T1_X64;
use crate::base::time::Instant;

/// A non-INVITE server transaction; `T` is [`Instant`] in a live one, [`Remaining`] in an
/// [`Image`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerOther<T = Instant> {
    /// The request came over a transport that delivers by itself: Timer J is zero.
    reliable: bool,
    /// The TU knows of a failure already.
    told: bool,
    state: State<T>,
}

/// What lies in a record.
pub type Image = ServerOther<Remaining>;

/// The states of RFC 3261 figure 8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State<T = Instant> {
    /// The TU thinks.
    Trying {
        /// From here on an answer is too late.
        late: T,
    },
    /// The TU has sent a provisional.
    Proceeding {
        /// The last one.
        last: Bytes,
        /// From here on an answer is too late.
        late: T,
    },
    /// Answered; repeats get the same answer.
    Completed {
        /// The final response.
        response: Bytes,
        /// Ends it.
        j: T,
    },
    /// Done.
    Terminated,
}

impl ServerOther {
    /// A transaction for a request just received.
    #[must_use]
    pub fn new(reliable: bool, now: Instant) -> Self {
        Self {
            reliable,
            told: false,
            state: State::Trying {
                late: after(now, T1_X64),
            },
        }
    }

    /// The request came again.
    pub fn on_request(&mut self, actions: &mut Vec<Action>) {
        match &self.state {
            // RFC 3261 17.2.2: the most recent response is sent again.
            State::Proceeding { last: response, .. } | State::Completed { response, .. } => {
                actions.push(Action::Send(response.clone()));
            }
            // RFC 3261 17.2.2: discarded in Trying.
            State::Trying { .. } | State::Terminated => {}
        }
    }

    /// The TU sends a provisional response (RFC 4320 4.1: a 100 at most, and only late).
    pub fn provisional(&mut self, response: Bytes, actions: &mut Vec<Action>) {
        match self.state {
            State::Trying { late } | State::Proceeding { late, .. } => {
                actions.push(Action::Send(response.clone()));
                self.state = State::Proceeding {
                    last: response,
                    late,
                };
            }
            State::Completed { .. } | State::Terminated => {}
        }
    }

    /// The TU's final response is released.
    pub fn answer(&mut self, response: Bytes, now: Instant, actions: &mut Vec<Action>) {
        match self.state {
            State::Trying { .. } | State::Proceeding { .. } => {
                actions.push(Action::Send(response.clone()));
                // RFC 3261 17.2.2: Timer J is 64*T1, or zero over reliable transports.
                if self.reliable {
                    self.terminate(actions);
                } else {
                    self.state = State::Completed {
                        response,
                        j: after(now, T1_X64),
                    };
                }
            }
            // RFC 3261 17.2.2: other finals are discarded. RFC 4320 4.2: so are late ones.
            State::Completed { .. } | State::Terminated => {}
        }
    }

    /// Handles what is due at `now`.
    pub fn on_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.state {
            // RFC 4320 4.2: the client has timed out by itself; a 408, or any answer, is noise.
            State::Trying { late } | State::Proceeding { late, .. } if late <= now => {
                self.tell(Failure::Timeout, actions);
                self.terminate(actions);
            }
            State::Completed { j, .. } if j <= now => self.terminate(actions),
            State::Trying { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Terminated => {}
        }
    }

    /// A response could not be sent.
    pub fn on_transport_error(&mut self, actions: &mut Vec<Action>) {
        match self.state {
            // RFC 3261 17.2.4: the TU is told, the transaction ends.
            State::Proceeding { .. } => {
                self.tell(Failure::Transport, actions);
                self.terminate(actions);
            }
            // Other than in RFC 3261 17.2.4, and as RFC 6026 has it for INVITE, the answer is kept
            // until Timer J: forgetting it would execute a repeated request a second time.
            State::Completed { .. } => self.tell(Failure::Transport, actions),
            // Nothing of ours is on its way.
            State::Trying { .. } | State::Terminated => {}
        }
    }

    /// The timer that is due first.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timer> {
        match self.state {
            State::Trying { late } | State::Proceeding { late, .. } => {
                Some(Timer::new(TimerName::Late, late))
            }
            State::Completed { j, .. } => Some(Timer::new(TimerName::J, j)),
            State::Terminated => None,
        }
    }

    /// When [`ServerOther::on_timeout`] is wanted next.
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

    fn tell(&mut self, failure: Failure, actions: &mut Vec<Action>) {
        if !self.told {
            self.told = true;
            actions.push(Action::Failed(failure));
        }
    }

    fn terminate(&mut self, actions: &mut Vec<Action>) {
        self.state = State::Terminated;
        actions.push(Action::Terminated);
    }
}

impl<T> ServerOther<T> {
    /// The state, for the owner's decisions and for people.
    #[must_use]
    pub const fn state(&self) -> &State<T> {
        &self.state
    }

    /// Whether the transaction is over.
    #[must_use]
    pub const fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// Whether a final response has been released, or it is too late for one.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        matches!(self.state, State::Completed { .. } | State::Terminated)
    }

    fn map<U>(&self, time: impl Fn(&T) -> U) -> ServerOther<U> {
        let state = match &self.state {
            State::Trying { late } => State::Trying { late: time(late) },
            State::Proceeding { last, late } => State::Proceeding {
                last: last.clone(),
                late: time(late),
            },
            State::Completed { response, j } => State::Completed {
                response: response.clone(),
                j: time(j),
            },
            State::Terminated => State::Terminated,
        };
        ServerOther {
            reliable: self.reliable,
            told: self.told,
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{NOW, every_cell, over_the_wire, run_out, table, text};
    use super::*;
    use crate::base::time::Duration;

    const STATES: &[&str] = &["trying", "proceeding", "completed", "terminated"];
    const EVENTS: &[&str] = &["request", "1xx", "final", "timeout", "error"];

    fn name<T>(machine: &ServerOther<T>) -> &'static str {
        match machine.state() {
            State::Trying { .. } => "trying",
            State::Proceeding { .. } => "proceeding",
            State::Completed { .. } => "completed",
            State::Terminated => "terminated",
        }
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn machine(reliable: bool, state: &str) -> ServerOther {
        let end = NOW + T1_X64;
        let state = match state {
            "trying" => State::Trying { late: end },
            "proceeding" => State::Proceeding {
                last: bytes("100"),
                late: end,
            },
            "completed" => State::Completed {
                response: bytes("200"),
                j: end,
            },
            "terminated" => State::Terminated,
            other => panic!("{other}"),
        };
        ServerOther {
            reliable,
            told: false,
            state,
        }
    }

    fn run(reliable: bool, state: &str, event: &str) -> (String, Vec<Action>) {
        let mut machine = machine(reliable, state);
        let mut actions = Vec::new();
        match event {
            "request" => machine.on_request(&mut actions),
            "1xx" => machine.provisional(bytes("182"), &mut actions),
            "final" => machine.answer(bytes("481"), NOW, &mut actions),
            "timeout" => {
                let due = machine.next_deadline().unwrap_or(NOW);
                machine.on_timeout(due, &mut actions);
            }
            "error" => machine.on_transport_error(&mut actions),
            other => panic!("{other}"),
        }
        (name(&machine).to_owned(), actions)
    }

    // Goal: T11, T12. Method: each (state, event) cell, over UDP and over streams.
    #[test]
    fn every_cell_of_the_table() {
        every_cell(
            STATES,
            EVENTS,
            &table("server of other requests", "UDP"),
            |s, e| run(false, s, e),
        );
        every_cell(
            STATES,
            EVENTS,
            &table("server of other requests", "stream"),
            |s, e| run(true, s, e),
        );
    }

    fn out(machine: &mut ServerOther) -> Vec<(u128, String)> {
        run_out(machine, ServerOther::next_deadline, ServerOther::on_timeout)
    }

    // Goal: T12, T20, T21. Method: virtual time until nothing is left, then a late answer.
    #[test]
    fn it_never_sends_by_itself_and_drops_a_late_answer() {
        let failed = [(32_000, "failed timeout; terminated".to_owned())];
        let mut unanswered = ServerOther::new(false, NOW);
        assert_eq!(out(&mut unanswered), failed);
        let mut actions = Vec::new();
        unanswered.answer(bytes("200"), NOW + T1_X64, &mut actions);
        assert_eq!(actions, []);
        assert_eq!(
            out(&mut machine(false, "completed")),
            [(32_000, "terminated".to_owned())]
        );
    }

    #[test]
    fn t11_timer_j_counts_from_release() {
        let mut machine = ServerOther::new(false, NOW);
        let released = NOW + Duration::from_secs(20);
        let mut actions = Vec::new();
        machine.answer(bytes("200"), released, &mut actions);
        assert_eq!(
            machine.next_timer(),
            Some(Timer::new(TimerName::J, released + T1_X64))
        );
        machine.on_transport_error(&mut actions);
        machine.on_transport_error(&mut actions);
        machine.on_request(&mut actions);
        assert_eq!(text(&actions), "send 200; failed transport; send 200");
    }

    // Goal: a takeover keeps every state. Method: image, encoding, another clock, time passing.
    #[test]
    fn each_state_survives_a_takeover() {
        for state in STATES {
            let mut machine = machine(false, state);
            let later = NOW + Duration::from_secs(10);
            let image = over_the_wire(&machine.snapshot(later));
            let elsewhere = Instant::from_nanos(7);
            let heir = ServerOther::restore(&image, elsewhere);
            let left = machine.next_deadline().map(|at| at.since(later));
            assert_eq!(heir.next_deadline().map(|at| at.since(elsewhere)), left);
            let mut back = ServerOther::restore(&image, later);
            assert_eq!(back, machine);
            assert_eq!(out(&mut back), out(&mut machine));
        }
    }
}
