//! Subscriptions outside any call, by real processes (A4). Method: a subscriber by hand, three
//! members, SIGKILL of the owner.

use std::time::Duration;

use callring::proto::sip::{HeaderName, Message, ResponseBuilder};
use cluster_tests::arena::{PATIENCE, wait_until};
use cluster_tests::hand::{Hand, line};
use cluster_tests::troupe::{Part, Troupe};

const SOON: Duration = Duration::from_secs(3);

fn subscribe(hand: &Hand, cseq: u32, tag: &str, expires: u32) -> String {
    let fields = format!("Event: message-summary\r\nExpires: {expires}\r\nContent-Length");
    let text = hand.text("SUBSCRIBE", "mwi", cseq, &format!("s{cseq}"), tag);
    text.replace("Content-Length", &fields)
}

/// Waits for the NOTIFY that says `what`, and answers it where it came from.
fn notified(hand: &mut Hand, what: &str) -> Message {
    let says = |message: &Message| {
        line(message) == "NOTIFY" && String::from_utf8_lossy(message.body()).contains(what)
    };
    assert!(hand.listen(PATIENCE, says), "{what}: {:?}", hand.lines());
    let found = hand.received.iter().rev().find(|(_, one)| says(one));
    let (source, notify) = found.expect("it came").clone();
    let answer = ResponseBuilder::new(&notify, 200)
        .build()
        .expect("a response");
    hand.send(source, &String::from_utf8_lossy(&answer));
    notify
}

#[test]
fn a4_the_second_notify_comes_from_the_heir() {
    let mut troupe = Troupe::start(&[Part::default(); 3]);
    let mut hand = Hand::new();
    hand.send(troupe.sip(0), &subscribe(&hand, 1, "", 600));
    hand.expect("200 SUBSCRIBE", SOON);
    let first = notified(&mut hand, "Messages-Waiting: no");
    let tag = first.from_tag().expect("ours").to_owned();
    let owner = troupe.owner();
    let key = troupe.calls()[0].key.clone();
    // The record that says that it was answered is let out without an output to wait for.
    std::thread::sleep(Duration::from_millis(200));
    troupe.kill(owner);
    let [alive, other] = [(owner + 1) % 3, (owner + 2) % 3];
    troupe.signal(alive, &key, r#"{"messages":{"new":2,"old":8}}"#);
    let second = notified(&mut hand, "Voice-Message: 2/8");
    for name in [HeaderName::From, HeaderName::To, HeaderName::Event] {
        assert_eq!(first.header(name), second.header(name), "{name:?}");
    }
    assert!(second.cseq_number() > first.cseq_number());
    hand.received.clear();
    hand.send(troupe.sip(alive), &subscribe(&hand, 2, &tag, 600));
    hand.expect("200 SUBSCRIBE", SOON);
    notified(&mut hand, "Voice-Message: 2/8");
    hand.received.clear();
    hand.send(troupe.sip(other), &subscribe(&hand, 3, &tag, 0));
    hand.expect("200 SUBSCRIBE", SOON);
    let last = notified(&mut hand, "Voice-Message: 2/8");
    let state = last.header(HeaderName::SubscriptionState);
    assert_eq!(state, Some("terminated;reason=timeout"));
    let gone = wait_until(PATIENCE, || troupe.calls().is_empty().then_some(()));
    assert!(gone.is_some(), "{:?}", troupe.calls());
    troupe.finish();
}
