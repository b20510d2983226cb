//! What happens to nodes and to the fabric: starts, crashes, pauses, cuts, drains. What of it costs
//! budget is counted here (PROTOCOL.md section 1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt as _;

use super::world::{Due, Event, MS, Node, World, view_of};
use crate::base::ids::{Incarnation, MemberId, NodeId};
use crate::base::rng::fork;
use crate::base::time::Duration;
use crate::cluster::Cluster;
use crate::cluster::entry::Queue;
use crate::cluster::liveness::Peer;
use crate::cluster::view::MemberState;

impl World {
    /// A node starts in a new life; the others hear of it after `news` at most.
    pub(super) fn start(&mut self, nth: usize, news: Duration) {
        let skew = Duration::from_micros(self.rng.random_range(0..50_000_000));
        let rng = fork(&mut self.rng);
        let boot = self.rng.random_range(1..u32::MAX);
        // It joined before it serves: the others are known, links are not up.
        let others: Vec<MemberId> = (0..self.nodes.len())
            .filter(|peer| *peer != nth && self.nodes[*peer].cluster.is_some())
            .map(|peer| self.nodes[peer].member)
            .collect();
        let node = &mut self.nodes[nth];
        node.member.incarnation = Incarnation {
            number: node.member.incarnation.number + 1,
            boot,
        };
        node.skew = skew;
        node.paused = false;
        node.beliefs.clear();
        node.drains.clear();
        node.loads.clear();
        node.sessions.clear();
        node.met.clear();
        node.silent.clear();
        let member = node.member;
        node.beliefs
            .insert(member.node, (member, MemberState::Alive));
        for other in others {
            node.beliefs.insert(other.node, (other, MemberState::Alive));
        }
        let view = Arc::new(view_of(0, node));
        let mut cluster = Cluster::new(view, 0, self.policy.clone(), rng);
        cluster.sabotage(self.sabotage);
        node.cluster = Some(cluster);
        self.note(None, || format!("node{nth} starts as {member:?}"));
        let most = u64::try_from(news.as_micros()).unwrap_or(0) + 1_000;
        for peer in 0..self.nodes.len() {
            if peer == nth || self.nodes[peer].cluster.is_none() {
                continue;
            }
            let after = Duration::from_micros(self.rng.random_range(500..most));
            self.event(peer, after, Event::Learn(member, MemberState::Alive));
            let after = Duration::from_micros(self.rng.random_range(500..most));
            self.at(self.now + after + MS * 2, Due::Link(nth, peer));
        }
    }

    /// A node dies at once; the others hear it from membership between `down` and twice that.
    pub(super) fn crash(&mut self, nth: usize, down: Duration) {
        let member = self.nodes[nth].member;
        if self.nodes[nth].cluster.take().is_none() {
            return;
        }
        self.fault(format!("crash {member:?}"));
        let node = &mut self.nodes[nth];
        node.logs.clear();
        node.backlog.clear();
        for peer in 0..self.nodes.len() {
            if peer == nth {
                continue;
            }
            let after = down + down.mul_f64(self.rng.random_range(0.0..1.0));
            self.event(peer, after, Event::Learn(member, MemberState::Down));
            if let Some(session) = self.net.reset(nth, peer) {
                let after = down.mul_f64(self.rng.random_range(0.0..1.0));
                self.event(peer, after, Event::LinkDown(member, session));
            }
        }
    }

    /// A node stands still for `span`; what arrives waits.
    pub(super) fn pause(&mut self, nth: usize, span: Duration) {
        let member = self.nodes[nth].member;
        if self.nodes[nth].cluster.is_none() || self.nodes[nth].paused {
            return;
        }
        self.fault(format!("pause {member:?}"));
        self.nodes[nth].paused = true;
        self.nodes[nth].lame_until = self.now + span + MS * 400;
        self.nodes[nth].paused_at = self.now;
        self.at(self.now + span, Due::Resume(nth, member, self.now));
    }

    pub(super) fn resume(&mut self, nth: usize) {
        let node = &mut self.nodes[nth];
        if !std::mem::take(&mut node.paused) {
            return;
        }
        let backlog = std::mem::take(&mut node.backlog);
        self.note(None, || format!("node{nth} resumes"));
        // Whether timers or sockets come first is the scheduler's choice.
        if self.rng.random_range(0..2) == 0 {
            let now = self.node_now(nth);
            if let Some(cluster) = &mut self.nodes[nth].cluster {
                cluster.on_timeout(now);
            }
            self.drain(nth);
        }
        for event in backlog {
            self.give(nth, event);
        }
    }

