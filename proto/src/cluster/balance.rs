//! Giving calls back: a member that came, or came again, owns few calls while the others own more
//! than their share; when its copies are in place they invite it (PROTOCOL.md rule 16).
//!
//! How many go to whom follows from the loads that members tell of themselves, once per change of
//! the places. Nothing is given for small differences, so that calls don't wander.

use std::collections::VecDeque;

use super::engine::{Cluster, Wake};
use super::entry::Role;
use super::handoff::is_at_rest;
use super::view::{MemberInfo, View};
use crate::base::ids::{CallId, MemberId};
use crate::base::time::{Duration, Instant};

/// From the end of a rebalancing round: the copies have arrived, and the loads are the present
/// ones.
const AFTER: Duration = Duration::from_secs(2);
/// Calls offered per turn, and the pause between two turns: 1,600 a second.
const OFFERS_PER_TURN: usize = 16;
const TURN: Duration = Duration::from_millis(10);
/// Fewer calls above the fair share than this are left where they are.
const SPARE_MIN: u64 = 16;

/// Giving back, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Balancing {
    /// Who is to get how many of the calls owned here.
    due: Vec<(MemberId, u64)>,
    round: VecDeque<CallId>,
    from: Option<Instant>,
    armed: bool,
}

/// A part of the calls that a member owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    calls: u64,
    of: u64,
}

impl<H> Cluster<H> {
    /// Copies lie where the ring wants them: looks in a while whether calls should follow.
    pub(super) fn plan_balance(&mut self, now: Instant) {
        self.balancing.from = Some(now + AFTER);
        self.balancing.round.clear();
        self.arm_balance(now + AFTER);
    }

    /// The places change again: what was planned is void.
    pub(super) fn drop_balance(&mut self) {
        self.balancing.from = None;
        self.balancing.round.clear();
    }

    fn arm_balance(&mut self, at: Instant) {
        if !self.balancing.armed {
            self.balancing.armed = true;
            self.wake_at(at, Wake::Balance);
        }
    }

    /// Offers some of the calls owned here to members that own less than their share.
    pub(super) fn balance_some(&mut self, now: Instant) {
        self.balancing.armed = false;
        if let Some(from) = self.balancing.from {
            if now < from {
                return self.arm_balance(from);
            }
            self.balancing.from = None;
            self.begin_balance();
        }
        let mut offers = 0;
        while offers < OFFERS_PER_TURN
            && let Some(key) = self.balancing.round.pop_front()
        {
            offers += usize::from(self.give_back(key, now));
        }
        if !self.balancing.round.is_empty() {
            self.arm_balance(now + TURN);
        }
    }

    fn begin_balance(&mut self) {
        let parts = parts_to_give(&self.view, self.me);
        if parts.is_empty() {
            return;
        }
        let round = self.keys_where(|_, entry| match &entry.role {
            Role::Owned(owned) => is_at_rest(owned) && !owned.record.has_ended(),
            _ => false,
        });
        // The load is the node's; this is one of its shards.
        let here = round.len() as u64;
        let share = |part: Part| here.saturating_mul(part.calls) / part.of.max(1);
        let due = parts.into_iter().map(|(to, part)| (to, share(part)));
        self.balancing.due = due.collect();
        self.balancing.round = round.into();
    }

    /// Offers the call if one of those that hold its copies is due some. Whether it did.
    fn give_back(&mut self, key: CallId, now: Instant) -> bool {
        let Some(owned) = self.owned(key).filter(|owned| is_at_rest(owned)) else {
            return false;
        };
        let holds = |member: MemberId| owned.record.members.contains(&member);
        let mut due = self.balancing.due.iter();
        let to = due.position(|(member, left)| {
            *left > 0 && holds(*member) && !self.is_absent(*member, key)
        });
        let Some((member, left)) = to.and_then(|at| self.balancing.due.get_mut(at)) else {
            return false;
        };
        *left -= 1;
        let member = *member;
        self.invite(key, member, now);
        true
    }
}

