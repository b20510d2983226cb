//! Links that come and go, nodes that die, stand still, slow down and come back, networks that fall
//! apart.

use std::time::Duration;

use callring_proto::base::ids::MemberId;
use callring_proto::base::time::Instant;
use callring_proto::io::{Input, stood_still};
use rand::RngExt as _;

use super::net::{IDLE, micros};
use super::node::{Inbound, metadata, name, wire_max};
use super::plan::Fault;
use super::world::{Event, World};

/// A dial that finds nobody is tried again after this long.
const DIAL_AGAIN: Duration = Duration::from_millis(300);

impl World {
    pub(super) fn link_up(&mut self, one: MemberId, other: MemberId) {
        let (Some(a), Some(b)) = (self.node_of(one), self.node_of(other)) else {
            return;
        };
        let link = |node: usize, member: &MemberId| {
            let life = self.nodes[node].life.as_ref();
            life.and_then(|life| life.links.get(member)).copied()
        };
        let (there, here) = (link(a, &other), link(b, &one));
        if there.is_some() && there == here {
            return;
        }
        if self.net.is_cut(a, b, self.now) {
            self.push(self.now + DIAL_AGAIN, Event::LinkUp(one, other));
            return;
        }
        // What only one end still believes in goes first.
        for (node, member, session) in [(a, other, there), (b, one, here)] {
            if let Some(session) = session {
                self.end_link(node, member, session);
                self.drain(node);
            }
        }
        let pair = (one.min(other), one.max(other));
        let session = self.sessions.entry(pair).or_insert(0);
        *session += 1;
        let session = *session;
        let shards = self.plan.shards;
        for (node, me, member, peer) in [(a, one, other, b), (b, other, one, a)] {
            if let Some(life) = self.nodes[node].life.as_mut() {
                life.links.insert(member, session);
            }
            for shard in 0..shards {
                let input = Input::LinkUp {
                    member,
                    session,
                    shards,
                    wire: wire_max(peer, &self.plan),
                };
                self.at_node(node, me, Inbound::Shard(shard, input));
            }
        }
    }

    pub(super) fn link_down(&mut self, at: MemberId, from: MemberId, session: u64) {
        let Some(node) = self.node_of(at) else { return };
        let life = self.nodes[node].life.as_ref();
        if life.and_then(|life| life.links.get(&from)) != Some(&session) {
            return;
        }
        self.exercise.links_lost += 1;
        self.end_link(node, from, session);
        self.drain(node);
        if self.node_of(from).is_some() {
            self.push(self.now + DIAL_AGAIN, Event::LinkUp(at, from));
        }
    }

    pub(super) fn end_link(&mut self, node: usize, member: MemberId, session: u64) {
        let now = self.now;
        let Some(life) = self.nodes[node].life.as_mut() else {
            return;
        };
        life.links
            .retain(|other, known| (*other, *known) != (member, session));
        life.tell_shards(&Input::LinkDown { member, session }, now);
    }

    // ---- faults ---------------------------------------------------------------------------

    pub(super) fn fault(&mut self, fault: Fault) {
        self.note(|| format!("{fault:?}"));
        let now = self.now;
        match fault {
            Fault::Crash { node, back } => self.crash(node, back),
            Fault::Pause { node, span } => {
                let until = now + span;
                let Some(life) = self.nodes[node].life.as_mut() else {
                    return;
                };
                let until = life.paused.map_or(until, |before| before.max(until));
                life.paused = Some(until);
                let me = life.me;
                self.exercise.pauses += 1;
                self.push(until, Event::Resume(node, me));
            }
            Fault::Cut { from, to, span } => {
                self.exercise.cuts += 1;
                self.net.cut(from, to, now + span);
                if span > IDLE {
                    self.starve((from, to), now + IDLE);
                }
            }
            Fault::SlowLink {
                from,
                to,
                delay,
                span,
            } => {
                self.exercise.slow += 1;
                let delay = u64::try_from(delay.as_micros()).expect("less than a second");
                self.net.slow(from, to, delay, now + span);
            }
            Fault::SlowNode { node, delay, span } => {
                self.exercise.slow += 1;
                if let Some(life) = self.nodes[node].life.as_mut() {
                    life.slow = Some((delay, now + span));
                }
            }
            Fault::Drain { node, span } => {
                self.exercise.drains += 1;
                self.set_draining(node, true);
                self.push(now + span, Event::Undrain(node));
            }
        }
    }

