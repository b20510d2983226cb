//! The desk: takes a question, has the replies of this node and every live member gathered, and
//! puts them together into the answers of `api`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callring_proto::base::ids::{CallId, NodeId};
use callring_proto::cluster::view::{MemberState, Role, View};
use callring_proto::io::{Answer, Ask, CallDetail, CallFilter, CallSummary};

use super::api::{
    Call, CallAnswer, CallsAnswer, Copy, Draining, Member, MembersAnswer, RingAnswer, RingKey,
    SafeToStop, Share, State, Status, StatusAnswer, Task, Timer,
};
use super::door::Door;
use super::gather::{Gather, Question, Replies, Reply};
use super::metrics::Facts;
use super::safety::{self, Holdings};
use super::total::total;
use super::verdict::{Evidence, judge};
use crate::node::{AdminService, NodeHandle};

/// Most calls of one list: its JSON stays below what a member takes as an answer.
pub(crate) const CALLS_MAX: usize = 10_000;
/// Positions that are looked up to measure shares of the ring; 1 in 4096 is fine enough for people.
const RING_SAMPLES: u64 = 4_096;

/// What the desk says of its own node beside what shards and members say.
#[derive(Clone, Debug)]
pub struct About {
    /// The cluster's name; empty for a standalone node.
    pub cluster: String,
    /// Copies per call, as configured.
    pub copies: usize,
    /// How many shards the node has.
    pub shards: usize,
    /// Version of the program.
    pub version: String,
    /// How long the node hands calls over at most when it is told to leave.
    pub stop_timeout: Duration,
}

/// Answers questions about a node and its cluster.
#[derive(Clone)]
pub struct Desk {
    gather: Gather,
    about: Arc<About>,
    started: Instant,
}

impl Desk {
    /// The desk of a running node. From now on it answers other members' desks too.
    ///
    /// The node holds the desk and the desk the node: end it with [`NodeHandle::shutdown`].
    #[must_use]
    pub fn open(node: &NodeHandle, about: About) -> Self {
        let desk = Self::at(Arc::new(node.clone()), about);
        let service = desk.gather.clone();
        let answer: AdminService = Arc::new(move |_asker, question| {
            let gather = service.clone();
            Box::pin(async move { gather.reply(&question).await })
        });
        node.set_admin_service(answer);
        desk
    }

    pub(crate) fn at(door: Arc<dyn Door>, about: About) -> Self {
        Self {
            gather: Gather::new(door, about.shards),
            about: Arc::new(about),
            started: Instant::now(),
        }
    }

    /// How the cluster is.
    pub async fn status(&self) -> StatusAnswer {
        let view = self.gather.door.view();
        let replies = self.gather.ask_all(&view, Question::Summary).await;
        let members = self.members_of(&view, &replies);
        let sum = total(replies.by_node.values().filter_map(|reply| match reply {
            Reply::Summary(node) => Some(&node.summary),
            _ => None,
        }));
        let own = replies.summary(view.me.node);
        let silent = names(&view, own.summary.silent.iter().map(|member| member.node));
        let name = view.name(view.me.node).to_string();
        let (verdict, advice) = judge(&Evidence {
            me: &name,
            clustered: !self.about.cluster.is_empty(),
            members: &members,
            unreachable: &replies.unreachable,
            silent: &silent,
            shards_mute: own.shards_mute,
            copies: self.about.copies,
            under_replicated: sum.under_replicated,
            uncovered: sum.uncovered,
            in_minority: own.summary.in_minority > 0,
            degraded: sum.degraded_total,
        });
        let in_state = |wanted: &[State]| {
            let counted = members
                .iter()
                .filter(|member| wanted.contains(&member.state));
            counted.count()
        };
        StatusAnswer {
            status: Status {
                name,
                cluster: self.about.cluster.clone(),
                members_alive: in_state(&[State::Alive, State::Suspect]),
                members_total: in_state(&[State::Alive, State::Suspect, State::Down]),
                view_epoch: view.epoch,
                calls_owned: sum.calls_owned,
                calls_replica: sum.calls_replica,
                in_setup: sum.in_setup,
                under_replicated: sum.under_replicated,
                uncovered: sum.uncovered,
                degraded: sum.degraded_total,
                takeovers: sum.takeovers_total,
                claimed: sum.claimed_total,
                adopted: sum.adopted_total,
                invited: sum.invited_total,
                handed_over: sum.handed_over_total,
                repaired: sum.repaired_total,
                relayed: sum.relayed_total,
                fenced: sum.fenced_total,
                gate_hold_us: sum.gate_hold,
                takeover_us: sum.takeover,
                batch_records: sum.batch_records,
                verdict,
                advice,
            },
            unreachable: replies.unreachable,
        }
    }

