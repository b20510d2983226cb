//! A word to the peer inside a standing session: from an heir, where the call is now (SIP.md S1.2);
//! from the side that is to refresh, that the session lives (RFC 4028). An UPDATE without a session
//! description if the peer allows UPDATE, otherwise a re-INVITE with the last one, byte for byte.
//!
//! When it is due, and whether there is anything to say, is the switchboard's to know. RFC 3261
//! 14.1, RFC 3311 5.1.

use super::astray::Astray;
use super::client::{ClientTx, Purpose, chance_of};
use super::uac::Egress;
use super::{Answer, CallError, Leg};
use crate::base::time::{Duration, Instant};
use crate::sip::dialog::session_timer::{MIN_SE, SessionTimer};
use crate::sip::dialog::{Orientation, Stage};
use crate::sip::effect::{Cause, OwnRequestId};
use crate::sip::header::HeaderName;
use crate::sip::message::Message;
use crate::sip::method::Method;

/// A refresh that could not be sent just now looks again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A peer that does not know the dialog before it has got our 2xx is asked again after this.
const UNKNOWN_YET: Duration = Duration::from_secs(4);

/// Attempts that end in "not now"; after that the peer keeps the address it has.
const TRIES_MAX: u8 = 6;

/// A refresh that is due at some time, or under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refresh {
    at: Instant,
    tries: u8,
    /// The peer said that it allows UPDATE, and then did not.
    no_update: bool,
}

impl Refresh {
    pub(super) const fn at(&self) -> Instant {
        self.at
    }
}

impl Leg {
    /// The peer is to be told, at `at` or soon after, where this call is now.
    pub fn plan_refresh(&mut self, at: Instant) {
        if self.is_subscription() {
            return self.repeat_state(Some(at)); // a NOTIFY names our target as well
        }
        let (tries, no_update) = (0, false);
        self.refresh = Some(Refresh {
            at,
            tries,
            no_update,
        });
    }

    /// Whether a refresh is due and nothing stands in its way.
    #[must_use]
    pub fn owes_refresh(&self, now: Instant) -> bool {
        self.refresh.is_some_and(|refresh| refresh.at <= now) && self.is_quiet()
    }

    /// RFC 3261 14.1, RFC 3311 5.1: no offer while another is open, no re-INVITE before the ACK.
    fn is_quiet(&self) -> bool {
        let answers = |answer: &Answer| !matches!(answer, Answer::Out);
        let theirs = self.servers.iter().any(|server| answers(&server.answer));
        let ours = self.clients.iter().any(ClientTx::is_open);
        // An ACK that goes to a dead address goes there until the peer is told another.
        let told = !self.is_unacked() || (self.astray != Astray::No && self.may_update());
        self.dialog.stage == Stage::Confirmed && told && !theirs && !ours
    }

    fn may_update(&self) -> bool {
        let refused = self.refresh.is_some_and(|refresh| refresh.no_update);
        self.peer_allows("UPDATE") && !refused
    }

    /// Whether a refresh is under way.
    pub(super) fn is_refreshing(&self) -> bool {
        let mut open = self.clients.iter().filter(|client| client.is_open());
        open.any(|client| client.purpose == Purpose::Refresh)
    }

    /// A refresh that is due but can't go looks again later.
    pub(super) fn put_off_refresh(&mut self, now: Instant) {
        if !self.is_quiet()
            && let Some(refresh) = &mut self.refresh
            && refresh.at <= now
        {
            refresh.at = later(now, LOOK_AGAIN);
        }
    }

    /// A refresh that is due waits for something outside.
    pub fn delay_refresh(&mut self, at: Instant) {
        if let Some(refresh) = &mut self.refresh {
            refresh.at = at;
        }
    }

    /// Sends the refresh that is due.
    ///
    /// # Errors
    /// [`CallError`] if it can't be written; it is then given up.
    pub fn send_refresh(&mut self, egress: Egress, now: Instant) -> Result<(), CallError> {
        let Some(refresh) = self.refresh.take() else {
            return Ok(());
        };
        let update = self.peer_allows("UPDATE") && !refresh.no_update;
        let agreed = &self.dialog.session.local;
        let local = self.negotiation.unsettled().unwrap_or(agreed).clone();
        let fields: Vec<(String, String)> = self.timer.iter().flat_map(timer_fields).collect();
        let sent = if update {
            self.write_request(Method::Update, &fields, None, egress, Purpose::Refresh)
        } else if local.is_empty() {
            self.is_not_known();
            return Ok(()); // without a description to repeat there is nothing harmless to say
        } else {
            let body = Some(("application/sdp", local.as_ref()));
            self.write_request(Method::Invite, &fields, body, egress, Purpose::Refresh)
        };
        // While it is under way its own response says what comes of it.
        self.refresh = Some(Refresh {
            at: later(now, Duration::from_secs(64)),
            tries: refresh.tries.saturating_add(1),
            no_update: refresh.no_update,
        });
        sent.map(|_| ()).inspect_err(|_| {
            self.refresh = None;
            self.is_not_known();
        })
    }

    fn peer_allows(&self, method: &str) -> bool {
        let allow = self.dialog.peer_allow.as_deref().unwrap_or_default();
        allow.split(',').any(|one| one.trim() == method)
    }

