//! What an INVITE of ours says that begins a leg, and what is kept of it until the leg is answered.
//! Plain data. RFC 3261 8.1.1; RFC 4028 7.1.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::uac::Again;
use crate::base::limits::T1_X64;
use crate::base::time::{Duration, Instant, millis};
use crate::sip::dialog::session_timer::MIN_SE;
use crate::sip::transaction::timer::Remaining;

/// How long a phone may ring if nobody says otherwise: Timer C of a proxy (RFC 3261 16.6).
const RING_TIMEOUT: Duration = Duration::from_secs(180);

/// What an INVITE of ours that begins a leg says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Request-URI.
    pub target: String,
    /// From: a name-addr, its tag is ours to make.
    pub from: String,
    /// To: a name-addr.
    pub to: String,
    /// Route values, in order (RFC 3261 8.1.2).
    pub routes: Vec<String>,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// Content-Type and body.
    pub body: Option<(String, Bytes)>,
    /// Max-Forwards: of a call that is passed on, one less than it came with.
    pub max_forwards: u8,
    /// Unanswered for so long, it is cancelled.
    pub ring_timeout: Duration,
    /// Seconds that the session shall live without a refresh (RFC 4028 7.1); none asks for none.
    pub session_expires: Option<u32>,
}

impl Dial {
    /// A bare INVITE from `from` to `target`.
    #[must_use]
    pub fn new(target: &str, from: &str) -> Self {
        Self {
            target: target.to_owned(),
            from: from.to_owned(),
            to: format!("<{target}>"),
            routes: Vec::new(),
            headers: Vec::new(),
            body: None,
            max_forwards: 70,
            ring_timeout: RING_TIMEOUT,
            session_expires: None,
        }
    }

    /// With an offer.
    #[must_use]
    pub fn offer(mut self, description: impl Into<Bytes>) -> Self {
        self.body = Some(("application/sdp".to_owned(), description.into()));
        self
    }

    /// With a further header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn fields(&self) -> Vec<(String, String)> {
        let timer = self.session_expires.into_iter().flat_map(|seconds| {
            let seconds = seconds.max(MIN_SE).to_string();
            let least = MIN_SE.to_string();
            [("Session-Expires", seconds), ("Min-SE", least)]
        });
        let timer = timer.map(|(name, value)| (name.to_owned(), value));
        self.headers.iter().cloned().chain(timer).collect()
    }
}

/// How far a CANCEL has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cancel<T> {
    /// Nobody wants one.
    No,
    /// RFC 3261 9.1: it waits for a provisional response.
    Wanted,
    /// Decided; once it was let out, when the INVITE is not waited for any longer.
    Sent(Option<T>),
}

/// What is kept of an INVITE that began a leg, beside its transaction; `T` is [`Instant`] in a live
/// one, [`Remaining`] in a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Dialing<T = Instant> {
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    pub(super) max_forwards: u8,
    pub(super) ring_ms: u32,
    /// None until it was let out.
    pub(super) rings_until: Option<T>,
    pub(super) cancel: Cancel<T>,
    /// A 2xx came.
    pub(super) answered: bool,
    /// A 422 was followed: once is enough.
    pub(super) retried: bool,
    /// The INVITE is to be sent again, from then on. Not in a record.
    #[serde(skip, default = "nothing")]
    pub(super) again: Option<(Again, T)>,
}

fn nothing<T>() -> Option<T> {
    None
}

impl Dialing {
    /// Of an INVITE that is not let out yet.
    pub(super) fn new(dial: &Dial) -> Self {
        Self {
            target: dial.target.clone(),
            routes: dial.routes.clone(),
            max_forwards: dial.max_forwards,
            ring_ms: millis(dial.ring_timeout),
            rings_until: None,
            cancel: Cancel::No,
            answered: false,
            retried: false,
            again: None,
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> Dialing<Remaining> {
        let left = |at: &Instant| Remaining::until(*at, now);
        let ring = later(now, Duration::from_millis(u64::from(self.ring_ms)));
        Dialing {
            target: self.target.clone(),
            routes: self.routes.clone(),
            max_forwards: self.max_forwards,
            ring_ms: self.ring_ms,
            // Decided counts as let out.
            rings_until: Some(left(&self.rings_until.unwrap_or(ring))),
            cancel: match self.cancel {
                Cancel::No => Cancel::No,
                Cancel::Wanted => Cancel::Wanted,
                Cancel::Sent(at) => Cancel::Sent(Some(left(&at.unwrap_or(later(now, T1_X64))))),
            },
            answered: self.answered,
            retried: self.retried,
            again: None,
        }
    }

    pub(super) fn restore(image: &Dialing<Remaining>, written: Instant) -> Self {
        let at = |left: &Remaining| left.from(written);
        Self {
            target: image.target.clone(),
            routes: image.routes.clone(),
            max_forwards: image.max_forwards,
            ring_ms: image.ring_ms,
            rings_until: image.rings_until.as_ref().map(at),
            cancel: match &image.cancel {
                Cancel::No => Cancel::No,
                Cancel::Wanted => Cancel::Wanted,
                Cancel::Sent(left) => Cancel::Sent(left.as_ref().map(at)),
            },
            answered: image.answered,
            retried: image.retried,
            again: None,
        }
    }
}

#[expect(clippy::arithmetic_side_effects, reason = "Instant saturates")]
pub(super) fn later(now: Instant, span: Duration) -> Instant {
    now + span
}
