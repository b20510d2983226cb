//! The endpoint, and what control and the node's handle may ask of the fabric.
//!
//! Knows links, not what runs over them. Shards never come here: they hold a link's sender.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::ids::{Incarnation, MemberId, NodeId};
use callring_proto::cluster::view::View;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::link::{self, CloseCode, Link, Peer};
use super::table::{Entry, Table};
use super::tls::Tls;
use super::{accept, dial, service};
use crate::node::{AdminService, Pki, StartError};
use crate::runtime::FabricError;
use crate::runtime::clock::Clock;
use crate::runtime::shard_loop::ShardPort;
use crate::runtime::stats::{FabricCounters, FabricStats, LinkStats};
use crate::runtime::udp;

/// How long the last packets may take to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long one chitchat message may take to be handed to QUIC.
const METADATA_TIMEOUT: Duration = Duration::from_millis(500);

/// What control is told.
#[derive(Debug)]
pub(crate) enum FabricEvent {
    /// A link stands.
    LinkUp(Peer),
    /// It ended.
    LinkDown(Peer),
    /// A datagram of membership came from this node.
    Gossip(NodeId, Bytes),
    /// A member knows a later life of this node's name.
    Superseded(Incarnation),
}

/// What a seed says to a node that is about to begin a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct YouAre {
    /// The highest number known for its name.
    pub(crate) known: u32,
    /// Whether the seed itself lives yet.
    pub(crate) lives: bool,
}

/// What the fabric is told at its start.
pub(crate) struct FabricConfig<'a> {
    pub(crate) name: &'a str,
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Option<SocketAddr>,
    pub(crate) pki: &'a Pki,
    /// Highest wire version to speak.
    pub(crate) wire_max: u8,
    pub(crate) ports: Arc<[ShardPort]>,
    pub(crate) clock: Clock,
    pub(crate) events: mpsc::Sender<FabricEvent>,
    /// chitchat's messages, with the address of their sender.
    pub(crate) metadata: mpsc::Sender<(SocketAddr, Bytes)>,
}

/// See the file's head.
pub(crate) struct Fabric {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) client: quinn::ClientConfig,
    pub(super) name: Arc<str>,
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    /// Highest wire version to speak.
    pub(super) wire_max: u8,
    pub(super) ports: Arc<[ShardPort]>,
    pub(super) clock: Clock,
    pub(super) counters: Arc<FabricCounters>,
    pub(super) events: mpsc::Sender<FabricEvent>,
    metadata: mpsc::Sender<(SocketAddr, Bytes)>,
    service: RwLock<Option<AdminService>>,
    table: Mutex<Table>,
}

impl Fabric {
    /// Binds the endpoint and begins to accept. There are no links before [`Fabric::set_life`].
    pub(crate) fn start(config: FabricConfig<'_>) -> Result<Arc<Self>, StartError> {
        let Tls { client, server } = Tls::new(config.pki, config.name)?;
        let failed = |source| StartError::Bind {
            address: config.listen,
            source,
        };
        let socket = udp::open(config.listen, udp::Bind::default()).map_err(failed)?;
        let endpoint = quinn::Endpoint::new(
            quinn::EndpointConfig::default(),
            Some(server),
            socket,
            Arc::new(quinn::TokioRuntime),
        )
        .map_err(failed)?;
        let bound = endpoint.local_addr().map_err(failed)?;
        let address = match config.advertise {
            Some(address) if address.port() == 0 => SocketAddr::new(address.ip(), bound.port()),
            Some(address) => address,
            None if bound.ip().is_unspecified() => {
                return Err(StartError::Config(format!(
                    "the cluster listener {bound} listens everywhere, so it needs an address to \
                     advertise"
                )));
            }
            None => bound,
        };
        let fabric = Arc::new(Self {
            endpoint,
            client,
            name: config.name.into(),
            node: NodeId::of(config.name),
            address,
            wire_max: config.wire_max,
            ports: config.ports,
            clock: config.clock,
            counters: Arc::default(),
            events: config.events,
            metadata: config.metadata,
            service: RwLock::default(),
            table: Mutex::default(),
        });
        tokio::spawn(accept::run(fabric.clone()));
        Ok(fabric)
    }

