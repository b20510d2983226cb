//! One test per rule of PROTOCOL.md, by number: the trace that made the rule, played by hand.

use super::judge::Log;
use super::world::{Answer, END, Event, MS, World};
use crate::base::ids::{Ballot, CallId};
use crate::base::time::Duration;
use crate::cluster::Sabotage;
use crate::cluster::entry::Role;
use crate::cluster::policy::{AckPolicy, Replication};
use crate::wire::{Claim, Frame, Promise, PromiseRecord, Release};

pub(super) const KEY: CallId = CallId {
    position: 0x1234_5678_9abc_def0,
    nonce: 7,
};

fn world(nodes: usize, copies: usize, ack: AckPolicy) -> World {
    let policy = Replication {
        copies,
        ack,
        silence: MS * 50,
        ..Replication::default()
    };
    let mut world = World::new(nodes, policy, 1, Sabotage::default());
    world.verbose = true;
    world
}

/// A call with one step told, owned by node 0, and its replicas in the record's order.
pub(super) fn with_call(nodes: usize, copies: usize, ack: AckPolicy) -> (World, Vec<usize>) {
    let mut world = world(nodes, copies, ack);
    world.birth(0, KEY, 1);
    assert!(told(&mut world, 1, 50), "{}", world.story(None));
    let replicas = world.replicas(KEY);
    assert_eq!(replicas.len(), copies - 1);
    world.run_for(MS * 5);
    (world, replicas)
}

/// Whether `step` is answered within so many milliseconds.
pub(super) fn told(world: &mut World, step: u64, within: u32) -> bool {
    let done = |world: &World| world.answers.contains_key(&step);
    world.run_until(MS * within, done)
        && matches!(world.answers.get(&step), Some((Answer::Told, _)))
}

pub(super) fn bring(world: &mut World, at: usize, step: u64) {
    world.event(at, Duration::ZERO, Event::Bring(KEY, step, None));
}

/// A node that is neither owner nor replica.
pub(super) fn bystander(world: &World, replicas: &[usize]) -> usize {
    let mut nodes = 1..world.nodes.len();
    nodes
        .find(|nth| !replicas.contains(nth))
        .expect("more nodes than copies")
}

fn log(world: &World, nth: usize) -> Vec<u64> {
    let log = world.nodes[nth].logs.get(&KEY).cloned();
    log.unwrap_or_else(Log::default).steps
}

pub(super) fn clean(world: &World) {
    assert_eq!(world.judge.violations, vec![], "{}", world.story(None));
}

/// What `from` would send, handed to `to` as it comes off the wire; what it says back is looked at
/// in its state and by the judge.
fn say(world: &mut World, from: usize, to: usize, frame: Frame) {
    let session = world.net.session(from, to).expect("a link");
    let from = world.nodes[from].member;
    world.inject(to, from, session, &frame);
}

fn promised(world: &mut World, nth: usize) -> Ballot {
    world
        .cluster(nth)
        .entries
        .get(&KEY)
        .map_or(Ballot::default(), |entry| entry.promised)
}

/// Rule 4: after a promise, a record of a lower ballot is refused, and its owner told nobody.
#[test]
fn rule_04_a_promise_fences_lower_ballots() {
    let (mut world, replicas) = with_call(3, 3, AckPolicy::All);
    let claimant = replicas[0];
    let ballot = Ballot {
        epoch: 2,
        owner: world.nodes[claimant].member,
    };
    let entry = world.cluster(replicas[1]).entries.get_mut(&KEY);
    entry.expect("a copy").promised = ballot;
    bring(&mut world, 0, 2);
    world.run_for(MS * 20);
    assert!(!world.answers.contains_key(&2));
    assert!(
        world.owners(KEY).is_empty(),
        "the fenced owner yields at once (rule 8)"
    );
    assert_eq!(log(&world, 0), []);
    // Rule 15: it comes back above the promise, and the phone's repetition is served.
    assert!(world.run_until(MS * 400, |world| !world.owners(KEY).is_empty()));
    bring(&mut world, 0, 2);
    assert!(told(&mut world, 2, 100), "{}", world.story(None));
    clean(&world);
}

