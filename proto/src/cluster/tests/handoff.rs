//! Rules 16, 17 and 19 and the majority, played by hand: calls that change hands while nobody asks.

use super::rules::{KEY, bring, bystander, clean, told, with_call};
use super::world::{END, MS, World};
use crate::base::ids::CallId;
use crate::base::time::Duration;
use crate::cluster::policy::AckPolicy;

/// Rule 16: a draining owner invites its heir, who claims with everybody's promise; the next
/// message finds it there, wherever it arrives.
#[test]
fn rule_16_a_draining_owner_hands_over() {
    for (copies, ack) in [
        (2, AckPolicy::One),
        (3, AckPolicy::One),
        (3, AckPolicy::All),
    ] {
        let (mut world, replicas) = with_call(4, copies, ack);
        world.drain_node(0, true);
        assert!(
            world.run_until(MS * 300, |world| world.owners(KEY) == [replicas[0]]),
            "{copies} {ack:?}: {}",
            world.story(None)
        );
        bring(&mut world, 0, 2);
        assert!(told(&mut world, 2, 50), "{}", world.story(None));
        assert_eq!(world.owners(KEY), [replicas[0]]);
        // It holds no copy either, and somebody else does.
        assert!(
            world.run_until(MS * 3_000, |world| {
                !world.replicas(KEY).contains(&0) && world.is_settled(KEY)
            }),
            "{}",
            world.describe(KEY)
        );
        assert_eq!(world.cluster(0).gauges().owned, 0);
        clean(&world);
    }
}

/// Rule 16: an invitation that comes to nothing costs nothing; the owner goes on.
#[test]
fn rule_16_an_unanswered_invitation_changes_nothing() {
    let (mut world, replicas) = with_call(3, 2, AckPolicy::One);
    let heir = replicas[0];
    world.pause(heir, MS * 30);
    world.drain_node(0, true);
    world.run_for(MS * 10);
    assert_eq!(world.owners(KEY), [0]);
    world.drain_node(0, false);
    bring(&mut world, 0, 2);
    assert!(told(&mut world, 2, 100), "{}", world.story(None));
    clean(&world);
}

/// Rule 16: a claim that nobody invited is refused by the owner, invited or not before.
#[test]
fn rule_16_only_the_invited_may_claim() {
    let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
    world.claim(replicas[1], KEY);
    world.run_for(MS * 300);
    assert_eq!(world.owners(KEY), [0]);
    clean(&world);
}

/// Rule 15, beforehand: an owner rises above claims made in vain, however often they are made.
#[test]
fn rule_15_claims_again_and_again_are_outbid() {
    let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
    let mut risen = false;
    for _ in 0..40 {
        world.claim(replicas[1], KEY);
        world.run_for(MS * 20);
        // Of two claims that cross either may win.
        risen |= (0..4).any(|nth| {
            let owned = world.cluster(nth).owned(KEY);
            owned.is_some_and(|owned| owned.record.ballot.epoch > 1)
        });
    }
    assert!(risen, "{}", world.story(None));
    assert!(world.run_until(MS * 2_000, |world| world.is_settled(KEY)));
    clean(&world);
}

/// Rule 19: what a member owned that is gone is adopted by its heirs without anybody asking, once.
#[test]
fn rule_19_orphans_are_adopted() {
    for copies in [2, 3] {
        let (mut world, replicas) = with_call(4, copies, AckPolicy::One);
        world.crash(0, MS * 300);
        assert!(
            world.run_until(MS * 2_000, |world| world.owners(KEY) == [replicas[0]]),
            "{}",
            world.story(None)
        );
        assert!(world.run_until(MS * 2_000, |world| world.is_settled(KEY)));
        clean(&world);
    }
}

/// Rule 19: a new life proves the old one over: adoption does not wait for `Down`.
#[test]
fn rule_19_a_restart_frees_the_old_calls() {
    let (mut world, replicas) = with_call(4, 2, AckPolicy::One);
    world.crash(0, Duration::from_secs(60));
    world.run_for(MS * 100);
    world.start(0, MS * 20);
    let heir = replicas[0];
    assert!(
        world.run_until(MS * 1_000, |world| world.owners(KEY) == [heir]),
        "{}",
        world.story(None)
    );
    clean(&world);
}

