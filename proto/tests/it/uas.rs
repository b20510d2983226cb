//! Goal: one shard alone answers calls as RFC 3261 says. Method: texts in, first lines out; time is
//! a number. The application answers everything with 200 and hangs up on a timer or a signal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::app::{App, Call, Event, Reply};
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::{Incarnation, MemberId, NodeId};
use callring_proto::base::time::Instant;
use callring_proto::cluster::policy::Replication;
use callring_proto::cluster::view::{MemberInfo, MemberState, Metadata, View};
use callring_proto::io::{Input, Output};
use callring_proto::shard::{Listener, Scope, Shard, ShardConfig};
use callring_proto::sip::Message;
use callring_proto::sip::locator::{SealKey, SealKeys, Sealer};

struct Test;

impl App for Test {
    type State = u32;

    fn name(&self) -> &'static str {
        "test"
    }

    fn on_event(&self, call: &mut Call<'_, u32>, event: Event) {
        match event {
            Event::Request {
                id,
                message,
                initial: true,
            } => {
                call.respond(id, Reply::new(180));
                if message.header_named("X-Ring").is_some() {
                    return;
                }
                call.set_timer(1, Duration::from_secs(60));
                call.respond(id, Reply::new(200).body("application/sdp", "v=0\r\n"));
            }
            Event::Request { id, message, .. } => {
                *call.state += 1;
                if message.header_named("X-Slow").is_none() {
                    call.respond(id, Reply::new(200));
                }
            }
            Event::Timer(1) => call.hang_up(),
            _ => {}
        }
    }
}

pub(crate) struct Desk {
    pub(crate) shard: Shard,
    pub(crate) now: Instant,
    pub(crate) flow: Flow,
    pub(crate) sent: VecDeque<Bytes>,
    pub(crate) tag: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let me = MemberId {
            node: NodeId::of("n1"),
            incarnation: Incarnation { number: 1, boot: 1 },
        };
        let info = MemberInfo {
            id: me,
            name: "n1".into(),
            state: MemberState::Alive,
            cluster_addr: "127.0.0.1:7060".parse().unwrap(),
            meta: Metadata::default(),
            known: true,
        };
        let keys = SealKeys {
            current: SealKey {
                id: 1,
                key: [7; 32],
            },
            previous: None,
            position_secret: [1; 16],
            stateless_secret: [2; 16],
        };
        let shard = Shard::new(ShardConfig {
            shard: 0,
            shards: 1,
            listeners: vec![Listener {
                transport: Transport::Udp,
                advertise: "192.0.2.1:5060".into(),
                scope: Scope::Node,
            }],
            replication: Replication {
                copies: 1,
                ..Replication::default()
            },
            sealer: Arc::new(Sealer::new(keys).unwrap()),
            app: Arc::new(Test),
            view: Arc::new(View::new(1, me, vec![info])),
            seed: [9; 32],
            wire_max: callring_proto::wire::VERSION,
            joined_by: None,
        });
        let flow = Flow {
            transport: Transport::Udp,
            ingress: me.node,
            listener: 0,
            remote: "192.0.2.9:5070".parse().unwrap(),
            advertise: "192.0.2.1:5060".into(),
        };
        Self {
            shard,
            now: Instant::START,
            flow,
            sent: VecDeque::new(),
            tag: String::new(),
        }
    }

    pub(crate) fn overloaded(&mut self, so: bool) {
        self.shard.handle(self.now, Input::Overloaded(so));
    }

    pub(crate) fn drain(&mut self) -> String {
        let mut lines = Vec::new();
        while let Some(output) = self.shard.poll_output(self.now) {
            if let Output::Sip { bytes, .. } = output {
                let Ok(message) = Message::parse(bytes.clone()) else {
                    // The answer to a request that can't be read repeats what can't be read.
                    let line = bytes
                        .split(|byte| *byte == b'\r')
                        .next()
                        .unwrap_or_default();
                    lines.push(String::from_utf8_lossy(&line[8..11]).into_owned());
                    self.sent.push_back(bytes);
                    continue;
                };
                if !message.is_request()
                    && let Some(tag) = message.to_tag()
                {
                    self.tag = tag.to_owned();
                }
                let line = match message.status() {
                    Some(status) => format!("{status} {}", message.cseq().method),
                    None => message.method().to_string(),
                };
                lines.push(line);
                self.sent.push_back(bytes);
            }
        }
        lines.join(", ")
    }

    pub(crate) fn raw(&mut self, text: &str) -> String {
        self.bytes(Bytes::from(text.replace('\n', "\r\n")))
    }

    pub(crate) fn bytes(&mut self, bytes: Bytes) -> String {
        let flow = self.flow.clone();
        self.shard.handle(self.now, Input::Sip { flow, bytes });
        self.drain()
    }

    pub(crate) fn say(&mut self, method: &str, cseq: u32, branch: &str, extra: &str) -> String {
        let tag = if extra.contains("tagless") {
            String::new()
        } else {
            self.tag.clone()
        };
        let tag = if tag.is_empty() {
            tag
        } else {
            format!(";tag={tag}")
        };
        let extra = extra.replace("tagless\n", "");
        self.raw(&format!(
            "{method} sip:ivr@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK{branch}\n\
             From: <sip:a@192.0.2.9>;tag=77\nTo: <sip:ivr@192.0.2.1>{tag}\nCall-ID: c1\n\
             CSeq: {cseq} {method}\nMax-Forwards: 70\nContact: <sip:a@192.0.2.9:5070>\n{extra}Content-Length: 0\n\n"
        ))
    }

    pub(crate) fn pass(&mut self, span: Duration) -> String {
        let until = self.now + span;
        let mut lines = Vec::new();
        while let Some(at) = self.shard.next_deadline().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.shard.handle_timeout(self.now);
            let line = self.drain();
            if !line.is_empty() {
                lines.push(line);
            }
        }
        self.now = until;
        lines.join(", ")
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_call_is_answered_confirmed_and_ended_by_the_caller() {
    let mut desk = Desk::new();
    assert_eq!(
        desk.say("INVITE", 1, "i", "tagless\n"),
        "180 INVITE, 200 INVITE"
    );
    assert_eq!(desk.say("ACK", 1, "a", ""), "");
    assert_eq!(
        desk.pass(SECOND * 10),
        "",
        "an acknowledged 2xx is not repeated"
    );
    assert_eq!(desk.say("INFO", 2, "f", ""), "200 INFO");
    assert_eq!(
        desk.say("INFO", 2, "f", ""),
        "200 INFO",
        "a repetition gets the same answer"
    );
    assert_eq!(
        desk.say("OPTIONS", 4, "o", ""),
        "200 OPTIONS",
        "gaps are allowed"
    );
    assert_eq!(
        desk.say("INFO", 3, "g", ""),
        "500 INFO",
        "an old number is refused"
    );
    assert_eq!(desk.say("BYE", 5, "b", ""), "200 BYE");
    assert_eq!(desk.say("BYE", 5, "b", ""), "200 BYE");
    assert_eq!(desk.say("INFO", 6, "h", ""), "481 INFO");
    assert_eq!(
        desk.pass(SECOND * 100),
        "",
        "nothing is left that would speak"
    );
    assert_eq!(desk.say("INFO", 7, "j", ""), "481 INFO");
    assert_eq!(desk.shard.next_deadline(), None, "nothing is left at all");
}

