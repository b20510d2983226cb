//! The switchboard: joins `sip`, `cluster` and `app`, and holds the policy table of which output
//! waits for what. Routing only; what a message means is decided in the rooms.

use std::sync::Arc;

use crate::base::ids::MemberId;
use crate::base::rng::Seed;
use crate::base::time::Instant;
use crate::cluster::policy::Replication;
use crate::io::{Input, Output};

/// What a shard is told at birth.
#[derive(Clone)]
pub struct ShardConfig {
    /// This member.
    pub me: MemberId,
    /// Which shard of the node this is.
    pub shard: u16,
    /// How many the node has.
    pub shards: u16,
    /// Replication policy.
    pub replication: Replication,
    /// This shard's own seed.
    pub seed: Seed,
}

/// One shard of a node. Feed it inputs, then drain [`Shard::poll_output`] until it is empty, then
/// sleep until [`Shard::next_deadline`] or the next input; at the deadline call
/// [`Shard::handle_timeout`]. Several inputs may be handed over before draining: batches form so.
pub struct Shard {
    config: Arc<ShardConfig>,
}

impl Shard {
    /// A shard that owns nothing yet.
    #[must_use]
    pub fn new(config: ShardConfig) -> Self {
        Self {
            config: Arc::new(config),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, _now: Instant, _input: Input) {
        let _ = &self.config;
    }

    /// Lets everything that is due by `now` happen.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// The next thing the shell is to do.
    pub fn poll_output(&mut self, _now: Instant) -> Option<Output> {
        None
    }

    /// When [`Shard::handle_timeout`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }
}
