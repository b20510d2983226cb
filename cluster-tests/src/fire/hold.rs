//! Thousands of held calls, hundreds arriving a second, each hung up by the application's timer;
//! again and again a node is killed, and started again.

use std::time::{Duration, Instant};

use callring::demo::figures::Figures;
use callring::demo::phone::{Call, Phone};
use callring::proto::sip::Method;

use super::{Options, Report, wait_whole};
use crate::arena::wait_until;
use crate::fleet::{Common, Fleet, Spec};
use crate::load::{Load, Pace};
use crate::referee::Rule;

/// Copies are to be back within this.
const RESTORED: Duration = Duration::from_secs(10);
/// Longer than a hang-up may be late: a node must be declared dead, and its calls adopted.
const LATE: Duration = Duration::from_secs(20);

/// From a BYE until its answer is known to the replicas, on a busy machine.
const MOMENT: Duration = Duration::from_millis(500);

/// Runs the experiment: five nodes, two copies.
pub fn hold(options: &Options) -> Report {
    let mut report = Report::default();
    let talk = u64::from(options.calls / options.rate).max(1);
    let common = Common {
        hangup_after_s: Some(talk),
        membership: if options.strict { "lan" } else { "local" },
        relay: options.weather.map(|weather| (weather, options.seed)),
        ..Common::default()
    };
    let mut fleet = Fleet::start(common, &vec![Spec::default(); 5]);
    let load = Load::new(4);
    let pace = Pace {
        calls_per_s: options.rate,
        infos_per_s: 0,
        bye_after: None,
    };
    load.set(pace, &fleet.sips(&fleet.running()));
    let wanted = options.calls as usize * 95 / 100;
    let full = wait_until(Duration::from_secs(talk) * 2, || {
        std::thread::sleep(Duration::from_millis(100));
        (load.held_count() >= wanted).then_some(())
    });
    report.expect(full.is_some(), || {
        format!("only {} calls are held", load.held_count())
    });
    let mut restored = Vec::new();
    for repeat in 0..options.repeats {
        restored.extend(one_kill(repeat, &mut fleet, &load, &mut report));
    }
    load.quiet();
    let patience = Duration::from_secs(talk) + LATE;
    let over = wait_until(patience, || {
        std::thread::sleep(Duration::from_millis(200));
        (load.held_count() == 0).then_some(())
    });
    report.expect(over.is_some(), || {
        format!("{} calls were never hung up", load.held_count())
    });
    let figures: Figures = restored.into_iter().collect();
    report.tell(format!(
        "copies restored after: {figures} of {}",
        figures.count()
    ));
    let expected = [options.tolerated(), &[Rule::SecondBye]].concat();
    let tally = report.judge(&mut fleet, &load, &expected);
    let twice = tally.twice.len();
    let excused = across_a_death(&fleet, &load);
    report.tell(format!(
        "{twice} calls were hung up twice, {excused} of them by an heir whose owner died in the \
         moment of its BYE"
    ));
    report.expect(twice <= if options.strict { 0 } else { excused }, || {
        format!("{twice} calls were hung up twice: {:?}", tally.twice)
    });
    report.expect(tally.unreachable == 0 && tally.refused.is_empty(), || {
        format!(
            "refused {:?}, unreachable {}",
            tally.refused, tally.unreachable
        )
    });
    let late = |talked: &Duration| talked.saturating_sub(Duration::from_secs(talk));
    let late: Figures = tally.talked.iter().map(late).collect();
    report.tell(format!("hang-ups were late by: {late} of {}", late.count()));
    report
}

/// Calls that were hung up twice, the first time by a node that died at once: whether its BYE was
/// answered nobody can know.
fn across_a_death(fleet: &Fleet, load: &Load) -> usize {
    let lives = fleet.listeners();
    let excused = |epoch: Instant, call: &Call| {
        let mut byes = call.incoming_with(&Method::Bye);
        let (Some(first), Some(_)) = (byes.next(), byes.next()) else {
            return false;
        };
        let life = lives.iter().find(|life| life.address == first.source);
        let death = life.and_then(|life| life.down);
        death.is_some_and(|death| death <= epoch + first.at + MOMENT)
    };
    let count = |phone: &Phone| {
        let calls = phone.look(|agent| agent.calls().to_vec());
        let epoch = phone.epoch();
        calls.iter().filter(|call| excused(epoch, call)).count()
    };
    load.phones().iter().map(count).sum()
}

/// Kills a node, waits until all is as it was but for it, starts it again. How long it took.
fn one_kill(repeat: u32, fleet: &mut Fleet, load: &Load, report: &mut Report) -> Option<Duration> {
    let victim = repeat as usize % 5;
    let other = (victim + 1) % 5;
    let dead = fleet.sip(victim);
    let held = load.held_count();
    let killed = fleet.kill(victim);
    let moved = load.leave_out(dead);
    let whole = wait_whole(fleet, other, load, RESTORED * 3).map(|_| killed.elapsed());
    report.expect(whole.is_some_and(|took| took <= RESTORED), || {
        format!("kill {}: copies restored after {whole:.1?}", repeat + 1)
    });
    let began = Instant::now();
    fleet.restart(victim);
    fleet.meet();
    load.set_doors(&fleet.sips(&fleet.running()));
    let again = wait_whole(fleet, other, load, RESTORED * 3);
    report.expect(again.is_some(), || {
        format!("kill {}: not whole after it", repeat + 1)
    });
    report.tell(format!(
        "{}. {} killed, {held} calls held, {moved} requests under way moved: copies restored after \
         {:.1?}; again five after {:.1?}",
        repeat + 1,
        fleet.name(victim),
        whole.unwrap_or_default(),
        began.elapsed()
    ));
    whole
}
