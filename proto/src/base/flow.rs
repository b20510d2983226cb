//! A flow: the way a SIP message came in, so that its answer can go back out the same way, whichever
//! member owns the call. Plain data: it travels between members and lies in records.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::NodeId;

/// Transports of RFC 3261 and RFC 7118 that a listener can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// RFC 3261 18, unreliable.
    Udp,
    /// RFC 3261 18, a byte stream.
    Tcp,
    /// RFC 3261 26.3.1.
    Tls,
    /// RFC 7118 over TCP.
    Ws,
    /// RFC 7118 over TLS.
    Wss,
}

impl Transport {
    /// The name in a Via header field (RFC 3261 25.1).
    #[must_use]
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The value of a URI's `transport` parameter.
    #[must_use]
    pub const fn uri_name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Whether the transport delivers by itself: such transports have no retransmission timers.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

/// Where a SIP message came in, and so where its answer leaves: ingress member, listener, remote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// The listener's transport.
    pub transport: Transport,
    /// The member (any life of it) whose socket this is.
    pub ingress: NodeId,
    /// Index of the listener in the ingress member's list.
    pub listener: u16,
    /// The other end, as the ingress saw it.
    pub remote: SocketAddr,
    /// `host[:port]` that Contact and Via sent-by name for this listener (SIP.md S1.1).
    pub advertise: Arc<str>,
}
