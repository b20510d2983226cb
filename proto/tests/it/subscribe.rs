//! Goal: a subscription outside any call is one, with its state, its numbers and its end, whatever
//! nodes its messages come to and whoever dies (RFC 6665 4.2; A4). Method: nodes wired by hand,
//! texts in, first lines out; time is a number. The subscriber is this test.

use callring_proto::cluster::policy::Replication;
use callring_proto::shard::Scope;
use callring_proto::sip::{HeaderName, Message, ResponseBuilder};

use super::world::{MS, SECOND, World, request};

const PRESENCE: &str = "Event: presence;id=7\nAccept: text/plain\n";

fn world(nodes: usize) -> World {
    World::new(nodes, &copies(), |_, _| {})
}

fn copies() -> Replication {
    Replication {
        copies: 2,
        ..Replication::default()
    }
}

fn first(branch: &str, expires: &str) -> String {
    let extra = format!("{PRESENCE}{expires}");
    request("SUBSCRIBE", "s", 1, branch, &extra)
}

/// A subscription that node 0 has begun, its first NOTIFY answered.
fn subscribed(nodes: usize, expires: &str) -> World {
    begun(world(nodes), expires)
}

fn begun(mut world: World, expires: &str) -> World {
    world.datagram(0, &first("s", expires));
    assert_eq!(world.pass(100 * MS), "200 SUBSCRIBE, NOTIFY");
    answer(&mut world, 0, 200);
    world.pass(100 * MS);
    world
}

fn ask(world: &mut World, node: usize, method: &str, cseq: u32, extra: &str) -> String {
    let extra = format!("To-tag: {}\n{extra}", world.tag());
    let text = request(method, "s", cseq, &format!("r{cseq}"), &extra);
    world.datagram(node, &text);
    // The answer leaves where the request came, a NOTIFY where the owner is: either may be first
    // (RFC 6665 4.1.2.2).
    let said = world.pass(100 * MS);
    let mut lines: Vec<&str> = said.split(", ").collect();
    lines.sort_unstable();
    lines.join(", ")
}

fn notifies(world: &World) -> Vec<Message> {
    let sent = world.sent.iter().filter(|sent| sent.line() == "NOTIFY");
    sent.map(|sent| sent.message.clone()).collect()
}

/// The newest NOTIFY, and an answer to it by way of `node`.
fn answer(world: &mut World, node: usize, status: u16) -> Message {
    let newest = notifies(world).pop().expect("a NOTIFY");
    let answer = ResponseBuilder::new(&newest, status).build();
    world.packet(node, answer.expect("it can be written"));
    newest
}

fn field(message: &Message, name: HeaderName) -> &str {
    message.header(name).unwrap_or_default()
}

fn state(notify: &Message) -> &str {
    field(notify, HeaderName::SubscriptionState)
}

/// The owner dies and the others know.
fn lose_owner(world: &mut World) {
    let owner = world.owners()[0];
    world.kill(owner);
    world.pass(100 * MS);
    world.declare_down(owner);
}

// Method: one NOTIFY of each owner; the second says something else.
#[test]
fn a4_the_heir_sends_the_second_notify_in_the_same_dialog() {
    let mut world = subscribed(3, "Expires: 600\n");
    let accepted = world
        .sent
        .iter()
        .find(|sent| sent.line() == "200 SUBSCRIBE");
    let accepted = accepted.expect("it was").message.clone();
    assert_eq!(field(&accepted, HeaderName::Expires), "600");
    assert!(field(&accepted, HeaderName::Contact).starts_with("<sip:"));
    let before = notifies(&world).pop().expect("the first");
    assert_eq!(field(&before, HeaderName::Event), "presence;id=7");
    assert_eq!(
        (state(&before), before.body()),
        ("active;expires=600", &b"open"[..])
    );
    assert!(field(&before, HeaderName::Contact).starts_with("<sip:"));
    lose_owner(&mut world);
    assert_eq!(
        world.pass(SECOND),
        "",
        "an heir has nothing to say by itself"
    );
    let heir = world.owners()[0];
    world.signal(heir, "say closed");
    assert_eq!(world.pass(100 * MS), "NOTIFY");
    let after = answer(&mut world, heir, 200);
    assert_eq!(after.body(), b"closed");
    assert_eq!(state(&after), "active;expires=598");
    for name in [
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::Event,
    ] {
        assert_eq!(field(&after, name), field(&before, name), "{name:?}");
    }
    assert_eq!(after.request_uri(), before.request_uri());
    assert!(after.cseq_number() > before.cseq_number());
    assert_eq!(world.pass(40 * SECOND), "", "answered");
    assert_eq!(world.complaints(), [""; 0]);
}

