//! Goal: a flood from one source turns away that source's new calls and nothing else. Method: as
//! many INVITEs as one source may have in set-up, and then some; another source; a standing call.

use std::collections::BTreeMap;
use std::time::Duration;

use callring_proto::base::limits::{
    HELD_OUTPUTS_MAX, HELD_OUTPUTS_PER_CALL_MAX, SETUPS_PER_SOURCE_MAX,
};
use callring_proto::cluster::policy::{AckPolicy, Replication};
use callring_proto::sip::{HeaderName, Message};

use super::uas::Desk;
use super::world::{MS, SECOND, World, request};

fn invite(number: u32, source: &str, extra: &str) -> String {
    format!(
        "INVITE sip:ivr@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {source}:5070;branch=z9hG4bK{number}x{source}\r\n\
         From: <sip:a@192.0.2.9>;tag=77\r\nTo: <sip:ivr@192.0.2.1>\r\n\
         Call-ID: {number}@{source}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{source}:5070>\r\n\
         {extra}Content-Length: 0\r\n\r\n"
    )
}

const RING: &str = "X-Ring: 1\r\n";

#[test]
fn one_source_fills_its_own_share_only() {
    let mut desk = Desk::new();
    let near = "192.0.2.9";
    for number in 0..SETUPS_PER_SOURCE_MAX {
        assert_eq!(desk.bytes(invite(number, near, RING).into()), "180 INVITE");
    }
    desk.sent.clear();
    let mut pauses = std::collections::BTreeSet::new();
    for number in 0..40 {
        let said = desk.bytes(invite(100_000 + number, near, RING).into());
        assert_eq!(said, "503 INVITE");
        let refusal = Message::parse(desk.sent.pop_back().unwrap()).unwrap();
        let pause = refusal.header(HeaderName::RetryAfter).unwrap();
        pauses.insert(pause.parse::<u32>().unwrap());
    }
    assert!(pauses.len() > 3, "not all at once: {pauses:?}");
    assert!(pauses.iter().all(|pause| (5..15).contains(pause)));
    // A place becomes free when a call is over.
    let cancel = invite(7, near, "").replace("INVITE", "CANCEL");
    assert_eq!(desk.bytes(cancel.into()), "200 CANCEL, 487 INVITE");
    let next = invite(200_000, near, RING);
    assert_eq!(desk.bytes(next.into()), "180 INVITE");
    // Another source is served as ever.
    desk.flow.remote = "192.0.2.77:5070".parse().unwrap();
    let other = invite(1, "192.0.2.77", "");
    assert_eq!(desk.bytes(other.into()), "180 INVITE, 200 INVITE");
    assert_eq!(
        desk.shard.residue().setups,
        usize::try_from(SETUPS_PER_SOURCE_MAX).unwrap() + 1
    );
    // All is given back in the end.
    desk.pass(Duration::from_secs(4_000));
}

// Method: replicas that never answer hold the answers of one call; the bound is said with a 500.
#[test]
fn one_call_holds_a_bounded_number_of_outputs() {
    let replication = Replication {
        copies: 2,
        ack: AckPolicy::All,
        ..Replication::default()
    };
    let mut world = World::new(2, &replication, |_, _| {});
    world.datagram(0, &request("INVITE", "c", 1, "i", ""));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(0, &request("ACK", "c", 1, "a", &tag));
    world.pass(SECOND);
    world.kill(1);
    let most = u32::try_from(HELD_OUTPUTS_PER_CALL_MAX).unwrap();
    for number in 0..most + 3 {
        let branch = format!("f{number}");
        world.datagram(0, &request("INFO", "c", 2 + number, &branch, &tag));
    }
    assert_eq!(world.pass(MS), "500 INFO, 500 INFO, 500 INFO");
    // One of those that wait comes again, and goes on waiting; a BYE is taken.
    world.datagram(0, &request("INFO", "c", 5, "f3", &tag));
    world.datagram(0, &request("BYE", "c", 2 + most + 3, "b", &tag));
    assert_eq!(world.pass(MS), "");
}

