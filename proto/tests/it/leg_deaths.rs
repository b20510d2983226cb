//! Goal: whenever the owner of a call with a leg of its own dies, nobody rings for ever, and what
//! was answered is ended on both sides (SIP.md S4). Method: two phones that answer what they are
//! asked and repeat what is not answered; the owner dies at every millisecond of the set-up and the
//! talk; addresses that live on, and addresses that die with it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::time::Instant;
use callring_proto::cluster::policy::{Replication, When};
use callring_proto::shard::Scope;
use callring_proto::sip::{HeaderName, Message, Method, ResponseBuilder};

use super::world::{MS, SECOND, World, address, request, with_body};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
const ANSWER: &str = "v=0\r\no=b 5 1 IN IP4 192.0.2.20\r\ns=-\r\nt=0 0\r\nm=audio 6 RTP/AVP 0\r\n";
const T1: Duration = Duration::from_millis(500);
const T1_X64: Duration = Duration::from_secs(32);

/// What the phones do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// The callee answers, the caller hangs up.
    CallerEnds,
    /// The callee answers and hangs up.
    CalleeEnds,
    /// The callee only rings, the caller gives up.
    CallerCancels,
}

/// Something that a phone repeats until it is answered.
struct Repeated {
    bytes: Bytes,
    /// Where to: a node's address.
    to: String,
    again: Instant,
    interval: Duration,
    gives_up: Instant,
}

/// One end of a dialog, caller or callee.
struct Phone {
    call_id: String,
    /// `From` and `To` of its own requests.
    fields: Option<(String, String)>,
    /// Contact of the peer.
    target: String,
    cseq: u32,
    invite: Option<Message>,
    answered: bool,
    over: bool,
    /// The final response that it got to its INVITE, or the BYE's.
    finals: Vec<String>,
    pending: BTreeMap<String, Repeated>,
    last_theirs: u32,
    complaints: Vec<String>,
}

impl Phone {
    fn new(call_id: &str) -> Self {
        Self {
            call_id: call_id.to_owned(),
            fields: None,
            target: address(0),
            cseq: 1,
            invite: None,
            answered: false,
            over: false,
            finals: Vec::new(),
            pending: BTreeMap::new(),
            last_theirs: 0,
            complaints: Vec::new(),
        }
    }

    fn repeat(&mut self, what: &str, bytes: Bytes, to: &str, now: Instant) {
        self.pending.insert(
            what.to_owned(),
            Repeated {
                bytes,
                to: to.to_owned(),
                again: now,
                interval: T1,
                gives_up: now + T1_X64,
            },
        );
    }

    /// Begins a request in its dialog.
    fn ask(&mut self, method: &str, now: Instant) {
        let Some((from, to)) = self.fields.clone() else {
            return;
        };
        self.cseq += 1;
        let cseq = self.cseq;
        let text = format!(
            "{method} sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK{}{cseq}\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            self.target,
            from.len(),
            self.call_id
        );
        let target = self.target.clone();
        self.repeat(method, text.into(), &target, now);
    }

    fn take_target(&mut self, message: &Message) {
        if let Some(contact) = message.contact() {
            let uri = contact.uri.as_str().trim_start_matches("sip:").to_owned();
            self.target = uri.split(';').next().unwrap_or_default().to_owned();
        }
    }
}

struct Scene {
    world: World,
    story: Story,
    scope: Scope,
    caller: Phone,
    callees: Vec<Phone>,
    seen: usize,
    /// What the callee does, and when.
    plans: Vec<(Instant, usize, &'static str)>,
}

fn host_of(address: &str) -> Option<usize> {
    (0..3).find(|node| super::world::address(*node) == address)
}

impl Scene {
    fn new(story: Story, scope: Scope, when: When) -> Self {
        let replication = Replication {
            copies: 3,
            when,
            ..Replication::default()
        };
        let world = World::with_scope(scope, 3, &replication, |_, _| {});
        let mut scene = Self {
            world,
            story,
            scope,
            caller: Phone::new("a"),
            callees: Vec::new(),
            seen: 0,
            plans: Vec::new(),
        };
        let dial = "X-Dial: sip:b@192.0.2.20:5080\nAllow: INVITE, ACK, BYE, UPDATE\n";
        let text = with_body(&request("INVITE", "a", 1, "i", dial), OFFER);
        let bytes = Bytes::from(text.replace("\r\n", "\n").replace('\n', "\r\n"));
        let now = scene.world.now;
        scene.caller.repeat("INVITE", bytes, &address(0), now);
        scene
    }

