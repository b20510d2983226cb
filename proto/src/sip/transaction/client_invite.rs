//! The INVITE client transaction: RFC 3261 17.1.1 as RFC 6026 7.2 corrects it.
//!
//! It acknowledges a 3xx-6xx itself, with the ACK that its keeper writes; the ACK of a 2xx is the
//! TU's. In Proceeding it waits for ever: how long a phone may ring is the caller's to say.
//!
//! ```text
//!                        | INVITE from TU: send
//!                        V
//!                 +-----------+ Timer A: send
//!                 |  Calling  |-------------------+
//!                 +-----------+                   | Timer B or transport error
//!   300-699          |   |   | 2xx                | tell TU
//!   ACK, to TU       |   |   | to TU              |
//!        +-----------+   |   +-------+            |
//!        |         1xx   V to TU     |            |
//!        |     +------------+        |            |
//!        |<----| Proceeding |------->|            |
//!        |     +------------+        |            |
//!        V        1xx: to TU         V            |
//!   +-----------+             +------------+      |
//!   | Completed | 300-699:    |  Accepted  | 2xx: |
//!   |           | ACK         |            | to TU|
//!   +-----------+             +------------+      |
//!        | Timer D: -                | Timer M: - |
//!        V                           V            |
//!   +------------------------------------------+  |
//!   |                Terminated                |<-+
//!   +------------------------------------------+
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::timer::{Remaining, Retransmit, Timer, TimerName, after};
use super::{Action, Failure};
use crate::base::limits::T1_X64;
use crate::base::time::Instant;

/// An INVITE client transaction; `T` is [`Instant`] in a live one, [`Remaining`] in an [`Image`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInvite<T = Instant> {
    /// The request leaves over a transport that delivers by itself: no Timer A, Timer D is zero.
    reliable: bool,
    state: State<T>,
}

/// What lies in a record.
pub type Image = ClientInvite<Remaining>;

/// The states of RFC 3261 figure 5 as RFC 6026 redraws it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State<T = Instant> {
    /// No response yet.
    Calling {
        /// The request as sent.
        request: Bytes,
        /// Retransmits it; absent over streams.
        a: Option<Retransmit<T>>,
        /// Gives up.
        b: T,
    },
    /// A provisional has come.
    Proceeding,
    /// 3xx-6xx has come and was acknowledged.
    Completed {
        /// The ACK, for its repeats.
        ack: Bytes,
        /// Ends it.
        d: T,
    },
    /// A 2xx has come; further ones are the TU's, of whatever dialog.
    Accepted {
        /// Ends it.
        m: T,
    },
    /// Done.
    Terminated,
}

impl ClientInvite {
    /// Sends `request` and waits for its responses.
    #[must_use]
    pub fn new(reliable: bool, request: Bytes, now: Instant, actions: &mut Vec<Action>) -> Self {
        actions.push(Action::Send(request.clone()));
        // RFC 3261 17.1.1.2: Timer A over unreliable transports only, Timer B always.
        let a = (!reliable).then(|| Retransmit::start(now));
        let b = after(now, T1_X64);
        Self {
            reliable,
            state: State::Calling { request, a, b },
        }
    }

    /// A response with `status` matched this transaction. `ack` writes the ACK of a 3xx-6xx (RFC
    /// 3261 17.1.1.3). [`Action::Deliver`]: the response is the TU's.
    pub fn on_response(
        &mut self,
        status: u16,
        ack: impl FnOnce() -> Bytes,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match (&self.state, status) {
            // RFC 3261 17.1.1.2: a provisional ends Timers A and B.
            (State::Calling { .. } | State::Proceeding, 100..=199) => {
                actions.push(Action::Deliver);
                self.state = State::Proceeding;
            }
            // RFC 6026 7.2: Timer M, whatever the transport.
            (State::Calling { .. } | State::Proceeding, 200..=299) => {
                actions.push(Action::Deliver);
                self.state = State::Accepted {
                    m: after(now, T1_X64),
                };
            }
            // RFC 3261 17.1.1.2: Timer D is at least 32 s, or zero over reliable transports.
            (State::Calling { .. } | State::Proceeding, 300..=699) => {
                let ack = ack();
                actions.push(Action::Send(ack.clone()));
                actions.push(Action::Deliver);
                if self.reliable {
                    self.terminate(actions);
                } else {
                    let d = after(now, T1_X64);
                    self.state = State::Completed { ack, d };
                }
            }
            // RFC 3261 17.1.1.2: acknowledged again, the TU is not told again.
            (State::Completed { ack, .. }, 300..=699) => actions.push(Action::Send(ack.clone())),
            // RFC 6026 7.2: every 2xx is the TU's.
            (State::Accepted { .. }, 200..=299) => actions.push(Action::Deliver),
            // Late ones, and what is no status of SIP: as if lost.
            _ => {}
        }
    }

