//! Goal: one INVITE is one call with one To tag, whatever nodes its copies, its CANCEL and its ACK
//! come to, and whoever dies (SIP.md S3). Method: three or four shards wired by hand, texts in,
//! first lines out; time is a number.

use callring_proto::base::ids::CallId;
use callring_proto::base::rng::from_seed;
use callring_proto::cluster::policy::{MergedPolicy, Replication, When};
use callring_proto::sip::HeaderName;
use callring_proto::sip::locator::Locator;

use crate::world::{MS, SECOND, World, request, sealer};

fn world(nodes: usize) -> World {
    World::new(nodes, &Replication::default(), |_, _| ())
}

fn invite(call: &str, branch: &str, extra: &str) -> String {
    request("INVITE", call, 1, branch, extra)
}

const RING: &str = "X-Ring: 3000\n";

#[test]
fn one_invite_at_three_nodes_is_one_call() {
    // Each node is the first once, so that each order of holders is met.
    for first in 0..3 {
        for call in ["c1", "c2", "c3", "c4"] {
            let mut world = world(3);
            for step in 0..3 {
                world.datagram((first + step) % 3, &invite(call, "i", RING));
            }
            let sent = world.pass(SECOND);
            assert!(sent.starts_with("180 INVITE"), "{sent}");
            assert!(!sent.contains("482"), "{sent}");
            assert_eq!(world.owners().len(), 1, "one owner");
            assert_eq!(world.tags().len(), 1, "one To tag");
        }
    }
}

#[test]
fn a_retransmission_elsewhere_finds_its_owner() {
    let mut world = world(4);
    world.datagram(0, &invite("c1", "i", RING));
    assert_eq!(world.pass(500 * MS), "180 INVITE");
    for other in 1..4 {
        world.datagram(other, &invite("c1", "i", RING));
        assert_eq!(world.pass(100 * MS), "180 INVITE", "the same, repeated");
        assert_eq!(world.sent.last().unwrap().node, other);
    }
    assert_eq!(world.owners(), [0]);
    assert_eq!(world.tags().len(), 1);
}

/// Every transaction goes to another node, and the answers follow the phone.
#[test]
fn b2_180_and_200_leave_through_different_nodes() {
    let mut world = world(4);
    world.datagram(0, &invite("c1", "i", RING));
    assert_eq!(world.pass(500 * MS), "180 INVITE");
    world.datagram(1, &invite("c1", "i", RING));
    assert_eq!(world.pass(100 * MS), "180 INVITE");
    assert_eq!(world.pass(2_600 * MS), "200 INVITE");
    let last = world.sent.last().unwrap();
    assert_eq!(last.node, 1, "where the phone asked last");
    assert_eq!(world.owners(), [0]);
    assert_eq!(world.tags().len(), 1);
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(2, &request("ACK", "c1", 1, "a", &tag));
    assert_eq!(world.pass(10 * SECOND), "", "acknowledged");
    world.datagram(3, &request("BYE", "c1", 2, "b", &tag));
    assert_eq!(world.pass(100 * MS), "200 BYE");
    assert_eq!(world.sent.last().unwrap().node, 3);
}

#[test]
fn a_cancel_at_any_node_ends_the_call() {
    for at in 0..4 {
        let mut world = world(4);
        world.datagram(0, &invite("c1", "i", RING));
        world.pass(300 * MS);
        world.datagram(at, &request("CANCEL", "c1", 1, "i", ""));
        let sent = world.pass(50 * MS);
        assert!(
            sent.contains("200 CANCEL") && sent.contains("487 INVITE"),
            "{sent}"
        );
        let tag = format!("To-tag: {}\n", world.tag());
        world.datagram((at + 1) % 4, &request("ACK", "c1", 1, "i", &tag));
        assert_eq!(world.pass(60 * SECOND), "", "acknowledged");
        assert!(world.owners().is_empty());
    }
}

