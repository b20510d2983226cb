//! The cluster room's own switchboard: frames in, effects out, one entry per call.
//!
//! Who may speak for a call, when an output may leave and who is asked for what is decided in the
//! rooms beside this one (`own`, `replica`, `claim`, `find`); this file routes, keeps the
//! deadlines, and wakes the calls that wait for a member to be heard or to fall silent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::births::Births;
use super::effect::Effect;
use super::entry::{Entry, Role};
use super::lane::{Applied, Lane};
use super::liveness::{Liveness, Peer};
use super::lookup::{Bucket, Lookup};
use super::place::places;
use super::policy::Replication;
use super::replica::PendingClaim;
use super::sabotage::Sabotage;
use super::stats::Stats;
use super::view::View;
use crate::base::ids::{CallId, MemberId};
use crate::base::map::{KeyedState, Map};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant};
use crate::wire::{Address, Frame, Ping, Pong};

/// Pings per second that one shard sends at most to keep its evidence warm.
const PINGS_PER_SECOND: u32 = 40;
/// Owned calls looked at per turn when replicas are repaired.
pub(super) const SWEEP_KEYS: usize = 256;
/// Pause between two such turns.
pub(super) const SWEEP_EVERY: Duration = Duration::from_millis(10);

/// A deadline of the room. Stale ones are harmless: whoever wakes looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// Look at a call again: claim, look-up, orphaned promise.
    Key(CallId),
    /// A tombstone may go.
    Purge(CallId),
    /// Go on repairing replicas.
    Sweep,
    /// Keep the evidence about members warm.
    Pings,
    /// Go on handing calls over.
    HandOver,
    /// Go on adopting orphans.
    Adopt,
    /// Compare the next stretch of the ring with those that hold copies.
    Digest,
    /// Go on moving copies to where the ring wants them.
    Rebalance,
    /// Some calls are offered to members that own few.
    Balance,
    /// Look after births and what belongs to them.
    Births,
}

/// The ownership protocol for all calls of one shard. `H` is whatever the caller holds at the gate.
#[derive(Debug)]
pub struct Cluster<H> {
    pub(super) me: MemberId,
    pub(super) shard: u16,
    pub(super) policy: Replication,
    pub(super) sabotage: Sabotage,
    pub(super) view: Arc<View>,
    pub(super) previous: Arc<View>,
    pub(super) shards: BTreeMap<MemberId, u16>,
    pub(super) liveness: Liveness,
    pub(super) lanes: BTreeMap<Peer, Lane>,
    pub(super) applied: BTreeMap<Peer, Applied>,
    pub(super) entries: Map<CallId, Entry<H>>,
    pub(super) lookups: Map<CallId, Lookup>,
    pub(super) pending_claims: BTreeMap<CallId, Vec<PendingClaim>>,
    /// Calls to look at again when a peer is heard or falls silent.
    watch: BTreeMap<Peer, BTreeSet<CallId>>,
    wakes: BTreeSet<(Instant, Wake)>,
    pub(super) sweep: Option<VecDeque<CallId>>,
    pub(super) draining: super::handoff::Draining,
    pub(super) adoption: super::adopt::Adoption,
    pub(super) settled: super::adopt::Settled,
    pub(super) rebalancing: super::rebalance::Rebalancing,
    pub(super) balancing: super::balance::Balancing,
    pub(super) digests: super::digest::Round,
    pub(super) negative: BTreeMap<CallId, Instant>,
    /// When membership last declared us down while we lived: copies from before may be stale.
    pub(super) renamed_at: Option<Instant>,
    /// Since when no other member is known.
    pub(super) lonely_since: Option<Instant>,
    pub(super) everyone_tokens: Bucket,
    pub(super) had: super::replica::Remembered,
    pub(super) releases: super::release::Releases,
    pub(super) births: Births,
    pub(super) rng: Rng,
    /// Outputs that all gates hold.
    pub(super) held: usize,
    pub(super) stats: Stats,
    pub(super) effects: VecDeque<Effect<H>>,
}

