//! With its owner alive, a call is served through any node and stays where it is: relay, not theft.

use callring::demo::phone::AckRule;
use callring::proto::sip::Method;
use cluster_tests::arena::{Arena, PATIENCE, plan};

#[test]
fn a_living_owner_keeps_its_call() {
    // Goal: re-INVITE and BYE through another node are answered from that node's socket; owner and
    // epoch stay. Method: three calls, each through another one of the three outsiders.
    let arena = Arena::start(plan(), 5);
    let phone = arena.phone();
    for n in 0..3 {
        let call = arena.call(&phone, 0, AckRule::Same);
        let before = arena.line(1, &phone, call, |line| !line.replicas.is_empty());
        let outsider = arena.outsiders(&before)[n];
        let invite = phone.request(call, Method::Invite, arena.sip(outsider));
        let answer = phone.wait_final(invite, PATIENCE).expect("an answer");
        assert_eq!((answer.status, answer.source), (200, arena.sip(outsider)));
        let after = arena.line(outsider, &phone, call, |line| line.version > before.version);
        assert_eq!((&after.owner, after.epoch), (&before.owner, before.epoch));
        assert_eq!(after.key, before.key);
        let bye = phone.request(call, Method::Bye, arena.sip(outsider));
        let answer = phone.wait_final(bye, PATIENCE).expect("an answer");
        assert_eq!((answer.status, answer.source), (200, arena.sip(outsider)));
    }
    let status = arena.cluster.status(0).expect("a status").status;
    assert_eq!((status.takeovers, status.fenced), (0, 0));
    assert!(status.relayed > 0);
    arena.finish(&[&phone]);
}
