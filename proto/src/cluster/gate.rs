//! The gate of one call: outputs that wait until the state they tell of is replicated (rule 6).
//!
//! Outputs leave in the order they were made (SIP.md S5.2): a held one holds the later ones. The
//! gate is told how far the call is committed; it never looks at a clock to let something go.

use std::collections::VecDeque;

use crate::base::ids::Version;
use crate::base::time::Instant;

#[derive(Debug)]
struct Held<H> {
    version: Version,
    since: Instant,
    /// Caused by time alone: it does not leave a member that is cut off from most others.
    by_timer: bool,
    output: H,
}

/// Outputs of one call, oldest first.
#[derive(Debug)]
pub struct Gate<H> {
    held: VecDeque<Held<H>>,
}

impl<H> Default for Gate<H> {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
        }
    }
}

impl<H> Gate<H> {
    /// Keeps `output` until `version` is committed.
    pub fn hold(&mut self, version: Version, output: H, by_timer: bool, now: Instant) {
        debug_assert!(self.held.back().is_none_or(|last| last.version <= version));
        if !by_timer {
            // A phone, or a person, has asked since: now it is not time alone any more.
            self.held.iter_mut().for_each(|held| held.by_timer = false);
        }
        self.held.push_back(Held {
            version,
            since: now,
            by_timer,
            output,
        });
    }

    /// The oldest output, if `committed` covers it, and since when it was held. `cut_off`: outputs
    /// that only time caused stay.
    pub fn release(&mut self, committed: Version, cut_off: bool) -> Option<(H, Instant)> {
        let oldest = self.held.front()?;
        if oldest.version > committed || (cut_off && oldest.by_timer) {
            return None;
        }
        self.held.pop_front().map(|held| (held.output, held.since))
    }

    /// Whether the oldest was caused by time alone.
    #[must_use]
    pub fn is_timers_turn(&self) -> bool {
        self.held.front().is_some_and(|oldest| oldest.by_timer)
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_output_holds_the_later_ones() {
        let mut gate = Gate::default();
        for (version, name) in [(1, "a"), (3, "b"), (3, "c")] {
            gate.hold(version, name, false, Instant::START);
        }
        let mut out = |committed| gate.release(committed, false).map(|(output, _)| output);
        assert_eq!((out(0), out(1), out(2)), (None, Some("a"), None));
        assert_eq!((out(3), out(3), out(3)), (Some("b"), Some("c"), None));
    }
}
