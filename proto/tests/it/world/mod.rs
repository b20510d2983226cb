//! Several nodes of one shard each, wired together by hand: a message takes a millisecond, a dead
//! node takes nothing. What leaves towards phones is written down with the node it left from.

mod app;
mod bridge;
mod chores;
mod phone;
mod strict;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::{Incarnation, MemberId, NodeId};
use callring_proto::base::task::{TaskOutcome, TaskRun};
use callring_proto::base::time::Instant;
use callring_proto::cluster::policy::Replication;
use callring_proto::cluster::view::{MemberInfo, MemberState, Metadata, View};
use callring_proto::io::{Answer, Ask, Input, Output, Summary};
use callring_proto::shard::{Listener, Scope, Shard, ShardConfig};
use callring_proto::sip::Message;
use callring_proto::sip::locator::{SealKey, SealKeys, Sealer};
use callring_proto::wire;

pub(crate) use phone::Phone;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// The phone's address.
pub(crate) const PHONE: &str = "192.0.2.9:5070";

/// What left towards a phone.
pub(crate) struct Sent {
    /// The node it left from.
    pub(crate) node: usize,
    pub(crate) message: Message,
}

impl Sent {
    /// `180 INVITE`, or a request's method.
    pub(crate) fn line(&self) -> String {
        match self.message.status() {
            Some(status) => format!("{status} {}", self.message.cseq().method),
            None => self.message.method().to_string(),
        }
    }
}

struct Node {
    shard: Shard,
    info: MemberInfo,
    up: bool,
    /// It stands still, and this waits for it.
    frozen: Option<Vec<Input>>,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    nodes: Vec<Node>,
    queue: BTreeMap<(Instant, u64), (usize, Input)>,
    count: u64,
    epoch: u64,
    /// From whom to whom nothing passes.
    cuts: Vec<(usize, usize)>,
    pub(crate) sent: Vec<Sent>,
    answers: VecDeque<Answer>,
    /// Tasks that were begun, and where.
    pub(crate) tasks: Vec<(usize, TaskRun)>,
    /// How much of `sent` has been told.
    told: usize,
}

pub(crate) fn sealer() -> Arc<Sealer> {
    let keys = SealKeys {
        current: SealKey {
            id: 1,
            key: [7; 32],
        },
        previous: None,
        position_secret: [1; 16],
        stateless_secret: [2; 16],
    };
    Arc::new(Sealer::new(keys).unwrap())
}

pub(crate) fn member(index: usize) -> MemberId {
    MemberId {
        node: NodeId::of(&format!("n{index}")),
        incarnation: Incarnation { number: 1, boot: 1 },
    }
}

impl World {
    /// Nodes that see each other; `change` may make an edge of one.
    pub(crate) fn new(
        count: usize,
        replication: &Replication,
        change: impl Fn(usize, &mut Metadata),
    ) -> Self {
        Self::speaking(count, replication, wire::VERSION, change)
    }

    /// As [`World::new`], in an earlier version of the wire.
    pub(crate) fn speaking(
        count: usize,
        replication: &Replication,
        version: u8,
        change: impl Fn(usize, &mut Metadata),
    ) -> Self {
        Self::with((Scope::Cluster, version), count, replication, change)
    }

    /// As [`World::new`], with addresses that live as long as `scope` says.
    pub(crate) fn with_scope(
        scope: Scope,
        count: usize,
        replication: &Replication,
        change: impl Fn(usize, &mut Metadata),
    ) -> Self {
        Self::with((scope, wire::VERSION), count, replication, change)
    }

    fn with(
        (scope, version): (Scope, u8),
        count: usize,
        replication: &Replication,
        change: impl Fn(usize, &mut Metadata),
    ) -> Self {
        let infos: Vec<MemberInfo> = (0..count)
            .map(|index| {
                let mut meta = Metadata {
                    sip: vec![format!("udp://{}", address(index)).into()],
                    ..Metadata::default()
                };
                change(index, &mut meta);
                MemberInfo {
                    id: member(index),
                    name: format!("n{index}").into(),
                    state: MemberState::Alive,
                    cluster_addr: "10.0.0.1:7060".parse().unwrap(),
                    meta,
                    known: true,
                }
            })
            .collect();
        let nodes = infos.iter().enumerate().map(|(index, info)| Node {
            shard: shard(index, scope, &infos, replication),
            info: info.clone(),
            up: true,
            frozen: None,
        });
        let mut world = Self {
            now: Instant::START,
            nodes: nodes.collect(),
            queue: BTreeMap::new(),
            count: 0,
            epoch: 1,
            cuts: Vec::new(),
            sent: Vec::new(),
            answers: VecDeque::new(),
            tasks: Vec::new(),
            told: 0,
        };
        for (one, other) in pairs(count) {
            let input = Input::LinkUp {
                member: member(other),
                session: 1,
                shards: 1,
                wire: version,
            };
            world.give(one, input);
        }
        world.pass(SECOND);
        world
    }

