//! What is tried of ends before there is a record: the rules of set-up, and each taken out.

use super::configurations::{Configuration, Method};
use super::invariant::Invariants;
use super::rules::Rules;
use super::setup;

/// All configurations.
pub(crate) fn all() -> Vec<Configuration> {
    let of = setup::Rules::kept;
    let young = setup::Rules {
        young: 1 << 2,
        ..of(3, 3, 1)
    };
    let cut = setup::Rules {
        partition: true,
        ..of(4, 3, 0)
    };
    let anywhere = setup::Rules {
        anywhere: true,
        ..of(5, 3, 0)
    };
    macro_rules! but {
        ($from:expr, $($rule:ident: $value:expr),+) => {
            setup::Rules { $($rule: $value,)+ ..$from }
        };
    }
    let each = [
        ("S kept nodes=2 copies=2 f=1", of(2, 2, 1)),
        ("S kept nodes=3 copies=2 f=1", of(3, 2, 1)),
        ("S kept nodes=3 copies=3 f=1", of(3, 3, 1)),
        ("S kept nodes=4 copies=3 f=2", of(4, 3, 2)),
        ("S kept nodes=3 copies=3 f=1, one has just started", young),
        ("S kept nodes=4 copies=3 partition", cut),
        (
            "S kept nodes=5 copies=3 partition",
            but!(of(5, 3, 0), partition: true),
        ),
        ("S kept nodes=5 copies=3 f=2", of(5, 3, 2)),
        (
            "S -vouch nodes=3 copies=3 f=1",
            but!(of(3, 3, 1), vouch: false),
        ),
        (
            "S -young_is_mute nodes=3 copies=3 f=1, one has just started",
            but!(young, young_is_mute: false),
        ),
        (
            "S -majority nodes=4 copies=3 partition",
            but!(cut, majority: false),
        ),
        (
            "S -look_up nodes=2 copies=2 f=1",
            but!(of(2, 2, 1), look_up: false),
        ),
        (
            "S -look_up nodes=3 copies=3 f=1",
            but!(of(3, 3, 1), look_up: false),
        ),
        ("S over nodes=3 copies=3 f=2", of(3, 3, 2)),
        ("S over nodes=4 copies=3 f=3", of(4, 3, 3)),
        (
            "S over nodes=5 copies=3 partition, owner where few are",
            but!(anywhere, partition: true),
        ),
    ];
    let each = each.into_iter().map(|(name, rules)| Configuration {
        name: name.to_owned(),
        method: Method::SetUp(rules),
        rules: Rules::kept(),
        wanted: Invariants::ENDED_TOO,
    });
    each.collect()
}
