//! Rebalancing: when members come, go or drain, the copies of what is owned here move to where the
//! ring now wants them (PROTOCOL.md rule 17). Owner-driven, paced, one change at a time per call,
//! and only while nobody concerned is silent: silence is `repair`'s business.

use std::collections::VecDeque;

use super::engine::{Cluster, Wake};
use super::entry::{Role, Stage};
use crate::base::ids::CallId;
use crate::base::time::{Duration, Instant};
use crate::wire::Members;

/// The view must have stood for this long: members come one after another.
const SETTLE: Duration = Duration::from_secs(1);
/// Calls looked at per turn, and the pause between two turns: 6,400 a second.
const CALLS_PER_TURN: usize = 64;
const TURN: Duration = Duration::from_millis(10);

/// Rebalancing, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Rebalancing {
    round: VecDeque<CallId>,
    /// Not before then.
    from: Option<Instant>,
    armed: bool,
}

impl<H> Cluster<H> {
    /// The view has changed: what is owned here will be looked at when it has stood for a while.
    pub(super) fn plan_rebalance(&mut self, now: Instant) {
        self.rebalancing.round.clear();
        self.drop_balance();
        self.rebalancing.from = Some(now + SETTLE);
        self.arm_rebalance(now + SETTLE);
    }

    fn arm_rebalance(&mut self, at: Instant) {
        if !self.rebalancing.armed {
            self.rebalancing.armed = true;
            self.wake_at(at, Wake::Rebalance);
        }
    }

    /// Looks at some of the calls owned here.
    pub(super) fn rebalance_some(&mut self, now: Instant) {
        self.rebalancing.armed = false;
        if let Some(from) = self.rebalancing.from {
            if now < from {
                return self.arm_rebalance(from);
            }
            self.rebalancing.from = None;
            let round = self.keys_where(|_, entry| match &entry.role {
                Role::Owned(owned) => owned.stage == Stage::Active,
                _ => false,
            });
            self.rebalancing.round = round.into();
        }
        for _ in 0..CALLS_PER_TURN {
            let Some(key) = self.rebalancing.round.pop_front() else {
                return self.plan_balance(now);
            };
            self.rebalance(key, now);
        }
        self.arm_rebalance(now + TURN);
    }

    /// Moves the call's copies to where the ring wants them, if everybody concerned is there.
    pub(super) fn rebalance(&mut self, key: CallId, now: Instant) {
        let Some(owned) = self.owned(key) else {
            return;
        };
        if owned.stage != Stage::Active || !owned.record.old.is_empty() {
            return;
        }
        let count = self.policy.copies.saturating_sub(1);
        let wanted = self.view.replicas(key.position, count, |_| false, self.me);
        let members: Members = wanted.into_iter().collect();
        let same = members.len() == owned.record.members.len()
            && members.iter().all(|one| owned.record.members.contains(one));
        let mut concerned = members.iter().chain(&owned.record.members);
        if same || members.is_empty() || concerned.any(|one| self.is_absent(*one, key)) {
            return;
        }
        self.change_members(key, members, now);
    }
}
