//! What may happen to one call or subscription, chosen by bytes: requests, answers, own requests,
//! responses, time, a takeover now and then. What must hold all the while: its image brings the
//! same back, a peer whose numbers rise is never told that they don't, and what the application
//! ends comes to its end.

use bytes::Bytes;
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::NodeId;
use callring_proto::base::time::{Duration, Instant};
use callring_proto::sip::effect::{Effect, Event, RequestId};
use callring_proto::sip::leg::{CallError, Egress, Leg, LegImage, LegMore, Reliability, Reply};
use callring_proto::sip::{HeaderName, Message, Method, ResponseBuilder};

const TAG: &str = "ours";
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

const SUBSCRIPTION: &str = "Event: presence\r\nExpires: 40\r\n";

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        ingress: NodeId::of("n1"),
        listener: 0,
        remote: "192.0.2.9:5070".parse().expect("an address"),
        advertise: "192.0.2.1:5060".into(),
    }
}

/// What chooses: bytes, one for each choice; the first of all choices when there are none left.
pub(crate) struct Dice<'a>(pub(crate) &'a [u8]);

impl Dice<'_> {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first) % bound
    }

    /// Whether there are bytes left that choose.
    pub(crate) fn goes_on(&self) -> bool {
        !self.0.is_empty()
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.below(2) == 1
    }
}

/// One call, its peer, and what has passed between them.
pub(crate) struct History<'a> {
    call: Leg,
    now: Instant,
    dice: Dice<'a>,
    cseq: u32,
    branches: u32,
    /// Requests of the peer that the application has not answered.
    open: Vec<RequestId>,
    pub(crate) sent: Vec<Message>,
    /// The peer's requests, for repetitions.
    asked: Vec<Bytes>,
    pub(crate) log: Vec<String>,
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

impl<'a> History<'a> {
    pub(crate) fn new(mut dice: Dice<'a>) -> Self {
        let body = if dice.flag() { SDP } else { "" };
        let extra = [
            "",
            "Supported: 100rel, timer\r\nSession-Expires: 90;refresher=uas\r\n",
            "Require: 100rel\r\n",
            SUBSCRIPTION,
        ][dice.below(4)];
        let method = if extra == SUBSCRIPTION {
            "SUBSCRIBE"
        } else {
            "INVITE"
        };
        let invite = text(method, 7, 0, "", extra, body);
        let now = Instant::START + Duration::from_secs(1);
        let mut history = Self {
            call: Leg::incoming(parsed(&invite), &flow(), TAG, now),
            now,
            dice,
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
            if effects.is_empty() && self.call.owes_notify(self.now) {
                let egress = self.egress();
                let told = self.call.send_notify(egress, self.now);
                told.expect("a NOTIFY can be written");
                continue;
            }
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
        let body = if self.dice.flag() { SDP } else { "" };
        let to = format!(";tag={TAG}");
        let bytes = text(method, cseq, self.branches, &to, extra, body);
        self.asked.push(bytes.clone());
        self.call.on_request(parsed(&bytes), &flow(), self.now);
    }

    fn ask_next(&mut self) {
        self.cseq += 1 + u32::try_from(self.dice.below(3)).expect("small");
        let methods = [
            "INVITE",
            "UPDATE",
            "INFO",
            "OPTIONS",
            "PRACK",
            "FOO",
            "REFER",
            "SUBSCRIBE",
        ];
        let method = methods[self.dice.below(methods.len())];
        let rseq = self.sent.iter().rev();
        let rseq = rseq.filter_map(|one| Some((one.header(HeaderName::RSeq)?, one.cseq_number())));
        let rack = rseq.map(|(rseq, cseq)| format!("RAck: {rseq} {cseq} INVITE\r\n"));
        let rack = rack.take(1).collect::<String>();
        let event = format!(
            "Event: presence\r\nExpires: {}\r\n",
            self.dice.below(3) * 20
        );
        let extra = if method == "SUBSCRIBE" { event } else { rack };
        self.ask(method, self.cseq, &extra);
    }

    fn answer(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.dice.below(self.open.len());
        let status = [180, 183, 200, 200, 488][self.dice.below(5)];
        let mut reply = Reply::new(status).reliably(Reliability::Wanted);
        if self.dice.flag() {
            let port = 1 + self.dice.below(8);
            let description = SDP.replace("4000", &port.to_string());
            reply = reply.body("application/sdp", description);
        }
        match self.call.respond(self.open[at], &reply) {
            Ok(()) if status < 200 => {}
            Ok(()) | Err(CallError::Answered) => drop(self.open.remove(at)),
            Err(_) => {}
        }
    }

    fn request(&mut self) {
        if self.call.is_subscription() {
            let state = Bytes::from(self.dice.below(256).to_string());
            let _ = self.call.publish("text/plain", state);
            return;
        }
        let egress = self.egress();
        let method = [Method::Invite, Method::Update, Method::Info][self.dice.below(3)].clone();
        let body = self
            .dice
            .flag()
            .then_some(("application/sdp", SDP.as_bytes()));
        let _ = self.call.request(method, &[], body, 0, egress);
    }

    /// The peer answers the newest request of ours, or the one before it.
    fn respond(&mut self) {
        let asked = self.sent.iter().rev().filter(|one| one.is_request());
        let mut asked = asked.filter(|one| *one.method() != Method::Ack);
        let Some(asked) = asked.nth(self.dice.below(2)).cloned() else {
            return;
        };
        let status = [180, 183, 200, 200, 491, 488][self.dice.below(6)];
        let mut answer = ResponseBuilder::new(&asked, status).contact("<sip:b@192.0.2.9:5070>");
        if status < 200 {
            let rseq = (1 + self.dice.below(3)).to_string();
            answer = answer.header("Require", "100rel").header("RSeq", rseq);
        }
        if self.dice.flag() {
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
        let span = [10, 500, 4_000, 33_000][self.dice.below(4)];
        self.now += Duration::from_millis(span);
        self.call.on_timeout(self.now);
    }

    /// Whether there are bytes left that choose.
    pub(crate) fn goes_on(&self) -> bool {
        self.dice.goes_on()
    }

    pub(crate) fn step(&mut self) {
        let what = self.dice.below(16);
        let before = self.sent.len();
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
                let again = self.asked[self.dice.below(self.asked.len())].clone();
                self.call.on_request(parsed(&again), &flow(), self.now);
            }
            10 | 11 => self.request(),
            12 | 13 => self.respond(),
            14 => self.pass(),
            _ => self.take_over(),
        }
        self.drain();
        // A request that is repeated when its transaction is forgotten is an old one by then.
        if what != 9 {
            self.check_numbers(before);
        }
    }

