//! Goal: a node that has just started, and knows that others are there, serves no phone before it
//! can ask them what its earlier life told. Method: one shard, given its view and links by hand.

use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::time::Instant;
use callring_proto::cluster::policy::Replication;
use callring_proto::cluster::view::{MemberInfo, MemberState, Metadata, View};
use callring_proto::io::{Input, Output};
use callring_proto::shard::{Scope, Shard, ShardConfig};
use callring_proto::wire;

use super::world::{MS, PHONE, SECOND, address, config, member, request};

const NOW: Instant = Instant::from_nanos(5_000_000_000);

fn info(index: usize, state: MemberState) -> MemberInfo {
    MemberInfo {
        id: member(index),
        name: format!("n{index}").into(),
        state,
        cluster_addr: "192.0.2.1:7060".parse().unwrap(),
        meta: Metadata::default(),
        known: true,
    }
}

fn newcomer() -> Shard {
    Shard::new(ShardConfig {
        joined_by: Some(NOW + 2 * SECOND),
        ..config(0, Scope::Node, &[], &Replication::default())
    })
}

fn view(others: &[(usize, MemberState)]) -> Input {
    let mut members = vec![info(0, MemberState::Alive)];
    members.extend(others.iter().map(|(index, state)| info(*index, *state)));
    Input::View(View::new(2, member(0), members).into())
}

fn link(index: usize) -> Input {
    Input::LinkUp {
        member: member(index),
        session: 1,
        shards: 1,
        wire: wire::VERSION,
    }
}

/// Whether anything comes of an INVITE, for a phone or for another member.
fn serves(shard: &mut Shard, now: Instant) -> bool {
    let call = format!("c{}", now.since(NOW).as_millis());
    let text = request("INVITE", &call, 1, &call, "");
    let flow = Flow {
        transport: Transport::Udp,
        ingress: member(0).node,
        listener: 0,
        remote: PHONE.parse().unwrap(),
        advertise: address(0).into(),
    };
    let bytes = text.replace('\n', "\r\n").into();
    while shard.poll_output(now).is_some() {}
    shard.handle(now, Input::Sip { flow, bytes });
    let outputs = std::iter::from_fn(|| shard.poll_output(now));
    outputs
        .filter(|output| matches!(output, Output::Sip { .. } | Output::Frame { .. }))
        .count()
        > 0
}

#[test]
fn sip_is_left_to_be_repeated_until_everybody_alive_is_linked() {
    use MemberState::{Alive, Down};
    let mut shard = newcomer();
    assert!(!serves(&mut shard, NOW), "nobody is known yet");
    shard.handle(NOW, view(&[(1, Alive), (2, Alive), (3, Down)]));
    assert!(!serves(&mut shard, NOW), "nobody is linked yet");
    shard.handle(NOW, link(1));
    assert!(!serves(&mut shard, NOW + 100 * MS), "one is not linked yet");
    shard.handle(NOW, link(2));
    assert!(serves(&mut shard, NOW + 200 * MS));
}

#[test]
fn nobody_is_waited_for_for_ever() {
    let mut shard = newcomer();
    let end = NOW + 2 * SECOND;
    assert!(!serves(&mut shard, end - MS));
    assert!(serves(&mut shard, end));
}

#[test]
fn a_member_that_joins_later_is_not_waited_for() {
    let mut shard = newcomer();
    shard.handle(NOW, view(&[(1, MemberState::Alive)]));
    shard.handle(NOW, link(1));
    assert!(serves(&mut shard, NOW));
    let both = [(1, MemberState::Alive), (2, MemberState::Alive)];
    shard.handle(NOW, view(&both));
    assert!(serves(&mut shard, NOW + MS));
}

#[test]
fn where_nobody_is_known_nobody_is_waited_for() {
    let mut shard = Shard::new(config(0, Scope::Node, &[], &Replication::default()));
    assert!(serves(&mut shard, NOW));
}
