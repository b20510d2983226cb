//! Goal: after a takeover a phone is told where its call is now, if the address it was given has
//! died with its node (SIP.md S1.2, S4). Method: nodes wired by hand; the phone is this test, which
//! answers as a strict one would.

use std::time::Duration;

use callring_proto::cluster::policy::{Replication, When};
use callring_proto::shard::Scope;
use callring_proto::sip::{HeaderName, Message, ResponseBuilder};

use super::world::{MS, PHONE, SECOND, Sent, World, address, request};

const ALLOW_UPDATE: &str = "Allow: INVITE, ACK, BYE, UPDATE\n";

/// A call of three nodes, answered and acknowledged at node 0, which is dead now.
fn orphan(scope: Scope, allow: &str) -> World {
    let replication = Replication {
        copies: 3,
        ..Replication::default()
    };
    let mut world = World::with_scope(scope, 3, &replication, |_, _| {});
    world.datagram(0, &request("INVITE", "c", 1, "i", allow));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    let tag = world.tag();
    world.datagram(0, &request("ACK", "c", 1, "a", &format!("To-tag: {tag}\n")));
    assert_eq!(world.pass(SECOND), "");
    kill(&mut world, 0);
    world
}

fn kill(world: &mut World, node: usize) {
    world.kill(node);
    world.pass(100 * MS);
    world.declare_down(node);
}

fn last(world: &World) -> &Sent {
    world.sent.last().expect("something was sent")
}

/// What the phone answers to the newest request it got.
fn answer(world: &mut World, status: u16) -> usize {
    let Sent { node, message } = last(world);
    let (node, contact) = (*node, format!("<sip:a@{PHONE}>"));
    let answer = ResponseBuilder::new(message, status).contact(contact);
    let answer = answer.build().expect("it can be written");
    world.packet(node, answer);
    node
}

fn contact(message: &Message) -> String {
    message
        .contact()
        .expect("a Contact")
        .uri
        .as_str()
        .to_owned()
}

// Method: the peer allows UPDATE. It is told once, by a request without a description.
#[test]
fn an_update_tells_the_heirs_address() {
    let mut world = orphan(Scope::Node, ALLOW_UPDATE);
    assert_eq!(world.pass(400 * MS), "UPDATE");
    let Sent { node, message } = last(&world);
    let heir = *node;
    assert_ne!(heir, 0);
    assert_eq!(
        contact(message),
        format!("sip:{};transport=udp", address(heir))
    );
    assert_eq!(message.body(), b"");
    assert!(message.lists(HeaderName::Allow, "UPDATE"));
    answer(&mut world, 200);
    assert_eq!(world.pass(SECOND * 60), "", "told once");
    let tag = world.tag();
    world.datagram(
        heir,
        &request("BYE", "c", 2, "b", &format!("To-tag: {tag}\n")),
    );
    assert_eq!(world.pass(SECOND), "200 BYE");
}

// Method: the peer does not allow UPDATE. The last description goes out again as it was, and each
// 2xx is acknowledged with the INVITE's number.
#[test]
fn a_re_invite_repeats_the_last_description() {
    let mut world = orphan(Scope::Node, "");
    assert_eq!(world.pass(400 * MS), "INVITE");
    let invite = last(&world).message.clone();
    assert_eq!(invite.body(), b"v=0\r\n", "byte for byte: o= does not move");
    assert_eq!(invite.header(HeaderName::Route), None);
    let ok = answer(&mut world, 200);
    assert_eq!(world.pass(100 * MS), "ACK");
    let ack = last(&world).message.clone();
    assert_eq!(ack.cseq_number(), invite.cseq_number());
    assert_ne!(ack.branch(), invite.branch(), "RFC 3261 13.2.2.4");
    // The ACK was lost.
    let again = ResponseBuilder::new(&invite, 200);
    world.packet(ok, again.build().expect("it can be written"));
    assert_eq!(world.pass(100 * MS), "ACK");
    assert_eq!(last(&world).message.bytes(), ack.bytes());
    assert_eq!(world.pass(SECOND * 60), "");
}

