//! Membership in a small simulated network. One seed is one run.

mod net;

use std::hash::Hasher as _;

use self::net::{Net, name, secs};
use super::outbox::{KIND_LEAVING, datagram};
use super::*;

/// Five nodes meet through one seed, which starts last or first; a node alone has its own view.
#[test]
fn five_meet_through_one_seed() {
    for seed in 0..20 {
        let mut net = Net::new(5, MembershipConfig::lan(), seed);
        net.converges_within(secs(5));
        let mut net = Net::new(5, MembershipConfig::lan(), seed);
        net.crash(0);
        net.wire.clear();
        net.run_for(secs(20));
        assert_eq!(net.view(1).live().count(), 1);
        net.start(0, 1);
        net.converges_within(secs(5));
        assert_eq!((net.gone_seen(), net.faults()), (0, 0));
    }
}

/// After a crash, everybody sees Down within the bound of the preset, and not before five probe
/// periods are over.
#[test]
fn a_crash_is_seen_within_bounds() {
    for (config, least, most) in [
        (MembershipConfig::lan(), secs(5), secs(8)),
        (
            MembershipConfig::local(),
            Duration::from_millis(1_500),
            Duration::from_millis(2_900),
        ),
    ] {
        for seed in 0..20 {
            let mut net = Net::joined(5, config, seed);
            let (crashed, victim) = (net.now, net.view(3).me);
            net.crash(3);
            net.run_for(most);
            assert!(net.converged(), "{:#?}", net.picture());
            for nth in net.running() {
                let [(at, id, MemberState::Down)] = net.nodes[nth].gone[..] else {
                    panic!()
                };
                assert!(id == victim && at.since(crashed) >= least);
                assert!(net.view(nth).is_gone(victim));
            }
            assert_eq!(net.faults(), 0);
        }
    }
}

/// A node that restarts, before or after it was found Down, is a new member; the old one is gone.
#[test]
fn a_restart_is_a_new_member() {
    for (seed, away) in (0..20).zip([0, 3, 20, 60].into_iter().cycle()) {
        let mut net = Net::joined(5, MembershipConfig::lan(), seed);
        let old = net.view(2).me;
        net.crash(2);
        net.run_for(secs(away));
        let number = net.nodes[1]
            .membership
            .as_ref()
            .unwrap()
            .highest_incarnation(&name(2));
        assert_eq!(number, 1);
        net.start(2, number + 1);
        net.converges_within(secs(15));
        for nth in net.running() {
            assert!(net.view(nth).is_gone(old) && !net.view(nth).is_live(old));
            assert_eq!(
                net.view(nth).node(old.node).unwrap().id.incarnation.number,
                2
            );
        }
        assert_eq!((net.faults(), net.nodes[2].renamed), (0, 0));
    }
}

/// A node that restarts with a number that is too low takes a higher one by itself.
#[test]
fn a_low_number_is_raised() {
    for seed in 0..20 {
        let mut net = Net::joined(4, MembershipConfig::lan(), seed);
        net.crash(2);
        net.start(2, 9);
        net.converges_within(secs(15));
        net.crash(2);
        net.run_for(secs(u64::from(seed)));
        net.start(2, 1);
        net.converges_within(secs(20));
        assert!(
            net.view(0)
                .node(NodeId::of(&name(2)))
                .unwrap()
                .id
                .incarnation
                .number
                >= 9
        );
        assert_eq!(net.faults(), 0);
    }
}

/// A partition that lasts until each side took the other for Down heals by itself, for sides of
/// every size, also when nobody is left at one's side.
#[test]
fn a_healed_partition_merges_again() {
    for sides in [
        vec![0, 1],
        vec![0, 0, 1],
        vec![0, 0, 0, 1, 1],
        vec![0, 1, 2, 2, 1],
    ] {
        for seed in 0..10 {
            let mut net = Net::joined(sides.len(), MembershipConfig::lan(), seed);
            let others = |net: &Net, nth: usize| net.view(nth).live().count() - 1;
            net.sides.clone_from(&sides);
            net.run_for(secs(40));
            for (nth, side) in sides.iter().enumerate() {
                let beside = sides.iter().filter(|&other| other == side).count() - 1;
                assert_eq!(others(&net, nth), beside, "{sides:?} {:#?}", net.picture());
            }
            net.sides.fill(0);
            net.converges_within(secs(60));
            assert!(net.renamed() > 0 && net.faults() == 0);
        }
    }
}

