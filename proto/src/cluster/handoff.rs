//! Handing calls over while their owner lives: the invitation (PROTOCOL.md rule 16), and draining,
//! which invites the heirs of everything owned here.
//!
//! There is no other way than a claim to become owner: the owner only asks for one, and promises
//! it. An invitation that nobody takes up costs nothing: the owner goes on.

use std::collections::VecDeque;

use super::effect::Effect;
use super::engine::{Cluster, Wake};
use super::entry::{Owned, Queue, Role, Stage};
use super::view::MemberInfo;
use crate::base::ids::{CallId, MemberId};
use crate::base::time::{Duration, Instant};
use crate::wire::{Frame, Invite};

/// Calls offered per turn while draining, and the pause between two turns: 6,400 a second.
const OFFERS_PER_TURN: usize = 64;
const TURN: Duration = Duration::from_millis(10);
/// Pause before those that are still here are offered again.
const OFFER_AGAIN: Duration = Duration::from_millis(200);
/// An invitation stands for this long; a claim that comes later is refused.
const INVITED_FOR: Duration = Duration::from_secs(2);

/// Handing over, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Draining {
    /// This member's own metadata say that it drains.
    pub(super) on: bool,
    /// Calls that have not been offered in this round.
    round: VecDeque<CallId>,
    /// A turn is due.
    armed: bool,
}

impl<H> Cluster<H> {
    /// The view may say something else of ourselves than before.
    pub(super) fn note_draining(&mut self, now: Instant) {
        let own = self.view.member(self.me);
        let before = self.draining.on;
        self.draining.on = own.is_some_and(|info| info.meta.draining);
        if before && !self.draining.on {
            self.take_invitations_back();
        }
        if self.draining.on && !self.draining.armed {
            self.draining.armed = true;
            self.draining.round.clear();
            self.wake_at(now, Wake::HandOver);
        }
    }

    fn take_invitations_back(&mut self) {
        for entry in self.entries.values_mut() {
            if let Role::Owned(owned) = &mut entry.role {
                owned.invited = None;
            }
        }
    }

    /// Offers some of what is owned here to its heirs.
    pub(super) fn hand_over_some(&mut self, now: Instant) {
        self.draining.armed = false;
        if !self.draining.on {
            return;
        }
        if self.draining.round.is_empty() {
            let round = self.keys_where(|_, entry| match &entry.role {
                Role::Owned(owned) => !owned.record.has_ended(),
                _ => false,
            });
            self.draining.round = round.into();
        }
        for _ in 0..OFFERS_PER_TURN {
            let Some(key) = self.draining.round.pop_front() else {
                break;
            };
            self.invite_heir(key, now);
        }
        let pause = if self.draining.round.is_empty() {
            OFFER_AGAIN
        } else {
            TURN
        };
        self.draining.armed = true;
        self.wake_at(now + pause, Wake::HandOver);
    }

    /// Asks the heir to claim the call, if there is one that could and the call is at rest.
    fn invite_heir(&mut self, key: CallId, now: Instant) {
        let Some(owned) = self.owned(key) else {
            return;
        };
        if owned.stage == Stage::Early {
            // Only what has a record can be claimed; next time it has one.
            return self.effect(Effect::Expose { key });
        }
        if !is_at_rest(owned) {
            return;
        }
        let takes_calls = |member: MemberId| {
            let info = self.view.member(member);
            info.is_some_and(MemberInfo::takes_calls) && !self.is_absent(member, key)
        };
        let mut members = owned.record.members.iter().copied();
        match members.find(|member| takes_calls(*member)) {
            Some(heir) => self.invite(key, heir, now),
            // Those that hold copies are on their way out as well: first others must hold some.
            None => self.rebalance(key, now),
        }
    }

    /// Rule 16: asks `heir` to claim the call.
    pub(super) fn invite(&mut self, key: CallId, heir: MemberId, now: Instant) {
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        owned.invited = Some((heir, now));
        let invite = Invite {
            key,
            ballot: owned.record.ballot,
            version: owned.record.version,
        };
        self.stats.invited += 1;
        self.send(heir, key, Frame::Invite(invite));
    }

    /// The owner asks us to claim its call. Only a copy of its present ballot can.
    pub(super) fn on_invite(&mut self, from: MemberId, invite: &Invite, now: Instant) {
        let key = invite.key;
        let own = self.view.member(self.me);
        if own.is_none_or(|info| !info.takes_calls()) {
            return;
        }
        let ours = match self.entries.get(&key).map(|entry| &entry.role) {
            Some(Role::Copy(copy)) => copy.record.ballot == invite.ballot,
            _ => false,
        };
        if ours && invite.ballot.owner == from {
            self.start_claim(key, Queue::default(), Some(from), now);
        }
    }

    /// Rule 11: whether a claim of `claimant` is one that we, the owner, have asked for.
    pub(super) fn is_invited(&self, key: CallId, claimant: MemberId, now: Instant) -> bool {
        let invited = self.owned(key).and_then(|owned| owned.invited);
        invited.is_some_and(|(heir, at)| heir == claimant && now.since(at) < INVITED_FOR)
    }
}

/// Whether nothing of the call is under way: it costs nobody anything to move it now.
pub(super) fn is_at_rest<H>(owned: &Owned<H>) -> bool {
    owned.stage == Stage::Active
        && owned.gate.is_empty()
        && owned.record.old.is_empty()
        && owned.committed >= owned.record.version
}
