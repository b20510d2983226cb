//! Whole nodes over loopback, with an echo in the core's place.
//!
//! The echo answers every datagram with its own bytes, after one turn through the next shard, and
//! every frame with a line in a list.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::ids::NodeId;
use callring_proto::base::time::Instant;
use callring_proto::cluster::policy::{AckPolicy, AlonePolicy, Replication};
use callring_proto::cluster::view::{MemberState, Role, View};
use callring_proto::io::{Answer, Ask, Input, Output, Summary};
use callring_proto::shard::ShardConfig;
use callring_proto::wire::{self, Address, Frame, Ping};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::Running;
use super::shard_loop::Machine;
use super::testing::{Ca, eventually};
use crate::node::{ClusterConfig, MembershipPreset, NodeConfig, Scope, SipListener, StartError};
use crate::tasks::Tasks;

mod addresses;

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// What happened to an echo.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn count(&self, prefix: &str) -> usize {
        let seen = self.0.lock().unwrap();
        seen.iter().filter(|what| what.starts_with(prefix)).count()
    }
}

struct Echo {
    config: ShardConfig,
    seen: Seen,
    outputs: Vec<Output>,
    deadline: Option<Instant>,
}

impl Machine for Echo {
    fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Sip { flow, bytes } if &bytes[..] == b"panic" => {
                drop((flow, bytes));
                panic!("as the test wants it");
            }
            Input::Sip { bytes, .. } if &bytes[..] == b"slow" => {
                std::thread::sleep(Duration::from_millis(3));
            }
            Input::Sip { flow, bytes } if bytes.starts_with(b"on ") => {
                let bytes = bytes.slice(3..);
                let shard = (self.config.shard + 1) % self.config.shards;
                let input = Input::Sip { flow, bytes };
                self.outputs.push(Output::Forward {
                    shard,
                    input,
                    fresh: false,
                });
            }
            Input::Sip { flow, bytes } => self.outputs.push(Output::Sip { flow, bytes }),
            Input::LinkUp { member, .. } => {
                let address = Address {
                    from_shard: self.config.shard,
                    to_shard: 0,
                };
                let frame = Frame::Ping(Ping {
                    session: 0,
                    stamp: 1,
                });
                let bytes =
                    wire::encode(address, &frame, wire::VERSION).expect("a kind of this version");
                self.outputs.push(Output::Frame { to: member, bytes });
                self.seen.note(format!("up {:?}", member.node));
            }
            Input::LinkDown { member, .. } => self.seen.note(format!("down {:?}", member.node)),
            Input::Frame { from, .. } => self.seen.note(format!("frame {:?}", from.node)),
            Input::View(_) => self.deadline = Some(now + Duration::from_millis(30)),
            Input::Renamed(_) => self.seen.note("renamed".into()),
            Input::TaskDone { number, .. } => self.seen.note(format!("task {number}")),
            Input::Overloaded(so) => self.seen.note(format!("overloaded {so}")),
            Input::Ask { ask, .. } => {
                let calls_owned = u64::from(self.config.shard);
                let summary = Summary {
                    calls_owned,
                    ..Summary::default()
                };
                let answer = Answer::Summary(Box::new(summary));
                self.outputs.push(Output::Answer { ask, answer });
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        assert!(self.deadline.take().is_some_and(|due| due <= now));
        self.seen.note("timeout".into());
    }

