//! Answered calls outlive the node that answered them: A1, A2 and A3 of the acceptance scenarios.
//! Five nodes, two copies of each call; the owner dies by SIGKILL, and the next request goes to a
//! node that is neither owner nor replica.

use callring::demo::capture::{Direction, Packet};
use callring::demo::figures::Figures;
use callring::demo::phone::{AckRule, CallNo, End, ExchangeNo, Phone};
use callring::proto::sip::{Message, Method};
use cluster_tests::arena::{Arena, PATIENCE, plan, say, wait_until};

/// Calls that die with one owner.
const CALLS: usize = 10;

/// A call that was answered, and a node that has no part in it.
struct Case {
    call: CallNo,
    key: String,
    outsider: usize,
}

/// Sets up calls through the first node, which owns them all, and finds an outsider for each.
fn answered(arena: &Arena, phone: &Phone, ack: AckRule) -> Vec<Case> {
    let mut cases = Vec::new();
    for n in 0..CALLS {
        let call = arena.call(phone, 0, ack);
        let line = arena.line(1, phone, call, |line| !line.replicas.is_empty());
        assert_eq!(line.owner, arena.name(0), "the node that was called owns");
        assert_eq!(line.replicas.len(), 1, "copies = 2: {line:?}");
        let outsiders = arena.outsiders(&line);
        assert_eq!(outsiders.len(), 3);
        let outsider = outsiders[n % 3];
        cases.push(Case {
            call,
            key: line.key,
            outsider,
        });
    }
    cases
}

/// Waits for a 200 from the node that was asked.
fn expect_ok(arena: &Arena, phone: &Phone, asked: ExchangeNo, of: usize) {
    let answer = phone.wait_final(asked, PATIENCE);
    let answer = answer.unwrap_or_else(|| panic!("{} says nothing", arena.name(of)));
    let got = (answer.status, answer.source);
    assert_eq!(got, (200, arena.sip(of)), "from {}", arena.name(of));
}

fn tell(phone: &Phone, what: &str, asked: &[ExchangeNo]) {
    let times = asked
        .iter()
        .filter_map(|asked| phone.exchange(*asked).took());
    let repeated = asked
        .iter()
        .filter(|asked| phone.exchange(**asked).transmissions > 1);
    let figures: Figures = times.collect();
    say(&format!("{what}: {figures}; {} repeated", repeated.count()));
}

#[test]
fn a1_the_callers_bye_is_answered_elsewhere() {
    let mut arena = Arena::start(plan(), 5);
    let phone = arena.phone();
    let cases = answered(&arena, &phone, AckRule::Wait);
    for case in &cases {
        phone.ack(case.call, arena.sip(0));
    }
    arena.kill(0);
    let ask = |case: &Case| phone.request(case.call, Method::Bye, arena.sip(case.outsider));
    let byes: Vec<ExchangeNo> = cases.iter().map(ask).collect();
    for (case, bye) in cases.iter().zip(&byes) {
        expect_ok(&arena, &phone, *bye, case.outsider);
    }
    tell(&phone, "BYE to 200 after the owner's death", &byes);
    arena.finish(&[&phone]);
}

#[test]
fn a2_another_node_sends_the_bye() {
    let mut arena = Arena::start(plan(), 5);
    let phone = arena.phone();
    let cases = answered(&arena, &phone, AckRule::Same);
    arena.kill(0);
    for case in &cases {
        arena
            .cluster
            .hang_up(case.outsider, &case.key)
            .expect("the signal is taken");
    }
    let living: Vec<_> = arena
        .cluster
        .running()
        .iter()
        .map(|at| arena.sip(*at))
        .collect();
    for case in &cases {
        assert_eq!(phone.wait_end(case.call, PATIENCE), Some(End::Remote));
        let call = phone.call(case.call);
        let byes: Vec<_> = call.incoming_with(&Method::Bye).collect();
        assert_eq!(byes.len(), 1, "{byes:?}");
        assert!(living.contains(&byes[0].source), "{byes:?}");
    }
    arena.finish(&[&phone]);
}

#[test]
fn a3_the_owner_dies_before_the_ack() {
    let mut arena = Arena::start(plan(), 5);
    let phone = arena.phone();
    let cases = answered(&arena, &phone, AckRule::Wait);
    arena.kill(0);
    for case in &cases {
        phone.ack(case.call, arena.sip(case.outsider));
    }
    for method in [Method::Invite, Method::Bye] {
        let ask = |case: &Case| phone.request(case.call, method.clone(), arena.sip(case.outsider));
        let asked: Vec<ExchangeNo> = cases.iter().map(ask).collect();
        for (case, asked) in cases.iter().zip(&asked) {
            expect_ok(&arena, &phone, *asked, case.outsider);
        }
        tell(
            &phone,
            &format!("{method} to 200 after the owner's death"),
            &asked,
        );
    }
    arena.finish(&[&phone]);
}

#[test]
fn an_unacked_200_is_repeated_by_the_heir() {
    // Goal: a caller whose ACK died with the owner is asked for it again, by somebody it can
    // answer. Method: a call without ACK, the owner dies, an INFO through an outsider brings the
    // heir, whose 200 is waited for and acknowledged.
    let mut arena = Arena::start(plan(), 5);
    let phone = arena.phone();
    let case = &answered(&arena, &phone, AckRule::Wait)[0];
    arena.kill(0);
    let info = phone.request(case.call, Method::Info, arena.sip(case.outsider));
    expect_ok(&arena, &phone, info, case.outsider);
    let dead = arena.sip(0);
    let call_id = phone.call(case.call).call_id;
    let heir = wait_until(PATIENCE, || {
        let capture = phone.capture();
        let from_others = capture
            .of_call(case.call)
            .filter(|packet| packet.remote != dead);
        let message = |packet: &Packet| Message::parse(packet.bytes.clone()).ok();
        from_others
            .filter(|packet| packet.direction == Direction::Received)
            .find(|packet| message(packet).is_some_and(|m| *m.method() == Method::Invite))
            .map(|packet| packet.remote)
    });
    let heir = heir.unwrap_or_else(|| panic!("nobody repeats the 200 of {call_id}"));
    phone.ack(case.call, heir);
    let bye = phone.request(case.call, Method::Bye, heir);
    let answer = phone.wait_final(bye, PATIENCE).expect("an answer");
    assert_eq!(answer.status, 200);
    arena.finish(&[&phone]);
}

#[test]
fn b1_every_method_is_answered_by_every_node_in_turn() {
    // Goal: any node will do, also after a death; no digit of an INFO is counted twice.
    // Method: one call, INFO, UPDATE, OPTIONS and re-INVITE to each node, a death, again, BYE.
    let mut arena = Arena::start(plan(), 5);
    let phone = arena.phone();
    let call = arena.call(&phone, 0, AckRule::Same);
    for round in 0..2 {
        for at in arena.cluster.running() {
            let methods = [
                Method::Info,
                Method::Update,
                Method::Options,
                Method::Invite,
            ];
            for method in methods {
                let asked = phone.request(call, method, arena.sip(at));
                expect_ok(&arena, &phone, asked, at);
            }
        }
        if round == 0 {
            arena.kill(0);
        }
    }
    let bye = phone.request(call, Method::Bye, arena.sip(4));
    expect_ok(&arena, &phone, bye, 4);
    arena.finish(&[&phone]);
}
