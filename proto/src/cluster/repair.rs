//! Who holds copies of what is owned here: the proposal, and the change from one list to another.
//!
//! PROTOCOL.md rules 3 and 17 are kept here. Silence replaces a member at once; that the ring wants
//! another is `rebalance`'s business.

use std::collections::BTreeSet;

use super::engine::{Cluster, SWEEP_EVERY, SWEEP_KEYS, Wake};
use super::entry::{Owned, Role, Stage};
use super::sabotage::Break;
use crate::base::ids::{CallId, MemberId};
use crate::base::time::Instant;
use crate::wire::Members;

impl<H> Cluster<H> {
    /// Rule 3: the ring only proposes. Those of `keep` that are present stay.
    pub(super) fn propose(&self, key: CallId, keep: &Members) -> Members {
        let count = self.policy.copies.saturating_sub(1);
        let mut members: Members = keep
            .iter()
            .copied()
            .filter(|member| !self.is_absent(*member, key))
            .collect();
        members.truncate(count);
        let missing = count.saturating_sub(members.len());
        let avoid = |member| members.contains(&member) || self.is_absent(member, key);
        let fresh = self.view.replicas(key.position, missing, avoid, self.me);
        members.extend(fresh);
        members
    }

    pub(super) fn lacks_a_present_member(&self, owned: &Owned<H>) -> bool {
        let key = owned.record.key;
        owned.record.old.is_empty()
            && owned.stage == Stage::Active
            && owned
                .record
                .members
                .iter()
                .any(|member| self.is_absent(*member, key))
    }

    /// Gives the call live replicas, if it lacks some and there are candidates. One change at a
    /// time. Returns whether a change began.
    pub(super) fn repair(&mut self, key: CallId, now: Instant) -> bool {
        let Some(owned) = self.owned(key) else {
            return false;
        };
        if owned.stage != Stage::Active || !owned.record.old.is_empty() {
            return false;
        }
        let members = self.propose(key, &owned.record.members);
        let listed = &owned.record.members;
        let fresh = members.iter().any(|member| !listed.contains(member));
        // An heir lists whoever the call had: one of them may go and leave enough behind.
        let full = members.len() + 1 >= self.policy.copies;
        let spare = full && listed.iter().any(|member| self.view.is_gone(*member));
        // Members that fell silent stay listed until somebody takes their place: they may hold what
        // nobody else has.
        if !fresh && !spare {
            return false;
        }
        self.change_members(key, members, now);
        true
    }

    /// Rule 17: begins a change. Outputs need both lists until it is committed in both.
    pub(super) fn change_members(&mut self, key: CallId, members: Members, now: Instant) {
        let no_old = self.breaks(Break::NoOldList);
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        owned.record.old = std::mem::replace(&mut owned.record.members, members);
        if no_old {
            return self.let_old_go(key, now);
        }
        owned.change = Some(owned.record.version + 1);
        let (to, from) = (&owned.record.members, &owned.record.old);
        tracing::debug!(?key, ?from, ?to, "replica change");
        self.bump(key, now);
    }

    /// Rule 17: the new list is committed with both lists; only now the old one goes.
    pub(super) fn finish_change(&mut self, key: CallId, now: Instant) {
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        if owned.change.is_none_or(|change| owned.committed < change) {
            return;
        }
        if self.policy.copies > 1 && self.is_alone_with(key) {
            return self.keep_old(key, now);
        }
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        owned.change = None;
        // Those that leave were listed, and may have been sent records, up to here.
        let latest = owned.record.version;
        let (ballot, members) = (owned.record.ballot, owned.record.members.clone());
        let stray = std::mem::take(&mut owned.stray);
        let old = std::mem::take(&mut owned.record.old);
        // One that is gone may live on under a name that is listed: what it has acknowledged stays.
        let stays = |old: &MemberId| {
            let lives = self.life_of(*old).unwrap_or(*old);
            members.contains(old) || members.contains(&lives)
        };
        let left = old.into_iter().chain(stray).filter(|old| !stays(old));
        let left: BTreeSet<MemberId> = left.collect();
        self.stats.repaired += 1;
        self.bump(key, now);
        for member in left {
            self.release_copy(member, key, (ballot, latest), now);
        }
        // Somebody may have come while one change at a time was under way.
        self.repair(key, now);
    }

    /// Whether none of the members has anything of this ballot: a change is through for want of
    /// anybody who could hear of it.
    fn is_alone_with(&self, key: CallId) -> bool {
        self.owned(key).is_some_and(|owned| {
            let members = owned.record.members.iter();
            members.copied().all(|member| owned.acked(member).is_none())
        })
    }

    /// Members that fell silent stay listed until somebody takes their place. Nobody has: if this
    /// member is the next to die, what they have is all that is left of the call.
    fn keep_old(&mut self, key: CallId, now: Instant) {
        let me = self.me;
        let Some(owned) = self.owned(key) else {
            return;
        };
        let others = owned.record.listed().chain(owned.stray.iter().copied());
        let others: BTreeSet<_> = others.filter(|other| *other != me).collect();
        let (gone, kept): (Members, Members) = others
            .into_iter()
            .partition(|other| self.view.is_gone(*other));
        let stray = gone.into_iter().filter(|gone| self.may_hold_on(*gone));
        let stray = stray.collect();
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        owned.change = None;
        // A later life of one that is gone is let go when somebody else has the call.
        owned.stray = stray;
        owned.record.old.clear();
        owned.record.members = kept;
        self.bump(key, now);
        self.repair(key, now);
    }

    pub(super) fn start_sweep(&mut self, now: Instant) {
        if self.sweep.is_none() {
            self.wake_at(now + SWEEP_EVERY, Wake::Sweep);
        }
        let unwell = self.keys_where(|_, entry| match &entry.role {
            Role::Owned(owned) => self.lacks_copies(owned),
            _ => false,
        });
        self.sweep = Some(unwell.into());
    }

    /// Whether the call has fewer present copies than asked for, or one that is not present.
    fn lacks_copies(&self, owned: &Owned<H>) -> bool {
        let record = &owned.record;
        owned.stage != Stage::Early
            && (record.members.len() + 1 < self.policy.copies
                || record.listed().any(|one| self.is_absent(one, record.key)))
    }

    pub(super) fn sweep_some(&mut self, now: Instant) {
        for _ in 0..SWEEP_KEYS {
            let Some(key) = self
                .sweep
                .as_mut()
                .and_then(std::collections::VecDeque::pop_front)
            else {
                self.sweep = None;
                return;
            };
            self.repair(key, now);
            self.advance(key, now);
        }
        self.wake_at(now + SWEEP_EVERY, Wake::Sweep);
    }
}
