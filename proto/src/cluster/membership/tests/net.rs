//! A small simulated network: loss, delay, partitions, crashes, restarts, pauses, from one seed.
//!
//! It knows membership's door only.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::net::SocketAddr;

use bytes::Bytes;
use rand::RngExt as _;
use siphasher::sip::SipHasher13;

use crate::base::ids::{Incarnation, MemberId, NodeId};
use crate::base::rng::{Rng, fork, from_seed};
use crate::base::time::{Duration, Instant};
use crate::cluster::membership::{
    GOSSIP_BYTES_MAX, Identity, Membership, MembershipConfig, MembershipEffect,
};
use crate::cluster::view::{MemberInfo, MemberState, View};

/// A whole network in one thread.
pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) config: MembershipConfig,
    pub(super) nodes: Vec<Node>,
    /// Datagrams under way, by arrival.
    pub(super) wire: BTreeMap<(Instant, u64), (NodeId, SocketAddr, Bytes)>,
    pub(super) sent: u64,
    pub(super) loss_percent: u32,
    /// Nodes of different sides do not reach each other.
    pub(super) sides: Vec<u8>,
    pub(super) rng: Rng,
    /// Every datagram that arrived, and when.
    pub(super) trace: SipHasher13,
}

pub(super) struct Node {
    pub(super) membership: Option<Membership>,
    pub(super) paused_until: Instant,
    /// Members of other nodes that were seen to go Down or Left.
    pub(super) gone: Vec<(Instant, MemberId, MemberState)>,
    pub(super) renamed: u32,
}

pub(super) fn name(nth: usize) -> String {
    format!("node{nth}")
}

