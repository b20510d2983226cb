//! Calls with two legs on real processes. Method: five nodes run `b2bua`; one phone calls through
//! them, another answers. What both phones know of their calls is the verdict.

use std::time::Duration;

use callring::demo::phone::{AckRule, CallNo, CallState, End, Phone};
use callring::proto::io::CallState as Stands;
use callring::proto::sip::Method;
use cluster_tests::arena::{say, wait_until};
use cluster_tests::hand::Hand;
use cluster_tests::ports;
use cluster_tests::sipp::{Scene, between};
use cluster_tests::troupe::{Part, Troupe};

const CALLS: usize = 200;
/// Pause between two calls.
const PAUSE: Duration = Duration::from_millis(10);
/// A death is noticed, its calls are adopted, a request waits for 64*T1.
const LONG: Duration = Duration::from_secs(45);

fn phone() -> Phone {
    Phone::bind(([127, 0, 0, 1], 0).into()).expect("a phone")
}

fn troupe(target: &str, nodes: usize) -> Troupe {
    let app = format!("kind = \"b2bua\"\nopen = true\n[[route]]\nto = [\"{target}\"]\n");
    let part = Part {
        copies: 2,
        membership: "local",
        ..Part::default()
    };
    Troupe::start_with(&app, &vec![part; nodes])
}

/// The phone's calls that stand so.
fn those(phone: &Phone, is: impl Fn(CallState) -> bool) -> Vec<CallNo> {
    phone.look(|agent| {
        let calls = agent.calls().iter().enumerate();
        let those = calls.filter(|(_, call)| is(call.state));
        those.map(|(at, _)| CallNo(at)).collect()
    })
}

fn is_up(state: CallState) -> bool {
    state == CallState::Answered
}

/// A phone ends these calls, each by way of another living node. All of them are told 200.
fn end(phone: &Phone, calls: &[CallNo], troupe: &Troupe, living: &[usize]) {
    let byes = calls.iter().enumerate().map(|(at, call)| {
        let node = living[at % living.len()];
        phone.request(*call, Method::Bye, troupe.sip(node))
    });
    for bye in byes.collect::<Vec<_>>() {
        let answer = phone.wait_final(bye, LONG).map(|answer| answer.status);
        assert_eq!(answer, Some(200));
    }
}

#[test]
fn both_legs_end_after_the_death_of_their_node() {
    let callee = phone();
    callee.accept_calls();
    let mut troupe = troupe(&format!("sip:bob@{}", callee.local()), 5);
    let caller = phone();
    let dead = 0;
    for at in 0..CALLS {
        if at == CALLS / 2 {
            troupe.kill(dead);
        }
        let to = at % 5;
        let to = if at >= CALLS / 2 && to == dead { 1 } else { to };
        caller.invite(troupe.sip(to), AckRule::Source);
        std::thread::sleep(PAUSE);
    }
    // As a proxy does, or DNS: what the dead node left unanswered goes to another one.
    let moved = caller.look(|agent| agent.exchanges().len());
    let rerouted = caller.reroute(troupe.sip(dead), troupe.sip(2));
    let set_up = wait_until(LONG, || {
        let open = |state| matches!(state, CallState::Calling | CallState::Ringing);
        those(&caller, open).is_empty().then_some(())
    });
    assert!(set_up.is_some(), "somebody rings for ever");
    let up = those(&caller, is_up);
    say(&format!(
        "{} of {moved} calls answered, {rerouted} INVITEs sent on",
        up.len()
    ));
    assert!(up.len() >= CALLS - 10, "{}", up.len());
    let living = [1, 2, 3, 4];
    // Half is ended by the callee, the rest by the caller.
    let theirs = those(&callee, is_up);
    end(&callee, &theirs[..theirs.len() / 2], &troupe, &living);
    let rest = wait_until(LONG, || {
        let rest = those(&caller, is_up);
        let kept = theirs.len() - theirs.len() / 2;
        (rest.len() <= kept).then_some(rest)
    });
    end(
        &caller,
        &rest.expect("the callers are told"),
        &troupe,
        &living,
    );
    let over = wait_until(LONG, || {
        let left = those(&caller, is_up).len() + those(&callee, is_up).len();
        (left == 0).then_some(())
    });
    assert!(
        over.is_some(),
        "left hanging: {:?} and {:?}",
        those(&caller, is_up),
        those(&callee, is_up)
    );
    // Nobody lost a call on the way: each ended by a BYE.
    let lost = |state| matches!(state, CallState::Ended(End::Lost(_)));
    assert!(those(&caller, lost).is_empty() && those(&callee, lost).is_empty());
    let ended = wait_until(LONG, || {
        let calls = troupe.calls();
        let ended = calls.iter().all(|call| call.state == Stands::Ending);
        ended.then_some(())
    });
    assert!(ended.is_some(), "{:?}", troupe.calls());
    troupe.finish();
}

