//! Goal: whatever has happened to a call, its image brings the same call back; and a peer whose
//! numbers rise is never told that they don't. Method: seeded histories of requests, answers, own
//! requests, responses and time, with a takeover now and then.

use bytes::Bytes;
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::NodeId;
use callring_proto::base::rng::{self, Rng};
use callring_proto::base::time::{Duration, Instant};
use callring_proto::sip::call::{
    CallError, Egress, Reliability, Reply, SipCall, SipImage, SipMore,
};
use callring_proto::sip::effect::{Effect, Event, RequestId};
use callring_proto::sip::{HeaderName, Message, Method, ResponseBuilder};
use rand::RngExt as _;

const TAG: &str = "ours";
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        ingress: NodeId::of("n1"),
        listener: 0,
        remote: "192.0.2.9:5070".parse().expect("an address"),
        advertise: "192.0.2.1:5060".into(),
    }
}

/// One call, its peer, and what has passed between them.
struct History {
    call: SipCall,
    now: Instant,
    rng: Rng,
    cseq: u32,
    branches: u32,
    /// Requests of the peer that the application has not answered.
    open: Vec<RequestId>,
    sent: Vec<Message>,
    /// The peer's requests, for repetitions.
    asked: Vec<Bytes>,
    log: Vec<String>,
}

fn text(method: &str, cseq: u32, branch: u32, to: &str, extra: &str, body: &str) -> Bytes {
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    let length = body.len();
    Bytes::from(format!(
        "{method} sip:a@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK{branch}\r\n\
         From: <sip:b@192.0.2.9>;tag=theirs\r\nTo: <sip:a@192.0.2.1>{to}\r\nCall-ID: c\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:b@192.0.2.9:5070>\r\nMax-Forwards: 70\r\n\
         {extra}{kind}Content-Length: {length}\r\n\r\n{body}"
    ))
}

fn parsed(bytes: &Bytes) -> Message {
    Message::parse(bytes.clone()).expect("it reads")
}

impl History {
    fn new(seed: u8) -> Self {
        let mut rng = rng::from_seed([seed; 32]);
        let body = if rng.random() { SDP } else { "" };
        let extra = [
            "",
            "Supported: 100rel, timer\r\nSession-Expires: 90;refresher=uas\r\n",
            "Require: 100rel\r\n",
        ][rng.random_range(0..3)];
        let invite = text("INVITE", 7, 0, "", extra, body);
        let now = Instant::from_nanos(1_000_000_000);
        let mut history = Self {
            call: SipCall::incoming(parsed(&invite), &flow(), TAG, now),
            now,
            rng,
            cseq: 7,
            branches: 0,
            open: Vec::new(),
            sent: Vec::new(),
            asked: vec![invite],
            log: Vec::new(),
        };
        history.drain();
        history
    }

