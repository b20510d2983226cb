//! The nodes in the world: their lives, what reaches them, what they want done, frames on the way.

use std::hash::Hash as _;

use bytes::Bytes;
use callring_proto::base::ids::{CallId, MemberId, NodeId};
use callring_proto::base::time::Instant;
use callring_proto::cluster::Holding;
use callring_proto::cluster::membership::MembershipEffect;
use callring_proto::io::{Input, Output};
use callring_proto::wire::{self, Frame, PromiseRecord};
use rand::RngExt as _;

use super::net::micros;
use super::node::{Inbound, Life, Wanted, fabric_addr, metadata, name};
use super::plan::Moment;
use super::world::{Event, World};

impl World {
    pub(super) fn begin(&mut self, node: usize) {
        if self.nodes[node].life.is_some() {
            return;
        }
        self.nodes[node].lives += 1;
        let number = self.nodes[node].lives;
        self.exercise.restarts += u64::from(number > 1);
        let company = self.lives().next().is_some();
        let world = (&mut self.rng, self.now, company);
        let mut life = Life::begin(node, number, &self.plan, &self.sealer, self.sabotage, world);
        let me = life.me;
        let others = (0..self.plan.nodes).filter(|other| *other != node);
        let seeds: Vec<_> = others.map(fabric_addr).collect();
        life.join(&seeds, self.now);
        self.nodes[node].life = Some(life);
        self.nodes[node].draining = false;
        self.note(|| format!("{} begins life {number}", name(node)));
        let others: Vec<(usize, MemberId)> = self.lives().filter(|(at, _)| *at != node).collect();
        for (other, member) in others {
            let at = self.now + micros(self.rng.random_range(5_000..40_000));
            self.push(at, Event::LinkUp(me, member));
            let at = self.now + micros(self.rng.random_range(50_000..400_000));
            self.tell_metadata((node, me), (other, member), at);
            self.tell_metadata((other, member), (node, me), at);
        }
        self.drain(node);
    }

    /// What one node says of itself reaches another one.
    pub(super) fn tell_metadata(
        &mut self,
        (of, member): (usize, MemberId),
        (to, reader): (usize, MemberId),
        at: Instant,
    ) {
        let said = metadata(of, &self.plan, self.nodes[of].draining);
        let inbound = Inbound::Metadata(member, Box::new(said));
        self.push(at, Event::Node(to, reader, Box::new(inbound)));
    }

