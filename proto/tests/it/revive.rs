//! Goal: the state in a record keeps its layout, and a call written by any build of this version
//! comes to life. Method: a shard writes the record of a call it has answered; another one, whose
//! only knowledge is the golden file, answers the BYE after the first is gone.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::app::{App, Call, Event, Reply};
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::ids::{Ballot, CallId, MemberId};
use callring_proto::base::rng;
use callring_proto::base::time::Instant;
use callring_proto::cluster::policy::Replication;
use callring_proto::cluster::view::{MemberInfo, MemberState, Metadata, View};
use callring_proto::io::{Input, Output};
use callring_proto::shard::{Listener, Scope, Shard, ShardConfig};
use callring_proto::sip::Message;
use callring_proto::sip::locator::{SealKey, SealKeys, Sealer};
use callring_proto::wire::{Address, Batch, Ending, Frame, Record, VERSION, decode, encode};

use super::golden::{damage, golden, member};

const CALL_ID: &str = "a84b4c76e66710@pc33.example.com";
const NOW: Instant = Instant::from_nanos(5_000_000_000);
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0\r\n";

struct Clerk;

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

fn sealer() -> Sealer {
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
fn view(me: MemberId, first: MemberState) -> Arc<View> {
    let info = |name: &str, state| MemberInfo {
        id: member(name, 1),
        name: name.into(),
        state,
        cluster_addr: "192.0.2.1:7060".parse().expect("an address"),
        meta: Metadata::default(),
        known: true,
    };
    let members = vec![info("sip-1", first), info("sip-2", MemberState::Alive)];
    Arc::new(View::new(1, me, members))
}

fn shard(name: &str) -> Shard {
    let me = member(name, 1);
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

fn sip(name: &str, text: &str) -> Input {
    Input::Sip {
        flow: Flow {
            transport: Transport::Udp,
            ingress: member(name, 1).node,
            listener: 0,
            remote: "192.0.2.9:5070".parse().expect("an address"),
            advertise: "192.0.2.1:5060".into(),
        },
        bytes: Bytes::from(text.replace('\n', "\r\n")),
    }
}

fn link(name: &str) -> Input {
    link_of(name, VERSION)
}

/// A link to a member that reads no newer version than `wire`.
fn link_of(name: &str, wire: u8) -> Input {
    Input::LinkUp {
        member: member(name, 1),
        session: 1,
        shards: 1,
        wire,
    }
}

fn drain(shard: &mut Shard) -> Vec<Output> {
    std::iter::from_fn(|| shard.poll_output(NOW)).collect()
}

fn request(method: &str, branch: &str, to_tag: &str, cseq: u32) -> String {
    format!(
        "{method} sip:callring@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK\
         {branch}\nMax-Forwards: 70\nFrom: \"Alice\" <sip:alice@example.com>;tag=1928\nTo: \
         <sip:callring@example.com>{to_tag}\nCall-ID: {CALL_ID}\nCSeq: {cseq} {method}\nContact: \
         <sip:alice@192.0.2.9:5070>\nRecord-Route: <sip:192.0.2.8;lr>\nContent-Length: 0\n\n"
    )
}

/// The record of a call that a shard of this build has answered, beside a member that reads no
/// newer version than `wire`, and the call's tag.
fn written(wire: u8) -> (Record, String) {
    let mut owner = shard("sip-1");
    owner.handle(NOW, link_of("sip-2", wire));
    owner.handle(NOW, sip("sip-1", &request("INVITE", "one", "", 1)));
    let mut records = Vec::new();
    for output in drain(&mut owner) {
        match output {
            Output::Frame { bytes, .. } => {
                if let Ok((_, Frame::Batch(batch))) = decode(&bytes, VERSION) {
                    records.extend(batch.records);
                }
            }
            Output::Sip { bytes, .. } => panic!("let out before it was acknowledged: {bytes:?}"),
            Output::Forward { .. } | Output::Answer { .. } => {}
        }
    }
    assert_eq!(records.len(), 1, "one record for one change");
    let record = records.remove(0);
    let text = String::from_utf8_lossy(&record.state).into_owned();
    let tags = text.split(|c: char| !c.is_ascii_alphanumeric());
    let mut sealed = tags.filter_map(|word| {
        let opened = sealer().open_tag(CALL_ID.as_bytes(), word)?;
        (opened.call == record.key).then(|| word.to_owned())
    });
    let tag = sealed.next().expect("a record holds the call's own tag");
    (record, tag)
}

fn golden_tag() -> String {
    let text = String::from_utf8(golden(1, "call-tag.txt")).expect("a tag is a word");
    text.trim().to_owned()
}

fn replaced(state: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "tags have one length");
    let mut state = state.to_vec();
    let places: Vec<usize> = (0..state.len())
        .filter(|at| state[*at..].starts_with(from.as_bytes()))
        .collect();
    for at in places {
        state[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    state
}

/// What a response of the first build said of the methods and extensions it knew.
const FIRST_ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE\r\n";

/// A golden state with what this build's responses say of theirs. How a response lies in a state is
/// frozen, what it says is not.
fn retold(state: &[u8], made: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(made);
    let from = text.find("Allow: ").expect("a response");
    let line = &text[from..];
    let to = line.find("Content-Type").expect("a body").min(line.len());
    let said = &line[..to];
    let mut out = Vec::new();
    let mut rest = state;
    while let Some(at) = rest.windows(8).position(|part| part == b"SIP/2.0 ") {
        // A length of two bytes stands before it (postcard's varint).
        let (before, message) = rest.split_at(at);
        let [low, high] = before[at - 2..] else {
            panic!("a length");
        };
        let length = usize::from(low & 0x7f) + usize::from(high) * 128;
        let (message, after) = message.split_at(length);
        let message = String::from_utf8_lossy(message).replace(FIRST_ALLOW, said);
        out.extend(&before[..at - 2]);
        let length = u16::try_from(message.len()).expect("a short message");
        out.push(u8::try_from(length % 128).expect("seven bits") | 0x80);
        out.push(u8::try_from(length / 128).expect("seven bits"));
        out.extend(message.as_bytes());
        rest = after;
    }
    out.extend(rest);
    out
}

/// Which tag the call drew is chance; everything else in its state is not. Beside a member that
/// reads no newer version, the older state is written.
#[test]
fn the_state_of_a_call_is_written_as_ever() {
    for version in 1..=VERSION {
        let (record, tag) = written(version);
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made = beside.join(format!("v{version}-call-state.bin"));
        let state = replaced(&record.state, &tag, &golden_tag());
        fs::write(&made, &state).expect("it can be written");
        let golden = retold(&golden(version, "call-state.bin"), &state);
        assert!(
            state == golden,
            "this build writes another state, see {}. Nodes of both builds meet in one cluster \
             during an upgrade: the golden stays, a new layout is a new STATE_VERSION",
            made.display()
        );
    }
}

/// An heir that holds nothing but `state` in a record, after its owner is gone and a BYE came: what
/// it answers.
fn bye_at_heir(state: Bytes, age_ms: u32) -> Vec<(u16, String)> {
    let tag = golden_tag();
    let located = sealer().open_tag(CALL_ID.as_bytes(), &tag);
    let key: CallId = located.expect("the golden tag opens").call;
    let (owner, me) = (member("sip-1", 1), member("sip-2", 1));
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

#[test]
fn a_call_comes_to_life_from_the_golden_state() {
    for (version, age_ms) in [(1, 0), (2, 0), (1, 90_000), (2, 90_000), (1, u32::MAX)] {
        let answers = bye_at_heir(Bytes::from(golden(version, "call-state.bin")), age_ms);
        assert!(
            answers.contains(&(200, "BYE".into())),
            "version {version}, {age_ms}: {answers:?}"
        );
    }
}

/// A damaged state is refused or runs; it never stops the shard.
#[test]
fn a_damaged_state_stops_nobody() {
    let mut rng = rng::from_seed([44; 32]);
    let state = golden(2, "call-state.bin");
    for cut in 0..state.len() {
        bye_at_heir(Bytes::copy_from_slice(&state[..cut]), 0);
    }
    for _ in 0..2_000 {
        let damaged = damage(state.clone(), &mut rng);
        bye_at_heir(Bytes::from(damaged), 1_000);
    }
}