    /// Nothing gets from one node to another until it is mended.
    pub(super) fn cut(&mut self, from: usize, to: usize, span: Duration) {
        self.net.cut(from, to);
        self.note(None, || format!("cut {from}->{to} for {span:?}"));
        self.at(self.now + span, Due::Mend(from, to));
    }

    pub(super) fn mend(&mut self, from: usize, to: usize) {
        self.note(None, || format!("mend {from}->{to}"));
        for parcel in self.net.mend(from, to) {
            if self.nodes[to].member == parcel.to {
                self.post((from, to), parcel);
            }
        }
    }

    fn fault(&mut self, what: String) {
        self.note(None, || format!("FAULT {what}"));
        self.faults.insert(what);
        if self.faults.len() > self.budget() && !self.judge.over_budget {
            self.judge.over_budget = true;
            self.note(None, || "over budget".into());
        }
    }

    /// A live node that another holds for silent is a fault too.
    pub(super) fn count_suspicions(&mut self, nth: usize) {
        let Some(cluster) = &self.nodes[nth].cluster else {
            return;
        };
        let silent: BTreeSet<Peer> = cluster.liveness.silent().collect();
        if silent == self.nodes[nth].silent {
            return;
        }
        let fresh: Vec<Peer> = silent
            .difference(&self.nodes[nth].silent)
            .copied()
            .collect();
        let node = &mut self.nodes[nth];
        node.silent = silent;
        for peer in fresh {
            if !self.nodes[nth].met.contains(&peer.member) {
                continue; // links come up one by one; nobody is at fault for that
            }
            self.note(None, || format!("node{nth} finds {:?} silent", peer.member));
            let other = self
                .nodes
                .iter()
                .position(|node| node.member == peer.member);
            let Some(other) = other.filter(|other| self.is_up(*other)) else {
                continue;
            };
            // That others find a paused node silent is part of its pause; and a node that was
            // paused itself should know better: neither costs budget. A cut does.
            let cut = self.net.is_cut(other, nth) || self.net.is_cut(nth, other);
            let lame = self.nodes[other].lame_until.max(self.nodes[nth].lame_until);
            if cut || lame < self.now {
                let by = self.nodes[nth].member;
                self.fault(format!("{by:?} finds {:?} silent", peer.member));
            }
        }
    }

    /// A node's metadata say that it drains, or no longer; the others hear of it a little later.
    pub(super) fn drain_node(&mut self, nth: usize, on: bool) {
        let member = self.nodes[nth].member;
        self.note(None, || format!("node{nth} drains: {on}"));
        for peer in 0..self.nodes.len() {
            let after = if peer == nth {
                Duration::ZERO
            } else {
                Duration::from_micros(self.rng.random_range(500..50_000))
            };
            self.event(peer, after, Event::Drains(member.node, on));
        }
    }

    /// Everybody's metadata say its load.
    pub(super) fn tell_loads(&mut self) {
        let load = |node: &Node| {
            let owned = node.cluster.as_ref()?.gauges().owned;
            Some((node.member.node, u32::try_from(owned).ok()?))
        };
        let loads: BTreeMap<NodeId, u32> = self.nodes.iter().filter_map(load).collect();
        for node in &mut self.nodes {
            node.loads.clone_from(&loads);
        }
        self.renew_views();
    }

    /// Everybody gets a new view, with the members of the last one.
    pub(super) fn renew_views(&mut self) {
        for nth in 0..self.nodes.len() {
            let now = self.node_now(nth);
            let node = &mut self.nodes[nth];
            if !node.paused {
                node.look_around(now);
                self.drain(nth);
            }
        }
    }

    /// Nothing passes between these nodes and the others for `span`.
    pub(super) fn separate(&mut self, side: &[usize], span: Duration) {
        for one in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                if side.contains(&one) != side.contains(&other) {
                    self.cut(one, other, span);
                }
            }
        }
    }

    /// Membership on either side of a partition gives the other side up.
    pub(super) fn declare_down(&mut self, side: &[usize]) {
        for one in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                if side.contains(&one) != side.contains(&other) {
                    let member = self.nodes[other].member;
                    let after = Duration::from_micros(self.rng.random_range(200_000..800_000));
                    self.event(one, after, Event::Learn(member, MemberState::Down));
                }
            }
        }
    }

    /// A node claims a call, whatever it knows of the owner.
    pub(super) fn claim(&mut self, nth: usize, key: crate::base::ids::CallId) {
        let now = self.node_now(nth);
        self.cluster(nth)
            .start_claim(key, Queue::default(), None, now);
        self.drain(nth);
    }
}