impl<H> Cluster<H> {
    /// A shard that owns nothing and knows only itself.
    #[must_use]
    pub fn new(view: Arc<View>, shard: u16, policy: Replication, mut rng: Rng) -> Self {
        use rand::Rng as _;
        let hasher = KeyedState::new(rng.next_u64(), rng.next_u64());
        Self {
            me: view.me,
            shard,
            liveness: Liveness::new(policy.silence),
            policy,
            sabotage: Sabotage::default(),
            previous: Arc::clone(&view),
            view,
            shards: BTreeMap::new(),
            lanes: BTreeMap::new(),
            applied: BTreeMap::new(),
            entries: Map::with_hasher(hasher),
            lookups: Map::with_hasher(hasher),
            pending_claims: BTreeMap::new(),
            watch: BTreeMap::new(),
            wakes: BTreeSet::new(),
            sweep: None,
            draining: super::handoff::Draining::default(),
            adoption: super::adopt::Adoption::default(),
            settled: super::adopt::Settled::default(),
            rebalancing: super::rebalance::Rebalancing::default(),
            balancing: super::balance::Balancing::default(),
            digests: super::digest::Round::default(),
            negative: BTreeMap::new(),
            renamed_at: None,
            lonely_since: None,
            everyone_tokens: Bucket::default(),
            had: super::replica::Remembered::default(),
            releases: super::release::Releases::default(),
            births: Births::new(hasher),
            rng,
            held: 0,
            stats: Stats::default(),
            effects: VecDeque::new(),
        }
    }

    /// Breaks rules on purpose; for tests of the tests.
    pub fn sabotage(&mut self, sabotage: Sabotage) {
        self.sabotage = sabotage;
    }

    // ---- who is where ---------------------------------------------------------------------

    /// The shard of `member` that has to do with `key`.
    pub(super) fn peer(&self, member: MemberId, key: CallId) -> Peer {
        let known = self.shards.get(&member).copied();
        let shards = known.or_else(|| self.view.member(member).map(|info| info.meta.shards));
        Peer {
            member,
            shard: key.shard(shards.unwrap_or(1)),
        }
    }

    /// Gone for good by membership's word, or silent by our own evidence.
    pub(super) fn is_absent(&self, member: MemberId, key: CallId) -> bool {
        self.view.is_gone(member) || self.liveness.is_silent(self.peer(member, key))
    }

    /// Makes something due from `member`, and wakes `key` when it is heard or falls silent. Returns
    /// the stamp whose echo proves life.
    pub(super) fn ask_life(&mut self, member: MemberId, key: CallId, now: Instant) -> Instant {
        let peer = self.peer(member, key);
        self.watch.entry(peer).or_default().insert(key);
        self.ping(peer, now)
    }

    /// Wakes `key` when `member` is heard or falls silent.
    pub(super) fn watch(&mut self, member: MemberId, key: CallId) {
        let peer = self.peer(member, key);
        self.watch.entry(peer).or_default().insert(key);
    }

    pub(super) fn ping(&mut self, peer: Peer, now: Instant) -> Instant {
        let (stamp, send) = self.liveness.ask(peer, now);
        if send {
            let lane = self.lanes.entry(peer).or_default();
            if let Some(session) = lane.session() {
                lane.say(Frame::Ping(Ping {
                    session,
                    stamp: stamp.as_nanos(),
                }));
            }
        }
        stamp
    }

    pub(super) fn wake_at(&mut self, at: Instant, wake: Wake) {
        self.wakes.insert((at, wake));
    }

    pub(super) fn effect(&mut self, effect: Effect<H>) {
        self.effects.push_back(effect);
    }

    /// Sends a frame about `key` to the shard of `to` that has to do with it.
    pub(super) fn send(&mut self, to: MemberId, key: CallId, frame: Frame) {
        let to_shard = self.peer(to, key).shard;
        self.send_shard(
            Peer {
                member: to,
                shard: to_shard,
            },
            frame,
        );
    }

    pub(super) fn send_shard(&mut self, to: Peer, frame: Frame) {
        let address = Address {
            from_shard: self.shard,
            to_shard: to.shard,
        };
        self.effect(Effect::Frame {
            to: to.member,
            address,
            frame,
        });
    }

    // ---- inputs ---------------------------------------------------------------------------

