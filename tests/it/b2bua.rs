//! Goal: two legs are one call: answers, refusals, requests and ends pass from one to the other,
//! and targets are tried in turn. Method: one shard without sockets; this test is both phones.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::app::{Message, Method, Reply};
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::{Incarnation, MemberId, NodeId};
use callring_proto::base::time::Instant;
use callring_proto::cluster::policy::Replication;
use callring_proto::cluster::view::{MemberInfo, MemberState, Metadata, View};
use callring_proto::io::{Input, Output};
use callring_proto::shard::{Listener, Scope, Shard, ShardConfig};
use callring_proto::sip::ResponseBuilder;
use callring_proto::sip::locator::{SealKey, SealKeys, Sealer};

use callring::apps::b2bua::{B2bua, Plan};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const CALLER: &str = "192.0.2.9:5070";
const CALLEE: &str = "192.0.2.20:5080";
const OTHER: &str = "192.0.2.30:5090";
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
const ANSWER: &str = "v=0\r\no=b 5 1 IN IP4 192.0.2.20\r\ns=-\r\nt=0 0\r\nm=audio 6 RTP/AVP 0\r\n";

/// `ivr` has two targets, `one` has one, nobody else has any.
fn route(invite: &Message, _: IpAddr) -> Result<Plan, Reply> {
    let uri = |host| format!("sip:ivr@{host}");
    let targets = match invite.request_uri() {
        "sip:ivr@192.0.2.1" => vec![uri(CALLEE), uri(OTHER)],
        "sip:one@192.0.2.1" => vec![uri(CALLEE)],
        "sip:name@192.0.2.1" => vec!["sip:somewhere.example".to_owned(), uri(CALLEE)],
        _ => return Err(Reply::new(404)),
    };
    Ok(Plan {
        targets,
        ring_timeout: SECOND * 20,
    })
}

struct Desk {
    shard: Shard,
    now: Instant,
    /// What was sent, and where to.
    sent: Vec<(String, Message)>,
    told: usize,
}