    fn poll_output(&mut self, _now: Instant) -> Option<Output> {
        (!self.outputs.is_empty()).then(|| self.outputs.remove(0))
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

fn config(name: &str) -> NodeConfig {
    NodeConfig {
        name: name.into(),
        zone: format!("zone-{name}"),
        weight: 100,
        role: Role::Member,
        sip: vec![SipListener {
            listen: LOOPBACK.into(),
            advertise: None,
            scope: Scope::Node,
        }],
        cluster: None,
        shards: 2,
        replication: Replication {
            copies: 3,
            ack: AckPolicy::One,
            silence: Duration::from_millis(50),
            alone: AlonePolicy::Serve,
            ..Replication::default()
        },
        cluster_key: None,
        config_hash: 42,
        app: Arc::new(crate::apps::Answer::default()),
        tasks: Tasks::new(),
        stop_timeout: Duration::from_secs(10),
    }
}

fn member(ca: &Ca, name: &str, seeds: &[SocketAddr]) -> NodeConfig {
    NodeConfig {
        cluster: Some(ClusterConfig {
            listen: LOOPBACK.into(),
            advertise: None,
            seeds: seeds.iter().map(ToString::to_string).collect(),
            pki: ca.pki(name),
            membership: MembershipPreset::Local,
            wire_max: wire::VERSION,
        }),
        ..config(name)
    }
}

async fn start(config: NodeConfig) -> (Running, Seen) {
    let seen = Seen::default();
    let echo = seen.clone();
    let running = Running::start_with(config, move |config| Echo {
        config,
        seen: echo.clone(),
        outputs: Vec::new(),
        deadline: None,
    });
    (running.await.unwrap(), seen)
}

fn live(view: &View) -> usize {
    view.live().filter(|member| member.known).count()
}

/// A standalone node: datagrams go in and out, also through another shard; every shard is asked;
/// deadlines come; it says what it advertises; it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standalone_node_serves_and_ends() {
    let (node, seen) = start(config("alone")).await;
    let (address, advertise) = node.sip_addrs()[0].clone();
    assert_eq!(*advertise, *address.to_string());
    let phone = UdpSocket::bind(SocketAddr::from(LOOPBACK)).await.unwrap();
    for sent in ["straight", "on across"] {
        phone.send_to(sent.as_bytes(), address).await.unwrap();
        let mut buffer = [0; 64];
        let answer = timeout(Duration::from_secs(5), phone.recv(&mut buffer));
        let length = answer.await.expect("an answer").unwrap();
        assert!(sent.ends_with(std::str::from_utf8(&buffer[..length]).unwrap()));
    }
    eventually(|| node.node_stats().forwarded == 1).await;
    assert_eq!(node.ask(Ask::Summary).await.len(), 2);
    let key = callring_proto::base::ids::CallId {
        position: 3,
        nonce: 0,
    };
    let [Answer::Summary(answer)] = &node.ask(Ask::Call(key)).await[..] else {
        panic!("one shard answers");
    };
    assert_eq!(answer.calls_owned, 1, "the key's shard");
    eventually(|| seen.count("timeout") >= 2).await;
    let views = node.views();
    assert_eq!(views.borrow().live().count(), 1);
    node.set_draining(true).await;
    eventually(|| views.borrow().members()[0].meta.draining).await;
    node.shutdown().await;
    node.shutdown().await;
    assert!(
        std::net::UdpSocket::bind(address).is_ok(),
        "the port is free"
    );
}

/// A shard that breaks is told of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_shard_is_noticed() {
    let (node, _) = start(config("fragile")).await;
    let phone = UdpSocket::bind(SocketAddr::from(LOOPBACK)).await.unwrap();
    let address = node.sip_addrs()[0].0;
    phone.send_to(b"panic", address).await.unwrap();
    let reason = timeout(Duration::from_secs(5), node.failed()).await;
    assert!(reason.expect("in time").contains("assertion"));
    node.shutdown().await;
}

/// A shard to which more comes than it gets done is told so, and when that is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlog_is_noticed() {
    let (node, seen) = start(config("slow")).await;
    let phone = UdpSocket::bind(SocketAddr::from(LOOPBACK)).await.unwrap();
    let address = node.sip_addrs()[0].0;
    for _ in 0..200 {
        phone.send_to(b"slow", address).await.unwrap();
    }
    eventually(|| seen.count("overloaded false") == 1).await;
    assert_eq!(seen.count("overloaded true"), 1);
    node.shutdown().await;
}

/// A port that is taken, an address that can't be advertised and a certificate for somebody else
/// are refused with the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuses_to_start_with_a_reason() {
    let (node, _) = start(config("first")).await;
    let mut taken = config("second");
    taken.sip[0].listen = node.sip_addrs()[0].0;
    let refused = Running::start(taken).await.err();
    assert!(matches!(refused, Some(StartError::Bind { .. })));
    node.shutdown().await;

    let mut everywhere = config("third");
    everywhere.sip[0].listen = ([0, 0, 0, 0], 0).into();
    let refused = Running::start(everywhere).await.err();
    assert!(matches!(refused, Some(StartError::Config(_))));

    let mut other = member(&Ca::new("test"), "somebody", &[]);
    other.name = "me".into();
    let refused = Running::start(other).await.err().unwrap().to_string();
    assert!(
        refused.contains("\"somebody\"") && refused.contains("\"me\""),
        "{refused}"
    );
}

