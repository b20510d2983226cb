//! Goal: whenever the owner dies in the middle of something, the phone finds nothing to complain
//! about (SIP.md S4; flows of RFC 3665 and RFC 5407). Method: a table of flows, each begun at node
//! 0, which dies at each step of it; a strict phone goes on at another node, repeats what is not
//! answered and answers what it is asked. At the end the call serves it as ever, and nothing that
//! was sent breaks the order of CSeq, RSeq or `o=`.

use std::time::Duration;

use callring_proto::cluster::policy::{Replication, When};
use callring_proto::sip::HeaderName;

use super::world::{MS, Phone, SECOND, World, request, with_body};

/// When the owner dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// Before the flow begins.
    Before,
    /// It has begun, and nobody heard of it.
    Unheard,
    /// Others have the record, nothing was said.
    Heard,
    /// What was said was lost.
    Unseen,
    /// What was said has come to the phone, and nothing more.
    Said,
    /// All is done.
    After,
}

const DEATHS: [Death; 6] = [
    Death::Before,
    Death::Unheard,
    Death::Heard,
    Death::Unseen,
    Death::Said,
    Death::After,
];

const OFFER: &str = "v=0\r\no=- 9 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO\nX-Sdp: 1\n";

/// What happens to the call at `node`.
type Flow = fn(&mut Phone, &mut World, usize);

fn world(when: When, extra: &str) -> World {
    let replication = Replication {
        copies: 3,
        when,
        ..Replication::default()
    };
    let mut world = World::new(3, &replication, |_, _| {});
    let invite = request("INVITE", "c", 1, "i", &format!("{ALLOW}{extra}"));
    world.datagram(0, &with_body(&invite, OFFER));
    world.pass(100 * MS);
    world
}

fn answered(extra: &str) -> World {
    let mut world = world(When::Confirmed, extra);
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(0, &request("ACK", "c", 1, "ia", &tag));
    world.pass(SECOND);
    world
}

/// Begins the flow, has the owner die at its step, and goes on at node 1.
fn die(world: &mut World, flow: Flow, death: Death) -> Phone {
    let mut phone = Phone::new(world);
    if death == Death::Before {
        world.kill(0);
        phone.node = 1;
    }
    let node = phone.node;
    flow(&mut phone, world, node);
    let span = match death {
        Death::Before => 0,
        Death::Unheard => {
            world.lose(0);
            0
        }
        Death::Heard => 1,
        Death::Unseen | Death::Said => 3,
        Death::After => 900,
    };
    phone.deaf = !matches!(death, Death::Said | Death::After);
    phone.run(world, span * MS);
    phone.deaf = false;
    world.kill(0);
    phone.node = 1;
    phone.run(world, 300 * MS);
    world.declare_down(0);
    phone.run(world, SECOND * 12);
    phone
}

fn verdict(world: &World, phone: &Phone, what: &str) {
    let none: [String; 0] = [];
    let said: Vec<String> = world.sent.iter().map(super::world::Sent::line).collect();
    assert_eq!(phone.complaints, none, "{what}: {said:?}");
    assert_eq!(world.complaints(), none, "{what}: {said:?}");
}

/// Every step of `flow`; `finals` is what the phone was told last, `asked` what it was asked.
fn check(name: &str, extra: &str, flow: Flow, told: &str, asked: &str) {
    for death in DEATHS {
        let what = format!("{name}, {death:?}");
        let mut world = answered(extra);
        let mut phone = die(&mut world, flow, death);
        if !told.is_empty() {
            assert_eq!(
                phone.finals.last().map(String::as_str),
                Some(told),
                "{what}"
            );
        }
        if !asked.is_empty() && death != Death::Before && death != Death::Unheard {
            assert!(phone.asked.iter().any(|one| one == asked), "{what}");
        }
        let over = phone.over;
        phone.send(&mut world, "INFO", "", "");
        phone.run(&mut world, SECOND * 2);
        let answer = if over { "481 INFO" } else { "200 INFO" };
        assert_eq!(
            phone.finals.last().map(String::as_str),
            Some(answer),
            "{what}"
        );
        if !over {
            phone.send(&mut world, "BYE", "", "");
            phone.run(&mut world, SECOND * 2);
            assert_eq!(
                phone.finals.last().map(String::as_str),
                Some("200 BYE"),
                "{what}"
            );
        }
        verdict(&world, &phone, &what);
    }
}

