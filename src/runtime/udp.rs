//! SIP sockets over UDP: one per listener and shard, all of a listener on one port.
//!
//! May use socket2 and tokio. Knows nothing of what the datagrams say.
//!
//! A socket bound to one address sends from there by itself. One bound to every address is told
//! with each datagram which one it came to, and answers from that (SIP.md S1.3): see `pktinfo` and
//! `locals`.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::locals::Locals;
use super::pktinfo;
use super::stats::NodeCounters;
use crate::node::{Scope, SipListener, StartError};

/// Buffers of a socket, bytes: a burst of 4,000 datagrams of 1 kB. Best effort.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Datagrams that wait for a socket to take them. Above: the newest is dropped and counted; SIP
/// over UDP retransmits.
const UNSENT_MAX: usize = 1_024;
/// Datagrams that are thrown away at once at most: more than the socket's buffer holds.
const DISCARD_MAX: usize = 65_536;

/// The sockets of one listener, one per shard.
pub(crate) struct BoundListener {
    /// Where they are bound.
    pub(crate) address: SocketAddr,
    /// What Contact and Via name.
    pub(crate) advertise: Arc<str>,
    /// How long that lives.
    pub(crate) scope: Scope,
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
    let (alone, here) = match open(listener.listen, Bind::default()) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            let address = listener.listen;
            tracing::warn!(%address, "this machine has no such address yet; listening for it");
            (open(address, Bind::default().free()), false)
        }
        outcome => (outcome, true),
    };
    let alone = alone.map_err(failed)?;
    let address = alone.local_addr().map_err(failed)?;
    let sockets = if shared {
        drop(alone);
        let bind = Bind {
            shared: true,
            free: !here,
        };
        (0..shards)
            .map(|_| open(address, bind))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?
    } else {
        vec![alone]
    };
    if address.ip().is_unspecified() {
        for socket in &sockets {
            pktinfo::enable(socket, address.is_ipv6()).map_err(failed)?;
        }
    }
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
        scope: listener.scope,
        sockets,
    })
}

/// How a socket is bound.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bind {
    /// Together with others that are shared too.
    pub(crate) shared: bool,
    /// To an address that need not be here yet (free-bind).
    pub(crate) free: bool,
}

impl Bind {
    fn free(self) -> Self {
        Self { free: true, ..self }
    }
}

/// A bound socket with large buffers.
pub(crate) fn open(address: SocketAddr, bind: Bind) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if bind.shared {
        socket.set_reuse_port(true)?;
    }
    if bind.free && address.is_ipv6() {
        socket.set_freebind_v6(true)?;
    } else if bind.free {
        socket.set_freebind_v4(true)?;
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// A datagram on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    /// Where to.
    pub(crate) remote: SocketAddr,
    /// What.
    pub(crate) bytes: Bytes,
    /// From which local address; none: from where the socket is bound, or the system likes.
    pub(crate) local: Option<IpAddr>,
}

/// What a socket that is bound to every address needs besides.
struct Everywhere {
    locals: Arc<Locals>,
    control: Vec<u8>,
    /// Numbers known of addresses: what `locals` would say, without its lock.
    numbers: HashMap<IpAddr, u16>,
}

/// One shard's socket of one listener.
pub(crate) struct SipSocket {
    socket: UdpSocket,
    /// The listener's place among the node's.
    listener: u16,
    everywhere: Option<Everywhere>,
    /// What Contact and Via name.
    pub(crate) advertise: Arc<str>,
    unsent: VecDeque<Datagram>,
}

