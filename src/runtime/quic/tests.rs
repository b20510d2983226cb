//! Two to three fabrics over loopback, with queues in the shards' place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::ids::{Ballot, CallId, Incarnation, MemberId, NodeId};
use callring_proto::cluster::view::{MemberInfo, MemberState, Metadata, View};
use callring_proto::wire::{
    self, Address, Batch, Frame, Greeting, Hello, Locate, Ping, Record, VERSION,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::hello;
use super::tls::{ANY_NAME, Tls};
use super::*;
use crate::node::Pki;
use crate::runtime::FabricError;
use crate::runtime::clock::Clock;
use crate::runtime::shard_loop::{FabricInput, ShardPort, ShardQueues, port};
use crate::runtime::testing::{Ca, eventually};

struct Node {
    fabric: Arc<Fabric>,
    shards: Vec<ShardQueues>,
    events: mpsc::Receiver<FabricEvent>,
    _metadata: mpsc::Receiver<(SocketAddr, Bytes)>,
    name: String,
}

impl Node {
    fn start(pki: &Pki, name: &str) -> Self {
        Self::living(pki, name, 1)
    }

    fn living(pki: &Pki, name: &str, number: u32) -> Self {
        let (ports, shards): (Vec<ShardPort>, Vec<_>) = (0..2).map(|_| port()).unzip();
        let (events, events_end) = mpsc::channel(1_024);
        let (metadata, metadata_end) = mpsc::channel(64);
        let fabric = Fabric::start(FabricConfig {
            name,
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            pki,
            wire_max: VERSION,
            ports: ports.into(),
            clock: Clock::start(),
            events,
            metadata,
        })
        .unwrap();
        fabric.set_life(Incarnation {
            number,
            boot: number,
        });
        Self {
            fabric,
            shards,
            events: events_end,
            _metadata: metadata_end,
            name: name.into(),
        }
    }

    fn info(&self, number: u32) -> MemberInfo {
        MemberInfo {
            id: MemberId {
                node: NodeId::of(&self.name),
                incarnation: Incarnation {
                    number,
                    boot: number,
                },
            },
            name: self.name.as_str().into(),
            state: MemberState::Alive,
            cluster_addr: self.fabric.address(),
            meta: Metadata::default(),
            known: true,
        }
    }

    fn see(&self, others: &[&Node]) {
        let me = self.info(1);
        let members = others.iter().map(|other| other.info(1));
        let all = members.chain([me.clone()]).collect();
        self.fabric.set_view(&View::new(1, me.id, all));
    }

    async fn next(&mut self, shard: usize) -> FabricInput {
        let next = self.shards[shard].next_fabric();
        timeout(Duration::from_secs(10), next)
            .await
            .expect("an input in time")
    }

    /// The next link that comes up: its sender and session.
    async fn up(&mut self, shard: usize) -> (LinkSender, u64) {
        loop {
            if let FabricInput::Up {
                sender,
                session,
                shards,
                ..
            } = self.next(shard).await
            {
                assert_eq!(shards, 2);
                return (sender, session);
            }
        }
    }

    async fn down(&mut self, shard: usize) -> u64 {
        loop {
            if let FabricInput::Down { session, .. } = self.next(shard).await {
                return session;
            }
        }
    }
}

/// Dials until a link comes up at `at`: a single dial may be lost on a busy machine.
async fn link_up(from: &Node, at: &mut Node) -> (LinkSender, u64) {
    for _ in 0..5 {
        from.fabric.dial(at.fabric.address());
        if let Ok(up) = timeout(Duration::from_secs(4), at.up(0)).await {
            return up;
        }
    }
    panic!("no link in five tries");
}

/// Two nodes of one cluster with a link between them: senders and session at both ends, shard 0.
async fn linked() -> (Node, Node, LinkSender, LinkSender, u64) {
    let ca = Ca::new("test");
    let mut a = Node::start(&ca.pki("a"), "a");
    let mut b = Node::start(&ca.pki("b"), "b");
    let (to_a, other) = link_up(&a, &mut b).await;
    let (to_b, session) = a.up(0).await;
    assert_eq!(session, other, "both ends agree");
    a.up(1).await;
    b.up(1).await;
    (a, b, to_b, to_a, session)
}

/// Does what control does: wants all linked with all, and dials.
fn keep_dialling(nodes: &[&Node]) {
    for node in nodes {
        let others: Vec<&Node> = nodes
            .iter()
            .copied()
            .filter(|other| other.name != node.name)
            .collect();
        node.see(&others);
        let fabric = node.fabric.clone();
        tokio::spawn(async move {
            loop {
                fabric.dial_due();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
}

fn ping(to_shard: u16, stamp: u64) -> Bytes {
    let address = Address {
        from_shard: 0,
        to_shard,
    };
    wire::encode(address, &Frame::Ping(Ping { session: 0, stamp }), VERSION)
        .expect("a kind of this version")
}

fn locate(to_shard: u16, position: u64) -> Bytes {
    let key = CallId { position, nonce: 0 };
    let address = Address {
        from_shard: 0,
        to_shard,
    };
    wire::encode(address, &Frame::Locate(Locate { key }), VERSION).expect("a kind of this version")
}

/// Lane frames arrive in order at their shard; others arrive at theirs; the session is on each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_reach_their_shards() {
    let (mut a, mut b, to_b, to_a, session) = linked().await;
    let sent: Vec<_> = (0..2_000).map(|stamp| ping(1, stamp)).collect();
    for frame in &sent {
        to_b.send_lane(frame.clone());
    }
    for expected in sent {
        let FabricInput::Frame {
            from,
            session: of,
            bytes,
        } = b.next(1).await
        else {
            panic!("only frames");
        };
        assert_eq!((from, of), (a.info(1).id, session));
        assert_eq!(bytes, expected);
    }
    for position in 0..500 {
        to_a.send_short(locate(0, position));
    }
    let mut seen = 0;
    while seen < 500 {
        if let FabricInput::Frame { bytes, .. } = a.next(0).await {
            assert!(matches!(
                wire::decode(&bytes, VERSION),
                Ok((_, Frame::Locate(_)))
            ));
            seen += 1;
        }
    }
    // Counted once they are handed over.
    while a.fabric.stats().totals.short_frames_in < 500 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(a.fabric.stats().totals.lane_frames_out, 2_000);
    a.fabric.close().await;
    assert_eq!(b.down(0).await, session);
}

/// A membership datagram of full size fits; requests are answered, or told why not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_and_requests() {
    let (a, mut b, _to_b, _to_a, _) = linked().await;
    let full = Bytes::from(vec![
        7;
        callring_proto::cluster::membership::GOSSIP_BYTES_MAX
    ]);
    a.fabric.send_gossip(b.fabric.address(), full.clone());
    let got = timeout(Duration::from_secs(5), async {
        loop {
            if let Some(FabricEvent::Gossip(from, bytes)) = b.events.recv().await {
                return (from, bytes);
            }
        }
    });
    assert_eq!(got.await.expect("in time"), (NodeId::of("a"), full));

    let to_b = NodeId::of("b");
    let asked = a.fabric.request(to_b, b"hello").await;
    assert_eq!(asked, Err(FabricError::NoService));
    b.fabric.set_admin_service(Arc::new(|from, request: Bytes| {
        Box::pin(async move { [format!("{from:?} ").as_bytes(), &request].concat().into() })
    }));
    let answer = a.fabric.request(to_b, b"hello").await.unwrap();
    assert_eq!(answer, format!("{:?} hello", NodeId::of("a")));
    let nobody = a.fabric.request(NodeId::of("c"), b"").await;
    assert_eq!(nobody, Err(FabricError::NoLink));
}

/// A cut link comes back by itself under a higher session; at each end Down lies between the two Ups.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_link_comes_back_higher() {
    let (mut a, mut b, _, _, session) = linked().await;
    b.fabric.cut(NodeId::of("a"));
    assert_eq!(a.down(0).await, session);
    assert_eq!(b.down(0).await, session);
    keep_dialling(&[&a, &b]);
    let (_sender, again) = a.up(0).await;
    assert!(again > session);
    assert_eq!(b.up(0).await.1, again);
}

/// Both dial at once, many times over: one link stands in the end, the same at both ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_dials_settle_on_one_link() {
    let ca = Ca::new("test");
    for _ in 0..5 {
        let a = Node::start(&ca.pki("a"), "a");
        let b = Node::start(&ca.pki("b"), "b");
        a.fabric.dial(b.fabric.address());
        b.fabric.dial(a.fabric.address());
        let session = |node: &Node| {
            let links = node.fabric.stats().links;
            links.first().map(|link| link.session)
        };
        let settled = || {
            let both = (session(&a), session(&b));
            both.0.is_some() && both.0 == both.1
        };
        eventually(settled).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(settled());
    }
}

/// A new life of a node takes the place of the old one; then the old one is turned away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_life_replaces_the_earlier() {
    let ca = Ca::new("test");
    let mut a = Node::start(&ca.pki("a"), "a");
    let mut old = Node::start(&ca.pki("b"), "b");
    let (_, first) = link_up(&old, &mut a).await;
    old.up(0).await; // closed before, it would never have been a link there
    let new = Node::living(&ca.pki("b"), "b", 2);
    // The newer life's link is the next to come up, and the older one's was taken down before.
    let (_, second) = link_up(&new, &mut a).await;
    assert!(second > first);
    old.down(0).await;
    let (again, address) = (old.fabric.clone(), a.fabric.address());
    tokio::spawn(async move {
        loop {
            again.dial(address);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let superseded = timeout(Duration::from_secs(5), async {
        loop {
            if let Some(FabricEvent::Superseded(by)) = old.events.recv().await {
                return by;
            }
        }
    });
    let by = superseded.await.expect("in time");
    assert_eq!(by, Incarnation { number: 2, boot: 2 });
    let known = old.fabric.who_am_i(a.fabric.address()).await;
    assert_eq!(
        known,
        Ok(YouAre {
            known: 2,
            lives: true
        })
    );
}

/// Foreign CA, no certificate, another cluster's name: no link, and each is counted at the node
/// that was knocked at (a repeated first packet may count twice).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_get_nowhere() {
    let ca = Ca::new("test");
    let a = Node::start(&ca.pki("a"), "a");
    let refused = || a.fabric.stats().totals.handshakes_refused;
    let stranger = Node::start(&Ca::new("test").pki("b"), "b");
    stranger.fabric.dial(a.fabric.address());
    eventually(|| refused() > 0).await;

    let before = refused();
    let neighbour = Node::start(&ca.pki_of("b", "other"), "b");
    let asked = neighbour.fabric.who_am_i(a.fabric.address()).await;
    let told = asked.unwrap_err();
    assert!(told.contains("cluster of another name"), "{told}");
    eventually(|| refused() > before).await;
    tokio::time::sleep(Duration::from_millis(100)).await;

    let before = refused();
    let anonymous = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let config = ca.client_without_certificate("test");
    let connecting = anonymous.connect_with(config, a.fabric.address(), ANY_NAME);
    if let Ok(connection) = connecting.unwrap().await {
        connection.closed().await;
    }
    eventually(|| refused() > before).await;
    for fabric in [&a.fabric, &stranger.fabric, &neighbour.fabric] {
        assert!(fabric.stats().links.is_empty());
    }
}

/// A member that writes what is no frame, or too large a one, loses its link and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_closes_the_link() {
    let ca = Ca::new("test");
    let mut a = Node::start(&ca.pki("a"), "a");
    let tls = Tls::new(&ca.pki("b"), "b").unwrap();
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let mut large = ping(0, 0).to_vec();
    large[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    let cases = [
        b"GET / HTTP/1.1\r\n".to_vec(),
        large,
        locate(0, 0).into(),
        ping(9, 0).into(),
    ];
    for (number, bytes) in (1..).zip(cases) {
        let connection = endpoint
            .connect_with(tls.client.clone(), a.fabric.address(), ANY_NAME)
            .unwrap()
            .await
            .unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        let greeting = Greeting::Hello(Hello {
            name: "b".into(),
            incarnation: Incarnation { number: 1, boot: 1 },
            address: endpoint.local_addr().unwrap(),
            shards: 1,
            wire_min: VERSION,
            wire_max: VERSION,
            session: 0,
            known: 0,
        });
        hello::write(&mut send, &greeting).await.unwrap();
        hello::read(&mut receive).await.unwrap();
        send.write_all(&bytes).await.unwrap();
        connection.closed().await;
        a.down(0).await;
        assert_eq!(a.fabric.stats().totals.garbage, number);
    }
}

/// A member that does not keep up costs its link, not this node's memory; afterwards a new one works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overflowing_lane_closes_the_link() {
    let (mut a, mut b, to_b, _to_a, session) = linked().await;
    let state = Bytes::from(vec![1; 4_096]);
    let address = Address {
        from_shard: 0,
        to_shard: 0,
    };
    let record = Record { state, ..record() };
    let batch = Batch {
        session,
        stamp: 0,
        first: 0,
        records: vec![record],
    };
    let frame =
        wire::encode(address, &Frame::Batch(batch), VERSION).expect("a kind of this version");
    for _ in 0..60_000 {
        to_b.send_lane(frame.clone());
    }
    assert_eq!(a.down(0).await, session);
    assert_eq!(b.down(0).await, session);
    assert_eq!(a.fabric.stats().totals.lane_overflows, 1);
    keep_dialling(&[&a, &b]);
    let (to_b, again) = a.up(0).await;
    assert!(again > session);
    to_b.send_lane(ping(0, 1));
    assert_eq!(b.up(0).await.1, again);
    assert!(matches!(b.next(0).await, FabricInput::Frame { session, .. } if session == again));
}

fn record() -> Record {
    Record {
        key: CallId::default(),
        ballot: Ballot::default(),
        version: 1,
        members: Default::default(),
        old: Default::default(),
        lease: 0,
        end: wire::Ending::No,
        degraded: false,
        age_ms: 0,
        state: Bytes::new(),
    }
}

/// How fast a lane is: `cargo test --release -p callring --lib speed -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_a_lane() {
    let (a, mut b, to_b, _to_a, session) = linked().await;
    let record = Record {
        state: Bytes::from(vec![1; 600]),
        ..record()
    };
    let batch = Batch {
        session,
        stamp: 0,
        first: 0,
        records: vec![record],
    };
    let address = Address {
        from_shard: 0,
        to_shard: 0,
    };
    let frame =
        wire::encode(address, &Frame::Batch(batch), VERSION).expect("a kind of this version");
    let clock = Clock::start();
    let (rounds, burst) = (200_u64, 1_000_u64);
    for _ in 0..rounds {
        for _ in 0..burst {
            to_b.send_lane(frame.clone());
        }
        for _ in 0..burst {
            b.next(0).await;
        }
    }
    let took = clock
        .now()
        .since(callring_proto::base::time::Instant::START);
    let rate = (rounds * burst) as f64 / took.as_secs_f64();
    tracing::warn!(rate, "lane frames of 700 bytes per second");
    let single = Clock::start();
    for _ in 0..2_000 {
        to_b.send_lane(frame.clone());
        b.next(0).await;
    }
    let took = single
        .now()
        .since(callring_proto::base::time::Instant::START)
        / 2_000;
    tracing::warn!(?took, "one lane frame, one way");
    a.fabric.close().await;
}