impl Desk {
    fn new() -> Self {
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
            app: Arc::new(B2bua::new(route)),
            view: Arc::new(View::new(1, me, vec![info])),
            seed: [9; 32],
            wire_max: callring_proto::wire::VERSION,
            joined_by: None,
        });
        Self {
            shard,
            now: Instant::START,
            sent: Vec::new(),
            told: 0,
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.shard.poll_output(self.now) {
            if let Output::Sip { flow, bytes } = output {
                let message = Message::parse(bytes).expect("our own message reads");
                self.sent.push((flow.remote.to_string(), message));
            }
        }
    }

    /// Lets time pass; says what was sent meanwhile, and to whom.
    fn pass(&mut self, span: Duration) -> String {
        let until = self.now + span;
        while let Some(due) = self.shard.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.shard.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
        let lines = self.sent[self.told..].iter().map(|(to, message)| {
            let what = match message.status() {
                Some(status) => format!("{status} {}", message.method()),
                None => message.method().to_string(),
            };
            let who = match to.as_str() {
                CALLER => "caller",
                CALLEE => "callee",
                _ => "other",
            };
            format!("{what} to {who}")
        });
        let lines: Vec<String> = lines.collect();
        self.told = self.sent.len();
        lines.join(", ")
    }

    fn receive(&mut self, from: &str, bytes: Bytes) -> String {
        let flow = Flow {
            transport: Transport::Udp,
            ingress: NodeId::of("n1"),
            listener: 0,
            remote: from.parse().unwrap(),
            advertise: "192.0.2.1:5060".into(),
        };
        self.shard.handle(self.now, Input::Sip { flow, bytes });
        self.drain();
        self.pass(MS)
    }

    /// The caller's request; `to` is the user it calls, `extra` further fields.
    fn caller(&mut self, method: &str, cseq: u32, extra: &str, body: &str) -> String {
        self.caller_of("ivr", method, cseq, extra, body)
    }

    fn caller_of(&mut self, to: &str, method: &str, cseq: u32, extra: &str, body: &str) -> String {
        let answers = self.sent.iter().map(|(_, message)| message);
        let mut ours = answers.filter(|one| !one.is_request() && one.call_id() == "c");
        let tag = ours.find_map(|one| one.to_tag().filter(|_| method != "CANCEL"));
        let tag = tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let branch = if method == "CANCEL" { 1 } else { cseq };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let text = format!(
            "{method} sip:{to}@192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{branch}{}\r\n\
             From: \"A\" <sip:a@192.0.2.9>;tag=a\r\nTo: <sip:{to}@192.0.2.1>{tag}\r\n\
             Call-ID: c\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:a@{CALLER}>\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
            if method == "ACK" { "ack" } else { "" },
            body.len()
        );
        self.receive(CALLER, text.into())
    }

    /// The newest request of ours to `who`.
    fn asked(&self, who: &str, method: &Method) -> Message {
        let mut sent = self.sent.iter().rev();
        let found = sent.find(|(to, one)| to == who && one.is_request() && one.method() == method);
        found.expect("it was sent").1.clone()
    }

    /// `who` answers `request`.
    fn answers(&mut self, who: &str, request: &Message, status: u16, body: &str) -> String {
        let contact = format!("<sip:b@{who}>");
        let mut reply = ResponseBuilder::new(request, status)
            .to_tag("b")
            .contact(contact.as_str())
            .header("X-Said", "by the callee");
        if !body.is_empty() {
            reply = reply.body("application/sdp", body.as_bytes());
        }
        let bytes = reply.build().expect("a response");
        self.receive(who, bytes)
    }

    /// The callee's own request in its dialog.
    fn callee(&mut self, method: &str, cseq: u32, body: &str) -> String {
        let ack = self.asked(CALLEE, &Method::Ack);
        let field = |name| ack.header_named(name).expect("it is there").to_owned();
        let (from, to, call_id) = (field("To"), field("From"), field("Call-ID"));
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let text = format!(
            "{method} sip:192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {CALLEE};branch=z9hG4bKcallee{cseq}{method}\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Max-Forwards: 70\r\nContact: <sip:b@{CALLEE}>\r\n\
             {kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.receive(CALLEE, text.into())
    }

    /// A call that stands.
    fn answered() -> Self {
        let mut desk = Self::new();
        desk.caller("INVITE", 1, "", OFFER);
        let invite = desk.asked(CALLEE, &Method::Invite);
        let said = desk.answers(CALLEE, &invite, 200, ANSWER);
        assert_eq!(said, "ACK to callee, 200 INVITE to caller");
        assert_eq!(desk.caller("ACK", 1, "", ""), "");
        desk
    }

    fn newest(&self) -> &Message {
        &self.sent.last().expect("something was sent").1
    }

    /// After all timers nothing is left.
    fn is_empty(&mut self) {
        self.pass(SECOND * 80);
        let residue = self.shard.residue();
        assert_eq!((residue.calls, residue.setups), (0, 0));
    }
}

#[test]
fn what_is_the_calls_passes_and_what_is_the_legs_does_not() {
    let mut desk = Desk::new();
    let extra = "X-Account: 7\r\nRecord-Route: <sip:p;lr>\r\nSupported: 100rel, foo\r\n";
    let said = desk.caller("INVITE", 1, extra, OFFER);
    assert_eq!(said, "INVITE to callee");
    let invite = desk.asked(CALLEE, &Method::Invite);
    assert_eq!(invite.header_named("X-Account"), Some("7"));
    assert_eq!(
        invite.header_named("From").unwrap().split(';').next(),
        Some("\"A\" <sip:a@192.0.2.9>")
    );
    assert_eq!(invite.header_named("To"), Some("<sip:ivr@192.0.2.1>"));
    assert_eq!(invite.header_named("Max-Forwards"), Some("69"));
    assert_eq!(invite.header_named("Record-Route"), None);
    assert_ne!(invite.header_named("Supported"), Some("100rel, foo"));
    assert_eq!(invite.body(), OFFER.as_bytes());
    let said = desk.answers(CALLEE, &invite, 183, ANSWER);
    assert!(said.starts_with("183 INVITE to caller"), "{said}");
    // Early media goes reliably where the caller can.
    let ringing = desk.newest();
    assert_eq!(ringing.header_named("X-Said"), Some("by the callee"));
    assert_eq!(ringing.header_named("Require"), Some("100rel"));
    assert_ne!(
        ringing.header_named("Contact"),
        Some("<sip:b@192.0.2.20:5080>")
    );
}