#[test]
fn d8_glare_is_answered_491_and_waited_for() {
    let mut world = orphan(Scope::Node, "");
    assert_eq!(world.pass(400 * MS), "INVITE");
    let invite = last(&world).message.clone();
    let heir = last(&world).node;
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(heir, &request("INVITE", "c", 2, "r", &tag));
    assert_eq!(world.pass(10 * MS), "491 INVITE");
    world.datagram(heir, &request("ACK", "c", 2, "r", &tag));
    let refusal = ResponseBuilder::new(&invite, 491).build();
    world.packet(heir, refusal.expect("it can be written"));
    // The phone made the Call-ID, so this side comes again within 2 s.
    assert_eq!(world.pass(100 * MS).replace(", INVITE", ""), "ACK");
    let said = world.pass(Duration::from_millis(2_500));
    assert!(said.is_empty() || said.starts_with("INVITE"), "{said}");
    let second = last(&world).message.clone();
    assert_eq!(second.method().as_str(), "INVITE");
    assert!(second.cseq_number() > invite.cseq_number());
    assert_eq!(second.body(), invite.body());
}

// Method: the heir dies while its re-INVITE is under way. The phone's 200 reaches the next heir,
// which acknowledges it and then speaks for itself.
#[test]
fn a_2xx_to_a_dead_heirs_re_invite_is_acknowledged_by_the_next() {
    let mut world = orphan(Scope::Node, "");
    assert_eq!(world.pass(400 * MS), "INVITE");
    let invite = last(&world).message.clone();
    let heir = last(&world).node;
    let next = 3 - heir;
    kill(&mut world, heir);
    world.pass(300 * MS);
    let ok = ResponseBuilder::new(&invite, 200).contact(format!("<sip:a@{PHONE}>"));
    world.packet(next, ok.build().expect("it can be written"));
    let said = world.pass(200 * MS);
    assert!(said.ends_with("ACK"), "{said}");
    let ack = last(&world).message.clone();
    assert_eq!(ack.cseq_number(), invite.cseq_number());
    let said = world.pass(SECOND * 3);
    assert!(said.starts_with("INVITE"), "{said}");
    let own = last(&world).message.clone();
    assert!(own.cseq_number() > invite.cseq_number());
    assert_eq!(
        contact(&own),
        format!("sip:{};transport=udp", address(next))
    );
    assert_eq!(own.body(), invite.body(), "o= did not move");
}

// Method: a peer that allows UPDATE and then does not; one that never answers.
#[test]
fn what_a_peer_refuses_is_said_otherwise_and_silence_ends_nothing() {
    let mut world = orphan(Scope::Node, ALLOW_UPDATE);
    assert_eq!(world.pass(400 * MS), "UPDATE");
    answer(&mut world, 405);
    assert_eq!(world.pass(100 * MS), "INVITE");
    let heir = last(&world).node;
    let said = world.pass(SECOND * 40);
    assert_eq!(said.matches("INVITE").count(), 6, "T1: {said}");
    assert!(!said.contains("BYE"), "{said}");
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(heir, &request("BYE", "c", 2, "b", &tag));
    assert_eq!(world.pass(SECOND), "200 BYE", "the call is still there");
}

/// A call of three nodes, answered at node 0, which died before the phone's ACK, sent there.
fn unacked(allow: &str) -> World {
    let replication = Replication {
        copies: 3,
        ..Replication::default()
    };
    let mut world = World::with_scope(Scope::Node, 3, &replication, |_, _| {});
    world.datagram(0, &request("INVITE", "c", 1, "i", allow));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    kill(&mut world, 0);
    world
}

/// What was said within `span`, without the 200 to the INVITE; each of those names its sender.
fn beside_the_200(world: &mut World, span: Duration) -> String {
    let from = world.sent.len();
    let said = world.pass(span);
    for Sent { node, message } in world.sent.iter().skip(from) {
        if message.status() == Some(200) {
            let here = format!("sip:{};transport=udp", address(*node));
            assert_eq!(contact(message), here, "SIP.md S1.1");
        }
    }
    let said = said.split(", ").filter(|one| *one != "200 INVITE");
    let mut said: Vec<&str> = said.collect();
    said.dedup(); // what was said again
    said.join(", ")
}