/// The majority rule: whoever is cut off with fewer than half of the last settled view adopts
/// nothing by itself, though its members say `Down` of all others; the other side does.
#[test]
fn a_minority_adopts_nothing() {
    let (mut world, replicas) = with_call(5, 2, AckPolicy::One);
    let heir = replicas[0];
    let lonely: Vec<usize> = vec![heir];
    world.separate(&lonely, Duration::from_secs(20));
    world.declare_down(&lonely);
    world.run_for(MS * 4_000);
    assert_eq!(world.owners(KEY), [0], "{}", world.story(None));
    clean(&world);
}

/// Half of the cluster is gone for good, the owner among them: nobody adopts, and says why, until
/// another member is started in the place of the lost ones.
#[test]
fn a_lost_half_is_made_up_for_by_a_newcomer() {
    let (mut world, replicas) = with_call(5, 2, AckPolicy::One);
    let spare = bystander(&world, &replicas);
    world.crash(spare, MS * 100);
    world.run_for(MS * 2_000);
    let heir = replicas[0];
    let other = (1..5).find(|nth| *nth != spare && *nth != heir);
    world.crash(other.expect("five nodes"), MS * 100);
    world.crash(0, MS * 100);
    world.run_for(MS * 10_000);
    assert!(world.owners(KEY).is_empty(), "{}", world.story(None));
    assert!(world.cluster(heir).is_in_minority());
    world.start(spare, MS * 20);
    world.run_for(MS * 5_000);
    assert_eq!(world.owners(KEY), [heir], "{}", world.story(None));
    assert!(!world.cluster(heir).is_in_minority());
    clean(&world);
}

/// Rule 21: a copy that got lost, by whatever fault of ours, is noticed and made again; one that
/// should have gone is let go; and nothing else changes.
#[test]
fn rule_21_digests_mend_what_is_amiss() {
    let (mut world, replicas) = with_call(4, 2, AckPolicy::One);
    let (holder, at) = (replicas[0], bystander(&world, &replicas));
    world.run_for(Duration::from_secs(70));
    let version = world
        .cluster(0)
        .record(KEY)
        .map(|(record, _)| record.version);
    let copy = world
        .cluster(holder)
        .record(KEY)
        .map(|(record, _)| record.clone());
    let copy = copy.expect("a copy");
    assert_eq!(world.cluster(0).stats().gaps, 0);
    world.cluster(holder).entries.remove(&KEY);
    world.restore(at, copy);
    world.run_for(Duration::from_secs(70));
    let has = |world: &mut World, nth| world.cluster(nth).record(KEY).is_some();
    assert!(has(&mut world, holder), "made again");
    assert!(!has(&mut world, at), "let go");
    assert_eq!(world.cluster(0).stats().gaps, 1);
    let after = world
        .cluster(0)
        .record(KEY)
        .map(|(record, _)| record.version);
    assert_eq!((world.owners(KEY), after), (vec![0], version));
    clean(&world);
}

/// Rule 13: a copy left behind by changes it never heard of, of a call that has ended and was
/// purged: whoever purged it says so, listed there or not, and it does not rise.
#[test]
fn rule_13_a_purged_end_stays_ended() {
    let (mut world, replicas) = with_call(4, 2, AckPolicy::One);
    let at = bystander(&world, &replicas);
    let copy = world
        .cluster(replicas[0])
        .record(KEY)
        .map(|(record, _)| record.clone());
    let mut copy = copy.expect("a copy");
    copy.members = std::iter::once(world.nodes[at].member).collect();
    bring(&mut world, 0, END | 2);
    assert!(told(&mut world, END | 2, 50), "{}", world.story(None));
    world.run_for(Duration::from_secs(80));
    assert_eq!(world.holders(KEY), 0, "{}", world.describe(KEY));
    world.restore(at, copy);
    world.crash(0, MS * 100);
    world.run_for(Duration::from_secs(5));
    assert!(world.owners(KEY).is_empty(), "{}", world.story(None));
    assert_eq!(world.holders(KEY), 0, "{}", world.describe(KEY));
}

/// Rule 22: both sides of a partition serve; the one whose ballot loses has told a phone of the
/// end; the winner hears of it.
#[test]
fn rule_22_an_end_is_not_lost_at_heal() {
    let (mut world, replicas) = with_call(4, 2, AckPolicy::One);
    let heir = replicas[0];
    world.separate(&[0], Duration::from_secs(3));
    world.run_for(MS * 200);
    bring(&mut world, heir, 2);
    assert!(told(&mut world, 2, 500), "{}", world.story(None));
    bring(&mut world, 0, END | 3);
    assert!(told(&mut world, END | 3, 500), "{}", world.story(None));
    assert_eq!(world.owners(KEY).len(), 2, "both sides serve");
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.owners(KEY), [heir]);
    assert_eq!(
        world.ended_elsewhere,
        [(KEY, heir)],
        "{}",
        world.story(None)
    );
}