    pub(super) fn lives(&self) -> impl Iterator<Item = (usize, MemberId)> + '_ {
        let lives = self.nodes.iter().enumerate();
        lives.filter_map(|(node, one)| Some((node, one.life.as_ref()?.me)))
    }

    pub(super) fn node_of(&self, member: MemberId) -> Option<usize> {
        let mut lives = self.lives();
        lives.find(|(_, me)| *me == member).map(|(node, _)| node)
    }

    pub(super) fn life_mut(&mut self, node: usize, member: MemberId) -> Option<&mut Life> {
        let life = self.nodes[node].life.as_mut();
        life.filter(|life| life.me == member)
    }

    /// Something reaches a node, which may be stopped or slow.
    pub(super) fn at_node(&mut self, node: usize, member: MemberId, inbound: Inbound) {
        let now = self.now;
        if let Inbound::Shard(_, Input::Frame { from, .. }) = &inbound
            && !self.net.reaches(*from, node, now)
        {
            return;
        }
        let Some(life) = self.life_mut(node, member) else {
            return;
        };
        if life.paused.is_some() {
            if matches!(inbound, Inbound::Tick) {
                life.tick = None;
            } else {
                life.backlog.push_back(inbound);
            }
            return;
        }
        let late = life.slow.filter(|(_, until)| now < *until);
        let due = late.map_or(now, |(delay, _)| now + delay);
        if due > now || life.busy_until > now {
            life.busy_until = due.max(life.busy_until);
            let due = life.busy_until;
            self.push(due, Event::Late(node, member, Box::new(inbound)));
            return;
        }
        self.handled(node, member, inbound);
    }

    /// The node takes it in hand, and carries out what follows.
    pub(super) fn handled(&mut self, node: usize, member: MemberId, inbound: Inbound) {
        if self.taken(node, member, inbound) {
            self.drain(node);
        }
    }

    /// The node takes it in hand. Whether something may follow.
    pub(super) fn taken(&mut self, node: usize, member: MemberId, inbound: Inbound) -> bool {
        let now = self.now;
        let Some(life) = self.life_mut(node, member) else {
            return false;
        };
        if life.paused.is_some() {
            life.backlog.push_back(inbound);
            return false;
        }
        if let Inbound::Tick = inbound {
            life.tick = None;
        }
        if let Inbound::Shard(_, Input::Frame { from, session, .. }) = &inbound
            && life.links.get(from) != Some(session)
        {
            return false; // of a session that is over
        }
        life.take(inbound, now);
        true
    }

    /// Carries out all that a node wants.
    pub(super) fn drain(&mut self, node: usize) {
        while let Some(life) = self.nodes[node].life.as_mut() {
            let me = life.me;
            match life.poll(self.now) {
                Some(Wanted::Membership(effect)) => self.on_membership(node, effect),
                Some(Wanted::Shard(output)) => self.on_output(node, me, output),
                None => break,
            }
        }
        self.schedule_tick(node);
    }

    fn schedule_tick(&mut self, node: usize) {
        let now = self.now;
        let Some(life) = self.nodes[node].life.as_mut() else {
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
                let arrives = self.net.gossip((node, target), now, &mut self.rng);
                let Some(member) = self.nodes[target].life.as_ref().map(|life| life.me) else {
                    return;
                };
                if let Some(at) = arrives {
                    let from = NodeId::of(&name(node));
                    let inbound = Box::new(Inbound::Gossip(from, bytes));
                    self.push(at, Event::Node(target, member, inbound));
                }
            }
            MembershipEffect::View(view) => {
                if let Some(life) = self.nodes[node].life.as_mut() {
                    life.tell_shards(&Input::View(view), now);
                }
            }
            MembershipEffect::Renamed(me) => self.renamed(node, me),
        }
    }

    /// Membership took a living node for dead: links begin anew under its new name.
    fn renamed(&mut self, node: usize, me: MemberId) {
        let now = self.now;
        self.exercise.renamed += 1;
        self.note(|| format!("{} is renamed {me:?}", name(node)));
        let ours = metadata(node, &self.plan, self.nodes[node].draining);
        let Some(life) = self.nodes[node].life.as_mut() else {
            return;
        };
        let old = std::mem::replace(&mut life.me, me);
        life.membership.set_metadata(me, ours);
        life.tell_shards(&Input::Renamed(me), now);
        let links = std::mem::take(&mut life.links);
        life.tick = None;
        self.nodes[node].lives = me.incarnation.number;
        for (member, session) in links {
            if let Some(other) = self.node_of(member) {
                self.end_link(other, old, session);
                self.end_link(node, member, session);
            }
        }
        let others: Vec<(usize, MemberId)> = self.lives().filter(|(at, _)| *at != node).collect();
        for (other, member) in others {
            let at = now + micros(self.rng.random_range(5_000..40_000));
            self.push(at, Event::LinkUp(me, member));
            self.tell_metadata((node, me), (other, member), at);
            self.tell_metadata((other, member), (node, me), at);
        }
    }

    fn on_output(&mut self, node: usize, me: MemberId, output: Output) {
        match output {
            Output::Sip { flow, bytes } => self.sip_out(node, &flow, bytes),
            Output::Frame { to, bytes } => self.frame_out((node, me), to, bytes),
            Output::Forward { shard, input, .. } => {
                let now = self.now;
                if let Some(life) = self.nodes[node].life.as_mut() {
                    life.take(Inbound::Shard(shard, input), now);
                }
            }
            Output::Answer { ask, answer } => self.on_answer(ask, answer),
            Output::Task(run) => unreachable!("no call of the simulation has tasks: {run:?}"),
        }
    }

    fn frame_out(&mut self, (node, me): (usize, MemberId), to: MemberId, bytes: Bytes) {
        let (address, frame) =
            wire::decode(&bytes, wire::VERSION).expect("a node's own frame can be read");
        self.exercise.count_frame(&frame);
        self.look_at_frame((node, me), &frame);
        let Some(life) = self.nodes[node].life.as_ref() else {
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
        let (first, again) = self
            .net
            .frame((node, target), lane, self.now, &mut self.rng);
        self.exercise.doubled += u64::from(again.is_some());
        for at in [Some(first), again].into_iter().flatten() {
            let input = Input::Frame {
                from: me,
                session,
                bytes: bytes.clone(),
            };
            let inbound = Box::new(Inbound::Shard(address.to_shard, input));
            self.push(at, Event::Node(target, to, inbound));
        }
        self.spring(&frame, node, target);
    }

    pub(super) fn holding(&self, node: usize, key: CallId) -> Option<Holding> {
        let shard = usize::from(key.shard(self.plan.shards));
        let life = self.nodes[node].life.as_ref()?;
        life.shards.get(shard)?.holding(key)
    }

    /// What judges see of a frame, and what phones will.
    fn look_at_frame(&mut self, (node, me): (usize, MemberId), frame: &Frame) {
        match frame {
            Frame::Egress(egress) => self.emission(node, &egress.bytes),
            Frame::Promise(promise) => {
                let here = self.holding(node, promise.key);
                let owner = match &promise.record {
                    PromiseRecord::Known(record) => self.node_of(record.ballot.owner),
                    PromiseRecord::Unknown | PromiseRecord::Released { .. } => None,
                };
                let there = owner.and_then(|owner| self.holding(owner, promise.key));
                let holdings = (here.as_ref(), there.as_ref());
                self.judge.on_promise(me, promise, holdings, self.now);
            }
            Frame::Claim(claim) => self.judge.on_claim(me, claim, self.now),
            Frame::Batch(batch) => {
                for record in &batch.records {
                    let holding = self.holding(node, record.key);
                    self.judge.on_record(record, holding.as_ref(), self.now);
                }
            }
            _ => {}
        }
    }

    /// Whether this frame is the one that the plan's trap waits for.
    fn spring(&mut self, frame: &Frame, from: usize, to: usize) {
        let (Some(trap), Some(seen)) = (self.plan.trap, self.trap) else {
            return;
        };
        if self.now < Self::start() + trap.from || self.well || !is_moment(frame, trap.moment) {
            return;
        }
        self.trap = Some(seen + 1);
        if seen + 1 < trap.nth {
            return;
        }
        self.trap = None;
        let node = if trap.sender { from } else { to };
        let back = trap.back;
        self.exercise.traps += 1;
        let fault = super::plan::Fault::Crash { node, back };
        self.push(self.now + trap.after, Event::Fault(fault));
    }
}

fn is_moment(frame: &Frame, moment: Moment) -> bool {
    match (frame, moment) {
        (Frame::Batch(_), Moment::Batch)
        | (Frame::Ack(_), Moment::Ack)
        | (Frame::Claim(_), Moment::Claim)
        | (Frame::Promise(_), Moment::Promise)
        | (Frame::Release(_), Moment::Release)
        | (Frame::Relay(_), Moment::Relay)
        | (Frame::Egress(_), Moment::Egress) => true,
        (Frame::Batch(batch), _) => batch.records.iter().any(|record| match moment {
            Moment::End => record.has_ended(),
            Moment::Change => !record.old.is_empty(),
            Moment::Activation => record.ballot.epoch > 1 && !record.old.is_empty(),
            _ => false,
        }),
        _ => false,
    }
}
