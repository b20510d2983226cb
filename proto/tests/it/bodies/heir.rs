//! An heir of whatever lies in a record: shards wired by hand, of which the first is gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::app::{App, Call, Event, Reply};
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::{Ballot, CallId, Incarnation, MemberId, NodeId};
use callring_proto::base::time::Instant;
use callring_proto::cluster::policy::Replication;
use callring_proto::cluster::view::{MemberInfo, MemberState, Metadata, View};
use callring_proto::io::{Input, Output};
use callring_proto::shard::{Listener, Scope, Shard, ShardConfig};
use callring_proto::sip::Message;
use callring_proto::sip::locator::{SealKey, SealKeys, Sealer};
use callring_proto::wire::{Address, Batch, Ending, Frame, Record, VERSION, encode};

pub(crate) const CALL_ID: &str = "a84b4c76e66710@pc33.example.com";
pub(crate) const NOW: Instant = Instant::from_nanos(5_000_000_000);
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0\r\n";

/// The tag of the call in the golden state.
const TAG: &str = include_str!("../../golden/v1/call-tag.txt");

fn member(name: &str) -> MemberId {
    MemberId {
        node: NodeId::of(name),
        incarnation: Incarnation {
            number: 1,
            boot: 0xb007,
        },
    }
}

pub(crate) struct Clerk;

impl App for Clerk {
    type State = Vec<String>;

    fn name(&self) -> &'static str {
        "clerk"
    }

    fn on_event(&self, call: &mut Call<'_, Vec<String>>, event: Event) {
        if let Event::Request { id, message, .. } = event {
            call.state.push(message.method().to_string());
            call.set_timer(7, Duration::from_secs(60));
            call.respond(id, Reply::new(200).body("application/sdp", OFFER));
        }
    }
}

pub(crate) fn sealer() -> Sealer {
    let current = SealKey {
        id: 1,
        key: [7; 32],
    };
    Sealer::new(SealKeys {
        current,
        previous: None,
        position_secret: [1; 16],
        stateless_secret: [2; 16],
    })
    .expect("keys of the right shape")
}

/// A view of two members, of which the first may be down.
pub(crate) fn view(me: MemberId, first: MemberState) -> Arc<View> {
    let info = |name: &str, state| MemberInfo {
        id: member(name),
        name: name.into(),
        state,
        cluster_addr: "192.0.2.1:7060".parse().expect("an address"),
        meta: Metadata::default(),
        known: true,
    };
    let members = vec![info("sip-1", first), info("sip-2", MemberState::Alive)];
    Arc::new(View::new(1, me, members))
}

pub(crate) fn shard(name: &str) -> Shard {
    let me = member(name);
    Shard::new(ShardConfig {
        shard: 0,
        shards: 1,
        listeners: vec![Listener {
            transport: Transport::Udp,
            advertise: "192.0.2.1:5060".into(),
            scope: Scope::Node,
        }],
        replication: Replication {
            copies: 2,
            ..Replication::default()
        },
        sealer: Arc::new(sealer()),
        app: Arc::new(Clerk),
        view: view(me, MemberState::Alive),
        seed: [9; 32],
        wire_max: VERSION,
        joined_by: None,
    })
}

pub(crate) fn sip(name: &str, text: &str) -> Input {
    Input::Sip {
        flow: Flow {
            transport: Transport::Udp,
            ingress: member(name).node,
            listener: 0,
            remote: "192.0.2.9:5070".parse().expect("an address"),
            advertise: "192.0.2.1:5060".into(),
        },
        bytes: Bytes::from(text.replace('\n', "\r\n")),
    }
}

pub(crate) fn link(name: &str) -> Input {
    link_of(name, VERSION)
}

/// A link to a member that reads no newer version than `wire`.
pub(crate) fn link_of(name: &str, wire: u8) -> Input {
    Input::LinkUp {
        member: member(name),
        session: 1,
        shards: 1,
        wire,
    }
}

pub(crate) fn drain(shard: &mut Shard) -> Vec<Output> {
    std::iter::from_fn(|| shard.poll_output(NOW)).collect()
}

pub(crate) fn request(method: &str, branch: &str, to_tag: &str, cseq: u32) -> String {
    format!(
        "{method} sip:callring@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK\
         {branch}\nMax-Forwards: 70\nFrom: \"Alice\" <sip:alice@example.com>;tag=1928\nTo: \
         <sip:callring@example.com>{to_tag}\nCall-ID: {CALL_ID}\nCSeq: {cseq} {method}\nContact: \
         <sip:alice@192.0.2.9:5070>\nRecord-Route: <sip:192.0.2.8;lr>\nContent-Length: 0\n\n"
    )
}

/// An heir that holds nothing but `state` in a record, after its owner is gone and a BYE came: what
/// it answers.
pub(crate) fn bye_at_heir(state: Bytes, age_ms: u32) -> Vec<(u16, String)> {
    let tag = TAG.trim();
    let located = sealer().open_tag(CALL_ID.as_bytes(), tag);
    let key: CallId = located.expect("the golden tag opens").call;
    let (owner, me) = (member("sip-1"), member("sip-2"));
    let record = Record {
        key,
        ballot: Ballot { epoch: 1, owner },
        version: 1,
        members: std::iter::once(me).collect(),
        old: [].into_iter().collect(),
        lease: 16,
        end: Ending::No,
        degraded: false,
        age_ms,
        state,
    };
    let batch = Frame::Batch(Batch {
        session: 1,
        stamp: 1,
        first: 0,
        records: vec![record],
    });
    let address = Address {
        from_shard: 0,
        to_shard: 0,
    };
    let frame = Input::Frame {
        from: owner,
        session: 1,
        bytes: encode(address, &batch, VERSION).expect("a kind of this version"),
    };
    let bye = request("BYE", "two", &format!(";tag={tag}"), 2);
    let mut heir = shard("sip-2");
    heir.handle(NOW, link("sip-1"));
    heir.handle(NOW, frame);
    heir.handle(NOW, Input::View(view(me, MemberState::Down)));
    heir.handle(NOW, sip("sip-2", &bye));
    let mut outputs = drain(&mut heir);
    let later = NOW + Duration::from_secs(90);
    heir.handle_timeout(later);
    outputs.extend(drain(&mut heir));
    outputs
        .into_iter()
        .filter_map(|output| match output {
            Output::Sip { bytes, .. } => Message::parse(bytes).ok(),
            _ => None,
        })
        .map(|message| {
            (
                message.status().unwrap_or(0),
                message.cseq().method.to_string(),
            )
        })
        .collect()
}