    /// Handles what is due at `now`.
    pub fn on_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.state {
            // RFC 3261 17.1.1.2: Timer B.
            State::Calling { b, .. } if *b <= now => {
                actions.push(Action::Failed(Failure::Timeout));
                self.terminate(actions);
            }
            // RFC 3261 17.1.1.2: Timer A doubles without a bound of its own.
            State::Calling {
                request,
                a: Some(a),
                ..
            } if a.at <= now => {
                actions.push(Action::Send(request.clone()));
                a.double(now);
            }
            State::Completed { d: end, .. } | State::Accepted { m: end } if *end <= now => {
                self.terminate(actions);
            }
            State::Calling { .. }
            | State::Proceeding
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// The request or its ACK could not be sent.
    pub fn on_transport_error(&mut self, actions: &mut Vec<Action>) {
        match self.state {
            // RFC 3261 17.1.4: the TU is told, the transaction ends.
            State::Calling { .. } | State::Proceeding | State::Completed { .. } => {
                actions.push(Action::Failed(Failure::Transport));
                self.terminate(actions);
            }
            // Nothing of ours is on its way.
            State::Accepted { .. } | State::Terminated => {}
        }
    }

    /// The timer that is due first.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timer> {
        match &self.state {
            State::Calling { a, b, .. } => {
                let b = Timer::new(TimerName::B, *b);
                Some(a.map_or(b, |a| b.earlier(Timer::new(TimerName::A, a.at))))
            }
            State::Completed { d, .. } => Some(Timer::new(TimerName::D, *d)),
            State::Accepted { m } => Some(Timer::new(TimerName::M, *m)),
            State::Proceeding | State::Terminated => None,
        }
    }

    /// When [`ClientInvite::on_timeout`] is wanted next.
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

impl<T> ClientInvite<T> {
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

    /// Whether no final response has come.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Proceeding)
    }

