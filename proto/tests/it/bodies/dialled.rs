//! What may happen to a call that an INVITE of ours began, chosen by bytes: answers in several
//! dialogs, requests of the peers', hanging up, time, takeovers. What must hold all the while: the
//! call's image brings the same call back, an INVITE has one CANCEL, a 2xx that makes a dialog is
//! acknowledged, at once or with the answer that its offer waits for, and once everybody has hung
//! up the call is over.

use bytes::Bytes;
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::NodeId;
use callring_proto::base::time::{Duration, Instant};
use callring_proto::sip::call::{MoreLegs, Reception, SipCall};
use callring_proto::sip::effect::{Effect, Event, LegId, RequestId};
use callring_proto::sip::leg::{Dial, Egress, Leg, LegImage, LegMore, Reply};
use callring_proto::sip::{HeaderName, Message, Method, ResponseBuilder};

use super::history::Dice;

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
const TAGS: [&str; 4] = ["w", "x", "y", "z"];

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        ingress: NodeId::of("n1"),
        listener: 0,
        remote: "192.0.2.9:5070".parse().expect("an address"),
        advertise: "192.0.2.1:5060".into(),
    }
}

fn egress(branches: &mut u32) -> Egress {
    *branches += 1;
    Egress {
        flow: flow(),
        branch: format!("z9hG4bKours{branches}").into(),
        ack_branch: Some(format!("z9hG4bKack{branches}").into()),
        cseq_floor: 0,
    }
}

/// One call and what has been sent in it.
pub(crate) struct Dialled<'a> {
    call: SipCall,
    now: Instant,
    dice: Dice<'a>,
    branches: u32,
    cseq: u32,
    open: Vec<(LegId, RequestId)>,
    sent: Vec<Message>,
}

impl<'a> Dialled<'a> {
    pub(crate) fn new(mut dice: Dice<'a>) -> Self {
        let mut dial = Dial::new("sip:b@192.0.2.9:5070", "<sip:a@192.0.2.1>");
        if dice.flag() {
            dial = dial.offer(SDP.as_bytes());
        }
        dial.session_expires = dice.flag().then_some(100);
        dial.ring_timeout = Duration::from_secs([10, 180][dice.below(2)]);
        let mut branches = 0;
        let way = egress(&mut branches);
        let call = SipCall::outgoing(&dial, ["c", "ours"], way).expect("it can be written");
        let mut dialled = Self {
            call,
            now: Instant::START + Duration::from_secs(1),
            dice,
            branches,
            cseq: 0,
            open: Vec::new(),
            sent: Vec::new(),
        };
        dialled.drain();
        dialled
    }

    pub(crate) fn goes_on(&self) -> bool {
        self.dice.goes_on()
    }

    /// As the switchboard does: everything out, then what the legs owe.
    fn drain(&mut self) {
        loop {
            let effects = self.call.take_effects();
            if effects.is_empty() && !self.pay() {
                return;
            }
            for (id, effect) in effects {
                match effect {
                    Effect::Send { bytes, .. } => {
                        self.sent.push(Message::parse(bytes).expect("it reads"));
                    }
                    Effect::Ready(outgoing) => {
                        if let Some(leg) = self.call.leg_mut(id) {
                            leg.emit(outgoing, self.now);
                        }
                    }
                    Effect::Event(event) => match *event {
                        Event::Request { id: request, .. } => self.open.push((id, request)),
                        Event::Response { .. } if self.dice.flag() => {
                            if let Some(leg) = self.call.leg_mut(id) {
                                leg.await_answer(); // if there is one to give
                            }
                        }
                        _ => {}
                    },
                }
            }
        }
    }

