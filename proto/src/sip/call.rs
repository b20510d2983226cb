//! A call: its legs as one value, the unit that an owner runs and a record holds.
//!
//! Whose a message is, is decided here, by transactions, tags and branches; what it means, by the
//! leg. One INVITE of ours may be answered in several dialogs, each a leg (RFC 3261 12.1.2); the
//! first 2xx decides which one it was (13.2.2.4). A call without legs of ours has one.

mod forks;

use serde::{Deserialize, Serialize};

pub use forks::Reception;

use super::dialog::{Dialog, Stage};
use super::effect::{Cause, Effect, LegId};
use super::leg::{CallError, Dial, Egress, Leg, LegImage, LegMore, server_key};
use super::message::Message;
use super::transaction::key::TransactionKey;
use crate::base::flow::Flow;
use crate::base::limits::LEGS_PER_CALL_MAX;
use crate::base::time::Instant;

/// A leg and its name.
#[derive(Clone, Debug)]
struct Placed {
    id: LegId,
    /// The leg whose INVITE made it: itself, unless it is another dialog of that INVITE's.
    root: LegId,
    leg: Leg,
}

/// A call and everything SIP about it.
#[derive(Clone, Debug)]
pub struct SipCall {
    /// It began the call, or is the eldest that is left.
    first: Placed,
    others: Vec<Placed>,
    /// The name of the next one.
    next: u16,
}

/// What a record holds of the legs after the first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MoreLegs {
    first: (LegId, LegId),
    others: Vec<(LegId, LegId, LegImage, LegMore)>,
    next: u16,
}

impl MoreLegs {
    /// How many there are beside the first.
    #[must_use]
    pub fn len(&self) -> usize {
        self.others.len()
    }

    /// Whether each leg has a name of its own, and there are no more than there may be: a record
    /// may say anything.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let others = self.others.iter().map(|(id, ..)| *id);
        let mut names: Vec<LegId> = std::iter::once(self.first.0).chain(others).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        names.len() == count && count <= LEGS_PER_CALL_MAX
    }

    /// Their dialogs, for whoever only looks.
    pub fn dialogs(&self) -> impl Iterator<Item = &Dialog> {
        self.others.iter().map(|(.., image, _)| image.dialog())
    }

    /// Whether the first is the only one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.others.is_empty()
    }
}

impl SipCall {
    fn begun_with(leg: Leg) -> Self {
        let id = LegId(0);
        Self {
            first: Placed { id, root: id, leg },
            others: Vec::new(),
            next: 1,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Placed> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Placed> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    fn is_full(&self) -> bool {
        self.others.len().saturating_add(1) >= LEGS_PER_CALL_MAX
    }

    /// The call that an INVITE without To tag begins, or a SUBSCRIBE; `local_tag` is its sealed
    /// locator.
    #[must_use]
    pub fn incoming(invite: Message, flow: &Flow, local_tag: &str, now: Instant) -> Self {
        Self::begun_with(Leg::incoming(invite, flow, local_tag, now))
    }

    /// The call that an INVITE of ours begins, see [`Leg::outgoing`].
    ///
    /// # Errors
    /// [`CallError::Write`] if the INVITE can't be written.
    pub fn outgoing(dial: &Dial, names: [&str; 2], egress: Egress) -> Result<Self, CallError> {
        Ok(Self::begun_with(Leg::outgoing(dial, names, egress)?))
    }

    /// The eldest leg that `is` so.
    #[must_use]
    pub fn find(&self, is: impl Fn(&Leg) -> bool) -> Option<LegId> {
        let found = self.all().find(|one| is(&one.leg));
        found.map(|one| one.id)
    }

    /// A further leg, see [`Leg::outgoing`].
    ///
    /// # Errors
    /// [`CallError::TooMany`] if the call has as many as it may have, [`CallError::Ended`] if it
    /// has ended, [`CallError::Write`] if the INVITE can't be written.
    pub fn dial(
        &mut self,
        id: LegId,
        dial: &Dial,
        names: [&str; 2],
        egress: Egress,
    ) -> Result<(), CallError> {
        if self.ended().is_some() {
            return Err(CallError::Ended);
        }
        if self.is_full() {
            return Err(CallError::TooMany);
        }
        let leg = Leg::outgoing(dial, names, egress)?;
        self.next = self.next.max(id.0.saturating_add(1));
        self.others.push(Placed { id, root: id, leg });
        Ok(())
    }

    /// The name of the next leg that is begun.
    #[must_use]
    pub fn next_leg(&self) -> LegId {
        LegId(self.next)
    }

    /// The name of the first leg.
    #[must_use]
    pub fn first_name(&self) -> LegId {
        self.first.id
    }

    /// The leg that began the call, or the eldest that is left.
    #[must_use]
    pub fn first(&self) -> &Leg {
        &self.first.leg
    }

    /// The legs and their names, in the order they were begun.
    pub fn legs(&self) -> impl Iterator<Item = (LegId, &Leg)> {
        self.all().map(|one| (one.id, &one.leg))
    }

    /// The names of the legs.
    #[must_use]
    pub fn names(&self) -> Vec<LegId> {
        self.all().map(|one| one.id).collect()
    }

    /// The legs.
    pub fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        self.all_mut().map(|one| &mut one.leg)
    }

    /// A leg; none if it is over.
    #[must_use]
    pub fn leg(&self, id: LegId) -> Option<&Leg> {
        let found = self.all().find(|one| one.id == id);
        found.map(|one| &one.leg)
    }

    /// As [`SipCall::leg`].
    pub fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        let found = self.all_mut().find(|one| one.id == id);
        found.map(|one| &mut one.leg)
    }