/// Rule 6: nothing leaves before as many acknowledged as the policy wants; and an ack that is older
/// than a gap long enough for a promise does not count.
#[test]
fn rule_06_release_waits_for_the_policy() {
    for (ack, cut) in [(AckPolicy::One, 2), (AckPolicy::All, 1)] {
        let (mut world, replicas) = with_call(4, 3, ack);
        for replica in replicas.iter().take(cut) {
            world.cut(0, *replica, MS * 30);
        }
        bring(&mut world, 0, 2);
        assert!(
            !told(&mut world, 2, 25),
            "{ack:?}: told though {cut} did not hear of it"
        );
        assert!(told(&mut world, 2, 60), "{ack:?}: {}", world.story(None));
        let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
        world.cut(0, replicas[0], MS * 30);
        bring(&mut world, 0, 2);
        assert!(told(&mut world, 2, 10), "one of two is enough");
    }
}

/// Rule 6, the other half: the owner stands still while acks lie in its socket; by the time it
/// reads them the call is another's. They must not release anything.
#[test]
fn rule_06_a_late_ack_releases_nothing() {
    let (mut world, replicas) = with_call(3, 3, AckPolicy::All);
    let heir = replicas[0];
    bring(&mut world, 0, 2);
    world.run_for(MS / 20);
    world.pause(0, MS * 250);
    world.run_for(MS * 100);
    bring(&mut world, heir, 3);
    assert!(told(&mut world, 3, 140), "{}", world.story(None));
    world.run_for(MS * 300);
    assert_eq!(world.owners(KEY), [heir]);
    assert!(
        !world.answers.contains_key(&2),
        "told by an owner that is none any more"
    );
    clean(&world);
}

/// Rule 7: time alone releases nothing: a replica that is slow but heard is waited for.
#[test]
fn rule_07_a_slow_replica_is_waited_for() {
    let (mut world, replicas) = with_call(2, 2, AckPolicy::One);
    world.net.delay_max = MS * 20;
    let before = world.now;
    bring(&mut world, 0, 2);
    assert!(told(&mut world, 2, 100));
    let heard = world
        .cluster(replicas[0])
        .record(KEY)
        .map(|(record, _)| record.version);
    assert_eq!(heard, Some(2), "after {:?}", world.now.since(before));
}

/// Rule 8: on a proof of a higher ballot the owner drops what it holds, in the same step.
#[test]
fn rule_08_yielding_drops_what_is_held() {
    let (mut world, replicas) = with_call(3, 3, AckPolicy::One);
    let heir = replicas[0];
    let ballot = Ballot {
        epoch: 2,
        owner: world.nodes[heir].member,
    };
    for replica in &replicas {
        world.cut(0, *replica, MS * 40);
    }
    bring(&mut world, 0, 2);
    world.run_for(MS * 5);
    assert_eq!(world.cluster(0).held(KEY), 1);
    let version = 9;
    let release = Release {
        key: KEY,
        ballot,
        version,
    };
    say(&mut world, heir, 0, Frame::Release(release));
    assert_eq!(world.cluster(0).held(KEY), 0);
    assert!(!world.cluster(0).is_active(KEY));
    assert!(!world.answers.contains_key(&2));
}

/// Rule 9: the first listed member that is not silent takes over; a stranger with no copy never.
#[test]
fn rule_09_the_heir_takes_over() {
    let (mut world, replicas) = with_call(5, 3, AckPolicy::One);
    let at = bystander(&world, &replicas);
    world.crash(0, Duration::from_secs(5));
    bring(&mut world, at, 2);
    assert!(told(&mut world, 2, 500), "{}", world.story(None));
    assert_eq!(world.owners(KEY), [replicas[0]]);
    assert_eq!(log(&world, replicas[0]), [1, 2]);
    clean(&world);
}

