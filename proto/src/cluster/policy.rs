//! Who must have a state before an output that tells of it may leave.

use crate::base::time::Duration;

/// When an output that depends on a state may leave.
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

/// From when on a call has copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// From its answer on. Before, members have notices of its birth only.
    Confirmed,
    /// From its birth on.
    Early,
}

/// What to do with one request that came by two ways (RFC 3261 8.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergedPolicy {
    /// The later one is answered 482.
    Reject,
    /// Each begins a call.
    Accept,
}

/// `[replication]`, and what else of the configuration shards go by.
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
    /// See [`When`].
    pub when: When,
    /// See [`MergedPolicy`].
    pub merged: MergedPolicy,
    /// Calls of one Call-ID that one member serves at a time (SIP.md S2.1). Above: 503.
    pub calls_per_position: u32,
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            copies: 3,
            ack: AckPolicy::One,
            silence: Duration::from_millis(50),
            alone: AlonePolicy::Serve,
            when: When::Confirmed,
            merged: MergedPolicy::Reject,
            calls_per_position: 64,
        }
    }
}