    /// A message of a phone's goes to a node's address; where that one is dead, nowhere, or to
    /// whoever has the address now.
    fn deliver(&mut self, to: &str, bytes: Bytes) {
        let Some(node) = host_of(to) else {
            return;
        };
        if self.world.is_up(node) {
            self.world.packet(node, bytes);
        } else if self.scope == Scope::Cluster {
            self.world.packet(1, bytes);
        }
    }

    fn pass(&mut self, span: Duration) {
        let until = self.world.now + span;
        while self.world.now < until {
            self.step();
        }
    }

    /// A millisecond.
    fn step(&mut self) {
        let now = self.world.now;
        let due: Vec<(usize, &str)> = self
            .plans
            .iter()
            .filter(|(at, ..)| *at <= now)
            .map(|(_, who, what)| (*who, *what))
            .collect();
        self.plans.retain(|(at, ..)| *at > now);
        for (who, what) in due {
            self.callee_does(who, what);
        }
        let mut outgoing = Vec::new();
        for phone in std::iter::once(&mut self.caller).chain(&mut self.callees) {
            phone.pending.retain(|_, one| one.gives_up > now);
            for one in phone.pending.values_mut().filter(|one| one.again <= now) {
                outgoing.push((one.to.clone(), one.bytes.clone()));
                one.again = now + one.interval;
                one.interval = (one.interval * 2).min(SECOND * 4);
            }
        }
        for (to, bytes) in outgoing {
            self.deliver(&to, bytes);
        }
        self.world.pass(MS);
        while let Some(sent) = self.world.sent.get(self.seen) {
            self.seen += 1;
            let (message, node) = (sent.message.clone(), sent.node);
            self.receive(&message, node);
        }
    }

    fn receive(&mut self, message: &Message, node: usize) {
        if message.call_id() == "a" {
            return self.caller_receives(message, node);
        }
        let known = self.callees.iter();
        let at = known
            .clone()
            .position(|one| one.call_id == message.call_id());
        let at = match at {
            Some(at) => at,
            None if *message.method() == Method::Invite && message.is_request() => {
                self.callees.push(Phone::new(message.call_id()));
                self.callees.len() - 1
            }
            None => return,
        };
        self.callee_receives(at, message, node);
    }

    fn caller_receives(&mut self, message: &Message, node: usize) {
        let now = self.world.now;
        if message.is_request() {
            let reply = in_dialog(&mut self.caller, message);
            return self.deliver(&address(node), reply);
        }
        let status = message.status().unwrap();
        let method = message.method().to_string();
        let caller = &mut self.caller;
        if method == "INVITE" {
            if status == 100 || caller.over {
                return;
            }
            let from = message.header(HeaderName::From).unwrap().to_owned();
            let to = message.header(HeaderName::To).unwrap().to_owned();
            caller.fields = Some((from.clone(), to.clone()));
            caller.pending.remove("INVITE");
            caller.take_target(message);
            if status < 200 {
                if self.story == Story::CallerCancels && !caller.pending.contains_key("CANCEL") {
                    let text = request("CANCEL", "a", 1, "i", "").replace('\n', "\r\n");
                    caller.repeat("CANCEL", text.into(), &address(0), now + SECOND);
                    caller.pending.get_mut("CANCEL").unwrap().again = now + SECOND;
                }
                return;
            }
            let first = !caller.finals.contains(&format!("{status} INVITE"));
            let branch = if status < 300 { "iack" } else { "i" };
            let tag = format!("To-tag: {}\n", message.to_tag().unwrap());
            let ack = request("ACK", "a", 1, branch, &tag).replace('\n', "\r\n");
            let target = caller.target.clone();
            caller.finals.push(format!("{status} INVITE"));
            caller.answered |= status < 300;
            caller.over |= status >= 300;
            if first && status < 300 && self.story == Story::CallerEnds {
                caller.ask("BYE", now);
                caller.pending.get_mut("BYE").unwrap().again = now + SECOND * 3;
            }
            let to = if status < 300 { target } else { address(node) };
            return self.deliver(&to, ack.into());
        }
        caller.pending.remove(&method);
        caller.finals.push(format!("{status} {method}"));
        caller.over |= method == "BYE";
    }

