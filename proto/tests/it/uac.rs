//! Goal: legs of our own (RFC 3261 8.1, 9.1, 12.1.2, 13.2; RFC 3262 4; RFC 4028 7), alone, forked,
//! and when their owner dies. Method: an application that joins a caller's leg to one of its own;
//! this test is the caller and the callee, on nodes wired by hand.

use callring_proto::cluster::policy::{Replication, When};
use callring_proto::shard::Scope;
use callring_proto::sip::{HeaderName, Message, Method, ResponseBuilder};

use super::world::{MS, SECOND, World, address, request, with_body};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
const ANSWER: &str = "v=0\r\no=b 5 1 IN IP4 192.0.2.20\r\ns=-\r\nt=0 0\r\nm=audio 6 RTP/AVP 0\r\n";
const DIAL: &str = "X-Dial: sip:b@192.0.2.20:5080\n";
const BYE: &str = "Contact: <sip:b@192.0.2.20:5090>\n";

fn world(scope: Scope, when: When, extra: &str) -> World {
    let replication = Replication {
        copies: 3,
        when,
        ..Replication::default()
    };
    let mut world = World::with_scope(scope, 3, &replication, |_, _| {});
    let invite = request("INVITE", "a", 1, "i", &format!("{DIAL}{extra}"));
    world.datagram(0, &with_body(&invite, OFFER));
    assert_eq!(world.pass(20 * MS), "INVITE");
    world
}

fn dialled(extra: &str) -> World {
    world(Scope::Cluster, When::Early, extra)
}

/// The newest request of ours of this method.
fn ours(world: &World, method: &Method) -> Message {
    let requests = world.sent.iter().rev().map(|sent| &sent.message);
    let mut found = requests.filter(|one| one.is_request() && one.method() == method);
    found.next().expect("it was sent").clone()
}

/// The callee answers `to` with `extra` fields, from the dialog `tag`; it comes to `node`.
fn callee(world: &mut World, node: usize, to: &Message, status: u16, tag: &str, extra: &str) {
    let mut reply = ResponseBuilder::new(to, status);
    if !tag.is_empty() {
        reply = reply.to_tag(tag);
    }
    for line in extra.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").expect("a field");
        reply = if name == "Body" {
            reply.body("application/sdp", ANSWER.as_bytes())
        } else {
            reply.header(name, value)
        };
    }
    world.packet(node, reply.build().expect("a response"));
}

fn picks_up(world: &mut World, node: usize, tag: &str) -> String {
    let invite = ours(world, &Method::Invite);
    let extra = format!("{BYE}Body: yes\n");
    callee(world, node, &invite, 200, tag, &extra);
    world.pass(50 * MS)
}

/// The caller says `method` in its dialog.
fn caller(world: &mut World, node: usize, method: &str, cseq: u32) -> String {
    let answers = world.sent.iter().map(|sent| &sent.message);
    let mut to_it = answers.filter(|one| !one.is_request() && one.call_id() == "a");
    let tag = to_it.find_map(|one| one.to_tag()).unwrap_or_default();
    let tag = format!("To-tag: {tag}\n");
    let branch = if method == "CANCEL" { "i" } else { method };
    let (method, branch) = match method {
        "ACK of a refusal" => ("ACK", "i"), // RFC 3261 17.1.1.3
        other => (other, branch),
    };
    let extra = if method == "CANCEL" { "" } else { &tag };
    world.datagram(node, &request(method, "a", cseq, branch, extra));
    world.pass(50 * MS)
}

/// The callee's request in the dialog `tag`, to `node`.
fn callee_asks(world: &mut World, node: usize, method: &str, cseq: u32, tag: &str) -> String {
    let invite = ours(world, &Method::Ack);
    let from = invite.header(HeaderName::To).expect("To").to_owned();
    let to = invite.header(HeaderName::From).expect("From").to_owned();
    assert!(from.contains(tag));
    let text = format!(
        "{method} sip:x@192.0.2.100 SIP/2.0\n\
         Via: SIP/2.0/UDP 192.0.2.20:5090;branch=z9hG4bKc{cseq}\n\
         From: {from}\nTo: {to}\nCall-ID: {}\nCSeq: {cseq} {method}\nMax-Forwards: 70\n\
         Content-Length: 0\n\n",
        invite.call_id()
    );
    world.datagram(node, &text);
    world.pass(50 * MS)
}