    fn crash(&mut self, node: usize, back: Option<Duration>) {
        self.harvest(node);
        let Some(life) = self.nodes[node].life.take() else {
            return;
        };
        self.exercise.crashes += 1;
        let nodes = self.plan.nodes;
        self.net.dies(life.me, nodes, self.now, &mut self.rng);
        for (member, session) in &life.links {
            let idle = self.now + IDLE;
            self.push(idle, Event::LinkDown(*member, life.me, *session));
        }
        let ringing = self.phones.iter().filter(|phone| phone.is_ringing_at(node));
        self.exercise.lost_births += ringing.count() as u64;
        self.graves.push((self.now, life));
        if let Some(back) = back {
            self.push(self.now + back, Event::Restart(node));
        }
    }

    /// Links between these and those end: one end has heard nothing for too long, and then the
    /// other hears nothing either.
    fn starve(&mut self, (from, to): (u32, u32), at: Instant) {
        let lives: Vec<(usize, MemberId)> = self.lives().collect();
        for (node, me) in &lives {
            for (other, member) in &lives {
                if node == other || from >> node & 1 == 0 || to >> other & 1 == 0 {
                    continue;
                }
                let life = self.nodes[*node].life.as_ref();
                let Some(session) = life.and_then(|life| life.links.get(member)).copied() else {
                    continue;
                };
                self.push(at, Event::LinkDown(*member, *me, session));
                let later = at + micros(self.rng.random_range(0..2_000_000));
                self.push(later, Event::LinkDown(*me, *member, session));
            }
        }
    }

    pub(super) fn set_draining(&mut self, node: usize, draining: bool) {
        self.note(|| format!("{} drains: {draining}", name(node)));
        let said = metadata(node, &self.plan, draining);
        let Some(life) = self.nodes[node].life.as_mut() else {
            return;
        };
        let me = life.me;
        life.membership.set_metadata(me, said);
        self.nodes[node].draining = draining;
        self.drain(node);
        let others: Vec<(usize, MemberId)> = self.lives().filter(|(at, _)| *at != node).collect();
        for (other, member) in others {
            let at = self.now + micros(self.rng.random_range(50_000..400_000));
            self.tell_metadata((node, me), (other, member), at);
        }
    }

    pub(super) fn resume(&mut self, node: usize, member: MemberId) {
        let now = self.now;
        let Some(life) = self.life_mut(node, member) else {
            return;
        };
        if life.paused.is_none_or(|until| until > now) {
            return;
        }
        life.paused = None;
        life.tick = None;
        let mut backlog = std::mem::take(&mut life.backlog);
        if life
            .next_deadline()
            .is_some_and(|due| stood_still(due, now))
        {
            backlog.retain(|one| !matches!(one, Inbound::Shard(_, Input::Sip { .. })));
        }
        self.note(|| format!("{} resumes", name(node)));
        // A shell lets fire what is due and reads much at once before it carries anything out.
        self.taken(node, member, Inbound::Tick);
        let batch = self.rng.random_range(1..=64);
        for (place, inbound) in backlog.into_iter().enumerate() {
            if self.taken(node, member, inbound) && place % batch == 0 {
                self.drain(node);
            }
        }
        self.handled(node, member, Inbound::Tick);
    }

    /// From now on nothing goes wrong: who is dead without a return stays dead, all else is mended.
    pub(super) fn all_well(&mut self) {
        self.note(|| "all is well".to_owned());
        self.well = true;
        self.net.heal();
        for node in 0..self.nodes.len() {
            let Some(life) = self.nodes[node].life.as_mut() else {
                continue;
            };
            life.slow = None;
            let me = life.me;
            if life.paused.is_some() {
                life.paused = Some(self.now);
                self.resume(node, me);
            }
            if self.nodes[node].draining {
                self.set_draining(node, false);
            }
        }
    }
}
