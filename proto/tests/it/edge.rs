//! Goal: an edge, and a member that drains, give new calls to members that take them, and nothing
//! is silence (SIP.md S3.6, S6). Method: as `births`; two nodes are edges, the first two.

use callring_proto::cluster::policy::{Replication, When};
use callring_proto::cluster::view::{Metadata, Role};

use crate::world::{MS, SECOND, World, request};

const RING: &str = "X-Ring: 3000\n";

fn edges(index: usize, meta: &mut Metadata) {
    if index < 2 {
        meta.role = Role::Edge;
    }
}

/// Two edges of one address.
fn pair(index: usize, meta: &mut Metadata) {
    edges(index, meta);
    if index < 2 {
        meta.sip = vec!["udp://192.0.2.50:5060".into()];
    }
}

fn invite(call: &str, extra: &str) -> String {
    request("INVITE", call, 1, call, extra)
}

#[test]
fn two_edges_agree_and_answers_leave_where_the_question_came() {
    let mut shares = [0; 5];
    for n in 0..40 {
        let mut world = World::new(5, &Replication::default(), edges);
        let call = format!("c{n}");
        world.datagram(0, &invite(&call, RING));
        world.datagram(1, &invite(&call, RING));
        let sent = world.pass(SECOND);
        assert!(!sent.contains("482"), "{sent}");
        assert!(world.sent.iter().all(|sent| sent.node < 2), "by an edge");
        let owners = world.owners();
        assert_eq!((owners.len(), world.tags().len()), (1, 1));
        assert!(owners[0] >= 2, "an edge owns nothing");
        shares[owners[0]] += 1;
        world.datagram(1, &request("CANCEL", &call, 1, &call, ""));
        let sent = world.pass(SECOND / 10);
        assert!(
            sent.contains("200 CANCEL") && sent.contains("487 INVITE"),
            "{sent}"
        );
    }
    assert!(
        shares[2..].iter().all(|share| *share >= 5),
        "B8: {shares:?}"
    );
}

#[test]
fn a_call_is_carried_on_through_either_edge() {
    let mut world = World::new(5, &Replication::default(), edges);
    world.datagram(0, &invite("c1", ""));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    let answer = &world.sent.last().unwrap().message;
    let contact = answer.header_named("Contact").unwrap().to_owned();
    assert!(
        contact.contains("192.0.2.100"),
        "the edge's address: {contact}"
    );
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(1, &request("ACK", "c1", 1, "a", &tag));
    world.datagram(1, &request("INFO", "c1", 2, "b", &tag));
    assert_eq!(world.pass(100 * MS), "200 INFO");
    assert_eq!(world.sent.last().unwrap().node, 1);
    world.datagram(0, &request("BYE", "c1", 3, "c", &tag));
    assert_eq!(world.pass(100 * MS), "200 BYE");
    for edge in 0..2 {
        let summary = world.summary(edge);
        let has = (summary.calls_owned, summary.calls_replica, summary.births);
        assert_eq!(has, (0, 0, 0), "edge {edge}");
    }
}

#[test]
fn what_was_not_answered_is_submitted_again() {
    for lived in [0, 10, 1_000] {
        let mut world = World::new(5, &Replication::default(), edges);
        world.datagram(0, &invite("c1", RING));
        world.pass(MS * 3);
        let first = world.owners()[0];
        world.pass(MS * lived);
        world.kill(first);
        let sent = world.pass(5 * SECOND);
        assert!(sent.contains("200 INVITE"), "after {lived} ms: {sent}");
        assert!(!sent.contains("500"), "after {lived} ms: {sent}");
        let again: u64 = (0..5)
            .filter(|node| *node != first)
            .map(|node| world.summary(node).resubmitted_total)
            .sum();
        assert!(again > 0);
        assert_ne!(world.owners(), [first]);
    }
}

#[test]
fn an_early_call_behind_an_edge_goes_to_its_heir() {
    let policy = Replication {
        when: When::Early,
        ..Replication::default()
    };
    let mut world = World::new(5, &policy, edges);
    world.datagram(0, &invite("c1", RING));
    world.pass(SECOND);
    let first = world.owners()[0];
    world.kill(first);
    let sent = world.pass(4 * SECOND);
    assert!(sent.contains("200 INVITE"), "{sent}");
    assert_eq!(world.tags().len(), 1, "the same call, not another");
}

#[test]
fn a_draining_member_takes_no_new_calls_and_keeps_its_own() {
    let mut world = World::new(4, &Replication::default(), |_, _| ());
    world.datagram(0, &invite("old", RING));
    world.pass(SECOND);
    world.change(0, |info| info.meta.draining = true);
    world.datagram(0, &invite("new", "X-Ring: 30000\n"));
    let sent = world.pass(SECOND);
    assert!(sent.starts_with("180 INVITE"), "{sent}");
    assert_eq!(world.sent.last().unwrap().node, 0, "by the way it came");
    assert_eq!(world.summary(0).submitted_total, 1);
    let sent = world.pass(2 * SECOND);
    assert!(sent.contains("200 INVITE"), "the old one goes on: {sent}");
    assert_eq!(
        world.owners().len(),
        2,
        "and is served by whoever has it now"
    );
}