/// Five nodes: views converge with everybody's metadata, every pair is linked, frames pass. One
/// leaves and is Left; one is cut off and is Down; one comes back in a later life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_find_each_other() {
    let ca = Ca::new("test");
    let mut nodes = Vec::new();
    let mut seeds = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        let (node, seen) = start(member(&ca, name, &seeds)).await;
        seeds.truncate(1);
        seeds.push(node.cluster_addr().unwrap());
        nodes.push((node, seen));
    }
    eventually(|| {
        nodes
            .iter()
            .all(|(node, _)| live(&node.views().borrow()) == 5)
    })
    .await;
    eventually(|| {
        nodes
            .iter()
            .all(|(node, _)| node.fabric_stats().links.len() == 4)
    })
    .await;
    // Each of four links, on each of two shards; one ping of each peer's shard to shard 0.
    eventually(|| nodes.iter().all(|(_, seen)| seen.count("frame") >= 8)).await;
    let view = nodes[4].0.views().borrow().clone();
    let first = view.node(NodeId::of("a")).unwrap();
    assert_eq!((&*first.meta.zone, first.meta.config_hash), ("zone-a", 42));
    let advertised = format!("udp://{}", nodes[0].0.sip_addrs()[0].0);
    assert_eq!(*first.meta.sip[0], *advertised);

    nodes[1].0.set_draining(true).await;
    let draining = |view: &View| view.node(NodeId::of("b")).is_some_and(|b| b.meta.draining);
    eventually(|| {
        nodes
            .iter()
            .all(|(node, _)| draining(&node.views().borrow()))
    })
    .await;

    let state_at = |node: &Running, name: &str| {
        let view = node.views().borrow().clone();
        view.node(NodeId::of(name)).map(|member| member.state)
    };
    let (left, _) = nodes.remove(1);
    left.shutdown().await;
    let gone = |name: &'static str, state| {
        let nodes = &nodes;
        let all = move || {
            nodes
                .iter()
                .all(|(node, _)| state_at(node, name) == Some(state))
        };
        eventually(all)
    };
    gone("b", MemberState::Left).await;

    // Down is after silence: the fabric closes without a good-bye.
    let (cut, _) = nodes.pop().unwrap();
    cut.fabric.as_ref().unwrap().abandon();
    let down = || {
        nodes
            .iter()
            .all(|(node, _)| state_at(node, "e") == Some(MemberState::Down))
    };
    eventually(down).await;
    drop(cut);

    let seeds = [nodes[0].0.cluster_addr().unwrap()];
    let (back, _) = start(member(&ca, "e", &seeds)).await;
    assert_eq!(back.views().borrow().me.incarnation.number, 2);
    eventually(|| {
        nodes
            .iter()
            .all(|(node, _)| live(&node.views().borrow()) == 4)
    })
    .await;
    let asked = nodes[0].0.ask_member(NodeId::of("e"), Bytes::new()).await;
    assert_eq!(asked, Err(super::FabricError::NoService));
    assert_eq!(
        nodes
            .iter()
            .map(|(_, seen)| seen.count("renamed"))
            .sum::<usize>(),
        0
    );
    for (node, _) in nodes {
        node.shutdown().await;
    }
    back.shutdown().await;
}

/// Two nodes that start at the same moment, each the other's seed, both without an answer at first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds_may_come_later() {
    let ca = Ca::new("test");
    let free = std::net::UdpSocket::bind(SocketAddr::from(LOOPBACK)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (early, _) = start(member(&ca, "early", &[address])).await;
    assert_eq!(early.views().borrow().live().count(), 1);
    let mut late = member(&ca, "late", &[]);
    late.cluster.as_mut().unwrap().listen = address;
    let (late, _) = start(late).await;
    eventually(|| live(&early.views().borrow()) == 2 && live(&late.views().borrow()) == 2).await;
    early.shutdown().await;
    late.shutdown().await;
}

/// Two halves that did not know of each other meet, and one name has a life of the same number in
/// both: everybody ends up with everybody, whichever of the two lives is the later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_that_meet_agree_on_lives() {
    let ca = Ca::new("test");
    let (a, _) = start(member(&ca, "a", &[])).await;
    let at_a = a.cluster_addr().unwrap();
    let (first, _) = start(member(&ca, "b", &[at_a])).await;
    first.shutdown().await;
    let (c, _) = start(member(&ca, "c", &[])).await;
    let at_c = c.cluster_addr().unwrap();
    let (b, _) = start(member(&ca, "b", &[at_c])).await;
    assert_eq!(b.views().borrow().me.incarnation.number, 1);
    let (d, _) = start(member(&ca, "d", &[at_a, at_c])).await;
    let nodes = [a, b, c, d];
    eventually(|| nodes.iter().all(|node| live(&node.views().borrow()) == 4)).await;
    eventually(|| {
        nodes
            .iter()
            .all(|node| node.fabric_stats().links.len() == 3)
    })
    .await;
    for node in nodes {
        node.shutdown().await;
    }
}
