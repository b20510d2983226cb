//! Goal: the state in a record keeps its layout, and a call written by any build of this version
//! comes to life. Method: a shard writes the record of a call it has answered; another one, whose
//! only knowledge is the golden file, answers the BYE after the first is gone.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use callring_proto::base::rng;
use callring_proto::io::Output;
use callring_proto::wire::{Frame, Record, VERSION, decode};

use super::golden::{damage, golden};
use crate::bodies::heir::{CALL_ID, NOW, bye_at_heir, drain, link_of, request, sealer, shard, sip};

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
            Output::Forward { .. } | Output::Answer { .. } | Output::Task(_) => {}
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