    fn pay(&mut self) -> bool {
        let now = self.now;
        let owes = |leg: &Leg| {
            leg.owes_ack() || leg.owes_prack(now) || leg.owes_invite(now) || leg.owes_bye()
        };
        let Some(id) = self.call.find(owes) else {
            return false;
        };
        let way = egress(&mut self.branches);
        let leg = self.call.leg_mut(id).expect("it was found");
        let paid = if leg.owes_bye() {
            leg.bye(way)
        } else if leg.owes_ack() {
            leg.send_acks();
            Ok(())
        } else if leg.owes_prack(now) {
            leg.send_prack(way)
        } else {
            leg.send_invite(way)
        };
        paid.expect("it can be written");
        true
    }

    fn leg(&mut self) -> LegId {
        let names = self.call.names();
        names[self.dice.below(names.len())]
    }

    fn newest(&self, is: impl Fn(&Message) -> bool) -> Option<Message> {
        let mut sent = self.sent.iter().rev().filter(|one| one.is_request());
        sent.find(|one| is(one)).cloned()
    }

    fn answer_invite(&mut self) {
        let initial = |one: &Message| *one.method() == Method::Invite && one.to_tag().is_none();
        let invite = self.newest(initial).expect("it was sent");
        let status = [100, 180, 183, 183, 200, 200, 302, 422, 486, 487][self.dice.below(10)];
        let tag = TAGS[self.dice.below(TAGS.len())];
        let contact = format!("<sip:{tag}@192.0.2.9:5070>");
        let mut answer = ResponseBuilder::new(&invite, status).contact(contact.as_str());
        if status > 100 {
            answer = answer.to_tag(tag);
        }
        if status == 422 {
            answer = answer.header("Min-SE", "200");
        }
        if (101..200).contains(&status) && self.dice.flag() {
            let rseq = (1 + self.dice.below(3)).to_string();
            answer = answer.header("Require", "100rel").header("RSeq", rseq);
        }
        if status > 100 && self.dice.flag() {
            answer = answer.body("application/sdp", SDP.as_bytes());
        }
        let answer = Message::parse(answer.build().expect("a response")).expect("it reads");
        let reception = self.call.on_response(&answer, self.now);
        self.drain();
        let stands = self
            .call
            .legs()
            .any(|(_, leg)| leg.dialog().remote_tag == tag);
        let waits = self.call.legs().any(|(_, leg)| leg.awaits_answer());
        if status == 200 && reception == Reception::Taken && stands && !waits {
            let acked = |one: &Message| *one.method() == Method::Ack && one.to_tag() == Some(tag);
            assert!(self.newest(acked).is_some(), "{answer:?}: {}", self.tale());
        }
    }

    fn tale(&self) -> String {
        let legs = self.call.legs().map(|(id, leg)| {
            let dialog = leg.dialog();
            let tag = &dialog.remote_tag;
            format!("{id:?} {tag} {:?} {:?}", dialog.stage, leg.ended())
        });
        let legs: Vec<String> = legs.collect();
        format!("legs {legs:?}, sent {:?}", self.sent)
    }

    fn answer_other(&mut self) {
        let other = |one: &Message| {
            let initial = *one.method() == Method::Invite && one.to_tag().is_none();
            !initial && *one.method() != Method::Ack
        };
        let Some(asked) = self.newest(other) else {
            return;
        };
        let status = [200, 200, 481, 500, 180][self.dice.below(5)];
        let answer = ResponseBuilder::new(&asked, status).contact("<sip:b@192.0.2.9:5070>");
        let answer = answer.build().expect("a response");
        let answer = Message::parse(answer).expect("it reads");
        self.call.on_response(&answer, self.now);
    }

