//! The world: one heap of events, one clock, one generator; it carries a plan out and judges it.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use callring_proto::base::flow::{Flow, Transport};
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
use super::net::{IDLE, Net, micros};
use super::node::{Inbound, Life, fabric_addr, metadata, name, sealer, sip_addr};
use super::phone::{Phone, Stage, Wish};
use super::plan::{Fault, Plan};

/// The cluster gets this long to come together before the first call.
const FORMING: Duration = Duration::from_secs(4);
/// A run ends this long after its start, whatever happens.
const END: Duration = Duration::from_secs(75);

#[derive(Clone, Debug)]
enum Event {
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

struct Entry {
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
    plan: Plan,
    sabotage: Sabotage,
    verbose: bool,
    now: Instant,
    rng: Rng,
    net: Net,
    heap: BinaryHeap<Entry>,
    order: u64,
    sealer: Arc<Sealer>,
    nodes: Vec<(u32, Option<Life>)>,
    sessions: BTreeMap<(MemberId, MemberId), u64>,
    phones: Vec<Phone>,
    judge: Judge,
    trace: DefaultHasher,
    takeovers: u64,
    degraded: u64,
    asks: BTreeMap<u64, (usize, CallId)>,
    next_ask: u64,
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

    fn close(mut self) -> Outcome {
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
            if quiet && self.phones[index].was_let_down() {
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
    fn harvest(&mut self, node: usize) {
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

    fn push(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.heap.push(Entry {
            at: at.max(self.now),
            order: self.order,
            event,
        });
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.verbose {
            eprintln_line(&format!("{:?} {}", self.now, line()));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Node(node, life, inbound) => self.to_node(node, life, *inbound),
            Event::Phone(index, from, bytes) => self.to_phone(index, from, bytes),
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

    fn begin(&mut self, node: usize) {
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

    fn lives(&self) -> impl Iterator<Item = (usize, MemberId)> + '_ {
        let lives = self.nodes.iter().enumerate();
        lives.filter_map(|(node, (_, life))| Some((node, life.as_ref()?.me)))
    }

    fn node_of(&self, member: MemberId) -> Option<usize> {
        self.lives()
            .find(|(_, me)| *me == member)
            .map(|(node, _)| node)
    }

    fn to_node(&mut self, node: usize, member: MemberId, inbound: Inbound) {
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

    fn drain(&mut self, node: usize) {
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

    fn schedule_tick(&mut self, node: usize) {
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

    fn on_membership(&mut self, node: usize, effect: MembershipEffect) {
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
    fn renamed(&mut self, node: usize, me: MemberId) {
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

    fn end_link(&mut self, node: usize, member: MemberId, session: u64) {
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

    fn on_output(&mut self, node: usize, me: MemberId, output: Output) {
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

    fn frame_out(&mut self, node: usize, me: MemberId, to: MemberId, bytes: Bytes) {
        let (address, frame) = wire::decode(&bytes).expect("a node's own frame can be read");
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

    fn sip_out(&mut self, node: usize, flow: &Flow, bytes: Bytes) {
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
    fn emission(&mut self, node: usize, bytes: &Bytes) {
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
            .filter(|one| one.owned)
        else {
            return;
        };
        self.note(|| {
            let line = first_line(&message);
            format!(
                "{} emits {line} of {key:?} at epoch {}",
                name(node),
                owner.ballot.epoch
            )
        });
        let others = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != node);
        let others = others
            .filter_map(|(_, (_, life))| probe(life.as_ref()?))
            .collect();
        let emission = Emission {
            key,
            message: &message,
            owner: &owner,
            others,
        };
        let partitioned = self.plan.is_partitioned();
        self.judge.on_emission(&emission, partitioned, self.now);
    }

    // ---- links ----------------------------------------------------------------------------

    fn link_up(&mut self, one: MemberId, other: MemberId) {
        let (Some(a), Some(b)) = (self.node_of(one), self.node_of(other)) else {
            return;
        };
        let linked = |node: usize, member: &MemberId| {
            self.nodes[node]
                .1
                .as_ref()
                .is_some_and(|life| life.links.contains_key(member))
        };
        if linked(a, &other) || linked(b, &one) {
            return;
        }
        if self.net.cut_until(a, b).is_some() {
            let at = self.now + Duration::from_millis(300);
            self.push(at, Event::LinkUp(one, other));
            return;
        }
        let pair = (one.min(other), one.max(other));
        let session = self.sessions.entry(pair).or_insert(0);
        *session += 1;
        let session = *session;
        let shards = self.plan.shards;
        for (node, me, member) in [(a, one, other), (b, other, one)] {
            if let Some(life) = self.nodes[node].1.as_mut() {
                life.links.insert(member, session);
            }
            for shard in 0..shards {
                let input = Input::LinkUp {
                    member,
                    session,
                    shards,
                };
                self.to_node(node, me, Inbound::Shard(shard, input));
            }
        }
    }

    fn link_down(&mut self, at: MemberId, from: MemberId, session: u64) {
        let Some(node) = self.node_of(at) else { return };
        let known = self.nodes[node]
            .1
            .as_ref()
            .and_then(|life| life.links.get(&from));
        if known == Some(&session) {
            self.end_link(node, from, session);
            self.drain(node);
        }
    }

    // ---- faults ---------------------------------------------------------------------------

    fn fault(&mut self, fault: Fault) {
        self.note(|| format!("{fault:?}"));
        match fault {
            Fault::Crash { node, back, at } => {
                self.harvest(node);
                let Some(life) = self.nodes[node].1.take() else {
                    return;
                };
                for (member, session) in life.links {
                    let idle = self.now + IDLE;
                    self.push(idle, Event::LinkDown(member, life.me, session));
                }
                if let Some(back) = back {
                    let again = self.now + back.saturating_sub(at);
                    self.push(again, Event::Restart(node));
                }
            }
            Fault::Pause { node, span, .. } => {
                let until = self.now + span;
                if let Some(life) = self.nodes[node].1.as_mut() {
                    life.paused = Some(until);
                    let me = life.me;
                    self.push(until, Event::Resume(node, me));
                }
            }
            Fault::Partition { far, span, .. } => {
                let until = self.now + span;
                self.net.cut(far, until);
                self.push(until, Event::Heal);
            }
        }
    }

    fn resume(&mut self, node: usize, member: MemberId) {
        let now = self.now;
        self.note(|| format!("{} resumes", name(node)));
        let Some(life) = self.nodes[node].1.as_mut().filter(|life| life.me == member) else {
            return;
        };
        life.paused = None;
        life.tick = None;
        while let Some(inbound) = life.backlog.pop_front() {
            life.take(inbound, now);
        }
        life.take(Inbound::Tick, now);
        self.drain(node);
    }

    // ---- phones ---------------------------------------------------------------------------

    /// Nodes a phone may choose: those that run.
    fn live(&self) -> Vec<usize> {
        let lives = self.nodes.iter().enumerate();
        let running =
            lives.filter(|(_, (_, life))| life.as_ref().is_some_and(|life| life.paused.is_none()));
        running.map(|(node, _)| node).collect()
    }

    fn phone_time(&mut self, index: usize) {
        let live = self.live();
        let phone = &mut self.phones[index];
        let due = phone.next_deadline().is_some_and(|at| at <= self.now);
        if !due && phone.stage != Stage::Waiting {
            return;
        }
        let wishes = phone.on_time(self.now, &live, &mut self.rng);
        self.grant(index, wishes);
    }

    fn to_phone(&mut self, index: usize, from: usize, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes) else {
            return self
                .judge
                .blame(self.now, "a node sent what can't be read".to_owned());
        };
        let live = self.live();
        let sealer = Arc::clone(&self.sealer);
        let open = |call_id: &str, tag: &str| {
            sealer
                .open_tag(call_id.as_bytes(), tag)
                .map(|locator| locator.call)
        };
        let now = self.now;
        let wishes = self.phones[index].on_message(&message, open, now, &live, &mut self.rng, from);
        self.note(|| {
            format!(
                "phone {index} <- {} from {}",
                first_line(&message),
                name(from)
            )
        });
        self.grant(index, wishes);
    }

    fn grant(&mut self, index: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Send(node, bytes) => self.phone_sends(index, node, &bytes),
                Wish::Signal(node, key) => self.signal(node, key),
                Wish::Counted(key) => self.count(index, key),
                Wish::Blame(what) => {
                    // Two sides may serve while they can't hear each other, and a third of what
                    // one of them told may be gone at heal (PROTOCOL.md section 4).
                    if !self.plan.is_partitioned() {
                        let key = self.phones[index].key;
                        self.judge
                            .blame(self.now, format!("phone {index} {key:?}: {what}"));
                    }
                }
            }
        }
        if let Some(at) = self.phones[index].next_deadline() {
            self.push(at, Event::PhoneTime(index));
        }
    }

    fn phone_sends(&mut self, index: usize, node: usize, bytes: &Bytes) {
        self.note(|| {
            let message = Message::parse(bytes.clone()).expect("a phone's own message");
            format!(
                "phone {index} -> {} to {}",
                first_line(&message),
                name(node)
            )
        });
        let flow = Flow {
            transport: Transport::Udp,
            ingress: NodeId::of(&name(node)),
            listener: 0,
            remote: self.phones[index].addr,
            advertise: sip_addr(node).to_string().into(),
        };
        for at in self.net.datagram(self.now, &mut self.rng) {
            let Some(member) = self.nodes[node].1.as_ref().map(|life| life.me) else {
                return;
            };
            let shard = self.rng.random_range(0..self.plan.shards);
            let input = Input::Sip {
                flow: flow.clone(),
                bytes: bytes.clone(),
            };
            let inbound = Box::new(Inbound::Shard(shard, input));
            self.push(at, Event::Node(node, member, inbound));
        }
    }

    fn signal(&mut self, node: usize, key: CallId) {
        self.note(|| format!("hang up {key:?} at {}", name(node)));
        self.next_ask += 1;
        let body = Bytes::from_static(callring_proto::app::Signal::HANG_UP);
        let request = Ask::Signal { key, body };
        let input = Input::Ask {
            ask: self.next_ask,
            request,
        };
        let shard = key.shard(self.plan.shards);
        if let Some(me) = self.nodes[node].1.as_ref().map(|life| life.me) {
            self.to_node(node, me, Inbound::Shard(shard, input));
        }
    }

    /// The application must have counted every INFO that was answered, once.
    fn count(&mut self, index: usize, key: CallId) {
        let now = self.now;
        let shard = usize::from(key.shard(self.plan.shards));
        self.next_ask += 1;
        let ask = self.next_ask;
        self.asks.insert(ask, (index, key));
        // A node that stands still may believe in an ownership that is over.
        let owners = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(node, (_, life))| {
                let probe = life.as_ref()?.shards.get(shard)?.probe(key)?;
                probe.owned.then_some((probe.ballot, node))
            });
        let Some((_, node)) = owners.max() else {
            return;
        };
        let life = self.nodes[node].1.as_mut();
        if let Some(shard) = life.and_then(|life| life.shards.get_mut(shard)) {
            shard.handle(
                now,
                Input::Ask {
                    ask,
                    request: Ask::Call(key),
                },
            );
            self.drain(node);
        }
    }

    fn on_answer(&mut self, ask: u64, answer: Answer) {
        let Some((index, key)) = self.asks.remove(&ask) else {
            return;
        };
        let Answer::Call(Some(detail)) = answer else {
            return;
        };
        let expected = format!("infos: {},", self.phones[index].infos);
        if !detail.app_state.contains(&expected) && !self.plan.is_partitioned() {
            let what = format!(
                "{key:?}: phone saw {expected} state is {}",
                detail.app_state
            );
            self.judge.blame(self.now, what);
        }
    }
}
