//! What members say of themselves: a dozen small keys, spread by chitchat over the fabric.
//!
//! chitchat has its own clock and tasks, so it lives in the shell. Its failure detector decides
//! nothing: states are read whoever it believes alive, and joined with membership's members by name
//! and life. May use the fabric; knows the view's plain metadata only.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use callring_proto::base::ids::{Incarnation, MemberId, NodeId};
use callring_proto::base::time::Instant;
use callring_proto::cluster::membership::Identity;
use callring_proto::cluster::view::{Metadata, Role};
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket};
use chitchat::{
    ChitchatConfig, ChitchatEnvelope, ChitchatHandle, ChitchatId, FailureDetectorConfig,
    ProtocolVersion, spawn_chitchat,
};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::time::timeout;

use super::clock::Clock;
use super::quic::Fabric;

const GOSSIP_INTERVAL: Duration = Duration::from_millis(200);
/// How long what a dead member said is remembered and passed on.
const DEAD_GRACE: Duration = Duration::from_mins(15);
const DELETED_GRACE: Duration = Duration::from_mins(15);
/// The private socket pair is within one process; a datagram that takes longer was dropped.
const PAIR_TIMEOUT: Duration = Duration::from_millis(100);
/// Most bytes of gossip sent in a second, and at once. Each exchange names every member, so without
/// a bound a thousand members would spend 1.5 MB/s each on it; beyond it exchanges are left out and
/// news takes longer. Below some 150 members it is never met.
const BYTES_PER_SECOND: u64 = 256 * 1024;
/// Written last, so that whoever sees it has seen the others.
const COMPLETE: &str = "complete";
/// Most SIP listeners read of a member.
const LISTENERS_MAX: usize = 16;

/// chitchat's messages as they come from the fabric, with their sender's address. Shared, because a
/// renamed node starts a new chitchat.
pub(crate) type Inbound = Arc<Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>>;

/// A running chitchat.
pub(crate) struct MetadataGossip {
    handle: ChitchatHandle,
}

impl MetadataGossip {
    /// Starts to tell `meta` of `me`, and to listen.
    pub(crate) async fn start(
        me: &Identity,
        cluster_id: &str,
        meta: &Metadata,
        fabric: Arc<Fabric>,
        inbound: Inbound,
    ) -> anyhow::Result<Self> {
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(&*me.name, generation(me.incarnation), me.addr),
            cluster_id: cluster_id.to_owned(),
            gossip_interval: GOSSIP_INTERVAL,
            listen_addr: me.addr,
            // Members are called by control, as membership finds them.
            seed_nodes: Vec::new(),
            failure_detector_config: FailureDetectorConfig {
                dead_node_grace_period: DEAD_GRACE,
                ..FailureDetectorConfig::default()
            },
            marked_for_deletion_grace_period: DELETED_GRACE,
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V0,
        };
        let transport = FabricTransport { fabric, inbound };
        let handle = spawn_chitchat(config, write(meta), &transport).await?;
        Ok(Self { handle })
    }

    /// Tells something new of this node.
    pub(crate) async fn publish(&self, meta: &Metadata) {
        self.handle
            .with_chitchat(|chitchat| {
                for (key, value) in write(meta) {
                    chitchat.self_node_state().set(key, value);
                }
            })
            .await;
    }

    /// What every member is known to say of itself.
    pub(crate) async fn read(&self) -> Vec<(MemberId, Metadata)> {
        self.handle
            .with_chitchat(|chitchat| {
                let states = chitchat.node_states().iter();
                states
                    .filter_map(|(id, state)| Some((member(id), read(|key| state.get(key))?)))
                    .collect()
            })
            .await
    }

    /// Exchanges with whoever listens at this address, once.
    pub(crate) fn call(&self, address: SocketAddr) {
        let _ = self.handle.gossip(address);
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        let _ = timeout(Duration::from_secs(1), self.handle.shutdown()).await;
    }
}

/// A life as chitchat orders them.
fn generation(life: Incarnation) -> u64 {
    (u64::from(life.number) << 32) | u64::from(life.boot)
}

fn member(id: &ChitchatId) -> MemberId {
    let low = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or_default();
    MemberId {
        node: NodeId::of(&id.node_id),
        incarnation: Incarnation {
            number: low(id.generation_id >> 32),
            boot: low(id.generation_id),
        },
    }
}

