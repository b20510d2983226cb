//! A capture put in order: messages instead of bytes, sorted by call.
//!
//! Must not know: the rules, but for the two that keep a datagram out of the book.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callring::demo::capture::{Capture, Direction, Packet};
use callring::proto::sip::{Message, Method};

use super::{Listener, Rule, Violation};

/// A message of a capture.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Duration,
    pub(super) direction: Direction,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) message: Message,
}

/// Everything with one Call-ID, in order.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub(super) call_id: String,
    pub(super) seen: Vec<Seen>,
}

/// A capture in order.
#[derive(Debug)]
pub(super) struct Book<'a> {
    pub(super) stories: BTreeMap<String, Story>,
    epoch: Instant,
    nodes: &'a [Listener],
}

impl Seen {
    /// Whether it is a request that went this way; ACK and CANCEL included.
    pub(super) fn is_request(&self, direction: Direction) -> bool {
        self.direction == direction && self.message.is_request()
    }

    /// The status, if it is a response that went this way.
    pub(super) fn status(&self, direction: Direction) -> Option<u16> {
        self.message
            .status()
            .filter(|_| self.direction == direction)
    }

    /// What a request and its responses have in common: branch and method, ACK apart.
    pub(super) fn transaction(&self) -> (&str, &Method) {
        (
            self.message.branch().unwrap_or_default(),
            self.message.method(),
        )
    }

    /// `200 to BYE`, `INFO`.
    pub(super) fn name(&self) -> String {
        let method = self.message.method();
        match self.message.status() {
            Some(status) => format!("{status} to {method}"),
            None => format!("{method} with CSeq {}", self.message.cseq_number()),
        }
    }
}

impl Story {
    pub(super) fn broken(&self, rule: Rule, seen: &Seen, text: impl Into<String>) -> Violation {
        Violation {
            rule,
            at: seen.at,
            call_id: self.call_id.clone(),
            text: text.into(),
        }
    }

    /// The requests that went this way, repetitions left out.
    pub(super) fn new_requests(&self, direction: Direction) -> impl Iterator<Item = &Seen> {
        let mut known = Vec::new();
        self.seen.iter().filter(move |seen| {
            let key = seen.transaction();
            let new = seen.is_request(direction) && !known.contains(&key);
            if new {
                known.push(key);
            }
            new
        })
    }

    /// Whether the capture has the set-up too. If not, another user agent did that.
    pub(super) fn has_setup(&self) -> bool {
        self.seen.iter().any(|seen| {
            seen.is_request(Direction::Sent)
                && *seen.message.method() == Method::Invite
                && seen.message.to_tag().is_none()
        })
    }
}

impl<'a> Book<'a> {
    pub(super) fn new(capture: &Capture, nodes: &'a [Listener]) -> (Self, Vec<Violation>) {
        let mut book = Self {
            stories: BTreeMap::new(),
            epoch: capture.epoch,
            nodes,
        };
        let mut violations = Vec::new();
        for packet in &capture.packets {
            if packet.bytes.iter().all(|byte| b"\r\n".contains(byte)) {
                continue;
            }
            match book.admit(packet) {
                Ok(seen) => {
                    let call_id = seen.message.call_id().to_owned();
                    let story = book.stories.entry(call_id.clone()).or_insert(Story {
                        call_id,
                        seen: Vec::new(),
                    });
                    story.seen.push(seen);
                }
                Err(violation) => violations.push(violation),
            }
        }
        (book, violations)
    }

    /// The node whose datagrams come from `address`.
    pub(super) fn node(&self, address: SocketAddr) -> Option<&'a Listener> {
        self.nodes.iter().find(|node| node.address == address)
    }

    /// Whether the node at `address` was dead at `at`.
    pub(super) fn was_down(&self, address: SocketAddr, at: Duration) -> bool {
        self.node(address)
            .is_some_and(|node| is_down(node, self.epoch + at))
    }

    /// All nodes, dead or alive.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &'a Listener> {
        self.nodes.iter()
    }

    /// The nodes that were not dead at `at`.
    pub(super) fn living(&self, at: Duration) -> impl Iterator<Item = &'a Listener> {
        let now = self.epoch + at;
        let nodes = self.nodes.iter();
        nodes.filter(move |node| !is_down(node, now))
    }

    /// A call's messages, one a line, for people.
    pub(super) fn tell(&self, story: &Story) -> String {
        let line = |seen: &Seen| {
            let arrow = match seen.direction {
                Direction::Sent => "->",
                Direction::Received => "<-",
            };
            let node = self.node(seen.remote);
            let node = node.map_or("?", |node| node.node.as_str());
            let cseq = seen.message.cseq_number();
            let at = seen.at.as_secs_f64() * 1e3;
            format!("\n  {at:10.1} ms {arrow} {node}: {} ({cseq})", seen.name())
        };
        story.seen.iter().map(line).collect()
    }

    fn admit(&self, packet: &Packet) -> Result<Seen, Violation> {
        let broken = |rule, text: String| Violation {
            rule,
            at: packet.at,
            call_id: String::from("(no call)"),
            text,
        };
        if packet.direction == Direction::Received && self.node(packet.remote).is_none() {
            return Err(broken(
                Rule::UnknownSource,
                format!("{} is no listener of the cluster", packet.remote),
            ));
        }
        let message = Message::parse(packet.bytes.clone())
            .map_err(|error| broken(Rule::NotSip, error.to_string()))?;
        Ok(Seen {
            at: packet.at,
            direction: packet.direction,
            local: packet.local,
            remote: packet.remote,
            message,
        })
    }
}

fn is_down(node: &Listener, now: Instant) -> bool {
    node.down.is_some_and(|down| now >= down)
}
