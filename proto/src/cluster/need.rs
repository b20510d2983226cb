//! The need: who must have a version before an output that tells of it may leave.
//!
//! PROTOCOL.md rules 6 and 7 are kept here. Time alone never releases anything: it only makes
//! members silent, and those are not waited for.

use super::effect::Effect;
use super::engine::Cluster;
use super::entry::{Owned, Stage};
use super::policy::AckPolicy;
use super::sabotage::Break;
use crate::base::ids::{CallId, MemberId, Version};
use crate::base::time::Instant;
use crate::wire::Members;

/// Which outputs of a call wait for which version, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// One live member per list.
    One,
    /// Every live member of both lists.
    All,
    /// Nobody.
    Nobody,
}

impl<H> Cluster<H> {
    fn need(&self, owned: &Owned<H>) -> Need {
        match (owned.stage, self.policy.ack) {
            (Stage::Activating, _) if self.breaks(Break::ActivateWithoutAcks) => Need::Nobody,
            (Stage::Activating, _) | (_, AckPolicy::All) => Need::All, // rule 14
            (_, AckPolicy::One) => Need::One,
            (_, AckPolicy::None) => Need::Nobody,
        }
    }

    /// The highest version that the live, freshly echoing members of `list` have; none if nobody in
    /// it is present. Members whose acknowledgement is too old to count are put into `stale`.
    fn covered(
        &self,
        owned: &Owned<H>,
        list: &Members,
        need: Need,
        now: Instant,
        stale: &mut Members,
    ) -> Option<Version> {
        let key = owned.record.key;
        let mut covered: Option<Version> = None;
        for member in list.iter().copied().filter(|member| *member != self.me) {
            if self.is_absent(member, key) {
                continue;
            }
            let (mut version, stamp) = owned.acked_at(member).unwrap_or((0, now));
            let peer = self.peer(member, key);
            let attested = self.liveness.attests(peer, stamp, now);
            if version > 0 && !attested && !self.breaks(Break::StaleAckCounts) {
                // An old ack may be older than a promise to somebody else: ask again.
                if !stale.contains(&member) {
                    stale.push(member);
                }
                version = 0;
            }
            covered = Some(match (covered, need) {
                (None, _) => version,
                (Some(other), Need::All) => other.min(version),
                (Some(other), _) => other.max(version),
            });
        }
        covered
    }

    /// How far the call may be told now, and whether nobody else has it.
    fn committed(&self, owned: &Owned<H>, now: Instant, stale: &mut Members) -> (Version, bool) {
        let need = self.need(owned);
        let latest = owned.record.version;
        if need == Need::Nobody {
            return (latest, false);
        }
        let members = self.covered(owned, &owned.record.members, need, now, stale);
        let old = self.covered(owned, &owned.record.old, need, now, stale);
        let both = members.unwrap_or(latest).min(old.unwrap_or(latest));
        (both, members.is_none() && old.is_none())
    }

    /// The member's ack is too old to count. A tiny frame renews it, unless it was out of touch for
    /// so long that it may have promised something since: then only the record's own ack will do.
    fn ask_again(&mut self, member: MemberId, key: CallId, now: Instant) {
        let peer = self.peer(member, key);
        if self.liveness.is_fresh(peer, now) {
            self.lanes.entry(peer).or_default().want(key);
            self.watch(member, key);
        } else {
            self.ask_life(member, key, now);
        }
    }

    /// Looks again at what may leave, and at what follows from being committed.
    pub(super) fn advance_owned(&mut self, key: CallId, now: Instant) {
        let Some(owned) = self.owned(key) else { return };
        if owned.stage == Stage::Early {
            self.release(key, 0, false, now);
            return;
        }
        if self.lacks_a_present_member(owned) && self.repair(key, now) {
            return; // the repair's own version came back here
        }
        let Some(owned) = self.owned(key) else { return };
        let mut stale = Members::new();
        let (committed, alone) = self.committed(owned, now, &mut stale);
        // What was committed once stays so: acks of a call at rest grow old and nobody minds.
        let waits = committed.max(owned.committed) < owned.record.version;
        let listed: Members = owned.record.listed().collect();
        if waits || self.is_holding(key) {
            for member in listed {
                if waits && stale.contains(&member) {
                    self.ask_again(member, key, now);
                } else {
                    self.watch(member, key);
                }
            }
        }
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        owned.committed = owned.committed.max(committed);
        let committed = owned.committed;
        if owned.stage == Stage::Activating {
            if committed >= owned.record.version {
                self.activated(key, now);
            }
            return;
        }
        self.release(key, committed, alone && self.policy.copies > 1, now);
        self.finish_change(key, now);
    }

    pub(super) fn release(&mut self, key: CallId, committed: Version, alone: bool, now: Instant) {
        let timers = self
            .owned(key)
            .is_some_and(|owned| owned.gate.is_timers_turn());
        let cut_off = timers && !self.holds_majority(key);
        while let Some(owned) = self.owned_mut(key)
            && let Some((output, since)) = owned.gate.release(committed, cut_off)
        {
            owned.told_at = now;
            let held = now.since(since);
            self.held = self.held.saturating_sub(1);
            self.stats.released += 1;
            self.stats.degraded += u64::from(alone);
            self.stats
                .gate_hold
                .record(u64::try_from(held.as_micros()).unwrap_or(u64::MAX));
            self.effect(Effect::Release { key, output, held });
        }
    }
}
