//! The owner's side: births, changes, the need of each version, replica changes, tombstones.
//!
//! PROTOCOL.md rules 3, 5, 6, 7, 8, 14, 17, 20, 25 are kept here.

use std::collections::BTreeSet;

use bytes::Bytes;
use smallvec::SmallVec;

use super::effect::Effect;
use super::engine::{Cluster, SWEEP_EVERY, SWEEP_KEYS, Wake};
use super::entry::{Copy, Entry, Owned, Queue, Role, Stage};
use super::gate::Gate;
use super::liveness::Peer;
use super::policy::AckPolicy;
use super::sabotage::Break;
use crate::base::ids::{Ballot, CallId, MemberId, Version};
use crate::base::limits::{CSEQ_LEASE, T1_X64};
use crate::base::time::Instant;
use crate::wire::{Ack, Ending, Members, Record};

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
    /// A call is born here. It has no copies until its first [`Cluster::changed`].
    pub fn born(&mut self, key: CallId, now: Instant) {
        let ballot = Ballot {
            epoch: 1,
            owner: self.me,
        };
        let record = Record {
            key,
            ballot,
            version: 0,
            members: Members::new(),
            old: Members::new(),
            lease: CSEQ_LEASE,
            end: Ending::No,
            degraded: false,
            age_ms: 0,
            state: Bytes::new(),
        };
        let mut entry = Entry::new(now);
        entry.promised = ballot;
        entry.role = Role::Owned(Box::new(Owned {
            record,
            at: now,
            stage: Stage::Early,
            acked: SmallVec::new(),
            committed: 0,
            change: None,
            stray: Members::new(),
            gate: Gate::default(),
            invited: None,
            contested: None,
            queue: Queue::default(),
            ended_at: None,
        }));
        self.entries.insert(key, entry);
    }

    /// The call's state changed to `state`. Outputs held from now on wait for this version.
    pub fn changed(&mut self, key: CallId, state: Bytes, end: Ending, now: Instant) {
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        let early = owned.stage == Stage::Early;
        owned.record.state = state;
        owned.record.age_ms = 0;
        owned.at = now;
        if end != Ending::No && !owned.record.has_ended() {
            owned.ended_at = Some(now);
        }
        owned.record.end = owned.record.end.max(end);
        if early {
            owned.stage = Stage::Active;
            let members = self.propose(key, &Members::new());
            if let Some(owned) = self.owned_mut(key) {
                owned.record.members = members;
            }
        }
        if end != Ending::No {
            let early = self.breaks(Break::PurgeEarly);
            let after = if early { T1_X64 / 32 } else { T1_X64 };
            self.wake_at(now + after, Wake::Purge(key));
        }
        self.bump(key, now);
    }

    /// Holds `output` until the call's present version may be told; at once if it may be already.
    /// One that only time caused (`by_timer`) also waits while this member is cut off from most
    /// others: they may have taken the call over, and their timer is the one that counts.
    pub fn hold(&mut self, key: CallId, output: H, by_timer: bool, now: Instant) {
        let release = self.breaks(Break::ReleaseBeforeAck);
        let Some(owned) = self.owned_mut(key) else {
            self.effect(Effect::Drop { key, output });
            return;
        };
        let version = if release { 0 } else { owned.record.version };
        owned.gate.hold(version, output, by_timer, now);
        self.advance_owned(key, now);
    }

    /// Whether outputs of this call are waiting, so that later ones must queue behind them.
    #[must_use]
    pub fn is_holding(&self, key: CallId) -> bool {
        self.owned(key).is_some_and(|owned| !owned.gate.is_empty())
    }

    /// Whether this member owns the call and may act for it.
    #[must_use]
    pub fn is_active(&self, key: CallId) -> bool {
        self.owned(key)
            .is_some_and(|owned| owned.stage != Stage::Activating)
    }

    /// The call is over and was never worth a copy: nothing of it is kept.
    pub fn forget(&mut self, key: CallId) {
        debug_assert!(
            self.owned(key)
                .is_none_or(|owned| owned.stage == Stage::Early)
        );
        self.entries.remove(&key);
    }

    /// Whether the call never had a copy elsewhere.
    #[must_use]
    pub fn is_early(&self, key: CallId) -> bool {
        self.owned(key)
            .is_some_and(|owned| owned.stage == Stage::Early)
    }

    /// Whether some other live member could hold a copy.
    #[must_use]
    pub fn is_alone(&self, key: CallId) -> bool {
        self.policy.copies > 1 && self.propose(key, &Members::new()).is_empty()
    }

    pub(super) fn owned(&self, key: CallId) -> Option<&Owned<H>> {
        match self.entries.get(&key).map(|entry| &entry.role) {
            Some(Role::Owned(owned)) => Some(owned),
            _ => None,
        }
    }

    pub(super) fn owned_mut(&mut self, key: CallId) -> Option<&mut Owned<H>> {
        match self.entries.get_mut(&key).map(|entry| &mut entry.role) {
            Some(Role::Owned(owned)) => Some(owned),
            _ => None,
        }
    }

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

    /// A new version: it goes to everybody listed.
    pub(super) fn bump(&mut self, key: CallId, now: Instant) {
        let copies = self.policy.copies;
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        owned.record.version += 1;
        let listed: Members = owned.record.listed().collect();
        let present = listed
            .iter()
            .filter(|member| !self.is_absent(**member, key))
            .count();
        if let Some(owned) = self.owned_mut(key) {
            owned.record.degraded = present + 1 < copies;
        }
        for member in listed {
            let peer = self.peer(member, key);
            let lane = self.lanes.entry(peer).or_default();
            lane.want(key);
            if lane.session().is_none() {
                // An ack is due all the same: no link for `silence` is silence.
                self.liveness.ask(peer, now);
            }
            self.watch(member, key);
        }
        self.advance_owned(key, now);
    }

    /// A new session of `member`: everything it lacks is due again (rule 18).
    pub(super) fn resend_present_state(&mut self, member: MemberId) {
        let due: Vec<CallId> = self
            .entries
            .iter()
            .filter_map(|(key, entry)| match &entry.role {
                Role::Owned(owned) if owned.record.lists(member) => {
                    (owned.acked(member) != Some(owned.record.version)).then_some(*key)
                }
                _ => None,
            })
            .collect();
        for key in due {
            let peer = self.peer(member, key);
            self.lanes.entry(peer).or_default().want(key);
        }
    }

    // ---- acknowledgements -----------------------------------------------------------------

    pub(super) fn on_ack(&mut self, peer: Peer, ack: Ack, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&peer) else {
            return;
        };
        if lane.session() != Some(ack.session) {
            return;
        }
        for sent in lane.acked(ack.upto) {
            let refused = ack.refused.iter().find(|refused| refused.key == sent.key);
            if let Some(refused) = refused
                && !self.breaks(Break::NoFencing)
            {
                self.fenced(sent.key, refused.promised, now);
                continue;
            }
            let (me, any) = (self.me, self.breaks(Break::AckOfAnyBallot));
            let Some(owned) = self.owned_mut(sent.key) else {
                continue;
            };
            // Rule 5: only for the present ballot, only from a listed life.
            let present = Ballot {
                epoch: sent.epoch,
                owner: me,
            } == owned.record.ballot;
            if (present || any) && owned.record.lists(peer.member) {
                owned.ack(peer.member, sent.version, Instant::from_nanos(ack.echo));
                self.advance_owned(sent.key, now);
            }
        }
    }

    /// Rule 8: a replica knows a higher ballot.
    pub(super) fn fenced(&mut self, key: CallId, promised: Ballot, now: Instant) {
        if self
            .owned(key)
            .is_none_or(|owned| owned.record.ballot >= promised)
        {
            return;
        }
        self.stats.fenced += 1;
        tracing::debug!(?key, ?promised, "fenced");
        self.yield_to(key, promised, now);
        // Rule 15: if nobody comes out of that promise, the copy may be claimed like any other.
        self.wake_at(now + self.orphan_after(), Wake::Key(key));
    }

    /// Rule 8: in one step the call is a plain copy; what was held is dropped, what was queued goes
    /// to the winner.
    pub(super) fn yield_to(&mut self, key: CallId, ballot: Ballot, now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.promised = entry.promised.max(ballot);
        let role = std::mem::replace(&mut entry.role, Role::None);
        let Role::Owned(mut owned) = role else {
            entry.role = role;
            return;
        };
        entry.since = now;
        let ending = owned.record.end;
        entry.role = Role::Copy(Copy {
            record: owned.record,
            at: owned.at,
        });
        while let Some((output, since)) = owned.gate.release(Version::MAX, false) {
            let held = now.since(since);
            let effect = match self.breaks(Break::YieldKeepsHeld) {
                true => Effect::Release { key, output, held },
                false => Effect::Drop { key, output },
            };
            self.effect(effect);
        }
        self.effect(Effect::Yielded { key });
        self.say_ended(key, ending, ballot);
        self.bring_all(key, owned.queue.take(), now);
    }

    /// Rule 22: an end on a phone's word, at a ballot that lost, is news for the one that won. What only
    /// time ended is forgotten.
    pub(super) fn say_ended(&mut self, key: CallId, ending: Ending, ballot: Ballot) {
        if ending == Ending::ByPhone && ballot.owner != self.me {
            self.effect(Effect::EndedHere { key, ballot });
        }
    }

    // ---- the need (rule 6) ----------------------------------------------------------------

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

    fn release(&mut self, key: CallId, committed: Version, alone: bool, now: Instant) {
        let timers = self
            .owned(key)
            .is_some_and(|owned| owned.gate.is_timers_turn());
        let cut_off = timers && !self.holds_majority(key);
        while let Some(owned) = self.owned_mut(key)
            && let Some((output, since)) = owned.gate.release(committed, cut_off)
        {
            let held = now.since(since);
            self.stats.released += 1;
            self.stats.degraded += u64::from(alone);
            self.stats
                .gate_hold
                .record(u64::try_from(held.as_micros()).unwrap_or(u64::MAX));
            self.effect(Effect::Release { key, output, held });
        }
    }

    /// Rule 14: the new ballot stands with all live listed members; now it may speak.
    pub(super) fn activated(&mut self, key: CallId, now: Instant) {
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        owned.stage = Stage::Active;
        let asked = owned.queue.oldest();
        let queue = owned.queue.take();
        let floor = owned.record.lease.saturating_sub(CSEQ_LEASE);
        let mut record = Box::new(owned.aged(now));
        if record.has_ended() {
            owned.ended_at = Some(now);
            self.wake_at(now + T1_X64, Wake::Purge(key));
        }
        self.stats.takeovers += 1;
        if self.breaks(Break::TimersRestart) {
            record.age_ms = 0;
        }
        let no_floor = self.breaks(Break::NoLeaseFloor);
        self.effect(Effect::Activated {
            key,
            record,
            cseq_floor: if no_floor { 0 } else { floor },
            asked,
        });
        for brought in queue {
            self.effect(Effect::Deliver {
                key,
                message: brought.message,
            });
        }
        self.finish_change(key, now);
    }

    // ---- replica change (rule 17) ---------------------------------------------------------

    fn lacks_a_present_member(&self, owned: &Owned<H>) -> bool {
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
        let fresh = members
            .iter()
            .any(|member| !owned.record.members.contains(member));
        // Members that fell silent stay listed until somebody takes their place: they may hold what
        // nobody else has.
        if !fresh {
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
        tracing::debug!(?key, members = ?owned.record.members, old = ?owned.record.old, "replica change");
        self.bump(key, now);
    }

    /// Rule 17: the new list is committed with both lists; only now the old one goes.
    fn finish_change(&mut self, key: CallId, now: Instant) {
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        if owned
            .change
            .take_if(|change| *change <= owned.committed)
            .is_none()
        {
            return;
        }
        // Those that leave were listed, and may have been sent records, up to here.
        let latest = owned.record.version;
        let (ballot, members) = (owned.record.ballot, owned.record.members.clone());
        let stray = std::mem::take(&mut owned.stray);
        let left: Members = std::mem::take(&mut owned.record.old)
            .into_iter()
            .chain(stray)
            .filter(|old| !members.contains(old))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        self.stats.repaired += 1;
        self.bump(key, now);
        for member in left {
            self.release_copy(member, key, (ballot, latest), now);
        }
        // Somebody may have come while one change at a time was under way.
        self.repair(key, now);
    }

    pub(super) fn start_sweep(&mut self, now: Instant) {
        if self.sweep.is_none() {
            self.wake_at(now + SWEEP_EVERY, Wake::Sweep);
        }
        let unwell = self.entries.iter().filter(|(_, entry)| match &entry.role {
            Role::Owned(owned) => self.lacks_copies(owned),
            _ => false,
        });
        self.sweep = Some(unwell.map(|(key, _)| *key).collect());
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
