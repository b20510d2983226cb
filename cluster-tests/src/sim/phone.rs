//! A caller with one call: RFC 3261's UAC over UDP, as far as a call needs it, that talks to any
//! node it likes and writes down what it was told.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::flow::Transport;
use callring_proto::base::ids::CallId;
use callring_proto::base::rng::Rng;
use callring_proto::base::time::Instant;
use callring_proto::sip::{Method, RequestBuilder};
use rand::RngExt as _;

use super::invariants::Invariant;
use super::plan::{Kind, Plan};

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
pub(super) struct Transaction {
    pub(super) method: Method,
    pub(super) cseq: u32,
    pub(super) branch: String,
    pub(super) bytes: Bytes,
    pub(super) node: usize,
    again: Instant,
    interval: Duration,
    gives_up: Instant,
    pub(super) provisional: bool,
}

/// What the phone wants done, or has to tell.
#[derive(Debug)]
pub(super) enum Wish {
    Send(usize, Bytes),
    /// Hang the call up from this node.
    Signal(usize, CallId),
    /// The 2xx of our BYE came: the application's counts should be final.
    Counted(CallId),
    /// A BYE got 481: so the call had better be over.
    OverBefore,
    /// Another request did: so the node had better have sent its BYE, which was lost.
    HungUpBefore(String),
    Blame(Invariant, String),
}

pub(super) struct Phone {
    pub(super) addr: SocketAddr,
    pub(super) stage: Stage,
    pub(super) end: End,
    pub(super) key: Option<CallId>,
    pub(super) infos: u32,
    pub(super) refused: u32,
    /// When the INVITE left.
    pub(super) invited: Option<Instant>,
    /// When the 200 came.
    pub(super) answered: Option<Instant>,
    /// Somebody was asked to hang up.
    pub(super) has_signalled: bool,
    pub(super) call_id: String,
    pub(super) tag: String,
    pub(super) remote_tag: Option<String>,
    pub(super) remote_seq: u32,
    /// When it was sent the last one.
    pub(super) heard_at: Instant,
    /// Branches of the server's requests.
    pub(super) heard: Vec<String>,
    /// How many of them were BYEs.
    pub(super) byes: usize,
    pub(super) cseq: u32,
    pub(super) steps: Vec<(Instant, Method)>,
    end_at: Instant,
    /// Requests after the end, last first: a call that has ended must not answer them.
    pub(super) probes: Vec<Duration>,
    pub(super) after_end: Option<Instant>,
    /// Our number when the call was over.
    pub(super) ended_at: Option<u32>,
    pub(super) current: Option<Transaction>,
    branches: u32,
    pub(super) acked: Vec<(u32, Bytes)>,
}

impl Phone {
    /// The phone of call number `index`, which begins at `start`. Some calls last until after
    /// `books`.
    pub(super) fn new(
        index: usize,
        start: Instant,
        books: Instant,
        plan: &Plan,
        rng: &mut Rng,
    ) -> Self {
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
        let stays = rng.random_range(0..6) == 0;
        if stays {
            at = books + Duration::from_millis(rng.random_range(100..3_000));
        }
        steps.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Self {
            addr: SocketAddr::from(([192, 0, 2, 1], port)),
            stage: Stage::Waiting,
            end,
            key: None,
            infos: 0,
            refused: 0,
            invited: None,
            answered: None,
            has_signalled: false,
            call_id: format!("call-{index}@192.0.2.1"),
            tag: format!("tag{index}"),
            remote_tag: None,
            remote_seq: 0,
            heard_at: Instant::from_nanos(0),
            heard: Vec::new(),
            byes: 0,
            cseq: 0,
            steps,
            end_at: if end == End::AppTimer {
                books + plan.skewed_timer()
            } else {
                at
            },
            probes: draw_probes(plan, rng),
            after_end: None,
            ended_at: None,
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

    /// Whether the end of the call is under way.
    pub(super) fn is_ending(&self) -> bool {
        let bye = |current: &Transaction| current.method == Method::Bye;
        self.has_signalled || self.current.as_ref().is_some_and(bye)
    }

    /// Whether its INVITE is at this node and has no final answer.
    pub(super) fn is_ringing_at(&self, node: usize) -> bool {
        let here = self.current.as_ref().is_some_and(|one| one.node == node);
        self.stage == Stage::Inviting && here
    }

    /// The call is over: from now on it must not answer.
    pub(super) fn over(&mut self, now: Instant) {
        self.stage = Stage::Down;
        self.ended_at = Some(self.cseq);
        self.steps.clear();
        self.after_end = self.probes.pop().map(|after| now + after);
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
            self.invited = Some(now);
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
                            self.has_signalled = true;
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
                self.after_end = self.probes.pop().map(|after| now + after);
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
                    let what = format!("{method} {cseq} was never answered");
                    wishes.push(Wish::Blame(Invariant::AnsweredKept, what));
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
        // Any node will do: half of the first repetitions go elsewhere, and all later ones. An
        // INVITE that makes a call stays where it was sent.
        let initial = self.stage == Stage::Inviting;
        let patient = current.interval < T1 * 4 && live.contains(&current.node);
        if !initial && (!patient || rng.random_range(0..2) == 0) {
            let drawn = pick(live, rng);
            // In the long run no node is left out, however the dice fall.
            let next = live.iter().find(|node| **node > current.node);
            let next = next.or(live.first()).copied().unwrap_or(drawn);
            current.node = if patient { drawn } else { next };
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

    pub(super) fn send_new(
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

    pub(super) fn branch(&mut self) -> String {
        self.branches += 1;
        format!("z9hG4bK-{}-{}", self.tag, self.branches)
    }

    pub(super) fn write(&self, method: &Method, cseq: u32, branch: &str) -> Bytes {
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
}

pub(super) fn pick(live: &[usize], rng: &mut Rng) -> usize {
    live.get(rng.random_range(0..live.len().max(1)))
        .copied()
        .unwrap_or(0)
}

/// When a phone asks for a call that has ended: each so long after the one before.
fn draw_probes(plan: &Plan, rng: &mut Rng) -> Vec<Duration> {
    let mut probes = vec![match rng.random_range(0..4) {
        0 => Duration::from_millis(rng.random_range(100..4_000)),
        _ => Duration::from_secs(5),
    }];
    if plan.kind == Kind::Slumber {
        // So many that one comes when the sleeper wakes.
        let between = plan.well_at / 4;
        probes.extend([between; 4]);
    }
    probes
}
