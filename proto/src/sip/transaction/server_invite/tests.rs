//! Goal: every cell of the INVITE server machine does what RFC 3261 17.2.1 and RFC 6026 say.
//! Method: a table of states and events, and the timers run out.

use super::super::check::{NOW, every_cell, over_the_wire, run_out, table, text};
use super::*;
use crate::base::time::Duration;

const STATES: &[&str] = &[
    "silent",
    "proceeding",
    "completed",
    "confirmed",
    "accepted",
    "terminated",
];
const EVENTS: &[&str] = &[
    "request", "1xx", "2xx", "3xx-6xx", "ack", "timeout", "error",
];

fn name<T>(machine: &ServerInvite<T>) -> &'static str {
    match machine.state() {
        State::Silent { .. } => "silent",
        State::Proceeding { .. } => "proceeding",
        State::Completed { .. } => "completed",
        State::Confirmed { .. } => "confirmed",
        State::Accepted { .. } => "accepted",
        State::Terminated => "terminated",
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Built by hand, so that states no stream can reach are covered too.
fn machine(reliable: bool, state: &str) -> ServerInvite {
    let end = NOW + T1_X64;
    let state = match state {
        "silent" => State::Silent {
            trying: bytes("100"),
            trying_at: NOW + TRYING_AFTER,
        },
        "proceeding" => State::Proceeding { last: bytes("180") },
        "completed" => State::Completed {
            response: bytes("486"),
            g: (!reliable).then(|| Retransmit::start(NOW)),
            h: end,
        },
        "confirmed" => State::Confirmed { i: NOW + T4 },
        "accepted" => State::Accepted { l: end },
        "terminated" => State::Terminated,
        other => panic!("{other}"),
    };
    ServerInvite {
        reliable,
        told: false,
        state,
    }
}

fn run(reliable: bool, state: &str, event: &str) -> (String, Vec<Action>) {
    let mut machine = machine(reliable, state);
    let mut actions = Vec::new();
    match event {
        "request" => machine.on_request(&mut actions),
        "1xx" => machine.provisional(bytes("183"), &mut actions),
        "2xx" => machine.success(bytes("200"), NOW, &mut actions),
        "3xx-6xx" => machine.failure(bytes("500"), NOW, &mut actions),
        "ack" => machine.on_ack(NOW, &mut actions),
        "timeout" => {
            let due = machine.next_deadline().unwrap_or(NOW);
            machine.on_timeout(due, &mut actions);
        }
        "error" => machine.on_transport_error(&mut actions),
        other => panic!("{other}"),
    }
    (name(&machine).to_owned(), actions)
}

// Goal: T8, T9, T10, T18. Method: each (state, event) cell, over UDP and over streams.
#[test]
fn every_cell_of_the_table() {
    every_cell(STATES, EVENTS, &table("INVITE server", "UDP"), |s, e| {
        run(false, s, e)
    });
    every_cell(STATES, EVENTS, &table("INVITE server", "stream"), |s, e| {
        run(true, s, e)
    });
}

fn out(machine: &mut ServerInvite) -> Vec<(u128, String)> {
    run_out(
        machine,
        ServerInvite::next_deadline,
        ServerInvite::on_timeout,
    )
}

// Goal: T8. Method: what a new transaction does by itself, in virtual time.
#[test]
fn t8_trying_goes_out_at_once_over_streams_and_after_200_ms_over_udp() {
    let mut actions = Vec::new();
    let mut stream = ServerInvite::new(true, bytes("100"), NOW, &mut actions);
    assert_eq!(
        (name(&stream), text(&actions)),
        ("proceeding", "send 100".to_owned())
    );
    assert_eq!(out(&mut stream), []);
    actions.clear();
    let mut udp = ServerInvite::new(false, bytes("100"), NOW, &mut actions);
    assert_eq!((name(&udp), text(&actions)), ("silent", String::new()));
    assert_eq!(out(&mut udp), [(200, "send 100".to_owned())]);
    udp.on_request(&mut actions);
    assert_eq!(text(&actions), "send 100");
}

// Goal: T9, T20, T21. Method: a 486 that nobody acknowledges, in virtual time.
#[test]
fn t9_timer_g_doubles_to_t2_until_timer_h_fails_once() {
    let again = [
        500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
    ];
    let mut expected: Vec<_> = again.map(|at| (at, "send 486".to_owned())).into();
    expected.push((32_000, "failed timeout; terminated".to_owned()));
    let mut udp = machine(false, "completed");
    assert_eq!(out(&mut udp), expected);
    assert!(udp.is_terminated());
    let mut stream = machine(true, "completed");
    assert_eq!(out(&mut stream), expected[10..]);
}

#[test]
fn t9_t10_timers_i_and_l_end_it_quietly() {
    let quiet = |at| [(at, "terminated".to_owned())];
    assert_eq!(out(&mut machine(false, "confirmed")), quiet(5_000));
    assert_eq!(out(&mut machine(false, "accepted")), quiet(32_000));
    assert_eq!(out(&mut machine(true, "accepted")), quiet(32_000));
}

// Goal: T20. Method: several failures; the TU hears of the first.
#[test]
fn a_failure_is_told_once_even_over_a_takeover() {
    let mut machine = machine(false, "completed");
    let mut actions = Vec::new();
    machine.on_transport_error(&mut actions);
    machine.on_transport_error(&mut actions);
    machine = ServerInvite::restore(&machine.snapshot(NOW), NOW);
    machine.on_timeout(NOW + T1_X64, &mut actions);
    machine.on_timeout(NOW + T1_X64, &mut actions);
    assert_eq!(text(&actions), "failed transport; terminated");
}

#[test]
fn a_late_wake_up_sends_once() {
    let mut machine = machine(false, "completed");
    let mut actions = Vec::new();
    machine.on_timeout(NOW + Duration::from_secs(20), &mut actions);
    assert_eq!(text(&actions), "send 486");
    assert_eq!(machine.next_deadline(), Some(NOW + Duration::from_secs(21)));
}

// Goal: a takeover keeps every state. Method: image, encoding, another clock, time passing.
#[test]
fn each_state_survives_a_takeover() {
    for state in STATES {
        for reliable in [false, true] {
            let mut machine = machine(reliable, state);
            let later = NOW + Duration::from_millis(100);
            let image = over_the_wire(&machine.snapshot(later));
            let elsewhere = Instant::from_nanos(7);
            let mut heir = ServerInvite::restore(&image, elsewhere);
            let left = machine.next_deadline().map(|at| at.since(later));
            assert_eq!(heir.next_deadline().map(|at| at.since(elsewhere)), left);
            assert_eq!(heir.snapshot(elsewhere), image);
            let back = ServerInvite::restore(&image, later);
            assert_eq!(back, machine);
            heir = back;
            assert_eq!(out(&mut heir), out(&mut machine));
        }
    }
}
