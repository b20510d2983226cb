//! The shell: threads, sockets, clocks and tasks around the core. It waits; the core decides.
//!
//! | file | what lives there |
//! |---|---|
//! | `clock` | the only reader of the machine's clock |
//! | `shard_loop` | one thread per shard |
//! | `udp` | SIP sockets |
//! | `quic` | the fabric between members |
//! | `control` | membership, joining, views |
//! | `metadata` | chitchat |
//! | `shutdown` | the order in which things end |
//! | `stats` | what the shell counts |

mod clock;
mod quic;
mod shard_loop;
mod stats;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use callring_proto::base::ids::NodeId;
use callring_proto::cluster::view::View;
use callring_proto::io::{Answer, Ask};
use tokio::sync::watch;

use crate::node::{AdminService, NodeConfig, StartError};
pub use stats::{FabricStats, FabricTotals, LinkStats, NodeStats};

/// Why a request to another member got no answer. Whether the member acted on it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FabricError {
    /// This node is standalone.
    #[error("this node is in no cluster")]
    Standalone,
    /// No link stands to the member.
    #[error("no link to this member")]
    NoLink,
    /// No answer within the time allowed.
    #[error("no answer within {0} ms")]
    Timeout(u64),
    /// The member has nothing that answers requests.
    #[error("the member answers no requests")]
    NoService,
    /// The request or answer is too large.
    #[error("more than {0} bytes")]
    TooLarge(usize),
    /// The link ended, or was never what it seemed.
    #[error("link: {0}")]
    Link(String),
}

/// A node that runs.
pub(crate) struct Running;

#[allow(clippy::unused_async, clippy::unused_self)]
impl Running {
    pub(crate) async fn start(_config: NodeConfig) -> Result<Self, StartError> {
        Err(StartError::Config("not yet".into()))
    }
    pub(crate) fn name(&self) -> &str {
        ""
    }
    pub(crate) fn views(&self) -> watch::Receiver<Arc<View>> {
        unreachable!()
    }
    pub(crate) fn sip_addrs(&self) -> &[(SocketAddr, Arc<str>)] {
        &[]
    }
    pub(crate) fn cluster_addr(&self) -> Option<SocketAddr> {
        None
    }
    pub(crate) async fn ask(&self, _request: Ask) -> Vec<Answer> {
        Vec::new()
    }
    pub(crate) async fn ask_member(&self, _: NodeId, _: Bytes) -> Result<Bytes, FabricError> {
        Err(FabricError::Standalone)
    }
    pub(crate) fn set_admin_service(&self, _service: AdminService) {}
    pub(crate) fn set_draining(&self, _draining: bool) {}
    pub(crate) fn set_load(&self, _calls: u32) {}
    pub(crate) fn fabric_stats(&self) -> FabricStats {
        FabricStats::default()
    }
    pub(crate) fn node_stats(&self) -> NodeStats {
        NodeStats::default()
    }
    pub(crate) async fn shutdown(&self) {}
}
