//! The judge: hears of everything that is told to a phone and holds it against PROTOCOL.md section
//! 1.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{Ballot, CallId, MemberId};

/// A call's state: the steps that were performed, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) steps: Vec<u64>,
    pub(super) ended: bool,
}

impl Log {
    pub(super) fn to_bytes(&self) -> bytes::Bytes {
        let mut out = vec![u8::from(self.ended)];
        for step in &self.steps {
            out.extend_from_slice(&step.to_be_bytes());
        }
        out.into()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (ended, steps) = bytes.split_first().expect("a state of ours");
        Self {
            ended: *ended == 1,
            steps: steps
                .as_chunks::<8>()
                .0
                .iter()
                .map(|chunk| u64::from_be_bytes(*chunk))
                .collect(),
        }
    }

    fn contains(&self, earlier: &Self) -> bool {
        self.steps.starts_with(&earlier.steps) && (self.ended || !earlier.ended)
    }
}

/// What is held at the gate, and told to a phone when it leaves.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// The ballot it was performed at.
    pub(super) ballot: Ballot,
    /// The step that it answers.
    pub(super) step: u64,
    /// The state it tells of.
    pub(super) log: Log,
}

#[derive(Debug, Default)]
struct Call {
    told: Vec<Told>,
    emitters: BTreeMap<u32, MemberId>,
}

/// Everything that was told, and what was wrong about it.
#[derive(Debug, Default)]
pub(super) struct Judge {
    calls: BTreeMap<CallId, Call>,
    pub(super) violations: Vec<(CallId, String)>,
    /// More faults at once than PROTOCOL.md section 1 allows: safety is not promised any more.
    pub(super) over_budget: bool,
    /// Calls that were there when the budget was exceeded.
    tainted: BTreeSet<CallId>,
    pub(super) told: u64,
}

impl Judge {
    pub(super) fn accuse(&mut self, key: CallId, what: String) {
        if !self.over_budget && !self.tainted.contains(&key) {
            self.violations.push((key, what));
        }
    }

    /// Everything is repaired: calls from now on are judged again, those before never more.
    pub(super) fn forgive(&mut self) {
        if std::mem::take(&mut self.over_budget) {
            self.tainted.extend(self.calls.keys());
        }
    }

    /// An output left.
    pub(super) fn told(&mut self, key: CallId, told: Told) {
        self.told += 1;
        let call = self.calls.entry(key).or_default();
        let mut wrong = Vec::new();
        let (epoch, owner) = (told.ballot.epoch, told.ballot.owner);
        let emitter = *call.emitters.entry(epoch).or_insert(owner);
        if emitter != owner {
            wrong.push(format!(
                "G2: {emitter:?} and {owner:?} both emitted in epoch {epoch}"
            ));
        }
        let known = call.told.iter().any(|before| before.step == told.step);
        for before in &call.told {
            let (low, high) = if before.ballot <= told.ballot {
                (before, &told)
            } else {
                (&told, before)
            };
            if low.ballot < high.ballot && !high.log.contains(&low.log) {
                wrong.push(format!("G1: {high:?} emitted without {low:?}"));
            }
            // What was told before may be told again: a fenced owner does not know better yet.
            if before.log.ended && !told.log.ended && !known {
                wrong.push(format!("G3: {told:?} after the end {before:?}"));
            }
            if before.ballot > told.ballot && !known {
                wrong.push(format!("G4: new {told:?} after {before:?}"));
            }
        }
        call.told.push(told);
        for what in wrong {
            self.accuse(key, what);
        }
    }

    /// A member begins to speak for a call from `log`: it must know all that was told before.
    pub(super) fn activated(&mut self, key: CallId, ballot: Ballot, log: &Log) {
        let lacking = self.calls.get(&key).and_then(|call| {
            call.told
                .iter()
                .find(|before| before.ballot < ballot && !log.contains(&before.log))
                .cloned()
        });
        if let Some(before) = lacking {
            self.accuse(
                key,
                format!("G1: {ballot:?} starts from {log:?} without {before:?}"),
            );
        }
    }

    /// Whether a phone believes that the call lives.
    pub(super) fn believes_alive(&self, key: CallId) -> bool {
        self.calls.get(&key).is_some_and(|call| {
            !call.told.is_empty() && !call.told.iter().any(|told| told.log.ended)
        })
    }

    /// Whether the call is judged at all.
    pub(super) fn is_tainted(&self, key: CallId) -> bool {
        self.over_budget || self.tainted.contains(&key)
    }

    /// The calls that phones believe to live.
    pub(super) fn living(&self) -> Vec<CallId> {
        let keys = self.calls.keys().copied();
        keys.filter(|key| self.believes_alive(*key)).collect()
    }
}