    /// The members, by name.
    pub async fn members(&self) -> MembersAnswer {
        let view = self.gather.door.view();
        let replies = self.gather.ask_all(&view, Question::Summary).await;
        MembersAnswer {
            members: self.members_of(&view, &replies),
            unreachable: replies.unreachable,
        }
    }

    /// The calls of the whole cluster, the youngest first.
    pub async fn calls(&self, filter: CallFilter) -> CallsAnswer {
        let limit = filter.limit.min(CALLS_MAX);
        let filter = CallFilter { limit, ..filter };
        let view = self.gather.door.view();
        let replies = self.gather.ask_all(&view, Question::Calls(filter)).await;
        let mut more = false;
        // Two members can list one call: its owner, and an heir that finds the owner silent. The
        // newer record is right.
        let mut newest: BTreeMap<CallId, CallSummary> = BTreeMap::new();
        for reply in replies.by_node.into_values() {
            let Reply::Calls(calls) = reply else { continue };
            more |= calls.len() >= limit;
            for call in calls {
                let age = |call: &CallSummary| (call.epoch, call.version);
                match newest.get(&call.key) {
                    Some(known) if age(known) >= age(&call) => {}
                    _ => {
                        newest.insert(call.key, call);
                    }
                }
            }
        }
        let mut calls: Vec<CallSummary> = newest.into_values().collect();
        calls.sort_by_key(|call| (call.age_s, call.key));
        let more = more && calls.len() >= limit || calls.len() > limit;
        calls.truncate(limit);
        CallsAnswer {
            calls: calls.iter().map(|call| call_line(&view, call)).collect(),
            more,
            unreachable: replies.unreachable,
        }
    }

    /// One call in full: as its owner has it, or else as the newest copy does.
    pub async fn call(&self, key: CallId) -> Result<CallAnswer, String> {
        let view = self.gather.door.view();
        let replies = self.gather.ask_all(&view, Question::Call(key)).await;
        let mut found: Vec<(NodeId, CallDetail)> = Vec::new();
        for (node, reply) in replies.by_node {
            if let Reply::Call(Some(detail)) = reply {
                found.push((node, *detail));
            }
        }
        found.sort_by_key(|(_, detail)| {
            let summary = &detail.summary;
            (summary.epoch, detail.owned, summary.version)
        });
        found.reverse();
        let copies = found
            .iter()
            .map(|(node, detail)| Copy {
                member: view.name(*node).to_string(),
                owned: detail.owned,
                epoch: detail.summary.epoch,
                version: detail.summary.version,
            })
            .collect();
        let Some((_, best)) = found.into_iter().next() else {
            let missing = match replies.unreachable.as_slice() {
                [] => String::new(),
                names => format!("; did not answer: {}", names.join(", ")),
            };
            return Err(format!("no member has a call {key}{missing}"));
        };
        let mut timers = best.timers;
        timers.sort_unstable_by_key(|(_, left)| *left);
        let timers = timers.into_iter();
        let tasks = best.tasks.into_iter();
        Ok(CallAnswer {
            timers: timers.map(|(id, left_ms)| Timer { id, left_ms }).collect(),
            tasks: tasks.map(|(number, name)| Task { number, name }).collect(),
            call: call_line(&view, &best.summary),
            from: best.summary.from,
            to: best.summary.to,
            degraded: best.summary.degraded,
            dialogs: best.legs,
            app_state: best.app_state,
            held: best.held,
            record_bytes: best.record_bytes,
            copies,
            unreachable: replies.unreachable,
        })
    }