#[test]
fn one_side_ends_what_both_have() {
    let mut desk = Desk::answered();
    assert_eq!(
        desk.caller("BYE", 2, "", ""),
        "200 BYE to caller, BYE to callee"
    );
    let bye = desk.asked(CALLEE, &Method::Bye);
    desk.answers(CALLEE, &bye, 200, "");
    desk.is_empty();
    let mut desk = Desk::answered();
    assert_eq!(
        desk.callee("BYE", 1, ""),
        "200 BYE to callee, BYE to caller"
    );
    let bye = desk.asked(CALLER, &Method::Bye);
    desk.answers(CALLER, &bye, 200, "");
    desk.is_empty();
}

#[test]
fn a_target_that_fails_is_followed_by_the_next() {
    for (status, goes_on) in [
        (503, true),
        (500, true),
        (480, true),
        (486, false),
        (603, false),
    ] {
        let mut desk = Desk::new();
        desk.caller("INVITE", 1, "", OFFER);
        let invite = desk.asked(CALLEE, &Method::Invite);
        let said = desk.answers(CALLEE, &invite, status, "");
        let expected = if goes_on {
            "ACK to callee, INVITE to other".to_owned()
        } else {
            format!("ACK to callee, {status} INVITE to caller")
        };
        assert_eq!(said, expected);
        if goes_on {
            let invite = desk.asked(OTHER, &Method::Invite);
            assert_eq!(invite.request_uri(), format!("sip:ivr@{OTHER}"));
            let said = desk.answers(OTHER, &invite, 200, ANSWER);
            assert_eq!(said, "ACK to other, 200 INVITE to caller");
        }
    }
}

#[test]
fn a_dead_target_is_followed_by_the_next_and_the_caller_is_told_the_best_refusal() {
    let mut desk = Desk::new();
    desk.caller("INVITE", 1, "", OFFER);
    // It rings for twenty seconds, dead or not.
    let said = desk.pass(SECOND * 21);
    assert!(said.ends_with("INVITE to other"), "{said}");
    let invite = desk.asked(OTHER, &Method::Invite);
    let said = desk.answers(OTHER, &invite, 503, "");
    assert_eq!(said, "ACK to other, 408 INVITE to caller"); // RFC 3261 16.7
    // The dead one wakes up: it is told that nobody wants it any more.
    let late = desk.asked(CALLEE, &Method::Invite);
    assert_eq!(desk.answers(CALLEE, &late, 180, ""), "CANCEL to callee");
    assert_eq!(
        desk.answers(CALLEE, &late, 200, ANSWER),
        "ACK to callee, BYE to callee"
    );
}

#[test]
fn a_target_without_an_address_is_passed_over() {
    let mut desk = Desk::new();
    let said = desk.caller_of("name", "INVITE", 1, "", OFFER);
    assert_eq!(said, "INVITE to callee");
}

#[test]
fn who_may_not_is_told_at_once() {
    let mut desk = Desk::new();
    assert_eq!(
        desk.caller_of("nobody", "INVITE", 1, "", OFFER),
        "404 INVITE to caller"
    );
}

#[test]
fn a_caller_that_hangs_up_before_the_answer_takes_the_callee_along() {
    let mut desk = Desk::new();
    desk.caller("INVITE", 1, "", OFFER);
    let invite = desk.asked(CALLEE, &Method::Invite);
    assert_eq!(
        desk.answers(CALLEE, &invite, 180, ""),
        "180 INVITE to caller"
    );
    let said = desk.caller("CANCEL", 1, "", "");
    assert_eq!(
        said,
        "200 CANCEL to caller, 487 INVITE to caller, CANCEL to callee"
    );
    let cancel = desk.asked(CALLEE, &Method::Cancel);
    desk.answers(CALLEE, &cancel, 200, "");
    assert_eq!(desk.answers(CALLEE, &invite, 487, ""), "ACK to callee");
    desk.is_empty();
}