    /// Where members reach this node.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// This node's life from now on. Links of an earlier one end.
    pub(crate) fn set_life(&self, life: Incarnation) {
        let mut table = self.table();
        if table.life == Some(life) {
            return;
        }
        table.life = Some(life);
        for entry in table.links.values() {
            link::close(&entry.connection, CloseCode::Replaced, "a new life");
        }
    }

    /// Whom to be linked with: every live member of the view.
    pub(crate) fn set_view(&self, view: &View) {
        let now = self.clock.now();
        let mut table = self.table();
        for member in view.members() {
            table.learn(member.id.node, member.id.incarnation);
        }
        let wanted: BTreeMap<_, _> = view
            .live()
            .filter(|member| member.id.node != self.node)
            .map(|member| (member.cluster_addr, member.id.node))
            .collect();
        table.set_wanted(wanted, self.node, now);
    }

    /// Dials whoever is wanted and not linked. Returns at once; called every now and then.
    pub(crate) fn dial_due(self: &Arc<Self>) {
        let due = self.table().due(self.clock.now());
        for address in due {
            self.dial(address);
        }
    }

    /// Sends a datagram of membership, or drops it and dials in the background.
    pub(crate) fn send_gossip(self: &Arc<Self>, to: SocketAddr, bytes: Bytes) {
        let table = self.table();
        let Some(entry) = table.link_at(to) else {
            drop(table);
            self.counters.datagrams_dropped.one();
            self.dial(to);
            return;
        };
        match entry.connection.send_datagram(bytes) {
            Ok(()) => self.counters.datagrams_out.one(),
            Err(_) => self.counters.datagrams_dropped.one(),
        }
    }

    /// Dials an address in the background, unless a dial is under way or was a moment ago.
    pub(crate) fn dial(self: &Arc<Self>, address: SocketAddr) {
        let mut table = self.table();
        if address == self.address || !table.may_dial(address, self.clock.now()) {
            return;
        }
        table.begin_dial(address);
        drop(table);
        tokio::spawn(dial::run(self.clone(), address));
    }

    /// Asks whoever listens at `address` what it knows of this node's name.
    pub(crate) async fn who_am_i(&self, address: SocketAddr) -> Result<YouAre, String> {
        let result = dial::who_am_i(self, address).await;
        result.map_err(|error| error.to_string())
    }

    /// Nodes from which packets came since the last call.
    pub(crate) fn heard(&self) -> Vec<NodeId> {
        let mut heard = Vec::new();
        for (node, entry) in &mut self.table().links {
            let packets = entry.connection.stats().udp_rx.datagrams;
            if packets != entry.packets_seen {
                entry.packets_seen = packets;
                heard.push(*node);
            }
        }
        heard
    }

    /// Sends one chitchat message; lost if there is no link.
    pub(crate) async fn send_metadata(&self, to: SocketAddr, message: Bytes) {
        let link = self
            .table()
            .link_at(to)
            .map(|entry| entry.connection.clone());
        if let Some(connection) = link {
            let sent = link::write_metadata(&connection, message);
            if let Ok(Err(error)) = timeout(METADATA_TIMEOUT, sent).await {
                tracing::debug!(%to, error, "metadata not sent");
            }
        }
    }

    /// A chitchat message came.
    pub(super) fn take_metadata(&self, from: SocketAddr, message: Bytes) {
        // Full: the next round brings it again.
        let _ = self.metadata.try_send((from, message));
    }

    /// Asks a member's admin service.
    pub(crate) async fn request(&self, node: NodeId, request: &[u8]) -> Result<Bytes, FabricError> {
        let link = self
            .table()
            .links
            .get(&node)
            .map(|entry| entry.connection.clone());
        let connection = link.ok_or(FabricError::NoLink)?;
        service::request(&connection, request).await
    }