/// After a while nobody has anything of the call left, and nobody was told anything more.
fn nothing_is_left(world: &mut World) {
    assert_eq!(world.pass(SECOND * 70), "");
    for node in 0..3 {
        if world.is_up(node) {
            let summary = world.summary(node);
            assert_eq!(summary.calls_owned, 0, "node {node}");
            assert_eq!(summary.transactions, 0, "node {node}");
        }
    }
}

#[test]
fn an_invite_of_ours_says_what_it_has_to() {
    let world = dialled("");
    let invite = ours(&world, &Method::Invite);
    assert_eq!(invite.request_uri(), "sip:b@192.0.2.20:5080");
    assert_eq!(
        invite.header(HeaderName::To),
        Some("<sip:b@192.0.2.20:5080>")
    );
    assert_eq!(invite.header_named("X-From"), Some("a"));
    assert_ne!(invite.call_id(), "a", "a leg has a Call-ID of its own");
    assert!(invite.from_tag().is_some() && invite.to_tag().is_none());
    assert_eq!((invite.cseq_number(), invite.body()), (1, OFFER.as_bytes()));
    assert_eq!(invite.header(HeaderName::MaxForwards), Some("70"));
    let contact = invite.contact().expect("a Contact").uri.as_str().to_owned();
    assert!(contact.contains(&address(0)), "{contact}");
}

#[test]
fn two_legs_are_one_call_from_the_invite_to_the_bye() {
    for by_caller in [true, false] {
        let mut world = dialled("");
        let invite = ours(&world, &Method::Invite);
        callee(&mut world, 0, &invite, 180, "b", BYE);
        assert_eq!(world.pass(20 * MS), "180 INVITE");
        let said = picks_up(&mut world, 0, "b");
        assert!(
            said.contains("ACK") && said.contains("200 INVITE"),
            "{said}"
        );
        let ack = ours(&world, &Method::Ack);
        assert_eq!(ack.request_uri(), "sip:b@192.0.2.20:5090");
        assert_eq!((ack.to_tag(), ack.cseq_number()), (Some("b"), 1));
        assert_ne!(ack.branch(), invite.branch(), "RFC 3261 13.2.2.4");
        assert_eq!(caller(&mut world, 0, "ACK", 1), "");
        assert_eq!(world.summary(0).calls_owned, 1);
        let said = if by_caller {
            caller(&mut world, 0, "BYE", 2)
        } else {
            callee_asks(&mut world, 0, "BYE", 1, "b")
        };
        assert!(said == "200 BYE, BYE" || said == "BYE, 200 BYE", "{said}");
        let bye = ours(&world, &Method::Bye);
        let uri = if by_caller {
            "sip:b@192.0.2.20:5090"
        } else {
            "sip:a@192.0.2.9:5070"
        };
        assert_eq!(bye.request_uri(), uri);
        callee(&mut world, 0, &bye, 200, "", "");
        nothing_is_left(&mut world);
    }
}