#[test]
fn what_nobody_knows_is_answered_481_or_not_at_all() {
    let mut world = world(4);
    world.datagram(2, &request("CANCEL", "c1", 1, "i", ""));
    assert_eq!(world.pass(SECOND), "481 CANCEL");
    world.datagram(2, &request("ACK", "c1", 1, "i", ""));
    assert_eq!(world.pass(SECOND), "");
}

#[test]
fn a_repeated_invite_elsewhere_is_answered_with_the_200_that_was_let_out() {
    let mut world = world(4);
    world.datagram(0, &invite("c1", "i", ""));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    world.datagram(3, &invite("c1", "i", ""));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    assert_eq!(
        (world.tags().len(), world.sent.last().unwrap().node),
        (1, 3)
    );
}

#[test]
fn another_way_of_one_request_is_merged_anywhere() {
    for other in 0..4 {
        let mut world = world(4);
        world.datagram(0, &invite("c1", "i", RING));
        world.pass(100 * MS);
        world.datagram(other, &invite("c1", "j", RING));
        assert_eq!(world.pass(500 * MS), "482 INVITE", "at {other}");
        assert_eq!(world.owners(), [0]);
    }
}

#[test]
fn merged_requests_can_be_accepted() {
    let policy = Replication {
        merged: MergedPolicy::Accept,
        ..Replication::default()
    };
    let mut world = World::new(3, &policy, |_, _| ());
    world.datagram(0, &invite("c1", "i", RING));
    world.datagram(1, &invite("c1", "j", RING));
    assert_eq!(world.pass(500 * MS), "180 INVITE, 180 INVITE");
    assert_eq!(world.owners(), [0, 1]);
}

#[test]
fn whoever_was_refused_may_fail_over_or_try_again() {
    // RFC 3263 4.3: the same request with another branch, at once. RFC 3261 22.2: a new number.
    for (cseq, status) in [(1, 503), (2, 401)] {
        let mut world = world(4);
        let refused = format!("X-Refuse: {status}\n");
        world.datagram(0, &invite("c1", "i", &refused));
        world.pass(2 * MS);
        while world.sent.is_empty() {
            world.pass(MS);
        }
        world.datagram(1, &request("INVITE", "c1", cseq, "j", RING));
        let sent = world.pass(400 * MS);
        assert!(sent.contains("180 INVITE"), "after {status}: {sent}");
        assert!(!sent.contains("482"), "after {status}: {sent}");
    }
}

#[test]
fn failing_over_from_a_dead_node_is_a_new_attempt() {
    let mut world = world(4);
    world.datagram(0, &invite("c1", "i", RING));
    world.pass(100 * MS);
    world.kill(0);
    world.pass(300 * MS);
    world.datagram(1, &invite("c1", "j", RING));
    assert_eq!(world.pass(500 * MS), "180 INVITE");
    assert_eq!(world.owners(), [1]);
}

#[test]
fn the_caller_of_a_dead_owner_is_told() {
    // The owner dies before and after its 180; nobody repeats anything.
    for lived in [4, 1_000] {
        for call in ["c1", "c2", "c3", "c4", "c5", "c6"] {
            let mut world = world(4);
            world.datagram(0, &invite(call, "i", "X-Ring: 20000\n"));
            world.pass(MS * lived);
            world.kill(0);
            let before = world.sent.len();
            let sent = world.pass(5 * SECOND);
            assert!(sent.starts_with("500 INVITE"), "{call} {lived}: {sent}");
            assert!(world.tags().len() == 1, "with the owner's tag");
            let by: Vec<usize> = world.sent[before..].iter().map(|sent| sent.node).collect();
            assert!(by.iter().all(|node| *node == by[0]), "one node says it");
            assert_eq!(world.pass(60 * SECOND), "", "that was all");
        }
    }
}