// Method: the phone repeats its ACK to the dead address whenever it gets the 200, but it answers an
// UPDATE.
#[test]
fn an_ack_that_went_to_the_dead_does_not_end_the_call() {
    let mut world = unacked(ALLOW_UPDATE);
    assert_eq!(beside_the_200(&mut world, SECOND * 3), "UPDATE");
    answer(&mut world, 200);
    assert_eq!(beside_the_200(&mut world, SECOND * 90), "");
    assert_eq!(world.owners().len(), 1);
}

// Method: the same without UPDATE: an INVITE before the ACK would be a fault (RFC 3261 14.1), so it
// is asked when the wait is over. One that does not answer then has lost the call.
#[test]
fn before_a_call_ends_for_want_of_an_ack_the_phone_is_asked() {
    for answers in [true, false] {
        let mut world = unacked("");
        assert_eq!(beside_the_200(&mut world, SECOND * 30), "");
        assert_eq!(beside_the_200(&mut world, SECOND * 3), "INVITE");
        if answers {
            answer(&mut world, 200);
            assert_eq!(world.pass(SECOND * 60), "ACK");
            assert_eq!(world.owners().len(), 1);
        } else {
            let said = world.pass(SECOND * 33);
            let said = said.replace("INVITE, ", "").replace(", BYE", "");
            assert_eq!(said, "BYE");
        }
    }
}

// Method: it does not know the dialog, for no 200 has reached it. That ends nothing.
#[test]
fn a_phone_that_has_not_had_the_200_does_not_know_the_dialog() {
    let mut world = unacked(ALLOW_UPDATE);
    assert_eq!(beside_the_200(&mut world, SECOND * 3), "UPDATE");
    let heir = answer(&mut world, 481);
    let said = beside_the_200(&mut world, SECOND);
    assert_eq!(said, "");
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(heir, &request("ACK", "c", 1, "a", &tag));
    assert_eq!(beside_the_200(&mut world, SECOND * 10), "UPDATE");
    answer(&mut world, 200);
    assert_eq!(world.pass(SECOND * 90), "");
    assert_eq!(world.owners().len(), 1);
}

// Method: the owner dies while the phone rings. The heir's 200 names the heir.
#[test]
fn an_heir_answers_with_its_own_address() {
    let replication = Replication {
        copies: 3,
        when: When::Early,
        ..Replication::default()
    };
    let mut world = World::with_scope(Scope::Node, 3, &replication, |_, _| {});
    world.datagram(0, &request("INVITE", "c", 1, "i", "X-Ring: 3000\n"));
    assert_eq!(world.pass(SECOND), "180 INVITE");
    kill(&mut world, 0);
    let said = world.pass(SECOND * 2);
    assert!(said.ends_with("200 INVITE"), "{said}");
    let Sent { node, message } = last(&world);
    let here = format!("sip:{};transport=udp", address(*node));
    assert_eq!(contact(message), here);
}

// Method: the owner dies between its BYE and the answer. The phone, which has hung up, answers what
// it takes for a repetition (RFC 3261 17.2.3: branch, sent-by, method).
#[test]
fn a_dead_owners_bye_is_repeated_as_it_was() {
    let replication = Replication {
        copies: 3,
        ..Replication::default()
    };
    let mut world = World::with_scope(Scope::Node, 3, &replication, |_, _| {});
    world.datagram(0, &request("INVITE", "c", 1, "i", "X-Hang-Up: 2000\n"));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    let tag = world.tag();
    world.datagram(0, &request("ACK", "c", 1, "a", &format!("To-tag: {tag}\n")));
    assert_eq!(world.pass(SECOND * 2), "BYE");
    let first = last(&world).message.clone();
    kill(&mut world, 0);
    assert_eq!(world.pass(100 * MS), "BYE");
    let Sent { node, message } = last(&world);
    assert_ne!(*node, 0);
    assert_eq!(message.bytes(), first.bytes());
    assert_eq!(world.pass(SECOND), "BYE", "T1 runs on");
    answer(&mut world, 200);
    assert_eq!(world.pass(SECOND * 60), "");
    assert_eq!(world.owners(), Vec::<usize>::new());
}

#[test]
fn an_address_that_outlives_its_node_is_not_changed() {
    let mut world = orphan(Scope::Cluster, ALLOW_UPDATE);
    assert_eq!(world.pass(SECOND * 5), "");
    assert_eq!(world.owners().len(), 1);
}
