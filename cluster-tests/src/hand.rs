//! A user agent by hand: texts out, first lines in, from one UDP socket. For what no phone does by
//! itself: one INVITE sent to several nodes, a CANCEL to a third.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use callring::proto::sip::{Message, ResponseBuilder};

/// A socket and what came to it.
#[derive(Debug)]
pub struct Hand {
    socket: UdpSocket,
    /// Everything that came, oldest first.
    pub received: Vec<(SocketAddr, Message)>,
}

/// `180 INVITE`, or a request's method.
#[must_use]
pub fn line(message: &Message) -> String {
    match message.status() {
        Some(status) => format!("{status} {}", message.cseq().method),
        None => message.method().to_string(),
    }
}

impl Default for Hand {
    fn default() -> Self {
        Self::new()
    }
}

impl Hand {
    /// On loopback.
    ///
    /// # Panics
    /// If there is no port left.
    #[must_use]
    pub fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let pause = Some(Duration::from_millis(20));
        socket.set_read_timeout(pause).expect("a time-out");
        Self {
            socket,
            received: Vec::new(),
        }
    }

    /// Its address.
    ///
    /// # Panics
    /// If the socket has none.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    /// Answers the newest request of this method where it came from. The request.
    ///
    /// # Panics
    /// If none came.
    pub fn answer(&self, method: &str, status: u16, sdp: &str) -> Message {
        let mut received = self.received.iter().rev();
        let newest = received.find(|(_, message)| line(message) == method);
        let (source, request) = newest.expect("it came");
        let contact = format!("<sip:hand@{}>", self.local());
        let mut answer = ResponseBuilder::new(request, status)
            .to_tag("hand")
            .contact(contact.as_str());
        if !sdp.is_empty() {
            answer = answer.body("application/sdp", sdp.as_bytes());
        }
        let answer = answer.build().expect("a response");
        self.send(*source, &String::from_utf8_lossy(&answer));
        request.clone()
    }

    /// A request of the call `call`; `tag` is the To tag, `branch` its transaction.
    #[must_use]
    pub fn text(&self, method: &str, call: &str, cseq: u32, branch: &str, tag: &str) -> String {
        let me = self.local();
        let tag = if tag.is_empty() {
            String::new()
        } else {
            format!(";tag={tag}")
        };
        format!(
            "{method} sip:answer@127.0.0.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {me};branch=z9hG4bK{branch};rport\r\n\
             From: <sip:hand@{me}>;tag=f{call}\r\nTo: <sip:answer@127.0.0.1>{tag}\r\n\
             Call-ID: {call}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:hand@{me}>\r\nContent-Length: 0\r\n\r\n"
        )
    }

    /// Sends a text.
    ///
    /// # Panics
    /// If the system refuses for another reason than a dead peer.
    pub fn send(&self, to: SocketAddr, text: &str) {
        // A refused port is what a dead node looks like.
        let _ = self.socket.send_to(text.as_bytes(), to);
    }

    /// Listens for so long, or until `wanted` is among what came. Whether it is.
    pub fn listen(&mut self, patience: Duration, wanted: impl Fn(&Message) -> bool) -> bool {
        let until = Instant::now() + patience;
        let mut buffer = [0; 65_535];
        loop {
            if self.received.iter().any(|(_, message)| wanted(message)) {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            if let Ok((length, source)) = self.socket.recv_from(&mut buffer)
                && let Ok(message) = Message::parse(Bytes::copy_from_slice(&buffer[..length]))
            {
                self.received.push((source, message));
            }
        }
    }

    /// Waits for a line such as `200 INVITE`.
    ///
    /// # Panics
    /// If it does not come.
    pub fn expect(&mut self, wanted: &str, patience: Duration) {
        let came = self.listen(patience, |message| line(message) == wanted);
        assert!(came, "{wanted} within {patience:?}, got {:?}", self.lines());
    }

    /// What came, in order.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.received
            .iter()
            .map(|(_, message)| line(message))
            .collect()
    }

    /// How often a line came.
    #[must_use]
    pub fn count(&self, wanted: &str) -> usize {
        self.lines().iter().filter(|line| *line == wanted).count()
    }

    /// The To tags of answers to INVITE.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        let invites = self
            .received
            .iter()
            .filter(|(_, message)| message.status().is_some() && line(message).ends_with("INVITE"));
        let mut tags: Vec<String> = invites
            .filter_map(|(_, message)| message.to_tag().map(str::to_owned))
            .collect();
        tags.sort();
        tags.dedup();
        tags
    }
}
