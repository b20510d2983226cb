//! The public door for people who embed callring: a validated configuration in, a handle out.
//!
//! May use the runtime and the core's plain types. Must not know files, environment or command
//! lines (the product's configuration does), and decides nothing about SIP or ownership.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::app::{AnyApp, App};
use callring_proto::base::ids::{MemberId, NodeId};
use callring_proto::cluster::policy::Replication;
use callring_proto::cluster::view::{Role, View};
use callring_proto::io::{Answer, Ask};
pub use callring_proto::shard::Scope;
use callring_proto::sip::locator::SealKeys;
use tokio::sync::watch;

use crate::runtime::{FabricError, FabricStats, NodeStats, Running};
use crate::tasks::Tasks;

/// Everything a node is told at its start. Plain and already validated in itself; what depends on
/// the machine (addresses that can be bound, certificates that fit) is found out by
/// [`Node::start`].
#[derive(Clone)]
pub struct NodeConfig {
    /// The node's name: one DNS label, and in a cluster the first DNS name of its certificate.
    pub name: String,
    /// Failure domain; empty if none.
    pub zone: String,
    /// Share of copies, 100 is ordinary, 0 holds none.
    pub weight: u16,
    /// What the node is for.
    pub role: Role,
    /// SIP sockets, at least one.
    pub sip: Vec<SipListener>,
    /// The cluster; `None` for a standalone node.
    pub cluster: Option<ClusterConfig>,
    /// Shards, each one thread. At least 1.
    pub shards: u16,
    /// Replication policy.
    pub replication: Replication,
    /// The key that seals locators, the same at every member. Standalone nodes draw one.
    pub cluster_key: Option<SealKeys>,
    /// Hash of the configuration that has to be the same at every member; shown, never acted on.
    pub config_hash: u64,
    /// The application.
    pub app: Arc<dyn AnyApp>,
    /// What its durable tasks run. The same at every member.
    pub tasks: Tasks,
    /// How long [`NodeHandle::stop`] waits at most for calls to be handed over.
    pub stop_timeout: Duration,
}

impl NodeConfig {
    /// A node by itself: one SIP socket, one shard, no cluster. Everything else is as the
    /// configuration file has it where it says nothing; `cluster` makes it a member of one, and the
    /// application stays as it is.
    #[must_use]
    pub fn standalone(name: &str, listen: SocketAddr, app: impl App) -> Self {
        Self {
            name: name.to_owned(),
            zone: String::new(),
            weight: 100,
            role: Role::Member,
            sip: vec![SipListener {
                listen,
                advertise: None,
                scope: Scope::Node,
            }],
            cluster: None,
            shards: 1,
            replication: Replication::default(),
            cluster_key: None,
            config_hash: 0,
            app: Arc::new(app),
            tasks: Tasks::new(),
            stop_timeout: Duration::from_secs(30),
        }
    }
}

/// One SIP socket over UDP.
#[derive(Clone, Debug)]
pub struct SipListener {
    /// Where to bind. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// `host[:port]` that Contact and Via name. `None`: the bound address, which must then be a
    /// specific one.
    pub advertise: Option<String>,
    /// How long that address lives.
    pub scope: Scope,
}

/// Membership of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where the fabric binds (UDP). Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where members reach it. `None`: the bound address, which must then be a specific one.
    pub advertise: Option<SocketAddr>,
    /// `host:port` of members to join by; resolved anew at each try. Own addresses are harmless.
    pub seeds: Vec<String>,
    /// Certificates.
    pub pki: Pki,
    /// How fast a dead member is noticed by membership.
    pub membership: MembershipPreset,
    /// Highest wire version to speak: `callring_proto::wire::VERSION`, or the one before it while
    /// some members of a cluster run an earlier release and are to be told nothing new.
    pub wire_max: u8,
}

/// What a node proves itself with, and how it tells members from strangers.
#[derive(Clone)]
pub struct Pki {
    /// The cluster's name. It is in the ALPN of the fabric, so that clusters never mix.
    pub cluster_id: String,
    /// The cluster's own CA, PEM.
    pub ca_pem: Vec<u8>,
    /// This node's certificate, PEM, its chain after it if there is one. Its first DNS name is the
    /// node's name; if it has extended key usages, both server and client authentication.
    pub cert_pem: Vec<u8>,
    /// The certificate's private key, PEM.
    pub key_pem: Vec<u8>,
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki")
            .field("cluster_id", &self.cluster_id)
            .finish_non_exhaustive()
    }
}

/// How patient membership is: a trade between noticing deaths and false alarms. *Silence* on the
/// fabric moves calls long before; this moves the rest. The same at every member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MembershipPreset {
    /// One host, for demonstrations and tests: a death is known after about two seconds.
    Local,
    /// One site: mostly six to eight seconds, by the last member after eleven.
    #[default]
    Lan,
    /// Several sites: mostly about 20 seconds, by the last member after 30.
    Wan,
}

/// Answers requests that peers send with [`NodeHandle::ask_member`].
pub type AdminService =
    Arc<dyn Fn(NodeId, Bytes) -> Pin<Box<dyn Future<Output = Bytes> + Send>> + Send + Sync>;

