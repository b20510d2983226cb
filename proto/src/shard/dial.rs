//! Legs of our own: which way an INVITE leaves, under which names. What it says, and what becomes
//! of it, is the leg's to know. SIP.md S6.

use std::net::SocketAddr;

use rand::Rng as _;

use super::Shard;
use crate::app::Event;
use crate::base::ids::CallId;
use crate::base::time::{Duration, Instant};
use crate::sip::dialog::next_hop_of;
use crate::sip::effect::{Cause, LegId};
use crate::sip::leg::{CallError, Dial, Egress};
use crate::sip::locator::{Locator, owner_hint};

/// An INVITE that is sent again, but whose number is not safe yet, looks again after this.
const LEASE_WAIT: Duration = Duration::from_millis(50);

impl Shard {
    /// Begins a leg. Where that is not possible, the leg has ended as soon as it was begun.
    pub(super) fn dial(&mut self, key: CallId, id: LegId, dial: &Dial, now: Instant) {
        let hop = next_hop_of(&dial.target, &dial.routes);
        let begun = match hop.address {
            Some(remote) => self.begin_leg(key, id, dial, remote),
            None => Err(CallError::NoAddress(hop.uri)),
        };
        if let Err(error) = begun {
            tracing::info!(?key, target = %dial.target, %error, "leg can't be begun");
            self.tell_app(key, id, Event::Ended(Cause::Rejected), now);
        }
    }

    fn begin_leg(
        &mut self,
        key: CallId,
        id: LegId,
        dial: &Dial,
        remote: SocketAddr,
    ) -> Result<(), CallError> {
        let call = self.calls.get(&key).ok_or(CallError::Ended)?;
        let mut like = call.sip.first().dialog().flow.clone();
        like.remote = remote;
        let uri = dial.target.clone();
        let flow = self
            .way_out(&like, Some(key))
            .ok_or(CallError::NoAddress(uri))?;
        // Nothing in it tells of its call: an onlooker can't join the legs (SIP.md S2.2).
        let call_id = format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64());
        let locator = Locator {
            call: key,
            hint: owner_hint(self.view.me.node),
        };
        let (sealer, name) = (&self.sealer, call_id.as_bytes());
        let tag = sealer.seal_tag(name, locator, &mut self.rng);
        let branch = sealer.seal_branch(name, locator, &mut self.rng);
        let ack_branch = sealer.seal_branch(name, locator, &mut self.rng);
        let egress = Egress {
            flow,
            branch,
            ack_branch: Some(ack_branch),
            cseq_floor: 0, // nobody has used a number in it
        };
        let call = self.calls.get_mut(&key).ok_or(CallError::Ended)?;
        call.sip.dial(id, dial, [&call_id, &tag], egress)
    }

    /// Sends an INVITE again that its peer refused for what can be mended.
    pub(super) fn send_invite(&mut self, key: CallId, now: Instant) -> bool {
        let Some(id) = self.leg_that(key, |leg| leg.owes_invite(now)) else {
            return false;
        };
        if !self.leased_or(key, id, |leg| leg.delay_invite(now + LEASE_WAIT)) {
            return false;
        }
        let Some(egress) = self.invite_egress(key, id) else {
            return false;
        };
        let sent = self.leg_mut(key, id).map(|leg| leg.send_invite(egress));
        if let Some(Err(error)) = sent {
            tracing::warn!(?key, %error, "INVITE can't be sent again");
        }
        true
    }
}
