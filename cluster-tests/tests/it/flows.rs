//! The flows of a dialog as SIPp plays them, against real processes: SIPp fails a call that gets
//! anything else than its scenario says, and each scenario says what must stand in the responses.

use cluster_tests::sipp::play;
use cluster_tests::troupe::{Part, Troupe};

const CALLS: u32 = 10;

#[test]
fn every_flow_is_played_without_a_failed_call() {
    // Method: three nodes whose application rings for half a second; every scenario some times
    // against each of the first two.
    let troupe = Troupe::start(
        &[Part {
            ring_ms: 500,
            ..Part::default()
        }; 3],
    );
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let scenarios = ["hold", "update", "info", "cancel", "prack", "session_timer"];
    let mut failed = Vec::new();
    for (at, scenario) in scenarios.into_iter().enumerate() {
        failed.extend(play(scenario, troupe.sip(at % 2), CALLS, dir).err());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    troupe.finish();
}
