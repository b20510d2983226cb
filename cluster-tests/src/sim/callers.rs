//! The phones in the world: their messages to and from nodes, and what they ask for.

use std::hash::Hash as _;
use std::sync::Arc;

use bytes::Bytes;
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::{CallId, NodeId};
use callring_proto::base::time::Duration;
use callring_proto::io::{Ask, Input};
use callring_proto::shard::Probe;
use callring_proto::sip::{Message, Method};
use rand::RngExt as _;

use super::invariants::{Invariant, timers};
use super::judge::first_line;
use super::node::{Inbound, Life, name, sip_addr};
use super::phone::{Stage, Wish};
use super::plan::Budget;
use super::world::{Event, World};

/// For how long after a death an acknowledgement of the dead may still be counted on the way.
const GRAVE: Duration = Duration::from_millis(100);

impl World {
    pub(super) fn phone_time(&mut self, index: usize) {
        let live: Vec<usize> = self.lives().map(|(node, _)| node).collect();
        let phone = &mut self.phones[index];
        let due = phone.next_deadline().is_some_and(|at| at <= self.now);
        if !due && phone.stage != Stage::Waiting {
            return;
        }
        if live.is_empty() {
            let later = self.now + Duration::from_millis(500);
            return self.push(later, Event::PhoneTime(index));
        }
        let wishes = phone.on_time(self.now, &live, &mut self.rng);
        self.grant(index, wishes);
    }

