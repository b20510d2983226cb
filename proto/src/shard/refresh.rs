//! When a phone is told that its call is elsewhere now (SIP.md S1.2): after a takeover, if the
//! address it was given dies with its node; paced, so that a thousand adopted calls are not a
//! thousand datagrams at once. What is said is the call's to know.

use super::{Scope, Shard};
use crate::base::ids::CallId;
use crate::base::limits::REFRESH_PACE;
use crate::base::time::{Duration, Instant};
use crate::sip::dialog::{Dialog, Stage};
use crate::sip::effect::LegId;
use crate::sip::leg::{Egress, Leg};
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
    pub(super) fn plan_refresh(&mut self, key: CallId, id: LegId, unsettled: bool, now: Instant) {
        let Some(leg) = self.leg(key, id) else {
            return;
        };
        let dialog = leg.dialog();
        let due = unsettled || self.is_moved(key, dialog) || leg.is_session_overdue(now);
        if dialog.stage != Stage::Confirmed || !due {
            return;
        }
        let unsettled = unsettled || leg.is_unacked();
        let first = now + if unsettled { UNSETTLED } else { FIRST };
        let at = first.max(self.next_refresh);
        self.next_refresh = at + REFRESH_PACE;
        if let Some(leg) = self.leg_mut(key, id) {
            leg.plan_refresh(at);
        }
    }

    /// A call was taken over: what it says from now on must not name the dead.
    pub(super) fn readdress(&mut self, key: CallId, id: LegId) {
        let dialog = self.leg(key, id).map(Leg::dialog);
        let way = dialog.and_then(|dialog| self.way_out(&dialog.flow, Some(key)));
        let dead = dialog.is_some_and(|dialog| self.is_dead(key, dialog));
        if let Some(way) = way.filter(|_| dead)
            && let Some(leg) = self.leg_mut(key, id)
        {
            leg.on_moved(&way);
        }
    }

    /// A call was taken over: INVITEs of ours that nobody has answered are waited for, or taken
    /// back where their answer could not be heard.
    pub(super) fn adopt_dials(&mut self, key: CallId) {
        let Some(mut call) = self.calls.remove(&key) else {
            return;
        };
        call.sip.adopt_dials(|leg| {
            let dialog = leg.dialog();
            let moved = self.is_moved(key, dialog);
            moved.then(|| self.way_out(&dialog.flow, Some(key)))?
        });
        self.calls.insert(key, call);
    }

    /// Whether no member that lives has the address that the phone was given.
    fn is_dead(&self, key: CallId, dialog: &Dialog) -> bool {
        let me = self.view.me.node;
        let mut others = self.view.live();
        let taken = others.any(|info| {
            let node = info.id.node;
            let mut urls = info.meta.sip.iter().filter_map(|url| url.split_once("://"));
            (node == me || self.cluster.reachable(node, Some(key)).is_some())
                && urls.any(|(transport, advertise)| dialog.names(transport, advertise))
        });
        !taken
    }

    /// Whether the phone was given an address that dies with a node, and that is what has happened.
    fn is_moved(&self, key: CallId, dialog: &Dialog) -> bool {
        let Some(flow) = self.way_out(&dialog.flow, Some(key)) else {
            return false;
        };
        let listener = self.listener(flow.listener);
        flow.ingress == self.view.me.node
            && listener.is_some_and(|listener| listener.scope == Scope::Node)
            && self.is_dead(key, dialog)
    }

    /// Sends a refresh that is due; whether one was sent.
    pub(super) fn send_refresh(&mut self, key: CallId, now: Instant) -> bool {
        let Some(id) = self.leg_that(key, |leg| leg.owes_refresh(now)) else {
            return false;
        };
        if !self.leased_or(key, id, |leg| leg.delay_refresh(now + LEASE_WAIT)) {
            return false;
        }
        let Some(egress) = self.invite_egress(key, id) else {
            return false;
        };
        let Some(leg) = self.leg_mut(key, id) else {
            return false;
        };
        match leg.send_refresh(egress, now) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(?key, %error, "refresh can't be sent");
                false
            }
        }
    }

    /// As [`Shard::egress`], with a branch for the ACK that an INVITE may need.
    pub(super) fn invite_egress(&mut self, key: CallId, id: LegId) -> Option<Egress> {
        let mut egress = self.egress(key, id)?;
        let call_id = self.leg(key, id)?.dialog().call_id.clone();
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
