//! One example of everything that members say to each other.

use std::net::SocketAddr;

use bytes::Bytes;
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::{Ballot, CallId, Incarnation, MemberId, NodeId};
use callring_proto::wire::{
    Ack, Address, Batch, Birth, Births, Claim, Digest, Egress, Ending, Frame, Gaps, Greeting,
    Hello, HelloRefusal, Invite, Judgement, Locate, Located, Mark, Message, NotOwner, Outcome,
    Ping, Pong, Promise, PromiseRecord, Record, Refusal, Refuse, Refused, Relay, Release, Seek,
    Settled, SignalAnswer, Sought, Standing, Submit, TakeOver, Verdict, Verdicts, Vouch, Vouched,
};

pub(crate) fn member(name: &str, number: u32) -> MemberId {
    MemberId {
        node: NodeId::of(name),
        incarnation: Incarnation {
            number,
            boot: 0xb007,
        },
    }
}

fn key() -> CallId {
    CallId {
        position: 0x0123_4567_89ab_cdef,
        nonce: 0xfedc_ba98_7654_3210,
    }
}

fn ballot(epoch: u32, name: &str) -> Ballot {
    Ballot {
        epoch,
        owner: member(name, 3),
    }
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        ingress: NodeId::of("sip-1"),
        listener: 1,
        remote: "[2001:db8::9]:5070".parse().expect("an address"),
        advertise: "sip.example.com:5060".into(),
    }
}

pub(super) fn record() -> Record {
    Record {
        key: key(),
        ballot: ballot(2, "sip-1"),
        version: 300,
        members: [member("sip-2", 1), member("sip-3", 70_000)]
            .into_iter()
            .collect(),
        old: std::iter::once(member("sip-4", 1)).collect(),
        lease: 32,
        end: Ending::No,
        degraded: true,
        age_ms: 1_234,
        state: Bytes::from_static(b"\x01 whatever the owner wrote"),
    }
}

pub(super) fn frames() -> Vec<(&'static str, Frame)> {
    let parts = [
        lane_frames(),
        ownership_frames(),
        carrying_frames(),
        setup_frames(),
    ];
    parts.into_iter().flatten().collect()
}

/// Frames that keep their order.
fn lane_frames() -> Vec<(&'static str, Frame)> {
    let key = key();
    let batch = Batch {
        session: 7,
        stamp: 1_000_000_007,
        first: 500,
        records: vec![record(), record()],
    };
    let ack = Ack {
        session: 7,
        upto: 502,
        echo: 1_000_000_007,
        refused: vec![Refused {
            key,
            promised: ballot(3, "sip-2"),
        }],
    };
    let ping = Ping {
        session: 7,
        stamp: 1_000_000_008,
    };
    let pong = Pong {
        session: 7,
        echo: 1_000_000_008,
    };
    let release = Release {
        key,
        ballot: ballot(2, "sip-1"),
        version: 300,
    };
    let digest = Digest {
        session: 7,
        range: 0x01,
        calls: 2,
        hash: 0x1122_3344_5566_7788,
    };
    let gaps = Gaps {
        session: 7,
        range: 0x01,
        marks: vec![Mark {
            key,
            ballot: ballot(2, "sip-1"),
            version: 299,
        }],
    };
    vec![
        ("batch", Frame::Batch(batch)),
        ("ack", Frame::Ack(ack)),
        ("ping", Frame::Ping(ping)),
        ("pong", Frame::Pong(pong)),
        ("release", Frame::Release(release)),
        ("digest", Frame::Digest(digest)),
        ("gaps", Frame::Gaps(gaps)),
    ]
}

/// Who owns a call, and who is to.
fn ownership_frames() -> Vec<(&'static str, Frame)> {
    let key = key();
    let (low, high) = (ballot(2, "sip-1"), ballot(3, "sip-2"));
    let located = |standing| Frame::Located(Located { key, standing });
    let refuse = |refusal| {
        let ballot = high;
        Frame::Refuse(Refuse {
            key,
            ballot,
            refusal,
        })
    };
    let promise = |record| {
        let ballot = high;
        Frame::Promise(Promise {
            key,
            ballot,
            record,
        })
    };
    let copy = Standing::Copy {
        ballot: low,
        members: record().members,
        owner_silent: true,
    };
    let let_go = Standing::Unknown { let_go: Some(low) };
    // All that version 1 can say of it.
    let any = Ballot {
        epoch: u32::MAX,
        owner: MemberId {
            node: NodeId(u64::MAX),
            incarnation: Incarnation {
                number: u32::MAX,
                boot: u32::MAX,
            },
        },
    };
    let let_go_any = Standing::Unknown { let_go: Some(any) };
    let released = PromiseRecord::Released {
        ballot: low,
        version: 300,
    };
    let take_over = TakeOver { key, ballot: low };
    let claim = Claim { key, ballot: high };
    let invite = Invite {
        key,
        ballot: low,
        version: 300,
    };
    vec![
        ("locate", Frame::Locate(Locate { key })),
        ("located-owner", located(Standing::Owner { ballot: low })),
        ("located-copy", located(copy)),
        ("located-unknown", located(let_go_any)),
        ("located-let-go", located(let_go)),
        ("take-over", Frame::TakeOver(take_over)),
        ("claim", Frame::Claim(claim)),
        ("promise-known", promise(PromiseRecord::Known(record()))),
        ("promise-unknown", promise(PromiseRecord::Unknown)),
        ("promise-released", promise(released)),
        ("refuse-alive", refuse(Refusal::Alive { ballot: low })),
        (
            "refuse-promised",
            refuse(Refusal::Promised { ballot: high }),
        ),
        ("refuse-owner", refuse(Refusal::Owner { ballot: low })),
        ("refuse-no-copy", refuse(Refusal::NoCopy)),
        ("invite", Frame::Invite(invite)),
    ]
}

