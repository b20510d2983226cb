//! A caller with one call: RFC 3261's UAC over UDP, as far as a call needs it, that talks to any
//! node it likes and writes down what it was told.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::flow::Transport;
use callring_proto::base::ids::CallId;
use callring_proto::base::rng::Rng;
use callring_proto::base::time::Instant;
use callring_proto::sip::write::ack_of;
use callring_proto::sip::{Message, Method, RequestBuilder, ResponseBuilder};
use rand::RngExt as _;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const T1_X64: Duration = Duration::from_secs(32);
/// How long a phone waits for the application's own BYE.
const PATIENCE: Duration = Duration::from_secs(15);
const SDP: &[u8] = b"v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\n\
    c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// How a call is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The phone sends BYE.
    Bye,
    /// The application's timer does.
    AppTimer,
    /// Somebody tells a node to hang up.
    Signal,
    /// The phone cancels while it rings.
    Cancel,
}

/// Where the call stands, as the phone sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Inviting,
    Up,
    /// A BYE has passed, ours or theirs.
    Down,
    /// Never answered: nothing was promised.
    Unanswered,
}

#[derive(Clone, Debug)]
struct Transaction {
    method: Method,
    cseq: u32,
    branch: String,
    bytes: Bytes,
    node: usize,
    again: Instant,
    interval: Duration,
    gives_up: Instant,
    provisional: bool,
}

/// What the phone wants done, or has to tell.
#[derive(Debug)]
pub(super) enum Wish {
    Send(usize, Bytes),
    /// Hang the call up from this node.
    Signal(usize, CallId),
    /// The 2xx of our BYE came: the application's counts should be final.
    Counted(CallId),
    Blame(String),
}

pub(super) struct Phone {
    pub(super) addr: SocketAddr,
    pub(super) stage: Stage,
    pub(super) key: Option<CallId>,
    pub(super) infos: u32,
    pub(super) refused: u32,
    pub(super) answered: bool,
    call_id: String,
    tag: String,
    remote_tag: Option<String>,
    remote_seq: u32,
    byes: Vec<String>,
    cseq: u32,
    end: End,
    steps: Vec<(Instant, Method)>,
    end_at: Instant,
    after_end: Option<Instant>,
    current: Option<Transaction>,
    branches: u32,
    acked: Vec<(u32, Bytes)>,
}

impl Phone {
    pub(super) fn new(index: usize, start: Instant, rng: &mut Rng) -> Self {
        let port = 10_000 + u16::try_from(index).expect("some hundred phones");
        let end = match rng.random_range(0..10) {
            0..=5 => End::Bye,
            6 => End::AppTimer,
            7 | 8 => End::Signal,
            _ => End::Cancel,
        };
        let mut at = start + Duration::from_millis(rng.random_range(400..2_500));
        let mut steps = Vec::new();
        for _ in 0..rng.random_range(0..5) {
            let method = match rng.random_range(0..5) {
                0 | 1 => Method::Info,
                2 => Method::Options,
                3 => Method::Update,
                _ => Method::Invite,
            };
            steps.push((at, method));
            at += Duration::from_millis(rng.random_range(5..3_000));
        }
        steps.reverse();
        Self {
            addr: SocketAddr::from(([192, 0, 2, 1], port)),
            stage: Stage::Waiting,
            key: None,
            infos: 0,
            refused: 0,
            answered: false,
            call_id: format!("call-{index}@192.0.2.1"),
            tag: format!("tag{index}"),
            remote_tag: None,
            remote_seq: 0,
            byes: Vec::new(),
            cseq: 0,
            end,
            steps,
            end_at: at,
            after_end: None,
            current: None,
            branches: 0,
            acked: Vec::new(),
        }
    }

