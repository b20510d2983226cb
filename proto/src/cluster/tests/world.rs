//! Nodes, their clocks, and everything that happens to them, in the order of virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::judge::{Judge, Log, Told};
use super::net::{Net, Parcel};
use crate::base::ids::{CallId, Incarnation, MemberId, NodeId};
use crate::base::rng::{Rng, from_seed};
use crate::base::time::{Duration, Instant};
use crate::cluster::effect::Effect;
use crate::cluster::entry::{Copy, Entry, Role};
use crate::cluster::liveness::Peer;
use crate::cluster::policy::{AckPolicy, Replication};
use crate::cluster::replica::Remembered;
use crate::cluster::view::{MemberInfo, MemberState, Metadata, View};
use crate::cluster::{Cluster, Sabotage};
use crate::wire::{self, Ending, Message};

pub(super) const MS: Duration = Duration::from_millis(1);

/// A step that ends its call has this bit.
pub(super) const END: u64 = 1 << 63;

/// What can happen to a node, at a time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Frame(Parcel),
    LinkUp(MemberId, u64),
    LinkDown(MemberId, u64),
    /// It learns what membership says of a member.
    Learn(MemberId, MemberState),
    /// It learns that a node drains, or no longer.
    Drains(NodeId, bool),
    /// A phone's message arrives.
    Bring(CallId, u64, Option<u16>),
}

#[derive(Debug)]
pub(super) enum Due {
    Node(usize, MemberId, Event),
    Link(usize, usize),
    Resume(usize, MemberId, Instant),
    Mend(usize, usize),
    Script(usize),
}

pub(super) struct Node {
    pub(super) member: MemberId,
    pub(super) cluster: Option<Cluster<Told>>,
    pub(super) logs: BTreeMap<CallId, Log>,
    /// Node time minus world time: clocks have nothing in common.
    pub(super) skew: Duration,
    pub(super) paused: bool,
    pub(super) paused_at: Instant,
    pub(super) backlog: Vec<Event>,
    pub(super) sessions: BTreeMap<MemberId, u64>,
    /// Members it ever had a link to.
    pub(super) met: BTreeSet<MemberId>,
    pub(super) beliefs: BTreeMap<NodeId, (MemberId, MemberState)>,
    pub(super) drains: BTreeSet<NodeId>,
    /// What members say of their load.
    pub(super) loads: BTreeMap<NodeId, u32>,
    pub(super) epoch: u64,
    pub(super) silent: BTreeSet<Peer>,
    /// Paused until then, or lately: others may find it silent at no extra cost.
    pub(super) lame_until: Instant,
}

/// An answer at a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Told,
    NotFound,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) nodes: Vec<Node>,
    pub(super) net: Net,
    pub(super) judge: Judge,
    pub(super) policy: Replication,
    pub(super) sabotage: Sabotage,
    due: BTreeMap<(Instant, u64), Due>,
    next_due: u64,
    /// Faults since everything was last repaired.
    pub(super) faults: BTreeSet<String>,
    /// Answers by step, with the time they came.
    pub(super) answers: BTreeMap<u64, (Answer, Instant)>,
    /// Ends that the owner of a higher ballot is to hear of.
    pub(super) ended_elsewhere: Vec<(CallId, usize)>,
    /// Wake-ups of the script.
    pub(super) woken: Vec<usize>,
    pub(super) verbose: bool,
    pub(super) trace: Vec<(Instant, Option<CallId>, String)>,
    pub(super) events: u64,
    same_instant: u32,
}