pub(super) fn addr(nth: usize) -> SocketAddr {
    ([10, 0, 0, u8::try_from(nth).unwrap()], 7000).into()
}

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Net {
    /// `count` nodes that join through the first one.
    pub(super) fn new(count: usize, config: MembershipConfig, seed: u8) -> Self {
        let mut net = Self {
            now: Instant::START + secs(1),
            config,
            nodes: Vec::new(),
            wire: BTreeMap::new(),
            sent: 0,
            loss_percent: 0,
            sides: vec![0; count],
            rng: from_seed([seed; 32]),
            trace: SipHasher13::new(),
        };
        for nth in 0..count {
            let paused_until = Instant::START;
            net.nodes.push(Node {
                membership: None,
                paused_until,
                gone: Vec::new(),
                renamed: 0,
            });
            net.start(nth, 1);
        }
        net
    }

    /// The same, joined.
    pub(super) fn joined(count: usize, config: MembershipConfig, seed: u8) -> Self {
        let mut net = Self::new(count, config, seed);
        net.run_for(secs(10));
        assert!(net.converged(), "{:?}", net.picture());
        net
    }

    pub(super) fn start(&mut self, nth: usize, number: u32) {
        let incarnation = Incarnation {
            number,
            boot: self.rng.random(),
        };
        let me = Identity {
            name: name(nth).into(),
            addr: addr(nth),
            incarnation,
        };
        let mut membership = Membership::new(me, self.config, fork(&mut self.rng), self.now);
        membership.join(&[addr(0)], self.now);
        self.nodes[nth].membership = Some(membership);
        self.drain(nth);
    }

    pub(super) fn crash(&mut self, nth: usize) {
        self.nodes[nth].membership = None;
    }

    pub(super) fn with(&mut self, nth: usize, act: impl FnOnce(&mut Membership, Instant)) {
        let now = self.now;
        if let Some(membership) = &mut self.nodes[nth].membership {
            act(membership, now);
            self.drain(nth);
        }
    }

    pub(super) fn drain(&mut self, nth: usize) {
        let node = &mut self.nodes[nth];
        let Some(membership) = &mut node.membership else {
            return;
        };
        let from = NodeId::of(&name(nth));
        while let Some(effect) = membership.poll() {
            match effect {
                MembershipEffect::Send { to, bytes } => {
                    assert!(bytes.len() <= GOSSIP_BYTES_MAX);
                    let delay = Duration::from_micros(self.rng.random_range(100..3_000));
                    self.sent += 1;
                    if !self.rng.random_ratio(self.loss_percent, 100) {
                        self.wire
                            .insert((self.now + delay, self.sent), (from, to, bytes));
                    }
                }
                MembershipEffect::View(view) => {
                    for member in view.members().iter().filter(|m| !m.state.is_live()) {
                        let fact = (member.id, member.state);
                        if !node.gone.iter().any(|&(_, id, state)| (id, state) == fact) {
                            node.gone.push((self.now, fact.0, fact.1));
                        }
                    }
                }
                MembershipEffect::Renamed(_) => node.renamed += 1,
            }
        }
    }

    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let timer = (0..self.nodes.len())
                .filter_map(|nth| {
                    let node = &self.nodes[nth];
                    let due = node.membership.as_ref()?.next_deadline()?;
                    Some((due.max(node.paused_until), nth))
                })
                .min();
            let arrival = self.wire.keys().next().copied();
            match (timer, arrival) {
                // Timers first: a node that wakes up sees its clock before its sockets.
                (Some((due, nth)), at) if due <= end && at.is_none_or(|(at, _)| due <= at) => {
                    self.now = due.max(self.now);
                    self.with(nth, Membership::handle_timeout);
                }
                (_, Some(key)) if key.0 <= end => self.deliver(key),
                _ => break,
            }
        }
        self.now = end;
    }

    pub(super) fn deliver(&mut self, key: (Instant, u64)) {
        let (from, to, bytes) = self.wire.remove(&key).unwrap();
        self.now = key.0.max(self.now);
        let position = |id: NodeId| (0..self.nodes.len()).find(|&n| NodeId::of(&name(n)) == id);
        let (sender, Some(nth)) = (
            position(from).unwrap(),
            (0..self.nodes.len()).find(|&nth| addr(nth) == to),
        ) else {
            return;
        };
        if self.sides[sender] != self.sides[nth] {
            return;
        }
        if self.nodes[nth].paused_until > self.now {
            self.wire
                .insert((self.nodes[nth].paused_until, key.1), (from, to, bytes));
            return;
        }
        self.trace.write_u64(self.now.as_nanos());
        self.trace.write(&bytes);
        self.with(nth, |membership, now| {
            membership.handle_gossip(from, &bytes, now);
        });
    }

    pub(super) fn view(&self, nth: usize) -> &View {
        self.nodes[nth].membership.as_ref().unwrap().view()
    }

    pub(super) fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|&nth| self.nodes[nth].membership.is_some())
    }

    /// Whether every running node sees exactly the running nodes, in their present lives, alive.
    pub(super) fn converged(&self) -> bool {
        let mut expected: Vec<MemberId> = self.running().map(|nth| self.view(nth).me).collect();
        expected.sort_unstable();
        self.running().all(|nth| {
            let alive = |m: &&MemberInfo| m.state == MemberState::Alive;
            let mut seen: Vec<_> = self.view(nth).live().filter(alive).map(|m| m.id).collect();
            seen.sort_unstable();
            seen == expected
        })
    }

    pub(super) fn converges_within(&mut self, span: Duration) -> Duration {
        let start = self.now;
        while !self.converged() {
            assert!(self.now.since(start) < span, "{:#?}", self.picture());
            self.run_for(Duration::from_millis(100));
        }
        self.now.since(start)
    }

    /// What every node sees, for the message of a failure.
    pub(super) fn picture(&self) -> Vec<String> {
        let of = |nth| -> Vec<String> {
            let members = self.view(nth).members().iter();
            members
                .map(|m| format!("{}#{:?} {:?}", m.name, m.id.incarnation, m.state))
                .collect()
        };
        self.running()
            .map(|nth| format!("{} sees {:?}", name(nth), of(nth)))
            .collect()
    }

    pub(super) fn renamed(&self) -> u32 {
        self.nodes.iter().map(|node| node.renamed).sum()
    }

    pub(super) fn gone_seen(&self) -> usize {
        self.nodes.iter().map(|node| node.gone.len()).sum()
    }

    pub(super) fn faults(&self) -> u64 {
        self.running()
            .map(|n| self.nodes[n].membership.as_ref().unwrap().counts().faults)
            .sum()
    }
}