    /// Whether a 2xx has come and its repeats are waited for.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        matches!(self.state, State::Accepted { .. })
    }

    fn map<U>(&self, time: impl Fn(&T) -> U) -> ClientInvite<U> {
        let state = match &self.state {
            State::Calling { request, a, b } => State::Calling {
                request: request.clone(),
                a: a.as_ref().map(|a| a.map(&time)),
                b: time(b),
            },
            State::Proceeding => State::Proceeding,
            State::Completed { ack, d } => State::Completed {
                ack: ack.clone(),
                d: time(d),
            },
            State::Accepted { m } => State::Accepted { m: time(m) },
            State::Terminated => State::Terminated,
        };
        ClientInvite {
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

    const STATES: &[&str] = &[
        "calling",
        "proceeding",
        "completed",
        "accepted",
        "terminated",
    ];
    const EVENTS: &[&str] = &["1xx", "2xx", "3xx-6xx", "no status", "timeout", "error"];

    fn name<T>(machine: &ClientInvite<T>) -> &'static str {
        match machine.state() {
            State::Calling { .. } => "calling",
            State::Proceeding => "proceeding",
            State::Completed { .. } => "completed",
            State::Accepted { .. } => "accepted",
            State::Terminated => "terminated",
        }
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn machine(reliable: bool, state: &str) -> ClientInvite {
        let end = NOW + T1_X64;
        let state = match state {
            "calling" => State::Calling {
                request: bytes("INVITE"),
                a: (!reliable).then(|| Retransmit::start(NOW)),
                b: end,
            },
            "proceeding" => State::Proceeding,
            "completed" => State::Completed {
                ack: bytes("ACK"),
                d: end,
            },
            "accepted" => State::Accepted { m: end },
            "terminated" => State::Terminated,
            other => panic!("{other}"),
        };
        ClientInvite { reliable, state }
    }

    fn run(reliable: bool, state: &str, event: &str) -> (String, Vec<Action>) {
        let mut machine = machine(reliable, state);
        let mut actions = Vec::new();
        let mut response = |status| {
            machine.on_response(status, || bytes("ACK"), NOW, &mut actions);
        };
        match event {
            "1xx" => response(183),
            "2xx" => response(202),
            "3xx-6xx" => response(486),
            "no status" => [0, 99, 700, u16::MAX].into_iter().for_each(response),
            "timeout" => {
                let due = machine.next_deadline().unwrap_or(NOW);
                machine.on_timeout(due, &mut actions);
            }
            "error" => machine.on_transport_error(&mut actions),
            other => panic!("{other}"),
        }
        (name(&machine).to_owned(), actions)
    }

    // Goal: T1 to T5, T20. Method: each (state, event) cell, over UDP and over streams.
    #[test]
    fn t1_to_t5_every_cell_of_the_table() {
        every_cell(STATES, EVENTS, &table("INVITE client", "UDP"), |s, e| {
            run(false, s, e)
        });
        every_cell(STATES, EVENTS, &table("INVITE client", "stream"), |s, e| {
            run(true, s, e)
        });
    }

    fn out(machine: &mut ClientInvite) -> Vec<(u128, String)> {
        run_out(
            machine,
            ClientInvite::next_deadline,
            ClientInvite::on_timeout,
        )
    }

    // Goal: T1, T2, T21. Method: an INVITE that nobody answers, in virtual time.
    #[test]
    fn t1_timer_a_doubles_until_timer_b_fails_once() {
        let mut actions = Vec::new();
        let mut udp = ClientInvite::new(false, bytes("INVITE"), NOW, &mut actions);
        assert_eq!(text(&actions), "send INVITE");
        let again = [500, 1_500, 3_500, 7_500, 15_500, 31_500];
        let mut expected: Vec<_> = again.map(|at| (at, "send INVITE".to_owned())).into();
        expected.push((32_000, "failed timeout; terminated".to_owned()));
        assert_eq!(out(&mut udp), expected);
        let mut stream = ClientInvite::new(true, bytes("INVITE"), NOW, &mut actions);
        assert_eq!(out(&mut stream), expected[6..]);
    }

    // Goal: T3, T4. Method: a 180, half an hour, a 486 and its repetition.
    #[test]
    fn t3_a_ringing_phone_is_waited_for_and_t4_its_refusal_acknowledged() {
        let mut machine = machine(false, "calling");
        let mut actions = Vec::new();
        let ack = || bytes("ACK");
        machine.on_response(180, ack, NOW, &mut actions);
        assert_eq!(machine.next_deadline(), None);
        let later = NOW + Duration::from_secs(1_800);
        machine.on_response(486, ack, later, &mut actions);
        machine.on_response(486, ack, later + Duration::from_secs(31), &mut actions);
        assert_eq!(text(&actions), "deliver; send ACK; deliver; send ACK");
        assert_eq!(machine.next_deadline(), Some(later + T1_X64));
    }

    // Goal: T5. Method: two 2xx, and what comes after Timer M.
    #[test]
    fn t5_every_2xx_is_the_tus_until_timer_m() {
        let mut machine = machine(false, "proceeding");
        let mut actions = Vec::new();
        let ack = || bytes("ACK");
        machine.on_response(200, ack, NOW, &mut actions);
        machine.on_response(200, ack, NOW + Duration::from_secs(31), &mut actions);
        assert_eq!(text(&actions), "deliver; deliver");
        assert_eq!(out(&mut machine), [(32_000, "terminated".to_owned())]);
        machine.on_response(200, ack, NOW + T1_X64, &mut actions);
        assert_eq!(actions.len(), 2);
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
                let heir = ClientInvite::restore(&image, elsewhere);
                let left = machine.next_deadline().map(|at| at.since(later));
                assert_eq!(heir.next_deadline().map(|at| at.since(elsewhere)), left);
                assert_eq!(heir.snapshot(elsewhere), image);
                let mut back = ClientInvite::restore(&image, later);
                assert_eq!(back, machine);
                assert_eq!(out(&mut back), out(&mut machine));
            }
        }
    }
}
