//! Goal: D20, REFER and the subscription it begins (RFC 3515, RFC 6665), whoever owns the call.
//! Method: nodes wired by hand, seconds as numbers; the phone is this test.

use callring_proto::cluster::policy::Replication;
use callring_proto::sip::{HeaderName, Message, ResponseBuilder};

use super::world::{MS, SECOND, World, request};

/// A call of three nodes, answered and acknowledged at node 0.
fn call() -> World {
    let replication = Replication {
        copies: 3,
        ..Replication::default()
    };
    let mut world = World::new(3, &replication, |_, _| {});
    world.datagram(0, &request("INVITE", "c", 1, "i", ""));
    assert_eq!(world.pass(100 * MS), "200 INVITE");
    let tag = tag(&world);
    world.datagram(0, &request("ACK", "c", 1, "a", &tag));
    assert_eq!(world.pass(SECOND), "");
    world
}

fn tag(world: &World) -> String {
    format!("To-tag: {}\n", world.tag())
}

fn ask(world: &mut World, node: usize, method: &str, cseq: u32, extra: &str) -> String {
    let extra = format!("{}{extra}", tag(world));
    let text = request(method, "c", cseq, &format!("r{cseq}"), &extra);
    world.datagram(node, &text);
    world.pass(100 * MS)
}

/// The newest NOTIFY, and 200 for all that came.
fn notified(world: &mut World, node: usize, status: u16) -> Message {
    let notifies = world.sent.iter().filter(|sent| sent.line() == "NOTIFY");
    let notifies: Vec<Message> = notifies.map(|sent| sent.message.clone()).collect();
    for notify in &notifies {
        let answer = ResponseBuilder::new(notify, status).build();
        world.packet(node, answer.expect("it can be written"));
    }
    notifies.last().expect("a NOTIFY").clone()
}

fn state(notify: &Message) -> &str {
    notify
        .header(HeaderName::SubscriptionState)
        .unwrap_or_default()
}

const REFER_TO: &str = "Refer-To: <sip:c@192.0.2.7>\n";

// Method: the owner dies between the first word and the last.
#[test]
fn d20_a_refer_is_accepted_and_its_outcome_told_whoever_owns_the_call() {
    let mut world = call();
    let said = ask(&mut world, 0, "REFER", 2, REFER_TO);
    assert_eq!(said, "202 REFER, NOTIFY, NOTIFY");
    let ringing = notified(&mut world, 0, 200);
    assert_eq!(ringing.header(HeaderName::Event), Some("refer;id=2"));
    assert!(
        state(&ringing).starts_with("active;expires=1"),
        "{ringing:?}"
    );
    let kind = ringing.content_type().unwrap_or_default();
    assert!(kind.starts_with("message/sipfrag"));
    let mut lines: Vec<Message> = world.sent.iter().map(|sent| sent.message.clone()).collect();
    lines.retain(|one| one.is_request() && one.method().as_str() == "NOTIFY");
    let mut bodies: Vec<&[u8]> = lines.iter().map(Message::body).collect();
    bodies.sort_unstable();
    assert_eq!(
        bodies,
        [&b"SIP/2.0 100 Trying\r\n"[..], b"SIP/2.0 180 Ringing\r\n"]
    );
    world.pass(SECOND);
    world.kill(0);
    world.pass(100 * MS);
    world.declare_down(0);
    world.pass(SECOND);
    let heir = world.owners()[0];
    world.signal(heir, "done 2 SIP/2.0 200 OK");
    assert_eq!(world.pass(100 * MS), "NOTIFY");
    let last = notified(&mut world, heir, 200);
    assert_eq!(last.body(), b"SIP/2.0 200 OK\r\n");
    assert_eq!(state(&last), "terminated;reason=noresource");
    // It is over: nothing more is said, and there is nothing to renew.
    world.signal(heir, "done 2 SIP/2.0 200 OK");
    assert_eq!(world.pass(SECOND * 200), "");
    let said = ask(&mut world, heir, "SUBSCRIBE", 3, "Event: refer;id=2\n");
    assert_eq!(said, "481 SUBSCRIBE");
    assert_eq!(world.complaints(), [""; 0]);
}