    /// The leg whose INVITE made this one: itself, unless that INVITE was answered in several
    /// dialogs.
    #[must_use]
    pub fn root(&self, id: LegId) -> Option<LegId> {
        let found = self.all().find(|one| one.id == id);
        found.map(|one| one.root)
    }

    /// A request for this call: inside one of its dialogs, or of a transaction it has.
    pub fn on_request(&mut self, request: Message, flow: &Flow, now: Instant) {
        let id = self.leg_of(&request);
        if let Some(leg) = self.leg_mut(id) {
            leg.on_request(request, flow, now);
        }
        self.sweep();
    }

    /// Where a request belongs; one that fits nowhere is refused by the leg it is nearest to.
    fn leg_of(&self, request: &Message) -> LegId {
        if self.others.is_empty() {
            return self.first.id;
        }
        let key = server_key(request);
        let invite = key.cancelled_invite();
        let known = |one: &&Placed| {
            let cancels = invite.as_ref().is_some_and(|key| one.leg.has(key));
            one.leg.has(&key) || cancels
        };
        let inside = |one: &&Placed| one.leg.dialog().matches(request);
        let near = |one: &&Placed| one.leg.dialog().call_id == request.call_id();
        let found = self.all().find(known).or_else(|| self.all().find(inside));
        let found = found.or_else(|| self.all().find(near));
        found.unwrap_or(&self.first).id
    }

    /// Asks for a leg's end, see [`Leg::hang_up`]. One INVITE is taken back as a whole.
    pub fn hang_up(&mut self, id: LegId) {
        let root = self.root(id);
        let dialing = self.leg(id).is_some_and(Leg::is_dialing);
        let asked = |one: &&mut Placed| {
            let same = Some(one.root) == root && one.leg.is_dialing();
            if dialing { same } else { one.id == id }
        };
        if let Some(one) = self.all_mut().find(asked) {
            one.leg.hang_up();
        }
        self.spread_cancel();
    }

    /// Asks for the end of all legs.
    pub fn hang_up_all(&mut self) {
        for id in self.names() {
            self.hang_up(id);
        }
    }

    /// See [`Leg::ended_elsewhere`].
    pub fn ended_elsewhere(&mut self) {
        self.legs_mut().for_each(Leg::ended_elsewhere);
    }

    /// See [`Leg::abandon`].
    pub fn abandon(&mut self) {
        self.legs_mut().for_each(Leg::abandon);
    }

    /// Whether a record would differ from the one written last; asking resets it.
    pub fn take_changed(&mut self) -> bool {
        let mut changed = false;
        for leg in self.legs_mut() {
            changed |= leg.take_changed();
        }
        changed
    }

    /// What the legs want done, in order.
    pub fn take_effects(&mut self) -> Vec<(LegId, Effect)> {
        let mut all = Vec::new();
        for one in self.all_mut() {
            let effects = one.leg.take_effects();
            all.extend(effects.into_iter().map(|effect| (one.id, effect)));
        }
        all
    }

    /// Why the call ended, if all its legs have: why the first one did.
    #[must_use]
    pub fn ended(&self) -> Option<Cause> {
        let over = self.all().all(|one| one.leg.ended().is_some());
        self.first().ended().filter(|_| over)
    }

