//! Whether a node's end just now, even by SIGKILL, would lose an answered call. Pure.

use super::verdict::counted;

/// What a node has that may be lost with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Holdings {
    /// Whether it is in a cluster at all.
    pub(crate) clustered: bool,
    /// Other live members.
    pub(crate) others: usize,
    /// Shards that did not answer.
    pub(crate) shards_mute: usize,
    /// Calls it owns.
    pub(crate) owned: u64,
    /// Those of them that are not answered yet.
    pub(crate) in_setup: u64,
    /// Answered calls of which no other live member has the latest state.
    pub(crate) uncovered: u64,
}

/// Whether it is safe, why, and what would happen besides.
pub(crate) fn judge(holdings: &Holdings) -> (bool, String, Vec<String>) {
    let lost = counted(holdings.uncovered, "call", "calls");
    let (safe, reason) = if holdings.shards_mute > 0 {
        let mute = holdings.shards_mute;
        let why = format!("shards that do not answer: {mute}; what they hold is not known");
        (false, why)
    } else if holdings.uncovered == 0 {
        (
            true,
            covered(holdings.owned.saturating_sub(holdings.in_setup)),
        )
    } else if !holdings.clustered {
        let why = format!("this node is standalone: {lost} would end with it");
        (false, why)
    } else if holdings.others == 0 {
        let why = format!("this is the only live member: {lost} would end with it");
        (false, why)
    } else {
        let have = if holdings.uncovered == 1 {
            "has"
        } else {
            "have"
        };
        let why = format!("{lost} {have} no up-to-date copy at another live member");
        (false, why)
    };
    let dropped = counted(holdings.in_setup, "call", "calls");
    let notes = match holdings.in_setup {
        0 => Vec::new(),
        _ => vec![format!("{dropped} in set-up would be dropped")],
    };
    (safe, reason, notes)
}

fn covered(answered: u64) -> String {
    match answered {
        0 => "it owns no answered call".into(),
        1 => "its answered call has an up-to-date copy at another live member".into(),
        calls => format!("all {calls} answered calls have up-to-date copies at other live members"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every verdict and its words; calls in set-up are a note, never a refusal.
    #[test]
    fn verdicts() {
        let fine = Holdings {
            clustered: true,
            others: 2,
            owned: 5,
            ..Holdings::default()
        };
        let cases = [
            (fine, true, "all 5 answered calls have"),
            (Holdings { owned: 1, ..fine }, true, "its answered call has"),
            (
                Holdings {
                    owned: 2,
                    in_setup: 2,
                    ..fine
                },
                true,
                "it owns no answered call",
            ),
            (
                Holdings {
                    uncovered: 1,
                    ..fine
                },
                false,
                "1 call has no up-to-date copy",
            ),
            (
                Holdings {
                    uncovered: 3,
                    ..fine
                },
                false,
                "3 calls have no up-to-date copy",
            ),
            (
                Holdings {
                    uncovered: 3,
                    others: 0,
                    ..fine
                },
                false,
                "this is the only live member: 3 calls",
            ),
            (
                Holdings {
                    uncovered: 3,
                    clustered: false,
                    others: 0,
                    ..fine
                },
                false,
                "this node is standalone: 3 calls",
            ),
            (
                Holdings {
                    shards_mute: 1,
                    ..fine
                },
                false,
                "shards that do not answer: 1",
            ),
        ];
        for (holdings, safe, begins) in cases {
            let (found, reason, notes) = judge(&holdings);
            assert_eq!(found, safe, "{reason}");
            assert!(reason.starts_with(begins), "{reason}");
            assert_eq!(notes.len(), usize::from(holdings.in_setup > 0));
        }
    }
}