#[test]
fn an_owner_that_one_alone_cannot_hear_rings_on() {
    // The deaf one holds the notice in some of these; both ways or one.
    for (call, deaf) in [
        ("c1", 1),
        ("c1", 2),
        ("c2", 1),
        ("c2", 2),
        ("c3", 1),
        ("c3", 2),
    ] {
        for both in [false, true] {
            let mut world = world(3);
            world.datagram(0, &invite(call, "i", "X-Ring: 20000\n"));
            assert_eq!(world.pass(500 * MS), "180 INVITE");
            world.cut(0, deaf);
            if both {
                world.cut(deaf, 0);
            }
            assert_eq!(world.pass(15 * SECOND), "", "{call} {deaf}");
            assert_eq!(world.owners(), [0]);
        }
    }
}

#[test]
fn an_answered_call_is_never_ended_by_its_notice() {
    let mut world = world(4);
    world.datagram(0, &invite("c1", "i", ""));
    world.pass(20 * MS);
    world.kill(0);
    let sent = world.pass(10 * SECOND);
    assert!(!sent.contains("500"), "{sent}");
}

#[test]
fn a_retransmission_to_another_node_survives_the_owner() {
    // SIP.md S3.6: the ingress keeps what it brought to the owner.
    let mut world = world(4);
    world.datagram(0, &invite("c1", "i", RING));
    world.pass(100 * MS);
    world.datagram(1, &invite("c1", "i", RING));
    world.pass(900 * MS);
    world.kill(0);
    let sent = world.pass(4 * SECOND);
    assert!(sent.contains("180 INVITE, 200 INVITE"), "{sent}");
    assert!(!sent.contains("500"), "{sent}");
    assert_eq!(world.owners(), [1]);
}

#[test]
fn early_calls_ring_on_at_the_heir() {
    // E1: the owner dies while it rings; another answers in time, is cancelled, or ended.
    let policy = Replication {
        when: When::Early,
        ..Replication::default()
    };
    for cancel in [false, true] {
        let mut world = World::new(4, &policy, |_, _| ());
        world.datagram(0, &invite("c1", "i", "X-Ring: 6000\n"));
        assert_eq!(world.pass(SECOND), "180 INVITE");
        world.kill(0);
        world.pass(100 * MS);
        world.declare_down(0);
        if cancel {
            world.datagram(2, &request("CANCEL", "c1", 1, "i", ""));
            let sent = world.pass(SECOND);
            assert!(sent.contains("200 CANCEL, 487 INVITE"), "{sent}");
        } else {
            let sent = world.pass(8 * SECOND);
            assert!(
                sent.contains("200 INVITE") && !sent.contains("500"),
                "{sent}"
            );
        }
        assert_eq!(world.tags().len(), 1);
        let tag = format!("To-tag: {}\n", world.tag());
        if cancel {
            world.datagram(3, &request("ACK", "c1", 1, "i", &tag));
        } else {
            world.datagram(3, &request("ACK", "c1", 1, "a", &tag));
            world.pass(100 * MS);
            world.datagram(1, &request("BYE", "c1", 2, "b", &tag));
            assert_eq!(world.pass(100 * MS), "200 BYE");
        }
        world.pass(200 * SECOND);
        assert!(world.owners().is_empty());
        for node in 1..4 {
            let summary = world.summary(node);
            let left = (summary.calls_replica, summary.transactions);
            assert_eq!(left, (0, 0), "nothing is left at {node}");
        }
    }
}

#[test]
fn an_early_end_that_was_told_stays_told() {
    // The owner tells 487 and dies: the heir must not answer. So the 487 waits for the record.
    let policy = Replication {
        when: When::Early,
        ..Replication::default()
    };
    let mut world = World::new(4, &policy, |_, _| ());
    world.datagram(0, &invite("c1", "i", RING));
    world.pass(SECOND);
    world.datagram(0, &request("CANCEL", "c1", 1, "i", ""));
    assert_eq!(world.pass(MS), "", "held");
    while !world.sent.iter().any(|sent| sent.line() == "487 INVITE") {
        world.pass(MS / 2);
    }
    world.kill(0);
    world.declare_down(0);
    let sent = world.pass(30 * SECOND);
    assert!(!sent.contains("200 INVITE"), "{sent}");
}

