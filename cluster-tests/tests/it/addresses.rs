//! Where answers leave from on a host with several addresses (SIP.md S1.3), at real nodes.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use cluster_tests::arena::{Arena, PATIENCE, plan};
use cluster_tests::namespace::{add_address, isolated};

/// A phone with nothing but a socket, and one dialog.
struct Phone {
    socket: UdpSocket,
    call_id: String,
    to_tag: String,
}

impl Phone {
    fn new(like: IpAddr) -> Self {
        let home = if like.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let socket = UdpSocket::bind(home).expect("a port is free");
        let patience = Some(PATIENCE);
        socket.set_read_timeout(patience).expect("a time limit");
        Self {
            socket,
            call_id: format!("at-{like}"),
            to_tag: String::new(),
        }
    }

    /// Sends a request; unless it is an ACK, its 200 comes, and everything before it too, from the
    /// address that was asked.
    fn asks(&mut self, method: &str, cseq: u32, asked: SocketAddr) {
        let here = self.socket.local_addr().expect("it is bound");
        let (call_id, tag) = (&self.call_id, &self.to_tag);
        let branch = format!("z9hG4bK-{method}-{}", call_id.replace(':', "-"));
        let text = format!(
            "{method} sip:bob@example.com SIP/2.0\r\n\
             Via: SIP/2.0/UDP {here};branch={branch};rport\r\n\
             From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>{tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:alice@{here}>\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let sent = self.socket.send_to(text.as_bytes(), asked);
        sent.expect("it can be sent");
        if method == "ACK" {
            return;
        }
        loop {
            let mut buffer = [0; 4_096];
            let answer = self.socket.recv_from(&mut buffer);
            let (length, from) = answer.unwrap_or_else(|error| panic!("{method} {asked}: {error}"));
            let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let wanted = format!("CSeq: {cseq} {method}\r\n");
            if !answer.contains(&wanted) {
                continue; // a repeated answer to an earlier request
            }
            assert_eq!(from, asked, "{answer}");
            if answer.starts_with("SIP/2.0 200 ") {
                let tag = answer.lines().find_map(|line| {
                    let value = line.strip_prefix("To: ")?;
                    Some(value[value.find(";tag=")?..].to_owned())
                });
                self.to_tag = tag.expect("a To tag");
                return;
            }
        }
    }
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    // Goal: every answer comes from the address its request went to, on wildcard listeners too, of
    // both address families, at the owner and at a member that relays; and a listener on an address
    // that comes later serves once it is there. Method: two nodes in a network of their own, with
    // several addresses; at each address one call is set up at one node and ended at the other.
    isolated(
        "addresses::answers_leave_from_the_address_that_was_asked",
        || {
            for address in ["fd00:5::1/64", "fd00:5::2/64", "10.5.0.1/24", "10.5.0.2/24"] {
                add_address(address);
            }
            let mut plan = plan();
            plan.sip = vec![
                "udp://0.0.0.0:0?advertise=sip.example.com:5060".into(),
                "udp://[::]:0?advertise=sip.example.com:5060".into(),
                "udp://10.9.9.9:0".into(),
            ];
            let arena = Arena::start(plan, 2);
            let at = |node: usize, listener: usize, ip: IpAddr| {
                let bound = arena.cluster.node(node).ready().sip[listener];
                SocketAddr::new(ip, bound.port())
            };
            add_address("10.9.9.9/32");
            let asked = [
                (0, "127.0.0.1"),
                (0, "127.0.0.2"),
                (0, "10.5.0.1"),
                (0, "10.5.0.2"),
                (1, "::1"),
                (1, "fd00:5::1"),
                (1, "fd00:5::2"),
                (2, "10.9.9.9"),
            ];
            for (listener, ip) in asked {
                let ip: IpAddr = ip.parse().expect("an address");
                let mut phone = Phone::new(ip);
                phone.asks("INVITE", 1, at(0, listener, ip));
                phone.asks("ACK", 1, at(0, listener, ip));
                phone.asks("INFO", 2, at(1, listener, ip));
                phone.asks("BYE", 3, at(1, listener, ip));
            }
            let relayed = arena.cluster.status(0).expect("an answer").status.relayed;
            assert!(relayed >= 16, "{relayed} relayed");
            arena.finish(&[]);
        },
    );
}
