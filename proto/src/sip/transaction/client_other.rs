//! The client transaction of every request but INVITE and ACK: RFC 3261 17.1.2.
//!
//! It never answers the TU twice: repeats of a final response are absorbed over UDP for T4.
//!
//! ```text
//!                      | request from TU: send
//!                      V
//!                +-----------+
//!   Timer E      |  Trying   |------------------+
//!   send         +-----------+                  |
//!     200-699       |     | 1xx: to TU          |
//!     to TU         |     V                     | Timer F or transport error
//!                   |  +------------+           | tell TU
//!   Timer E: send   |  | Proceeding |-----------+
//!   1xx: to TU      |  +------------+           |
//!                   |     | 200-699: to TU      |
//!                   V     V                     |
//!                +-----------+                  |
//!   any          | Completed |                  |
//!   response: -  +-----------+                  |
//!                      | Timer K: -             |
//!                      V                        |
//!                +------------+                 |
//!                | Terminated |<----------------+
//!                +------------+
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::timer::{Remaining, Retransmit, Timer, TimerName, after};
use super::{Action, Failure};
use crate::base::limits::{T1_X64, T4};
use crate::base::time::Instant;

/// A non-INVITE client transaction; `T` is [`Instant`] in a live one, [`Remaining`] in an
/// [`Image`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientOther<T = Instant> {
    /// The request leaves over a transport that delivers by itself: no Timer E, Timer K is zero.
    reliable: bool,
    state: State<T>,
}

/// What lies in a record.
pub type Image = ClientOther<Remaining>;

/// The states of RFC 3261 figure 6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State<T = Instant> {
    /// No response yet.
    Trying(Pending<T>),
    /// A provisional has come.
    Proceeding(Pending<T>),
    /// A final has come; its repeats are absorbed.
    Completed {
        /// Ends it.
        k: T,
    },
    /// Done.
    Terminated,
}

/// A request that waits for its final response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending<T = Instant> {
    /// The request as sent.
    pub request: Bytes,
    /// Retransmits it; absent over streams.
    pub e: Option<Retransmit<T>>,
    /// Gives up.
    pub f: T,
}

impl ClientOther {
    /// Sends `request` and waits for its response.
    #[must_use]
    pub fn new(reliable: bool, request: Bytes, now: Instant, actions: &mut Vec<Action>) -> Self {
        actions.push(Action::Send(request.clone()));
        // RFC 3261 17.1.2.2: Timer E over unreliable transports only, Timer F always.
        let e = (!reliable).then(|| Retransmit::start(now));
        let state = State::Trying(Pending {
            request,
            e,
            f: after(now, T1_X64),
        });
        Self { reliable, state }
    }

    /// A response with `status` matched this transaction. [`Action::Deliver`]: it is the TU's.
    pub fn on_response(&mut self, status: u16, now: Instant, actions: &mut Vec<Action>) {
        match (&self.state, status) {
            // RFC 3261 17.1.2.2: provisionals go to the TU; Timer E runs on.
            (State::Trying(pending) | State::Proceeding(pending), 100..=199) => {
                actions.push(Action::Deliver);
                self.state = State::Proceeding(pending.clone());
            }
            // RFC 3261 17.1.2.2: Timer K is T4, or zero over reliable transports.
            (State::Trying(_) | State::Proceeding(_), 200..=699) => {
                actions.push(Action::Deliver);
                if self.reliable {
                    self.terminate(actions);
                } else {
                    self.state = State::Completed { k: after(now, T4) };
                }
            }
            // RFC 3261 17.1.2.2: Completed absorbs. No status of SIP: as if lost.
            _ => {}
        }
    }

    /// Handles what is due at `now`.
    pub fn on_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.state {
            // RFC 3261 17.1.2.2: Timer F, in both states.
            State::Trying(pending) | State::Proceeding(pending) if pending.f <= now => {
                actions.push(Action::Failed(Failure::Timeout));
                self.terminate(actions);
            }
            // RFC 3261 17.1.2.2: Timer E doubles up to T2.
            State::Trying(Pending {
                request,
                e: Some(e),
                ..
            }) if e.at <= now => {
                actions.push(Action::Send(request.clone()));
                e.double_to_t2(now);
            }
            // RFC 3261 17.1.2.2: Timer E is T2 after a provisional.
            State::Proceeding(Pending {
                request,
                e: Some(e),
                ..
            }) if e.at <= now => {
                actions.push(Action::Send(request.clone()));
                e.at_t2(now);
            }
            State::Completed { k } if *k <= now => self.terminate(actions),
            State::Trying(_)
            | State::Proceeding(_)
            | State::Completed { .. }
            | State::Terminated => {}
        }
    }

    /// The request could not be sent.
    pub fn on_transport_error(&mut self, actions: &mut Vec<Action>) {
        match self.state {
            // RFC 3261 17.1.4: the TU is told, the transaction ends.
            State::Trying(_) | State::Proceeding(_) => {
                actions.push(Action::Failed(Failure::Transport));
                self.terminate(actions);
            }
            State::Completed { .. } | State::Terminated => {}
        }
    }

    /// The timer that is due first.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timer> {
        match &self.state {
            State::Trying(pending) | State::Proceeding(pending) => {
                let f = Timer::new(TimerName::F, pending.f);
                Some(
                    pending
                        .e
                        .map_or(f, |e| f.earlier(Timer::new(TimerName::E, e.at))),
                )
            }
            State::Completed { k } => Some(Timer::new(TimerName::K, *k)),
            State::Terminated => None,
        }
    }

    /// When [`ClientOther::on_timeout`] is wanted next.
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

    fn terminate(&mut self, actions: &mut Vec<Action>) {
        self.state = State::Terminated;
        actions.push(Action::Terminated);
    }
}