/// Why a node could not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(String),
    /// An address can't be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificates don't fit each other or the node.
    #[error("cluster certificates: {0}")]
    Pki(String),
    /// The system refused a thread or randomness.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// Calls are left after all the time there was to hand them over. The node is still draining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("calls left: {calls}, of them not answered: {in_setup}")]
pub struct Undrained {
    /// Calls it still owns.
    pub calls: u64,
    /// Those of them that are not answered yet.
    pub in_setup: u64,
    /// Shards that did not answer, so what they own is not counted.
    pub shards_mute: usize,
}

/// A node, before it runs.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Starts a node. It is ready when this returns: sockets are bound, and a seed has answered or
    /// has been waited for. Control and fabric run on the calling tokio runtime, shards on threads
    /// of their own.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub async fn start(config: NodeConfig) -> Result<NodeHandle, StartError> {
        Running::start(config).await.map(|running| NodeHandle {
            running: Arc::new(running),
        })
    }
}

/// A running node. Clones speak to the same node; it runs until [`NodeHandle::shutdown`] or until
/// the last clone is dropped.
#[derive(Clone)]
pub struct NodeHandle {
    running: Arc<Running>,
}

impl NodeHandle {
    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.running.name()
    }

    /// The node in its present life.
    #[must_use]
    pub fn me(&self) -> MemberId {
        self.view().me
    }

    /// The members as this node sees them just now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.running.views().borrow().clone()
    }

    /// The same, to wait for changes on.
    #[must_use]
    pub fn watch_view(&self) -> watch::Receiver<Arc<View>> {
        self.running.views()
    }

    /// Where the SIP sockets are bound, and what they advertise.
    #[must_use]
    pub fn sip_addrs(&self) -> &[(SocketAddr, Arc<str>)] {
        self.running.sip_addrs()
    }

    /// Where members reach the fabric; `None` for a standalone node.
    #[must_use]
    pub fn cluster_addr(&self) -> Option<SocketAddr> {
        self.running.cluster_addr()
    }

    /// Asks this node's shards: all of them, or for one call the shard it belongs to. A shard that
    /// does not answer within two seconds is left out.
    pub async fn ask(&self, request: Ask) -> Vec<Answer> {
        self.running.ask(request).await
    }

    /// Asks another member's admin service.
    ///
    /// # Errors
    /// [`FabricError`] if there is no link to it, or no answer within two seconds.
    pub async fn ask_member(&self, node: NodeId, request: Bytes) -> Result<Bytes, FabricError> {
        self.running.ask_member(node, request).await
    }

    /// Sets what answers the other members' [`NodeHandle::ask_member`]. Until then they get
    /// [`FabricError::NoService`].
    pub fn set_admin_service(&self, service: AdminService) {
        self.running.set_admin_service(service);
    }

    /// Makes this node hand its calls over and take no new ones, or takes that back, and tells the
    /// members. When this returns, its shards know.
    pub async fn set_draining(&self, draining: bool) {
        self.running.set_draining(draining).await;
    }

    /// Drains: [`NodeHandle::set_draining`], and waits until the node owns no call any more.
    /// Without another member to hand them to, calls are waited for until they end.
    ///
    /// # Errors
    /// [`Undrained`] when `timeout` has passed; the node stays draining.
    pub async fn drain(&self, timeout: Duration) -> Result<(), Undrained> {
        self.running.drain(timeout).await
    }

    /// Asks whoever runs the node to end it, as a signal to the process would.
    pub fn ask_to_stop(&self) {
        self.running.ask_to_stop();
    }

    /// Waits until somebody has asked for the node's end by [`NodeHandle::ask_to_stop`].
    pub async fn stop_asked(&self) {
        self.running.stop_asked().await;
    }

    /// Drains for up to the configured `stop_timeout`, then [`NodeHandle::shutdown`].
    ///
    /// # Errors
    /// [`Undrained`] if calls were left: the members take those over that have copies. The node has
    /// ended all the same.
    pub async fn stop(&self) -> Result<(), Undrained> {
        let drained = self.drain(self.running.stop_timeout()).await;
        self.shutdown().await;
        drained
    }

    /// Links, handshakes, frames.
    #[must_use]
    pub fn fabric_stats(&self) -> FabricStats {
        self.running.fabric_stats()
    }

    /// Datagrams and queues of the shards.
    #[must_use]
    pub fn node_stats(&self) -> NodeStats {
        self.running.node_stats()
    }

    /// Waits until a shard has ended by a fault of its own, and says why. The node is then of no
    /// use: end the process and start it anew, its calls go on elsewhere.
    pub async fn failed(&self) -> String {
        self.running.failed().await
    }

    /// Leaves the cluster, closes links and sockets, joins the threads, all within a few seconds.
    /// Does not drain: see [`NodeHandle::stop`]. Later calls return at once.
    pub async fn shutdown(&self) {
        self.running.shutdown().await;
    }
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeHandle")
            .field("name", &self.name())
            .field("me", &self.me())
            .finish_non_exhaustive()
    }
}
