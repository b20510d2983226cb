//! Output commit, seen from outside: a 200 leaves when the replicas have its state, or when they
//! count as silent, and not before. Each test runs in a network of its own, where nftables drops
//! what chosen nodes send each other.

use std::time::{Duration, Instant};

use callring::demo::cluster::Plan;
use callring::demo::phone::{AckRule, CallNo, ExchangeNo, Phone};
use callring::proto::sip::Method;
use cluster_tests::arena::{Arena, PATIENCE, plan, say};
use cluster_tests::namespace::{cut, heal, isolated};

/// Long enough that nobody takes it for anything else.
const SILENCE: Duration = Duration::from_millis(1500);
/// What a frame may have been under way when the cut came, and the pause between two pings.
const SLACK: Duration = Duration::from_millis(400);

/// Three nodes, a copy of each call on each, long silence.
fn plan_of_three(ack: &'static str) -> Plan {
    let mut plan = plan();
    plan.copies = 3;
    plan.ack = ack;
    plan.silence = Some(SILENCE);
    plan
}

fn cut_between(arena: &Arena, a: usize, b: usize) {
    let address = |at: usize| arena.cluster.node(at).ready().cluster.expect("an address");
    cut(address(a), address(b));
}

/// Calls the first node, which is just being cut off. How long after the cut its 200 came.
fn call_after(phone: &Phone, arena: &Arena, since: Instant) -> (CallNo, Duration) {
    let (call, invite) = phone.invite(arena.sip(0), AckRule::Same);
    let answer = phone.wait_final(invite, PATIENCE).expect("a 200");
    assert_eq!(answer.status, 200);
    (call, (phone.epoch() + answer.at).duration_since(since))
}

fn degraded(arena: &Arena) -> u64 {
    arena.cluster.status(0).expect("a status").status.degraded
}

#[test]
fn a_200_waits_until_the_replicas_count_as_silent() {
    isolated(
        "commit::a_200_waits_until_the_replicas_count_as_silent",
        || {
            // Method: an owner is cut off from both its replicas, then called.
            let arena = Arena::start(plan_of_three("one"), 3);
            let phone = arena.phone();
            let before = arena.call(&phone, 0, AckRule::Same);
            assert_eq!(degraded(&arena), 0);
            let since = Instant::now();
            cut_between(&arena, 0, 1);
            cut_between(&arena, 0, 2);
            let (first, held) = call_after(&phone, &arena, since);
            say(&format!(
                "cut off from both: 200 {held:?} after the cut, silence {SILENCE:?}"
            ));
            assert!(held + SLACK >= SILENCE, "the 200 left after {held:?}");
            assert!(held < SILENCE * 5, "the 200 left after {held:?}");
            assert!(degraded(&arena) > 0, "served alone, and not counted");
            let since = Instant::now();
            let (second, held) = call_after(&phone, &arena, since);
            say(&format!("the next call: 200 after {held:?}"));
            assert!(held < SILENCE, "silence is waited for once");
            heal();
            for call in [before, first, second] {
                let line = arena.line(0, &phone, call, |line| line.replicas.len() == 2);
                assert_eq!(line.owner, arena.name(0));
                let bye = phone.request(call, Method::Bye, arena.sip(0));
                let answer = phone.wait_final(bye, PATIENCE).expect("an answer");
                assert_eq!(answer.status, 200);
            }
            arena.finish(&[&phone]);
        },
    );
}

#[test]
fn one_replica_that_is_cut_off_delays_only_the_first_calls() {
    isolated(
        "commit::one_replica_that_is_cut_off_delays_only_the_first_calls",
        || {
            // Method: all copies must acknowledge; one of two replicas is cut off.
            let arena = Arena::start(plan_of_three("all"), 3);
            let phone = arena.phone();
            // A member that was never heard is given more time.
            let _ = arena.call(&phone, 0, AckRule::Same);
            let since = Instant::now();
            cut_between(&arena, 0, 2);
            let (_, held) = call_after(&phone, &arena, since);
            say(&format!(
                "one of two cut off: first 200 {held:?} after the cut"
            ));
            assert!(held + SLACK >= SILENCE, "the 200 left after {held:?}");
            assert!(held < SILENCE * 5, "the 200 left after {held:?}");
            for _ in 0..5 {
                let (_, held) = call_after(&phone, &arena, Instant::now());
                say(&format!("a later call: 200 after {held:?}"));
                assert!(held < SILENCE / 2, "a later call waited {held:?}");
            }
            assert_eq!(degraded(&arena), 0, "one replica has it");
            arena.finish(&[&phone]);
        },
    );
}

#[test]
fn a_held_200_dies_with_its_owner() {
    isolated("commit::a_held_200_dies_with_its_owner", || {
        // Method: as above, and the owner is killed while it holds the 200. The caller may hear a
        // refusal from another node, never a 2xx of a call nobody has.
        let mut arena = Arena::start(plan_of_three("one"), 3);
        let phone = arena.phone();
        cut_between(&arena, 0, 1);
        cut_between(&arena, 0, 2);
        let (_, invite) = phone.invite(arena.sip(0), AckRule::Same);
        // The answer is decided at once; until the others count as silent, nobody knows of it.
        let early = phone.wait(SILENCE / 2, |agent| agent.exchange(invite).status());
        assert_eq!(early, None, "a final response that nobody else knows of");
        arena.kill(0);
        assert!(
            !succeeded(&phone, invite),
            "a 200 left before its state was safe"
        );
        let late = phone.wait(SILENCE * 2, |agent| {
            let status = agent.exchange(invite).status();
            status.filter(|status| *status < 300)
        });
        assert_eq!(late, None, "a 2xx for a call that died");
        arena.finish(&[&phone]);
    });
}

fn succeeded(phone: &Phone, invite: ExchangeNo) -> bool {
    phone
        .exchange(invite)
        .status()
        .is_some_and(|status| status < 300)
}
