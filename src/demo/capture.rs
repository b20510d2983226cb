//! What a test user agent sent and received, datagram by datagram, with the time of each: the
//! evidence a judge of the wire works on.
//!
//! Must not know: what the bytes mean.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::phone::CallNo;

/// Which way a datagram went, as the user agent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the user agent to a node.
    Sent,
    /// From a node to the user agent.
    Received,
}

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When, since the capture's [`Capture::epoch`].
    pub at: Duration,
    /// Which way.
    pub direction: Direction,
    /// The user agent's address.
    pub local: SocketAddr,
    /// The other side's address: where it was sent to, or where it came from.
    pub remote: SocketAddr,
    /// What was on the wire.
    pub bytes: Bytes,
    /// The call it belonged to, if the user agent could tell.
    pub call: Option<CallNo>,
}

/// Everything one user agent put on the wire or took from it, in order.
#[derive(Clone, Debug)]
pub struct Capture {
    /// What the packets' times count from; captures of one process can be laid side by side by it.
    pub epoch: Instant,
    /// The datagrams, oldest first.
    pub packets: Vec<Packet>,
}

impl Capture {
    /// An empty one, its time counting from now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            epoch: Instant::now(),
            packets: Vec::new(),
        }
    }

    /// The packets of one call.
    pub fn of_call(&self, call: CallNo) -> impl Iterator<Item = &Packet> {
        self.packets
            .iter()
            .filter(move |packet| packet.call == Some(call))
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self::new()
    }
}