impl<T> ClientOther<T> {
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

    fn map<U>(&self, time: impl Fn(&T) -> U) -> ClientOther<U> {
        let pending = |pending: &Pending<T>| Pending {
            request: pending.request.clone(),
            e: pending.e.as_ref().map(|e| e.map(&time)),
            f: time(&pending.f),
        };
        let state = match &self.state {
            State::Trying(request) => State::Trying(pending(request)),
            State::Proceeding(request) => State::Proceeding(pending(request)),
            State::Completed { k } => State::Completed { k: time(k) },
            State::Terminated => State::Terminated,
        };
        ClientOther {
            reliable: self.reliable,
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
    const EVENTS: &[&str] = &["1xx", "final", "no status", "timeout", "error"];

    fn name<T>(machine: &ClientOther<T>) -> &'static str {
        match machine.state() {
            State::Trying(_) => "trying",
            State::Proceeding(_) => "proceeding",
            State::Completed { .. } => "completed",
            State::Terminated => "terminated",
        }
    }

    fn machine(reliable: bool, state: &str) -> ClientOther {
        let pending = Pending {
            request: Bytes::from_static(b"BYE"),
            e: (!reliable).then(|| Retransmit::start(NOW)),
            f: NOW + T1_X64,
        };
        let state = match state {
            "trying" => State::Trying(pending),
            "proceeding" => State::Proceeding(pending),
            "completed" => State::Completed { k: NOW + T4 },
            "terminated" => State::Terminated,
            other => panic!("{other}"),
        };
        ClientOther { reliable, state }
    }

    fn run(reliable: bool, state: &str, event: &str) -> (String, Vec<Action>) {
        let mut machine = machine(reliable, state);
        let mut actions = Vec::new();
        match event {
            "1xx" => machine.on_response(199, NOW, &mut actions),
            "final" => machine.on_response(200, NOW, &mut actions),
            "no status" => {
                for status in [0, 99, 700, u16::MAX] {
                    machine.on_response(status, NOW, &mut actions);
                }
            }
            "timeout" => {
                let due = machine.next_deadline().unwrap_or(NOW);
                machine.on_timeout(due, &mut actions);
            }
            "error" => machine.on_transport_error(&mut actions),
            other => panic!("{other}"),
        }
        (name(&machine).to_owned(), actions)
    }

    // Goal: T6, T7, T20. Method: each (state, event) cell, over UDP and over streams.
    #[test]
    fn every_cell_of_the_table() {
        every_cell(
            STATES,
            EVENTS,
            &table("client of other requests", "UDP"),
            |s, e| run(false, s, e),
        );
        every_cell(
            STATES,
            EVENTS,
            &table("client of other requests", "stream"),
            |s, e| run(true, s, e),
        );
    }

    fn out(machine: &mut ClientOther) -> Vec<(u128, String)> {
        run_out(machine, ClientOther::next_deadline, ClientOther::on_timeout)
    }

    fn sends(at: &[u128]) -> Vec<(u128, String)> {
        let mut log: Vec<_> = at.iter().map(|at| (*at, "send BYE".to_owned())).collect();
        log.push((32_000, "failed timeout; terminated".to_owned()));
        log
    }

    // Goal: T6, T21. Method: a request that nobody answers, in virtual time.
    #[test]
    fn t6_timer_e_doubles_to_t2_until_timer_f_fails_once() {
        let mut actions = Vec::new();
        let request = Bytes::from_static(b"BYE");
        let mut udp = ClientOther::new(false, request.clone(), NOW, &mut actions);
        assert_eq!(text(&actions), "send BYE");
        let again = [
            500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
        ];
        assert_eq!(out(&mut udp), sends(&again));
        assert!(udp.is_terminated());
        let mut stream = ClientOther::new(true, request, NOW, &mut actions);
        assert_eq!(out(&mut stream), sends(&[]));
    }

    // Goal: T6. Method: a 100 after the first retransmission, then silence.
    #[test]
    fn t6_after_a_provisional_timer_e_is_t2() {
        let mut machine = machine(false, "trying");
        let mut actions = Vec::new();
        machine.on_timeout(NOW + Duration::from_millis(500), &mut actions);
        machine.on_response(100, NOW + Duration::from_millis(600), &mut actions);
        assert_eq!(text(&actions), "send BYE; deliver");
        let again = [1_500, 5_500, 9_500, 13_500, 17_500, 21_500, 25_500, 29_500];
        assert_eq!(out(&mut machine), sends(&again));
    }

    #[test]
    fn t7_timer_k_absorbs_repeats_for_t4() {
        let mut machine = machine(false, "trying");
        let mut actions = Vec::new();
        machine.on_response(200, NOW, &mut actions);
        machine.on_response(200, NOW + T4 - Duration::from_nanos(1), &mut actions);
        assert_eq!(text(&actions), "deliver");
        assert_eq!(out(&mut machine), [(5_000, "terminated".to_owned())]);
    }

    // Goal: a takeover keeps every state. Method: image, encoding, another clock, time passing.
    #[test]
    fn each_state_survives_a_takeover() {
        for state in STATES {
            for reliable in [false, true] {
                let mut machine = machine(reliable, state);
                let later = NOW + Duration::from_millis(400);
                let image = over_the_wire(&machine.snapshot(later));
                let elsewhere = Instant::from_nanos(7);
                let heir = ClientOther::restore(&image, elsewhere);
                let left = machine.next_deadline().map(|at| at.since(later));
                assert_eq!(heir.next_deadline().map(|at| at.since(elsewhere)), left);
                let mut back = ClientOther::restore(&image, later);
                assert_eq!(back, machine);
                assert_eq!(out(&mut back), out(&mut machine));
            }
        }
    }
}