// Method: the address that the subscriber was given dies with its node; the heir's NOTIFY names its
// own, once.
#[test]
fn s1_2_an_heir_names_its_address_by_a_notify() {
    let scoped = World::with_scope(Scope::Node, 3, &copies(), |_, _| {});
    let mut world = begun(scoped, "Expires: 600\n");
    let before = notifies(&world).pop().expect("the first");
    lose_owner(&mut world);
    assert_eq!(world.pass(400 * MS), "NOTIFY");
    let heir = world.owners()[0];
    let after = answer(&mut world, heir, 200);
    let contact = |one: &Message| field(one, HeaderName::Contact).to_owned();
    assert_ne!(contact(&after), contact(&before));
    assert_eq!(after.body(), b"open");
    assert_eq!(world.pass(40 * SECOND), "");
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn a_subscription_is_renewed_and_ended_at_any_node() {
    let mut world = subscribed(3, "Expires: 60\n");
    for (cseq, node) in [(2, 1), (3, 2)] {
        world.pass(50 * SECOND);
        let said = ask(
            &mut world,
            node,
            "SUBSCRIBE",
            cseq,
            &format!("{PRESENCE}Expires: 60\n"),
        );
        assert_eq!(said, "200 SUBSCRIBE, NOTIFY");
        assert_eq!(state(&answer(&mut world, node, 200)), "active;expires=60");
        world.pass(100 * MS);
    }
    lose_owner(&mut world);
    world.pass(SECOND);
    let node = world.owners()[0];
    let said = ask(
        &mut world,
        node,
        "SUBSCRIBE",
        4,
        &format!("{PRESENCE}Expires: 0\n"),
    );
    assert_eq!(said, "200 SUBSCRIBE, NOTIFY");
    let last = answer(&mut world, node, 200);
    assert_eq!(
        (state(&last), last.body()),
        ("terminated;reason=timeout", &b"open"[..])
    );
    assert_eq!(world.pass(SECOND), "");
    let said = ask(&mut world, node, "SUBSCRIBE", 5, PRESENCE);
    assert_eq!(said, "481 SUBSCRIBE", "it is over");
    world.pass(40 * SECOND);
    assert_eq!(world.owners(), [0; 0], "nothing is left");
    assert_eq!(world.complaints(), [""; 0]);
}

// Method: the owner dies half-way; nobody renews it.
#[test]
fn a_subscription_that_nobody_renews_ends_once_and_in_its_time() {
    let mut world = subscribed(3, "Expires: 60\n");
    world.pass(30 * SECOND);
    lose_owner(&mut world);
    assert_eq!(world.pass(29 * SECOND), "");
    assert_eq!(world.pass(1_200 * MS), "NOTIFY");
    let owner = world.owners()[0];
    let last = answer(&mut world, owner, 200);
    assert_eq!(state(&last), "terminated;reason=timeout");
    assert_eq!(world.pass(100 * SECOND), "");
    assert_eq!(world.owners(), [0; 0]);
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn copies_of_one_subscribe_at_three_nodes_are_one_subscription() {
    for shift in 0..3 {
        let mut world = world(3);
        for step in 0..3 {
            world.datagram((shift + step) % 3, &first("s", ""));
        }
        let sent = world.pass(SECOND);
        assert!(
            sent.contains("200 SUBSCRIBE") && sent.contains("NOTIFY"),
            "{sent}"
        );
        assert_eq!(world.owners().len(), 1, "one owner");
        let mut tags: Vec<String> = notifies(&world)
            .iter()
            .map(|one| one.from_tag().unwrap_or_default().to_owned())
            .collect();
        tags.dedup();
        assert_eq!(tags.len(), 1, "{tags:?}");
        assert_eq!(world.complaints(), [""; 0]);
    }
}

// Method: the owner dies so many milliseconds after the SUBSCRIBE; the subscriber repeats it to
// another node until it is answered, and answers whatever it is told.
#[test]
fn an_owner_may_die_at_any_step() {
    for at in 0..40 {
        let mut world = world(3);
        world.datagram(0, &first("s", "Expires: 300\n"));
        world.pass(at * MS / 4);
        world.kill(0);
        world.datagram(1, &first("s", "Expires: 300\n"));
        world.pass(500 * MS);
        world.declare_down(0);
        for _ in 0..6 {
            world.datagram(1, &first("s", "Expires: 300\n"));
            world.pass(SECOND);
            if !notifies(&world).is_empty() {
                answer(&mut world, 1, 200);
            }
        }
        world.pass(SECOND);
        assert_eq!(
            world.owners().len(),
            1,
            "killed after {at} quarters of a ms"
        );
        let heir = world.owners()[0];
        world.signal(heir, "say closed");
        assert_eq!(
            world.pass(100 * MS),
            "NOTIFY",
            "killed after {at} quarters of a ms"
        );
        assert_eq!(answer(&mut world, heir, 200).body(), b"closed");
        assert_eq!(world.pass(40 * SECOND), "");
        assert_eq!(
            world.complaints(),
            [""; 0],
            "killed after {at} quarters of a ms"
        );
    }
}

#[test]
fn who_may_not_subscribe_is_told_why() {
    let mut world = world(2);
    let refused = |world: &mut World, text: String| {
        world.datagram(0, &text);
        world.pass(100 * MS)
    };
    let other = request("SUBSCRIBE", "o", 1, "o", "Event: dialog\n");
    assert_eq!(refused(&mut world, other), "489 SUBSCRIBE");
    let allowed = world.sent.last().expect("a 489").message.clone();
    assert_eq!(
        allowed.header_named("Allow-Events"),
        Some("refer, presence")
    );
    let nothing = request("SUBSCRIBE", "n", 1, "n", "");
    assert_eq!(refused(&mut world, nothing), "489 SUBSCRIBE");
    let nowhere = first("w", "").replace("Contact: ", "X-Contact: ");
    assert_eq!(refused(&mut world, nowhere), "400 SUBSCRIBE");
    assert_eq!(
        refused(&mut world, first("r", "X-Refuse: 403\n")),
        "403 SUBSCRIBE"
    );
    assert_eq!(world.pass(40 * SECOND), "");
    assert_eq!(world.owners(), [0; 0]);
}

#[test]
fn a_subscribe_that_nobody_answers_leaves_nothing() {
    let mut world = world(3);
    world.datagram(0, &first("s", "X-Slow: yes\n"));
    assert_eq!(world.pass(100 * SECOND), "");
    assert_eq!(world.owners(), [0; 0]);
}

#[test]
fn a_subscriber_that_knows_of_none_has_none() {
    let mut world = subscribed(3, "");
    let owner = world.owners()[0];
    world.signal(owner, "say closed");
    assert_eq!(world.pass(100 * MS), "NOTIFY");
    answer(&mut world, 0, 481);
    assert_eq!(world.pass(100 * MS), "");
    assert_eq!(
        ask(&mut world, 0, "SUBSCRIBE", 2, PRESENCE),
        "481 SUBSCRIBE"
    );
    world.pass(100 * SECOND);
    assert_eq!(world.owners(), [0; 0]);
}

#[test]
fn a_subscription_is_nothing_else() {
    let mut world = subscribed(3, "");
    assert_eq!(ask(&mut world, 1, "BYE", 2, ""), "405 BYE");
    assert_eq!(ask(&mut world, 1, "INVITE", 3, ""), "405 INVITE");
    assert_eq!(
        ask(&mut world, 1, "SUBSCRIBE", 4, "Event: presence\n"),
        "481 SUBSCRIBE"
    );
    assert_eq!(
        ask(&mut world, 1, "SUBSCRIBE", 5, "Event: dialog\n"),
        "489 SUBSCRIBE"
    );
    assert_eq!(ask(&mut world, 1, "OPTIONS", 6, ""), "200 OPTIONS");
    assert_eq!(
        ask(&mut world, 1, "SUBSCRIBE", 7, PRESENCE),
        "200 SUBSCRIBE, NOTIFY"
    );
}

#[test]
fn a_fetch_is_told_once() {
    let mut world = world(3);
    world.datagram(0, &first("s", "Expires: 0\n"));
    assert_eq!(world.pass(100 * MS), "200 SUBSCRIBE, NOTIFY");
    let only = answer(&mut world, 0, 200);
    assert_eq!(
        (state(&only), only.body()),
        ("terminated;reason=timeout", &b"open"[..])
    );
    assert_eq!(world.pass(100 * SECOND), "");
    assert_eq!(world.owners(), [0; 0]);
}

// Method: three changes while the first NOTIFY is under way, then the application ends it.
#[test]
fn what_changes_meanwhile_is_said_by_the_next() {
    let mut world = subscribed(3, "");
    let owner = world.owners()[0];
    for state in ["say one", "say two", "say three"] {
        world.signal(owner, state);
    }
    assert_eq!(world.pass(100 * MS), "NOTIFY");
    assert_eq!(answer(&mut world, 0, 200).body(), b"one");
    assert_eq!(world.pass(100 * MS), "NOTIFY");
    assert_eq!(answer(&mut world, 0, 200).body(), b"three");
    world.signal(owner, "end");
    assert_eq!(world.pass(100 * MS), "NOTIFY");
    let last = answer(&mut world, 0, 200);
    assert_eq!(state(&last), "terminated;reason=noresource");
    assert_eq!(world.pass(100 * SECOND), "");
    assert_eq!(world.owners(), [0; 0]);
    assert_eq!(world.complaints(), [""; 0]);
}