// Method: nothing more happens; the owner dies meanwhile. SUBSCRIBE renews, and ends.
#[test]
fn d20_a_subscription_ends_in_its_time_or_when_its_subscriber_says_so() {
    let mut world = call();
    ask(&mut world, 0, "REFER", 2, REFER_TO);
    notified(&mut world, 0, 200);
    world.pass(SECOND * 100);
    world.kill(0);
    world.pass(100 * MS);
    world.declare_down(0);
    assert_eq!(world.pass(SECOND * 79), "");
    assert_eq!(world.pass(SECOND * 2), "NOTIFY, NOTIFY");
    let last = notified(&mut world, 1, 200);
    assert_eq!(state(&last), "terminated;reason=timeout");
    let node = world.owners()[0];
    assert_eq!(
        ask(&mut world, node, "REFER", 3, REFER_TO),
        "202 REFER, NOTIFY, NOTIFY"
    );
    notified(&mut world, node, 200);
    let said = ask(
        &mut world,
        node,
        "SUBSCRIBE",
        4,
        "Event: refer;id=3\nExpires: 60\n",
    );
    assert_eq!(said, "200 SUBSCRIBE, NOTIFY");
    assert!(state(&notified(&mut world, node, 200)).starts_with("active;expires="));
    let said = ask(
        &mut world,
        node,
        "SUBSCRIBE",
        5,
        "Event: refer;id=3\nExpires: 0\n",
    );
    assert_eq!(said, "200 SUBSCRIBE, NOTIFY");
    assert_eq!(
        state(&notified(&mut world, node, 200)),
        "terminated;reason=timeout"
    );
}

// Method: a subscriber that has forgotten it; one that wants none; requests of nothing.
#[test]
fn d20_a_dead_subscription_ends_no_call_and_strangers_are_told() {
    let mut world = call();
    ask(&mut world, 0, "REFER", 2, REFER_TO);
    notified(&mut world, 0, 481);
    assert_eq!(world.pass(SECOND * 200), "", "it is over, the call is not");
    let none = format!("{REFER_TO}Refer-Sub: false\n");
    assert_eq!(ask(&mut world, 0, "REFER", 3, &none), "202 REFER");
    for (cseq, method, extra, answer) in [
        (4, "REFER", "", "400 REFER"),
        (5, "SUBSCRIBE", "Event: presence\n", "489 SUBSCRIBE"),
        (6, "SUBSCRIBE", "Event: refer;id=9\n", "481 SUBSCRIBE"),
        (7, "NOTIFY", "Event: dialog\n", "489 NOTIFY"),
        (8, "NOTIFY", "Event: refer\n", "481 NOTIFY"),
        (9, "BYE", "", "200 BYE"),
    ] {
        assert_eq!(ask(&mut world, 0, method, cseq, extra), answer);
    }
}

// Method: the application refers the phone, which tells it what comes of that.
#[test]
fn d20_what_the_phone_tells_of_our_refer_is_the_applications() {
    let mut world = call();
    world.signal(0, "REFER");
    assert_eq!(world.pass(100 * MS), "REFER");
    let refer = world.sent.last().expect("something").message.clone();
    let event = format!("Event: refer;id={}\n", refer.cseq_number());
    let early = format!("{event}Subscription-State: active;expires=60\n");
    assert_eq!(
        ask(&mut world, 0, "NOTIFY", 2, &early),
        "200 NOTIFY",
        "before the 202"
    );
    let accepted = ResponseBuilder::new(&refer, 202).build();
    world.packet(0, accepted.expect("it can be written"));
    world.pass(100 * MS);
    let last = format!("{event}Subscription-State: terminated;reason=noresource\n");
    assert_eq!(ask(&mut world, 0, "NOTIFY", 3, &last), "200 NOTIFY");
    assert_eq!(ask(&mut world, 0, "NOTIFY", 4, &last), "481 NOTIFY");
}
