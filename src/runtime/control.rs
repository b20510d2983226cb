//! The control task: drives membership, feeds it with datagrams and metadata, and hands its views
//! to the shards, the fabric and the handle.
//!
//! It waits for nothing but its own queues. It decides nothing: who is a member is membership's
//! word.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callring_proto::base::ids::{Incarnation, MemberId};
use callring_proto::base::rng;
use callring_proto::base::time::Instant;
use callring_proto::cluster::membership::{
    Identity, Membership, MembershipConfig, MembershipEffect,
};
use callring_proto::cluster::view::{Metadata, View};
use callring_proto::io::Input;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::clock::Clock;
use super::join;
use super::metadata::{Inbound, MetadataGossip};
use super::quic::{Fabric, FabricEvent};
use super::shard_loop::{LocalInput, ShardPort};
use super::stats::NodeCounters;

/// How often links and metadata are looked after.
const TICK: Duration = Duration::from_millis(100);
/// Two nodes under one name would supersede each other for ever; not faster than this.
const BEGIN_AGAIN_PAUSE: Duration = Duration::from_secs(10);
/// Ticks between two calls of chitchat to members of which nothing is known.
const CALL_TICKS: u64 = 5;
/// Ticks between two looks at how many calls run here.
const LOAD_TICKS: u64 = 20;
/// Ticks between two look-ups of the seeds' addresses.
const SEED_TICKS: u64 = 50;
/// Events of the fabric that wait for control; datagrams above are dropped.
pub(super) const EVENTS: usize = 1_024;

/// What the node's handle asks of control.
#[derive(Debug)]
pub(super) enum Command {
    /// Tell the members of it, then the shards; then whoever waits for that.
    Draining(bool, oneshot::Sender<()>),
    /// Say good-bye; then control ends.
    Leave(oneshot::Sender<()>),
}

/// The parts of a node that is in a cluster.
pub(super) struct Clustered {
    pub(super) fabric: Arc<Fabric>,
    pub(super) events: mpsc::Receiver<FabricEvent>,
    pub(super) inbound: Inbound,
    pub(super) cluster_id: String,
    pub(super) seeds: Vec<String>,
}

/// What control is given.
pub(super) struct ControlParts {
    pub(super) identity: Identity,
    pub(super) config: MembershipConfig,
    pub(super) seed: rng::Seed,
    pub(super) meta: Metadata,
    pub(super) clock: Clock,
    pub(super) ports: Arc<[ShardPort]>,
    pub(super) views: watch::Sender<Arc<View>>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) counters: Arc<NodeCounters>,
    pub(super) cluster: Option<Clustered>,
}

/// See the file's head.
pub(super) struct Control {
    membership: Membership,
    config: MembershipConfig,
    rng: rng::Rng,
    meta: Metadata,
    clock: Clock,
    ports: Arc<[ShardPort]>,
    views: watch::Sender<Arc<View>>,
    /// Added to membership's epochs, so that they rise over a new membership too.
    epoch_base: u64,
    commands: mpsc::Receiver<Command>,
    counters: Arc<NodeCounters>,
    cluster: Option<Clustered>,
    gossip: Option<MetadataGossip>,
    told: BTreeMap<MemberId, Metadata>,
    resolved: (
        mpsc::Sender<Vec<SocketAddr>>,
        mpsc::Receiver<Vec<SocketAddr>>,
    ),
    seeds: Vec<SocketAddr>,
    /// When this node last began again because a later life of its name was known.
    began_again: Option<Instant>,
    ticks: u64,
}

enum Next {
    Event(FabricEvent),
    Command(Option<Command>),
    Seeds(Vec<SocketAddr>),
    Tick,
    Deadline,
}

impl Control {
    /// Membership of one, its view handed to the shards.
    pub(super) async fn start(parts: ControlParts) -> anyhow::Result<Self> {
        let mut rng = rng::from_seed(parts.seed);
        let now = parts.clock.now();
        let own = rng::fork(&mut rng);
        let membership = Membership::new(parts.identity, parts.config, own, now);
        let mut control = Self {
            membership,
            config: parts.config,
            rng,
            meta: parts.meta,
            clock: parts.clock,
            ports: parts.ports,
            views: parts.views,
            epoch_base: 0,
            commands: parts.commands,
            counters: parts.counters,
            cluster: parts.cluster,
            gossip: None,
            told: BTreeMap::new(),
            resolved: mpsc::channel(1),
            seeds: Vec::new(),
            began_again: None,
            ticks: 0,
        };
        control.start_gossip().await?;
        control.tell_own();
        control.carry_out().await;
        Ok(control)
    }

