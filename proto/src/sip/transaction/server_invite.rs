//! The INVITE server transaction: RFC 3261 17.2.1 as RFC 6026 7.1 corrects it.
//!
//! It never decides anything about the call, and never retransmits a 2xx: that is the UAS core's
//! duty (`success`), since a 2xx is acknowledged end to end.
//!
//! **Output commit.** The TU may have *decided* a final response that is still held until replicas
//! acknowledge it. The machine learns of it when it is *released*: [`ServerInvite::success`] and
//! [`ServerInvite::failure`] are called then. Until then it is in Proceeding like any transaction
//! whose TU thinks; so a repeated request replays released responses only, and Timers G, H and L
//! count from release. No state is needed for it.
//!
//! ```text
//!                        | INVITE: to the TU
//!                        V 100 at once (streams) or if the TU is silent for 200 ms (UDP)
//!               +--------------------+
//!   INVITE      | Proceeding         |  101-199 from TU: send
//!   send last   |  (Silent until the |  Transport error: tell TU, stay
//!               |  first provisional)|
//!               +--------------------+
//!   300-699 from TU |            | 2xx from TU
//!   send            |            | send
//!                   V            +-----------+
//!            +-----------+                   V
//!   INVITE   |           | Timer G:   +------------+  INVITE: -
//!   send     | Completed | send       |            |  ACK: to the TU
//!            |           |            |  Accepted  |  2xx from TU: send
//!            +-----------+            |            |  Transport error: tell TU, stay
//!    Timer H   |      | ACK: -        +------------+
//!    tell TU   |      V                      |
//!              | +-----------+               |
//!              | | Confirmed | ACK: -        |
//!              | +-----------+               |
//!              |      | Timer I: -           | Timer L: -
//!              V      V                      |
//!            +------------+                  |
//!            | Terminated |<-----------------+
//!            +------------+
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::timer::{Remaining, Retransmit, TRYING_AFTER, Timer, TimerName, after};
use super::{Action, Failure};
use crate::base::limits::{T1_X64, T4};
use crate::base::time::Instant;

/// An INVITE server transaction; `T` is [`Instant`] in a live one, [`Remaining`] in an [`Image`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInvite<T = Instant> {
    /// The request came over a transport that delivers by itself: no Timer G, Timer I is zero.
    reliable: bool,
    /// The TU knows of a failure already.
    told: bool,
    state: State<T>,
}

/// What lies in a record.
pub type Image = ServerInvite<Remaining>;

/// The states of RFC 3261 figure 7 as RFC 6026 redraws it, Proceeding split at the first provisional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State<T = Instant> {
    /// RFC 3261's Proceeding before any response.
    Silent {
        /// The 100 to send if the TU stays silent.
        trying: Bytes,
        /// When it is sent.
        trying_at: T,
    },
    /// A provisional has been sent.
    Proceeding {
        /// The last one.
        last: Bytes,
    },
    /// 3xx-6xx sent, no ACK yet.
    Completed {
        /// The response.
        response: Bytes,
        /// Retransmits it; absent over streams.
        g: Option<Retransmit<T>>,
        /// Gives up on the ACK.
        h: T,
    },
    /// ACK to 3xx-6xx seen; its repeats are absorbed.
    Confirmed {
        /// Ends it.
        i: T,
    },
    /// 2xx sent; repeats of the INVITE are absorbed.
    Accepted {
        /// Ends it.
        l: T,
    },
    /// Done.
    Terminated,
}

impl ServerInvite {
    /// A transaction for an INVITE just received. `trying` is its complete 100 response.
    #[must_use]
    pub fn new(reliable: bool, trying: Bytes, now: Instant, actions: &mut Vec<Action>) -> Self {
        let state = if reliable {
            actions.push(Action::Send(trying.clone()));
            State::Proceeding { last: trying }
        } else {
            // RFC 3261 17.2.1: 100 unless the TU answers within 200 ms.
            State::Silent {
                trying,
                trying_at: after(now, TRYING_AFTER),
            }
        };
        Self {
            reliable,
            told: false,
            state,
        }
    }

    /// The INVITE came again.
    pub fn on_request(&mut self, actions: &mut Vec<Action>) {
        match &self.state {
            // RFC 3261 17.2.1: the most recent response is sent again.
            State::Proceeding { last: response } | State::Completed { response, .. } => {
                actions.push(Action::Send(response.clone()));
            }
            // RFC 6026 7.1: absorbed; the core retransmits the 2xx on its own.
            State::Accepted { .. } => {}
            State::Silent { .. } | State::Confirmed { .. } | State::Terminated => {}
        }
    }