    pub(super) fn at_phone(&mut self, index: usize, from: usize, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes) else {
            let what = "a node sent what can't be read".to_owned();
            return self.judge.blame(self.now, Invariant::NoError, what);
        };
        self.note(|| {
            let line = first_line(&message);
            format!("phone {index} <- {line} from {}", name(from))
        });
        let live: Vec<usize> = self.lives().map(|(node, _)| node).collect();
        let sealer = Arc::clone(&self.sealer);
        let open = |call_id: &str, tag: &str| {
            let locator = sealer.open_tag(call_id.as_bytes(), tag);
            locator.map(|locator| locator.call)
        };
        let up = self.phones[index].stage == Stage::Up;
        let wishes =
            self.phones[index].on_message(&message, open, (self.now, from), &live, &mut self.rng);
        if up && *message.method() == Method::Bye && message.is_request() {
            self.hung_up(index);
        }
        self.grant(index, wishes);
    }

    /// A node ended a call: because somebody asked, or because its timer went off.
    fn hung_up(&mut self, index: usize) {
        let phone = &self.phones[index];
        let (Some(invited), Some(answered)) = (phone.invited, phone.answered) else {
            return;
        };
        if phone.has_signalled {
            return;
        }
        self.exercise.timer_byes += 1;
        let told = phone.key.and_then(|key| self.judge.told.get(&key));
        let times = (answered, self.now);
        let early = timers::not_early(&self.plan, invited, self.now);
        let lossless = self.plan.loss == 0 && self.plan.budget == Budget::Within;
        let late = told.filter(|_| lossless);
        let late = late.and_then(|told| timers::not_late(&self.plan, told, times));
        for what in early.into_iter().chain(late) {
            let what = format!("phone {index}: {what}");
            self.judge.blame(self.now, Invariant::TimersOnce, what);
        }
    }

    fn grant(&mut self, index: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Send(node, bytes) => self.phone_sends(index, node, &bytes),
                Wish::Signal(node, key) => self.signal(node, key),
                Wish::Counted(key) => self.count(index, key),
                Wish::OverBefore => self.must_be_over(index),
                Wish::HungUpBefore(what) => self.must_have_hung_up(index, &what),
                Wish::Blame(invariant, what) => {
                    let key = self.phones[index].key;
                    let what = format!("phone {index} {key:?}: {what}");
                    self.judge.blame_within(self.now, invariant, what);
                }
            }
        }
        if let Some(at) = self.phones[index].next_deadline() {
            self.push(at, Event::PhoneTime(index));
        }
    }

    /// A phone's BYE found no call: an earlier copy of it must have ended it (rule 22), so somebody
    /// remembers the end.
    fn must_be_over(&mut self, index: usize) {
        let Some(key) = self.phones[index].key else {
            return;
        };
        let nodes = 0..self.nodes.len();
        let holdings = nodes.filter_map(|node| self.holding(node, key));
        let highest = holdings.max_by_key(|one| (one.ballot, one.version));
        if !highest.is_some_and(|one| one.ended) {
            let what = format!("phone {index} {key:?}: BYE got 481");
            let invariant = Invariant::AnsweredKept;
            self.judge.blame_within(self.now, invariant, what);
        }
    }

    /// A phone's request found no call: a node's own BYE must have left (RFC 3261 15.1.1: with it
    /// the dialog is over there), whether the phone got it or not.
    fn must_have_hung_up(&mut self, index: usize, what: &str) {
        let key = self.phones[index].key;
        let told = key.and_then(|key| self.judge.told.get(&key));
        if !told.is_some_and(|told| told.asked.values().any(|asked| asked.bye)) {
            let what = format!("phone {index} {key:?}: {what}");
            let invariant = Invariant::AnsweredKept;
            self.judge.blame_within(self.now, invariant, what);
        }
    }

    fn phone_sends(&mut self, index: usize, node: usize, bytes: &Bytes) {
        let message = Message::parse(bytes.clone()).expect("a phone's own message");
        self.note(|| {
            let line = first_line(&message);
            format!("phone {index} -> {line} to {}", name(node))
        });
        let bye = message.is_request() && *message.method() == Method::Bye;
        self.exercise.byes_in_a_split += u64::from(bye && self.is_split());
        let probes = self.phones[index].stage == Stage::Down && message.is_request();
        self.exercise.late_probes += u64::from(probes);
        let flow = Flow {
            transport: Transport::Udp,
            ingress: NodeId::of(&name(node)),
            listener: 0,
            remote: self.phones[index].addr,
            advertise: sip_addr(node).to_string().into(),
        };
        for at in self.net.datagram(self.now, &mut self.rng) {
            let Some(member) = self.nodes[node].life.as_ref().map(|life| life.me) else {
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

    /// Whether some pair of nodes can't hear each other either way.
    fn is_split(&self) -> bool {
        let cut = |one, other| self.net.cut_until(one, other, self.now).is_some();
        let nodes = 0..self.plan.nodes;
        let mut pairs = nodes.flat_map(|one| (0..one).map(move |other| (one, other)));
        pairs.any(|(one, other)| cut(one, other) && cut(other, one))
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
        if let Some(me) = self.nodes[node].life.as_ref().map(|life| life.me) {
            self.at_node(node, me, Inbound::Shard(shard, input));
        }
    }

    pub(super) fn sip_out(&mut self, node: usize, flow: &Flow, bytes: Bytes) {
        self.emission(node, &bytes);
        let mut phones = self.phones.iter();
        let Some(index) = phones.position(|phone| phone.addr == flow.remote) else {
            return;
        };
        (self.now.as_nanos(), &bytes).hash(&mut self.trace);
        for at in self.net.datagram(self.now, &mut self.rng) {
            self.push(at, Event::Phone(index, node, bytes.clone()));
        }
    }

    /// A node tells something, itself or through another one: may it?
    pub(super) fn emission(&mut self, node: usize, bytes: &Bytes) {
        let message = Message::parse(bytes.clone()).expect("a node's own message can be read");
        let wire = super::node::wire_max(node, &self.plan);
        self.judge.on_message(&message, wire, self.now);
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
        let Some(life) = self.nodes[node].life.as_ref() else {
            return;
        };
        let speaker = probe(life);
        if let Some(owner) = speaker.as_ref().filter(|one| one.holding.owned) {
            self.note(|| {
                let (line, epoch) = (first_line(&message), owner.holding.ballot.epoch);
                format!("{} emits {line} of {key:?} at epoch {epoch}", name(node))
            });
        }
        let (nodes, graves, now) = (&self.nodes, &self.graves, self.now);
        let elsewhere = || {
            let others = nodes.iter().enumerate().filter(|(other, _)| *other != node);
            let others = others.filter_map(|(_, one)| probe(one.life.as_ref()?));
            // What had been acknowledged when its holder died counts: that death is the one fault
            // that is survived, and the repair is on its way.
            let fresh = graves.iter().filter(|(at, _)| now.since(*at) < GRAVE);
            let buried = fresh.filter_map(|(_, life)| probe(life));
            others.chain(buried).collect::<Vec<Probe>>()
        };
        let who = (life.me, shard, speaker.as_ref());
        let again = self.judge.on_emission((key, &message), who, now, elsewhere);
        self.exercise.replayed += u64::from(again);
    }
}
