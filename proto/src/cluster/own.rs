//! The owner's side: births, changes, acknowledgements, yielding, coming to life.
//!
//! PROTOCOL.md rules 5, 8, 14, 20, 23, 25 are kept here; what must be acknowledged before an output
//! leaves is `need`, who holds copies is `repair`.

use bytes::Bytes;
use smallvec::SmallVec;

use super::effect::Effect;
use super::engine::{Cluster, Wake};
use super::entry::{Copy, Entry, Owned, Queue, Role, Stage};
use super::gate::Gate;
use super::liveness::Peer;
use super::sabotage::Break;
use crate::base::ids::{Ballot, CallId, MemberId, Version};
use crate::base::limits::{CSEQ_LEASE, T1_X64};
use crate::base::time::Instant;
use crate::wire::{Ack, Ending, Members, Record};

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
            told_at: now,
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
        self.held = self.held.saturating_add(1);
        self.advance_owned(key, now);
    }

    /// Whether outputs of this call are waiting, so that later ones must queue behind them.
    #[must_use]
    pub fn is_holding(&self, key: CallId) -> bool {
        self.owned(key).is_some_and(|owned| !owned.gate.is_empty())
    }

    /// The epoch at which this member owns the call.
    #[must_use]
    pub fn epoch(&self, key: CallId) -> Option<u32> {
        self.owned(key).map(|owned| owned.record.ballot.epoch)
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
            self.held = self.held.saturating_sub(1);
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

    /// Rule 22: an end on a phone's word, at a ballot that lost, is news for the one that won. What
    /// only time ended is forgotten.
    pub(super) fn say_ended(&mut self, key: CallId, ending: Ending, ballot: Ballot) {
        if ending == Ending::ByPhone && ballot.owner != self.me {
            self.effect(Effect::EndedHere { key, ballot });
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
}
