//! Requests of our own: when one may go, with which number and by which way. What they say is the
//! call's to know.

use bytes::Bytes;

use super::Shard;
use crate::app::Command;
use crate::base::ids::CallId;
use crate::base::time::{Duration, Instant};
use crate::sip::call::{CallError, Egress, SipCall};
use crate::sip::dialog::is_sdp;
use crate::sip::locator::{Locator, owner_hint};
use crate::sip::method::Method;

/// A request whose CSeq number is not safe yet looks again after this.
const LEASE_WAIT: Duration = Duration::from_millis(50);

impl Shard {
    pub(super) fn own_request(
        &mut self,
        key: CallId,
        method: Method,
        headers: Vec<(String, String)>,
        body: Option<(String, Bytes)>,
    ) -> Result<(), CallError> {
        let described = body.as_ref().is_some_and(|(kind, _)| is_sdp(kind));
        let calls = self.calls.get(&key);
        let busy = calls.is_some_and(|call| !call.sip.may_request(&method, described));
        if busy || !self.lease_allows(key) {
            // An offer is open, or (PROTOCOL.md rule 23) its number is not safe yet.
            if let Some(call) = self.calls.get_mut(&key) {
                call.deferred.push(Command::Request(method, headers, body));
            }
            return Ok(());
        }
        let egress = if method == Method::Invite {
            self.invite_egress(key)
        } else {
            self.egress(key)
        };
        let Some(egress) = egress else {
            return Err(CallError::Ended);
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return Err(CallError::Ended);
        };
        let body = body
            .as_ref()
            .map(|(kind, body)| (kind.as_str(), body.as_ref()));
        call.sip.request(method, &headers, body, egress).map(|_| ())
    }

    pub(super) fn lease_allows(&mut self, key: CallId) -> bool {
        let Some(call) = self.calls.get(&key) else {
            return false;
        };
        let next = call
            .sip
            .dialog()
            .local_seq
            .max(call.cseq_floor)
            .saturating_add(1);
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
        for command in deferred.unwrap_or_default() {
            self.obey(key, command, now);
        }
    }

    /// Sends what the call owes by itself; whether there was something.
    pub(super) fn send_due(&mut self, key: CallId, now: Instant) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        if call.sip.owes_ack() {
            call.sip.send_acks();
            return true;
        }
        self.send_prack(key, now)
            || self.send_notify(key, now)
            || self.send_deferred(key, now)
            || self.send_refresh(key, now)
    }

    /// PROTOCOL.md rule 23: whether the number of the next request is safe; what is due is put off
    /// by `delay` if not.
    pub(super) fn leased_or(&mut self, key: CallId, delay: impl FnOnce(&mut SipCall)) -> bool {
        let allowed = self.lease_allows(key);
        if !allowed && let Some(call) = self.calls.get_mut(&key) {
            delay(&mut call.sip);
        }
        allowed
    }

    fn send_prack(&mut self, key: CallId, now: Instant) -> bool {
        let calls = self.calls.get(&key);
        if !calls.is_some_and(|call| call.sip.owes_prack(now)) {
            return false;
        }
        if !self.leased_or(key, |sip| sip.delay_prack(now + LEASE_WAIT)) {
            return false;
        }
        let Some(egress) = self.egress(key) else {
            return false;
        };
        let sent = self
            .calls
            .get_mut(&key)
            .map(|call| call.sip.send_prack(egress));
        if let Some(Err(error)) = sent {
            tracing::warn!(?key, %error, "PRACK can't be sent");
        }
        true
    }

    fn send_notify(&mut self, key: CallId, now: Instant) -> bool {
        let calls = self.calls.get(&key);
        if !calls.is_some_and(|call| call.sip.owes_notify(now)) {
            return false;
        }
        if !self.leased_or(key, |sip| sip.delay_notify(now + LEASE_WAIT)) {
            return false;
        }
        let Some(egress) = self.egress(key) else {
            return false;
        };
        let call = self.calls.get_mut(&key);
        if let Some(Err(error)) = call.map(|call| call.sip.send_notify(egress, now)) {
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
        let Some(egress) = self.egress(key) else {
            return false;
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        match call.sip.bye(egress) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(?key, %error, "BYE can't be sent");
                // The call has ended all the same, and its record has to say so.
                error != CallError::Ended
            }
        }
    }

    /// How the call's next own request leaves, its branch sealed.
    pub(super) fn egress(&mut self, key: CallId) -> Option<Egress> {
        let call = self.calls.get(&key)?;
        let dialog = call.sip.dialog();
        let flow = self.way_out(&dialog.flow)?;
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
