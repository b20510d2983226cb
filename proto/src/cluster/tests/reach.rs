//! Goal: outputs are not given to a member whose shard for the call is silent, whatever is heard of
//! its other shards. Method: one shard, another member with two, by hand.

use std::sync::Arc;

use crate::base::ids::{CallId, Incarnation, MemberId, NodeId};
use crate::base::rng;
use crate::base::time::{Duration, Instant};
use crate::cluster::Cluster;
use crate::cluster::liveness::Peer;
use crate::cluster::policy::Replication;
use crate::cluster::view::{MemberInfo, MemberState, Metadata, View};

fn info(name: &str) -> MemberInfo {
    MemberInfo {
        id: MemberId {
            node: NodeId::of(name),
            incarnation: Incarnation { number: 1, boot: 1 },
        },
        name: name.into(),
        state: MemberState::Alive,
        cluster_addr: "127.0.0.1:7060".parse().unwrap(),
        meta: Metadata {
            shards: 2,
            ..Metadata::default()
        },
        known: true,
    }
}

#[test]
fn a_member_is_no_way_out_when_the_calls_shard_there_is_silent() {
    let (me, other) = (info("n1"), info("n2"));
    let (node, member) = (other.id.node, other.id);
    let view = View::new(1, me.id, vec![me, other]);
    let policy = Replication::default();
    let mut cluster = Cluster::<()>::new(Arc::new(view), 0, policy, rng::from_seed([1; 32]));
    let now = Instant::START;
    cluster.on_link_up(member, 1, 2, now);
    let nonce = 1;
    let mut keys = (0..64).map(|position| CallId {
        position: u64::wrapping_mul(position, 0x9e37_79b9_7f4a_7c15),
        nonce,
    });
    let key = keys.find(|key| key.shard(2) == 1);
    assert!(key.is_some());
    assert_eq!(cluster.reachable(node, key), Some(member));
    while cluster.poll_effect(now).is_some() {}
    for shard in 0..2 {
        cluster.liveness.heard(Peer { member, shard }, now);
    }
    let now = now + Duration::from_millis(300);
    cluster.ask_life(member, key.expect("one of them"), now);
    for step in 1..50 {
        let now = now + Duration::from_millis(10) * step;
        cluster.liveness.heard(Peer { member, shard: 0 }, now);
        cluster.on_timeout(now);
        while cluster.poll_effect(now).is_some() {}
    }
    assert_eq!(cluster.reachable(node, key), None, "nothing was heard");
    let other = cluster.reachable(node, None);
    assert_eq!(other, Some(member), "the other shard was heard");
}