#[test]
fn a_refusal_is_acknowledged_and_passed_on() {
    let mut world = dialled("");
    let invite = ours(&world, &Method::Invite);
    callee(&mut world, 0, &invite, 486, "b", "");
    let said = world.pass(50 * MS);
    assert_eq!(said, "ACK, 486 INVITE");
    let ack = ours(&world, &Method::Ack);
    assert_eq!(ack.branch(), invite.branch(), "RFC 3261 17.1.1.3");
    caller(&mut world, 0, "ACK of a refusal", 1);
    // Repeated, it is acknowledged again, and nobody is told again.
    callee(&mut world, 0, &invite, 486, "b", "");
    assert_eq!(world.pass(50 * MS), "ACK");
    // A forking proxy passes a 2xx on even then (RFC 3261 16.7).
    callee(&mut world, 0, &invite, 200, "c", BYE);
    assert_eq!(world.pass(50 * MS), "ACK, BYE");
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn t20_an_invite_that_nobody_answers_is_repeated_for_32_s() {
    let mut world = dialled("");
    let said = world.pass(SECOND * 31);
    assert_eq!(said, "100 INVITE, INVITE, INVITE, INVITE, INVITE, INVITE");
    assert_eq!(world.pass(1_200 * MS), "INVITE, 408 INVITE");
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn t16_a_cancel_waits_for_a_provisional_response() {
    let mut world = dialled("");
    assert_eq!(caller(&mut world, 0, "CANCEL", 1), "200 CANCEL, 487 INVITE");
    caller(&mut world, 0, "ACK of a refusal", 1);
    let invite = ours(&world, &Method::Invite);
    callee(&mut world, 0, &invite, 100, "", "");
    assert_eq!(world.pass(20 * MS), "CANCEL");
    let cancel = ours(&world, &Method::Cancel);
    assert_eq!(cancel.branch(), invite.branch(), "RFC 3261 9.1");
    assert_eq!(cancel.request_uri(), invite.request_uri());
    assert_eq!((cancel.cseq_number(), cancel.to_tag()), (1, None));
    callee(&mut world, 0, &cancel, 200, "b", "");
    callee(&mut world, 0, &invite, 487, "b", "");
    assert_eq!(world.pass(20 * MS), "ACK");
    nothing_is_left(&mut world);
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn t17_a_2xx_that_crosses_a_cancel_is_acknowledged_and_ended() {
    let mut world = dialled("");
    let invite = ours(&world, &Method::Invite);
    callee(&mut world, 0, &invite, 180, "b", BYE);
    world.pass(20 * MS);
    let said = caller(&mut world, 0, "CANCEL", 1);
    assert_eq!(said, "200 CANCEL, 487 INVITE, CANCEL");
    caller(&mut world, 0, "ACK of a refusal", 1);
    assert_eq!(picks_up(&mut world, 0, "b"), "ACK, BYE");
    let bye = ours(&world, &Method::Bye);
    assert_eq!((bye.to_tag(), bye.cseq_number()), (Some("b"), 2));
    callee(&mut world, 0, &bye, 200, "", "");
    let cancel = ours(&world, &Method::Cancel);
    callee(&mut world, 0, &cancel, 200, "", "");
    nothing_is_left(&mut world);
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn a_phone_that_rings_for_too_long_is_let_go() {
    let mut world = dialled("X-Ring-Timeout: 20\n");
    let invite = ours(&world, &Method::Invite);
    callee(&mut world, 0, &invite, 180, "b", BYE);
    assert_eq!(world.pass(SECOND * 19), "180 INVITE");
    assert_eq!(world.pass(SECOND + 50 * MS), "CANCEL, 408 INVITE");
    caller(&mut world, 0, "ACK of a refusal", 1);
    let cancel = ours(&world, &Method::Cancel);
    callee(&mut world, 0, &cancel, 200, "", "");
    // Not even the 487 comes: RFC 3261 9.1 waits for 64*T1.
    nothing_is_left(&mut world);
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn d14_d15_of_several_dialogs_the_first_2xx_decides() {
    let mut world = dialled("");
    let invite = ours(&world, &Method::Invite);
    for (tag, way) in [
        ("x", "sip:px;lr"),
        ("y", "sip:192.0.2.30;lr"),
        ("z", "sip:pz;lr"),
    ] {
        let extra =
            format!("Contact: <sip:{tag}@192.0.2.20>\nRecord-Route: <sip:p0;lr>, <{way}>\n");
        callee(&mut world, 0, &invite, 180, tag, &extra);
        assert_eq!(world.pass(20 * MS), "180 INVITE");
    }
    let extra =
        "Contact: <sip:y@192.0.2.20>\nRecord-Route: <sip:p0;lr>, <sip:192.0.2.30;lr>\nBody: 1\n";
    callee(&mut world, 0, &invite, 200, "y", extra);
    let said = world.pass(50 * MS);
    assert!(
        said.contains("ACK") && said.contains("200 INVITE"),
        "{said}"
    );
    let ack = ours(&world, &Method::Ack);
    assert_eq!(
        (ack.to_tag(), ack.request_uri()),
        (Some("y"), "sip:y@192.0.2.20")
    );
    let routes: Vec<&str> = ack.values(HeaderName::Route).collect();
    assert_eq!(
        routes,
        ["<sip:192.0.2.30;lr>", "<sip:p0;lr>"],
        "RFC 3261 12.1.2"
    );
    // The 2xx again: the same ACK again. That of another dialog: acknowledged and ended.
    callee(&mut world, 0, &invite, 200, "y", extra);
    assert_eq!(world.pass(50 * MS), "ACK");
    assert_eq!(ours(&world, &Method::Ack).bytes(), ack.bytes());
    callee(
        &mut world,
        0,
        &invite,
        200,
        "x",
        "Contact: <sip:x@192.0.2.20>\n",
    );
    assert_eq!(world.pass(50 * MS), "ACK, BYE");
    assert_eq!(ours(&world, &Method::Bye).to_tag(), Some("x"));
    // One that nobody has heard of.
    callee(
        &mut world,
        0,
        &invite,
        200,
        "new",
        "Contact: <sip:n@192.0.2.20>\n",
    );
    assert_eq!(world.pass(50 * MS), "ACK, BYE");
    // A late provisional is nothing.
    callee(&mut world, 0, &invite, 183, "z", "");
    assert_eq!(world.pass(50 * MS), "");
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn d16_each_dialog_of_a_forked_invite_has_its_own_rseq() {
    let mut world = dialled("");
    let invite = ours(&world, &Method::Invite);
    for (tag, rseq) in [("x", 7), ("y", 9_000), ("x", 8)] {
        let extra = format!("Contact: <sip:{tag}@192.0.2.20>\nRequire: 100rel\nRSeq: {rseq}\n");
        callee(&mut world, 0, &invite, 180, tag, &extra);
        let said = world.pass(50 * MS);
        assert!(said.contains("PRACK"), "{said}");
        let prack = ours(&world, &Method::Prack);
        let rack = prack.header(HeaderName::RAck);
        assert_eq!(rack, Some(format!("{rseq} 1 INVITE").as_str()));
        assert_eq!(prack.to_tag(), Some(tag));
        assert_eq!(prack.cseq_number(), if rseq == 8 { 3 } else { 2 });
        callee(&mut world, 0, &prack, 200, "", "");
        world.pass(20 * MS);
    }
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn d17_an_interval_that_is_too_small_is_raised() {
    let mut world = dialled("X-Session: 100\n");
    let invite = ours(&world, &Method::Invite);
    assert_eq!(invite.header(HeaderName::SessionExpires), Some("100"));
    callee(&mut world, 0, &invite, 422, "b", "Min-SE: 300\n");
    assert_eq!(world.pass(50 * MS), "ACK, INVITE");
    let again = ours(&world, &Method::Invite);
    assert_eq!(again.header(HeaderName::SessionExpires), Some("300"));
    assert_eq!(again.header(HeaderName::MinSe), Some("300"));
    assert_eq!((again.cseq_number(), again.to_tag()), (2, None));
    assert_eq!(
        (again.call_id(), again.from_tag()),
        (invite.call_id(), invite.from_tag())
    );
    assert_ne!(again.branch(), invite.branch());
    // Once is enough.
    callee(&mut world, 0, &again, 422, "b", "Min-SE: 900\n");
    assert_eq!(world.pass(50 * MS), "ACK, 422 INVITE");
    assert_eq!(world.complaints(), [""; 0]);
}

/// RFC 3261 16.7: a proxy passes on every 2xx, also behind the refusal of another branch.
#[test]
fn a_2xx_behind_a_422_is_acknowledged_and_ended() {
    let mut world = dialled("X-Session: 100\n");
    let invite = ours(&world, &Method::Invite);
    callee(&mut world, 0, &invite, 180, "z", BYE);
    world.pass(50 * MS);
    callee(&mut world, 0, &invite, 422, "b", "Min-SE: 300\n");
    assert_eq!(world.pass(50 * MS), "ACK, INVITE");
    let again = ours(&world, &Method::Invite);
    callee(
        &mut world,
        0,
        &invite,
        200,
        "z",
        &format!("{BYE}Body: yes\n"),
    );
    assert_eq!(world.pass(50 * MS), "ACK, BYE");
    let ended = [Method::Ack, Method::Bye].map(|method| ours(&world, &method));
    assert!(ended.iter().all(|one| one.to_tag() == Some("z")));
    callee(&mut world, 0, &ended[1], 200, "", "");
    callee(
        &mut world,
        0,
        &again,
        200,
        "y",
        &format!("{BYE}Body: yes\n"),
    );
    assert_eq!(world.pass(50 * MS), "ACK, 200 INVITE");
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn d17_the_session_of_a_leg_of_ours_is_refreshed() {
    let mut world = dialled("X-Session: 200\n");
    let invite = ours(&world, &Method::Invite);
    let extra = format!("{BYE}Body: 1\nAllow: UPDATE\nSession-Expires: 200;refresher=uac\n");
    callee(&mut world, 0, &invite, 200, "b", &extra);
    world.pass(50 * MS);
    caller(&mut world, 0, "ACK", 1);
    assert_eq!(world.pass(SECOND * 99), "");
    let said = world.pass(SECOND * 2);
    assert!(said.starts_with("UPDATE"), "{said}");
    let update = ours(&world, &Method::Update);
    let says = update.header(HeaderName::SessionExpires);
    assert_eq!(says, Some("200;refresher=uac"));
    assert_eq!(world.complaints(), [""; 0]);
}

/// One leg's BYE is answered, the other leg is sent one.
fn both_byes(said: &str) -> bool {
    let mut lines = said.split(", ");
    lines.clone().any(|line| line == "200 BYE") && lines.any(|line| line == "BYE")
}

#[test]
fn an_owner_that_dies_while_a_leg_rings_leaves_it_to_an_heir() {
    let mut world = dialled("");
    let invite = ours(&world, &Method::Invite);
    callee(&mut world, 0, &invite, 180, "b", BYE);
    world.pass(50 * MS);
    world.kill(0);
    // The address lives on: the callee's 200 comes to another node.
    let said = picks_up(&mut world, 1, "b");
    assert_eq!(said, "");
    let said = world.pass(SECOND);
    assert!(
        said.contains("ACK") && said.contains("200 INVITE"),
        "{said}"
    );
    assert_eq!(caller(&mut world, 2, "ACK", 1), "");
    assert_eq!(world.pass(SECOND * 5), "");
    let said = callee_asks(&mut world, 2, "BYE", 1, "b");
    let said = format!("{said}, {}", world.pass(SECOND));
    assert!(both_byes(&said), "{said}");
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn what_rings_at_a_dead_address_is_cancelled_and_the_caller_told() {
    let mut world = world(Scope::Node, When::Early, "");
    let invite = ours(&world, &Method::Invite);
    callee(&mut world, 0, &invite, 180, "b", BYE);
    world.pass(50 * MS);
    world.kill(0);
    world.declare_down(0);
    let said = world.pass(SECOND * 4);
    assert!(
        said.contains("CANCEL") && said.contains("408 INVITE"),
        "{said}"
    );
    let cancel = ours(&world, &Method::Cancel);
    assert_eq!(cancel.branch(), invite.branch());
    let via = |one: &Message| one.top_via().map(|via| via.raw.to_owned()).unwrap();
    assert_eq!(
        via(&cancel),
        via(&invite),
        "RFC 3261 9.1: the Via of the INVITE"
    );
    let heir = world.sent.last().expect("sent").node;
    callee(&mut world, heir, &cancel, 200, "", "");
    caller(&mut world, heir, "ACK of a refusal", 1);
    nothing_is_left(&mut world);
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn both_legs_go_on_after_a_takeover() {
    for (heir, by_caller) in [(1, true), (2, false)] {
        let mut world = dialled("");
        picks_up(&mut world, 0, "b");
        caller(&mut world, 0, "ACK", 1);
        world.pass(SECOND);
        world.kill(0);
        let said = if by_caller {
            caller(&mut world, heir, "BYE", 2)
        } else {
            callee_asks(&mut world, heir, "BYE", 1, "b")
        };
        let said = format!("{said}, {}", world.pass(SECOND));
        assert!(both_byes(&said), "{said}");
        let bye = ours(&world, &Method::Bye);
        let (to, above) = if by_caller {
            (Some("b"), 1)
        } else {
            (Some("fa"), 0)
        };
        assert_eq!(bye.to_tag(), to);
        assert!(bye.cseq_number() > above, "PROTOCOL.md rule 23");
        callee(&mut world, heir, &bye, 200, "", "");
        world.declare_down(0);
        nothing_is_left(&mut world);
    }
}