    fn ask(&mut self) {
        let method = ["BYE", "INFO", "INVITE", "UPDATE", "ACK"][self.dice.below(5)];
        let tag = TAGS[self.dice.below(TAGS.len())];
        self.cseq += u32::from(method != "ACK");
        let body = if self.dice.flag() { SDP } else { "" };
        let (cseq, length) = (self.cseq, body.len());
        let text = format!(
            "{method} sip:a@192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK{method}{cseq}{tag}\r\n\
             From: <sip:b@192.0.2.9>;tag={tag}\r\nTo: <sip:a@192.0.2.1>;tag=ours\r\n\
             Call-ID: c\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:{tag}@192.0.2.9:5070>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let request = Message::parse(Bytes::from(text)).expect("it reads");
        self.call.on_request(request, &flow(), self.now);
    }

    fn answer_theirs(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let (id, request) = self.open.remove(0);
        let status = [200, 488][self.dice.below(2)];
        let reply = Reply::new(status).body("application/sdp", SDP.as_bytes());
        if let Some(leg) = self.call.leg_mut(id) {
            let _ = leg.respond(request, &reply);
        }
    }

    fn request(&mut self) {
        if let Some(id) = self.call.find(Leg::awaits_answer) {
            let answer = [SDP, ""][self.dice.below(2)];
            let leg = self.call.leg_mut(id).expect("it was found");
            return leg.answer_offer(Bytes::from_static(answer.as_bytes()));
        }
        let id = self.leg();
        let way = egress(&mut self.branches);
        let method = [Method::Info, Method::Update, Method::Invite][self.dice.below(3)].clone();
        let leg = self.call.leg_mut(id).expect("it is there");
        let _ = leg.request(method, &[], None, 3, way);
    }

    pub(crate) fn step(&mut self) {
        match self.dice.below(16) {
            0..=5 => self.answer_invite(),
            6 | 7 => self.answer_other(),
            8 => self.ask(),
            9 => {
                let id = self.leg();
                self.call.hang_up(id);
            }
            10 => self.answer_theirs(),
            11 | 12 => {
                let span = [10, 500, 4_000, 33_000][self.dice.below(4)];
                self.now += Duration::from_millis(span);
                self.call.on_timeout(self.now);
            }
            13 => self.take_over(false),
            14 => self.take_over(true),
            _ => self.request(),
        }
        self.drain();
        self.check();
    }

    /// RFC 3261 9.1: an INVITE has one CANCEL, however often it is sent.
    fn check(&self) {
        let cancels = self
            .sent
            .iter()
            .filter(|one| *one.method() == Method::Cancel);
        let cancels: Vec<&Message> = cancels.filter(|one| one.is_request()).collect();
        for one in &cancels {
            let mut same = cancels
                .iter()
                .filter(|other| other.branch() == one.branch());
            assert!(same.all(|other| other.bytes() == one.bytes()));
            let invite = |other: &&Message| {
                *other.method() == Method::Invite && other.branch() == one.branch()
            };
            let invite = self.sent.iter().find(invite).expect("what it cancels");
            let from = HeaderName::From;
            assert_eq!(invite.header(from), one.header(from));
        }
        self.image();
    }

    fn images(call: &SipCall, now: Instant) -> (LegImage, LegMore, MoreLegs) {
        let first = call.first();
        (first.image(now), first.more(now), call.more_legs(now))
    }

    fn image(&self) -> SipCall {
        let images = Self::images(&self.call, self.now);
        let bytes = postcard::to_stdvec(&images).expect("plain data");
        let read: (LegImage, LegMore, MoreLegs) = postcard::from_bytes(&bytes).expect("it reads");
        assert_eq!(read, images);
        let (image, more, legs) = read;
        let back = SipCall::restore(image, more, legs, self.now);
        assert_eq!(Self::images(&back, self.now), images);
        back
    }

    fn take_over(&mut self, moved: bool) {
        self.call = self.image();
        self.call.adopt_dials(|_| moved.then(flow));
    }

    /// Everybody hangs up, nobody answers any more: the call must come to its end.
    pub(crate) fn finish(&mut self) {
        self.call.hang_up_all();
        for _ in 0..300 {
            self.drain();
            let Some(next) = self.call.next_deadline() else {
                break;
            };
            self.now = self.now.max(next);
            self.call.on_timeout(self.now);
        }
        self.drain();
        let left: Vec<_> = self
            .call
            .legs()
            .map(|(id, leg)| (id, leg.ended()))
            .collect();
        assert!(self.call.is_over(), "{left:?}");
    }
}
