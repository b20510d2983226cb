//! Goal: D16, reliable provisionals in both roles (RFC 3262), whoever owns the call. Method: nodes
//! wired by hand, times as numbers; the phone is this test.

use callring_proto::cluster::policy::{Replication, When};
use callring_proto::sip::{HeaderName, Message, ResponseBuilder};

use super::world::{MS, PHONE, SECOND, World, request, with_body};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
const RELIABLE: &str = "Supported: 100rel\nX-Reliable: wanted\nX-Ring: 60000\n";

fn world(when: When) -> World {
    let replication = Replication {
        copies: 3,
        when,
        ..Replication::default()
    };
    World::new(3, &replication, |_, _| {})
}

/// A call that rings at node 0.
fn ringing(extra: &str) -> World {
    let mut world = world(When::Confirmed);
    world.datagram(0, &request("INVITE", "c", 1, "i", extra));
    assert_eq!(world.pass(100 * MS), "180 INVITE");
    world
}

fn newest(world: &World) -> &Message {
    &world.sent.last().expect("something was sent").message
}

fn rseq(world: &World) -> u32 {
    let provisional = world.sent.iter().rev();
    let mut found = provisional.filter_map(|sent| sent.message.header(HeaderName::RSeq));
    found.next().expect("an RSeq").parse().expect("a number")
}

fn prack(world: &mut World, node: usize, cseq: u32, rack: &str, body: &str) -> String {
    let extra = format!("To-tag: {}\nRAck: {rack}\n", world.tag());
    let text = request("PRACK", "c", cseq, &format!("p{cseq}"), &extra);
    world.datagram(node, &with_body(&text, body));
    world.pass(100 * MS)
}

