//! What is tried: A the draft, B the rules as kept, C those with one rule taken out, D more faults
//! than are promised to be survived, H holes that the rules have and what would close them, S calls
//! in set-up, W random walks of B with everything mixed, X those of C.

use super::ends;
use super::healing;
use super::invariant::Invariants;
use super::rules::Rules;
use super::setup;
use super::start::Start;

/// How it is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    Search,
    Walk,
    /// A search of the other state machine.
    SetUp(setup::Rules),
}

/// One thing to try.
pub(crate) struct Configuration {
    pub(crate) name: String,
    pub(crate) method: Method,
    pub(crate) rules: Rules,
    pub(crate) wanted: Invariants,
}

/// What survives: ack policies with as many faults as they promise to survive.
pub(crate) const POLICIES: [(usize, bool, u8); 4] =
    [(2, true, 1), (3, false, 1), (3, true, 1), (3, true, 2)];

/// What taking out a rule is looked at with, unless lateness matters.
const CORE: Invariants = Invariants::ALL.without(Invariants::LATE_OUTPUT);

pub(crate) fn policy(copies: usize, ack_all: bool, faults: u8) -> String {
    let ack = if ack_all { "all" } else { "one" };
    format!("copies={copies} ack={ack} f={faults}")
}

/// All configurations, in the order of their names.
pub(crate) fn all() -> Vec<Configuration> {
    let mut all = draft();
    all.extend(kept());
    all.extend(healing::kept());
    all.extend(without_one());
    all.extend(healing::without_one());
    all.extend(over_budget());
    all.extend(holes());
    all.extend(ends::all());
    all.extend(walks());
    all.extend(healing::walks());
    all.extend(walks_without_one());
    all
}

pub(crate) fn searched(name: impl Into<String>, rules: Rules, wanted: Invariants) -> Configuration {
    Configuration {
        name: name.into(),
        method: Method::Search,
        rules,
        wanted,
    }
}

fn draft() -> Vec<Configuration> {
    let mut found = Vec::new();
    let invariants = [
        (Invariants::LOST_OR_FORKED, "G1"),
        (Invariants::TWO_IN_EPOCH, "G2"),
        (Invariants::CSEQ, "cseq"),
        (Invariants::LATE_OUTPUT, "G4"),
    ];
    for (copies, ack_all) in [(2, true), (3, false), (3, true)] {
        for (wanted, name) in invariants {
            let rules = Rules {
                copies,
                ack_all,
                ..Rules::draft()
            };
            let name = format!("A draft {} {name}", policy(copies, ack_all, 1));
            found.push(searched(name, rules, wanted));
        }
    }
    for ack_all in [false, true] {
        let rules = Rules {
            ack_all,
            ends: true,
            purges: true,
            ..Rules::draft()
        };
        let name = format!("A draft {} BYE G3", policy(3, ack_all, 1));
        let wanted = Invariants::RESURRECTION;
        found.push(searched(name, rules, wanted));
    }
    found
}

fn kept() -> Vec<Configuration> {
    let mut found = Vec::new();
    for (copies, ack_all, faults) in POLICIES {
        let plain = Rules {
            copies,
            ack_all,
            faults,
            ..Rules::kept()
        };
        let one_claim = Rules { claims: 1, ..plain };
        let events = [
            ("", plain),
            (
                " BYE+purge",
                Rules {
                    ends: true,
                    purges: true,
                    ..plain
                },
            ),
            (
                " change",
                Rules {
                    changes: 1,
                    ..one_claim
                },
            ),
            (
                " handoff",
                Rules {
                    handoffs: 1,
                    ..one_claim
                },
            ),
            (
                " restart",
                Rules {
                    restarts: 1,
                    version_max: 3,
                    ..one_claim
                },
            ),
        ];
        for (event, rules) in events.into_iter().chain(later(plain)) {
            let name = format!("B kept {}{event}", policy(copies, ack_all, faults));
            found.push(searched(name, rules, Invariants::ALL));
        }
    }
    found
}

