//! Session timers: how long a session lives without a sign of life, and whose turn it is to give
//! one. RFC 4028.
//!
//! Plain data and arithmetic: refreshing and ending are the call's. We ask for no timer of our own,
//! agree to what a peer asks, and leave the refreshing to the peer where we may choose.

use serde::{Deserialize, Serialize};

use crate::base::time::{Duration, Instant};
use crate::sip::header::{HeaderName, Params};
use crate::sip::message::Message;
use crate::sip::scan;
use crate::sip::transaction::timer::Remaining;

/// RFC 4028 4: no interval is shorter, seconds. Also our Min-SE.
pub const MIN_SE: u32 = 90;

/// What two user agents agreed on; `T` is [`Instant`] in a live one, [`Remaining`] in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTimer<T = Instant> {
    /// Seconds.
    pub interval: u32,
    /// We are to refresh; otherwise the peer is. A role, not a node: an heir has it too.
    pub ours: bool,
    /// When the session ends without a refresh; none until its 2xx was let out.
    ends: Option<T>,
}

/// Session-Expires of a message: seconds, and who is to refresh (`true`: the UAC of the request).
fn session_expires(message: &Message) -> Option<(u32, Option<bool>)> {
    let value = message.header(HeaderName::SessionExpires)?;
    let (seconds, params) = scan::cut_before(value, b';');
    let seconds = scan::number(scan::trim(seconds))?;
    let refresher = Params::new(params).value("refresher");
    let uac = refresher.and_then(|who| match who {
        _ if who.eq_ignore_ascii_case("uac") => Some(true),
        _ if who.eq_ignore_ascii_case("uas") => Some(false),
        _ => None,
    });
    Some((u32::try_from(seconds).unwrap_or(u32::MAX), uac))
}

/// RFC 4028 9: whether a request asks for less than we take, and can be told so by a 422.
#[must_use]
pub fn is_too_small(request: &Message) -> bool {
    session_expires(request).is_some_and(|(seconds, _)| seconds < MIN_SE)
        && request.lists(HeaderName::Supported, "timer")
}

impl SessionTimer {
    /// What a 2xx of ours to `request` agrees to (RFC 4028 9); none if the request asks for none.
    #[must_use]
    pub fn answer(request: &Message) -> Option<Self> {
        let (seconds, uac) = session_expires(request)?;
        let supported = request.lists(HeaderName::Supported, "timer");
        Some(Self {
            interval: seconds.max(MIN_SE),
            // RFC 4028 9, table 2: who does not know timers can't refresh; a wish is followed.
            ours: !supported || uac == Some(false),
            ends: None,
        })
    }

    /// What the 2xx to a refresh of ours says (RFC 4028 7.2); without a word there is no timer.
    #[must_use]
    pub fn accepted(response: &Message, now: Instant) -> Option<Self> {
        let (seconds, uac) = session_expires(response)?;
        let timer = Self {
            interval: seconds.max(MIN_SE),
            ours: uac != Some(false),
            ends: None,
        };
        Some(timer.started(now))
    }

    /// Counts from `now`.
    #[must_use]
    pub fn started(self, now: Instant) -> Self {
        let ends = Some(later(now, self.span()));
        Self { ends, ..self }
    }