/// Rule 11: a replica that hears the owner refuses, whatever the claimant thinks of it; the message
/// reaches the owner all the same, by way of whoever hears it.
#[test]
fn rule_11_who_hears_the_owner_refuses() {
    let (mut world, replicas) = with_call(3, 3, AckPolicy::One);
    let heir = replicas[0];
    // The heir hears nothing from the owner for a while.
    world.cut(0, heir, MS * 400);
    world.run_for(MS * 120);
    bring(&mut world, heir, 2);
    assert!(told(&mut world, 2, 250), "{}", world.story(None));
    assert_eq!(world.owners(KEY), [0], "{}", world.story(None));
    clean(&world);
}

/// Rule 12: a claim hears everybody the best record lists, so what only one replica has is kept.
#[test]
fn rule_12_a_claim_reads_everybody_listed() {
    let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
    let (heir, other) = (replicas[0], replicas[1]);
    world.cut(0, heir, MS * 30);
    bring(&mut world, 0, 2);
    assert!(told(&mut world, 2, 20), "the other replica has it");
    assert_eq!(log(&world, 0), [1, 2]);
    world.crash(0, Duration::from_secs(5));
    bring(&mut world, other, 3);
    assert!(told(&mut world, 3, 500), "{}", world.story(None));
    assert_eq!(log(&world, heir), [1, 2, 3]);
    clean(&world);
}

/// Rule 13: a copy that was forgotten when the others were released is never claimed from.
#[test]
fn rule_13_a_copy_left_behind_does_not_rise() {
    let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
    let (holder, other) = (replicas[0], replicas[1]);
    let stale = world
        .cluster(holder)
        .record(KEY)
        .map(|(record, _)| record.clone());
    let stale = stale.expect("a copy");
    bring(&mut world, 0, END | 2);
    assert!(told(&mut world, END | 2, 50));
    world.run_for(Duration::from_secs(50));
    assert_eq!(world.holders(KEY), 0, "purged everywhere");
    // The holder missed all that, and the former owner is gone.
    world.restore(holder, stale);
    world.crash(0, MS * 100);
    world.run_for(MS * 500);
    bring(&mut world, other, 3);
    bring(&mut world, holder, 4);
    world.run_for(Duration::from_secs(3));
    for step in [3, 4] {
        let answer = world.answers.get(&step).map(|(answer, _)| *answer);
        assert_eq!(answer, Some(Answer::NotFound), "{}", world.story(None));
    }
    assert_eq!(world.holders(KEY), 0);
    clean(&world);
}

/// Rule 14: under `one` too, a new ballot speaks only when all live listed members have it.
#[test]
fn rule_14_activation_waits_for_all() {
    let (mut world, replicas) = with_call(5, 4, AckPolicy::One);
    let (heir, other) = (replicas[0], replicas[1]);
    world.crash(0, Duration::from_secs(5));
    bring(&mut world, heir, 2);
    // The other promises, and then hears nothing of the new ballot for a while.
    let granted = |world: &World| {
        let entry = world.nodes[other]
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.entries.get(&KEY));
        entry.is_some_and(|entry| entry.promised.epoch == 2)
    };
    assert!(world.run_until(MS * 300, granted), "{}", world.story(None));
    world.cut(heir, other, MS * 30);
    assert!(!told(&mut world, 2, 25), "{}", world.story(None));
    assert!(told(&mut world, 2, 300), "{}", world.story(None));
    clean(&world);
}

/// Rule 15: fenced off by a claim that came to nothing, the former owner claims anew, higher.
#[test]
fn rule_15_an_orphaned_promise_is_overcome() {
    let (mut world, replicas) = with_call(3, 3, AckPolicy::One);
    let heir = replicas[0];
    let ballot = Ballot {
        epoch: 5,
        owner: world.nodes[heir].member,
    };
    for replica in &replicas {
        let entry = world.cluster(*replica).entries.get_mut(&KEY);
        entry.expect("a copy").promised = ballot;
    }
    bring(&mut world, 0, 2);
    world.run_for(MS * 20);
    assert!(world.owners(KEY).is_empty());
    bring(&mut world, 0, 2);
    assert!(told(&mut world, 2, 500), "{}", world.story(None));
    assert_eq!(world.owners(KEY), [0]);
    assert!(promised(&mut world, 0) > ballot);
    clean(&world);
}

