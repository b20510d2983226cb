//! Edges by real processes: two of them, deaths of members and of an edge (SIP.md S3.6, S6).
//! Method: a user agent by hand speaks to edges only; where an edge has died, another one takes its
//! address.

use std::time::Duration;

use cluster_tests::arena::{say, wait_until};
use cluster_tests::hand::Hand;
use cluster_tests::ports;
use cluster_tests::troupe::{Part, Troupe};

const SOON: Duration = Duration::from_secs(3);

/// Three members and an edge; what the edge is.
fn house(ring_ms: u64) -> (Troupe, Part) {
    let member = Part {
        ring_ms,
        ..Part::default()
    };
    let edge = Part {
        role: "edge",
        sip: ports::free(),
        ..member
    };
    (Troupe::start(&[member, member, member, edge]), edge)
}

#[test]
fn an_edge_dies_and_its_address_goes_on_at_the_other() {
    let (mut troupe, edge) = house(0);
    let shared = edge.sip;
    let mut hands: Vec<(String, Hand)> = Vec::new();
    for n in 0..12 {
        let call = format!("edge-{n}");
        let mut hand = Hand::new();
        hand.send(shared, &hand.text("INVITE", &call, 1, &format!("i{n}"), ""));
        hand.expect("200 INVITE", SOON);
        let tag = hand.tags()[0].clone();
        hand.send(shared, &hand.text("ACK", &call, 1, &format!("a{n}"), &tag));
        hands.push((call, hand));
    }
    let calls = troupe.calls();
    assert_eq!(calls.len(), 12);
    let mut owners: Vec<&String> = calls.iter().map(|call| &call.owner).collect();
    owners.sort();
    owners.dedup();
    assert!(
        owners
            .iter()
            .all(|owner| ["n1", "n2", "n3"].contains(&owner.as_str()))
    );
    say(&format!("12 calls by way of an edge lie with {owners:?}"));
    troupe.kill(3);
    troupe.add(edge);
    for (n, (call, hand)) in hands.iter_mut().enumerate() {
        let tag = hand.tags()[0].clone();
        // As a client does: again until there is an answer.
        for _ in 0..6 {
            hand.send(shared, &hand.text("BYE", call, 2, &format!("z{n}"), &tag));
            if hand.listen(Duration::from_millis(500), |message| {
                cluster_tests::hand::line(message) == "200 BYE"
            }) {
                break;
            }
        }
        hand.expect("200 BYE", SOON);
        let sources = hand.received.iter().map(|(source, _)| *source);
        assert!(
            sources.clone().all(|source| source == shared),
            "{:?}",
            sources.collect::<Vec<_>>()
        );
    }
    troupe.finish();
}

#[test]
fn a_member_dies_while_it_rings_and_the_edge_asks_another() {
    let (mut troupe, edge) = house(3_000);
    let shared = edge.sip;
    let mut hand = Hand::new();
    hand.send(shared, &hand.text("INVITE", "again", 1, "b", ""));
    hand.expect("180 INVITE", SOON);
    let owner = troupe.owner();
    troupe.kill(owner);
    hand.expect("200 INVITE", Duration::from_secs(10));
    assert_eq!(hand.count("500 INVITE"), 0);
    assert_ne!(troupe.owner(), owner);
    troupe.finish();
}

#[test]
fn with_no_member_left_an_edge_says_503() {
    let (mut troupe, edge) = house(0);
    let shared = edge.sip;
    for at in 0..3 {
        troupe.kill(at);
    }
    let refused = wait_until(Duration::from_secs(5), || {
        let mut hand = Hand::new();
        hand.send(shared, &hand.text("INVITE", "none", 1, "b", ""));
        let came = hand.listen(Duration::from_secs(2), |message| {
            message.status().is_some_and(|status| status >= 200)
        });
        (came && hand.count("503 INVITE") > 0).then_some(())
    });
    assert!(refused.is_some(), "silence");
    troupe.finish();
}

#[test]
fn two_edges_are_one_house() {
    // INVITE by one, its retransmission and CANCEL by the other: one call, at one member.
    let (mut troupe, edge) = house(30_000);
    let sip = ([127, 0, 0, 1], 0).into();
    let other = troupe.add(Part { sip, ..edge });
    for n in 0..5 {
        let mut hand = Hand::new();
        let (call, branch) = (format!("two-{n}"), format!("b{n}"));
        let invite = hand.text("INVITE", &call, 1, &branch, "");
        hand.send(edge.sip, &invite);
        hand.send(troupe.sip(other), &invite);
        hand.expect("180 INVITE", SOON);
        hand.send(
            troupe.sip(other),
            &hand.text("CANCEL", &call, 1, &branch, ""),
        );
        hand.expect("200 CANCEL", SOON);
        hand.expect("487 INVITE", SOON);
        assert_eq!((hand.tags().len(), hand.count("482 INVITE")), (1, 0));
        let ack = hand.text("ACK", &call, 1, &branch, &hand.tags()[0]);
        hand.send(edge.sip, &ack);
    }
    troupe.finish();
}