    fn callee_receives(&mut self, at: usize, message: &Message, node: usize) {
        let now = self.world.now;
        let phone = &mut self.callees[at];
        match (message.is_request(), message.method()) {
            (true, Method::Invite) if message.to_tag().is_none() => {
                if phone.invite.is_none() {
                    phone.invite = Some(message.clone());
                    phone.take_target(message);
                    let from = message.header(HeaderName::To).unwrap();
                    let to = message.header(HeaderName::From).unwrap().to_owned();
                    phone.fields = Some((format!("{from};tag=b{at}"), to));
                    self.plans.push((now + MS * 8, at, "ring"));
                    if self.story != Story::CallerCancels {
                        self.plans.push((now + MS * 24, at, "answer"));
                    }
                }
            }
            (true, Method::Cancel) => self.callee_cancelled(at, message, node),
            (true, Method::Ack) => {
                phone.pending.remove("200");
            }
            (true, _) => {
                let reply = in_dialog(phone, message);
                self.deliver(&address(node), reply);
            }
            (false, method) => {
                let method = method.to_string();
                phone.pending.remove(&method);
                phone.over |= method == "BYE";
                phone
                    .finals
                    .push(format!("{} {method}", message.status().unwrap()));
            }
        }
    }

    fn callee_cancelled(&mut self, at: usize, cancel: &Message, node: usize) {
        let phone = &mut self.callees[at];
        let invite = phone.invite.clone().expect("it rang");
        if cancel.branch() != invite.branch() {
            phone
                .complaints
                .push("a CANCEL of another branch".to_owned());
        }
        let ok = ResponseBuilder::new(cancel, 200)
            .to_tag(format!("b{at}"))
            .build();
        self.deliver(&address(node), ok.unwrap());
        if !self.callees[at].answered && !self.callees[at].over {
            self.callees[at].over = true;
            let refusal = ResponseBuilder::new(&invite, 487)
                .to_tag(format!("b{at}"))
                .build();
            let via = sent_by(&invite);
            self.deliver(&via, refusal.unwrap());
        }
    }

