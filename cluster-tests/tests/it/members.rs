//! Too few members: calls work, the lack is shown, and it is repaired when a member joins.

use callring::admin::api::StatusAnswer;
use callring::demo::phone::AckRule;
use callring::proto::sip::Method;
use cluster_tests::arena::{Arena, PATIENCE, plan, wait_until};

/// The status of a node once it is as wanted.
fn status(arena: &Arena, at: usize, wanted: impl Fn(&StatusAnswer) -> bool) {
    let mut last = None;
    let found = wait_until(PATIENCE, || {
        last = arena.cluster.status(at).ok();
        last.as_ref().filter(|status| wanted(status)).map(|_| ())
    });
    assert!(found.is_some(), "{} says {last:?}", arena.name(at));
}

#[test]
fn a_lone_node_serves_and_is_joined() {
    // Method: one node, a call, a second node; then the first one dies and the second serves.
    let mut arena = Arena::start(plan(), 1);
    let phone = arena.phone();
    let call = arena.call(&phone, 0, AckRule::Same);
    status(&arena, 0, |answer| answer.status.under_replicated == 1);
    let second = arena.add();
    status(&arena, 0, |answer| answer.status.under_replicated == 0);
    let line = arena.line(0, &phone, call, |line| !line.replicas.is_empty());
    assert_eq!(line.replicas, [arena.name(second)]);
    arena.kill(0);
    let bye = phone.request(call, Method::Bye, arena.sip(second));
    let answer = phone.wait_final(bye, PATIENCE).expect("an answer");
    assert_eq!(answer.status, 200);
    arena.finish(&[&phone]);
}

#[test]
fn the_last_of_three_serves_and_is_joined() {
    // Method: three nodes, a call on each; two die; the third serves its own call and those it has
    // copies of, takes a new one, and gives copies away when a fourth joins.
    let mut arena = Arena::start(plan(), 3);
    let phone = arena.phone();
    let calls: Vec<_> = (0..3)
        .map(|at| arena.call(&phone, at, AckRule::Same))
        .collect();
    let lines: Vec<_> = calls
        .iter()
        .map(|call| arena.line(2, &phone, *call, |line| !line.replicas.is_empty()))
        .collect();
    arena.kill(0);
    arena.kill(1);
    let last = arena.name(2);
    let mut kept = vec![arena.call(&phone, 2, AckRule::Same)];
    for (call, line) in calls.iter().zip(&lines) {
        if line.owner == last || line.replicas.contains(&last) {
            let info = phone.request(*call, Method::Info, arena.sip(2));
            let answer = phone.wait_final(info, PATIENCE).expect("an answer");
            assert_eq!(answer.status, 200, "{line:?}");
            kept.push(*call);
        }
    }
    let count = u64::try_from(kept.len()).unwrap();
    status(&arena, 2, |answer| answer.status.under_replicated == count);
    let fourth = arena.add();
    status(&arena, 2, |answer| answer.status.under_replicated == 0);
    arena.kill(2);
    for call in kept {
        let bye = phone.request(call, Method::Bye, arena.sip(fourth));
        let answer = phone.wait_final(bye, PATIENCE).expect("an answer");
        assert_eq!(answer.status, 200);
    }
    arena.finish(&[&phone]);
}
