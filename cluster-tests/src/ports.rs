//! Ports for programs that must be told theirs before they run: below the range the system hands
//! out by itself, where nobody gets one by accident between our look and the program's bind, and
//! where a connection that is tried again and again cannot meet itself.
//!
//! Must not know: who the programs are.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Above what daemons use, below media (20,000) and the system's own range (32,768).
const FIRST: u16 = 10_000;
const COUNT: u16 = 4_500;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address on loopback that nobody is bound to, over UDP or TCP, and that no other caller of
/// this process has been given; nor the one after it, where some phones listen for TLS unasked.
///
/// # Panics
/// If all of them are taken.
#[must_use]
pub fn free() -> SocketAddr {
    // Two test processes at a time begin at places apart.
    let apart = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    let mut tries = (0..COUNT).map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + 2 * ((apart + step) % COUNT);
        [port, port + 1].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    });
    let is_free = |at: &SocketAddr| UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok();
    let free = tries.find(|pair| pair.iter().all(is_free));
    let [free, _] = free.expect("a port of these is free");
    free
}

#[cfg(test)]
mod tests {
    use super::free;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn no_port_is_given_twice_or_while_its_neighbour_is_taken() {
        let first = free();
        let after = |by: u16| (first.ip(), first.port() + by);
        let (_udp, _tcp) = (UdpSocket::bind(after(2)), TcpListener::bind(after(5)));
        let second = free();
        for by in 0..6 {
            assert_ne!(second.port(), first.port() + by);
        }
    }
}