/// What happens after an earlier fault.
fn later(plain: Rules) -> Vec<(&'static str, Rules)> {
    let later = Rules {
        version_max: 3,
        ..plain
    };
    let unheard = Rules {
        start: Start::ChangeUnheard,
        ring_moved: true,
        ..later
    };
    let mut found = vec![
        (" change unheard", unheard),
        (
            " returning",
            Rules {
                start: Start::Returning,
                changes: 1,
                claims: 1,
                ..later
            },
        ),
    ];
    // There the fourth node is all that is left to hold a copy, so one more fault is all it takes.
    if plain.copies == 3 && plain.faults == 1 {
        let takeover = Rules {
            start: Start::TakeoverUnheard,
            ..later
        };
        found.push((" takeover unheard", takeover));
    }
    found
}

/// What happens while a rule is missing.
struct Events {
    base: Rules,
    change: Rules,
    handoff: Rules,
    purge: Rules,
    restart: Rules,
    unheard: Rules,
    returning: Rules,
    takeover: Rules,
}

impl Events {
    fn new(base: Rules) -> Self {
        let one_claim = Rules { claims: 1, ..base };
        let later = Rules {
            version_max: 3,
            ..base
        };
        Self {
            base,
            change: Rules {
                changes: 1,
                ..one_claim
            },
            handoff: Rules {
                handoffs: 1,
                ..one_claim
            },
            purge: Rules {
                ends: true,
                purges: true,
                ..base
            },
            restart: Rules {
                restarts: 1,
                ..later
            },
            unheard: Rules {
                start: Start::ChangeUnheard,
                ring_moved: true,
                ..later
            },
            returning: Rules {
                start: Start::Returning,
                changes: 1,
                claims: 1,
                ..later
            },
            takeover: Rules {
                start: Start::TakeoverUnheard,
                ..later
            },
        }
    }
}

/// What is taken out, what happens meanwhile, and whether lateness counts.
fn without(events: &Events) -> Vec<(&'static str, Rules, Invariants)> {
    let all = Invariants::ALL;
    macro_rules! but {
        ($name:literal, $from:ident, $wanted:expr, $($rule:ident: $value:literal),+) => {
            ($name, Rules { $($rule: $value,)+ ..events.$from }, $wanted)
        };
    }
    vec![
        but!("-every_promise", base, CORE, every_promise: false),
        but!("-follow_lists change", change, CORE, follow_lists: false),
        but!("-fence", base, CORE, fence: false),
        but!("-ballot_first", base, CORE, ballot_first: false),
        but!("-yield_drops", base, all, yield_drops: false),
        but!("-yield_drops -ack_names_ballot", base, all,
            yield_drops: false, ack_names_ballot: false),
        but!("-lives restart", restart, CORE, lives: false),
        but!("-obsolete BYE+purge", purge, CORE, obsolete: false),
        but!("-mark BYE+purge", purge, CORE, mark: false),
        but!("-activate_with_old", base, CORE, activate_with_old: false),
        but!("-activate_with_old handoff", handoff, CORE, activate_with_old: false),
        but!("-record_names_old change restart", base, CORE,
            record_names_old: false, restarts: 1, changes: 1),
        but!("-promise_aborts", base, CORE, promise_aborts: false),
        but!("-joint_change change", change, CORE, joint_change: false),
        but!("-fresh_acks", base, all, fresh_acks: false),
        but!("-epoch_below", base, CORE, epoch_below: false),
        but!("-handoff_fences handoff", handoff, CORE, handoff_fences: false, invitation: false),
        but!("+timeout_sends", base, CORE, timeout_sends: true),
        but!("-lease", base, all, lease: false),
        but!("-unbroken", base, all, unbroken: false),
        but!("-claim_from_copy", base, CORE, claim_from_copy: false),
        but!("-await_asked change unheard", unheard, CORE, await_asked: false),
        but!("-positional returning", returning, CORE, positional: false),
        but!("-ask_wide takeover unheard", takeover, CORE, ask_wide: false),
    ]
}

fn without_one() -> Vec<Configuration> {
    let mut found = Vec::new();
    for (copies, ack_all, faults) in [(3, false, 1), (3, true, 2), (2, true, 1)] {
        let base = Rules {
            copies,
            ack_all,
            faults,
            ..Rules::kept()
        };
        for (what, rules, wanted) in without(&Events::new(base)) {
            if rules.start == Start::TakeoverUnheard && (copies, faults) != (3, 1) {
                continue; // no such start, or nobody left to hold a copy
            }
            let name = format!("C {what} {}", policy(copies, ack_all, faults));
            found.push(searched(name, rules, wanted));
        }
    }
    found
}