    fn give(&mut self, to: usize, input: Input) {
        let now = self.now;
        let node = &mut self.nodes[to];
        if !node.up {
            return;
        }
        if let Some(waiting) = &mut node.frozen {
            return waiting.push(input);
        }
        node.shard.handle(now, input);
        self.drain(to);
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].shard.poll_output(self.now) {
            match output {
                Output::Sip { bytes, .. } => {
                    let message = Message::parse(bytes).expect("our own message reads");
                    self.sent.push(Sent { node, message });
                }
                Output::Frame { to, bytes } => {
                    let to = (0..self.nodes.len()).find(|index| member(*index) == to);
                    let to = to.expect("a node");
                    if self.cuts.contains(&(node, to)) {
                        continue;
                    }
                    let input = Input::Frame {
                        from: member(node),
                        session: 1,
                        bytes,
                    };
                    self.count += 1;
                    let at = (self.now + MS, self.count);
                    self.queue.insert(at, (to, input));
                }
                Output::Task(run) => self.tasks.push((node, run)),
                Output::Answer { answer, .. } => self.answers.push_back(answer),
                Output::Forward { .. } => panic!("there is one shard"),
            }
        }
    }

    /// Lets time pass. Says what has left since this was last said, in order.
    pub(crate) fn pass(&mut self, span: Duration) -> String {
        let until = self.now + span;
        loop {
            let frame = self.queue.first_key_value().map(|((at, _), _)| *at);
            let due = (0..self.nodes.len())
                .filter(|index| self.nodes[*index].up && self.nodes[*index].frozen.is_none())
                .filter_map(|index| Some((self.nodes[index].shard.next_deadline()?, index)))
                .min();
            let next = frame.into_iter().chain(due.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if frame == Some(next) {
                let ((_, _), (to, input)) = self.queue.pop_first().expect("it was there");
                self.give(to, input);
            } else if let Some((_, index)) = due {
                self.nodes[index].shard.handle_timeout(self.now);
                self.drain(index);
            }
        }
        self.now = until;
        let lines: Vec<String> = self.sent[self.told..].iter().map(Sent::line).collect();
        self.told = self.sent.len();
        lines.join(", ")
    }

    /// A datagram of the phone's arrives at a node.
    pub(crate) fn datagram(&mut self, to: usize, text: &str) {
        self.packet(to, Bytes::from(text.replace('\n', "\r\n")));
    }

    /// The same, as it is.
    pub(crate) fn packet(&mut self, to: usize, bytes: Bytes) {
        let flow = Flow {
            transport: Transport::Udp,
            ingress: member(to).node,
            listener: 0,
            remote: PHONE.parse().unwrap(),
            advertise: self.nodes[to].info.meta.sip[0]
                .trim_start_matches("udp://")
                .into(),
        };
        self.give(to, Input::Sip { flow, bytes });
    }

    /// A task comes back at the node that began it.
    pub(crate) fn task_done(&mut self, (node, run): &(usize, TaskRun), outcome: TaskOutcome) {
        let input = Input::TaskDone {
            key: run.key,
            number: run.number,
            epoch: run.epoch,
            outcome,
        };
        self.give(*node, input);
    }

    /// The node is dead; nobody is told.
    pub(crate) fn kill(&mut self, index: usize) {
        self.nodes[index].up = false;
    }

    /// Whether a node runs.
    pub(crate) fn is_up(&self, index: usize) -> bool {
        self.nodes[index].up
    }

    /// Nothing passes from one node to another any more.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.push((from, to));
    }

    /// What is under way from a node is lost.
    pub(crate) fn lose(&mut self, from: usize) {
        let dead = member(from);
        self.queue.retain(|_, (_, input)| match input {
            Input::Frame { from, .. } => *from != dead,
            _ => true,
        });
    }

    /// The node was only frozen, and what was sent to it meanwhile is lost.
    pub(crate) fn wake(&mut self, index: usize) {
        self.nodes[index].up = true;
    }

    /// The node stands still; what is sent to it waits.
    pub(crate) fn freeze(&mut self, index: usize) {
        self.nodes[index].frozen = Some(Vec::new());
    }

    /// It goes on: what has waited comes in as `order` has it, its timers after `timers_after` of
    /// that; what it says is asked for after every `batch` of them, as a shell does that has much
    /// to read.
    pub(crate) fn thaw(
        &mut self,
        index: usize,
        (timers_after, batch): (usize, usize),
        order: impl FnOnce(&mut Vec<Input>),
    ) {
        let mut waiting = self.nodes[index].frozen.take().unwrap_or_default();
        order(&mut waiting);
        for (place, input) in waiting.into_iter().enumerate() {
            if place == timers_after {
                self.nodes[index].shard.handle_timeout(self.now);
            }
            self.nodes[index].shard.handle(self.now, input);
            if place % batch == 0 {
                self.drain(index);
            }
        }
        self.drain(index);
    }

    /// Membership has found out that a node is dead.
    pub(crate) fn declare_down(&mut self, index: usize) {
        self.change(index, |info| info.state = MemberState::Down);
    }

    /// A node's part in everybody's view changes.
    pub(crate) fn change(&mut self, index: usize, change: impl Fn(&mut MemberInfo)) {
        change(&mut self.nodes[index].info);
        self.epoch += 1;
        let infos: Vec<MemberInfo> = self.nodes.iter().map(|node| node.info.clone()).collect();
        for at in 0..self.nodes.len() {
            let view = View::new(self.epoch, member(at), infos.clone());
            self.give(at, Input::View(Arc::new(view)));
        }
    }

    /// Something is said to the newest call at a node, from outside.
    pub(crate) fn signal(&mut self, node: usize, body: &str) {
        let answer = self.sent.iter().rfind(|sent| !sent.message.is_request());
        let answer = &answer.expect("a call").message;
        let tag = answer.to_tag().unwrap_or_default();
        let located = sealer().open_tag(answer.call_id().as_bytes(), tag);
        let request = Ask::Signal {
            key: located.expect("our own tag").call,
            body: Bytes::from(body.to_owned()),
        };
        self.give(node, Input::Ask { ask: 7, request });
    }

    /// What a strict peer has to complain about in all that was sent.
    pub(crate) fn complaints(&self) -> Vec<String> {
        strict::complaints(&self.sent)
    }

    /// A node's counters.
    pub(crate) fn summary(&mut self, index: usize) -> Summary {
        let request = Ask::Summary;
        self.give(index, Input::Ask { ask: 1, request });
        match self.answers.pop_back() {
            Some(Answer::Summary(summary)) => *summary,
            other => panic!("{other:?}"),
        }
    }

    /// The nodes that own a call just now.
    pub(crate) fn owners(&mut self) -> Vec<usize> {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].up)
            .collect();
        up.into_iter()
            .filter(|index| self.summary(*index).calls_owned > 0)
            .collect()
    }

    /// The To tags that phones were shown in answers to INVITE.
    pub(crate) fn tags(&self) -> Vec<String> {
        let invites = self
            .sent
            .iter()
            .filter(|sent| sent.line().ends_with(" INVITE"));
        let mut tags: Vec<String> = invites
            .filter_map(|sent| sent.message.to_tag().map(str::to_owned))
            .collect();
        tags.sort();
        tags.dedup();
        tags
    }

    /// The newest To tag.
    pub(crate) fn tag(&self) -> String {
        let mut sent = self.sent.iter().rev();
        sent.find_map(|sent| sent.message.to_tag().filter(|_| !sent.message.is_request()))
            .unwrap_or_default()
            .to_owned()
    }
}