    /// What became of a refresh.
    pub(super) fn refreshed(
        &mut self,
        id: OwnRequestId,
        status: u16,
        response: Option<&Message>,
        now: Instant,
    ) {
        let Some(mut refresh) = self.refresh.take() else {
            return;
        };
        let branch = self.clients.iter().find(|client| client.id == id);
        let chance = branch.map_or(0, |client| chance_of(&client.key.branch));
        let wait = match status {
            200..=299 => {
                self.session_is_known();
                return self.session_refreshed(response, now);
            }
            422 if self.raise_interval(response) => Duration::ZERO,
            491 => glare(self.dialog.orientation, chance),
            500 | 503 => retry_after(response),
            405 | 501 if !refresh.no_update => {
                refresh.no_update = true;
                Duration::ZERO
            }
            // It has not got our 2xx yet, and so does not know the dialog.
            481 if self.is_unacked() => UNKNOWN_YET,
            // RFC 3261 12.2.1.2.
            481 => return self.end(Cause::Lost),
            // Told, or refused for good. One that had no answer ends nothing: the peer may be
            // behind something that lets only its own requests through.
            _ => return self.is_not_known(),
        };
        if refresh.tries >= TRIES_MAX {
            return self.is_not_known();
        }
        refresh.at = later(now, wait);
        self.refresh = Some(refresh);
    }
}

/// What a refresh says of the session timer (RFC 4028 7.4).
fn timer_fields(timer: &SessionTimer) -> Vec<(String, String)> {
    vec![
        ("Session-Expires".to_owned(), timer.in_request()),
        ("Min-SE".to_owned(), MIN_SE.to_string()),
    ]
}

impl Leg {
    /// The 2xx that agreed on a session timer was let out, or its refresh accepted.
    pub(super) fn start_session(&mut self, now: Instant) {
        let Some(timer) = self.timer.map(|timer| timer.started(now)) else {
            return;
        };
        self.timer = Some(timer);
        if let Some(at) = timer.refresh_at() {
            self.plan_refresh(at);
        }
    }

    fn session_refreshed(&mut self, response: Option<&Message>, now: Instant) {
        if self.timer.is_some() {
            self.timer = response.and_then(|response| SessionTimer::accepted(response, now));
            self.start_session(now);
        }
    }

    /// RFC 4028 7.4: the peer wants a longer interval.
    fn raise_interval(&mut self, response: Option<&Message>) -> bool {
        let least = response.and_then(|response| response.header(HeaderName::MinSe));
        let least = least.and_then(|value| value.split(';').next()?.trim().parse().ok());
        match (&mut self.timer, least) {
            (Some(timer), Some(least)) if least > timer.interval => {
                timer.interval = least;
                true
            }
            _ => false,
        }
    }

    pub(super) fn session_deadline(&self) -> Option<Instant> {
        let timer = self.timer.filter(|_| !self.bye_after_ack)?;
        timer.gives_up()
    }

    /// RFC 4028 10: nobody has refreshed, so the session is ended.
    pub(super) fn on_session_timeout(&mut self, now: Instant) {
        if self.session_deadline().is_some_and(|at| at <= now) {
            self.bye_after_ack = true;
            self.changed = true;
        }
    }

    /// Whether a refresh of the session was due while the call had no owner.
    #[must_use]
    pub fn is_session_overdue(&self, now: Instant) -> bool {
        let at = self.timer.and_then(|timer| timer.refresh_at());
        at.is_some_and(|at| at <= now)
    }
}

/// RFC 3261 14.1: who made the Call-ID waits 2.1 to 4 s, the other 0 to 2 s, in steps of 10 ms.
fn glare(orientation: Orientation, chance: u64) -> Duration {
    let steps = match orientation {
        Orientation::Uac => (chance % 191).saturating_add(210),
        Orientation::Uas => chance % 201,
    };
    Duration::from_millis(steps.saturating_mul(10))
}

/// RFC 3261 20.33, between one and thirty seconds.
fn retry_after(response: Option<&Message>) -> Duration {
    let value = response.and_then(|response| response.header(HeaderName::RetryAfter));
    let digits = |value: &str| {
        let end = value.find(|c: char| !c.is_ascii_digit());
        value.get(..end.unwrap_or(value.len()))?.parse().ok()
    };
    let seconds: u64 = value.and_then(digits).unwrap_or(2);
    Duration::from_secs(seconds.clamp(1, 30))
}

#[expect(clippy::arithmetic_side_effects, reason = "Instant saturates")]
fn later(now: Instant, span: Duration) -> Instant {
    now + span
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: D8. Method: every chance of both sides.
    #[test]
    fn d8_glare_is_2_1_to_4_s_for_the_owner_and_up_to_2_s_for_the_other() {
        for chance in 0..1_000 {
            let (owner, other) = (
                glare(Orientation::Uac, chance).as_millis(),
                glare(Orientation::Uas, chance).as_millis(),
            );
            assert!((2_100..=4_000).contains(&owner) && owner % 10 == 0);
            assert!(other <= 2_000 && other % 10 == 0);
        }
    }
}
