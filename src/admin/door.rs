//! What the desk needs of a node, so that its answers can be tested without one.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use callring_proto::base::ids::NodeId;
use callring_proto::cluster::view::View;
use callring_proto::io::{Answer, Ask};

use crate::node::NodeHandle;
use crate::runtime::{FabricStats, NodeStats};

/// A node, as the desk sees it.
#[async_trait]
pub(crate) trait Door: Send + Sync + 'static {
    /// The members just now.
    fn view(&self) -> Arc<View>;
    /// Asks this node's shards.
    async fn ask(&self, request: Ask) -> Vec<Answer>;
    /// Asks another member's desk. The error is for the log.
    async fn ask_member(&self, node: NodeId, request: Bytes) -> Result<Bytes, String>;
    /// Makes the node hand its calls over, or stop doing so.
    async fn set_draining(&self, draining: bool);
    /// Asks whoever runs the node to end it.
    fn ask_to_stop(&self);
    /// What the fabric counts.
    fn fabric_stats(&self) -> FabricStats;
    /// What the shards' threads count.
    fn node_stats(&self) -> NodeStats;
}

#[async_trait]
impl Door for NodeHandle {
    fn view(&self) -> Arc<View> {
        Self::view(self)
    }

    async fn ask(&self, request: Ask) -> Vec<Answer> {
        Self::ask(self, request).await
    }

    async fn ask_member(&self, node: NodeId, request: Bytes) -> Result<Bytes, String> {
        Self::ask_member(self, node, request)
            .await
            .map_err(|error| error.to_string())
    }

    async fn set_draining(&self, draining: bool) {
        Self::set_draining(self, draining).await;
    }

    fn ask_to_stop(&self) {
        Self::ask_to_stop(self);
    }

    fn fabric_stats(&self) -> FabricStats {
        Self::fabric_stats(self)
    }

    fn node_stats(&self) -> NodeStats {
        Self::node_stats(self)
    }
}
