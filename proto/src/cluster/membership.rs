//! Membership: who is in the cluster, by SWIM (Das, Gupta, Motivala 2002), which foca speaks.
//!
//! Sans-IO: datagrams and the time go in, datagrams and views come out of [`Membership::poll`]. It
//! may use base, foca and the view. It knows nothing of calls or records, and what members say of
//! themselves only in passing. Its word is `Down`, for good; *silence*, which moves calls at once,
//! is the fabric's.
//!
//! ```text
//!  Alive --no answer--> Suspect --suspicion over, fabric silent too--> Down
//!    ^                     |                                            |
//!    +------refuted--------+     Alive under a higher number <--renewed-+
//! ```

mod config;
mod identity;
mod outbox;
mod roster;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use foca::{Foca, Header, Member, NoCustomBroadcast, State, Timer};

pub use self::config::{GOSSIP_BYTES_MAX, MembershipConfig};
use self::identity::Door;
pub use self::identity::{Identity, NAME_BYTES_MAX};
use self::outbox::{KIND_LEAVING, KIND_SWIM, Outbox, datagram};
use self::roster::Roster;
use super::view::{MemberState, Metadata, View};
use crate::base::ids::{MemberId, NodeId};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant};

/// What foca may fill.
const SWIM_BYTES_MAX: NonZeroUsize = NonZeroUsize::new(GOSSIP_BYTES_MAX - 1).unwrap();
/// How often the roster forgets.
const SWEEP_PERIOD: Duration = Duration::from_secs(600);
/// Remembered members called per attempt while alone.
const CALLED_WHILE_ALONE: usize = 4;

/// What membership wants done.
#[derive(Clone, Debug)]
pub enum MembershipEffect {
    /// Send a datagram. Loss is fine; waiting for a connection is not.
    Send {
        /// The fabric address of the receiver.
        to: SocketAddr,
        /// At most [`GOSSIP_BYTES_MAX`].
        bytes: Bytes,
    },
    /// Something changed: the members are these from now on.
    View(Arc<View>),
    /// This node was declared Down although it lives, or its name had a higher number than it knew:
    /// it goes on as this member. For the others its calls are those of a member that is gone.
    Renamed(MemberId),
}

/// Counters, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembershipCounts {
    /// Datagrams not understood, or not from whom they say.
    pub refused: u64,
    /// Names refused because another name has the same id.
    pub collisions: u64,
    /// Times that Down was put off because the fabric had heard the member.
    pub put_off: u64,
    /// Times that this node had to take a higher number.
    pub renamed: u64,
    /// Errors of foca that its documentation calls impossible.
    pub faults: u64,
}

#[derive(Clone, Debug)]
enum Alarm {
    Swim(Timer<Identity>),
    /// Call seeds, and remembered members while alone.
    Join,
    /// Forget who is gone for long.
    Sweep,
}

/// See the file's head.
pub struct Membership {
    foca: Foca<Identity, Door, Rng, NoCustomBroadcast>,
    config: MembershipConfig,
    roster: Roster,
    /// What foca said of each member when it was last compared with the roster, in its order: most
    /// datagrams change nothing. Empty: the roster was changed otherwise.
    compared: Vec<Member<Identity>>,
    seeds: Vec<SocketAddr>,
    /// Who left takes part in nothing any more.
    left: bool,
    outbox: Outbox,
    alarms: BTreeMap<(Instant, u64), Alarm>,
    alarms_set: u64,
    view: Arc<View>,
    effects: VecDeque<MembershipEffect>,
    counts: MembershipCounts,
}