fn write(meta: &Metadata) -> Vec<(String, String)> {
    let role = match meta.role {
        Role::Member => "member",
        Role::Edge => "edge",
    };
    [
        ("zone", meta.zone.to_string()),
        ("weight", meta.weight.to_string()),
        ("role", role.to_owned()),
        ("draining", meta.draining.to_string()),
        ("sip", meta.sip.join(" ")),
        ("version", meta.version.to_string()),
        ("wire", meta.wire.to_string()),
        ("shards", meta.shards.to_string()),
        ("config_hash", format!("{:016x}", meta.config_hash)),
        ("load", meta.load.to_string()),
        (COMPLETE, "1".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Total: a value this build does not understand counts as the default.
fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Metadata> {
    get(COMPLETE)?;
    let default = Metadata::default();
    let number = |key: &str| get(key).and_then(|value| value.parse::<u64>().ok());
    let small = |key: &str| number(key).and_then(|value| u16::try_from(value).ok());
    let sip = get("sip").unwrap_or_default().split_whitespace();
    Some(Metadata {
        zone: get("zone").unwrap_or_default().into(),
        weight: small("weight").unwrap_or(default.weight),
        role: match get("role") {
            Some("edge") => Role::Edge,
            _ => Role::Member,
        },
        draining: get("draining") == Some("true"),
        sip: sip.take(LISTENERS_MAX).map(Into::into).collect(),
        version: get("version").unwrap_or_default().into(),
        wire: small("wire")
            .and_then(|wire| u8::try_from(wire).ok())
            .unwrap_or(default.wire),
        shards: small("shards").unwrap_or(default.shards),
        config_hash: get("config_hash")
            .and_then(|text| u64::from_str_radix(text, 16).ok())
            .unwrap_or_default(),
        load: number("load")
            .and_then(|load| u32::try_from(load).ok())
            .unwrap_or_default(),
    })
}

/// chitchat's envelopes can't be turned into bytes from outside, but its own UDP socket does it. So
/// each message makes a round trip over a private pair of loopback sockets.
struct FabricTransport {
    fabric: Arc<Fabric>,
    inbound: Inbound,
}

#[async_trait]
impl Transport for FabricTransport {
    async fn open(&self, _address: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let codec = UdpSocket::open(loopback).await?;
        let near = tokio::net::UdpSocket::bind(loopback).await?;
        // From now on it takes datagrams of the codec only.
        near.connect(codec.local_addr()?).await?;
        let near_address = near.local_addr()?;
        let clock = Clock::start();
        Ok(Box::new(FabricSocket {
            codec,
            near,
            near_address,
            inbound: self.inbound.clone().lock_owned().await,
            fabric: self.fabric.clone(),
            scratch: vec![0; usize::from(u16::MAX)],
            allowance: Allowance::full(clock.now()),
            clock,
            decoding: None,
        }))
    }
}

/// What may still be sent: refilled by time, up to one second's worth.
struct Allowance {
    left: u64,
    filled: Instant,
}

impl Allowance {
    fn full(now: Instant) -> Self {
        Self {
            left: BYTES_PER_SECOND,
            filled: now,
        }
    }

    /// Whether a message of `size` bytes may go. One that is larger than all of it goes when
    /// nothing else has gone for a second.
    fn take(&mut self, size: usize, now: Instant) -> bool {
        let millis = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        let fresh = millis.saturating_mul(BYTES_PER_SECOND) / 1_000;
        if fresh > 0 {
            self.left = self.left.saturating_add(fresh).min(BYTES_PER_SECOND);
            self.filled = now;
        }
        let size = u64::try_from(size)
            .unwrap_or(u64::MAX)
            .min(BYTES_PER_SECOND);
        let granted = self.left >= size;
        if granted {
            self.left -= size;
        }
        granted
    }
}

struct FabricSocket {
    codec: UdpSocket,
    near: tokio::net::UdpSocket,
    near_address: SocketAddr,
    inbound: OwnedMutexGuard<mpsc::Receiver<(SocketAddr, Bytes)>>,
    fabric: Arc<Fabric>,
    scratch: Vec<u8>,
    clock: Clock,
    allowance: Allowance,
    /// Whose message is in the pair; kept here because `recv` may be cancelled half-way.
    decoding: Option<SocketAddr>,
}

#[async_trait]
impl Socket for FabricSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.fabric.address())
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        while self.near.try_recv(&mut self.scratch).is_ok() {}
        let outcome = self.codec.send(self.near_address, envelope).await?;
        let received = timeout(PAIR_TIMEOUT, self.near.recv(&mut self.scratch)).await;
        if let Ok(length) = received {
            let length = length.context("private socket")?;
            if !self.allowance.take(length, self.clock.now()) {
                tracing::debug!(%to, length, "metadata left out: beyond its share");
                return Ok(outcome);
            }
            let message = Bytes::copy_from_slice(self.scratch.get(..length).unwrap_or_default());
            self.fabric.send_metadata(to, message).await;
        }
        Ok(outcome)
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let from = match self.decoding {
                Some(from) => from,
                None => {
                    let Some((from, message)) = self.inbound.recv().await else {
                        // The fabric is gone; so will this be.
                        return std::future::pending().await;
                    };
                    if self.near.send(&message).await.is_err() {
                        continue;
                    }
                    self.decoding = Some(from);
                    from
                }
            };
            let decoded = timeout(PAIR_TIMEOUT, self.codec.recv()).await;
            self.decoding = None;
            match decoded {
                // Another process of this host wrote to the pair.
                Ok(Ok(outcome)) if outcome.from_addr != self.near_address => {
                    self.decoding = Some(from);
                }
                Ok(Ok(outcome)) => {
                    return Ok(RecvOutcome {
                        from_addr: from,
                        ..outcome
                    });
                }
                Ok(Err(error)) => return Err(error),
                // Not a chitchat message.
                Err(_) => tracing::debug!(%from, "metadata not understood"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    // Goal: however large the cluster, gossip stays within its share, and is never cut off whole.
    // Method: messages of several sizes offered every millisecond for a minute.
    #[test]
    fn gossip_keeps_to_its_share() {
        for size in [200, 60_000, 400_000] {
            let mut now = Instant::START;
            let mut allowance = Allowance::full(now);
            let mut sent = 0;
            for _ in 0..60_000 {
                if allowance.take(size, now) {
                    sent += size.min(256 * 1024);
                }
                now += Duration::from_millis(1);
            }
            let share = 256 * 1024;
            let least = if size < 1_000 { 0 } else { share * 50 };
            assert!((least..=share * 61).contains(&sent), "{size}: {sent}");
        }
    }

    fn through(
        meta: &Metadata,
        change: impl Fn(&mut BTreeMap<String, String>),
    ) -> Option<Metadata> {
        let mut keys: BTreeMap<_, _> = write(meta).into_iter().collect();
        change(&mut keys);
        read(|key| keys.get(key).map(String::as_str))
    }

    /// What is written is read back; what is not understood counts as the default.
    #[test]
    fn metadata_survives_the_keys() {
        let meta = Metadata {
            zone: "rack-a".into(),
            weight: 250,
            role: Role::Edge,
            draining: true,
            sip: vec!["udp://10.0.0.1:5060".into(), "udp://[::1]:5060".into()],
            version: "1.2.3".into(),
            wire: 2,
            shards: 8,
            config_hash: u64::MAX - 1,
            load: 77,
        };
        assert_eq!(through(&meta, |_| ()), Some(meta.clone()));
        let strange = through(&meta, |keys| {
            for key in ["weight", "shards", "wire", "load", "config_hash", "role"] {
                keys.insert(key.into(), "-99999999999999999999".into());
            }
        });
        let strange = strange.unwrap();
        assert_eq!(strange.weight, Metadata::default().weight);
        assert_eq!((strange.role, strange.load), (Role::Member, 0));
        let half = through(&meta, |keys| {
            keys.remove(COMPLETE);
        });
        assert_eq!(half, None);
    }

    /// Lives keep their order and come back whole.
    #[test]
    fn generations_are_lives() {
        let life = |number, boot| Incarnation { number, boot };
        assert!(generation(life(2, 0)) > generation(life(1, u32::MAX)));
        let id = ChitchatId::new("a", generation(life(7, 9)), ([127, 0, 0, 1], 1).into());
        let expected = MemberId {
            node: NodeId::of("a"),
            incarnation: life(7, 9),
        };
        assert_eq!(member(&id), expected);
    }
}
