//! A node is killed, and at once the next request of each of its calls goes to another node, at a
//! rate, long before anybody is declared dead.

use std::time::{Duration, Instant};

use callring::demo::figures::Figures;
use callring::proto::sip::Method;

use super::{Options, Report, judge_speed, wait_whole};
use crate::arena::PATIENCE;
use crate::fleet::{Common, Fleet, Spec};
use crate::load::{Asked, Load, Pace, Placed};

/// Requests sent later than this after the kill find the silence known.
const KNOWN: Duration = Duration::from_millis(150);
/// p50, p99 and the slowest, milliseconds.
const TARGETS_MS: [u64; 3] = [5, 100, 500];

/// Runs the experiment: five nodes, two copies.
pub fn takeover(options: &Options) -> Report {
    run(options, &vec![Spec::default(); 5])
}

/// The same where every other node speaks the wire's version before the last.
pub fn mixed(options: &Options) -> Report {
    let spec = |n: usize| Spec {
        wire_max: n.is_multiple_of(2).then_some(1),
        ..Spec::default()
    };
    run(options, &(0..5).map(spec).collect::<Vec<_>>())
}

/// All nodes of one zone are killed at once: the copies are in the other one.
pub fn zones(options: &Options) -> Report {
    let mut report = Report::default();
    let zone = |zone| Spec {
        zone,
        ..Spec::default()
    };
    let mut fleet = Fleet::start(Common::default(), &["a", "a", "b", "b", "b"].map(zone));
    let load = Load::new(2);
    let calls = fill(&fleet, &load, 0, options, &mut report);
    let lines = fleet.calls(0).map(|answer| answer.calls);
    let elsewhere = |name: &String| ["n3", "n4", "n5"].contains(&name.as_str());
    for line in lines.unwrap_or_default() {
        report.expect(line.replicas.iter().all(elsewhere), || format!("{line:?}"));
    }
    for at in 0..2 {
        let dead = fleet.sip(at);
        fleet.kill(at);
        load.leave_out(dead);
    }
    let doors = fleet.sips(&[2, 3, 4]);
    for method in [Method::Info, Method::Bye] {
        let asked = load.ask_all(&calls, &method, &doors, options.rate);
        load.settle(&asked, PATIENCE);
        report.tell(format!("a zone killed, {method}: {}", load.times(&asked)));
    }
    report.judge(&mut fleet, &load, options.tolerated());
    report
}

fn run(options: &Options, specs: &[Spec]) -> Report {
    let mut report = Report::default();
    let common = Common {
        relay: options.weather.map(|weather| (weather, options.seed)),
        ..Common::default()
    };
    let mut fleet = Fleet::start(common, specs);
    let load = Load::new(4);
    let (mut first, mut known) = (Vec::new(), Vec::new());
    for repeat in 0..options.repeats {
        let victim = repeat as usize % 5;
        let calls = fill(&fleet, &load, victim, options, &mut report);
        let dead = fleet.sip(victim);
        let others: Vec<usize> = (0..5).filter(|at| *at != victim).collect();
        let doors = fleet.sips(&others);
        let killed = fleet.kill(victim);
        load.leave_out(dead);
        let asked = load.ask_all(&calls, &Method::Info, &doors, options.rate);
        load.settle(&asked, PATIENCE);
        let (early, late) = split(&load, &asked, killed + KNOWN);
        let times = load.times(&asked);
        report.tell(format!(
            "{}. {} killed: {times}; slowest {:.1?}",
            repeat + 1,
            fleet.name(victim),
            load.slowest(&asked, 3)
        ));
        report.expect(times.failed == 0, || {
            format!("repeat {}: {} requests failed", repeat + 1, times.failed)
        });
        first.extend(early);
        known.extend(late);
        let byes = load.ask_all(&calls, &Method::Bye, &doors, options.rate * 2);
        load.settle(&byes, PATIENCE);
        fleet.restart(victim);
        fleet.meet();
    }
    let (first, known): (Figures, Figures) =
        (first.into_iter().collect(), known.into_iter().collect());
    report.tell(format!(
        "requests before the silence was known: {first} of {}",
        first.count()
    ));
    report.tell(format!("requests after that: {known} of {}", known.count()));
    if let Some(answer) = fleet.status(0) {
        let takeovers = answer.status.takeover_us;
        report.tell(format!("as the nodes saw it: {takeovers:?}"));
    }
    if options.strict {
        judge_speed(&mut report, "takeover", &known, TARGETS_MS);
        let max = first.max();
        report.expect(max < Duration::from_millis(TARGETS_MS[2]), || {
            format!("a request before the silence was known took {max:.1?}")
        });
    }
    report.judge(&mut fleet, &load, options.tolerated());
    report
}

/// Calls that the node `at` owns, answered and copied.
fn fill(
    fleet: &Fleet,
    load: &Load,
    at: usize,
    options: &Options,
    report: &mut Report,
) -> Vec<Placed> {
    let before = load.placed().len();
    let pace = Pace {
        calls_per_s: options.rate,
        infos_per_s: 0,
        bye_after: None,
    };
    load.set(pace, &[fleet.sip(at)]);
    let wanted = before + options.calls as usize;
    let until = Instant::now() + PATIENCE * 2;
    while load.placed().len() < wanted && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    load.quiet();
    let whole = wait_whole(fleet, at, load, PATIENCE);
    report.expect(whole.is_some(), || {
        "copies are missing before the kill".into()
    });
    let mut held = load.held();
    held.retain(|call| call.door == fleet.sip(at));
    held
}

/// How long those took that were sent before `at`, and the others.
fn split(load: &Load, asked: &[Asked], at: Instant) -> (Vec<Duration>, Vec<Duration>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for one in asked {
        let phone = &load.phones()[one.phone];
        let exchange = phone.exchange(one.exchange);
        let took = exchange.took().unwrap_or(Duration::MAX);
        if phone.epoch() + exchange.sent_at < at {
            before.push(took);
        } else {
            after.push(took);
        }
    }
    (before, after)
}