#[test]
fn one_call_id_a_thousand_times_starves_nobody() {
    let mut world = world(3);
    for n in 0..1_000 {
        let text = request("INVITE", "same", n + 1, &format!("i{n}"), RING);
        world.datagram(0, &text);
    }
    let sent = world.pass(200 * MS);
    assert_eq!(sent.matches("180 INVITE").count(), 64);
    assert_eq!(sent.matches("503 INVITE").count(), 936);
    world.datagram(0, &invite("other", "x", ""));
    world.datagram(1, &invite("another", "y", ""));
    let sent = world.pass(10 * MS);
    assert_eq!(sent.matches("200 INVITE").count(), 2, "{sent}");
    // Calls that have ended make room.
    let sent = world.pass(60 * SECOND);
    assert!(sent.contains("200 INVITE"));
    world.datagram(0, &request("INVITE", "same", 2_000, "late", RING));
    world.pass(100 * SECOND);
    world.datagram(0, &request("INVITE", "same", 2_001, "later", RING));
    assert!(world.pass(SECOND).contains("180 INVITE"));
}

#[test]
fn a_2xx_that_nobody_waits_for_is_acknowledged_and_ended() {
    // SIP.md S3.4. The node that sent the INVITE died with its call: what is left is its branch.
    let call = CallId {
        position: sealer().position(b"ours"),
        nonce: 7,
    };
    let branch = sealer().seal_branch(b"ours", Locator { call, hint: 1 }, &mut from_seed([5; 32]));
    let text = |first: &str, branch: &str| {
        format!(
            "{first}\nVia: SIP/2.0/UDP 192.0.2.100:5060;branch={branch};rport\n\
             Record-Route: <sip:192.0.2.7;lr>, <sip:192.0.2.8;lr>\n\
             From: <sip:callring@192.0.2.1>;tag=ours\nTo: <sip:b@192.0.2.9>;tag=theirs\n\
             Call-ID: ours\nCSeq: 5 INVITE\nContact: <sip:b@192.0.2.9:5070>\n\
             Content-Length: 0\n\n"
        )
    };
    for node in 0..3 {
        let mut world = world(3);
        world.datagram(node, &text("SIP/2.0 200 OK", &branch));
        assert_eq!(world.pass(SECOND), "ACK, BYE");
        let mut sent = world.sent.iter().map(|sent| &sent.message);
        for (cseq, sent) in [5, 6].into_iter().zip(&mut sent) {
            assert_eq!(sent.request_uri(), "sip:b@192.0.2.9:5070");
            assert_eq!(sent.cseq_number(), cseq);
            assert_eq!(
                (sent.from_tag(), sent.to_tag()),
                (Some("ours"), Some("theirs"))
            );
            let routes: Vec<&str> = sent.values(HeaderName::Route).collect();
            assert_eq!(routes, ["<sip:192.0.2.8;lr>", "<sip:192.0.2.7;lr>"]);
        }
        // A failure, or a branch that is not ours, is nobody's business.
        world.datagram(node, &text("SIP/2.0 486 Busy Here", &branch));
        world.datagram(node, &text("SIP/2.0 200 OK", "z9hG4bKforged"));
        assert_eq!(world.pass(SECOND), "");
    }
}

#[test]
fn nothing_is_left_of_births_that_are_over() {
    let mut world = world(3);
    for n in 0..20 {
        let refused = invite(&format!("c{n}"), &format!("i{n}"), "X-Refuse: 486\n");
        world.datagram(n % 3, &refused);
    }
    world.pass(200 * SECOND);
    for node in 0..3 {
        let summary = world.summary(node);
        assert_eq!(summary.births, 0, "notices at {node}");
    }
}