// Method: a replica hangs, and the answers to what is asked in standing calls fill the gate, within
// one instant.
#[test]
fn a_full_gate_turns_new_calls_away_and_serves_those_that_stand() {
    let replication = Replication {
        copies: 2,
        ..Replication::default()
    };
    let mut world = World::new(2, &replication, |_, _| {});
    let calls = HELD_OUTPUTS_MAX / HELD_OUTPUTS_PER_CALL_MAX + 1;
    for number in 0..calls {
        let call = format!("n{number}");
        world.datagram(0, &request("INVITE", &call, 1, &call, ""));
    }
    world.pass(100 * MS);
    let answers = world.sent.iter().map(|sent| &sent.message);
    let tags: BTreeMap<String, String> = answers
        .filter_map(|answer| Some((answer.call_id().to_owned(), answer.to_tag()?.to_owned())))
        .collect();
    assert_eq!(tags.len(), calls);
    for (call, tag) in &tags {
        let ack = request("ACK", call, 1, "a", &format!("To-tag: {tag}\n"));
        world.datagram(0, &ack);
    }
    world.pass(SECOND);
    world.kill(1);
    let most = u32::try_from(HELD_OUTPUTS_PER_CALL_MAX).unwrap();
    let ask = |world: &mut World, tag: &str, call: &str, number: u32| {
        let branch = format!("{call}f{number}");
        let text = request("INFO", call, number, &branch, &format!("To-tag: {tag}\n"));
        world.datagram(0, &text);
    };
    let (last, last_tag) = tags.last_key_value().unwrap();
    for (call, tag) in tags.iter().filter(|(call, _)| *call != last) {
        (2..most + 2).for_each(|number| ask(&mut world, tag, call, number));
    }
    world.datagram(0, &request("INVITE", "new", 1, "new", ""));
    assert_eq!(world.pass(Duration::ZERO), "503 INVITE");
    let refusal = &world.sent.last().unwrap().message;
    assert!(refusal.header(HeaderName::RetryAfter).is_some());
    ask(&mut world, last_tag, last, 2);
    assert_eq!(
        world.pass(Duration::ZERO),
        "",
        "it waits, and is not turned away"
    );
    let said = world.pass(SECOND);
    assert_eq!(said.matches("200 INFO").count(), HELD_OUTPUTS_MAX + 1);
    world.datagram(0, &request("INVITE", "late", 1, "late", ""));
    assert!(world.pass(SECOND).contains("200 INVITE"), "all was let out");
}

// Method: the shell says that more comes in than gets done: who is known is served, who is new is
// told to come again, at different times.
#[test]
fn an_overloaded_shard_turns_new_calls_away_and_serves_those_that_stand() {
    let mut desk = Desk::new();
    let near = "192.0.2.9";
    assert_eq!(desk.bytes(invite(1, near, RING).into()), "180 INVITE");
    desk.overloaded(true);
    let mut pauses = std::collections::BTreeSet::new();
    for number in 2..42 {
        let fresh = desk.bytes(invite(number, near, RING).into());
        assert_eq!(fresh, "503 INVITE");
        let refusal = Message::parse(desk.sent.pop_back().unwrap()).unwrap();
        pauses.insert(refusal.header(HeaderName::RetryAfter).unwrap().to_owned());
    }
    assert!(pauses.len() > 3, "not all at once: {pauses:?}");
    assert_eq!(desk.bytes(invite(1, near, RING).into()), "180 INVITE");
    let cancel = invite(1, near, "").replace("INVITE", "CANCEL");
    assert_eq!(desk.bytes(cancel.into()), "200 CANCEL, 487 INVITE");
    desk.overloaded(false);
    assert_eq!(desk.bytes(invite(50, near, RING).into()), "180 INVITE");
}
