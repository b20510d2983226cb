//! A node that was paused, and whose calls others have taken over, stays quiet when it resumes.

use std::time::Duration;

use callring::demo::phone::{AckRule, End};
use callring::proto::sip::Method;
use cluster_tests::arena::{Arena, PATIENCE, plan, say};

#[test]
fn a_resumed_owner_hangs_up_nobody() {
    // Goal: exactly one BYE. Method: the application is to hang up after three seconds; its owner
    // is stopped before, the call is taken over by an INFO through an outsider, the heir hangs up,
    // the owner goes on with its timer long due.
    let mut plan = plan();
    plan.hangup_after_s = Some(3);
    let mut arena = Arena::start(plan, 5);
    let phone = arena.phone();
    let call = arena.call(&phone, 0, AckRule::Same);
    let line = arena.line(1, &phone, call, |line| !line.replicas.is_empty());
    let outsider = arena.outsiders(&line)[0];
    arena.freeze(0);
    let info = phone.request(call, Method::Info, arena.sip(outsider));
    let answer = phone
        .wait_final(info, PATIENCE)
        .expect("the call is taken over");
    assert_eq!(answer.status, 200);
    let taken = arena.line(outsider, &phone, call, |line| line.epoch > 1);
    assert_ne!(taken.owner, arena.name(0));
    assert_eq!(phone.wait_end(call, PATIENCE), Some(End::Remote));
    arena.thaw(0);
    // The stopped node's timer is due at once; what it sends by it would be here long before this.
    let second = phone.wait(Duration::from_secs(4), |agent| {
        let byes = agent.call(call).incoming_with(&Method::Bye);
        let extra = byes.map(|bye| 1 + bye.repeats).sum::<u32>() - 1;
        (extra > 0).then_some(extra)
    });
    assert_eq!(second, None, "another BYE came");
    let bye = phone.call(call).incoming_with(&Method::Bye).next().cloned();
    let after = bye.map(|bye| bye.at.saturating_sub(phone.call(call).answered.unwrap().0));
    say(&format!("BYE {after:?} after the answer, due after 3 s"));
    let status = arena
        .cluster
        .status(0)
        .expect("the resumed node answers")
        .status;
    assert!(status.fenced > 0 || status.calls_owned == 0, "{status:?}");
    arena.finish(&[&phone]);
}
