//! Membership at small scale, simulated: what it costs, what it notices, whom it wrongs.
//!
//! The table for a thousand members is `cargo run --release -p cluster-tests --bin swim`.

use callring_proto::base::time::Duration;
use cluster_tests::swim::{Net, Outcome, Plan, Preset, presets, run};

fn preset(name: &str) -> Preset {
    let all = presets().into_iter();
    let mut named = all.filter(|preset| preset.name == name);
    named.next().expect("there is such a preset")
}

fn quiet(members: usize, loss_percent: u32, seed: u64) -> Outcome {
    let outcome = run(Plan {
        members,
        loss_percent,
        preset: preset("lan"),
        quiet_periods: 120,
        crashes: 3,
        seed,
    });
    assert!(outcome.gathered, "seed {seed}: they never all met");
    outcome
}

/// Goal: a node pays for its probes, not for the size of the cluster. Method: bytes on the wire of
/// ten times the members, nothing happening.
#[test]
fn bytes_do_not_grow_with_members() {
    let (few, many) = (quiet(10, 0, 1), quiet(100, 0, 1));
    let growth = many.bytes_per_second / few.bytes_per_second;
    assert!(growth <= 1.5, "{few:?} {many:?}");
}

/// Goal: the living stay, and deaths are noticed as the preset's documentation says. Method: ten
/// members, without loss and with one datagram in twenty lost, then three crashes.
#[test]
fn the_living_stay_and_the_dead_are_noticed() {
    for seed in 0..5 {
        for loss_percent in [0, 5] {
            let outcome = quiet(10, loss_percent, seed);
            assert_eq!(
                (outcome.false_downs, outcome.renamed),
                (0, 0),
                "seed {seed}"
            );
            let (first, _, last) = outcome.detection.expect("all have noticed");
            assert!(first >= Duration::from_secs(5), "{outcome:?}");
            if loss_percent == 0 {
                assert!(last <= Duration::from_secs(11), "{outcome:?}");
            }
        }
    }
}

/// Goal: a node that stands still for two seconds is not called Down and keeps its number. Method:
/// each of ten in turn, and time enough for a suspicion to run out.
#[test]
fn two_seconds_of_standing_still_are_forgiven() {
    let Preset { config, delay, .. } = preset("lan");
    for seed in 0..5 {
        let mut net = Net::new(10, config, delay, seed);
        assert!(net.gather(Duration::from_secs(30)), "seed {seed}");
        let began = net.now();
        for nth in 0..10 {
            net.stop(nth, Duration::from_secs(2));
            net.run_for(Duration::from_secs(12));
        }
        let wrongs = (net.called_down(began, &[]), net.renamed());
        assert_eq!(wrongs, (0, 0), "seed {seed}");
    }
}
