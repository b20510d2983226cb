//! Datagrams with their local address: which one a datagram came to, and from which one to send.
//! For sockets that are bound to every address (IP_PKTINFO, IPV6_RECVPKTINFO).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};

/// Makes the system say of each datagram which address it came to.
pub(super) fn enable(socket: &impl AsFd, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        setsockopt(socket, Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(socket, Ipv4PacketInfo, &true)?;
    }
    Ok(())
}

/// A buffer for what the system says beside a datagram.
pub(super) fn control() -> Vec<u8> {
    cmsg_space!(in6_pktinfo)
}

/// Receives one datagram: its length, where it came from, and the local address that an answer can
/// leave from, if there is one (none for multicast over IPv6).
pub(super) fn receive(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
    control: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let fd = socket.as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(control), MsgFlags::empty())?;
    let remote = message.address.as_ref().and_then(socket_addr);
    let remote = remote.ok_or_else(|| io::Error::other("a datagram from nowhere"))?;
    let local = message.cmsgs()?.find_map(|said| match said {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            // Not the header's destination, which may be a broadcast.
            Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    });
    let local = local.filter(|local| !local.is_multicast() && !local.is_unspecified());
    Ok((message.bytes, remote, local))
}

/// Sends a datagram from `local`, which has the remote's address family.
pub(super) fn send(
    socket: &impl AsRawFd,
    bytes: &[u8],
    remote: SocketAddr,
    local: IpAddr,
) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    let remote = SockaddrStorage::from(remote);
    let (v4, v6);
    let from = match local {
        IpAddr::V4(local) => {
            v4 = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr {
                    s_addr: u32::from_ne_bytes(local.octets()),
                },
                ipi_addr: in_addr { s_addr: 0 },
            };
            ControlMessage::Ipv4PacketInfo(&v4)
        }
        IpAddr::V6(local) => {
            v6 = in6_pktinfo {
                ipi6_ifindex: 0,
                ipi6_addr: in6_addr {
                    s6_addr: local.octets(),
                },
            };
            ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    let fd = socket.as_raw_fd();
    sendmsg(fd, &parts, &[from], MsgFlags::empty(), Some(&remote))?;
    Ok(())
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|address| SocketAddr::V4((*address).into()));
    let v6 = address
        .as_sockaddr_in6()
        .map(|address| SocketAddr::V6((*address).into()));
    v4.or(v6)
}
