//! One INVITE of ours and the dialogs it is answered in: which of them a response is for, and what
//! the answer in one means for the others. RFC 3261 9.1, 12.1.2, 13.2.2.

use super::{Placed, SipCall};
use crate::base::flow::Flow;
use crate::base::limits::FORKS_PER_LEG_MAX;
use crate::base::time::Instant;
use crate::sip::effect::{Cause, LegId};
use crate::sip::leg::Leg;
use crate::sip::message::Message;
use crate::sip::method::Method;

/// What a response was to the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// A leg took it, or nobody need.
    Taken,
    /// A 2xx that makes a dialog nobody wants: it is to be acknowledged and ended (RFC 3261
    /// 13.2.2.4).
    Unwanted,
}

impl SipCall {
    /// A response whose branch is ours.
    pub fn on_response(&mut self, response: &Message, now: Instant) -> Reception {
        let branch = response.branch().unwrap_or_default();
        let of_invite = *response.method() == Method::Invite;
        let root = self.all().find(|one| one.leg.dialled_with(branch));
        let reception = match root.map(|one| one.root).filter(|_| of_invite) {
            Some(root) => self.on_dial_response(root, branch, response, now),
            None => self.on_other_response(response, now),
        };
        self.sweep();
        reception
    }

    fn on_other_response(&mut self, response: &Message, now: Instant) -> Reception {
        let taker = self.all_mut().find(|one| one.leg.awaits(response));
        if let Some(one) = taker {
            one.leg.on_response(response, now);
            return Reception::Taken;
        }
        // One of a dialog that was answered was acknowledged long ago. One that was refused, or
        // answered in another, may be answered all the same (RFC 3261 16.7).
        let tag = response.to_tag().unwrap_or_default();
        let stands = self.all().any(|one| {
            let dialog = one.leg.dialog();
            let same = dialog.call_id == response.call_id();
            same && !one.leg.is_lost() && dialog.remote_tag.eq_ignore_ascii_case(tag)
        });
        if is_success(response) && !stands {
            Reception::Unwanted
        } else {
            Reception::Taken
        }
    }

    /// A response to the INVITE that began `root`, in one of its dialogs, or for all of them.
    fn on_dial_response(
        &mut self,
        root: LegId,
        branch: &str,
        response: &Message,
        now: Instant,
    ) -> Reception {
        let status = response.status().unwrap_or_default();
        let tag = response.to_tag().unwrap_or_default();
        let waits = |one: &&mut Placed| one.root == root && one.leg.dialled_with(branch);
        if status == 100 || status >= 300 {
            // One of them speaks for all: one ACK is enough.
            let Some(one) = self.all_mut().find(waits) else {
                return Reception::Taken;
            };
            let id = one.id;
            one.leg.on_response(response, now);
            if status >= 300 {
                self.leave_others(root, Some(id), Cause::Rejected);
            }
            return Reception::Taken;
        }
        let answered = |one: &Placed| one.leg.dialled_with(branch) && !one.leg.is_dialing();
        let decided = self.all().any(|one| one.root == root && answered(one));
        let known = |one: &Placed| {
            let dialog = one.leg.dialog();
            let same = dialog.remote_tag.eq_ignore_ascii_case(tag);
            // A 2xx behind a refusal (RFC 3261 16.7) is nobody's, though the INVITE that the
            // refusal asked for has not been sent yet.
            let stands = if decided {
                one.leg.is_picked_up()
            } else {
                dialog.is_established() && !one.leg.is_lost()
            };
            same && stands
        };
        let waits = |one: &&Placed| one.root == root && one.leg.dialled_with(branch);
        let taker = self.all().filter(waits).find(|one| known(one));
        let id = match taker.map(|one| one.id) {
            Some(id) => id,
            None if decided && status >= 200 => return Reception::Unwanted,
            None if decided => return Reception::Taken,
            None => match self.new_dialog(root, branch) {
                Some(id) => id,
                None if status >= 200 => return Reception::Unwanted,
                None => return Reception::Taken,
            },
        };
        if let Some(leg) = self.leg_mut(id) {
            leg.on_response(response, now);
        }
        if status >= 200 {
            self.leave_others(root, Some(id), Cause::Elsewhere);
        }
        Reception::Taken
    }

    /// The leg for a dialog that is new: the one that nobody has answered, or a further one. None
    /// if there are as many as there may be.
    fn new_dialog(&mut self, root: LegId, branch: &str) -> Option<LegId> {
        let waits = |one: &&Placed| one.root == root && one.leg.dialled_with(branch);
        let fresh = |one: &&Placed| waits(one) && !one.leg.dialog().is_established();
        if let Some(one) = self.all().find(fresh) {
            return Some(one.id);
        }
        let forks = self.all().filter(waits).count();
        if forks >= FORKS_PER_LEG_MAX || self.is_full() {
            return None;
        }
        let leg = self.all().find(waits)?.leg.fork();
        let id = self.next_leg();
        self.next = self.next.saturating_add(1);
        self.others.push(Placed { id, root, leg });
        Some(id)
    }

    pub(super) fn leave_others(&mut self, root: LegId, but: Option<LegId>, cause: Cause) {
        for one in self.all_mut() {
            if one.root == root && Some(one.id) != but {
                one.leg.leave(cause);
            }
        }
    }

    /// What takes back an INVITE does so for all its dialogs.
    pub(super) fn spread_cancel(&mut self) {
        let cancelled = |one: &Placed| one.leg.is_cancelled().then_some(one.root);
        for root in self.all().filter_map(cancelled).collect::<Vec<_>>() {
            for one in self.all_mut().filter(|one| one.root == root) {
                one.leg.is_taken_back();
            }
        }
    }

    /// An INVITE is waited for as long as one of its dialogs is left.
    pub(super) fn pass_clocks(&mut self) {
        if self.others.is_empty() {
            return;
        }
        let given = |one: &mut Placed| Some((one.root, one.leg.take_dial_clock()?));
        let clocks: Vec<_> = self.all_mut().filter_map(given).collect();
        for (root, at) in clocks {
            let mut same = self.all_mut().filter(|one| one.root == root);
            same.any(|one| one.leg.keep_dial_clock(at));
        }
    }

    /// See [`Leg::adopt_dial`]; `way` tells for each leg.
    pub fn adopt_dials(&mut self, way: impl Fn(&Leg) -> Option<Flow>) {
        let mut taken_back = Vec::new();
        for one in self.all_mut() {
            if taken_back.contains(&one.root) {
                one.leg.leave(Cause::Rejected);
                continue;
            }
            let way = way(&one.leg);
            one.leg.adopt_dial(way.as_ref());
            if one.leg.ended() == Some(Cause::Rejected) {
                taken_back.push(one.root);
            }
        }
    }
}

fn is_success(response: &Message) -> bool {
    let status = response.status();
    status.is_some_and(|status| (200..300).contains(&status))
        && *response.method() == Method::Invite
}
