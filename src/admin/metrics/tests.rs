//! The exposition text against a golden file: metric names are a contract with dashboards.

use super::*;

fn facts() -> Facts {
    let labelled = |pairs: &[(&str, u64)]| {
        let owned = pairs
            .iter()
            .map(|(label, count)| ((*label).to_owned(), *count));
        owned.collect()
    };
    Facts {
        version: "0.1.0".into(),
        uptime_s: 90,
        summary: Summary {
            calls_owned: 1,
            calls_replica: 2,
            under_replicated: 3,
            in_setup: 17,
            uncovered: 18,
            in_minority: 19,
            held: 4,
            transactions: 5,
            degraded_total: 6,
            takeovers_total: 7,
            claimed_total: 19,
            adopted_total: 20,
            invited_total: 21,
            handed_over_total: 23,
            repaired_total: 22,
            gaps_total: 24,
            claims_refused_total: 8,
            relayed_total: 9,
            fenced_total: 10,
            births: 17,
            submitted_total: 18,
            resubmitted_total: 19,
            births_ended_total: 20,
            sip_in: labelled(&[("INVITE", 11), ("2xx", 12)]),
            sip_out: labelled(&[("200", 13)]),
            sip_rejected: labelled(&[("a \"quoted\\\nreason", 14)]),
            frames_bad_total: 15,
            gate_released_total: 16,
            gate_hold: Histogram {
                bounds: vec![100, 1_500, 2_000_000],
                counts: vec![1, 2, 0, 4],
                sum: 12_345_678,
            },
            takeover: Histogram::default(),
            batch_records: Histogram {
                bounds: vec![1, 8],
                counts: vec![5, 0, 0],
                sum: 5,
            },
            silent: Vec::new(),
            rtt_us: Vec::new(),
        },
        shards_mute: 0,
        draining: true,
        members: vec![(State::Alive, 2), (State::Down, 1)],
        silent: vec!["sip-3".into()],
        rtt_us: vec![("sip-2".into(), 250)],
        fabric: FabricTotals::default(),
        node: NodeStats::default(),
    }
}

/// The whole text, byte for byte.
#[test]
fn text_is_the_golden_one() {
    let text = render(&facts());
    assert_eq!(text, include_str!("golden.txt"), "{text}");
}

/// Every line is one that Prometheus reads, each family is described once and before its samples.
#[test]
fn text_is_well_formed() {
    let mut families: Vec<String> = Vec::new();
    for line in render(&facts()).lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(!families.contains(&name.to_owned()), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            families.push(name.to_owned());
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let name = series.split('{').next().unwrap();
            let family = families.last().unwrap();
            let suffix = name.strip_prefix(family.as_str()).unwrap();
            assert!(
                ["", "_bucket", "_sum", "_count"].contains(&suffix),
                "{line}"
            );
        }
    }
}

/// Microseconds become seconds without a rounding error.
#[test]
fn seconds_are_exact() {
    for (given, expected) in [
        (0, "0"),
        (1, "0.000001"),
        (50_000, "0.05"),
        (2_500_000, "2.5"),
        (10_000_000, "10"),
    ] {
        assert_eq!(micros(given), expected);
    }
}