impl SipSocket {
    /// Takes the socket over into the calling thread's runtime.
    pub(crate) fn new(
        socket: std::net::UdpSocket,
        listener: u16,
        advertise: Arc<str>,
        locals: &Arc<Locals>,
    ) -> io::Result<Self> {
        let is_everywhere = socket.local_addr()?.ip().is_unspecified();
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            listener,
            everywhere: is_everywhere.then(|| Everywhere {
                locals: locals.clone(),
                control: pktinfo::control(),
                numbers: HashMap::new(),
            }),
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

    /// Receives one datagram into `scratch`, if one is there: where it came from, its length, and
    /// the number of where it came to.
    pub(crate) fn receive(
        &mut self,
        scratch: &mut [u8],
        counters: &NodeCounters,
    ) -> Option<(SocketAddr, usize, u16)> {
        // An ICMP error of an earlier send shows up here once; a few of them don't end the burst.
        for _ in 0..4 {
            match self.try_receive(scratch) {
                Ok((length, remote, number)) => {
                    counters.datagrams_in.one();
                    return Some((remote, length, number));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => counters.receive_errors.one(),
            }
        }
        None
    }

    /// Throws away what waits to be received. How much it was.
    pub(crate) fn discard(&mut self) -> usize {
        // Straight from the system: tokio hears only in its next turn that something is there.
        let socket = SockRef::from(&self.socket);
        let mut start = [MaybeUninit::uninit()];
        let received = (0..DISCARD_MAX).map(|_| socket.recv(&mut start));
        let waiting = |received: &io::Result<usize>| match received {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        received.take_while(waiting).filter(Result::is_ok).count()
    }

    fn try_receive(&mut self, scratch: &mut [u8]) -> io::Result<(usize, SocketAddr, u16)> {
        let Some(everywhere) = &mut self.everywhere else {
            let (length, remote) = self.socket.try_recv_from(scratch)?;
            return Ok((length, remote, self.listener));
        };
        let (socket, control) = (&self.socket, &mut everywhere.control);
        let (length, remote, local) = socket.try_io(Interest::READABLE, || {
            pktinfo::receive(socket, scratch, control)
        })?;
        let number = match local {
            None => self.listener,
            Some(local) => everywhere.number(self.listener, local),
        };
        Ok((length, remote, number))
    }

    /// Sends, or queues if the socket is full just now.
    pub(crate) fn send(&mut self, datagram: Datagram, counters: &NodeCounters) {
        if self.unsent.is_empty() && self.try_send(&datagram, counters) {
            return;
        }
        if self.unsent.len() >= UNSENT_MAX {
            counters.datagrams_unsent.one();
            return;
        }
        self.unsent.push_back(datagram);
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self, counters: &NodeCounters) {
        while let Some(datagram) = self.unsent.pop_front() {
            if !self.try_send(&datagram, counters) {
                self.unsent.push_front(datagram);
                break;
            }
        }
    }

    /// False if the datagram has to wait.
    fn try_send(&self, datagram: &Datagram, counters: &NodeCounters) -> bool {
        match self.send_from(datagram) {
            Ok(()) => counters.datagrams_out.one(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                // As good as lost on the way: too large, no route, port closed.
                let (remote, bytes) = (datagram.remote, datagram.bytes.len());
                tracing::debug!(%remote, %error, bytes, "datagram not sent");
                counters.datagrams_unsent.one();
            }
        }
        true
    }

    fn send_from(&self, datagram: &Datagram) -> io::Result<()> {
        let Datagram {
            remote,
            bytes,
            local,
        } = datagram;
        let same_family = |local: &IpAddr| local.is_ipv4() == remote.is_ipv4();
        if let (Some(local), true) = (local.filter(same_family), self.everywhere.is_some()) {
            let sent = self.socket.try_io(Interest::WRITABLE, || {
                pktinfo::send(&self.socket, bytes, *remote, local)
            });
            match sent {
                // The address has left this machine since: any other is better than silence.
                Err(error) if is_gone(&error) => {}
                outcome => return outcome,
            }
        }
        self.socket.try_send_to(bytes, *remote).map(drop)
    }
}

impl Everywhere {
    fn number(&mut self, listener: u16, local: IpAddr) -> u16 {
        if let Some(number) = self.numbers.get(&local) {
            return *number;
        }
        let number = self.locals.number(listener, local);
        if number != listener {
            // As many as `locals` has numbers for.
            self.numbers.insert(local, number);
        }
        number
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, InvalidInput};
    matches!(error.kind(), AddrNotAvailable | InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a standstill all that waits is thrown away, and what comes then is received.
    #[tokio::test]
    async fn what_waits_can_be_thrown_away() {
        let bound = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (socket, phone) = (bound(), bound());
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let locals = Arc::new(Locals::new(1));
        let mut socket = SipSocket::new(socket, 0, "here".into(), &locals).unwrap();
        let counters = NodeCounters::default();
        let mut scratch = [0; 64];
        let readable = async |socket: &SipSocket| socket.socket.readable().await.unwrap();
        for _ in 0..20 {
            phone.send_to(b"old", address).unwrap();
        }
        assert_eq!(socket.discard(), 20);
        phone.send_to(b"fresh", address).unwrap();
        readable(&socket).await;
        let received = socket.receive(&mut scratch, &counters);
        assert_eq!(received.map(|(_, length, _)| length), Some(5));
    }
}
