//! The shell: threads, sockets, clocks and tasks around the core. It waits; the core decides.
//!
//! | file | what lives there |
//! |---|---|
//! | `clock` | the only reader of the machine's clock |
//! | `shard_loop` | one thread per shard |
//! | `udp` | SIP sockets |
//! | `locals`, `pktinfo` | which local address a datagram came to, and leaves from |
//! | `quic` | the fabric between members |
//! | `join` | what number a life has to have |
//! | `control` | membership, views |
//! | `metadata` | chitchat |
//! | `running` | a running node: how it starts, what it can be asked |
//! | `drain` | waiting for a node to own nothing |
//! | `shutdown` | the order in which things end |
//! | `task_runner` | durable tasks |
//! | `stats` | what the shell counts |

mod clock;
mod control;
mod drain;
mod join;
mod locals;
mod metadata;
mod pktinfo;
mod quic;
mod running;
mod shard_loop;
mod shutdown;
mod stats;
mod task_runner;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod udp;

pub(crate) use running::Running;
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