impl Membership {
    /// A node that knows nobody yet. The first effect is the view of itself alone.
    #[must_use]
    pub fn new(me: Identity, config: MembershipConfig, rng: Rng, now: Instant) -> Self {
        let roster = Roster::new(me.clone(), now);
        let view = Arc::new(roster.view(1));
        let door = Door {
            name: me.name.clone(),
        };
        let mut membership = Self {
            foca: Foca::new(me, config.to_foca(SWIM_BYTES_MAX), rng, door),
            config,
            roster,
            compared: Vec::new(),
            seeds: Vec::new(),
            left: false,
            outbox: Outbox::default(),
            alarms: BTreeMap::new(),
            alarms_set: 0,
            view: view.clone(),
            effects: VecDeque::from([MembershipEffect::View(view)]),
            counts: MembershipCounts::default(),
        };
        membership.set_alarm(now + SWEEP_PERIOD, Alarm::Sweep);
        membership.set_alarm(now + config.join_period, Alarm::Join);
        membership
    }

    /// Calls the seeds now, and again for as long as no member listens at their address.
    pub fn join(&mut self, seeds: &[SocketAddr], now: Instant) {
        self.seeds = seeds.to_vec();
        if !self.left {
            self.call_seeds();
            self.settle(now);
        }
    }

    /// Takes in a datagram from the node whose certificate the connection showed.
    pub fn handle_gossip(&mut self, from: NodeId, bytes: &[u8], now: Instant) {
        if self.left {
            return;
        }
        let taken = match bytes.split_first() {
            Some((&KIND_SWIM, message)) => self.on_swim(from, message),
            Some((&KIND_LEAVING, identity)) => self.on_leaving(from, identity),
            _ => false,
        };
        self.counts.refused += u64::from(!taken);
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.grant_missed_time(now);
        let later = self.alarms.split_off(&(now + Duration::from_nanos(1), 0));
        let due = std::mem::replace(&mut self.alarms, later);
        let mut timers = Vec::new();
        for alarm in due.into_values() {
            match alarm {
                Alarm::Swim(timer) => timers.push(timer),
                Alarm::Join => self.on_join(now),
                Alarm::Sweep => self.on_sweep(now),
            }
        }
        // foca wants late timers in an order of its own; among equals that of their deadlines.
        timers.sort();
        for timer in timers {
            self.on_timer(timer, now);
        }
        self.settle(now);
    }