#[test]
fn what_one_asks_the_other_is_asked_once() {
    let mut desk = Desk::answered();
    let hold = OFFER.replace("m=audio 4000", "m=audio 4002");
    assert_eq!(desk.caller("INVITE", 2, "", &hold), "INVITE to callee");
    let asked = desk.asked(CALLEE, &Method::Invite);
    let port = |one: &Message| String::from_utf8_lossy(one.body()).contains("m=audio 4002");
    assert!(port(&asked) && asked.to_tag() == Some("b"));
    // Repeated, it is not asked again.
    assert_eq!(desk.caller("INVITE", 2, "", &hold), "");
    let said = desk.answers(CALLEE, &asked, 200, &ANSWER.replace("audio 6", "audio 8"));
    assert_eq!(said, "ACK to callee, 200 INVITE to caller");
    assert!(String::from_utf8_lossy(desk.newest().body()).contains("audio 8"));
    desk.caller("ACK", 2, "", "");
    // The other way round, and one that is refused: both sides stay as they were.
    assert_eq!(desk.callee("INFO", 1, ""), "INFO to caller");
    let info = desk.asked(CALLER, &Method::Info);
    assert_eq!(desk.answers(CALLER, &info, 200, ""), "200 INFO to callee");
    assert_eq!(desk.callee("INVITE", 2, &hold), "INVITE to caller");
    let asked = desk.asked(CALLER, &Method::Invite);
    let said = desk.answers(CALLER, &asked, 488, "");
    assert_eq!(said, "ACK to caller, 488 INVITE to callee");
    assert_eq!(
        desk.caller("BYE", 3, "", ""),
        "200 BYE to caller, BYE to callee"
    );
}

fn table(text: &str, source: &str, extra: &str) -> String {
    use callring::apps::b2bua::Router as _;
    use callring::config::{AppConfig, Config, Env, Flags};

    let text = format!("[app]\nkind = \"b2bua\"\n{text}");
    let config = Config::load(Some(("c.toml", &text)), &Env::default(), &Flags::default());
    let AppConfig::B2bua(routes) = config.expect("it is accepted").app else {
        panic!("it is the b2bua");
    };
    let invite = format!(
        "INVITE sip:+4930123@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
         From: \"A\" <sip:a@h>;tag=a\r\nTo: <sip:+4930123@192.0.2.1>\r\nCall-ID: c\r\n\
         CSeq: 1 INVITE\r\n{extra}\r\n"
    );
    let invite = Message::parse(invite.into()).expect("it reads");
    match routes.route(&invite, source.parse().expect("an address")) {
        Ok(plan) => plan.targets.join(" "),
        Err(reply) => reply.status.to_string(),
    }
}

// Method: tables as users write them, an INVITE, where it goes.
#[test]
fn routes_go_by_patterns_and_peers() {
    let number = "[[route]]\nmatch = { to = '^sip:\\+49(\\d+)@' }\nto = [\"sip:$1@10.0.0.1\"]\n";
    let rest = "[[route]]\nto = [\"sip:rest@10.0.0.2\", \"sip:more@10.0.0.3\"]\n";
    let peer = "[[peer]]\nname = \"p\"\nsources = [\"192.0.2.0/24\"]\n";
    let both = format!("{number}{rest}");
    assert_eq!(table(&both, "192.0.2.7", ""), "sip:30123@10.0.0.1");
    assert_eq!(
        table(rest, "192.0.2.7", ""),
        "sip:rest@10.0.0.2 sip:more@10.0.0.3"
    );
    let us = number.replace("49", "1");
    assert_eq!(table(&us, "192.0.2.7", ""), "404");
    assert_eq!(
        table(&format!("{us}{rest}"), "192.0.2.7", "")
            .split(' ')
            .count(),
        2
    );
    // Whoever is no peer is not served once there is one.
    let guarded = format!("{peer}{rest}");
    assert_eq!(table(&guarded, "192.0.2.7", "").split(' ').count(), 2);
    assert_eq!(
        table(&guarded, "::ffff:192.0.2.7", "").split(' ').count(),
        2
    );
    assert_eq!(table(&guarded, "198.51.100.1", ""), "403");
    let open = "open = true\n";
    assert_ne!(
        table(&format!("{open}{guarded}"), "198.51.100.1", ""),
        "403"
    );
    let of_peer = rest.replace("to =", "match = { peer = \"p\" }\nto =");
    let of_peer = format!("{open}{peer}{of_peer}");
    assert_eq!(table(&of_peer, "198.51.100.1", ""), "404");
    assert_ne!(table(&of_peer, "192.0.2.7", ""), "404");
    let header = rest.replace("to =", "match = { header = 'X-Tenant: ^(\\w+)$' }\nto =");
    let header = header.replace("rest", "$1");
    assert_eq!(table(&header, "192.0.2.7", ""), "404");
    let told = table(&header, "192.0.2.7", "x-tenant: acme\r\n");
    assert_eq!(told.split(' ').next(), Some("sip:acme@10.0.0.2"));
}