impl World {
    pub(super) fn new(count: usize, policy: Replication, seed: u64, sabotage: Sabotage) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut world = Self {
            now: Instant::START,
            rng: from_seed(bytes),
            nodes: Vec::new(),
            net: Net::new(MS * 2, 30),
            judge: Judge::default(),
            policy,
            sabotage,
            due: BTreeMap::new(),
            next_due: 0,
            faults: BTreeSet::new(),
            answers: BTreeMap::new(),
            ended_elsewhere: Vec::new(),
            woken: Vec::new(),
            verbose: false,
            trace: Vec::new(),
            events: 0,
            same_instant: 0,
        };
        for nth in 0..count {
            let member = MemberId {
                node: NodeId::of(&format!("node{nth}")),
                incarnation: Incarnation { number: 0, boot: 0 },
            };
            world.nodes.push(Node {
                member,
                cluster: None,
                logs: BTreeMap::new(),
                skew: Duration::ZERO,
                paused: false,
                paused_at: Instant::START,
                backlog: Vec::new(),
                sessions: BTreeMap::new(),
                met: BTreeSet::new(),
                beliefs: BTreeMap::new(),
                drains: BTreeSet::new(),
                loads: BTreeMap::new(),
                epoch: 0,
                silent: BTreeSet::new(),
                lame_until: Instant::START,
            });
        }
        for nth in 0..count {
            world.start(nth, Duration::ZERO);
        }
        world.run_for(MS * 300);
        world
    }

    /// How many faults at once the policy stands (PROTOCOL.md section 1).
    pub(super) fn budget(&self) -> usize {
        match self.policy.ack {
            AckPolicy::None => 0,
            AckPolicy::One => 1,
            AckPolicy::All => self.policy.copies - 1,
        }
    }

    // ---- time -----------------------------------------------------------------------------

    pub(super) fn at(&mut self, at: Instant, due: Due) {
        self.next_due += 1;
        self.due.insert((at.max(self.now), self.next_due), due);
    }

    pub(super) fn event(&mut self, nth: usize, after: Duration, event: Event) {
        let member = self.nodes[nth].member;
        self.at(self.now + after, Due::Node(nth, member, event));
    }

    pub(super) fn wake_script(&mut self, after: Duration, nth: usize) {
        self.at(self.now + after, Due::Script(nth));
    }

    pub(super) fn node_now(&self, nth: usize) -> Instant {
        self.now + self.nodes[nth].skew
    }

    fn next_timeout(&self) -> Option<(Instant, usize)> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| !node.paused)
            .filter_map(|(nth, node)| {
                let deadline = node.cluster.as_ref()?.next_deadline()?;
                Some((deadline - node.skew, nth))
            })
            .min()
    }

    /// Does the next thing, if it is due by `until`.
    pub(super) fn step(&mut self, until: Instant) -> bool {
        let due = self.due.first_key_value().map(|((at, _), _)| *at);
        let timeout = self.next_timeout();
        let next = [due, timeout.map(|(at, _)| at)].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= until) else {
            return false;
        };
        if next > self.now {
            self.same_instant = 0;
            self.now = next;
        }
        self.same_instant += 1;
        assert!(
            self.same_instant < 5_000,
            "the cluster spins at {:?}",
            self.now
        );
        self.events += 1;
        match timeout {
            Some((at, nth)) if due.is_none_or(|due| at < due) => {
                let now = self.node_now(nth);
                if let Some(cluster) = &mut self.nodes[nth].cluster {
                    cluster.on_timeout(now);
                }
                self.drain(nth);
            }
            _ => {
                if let Some((_, due)) = self.due.pop_first() {
                    self.happen(due);
                }
            }
        }
        true
    }

    pub(super) fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until `done`, at most for `span`; returns whether it was.
    pub(super) fn run_until(&mut self, span: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + span;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(until) {
                self.now = until;
                return done(self);
            }
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Node(nth, member, event) => {
                let node = &mut self.nodes[nth];
                if node.member != member || node.cluster.is_none() {
                    if let Event::Bring(..) = event {
                        self.note(None, || format!("node{nth} is down; a message is lost"));
                    }
                } else if node.paused {
                    node.backlog.push(event);
                } else {
                    self.give(nth, event);
                }
            }
            Due::Link(one, other) => self.link(one, other),
            Due::Resume(nth, member, since) => {
                let node = &self.nodes[nth];
                if (node.member, node.paused_at) == (member, since) {
                    self.resume(nth);
                }
            }
            Due::Mend(from, to) => self.mend(from, to),
            Due::Script(nth) => self.woken.push(nth),
        }
    }

    // ---- inputs of a node -----------------------------------------------------------------

    pub(super) fn give(&mut self, nth: usize, event: Event) {
        let now = self.node_now(nth);
        let node = &mut self.nodes[nth];
        let Some(cluster) = &mut node.cluster else {
            return;
        };
        match event {
            Event::Frame(parcel) => {
                if node.sessions.get(&parcel.from) != Some(&parcel.session) {
                    let line = || format!("node{nth}: the link of {parcel:?} is gone");
                    self.note(None, line);
                    return;
                }
                let (address, frame) =
                    wire::decode(&parcel.bytes, wire::VERSION).expect("a frame of ours");
                if self.verbose {
                    let line = format!("node{nth} <- {:?} {frame:?}", parcel.from);
                    let key = key_of(&frame);
                    self.trace.push((self.now, key, line));
                }
                cluster.on_frame(parcel.from, parcel.session, address, frame, now);
            }
            Event::LinkUp(member, session) => {
                node.sessions.insert(member, session);
                node.met.insert(member);
                cluster.on_link_up(member, session, 1, now);
            }
            Event::LinkDown(member, session) => {
                if node.sessions.get(&member) == Some(&session) {
                    node.sessions.remove(&member);
                }
                cluster.on_link_down(member, session, now);
            }
            Event::Learn(member, state) => {
                let known = node.beliefs.get(&member.node).copied();
                let news = known
                    .is_none_or(|(old, was)| (old.incarnation, was) < (member.incarnation, state));
                if !news {
                    return;
                }
                node.beliefs.insert(member.node, (member, state));
                node.look_around(now);
            }
            Event::Drains(id, on) => {
                let news = if on {
                    node.drains.insert(id)
                } else {
                    node.drains.remove(&id)
                };
                if news {
                    node.look_around(now);
                }
            }
            Event::Bring(key, step, hint) => {
                let body = Bytes::copy_from_slice(&step.to_be_bytes());
                let message = Message::Signal {
                    asker: node.member,
                    shard: 0,
                    ask: step,
                    body,
                };
                cluster.bring(key, hint, message, now);
                self.note(Some(key), || format!("node{nth}: brought step {step:x}"));
            }
        }
        self.drain(nth);
    }

    /// Carries out what a node wants done.
    pub(super) fn drain(&mut self, nth: usize) {
        let now = self.node_now(nth);
        self.count_suspicions(nth);
        while let Some(effect) = self.nodes[nth]
            .cluster
            .as_mut()
            .and_then(|cluster| cluster.poll_effect(now))
        {
            self.carry_out(nth, effect);
        }
        self.count_suspicions(nth);
    }

    fn carry_out(&mut self, nth: usize, effect: Effect<Told>) {
        let node = &mut self.nodes[nth];
        let from = node.member;
        match effect {
            Effect::Frame { to, address, frame } => {
                assert_ne!(to, from, "a frame to itself: {frame:?}");
                let target = self.nodes.iter().position(|node| node.member == to);
                let session = self.nodes[nth].sessions.get(&to).copied();
                let (Some(target), Some(session)) = (target, session) else {
                    let key = key_of(&frame);
                    self.note(key, || {
                        format!("node{nth} has no link to {to:?}: {frame:?} is lost")
                    });
                    return;
                };
                let bytes =
                    wire::encode(address, &frame, wire::VERSION).expect("a kind of this version");
                assert_eq!(wire::decode(&bytes, wire::VERSION), Ok((address, frame)));
                let parcel = Parcel {
                    from,
                    to,
                    session,
                    bytes,
                };
                self.post((nth, target), parcel);
            }
            Effect::Release { key, output, .. } => {
                self.note(Some(key), || format!("node{nth}: TELLS {output:?}"));
                self.answers
                    .entry(output.step)
                    .or_insert((Answer::Told, self.now));
                self.judge.told(key, output);
            }
            Effect::Drop { key, output } => {
                self.note(Some(key), || format!("node{nth}: drops {output:?}"));
            }
            Effect::Deliver { key, message } => {
                let Message::Signal { ask, .. } = message else {
                    unreachable!("the harness sends signals only");
                };
                self.perform(nth, key, ask);
            }
            Effect::Activated { key, record, .. } => {
                assert_eq!(record.ballot.owner, from);
                let log = Log::from_bytes(&record.state);
                self.note(Some(key), || format!("node{nth}: ACTIVATED {record:?}"));
                self.judge.activated(key, record.ballot, &log);
                self.nodes[nth].logs.insert(key, log);
            }
            Effect::Yielded { key } => {
                node.logs.remove(&key);
                self.note(Some(key), || format!("node{nth}: yields"));
            }
            Effect::NotFound { key, message } => {
                let Message::Signal { ask, .. } = message else {
                    unreachable!("the harness sends signals only");
                };
                self.note(Some(key), || format!("node{nth}: NOT FOUND {ask:x}"));
                self.answers
                    .entry(ask)
                    .or_insert((Answer::NotFound, self.now));
                if self.judge.believes_alive(key) {
                    let what = format!("node{nth} does not find a call that phones believe in");
                    self.judge.accuse(key, what);
                }
            }
            Effect::EndedHere { key, ballot } => {
                self.note(Some(key), || {
                    format!("node{nth}: tells {ballot:?} of the end")
                });
                let winner = self
                    .nodes
                    .iter()
                    .position(|node| node.member == ballot.owner);
                self.ended_elsewhere
                    .extend(winner.map(|winner| (key, winner)));
            }
            _ => {} // births have tests of their own
        }
    }

    /// The tiny application: every message is a step, counted once, answered when it is safe.
    fn perform(&mut self, nth: usize, key: CallId, step: u64) {
        let now = self.node_now(nth);
        let node = &mut self.nodes[nth];
        let Some(cluster) = &mut node.cluster else {
            return;
        };
        let Some(log) = node.logs.get_mut(&key) else {
            self.judge.accuse(
                key,
                format!("delivered to node{nth}, which does not run the call"),
            );
            return;
        };
        if !log.ended && !log.steps.contains(&step) {
            log.steps.push(step);
            log.ended = step & END != 0;
            let end = if log.ended {
                Ending::ByPhone
            } else {
                Ending::No
            };
            cluster.changed(key, log.to_bytes(), end, now);
        }
        let ballot = cluster
            .owned(key)
            .map(|owned| owned.record.ballot)
            .unwrap_or_default();
        let told = Told {
            ballot,
            step,
            log: log.clone(),
        };
        cluster.hold(key, told, false, now);
        self.note(Some(key), || format!("node{nth}: performs {step:x}"));
    }

    /// A call is born at a node; `step` is its first.
    pub(super) fn birth(&mut self, nth: usize, key: CallId, step: u64) {
        let now = self.node_now(nth);
        let node = &mut self.nodes[nth];
        let Some(cluster) = node.cluster.as_mut().filter(|_| !node.paused) else {
            return;
        };
        cluster.born(key, now);
        node.logs.insert(key, Log::default());
        self.note(Some(key), || format!("node{nth}: born"));
        self.perform(nth, key, step);
        self.drain(nth);
    }

    // ---- the fabric -----------------------------------------------------------------------

    pub(super) fn post(&mut self, (from, to): (usize, usize), parcel: Parcel) {
        let arrivals = self
            .net
            .arrivals((from, to), &parcel, self.now, &mut self.rng);
        for at in arrivals {
            let event = Event::Frame(parcel.clone());
            self.at(at, Due::Node(to, parcel.to, event));
        }
    }

    fn link(&mut self, one: usize, other: usize) {
        let up = |node: &Node| node.cluster.is_some();
        if self.net.session(one, other).is_some()
            || !up(&self.nodes[one])
            || !up(&self.nodes[other])
        {
            return;
        }
        if self.net.is_cut(one, other) || self.net.is_cut(other, one) {
            self.at(self.now + MS * 20, Due::Link(one, other));
            return;
        }
        let session = self.net.establish(one, other, self.now + MS);
        for (at, peer) in [(one, other), (other, one)] {
            let member = self.nodes[peer].member;
            self.event(at, MS, Event::LinkUp(member, session));
        }
    }

    /// The link breaks; both ends notice, and make a new one.
    pub(super) fn reset(&mut self, one: usize, other: usize) {
        let Some(session) = self.net.reset(one, other) else {
            return;
        };
        let mut latest = Duration::ZERO;
        for (at, peer) in [(one, other), (other, one)] {
            let after = self.net.delay(&mut self.rng);
            latest = latest.max(after);
            let member = self.nodes[peer].member;
            self.event(at, after, Event::LinkDown(member, session));
        }
        let after = latest + self.net.delay(&mut self.rng);
        self.at(self.now + after, Due::Link(one, other));
        self.note(None, || format!("link {one}-{other} reset"));
    }

    // ---- what the tests do by hand --------------------------------------------------------

    /// A frame arrives at a node without having been sent.
    pub(super) fn inject(&mut self, to: usize, from: MemberId, session: u64, frame: &wire::Frame) {
        let (from_shard, to_shard) = (0, 0);
        let address = wire::Address {
            from_shard,
            to_shard,
        };
        let parcel = Parcel {
            from,
            to: self.nodes[to].member,
            session,
            bytes: wire::encode(address, frame, wire::VERSION).expect("a kind of this version"),
        };
        self.give(to, Event::Frame(parcel));
    }

    /// A node has missed the end: its copy is what it was.
    pub(super) fn restore(&mut self, nth: usize, record: wire::Record) {
        let at = self.node_now(nth);
        let cluster = self.cluster(nth);
        cluster.had = Remembered::default();
        let mut entry = Entry::new(at);
        entry.promised = record.ballot;
        let key = record.key;
        entry.role = Role::Copy(Copy { record, at });
        cluster.entries.insert(key, entry);
    }

    /// A node replaces a replica as if it had found it silent.
    pub(super) fn replace(&mut self, nth: usize, key: CallId, replica: usize) {
        let now = self.node_now(nth);
        let member = self.nodes[replica].member;
        let cluster = self.cluster(nth);
        let peer = cluster.peer(member, key);
        cluster.liveness.set_silent(peer);
        cluster.repair(key, now);
        self.drain(nth);
    }
}