    /// When [`Membership::handle_timeout`] is due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.alarms.keys().next().map(|(at, _)| *at)
    }

    /// Says good-bye. Afterwards only the effects are left to be drained.
    pub fn leave(&mut self, now: Instant) {
        if self.left {
            return;
        }
        self.left = true;
        let me = self.foca.identity().clone();
        let bytes = datagram(KIND_LEAVING, &postcard::to_stdvec(&me).unwrap_or_default());
        for other in self.roster.live_others() {
            self.outbox.sends.push((other.addr, bytes.clone()));
        }
        let result = self.foca.leave_cluster(&mut self.outbox);
        self.note_fault(result);
        self.drain_outbox(now);
        self.alarms.clear();
        self.roster.set_me(me, MemberState::Left, now);
        self.publish();
    }

    /// What a member says of itself, as the metadata gossip brings it; this node's own as well.
    pub fn set_metadata(&mut self, member: MemberId, meta: Metadata) {
        if self.roster.set_metadata(member, meta) {
            self.publish();
        }
    }

    /// The fabric heard from a node: a suspicion of it is not taken for Down just now.
    pub fn set_heard(&mut self, node: NodeId, at: Instant) {
        self.roster.set_heard(node, at);
    }

    /// The highest incarnation number known of the node called `name`, 0 if none: what a joiner
    /// asks for before it takes the next one.
    #[must_use]
    pub fn highest_incarnation(&self, name: &str) -> u32 {
        self.roster.highest_incarnation(name)
    }

    /// This node as it appears in gossip.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    /// The present view.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Counters since the start.
    #[must_use]
    pub fn counts(&self) -> MembershipCounts {
        self.counts
    }

    /// What there is to do. Drain it after every call above.
    pub fn poll(&mut self) -> Option<MembershipEffect> {
        self.effects.pop_front()
    }

    fn on_swim(&mut self, from: NodeId, message: &[u8]) -> bool {
        // Who sends is for the certificate to say, not for the message.
        let honest = postcard::take_from_bytes::<Header<Identity>>(message)
            .is_ok_and(|(header, _)| header.src.member().node == from);
        if !honest {
            return false;
        }
        let result = self.foca.handle_data(message, &mut self.outbox);
        if let Err(error) = &result {
            tracing::debug!(%error, ?from, "gossip refused");
        }
        result.is_ok()
    }

    fn on_leaving(&mut self, from: NodeId, identity: &[u8]) -> bool {
        let Ok(identity) = postcard::from_bytes::<Identity>(identity) else {
            return false;
        };
        let own = identity.name == self.foca.identity().name;
        if own || identity.member().node != from {
            return false;
        }
        self.compared.clear();
        if self.roster.set_leaving(&identity) {
            let down = std::iter::once(Member::down(identity));
            let result = self.foca.apply_many(down, true, &mut self.outbox);
            self.note_fault(result);
        }
        true
    }

    fn on_timer(&mut self, timer: Timer<Identity>, now: Instant) {
        if let Timer::ChangeSuspectToDown {
            member_id,
            incarnation,
            ..
        } = &timer
        {
            // foca 2.0 tells a member to take a new identity even when it has refuted by now.
            let suspect = Member::new(member_id.clone(), *incarnation, State::Suspect);
            if !self.foca.iter_members().any(|member| *member == suspect) {
                return;
            }
            if self.is_heard(member_id, now) {
                self.put_off(timer, now);
                return;
            }
        }
        let result = self.foca.handle_timer(timer, &mut self.outbox);
        self.note_fault(result);
    }

    /// Whether the fabric heard a node lately.
    fn is_heard(&self, suspect: &Identity, now: Instant) -> bool {
        let heard = self.roster.heard(suspect.member().node);
        heard.is_some_and(|at| now.since(at) <= self.config.heard_within())
    }

    /// Asks the fabric again in a probe period. One timer per suspicion is enough.
    fn put_off(&mut self, timer: Timer<Identity>, now: Instant) {
        self.counts.put_off += 1;
        let again = |alarm: &Alarm| matches!(alarm, Alarm::Swim(other) if *other == timer);
        if !self.alarms.values().any(again) {
            self.set_alarm(now + self.config.probe_period, Alarm::Swim(timer));
        }
    }

    /// A node that stood still has missed the refutations of that time, so suspects get it back.
    fn grant_missed_time(&mut self, now: Instant) {
        let stood_still = self
            .next_deadline()
            .map_or(Duration::ZERO, |due| now.since(due));
        if stood_still < self.config.probe_rtt {
            return;
        }
        let suspicion =
            |alarm: &Alarm| matches!(alarm, Alarm::Swim(Timer::ChangeSuspectToDown { .. }));
        let (shifted, kept) = std::mem::take(&mut self.alarms)
            .into_iter()
            .partition(|(_, alarm)| suspicion(alarm));
        self.alarms = kept;
        let shifted: BTreeMap<_, _> = shifted;
        for ((at, serial), alarm) in shifted {
            self.alarms.insert((at + stood_still, serial), alarm);
        }
    }

    fn on_join(&mut self, now: Instant) {
        self.call_seeds();
        let alone = self.foca.num_members() == 0;
        if alone {
            // foca stops its timers with nobody alive, also that which calls those that are Down.
            for down in self
                .roster
                .down_latest_first()
                .into_iter()
                .take(CALLED_WHILE_ALONE)
            {
                self.call(down);
            }
        }
        let period = if alone {
            self.config.join_period
        } else {
            self.config.announce_period
        };
        self.set_alarm(now + period, Alarm::Join);
    }

    fn call_seeds(&mut self) {
        let me = self.foca.identity().addr;
        let seen = |seed: SocketAddr| self.roster.live_others().any(|other| other.addr == seed);
        let unseen: Vec<SocketAddr> = self
            .seeds
            .iter()
            .copied()
            .filter(|&seed| seed != me && !seen(seed))
            .collect();
        for seed in unseen {
            self.call(Identity::nobody_at(seed));
        }
    }

    fn call(&mut self, other: Identity) {
        let result = self.foca.announce(other, &mut self.outbox);
        self.note_fault(result);
    }

    fn on_sweep(&mut self, now: Instant) {
        self.forget(now);
        self.publish();
        self.set_alarm(now + SWEEP_PERIOD, Alarm::Sweep);
    }

    fn forget(&mut self, now: Instant) {
        self.compared.clear();
        for gone in self.roster.forget(now) {
            let result = self
                .foca
                .handle_timer(Timer::RemoveDown(gone), &mut self.outbox);
            self.note_fault(result);
        }
    }

    /// Carries what foca did into the roster, the alarms and the effects. All members are looked
    /// at: foca tells nothing of suspicion, and of a rename not always what went up or down.
    fn settle(&mut self, now: Instant) {
        if self.left {
            return;
        }
        let mut changed = self.renew(now);
        let mut collisions = 0;
        for (nth, member) in self.foca.iter_membership_state().enumerate() {
            match self.compared.get_mut(nth) {
                Some(compared) if compared == member => continue,
                Some(compared) => compared.clone_from(member),
                None => self.compared.push(member.clone()),
            }
            if member.id().name == self.foca.identity().name {
                continue;
            }
            let state = match member.state() {
                State::Alive => MemberState::Alive,
                State::Suspect => MemberState::Suspect,
                State::Down => MemberState::Down,
            };
            match self.roster.observe(member.id(), state, now) {
                Ok(news) => changed |= news,
                Err(taken) => {
                    collisions += 1;
                    let refused = &member.id().name;
                    tracing::warn!(%refused, by = %taken.0, "two names have one id: refused");
                }
            }
        }
        self.counts.collisions += collisions;
        if changed {
            self.forget(now);
            self.publish();
        }
        self.drain_outbox(now);
    }

    /// Takes note of a higher number of one's own. Whether there is one.
    fn renew(&mut self, now: Instant) -> bool {
        let me = self.foca.identity().clone();
        let own = self
            .foca
            .iter_membership_state()
            .filter(|member| member.id().name == me.name);
        let highest = own.map(|member| member.id().incarnation).max();
        if let Some(number) = highest
            .filter(|highest| *highest > me.incarnation)
            .and_then(|highest| highest.number.checked_add(1))
        {
            let result = self
                .foca
                .change_identity(me.raised_to(number), &mut self.outbox);
            self.note_fault(result);
        }
        let me = self.foca.identity().clone();
        if me.member() == self.view.me {
            return false;
        }
        // A changed identity counts as disconnected until the next message; this looks again.
        let result = self
            .foca
            .apply_many(std::iter::empty(), true, &mut self.outbox);
        self.note_fault(result);
        self.counts.renamed += 1;
        tracing::info!(
            incarnation = me.incarnation.number,
            "renamed: go on as a new member"
        );
        self.effects
            .push_back(MembershipEffect::Renamed(me.member()));
        self.compared.clear();
        self.roster.set_me(me, MemberState::Alive, now);
        true
    }

    fn publish(&mut self) {
        self.view = Arc::new(self.roster.view(self.view.epoch + 1));
        if matches!(self.effects.back(), Some(MembershipEffect::View(_))) {
            self.effects.pop_back();
        }
        self.effects
            .push_back(MembershipEffect::View(self.view.clone()));
    }

    fn drain_outbox(&mut self, now: Instant) {
        let me = self.foca.identity().addr;
        for (to, bytes) in std::mem::take(&mut self.outbox.sends) {
            // foca remembers earlier lives of this node as Down, and calls them.
            if to != me {
                self.effects.push_back(MembershipEffect::Send { to, bytes });
            }
        }
        for (after, timer) in std::mem::take(&mut self.outbox.timers) {
            self.set_alarm(now + after, Alarm::Swim(timer));
        }
    }

    fn set_alarm(&mut self, at: Instant, alarm: Alarm) {
        self.alarms_set += 1;
        self.alarms.insert((at, self.alarms_set), alarm);
    }

    fn note_fault(&mut self, result: Result<(), foca::Error>) {
        if let Err(error) = result {
            self.counts.faults += 1;
            tracing::warn!(%error, "membership stumbled and goes on");
        }
    }
}
