//! The world: one heap of events, one clock, one generator; it carries a plan out and judges it.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use callring_proto::base::flow::Flow;
use callring_proto::base::ids::{CallId, MemberId, NodeId};
use callring_proto::base::rng::{Rng, from_seed};
use callring_proto::base::time::{Duration, Instant};
use callring_proto::cluster::Sabotage;
use callring_proto::cluster::membership::MembershipEffect;
use callring_proto::io::{Answer, Ask, Input, Output};
use callring_proto::sip::Message;
use callring_proto::sip::locator::Sealer;
use callring_proto::wire;
use rand::RngExt as _;

use super::eprintln_line;
use super::judge::{Emission, Judge, Violation, first_line};
use super::net::{Net, micros};
use super::node::{Inbound, Life, fabric_addr, metadata, name, sealer};
use super::phone::{Phone, Stage};
use super::plan::{Fault, Plan};

/// The cluster gets this long to come together before the first call.
const FORMING: Duration = Duration::from_secs(4);
/// A run ends this long after its start, whatever happens.
const END: Duration = Duration::from_secs(75);

/// For how long after a death an acknowledgement of the dead may still be counted on the way.
const GRAVE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub(super) enum Event {
    Node(usize, MemberId, Box<Inbound>),
    Phone(usize, usize, Bytes),
    PhoneTime(usize),
    LinkUp(MemberId, MemberId),
    LinkDown(MemberId, MemberId, u64),
    Fault(Fault),
    Restart(usize),
    Resume(usize, MemberId),
    Heal,
}

pub(super) struct Entry {
    at: Instant,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order)) // a max-heap: earliest on top
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Calls begun.
    pub calls: usize,
    /// Calls whose 200 the phone saw.
    pub answered: usize,
    /// Calls taken over by an heir.
    pub takeovers: u64,
    /// Outputs let out without a copy anywhere.
    pub degraded: u64,
    /// In-dialog requests refused for now (491, 500).
    pub refused: u32,
    /// Everything that must not happen and did.
    pub violations: Vec<Violation>,
    /// A hash of everything that happened, in order: equal for equal seeds.
    pub trace: u64,
}

/// A run under way.
pub struct World {
    pub(super) plan: Plan,
    pub(super) sabotage: Sabotage,
    pub(super) verbose: bool,
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) net: Net,
    pub(super) heap: BinaryHeap<Entry>,
    pub(super) order: u64,
    pub(super) sealer: Arc<Sealer>,
    pub(super) nodes: Vec<(u32, Option<Life>)>,
    /// The dead, as they were.
    pub(super) graves: Vec<(Instant, Life)>,
    pub(super) sessions: BTreeMap<(MemberId, MemberId), u64>,
    pub(super) phones: Vec<Phone>,
    pub(super) judge: Judge,
    pub(super) trace: DefaultHasher,
    pub(super) takeovers: u64,
    pub(super) degraded: u64,
    pub(super) asks: BTreeMap<u64, (usize, CallId)>,
    pub(super) next_ask: u64,
}