    /// Whether a peer has said that its leg is over, or has answered our BYE.
    #[must_use]
    pub fn is_end_shared(&self) -> bool {
        self.all().any(|one| one.leg.is_end_shared())
    }

    /// Whether a 2xx of ours waits for its ACK, decided or sent.
    #[must_use]
    pub fn is_unacked(&self) -> bool {
        self.all().any(|one| one.leg.is_unacked())
    }

    /// Whether one of its dialogs is confirmed.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        let mut stages = self.all().map(|one| one.leg.dialog().stage);
        stages.any(|stage| stage == Stage::Confirmed)
    }

    /// Whether all its dialogs are early.
    #[must_use]
    pub fn is_early(&self) -> bool {
        let mut stages = self.all().map(|one| one.leg.dialog().stage);
        stages.all(|stage| stage == Stage::Early)
    }

    /// Whether nothing is left to do: over, and every transaction has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.all().all(|one| one.leg.is_over())
    }

    /// Whether a BYE of ours is due.
    #[must_use]
    pub fn owes_bye(&self) -> bool {
        self.all().any(|one| one.leg.owes_bye())
    }

    /// Whether a request belongs to a transaction that the call has.
    #[must_use]
    pub fn has_transaction(&self, request: &Message) -> bool {
        let key = server_key(request);
        self.all().any(|one| one.leg.has(&key))
    }

    /// Live transactions.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.all().map(|one| one.leg.transactions()).sum()
    }

    /// See [`Leg::outcome_of`].
    #[must_use]
    pub fn outcome_of(&self, key: &TransactionKey) -> Option<bool> {
        self.all().find_map(|one| one.leg.outcome_of(key))
    }

    /// See [`Leg::is_invite_answered`].
    #[must_use]
    pub fn is_invite_answered(&self, key: &TransactionKey) -> bool {
        let mut legs = self.all();
        legs.any(|one| one.leg.is_invite_answered(key))
    }

    /// See [`Leg::invite_key`].
    #[must_use]
    pub fn invite_key(&self) -> Option<&TransactionKey> {
        self.first().invite_key()
    }

    /// When [`SipCall::on_timeout`] is wanted.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let all = self.all().filter_map(|one| one.leg.next_deadline());
        all.min()
    }

    /// Lets everything happen that is due.
    pub fn on_timeout(&mut self, now: Instant) {
        for leg in self.legs_mut() {
            leg.on_timeout(now);
        }
        if !self.others.is_empty() {
            self.spread_cancel();
            let lost = |one: &&Placed| one.leg.ended() == Some(Cause::Rejected);
            let roots: Vec<_> = self.all().filter(lost).map(|one| one.root).collect();
            for root in roots {
                self.leave_others(root, None, Cause::Rejected);
            }
        }
        self.sweep();
    }

    /// Legs that are over go, once they have said so; the last one stays.
    fn sweep(&mut self) {
        self.pass_clocks();
        let over = |one: &Placed| one.leg.is_over() && one.leg.is_silent();
        self.others.retain(|one| !over(one));
        if over(&self.first) && !self.others.is_empty() {
            self.first = self.others.remove(0);
        }
    }

    /// Whether it is what a caller's INVITE began, and nothing more.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.others.is_empty() && self.first.id == LegId(0) && !self.first.leg.is_ours()
    }

    /// Whether it is a subscription of its own (RFC 6665).
    #[must_use]
    pub fn is_subscription(&self) -> bool {
        self.first.leg.is_subscription()
    }

    /// What goes into the record of the others.
    #[must_use]
    pub fn more_legs(&self, now: Instant) -> MoreLegs {
        let image = |one: &Placed| (one.id, one.root, one.leg.image(now), one.leg.more(now));
        MoreLegs {
            first: (self.first.id, self.first.root),
            others: self.others.iter().map(image).collect(),
            next: self.next,
        }
    }

    /// The call brought back; `written` is when its images were made, by this node's clock.
    #[must_use]
    pub fn restore(image: LegImage, more: LegMore, legs: MoreLegs, written: Instant) -> Self {
        let (id, root) = legs.first;
        let leg = Leg::restore(image, more, written);
        let first = Placed { id, root, leg };
        let others = legs.others.into_iter().map(|(id, root, image, more)| {
            let leg = Leg::restore(image, more, written);
            Placed { id, root, leg }
        });
        Self {
            first,
            others: others.collect(),
            next: legs.next.max(1),
        }
    }
}
