//! Goal: a durable task begins when its record is safe, is begun anew by whoever owns the call
//! next, and its outcome is taken once (PROTOCOL.md rule 24). Method: an application whose INVITE,
//! or signal, begins tasks; the test is the shell that runs them, at nodes that die meanwhile.

use bytes::Bytes;
use callring_proto::app::TaskError;
use callring_proto::base::limits::{TASK_BYTES_MAX, TASKS_PER_CALL_MAX};
use callring_proto::cluster::policy::{Replication, When};

use super::world::{MS, SECOND, World, request};

const DONE: Bytes = Bytes::from_static(b"done");

fn world() -> World {
    let replication = Replication {
        copies: 3,
        when: When::Confirmed,
        ..Replication::default()
    };
    World::new(3, &replication, |_, _| {})
}

fn invite(extra: &str) -> String {
    request("INVITE", "c", 1, "i", extra)
}

/// A call that stands, and has begun no task.
fn answered() -> World {
    let mut world = world();
    world.datagram(0, &invite(""));
    world.pass(100 * MS);
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(0, &request("ACK", "c", 1, "ia", &tag));
    world.pass(SECOND);
    world
}

/// Lets time pass until so many tasks were begun in all.
fn until_begun(world: &mut World, count: usize) {
    for _ in 0..100 {
        if world.tasks.len() >= count {
            return;
        }
        world.pass(50 * MS);
    }
    panic!("not begun: {:?}", world.tasks);
}

