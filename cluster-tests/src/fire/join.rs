//! A sixth node joins under load and gets its share of copies, nothing else moves; a node that was
//! killed and started again ends with its share too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use callring::proto::sip::Method;

use super::{Options, Report, wait_whole};
use crate::arena::{PATIENCE, wait_until};
use crate::fleet::{Common, Fleet, Spec};
use crate::load::{Load, Pace};

/// So much more than the ideal may move, and so much less is still a share: percent.
const MOVED_MAX: usize = 120;
const SHARE_MIN: usize = 80;
/// Copies have moved within this.
const MOVED: Duration = Duration::from_secs(30);

/// Who has each call, by key: its owner, and those that hold copies. A call that is given to one of
/// them has not moved.
type Copies = BTreeMap<String, BTreeSet<String>>;

/// Runs the experiment: five nodes and a sixth, two copies.
pub fn join(options: &Options) -> Report {
    let mut report = Report::default();
    let mut fleet = Fleet::start(Common::default(), &vec![Spec::default(); 5]);
    let (base, traffic) = fill(&fleet, options);
    let before = copies(&fleet, &base);
    let sixth = fleet.add(Spec::default());
    fleet.meet();
    traffic.set_doors(&fleet.sips(&fleet.running()));
    let after = settle(&fleet, &base, &before, sixth, 6, &mut report);
    let moved: usize = after
        .iter()
        .map(|(key, now)| {
            before
                .get(key)
                .map_or(0, |then| now.difference(then).count())
        })
        .sum();
    // The sixth owns none of them: it is one of five that a copy may lie with.
    let ideal = held_for_others(&after) / 5;
    report.tell(format!(
        "{} calls, {} copies: {moved} moved, ideal {ideal}",
        after.len(),
        held_for_others(&after)
    ));
    report.expect(moved * 100 <= (ideal + scatter(ideal)) * MOVED_MAX, || {
        format!("{moved} copies moved, the ideal is {ideal}")
    });

    let victim = 1;
    traffic.leave_out(fleet.sip(victim));
    fleet.kill(victim);
    let whole = wait_whole(&fleet, 0, &base, MOVED);
    report.expect(whole.is_some(), || {
        "copies are missing after the kill".into()
    });
    let before = copies(&fleet, &base);
    fleet.restart(victim);
    fleet.meet();
    traffic.set_doors(&fleet.sips(&fleet.running()));
    let _ = settle(&fleet, &base, &before, victim, 6, &mut report);

    traffic.quiet();
    let doors = fleet.sips(&fleet.running());
    let byes = base.ask_all(&base.held(), &Method::Bye, &doors, options.rate * 2);
    base.settle(&byes, PATIENCE);
    let _ = wait_until(PATIENCE, || (traffic.held_count() == 0).then_some(()));
    for load in [&base, &traffic] {
        let tally = report.judge(&mut fleet, load, options.tolerated());
        report.expect(tally.placed == tally.answered, || {
            format!(
                "refused {:?}, unreachable {}",
                tally.refused, tally.unreachable
            )
        });
    }
    report
}

/// How far few copies may be from their expected number by chance.
const fn scatter(ideal: usize) -> usize {
    2 * ideal.isqrt()
}

/// Calls that stay, and beside them calls that come and go.
fn fill(fleet: &Fleet, options: &Options) -> (Load, Load) {
    let (base, traffic) = (Load::new(2), Load::new(2));
    let pace = Pace {
        calls_per_s: options.rate,
        infos_per_s: 0,
        bye_after: None,
    };
    base.set(pace, &fleet.sips(&fleet.running()));
    let wanted = options.calls as usize;
    let _ = wait_until(PATIENCE * 2, || (base.held_count() >= wanted).then_some(()));
    base.quiet();
    let pace = Pace {
        infos_per_s: options.rate / 4,
        bye_after: Some(Duration::from_secs(5)),
        ..pace
    };
    traffic.set(pace, &fleet.sips(&fleet.running()));
    (base, traffic)
}

/// The copies beside the owners' own.
fn held_for_others(copies: &Copies) -> usize {
    let all: usize = copies.values().map(BTreeSet::len).sum();
    all - copies.len()
}

/// Who has the calls that stay.
fn copies(fleet: &Fleet, base: &Load) -> Copies {
    let mut ours = BTreeSet::new();
    for phone in base.phones() {
        phone.look(|agent| ours.extend(agent.calls().iter().map(|call| call.call_id.clone())));
    }
    let lines = fleet
        .calls(0)
        .map(|answer| answer.calls)
        .unwrap_or_default();
    lines
        .into_iter()
        .filter(|line| ours.contains(&line.call_id))
        .map(|line| {
            let owner = std::iter::once(line.owner);
            (line.key, owner.chain(line.replicas).collect())
        })
        .collect()
}

/// Waits until a newcomer has its share of copies; tells it.
fn settle(
    fleet: &Fleet,
    base: &Load,
    before: &Copies,
    newcomer: usize,
    members: usize,
    report: &mut Report,
) -> Copies {
    let began = Instant::now();
    let name = fleet.name(newcomer);
    let held = |copies: &Copies| copies.values().filter(|who| who.contains(&name)).count();
    let ideal = held_for_others(before) / (members - 1);
    let mut now = copies(fleet, base);
    let mut last = Instant::now();
    while began.elapsed() < MOVED && last.elapsed() < Duration::from_secs(4) {
        std::thread::sleep(Duration::from_millis(250));
        let next = copies(fleet, base);
        if next != now || (held(&next) + scatter(ideal)) * 100 < ideal * SHARE_MIN {
            last = Instant::now();
        }
        now = next;
    }
    let share = held(&now);
    report.tell(format!(
        "{name} has {share} calls or copies, its ideal share is {ideal}, {:.1?} after it came",
        last.saturating_duration_since(began)
    ));
    report.expect((share + scatter(ideal)) * 100 >= ideal * SHARE_MIN, || {
        format!("{name} has {share} of {ideal} copies")
    });
    now
}