/// A text with a session description in place of no body.
fn described(text: &str, sdp: &str) -> String {
    let fields = format!(
        "Content-Type: application/sdp\r\nContent-Length: {}\r\n",
        sdp.len()
    );
    text.replace("Content-Length: 0\r\n", &fields) + sdp
}

// Method: both phones by hand; the caller makes no offer, and the owner dies between the callee's
// and the caller's answer to it. ACK and BYE go to the other nodes.
#[test]
fn an_offer_of_the_callees_is_answered_though_its_owner_dies() {
    const SOON: Duration = Duration::from_secs(3);
    let (offer, answer) = (sdp(4000), sdp(6000));
    let mut callee = Hand::new();
    let mut troupe = troupe(&format!("sip:bob@{}", callee.local()), 3);
    let mut caller = Hand::new();
    caller.send(troupe.sip(0), &caller.text("INVITE", "delayed", 1, "i", ""));
    callee.expect("INVITE", SOON);
    assert_eq!(callee.answer("INVITE", 200, &offer).body(), b"");
    caller.expect("200 INVITE", SOON);
    let ok = caller
        .received
        .iter()
        .find(|(_, one)| one.status() == Some(200));
    assert_eq!(ok.expect("it came").1.body(), offer.as_bytes());
    assert_eq!(callee.count("ACK"), 0, "nobody has answered the offer");
    let owner = troupe.owner();
    troupe.kill(owner);
    let [next, last] = [(owner + 1) % 3, (owner + 2) % 3];
    let tag = caller.tags().remove(0);
    let ack = caller.text("ACK", "delayed", 1, "a", &tag);
    caller.send(troupe.sip(next), &described(&ack, &answer));
    callee.expect("ACK", LONG);
    let ack = callee
        .received
        .iter()
        .find(|(_, one)| one.method().as_str() == "ACK");
    assert_eq!(ack.expect("it came").1.body(), answer.as_bytes());
    caller.send(
        troupe.sip(last),
        &caller.text("BYE", "delayed", 2, "b", &tag),
    );
    caller.expect("200 BYE", SOON);
    callee.expect("BYE", SOON);
    callee.answer("BYE", 200, "");
    troupe.finish();
}

fn sdp(port: u16) -> String {
    format!(
        "v=0\r\no=hand 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\n"
    )
}

// Method: SIPp fails a call in which anything comes that its scenario does not expect, at either
// end.
#[test]
fn sipp_calls_sipp() {
    let callee = ports::free();
    let troupe = troupe(&format!("sip:bob@{callee}"), 3);
    for (scene, calls) in [(Scene::Plain, 50), (Scene::Flows, 20)] {
        let played = between(scene, [troupe.sip(1), callee], calls, troupe.dir());
        assert_eq!(played, Ok(()), "{scene:?}");
    }
    troupe.finish();
}

#[test]
fn a_call_that_comes_back_to_its_cluster_ends_at_its_last_hop() {
    // Method: the table sends every call to the first node, which is of the cluster.
    let sip = ports::free();
    let app = format!("kind = \"b2bua\"\nopen = true\n[[route]]\nto = [\"sip:round@{sip}\"]\n");
    let first = Part {
        sip,
        ..Part::default()
    };
    let troupe = Troupe::start_with(&app, &[first, Part::default()]);
    let mut hand = Hand::new();
    hand.send(troupe.sip(1), &hand.text("INVITE", "round", 1, "r1", ""));
    hand.expect("483 INVITE", Duration::from_secs(10));
    let ended = wait_until(Duration::from_secs(10), || {
        let calls = troupe.calls();
        let ended = calls.iter().all(|call| call.state == Stands::Ending);
        ended.then_some(())
    });
    assert!(ended.is_some(), "{:?}", troupe.calls());
    troupe.finish();
}