    /// Whether nothing will happen any more that the run must wait for.
    pub(super) fn is_done(&self) -> bool {
        match self.stage {
            Stage::Unanswered => true,
            Stage::Down => self.current.is_none() && self.after_end.is_none(),
            Stage::Waiting | Stage::Inviting | Stage::Up => false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if let Some(current) = &self.current {
            return Some(current.again.min(current.gives_up));
        }
        match self.stage {
            Stage::Up => match (self.steps.last(), self.end) {
                (Some((at, _)), _) => Some(*at),
                (None, End::Bye | End::Signal | End::Cancel) => Some(self.end_at),
                (None, End::AppTimer) => Some(self.end_at + PATIENCE),
            },
            Stage::Down => self.after_end,
            Stage::Waiting | Stage::Inviting | Stage::Unanswered => None,
        }
    }

    /// Lets happen what is due. `live`: nodes to choose from.
    pub(super) fn on_time(&mut self, now: Instant, live: &[usize], rng: &mut Rng) -> Vec<Wish> {
        let mut wishes = Vec::new();
        if self.stage == Stage::Waiting {
            self.stage = Stage::Inviting;
            self.send_new(Method::Invite, now, live, rng, &mut wishes);
            return wishes;
        }
        if self.current.is_some() {
            self.repeat(now, live, rng, &mut wishes);
            return wishes;
        }
        match self.stage {
            Stage::Up => {
                if let Some((_, method)) = self.steps.pop_if(|(at, _)| *at <= now) {
                    self.send_new(method, now, live, rng, &mut wishes);
                } else if self.steps.is_empty() && now >= self.end_at {
                    match (self.end, self.key) {
                        (End::Signal, Some(key)) => {
                            // Asked again until the BYE comes: a signal may meet a dying node.
                            self.end_at = now + Duration::from_secs(6);
                            wishes.push(Wish::Signal(pick(live, rng), key));
                        }
                        (End::Bye | End::Cancel, _) => {
                            self.send_new(Method::Bye, now, live, rng, &mut wishes);
                        }
                        // The owner died and nobody asked since: nobody has taken its timers over.
                        (End::AppTimer, _) if now >= self.end_at + PATIENCE => {
                            self.send_new(Method::Bye, now, live, rng, &mut wishes);
                        }
                        (End::AppTimer | End::Signal, _) => {}
                    }
                }
            }
            Stage::Down if self.after_end.is_some_and(|at| at <= now) => {
                self.after_end = None;
                self.send_new(Method::Info, now, live, rng, &mut wishes);
            }
            _ => {}
        }
        wishes
    }

    fn repeat(&mut self, now: Instant, live: &[usize], rng: &mut Rng, wishes: &mut Vec<Wish>) {
        let Some(current) = self.current.as_mut() else {
            return;
        };
        if now >= current.gives_up {
            let (method, cseq) = (current.method.clone(), current.cseq);
            self.current = None;
            match self.stage {
                Stage::Inviting => self.stage = Stage::Unanswered,
                Stage::Up => {
                    wishes.push(Wish::Blame(format!(
                        "lost: {method} {cseq} was never answered"
                    )));
                    self.stage = Stage::Unanswered;
                }
                // After the end, silence is as good as a 481.
                _ => {}
            }
            return;
        }
        if now < current.again {
            return;
        }
        // Any node will do: half of the repetitions go elsewhere, and all that met a dead node. An
        // INVITE that makes a call stays where it was sent.
        let initial = self.stage == Stage::Inviting;
        if !initial && (!live.contains(&current.node) || rng.random_range(0..2) == 0) {
            current.node = pick(live, rng);
        }
        current.interval = (current.interval * 2).min(T2);
        if initial {
            current.interval = current.interval.max(T1 * 2);
            if current.provisional {
                current.interval = T1_X64;
            }
        }
        current.again = now + current.interval;
        wishes.push(Wish::Send(current.node, current.bytes.clone()));
    }

    fn send_new(
        &mut self,
        method: Method,
        now: Instant,
        live: &[usize],
        rng: &mut Rng,
        wishes: &mut Vec<Wish>,
    ) {
        self.cseq += 1;
        let branch = self.branch();
        let bytes = self.write(&method, self.cseq, &branch);
        let node = pick(live, rng);
        wishes.push(Wish::Send(node, bytes.clone()));
        self.current = Some(Transaction {
            method,
            cseq: self.cseq,
            branch,
            bytes,
            node,
            again: now + T1,
            interval: T1,
            gives_up: now + T1_X64,
            provisional: false,
        });
    }

    fn branch(&mut self) -> String {
        self.branches += 1;
        format!("z9hG4bK-{}-{}", self.tag, self.branches)
    }

    fn write(&self, method: &Method, cseq: u32, branch: &str) -> Bytes {
        let to = match &self.remote_tag {
            Some(tag) => format!("<sip:ivr@example.com>;tag={tag}"),
            None => "<sip:ivr@example.com>".to_owned(),
        };
        let mut builder = RequestBuilder::new(method.clone(), "sip:ivr@example.com")
            .via(Transport::Udp, self.addr.to_string(), branch.to_owned())
            .from(format!("<sip:phone@example.com>;tag={}", self.tag))
            .to(to)
            .call_id(self.call_id.clone())
            .cseq(cseq);
        if matches!(method, Method::Invite | Method::Update) {
            builder = builder.contact(format!("<sip:phone@{}>", self.addr));
        }
        if *method == Method::Invite {
            builder = builder.body("application/sdp", SDP);
        }
        builder.build().expect("a phone's request can be written")
    }

    /// A message from a node.
    pub(super) fn on_message(
        &mut self,
        message: &Message,
        open: impl Fn(&str, &str) -> Option<CallId>,
        now: Instant,
        live: &[usize],
        rng: &mut Rng,
        from: usize,
    ) -> Vec<Wish> {
        let mut wishes = Vec::new();
        if message.is_request() {
            self.on_request(message, from, now, &mut wishes);
        } else {
            self.on_response(message, open, now, live, rng, &mut wishes);
        }
        wishes
    }

    fn on_request(&mut self, message: &Message, from: usize, now: Instant, wishes: &mut Vec<Wish>) {
        if message.from_tag() != self.remote_tag.as_deref()
            || message.to_tag() != Some(self.tag.as_str())
        {
            wishes.push(Wish::Blame(format!("tags changed in {}", message.method())));
            return;
        }
        let branch = message.branch().unwrap_or_default().to_owned();
        if !self.byes.contains(&branch) {
            if message.cseq_number() <= self.remote_seq {
                let (number, last) = (message.cseq_number(), self.remote_seq);
                wishes.push(Wish::Blame(format!("CSeq {number} after {last}")));
            }
            self.remote_seq = message.cseq_number();
            self.byes.push(branch);
        }
        let answer = ResponseBuilder::new(message, 200)
            .build()
            .expect("a 200 can be written");
        wishes.push(Wish::Send(from, answer));
        if *message.method() == Method::Bye && self.stage == Stage::Up {
            self.stage = Stage::Down;
            self.steps.clear();
            self.after_end = Some(now + Duration::from_secs(5));
        }
    }

    /// Where no member died and no message was lost: the call was not answered, or the
    /// application's timer did not end it.
    pub(super) fn was_let_down(&self) -> bool {
        let unanswered = self.stage == Stage::Unanswered && self.end != End::Cancel;
        let timer_lost = self.answered && self.end == End::AppTimer && self.byes.is_empty();
        unanswered || timer_lost
    }

    /// How many BYEs of the server, repetitions apart, this phone got.
    pub(super) fn server_byes(&self) -> usize {
        self.byes.len()
    }

    fn on_response(
        &mut self,
        message: &Message,
        open: impl Fn(&str, &str) -> Option<CallId>,
        now: Instant,
        live: &[usize],
        rng: &mut Rng,
        wishes: &mut Vec<Wish>,
    ) {
        let status = message.status().unwrap_or(0);
        let invite = *message.method() == Method::Invite;
        if invite
            && (200..300).contains(&status)
            && let Some((_, ack)) = self
                .acked
                .iter()
                .find(|(cseq, _)| *cseq == message.cseq_number())
        {
            // A repeated 2xx: its ACK was lost.
            wishes.push(Wish::Send(pick(live, rng), ack.clone()));
            return;
        }
        let Some(current) = self.current.as_mut() else {
            return;
        };
        if message.branch() != Some(current.branch.as_str())
            || message.cseq_number() != current.cseq
            || *message.method() != current.method
        {
            // The answer of a CANCEL has its INVITE's branch and number.
            return;
        }
        if let (Some(known), Some(tag)) = (&self.remote_tag, message.to_tag())
            && known != tag
        {
            wishes.push(Wish::Blame(format!("To tag changed in a {status}")));
        }
        if status < 200 {
            current.provisional = true;
            if self.end == End::Cancel && self.stage == Stage::Inviting {
                let (node, branch) = (current.node, current.branch.clone());
                let cseq = current.cseq;
                let cancel = self.write(&Method::Cancel, cseq, &branch);
                wishes.push(Wish::Send(node, cancel));
            }
            return;
        }
        let Some(done) = self.current.take() else {
            return;
        };
        if invite && status >= 300 {
            // RFC 3261 17.1.1.3: the ACK of a failure has the INVITE's branch.
            let sent = Message::parse(done.bytes.clone()).expect("our own");
            let ack = ack_of(&sent, message).max_forwards(70);
            wishes.push(Wish::Send(
                done.node,
                ack.build().expect("an ACK can be written"),
            ));
        }
        self.on_final(&done, message, status, open, now, live, rng, wishes);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the tail of on_response, one caller"
    )]
    fn on_final(
        &mut self,
        done: &Transaction,
        message: &Message,
        status: u16,
        open: impl Fn(&str, &str) -> Option<CallId>,
        now: Instant,
        live: &[usize],
        rng: &mut Rng,
        wishes: &mut Vec<Wish>,
    ) {
        let ok = status < 300;
        match (self.stage, &done.method) {
            (Stage::Inviting, _) if ok => {
                self.stage = Stage::Up;
                self.answered = true;
                self.remote_tag = message.to_tag().map(str::to_owned);
                self.key = message.to_tag().and_then(|tag| open(&self.call_id, tag));
                self.acknowledge(done.cseq, live, rng, wishes);
            }
            (Stage::Inviting, _) => self.stage = Stage::Unanswered,
            (Stage::Up, Method::Bye) if ok => {
                self.stage = Stage::Down;
                self.after_end = Some(now + Duration::from_secs(5));
                wishes.extend(self.key.map(Wish::Counted));
            }
            (Stage::Up, Method::Invite) if ok => self.acknowledge(done.cseq, live, rng, wishes),
            (Stage::Up, method) => {
                if status == 481 {
                    wishes.push(Wish::Blame(format!("lost: {method} {} got 481", done.cseq)));
                    self.stage = Stage::Unanswered;
                } else if !ok {
                    self.refused += 1;
                } else if *method == Method::Info {
                    self.infos += 1;
                }
            }
            // It may have been under way when the end came, but not five seconds later.
            (Stage::Down, Method::Info)
                if ok
                    && self.after_end.is_none()
                    && done.cseq == self.cseq
                    && self.byes.is_empty() =>
            {
                wishes.push(Wish::Blame("G3: an ended call answered 200".to_owned()));
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self, cseq: u32, live: &[usize], rng: &mut Rng, wishes: &mut Vec<Wish>) {
        let branch = self.branch();
        let ack = self.write(&Method::Ack, cseq, &branch);
        self.acked.push((cseq, ack.clone()));
        wishes.push(Wish::Send(pick(live, rng), ack));
    }
}

fn pick(live: &[usize], rng: &mut Rng) -> usize {
    live.get(rng.random_range(0..live.len().max(1)))
        .copied()
        .unwrap_or(0)
}