    /// The ring as this node sees it, and where a key lies on it.
    #[must_use]
    pub fn ring(&self, key: Option<CallId>) -> RingAnswer {
        let view = self.gather.door.view();
        let copies = self.about.copies;
        let mut first: BTreeMap<NodeId, u64> = BTreeMap::new();
        for sample in 0..RING_SAMPLES {
            let position = sample * (u64::MAX / RING_SAMPLES);
            if let Some(member) = view.holders(position, 1).first() {
                *first.entry(member.node).or_default() += 1;
            }
        }
        let mut shares: Vec<Share> = view
            .live()
            .map(|member| {
                let hits = first.get(&member.id.node).copied().unwrap_or_default();
                let hits = u32::try_from(hits).unwrap_or(u32::MAX);
                let samples = u32::try_from(RING_SAMPLES).unwrap_or(u32::MAX);
                Share {
                    name: member.name.to_string(),
                    zone: member.meta.zone.to_string(),
                    weight: member.meta.weight,
                    share: f64::from(hits) / f64::from(samples),
                }
            })
            .collect();
        shares.sort_by(|one, other| one.name.cmp(&other.name));
        RingAnswer {
            view_epoch: view.epoch,
            shares,
            key: key.map(|key| RingKey {
                key: key.to_string(),
                proposed: view
                    .holders(key.position, copies)
                    .iter()
                    .map(|member| view.name(member.node).to_string())
                    .collect(),
            }),
        }
    }

    /// Brings a signal to a call, wherever it is owned. The error is why it was not taken.
    pub async fn signal(&self, key: CallId, body: Bytes) -> Result<(), String> {
        let answers = self.gather.door.ask(Ask::Signal { key, body }).await;
        let taken = answers.into_iter().find_map(|answer| match answer {
            Answer::Signal(taken) => Some(taken),
            _ => None,
        });
        taken.unwrap_or_else(|| Err("the node's shard did not answer".into()))
    }

    /// Makes this node hand its calls over and take no new ones, or takes that back. Does not wait
    /// for what follows.
    pub async fn set_draining(&self, draining: bool) -> Draining {
        self.gather.door.set_draining(draining).await;
        self.drain_state().await
    }

    /// How far this node is with handing its calls over.
    pub async fn drain_state(&self) -> Draining {
        let view = self.gather.door.view();
        let own = self.gather.own().await;
        Draining {
            name: view.name(view.me.node).to_string(),
            draining: self.draining(),
            calls_owned: own.summary.calls_owned,
            in_setup: own.summary.in_setup,
            shards_mute: own.shards_mute,
            stop_timeout_s: self.about.stop_timeout.as_secs(),
        }
    }

    /// Asks whoever runs this node to hand its calls over and end it.
    pub async fn leave(&self) -> Draining {
        let state = self.drain_state().await;
        self.gather.door.ask_to_stop();
        state
    }

    /// Whether this node's end just now would lose an answered call.
    pub async fn safe_to_stop(&self) -> SafeToStop {
        let view = self.gather.door.view();
        let own = self.gather.own().await;
        let (safe, reason, notes) = safety::judge(&Holdings {
            clustered: !self.about.cluster.is_empty(),
            others: view.live().filter(|one| one.id != view.me).count(),
            shards_mute: own.shards_mute,
            owned: own.summary.calls_owned,
            in_setup: own.summary.in_setup,
            uncovered: own.summary.uncovered,
        });
        SafeToStop {
            name: view.name(view.me.node).to_string(),
            safe,
            reason,
            notes,
        }
    }