fn over_budget() -> Vec<Configuration> {
    let one = Rules {
        faults: 2,
        ..Rules::kept()
    };
    let two = Rules {
        copies: 2,
        ack_all: true,
        ..one
    };
    let back = Rules {
        false_alarms: false,
        restarts: 1,
        ..one
    };
    let mut found = Vec::new();
    for (name, rules) in [
        ("D copies=3 ack=one f=2", one),
        ("D copies=2 ack=all f=2", two),
        ("D copies=3 ack=one two crashes, one restart", back),
    ] {
        found.push(searched(name, rules, CORE));
    }
    found
}

/// Node 1 has heard neither that it was replaced nor that it may let go; then node 0 dies.
fn holes() -> Vec<Configuration> {
    let unheard = Rules {
        copies: 2,
        ack_all: true,
        version_max: 3,
        start: Start::ChangeUnheard,
        ..Rules::kept()
    };
    let ended = Rules {
        ends: true,
        purges: true,
        ring_moved: true,
        ..unheard
    };
    let everybody = Rules {
        ask_everybody: true,
        ..unheard
    };
    let all = Rules {
        ring_moved: false,
        ask_everybody: true,
        end_marks: true,
        ..ended
    };
    let mut found = Vec::new();
    for (name, rules) in [
        ("H change unheard, ring unmoved", unheard),
        ("H change unheard, BYE+purge", ended),
        ("H mended: change unheard, everybody asked", everybody),
        (
            "H mended: change unheard, BYE+purge, everybody asked, end marks",
            all,
        ),
    ] {
        found.push(searched(name, rules, Invariants::ALL));
    }
    found
}

fn walks() -> Vec<Configuration> {
    let each = POLICIES.map(|(copies, ack_all, faults)| Configuration {
        name: format!("W kept {} everything", policy(copies, ack_all, faults)),
        method: Method::Walk,
        rules: Rules {
            copies,
            ack_all,
            faults,
            ..everything()
        },
        wanted: Invariants::ALL,
    });
    each.into()
}

/// The rules whose lack a search does not show.
fn walks_without_one() -> Vec<Configuration> {
    let mut found = Vec::new();
    for (copies, ack_all, faults) in [(3, false, 1), (3, true, 2), (2, true, 1)] {
        let base = Rules {
            copies,
            ack_all,
            faults,
            ..everything()
        };
        macro_rules! but {
            ($name:literal, $($rule:ident),+) => {
                ($name, Rules { $($rule: false,)+ ..base })
            };
        }
        let each = [
            but!("-ballot_first", ballot_first),
            but!(
                "-yield_drops -ack_names_ballot",
                yield_drops,
                ack_names_ballot
            ),
            but!("-yield_drops -fresh_acks", yield_drops, fresh_acks),
            but!("-lives", lives),
            but!("-activate_with_old", activate_with_old),
            but!("-record_names_old", record_names_old),
            but!("-promise_aborts", promise_aborts),
            but!("-epoch_below", epoch_below),
            but!("-lease", lease),
            but!("-claim_from_copy", claim_from_copy),
        ];
        // Without freshness numbers repeat and outputs are late soon enough; more is looked for.
        let early = Invariants::LATE_OUTPUT.and(Invariants::CSEQ);
        found.extend(each.map(|(what, rules)| Configuration {
            name: format!("X {what} {}", policy(copies, ack_all, faults)),
            method: Method::Walk,
            rules,
            wanted: if rules.fresh_acks {
                Invariants::ALL
            } else {
                Invariants::ALL.without(early)
            },
        }));
    }
    found
}

/// The rules as kept, and whatever can happen.
fn everything() -> Rules {
    Rules {
        restarts: 1,
        changes: 1,
        handoffs: 1,
        version_max: 5,
        claims: 3,
        ends: true,
        purges: true,
        ..Rules::kept()
    }
}