#[test]
fn d16_a_reliable_provisional_is_repeated_until_its_prack() {
    let mut world = ringing(RELIABLE);
    let ringing = newest(&world);
    assert!(ringing.lists(HeaderName::Require, "100rel"));
    assert!(ringing.contact().is_some(), "PRACK has somewhere to go");
    let first = rseq(&world);
    assert!((1..0x8000_0000).contains(&first));
    // 0.5, 1.5, 3.5 s.
    let said = world.pass(3_600 * MS);
    assert_eq!(said, "180 INVITE, 180 INVITE, 180 INVITE");
    assert_eq!(rseq(&world), first);
    assert_eq!(
        prack(&mut world, 0, 2, &format!("{first} 1 INVITE"), ""),
        "200 PRACK"
    );
    assert_eq!(world.pass(SECOND * 50), "");
    assert_eq!(
        prack(&mut world, 0, 3, &format!("{first} 1 INVITE"), ""),
        "481 PRACK"
    );
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn d16_without_a_prack_the_invite_is_refused() {
    let mut world = ringing(RELIABLE);
    let said = world.pass(SECOND * 32);
    assert_eq!(said.matches("180 INVITE").count(), 6, "{said}");
    assert!(said.ends_with("504 INVITE"), "{said}");
}

#[test]
fn d16_what_a_caller_requires_it_gets_and_what_it_lacks_it_is_told() {
    let mut forced = ringing("Require: 100rel\nX-Ring: 60000\n");
    assert!(newest(&forced).header(HeaderName::RSeq).is_some());
    assert_eq!(forced.pass(600 * MS), "180 INVITE");
    let plain = ringing("X-Reliable: wanted\nX-Ring: 60000\n");
    assert_eq!(newest(&plain).header(HeaderName::RSeq), None);
    let mut needed = world(When::Confirmed);
    let lacking = "X-Reliable: needed\nX-Ring: 60000\n";
    needed.datagram(0, &request("INVITE", "c", 1, "i", lacking));
    assert_eq!(needed.pass(100 * MS), "421 INVITE");
    assert_eq!(newest(&needed).header(HeaderName::Require), Some("100rel"));
}

#[test]
fn d16_a_prack_of_nothing_is_481_and_one_without_rack_400() {
    let mut world = ringing(RELIABLE);
    let rseq = rseq(&world);
    for (cseq, rack, answer) in [
        (2, format!("{} 1 INVITE", rseq + 1), "481 PRACK"),
        (3, format!("{rseq} 2 INVITE"), "481 PRACK"),
        (4, format!("{rseq} 1 UPDATE"), "481 PRACK"),
        (5, "nonsense".to_owned(), "400 PRACK"),
    ] {
        // Twice: the answer was lost, and the same request gets the same one.
        for _ in 0..2 {
            let said = prack(&mut world, 0, cseq, &rack, "");
            assert!(said.starts_with(answer), "{rack}: {said}");
        }
    }
    let said = prack(&mut world, 0, 6, &format!("{rseq} 1 INVITE"), "");
    assert!(said.ends_with("200 PRACK"), "{said}");
}

#[test]
fn d16_the_next_one_waits_for_the_prack_and_has_the_next_number() {
    let mut world = ringing(&format!("{RELIABLE}X-Twice: 1\n"));
    let first = rseq(&world);
    let said = prack(&mut world, 0, 2, &format!("{first} 1 INVITE"), "");
    assert_eq!(said, "200 PRACK, 183 INVITE");
    assert_eq!(rseq(&world), first + 1);
    let said = prack(&mut world, 0, 3, &format!("{} 1 INVITE", first + 1), "");
    assert_eq!(said, "200 PRACK");
}

// Method: the 180 has the answer to the offer; the application answers 100 ms later.
#[test]
fn d16_no_2xx_leaves_before_the_prack_of_a_description() {
    let mut world = world(When::Confirmed);
    let extra = "Supported: 100rel\nX-Reliable: wanted\nX-Media: 1\nX-Ring: 100\n";
    let invite = with_body(&request("INVITE", "c", 1, "i", extra), OFFER);
    world.datagram(0, &invite);
    assert_eq!(world.pass(SECOND), "180 INVITE, 180 INVITE");
    assert!(!newest(&world).body().is_empty());
    let rack = format!("{} 1 INVITE", rseq(&world));
    assert_eq!(prack(&mut world, 0, 2, &rack, ""), "200 PRACK, 200 INVITE");
    assert_eq!(
        newest(&world).body(),
        b"",
        "RFC 3261 13.2.1: the answer was given"
    );
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn d16_without_a_description_the_2xx_leaves_and_a_late_prack_is_welcome() {
    let mut world = world(When::Confirmed);
    let extra = "Supported: 100rel\nX-Reliable: wanted\nX-Ring: 100\n";
    world.datagram(0, &request("INVITE", "c", 1, "i", extra));
    assert_eq!(world.pass(400 * MS), "180 INVITE, 200 INVITE");
    let rack = format!("{} 1 INVITE", rseq(&world));
    assert_eq!(prack(&mut world, 0, 2, &rack, ""), "200 PRACK");
    let said = world.pass(SECOND * 4);
    assert!(
        !said.contains("180"),
        "not sent again after the final: {said}"
    );
}

// Method: the PRACK has an offer of its own; the INVITE without one is answered by PRACK.
#[test]
fn d16_a_prack_carries_an_offer_or_an_answer() {
    let mut world = world(When::Confirmed);
    let extra = "Supported: 100rel\nX-Reliable: wanted\nX-Media: 1\nX-Ring: 5000\n";
    let invite = request("INVITE", "c", 1, "i", extra);
    world.datagram(0, &with_body(&invite, OFFER));
    assert_eq!(world.pass(100 * MS), "180 INVITE");
    let rack = format!("{} 1 INVITE", rseq(&world));
    let held = format!("{OFFER}a=sendonly\r\n");
    assert_eq!(prack(&mut world, 0, 2, &rack, &held), "200 PRACK");
    let answer = String::from_utf8_lossy(newest(&world).body()).into_owned();
    assert!(
        answer.contains("o=ivr 7 2 ") && answer.contains("a=recvonly"),
        "{answer}"
    );

    let mut other = self::world(When::Confirmed);
    other.datagram(0, &invite.replace("X-Ring", "X-Sdp: 1\nX-Ring"));
    assert_eq!(other.pass(100 * MS), "180 INVITE");
    let rack = format!("{} 1 INVITE", rseq(&other));
    assert_eq!(prack(&mut other, 0, 2, &rack, OFFER), "200 PRACK");
    assert_eq!(newest(&other).body(), b"", "an answer is not answered");
    assert_eq!(other.pass(SECOND * 5), "200 INVITE");
    assert_eq!(other.complaints(), [""; 0]);
}

// Method: members know of a call that rings; its owner dies before the PRACK, then after it.
#[test]
fn d16_an_heir_goes_on_with_the_next_rseq() {
    for acknowledged in [false, true] {
        let mut world = world(When::Early);
        let extra = format!("{RELIABLE}X-Twice: 1\n");
        world.datagram(0, &request("INVITE", "c", 1, "i", &extra));
        assert_eq!(world.pass(100 * MS), "180 INVITE");
        let first = rseq(&world);
        let rack = format!("{first} 1 INVITE");
        if acknowledged {
            let said = prack(&mut world, 0, 2, &rack, "");
            assert_eq!(said, "200 PRACK, 183 INVITE");
        }
        world.kill(0);
        world.pass(200 * MS);
        world.declare_down(0);
        let said = world.pass(2_000 * MS);
        let repeated = if acknowledged {
            "183 INVITE"
        } else {
            "180 INVITE"
        };
        assert!(said.contains(repeated), "{said}");
        let heir = world.sent.last().expect("something").node;
        assert_ne!(heir, 0);
        // Its answer was lost with the node, perhaps: the PRACK comes again.
        let said = prack(&mut world, heir, 2, &rack, "");
        assert!(said.starts_with("200 PRACK"), "{said}");
        if !acknowledged {
            assert!(said.ends_with("183 INVITE"), "{said}");
        }
        assert_eq!(rseq(&world), first + 1);
        let rack = format!("{} 1 INVITE", first + 1);
        assert!(prack(&mut world, heir, 3, &rack, "").ends_with("200 PRACK"));
        assert_eq!(world.pass(SECOND * 10), "");
        assert_eq!(world.complaints(), [""; 0]);
    }
}

/// An answered call whose application has sent a re-INVITE, with `offer` or without.
fn inviting(offer: &str) -> World {
    let mut world = world(When::Confirmed);
    let invite = request("INVITE", "c", 1, "i", "X-Sdp: 1\n");
    world.datagram(0, &with_body(&invite, OFFER));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(0, &request("ACK", "c", 1, "a", &tag));
    world.pass(100 * MS);
    world.signal(0, &format!("INVITE {offer}"));
    assert_eq!(world.pass(100 * MS), "INVITE");
    world
}

fn respond(world: &mut World, to: &Message, status: u16, rseq: u32, body: &str) -> String {
    let mut response = ResponseBuilder::new(to, status).contact(format!("<sip:a@{PHONE}>"));
    if rseq > 0 {
        response = response
            .header("Require", "100rel")
            .header("RSeq", rseq.to_string());
    }
    if !body.is_empty() {
        response = response.body("application/sdp", body.as_bytes());
    }
    let node = world.sent.last().expect("something").node;
    world.packet(node, response.build().expect("it can be written"));
    world.pass(100 * MS)
}

#[test]
fn d16_our_prack_names_what_came_in_order_and_each_once() {
    let mut world = inviting("a=sendonly");
    let invite = newest(&world).clone();
    assert!(invite.lists(HeaderName::Supported, "100rel"));
    assert_eq!(respond(&mut world, &invite, 183, 41, OFFER), "PRACK");
    let prack = newest(&world).clone();
    let rack = format!("41 {} INVITE", invite.cseq_number());
    assert_eq!(prack.header(HeaderName::RAck), Some(rack.as_str()));
    assert_eq!(prack.cseq_number(), invite.cseq_number() + 1);
    assert_eq!(prack.body(), b"");
    assert_eq!(respond(&mut world, &prack, 200, 0, ""), "");
    assert_eq!(
        respond(&mut world, &invite, 183, 41, OFFER),
        "",
        "a repetition"
    );
    assert_eq!(
        respond(&mut world, &invite, 180, 43, ""),
        "",
        "42 is missing"
    );
    assert_eq!(respond(&mut world, &invite, 180, 42, ""), "PRACK");
    assert_eq!(respond(&mut world, &invite, 200, 0, ""), "ACK");
    assert_eq!(newest(&world).body(), b"");
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn an_offer_in_a_response_is_answered_in_prack_or_ack() {
    let mut reliable = inviting("");
    let invite = newest(&reliable).clone();
    assert_eq!(invite.body(), b"");
    assert_eq!(respond(&mut reliable, &invite, 183, 1, OFFER), "PRACK");
    assert!(!newest(&reliable).body().is_empty(), "the answer");
    assert_eq!(respond(&mut reliable, &invite, 200, 0, ""), "ACK");
    assert_eq!(newest(&reliable).body(), b"");
    let mut late = inviting("");
    let invite = newest(&late).clone();
    assert_eq!(respond(&mut late, &invite, 200, 0, OFFER), "ACK");
    assert!(!newest(&late).body().is_empty(), "the answer");
    assert_eq!(late.complaints(), [""; 0]);
}