/// What the application has told of its tasks, each once.
fn outcomes(world: &World) -> Vec<String> {
    let mut told: Vec<(u32, String)> = Vec::new();
    for sent in &world.sent {
        let message = &sent.message;
        if let Some(text) = message.header_named("X-Outcome") {
            let one = (message.cseq_number(), text.to_owned());
            if !told.contains(&one) {
                told.push(one);
            }
        }
    }
    told.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_task_begins_when_its_record_is_safe() {
    let mut world = world();
    world.freeze(1);
    world.freeze(2);
    world.datagram(0, &invite("X-Task: route\n"));
    world.pass(20 * MS);
    assert_eq!(world.tasks, [], "nobody else knows of it");
    world.thaw(1, (0, 1), |_| {});
    world.thaw(2, (0, 1), |_| {});
    world.pass(20 * MS);
    let [run] = &world.tasks[..] else {
        panic!("one, begun once: {:?}", world.tasks);
    };
    assert_eq!((run.0, run.1.number, run.1.epoch), (0, 0, 1));
    assert_eq!(
        (&*run.1.task.name, &*run.1.task.payload),
        ("route", &b"who?"[..])
    );
    let run = run.clone();
    world.task_done(&run, Ok(DONE));
    assert!(world.pass(SECOND).contains("200 INVITE"));
}

#[test]
fn whoever_owns_the_call_next_begins_it_anew_and_its_outcome_counts_once() {
    let mut world = world();
    world.datagram(0, &invite("X-Task: route\n"));
    world.pass(20 * MS);
    world.kill(0);
    world.lose(0);
    world.datagram(1, &invite("X-Task: route\n"));
    until_begun(&mut world, 2);
    let [first, second] = &world.tasks.clone()[..] else {
        panic!("once at each owner: {:?}", world.tasks);
    };
    assert_eq!((first.0, second.0), (0, 1));
    assert_eq!(first.1.number, second.1.number);
    assert!(first.1.epoch < second.1.epoch);
    world.wake(0);
    world.task_done(first, Ok(DONE)); // it thinks that the call is still its own
    world.pass(50 * MS);
    world.task_done(second, Ok(DONE));
    world.task_done(second, Ok(DONE));
    world.pass(SECOND);
    assert_eq!(world.owners(), [1]);
    let finals = world.sent.iter().filter(|sent| sent.line() == "200 INVITE");
    let mut finals: Vec<_> = finals.map(|sent| sent.message.bytes().clone()).collect();
    finals.dedup();
    assert_eq!(finals.len(), 1, "one answer, however often it is sent");
}

#[test]
fn of_an_owner_that_has_yielded_no_outcome_counts() {
    let mut world = answered();
    world.signal(0, "task 1 look-up 3");
    world.pass(20 * MS);
    let first = world.tasks[0].clone();
    world.freeze(0);
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(1, &request("OPTIONS", "c", 2, "o", &tag));
    until_begun(&mut world, 2);
    world.thaw(0, (0, 1), |_| {});
    world.pass(SECOND);
    assert_eq!(world.owners(), [1]);
    world.task_done(&first, Ok(Bytes::from_static(b"old")));
    world.pass(SECOND);
    assert_eq!(outcomes(&world), [""; 0]);
    let second = world.tasks[1].clone();
    world.task_done(&second, Ok(Bytes::from_static(b"new")));
    world.pass(SECOND);
    assert_eq!(outcomes(&world), ["1 new"]);
}

#[test]
fn what_nobody_hears_of_is_late_and_said_to_be() {
    let mut world = world();
    world.datagram(0, &invite("X-Task: route\n"));
    world.pass(20 * MS);
    let run = world.tasks[0].clone();
    assert!(!world.pass(2 * SECOND).contains("503"));
    assert!(world.pass(2 * SECOND).contains("503 INVITE"));
    world.task_done(&run, Ok(DONE));
    world.pass(SECOND);
    assert!(!world.sent.iter().any(|sent| sent.line() == "200 INVITE"));
}

#[test]
fn what_fails_says_why() {
    let check = |why: TaskError, text: &str| {
        let mut world = answered();
        world.signal(0, "task 7 look-up 3");
        world.pass(20 * MS);
        let run = world.tasks[0].clone();
        world.task_done(&run, Err(why));
        world.pass(SECOND);
        assert_eq!(outcomes(&world), [format!("7 {text}")]);
    };
    check(TaskError::Failed("no".into()), "no");
    check(TaskError::TimedOut, "not done in time");
    check(TaskError::Unknown, "no function of that name here");
    check(TaskError::Busy, "the node runs too many tasks already");
}

#[test]
fn what_is_too_much_fails_at_once() {
    let mut world = answered();
    world.signal(0, &format!("task 1 look-up {TASK_BYTES_MAX}"));
    world.pass(20 * MS);
    assert_eq!(outcomes(&world), ["1 more than 16384 bytes"]);
    for id in 0..=TASKS_PER_CALL_MAX {
        world.signal(0, &format!("task {id} look-up 1"));
        world.pass(20 * MS);
    }
    assert_eq!(world.tasks.len(), TASKS_PER_CALL_MAX);
    let expected = format!("{TASKS_PER_CALL_MAX} the call has {TASKS_PER_CALL_MAX} tasks already");
    assert_eq!(outcomes(&world)[1], expected);
    let run = world.tasks[0].clone();
    world.task_done(&run, Ok(vec![0; TASK_BYTES_MAX + 1].into()));
    world.pass(SECOND);
    assert_eq!(outcomes(&world)[2], "0 more than 16384 bytes");
}

#[test]
fn of_what_was_taken_back_or_replaced_nothing_is_heard() {
    let mut world = answered();
    for signal in ["task 1 one 1", "task 2 two 1", "leave 1", "task 2 other 1"] {
        world.signal(0, signal);
        world.pass(20 * MS);
    }
    for run in world.tasks.clone() {
        let name = run.1.task.name.clone();
        world.task_done(&run, Ok(name.into_bytes().into()));
        world.pass(20 * MS);
    }
    assert_eq!(outcomes(&world), ["2 other"]);
    let numbers: Vec<u32> = world.tasks.iter().map(|(_, run)| run.number).collect();
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn the_end_of_the_call_is_not_delayed_by_a_task() {
    let mut world = answered();
    world.signal(0, "task 1 look-up 1");
    world.pass(20 * MS);
    let tag = format!("To-tag: {}\n", world.tag());
    world.datagram(0, &request("BYE", "c", 2, "b", &tag));
    assert!(world.pass(50 * MS).contains("200 BYE"));
    let run = world.tasks[0].clone();
    world.task_done(&run, Ok(DONE));
    world.pass(120 * SECOND);
    assert_eq!(outcomes(&world), [""; 0]);
    let summary = world.summary(0);
    assert_eq!((summary.calls_owned, summary.held), (0, 0));
}