/// Rule 17: a silent replica is replaced by a version that names both lists, and only when that is
/// committed the old one goes; the replaced one lets its copy go when it is heard again.
#[test]
fn rule_17_a_silent_replica_is_replaced() {
    let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
    let (lame, at) = (replicas[1], bystander(&world, &replicas));
    world.pause(lame, MS * 500);
    bring(&mut world, 0, 2);
    assert!(told(&mut world, 2, 100));
    world.run_for(MS * 300);
    let now = world.replicas(KEY);
    assert!(
        now.contains(&at) && !now.contains(&lame),
        "{}",
        world.describe(KEY)
    );
    world.run_for(MS * 600);
    assert_eq!(world.holders(KEY), 3, "{}", world.describe(KEY));
    assert!(world.is_settled(KEY));
    clean(&world);
}

/// Rule 17: as long as the new list has not got the change, the old one keeps its copies, whoever
/// is heard again in the meantime.
#[test]
fn rule_17_old_copies_stay_until_the_change_is_committed() {
    let (mut world, replicas) = with_call(3, 2, AckPolicy::One);
    let (lame, at) = (replicas[0], bystander(&world, &replicas));
    world.cut(0, at, MS * 45);
    world.run_for(MS * 5);
    world.pause(lame, MS * 10);
    // Found silent by hand: the change begins while the new replica can't hear of it.
    world.replace(0, KEY, lame);
    world.run_for(MS * 25);
    let record = world
        .cluster(0)
        .record(KEY)
        .map(|(record, _)| record.clone());
    assert!(record.is_some_and(|record| !record.old.is_empty()));
    assert!(
        world.cluster(lame).record(KEY).is_some(),
        "it may be the only copy"
    );
    world.run_for(MS * 200);
    assert!(world.is_settled(KEY), "{}", world.describe(KEY));
    clean(&world);
}

/// Rule 18: a release takes only copies up to its position.
#[test]
fn rule_18_release_is_positional() {
    let (mut world, replicas) = with_call(3, 3, AckPolicy::All);
    let replica = replicas[0];
    bring(&mut world, 0, 2);
    assert!(told(&mut world, 2, 50));
    let ballot = Ballot {
        epoch: 1,
        owner: world.nodes[0].member,
    };
    for (version, kept) in [(1, true), (2, false)] {
        let release = Release {
            key: KEY,
            ballot,
            version,
        };
        say(&mut world, 0, replica, Frame::Release(release));
        let copy = world.cluster(replica).record(KEY).is_some();
        assert_eq!(copy, kept, "released up to {version}");
    }
    // Nor does it come back by what was sent before.
    world.reset(0, replica);
    world.run_for(MS * 50);
    assert!(world.cluster(replica).record(KEY).is_none());
}

/// Rule 19: a restarted owner is another member: its heir goes on, and it does not take up its
/// calls.
#[test]
fn rule_19_a_restart_is_a_different_member() {
    let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
    world.crash(0, Duration::from_secs(5));
    world.start(0, MS * 10);
    bring(&mut world, 0, 2);
    assert!(told(&mut world, 2, 1_000), "{}", world.story(None));
    assert_eq!(world.owners(KEY), [replicas[0]]);
    assert!(world.run_until(Duration::from_secs(3), |world| world.is_settled(KEY)));
    clean(&world);
}

/// Rule 20: an ended call stays ended for 64*T1 and until everybody knows; then nothing is left.
#[test]
fn rule_20_tombstones_stay_until_all_know() {
    let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
    world.cut(0, replicas[1], Duration::from_secs(60));
    bring(&mut world, 0, END | 2);
    assert!(told(&mut world, END | 2, 200));
    world.run_for(Duration::from_secs(31));
    // The owner dies: whoever takes over knows that the call has ended.
    world.crash(0, Duration::from_secs(2));
    bring(&mut world, replicas[1], 3);
    world.run_for(Duration::from_secs(2));
    assert_eq!(
        world.answers.get(&3).map(|(answer, _)| *answer),
        Some(Answer::Told)
    );
    clean(&world);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.holders(KEY), 0, "{}", world.describe(KEY));
}