#[test]
fn d11_a_2xx_is_repeated_until_its_ack_and_then_given_up_with_a_bye() {
    let mut desk = Desk::new();
    desk.say("INVITE", 1, "i", "tagless\n");
    let sent = desk.pass(SECOND * 31);
    assert_eq!(
        sent.matches("200 INVITE").count(),
        9,
        "0.5 1.5 3.5 7.5 11.5 .. {sent}"
    );
    assert!(desk.pass(SECOND * 3).contains("BYE"));
}

#[test]
fn t15_cancel_ends_what_is_not_answered() {
    let mut desk = Desk::new();
    assert_eq!(
        desk.say("INVITE", 1, "i", "tagless\nX-Ring: 1\n"),
        "180 INVITE"
    );
    assert_eq!(
        desk.say("INVITE", 1, "i", "tagless\nX-Ring: 1\n"),
        "180 INVITE"
    );
    assert_eq!(
        desk.say("CANCEL", 1, "i", "tagless\n"),
        "200 CANCEL, 487 INVITE"
    );
    assert_eq!(desk.pass(SECOND), "487 INVITE");
    assert_eq!(desk.say("ACK", 1, "i", ""), "");
    assert_eq!(desk.pass(SECOND * 40), "");
    assert_eq!(desk.say("CANCEL", 1, "i", "tagless\n"), "481 CANCEL");
    assert_eq!(desk.shard.next_deadline(), None);
}

#[test]
fn an_application_timer_sends_one_bye_with_our_own_number() {
    let mut desk = Desk::new();
    desk.say("INVITE", 1, "i", "tagless\n");
    desk.say("ACK", 1, "a", "");
    let sent = desk.pass(SECOND * 60);
    assert_eq!(sent, "BYE");
    let bye = Message::parse(desk.sent.back().unwrap().clone()).unwrap();
    assert_eq!(bye.request_uri(), "sip:a@192.0.2.9:5070");
    assert_eq!(bye.cseq_number(), 1);
    assert_eq!(bye.from_tag().map(str::len), Some(64));
    assert_eq!(bye.to_tag(), Some("77"));
    assert_eq!(desk.say("BYE", 2, "x", ""), "200 BYE", "BYEs may cross");
    assert_eq!(desk.say("INFO", 3, "y", ""), "481 INFO");
}

#[test]
fn what_belongs_to_no_call_is_answered_without_state() {
    let mut desk = Desk::new();
    for (method, answer) in [
        ("OPTIONS", "200 OPTIONS"),
        ("REGISTER", "405 REGISTER"),
        ("FOO", "501 FOO"),
        ("BYE", "481 BYE"),
        ("ACK", ""),
    ] {
        assert_eq!(desk.say(method, 1, "x", "tagless\n"), answer);
        desk.tag.clear();
    }
    assert_eq!(
        desk.say("INVITE", 1, "y", "tagless\nRequire: foo\n"),
        "420 INVITE"
    );
    desk.tag = "forged".into();
    assert_eq!(desk.say("BYE", 1, "z", ""), "481 BYE");
    assert_eq!(desk.say("ACK", 1, "z", ""), "");
    assert_eq!(desk.shard.next_deadline(), None);
}

#[test]
fn t19_the_same_invite_by_two_ways_is_merged() {
    let mut desk = Desk::new();
    desk.say("INVITE", 1, "one", "tagless\nX-Ring: 1\n");
    assert_eq!(
        desk.say("INVITE", 1, "two", "tagless\nX-Ring: 1\n"),
        "482 INVITE"
    );
}