pub(crate) fn address(index: usize) -> String {
    format!("192.0.2.{}:5060", 100 + index)
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    let all = (0..count).flat_map(move |one| (0..count).map(move |other| (one, other)));
    all.filter(|(one, other)| one != other)
}

fn shard(index: usize, scope: Scope, infos: &[MemberInfo], replication: &Replication) -> Shard {
    Shard::new(config(index, scope, infos, replication))
}

/// What node `index` is told at birth.
pub(crate) fn config(
    index: usize,
    scope: Scope,
    infos: &[MemberInfo],
    replication: &Replication,
) -> ShardConfig {
    let advertise = address(index);
    ShardConfig {
        shard: 0,
        shards: 1,
        listeners: vec![Listener {
            transport: Transport::Udp,
            advertise: advertise.into(),
            scope,
        }],
        replication: replication.clone(),
        sealer: sealer(),
        app: Arc::new(app::Ring),
        view: Arc::new(View::new(1, member(index), infos.to_vec())),
        seed: [u8::try_from(index).unwrap() + 1; 32],
        wire_max: wire::VERSION,
        joined_by: None,
    }
}

/// A request of one call: `call` names Call-ID and tag, `branch` its transaction.
pub(crate) fn request(method: &str, call: &str, cseq: u32, branch: &str, extra: &str) -> String {
    let tag = extra.strip_prefix("To-tag: ").map(|rest| {
        let end = rest.find('\n').unwrap();
        (format!(";tag={}", &rest[..end]), &rest[end + 1..])
    });
    let (tag, extra) = tag.unwrap_or((String::new(), extra));
    format!(
        "{method} sip:ivr@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP {PHONE};branch=z9hG4bK{branch}\n\
         From: <sip:a@192.0.2.9>;tag=f{call}\nTo: <sip:ivr@192.0.2.1>{tag}\nCall-ID: {call}\n\
         CSeq: {cseq} {method}\nMax-Forwards: 70\nContact: <sip:a@{PHONE}>\n{extra}\
         Content-Length: 0\n\n"
    )
}

/// A request with a description.
pub(crate) fn with_body(text: &str, body: &str) -> String {
    if body.is_empty() {
        return text.to_owned();
    }
    let length = format!(
        "Content-Type: application/sdp\nContent-Length: {}\n",
        body.len()
    );
    text.replace("Content-Length: 0\n", &length) + &body.replace("\r\n", "\n")
}
