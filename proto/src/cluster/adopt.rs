//! Adoption: what a member owned that is gone for good is claimed by its heirs by themselves, paced
//! (PROTOCOL.md rules 9 and 19), where the majority is (section 4).
//!
//! Silence alone adopts nothing: a phone's message, or a signal, takes a silent member's call over
//! at once (`find`); this is for the calls that nobody asks for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::RngExt as _;

use super::engine::{Cluster, Wake};
use super::entry::{Queue, Role};
use crate::base::ids::{CallId, MemberId, NodeId};
use crate::base::time::{Duration, Instant};
use crate::cluster::view::MemberState;

/// Calls claimed per turn, and the pause between two turns: 6,400 a second.
const CLAIMS_PER_TURN: usize = 64;
const TURN: Duration = Duration::from_millis(10);
/// How often orphans that nobody came for are looked at again: their heir may have died as well, or
/// the majority may be back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Up to so much later, by chance.
const LOOK_AGAIN_SPREAD_MS: u64 = 200;

/// Calls whose owner is gone.
#[derive(Debug, Default)]
pub(super) struct Adoption {
    /// To be looked at in this round.
    round: VecDeque<CallId>,
    /// Orphans that others should have adopted: how many rounds they have lain here since.
    passed: BTreeMap<CallId, u32>,
    armed: bool,
}

/// The nodes of the last view in which everybody was heard: who they are decides what a majority
/// is.
#[derive(Debug, Default)]
pub(super) struct Settled(BTreeSet<NodeId>);

impl<H> Cluster<H> {
    // ---- majority -------------------------------------------------------------------------

    /// Looks whether the present view is one that everybody agrees on: all its members are heard,
    /// and they are more than half of those before, or of those and the newcomers. Who left by
    /// itself is missed by nobody.
    pub(super) fn settle_view(&mut self) {
        let left = |node: &NodeId| {
            let info = self.view.node(*node);
            info.is_some_and(|info| info.state == MemberState::Left)
        };
        let before: BTreeSet<NodeId> = self
            .settled
            .0
            .iter()
            .copied()
            .filter(|n| !left(n))
            .collect();
        let live: BTreeSet<NodeId> = self.view.live().map(|info| info.id.node).collect();
        let heard = |member: MemberId| member == self.me || self.is_heard(member);
        let all_heard = self.view.live().all(|info| heard(info.id));
        let half = |of: usize, among: &BTreeSet<NodeId>| live.intersection(among).count() * 2 > of;
        // Whoever starts members in the place of lost ones has decided which side is to go on.
        let all: BTreeSet<NodeId> = before.union(&live).copied().collect();
        let enough = before.len() <= 2 || half(before.len(), &before) || half(all.len(), &all);
        self.settled.0 = if all_heard && enough { live } else { before };
    }

    /// Linked, and none of its shards that have to do with us silent.
    fn is_heard(&self, member: MemberId) -> bool {
        let mut lanes = self.lanes.iter().filter(|(peer, _)| peer.member == member);
        lanes.any(|(peer, lane)| lane.session().is_some() && !self.liveness.is_silent(*peer))
    }

    /// Whether more than half of the last settled view can be heard, this member included. Of two,
    /// one will do. Elsewhere nothing may end for time alone: the others may have taken the call
    /// over, and then their timer is the one that counts.
    #[must_use]
    pub fn holds_majority(&self, key: CallId) -> bool {
        self.is_majority(|member| !self.is_absent(member, key))
    }

    /// Whether too few can be heard to act for the cluster, whichever call it is about.
    #[must_use]
    pub fn is_in_minority(&self) -> bool {
        !self.is_majority(|member| self.is_heard(member))
    }

    fn is_majority(&self, hears: impl Fn(MemberId) -> bool) -> bool {
        let total = self.settled.0.len();
        let present = self.settled.0.iter().filter(|node| {
            let info = self.view.node(**node);
            info.is_some_and(|info| info.id == self.me || hears(info.id))
        });
        let present = present.count();
        present * 2 > total || (total <= 2 && present * 2 >= total)
    }

    // ---- orphans --------------------------------------------------------------------------

    /// Somebody is gone: looks for what it owned.
    pub(super) fn look_for_orphans(&mut self, now: Instant) {
        let round = self.keys_where(|_, entry| match &entry.role {
            Role::Copy(copy) => self.view.is_gone(copy.record.ballot.owner),
            _ => false,
        });
        if round.is_empty() {
            self.adoption.passed.clear();
            return;
        }
        self.adoption.round = round.into();
        self.arm_adoption(now);
    }

    /// A copy came of what `owner` had: it may have been under way while membership gave `owner`
    /// up.
    pub(super) fn note_orphan(&mut self, owner: MemberId, now: Instant) {
        if self.view.is_gone(owner) {
            self.arm_adoption(now + LOOK_AGAIN);
        }
    }

    fn arm_adoption(&mut self, at: Instant) {
        if !self.adoption.armed {
            self.adoption.armed = true;
            self.wake_at(at, Wake::Adopt);
        }
    }

    /// Claims some of the orphans that this member is the heir of.
    pub(super) fn adopt_some(&mut self, now: Instant) {
        self.adoption.armed = false;
        if self.adoption.round.is_empty() {
            return self.look_for_orphans(now);
        }
        let mut claims = 0;
        while claims < CLAIMS_PER_TURN
            && let Some(key) = self.adoption.round.pop_front()
        {
            if self.may_adopt(key) {
                self.adoption.passed.remove(&key);
                self.start_claim(key, Queue::default(), None, now);
                claims += 1;
                self.stats.adopted += 1;
            }
        }
        let pause = if self.adoption.round.is_empty() {
            // Two that both take themselves for the heir refuse each other; not at the same moment
            // again.
            let spread = self.rng.random_range(0..=LOOK_AGAIN_SPREAD_MS);
            LOOK_AGAIN + Duration::from_millis(spread)
        } else {
            TURN
        };
        self.arm_adoption(now + pause);
    }

    /// Rule 9, and the majority rule: a good-bye or a new life leaves no doubt that the old one is
    /// over; a `Down` may as well mean that we are the ones cut off.
    fn may_adopt(&mut self, key: CallId) -> bool {
        let Some(Role::Copy(copy)) = self.entries.get(&key).map(|entry| &entry.role) else {
            return false;
        };
        let owner = copy.record.ballot.owner;
        self.view.is_gone(owner)
            && (self.is_orphan_of_ours(key) || self.is_passed_over(key))
            && self.may_speak_for(owner, key)
    }

    /// Whether we may act for `owner` with nobody asking: its life is over beyond doubt, or we hold
    /// the majority.
    pub(super) fn may_speak_for(&self, owner: MemberId, key: CallId) -> bool {
        let known = self.view.node(owner.node);
        let certain = known.is_some_and(|known| {
            known.id.incarnation > owner.incarnation || known.state == MemberState::Left
        });
        certain || self.holds_majority(key)
    }

    /// Rule 9 is for progress: where the heir should have come long ago it has no copy, and the
    /// next one claims, each a little later than the one before.
    fn is_passed_over(&mut self, key: CallId) -> bool {
        let listed = self.members_of(key);
        let place = listed.iter().position(|one| *one == self.me);
        let place = place.unwrap_or(listed.len());
        let rounds = self.adoption.passed.entry(key).or_insert(0);
        *rounds = rounds.saturating_add(1);
        usize::try_from(*rounds).is_ok_and(|rounds| rounds > 3 * (place + 1))
    }
}
