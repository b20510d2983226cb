//! Goal: D17, session timers as RFC 4028 has them, whoever owns the call. Method: nodes wired by
//! hand, seconds as numbers; the phone is this test.

use std::time::Duration;

use callring_proto::cluster::policy::Replication;
use callring_proto::sip::{HeaderName, Message, ResponseBuilder};

use super::world::{MS, PHONE, SECOND, World, request};

/// A call of three nodes at an address that outlives them, answered and acknowledged at node 0.
fn call(timer: &str) -> World {
    let replication = Replication {
        copies: 3,
        ..Replication::default()
    };
    let mut world = World::new(3, &replication, |_, _| {});
    let extra = format!("Allow: INVITE, ACK, BYE, UPDATE\n{timer}");
    world.datagram(0, &request("INVITE", "c", 1, "i", &extra));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    let tag = tag(&world);
    world.datagram(0, &request("ACK", "c", 1, "a", &tag));
    assert_eq!(world.pass(900 * MS), "");
    world
}

fn tag(world: &World) -> String {
    format!("To-tag: {}\n", world.tag())
}

fn newest(world: &World) -> &Message {
    &world.sent.last().expect("something was sent").message
}

fn expires(message: &Message) -> Option<&str> {
    message.header(HeaderName::SessionExpires)
}

fn answer(world: &mut World, status: u16, fields: &[(&str, &str)]) {
    let node = world.sent.last().expect("something was sent").node;
    let mut answer =
        ResponseBuilder::new(newest(world), status).contact(format!("<sip:a@{PHONE}>"));
    for (name, value) in fields {
        answer = answer.header(*name, *value);
    }
    let answer = answer.build().expect("it can be written");
    world.packet(node, answer);
}

fn seconds(number: u64) -> Duration {
    SECOND * u32::try_from(number).expect("few")
}

const AGAIN: [(&str, &str); 2] = [
    ("Session-Expires", "90;refresher=uac"),
    ("Require", "timer"),
];

#[test]
fn d17_we_refresh_at_half_and_end_what_nobody_answers() {
    let mut world = call("Supported: timer\nSession-Expires: 90;refresher=uas\n");
    assert_eq!(expires(&world.sent[0].message), Some("90;refresher=uas"));
    assert_eq!(world.pass(seconds(43)), "");
    assert_eq!(world.pass(1_300 * MS), "UPDATE");
    assert_eq!(expires(newest(&world)), Some("90;refresher=uac"));
    answer(&mut world, 200, &AGAIN);
    assert_eq!(world.pass(seconds(44)), "");
    let said = world.pass(1_300 * MS);
    assert_eq!(said, "UPDATE", "and again");
    // Nobody answers: 30 s before its end the session is ended, once.
    let said = world.pass(seconds(120));
    assert!(said.starts_with("UPDATE, UPDATE"), "{said}");
    let byes: Vec<u32> = world
        .sent
        .iter()
        .filter(|sent| sent.line() == "BYE")
        .map(|sent| sent.message.cseq_number())
        .collect();
    assert!(!byes.is_empty() && byes.iter().all(|cseq| *cseq == byes[0]));
}

#[test]
fn d17_the_peer_refreshes_or_the_session_ends() {
    let mut world = call("Supported: timer\nSession-Expires: 90\n");
    let ok = &world.sent[0].message;
    assert_eq!(expires(ok), Some("90;refresher=uac"));
    assert!(ok.lists(HeaderName::Require, "timer"));
    world.pass(seconds(40));
    let extra = format!(
        "{}Supported: timer\nSession-Expires: 90;refresher=uac\n",
        tag(&world)
    );
    world.datagram(1, &request("UPDATE", "c", 2, "u", &extra));
    assert_eq!(world.pass(SECOND), "200 UPDATE");
    assert_eq!(expires(newest(&world)), Some("90;refresher=uac"));
    assert_eq!(world.pass(seconds(58)), "", "it counts from the refresh");
    assert_eq!(world.pass(seconds(2)).split(',').next(), Some("BYE"));
}

// Method: the owner dies between refreshes; the heir has its role and what was left of its time.
#[test]
fn d17_the_timer_survives_its_owner_and_fires_once() {
    let mut world = call("Supported: timer\nSession-Expires: 90;refresher=uas\n");
    world.pass(seconds(20));
    world.kill(0);
    world.pass(100 * MS);
    world.declare_down(0);
    assert_eq!(world.pass(seconds(22)), "", "not before its time");
    assert_eq!(world.pass(2_200 * MS), "UPDATE");
    answer(&mut world, 200, &AGAIN);
    assert_eq!(world.pass(seconds(40)), "");
}

#[test]
fn d17_too_small_an_interval_is_refused_in_and_outside_the_dialog() {
    let mut world = call("");
    assert_eq!(expires(&world.sent[0].message), None, "nobody asked");
    let small = "Supported: timer\nSession-Expires: 60\n";
    world.datagram(0, &request("INVITE", "d", 1, "x", small));
    assert_eq!(world.pass(100 * MS), "422 INVITE");
    assert_eq!(newest(&world).header(HeaderName::MinSe), Some("90"));
    let tag = format!("To-tag: {}\n", world.sent[0].message.to_tag().unwrap());
    let small = format!("{tag}{small}");
    world.datagram(0, &request("UPDATE", "c", 2, "y", &small));
    assert_eq!(world.pass(100 * MS), "422 UPDATE");
    // Nothing of it counts: the dialog has no timer.
    assert_eq!(world.pass(seconds(200)), "");
}

#[test]
fn u5_an_unknown_extension_is_refused_inside_a_dialog_too() {
    let mut world = call("");
    let extra = format!("{}Require: timer, foo\n", tag(&world));
    world.datagram(0, &request("INFO", "c", 2, "r", &extra));
    assert_eq!(world.pass(100 * MS), "420 INFO");
    assert_eq!(newest(&world).header(HeaderName::Unsupported), Some("foo"));
}