fn key_of(frame: &wire::Frame) -> Option<CallId> {
    use wire::Frame;
    match frame {
        Frame::Batch(batch) => batch.records.first().map(|record| record.key),
        Frame::Release(release) => Some(release.key),
        Frame::Locate(locate) => Some(locate.key),
        Frame::Located(located) => Some(located.key),
        Frame::TakeOver(take_over) => Some(take_over.key),
        Frame::Claim(claim) => Some(claim.key),
        Frame::Promise(promise) => Some(promise.key),
        Frame::Refuse(refuse) => Some(refuse.key),
        Frame::Invite(invite) => Some(invite.key),
        Frame::Digest(_) | Frame::Gaps(_) => Some(CallId::default()),
        Frame::Relay(relay) => Some(relay.key),
        Frame::NotOwner(not_owner) => Some(not_owner.key),
        // Pings are noise in a story.
        Frame::Ping(_) | Frame::Pong(_) => Some(CallId::default()),
        Frame::Ack(ack) if ack.refused.is_empty() => Some(CallId::default()),
        Frame::Ack(ack) => ack.refused.first().map(|refused| refused.key),
        _ => None,
    }
}

impl Node {
    /// Something of what it knows of the members has changed.
    pub(super) fn look_around(&mut self, now: Instant) {
        self.epoch += 1;
        let view = Arc::new(view_of(self.epoch, self));
        if let Some(cluster) = self.cluster.as_mut() {
            cluster.on_view(view, now);
        }
    }
}

pub(super) fn view_of(epoch: u64, node: &Node) -> View {
    let members = node.beliefs.values().map(|(id, state)| MemberInfo {
        id: *id,
        name: format!("{id:?}").into(),
        state: *state,
        cluster_addr: SocketAddr::from(([10, 0, 0, 1], 7_060)),
        meta: Metadata {
            draining: node.drains.contains(&id.node),
            load: node.loads.get(&id.node).copied().unwrap_or_default(),
            ..Metadata::default()
        },
        known: true,
    });
    View::new(epoch, node.member, members.collect())
}
