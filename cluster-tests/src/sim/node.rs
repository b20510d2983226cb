//! A node of the simulated cluster: real shards, real membership, no sockets.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use callring::apps::{Answer, AnswerOptions};
use callring_proto::base::flow::Transport;
use callring_proto::base::ids::{Incarnation, MemberId, NodeId};
use callring_proto::base::rng::{Rng, from_seed};
use callring_proto::base::time::{Duration, Instant};
use callring_proto::cluster::Sabotage;
use callring_proto::cluster::membership::{Identity, Membership, MembershipConfig};
use callring_proto::cluster::policy::{AlonePolicy, Replication};
use callring_proto::cluster::view::{Metadata, View};
use callring_proto::io::Input;
use callring_proto::shard::{Listener, Scope, Shard, ShardConfig};
use callring_proto::sip::locator::{SealKey, SealKeys, Sealer};
use rand::RngExt as _;

use super::plan::Plan;

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

/// One life of a node.
pub(super) struct Life {
    pub(super) me: MemberId,
    pub(super) membership: Membership,
    pub(super) shards: Vec<Shard>,
    /// Sessions by the other end.
    pub(super) links: BTreeMap<MemberId, u64>,
    /// Stands still until then; what arrives waits.
    pub(super) paused: Option<Instant>,
    pub(super) backlog: VecDeque<Inbound>,
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

pub(super) fn metadata(index: usize, plan: &Plan) -> Metadata {
    Metadata {
        sip: vec![format!("udp://{}", sip_addr(index)).into()],
        shards: plan.shards,
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

impl Life {
    /// Life number `number` of node `index`.
    pub(super) fn begin(
        index: usize,
        number: u32,
        plan: &Plan,
        sealer: &Arc<Sealer>,
        sabotage: Sabotage,
        (rng, now): (&mut Rng, Instant),
    ) -> Self {
        let incarnation = Incarnation {
            number,
            boot: rng.random(),
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
        let app = Arc::new(Answer::new(AnswerOptions {
            ring: Duration::from_millis(300),
            hang_up_after: Some(Duration::from_secs(12)),
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
                wire_max: callring_proto::wire::VERSION,
            });
            one.sabotage(sabotage);
            one
        });
        let shards = shards.collect();
        let mut life = Self {
            me,
            membership,
            shards,
            links: BTreeMap::new(),
            paused: None,
            backlog: VecDeque::new(),
            tick: None,
        };
        life.membership.set_metadata(me, metadata(index, plan));
        life
    }

    pub(super) fn take(&mut self, inbound: Inbound, now: Instant) {
        match inbound {
            Inbound::Shard(shard, input) => {
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

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let shards = self.shards.iter().filter_map(Shard::next_deadline).min();
        [shards, self.membership.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}