    /// Sets what answers the members' requests.
    pub(crate) fn set_admin_service(&self, service: AdminService) {
        *self.service.write().unwrap_or_else(PoisonError::into_inner) = Some(service);
    }

    pub(super) fn admin_service(&self) -> Option<AdminService> {
        self.service
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Links and counters.
    pub(crate) fn stats(&self) -> FabricStats {
        let links = self.table().links.values().map(link_stats).collect();
        FabricStats {
            links,
            totals: self.counters.show(),
        }
    }

    /// Closes every link and the endpoint.
    pub(crate) async fn close(&self) {
        let ended: Vec<_> = {
            let mut table = self.table();
            table.life = None;
            std::mem::take(&mut table.links).into_values().collect()
        };
        let code = quinn::VarInt::from_u32(CloseCode::Stopping as u32);
        self.endpoint.close(code, b"stopping");
        for entry in ended {
            let _ = timeout(CLOSE_TIMEOUT, entry.ended).await;
        }
        let _ = timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }

    /// Closes the endpoint without waiting for anything.
    pub(crate) fn abandon(&self) {
        self.table().life = None;
        let code = quinn::VarInt::from_u32(CloseCode::Stopping as u32);
        self.endpoint.close(code, b"stopping");
    }

    /// Closes the connection to a node, as a network might.
    #[cfg(test)]
    pub(crate) fn cut(&self, node: NodeId) {
        if let Some(entry) = self.table().links.get(&node) {
            link::close(&entry.connection, CloseCode::Stream, "cut");
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a link of greeted connection, and lives with it until it ends. False if there was a
    /// better one.
    pub(super) async fn establish(self: &Arc<Self>, greeted: Greeted) {
        let Greeted {
            connection,
            peer,
            life,
            session,
            dialled,
            lane,
        } = greeted;
        let node = peer.member.node;
        let (end, ended) = oneshot::channel();
        let predecessor = {
            let mut table = self.table();
            if table.life != Some(life) || table.has_better(node, peer.member.incarnation, session)
            {
                link::close(&connection, CloseCode::Replaced, "there is a better link");
                return;
            }
            let entry = Entry {
                peer: peer.clone(),
                session,
                connection: connection.clone(),
                dialled,
                ended,
                packets_seen: 0,
            };
            table.learn(node, peer.member.incarnation);
            table.links.insert(node, entry)
        };
        if let Some(old) = predecessor {
            link::close(&old.connection, CloseCode::Replaced, "a newer link");
            let _ = old.ended.await;
        }
        let link = Link {
            fabric: self.clone(),
            connection,
            peer: peer.clone(),
            session,
            lane_out: lane.0,
            lane_in: lane.1,
        };
        link.run().await;
        let mut table = self.table();
        if table
            .links
            .get(&node)
            .is_some_and(|entry| entry.session == session)
        {
            table.links.remove(&node);
            table.after_link(self.node, &peer, self.clock.now(), chance());
        }
        let _ = end.send(());
    }
}

/// A connection whose greetings are done.
pub(super) struct Greeted {
    pub(super) connection: quinn::Connection,
    pub(super) peer: Peer,
    /// This node's life that was told.
    pub(super) life: Incarnation,
    pub(super) session: u64,
    pub(super) dialled: bool,
    pub(super) lane: (quinn::SendStream, quinn::RecvStream),
}

fn link_stats(entry: &Entry) -> LinkStats {
    let member: MemberId = entry.peer.member;
    let rtt = entry.connection.rtt().as_micros();
    LinkStats {
        name: entry.peer.name.to_string(),
        member,
        session: entry.session,
        dialled: entry.dialled,
        remote: entry.connection.remote_address(),
        rtt_us: u64::try_from(rtt).unwrap_or(u64::MAX),
        lost_packets: entry.connection.stats().path.lost_packets,
    }
}

/// Chance for pauses; nothing depends on its quality.
pub(super) fn chance() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}
