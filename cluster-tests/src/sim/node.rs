//! A node of the simulated cluster: real shards, real membership, no sockets.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use callring::apps::{Answer, AnswerOptions};
use callring_proto::base::flow::Transport;
use callring_proto::base::ids::{Incarnation, MemberId, NodeId};
use callring_proto::base::rng::{Rng, from_seed};
use callring_proto::base::time::{Duration, Instant};
use callring_proto::cluster::membership::{
    Identity, Membership, MembershipConfig, MembershipEffect,
};
use callring_proto::cluster::policy::{AlonePolicy, Replication};
use callring_proto::cluster::view::{Metadata, View};
use callring_proto::cluster::{Break, Sabotage};
use callring_proto::io::{Input, Output};
use callring_proto::shard::{Listener, Scope, Shard, ShardConfig};
use callring_proto::sip::locator::{SealKey, SealKeys, Sealer};
use callring_proto::wire;
use rand::RngExt as _;

use super::clock::{Clock, EVEN};
use super::plan::Plan;

/// How long a node that a seed answers waits for the members (`COMPANY_TIMEOUT` of the runtime).
const COMPANY: Duration = Duration::from_secs(2);

/// Something for a node.
#[derive(Clone, Debug)]
pub(super) enum Inbound {
    /// For one shard.
    Shard(u16, Input),
    /// For membership.
    Gossip(NodeId, bytes::Bytes),
    /// A deadline may have passed.
    Tick,
    /// What chitchat would have brought by now.
    Metadata(MemberId, Box<Metadata>),
}

/// Something a node wants done.
pub(super) enum Wanted {
    Membership(MembershipEffect),
    Shard(Output),
}

/// One life of a node. Times that come in and go out are the world's.
pub(super) struct Life {
    pub(super) me: MemberId,
    clock: Clock,
    pub(super) membership: Membership,
    pub(super) shards: Vec<Shard>,
    /// Sessions by the other end.
    pub(super) links: BTreeMap<MemberId, u64>,
    /// Stands still until then; what arrives waits.
    pub(super) paused: Option<Instant>,
    pub(super) backlog: VecDeque<Inbound>,
    /// Handles everything this much later, until then.
    pub(super) slow: Option<(Duration, Instant)>,
    /// When the last of what it is late with will have been handled.
    pub(super) busy_until: Instant,
    /// The tick that is under way.
    pub(super) tick: Option<Instant>,
}

pub(super) fn name(index: usize) -> String {
    format!("n{}", index + 1)
}

pub(super) fn fabric_addr(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, octet(index)], 7060))
}

pub(super) fn sip_addr(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, octet(index)], 5060))
}

fn octet(index: usize) -> u8 {
    u8::try_from(index + 1).expect("a handful of nodes")
}

/// The highest wire version that node `index` speaks.
pub(super) fn wire_max(index: usize, plan: &Plan) -> u8 {
    let old = plan.old_wire >> index & 1 == 1;
    if old {
        wire::VERSION_MIN
    } else {
        wire::VERSION
    }
}

pub(super) fn metadata(index: usize, plan: &Plan, draining: bool) -> Metadata {
    Metadata {
        sip: vec![format!("udp://{}", sip_addr(index)).into()],
        shards: plan.shards,
        draining,
        ..Metadata::default()
    }
}

pub(super) fn sealer() -> Arc<Sealer> {
    let keys = SealKeys {
        current: SealKey {
            id: 1,
            key: [7; 32],
        },
        previous: None,
        position_secret: [1; 16],
        stateless_secret: [2; 16],
    };
    Arc::new(Sealer::new(keys).expect("one key is enough"))
}

fn shards(
    (index, me, joined_by): (usize, MemberId, Option<Instant>),
    plan: &Plan,
    sealer: &Arc<Sealer>,
    sabotage: Sabotage,
    rng: &mut Rng,
) -> Vec<Shard> {
    let app = Arc::new(Answer::new(AnswerOptions {
        ring: Duration::from_millis(300),
        hang_up_after: Some(plan.hang_up_after()),
        ..AnswerOptions::default()
    }));
    let shards = (0..plan.shards).map(|shard| {
        let mut one = Shard::new(ShardConfig {
            shard,
            shards: plan.shards,
            listeners: vec![Listener {
                transport: Transport::Udp,
                advertise: sip_addr(index).to_string().into(),
                scope: Scope::Node,
            }],
            replication: Replication {
                copies: plan.copies,
                ack: plan.ack,
                silence: Duration::from_millis(50),
                alone: AlonePolicy::Serve,
                ..Replication::default()
            },
            sealer: Arc::clone(sealer),
            app: app.clone(),
            view: Arc::new(View::new(0, me, Vec::new())),
            seed: rng.random(),
            wire_max: wire_max(index, plan),
            joined_by,
        });
        one.sabotage(sabotage);
        one
    });
    shards.collect()
}

