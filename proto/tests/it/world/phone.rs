//! A strict phone with one call: repeats its requests at whatever node is told, answers what it is
//! asked, acknowledges, and writes down what RFC 3261, 3262 or 3311 would let it refuse.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::time::Instant;
use callring_proto::sip::{HeaderName, Message, Method, ResponseBuilder};

use super::{MS, PHONE, SECOND, World, request, with_body};

const T1: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(50);

struct Pending {
    text: String,
    method: String,
    cseq: u32,
    branch: String,
    extra: String,
    body: String,
    again: Instant,
    interval: Duration,
    gives_up: Instant,
}

/// A 2xx of the phone's to an INVITE, until its ACK.
struct Unacked {
    cseq: u32,
    bytes: Bytes,
    again: Instant,
    interval: Duration,
    gives_up: Instant,
}

pub(crate) struct Phone {
    /// The node that its messages go to.
    pub(crate) node: usize,
    pub(crate) cseq: u32,
    /// The finals it got, `200 INVITE`, each once.
    pub(crate) finals: Vec<String>,
    /// Requests that it was asked, each once.
    pub(crate) asked: Vec<String>,
    /// What it would complain about.
    pub(crate) complaints: Vec<String>,
    /// The call is over, as it knows.
    pub(crate) over: bool,
    /// It drops what it receives.
    pub(crate) deaf: bool,
    pending: Vec<Pending>,
    retries: Vec<(Instant, String, String, String)>,
    answers: BTreeMap<String, Bytes>,
    unacked: Vec<Unacked>,
    last_theirs: u32,
    version: u32,
    seen: usize,
    branches: u32,
}

impl Phone {
    /// A phone whose INVITE number 1 was sent by hand, and all that was answered seen.
    pub(crate) fn new(world: &World) -> Self {
        Self {
            node: 0,
            cseq: 1,
            finals: Vec::new(),
            asked: Vec::new(),
            complaints: Vec::new(),
            over: false,
            deaf: false,
            pending: Vec::new(),
            retries: Vec::new(),
            answers: BTreeMap::new(),
            unacked: Vec::new(),
            last_theirs: 0,
            version: 1,
            seen: world.sent.len(),
            branches: 0,
        }
    }

    fn sdp(&self, extra: &str) -> String {
        let version = self.version;
        format!(
            "v=0\r\no=- 9 {version} IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 0\r\n{extra}"
        )
    }

    /// A new offer of the phone's.
    pub(crate) fn offer(&mut self) -> String {
        self.version += 1;
        self.sdp("a=sendonly\r\n")
    }

    /// Sends a new request of the dialog, and repeats it until it is answered.
    pub(crate) fn send(&mut self, world: &mut World, method: &str, extra: &str, body: &str) {
        self.cseq += 1;
        let cseq = self.cseq;
        self.branches += 1;
        let branch = format!("ph{}", self.branches);
        self.transmit(world, (method, cseq, &branch), extra, body);
    }

    /// The CANCEL of an INVITE that was sent by hand with branch `i`.
    pub(crate) fn cancel(&mut self, world: &mut World) {
        self.transmit(world, ("CANCEL", 1, "i"), "tagless", "");
        self.watch(world, "INVITE", 1, "i");
    }

    /// Waits for the final of an INVITE that was sent by hand.
    fn watch(&mut self, world: &World, method: &str, cseq: u32, branch: &str) {
        self.pending.push(Pending {
            text: String::new(),
            method: method.to_owned(),
            cseq,
            branch: branch.to_owned(),
            extra: String::new(),
            body: String::new(),
            again: world.now + SECOND * 60,
            interval: SECOND * 60,
            gives_up: world.now + SECOND * 32,
        });
    }

    fn transmit(
        &mut self,
        world: &mut World,
        (method, cseq, branch): (&str, u32, &str),
        extra: &str,
        body: &str,
    ) {
        let tag = if extra == "tagless" {
            String::new()
        } else {
            format!("To-tag: {}\n{extra}", world.tag())
        };
        let text = with_body(&request(method, "c", cseq, branch, &tag), body);
        world.datagram(self.node, &text);
        self.watch(world, method, cseq, branch);
        let one = self.pending.last_mut().expect("just pushed");
        one.text = text;
        one.extra = extra.to_owned();
        one.body = body.to_owned();
        one.interval = T1;
        one.again = world.now + T1;
    }

    /// Lets time pass, in small steps.
    pub(crate) fn run(&mut self, world: &mut World, span: Duration) {
        let until = world.now + span;
        while world.now < until {
            world.pass(TICK.min(until.since(world.now).max(MS)));
            self.hear(world);
            self.on_time(world);
        }
    }

    fn hear(&mut self, world: &mut World) {
        while self.seen < world.sent.len() {
            let message = world.sent[self.seen].message.clone();
            self.seen += 1;
            if self.deaf {
                continue;
            }
            if message.is_request() {
                self.on_request(world, &message);
            } else {
                self.on_response(world, &message);
            }
        }
    }