impl World {
    /// The world of a plan, before anything has happened.
    #[must_use]
    pub fn new(plan: Plan, sabotage: Sabotage, verbose: bool) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&plan.seed.to_le_bytes());
        bytes[8] = 2;
        Self {
            sabotage,
            verbose,
            now: Instant::START,
            rng: from_seed(bytes),
            net: Net::new(&plan),
            heap: BinaryHeap::new(),
            order: 0,
            sealer: sealer(),
            nodes: (0..plan.nodes).map(|_| (0, None)).collect(),
            graves: Vec::new(),
            sessions: BTreeMap::new(),
            phones: Vec::new(),
            judge: Judge::default(),
            trace: DefaultHasher::new(),
            takeovers: 0,
            degraded: 0,
            asks: BTreeMap::new(),
            next_ask: 0,
            plan,
        }
    }

    /// Carries the plan out.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        for node in 0..self.plan.nodes {
            self.begin(node);
        }
        let start = Instant::START + FORMING;
        for index in 0..self.plan.calls {
            let within = u64::try_from(Plan::CALLS_WITHIN.as_micros()).expect("some seconds");
            let at = start + micros(self.rng.random_range(0..within));
            self.phones.push(Phone::new(index, at, &mut self.rng));
            self.push(at, Event::PhoneTime(index));
        }
        for fault in self.plan.faults.clone() {
            let (Fault::Crash { at, .. } | Fault::Pause { at, .. } | Fault::Partition { at, .. }) =
                fault;
            self.push(start + at, Event::Fault(fault));
        }
        let end = Instant::START + END;
        while let Some(entry) = self.heap.pop() {
            if entry.at > end || self.phones.iter().all(Phone::is_done) {
                break;
            }
            self.now = entry.at;
            self.happen(entry.event);
        }
        self.close()
    }

    pub(super) fn close(mut self) -> Outcome {
        for index in 0..self.phones.len() {
            let phone = &self.phones[index];
            if !phone.is_done() && phone.stage != Stage::Waiting {
                let what = format!("stuck: phone {index} in {:?}", phone.stage);
                self.judge.blame(self.now, what);
            }
            let crashed = self
                .plan
                .faults
                .iter()
                .any(|one| matches!(one, Fault::Crash { .. }));
            let byes = self.phones[index].server_byes();
            let quiet = self.plan.loss == 0 && !crashed && !self.plan.is_partitioned();
            if byes > 1 && quiet {
                self.judge
                    .blame(self.now, format!("phone {index} got {byes} BYEs"));
            }
            // A node that stood still until membership gave it up goes on under a new name; a call
            // that was ringing there may be left without its answer. Nothing was promised yet.
            if quiet && !self.plan.may_rename() && self.phones[index].was_let_down() {
                self.judge
                    .blame(self.now, format!("phone {index} was let down"));
            }
        }
        for node in 0..self.nodes.len() {
            self.harvest(node);
        }
        Outcome {
            seed: self.plan.seed,
            calls: self.phones.len(),
            answered: self.phones.iter().filter(|phone| phone.answered).count(),
            takeovers: self.takeovers,
            degraded: self.degraded,
            refused: self.phones.iter().map(|phone| phone.refused).sum(),
            violations: self.judge.violations,
            trace: self.trace.finish(),
        }
    }

    /// Adds up a life's counters before it goes.
    pub(super) fn harvest(&mut self, node: usize) {
        let now = self.now;
        let Some(life) = self.nodes[node].1.as_mut() else {
            return;
        };
        for shard in &mut life.shards {
            shard.handle(
                now,
                Input::Ask {
                    ask: 0,
                    request: Ask::Summary,
                },
            );
            while let Some(output) = shard.poll_output(now) {
                if let Output::Answer {
                    answer: Answer::Summary(summary),
                    ..
                } = output
                {
                    self.takeovers += summary.takeovers_total;
                    self.degraded += summary.degraded_total;
                }
            }
        }
    }

    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.heap.push(Entry {
            at: at.max(self.now),
            order: self.order,
            event,
        });
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.verbose {
            eprintln_line(&format!("{:?} {}", self.now, line()));
        }
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Node(node, life, inbound) => self.at_node(node, life, *inbound),
            Event::Phone(index, from, bytes) => self.at_phone(index, from, bytes),
            Event::PhoneTime(index) => self.phone_time(index),
            Event::LinkUp(one, other) => self.link_up(one, other),
            Event::LinkDown(at, from, session) => self.link_down(at, from, session),
            Event::Fault(fault) => self.fault(fault),
            Event::Restart(node) => self.begin(node),
            Event::Resume(node, life) => self.resume(node, life),
            Event::Heal => {
                self.note(|| "heal".to_owned());
                self.net.heal();
            }
        }
    }

    // ---- nodes ----------------------------------------------------------------------------

    pub(super) fn begin(&mut self, node: usize) {
        self.nodes[node].0 += 1;
        let number = self.nodes[node].0;
        let world = (&mut self.rng, self.now);
        let mut life = Life::begin(node, number, &self.plan, &self.sealer, self.sabotage, world);
        let me = life.me;
        let seeds: Vec<_> = (0..self.plan.nodes)
            .filter(|other| *other != node)
            .map(fabric_addr)
            .collect();
        life.membership.join(&seeds, self.now);
        self.nodes[node].1 = Some(life);
        self.note(|| format!("{} begins life {number}", name(node)));
        let others: Vec<(usize, MemberId)> = self.lives().filter(|(at, _)| *at != node).collect();
        for (other, member) in others {
            let at = self.now + micros(self.rng.random_range(5_000..40_000));
            self.push(at, Event::LinkUp(me, member));
            let at = self.now + micros(self.rng.random_range(50_000..400_000));
            let ours = Box::new(metadata(node, &self.plan));
            let theirs = Box::new(metadata(other, &self.plan));
            self.push(
                at,
                Event::Node(other, member, Box::new(Inbound::Metadata(me, ours))),
            );
            self.push(
                at,
                Event::Node(node, me, Box::new(Inbound::Metadata(member, theirs))),
            );
        }
        self.drain(node);
    }

    pub(super) fn lives(&self) -> impl Iterator<Item = (usize, MemberId)> + '_ {
        let lives = self.nodes.iter().enumerate();
        lives.filter_map(|(node, (_, life))| Some((node, life.as_ref()?.me)))
    }

    pub(super) fn node_of(&self, member: MemberId) -> Option<usize> {
        self.lives()
            .find(|(_, me)| *me == member)
            .map(|(node, _)| node)
    }

    pub(super) fn at_node(&mut self, node: usize, member: MemberId, inbound: Inbound) {
        let now = self.now;
        let Some(life) = self.nodes[node].1.as_mut().filter(|life| life.me == member) else {
            return;
        };
        if let Inbound::Tick = inbound {
            life.tick = None;
        }
        if let Inbound::Shard(_, Input::Frame { from, session, .. }) = &inbound {
            if life.links.get(from) != Some(session) {
                return; // of a session that is over
            }
            life.membership.set_heard(from.node, now);
        }
        if life.paused.is_some() {
            if !matches!(inbound, Inbound::Tick) {
                life.backlog.push_back(inbound);
            }
            return;
        }
        life.take(inbound, now);
        self.drain(node);
    }

    pub(super) fn drain(&mut self, node: usize) {
        let now = self.now;
        loop {
            let Some(life) = self.nodes[node].1.as_mut() else {
                return;
            };
            let me = life.me;
            if let Some(effect) = life.membership.poll() {
                self.on_membership(node, effect);
                continue;
            }
            let shards = life.shards.iter_mut();
            let Some(output) = shards
                .map(|shard| shard.poll_output(now))
                .find_map(|one| one)
            else {
                break;
            };
            self.on_output(node, me, output);
        }
        self.schedule_tick(node);
    }

    pub(super) fn schedule_tick(&mut self, node: usize) {
        let now = self.now;
        let Some(life) = self.nodes[node].1.as_mut() else {
            return;
        };
        if life.paused.is_some() {
            return;
        }
        let Some(at) = life.next_deadline().map(|at| at.max(now)) else {
            return;
        };
        if life.tick.is_none_or(|tick| at < tick) {
            life.tick = Some(at);
            let me = life.me;
            self.push(at, Event::Node(node, me, Box::new(Inbound::Tick)));
        }
    }

    pub(super) fn on_membership(&mut self, node: usize, effect: MembershipEffect) {
        let now = self.now;
        match effect {
            MembershipEffect::Send { to, bytes } => {
                let target = (0..self.plan.nodes).find(|other| fabric_addr(*other) == to);
                let Some(target) = target else { return };
                let arrives = self.net.gossip(node, target, now, &mut self.rng);
                let Some(member) = self.nodes[target].1.as_ref().map(|life| life.me) else {
                    return;
                };
                if let Some(at) = arrives {
                    let from = NodeId::of(&name(node));
                    let inbound = Box::new(Inbound::Gossip(from, bytes));
                    self.push(at, Event::Node(target, member, inbound));
                }
            }
            MembershipEffect::View(view) => {
                let Some(life) = self.nodes[node].1.as_mut() else {
                    return;
                };
                for shard in &mut life.shards {
                    shard.handle(now, Input::View(Arc::clone(&view)));
                }
            }
            MembershipEffect::Renamed(me) => self.renamed(node, me),
        }
    }

    /// Membership took a living node for dead: links begin anew under its new name.
    pub(super) fn renamed(&mut self, node: usize, me: MemberId) {
        let now = self.now;
        self.note(|| format!("{} is renamed {me:?}", name(node)));
        let Some(life) = self.nodes[node].1.as_mut() else {
            return;
        };
        let old = std::mem::replace(&mut life.me, me);
        life.membership.set_metadata(me, metadata(node, &self.plan));
        for shard in &mut life.shards {
            shard.handle(now, Input::Renamed(me));
        }
        let links = std::mem::take(&mut life.links);
        life.tick = None;
        self.nodes[node].0 = me.incarnation.number;
        for (member, session) in links {
            if let Some(other) = self.node_of(member) {
                self.end_link(other, old, session);
                self.end_link(node, member, session);
                let at = now + micros(self.rng.random_range(5_000..40_000));
                self.push(at, Event::LinkUp(me, member));
                let ours = Box::new(metadata(node, &self.plan));
                let inbound = Box::new(Inbound::Metadata(me, ours));
                self.push(at, Event::Node(other, member, inbound));
            }
        }
    }

    pub(super) fn end_link(&mut self, node: usize, member: MemberId, session: u64) {
        let now = self.now;
        let Some(life) = self.nodes[node].1.as_mut() else {
            return;
        };
        life.links
            .retain(|other, known| (*other, *known) != (member, session));
        for shard in &mut life.shards {
            shard.handle(now, Input::LinkDown { member, session });
        }
    }

    pub(super) fn on_output(&mut self, node: usize, me: MemberId, output: Output) {
        match output {
            Output::Sip { flow, bytes } => self.sip_out(node, &flow, bytes),
            Output::Frame { to, bytes } => self.frame_out(node, me, to, bytes),
            Output::Forward { shard, input } => {
                let now = self.now;
                if let Some(life) = self.nodes[node].1.as_mut() {
                    life.take(Inbound::Shard(shard, input), now);
                }
            }
            Output::Answer { ask, answer } => self.on_answer(ask, answer),
        }
    }

    pub(super) fn frame_out(&mut self, node: usize, me: MemberId, to: MemberId, bytes: Bytes) {
        let (address, frame) =
            wire::decode(&bytes, wire::VERSION).expect("a node's own frame can be read");
        if let wire::Frame::Egress(egress) = &frame {
            self.emission(node, &egress.bytes);
        }
        let Some(life) = self.nodes[node].1.as_ref() else {
            return;
        };
        let Some(session) = life.links.get(&to).copied() else {
            return;
        };
        let Some(target) = self.node_of(to) else {
            return;
        };
        let lane = wire::peek(&bytes).is_ok_and(|header| header.is_lane());
        bytes.hash(&mut self.trace);
        let at = self
            .net
            .frame((node, target), lane, self.now, &mut self.rng);
        let input = Input::Frame {
            from: me,
            session,
            bytes,
        };
        let inbound = Box::new(Inbound::Shard(address.to_shard, input));
        self.push(at, Event::Node(target, to, inbound));
    }

    pub(super) fn sip_out(&mut self, node: usize, flow: &Flow, bytes: Bytes) {
        self.emission(node, &bytes);
        let Some(index) = self
            .phones
            .iter()
            .position(|phone| phone.addr == flow.remote)
        else {
            return;
        };
        (self.now.as_nanos(), &bytes).hash(&mut self.trace);
        for at in self.net.datagram(self.now, &mut self.rng) {
            self.push(at, Event::Phone(index, node, bytes.clone()));
        }
    }

    /// If `node` owns the call of this message, it is telling something: is it allowed to?
    pub(super) fn emission(&mut self, node: usize, bytes: &Bytes) {
        let message = Message::parse(bytes.clone()).expect("a node's own message can be read");
        let ours = if message.is_request() {
            message.from_tag()
        } else {
            message.to_tag()
        };
        let locator = ours.and_then(|tag| self.sealer.open_tag(message.call_id().as_bytes(), tag));
        let Some(key) = locator.map(|locator| locator.call) else {
            return;
        };
        let shard = usize::from(key.shard(self.plan.shards));
        let probe = |life: &Life| life.shards.get(shard).and_then(|shard| shard.probe(key));
        let Some(owner) = self.nodes[node]
            .1
            .as_ref()
            .and_then(probe)
            .filter(|one| one.holding.owned)
        else {
            return;
        };
        self.note(|| {
            let line = first_line(&message);
            format!(
                "{} emits {line} of {key:?} at epoch {}",
                name(node),
                owner.holding.ballot.epoch
            )
        });
        let others = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != node);
        let others = others.filter_map(|(_, (_, life))| probe(life.as_ref()?));
        // What had been acknowledged when its holder died counts: that death is the one fault that
        // is survived, and the repair is on its way.
        let fresh = |at: &Instant| self.now.since(*at) < GRAVE;
        let graves = self.graves.iter().filter(|(at, _)| fresh(at));
        let graves = graves.filter_map(|(_, life)| probe(life));
        let others = others.chain(graves).collect();
        let emission = Emission {
            key,
            message: &message,
            owner: &owner,
            others,
        };
        let partitioned = self.plan.is_partitioned();
        self.judge.on_emission(&emission, partitioned, self.now);
    }
}