/// Rule 20: a listed member that has not heard of the end keeps the tombstone at its owner.
#[test]
fn rule_20_a_tombstone_waits_for_who_missed_it() {
    let (mut world, replicas) = with_call(3, 3, AckPolicy::One);
    world.pause(replicas[1], Duration::from_secs(60));
    bring(&mut world, 0, END | 2);
    assert!(told(&mut world, END | 2, 200));
    world.run_for(Duration::from_secs(50));
    let ended = |world: &mut World, nth| {
        let record = world
            .cluster(nth)
            .record(KEY)
            .map(|(record, _)| record.has_ended());
        record.unwrap_or(false)
    };
    assert!(ended(&mut world, 0), "somebody has not heard of the end");
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.holders(KEY), 0, "{}", world.describe(KEY));
    clean(&world);
}

/// Nobody says that a call is not there who has not heard those that would know: a node without
/// links is quiet, whatever it is asked.
#[test]
fn no_verdict_without_evidence() {
    let (mut world, _) = with_call(3, 3, AckPolicy::One);
    world.crash(2, Duration::from_secs(5));
    world.cut(0, 2, MS * 1_500);
    world.cut(1, 2, MS * 1_500);
    world.start(2, MS);
    world.run_for(MS * 2);
    bring(&mut world, 2, 2);
    assert!(told(&mut world, 2, 3_000), "{}", world.story(None));
    clean(&world);
}

/// A call at rest costs no records: nobody asks again for acks that have only grown old.
#[test]
fn a_call_at_rest_is_not_sent_again() {
    let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
    world.run_for(MS * 500);
    let batches = |world: &World| world.story(Some(KEY)).matches("Batch(").count();
    let before = batches(&world);
    // Whenever somebody falls silent, all calls are looked at.
    let at = bystander(&world, &replicas);
    world.pause(at, MS * 200);
    world.run_for(Duration::from_secs(5));
    assert_eq!(batches(&world), before, "{}", world.story(Some(KEY)));
}

/// Rule 10 and 12: two claims at one epoch can't both be granted by one replica.
#[test]
fn rule_10_one_promise_per_epoch() {
    let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
    world.crash(0, Duration::from_secs(5));
    world.run_for(MS * 300);
    let at = bystander(&world, &replicas);
    let replica = replicas[0];
    for (claimant, granted) in [(replicas[1], true), (at, false)] {
        let ballot = Ballot {
            epoch: 2,
            owner: world.nodes[claimant].member,
        };
        let claim = Claim { key: KEY, ballot };
        say(&mut world, claimant, replica, Frame::Claim(claim));
        assert_eq!(promised(&mut world, replica) == ballot, granted);
    }
}

/// A promise that answers another claim than the present one counts for nothing.
#[test]
fn rule_12_promises_name_their_claim() {
    let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
    let (heir, other) = (replicas[0], replicas[1]);
    world.crash(0, Duration::from_secs(5));
    world.run_for(MS * 300);
    world.cut(other, heir, MS * 40);
    bring(&mut world, heir, 2);
    world.run_for(MS * 5);
    let ballot = Ballot {
        epoch: 9,
        owner: world.nodes[heir].member,
    };
    let record = PromiseRecord::Unknown;
    let promise = Promise {
        key: KEY,
        ballot,
        record,
    };
    say(&mut world, other, heir, Frame::Promise(promise));
    let claiming = |world: &mut World| {
        let role = world
            .cluster(heir)
            .entries
            .get(&KEY)
            .map(|entry| &entry.role);
        matches!(role, Some(Role::Claiming(_)))
    };
    assert!(claiming(&mut world), "{}", world.story(None));
    assert!(told(&mut world, 2, 200));
    clean(&world);
}
