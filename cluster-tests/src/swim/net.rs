//! Many memberships, one network, one clock that nobody waits for, one seed.
//!
//! It knows membership's public door only. What the network does to datagrams is loss and delay; a
//! node can crash, and it can stand still.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::SocketAddr;

use bytes::Bytes;
use callring_proto::base::ids::{Incarnation, MemberId, NodeId};
use callring_proto::base::rng::{Rng, fork, from_seed};
use callring_proto::base::time::{Duration, Instant};
use callring_proto::cluster::membership::{
    Identity, Membership, MembershipConfig, MembershipEffect,
};
use callring_proto::cluster::view::{MemberState, View};
use rand::RngExt as _;

/// What a datagram costs beside its payload: IPv4 and UDP headers, QUIC's short header, the frame
/// and the seal of its encryption.
const OVERHEAD_BYTES: u64 = 28 + 1 + 8 + 2 + 3 + 16;

/// How long a datagram takes, at least and at most.
pub type Delay = (Duration, Duration);

/// What has been sent so far, by all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes on the wire: payload, and what each datagram costs beside it.
    pub bytes: u64,
}

enum Event {
    Datagram(usize, NodeId, Bytes),
    Timer(usize),
}

/// One node.
struct Node {
    id: NodeId,
    /// `None`: crashed.
    membership: Option<Membership>,
    stopped_until: Instant,
    /// The earliest timer event under way.
    due: Option<Instant>,
    /// Members it has called Down, and when.
    down: Vec<(Instant, MemberId)>,
    known_down: BTreeSet<MemberId>,
    renamed: u32,
}

/// The network and all that is on it.
pub struct Net {
    now: Instant,
    config: MembershipConfig,
    delay: Delay,
    loss_percent: u32,
    nodes: Vec<Node>,
    events: BinaryHeap<Reverse<(Instant, u64)>>,
    waiting: std::collections::HashMap<u64, Event>,
    order: u64,
    traffic: Traffic,
    rng: Rng,
}

fn name(nth: usize) -> String {
    format!("node{nth:04}")
}

fn addr(nth: usize) -> SocketAddr {
    let nth = u16::try_from(nth).expect("fewer nodes than addresses");
    let [high, low] = nth.to_be_bytes();
    ([10, 0, high, low], 7000).into()
}

fn nth_at(addr: SocketAddr) -> usize {
    let SocketAddr::V4(addr) = addr else {
        unreachable!("all addresses here are IPv4")
    };
    let [_, _, high, low] = addr.ip().octets();
    usize::from(u16::from_be_bytes([high, low]))
}

/// Joiners call these, whoever they are.
const SEEDS: usize = 3;
/// Nodes start one after another.
const START_SPACING: Duration = Duration::from_millis(10);

impl Net {
    /// `count` nodes that begin to join through the first three, without loss.
    #[must_use]
    pub fn new(count: usize, config: MembershipConfig, delay: Delay, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut net = Self {
            now: Instant::START + Duration::from_secs(1),
            config,
            delay,
            loss_percent: 0,
            nodes: Vec::new(),
            events: BinaryHeap::new(),
            waiting: Default::default(),
            order: 0,
            traffic: Traffic::default(),
            rng: from_seed(bytes),
        };
        for nth in 0..count {
            net.start(nth);
            net.run_for(START_SPACING);
        }
        net
    }

    fn start(&mut self, nth: usize) {
        let incarnation = Incarnation {
            number: 1,
            boot: self.rng.random(),
        };
        let me = Identity {
            name: name(nth).into(),
            addr: addr(nth),
            incarnation,
        };
        let id = me.member().node;
        let mut membership = Membership::new(me, self.config, fork(&mut self.rng), self.now);
        let seeds: Vec<SocketAddr> = (0..SEEDS).map(addr).collect();
        membership.join(&seeds, self.now);
        self.nodes.push(Node {
            id,
            membership: Some(membership),
            stopped_until: Instant::START,
            due: None,
            down: Vec::new(),
            known_down: BTreeSet::new(),
            renamed: 0,
        });
        self.drain(nth);
    }

    /// From now on so many datagrams of a hundred are lost.
    pub fn lose(&mut self, percent: u32) {
        self.loss_percent = percent;
    }

    /// The node is gone, without a word.
    pub fn crash(&mut self, nth: usize) {
        self.nodes[nth].membership = None;
    }