    /// Runs until it is told to leave.
    pub(super) async fn run(mut self) {
        self.resolve_seeds();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let far = self.clock.now() + Duration::from_hours(1);
            let deadline = self.membership.next_deadline().unwrap_or(far);
            let next = tokio::select! {
                Some(event) = next_event(&mut self.cluster) => Next::Event(event),
                command = self.commands.recv() => Next::Command(command),
                Some(seeds) = self.resolved.1.recv() => Next::Seeds(seeds),
                _ = tick.tick() => Next::Tick,
                () = sleep_until(self.clock.wake_at(deadline)) => Next::Deadline,
            };
            let now = self.clock.now();
            match next {
                Next::Event(event) => self.on_event(event).await,
                Next::Command(Some(Command::Leave(done))) => {
                    self.leave().await;
                    let _ = done.send(());
                    return;
                }
                Next::Command(None) => return self.leave().await,
                Next::Command(Some(Command::Draining(draining, done))) => {
                    self.meta.draining = draining;
                    self.publish_own().await;
                    self.carry_out().await;
                    // Nobody may wait any more.
                    let _ = done.send(());
                }
                Next::Seeds(seeds) => {
                    if seeds != self.seeds {
                        self.seeds = seeds;
                        self.membership.join(&self.seeds, now);
                    }
                }
                Next::Tick => self.on_tick().await,
                Next::Deadline => self.membership.handle_timeout(now),
            }
            self.carry_out().await;
        }
    }

    async fn on_event(&mut self, event: FabricEvent) {
        let now = self.clock.now();
        match event {
            FabricEvent::Gossip(from, bytes) => self.membership.handle_gossip(from, &bytes, now),
            FabricEvent::LinkUp(peer) => {
                self.membership.set_heard(peer.member.node, now);
                // What waited for a link: chitchat, and a seed that is to be called.
                if let Some(gossip) = &self.gossip {
                    gossip.call(peer.address);
                }
                if !self.membership.view().is_live(peer.member) {
                    self.membership.join(&self.seeds, now);
                }
            }
            FabricEvent::LinkDown(peer) => {
                tracing::debug!(peer = %peer.name, "a hint of silence; membership decides");
            }
            FabricEvent::Superseded(by) => self.begin_again(by).await,
        }
    }

    async fn on_tick(&mut self) {
        self.ticks += 1;
        let Some(cluster) = &self.cluster else {
            return;
        };
        let now = self.clock.now();
        for node in cluster.fabric.heard() {
            self.membership.set_heard(node, now);
        }
        cluster.fabric.dial_due();
        if let Some(gossip) = &self.gossip {
            for (member, meta) in gossip.read().await {
                if member != self.membership.identity().member()
                    && self.told.get(&member) != Some(&meta)
                {
                    self.told.insert(member, meta.clone());
                    self.membership.set_metadata(member, meta);
                }
            }
            if self.ticks.is_multiple_of(CALL_TICKS) {
                let view = self.membership.view();
                for member in view.live().filter(|member| !member.known) {
                    gossip.call(member.cluster_addr);
                }
            }
        }
        if self.ticks.is_multiple_of(LOAD_TICKS) {
            let load = coarse(self.counters.load());
            if load != self.meta.load {
                self.meta.load = load;
                self.publish_own().await;
            }
        }
        if self.ticks.is_multiple_of(SEED_TICKS) {
            let view = self.membership.view().clone();
            self.told.retain(|member, _| view.member(*member).is_some());
            self.resolve_seeds();
        }
    }

    /// Does what membership wants done.
    async fn carry_out(&mut self) {
        while let Some(effect) = self.membership.poll() {
            match effect {
                MembershipEffect::Send { to, bytes } => {
                    if let Some(cluster) = &self.cluster {
                        cluster.fabric.send_gossip(to, bytes);
                    }
                }
                MembershipEffect::View(view) => self.publish_view(view).await,
                MembershipEffect::Renamed(me) => self.on_renamed(me).await,
            }
        }
    }

    async fn publish_view(&mut self, view: Arc<View>) {
        let view = if self.epoch_base == 0 {
            view
        } else {
            let mut later = View::clone(&view);
            later.epoch += self.epoch_base;
            Arc::new(later)
        };
        if let Some(cluster) = &self.cluster {
            cluster.fabric.set_view(&view);
        }
        tracing::debug!(epoch = view.epoch, live = view.live().count(), "view");
        self.views.send_replace(view.clone());
        self.tell_shards(&Input::View(view)).await;
    }

    async fn on_renamed(&mut self, me: MemberId) {
        tracing::warn!(
            ?me,
            "the members took this node for dead: it goes on in a new life"
        );
        self.tell_shards(&Input::Renamed(me)).await;
        if let Some(cluster) = &self.cluster {
            cluster.fabric.set_life(me.incarnation);
        }
        if let Some(gossip) = self.gossip.take() {
            gossip.stop().await;
        }
        if let Err(error) = self.start_gossip().await {
            tracing::error!(%error, "metadata gossip does not start again");
        }
        self.tell_own();
    }

    /// A member has refused this life because it knows a later one, so membership can't even be
    /// spoken with. A new life above that one begins.
    async fn begin_again(&mut self, by: Incarnation) {
        let now = self.clock.now();
        let paused = |since| now.since(since) >= BEGIN_AGAIN_PAUSE;
        if !self.began_again.is_none_or(paused) {
            return;
        }
        let old = self.membership.identity().clone();
        let Some(number) = by.number.checked_add(1).filter(|_| by > old.incarnation) else {
            return;
        };
        tracing::warn!(
            known = by.number,
            "a member knows a later life of this name; if no other node runs under it, this is \
             the end of a long absence"
        );
        let Ok(incarnation) = join::life(number) else {
            return;
        };
        let identity = Identity { incarnation, ..old };
        let me = identity.member();
        let view = self.membership.view().clone();
        self.epoch_base += view.epoch;
        let others = view.live().map(|member| member.cluster_addr);
        self.seeds.extend(others);
        self.told.clear();
        self.began_again = Some(now);
        let own = rng::fork(&mut self.rng);
        self.membership = Membership::new(identity, self.config, own, now);
        self.on_renamed(me).await;
        self.membership.join(&self.seeds, now);
    }

    async fn tell_shards(&self, input: &Input) {
        for port in self.ports.iter() {
            // A shard's thread never waits for control, so this ends.
            let _ = port.local.send(LocalInput::Input(input.clone())).await;
        }
    }

    async fn start_gossip(&mut self) -> anyhow::Result<()> {
        if let Some(cluster) = &self.cluster {
            let gossip = MetadataGossip::start(
                self.membership.identity(),
                &cluster.cluster_id,
                &self.meta,
                cluster.fabric.clone(),
                cluster.inbound.clone(),
            );
            self.gossip = Some(gossip.await?);
        }
        Ok(())
    }

    async fn publish_own(&mut self) {
        if let Some(gossip) = &self.gossip {
            gossip.publish(&self.meta).await;
        }
        self.tell_own();
    }

    fn tell_own(&mut self) {
        let me = self.membership.identity().member();
        self.membership.set_metadata(me, self.meta.clone());
    }

    fn resolve_seeds(&self) {
        if let Some(cluster) = &self.cluster
            && !cluster.seeds.is_empty()
        {
            let (seeds, resolved) = (cluster.seeds.clone(), self.resolved.0.clone());
            tokio::spawn(async move {
                let addresses = join::resolve_all(seeds).await;
                // One is waiting already: as good.
                let _ = resolved.try_send(addresses);
            });
        }
    }

    async fn leave(&mut self) {
        let now = self.clock.now();
        self.membership.leave(now);
        self.carry_out().await;
        if let Some(gossip) = self.gossip.take() {
            gossip.stop().await;
        }
    }
}

/// A load as members are told it: each change of metadata is a new view for everybody, so only
/// changes by a quarter or so are told, and few calls are none.
fn coarse(load: u32) -> u32 {
    let spare = (u32::BITS - load.leading_zeros()).saturating_sub(3);
    if load < 16 { 0 } else { load >> spare << spare }
}

/// The fabric's next event; for a standalone node there is none, ever.
async fn next_event(cluster: &mut Option<Clustered>) -> Option<FabricEvent> {
    match cluster {
        Some(cluster) => cluster.events.recv().await,
        None => std::future::pending().await,
    }
}