#[test]
fn an_owner_dies_in_a_re_invite_of_the_phone() {
    let offer: Flow = |phone, world, _| {
        let body = phone.offer();
        phone.send(world, "INVITE", "", &body);
    };
    check("re-INVITE", "", offer, "200 INVITE", "");
    let none: Flow = |phone, world, _| phone.send(world, "INVITE", "", "");
    check("re-INVITE without an offer", "", none, "200 INVITE", "");
}

#[test]
fn an_owner_dies_in_an_update_of_the_phone() {
    let offer: Flow = |phone, world, _| {
        let body = phone.offer();
        phone.send(world, "UPDATE", "", &body);
    };
    check("UPDATE", "", offer, "200 UPDATE", "");
    let refresh: Flow = |phone, world, _| {
        let timer = "Supported: timer\nSession-Expires: 90;refresher=uac\n";
        phone.send(world, "UPDATE", timer, "");
    };
    let timer = "Supported: timer\nSession-Expires: 90;refresher=uac\n";
    check("session refresh", timer, refresh, "200 UPDATE", "");
}

#[test]
fn an_owner_dies_in_an_info_or_a_bye_of_the_phone() {
    let info: Flow = |phone, world, _| phone.send(world, "INFO", "", "");
    check("INFO", "", info, "200 INFO", "");
    let bye: Flow = |phone, world, _| phone.send(world, "BYE", "", "");
    check("BYE", "", bye, "200 BYE", "");
}

#[test]
fn an_owner_dies_in_a_request_of_its_own() {
    let invite: Flow = |_, world, node| world.signal(node, "INVITE a=sendonly");
    check("own re-INVITE", "", invite, "", "INVITE");
    let update: Flow = |_, world, node| world.signal(node, "UPDATE a=sendonly");
    check("own UPDATE", "", update, "", "UPDATE");
    let info: Flow = |_, world, node| world.signal(node, "INFO");
    check("own INFO", "", info, "", "INFO");
}

#[test]
fn an_owner_dies_when_byes_cross() {
    let cross: Flow = |phone, world, node| {
        world.signal(node, "{\"hangup\":{}}");
        phone.send(world, "BYE", "", "");
    };
    check("BYEs that cross", "", cross, "200 BYE", "");
}

#[test]
fn an_owner_dies_at_a_cancel() {
    for death in DEATHS {
        let what = format!("CANCEL, {death:?}");
        let mut world = world(When::Early, "X-Ring: 60000\n");
        let flow: Flow = |phone, world, _| phone.cancel(world);
        let phone = die(&mut world, flow, death);
        let mut finals = phone.finals.clone();
        finals.sort();
        assert_eq!(finals, ["200 CANCEL", "487 INVITE"], "{what}");
        verdict(&world, &phone, &what);
    }
}

#[test]
fn an_owner_dies_at_a_prack() {
    let extra = "Supported: 100rel\nX-Reliable: wanted\nX-Twice: 1\nX-Media: 1\nX-Ring: 8000\n";
    let flow: Flow = |phone, world, _| {
        let mut sent = world.sent.iter();
        let rseq = sent.find_map(|sent| sent.message.header(HeaderName::RSeq));
        let rack = format!("RAck: {} 1 INVITE\n", rseq.expect("an RSeq"));
        phone.send(world, "PRACK", &rack, "");
    };
    for death in DEATHS {
        let what = format!("PRACK, {death:?}");
        let mut world = world(When::Early, extra);
        let mut phone = die(&mut world, flow, death);
        assert_eq!(phone.finals, ["200 PRACK"], "{what}");
        // The 183 came after it, once its turn had come; the 200 waits for nothing more.
        let lines: Vec<String> = world.sent.iter().map(super::world::Sent::line).collect();
        assert!(
            lines.contains(&"183 INVITE".to_owned()),
            "{what}: {lines:?}"
        );
        assert!(
            lines.contains(&"200 INVITE".to_owned()),
            "{what}: {lines:?}"
        );
        let tag = format!("To-tag: {}\n", world.tag());
        world.datagram(1, &request("ACK", "c", 1, "ia", &tag));
        phone.send(&mut world, "BYE", "", "");
        phone.run(&mut world, Duration::from_secs(2));
        assert_eq!(
            phone.finals.last().map(String::as_str),
            Some("200 BYE"),
            "{what}"
        );
        verdict(&world, &phone, &what);
    }
}
