//! A softphone that others wrote: baresip calls, holds and hangs up, while owners die. Method: it
//! is told what to do over its control port; a node is killed once the call stands, and the phone
//! goes on with whoever told it a new Contact. Any refusal in the phone's trace fails the test.

use std::path::PathBuf;
use std::time::Duration;

use callring::proto::io::CallState;
use cluster_tests::arena::{say, wait_until};
use cluster_tests::baresip::Baresip;
use cluster_tests::troupe::{Part, Troupe};

/// Membership has to find a death out before an heir speaks up by itself.
const DOWN: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_secs(5);

/// Deaths are found out soon.
fn three() -> [Part; 3] {
    let membership = "local";
    [Part {
        membership,
        ..Part::default()
    }; 3]
}

fn dir(test: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test)
}

/// Kills the owner of the only call, and waits until these phones know where it goes on. The new
/// owner.
fn kill_owner(troupe: &mut Troupe, phones: &[&Baresip]) -> usize {
    let owner = troupe.owner();
    let told = |phone: &&&Baresip| phone.count("CSeq: 17 ACK");
    let before: usize = phones.iter().map(|phone| told(&phone)).sum();
    troupe.kill(owner);
    let refreshed = wait_until(DOWN, || {
        let now: usize = phones.iter().map(|phone| told(&phone)).sum();
        (now >= before + phones.len()).then_some(())
    });
    let traces = || phones.iter().map(|phone| phone.told()).collect::<String>();
    refreshed.unwrap_or_else(|| panic!("no phone was told a new address: {}", traces()));
    let heir = troupe.owner();
    assert_ne!(heir, owner);
    heir
}

/// The call is over everywhere, and nobody was refused anything.
fn over(troupe: Troupe, phones: &mut [&mut Baresip]) {
    for phone in &mut *phones {
        phone.wait("CALL_CLOSED");
        for refusal in ["SIP/2.0 4", "SIP/2.0 5", "SIP/2.0 6"] {
            assert_eq!(phone.count(refusal), 0, "{}", phone.told());
        }
    }
    let ended = wait_until(SOON, || {
        let calls = troupe.calls();
        let ended = calls.iter().all(|call| call.state == CallState::Ending);
        ended.then_some(())
    });
    assert!(ended.is_some(), "{:?}", troupe.calls());
    troupe.finish();
}

#[test]
fn a_softphone_goes_on_after_its_nodes_death() {
    let mut troupe = Troupe::start(&three());
    let mut alice = Baresip::start(&dir("goes-on"), "alice", false);
    alice.order("dial", &format!("sip:ivr@{}", troupe.sip(0)));
    alice.wait("CALL_ESTABLISHED");
    alice.wait("CALL_REMOTE_SDP");
    alice.order("hold", "");
    alice.wait("CALL_REMOTE_SDP");
    let heir = kill_owner(&mut troupe, &[&alice]);
    say(&format!("n{} goes on", heir + 1));
    let asked = alice.count("SIP/2.0 200 OK");
    alice.order("resume", "");
    let answered = wait_until(SOON, || {
        (alice.count("SIP/2.0 200 OK") > asked).then_some(())
    });
    assert!(answered.is_some(), "{}", alice.told());
    alice.order("hangup", "");
    over(troupe, &mut [&mut alice]);
}

#[test]
fn a_softphone_is_hung_up_on_by_another_node() {
    let mut troupe = Troupe::start(&three());
    let mut alice = Baresip::start(&dir("hung-up-on"), "alice", false);
    alice.order("dial", &format!("sip:ivr@{}", troupe.sip(0)));
    alice.wait("CALL_ESTABLISHED");
    let heir = kill_owner(&mut troupe, &[&alice]);
    let key = troupe.calls()[0].key.clone();
    // By way of the third node, which has nothing to do with it.
    troupe.hang_up(3 - heir, &key);
    over(troupe, &mut [&mut alice]);
}

#[test]
fn two_softphones_talk_on_after_the_death_between_them() {
    for by_caller in [true, false] {
        let files = dir(if by_caller { "bridge-a" } else { "bridge-b" });
        let mut bob = Baresip::start(&files, "bob", false);
        let app = format!(
            "kind = \"b2bua\"\nopen = true\n[[route]]\nto = [\"sip:bob@{}\"]\n",
            bob.sip
        );
        let mut troupe = Troupe::start_with(&app, &three());
        let mut alice = Baresip::start(&files, "alice", false);
        alice.order("dial", &format!("sip:bob@{}", troupe.sip(0)));
        bob.wait("CALL_INCOMING");
        bob.order("accept", "");
        alice.wait("CALL_ESTABLISHED");
        bob.wait("CALL_ESTABLISHED");
        kill_owner(&mut troupe, &[&alice, &bob]);
        let who = if by_caller { &mut alice } else { &mut bob };
        who.order("hangup", "");
        over(troupe, &mut [&mut alice, &mut bob]);
    }
}