    /// Membership or metadata changed.
    pub fn on_view(&mut self, view: Arc<View>, now: Instant) {
        self.previous = std::mem::replace(&mut self.view, view);
        let known = |member| self.previous.is_live(member);
        if !self.view.live().all(|info| known(info.id)) {
            // Whoever has come may know what nobody here knew.
            self.negative.clear();
        }
        self.lonely_since = if self.view.live().all(|info| info.id == self.me) {
            self.lonely_since.or(Some(now))
        } else {
            None
        };
        let gone: Vec<MemberId> = self
            .lanes
            .keys()
            .map(|peer| peer.member)
            .filter(|member| self.view.is_gone(*member))
            .collect();
        for member in gone {
            self.lanes.retain(|peer, _| peer.member != member);
            self.applied.retain(|peer, _| peer.member != member);
            self.liveness.forget(member);
            self.shards.remove(&member);
            self.rouse_member(member, now);
        }
        self.releases_in_view(now);
        self.settle_view();
        self.note_draining(now);
        // Most views only tell somebody's load: they move nothing and must cost nothing.
        if places(&self.view) != places(&self.previous) {
            self.births_in_view(now);
            self.start_sweep(now);
            self.look_for_orphans(now);
            self.plan_rebalance(now);
        }
    }

    /// A link to `member` stands.
    pub fn on_link_up(&mut self, member: MemberId, session: u64, shards: u16, now: Instant) {
        if self.shards.insert(member, shards) != Some(shards) {
            self.lanes
                .retain(|peer, _| peer.member != member || peer.shard < shards);
        }
        for shard in 0..shards {
            let peer = Peer { member, shard };
            self.lanes.entry(peer).or_default().up(session);
            self.applied.insert(peer, Applied::default());
            self.say_releases(peer, now);
            // Whatever was due from it got lost before there was a link: ask now.
            self.liveness.stamped(peer, now);
            let stamp = now.as_nanos();
            let lane = self.lanes.entry(peer).or_default();
            lane.say(Frame::Ping(Ping { session, stamp }));
        }
        self.resend_present_state(member);
        self.compare_soon(now);
        // The view may have had it for long: now it can hold copies.
        self.start_sweep(now);
        self.plan_rebalance(now);
        if self.wakes.iter().all(|(_, wake)| *wake != Wake::Pings) {
            self.wake_at(now, Wake::Pings);
        }
        self.rouse_member(member, now);
    }

    /// The link of `session` ended.
    pub fn on_link_down(&mut self, member: MemberId, session: u64, now: Instant) {
        let peers: Vec<Peer> = self
            .lanes
            .keys()
            .copied()
            .filter(|peer| peer.member == member)
            .collect();
        for peer in peers {
            let lane = self.lanes.entry(peer).or_default();
            if lane.session() == Some(session) {
                lane.down();
                // A broken link proves nothing about its other end, but an answer is due now.
                self.liveness.ask(peer, now);
            }
        }
    }

    /// A frame from a member's shard.
    pub fn on_frame(
        &mut self,
        from: MemberId,
        session: u64,
        address: Address,
        frame: Frame,
        now: Instant,
    ) {
        let peer = Peer {
            member: from,
            shard: address.from_shard,
        };
        // Rule 1: no frame of a life that is over stands for anything.
        if self.view.is_gone(from) {
            return;
        }
        let heard = self.liveness.heard(peer, now);
        match frame {
            Frame::Batch(batch) => self.on_batch(peer, session, batch, now),
            Frame::Ack(ack) if ack.session == session => {
                let echo = Instant::from_nanos(ack.echo);
                self.liveness.echoed(peer, echo, now);
                self.releases.echoed(peer, session, echo);
                self.on_ack(peer, ack, now);
                self.rouse(peer, now);
            }
            Frame::Ping(ping) if ping.session == session => {
                let pong = Frame::Pong(Pong {
                    session,
                    echo: ping.stamp,
                });
                self.lanes.entry(peer).or_default().say(pong);
            }
            Frame::Pong(pong) if pong.session == session => {
                let echo = Instant::from_nanos(pong.echo);
                self.liveness.echoed(peer, echo, now);
                self.releases.echoed(peer, session, echo);
                self.rouse(peer, now);
            }
            Frame::Digest(digest) if digest.session == session => self.on_digest(peer, &digest),
            Frame::Gaps(gaps) if gaps.session == session => self.on_gaps(peer, &gaps, now),
            // Frames of another session than the link's are leftovers (rule 18).
            Frame::Ack(_) | Frame::Ping(_) | Frame::Pong(_) => {}
            Frame::Digest(_) | Frame::Gaps(_) => {}
            Frame::Release(release) => self.on_release(peer, release, now),
            Frame::Locate(locate) => self.on_locate(peer, locate.key, now),
            Frame::Located(located) => {
                self.owner_answered(from, &located, now);
                self.on_located(from, located, now);
            }
            Frame::TakeOver(take_over) => self.on_take_over(peer, &take_over, now),
            Frame::Claim(claim) => self.on_claim(from, &claim, now),
            Frame::Promise(promise) => self.on_promise(from, promise, now),
            Frame::Refuse(refuse) => self.on_refuse(from, &refuse, now),
            Frame::Invite(invite) => self.on_invite(from, &invite, now),
            Frame::Relay(relay) => self.on_relay(from, relay, now),
            Frame::NotOwner(not_owner) => self.on_not_owner(from, &not_owner, now),
            Frame::Egress(egress) => self.effect(Effect::Egress(egress)),
            Frame::SignalAnswer(answer) => self.effect(Effect::SignalAnswer(answer)),
            setup => self.on_setup_frame(peer, setup, now),
        }
        if heard.was_silent {
            tracing::debug!(?peer, "heard again");
            self.rouse(peer, now);
            // It may hold copies again for those that lack some.
            self.start_sweep(now);
        }
    }

