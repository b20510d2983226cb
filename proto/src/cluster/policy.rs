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

impl Default for Replication {
    fn default() -> Self {
        Self {
            copies: 3,
            ack: AckPolicy::One,
            silence: Duration::from_millis(50),
            alone: AlonePolicy::Serve,
        }
    }
}