/// Births over the first nodes, spread over the ring.
fn births(world: &mut World, calls: u64, nodes: usize) -> Vec<CallId> {
    let spread = (0..calls).map(|nth| CallId {
        position: nth.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        nonce: nth,
    });
    let keys: Vec<CallId> = spread.collect();
    for (nth, (key, step)) in keys.iter().zip(100..).enumerate() {
        world.birth(nth % nodes, *key, step);
        world.run_for(MS);
    }
    world.run_for(MS * 100);
    keys
}

/// Rule 17: when a member joins, copies move to it where the ring wants them, no others, and
/// nothing that is told waits for that.
#[test]
fn rule_17_a_joining_member_gets_its_share() {
    let (mut world, _) = with_call(5, 2, AckPolicy::One);
    world.crash(4, MS * 100);
    world.run_for(MS * 1_500);
    let keys = births(&mut world, 200, 1);
    let before: Vec<Vec<usize>> = keys.iter().map(|key| world.replicas(*key)).collect();
    world.start(4, MS * 20);
    for _ in 0..20 {
        // Views that move nothing come all the time.
        world.renew_views();
        world.run_for(MS * 300);
    }
    let after: Vec<Vec<usize>> = keys.iter().map(|key| world.replicas(*key)).collect();
    let moved = before.iter().zip(&after).filter(|(old, new)| old != new);
    assert!(moved.clone().all(|(_, new)| new == &[4]));
    let moved = moved.count();
    // One of four candidates: a quarter, 50; the ring's spread is within a fifth.
    assert!((30..=60).contains(&moved), "{moved} of 200 moved");
    assert!(keys.iter().all(|key| world.is_settled(*key)));
    clean(&world);
}

/// Rule 16: a member that comes again gets calls back, about its share, from those that own more
/// than theirs; each call keeps one owner.
#[test]
fn rule_16_calls_are_given_back() {
    let (mut world, _) = with_call(5, 2, AckPolicy::One);
    world.crash(4, MS * 100);
    world.run_for(MS * 1_500);
    let keys = births(&mut world, 400, 4);
    world.start(4, MS * 20);
    for _ in 0..40 {
        world.tell_loads();
        world.run_for(MS * 300);
    }
    let owners: Vec<Vec<usize>> = keys.iter().map(|key| world.owners(*key)).collect();
    let of = |nth: usize| owners.iter().filter(|one| **one == [nth]).count();
    // A fifth of 400 is 80; what it holds no copy of stays.
    assert!((50..=80).contains(&of(4)), "{} owned", of(4));
    assert!((0..4).all(|nth| of(nth) >= 70), "{owners:?}");
    assert!(keys.iter().all(|key| world.is_settled(*key)));
    clean(&world);
}

/// Rule 17: an heir lists whoever it heard of, which may be more than are asked for. One of them
/// that is gone, and has left enough behind, is named no longer: nobody waits for it again.
#[test]
fn rule_17_a_gone_member_that_nobody_misses_is_listed_no_more() {
    let (mut world, replicas) = with_call(5, 3, AckPolicy::One);
    let spare = bystander(&world, &replicas);
    let members = [replicas[0], replicas[1], spare].map(|nth| world.cluster(nth).me);
    let now = world.node_now(0);
    world.cluster(0).change_members(KEY, members.into(), now);
    world.drain(0);
    world.run_for(MS * 200);
    assert_eq!(world.replicas(KEY).len(), 3, "{}", world.describe(KEY));
    world.crash(replicas[0], Duration::from_secs(1));
    let left = |world: &World| {
        let mut left = world.replicas(KEY);
        left.sort_unstable();
        left
    };
    let mut wanted = [replicas[1], spare];
    wanted.sort_unstable();
    assert!(
        world.run_until(MS * 5_000, |world| left(world) == wanted),
        "{}",
        world.describe(KEY)
    );
    world.run_for(MS * 200);
    assert!(world.is_settled(KEY), "{}", world.describe(KEY));
    clean(&world);
}