    /// The node does nothing for a while; what comes meanwhile waits for it.
    pub fn stop(&mut self, nth: usize, span: Duration) {
        self.nodes[nth].stopped_until = self.now + span;
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(Reverse((at, order))) = self.events.peek().copied() {
            if at > end {
                break;
            }
            self.events.pop();
            self.now = at.max(self.now);
            if let Some(event) = self.waiting.remove(&order) {
                self.happen(event);
            }
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        let (Event::Datagram(nth, ..) | Event::Timer(nth)) = event;
        let now = self.now;
        let Some(node) = self.nodes.get_mut(nth) else {
            return; // not started yet
        };
        if node.stopped_until > now {
            // Timers first: a node that wakes up sees its clock before its sockets.
            let late = Duration::from_nanos(u64::from(matches!(event, Event::Datagram(..))));
            let until = node.stopped_until + late;
            self.push(until, event);
            return;
        }
        let Some(membership) = &mut node.membership else {
            return;
        };
        match event {
            Event::Datagram(_, from, bytes) => membership.handle_gossip(from, &bytes, now),
            Event::Timer(_) => {
                node.due = None;
                if membership.next_deadline().is_some_and(|due| due <= now) {
                    membership.handle_timeout(now);
                }
            }
        }
        self.drain(nth);
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order)));
        self.waiting.insert(self.order, event);
    }

    fn drain(&mut self, nth: usize) {
        let from = self.nodes[nth].id;
        while let Some(effect) = self.nodes[nth]
            .membership
            .as_mut()
            .and_then(Membership::poll)
        {
            match effect {
                MembershipEffect::Send { to, bytes } => self.send(from, to, bytes),
                MembershipEffect::View(view) => self.note(nth, &view),
                MembershipEffect::Renamed(_) => self.nodes[nth].renamed += 1,
            }
        }
        let node = &mut self.nodes[nth];
        let due = node.membership.as_ref().and_then(Membership::next_deadline);
        if let Some(due) = due
            && node.due.is_none_or(|earlier| due < earlier)
        {
            node.due = Some(due);
            self.push(due, Event::Timer(nth));
        }
    }

    fn send(&mut self, from: NodeId, to: SocketAddr, bytes: Bytes) {
        self.traffic.datagrams += 1;
        self.traffic.bytes += bytes.len() as u64 + OVERHEAD_BYTES;
        if self.rng.random_ratio(self.loss_percent, 100) {
            return;
        }
        let (least, most) = self.delay;
        let nanos = self
            .rng
            .random_range(least.as_nanos() as u64..most.as_nanos() as u64);
        let at = self.now + Duration::from_nanos(nanos);
        self.push(at, Event::Datagram(nth_at(to), from, bytes));
    }

    fn note(&mut self, nth: usize, view: &View) {
        let now = self.now;
        let node = &mut self.nodes[nth];
        for member in view.members() {
            if member.state == MemberState::Down && node.known_down.insert(member.id) {
                node.down.push((now, member.id));
            }
        }
    }

    fn running(&self) -> impl Iterator<Item = (&Node, &Membership)> {
        let running = self.nodes.iter();
        running.filter_map(|node| Some((node, node.membership.as_ref()?)))
    }

    /// The present life of a node that runs.
    #[must_use]
    pub fn member(&self, nth: usize) -> Option<MemberId> {
        let membership = self.nodes[nth].membership.as_ref()?;
        Some(membership.identity().member())
    }

    /// Whether every running node sees all running nodes and nobody else.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let count = self.running().count();
        self.running()
            .all(|(_, membership)| membership.view().live().count() == count)
    }

    /// Lets time pass until all see all. Whether they do within `most`.
    pub fn gather(&mut self, most: Duration) -> bool {
        let end = self.now + most;
        while !self.is_whole() && self.now < end {
            self.run_for(Duration::from_millis(500));
        }
        self.is_whole()
    }

    /// After how long each running node called a member Down that died `since`; sorted. Those that
    /// have not yet are not in it.
    #[must_use]
    pub fn noticed(&self, member: MemberId, since: Instant) -> Vec<Duration> {
        let whens = self.running().filter_map(|(node, _)| {
            let (at, _) = node.down.iter().find(|(_, id)| *id == member)?;
            Some(at.since(since))
        });
        let mut whens: Vec<Duration> = whens.collect();
        whens.sort_unstable();
        whens
    }

    /// How often since then somebody called a member Down, those of `dead` left out.
    #[must_use]
    pub fn called_down(&self, since: Instant, dead: &[MemberId]) -> usize {
        let all = self.nodes.iter().flat_map(|node| &node.down);
        all.filter(|(at, id)| *at >= since && !dead.contains(id))
            .count()
    }

    /// How often a node had to take a higher number because it was called Down.
    #[must_use]
    pub fn renamed(&self) -> u32 {
        self.nodes.iter().map(|node| node.renamed).sum()
    }

    /// What has been sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }
}
