//! Links that come and go, nodes that die, stand still and come back, networks that fall apart.

use std::time::Duration;

use callring_proto::base::ids::MemberId;
use callring_proto::io::Input;

use super::net::IDLE;
use super::node::{Inbound, name};
use super::plan::Fault;
use super::world::{Event, World};

impl World {
    pub(super) fn link_up(&mut self, one: MemberId, other: MemberId) {
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
                    wire: callring_proto::wire::VERSION,
                };
                self.at_node(node, me, Inbound::Shard(shard, input));
            }
        }
    }

    pub(super) fn link_down(&mut self, at: MemberId, from: MemberId, session: u64) {
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

    pub(super) fn fault(&mut self, fault: Fault) {
        self.note(|| format!("{fault:?}"));
        match fault {
            Fault::Crash { node, back, at } => {
                self.harvest(node);
                let Some(life) = self.nodes[node].1.take() else {
                    return;
                };
                let links: Vec<(MemberId, u64)> = life
                    .links
                    .iter()
                    .map(|(member, session)| (*member, *session))
                    .collect();
                for (member, session) in links {
                    let idle = self.now + IDLE;
                    self.push(idle, Event::LinkDown(member, life.me, session));
                }
                self.graves.push((self.now, life));
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

    pub(super) fn resume(&mut self, node: usize, member: MemberId) {
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
}