    /// The image through its encoding; it must be the same image again.
    pub(crate) fn image(&self) -> (LegImage, LegMore) {
        let images = (self.call.image(self.now), self.call.more(self.now));
        let bytes = postcard::to_stdvec(&images).expect("plain data");
        let read: (LegImage, LegMore) = postcard::from_bytes(&bytes).expect("it reads back");
        assert_eq!(read, images, "after {:?}", self.log);
        let (image, more) = read.clone();
        let back = Leg::restore(image, more, self.now);
        let again = (back.image(self.now), back.more(self.now));
        assert_eq!(again, images, "after {:?}", self.log);
        read
    }

    fn take_over(&mut self) {
        let (image, more) = self.image();
        self.call = Leg::restore(image, more, self.now);
        let open = self.call.open_requests();
        self.open = open.into_iter().map(|(id, _)| id).collect();
    }

    /// The application ends it, and nobody answers any more.
    pub(crate) fn finish(mut self) {
        for id in std::mem::take(&mut self.open) {
            let _ = self.call.respond(id, &Reply::new(200));
        }
        self.call.hang_up();
        for _ in 0..200 {
            self.drain();
            if self.call.owes_bye() {
                let egress = self.egress();
                self.call.bye(egress).expect("a BYE can be written");
                continue;
            }
            let Some(next) = self.call.next_deadline() else {
                break;
            };
            self.now = self.now.max(next);
            self.call.on_timeout(self.now);
        }
        assert!(self.call.is_over(), "{:?} after {:?}", self.call, self.log);
    }

    /// D5: numbers rise here, so a 500 only says that it is for now (Retry-After).
    fn check_numbers(&self, from: usize) {
        for sent in self.sent.iter().skip(from) {
            let busy = sent.header(HeaderName::RetryAfter).is_some();
            let refused = sent.status() == Some(500) && !busy;
            assert!(!refused, "{sent:?} after {:?}", self.log);
        }
    }
}
