//! Goal: an application that panics, or keeps too much, loses that call, and nothing else. Method:
//! nodes wired by hand, whose application does so when a header field or a signal asks for it.

use callring_proto::cluster::policy::Replication;

use super::world::{MS, SECOND, World, request};

const PANIC: &str = "X-Panic: now\n";

fn world() -> World {
    World::new(3, &Replication::default(), |_, _| {})
}

fn invite(world: &mut World, call: &str, extra: &str) -> String {
    let text = request("INVITE", call, 1, &format!("i{call}"), extra);
    world.datagram(0, &text);
    world.pass(100 * MS)
}

/// The tag of the newest 200 to an INVITE.
fn tag(world: &World) -> String {
    let mut sent = world.sent.iter().rev();
    let ok = sent.find(|sent| sent.line() == "200 INVITE");
    let tag = ok.and_then(|sent| sent.message.to_tag());
    format!("To-tag: {}\n", tag.expect("it was answered"))
}

fn ask(world: &mut World, node: usize, method: &str, call: &str, cseq: u32, tag: &str) -> String {
    let text = request(method, call, cseq, &format!("{call}{cseq}{method}"), tag);
    world.datagram(node, &text);
    world.pass(100 * MS)
}

// Method: another call stands beside it, and a third is begun after it.
#[test]
fn a_panic_at_an_invite_is_its_500() {
    let mut world = world();
    assert_eq!(invite(&mut world, "good", ""), "200 INVITE");
    let good = tag(&world);
    ask(&mut world, 0, "ACK", "good", 1, &good);
    assert_eq!(invite(&mut world, "bad", PANIC), "500 INVITE");
    assert_eq!(ask(&mut world, 0, "INFO", "good", 2, &good), "200 INFO");
    assert_eq!(invite(&mut world, "next", ""), "200 INVITE");
    world.kill(0);
    world.pass(100 * MS);
    world.declare_down(0);
    world.pass(SECOND);
    assert_eq!(ask(&mut world, 1, "BYE", "good", 3, &good), "200 BYE");
}

#[test]
fn a_panic_inside_a_call_answers_500_and_hangs_up() {
    let mut world = world();
    assert_eq!(invite(&mut world, "c", ""), "200 INVITE");
    let tag = tag(&world);
    ask(&mut world, 0, "ACK", "c", 1, &tag);
    let said = ask(&mut world, 1, "INFO", "c", 2, &format!("{tag}{PANIC}"));
    let mut lines: Vec<&str> = said.split(", ").collect();
    lines.sort_unstable();
    assert_eq!(lines, ["500 INFO", "BYE"]);
}

// Method: the owner dies before its BYE is answered; its heir's application is not asked.
#[test]
fn a_panic_at_a_signal_hangs_up_once() {
    let mut world = world();
    assert_eq!(invite(&mut world, "c", ""), "200 INVITE");
    let tag = tag(&world);
    ask(&mut world, 0, "ACK", "c", 1, &tag);
    world.signal(0, "(nothing)");
    assert_eq!(world.pass(400 * MS), "BYE");
    world.kill(0);
    world.pass(100 * MS);
    world.declare_down(0);
    let said = world.pass(SECOND);
    assert!(said.split(", ").all(|line| line == "BYE"), "{said}");
    assert_eq!(world.complaints(), [""; 0]);
}

// Method: as much as may be kept, then a little more.
#[test]
fn a_state_too_large_ends_its_call() {
    let mut world = world();
    assert_eq!(invite(&mut world, "c", ""), "200 INVITE");
    let tag = tag(&world);
    ask(&mut world, 0, "ACK", "c", 1, &tag);
    let keep = |bytes: usize| format!("{tag}X-Keep: {bytes}\n");
    assert_eq!(
        ask(&mut world, 1, "INFO", "c", 2, &keep(65_000)),
        "200 INFO"
    );
    let said = ask(&mut world, 1, "INFO", "c", 3, &keep(65_535));
    let mut lines: Vec<&str> = said.split(", ").collect();
    lines.sort_unstable();
    assert_eq!(lines, ["200 INFO", "BYE"]);
}