    fn on_request(&mut self, world: &mut World, asked: &Message) {
        if *asked.method() == Method::Ack {
            let count = self.unacked.len();
            self.unacked.retain(|one| one.cseq != asked.cseq_number());
            if count == self.unacked.len() && asked.cseq_number() > self.last_theirs {
                self.complaints.push(format!("{asked:?} of no INVITE"));
            }
            return;
        }
        let key = format!("{} {}", asked.branch().unwrap_or_default(), asked.method());
        if let Some(bytes) = self.answers.get(&key) {
            return world.packet(self.node, bytes.clone());
        }
        let number = asked.cseq_number();
        let status = match asked.method() {
            _ if number <= self.last_theirs => {
                self.complaints.push(format!("{asked:?} is out of order"));
                500
            }
            Method::Bye if self.over => 481,
            _ if self.over => {
                self.complaints.push(format!("{asked:?} after the end"));
                481
            }
            Method::Invite if !self.unacked.is_empty() => {
                self.complaints.push(format!("{asked:?} before an ACK"));
                500
            }
            Method::Invite | Method::Update if self.is_offering() => 491,
            _ => 200,
        };
        self.last_theirs = self.last_theirs.max(number);
        self.asked.push(asked.method().to_string());
        self.over |= *asked.method() == Method::Bye;
        let mut answer = ResponseBuilder::new(asked, status)
            .contact(format!("<sip:a@{PHONE}>"))
            .header("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO");
        if status == 200 && (*asked.method() == Method::Invite || !asked.body().is_empty()) {
            answer = answer.body("application/sdp", self.sdp("").into_bytes());
        }
        if let Some(expires) = asked.header(HeaderName::SessionExpires) {
            answer = answer.header("Session-Expires", expires.to_owned());
        }
        let bytes = answer.build().expect("it can be written");
        self.answers.insert(key, bytes.clone());
        world.packet(self.node, bytes.clone());
        if *asked.method() == Method::Invite && status == 200 {
            self.unacked.push(Unacked {
                cseq: number,
                bytes,
                again: world.now + T1,
                interval: T1,
                gives_up: world.now + SECOND * 32,
            });
        }
    }

    fn is_offering(&self) -> bool {
        let offers = |one: &Pending| one.method == "INVITE" || !one.body.is_empty();
        self.pending.iter().any(offers)
    }

    fn on_response(&mut self, world: &mut World, answer: &Message) {
        let status = answer.status().expect("a response");
        let method = answer.method().to_string();
        let branch = answer.branch().unwrap_or_default();
        let branch = branch.trim_start_matches("z9hG4bK").to_owned();
        let mut pending = self.pending.iter();
        let found = pending.position(|one| one.branch == branch && one.method == method);
        if status < 200 {
            if let Some(one) = found.and_then(|at| self.pending.get_mut(at)) {
                one.again = world.now + SECOND * 60; // RFC 3261 17.1.1.2
            }
            return;
        }
        if method == "INVITE" {
            let tag = answer.to_tag().unwrap_or_default();
            let own = if status < 300 { "a" } else { "" };
            let text = format!("To-tag: {tag}\n");
            let ack = request("ACK", "c", answer.cseq_number(), &(branch + own), &text);
            world.datagram(self.node, &ack);
        }
        let Some(one) = found.map(|at| self.pending.remove(at)) else {
            return;
        };
        self.finals.push(format!("{status} {method}"));
        self.over |= status == 200 && method == "BYE";
        self.over |= status == 487;
        match status {
            200..=299 | 487 => {}
            481 if self.over => {}
            // RFC 3261 14.1, 14.2, RFC 3311 5.1: not now.
            491 | 500 if matches!(method.as_str(), "INVITE" | "UPDATE") => {
                let told = answer.header(HeaderName::RetryAfter).is_some();
                if status == 500 && !told {
                    self.complaints.push(format!("{answer:?}"));
                }
                let at = world.now + SECOND;
                self.retries.push((at, one.method, one.extra, one.body));
            }
            _ => self.complaints.push(format!("{answer:?}")),
        }
    }

    fn on_time(&mut self, world: &mut World) {
        let now = world.now;
        let mut out = Vec::new();
        let mut lost = Vec::new();
        self.pending.retain_mut(|one| {
            if one.gives_up <= now {
                lost.push(format!("{} {} was never answered", one.method, one.cseq));
            } else if one.again <= now && !one.text.is_empty() {
                one.interval = (one.interval * 2).min(SECOND * 4);
                one.again = now + one.interval;
                out.push(one.text.clone());
            }
            one.gives_up > now
        });
        out.iter().for_each(|text| world.datagram(self.node, text));
        let mut again = Vec::new();
        self.unacked.retain_mut(|one| {
            if one.gives_up <= now {
                lost.push(format!(
                    "the 200 to INVITE {} was never acknowledged",
                    one.cseq
                ));
            } else if one.again <= now {
                one.interval = (one.interval * 2).min(SECOND * 4);
                one.again = now + one.interval;
                again.push(one.bytes.clone());
            }
            one.gives_up > now
        });
        again
            .into_iter()
            .for_each(|one| world.packet(self.node, one));
        if !self.deaf {
            self.complaints.extend(lost);
        }
        let due = self.retries.iter().position(|(at, ..)| *at <= now);
        if let Some((_, method, extra, body)) = due.map(|at| self.retries.remove(at)) {
            self.send(world, &method, &extra, &body);
        }
    }
}