    /// Lets everything that is due happen.
    pub fn on_timeout(&mut self, now: Instant) {
        let (silent, again) = self.liveness.expire(now);
        for peer in again {
            let lane = self.lanes.entry(peer).or_default();
            if let Some(session) = lane.session() {
                lane.say(Frame::Ping(Ping {
                    session,
                    stamp: now.as_nanos(),
                }));
            }
        }
        for peer in silent {
            tracing::debug!(?peer, "silent");
            self.rouse(peer, now);
            self.start_sweep(now);
            self.look_after_kept(now);
        }
        while let Some((at, wake)) = self.wakes.first().copied()
            && at <= now
        {
            self.wakes.pop_first();
            match wake {
                Wake::Key(key) => self.advance(key, now),
                Wake::Purge(key) => self.purge(key, now),
                Wake::Sweep => self.sweep_some(now),
                Wake::Pings => self.keep_warm(now),
                Wake::HandOver => self.hand_over_some(now),
                Wake::Adopt => self.adopt_some(now),
                Wake::Rebalance => self.rebalance_some(now),
                Wake::Balance => self.balance_some(now),
                Wake::Digest => self.send_digests(now),
                Wake::Births => self.tick_births(now),
            }
        }
    }

    /// When [`Cluster::on_timeout`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let wake = self.wakes.first().map(|(at, _)| *at);
        [wake, self.liveness.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    // ---- waking calls ---------------------------------------------------------------------

    fn rouse(&mut self, peer: Peer, now: Instant) {
        for key in self.watch.remove(&peer).unwrap_or_default() {
            self.advance(key, now);
        }
    }

    fn rouse_member(&mut self, member: MemberId, now: Instant) {
        let peers: Vec<Peer> = self
            .watch
            .keys()
            .copied()
            .filter(|peer| peer.member == member)
            .collect();
        for peer in peers {
            self.rouse(peer, now);
        }
    }

    /// Looks at everything about `key` that may wait for somebody.
    pub(super) fn advance(&mut self, key: CallId, now: Instant) {
        match self.entries.get(&key).map(|entry| &entry.role) {
            Some(Role::Owned(_)) => {
                self.advance_owned(key, now);
                self.outbid(key, now);
            }
            Some(Role::Claiming(_)) => self.advance_claim(key, now),
            Some(Role::Copy(_) | Role::None) | None => {}
        }
        self.advance_pending_claims(key, now);
        self.advance_orphan(key, now);
        self.advance_lookup(key, now);
        self.advance_birth(key, now);
    }

    /// Pings every linked shard that nothing was asked of for a while, so that silence is known
    /// before a phone asks (PROTOCOL.md hole 22). The rate is capped, so the pause grows with the
    /// number of members.
    fn keep_warm(&mut self, now: Instant) {
        let linked: Vec<Peer> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.session().is_some())
            .map(|(peer, _)| *peer)
            .collect();
        let peers = u32::try_from(linked.len()).unwrap_or(u32::MAX);
        let every = self
            .policy
            .silence
            .max(Duration::from_secs(1) * peers / PINGS_PER_SECOND);
        if !(self.entries.is_empty() && self.releases_due() == 0 && self.births.is_idle()) {
            for peer in linked {
                let fresh = self
                    .liveness
                    .pinged(peer)
                    .is_some_and(|at| now.since(at) < every / 2);
                if !fresh {
                    self.ping(peer, now);
                }
            }
        }
        self.settle_view();
        self.wake_at(now + every, Wake::Pings);
    }
}
