//! What the shell counts of its own work, and the shape in which it is shown.
//!
//! Counters are shared atomics, written with relaxed order by whoever does the work. What happens
//! to calls is counted by the core, not here.

use std::sync::atomic::{AtomicU64, Ordering};

use callring_proto::base::ids::MemberId;

/// A rising number.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl NodeCounters {
    /// Calls that run just now, about.
    pub(crate) fn load(&self) -> u32 {
        let calls = self.calls_begun.get().saturating_sub(self.calls_left.get());
        u32::try_from(calls).unwrap_or(u32::MAX)
    }
}

macro_rules! counters {
    ($(#[$of:meta])* $live:ident => $(#[$shown_of:meta])* $shown:ident {
        $($(#[$doc:meta])* $field:ident),+ $(,)?
    }) => {
        $(#[$of])*
        #[derive(Debug, Default)]
        pub(crate) struct $live {
            $(pub(crate) $field: Counter,)+
        }

        impl $live {
            pub(crate) fn show(&self) -> $shown {
                $shown { $($field: self.$field.get(),)+ }
            }
        }

        $(#[$shown_of])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $shown {
            $($(#[$doc])* pub $field: u64,)+
        }
    };
}

counters! {
    /// Counters of the shards' threads.
    NodeCounters =>
    /// What the shards' threads did; all rising.
    NodeStats {
        /// Calls that began to run, net of those that left in the same turn.
        calls_begun,
        /// Calls that ended or went to another member.
        calls_left,
        /// SIP datagrams received.
        datagrams_in,
        /// SIP datagrams sent.
        datagrams_out,
        /// SIP datagrams dropped because a socket did not take them, and its queue was full.
        datagrams_unsent,
        /// Errors of `recvfrom`.
        receive_errors,
        /// Inputs passed on to another shard.
        forwarded,
        /// Inputs dropped because the other shard's queue was full.
        forwards_dropped,
        /// Frames for members no link stands to.
        frames_unrouted,
        /// Runs of durable tasks begun.
        tasks,
        /// Those that ended without a result.
        tasks_failed,
        /// Turns of the shards' loops.
        turns,
    }
}

counters! {
    /// Counters of the fabric.
    FabricCounters =>
    /// What the fabric did; all rising.
    FabricTotals {
        /// Links that came up.
        links_up,
        /// Links that ended.
        links_down,
        /// Dials that did not become a link.
        dials_failed,
        /// Handshakes refused: no certificate, a foreign one, another cluster's.
        handshakes_refused,
        /// Connections closed for an impossible hello.
        hellos_refused,
        /// Lane frames sent.
        lane_frames_out,
        /// Lane frames received.
        lane_frames_in,
        /// Other frames sent.
        short_frames_out,
        /// Other frames received.
        short_frames_in,
        /// Links closed because a lane's queue was full.
        lane_overflows,
        /// Other frames dropped because their queue was full.
        short_frames_dropped,
        /// Links closed because bytes were no frames.
        garbage,
        /// Membership's datagrams sent.
        datagrams_out,
        /// Membership's datagrams received.
        datagrams_in,
        /// Membership's datagrams dropped: no link, too large, or nobody took them.
        datagrams_dropped,
        /// Requests of peers answered.
        requests_served,
    }
}

/// One link as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStats {
    /// The member's name, from its certificate.
    pub name: String,
    /// The member at the other end.
    pub member: MemberId,
    /// The link's session.
    pub session: u64,
    /// Whether this node dialled it.
    pub dialled: bool,
    /// Where its datagrams come from.
    pub remote: std::net::SocketAddr,
    /// QUIC's estimate of the round trip, microseconds.
    pub rtt_us: u64,
    /// Packets lost so far.
    pub lost_packets: u64,
}

/// The fabric as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FabricStats {
    /// One per link, by name.
    pub links: Vec<LinkStats>,
    /// Counters.
    pub totals: FabricTotals,
}
