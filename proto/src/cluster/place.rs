//! Placing: which member serves a new call that came to one which takes none (an edge, or a member
//! that drains), and the requests that an ingress keeps until they are answered.
//!
//! SIP.md S3.6 is kept here. The choice is weighted rendezvous hashing with bounded load: a
//! function of the position and the view, so that two edges agree without talking, and a
//! retransmission or a CANCEL reaches the same member by either. Where they differ for a moment,
//! the birth notices decide.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;

use bytes::Bytes;
use siphasher::sip::SipHasher13;

use super::effect::Effect;
use super::engine::Cluster;
use super::liveness::Peer;
use super::seek::of;
use super::view::{MemberInfo, Role, View};
use crate::base::flow::Flow;
use crate::base::ids::{CallId, MemberId, NodeId};
use crate::base::limits::KEPT_MAX;
use crate::base::map::{KeyedState, Map};
use crate::base::time::{Duration, Instant};
use crate::wire::{Frame, Message, Submit};

/// Above its share of all calls, a member takes so many parts of 100 more,
const SLACK_PERCENT: u64 = 25;
/// and so many: what members say of their load is a moment old.
const SLACK_CALLS: u64 = 32;
/// An INVITE may ring so long (RFC 3261 16.6, Timer C, and some).
const KEEP: Duration = Duration::from_mins(4);
/// Requests that are submitted again in one turn.
const AGAIN_PER_TURN: usize = 256;

/// A request that has not been answered finally.
#[derive(Debug)]
struct Kept {
    to: Peer,
    /// The call it was brought to; none if it was submitted for a call to be born.
    key: Option<CallId>,
    flow: Flow,
    bytes: Bytes,
    since: Instant,
    number: u64,
}

/// Requests that were given to other members, by transaction.
#[derive(Debug)]
pub(super) struct KeptRequests {
    all: Map<u128, Kept>,
    members: BTreeMap<Peer, BTreeSet<u128>>,
    /// Oldest first.
    order: BTreeMap<u64, u128>,
    next: u64,
    again: BTreeSet<u128>,
}

impl KeptRequests {
    pub(super) fn new(hasher: KeyedState) -> Self {
        Self {
            all: Map::with_hasher(hasher),
            members: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
            again: BTreeSet::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.again.is_empty()
    }

    fn insert(&mut self, transaction: u128, kept: Kept) {
        self.remove(transaction);
        if self.all.len() >= KEPT_MAX
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            self.remove(*oldest);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.order.insert(number, transaction);
        let of_member = self.members.entry(kept.to).or_default();
        of_member.insert(transaction);
        self.all.insert(transaction, Kept { number, ..kept });
    }

    /// The call that a request was brought to, and its owner then.
    pub(super) fn call(&self, transaction: u128) -> Option<(CallId, MemberId)> {
        let kept = self.all.get(&transaction)?;
        Some((kept.key?, kept.to.member))
    }

    fn remove(&mut self, transaction: u128) -> Option<Kept> {
        let kept = self.all.remove(&transaction)?;
        self.order.remove(&kept.number);
        self.again.remove(&transaction);
        if let Some(of_member) = self.members.get_mut(&kept.to) {
            of_member.remove(&transaction);
            if of_member.is_empty() {
                self.members.remove(&kept.to);
            }
        }
        Some(kept)
    }
}

impl<H> Cluster<H> {
    /// The member that serves a new call at `position`; none if nobody takes calls.
    #[must_use]
    pub fn place(&self, position: u64) -> Option<MemberId> {
        let takes = |member: MemberId| self.is_present(member, of(position));
        let candidates = self.view.live().filter(|info| {
            let others = info.id != self.me && info.meta.weight > 0;
            others && info.takes_calls() && takes(info.id)
        });
        let candidates: Vec<_> = candidates.collect();
        let weights = candidates.iter().map(|info| u64::from(info.meta.weight));
        let weights: u64 = weights.sum();
        let calls: u64 = candidates
            .iter()
            .map(|info| u64::from(info.meta.load))
            .sum();
        let bound = |weight: u16| {
            let share = calls.saturating_mul(u64::from(weight)) / weights.max(1);
            share.saturating_mul(100 + SLACK_PERCENT) / 100 + SLACK_CALLS
        };
        let score = |info: &&&MemberInfo| rank(position, info.id.node, info.meta.weight);
        let best = |one: &&&MemberInfo, other: &&&MemberInfo| score(one).total_cmp(&score(other));
        let has_room = |info: &&&MemberInfo| u64::from(info.meta.load) < bound(info.meta.weight);
        let chosen = candidates.iter().filter(has_room).max_by(best);
        chosen.map(|info| info.id)
    }

    /// Whether this member, which drains, serves what it can't place: others take calls, and none
    /// of them can be given this one (in version 1 there is no word for it).
    #[must_use]
    pub fn must_serve(&self) -> bool {
        let own = self.view.member(self.me);
        let drains = own.is_some_and(|info| info.meta.role == Role::Member);
        let mut others = self.view.live().filter(|info| info.id != self.me);
        drains && others.any(MemberInfo::takes_calls)
    }

    /// Gives a request to a member that is to serve it, and keeps it.
    pub fn submit(
        &mut self,
        transaction: u128,
        position: u64,
        to: MemberId,
        submit: Submit,
        now: Instant,
    ) {
        let (flow, bytes) = (submit.flow.clone(), submit.bytes.clone());
        self.keep(transaction, (of(position), None), to, (flow, bytes), now);
        self.stats.submitted += 1;
        self.send(to, of(position), Frame::Submit(submit));
    }

