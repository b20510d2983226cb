//! What a phone makes of what it hears, and how it answers.

use callring_proto::base::ids::CallId;
use callring_proto::base::rng::Rng;
use callring_proto::base::time::{Duration, Instant};
use callring_proto::sip::write::ack_of;
use callring_proto::sip::{Message, Method, ResponseBuilder};

use super::invariants::Invariant;
use super::phone::{End, Phone, Stage, Transaction, Wish, pick};

/// Datagrams overtake each other by up to this much.
const REORDERED: Duration = Duration::from_millis(10);

impl Phone {
    /// A message from a node.
    pub(super) fn on_message(
        &mut self,
        message: &Message,
        open: impl Fn(&str, &str) -> Option<CallId>,
        (now, from): (Instant, usize),
        live: &[usize],
        rng: &mut Rng,
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
        let forgotten = self.remote_tag.is_none() && self.stage == Stage::Unanswered;
        let from_tag = message.from_tag().filter(|_| !forgotten);
        if from_tag != self.remote_tag.as_deref() || message.to_tag() != Some(self.tag.as_str()) {
            let what = format!("tags changed in {}", message.method());
            wishes.push(Wish::Blame(Invariant::OneTag, what));
            return;
        }
        // RFC 3261 13.2.2.4: the ACK of our 200 has the INVITE's number, and no answer.
        if *message.method() == Method::Ack {
            return;
        }
        let branch = message.branch().unwrap_or_default().to_owned();
        if !self.heard.contains(&branch) {
            // What left in order may be overtaken on its way.
            let overtaken = now.since(self.heard_at) < REORDERED;
            if message.cseq_number() <= self.remote_seq && !overtaken {
                let (number, last) = (message.cseq_number(), self.remote_seq);
                let what = format!("CSeq {number} after {last}");
                wishes.push(Wish::Blame(Invariant::RealTimeOrder, what));
            }
            self.remote_seq = self.remote_seq.max(message.cseq_number());
            self.heard_at = now;
            if *message.method() == Method::Bye {
                self.byes += 1;
            }
            self.heard.push(branch);
        }
        let answer = ResponseBuilder::new(message, 200)
            .build()
            .expect("a 200 can be written");
        wishes.push(Wish::Send(from, answer));
        if *message.method() == Method::Bye && self.stage == Stage::Up {
            self.over(now);
        }
    }

    /// How many BYEs of the server, repetitions apart, this phone got.
    pub(super) fn server_byes(&self) -> usize {
        self.byes
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
            let what = format!("To tag changed in a {status}");
            wishes.push(Wish::Blame(Invariant::OneTag, what));
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
                self.answered = Some(now);
                self.remote_tag = message.to_tag().map(str::to_owned);
                self.key = message.to_tag().and_then(|tag| open(&self.call_id, tag));
                self.acknowledge(done.cseq, live, rng, wishes);
            }
            (Stage::Inviting, _) => self.stage = Stage::Unanswered,
            (Stage::Up, Method::Bye) if ok => {
                self.over(now);
                wishes.extend(self.key.map(Wish::Counted));
            }
            (Stage::Up, Method::Invite) if ok => self.acknowledge(done.cseq, live, rng, wishes),
            (Stage::Up, Method::Bye) if status == 481 => {
                wishes.push(Wish::OverBefore);
                self.over(now);
            }
            (Stage::Up, method) => {
                if status == 481 {
                    let what = format!("{method} {} got 481", done.cseq);
                    wishes.push(Wish::HungUpBefore(what));
                    self.over(now);
                } else if !ok {
                    self.refused += 1;
                } else if *method == Method::Info {
                    self.infos += 1;
                }
            }
            // It may have been under way when the end came.
            (Stage::Down, Method::Info) if ok && self.ended_before(done.cseq) => {
                let what = "an ended call answered 200".to_owned();
                wishes.push(Wish::Blame(Invariant::NoResurrection, what));
            }
            _ => {}
        }
    }

    /// Whether the request with this number was sent after the end.
    fn ended_before(&self, cseq: u32) -> bool {
        self.ended_at.is_some_and(|last| cseq > last)
    }

    fn acknowledge(&mut self, cseq: u32, live: &[usize], rng: &mut Rng, wishes: &mut Vec<Wish>) {
        let branch = self.branch();
        let ack = self.write(&Method::Ack, cseq, &branch);
        self.acked.push((cseq, ack.clone()));
        wishes.push(Wish::Send(pick(live, rng), ack));
    }
}
