//! A request of the phone's and what became of it: a client transaction with its timers as plain
//! deadlines, kept as a record after it is over.
//!
//! Must not know: sockets, dialogs. RFC 3261 17.1.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::call::CallNo;
use crate::proto::sip::{Message, Method};

/// RFC 3261 17.1.1.1: the round trip that retransmissions start from.
pub const T1: Duration = Duration::from_millis(500);
/// RFC 3261 17.1.2.2: the longest pause between retransmissions.
pub const T2: Duration = Duration::from_secs(4);
/// Timers B and F, and how long a 2xx is repeated.
pub const GIVE_UP: Duration = Duration::from_secs(32);

/// Names a request of one phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeNo(pub usize);

/// A final response.
#[derive(Clone, Debug)]
pub struct Final {
    /// When it came.
    pub at: Duration,
    /// From where.
    pub source: SocketAddr,
    /// Its status.
    pub status: u16,
    /// All of it.
    pub message: Message,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With a final response, the first one.
    Answered(Box<Final>),
    /// Without one, at this time.
    TimedOut(Duration),
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Whose.
    pub call: CallNo,
    /// The method.
    pub method: Method,
    /// The CSeq number.
    pub cseq: u32,
    /// Where it was sent.
    pub to: SocketAddr,
    /// When it was first sent.
    pub sent_at: Duration,
    /// How often, the first time included.
    pub transmissions: u32,
    /// Provisional responses.
    pub provisional: Vec<(Duration, u16)>,
    /// How it ended; none while it lasts.
    pub outcome: Option<Outcome>,
    pub(super) request: Bytes,
    /// The pause before the next retransmission.
    pub(super) pause: Duration,
    /// The ACK of a non-2xx, or the last one of a 2xx, and where it went.
    pub(super) ack: Option<(SocketAddr, Bytes)>,
}

impl Exchange {
    pub(super) const fn new(
        call: CallNo,
        method: Method,
        cseq: u32,
        to: SocketAddr,
        sent_at: Duration,
        request: Bytes,
    ) -> Self {
        Self {
            call,
            method,
            cseq,
            to,
            sent_at,
            transmissions: 1,
            provisional: Vec::new(),
            outcome: None,
            request,
            pause: T1,
            ack: None,
        }
    }

    /// The final status; none while it lasts or if it timed out.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match &self.outcome {
            Some(Outcome::Answered(answer)) => Some(answer.status),
            Some(Outcome::TimedOut(_)) | None => None,
        }
    }

    /// From the first transmission to the final response.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        match &self.outcome {
            Some(Outcome::Answered(answer)) => Some(answer.at.saturating_sub(self.sent_at)),
            Some(Outcome::TimedOut(_)) | None => None,
        }
    }

    /// Whether nothing more is to be sent for it: it is over, or a provisional response stopped
    /// Timer A (RFC 3261 17.1.1.2).
    pub(super) fn is_quiet(&self) -> bool {
        self.outcome.is_some() || (self.method == Method::Invite && !self.provisional.is_empty())
    }

    /// RFC 3261 17.1.1.2 (A doubles), 17.1.2.2 (E doubles up to T2, and is T2 once a provisional
    /// response came).
    pub(super) fn next_pause(&self) -> Duration {
        if self.method == Method::Invite {
            return self.pause.saturating_mul(2);
        }
        if self.provisional.is_empty() {
            self.pause.saturating_mul(2).min(T2)
        } else {
            T2
        }
    }
}
