//! The phones in the world: their messages to and from nodes, and what they ask for.

use std::sync::Arc;

use bytes::Bytes;
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::{CallId, NodeId};
use callring_proto::io::{Answer, Ask, Input};
use callring_proto::sip::Message;
use rand::RngExt as _;

use super::judge::first_line;
use super::node::{Inbound, name, sip_addr};
use super::phone::{Stage, Wish};
use super::world::{Event, World};

impl World {
    /// Nodes a phone may choose: those that run.
    pub(super) fn live(&self) -> Vec<usize> {
        let lives = self.nodes.iter().enumerate();
        let running =
            lives.filter(|(_, (_, life))| life.as_ref().is_some_and(|life| life.paused.is_none()));
        running.map(|(node, _)| node).collect()
    }

    pub(super) fn phone_time(&mut self, index: usize) {
        let live = self.live();
        let phone = &mut self.phones[index];
        let due = phone.next_deadline().is_some_and(|at| at <= self.now);
        if !due && phone.stage != Stage::Waiting {
            return;
        }
        let wishes = phone.on_time(self.now, &live, &mut self.rng);
        self.grant(index, wishes);
    }

    pub(super) fn at_phone(&mut self, index: usize, from: usize, bytes: Bytes) {
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

    pub(super) fn grant(&mut self, index: usize, wishes: Vec<Wish>) {
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

    pub(super) fn phone_sends(&mut self, index: usize, node: usize, bytes: &Bytes) {
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

    pub(super) fn signal(&mut self, node: usize, key: CallId) {
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
            self.at_node(node, me, Inbound::Shard(shard, input));
        }
    }

    /// The application must have counted every INFO that was answered, once.
    pub(super) fn count(&mut self, index: usize, key: CallId) {
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
                probe.holding.owned.then_some((probe.holding.ballot, node))
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

    pub(super) fn on_answer(&mut self, ask: u64, answer: Answer) {
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
