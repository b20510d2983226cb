//! The switchboard: joins `sip`, `cluster` and `app`, and holds the policy table of which output
//! waits for what. Routing only; what a message means is decided in the rooms.

use std::sync::Arc;

use crate::base::ids::MemberId;
use crate::base::rng::Seed;
use crate::base::time::{Duration, Instant};
use crate::io::{Input, Output};

/// When an output that depends on a state may leave (DESIGN section 4, Policy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckPolicy {
    /// At once; nothing is promised.
    None,
    /// When one live replica has the state.
    One,
    /// When every live replica has it.
    All,
}

/// What to do with a new call when no other member lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlonePolicy {
    /// Serve it, counted and shown as degraded.
    Serve,
    /// Answer 503.
    Refuse,
}

/// `[replication]`.
#[derive(Clone, Debug)]
pub struct Replication {
    /// Copies of a call, the owner's included.
    pub copies: usize,
    /// Who must have a state before an output that depends on it leaves.
    pub ack: AckPolicy,
    /// Floor of the time after which a member that owes an answer is silent.
    pub silence: Duration,
    /// See [`AlonePolicy`].
    pub alone: AlonePolicy,
}

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
