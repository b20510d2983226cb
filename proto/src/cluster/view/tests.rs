//! Goal: every answer of a view, over members in every state. Method: eight members in three zones,
//! changed one by one.

use super::*;
use crate::base::ids::Incarnation;

fn id(node: u64, number: u32) -> MemberId {
    MemberId {
        node: NodeId(node),
        incarnation: Incarnation { number, boot: 7 },
    }
}

fn member(node: u64, zone: &str) -> MemberInfo {
    MemberInfo {
        id: id(node, 2),
        name: format!("node{node}").into(),
        state: MemberState::Alive,
        cluster_addr: SocketAddr::from(([10, 0, 0, 1], 7000)),
        meta: Metadata {
            zone: zone.into(),
            ..Metadata::default()
        },
        known: true,
    }
}

/// Eight members in three zones, node ids 1 to 8, changed by `change`.
fn view(change: impl Fn(u64, &mut MemberInfo)) -> View {
    let members = (1..=8).map(|node| {
        let mut member = member(node, ["a", "b", "c"][usize::try_from(node % 3).unwrap()]);
        change(node, &mut member);
        member
    });
    View::new(1, id(1, 2), members.collect())
}

fn positions() -> impl Iterator<Item = u64> {
    (0..500_u64).map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Who is live and who is gone: every state, and lives before and after the known one.
#[test]
fn live_and_gone_by_exact_incarnation() {
    for (state, live) in [
        (MemberState::Alive, true),
        (MemberState::Suspect, true),
        (MemberState::Down, false),
        (MemberState::Left, false),
    ] {
        let view = view(|node, member| {
            if node == 3 {
                member.state = state;
            }
        });
        assert_eq!(
            (view.is_live(id(3, 2)), view.is_gone(id(3, 2))),
            (live, !live)
        );
        assert_eq!(
            (view.is_live(id(3, 1)), view.is_gone(id(3, 1))),
            (false, true)
        );
        assert_eq!(
            (view.is_live(id(3, 3)), view.is_gone(id(3, 3))),
            (false, false)
        );
        assert_eq!(
            (view.is_live(id(9, 1)), view.is_gone(id(9, 1))),
            (false, false)
        );
        assert_eq!(view.by_hint(3), live.then(|| id(3, 2)));
        assert_eq!(view.live().count(), if live { 8 } else { 7 });
    }
}

/// Names: of a member, of a node that fell out of the members, of one never heard of.
#[test]
fn every_node_has_a_name() {
    let gone = BTreeMap::from([(NodeId(99), Arc::from("gone"))]);
    let view = view(|_, _| ()).with_names(Arc::new(gone));
    assert_eq!(&*view.name(NodeId(3)), "node3");
    assert_eq!(&*view.name(NodeId(99)), "gone");
    assert_eq!(&*view.name(NodeId(0xab)), "node-00000000000000ab");
}

/// Of two lives of a node, in either order, the view keeps the newer.
#[test]
fn one_entry_per_node() {
    let old = MemberInfo {
        id: id(1, 1),
        ..member(1, "a")
    };
    for members in [vec![old.clone(), member(1, "a")], vec![member(1, "a"), old]] {
        let view = View::new(1, id(1, 2), members);
        assert_eq!(
            view.members().iter().map(|m| m.id).collect::<Vec<_>>(),
            [id(1, 2)]
        );
    }
}

/// Replicas lie in other zones than the owner's and each other's; never with the owner, with
/// those to avoid, nor with members that take no copies. More than there are: all of them, and
/// the draining ones after them.
#[test]
fn replicas_spread_over_zones() {
    type Change = fn(&mut MemberInfo);
    let refusing: [(&str, Change); 6] = [
        ("nothing", |_| ()),
        ("draining", |member| member.meta.draining = true),
        ("edge", |member| member.meta.role = Role::Edge),
        ("weight 0", |member| member.meta.weight = 0),
        ("unknown", |member| member.known = false),
        ("down", |member| member.state = MemberState::Down),
    ];
    for (why, change) in refusing {
        let view = view(|node, member| {
            if node == 5 {
                change(member);
            }
        });
        let owner = view.node(NodeId(1)).unwrap();
        for at in positions() {
            let two = view.replicas(at, 2, |id| id.node == NodeId(2), owner.id);
            let zones: Vec<_> = two.iter().map(|&id| view.member(id).unwrap()).collect();
            assert_eq!(zones.len(), 2);
            assert_ne!(zones[0].meta.zone, zones[1].meta.zone, "{why}");
            assert!(
                zones.iter().all(|m| m.meta.zone != owner.meta.zone),
                "{why}"
            );
            let all = view.replicas(at, 20, |id| id.node == NodeId(2), owner.id);
            // A draining one is the last resort.
            let last = all.last() == Some(&id(5, 2));
            let expected = match why {
                "nothing" => all.contains(&id(5, 2)) && all.len() == 6,
                "draining" => last && all.len() == 6 && !two.contains(&id(5, 2)),
                _ => all.len() == 5,
            };
            assert!(expected, "{why}: {all:?}");
            let barred = [NodeId(1), NodeId(2)];
            assert!(all.iter().all(|id| !barred.contains(&id.node)), "{why}");
        }
    }
}

/// Whoever asks need not know the owner: the first replica proposed to any owner is a holder.
/// A draining member is asked as well, and pushes nobody out.
#[test]
fn holders_contain_any_owners_first_replica() {
    let view = view(|node, member| member.meta.draining = node == 4);
    let mut drained = 0;
    for at in positions() {
        for copies in 2..=4 {
            let holders = view.holders(at, copies);
            let distinct: std::collections::BTreeSet<_> = holders.iter().collect();
            assert_eq!(distinct.len(), holders.len());
            for owner in view.live() {
                let replicas = view.replicas(at, copies - 1, |_| false, owner.id);
                assert!(holders.contains(&replicas[0]), "{at:x} of {:?}", owner.id);
            }
            drained += usize::from(holders.contains(&id(4, 2)));
        }
    }
    assert!(drained > 0);
}

/// A restart changes incarnations, not places.
#[test]
fn a_restart_moves_nothing() {
    let (before, after) = (
        view(|_, _| ()),
        view(|_, member| member.id.incarnation.number += 1),
    );
    for at in positions() {
        let nodes =
            |view: &View| -> Vec<NodeId> { view.holders(at, 3).iter().map(|id| id.node).collect() };
        assert_eq!(nodes(&before), nodes(&after));
    }
}