/// What is carried for calls.
fn carrying_frames() -> Vec<(&'static str, Frame)> {
    let key = key();
    let relay = |message| {
        let hops = 1;
        Frame::Relay(Relay { key, hops, message })
    };
    let bytes = Bytes::from_static(b"BYE sip:callring@192.0.2.1 SIP/2.0\r\n\r\n");
    let sip = Message::Sip {
        flow: flow(),
        bytes: bytes.clone(),
    };
    let signal = Message::Signal {
        asker: member("sip-5", 1),
        shard: 2,
        ask: 400,
        body: Bytes::from_static(br#"{"hangup":{}}"#),
    };
    let not_owner = NotOwner {
        key,
        ballot: Some(ballot(3, "sip-2")),
    };
    let egress = Egress {
        flow: flow(),
        bytes,
    };
    let answer = SignalAnswer {
        ask: 400,
        refusal: Some("no such call".into()),
    };
    vec![
        ("relay-sip", relay(sip)),
        ("relay-signal", relay(signal)),
        ("not-owner", Frame::NotOwner(not_owner)),
        ("egress", Frame::Egress(egress)),
        ("signal-answer", Frame::SignalAnswer(answer)),
    ]
}

/// What is said of INVITEs before any tag is known.
fn setup_frames() -> Vec<(&'static str, Frame)> {
    let key = key();
    let transaction = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
    let birth = Birth {
        key,
        transaction,
        attempt: 7,
        target: 8,
        instead: Some(key),
        end: Bytes::from_static(b"what the owner wants done"),
    };
    let births = Births {
        asks: true,
        notices: vec![
            birth.clone(),
            Birth {
                instead: None,
                ..birth
            },
        ],
    };
    let owner = member("sip-2", 1);
    let judgements = [
        Judgement::First,
        Judgement::Taken { key, owner },
        Judgement::Merged,
        Judgement::Ended,
    ];
    let verdicts = judgements.map(|judgement| Verdict { key, judgement });
    let outcomes = [Outcome::Answered, Outcome::Refused, Outcome::Over];
    let settled = Settled {
        calls: outcomes.map(|outcome| (key, outcome)).to_vec(),
    };
    let seek = Seek {
        position: key.position,
        transaction,
    };
    let sought = Sought {
        transaction,
        found: Some((key, owner)),
    };
    let submit = Submit {
        hops: 1,
        flow: flow(),
        bytes: Bytes::from_static(b"INVITE sip:callring@192.0.2.1 SIP/2.0\r\n\r\n"),
    };
    vec![
        ("births", Frame::Births(births)),
        (
            "verdicts",
            Frame::Verdicts(Verdicts {
                verdicts: verdicts.to_vec(),
            }),
        ),
        ("settled", Frame::Settled(settled)),
        ("seek", Frame::Seek(seek)),
        ("sought", Frame::Sought(sought)),
        ("submit", Frame::Submit(submit)),
        ("vouch", vouch(owner)),
        ("vouched", vouched(owner)),
    ]
}

fn vouch(member: MemberId) -> Frame {
    Frame::Vouch(Vouch { member, shard: 3 })
}

fn vouched(member: MemberId) -> Frame {
    Frame::Vouched(Vouched {
        member,
        shard: 3,
        heard: true,
    })
}

pub(super) const ADDRESS: Address = Address {
    from_shard: 1,
    to_shard: 258,
};

pub(super) fn greetings() -> Vec<(&'static str, Greeting)> {
    let address = SocketAddr::from(([192, 0, 2, 1], 7060));
    let hello = Hello {
        name: "sip-1".into(),
        incarnation: member("sip-1", 3).incarnation,
        address,
        shards: 2,
        wire_min: 1,
        wire_max: 1,
        session: 5,
        known: 2,
    };
    let by = hello.incarnation;
    vec![
        ("who-am-i", Greeting::WhoAmI),
        (
            "you-are",
            Greeting::YouAre {
                known: 2,
                me: Some((by, address)),
            },
        ),
        ("hello", Greeting::Hello(hello.clone())),
        ("welcome", Greeting::Welcome(hello)),
        (
            "superseded",
            Greeting::Refused(HelloRefusal::Superseded { by }),
        ),
        (
            "version",
            Greeting::Refused(HelloRefusal::Version { min: 1, max: 2 }),
        ),
        ("not-yet", Greeting::Refused(HelloRefusal::NotYet)),
        ("yourself", Greeting::Refused(HelloRefusal::Yourself)),
        ("nonsense", Greeting::Refused(HelloRefusal::Nonsense)),
    ]
}
