//! When a phone is told that its call is elsewhere now (SIP.md S1.2): after a takeover, if the
//! address it was given dies with its node; paced, so that a thousand adopted calls are not a
//! thousand datagrams at once. What is said is the call's to know.

use super::{Scope, Shard};
use crate::base::ids::CallId;
use crate::base::limits::REFRESH_PACE;
use crate::base::time::{Duration, Instant};
use crate::sip::call::Egress;
use crate::sip::dialog::{Dialog, Stage};
use crate::sip::locator::{Locator, owner_hint};

/// From the takeover to the first word: what the phone has asked for goes first.
const FIRST: Duration = Duration::from_millis(200);

/// The same where an INVITE is not settled: one of the owner before is repeated meanwhile, and its
/// answer spares the peer two offers at a time; of one of the phone's, the 2xx is.
const UNSETTLED: Duration = Duration::from_secs(2);

/// A refresh whose CSeq number is not safe yet looks again after this.
const LEASE_WAIT: Duration = Duration::from_millis(50);

impl Shard {
    /// A call was taken over. `unsettled`: an offer of the owner before is open.
    pub(super) fn plan_refresh(&mut self, key: CallId, unsettled: bool, now: Instant) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let dialog = call.sip.dialog();
        let due = unsettled || self.is_moved(key) || call.sip.is_session_overdue(now);
        if dialog.stage != Stage::Confirmed || !due {
            return;
        }
        let unsettled = unsettled || call.sip.is_unacked();
        let first = now + if unsettled { UNSETTLED } else { FIRST };
        let at = first.max(self.next_refresh);
        self.next_refresh = at + REFRESH_PACE;
        if let Some(call) = self.calls.get_mut(&key) {
            call.sip.plan_refresh(at);
        }
    }

    /// A call was taken over: what it says from now on must not name the dead.
    pub(super) fn readdress(&mut self, key: CallId) {
        let dialog = self.calls.get(&key).map(|call| call.sip.dialog());
        let way = dialog.and_then(|dialog| self.way_out(&dialog.flow));
        let dead = dialog.is_some_and(|dialog| self.is_dead(dialog));
        if let Some(way) = way.filter(|_| dead)
            && let Some(call) = self.calls.get_mut(&key)
        {
            call.sip.on_moved(&way);
        }
    }

    /// Whether no member that lives has the address that the phone was given.
    fn is_dead(&self, dialog: &Dialog) -> bool {
        let me = self.view.me.node;
        let mut others = self.view.live();
        let taken = others.any(|info| {
            let node = info.id.node;
            let mut urls = info.meta.sip.iter().filter_map(|url| url.split_once("://"));
            (node == me || self.cluster.reachable(node).is_some())
                && urls.any(|(transport, advertise)| dialog.names(transport, advertise))
        });
        !taken
    }

    /// Whether the phone was given an address that dies with a node, and that is what has happened.
    fn is_moved(&self, key: CallId) -> bool {
        let Some(call) = self.calls.get(&key) else {
            return false;
        };
        let dialog = call.sip.dialog();
        let Some(flow) = self.way_out(&dialog.flow) else {
            return false;
        };
        let listener = self.listener(flow.listener);
        flow.ingress == self.view.me.node
            && listener.is_some_and(|listener| listener.scope == Scope::Node)
            && self.is_dead(dialog)
    }

    /// Sends a refresh that is due; whether one was sent.
    pub(super) fn send_refresh(&mut self, key: CallId, now: Instant) -> bool {
        let owes = |call: &super::live::LiveCall| call.sip.owes_refresh(now);
        if !self.calls.get(&key).is_some_and(owes) {
            return false;
        }
        if !self.leased_or(key, |sip| sip.delay_refresh(now + LEASE_WAIT)) {
            return false;
        }
        let Some(egress) = self.invite_egress(key) else {
            return false;
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        match call.sip.send_refresh(egress, now) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(?key, %error, "refresh can't be sent");
                false
            }
        }
    }

    /// As [`Shard::egress`], with a branch for the ACK that an INVITE may need.
    pub(super) fn invite_egress(&mut self, key: CallId) -> Option<Egress> {
        let mut egress = self.egress(key)?;
        let call_id = self.calls.get(&key)?.sip.dialog().call_id.clone();
        let locator = Locator {
            call: key,
            hint: owner_hint(self.view.me.node),
        };
        let sealed = self
            .sealer
            .seal_branch(call_id.as_bytes(), locator, &mut self.rng);
        egress.ack_branch = Some(sealed.as_ref().into());
        Some(egress)
    }
}
