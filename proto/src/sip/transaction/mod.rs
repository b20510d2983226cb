//! Transactions (RFC 3261 17, RFC 6026, RFC 4320): one pure machine per file.
//!
//! | file | machine |
//! |---|---|
//! | [`server_invite`] | RFC 3261 17.2.1 and RFC 6026 |
//! | [`server_other`] | RFC 3261 17.2.2 and RFC 4320 |
//! | [`client_invite`] | RFC 3261 17.1.1 and RFC 6026 |
//! | [`client_other`] | RFC 3261 17.1.2 |
//! | [`success`] | RFC 3261 13.3.1.4: the UAS core's 2xx until its ACK |
//! | [`reliable`] | RFC 3262 3: the UAS core's reliable provisional until its PRACK |
//! | [`key`] | which transaction a message belongs to |
//! | [`timer`] | deadlines and their remaining time |
//!
//! A machine is told events and bytes and pushes [`Action`]s. It never parses or writes a message,
//! knows no table, no flow and no clock. Rules common to all of them:
//!
//! - After [`Action::Terminated`] every event is absorbed without an action: whoever keeps the
//!   table may be late in dropping the machine.
//! - [`Action::Failed`] is pushed at most once in the life of a machine (RFC 3261 17.1.4, 17.2.4).
//! - `on_timeout` handles every timer that is due and none that isn't, so a stale or early call is
//!   harmless. A late call sends a response or request once, not once per missed interval.
//! - `snapshot` turns deadlines into remaining milliseconds, `restore` gives them back relative to
//!   the heir's clock. A timer that was overdue is due at once.
//!
//! # Tables
//!
#![doc = include_str!("tables.md")]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod client_invite;
pub mod client_other;
pub mod key;
pub mod reliable;
pub mod server_invite;
pub mod server_other;
pub mod success;
pub mod timer;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a machine asks of whoever keeps it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand these bytes to the transaction's flow (a server's response way, a client's next hop).
    Send(Bytes),
    /// The message of the event that was just fed in is the TU's: a client's response, or an ACK
    /// that reached a server transaction in state Accepted.
    Deliver,
    /// Tell the TU, once, that the transaction failed: 408 or 503 to a client's TU (RFC 3261
    /// 8.1.3.1), "no ACK" or "could not send" to a server's.
    Failed(Failure),
    /// The machine is done; it can be dropped from its table.
    Terminated,
}

/// Why a transaction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// Nobody answered (Timers B, F) or acknowledged (Timer H, 64*T1 of a 2xx) in time.
    Timeout,
    /// The transport said that it could not send.
    Transport,
}

/// Tables of (state, event) as text, and virtual time, for the machines' tests.
#[cfg(test)]
mod check {
    use super::{Action, Failure};
    use crate::base::time::{Duration, Instant};

    /// Some instant far from the node's start, so that a confusion with zero shows.
    pub(super) const NOW: Instant = Instant::from_nanos(1_000_000_000_000);

    /// (state, event, state after it, actions as [`text`] renders them).
    pub(super) type Row = (&'static str, &'static str, &'static str, &'static str);

    /// The rows of the table called `title` in the documentation that hold `over` a transport.
    pub(super) fn table(title: &str, over: &str) -> Vec<Row> {
        let tables = include_str!("tables.md").split("\n### ");
        let mut found = tables.filter_map(|table| table.strip_prefix(title));
        let table = found.next().expect("a table of this title");
        let lines = table.lines().filter(|line| line.starts_with("| "));
        let rows = lines.map(|line| line.trim_matches('|').split('|').map(str::trim));
        let rows = rows.map(Iterator::collect::<Vec<_>>).skip(1);
        rows.filter(|row| row[2] == "both" || row[2] == over)
            .map(|row| {
                (
                    row[0],
                    row[1],
                    row[3],
                    if row[4] == "-" { "" } else { row[4] },
                )
            })
            .collect()
    }

    /// Each cell of `states` x `events` stands exactly once in `rows`, and `run` agrees with it.
    pub(super) fn every_cell(
        states: &[&str],
        events: &[&str],
        rows: &[Row],
        run: impl Fn(&str, &str) -> (String, Vec<Action>),
    ) {
        for state in states {
            for event in events {
                let cell: Vec<_> = rows
                    .iter()
                    .filter(|row| row.0 == *state && row.1 == *event)
                    .collect();
                assert_eq!(cell.len(), 1, "rows for ({state}, {event})");
                let (after, actions) = run(state, event);
                let found = (after.as_str(), text(&actions));
                assert_eq!(
                    found,
                    (cell[0].2, cell[0].3.to_owned()),
                    "({state}, {event})"
                );
            }
        }
        assert_eq!(
            rows.len(),
            states.len() * events.len(),
            "a row of no state or event"
        );
    }

    /// `send 180; failed timeout; terminated`.
    pub(super) fn text(actions: &[Action]) -> String {
        let one = |action: &Action| match action {
            Action::Send(bytes) => format!("send {}", String::from_utf8_lossy(bytes)),
            Action::Deliver => "deliver".to_owned(),
            Action::Failed(Failure::Timeout) => "failed timeout".to_owned(),
            Action::Failed(Failure::Transport) => "failed transport".to_owned(),
            Action::Terminated => "terminated".to_owned(),
        };
        actions.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// Runs timers in virtual time until none is left: (milliseconds since [`NOW`], what it did).
    pub(super) fn run_out<M>(
        machine: &mut M,
        next: impl Fn(&M) -> Option<Instant>,
        fire: impl Fn(&mut M, Instant, &mut Vec<Action>),
    ) -> Vec<(u128, String)> {
        let mut log = Vec::new();
        while let Some(at) = next(machine) {
            let mut actions = Vec::new();
            fire(machine, at - Duration::from_nanos(1), &mut actions);
            assert_eq!(actions, [], "a timer fired before its time");
            fire(machine, at, &mut actions);
            log.push((at.since(NOW).as_millis(), text(&actions)));
            assert!(log.len() < 100, "timers never end");
        }
        log
    }

    /// The same value after a trip through the encoding of records.
    pub(super) fn over_the_wire<I>(image: &I) -> I
    where
        I: serde::Serialize + serde::de::DeserializeOwned,
    {
        postcard::from_bytes(&postcard::to_stdvec(image).unwrap()).unwrap()
    }
}
