//! Set-up by real processes: one INVITE at several nodes, CANCEL elsewhere, deaths before the
//! answer (SIP.md S3). Method: a user agent by hand, members with three copies, SIGKILL.

use std::time::{Duration, Instant};

use cluster_tests::arena::{PATIENCE, say, wait_until};
use cluster_tests::hand::Hand;
use cluster_tests::troupe::{Part, Troupe};

const SOON: Duration = Duration::from_secs(3);

fn ringing(when: &'static str, ring_ms: u64) -> [Part; 4] {
    [Part {
        when,
        ring_ms,
        ..Part::default()
    }; 4]
}

#[test]
fn invite_retransmission_and_cancel_at_three_nodes_are_one_call() {
    let troupe = Troupe::start(&ringing("confirmed", 30_000));
    for n in 0..5 {
        let mut hand = Hand::new();
        let (call, branch) = (format!("one-{n}"), format!("b{n}"));
        let invite = hand.text("INVITE", &call, 1, &branch, "");
        hand.send(troupe.sip(n % 4), &invite);
        hand.send(troupe.sip((n + 1) % 4), &invite);
        hand.expect("180 INVITE", SOON);
        let _ = troupe.owner();
        hand.send(
            troupe.sip((n + 2) % 4),
            &hand.text("CANCEL", &call, 1, &branch, ""),
        );
        hand.expect("200 CANCEL", SOON);
        hand.expect("487 INVITE", SOON);
        assert_eq!(hand.tags().len(), 1, "one To tag: {:?}", hand.lines());
        let ack = hand.text("ACK", &call, 1, &branch, &hand.tags()[0]);
        hand.send(troupe.sip((n + 3) % 4), &ack);
        let gone = wait_until(PATIENCE, || {
            let calls = troupe.calls();
            calls.iter().all(|one| one.call_id != call).then_some(())
        });
        assert!(gone.is_some(), "{:?}", troupe.calls());
        hand.listen(Duration::from_millis(100), |_| false);
        assert_eq!(hand.count("482 INVITE"), 0);
    }
    troupe.finish();
}

#[test]
fn the_caller_of_a_dead_owner_gets_a_final_within_five_seconds() {
    for before in [true, false] {
        let mut troupe = Troupe::start(&ringing("confirmed", 60_000));
        let mut hand = Hand::new();
        let invite = hand.text("INVITE", "dead", 1, "b", "");
        hand.send(troupe.sip(0), &invite);
        if before {
            // The notice is out within a millisecond of the INVITE; the 180 may be too.
            std::thread::sleep(Duration::from_millis(20));
        } else {
            hand.expect("180 INVITE", SOON);
        }
        troupe.kill(0);
        let killed = Instant::now();
        hand.expect("500 INVITE", Duration::from_secs(5));
        say(&format!("500 after {:?}", killed.elapsed()));
        assert_eq!(hand.tags().len(), 1, "the owner's own tag");
        troupe.finish();
    }
}

#[test]
fn e1_an_early_call_is_answered_by_the_heir() {
    let mut troupe = Troupe::start(&ringing("early", 5_000));
    let mut hand = Hand::new();
    let invite = hand.text("INVITE", "early", 1, "b", "");
    hand.send(troupe.sip(0), &invite);
    hand.expect("180 INVITE", SOON);
    let killed = Instant::now();
    troupe.kill(0);
    hand.expect("200 INVITE", Duration::from_secs(20));
    say(&format!(
        "200 {:?} after the death, due after 5 s",
        killed.elapsed()
    ));
    assert_eq!((hand.tags().len(), hand.count("500 INVITE")), (1, 0));
    let tag = hand.tags()[0].clone();
    hand.send(troupe.sip(2), &hand.text("ACK", "early", 1, "a", &tag));
    hand.send(troupe.sip(3), &hand.text("BYE", "early", 2, "c", &tag));
    hand.expect("200 BYE", SOON);
    troupe.finish();
}

#[test]
fn one_call_id_a_thousand_times_starves_nobody() {
    let troupe = Troupe::start(&ringing("confirmed", 60_000));
    let mut crowd = Hand::new();
    for n in 0..1_000 {
        let text = crowd.text("INVITE", "same", n + 1, &format!("i{n}"), "");
        crowd.send(troupe.sip(0), &text);
        if n % 20 == 19 {
            // So that no socket's buffer overflows.
            crowd.listen(Duration::from_millis(5), |_| false);
        }
    }
    let mut hand = Hand::new();
    let began = Instant::now();
    hand.send(troupe.sip(0), &hand.text("INVITE", "other", 1, "x", ""));
    hand.expect("180 INVITE", SOON);
    say(&format!(
        "another Call-ID rings after {:?}",
        began.elapsed()
    ));
    crowd.listen(Duration::from_secs(2), |_| false);
    assert_eq!(crowd.count("180 INVITE"), 64);
    assert!(crowd.count("503 INVITE") > 0);
    troupe.finish();
}
