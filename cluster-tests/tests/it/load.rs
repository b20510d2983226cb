//! A node dies under load: no call whose 200 the client saw is lost.

use std::time::Duration;

use callring::demo::figures::{Figures, ms};
use callring::demo::phone::{ExchangeNo, Phone};
use callring::proto::sip::Method;
use cluster_tests::arena::{Arena, PATIENCE, plan, say, wait_until};
use cluster_tests::sipp::{Load, Sipp};

const CALLS: u32 = 2_000;
const RATE: u32 = 200;
/// The node dies when it has that many.
const ENOUGH: u64 = 1_000;
/// Rings that long, so that calls are being set up when it dies.
const RING: Duration = Duration::from_millis(100);

#[test]
fn no_answered_call_is_lost_when_its_node_dies_during_set_up() {
    // Method: SIPp sets up 2,000 calls at 200 a second through one of five nodes, which is killed
    // half-way. Then the BYE of every call whose 200 SIPp saw goes to another node, from SIPp's
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
        (status.status.calls_owned >= ENOUGH).then_some(())
    });
    assert!(enough.is_some(), "set-up does not get on");
    arena.kill(0);
    let (address, dialogs) = sipp.finish();
    let answered = dialogs.len();
    say(&format!(
        "{answered} calls of {CALLS} answered before the node died"
    ));
    assert!(answered as u64 > ENOUGH / 2);
    assert!(answered < CALLS as usize, "the node died too late");

    let phone = Phone::bind(address).expect("SIPp has left its port");
    let others = arena.cluster.running();
    let pace = Duration::from_secs(1) / RATE;
    let mut byes = Vec::new();
    for (n, dialog) in dialogs.into_iter().enumerate() {
        let call = phone.adopt(dialog);
        let to = arena.sip(others[n % others.len()]);
        byes.push(phone.request(call, Method::Bye, to));
        std::thread::sleep(pace);
    }
    let _ = phone.wait(PATIENCE, |agent| {
        let over = |bye: &ExchangeNo| agent.exchange(*bye).outcome.is_some();
        byes.iter().all(over).then_some(())
    });
    report(&phone, &byes);
    let takeover_max = phone.look(|agent| {
        let times = byes.iter().filter_map(|bye| agent.exchange(*bye).took());
        times.collect::<Figures>().max()
    });
    say(&format!("slowest {}", ms(takeover_max)));
    arena.finish(&[&phone]);
}

fn report(phone: &Phone, byes: &[ExchangeNo]) {
    let exchanges: Vec<_> = byes.iter().map(|bye| phone.exchange(*bye)).collect();
    let figures: Figures = exchanges.iter().filter_map(|bye| bye.took()).collect();
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
