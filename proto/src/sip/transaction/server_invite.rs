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

/// The states of RFC 3261 figure 7 as RFC 6026 redraws it, Proceeding split at the first
/// provisional.
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
mod tests;
