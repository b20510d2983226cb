//! Ownership under fire: experiments with real processes, thousands of calls and real kills, each
//! with a verdict. Full size by `cargo run --release -p cluster-tests --bin fire`, reduced in
//! `cluster-tests/tests/it/fire.rs`.
//!
//! | file | what is done to the cluster |
//! |---|---|
//! | `takeover` | a node is killed, the next request of each of its calls goes elsewhere |
//! | `hold` | nodes are killed one after another while thousands of calls are held |
//! | `join` | a sixth node joins, a killed one comes back |
//! | `rolling` | members leave and come back in turn behind two edges, one of which is killed |
//! | `partition` | two of five are cut off for a while |
//! | this one | options, the report, what all have in common |
//!
//! May touch: fleets, loads, the referee. What is a violation never depends on speed, but where
//! [`Options::strict`] asks for the targets.

mod hold;
mod join;
mod partition;
mod rolling;
mod takeover;

use std::fmt;
use std::time::{Duration, Instant};

use callring::admin::api::Status;
use callring::demo::figures::Figures;

use crate::arena::say;
use crate::fleet::Fleet;
use crate::load::{Load, Tally};
use crate::referee::{Rule, judge};
use crate::relay::Weather;

pub use hold::hold;
pub use join::join;
pub use partition::partition;
pub use rolling::rolling;
pub use takeover::{mixed, takeover, zones};

/// How large an experiment is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Calls held, or made for each repetition.
    pub calls: u32,
    /// Calls, or requests, a second.
    pub rate: u32,
    /// How often it is done.
    pub repeats: u32,
    /// How long the fault lasts, where it lasts.
    pub fault: Duration,
    /// What becomes of datagrams between nodes; none: no relay.
    pub weather: Option<Weather>,
    /// Of the relay's chance.
    pub seed: u64,
    /// Speed is judged too.
    pub strict: bool,
}

impl Options {
    /// What a starved machine makes of a healthy cluster: members that get no processor for tens of
    /// milliseconds count as silent, and others speak from their own addresses for them.
    #[must_use]
    pub const fn tolerated(&self) -> &'static [Rule] {
        if self.strict {
            &[]
        } else {
            &[Rule::WrongWay, Rule::Contact]
        }
    }
}

/// What came of an experiment.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Report {
    /// What was wrong.
    pub violations: Vec<String>,
    /// What is worth knowing.
    pub lines: Vec<String>,
}

impl Report {
    /// Tells a figure.
    pub fn tell(&mut self, text: impl Into<String>) {
        let text = text.into();
        say(&text);
        self.lines.push(text);
    }

    /// Something was wrong unless `right`.
    pub fn expect(&mut self, right: bool, otherwise: impl FnOnce() -> String) {
        if !right {
            let text = otherwise();
            say(&format!("VIOLATION: {text}"));
            self.violations.push(text);
        }
    }

    /// # Panics
    /// If something was wrong.
    pub fn expect_clean(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }

    /// What no experiment may show: a lost call, a strange answer, a broken rule on the wire, an
    /// ERROR in a log. Broken rules in `expected` are counted only.
    pub fn judge(&mut self, fleet: &mut Fleet, load: &Load, expected: &[Rule]) -> Tally {
        let tally = load.tally();
        self.tell(tally.to_string());
        self.expect(tally.lost.is_empty(), || {
            let some: Vec<_> = tally.lost.iter().take(5).collect();
            format!("{} answered calls lost: {some:?}", tally.lost.len())
        });
        self.expect(tally.odd.is_empty(), || {
            format!("answers in dialogs: {:?}", tally.odd)
        });
        let listeners = fleet.listeners();
        let mut broken = std::collections::BTreeMap::<Rule, usize>::new();
        let mut datagrams = 0;
        for phone in load.phones() {
            let mut verdict = judge(&phone.capture(), &listeners);
            datagrams += verdict.datagrams;
            for violation in &verdict.violations {
                *broken.entry(violation.rule).or_default() += 1;
            }
            let is_new = |rule: Rule| !expected.contains(&rule);
            verdict.violations.retain(|one| is_new(one.rule));
            self.expect(verdict.violations.is_empty(), || verdict.to_string());
        }
        self.tell(format!(
            "referee: {datagrams} datagrams, broken: {broken:?}"
        ));
        let faults = fleet.faults();
        self.expect(faults.is_empty(), || faults.join("\n"));
        if !self.violations.is_empty() {
            let path = fleet.keep();
            self.tell(format!("logs and configuration are in {}", path.display()));
        }
        tally
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        for violation in &self.violations {
            writeln!(f, "VIOLATION: {violation}")?;
        }
        match self.violations.len() {
            0 => write!(f, "verdict: passed"),
            count => write!(f, "verdict: FAILED, {count} violations"),
        }
    }
}

/// Calls that may end while the cluster is asked about them.
const SLACK: usize = 20;

/// A cluster that is whole: everybody answers, every call has its copies.
fn is_whole(status: &Status, held: usize) -> bool {
    let owned = usize::try_from(status.calls_owned).unwrap_or(usize::MAX);
    status.under_replicated == 0 && owned + SLACK >= held
}

/// Waits until the cluster is whole, as the node `at` sees it. How long that took; none if it was
/// not in time.
fn wait_whole(fleet: &Fleet, at: usize, load: &Load, patience: Duration) -> Option<Duration> {
    let began = Instant::now();
    while began.elapsed() < patience {
        let held = load.held_count();
        if let Some(answer) = fleet.status(at)
            && answer.unreachable.is_empty()
            && is_whole(&answer.status, held)
        {
            return Some(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

/// The speed that the design promises.
fn judge_speed(report: &mut Report, what: &str, figures: &Figures, limits_ms: [u64; 3]) {
    for (percent, limit) in [50, 99, 100].into_iter().zip(limits_ms) {
        let (got, limit) = (figures.percentile(percent), Duration::from_millis(limit));
        report.expect(got <= limit, || {
            format!("{what}: p{percent} is {got:.1?}, the target {limit:?}")
        });
    }
}