    /// Whether it counts already.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.ends.is_some()
    }

    fn span(&self) -> Duration {
        Duration::from_secs(u64::from(self.interval))
    }

    /// RFC 4028 10: when a BYE is due if nobody has refreshed: a third of the interval, but at most
    /// 32 s, before its end.
    #[must_use]
    pub fn gives_up(&self) -> Option<Instant> {
        let third = u64::from(self.interval / 3);
        let margin = Duration::from_secs(third.min(32));
        #[expect(clippy::arithmetic_side_effects, reason = "Instant saturates")]
        self.ends.map(|ends| ends - margin)
    }

    /// RFC 4028 10: when we are to refresh, at half the interval.
    #[must_use]
    pub fn refresh_at(&self) -> Option<Instant> {
        #[expect(clippy::arithmetic_side_effects, reason = "Instant saturates")]
        self.ends
            .filter(|_| self.ours)
            .map(|ends| ends - self.span() / 2)
    }

    /// Session-Expires of our 2xx to `request`'s sender.
    #[must_use]
    pub fn in_response(&self) -> String {
        let refresher = if self.ours { "uas" } else { "uac" };
        format!("{};refresher={refresher}", self.interval)
    }

    /// Session-Expires of our refresh: the roles stay where they are.
    #[must_use]
    pub fn in_request(&self) -> String {
        let refresher = if self.ours { "uac" } else { "uas" };
        format!("{};refresher={refresher}", self.interval)
    }

    /// The timer as it goes into a record at `now`: what was agreed counts as started.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> SessionTimer<Remaining> {
        let ends = self.ends.unwrap_or_else(|| later(now, self.span()));
        SessionTimer {
            interval: self.interval,
            ours: self.ours,
            ends: Some(Remaining::until(ends, now)),
        }
    }

    /// The timer of a record.
    #[must_use]
    pub fn restore(image: SessionTimer<Remaining>, now: Instant) -> Self {
        Self {
            interval: image.interval,
            ours: image.ours,
            ends: image.ends.map(|remaining| remaining.from(now)),
        }
    }
}

#[expect(clippy::arithmetic_side_effects, reason = "Instant saturates")]
fn later(now: Instant, span: Duration) -> Instant {
    now + span
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(extra: &str) -> Message {
        let text = format!(
            "INVITE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{extra}\r\n"
        );
        Message::parse(text.into()).unwrap()
    }

    // Goal: D17. Method: RFC 4028 table 2, row by row.
    #[test]
    fn d17_who_refreshes_is_as_table_2_says() {
        for (extra, want) in [
            ("", None),
            ("Supported: timer\r\n", None),
            ("Session-Expires: 1800\r\n", Some("1800;refresher=uas")),
            (
                "Session-Expires: 1800\r\nSupported: timer\r\n",
                Some("1800;refresher=uac"),
            ),
            (
                "x: 200 ;Refresher = UAS\r\nk: 100rel, Timer\r\n",
                Some("200;refresher=uas"),
            ),
            (
                "x: 200;refresher=uac\r\nk: timer\r\n",
                Some("200;refresher=uac"),
            ),
            ("x: 5\r\n", Some("90;refresher=uas")),
            ("x: five\r\n", None),
        ] {
            let agreed = SessionTimer::answer(&message(extra));
            let said = agreed.map(|timer| timer.in_response());
            assert_eq!(said.as_deref(), want, "{extra}");
        }
        assert!(is_too_small(&message("x: 89\r\nk: timer\r\n")));
        assert!(
            !is_too_small(&message("x: 89\r\n")),
            "it would not know what 422 means"
        );
        assert!(!is_too_small(&message("x: 90\r\nk: timer\r\n")));
    }

    // Goal: D17. Method: numbers of RFC 4028 10, and a record on the way.
    #[test]
    fn d17_refresh_at_half_and_give_up_a_third_or_32_s_before_the_end() {
        let now = Instant::from_nanos(1_000_000_000_000);
        for (interval, refresh, gives_up) in [(1_800, 900, 1_768), (90, 45, 60)] {
            let timer = SessionTimer {
                interval,
                ours: true,
                ends: None,
            };
            assert_eq!(timer.gives_up(), None);
            let timer = timer.started(now);
            let after = |at: Option<Instant>| at.unwrap().since(now).as_secs();
            assert_eq!(after(timer.refresh_at()), refresh);
            assert_eq!(after(timer.gives_up()), gives_up);
            let heir = SessionTimer::restore(timer.snapshot(now), now);
            assert_eq!(heir, timer);
            let theirs = SessionTimer {
                ours: false,
                ..timer
            };
            assert_eq!(theirs.refresh_at(), None);
        }
    }
}
