//! A node dies under load: no call whose 200 the client saw is lost.

use std::time::{Duration, Instant};

use callring::demo::figures::{Figures, ms};
use callring::demo::phone::{Exchange, ExchangeNo, Phone};
use callring::proto::io::CallState;
use callring::proto::sip::Method;
use cluster_tests::arena::{Arena, PATIENCE, plan, say, wait_until};
use cluster_tests::sipp::{Load, Sipp};

const RATE: u32 = 200;
/// The node dies when it has that many calls.
const CALLS: u32 = 2_000;
/// Rings that long, so that calls are being set up when it dies.
const RING: Duration = Duration::from_millis(100);

#[test]
fn no_answered_call_is_lost_when_its_node_dies_during_set_up() {
    // Method: SIPp sets up calls at 200 a second through one of five nodes, which is killed in the
    // middle of it when it has 2,000. SIPp is stopped, and at once, long before anybody can be
    // declared dead, the BYE of every call whose 200 it saw goes to another node, from SIPp's
    // address, at the same rate.
    let mut plan = plan();
    plan.ring = RING;
    let mut arena = Arena::start(plan, 5);
    let load = Load {
        to: arena.sip(0),
        calls: CALLS,
        rate: RATE,
    };
    let sipp = Sipp::start(load, arena.cluster.dir());
    let enough = wait_until(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(100));
        let status = arena.cluster.status(1).ok()?;
        (status.status.calls_owned >= u64::from(CALLS)).then_some(())
    });
    assert!(enough.is_some(), "set-up does not get on");
    arena.kill(0);
    let killed = Instant::now();
    let (address, dialogs) = sipp.stop();
    let (answered, pause) = (dialogs.len(), ms(killed.elapsed()));
    say(&format!(
        "{answered} calls answered; BYEs begin {pause} after the kill"
    ));
    assert!(
        answered > CALLS as usize * 9 / 10,
        "{answered} calls answered"
    );

    let phone = Phone::bind(address).expect("SIPp has left its port");
    let others = arena.cluster.running();
    let pace = Duration::from_secs(1) / RATE;
    let mut byes = Vec::new();
    // All at once: an heir may ask in any of them meanwhile (SIP.md S1.2).
    let dialogs = dialogs.into_iter();
    let calls: Vec<_> = dialogs.map(|dialog| phone.adopt(dialog)).collect();
    for (n, call) in calls.into_iter().enumerate() {
        let to = arena.sip(others[n % others.len()]);
        byes.push(phone.request(call, Method::Bye, to));
        std::thread::sleep(pace);
    }
    let _ = phone.wait(PATIENCE, |agent| {
        let over = |bye: &ExchangeNo| agent.exchange(*bye).outcome.is_some();
        byes.iter().all(over).then_some(())
    });
    report(&phone, &byes);
    arena.finish(&[&phone]);
}

#[test]
fn every_copy_is_what_its_owner_has() {
    // Goal: nothing is left behind when the load ends: each call is confirmed, each copy has its
    // owner's version. Method: SIPp sets up 500 calls on one of three nodes and is done; every call
    // is looked at in full.
    let mut plan = plan();
    plan.ring = RING;
    let arena = Arena::start(plan, 3);
    let calls = 500;
    let load = Load {
        to: arena.sip(0),
        calls,
        rate: RATE,
    };
    let (_, dialogs) = Sipp::start(load, arena.cluster.dir()).finish();
    assert_eq!(dialogs.len(), calls as usize);
    let lines = arena.cluster.calls(1, 10_000).expect("the calls");
    assert_eq!(lines.len(), calls as usize);
    let mut behind: Vec<_> = lines.into_iter().map(|line| line.key).collect();
    let mut seen = Vec::new();
    let equal = wait_until(Duration::from_secs(10), || {
        seen.clear();
        behind.retain(|key| {
            let call = arena.cluster.call(1, key).expect("the call");
            let versions: Vec<_> = call.copies.iter().map(|copy| copy.version).collect();
            let confirmed = call.call.state == CallState::Confirmed;
            let equal = versions.len() == 2 && versions[0] == versions[1] && confirmed;
            if !equal {
                seen.push((call.call.call_id, call.call.state, call.copies));
            }
            !equal
        });
        behind.is_empty().then_some(())
    });
    assert!(
        equal.is_some(),
        "{} copies are behind: {seen:#?}",
        seen.len()
    );
    arena.finish(&[]);
}

fn report(phone: &Phone, byes: &[ExchangeNo]) {
    let exchanges: Vec<_> = byes.iter().map(|bye| phone.exchange(*bye)).collect();
    let figures: Figures = exchanges.iter().filter_map(Exchange::took).collect();
    let repeated = exchanges.iter().filter(|bye| bye.transmissions > 1).count();
    say(&format!(
        "{} BYEs to 200: {figures}; {repeated} retransmitted",
        byes.len()
    ));
    let wrong: Vec<_> = exchanges
        .iter()
        .filter(|bye| bye.status() != Some(200))
        .map(|bye| (phone.call(bye.call).call_id, bye.to, bye.status()))
        .collect();
    assert!(wrong.is_empty(), "{} without 200: {wrong:?}", wrong.len());
    assert!(
        repeated * 100 <= byes.len(),
        "{repeated} of {} BYEs were retransmitted",
        byes.len()
    );
}
