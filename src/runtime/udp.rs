//! SIP sockets over UDP: one per listener and shard, all of a listener on one port.
//!
//! May use socket2 and tokio. Knows nothing of what the datagrams say.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;

use super::stats::NodeCounters;
use crate::node::{SipListener, StartError};

/// Buffers of a socket, bytes: a burst of 4,000 datagrams of 1 kB. Best effort.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Datagrams that wait for a socket to take them. Above: the newest is dropped and counted; SIP
/// over UDP retransmits.
const UNSENT_MAX: usize = 1_024;

/// The sockets of one listener, one per shard.
pub(crate) struct BoundListener {
    /// Where they are bound.
    pub(crate) address: SocketAddr,
    /// What Contact and Via name.
    pub(crate) advertise: Arc<str>,
    /// One per shard.
    pub(crate) sockets: Vec<std::net::UdpSocket>,
}

/// Binds one socket per shard for each listener.
pub(crate) fn bind(
    listeners: &[SipListener],
    shards: u16,
) -> Result<Vec<BoundListener>, StartError> {
    listeners
        .iter()
        .map(|listener| bind_one(listener, shards))
        .collect()
}

fn bind_one(listener: &SipListener, shards: u16) -> Result<BoundListener, StartError> {
    let failed = |source| StartError::Bind {
        address: listener.listen,
        source,
    };
    let shared = shards > 1;
    // Sharing a port would also share it with another process of the same user, silently. So the
    // port is first taken alone.
    let alone = open(listener.listen, false).map_err(failed)?;
    let address = alone.local_addr().map_err(failed)?;
    let sockets = if shared {
        drop(alone);
        (0..shards)
            .map(|_| open(address, true))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?
    } else {
        vec![alone]
    };
    let advertise = match &listener.advertise {
        Some(name) => name.as_str().into(),
        None if address.ip().is_unspecified() => {
            return Err(StartError::Config(format!(
                "SIP listener {address} listens everywhere, so it needs an address to advertise"
            )));
        }
        None => address.to_string().into(),
    };
    Ok(BoundListener {
        address,
        advertise,
        sockets,
    })
}

/// A bound socket with large buffers; `shared` with others that are `shared` too.
pub(crate) fn open(address: SocketAddr, shared: bool) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// One shard's socket of one listener.
pub(crate) struct SipSocket {
    socket: UdpSocket,
    /// What Contact and Via name.
    pub(crate) advertise: Arc<str>,
    unsent: VecDeque<(SocketAddr, Bytes)>,
}

impl SipSocket {
    /// Takes the socket over into the calling thread's runtime.
    pub(crate) fn new(socket: std::net::UdpSocket, advertise: Arc<str>) -> io::Result<Self> {
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            advertise,
            unsent: VecDeque::new(),
        })
    }

    /// Ready when there is something to receive, or room again for what could not be sent.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let receive = self.socket.poll_recv_ready(cx).is_ready();
        let send = !self.unsent.is_empty() && self.socket.poll_send_ready(cx).is_ready();
        if receive || send {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Receives one datagram into `scratch`, if one is there.
    pub(crate) fn receive(
        &self,
        scratch: &mut [u8],
        counters: &NodeCounters,
    ) -> Option<(SocketAddr, usize)> {
        // An ICMP error of an earlier send shows up here once; a few of them don't end the burst.
        for _ in 0..4 {
            match self.socket.try_recv_from(scratch) {
                Ok((length, remote)) => {
                    counters.datagrams_in.one();
                    return Some((remote, length));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => counters.receive_errors.one(),
            }
        }
        None
    }

    /// Sends, or queues if the socket is full just now.
    pub(crate) fn send(&mut self, remote: SocketAddr, bytes: Bytes, counters: &NodeCounters) {
        if self.unsent.is_empty() && self.try_send(remote, &bytes, counters) {
            return;
        }
        if self.unsent.len() >= UNSENT_MAX {
            counters.datagrams_unsent.one();
            return;
        }
        self.unsent.push_back((remote, bytes));
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self, counters: &NodeCounters) {
        while let Some((remote, bytes)) = self.unsent.pop_front() {
            if !self.try_send(remote, &bytes, counters) {
                self.unsent.push_front((remote, bytes));
                break;
            }
        }
    }

    /// False if the datagram has to wait.
    fn try_send(&self, remote: SocketAddr, bytes: &[u8], counters: &NodeCounters) -> bool {
        match self.socket.try_send_to(bytes, remote) {
            Ok(_) => counters.datagrams_out.one(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                // As good as lost on the way: too large, no route, port closed.
                tracing::debug!(%remote, %error, bytes = bytes.len(), "datagram not sent");
                counters.datagrams_unsent.one();
            }
        }
        true
    }
}