    fn callee_does(&mut self, at: usize, what: &str) {
        let now = self.world.now;
        let story = self.story;
        let phone = &mut self.callees[at];
        if phone.over {
            return;
        }
        let invite = phone.invite.clone().expect("it rang");
        let via = sent_by(&invite);
        let tag = format!("b{at}");
        match what {
            "ring" => {
                let ringing = ResponseBuilder::new(&invite, 180)
                    .to_tag(&tag)
                    .contact("<sip:b@192.0.2.20:5080>");
                self.deliver(&via, ringing.build().unwrap());
            }
            "answer" => {
                let ok = ResponseBuilder::new(&invite, 200)
                    .to_tag(&tag)
                    .contact("<sip:b@192.0.2.20:5080>")
                    .header("Allow", "INVITE, ACK, BYE, UPDATE")
                    .body("application/sdp", ANSWER.as_bytes());
                phone.answered = true;
                phone.repeat("200", ok.build().unwrap(), &via, now);
                // RFC 3261 13.3.1.4: without an ACK it hangs up.
                self.plans.push((now + T1_X64, at, "no ack"));
                if story == Story::CalleeEnds {
                    self.plans.push((now + SECOND * 4, at, "end"));
                }
            }
            "no ack" if phone.finals.is_empty() && phone.pending.contains_key("200") => {
                phone.over = true;
            }
            "end" => phone.ask("BYE", now),
            _ => {}
        }
    }
}

fn sent_by(message: &Message) -> String {
    let via = message.top_via().expect("a Via");
    format!("{}:{}", via.host.as_str(), via.port.unwrap_or(5060))
}

/// What a strict phone says to a request in its dialog.
fn in_dialog(phone: &mut Phone, message: &Message) -> Bytes {
    let fresh = message.cseq_number() > phone.last_theirs;
    phone.last_theirs = phone.last_theirs.max(message.cseq_number());
    let mut reply = ResponseBuilder::new(message, 200).contact("<sip:x@192.0.2.9:5070>");
    match message.method() {
        Method::Bye => phone.over = true,
        Method::Update | Method::Invite => {
            phone.take_target(message);
            let target = phone.target.clone();
            for one in phone.pending.values_mut() {
                one.to.clone_from(&target);
            }
            if !message.body().is_empty() {
                reply = reply.body("application/sdp", ANSWER.as_bytes());
            }
        }
        _ if !fresh => phone.complaints.push(format!("{message:?} is stale")),
        _ => {}
    }
    reply.build().unwrap()
}

fn judge(scene: &mut Scene, what: &str) {
    let none: [String; 0] = [];
    let said: Vec<String> = scene
        .world
        .sent
        .iter()
        .map(super::world::Sent::line)
        .collect();
    // Nobody told it anything: it gives up by itself (RFC 3261 17.1.1.2, Timer B).
    let untold = scene.scope == Scope::Node && scene.caller.fields.is_none();
    assert!(
        scene.caller.over || untold,
        "{what}: the caller is left hanging: {said:?}"
    );
    assert_eq!(scene.caller.complaints, none, "{what}: {said:?}");
    assert_eq!(scene.world.complaints(), none, "{what}: {said:?}");
    for callee in &scene.callees {
        assert!(callee.over, "{what}: a callee is left hanging: {said:?}");
        assert_eq!(callee.complaints, none, "{what}: {said:?}");
    }
    if scene.caller.answered && scene.story == Story::CallerEnds && scene.scope == Scope::Cluster {
        let bye = scene.caller.finals.last().map(String::as_str);
        assert_eq!(bye, Some("200 BYE"), "{what}: {said:?}");
    }
    for node in 1..3 {
        let summary = scene.world.summary(node);
        let left = (summary.calls_owned, summary.transactions);
        assert_eq!(left, (0, 0), "{what}, node {node}: {said:?}");
    }
}

fn all(story: Story, scope: Scope, when: When) {
    let deaths: Vec<u32> = (0..60).chain([900, 2_000, 3_030, 3_034, 4_040]).collect();
    let mut kept = 0;
    for at in &deaths {
        let mut scene = Scene::new(story, scope, when);
        scene.pass(MS * *at);
        scene.world.kill(0);
        scene.pass(MS * 800);
        scene.world.declare_down(0);
        scene.pass(SECOND * 130);
        kept += usize::from(scene.caller.answered);
        judge(
            &mut scene,
            &format!("{story:?}, {scope:?}, dies after {at} ms"),
        );
    }
    match (story, scope) {
        (Story::CallerCancels, _) => assert_eq!(kept, 0),
        // SIP.md S3.6: what is repeated reaches whoever goes on.
        (_, Scope::Cluster) => assert_eq!(kept, deaths.len()),
        (_, Scope::Node) => assert!(kept > deaths.len() / 2, "{kept} of {}", deaths.len()),
    }
}

#[test]
fn both_legs_end_whenever_the_owner_dies_and_its_address_lives() {
    for story in [Story::CallerEnds, Story::CalleeEnds, Story::CallerCancels] {
        all(story, Scope::Cluster, When::Early);
    }
}

/// A call that dials has a record from then on, whatever `when` says.
#[test]
fn a_leg_of_ours_is_known_to_others_before_it_rings() {
    all(Story::CallerCancels, Scope::Cluster, When::Confirmed);
    all(Story::CallerEnds, Scope::Cluster, When::Confirmed);
}

#[test]
fn both_legs_end_whenever_the_owner_dies_with_its_address() {
    for story in [Story::CallerEnds, Story::CalleeEnds, Story::CallerCancels] {
        all(story, Scope::Node, When::Early);
    }
}