    /// Gives a member what belongs to a request that was submitted to it.
    pub fn pass_on(&mut self, position: u64, to: MemberId, submit: Submit) {
        self.send(to, of(position), Frame::Submit(submit));
    }

    /// Where a request of this transaction was submitted, if that member is still there.
    #[must_use]
    pub fn submitted_to(&self, transaction: u128, position: u64) -> Option<MemberId> {
        let kept = self.births.kept.all.get(&transaction)?;
        let member = kept.to.member;
        (kept.key.is_none() && self.is_present(member, of(position))).then_some(member)
    }

    /// Brings an INVITE to the owner of its transaction, and keeps it.
    pub fn bring_invite(
        &mut self,
        transaction: u128,
        (key, owner): (CallId, MemberId),
        (flow, bytes): (Flow, Bytes),
        now: Instant,
    ) {
        if owner != self.me && !self.is_absent(owner, key) {
            let message = (flow.clone(), bytes.clone());
            self.keep(transaction, (key, Some(key)), owner, message, now);
        }
        self.bring_towards(key, owner, Message::Sip { flow, bytes }, now);
    }

    fn keep(
        &mut self,
        transaction: u128,
        (at, key): (CallId, Option<CallId>),
        to: MemberId,
        (flow, bytes): (Flow, Bytes),
        now: Instant,
    ) {
        let kept = Kept {
            to: self.peer(to, at),
            key,
            flow,
            bytes,
            since: now,
            number: 0,
        };
        self.births.kept.insert(transaction, kept);
        self.start_ticking(now);
    }

    /// The final response of a transaction has passed.
    pub fn kept_answered(&mut self, transaction: u128) {
        self.births.kept.remove(transaction);
    }

    /// SIP.md S3.6: what was given to members that are absent now is to be given to others.
    pub(super) fn look_after_kept(&mut self, now: Instant) {
        let kept = &self.births.kept;
        let absent = |peer: &Peer| self.view.is_gone(peer.member) || self.liveness.is_silent(*peer);
        let lost = kept.members.iter().filter(|(peer, _)| absent(peer));
        let lost: Vec<u128> = lost.flat_map(|(_, all)| all.iter().copied()).collect();
        self.births.kept.again.extend(lost);
        let again = self.births.kept.again.iter().take(AGAIN_PER_TURN);
        for transaction in again.copied().collect::<Vec<_>>() {
            let Some(kept) = self.births.kept.remove(transaction) else {
                continue;
            };
            self.stats.resubmitted += 1;
            let Kept {
                key, flow, bytes, ..
            } = kept;
            match key {
                // To the heir, if there is a record; if not, that is said.
                Some(key) => self.bring(key, None, Message::Sip { flow, bytes }, now),
                None => self.effect(Effect::Again { flow, bytes }),
            }
        }
        let old = |kept: &Kept| now.since(kept.since) >= KEEP;
        while let Some((_, oldest)) = self.births.kept.order.first_key_value()
            && self.births.kept.all.get(oldest).is_some_and(old)
        {
            let oldest = *oldest;
            self.births.kept.remove(oldest);
        }
    }
}

/// Weighted rendezvous hashing: the highest of these wins, and each wins by its weight.
fn rank(position: u64, node: NodeId, weight: u16) -> f64 {
    let mut hash = SipHasher13::new_with_keys(0x706c_6163_6520_6120, 0x6e65_7720_6361_6c6c);
    hash.write_u64(position);
    hash.write_u64(node.0);
    // 53 bits, so that the number is exact; never 0 nor 1.
    let high = u32::try_from(hash.finish() >> 32).unwrap_or(u32::MAX);
    let unit = (f64::from(high) + 0.5) / 4_294_967_296.0;
    f64::from(weight) / -unit.ln()
}

/// All of a view that decides where positions lie.
pub(super) fn places(view: &View) -> Vec<(MemberId, u16, Role, bool, bool, &str)> {
    let members = view.live().map(|info| {
        let meta = &info.meta;
        (
            info.id,
            meta.weight,
            meta.role,
            meta.draining,
            info.known,
            &*meta.zone,
        )
    });
    members.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: each member wins by its weight, and a member that goes moves its own share only.
    // Method: many positions, weights 1 : 1 : 2.
    #[test]
    fn weights_are_shares() {
        let winner = |position: u64, among: &[(u64, u16)]| {
            let rank = |(node, weight): &(u64, u16)| rank(position, NodeId(*node), *weight);
            let best = among
                .iter()
                .max_by(|one, other| rank(one).total_cmp(&rank(other)));
            best.map(|(node, _)| *node).unwrap()
        };
        let (all, two) = ([(1, 100), (2, 100), (3, 200)], [(1, 100), (3, 200)]);
        let mut won = [0_u32; 4];
        for n in 0..20_000_u64 {
            let position = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let first = winner(position, &all);
            won[usize::try_from(first).unwrap()] += 1;
            if first != 2 {
                assert_eq!(winner(position, &two), first);
            }
        }
        assert!(
            won[1].abs_diff(5_000) < 250 && won[2].abs_diff(5_000) < 250,
            "{won:?}"
        );
        assert!(won[3].abs_diff(10_000) < 350, "{won:?}");
    }
}