    /// The TU sends a provisional response.
    pub fn provisional(&mut self, response: Bytes, actions: &mut Vec<Action>) {
        match self.state {
            // RFC 3261 17.2.1: any number of provisionals.
            State::Silent { .. } | State::Proceeding { .. } => {
                actions.push(Action::Send(response.clone()));
                self.state = State::Proceeding { last: response };
            }
            State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// The TU's 2xx is released. In state Accepted: a retransmission by the core, or another 2xx.
    pub fn success(&mut self, response: Bytes, now: Instant, actions: &mut Vec<Action>) {
        match self.state {
            // RFC 6026 7.1: Proceeding goes to Accepted with Timer L, whatever the transport.
            State::Silent { .. } | State::Proceeding { .. } => {
                actions.push(Action::Send(response));
                self.state = State::Accepted {
                    l: after(now, T1_X64),
                };
            }
            // RFC 6026 7.1: further 2xx go to the transport.
            State::Accepted { .. } => actions.push(Action::Send(response)),
            // RFC 3261 17.2.1: other finals are discarded in Completed.
            State::Completed { .. } | State::Confirmed { .. } | State::Terminated => {}
        }
    }

    /// The TU's 3xx-6xx is released.
    pub fn failure(&mut self, response: Bytes, now: Instant, actions: &mut Vec<Action>) {
        match self.state {
            // RFC 3261 17.2.1: Timer G over unreliable transports only, Timer H always.
            State::Silent { .. } | State::Proceeding { .. } => {
                actions.push(Action::Send(response.clone()));
                let g = (!self.reliable).then(|| Retransmit::start(now));
                self.state = State::Completed {
                    response,
                    g,
                    h: after(now, T1_X64),
                };
            }
            // RFC 3261 17.2.1: other finals are discarded in Completed.
            State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// An ACK matched this transaction.
    pub fn on_ack(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.state {
            // RFC 3261 17.2.1: Timer I is T4, or zero over reliable transports.
            State::Completed { .. } if self.reliable => self.terminate(actions),
            State::Completed { .. } => self.state = State::Confirmed { i: after(now, T4) },
            // RFC 6026 7.1: an ACK in Accepted is the TU's.
            State::Accepted { .. } => actions.push(Action::Deliver),
            State::Silent { .. }
            | State::Proceeding { .. }
            | State::Confirmed { .. }
            | State::Terminated => {}
        }
    }

    /// Handles what is due at `now`.
    pub fn on_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Silent { trying, trying_at } if *trying_at <= now => {
                let trying = trying.clone();
                self.provisional(trying, actions);
            }
            // RFC 3261 17.2.1: no ACK until Timer H is a failure that the TU hears of.
            State::Completed { h, .. } if *h <= now => {
                self.tell(Failure::Timeout, actions);
                self.terminate(actions);
            }
            // RFC 3261 17.2.1: Timer G doubles up to T2.
            State::Completed {
                response,
                g: Some(g),
                ..
            } if g.at <= now => {
                actions.push(Action::Send(response.clone()));
                g.double_to_t2(now);
            }
            State::Confirmed { i: end } | State::Accepted { l: end } if *end <= now => {
                self.terminate(actions);
            }
            State::Silent { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// A response could not be sent.
    ///
    /// RFC 6026 7.1: the TU is told and the state stays. The caller may come again by another way,
    /// and is then answered with the same response.
    pub fn on_transport_error(&mut self, actions: &mut Vec<Action>) {
        match self.state {
            State::Proceeding { .. } | State::Completed { .. } | State::Accepted { .. } => {
                self.tell(Failure::Transport, actions);
            }
            // Nothing of ours is on its way.
            State::Silent { .. } | State::Confirmed { .. } | State::Terminated => {}
        }
    }

    /// The timer that is due first.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timer> {
        match &self.state {
            State::Silent { trying_at, .. } => Some(Timer::new(TimerName::Trying, *trying_at)),
            State::Completed { g, h, .. } => {
                let h = Timer::new(TimerName::H, *h);
                Some(g.map_or(h, |g| h.earlier(Timer::new(TimerName::G, g.at))))
            }
            State::Confirmed { i } => Some(Timer::new(TimerName::I, *i)),
            State::Accepted { l } => Some(Timer::new(TimerName::L, *l)),
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// When [`ServerInvite::on_timeout`] is wanted next.
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

impl<T> ServerInvite<T> {
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

    /// Whether a final response has been released.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        !matches!(self.state, State::Silent { .. } | State::Proceeding { .. })
    }

    fn map<U>(&self, time: impl Fn(&T) -> U) -> ServerInvite<U> {
        let state = match &self.state {
            State::Silent { trying, trying_at } => State::Silent {
                trying: trying.clone(),
                trying_at: time(trying_at),
            },
            State::Proceeding { last } => State::Proceeding { last: last.clone() },
            State::Completed { response, g, h } => State::Completed {
                response: response.clone(),
                g: g.as_ref().map(|g| g.map(&time)),
                h: time(h),
            },
            State::Confirmed { i } => State::Confirmed { i: time(i) },
            State::Accepted { l } => State::Accepted { l: time(l) },
            State::Terminated => State::Terminated,
        };
        ServerInvite {
            reliable: self.reliable,
            told: self.told,
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{NOW, Row, every_cell, over_the_wire, run_out, text};
    use super::*;
    use crate::base::time::Duration;

    const STATES: &[&str] = &[
        "silent",
        "proceeding",
        "completed",
        "confirmed",
        "accepted",
        "terminated",
    ];
    const EVENTS: &[&str] = &[
        "request", "1xx", "2xx", "3xx-6xx", "ack", "timeout", "error",
    ];

    fn name<T>(machine: &ServerInvite<T>) -> &'static str {
        match machine.state() {
            State::Silent { .. } => "silent",
            State::Proceeding { .. } => "proceeding",
            State::Completed { .. } => "completed",
            State::Confirmed { .. } => "confirmed",
            State::Accepted { .. } => "accepted",
            State::Terminated => "terminated",
        }
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// Built by hand, so that states no stream can reach are covered too.
    fn machine(reliable: bool, state: &str) -> ServerInvite {
        let end = NOW + T1_X64;
        let state = match state {
            "silent" => State::Silent {
                trying: bytes("100"),
                trying_at: NOW + TRYING_AFTER,
            },
            "proceeding" => State::Proceeding { last: bytes("180") },
            "completed" => State::Completed {
                response: bytes("486"),
                g: (!reliable).then(|| Retransmit::start(NOW)),
                h: end,
            },
            "confirmed" => State::Confirmed { i: NOW + T4 },
            "accepted" => State::Accepted { l: end },
            "terminated" => State::Terminated,
            other => panic!("{other}"),
        };
        ServerInvite {
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
            "1xx" => machine.provisional(bytes("183"), &mut actions),
            "2xx" => machine.success(bytes("200"), NOW, &mut actions),
            "3xx-6xx" => machine.failure(bytes("500"), NOW, &mut actions),
            "ack" => machine.on_ack(NOW, &mut actions),
            "timeout" => {
                let due = machine.next_deadline().unwrap_or(NOW);
                machine.on_timeout(due, &mut actions);
            }
            "error" => machine.on_transport_error(&mut actions),
            other => panic!("{other}"),
        }
        (name(&machine).to_owned(), actions)
    }

    /// The cells that the transport changes are not here.
    const BOTH: &[Row] = &[
        ("silent", "request", "silent", ""),
        ("silent", "1xx", "proceeding", "send 183"),
        ("silent", "2xx", "accepted", "send 200"),
        ("silent", "3xx-6xx", "completed", "send 500"),
        ("silent", "ack", "silent", ""),
        ("silent", "timeout", "proceeding", "send 100"),
        ("silent", "error", "silent", ""),
        ("proceeding", "request", "proceeding", "send 180"),
        ("proceeding", "1xx", "proceeding", "send 183"),
        ("proceeding", "2xx", "accepted", "send 200"),
        ("proceeding", "3xx-6xx", "completed", "send 500"),
        ("proceeding", "ack", "proceeding", ""),
        ("proceeding", "timeout", "proceeding", ""),
        ("proceeding", "error", "proceeding", "failed transport"),
        ("completed", "request", "completed", "send 486"),
        ("completed", "1xx", "completed", ""),
        ("completed", "2xx", "completed", ""),
        ("completed", "3xx-6xx", "completed", ""),
        ("completed", "error", "completed", "failed transport"),
        ("confirmed", "request", "confirmed", ""),
        ("confirmed", "1xx", "confirmed", ""),
        ("confirmed", "2xx", "confirmed", ""),
        ("confirmed", "3xx-6xx", "confirmed", ""),
        ("confirmed", "ack", "confirmed", ""),
        ("confirmed", "timeout", "terminated", "terminated"),
        ("confirmed", "error", "confirmed", ""),
        ("accepted", "request", "accepted", ""),
        ("accepted", "1xx", "accepted", ""),
        ("accepted", "2xx", "accepted", "send 200"),
        ("accepted", "3xx-6xx", "accepted", ""),
        ("accepted", "ack", "accepted", "deliver"),
        ("accepted", "timeout", "terminated", "terminated"),
        ("accepted", "error", "accepted", "failed transport"),
        ("terminated", "request", "terminated", ""),
        ("terminated", "1xx", "terminated", ""),
        ("terminated", "2xx", "terminated", ""),
        ("terminated", "3xx-6xx", "terminated", ""),
        ("terminated", "ack", "terminated", ""),
        ("terminated", "timeout", "terminated", ""),
        ("terminated", "error", "terminated", ""),
    ];
    const UDP: &[Row] = &[
        ("completed", "ack", "confirmed", ""),
        ("completed", "timeout", "completed", "send 486"),
    ];
    const STREAM: &[Row] = &[
        ("completed", "ack", "terminated", "terminated"),
        (
            "completed",
            "timeout",
            "terminated",
            "failed timeout; terminated",
        ),
    ];

    // Goal: T8, T9, T10, T18. Method: each (state, event) cell, over UDP and over streams.
    #[test]
    fn every_cell_of_the_table() {
        every_cell(STATES, EVENTS, &[BOTH, UDP].concat(), |s, e| {
            run(false, s, e)
        });
        every_cell(STATES, EVENTS, &[BOTH, STREAM].concat(), |s, e| {
            run(true, s, e)
        });
    }

    fn out(machine: &mut ServerInvite) -> Vec<(u128, String)> {
        run_out(
            machine,
            ServerInvite::next_deadline,
            ServerInvite::on_timeout,
        )
    }

    // Goal: T8. Method: what a new transaction does by itself, in virtual time.
    #[test]
    fn trying_goes_out_at_once_over_streams_and_after_200_ms_over_udp() {
        let mut actions = Vec::new();
        let mut stream = ServerInvite::new(true, bytes("100"), NOW, &mut actions);
        assert_eq!(
            (name(&stream), text(&actions)),
            ("proceeding", "send 100".to_owned())
        );
        assert_eq!(out(&mut stream), []);
        actions.clear();
        let mut udp = ServerInvite::new(false, bytes("100"), NOW, &mut actions);
        assert_eq!((name(&udp), text(&actions)), ("silent", String::new()));
        assert_eq!(out(&mut udp), [(200, "send 100".to_owned())]);
        udp.on_request(&mut actions);
        assert_eq!(text(&actions), "send 100");
    }

    // Goal: T9, T20, T21. Method: a 486 that nobody acknowledges, in virtual time.
    #[test]
    fn timer_g_doubles_to_t2_until_timer_h_fails_once() {
        let again = [
            500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
        ];
        let mut expected: Vec<_> = again.map(|at| (at, "send 486".to_owned())).into();
        expected.push((32_000, "failed timeout; terminated".to_owned()));
        let mut udp = machine(false, "completed");
        assert_eq!(out(&mut udp), expected);
        assert!(udp.is_terminated());
        let mut stream = machine(true, "completed");
        assert_eq!(out(&mut stream), expected[10..]);
    }

    #[test]
    fn timers_i_and_l_end_it_quietly() {
        let quiet = |at| [(at, "terminated".to_owned())];
        assert_eq!(out(&mut machine(false, "confirmed")), quiet(5_000));
        assert_eq!(out(&mut machine(false, "accepted")), quiet(32_000));
        assert_eq!(out(&mut machine(true, "accepted")), quiet(32_000));
    }

    // Goal: T20. Method: several failures; the TU hears of the first.
    #[test]
    fn a_failure_is_told_once_even_over_a_takeover() {
        let mut machine = machine(false, "completed");
        let mut actions = Vec::new();
        machine.on_transport_error(&mut actions);
        machine.on_transport_error(&mut actions);
        machine = ServerInvite::restore(&machine.snapshot(NOW), NOW);
        machine.on_timeout(NOW + T1_X64, &mut actions);
        machine.on_timeout(NOW + T1_X64, &mut actions);
        assert_eq!(text(&actions), "failed transport; terminated");
    }

    #[test]
    fn a_late_wake_up_sends_once() {
        let mut machine = machine(false, "completed");
        let mut actions = Vec::new();
        machine.on_timeout(NOW + Duration::from_secs(20), &mut actions);
        assert_eq!(text(&actions), "send 486");
        assert_eq!(machine.next_deadline(), Some(NOW + Duration::from_secs(21)));
    }

    // Goal: a takeover keeps every state. Method: image, encoding, another clock, time passing.
    #[test]
    fn each_state_survives_a_takeover() {
        for state in STATES {
            for reliable in [false, true] {
                let mut machine = machine(reliable, state);
                let later = NOW + Duration::from_millis(100);
                let image = over_the_wire(&machine.snapshot(later));
                let elsewhere = Instant::from_nanos(7);
                let mut heir = ServerInvite::restore(&image, elsewhere);
                let left = machine.next_deadline().map(|at| at.since(later));
                assert_eq!(heir.next_deadline().map(|at| at.since(elsewhere)), left);
                assert_eq!(heir.snapshot(elsewhere), image);
                let back = ServerInvite::restore(&image, later);
                assert_eq!(back, machine);
                heir = back;
                assert_eq!(out(&mut heir), out(&mut machine));
            }
        }
    }
}
