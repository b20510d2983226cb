//! Acceptance scenarios that need no file of their own: A9 (a replacement on the dead node's
//! address), B5 (drain), E7 (death after the BYE).

use std::collections::BTreeSet;

use callring::admin::api::Draining;
use callring::demo::phone::{AckRule, CallNo, Phone};
use callring::proto::sip::Method;
use cluster_tests::arena::{Arena, PATIENCE, plan, wait_until};

fn expect_ok(arena: &Arena, phone: &Phone, call: CallNo, method: Method, at: usize) {
    let what = format!("{method} to {}", arena.name(at));
    let asked = phone.request(call, method, arena.sip(at));
    let answer = phone.wait_final(asked, PATIENCE);
    let got = answer.map(|answer| (answer.status, answer.source));
    assert_eq!(got, Some((200, arena.sip(at))), "{what}");
}

#[test]
fn a9_a_replacement_on_the_dead_nodes_address_serves_its_calls() {
    // Goal: phones that keep the address they were given are served there by whoever has it now.
    // Method: held calls, their owner dies, another node starts on its address; INFO and BYE of
    // each call go there.
    let mut arena = Arena::start(plan(), 4);
    let phone = arena.phone();
    let calls: Vec<CallNo> = (0..10)
        .map(|_| arena.call(&phone, 0, AckRule::Same))
        .collect();
    for call in &calls {
        let _ = arena.line(1, &phone, *call, |line| !line.replicas.is_empty());
    }
    let address = arena.sip(0);
    arena.kill(0);
    arena.cluster.listen(vec![format!("udp://{address}")]);
    let new = arena.add();
    assert_eq!(arena.sip(new), address);
    for call in &calls {
        expect_ok(&arena, &phone, *call, Method::Info, new);
        let line = arena.line(1, &phone, *call, |line| line.epoch > 1);
        assert_ne!(line.owner, arena.name(0), "{line:?}");
    }
    for call in &calls {
        expect_ok(&arena, &phone, *call, Method::Bye, new);
    }
    arena.finish(&[&phone]);
}

#[test]
fn b5_a_draining_node_gets_no_new_calls_and_its_old_ones_go_on() {
    // Goal: drain empties a node, and whoever still asks it is served. Method: held calls, drain,
    // a new call at the draining node, a request of each old call there, undrain.
    let arena = Arena::start(plan(), 4);
    let phone = arena.phone();
    let old: Vec<CallNo> = (0..10)
        .map(|_| arena.call(&phone, 0, AckRule::Same))
        .collect();
    let client = arena.cluster.client(0).expect("an admin address");
    let post = |path: &str| {
        let _: Draining = client.post(path, "{}".into()).expect("taken");
    };
    post("/v1/drain");
    let owned = || {
        let members = arena.cluster.members(1).ok()?.members.into_iter();
        let mut members = members.filter(|member| member.name == arena.name(0));
        members.next()?.calls_owned
    };
    let empty = wait_until(PATIENCE, || owned().filter(|owned| *owned == 0));
    assert!(empty.is_some(), "{:?} calls are still there", owned());
    let new = arena.call(&phone, 0, AckRule::Same);
    let line = arena.line(1, &phone, new, |line| !line.replicas.is_empty());
    assert_ne!(line.owner, arena.name(0), "{line:?}");
    let mut heirs = BTreeSet::new();
    for call in &old {
        expect_ok(&arena, &phone, *call, Method::Info, 0);
        let line = arena.line(1, &phone, *call, |line| line.epoch == 2);
        heirs.insert(line.owner);
        expect_ok(&arena, &phone, *call, Method::Bye, 2);
    }
    assert!(!heirs.contains(&arena.name(0)), "{heirs:?}");
    post("/v1/undrain");
    let taken = wait_until(PATIENCE, || {
        let call = arena.call(&phone, 0, AckRule::Same);
        let line = arena.line(1, &phone, call, |line| !line.replicas.is_empty());
        (line.owner == arena.name(0)).then_some(())
    });
    assert!(taken.is_some(), "no new call stays at the node again");
    arena.finish(&[&phone]);
}

#[test]
fn e7_a_call_that_has_ended_stays_ended() {
    // Goal: the survivors see the call as ended, and drop it. Method: BYE, 200, the owner dies at
    // once; the BYE comes again at another node, as from a phone whose 200 was lost; then nothing
    // is left once the transaction's time is over.
    let mut arena = Arena::start(plan(), 4);
    let phone = arena.phone();
    let calls: Vec<CallNo> = (0..5)
        .map(|_| arena.call(&phone, 0, AckRule::Same))
        .collect();
    for call in &calls {
        let _ = arena.line(1, &phone, *call, |line| !line.replicas.is_empty());
    }
    for call in &calls {
        expect_ok(&arena, &phone, *call, Method::Bye, 0);
    }
    arena.kill(0);
    let ids: Vec<String> = calls.iter().map(|call| phone.call(*call).call_id).collect();
    let alive = |at| {
        let lines = arena.cluster.calls(at, 1_000).expect("an answer");
        let alive = lines.into_iter().filter(|line| ids.contains(&line.call_id));
        alive
            .filter(|line| line.state != callring::proto::io::CallState::Ending)
            .count()
    };
    assert_eq!(alive(1), 0, "nobody takes an ended call up");
    let gone = wait_until(2 * PATIENCE, || {
        let left = |at| Some(arena.cluster.status(at).ok()?.status);
        let left: Option<Vec<_>> = [1, 2, 3].into_iter().map(left).collect();
        let none = left?
            .iter()
            .all(|status| status.calls_owned == 0 && status.calls_replica == 0);
        none.then_some(())
    });
    assert!(gone.is_some(), "something is left");
    assert_eq!(alive(1), 0);
    arena.finish(&[&phone]);
}