/// Two nodes that are each alone, their seed gone for good, find each other again.
#[test]
fn a_partition_heals_without_the_seed() {
    for seed in 0..10 {
        let mut net = Net::joined(3, MembershipConfig::lan(), seed);
        net.crash(0);
        net.run_for(secs(20));
        net.sides = vec![0, 1, 2];
        net.run_for(secs(20));
        assert_eq!(
            (net.view(1).live().count(), net.view(2).live().count()),
            (1, 1)
        );
        net.sides.fill(0);
        net.converges_within(secs(20));
        assert_eq!(net.faults(), 0);
    }
}

/// One datagram in ten lost, for two minutes: nobody is taken for Down or takes a new number. Three in ten: mistakes may
/// happen and mend themselves.
#[test]
fn loss_makes_nobody_down() {
    for seed in 0..10 {
        let mut net = Net::joined(5, MembershipConfig::lan(), seed);
        net.loss_percent = 10;
        net.run_for(secs(120));
        assert_eq!(
            (net.gone_seen(), net.renamed(), net.faults()),
            (0, 0, 0),
            "seed {seed}"
        );
        net.loss_percent = 30;
        net.run_for(secs(120));
        net.loss_percent = 0;
        net.converges_within(secs(40));
    }
}

/// A pause of two seconds is survived. One that is too long makes the sleeper Down, but it does
/// not take the others for Down when it wakes up.
#[test]
fn pauses() {
    for seed in 0..20 {
        let mut net = Net::joined(5, MembershipConfig::lan(), seed);
        net.nodes[4].paused_until = net.now + secs(2);
        net.run_for(secs(30));
        assert!(net.converged(), "{:#?}", net.picture());
        assert_eq!((net.gone_seen(), net.renamed()), (0, 0), "seed {seed}");
        let sleeper = net.view(4).me;
        net.nodes[4].paused_until = net.now + secs(20);
        net.converges_within(secs(60));
        net.run_for(secs(60));
        let gone = net.nodes.iter().flat_map(|node| &node.gone);
        assert!(gone.clone().count() > 0 && gone.clone().all(|&(_, id, _)| id == sleeper));
        assert!(net.converged(), "{:#?}", net.picture());
        assert_eq!(
            (net.renamed(), net.nodes[4].renamed, net.faults()),
            (1, 1, 0),
            "seed {seed}"
        );
    }
}

/// A node that suspects another and then stands still does not take its own sleep for the other's
/// silence.
#[test]
fn a_sleeper_gives_suspects_their_time() {
    for seed in 0..20 {
        let mut net = Net::joined(5, MembershipConfig::lan(), seed);
        let suspect = net.view(3).me;
        net.nodes[3].paused_until = net.now + secs(4);
        while net.view(4).member(suspect).unwrap().state != MemberState::Suspect {
            net.run_for(Duration::from_millis(10));
        }
        net.nodes[4].paused_until = net.now + secs(15);
        net.run_for(secs(60));
        let gone = net.nodes.iter().flat_map(|node| &node.gone);
        assert!(gone.clone().all(|&(_, id, _)| id != suspect), "seed {seed}");
        assert!(net.converged() && net.faults() == 0);
    }
}

