//! Two of five nodes are cut off from the other three, under load on both sides, and healed: one
//! owner per call soon after, and the books agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use callring::admin::api::Call as Line;
use callring::proto::io::CallState;
use callring::proto::sip::Method;

use super::{Options, Report};
use crate::arena::{PATIENCE, wait_until};
use crate::fleet::{Common, Fleet, Spec};
use crate::load::{Asked, Load, Pace, Placed};
use crate::referee::Rule;
use crate::relay::Weather;

/// One owner per call within this after the healing.
const ONE_OWNER: Duration = Duration::from_secs(10);

/// Runs the experiment: five nodes, three copies, so that many calls are on both sides.
pub fn partition(options: &Options) -> Report {
    let mut report = Report::default();
    let talk = u64::from(options.calls / options.rate).max(1);
    let common = Common {
        copies: 3,
        hangup_after_s: Some(talk),
        relay: Some((options.weather.unwrap_or(Weather::new(0, 0)), options.seed)),
        ..Common::default()
    };
    let mut fleet = Fleet::start(common, &vec![Spec::default(); 5]);
    let load = Load::new(4);
    let pace = Pace {
        calls_per_s: options.rate,
        infos_per_s: 0,
        bye_after: None,
    };
    let doors = fleet.sips(&fleet.running());
    load.set(pace, &doors);
    let wanted = options.calls as usize * 9 / 10;
    let _ = wait_until(PATIENCE * 2, || {
        std::thread::sleep(Duration::from_millis(50));
        (load.held_count() >= wanted).then_some(())
    });
    let held = load.held_count();
    fleet.cut(&[0, 1], &[2, 3, 4]);
    let began = Instant::now();
    let asked = ask_through(&load, options.fault);
    let during = load.times(&asked);
    fleet.relay().heal();
    let healed = Instant::now();
    report.tell(format!(
        "{held} calls held, cut for {:.0?}, INFOs: {during}; {} calls held at the end",
        began.elapsed(),
        load.held_count()
    ));
    std::thread::sleep(Duration::from_secs(1));
    load.quiet();
    let balance = wait_until(ONE_OWNER * 3, || {
        books(&fleet).ok().map(|()| healed.elapsed())
    });
    report.tell(format!("the books agree {balance:.1?} after the healing"));
    report.expect(balance.is_some_and(|took| took <= ONE_OWNER), || {
        format!("the books: {:?}", books(&fleet))
    });
    let over = wait_until(Duration::from_secs(talk) + PATIENCE, || {
        std::thread::sleep(Duration::from_millis(100));
        (load.held_count() == 0).then_some(())
    });
    report.expect(over.is_some(), || never_hung_up(&fleet, &load, began));
    let left = wait_until(PATIENCE, || {
        let owned: u64 = fleet.owned(0).values().map(|(owned, _)| owned).sum();
        (owned == 0).then_some(())
    });
    report.expect(left.is_some(), || {
        format!("calls are left: {:?}", fleet.owned(0))
    });
    // Neither side knows what the other has told: it may hang up again, or say where a call is now
    // (SIP.md S1.2) that is over.
    let expected = [options.tolerated(), &[Rule::SecondBye, Rule::AfterEnd]].concat();
    let tally = report.judge(&mut fleet, &load, &expected);
    report.tell(format!(
        "double effects: {} calls hung up twice",
        tally.twice.len()
    ));
    report
}

/// Asks in calls for so long. Phones stay on their side: each asks the node it called.
fn ask_through(load: &Load, fault: Duration) -> Vec<Asked> {
    let (began, pause) = (Instant::now(), fault / 10);
    let mut asked = Vec::new();
    while began.elapsed() < fault {
        // The youngest are not hung up meanwhile.
        for call in load.held().iter().rev().take(50) {
            asked.push(load.ask(call, Method::Info, call.door));
            std::thread::sleep(pause / 200);
        }
        std::thread::sleep(pause / 4);
    }
    asked
}

/// The calls that nobody ended, and what the cluster knows of them.
fn never_hung_up(fleet: &Fleet, load: &Load, cut: Instant) -> String {
    let listed = fleet.calls(0).map(|answer| answer.calls);
    let listed = listed.unwrap_or_default();
    let tell = |call: &Placed| {
        let call_id = load.phones()[call.phone].call(call.call).call_id;
        let line = listed.iter().find(|line| line.call_id == call_id);
        let before = cut.saturating_duration_since(call.at);
        let after = call.at.saturating_duration_since(cut);
        let door = call.door;
        format!("{call_id} by {door}, {before:.1?} before the cut, {after:.1?} after: {line:?}")
    };
    let held: Vec<String> = load.held().iter().map(tell).collect();
    let (count, lines) = (held.len(), held.join("\n"));
    format!("{count} calls were never hung up:\n{lines}")
}

/// Whether what each member counts is what the list of calls says, each call with one owner. Calls
/// end meanwhile, so each is counted before and after.
fn books(fleet: &Fleet) -> Result<(), String> {
    let before = counted(fleet)?;
    let listed = listed(fleet)?;
    let after = counted(fleet)?;
    for (name, before) in &before {
        let after = after.get(name).copied().unwrap_or_default();
        let listed = listed.get(name).copied().unwrap_or_default();
        if listed > after.max(*before) || listed < after.min(*before) {
            return Err(format!(
                "{name} counts {before}, then {after}; listed are {listed}"
            ));
        }
    }
    Ok(())
}

/// The live calls that the cluster lists, by owner.
fn listed(fleet: &Fleet) -> Result<BTreeMap<String, u64>, String> {
    let first = fleet.running()[0];
    let answer = fleet.calls(first).ok_or("no list of calls")?;
    if answer.more || !answer.unreachable.is_empty() {
        return Err(format!("incomplete: {:?}", answer.unreachable));
    }
    let mut listed: BTreeMap<String, u64> = BTreeMap::new();
    let mut keys = BTreeSet::new();
    // What has ended is listed for a while and counted nowhere.
    let stands = |call: &&Line| call.state != CallState::Ending;
    for call in answer.calls.iter().filter(stands) {
        *listed.entry(call.owner.clone()).or_default() += 1;
        if !keys.insert(call.key.clone()) {
            return Err(format!("{} is listed twice", call.key));
        }
    }
    Ok(listed)
}

/// The calls that each member says it owns.
fn counted(fleet: &Fleet) -> Result<BTreeMap<String, u64>, String> {
    let mut counted = BTreeMap::new();
    for at in fleet.running() {
        let name = fleet.name(at);
        let owned = fleet.owned(at);
        let own = owned.get(&name).ok_or(format!("{name} does not count"))?;
        if owned.len() != fleet.running().len() {
            return Err(format!("{name} sees {owned:?}"));
        }
        counted.insert(name, own.0);
    }
    Ok(counted)
}