#[test]
fn a_draining_member_serves_what_it_cannot_place() {
    // Version 1 has no word for a request that is given away.
    let mut world = World::speaking(3, &Replication::default(), 1, |_, _| ());
    world.change(0, |info| info.meta.draining = true);
    world.datagram(0, &invite("new", RING));
    assert_eq!(world.pass(SECOND), "180 INVITE");
    assert_eq!(world.owners(), [0]);
    // Where nobody else takes calls either, another address has to.
    world.change(1, |info| info.meta.draining = true);
    world.change(2, |info| info.meta.draining = true);
    world.datagram(0, &invite("newer", RING));
    assert_eq!(world.pass(SECOND), "503 INVITE");
}

#[test]
fn where_nobody_serves_there_is_a_503() {
    let mut world = World::new(3, &Replication::default(), edges);
    world.pass(3 * SECOND); // an edge that has just come waits for members
    world.change(2, |info| info.meta.draining = true);
    world.datagram(0, &invite("c1", RING));
    assert_eq!(world.pass(SECOND), "503 INVITE");
    let refusal = &world.sent.last().unwrap().message;
    let pause: u32 = refusal
        .header_named("Retry-After")
        .unwrap()
        .parse()
        .unwrap();
    assert!((5..15).contains(&pause), "{pause}");
    // The one that is left dies: what it was given is refused when that is known for good.
    world.change(2, |info| info.meta.draining = false);
    world.kill(2);
    world.datagram(1, &invite("c2", RING));
    assert_eq!(world.pass(2 * SECOND), "", "it may still answer");
    world.declare_down(2);
    let sent = world.pass(2 * SECOND);
    assert_eq!(sent, "503 INVITE", "submitted in vain");
    world.datagram(1, &request("CANCEL", "c2", 1, "c2", ""));
    assert_eq!(world.pass(2 * SECOND), "481 CANCEL");
}

#[test]
fn a_moved_address_carries_what_the_owner_says() {
    let mut world = World::new(5, &Replication::default(), pair);
    world.datagram(0, &invite("c1", "X-Hang-Up: 5000\n"));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(0, &request("ACK", "c1", 1, "a", &tag));
    world.pass(SECOND);
    world.kill(0);
    // The address is the other edge's now.
    world.datagram(1, &request("INFO", "c1", 2, "b", &tag));
    assert_eq!(world.pass(SECOND), "200 INFO");
    let sent = world.pass(4 * SECOND);
    assert!(sent.starts_with("BYE"), "{sent}");
    let bye = world.sent.last().unwrap();
    assert_eq!(bye.node, 1, "from the address the phone knows");
    let via = bye.message.header_named("Via").unwrap();
    assert!(via.contains("192.0.2.50:5060"), "{via}");
}

#[test]
fn answers_to_a_dead_edges_questions_leave_by_the_other() {
    let mut world = World::new(5, &Replication::default(), pair);
    world.datagram(0, &invite("c1", RING));
    assert_eq!(world.pass(SECOND), "180 INVITE");
    world.kill(0);
    let sent = world.pass(3 * SECOND);
    assert!(sent.starts_with("200 INVITE"), "{sent}");
    assert_eq!(world.sent.last().unwrap().node, 1);
}

#[test]
fn an_edge_that_has_just_come_turns_nobody_away() {
    // It sees a member and has not heard what that is: the caller asks again.
    let mut world = World::new(3, &Replication::default(), edges);
    world.change(2, |info| info.known = false);
    world.datagram(0, &invite("c1", RING));
    assert_eq!(world.pass(SECOND / 2), "", "no 503");
    world.change(2, |info| info.known = true);
    world.datagram(0, &invite("c1", RING));
    assert!(world.pass(SECOND).starts_with("180 INVITE"));
}

#[test]
fn a_member_that_falls_silent_for_a_moment_still_answers() {
    // Goal: no 503 before the 200 of the member that has the INVITE. Method: the only member is
    // frozen while it rings, long enough to count as silent, and goes on.
    let mut world = World::new(3, &Replication::default(), edges);
    world.datagram(0, &invite("c1", RING));
    assert_eq!(world.pass(SECOND), "180 INVITE");
    world.kill(2);
    for _ in 0..2 {
        world.datagram(0, &invite("c1", RING));
        assert_eq!(world.pass(SECOND / 2), "");
    }
    world.wake(2);
    let sent = world.pass(4 * SECOND);
    assert!(sent.starts_with("200 INVITE"), "{sent}");
}