/// While the fabric hears a member, a suspicion of it stays one; when the fabric falls silent too,
/// it is Down.
#[test]
fn what_the_fabric_hears_is_not_down() {
    let mut net = Net::joined(3, MembershipConfig::lan(), 1);
    let victim = net.view(2).me;
    net.crash(2);
    for _ in 0..60 {
        for nth in 0..2 {
            net.with(nth, |membership, now| {
                membership.set_heard(victim.node, now);
            });
        }
        net.run_for(Duration::from_millis(500));
    }
    let state = |net: &Net| net.view(0).member(victim).unwrap().state;
    assert_eq!((state(&net), net.gone_seen()), (MemberState::Suspect, 0));
    let alarms = net.nodes[0].membership.as_ref().unwrap().alarms.len();
    assert!(alarms < 20, "{alarms} alarms pile up");
    net.run_for(secs(4));
    assert_eq!((state(&net), net.gone_seen()), (MemberState::Down, 2));
}

/// Who leaves is Left at once, sends nothing more, and may come back in a new life.
#[test]
fn a_good_bye_is_told_from_a_death() {
    for seed in 0..10 {
        let mut net = Net::joined(5, MembershipConfig::lan(), seed);
        let leaver = net.view(3).me;
        net.with(3, Membership::leave);
        assert_eq!(net.view(3).member(leaver).unwrap().state, MemberState::Left);
        net.run_for(Duration::from_millis(100));
        for nth in 0..5 {
            assert_eq!(
                net.view(nth).member(leaver).unwrap().state,
                MemberState::Left
            );
        }
        net.run_for(secs(30));
        let silent = net.nodes[3].membership.as_ref().unwrap();
        assert_eq!((silent.next_deadline(), net.nodes[3].renamed), (None, 0));
        net.start(3, 2);
        net.converges_within(secs(15));
        assert_eq!(net.faults(), 0);
    }
}

/// Nobody speaks for another node, and noise changes nothing.
#[test]
fn only_the_certificate_says_who_speaks() {
    let mut net = Net::joined(3, MembershipConfig::lan(), 1);
    let victim = net.nodes[1].membership.as_ref().unwrap().identity().clone();
    let leaving = datagram(KIND_LEAVING, &postcard::to_stdvec(&victim).unwrap());
    let noise = [
        &b""[..],
        b"\x01",
        b"\x02",
        b"\x09later",
        &[1; 2_000],
        &leaving,
    ];
    for bytes in noise {
        net.with(0, |membership, now| {
            membership.handle_gossip(NodeId::of(&name(2)), bytes, now);
        });
    }
    let counts = net.nodes[0].membership.as_ref().unwrap().counts();
    assert_eq!(counts.refused, u64::try_from(noise.len()).unwrap());
    assert!(net.converged() && counts.faults == 0);
}

/// Metadata reaches the view, its own included, and makes members candidates for copies.
#[test]
fn metadata_makes_candidates() {
    let mut net = Net::joined(3, MembershipConfig::lan(), 1);
    let me = net.view(0).me;
    let candidates = |net: &Net| net.view(0).replicas(7, 9, |_| false, me).len();
    assert_eq!((candidates(&net), net.view(0).holders(7, 9).len()), (0, 0));
    for nth in 0..3 {
        let member = net.view(nth).me;
        let epoch = net.view(0).epoch;
        net.with(0, |membership, _| {
            membership.set_metadata(member, Metadata::default());
        });
        assert_eq!(net.view(0).epoch, epoch + 1);
    }
    assert_eq!((candidates(&net), net.view(0).holders(7, 9).len()), (2, 3));
}

/// Forty nodes: more than one message can name.
#[test]
fn forty_nodes_meet() {
    let mut net = Net::new(40, MembershipConfig::local(), 3);
    net.converges_within(secs(15));
    assert_eq!((net.gone_seen(), net.faults()), (0, 0));
}

/// The same seed is the same run, to the byte; another seed is another.
#[test]
fn a_seed_is_a_run() {
    let run = |seed| {
        let mut net = Net::new(5, MembershipConfig::lan(), seed);
        net.loss_percent = 20;
        net.run_for(secs(20));
        net.crash(1);
        net.run_for(secs(20));
        net.start(1, 2);
        net.run_for(secs(20));
        net.trace.finish()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

/// The shell may run membership on a thread of its choice.
#[test]
fn it_can_move_to_another_thread() {
    fn movable<T: Send>() {}
    movable::<Membership>();
    movable::<MembershipEffect>();
}