impl Life {
    /// Life number `number` of node `index`.
    pub(super) fn begin(
        index: usize,
        number: u32,
        plan: &Plan,
        sealer: &Arc<Sealer>,
        sabotage: Sabotage,
        (rng, began, company): (&mut Rng, Instant, bool),
    ) -> Self {
        let first = Instant::START + Duration::from_nanos(rng.random_range(0..1 << 52));
        let skew = rng.random_range(0..=plan.skew_ppm * 2);
        let clock = Clock::new(began, first, EVEN - plan.skew_ppm + skew);
        let now = clock.local(began);
        let joined_by = company.then(|| now + COMPANY);
        let boot = rng.random();
        // Rule 1: who starts a node draws the incarnation, and here that is the simulator.
        let again = sabotage.breaks(Break::SameIncarnation);
        let incarnation = Incarnation {
            number: if again { 1 } else { number },
            boot: if again { 1 } else { boot },
        };
        let identity = Identity {
            name: name(index).into(),
            addr: fabric_addr(index),
            incarnation,
        };
        let me = identity.member();
        let membership = Membership::new(
            identity,
            MembershipConfig::local(),
            from_seed(rng.random()),
            now,
        );
        let shards = shards((index, me, joined_by), plan, sealer, sabotage, rng);
        let mut life = Self {
            me,
            clock,
            membership,
            shards,
            links: BTreeMap::new(),
            paused: None,
            backlog: VecDeque::new(),
            slow: None,
            busy_until: began,
            tick: None,
        };
        let ours = metadata(index, plan, false);
        life.membership.set_metadata(me, ours);
        life
    }

    /// Calls these seeds.
    pub(super) fn join(&mut self, seeds: &[SocketAddr], at: Instant) {
        self.membership.join(seeds, self.clock.local(at));
    }

    pub(super) fn take(&mut self, inbound: Inbound, at: Instant) {
        let now = self.clock.local(at);
        match inbound {
            Inbound::Shard(shard, input) => {
                if let Input::Frame { from, .. } = &input {
                    self.membership.set_heard(from.node, now);
                }
                if let Some(shard) = self.shards.get_mut(usize::from(shard)) {
                    shard.handle(now, input);
                }
            }
            Inbound::Gossip(from, bytes) => self.membership.handle_gossip(from, &bytes, now),
            Inbound::Metadata(member, meta) => self.membership.set_metadata(member, *meta),
            Inbound::Tick => {
                if self.membership.next_deadline().is_some_and(|at| at <= now) {
                    self.membership.handle_timeout(now);
                }
                for shard in &mut self.shards {
                    if shard.next_deadline().is_some_and(|at| at <= now) {
                        shard.handle_timeout(now);
                    }
                }
            }
        }
    }

    /// The same for all shards.
    pub(super) fn tell_shards(&mut self, input: &Input, at: Instant) {
        let now = self.clock.local(at);
        for shard in &mut self.shards {
            shard.handle(now, input.clone());
        }
    }

    /// The same for one.
    pub(super) fn ask(&mut self, shard: usize, input: Input, at: Instant) {
        let now = self.clock.local(at);
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.handle(now, input);
        }
    }

    /// The next output of one shard.
    pub(super) fn poll_shard(&mut self, shard: usize, at: Instant) -> Option<Output> {
        let now = self.clock.local(at);
        self.shards.get_mut(shard)?.poll_output(now)
    }

    /// The next thing it wants done.
    pub(super) fn poll(&mut self, at: Instant) -> Option<Wanted> {
        if let Some(effect) = self.membership.poll() {
            return Some(Wanted::Membership(effect));
        }
        let now = self.clock.local(at);
        let mut shards = self.shards.iter_mut();
        let output = shards.find_map(|shard| shard.poll_output(now));
        output.map(Wanted::Shard)
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let shards = self.shards.iter().filter_map(Shard::next_deadline).min();
        [shards, self.membership.next_deadline()]
            .into_iter()
            .flatten()
            .min()
            .map(|local| self.clock.world(local))
    }
}
