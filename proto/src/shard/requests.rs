//! Requests of our own: when one may go, with which number and by which way. What they say is the
//! call's to know.

use super::Shard;
use crate::app::{Command, Draft};
use crate::base::ids::CallId;
use crate::base::time::{Duration, Instant};
use crate::sip::dialog::is_sdp;
use crate::sip::effect::LegId;
use crate::sip::leg::{CallError, Egress, Leg};
use crate::sip::locator::{Locator, owner_hint};
use crate::sip::method::Method;

/// A request whose CSeq number is not safe yet looks again after this.
const LEASE_WAIT: Duration = Duration::from_millis(50);

impl Shard {
    pub(super) fn own_request(
        &mut self,
        key: CallId,
        id: LegId,
        mark: u32,
        draft: Draft,
    ) -> Result<(), CallError> {
        let body = draft.body.as_ref();
        let described = body.is_some_and(|(kind, _)| is_sdp(kind));
        let leg = self.leg(key, id).ok_or(CallError::Ended)?;
        let busy = !leg.may_request(&draft.method, described);
        if busy || !self.lease_allows(key, id) {
            // An offer is open, or (PROTOCOL.md rule 23) its number is not safe yet.
            if let Some(call) = self.calls.get_mut(&key) {
                call.deferred.push((id, Command::Request(mark, draft)));
            }
            return Ok(());
        }
        let egress = if draft.method == Method::Invite {
            self.invite_egress(key, id)
        } else {
            self.egress(key, id)
        };
        let Some(egress) = egress else {
            return Err(CallError::Ended);
        };
        let leg = self.leg_mut(key, id).ok_or(CallError::Ended)?;
        let Draft {
            method,
            headers,
            body,
        } = draft;
        let body = body
            .as_ref()
            .map(|(kind, body)| (kind.as_str(), body.as_ref()));
        leg.request(method, &headers, body, mark, egress)
            .map(|_| ())
    }

    pub(super) fn lease_allows(&mut self, key: CallId, id: LegId) -> bool {
        let Some(call) = self.calls.get(&key) else {
            return false;
        };
        let used = call.sip.leg(id).map_or(0, |leg| leg.dialog().local_seq);
        let next = used.max(call.cseq_floor).saturating_add(1);
        let (lease, known) = self.cluster.lease(key);
        if next >= lease {
            self.cluster.extend_lease(key);
        }
        known && next <= lease
    }

    /// Requests that waited for their lease, or for an offer's answer.
    pub(super) fn retry_deferred(&mut self, key: CallId, now: Instant) {
        let deferred = self
            .calls
            .get_mut(&key)
            .map(|call| std::mem::take(&mut call.deferred));
        for (leg, command) in deferred.unwrap_or_default() {
            self.obey(key, leg, command, now);
        }
    }

    /// Sends what the call owes by itself; whether there was something.
    pub(super) fn send_due(&mut self, key: CallId, now: Instant) -> bool {
        if let Some(id) = self.leg_that(key, Leg::owes_ack)
            && let Some(leg) = self.leg_mut(key, id)
        {
            leg.send_acks();
            return true;
        }
        self.send_prack(key, now)
            || self.send_notify(key, now)
            || self.send_deferred(key, now)
            || self.send_refresh(key, now)
            || self.send_invite(key, now)
    }

    /// PROTOCOL.md rule 23: whether the number of the next request is safe; what is due is put off
    /// by `delay` if not.
    pub(super) fn leased_or(
        &mut self,
        key: CallId,
        id: LegId,
        delay: impl FnOnce(&mut Leg),
    ) -> bool {
        let allowed = self.lease_allows(key, id);
        if !allowed && let Some(leg) = self.leg_mut(key, id) {
            delay(leg);
        }
        allowed
    }

    fn send_prack(&mut self, key: CallId, now: Instant) -> bool {
        let Some(id) = self.leg_that(key, |leg| leg.owes_prack(now)) else {
            return false;
        };
        if !self.leased_or(key, id, |leg| leg.delay_prack(now + LEASE_WAIT)) {
            return false;
        }
        let Some(egress) = self.egress(key, id) else {
            return false;
        };
        let sent = self.leg_mut(key, id).map(|leg| leg.send_prack(egress));
        if let Some(Err(error)) = sent {
            tracing::warn!(?key, %error, "PRACK can't be sent");
        }
        true
    }

    fn send_notify(&mut self, key: CallId, now: Instant) -> bool {
        let Some(id) = self.leg_that(key, |leg| leg.owes_notify(now)) else {
            return false;
        };
        if !self.leased_or(key, id, |leg| leg.delay_notify(now + LEASE_WAIT)) {
            return false;
        }
        let Some(egress) = self.egress(key, id) else {
            return false;
        };
        let leg = self.leg_mut(key, id);
        if let Some(Err(error)) = leg.map(|leg| leg.send_notify(egress, now)) {
            tracing::warn!(?key, %error, "NOTIFY can't be sent");
        }
        true
    }

    /// What waited for an offer's answer, if that is all it waits for.
    fn send_deferred(&mut self, key: CallId, now: Instant) -> bool {
        let count = |shard: &Self| shard.calls.get(&key).map_or(0, |call| call.deferred.len());
        let before = count(self);
        if before == 0 {
            return false;
        }
        self.retry_deferred(key, now);
        count(self) < before
    }

    pub(super) fn send_bye(&mut self, key: CallId) -> bool {
        let Some(id) = self.leg_that(key, Leg::owes_bye) else {
            return false;
        };
        let Some(egress) = self.egress(key, id) else {
            return false;
        };
        let Some(leg) = self.leg_mut(key, id) else {
            return false;
        };
        match leg.bye(egress) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(?key, %error, "BYE can't be sent");
                // The call has ended all the same, and its record has to say so.
                error != CallError::Ended
            }
        }
    }

    /// How the call's next own request leaves, its branch sealed.
    pub(super) fn egress(&mut self, key: CallId, id: LegId) -> Option<Egress> {
        let call = self.calls.get(&key)?;
        let dialog = call.sip.leg(id)?.dialog();
        let flow = self.way_out(&dialog.flow, Some(key))?;
        let locator = Locator {
            call: key,
            hint: owner_hint(self.view.me.node),
        };
        let branch = self
            .sealer
            .seal_branch(dialog.call_id.as_bytes(), locator, &mut self.rng);
        Some(Egress {
            flow,
            branch,
            ack_branch: None,
            cseq_floor: call.cseq_floor,
        })
    }
}
