//! One shard that runs `b2bua`, without sockets, and what its two phones say to it.

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
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const CALLER: &str = "192.0.2.9:5070";
pub(super) const CALLEE: &str = "192.0.2.20:5080";
pub(super) const OTHER: &str = "192.0.2.30:5090";
pub(super) const OFFER: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
pub(super) const ANSWER: &str =
    "v=0\r\no=b 5 1 IN IP4 192.0.2.20\r\ns=-\r\nt=0 0\r\nm=audio 6 RTP/AVP 0\r\n";

/// `ivr` has two targets, `one` has one, nobody else has any.
pub(super) fn route(invite: &Message, _: IpAddr) -> Result<Plan, Reply> {
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

pub(super) struct Desk {
    shard: Shard,
    now: Instant,
    /// What was sent, and where to.
    sent: Vec<(String, Message)>,
    told: usize,
}

impl Desk {
    pub(super) fn new() -> Self {
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

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.shard.poll_output(self.now) {
            if let Output::Sip { flow, bytes } = output {
                let message = Message::parse(bytes).expect("our own message reads");
                self.sent.push((flow.remote.to_string(), message));
            }
        }
    }

    /// Lets time pass; says what was sent meanwhile, and to whom.
    pub(super) fn pass(&mut self, span: Duration) -> String {
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

    pub(super) fn receive(&mut self, from: &str, bytes: Bytes) -> String {
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
    pub(super) fn caller(&mut self, method: &str, cseq: u32, extra: &str, body: &str) -> String {
        self.caller_of("ivr", method, cseq, extra, body)
    }

    pub(super) fn caller_of(
        &mut self,
        to: &str,
        method: &str,
        cseq: u32,
        extra: &str,
        body: &str,
    ) -> String {
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
    pub(super) fn asked(&self, who: &str, method: &Method) -> Message {
        let mut sent = self.sent.iter().rev();
        let found = sent.find(|(to, one)| to == who && one.is_request() && one.method() == method);
        found.expect("it was sent").1.clone()
    }

    /// `who` answers `request`.
    pub(super) fn answers(
        &mut self,
        who: &str,
        request: &Message,
        status: u16,
        body: &str,
    ) -> String {
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
    pub(super) fn callee(&mut self, method: &str, cseq: u32, body: &str) -> String {
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let rest = format!("{kind}Content-Length: {}\r\n\r\n{body}", body.len());
        self.callee_says(method, cseq, &rest)
    }

    /// The same; `rest` are its further fields and its body.
    pub(super) fn callee_says(&mut self, method: &str, cseq: u32, rest: &str) -> String {
        let ack = self.asked(CALLEE, &Method::Ack);
        let field = |name| ack.header_named(name).expect("it is there").to_owned();
        let (from, to, call_id) = (field("To"), field("From"), field("Call-ID"));
        let text = format!(
            "{method} sip:192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {CALLEE};branch=z9hG4bKcallee{cseq}{method}\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Max-Forwards: 70\r\nContact: <sip:b@{CALLEE}>\r\n{rest}"
        );
        self.receive(CALLEE, text.into())
    }

    /// A call that stands.
    pub(super) fn answered() -> Self {
        let mut desk = Self::new();
        desk.caller("INVITE", 1, "", OFFER);
        let invite = desk.asked(CALLEE, &Method::Invite);
        let said = desk.answers(CALLEE, &invite, 200, ANSWER);
        assert_eq!(said, "ACK to callee, 200 INVITE to caller");
        assert_eq!(desk.caller("ACK", 1, "", ""), "");
        desk
    }

    pub(super) fn newest(&self) -> &Message {
        &self.sent.last().expect("something was sent").1
    }

    /// After all timers nothing is left.
    pub(super) fn is_empty(&mut self) {
        self.pass(SECOND * 80);
        let residue = self.shard.residue();
        assert_eq!((residue.calls, residue.setups), (0, 0));
    }
}