    /// What `/metrics` shows: this node alone.
    pub(crate) async fn facts(&self) -> Facts {
        let view = self.gather.door.view();
        let own = self.gather.own().await;
        let fabric = self.gather.door.fabric_stats();
        let states = [State::Alive, State::Suspect, State::Down, State::Left];
        let count = |state| {
            let members = view.members().iter().map(|member| state_of(member.state));
            let count = members.filter(|known| *known == state).count();
            u64::try_from(count).unwrap_or(u64::MAX)
        };
        Facts {
            version: self.about.version.clone(),
            uptime_s: self.started.elapsed().as_secs(),
            shards_mute: own.shards_mute,
            draining: self.draining(),
            members: states.map(|state| (state, count(state))).into(),
            silent: names(&view, own.summary.silent.iter().map(|member| member.node)),
            rtt_us: fabric
                .links
                .iter()
                .map(|link| (link.name.clone(), link.rtt_us))
                .collect(),
            fabric: fabric.totals,
            node: self.gather.door.node_stats(),
            summary: own.summary,
        }
    }

    /// Shards of this node that do not answer.
    pub(crate) async fn shards_mute(&self) -> usize {
        self.gather.own().await.shards_mute
    }

    /// Whether this node hands its calls over and takes no new ones.
    pub(crate) fn draining(&self) -> bool {
        let view = self.gather.door.view();
        view.node(view.me.node)
            .is_some_and(|member| member.meta.draining)
    }

    fn members_of(&self, view: &View, replies: &Replies) -> Vec<Member> {
        let links = self.gather.door.fabric_stats().links;
        let clustered = !self.about.cluster.is_empty();
        let mut members: Vec<Member> = view
            .members()
            .iter()
            .map(|member| {
                let summary = match replies.by_node.get(&member.id.node) {
                    Some(Reply::Summary(node)) => Some(&node.summary),
                    _ => None,
                };
                let link = links.iter().find(|link| link.member == member.id);
                Member {
                    name: member.name.to_string(),
                    state: state_of(member.state),
                    draining: member.meta.draining,
                    role: match member.meta.role {
                        Role::Member => "member".into(),
                        Role::Edge => "edge".into(),
                    },
                    zone: member.meta.zone.to_string(),
                    weight: member.meta.weight,
                    incarnation: member.id.incarnation.number,
                    cluster_addr: clustered.then(|| member.cluster_addr.to_string()),
                    sip: member.meta.sip.iter().map(ToString::to_string).collect(),
                    version: member.meta.version.to_string(),
                    config_hash: format!("{:016x}", member.meta.config_hash),
                    rtt_us: link.map(|link| link.rtt_us),
                    calls_owned: summary.map(|summary| summary.calls_owned),
                    calls_replica: summary.map(|summary| summary.calls_replica),
                }
            })
            .collect();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        members
    }
}

fn names(view: &View, nodes: impl Iterator<Item = NodeId>) -> Vec<String> {
    let mut names: Vec<String> = nodes.map(|node| view.name(node).to_string()).collect();
    names.sort();
    names.dedup();
    names
}

fn call_line(view: &View, call: &CallSummary) -> Call {
    Call {
        key: call.key.to_string(),
        call_id: call.call_id.clone(),
        owner: view.name(call.owner.node).to_string(),
        replicas: call
            .replicas
            .iter()
            .map(|member| view.name(member.node).to_string())
            .collect(),
        epoch: call.epoch,
        version: call.version,
        state: call.state,
        app: call.app.clone(),
        legs: call.legs,
        age_s: call.age_s,
    }
}

fn state_of(state: MemberState) -> State {
    match state {
        MemberState::Alive => State::Alive,
        MemberState::Suspect => State::Suspect,
        MemberState::Down => State::Down,
        MemberState::Left => State::Left,
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
