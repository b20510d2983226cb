//! Goal: an owner that stood still, and whose call others took over and ended meanwhile, says
//! nothing when it goes on: neither its own BYE nor an answer to what it was brought before.
//! Method: five nodes, an application that hangs up after three seconds; the owner is frozen, an
//! INFO comes to another node; what waited for the owner comes in, by seed, in any order that keeps
//! each sender's, and its timers at any place between.

use std::collections::BTreeMap;

use callring_proto::base::ids::MemberId;
use callring_proto::base::rng::{self, Rng};
use callring_proto::cluster::policy::{AckPolicy, Replication};
use callring_proto::io::Input;
use callring_proto::sip::Method;
use callring_proto::sip::write::ResponseBuilder;
use rand::RngExt as _;

use super::world::{MS, SECOND, World, member, request};

/// Shuffles what has come from different senders; each one's stays in order.
fn shuffle(waiting: &mut Vec<Input>, rng: &mut Rng) {
    let mut senders: BTreeMap<MemberId, Vec<Input>> = BTreeMap::new();
    for input in waiting.drain(..).rev() {
        let from = match &input {
            Input::Frame { from, .. } => *from,
            _ => member(0),
        };
        senders.entry(from).or_default().push(input);
    }
    let mut senders: Vec<Vec<Input>> = senders.into_values().collect();
    while !senders.is_empty() {
        let next = rng.random_range(0..senders.len());
        waiting.extend(senders[next].pop());
        senders.retain(|sender| !sender.is_empty());
    }
}

fn run(seed: u8) {
    let mut rng = rng::from_seed([seed; 32]);
    let replication = Replication {
        copies: 2 + usize::from(seed % 2),
        ack: [AckPolicy::One, AckPolicy::All][usize::from(seed / 2 % 2)],
        ..Replication::default()
    };
    let mut world = World::new(5, &replication, |_, _| {});
    world.datagram(0, &request("INVITE", "c", 1, "i", "X-Hang-Up: 3000\n"));
    world.pass(100 * MS);
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(0, &request("ACK", "c", 1, "ia", &tag));
    world.pass(MS * rng.random_range(1..200));
    let frozen = world.sent.len();
    world.freeze(0);
    let info = request("INFO", "c", 2, "info", &tag);
    world.datagram(rng.random_range(1..5), &info);
    let said = world.pass(MS * rng.random_range(2_500..3_500));
    assert!(said.contains("200 INFO"), "seed {seed}: {said}");
    let bye = world
        .sent
        .iter()
        .position(|one| *one.message.method() == Method::Bye);
    if let Some(bye) = bye.filter(|bye| world.sent[*bye].message.is_request()) {
        let answer = ResponseBuilder::new(&world.sent[bye].message, 200).build();
        world.packet(rng.random_range(1..5), answer.expect("it can be written"));
        world.pass(MS * rng.random_range(0..20));
    }
    let told = world.sent.len();
    let (timers, batch) = (rng.random_range(0..100), rng.random_range(1..64));
    world.thaw(0, (timers, batch), |waiting| shuffle(waiting, &mut rng));
    world.pass(SECOND * 4);
    for one in &world.sent[told..] {
        let name = |one: &callring_proto::sip::Message| {
            (one.status(), one.cseq().number, one.cseq().method.clone())
        };
        let mut before = world.sent[frozen..told].iter();
        let repeats = before.any(|before| name(&before.message) == name(&one.message));
        let first_bye = bye.is_none() && *one.message.method() == Method::Bye;
        assert!(
            repeats || first_bye,
            "seed {seed}: node {} says {} after {told} messages",
            one.node,
            one.line()
        );
    }
}

#[test]
fn an_owner_that_stood_still_says_nothing_of_its_own() {
    (0..=255).for_each(run);
}
