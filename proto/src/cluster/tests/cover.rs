//! What `gauges` says of calls that would be lost with this member (PROTOCOL.md rule 25).

use super::world::{MS, World};
use crate::base::ids::CallId;
use crate::base::time::Instant;
use crate::cluster::Sabotage;
use crate::cluster::policy::{AckPolicy, AlonePolicy, Replication};

const KEY: CallId = CallId {
    position: 0x1234_5678_9abc_def0,
    nonce: 7,
};

/// One answered call at node 0 of so many, settled; and a replica of it.
fn settled(nodes: usize, copies: usize) -> (World, usize) {
    let policy = Replication {
        copies,
        ack: AckPolicy::One,
        silence: MS * 50,
        alone: AlonePolicy::Serve,
        ..Replication::default()
    };
    let mut world = World::new(nodes, policy, 1, Sabotage::default());
    world.birth(0, KEY, 1);
    assert!(world.run_until(MS * 300, |world| world.is_settled(KEY)));
    let replica = world.replicas(KEY)[0];
    (world, replica)
}

fn uncovered(world: &mut World, nth: usize) -> u64 {
    world.cluster(nth).gauges().uncovered
}

/// Goal: a call counts as uncovered exactly while no other present member has its latest version.
/// Method: the only replica stands still, comes back, and then outlives the owner.
#[test]
fn a_call_is_uncovered_while_nobody_else_has_it() {
    let (mut world, replica) = settled(2, 2);
    assert_eq!(uncovered(&mut world, 0), 0);
    assert_eq!(uncovered(&mut world, replica), 0);

    world.pause(replica, MS * 1_000);
    let seen = |world: &World| {
        let cluster = world.nodes[0].cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.gauges().uncovered == 1)
    };
    assert!(world.run_until(MS * 500, seen), "{}", world.story(None));
    let back = |world: &World| {
        let cluster = world.nodes[0].cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.gauges().uncovered == 0)
    };
    assert!(world.run_until(MS * 2_000, back), "{}", world.story(None));

    world.crash(0, MS * 50);
    world.run_for(MS * 500);
    assert_eq!(uncovered(&mut world, replica), 1);
}

/// Goal: with a second copy elsewhere, neither the owner's nor a replica's end would lose anything.
#[test]
fn a_second_copy_covers_an_orphan() {
    let (mut world, replica) = settled(3, 3);
    world.crash(0, MS * 50);
    world.run_for(MS * 500);
    assert_eq!(uncovered(&mut world, replica), 0);
}

/// Goal: a call that nobody has answered is nobody's promise: it is counted apart.
#[test]
fn a_call_in_set_up_is_not_uncovered() {
    let (mut world, _) = settled(2, 2);
    let other = CallId { nonce: 8, ..KEY };
    let cluster = world.cluster(0);
    cluster.born(other, Instant::START);
    let gauges = cluster.gauges();
    assert_eq!((gauges.owned, gauges.in_setup, gauges.uncovered), (2, 1, 0));
}