/// Which part of its calls `me` should give to whom, for everybody to own a share by weight. Only
/// who lacks more than a quarter of its share gets some: loads are told no more precisely.
fn parts_to_give(view: &View, me: MemberId) -> Vec<(MemberId, Part)> {
    let takers: Vec<&MemberInfo> = view
        .live()
        .filter(|info| info.takes_calls() && info.meta.weight > 0)
        .collect();
    let load = |info: &MemberInfo| u64::from(info.meta.load);
    let weights: u64 = takers.iter().map(|info| u64::from(info.meta.weight)).sum();
    let calls: u64 = takers.iter().map(|info| load(info)).sum();
    let fair = |info: &MemberInfo| calls * u64::from(info.meta.weight) / weights.max(1);
    let spare = |info: &MemberInfo| {
        let spare = load(info).saturating_sub(fair(info));
        if spare >= SPARE_MIN { spare } else { 0 }
    };
    let lack = |info: &MemberInfo| {
        let lack = fair(info).saturating_sub(load(info));
        if lack * 4 > fair(info) { lack } else { 0 }
    };
    let Some(own) = takers.iter().find(|info| info.id == me) else {
        return Vec::new();
    };
    let spares: u64 = takers.iter().map(|info| spare(info)).sum();
    let lacks: u64 = takers.iter().map(|info| lack(info)).sum();
    if spare(own) == 0 || lacks == 0 {
        return Vec::new();
    }
    // All that is spare, if so much is lacking; else each giver its part of what is.
    let given = spare(own) * lacks.min(spares) / spares;
    let getters = takers.iter().filter(|info| lack(info) > 0);
    let parts = getters.map(|info| {
        let calls = given * lack(info) / lacks;
        let of = load(own);
        (info.id, Part { calls, of })
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::base::ids::{Incarnation, NodeId};
    use crate::cluster::view::{MemberState, Metadata, Role};

    fn id(node: u64) -> MemberId {
        let incarnation = Incarnation { number: 1, boot: 1 };
        MemberId {
            node: NodeId(node),
            incarnation,
        }
    }

    /// What the first of members with these loads and weights gives to the others.
    fn given(members: &[(u32, u16, Role, bool)]) -> Vec<(u64, u64)> {
        let infos = members
            .iter()
            .zip(1..)
            .map(|((load, weight, role, draining), node)| MemberInfo {
                id: id(node),
                name: format!("{node}").into(),
                state: MemberState::Alive,
                cluster_addr: SocketAddr::from(([10, 0, 0, 1], 7_060)),
                meta: Metadata {
                    load: *load,
                    weight: *weight,
                    role: *role,
                    draining: *draining,
                    ..Metadata::default()
                },
                known: true,
            });
        let view = View::new(1, id(1), infos.collect());
        let parts = parts_to_give(&view, id(1)).into_iter();
        parts.map(|(to, part)| (to.node.0, part.calls)).collect()
    }

    /// Goal: what is given evens the shares out, by weight, and small differences stay.
    #[test]
    fn shares_are_evened_out() {
        let member = |load| (load, 100, Role::Member, false);
        type Members<'a> = &'a [(u32, u16, Role, bool)];
        let cases: &[(Members<'_>, &[(u64, u64)])] = &[
            (&[member(300), member(300), member(0)], &[(3, 100)]),
            (&[member(600), member(0), member(0)], &[(2, 200), (3, 200)]),
            // Another gives too, and all that is spare fills what is lacking.
            (&[member(900), member(500), member(100)], &[(3, 400)]),
            // Who has less than its share gives nothing.
            (&[member(0), member(600), member(600)], &[]),
            // Not worth the way: a few calls, or within a quarter.
            (&[member(20), member(0)], &[]),
            (&[member(1_200), member(1_000), member(800)], &[]),
            // A heavier member's share is larger.
            (&[member(300), (300, 400, Role::Member, false)], &[(2, 180)]),
            // Edges and those that go take no calls.
            (
                &[
                    member(300),
                    (0, 100, Role::Edge, false),
                    (0, 100, Role::Member, true),
                ],
                &[],
            ),
        ];
        for (members, expected) in cases {
            assert_eq!(given(members), *expected, "{members:?}");
        }
    }
}
