//! Every member in turn drains, leaves and comes back, under load that comes by way of two edges;
//! then an edge is killed and its address goes on at another process.

use std::time::{Duration, Instant};

use super::{Options, Report};
use crate::arena::{PATIENCE, wait_until};
use crate::fleet::{Common, Fleet, Spec};
use crate::load::{Load, Pace, Tally};
use crate::referee::Rule;

/// A drain ends within this.
const DRAINED: Duration = Duration::from_secs(10);
/// How long calls last.
const TALK: Duration = Duration::from_secs(10);

/// Runs the experiment: five members, two edges, two copies.
pub fn rolling(options: &Options) -> Report {
    let mut report = Report::default();
    let mut specs = vec![Spec::default(); 5];
    for n in 0..2 {
        specs.push(Spec {
            role: "edge",
            sip: Some(Fleet::shared_sip(n)),
            ..Spec::default()
        });
    }
    let mut fleet = Fleet::start(Common::default(), &specs);
    let edges = fleet.sips(&[5, 6]);
    let load = Load::new(4);
    let pace = Pace {
        calls_per_s: options.rate,
        infos_per_s: options.rate / 4,
        bye_after: Some(TALK),
    };
    load.set(pace, &edges);
    let full = options.rate as usize * 8;
    let filled = wait_until(PATIENCE, || (load.held_count() >= full).then_some(()));
    report.expect(filled.is_some(), || {
        format!("{} calls held", load.held_count())
    });
    let began = Instant::now();
    for at in 0..5 {
        let from = began.elapsed();
        let (drained, ended) = fleet.leave(at);
        report.tell(format!(
            "{from:.2?}: {} drained in {drained:.2?}, gone after {ended:.2?}; {} calls held",
            fleet.name(at),
            load.held_count()
        ));
        report.expect(drained <= DRAINED, || {
            format!("{} took {drained:.1?} to drain", fleet.name(at))
        });
        fleet.restart(at);
        fleet.meet();
    }
    fleet.kill(5);
    // The address moves: another process listens on it.
    fleet.restart(5);
    std::thread::sleep(TALK / 4);
    load.quiet();
    let over = wait_until(PATIENCE, || (load.held_count() == 0).then_some(()));
    report.expect(over.is_some(), || {
        format!("{} calls are left", load.held_count())
    });
    // Where the edge died with an INVITE, a member answers, in the name of the address that moves.
    let expected = [options.tolerated(), &[Rule::Contact]].concat();
    let tally = report.judge(&mut fleet, &load, &expected);
    let failed = tally.placed - tally.answered;
    report.expect(failed == 0, || {
        let when = tally.refusals.iter();
        let when = when.map(|(at, took)| (at.saturating_duration_since(began), *took));
        let when: Vec<_> = when.collect();
        let Tally {
            refused,
            unreachable,
            ..
        } = &tally;
        format!("{failed} calls failed: {refused:?}, {unreachable}; when: {when:.3?}")
    });
    report
}
