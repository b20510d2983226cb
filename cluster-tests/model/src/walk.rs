//! Random walks: single long histories with everything mixed, deeper than a search gets.

use super::action::Action;
use super::invariant::Invariants;
use super::model::Model;

/// Actions tried per walk.
const LENGTH: usize = 60;

/// What came of walking.
pub(crate) struct Walked {
    pub(crate) walks: u64,
    pub(crate) steps: u64,
    /// Ballots at which outputs left, over all walks.
    pub(crate) emitters: u64,
    pub(crate) broken: Invariants,
    /// The walk that broke it.
    pub(crate) way: Vec<Action>,
    pub(crate) others: Invariants,
}

/// Marsaglia's xorshift: the same walks in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Walks until `steps_max` steps were made or one of `wanted` is broken.
pub(crate) fn walk(model: &Model, wanted: Invariants, steps_max: u64) -> Walked {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut walked = Walked {
        walks: 0,
        steps: 0,
        emitters: 0,
        broken: Invariants::NONE,
        way: Vec::new(),
        others: Invariants::NONE,
    };
    while walked.steps < steps_max && walked.broken.is_empty() {
        walked.walks += 1;
        walked.way.clear();
        walk_once(model, wanted, &mut chance, &mut walked);
    }
    walked.others = walked.others.without(wanted);
    walked
}

fn walk_once(model: &Model, wanted: Invariants, chance: &mut Chance, walked: &mut Walked) {
    let mut state = model.first_state();
    for _ in 0..LENGTH {
        let actions = model.actions(&state);
        if actions.is_empty() {
            break;
        }
        let action = pick(&actions, chance);
        let mut after = model.apply(&state, action);
        if after == state {
            continue;
        }
        walked.steps += 1;
        walked.way.push(action);
        model.judge_knowledge(&mut after);
        walked.others.add(after.broken);
        if after.broken.meets(wanted) {
            walked.broken = after.broken;
            return;
        }
        state = after;
    }
    walked.emitters += state.emitted.len() as u64;
}

/// Two times in three something that brings the protocol on, if there is such.
fn pick(actions: &[Action], chance: &mut Chance) -> Action {
    let any = actions[chance.below(actions.len())];
    if chance.below(3) == 0 {
        return any;
    }
    let brings_on = |action: &&Action| {
        matches!(
            action,
            Action::Deliver(_) | Action::Activate(_) | Action::Release(_)
        )
    };
    let forward: Vec<&Action> = actions.iter().filter(brings_on).collect();
    if forward.is_empty() {
        any
    } else {
        *forward[chance.below(forward.len())]
    }
}
