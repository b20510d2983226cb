//! What is tried of healing: how owners become one and copies few again, and by whose word a call
//! may be claimed.

use super::configurations::{Configuration, Method, POLICIES, policy, searched};
use super::invariant::Invariants;
use super::rules::{Followers, Rules, Strays, Word};
use super::start::Start;

const AT_REST: Invariants = Invariants::TWO_OWNERS.and(Invariants::STRAY);

/// Two owners meet; nothing else goes wrong meanwhile.
fn meeting(start: Start) -> Rules {
    Rules {
        copies: 2,
        ack_all: true,
        start,
        changes: 1,
        faults: 0,
        claims: 4,
        epoch_max: 6,
        patient: true,
        steps: false,
        version_max: 4,
        ..Rules::healing()
    }
}

/// One of them in another life: it claims what was its own.
fn meeting_renamed() -> Rules {
    Rules {
        changes: 0,
        claims: 4,
        epoch_max: 4,
        ..meeting(Start::SplitRenamed)
    }
}

/// Node 2 has not heard of the takeover, and claims.
fn unheard() -> Rules {
    Rules {
        start: Start::TakeoverUnheard,
        faults: 0,
        claims: 2,
        version_max: 3,
        ..Rules::healing()
    }
}

/// Somebody finds the owner silent; another has its word of before.
fn by_word(start: Start) -> Rules {
    Rules {
        start,
        claims: 1,
        epoch_max: 4,
        version_max: 3,
        ..Rules::healing()
    }
}

/// A member comes back as another life, and then there is a fault.
fn anew() -> Rules {
    Rules {
        copies: 2,
        ack_all: true,
        start: Start::ReturningAnew,
        changes: 1,
        claims: 1,
        version_max: 3,
        ..Rules::healing()
    }
}

/// As it is kept.
pub(crate) fn kept() -> Vec<Configuration> {
    let all = Invariants::ALL;
    let mut found = Vec::new();
    for (copies, ack_all, faults) in [(2, true, 1), (3, false, 1), (3, true, 2)] {
        let plain = Rules {
            copies,
            ack_all,
            faults,
            ..Rules::healing()
        };
        let handed = Rules {
            handoffs: 1,
            answers: 1,
            ..plain
        };
        let any_promise = Rules {
            own_evidence: false,
            changes: 1,
            ..plain
        };
        let unheard = Rules {
            start: Start::ChangeUnheard,
            version_max: 3,
            own_evidence: false,
            ..plain
        };
        let renamed = Rules {
            renames: 1,
            ..plain
        };
        let back = Rules {
            restarts: 1,
            version_max: 3,
            ..plain
        };
        let events = [
            ("any promise, change", any_promise),
            ("change unheard", unheard),
            ("handoff", handed),
            ("renamed", renamed),
            ("restart", back),
        ];
        for (event, rules) in events {
            let policy = policy(copies, ack_all, faults);
            found.push(searched(format!("B healing {policy} {event}"), rules, all));
        }
    }
    let (split, renamed) = (meeting(Start::Split), meeting_renamed());
    let handed = by_word(Start::HandedOver);
    let again = by_word(Start::HandedOverAgain);
    let one_more = Rules {
        faults: 1,
        own_evidence: false,
        ..unheard()
    };
    found.extend([
        searched("B healing two owners meet", split, AT_REST),
        searched("B healing two owners meet, one renamed", renamed, AT_REST),
        searched("B healing takeover unheard", unheard(), AT_REST.and(all)),
        searched("B healing takeover unheard, one more fault", one_more, all),
        searched("B healing word of before", handed, all),
        searched(
            "B healing word of before, after a copy was let go",
            again,
            all,
        ),
        searched("B healing returning anew", anew(), all),
    ]);
    found
}

/// Everything mixed.
pub(crate) fn walks() -> Vec<Configuration> {
    let each = POLICIES.map(|(copies, ack_all, faults)| Configuration {
        name: format!("W healing {} everything", policy(copies, ack_all, faults)),
        method: Method::Walk,
        rules: Rules {
            copies,
            ack_all,
            faults,
            restarts: 1,
            changes: 1,
            handoffs: 1,
            renames: 1,
            answers: 1,
            version_max: 5,
            claims: 3,
            ends: true,
            purges: true,
            own_evidence: false,
            ..Rules::healing()
        },
        wanted: Invariants::ALL,
    });
    each.into()
}

/// With one taken out, or an unsafe one in its place.
pub(crate) fn without_one() -> Vec<Configuration> {
    let all = Invariants::ALL;
    let split = meeting(Start::Split);
    let renamed = meeting_renamed();
    let handed = by_word(Start::HandedOver);
    let again = by_word(Start::HandedOverAgain);
    macro_rules! but {
        ($name:literal, $from:expr, $wanted:expr, $($rule:ident: $value:expr),+) => {
            searched(concat!("C ", $name), Rules { $($rule: $value,)+ ..$from }, $wanted)
        };
    }
    vec![
        but!("-standing_fences two owners meet", split, AT_REST, standing_fences: false),
        but!("-followers two owners meet", split, AT_REST, followers: Followers::Kept),
        but!("-followers -digests two owners meet", split, AT_REST,
            followers: Followers::Kept, digests: false),
        but!("-digests two owners meet", split, AT_REST, digests: false),
        but!("-strays two owners meet", split, AT_REST, strays: Strays::Kept),
        but!("-later_life two owners meet, one renamed", renamed, AT_REST, later_life: false),
        but!("-strays takeover unheard", unheard(), AT_REST, strays: Strays::Kept),
        but!("+strays always takeover unheard", unheard(), all,
            strays: Strays::Always, faults: 1, version_max: 4),
        but!("+strays always copies=3 ack=one f=1", Rules::healing(), all, strays: Strays::Always),
        but!("+strays always copies=3 ack=all f=2", Rules::healing(), all, strays: Strays::Always,
            ack_all: true, faults: 2),
        but!("+word of any let go, word of before", again, all, word: Word::AnyLetGo),
        but!("+word of who has nothing, word of before", handed, all, word: Word::Nothing),
        but!("+word of anybody, word of before", handed, all, word: Word::Anybody),
        but!("-release_below returning anew", anew(), all, release_below: false),
        but!("+followers go at once copies=3 ack=one f=1", Rules::healing(), all,
            followers: Followers::ByFence),
        but!("+followers go at once copies=3 ack=all f=2", Rules::healing(), all,
            followers: Followers::ByFence, ack_all: true, faults: 2),
    ]
}