    /// Lets everything out that the call wants said.
    fn drain(&mut self) {
        loop {
            let effects = self.call.take_effects();
            if effects.is_empty() && !self.call.owes_ack() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Send { bytes, .. } => self.sent.push(parsed(&bytes)),
                    Effect::Ready(outgoing) => self.call.emit(outgoing, self.now),
                    Effect::Event(event) => {
                        if let Event::Request { id, .. } = *event {
                            self.open.push(id);
                        }
                    }
                }
            }
            self.call.send_acks();
        }
    }

    fn egress(&mut self) -> Egress {
        self.branches += 1;
        Egress {
            flow: flow(),
            branch: format!("z9hG4bKours{}", self.branches).into(),
            ack_branch: Some(format!("z9hG4bKack{}", self.branches).into()),
            cseq_floor: 0,
        }
    }

    fn ask(&mut self, method: &str, cseq: u32, extra: &str) {
        self.branches += 1;
        let body = if self.rng.random() { SDP } else { "" };
        let to = format!(";tag={TAG}");
        let bytes = text(method, cseq, self.branches, &to, extra, body);
        self.asked.push(bytes.clone());
        self.call.on_request(parsed(&bytes), &flow(), self.now);
    }

    fn ask_next(&mut self) {
        self.cseq += self.rng.random_range(1..4);
        let methods = [
            "INVITE", "UPDATE", "INFO", "OPTIONS", "PRACK", "FOO", "REFER",
        ];
        let method = methods[self.rng.random_range(0..methods.len())];
        let rseq = self.sent.iter().rev();
        let rseq = rseq.filter_map(|one| Some((one.header(HeaderName::RSeq)?, one.cseq_number())));
        let rack = rseq.map(|(rseq, cseq)| format!("RAck: {rseq} {cseq} INVITE\r\n"));
        let rack = rack.take(1).collect::<String>();
        self.ask(method, self.cseq, &rack);
    }

    fn answer(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.open.len());
        let status = [180, 183, 200, 200, 488][self.rng.random_range(0..5)];
        let mut reply = Reply::new(status).reliably(Reliability::Wanted);
        if self.rng.random() {
            let description = SDP.replace("4000", &self.rng.random_range(1..9).to_string());
            reply = reply.body("application/sdp", description);
        }
        match self.call.respond(self.open[at], &reply) {
            Ok(()) if status < 200 => {}
            Ok(()) | Err(CallError::Answered) => drop(self.open.remove(at)),
            Err(_) => {}
        }
    }

    fn request(&mut self) {
        let egress = self.egress();
        let method =
            [Method::Invite, Method::Update, Method::Info][self.rng.random_range(0..3)].clone();
        let body = self
            .rng
            .random::<bool>()
            .then_some(("application/sdp", SDP.as_bytes()));
        let _ = self.call.request(method, &[], body, egress);
    }

    /// The peer answers the newest request of ours, or the one before it.
    fn respond(&mut self) {
        let asked = self.sent.iter().rev().filter(|one| one.is_request());
        let mut asked = asked.filter(|one| *one.method() != Method::Ack);
        let Some(asked) = asked.nth(self.rng.random_range(0..2)).cloned() else {
            return;
        };
        let status = [180, 183, 200, 200, 491, 488][self.rng.random_range(0..6)];
        let mut answer = ResponseBuilder::new(&asked, status).contact("<sip:b@192.0.2.9:5070>");
        if status < 200 {
            let rseq = self.rng.random_range(1..4).to_string();
            answer = answer.header("Require", "100rel").header("RSeq", rseq);
        }
        if self.rng.random() {
            answer = answer.body("application/sdp", SDP.as_bytes());
        }
        let answer = answer.build().expect("it can be written");
        self.call.on_response(&parsed(&answer), self.now);
        if self.call.owes_prack(self.now) {
            let egress = self.egress();
            self.call
                .send_prack(egress)
                .expect("a PRACK can be written");
        }
    }

    fn pass(&mut self) {
        let span = [10, 500, 4_000, 33_000][self.rng.random_range(0..4)];
        self.now += Duration::from_millis(span);
        self.call.on_timeout(self.now);
    }

    fn step(&mut self) {
        let what = self.rng.random_range(0..16);
        self.log.push(format!("{what}"));
        match what {
            0..=3 => self.ask_next(),
            4..=7 => self.answer(),
            8 => {
                let invites = self.sent.iter().rev();
                let mut oks = invites.filter(|one| one.status() == Some(200));
                let ok = oks.find(|one| *one.method() == Method::Invite);
                if let Some(number) = ok.map(Message::cseq_number) {
                    self.ask("ACK", number, "");
                }
            }
            9 => {
                let again = self.asked[self.rng.random_range(0..self.asked.len())].clone();
                self.call.on_request(parsed(&again), &flow(), self.now);
            }
            10 | 11 => self.request(),
            12 | 13 => self.respond(),
            14 => self.pass(),
            _ => self.take_over(),
        }
        self.drain();
    }

    /// The image through its encoding; it must be the same image again.
    fn image(&self) -> (SipImage, SipMore) {
        let images = (self.call.image(self.now), self.call.more(self.now));
        let bytes = postcard::to_stdvec(&images).expect("plain data");
        let read: (SipImage, SipMore) = postcard::from_bytes(&bytes).expect("it reads back");
        assert_eq!(read, images, "after {:?}", self.log);
        let (image, more) = read.clone();
        let back = SipCall::restore(image, more, self.now);
        let again = (back.image(self.now), back.more(self.now));
        assert_eq!(again, images, "after {:?}", self.log);
        read
    }

    fn take_over(&mut self) {
        let (image, more) = self.image();
        self.call = SipCall::restore(image, more, self.now);
        let open = self.call.open_requests();
        self.open = open.into_iter().map(|(id, _)| id).collect();
    }
}

#[test]
fn any_image_brings_the_same_call_back() {
    for seed in 0..200 {
        let mut history = History::new(seed);
        for _ in 0..60 {
            history.step();
            history.image();
        }
    }
}

// Goal: D5. A 500 says either that it is for now (Retry-After), or is about an old number.
#[test]
fn d5_rising_numbers_are_never_out_of_order() {
    for seed in 0..200 {
        let mut history = History::new(seed);
        for _ in 0..80 {
            history.step();
        }
        for sent in &history.sent {
            let busy = sent.header(HeaderName::RetryAfter).is_some();
            let number = sent.cseq_number();
            // A transaction that is over is forgotten: its request, repeated so late, is old.
            let mut newer = history
                .sent
                .iter()
                .take_while(|one| !std::ptr::eq(*one, sent));
            let old = newer.any(|one| one.status().is_some() && one.cseq_number() > number);
            assert!(
                sent.status() != Some(500) || busy || old,
                "{sent:?} after {:?}",
                history.log
            );
        }
    }
}
