//! Breadth-first search: every state that can be reached, nearest first, up to a number of states.

use super::action::Action;
use super::fingerprint::{self, Seen};
use super::invariant::Invariants;
use super::model::Model;
use super::state::State;

/// What came of a search.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) depth: usize,
    /// What was broken of what was looked for, and the way there.
    pub(crate) broken: Invariants,
    pub(crate) way: Vec<Action>,
    /// What else was broken on the way.
    pub(crate) others: Invariants,
    /// Whether there is nothing beyond.
    pub(crate) exhausted: bool,
}

/// Where a state came from: the number of the state before, and which of its actions.
type Step = (u32, u16);

struct Search<'a> {
    model: &'a Model,
    wanted: Invariants,
    states_max: usize,
    seen: Seen,
    steps: Vec<Step>,
    others: Invariants,
}

/// Why a search ended before its states did.
enum End {
    Broken(u32, Invariants),
    Full,
}

/// Looks for a state that breaks one of `wanted`, among the first `states_max`.
pub(crate) fn search(model: &Model, wanted: Invariants, states_max: usize) -> Found {
    let first = model.first_state();
    let mut search = Search {
        model,
        wanted,
        states_max,
        seen: Seen::default(),
        steps: vec![(0, 0)],
        others: Invariants::NONE,
    };
    search.seen.insert(fingerprint::of(&first));
    let mut level = vec![(0, first)];
    let mut depth = 0;
    let mut end = None;
    while !level.is_empty() && end.is_none() {
        let mut next = Vec::new();
        for (number, state) in level {
            end = search.expand(number, &state, &mut next);
            if end.is_some() {
                break;
            }
        }
        depth += usize::from(end.is_none());
        level = next;
    }
    let (at, broken) = match end {
        Some(End::Broken(at, broken)) => (at, broken),
        _ => (0, Invariants::NONE),
    };
    Found {
        states: search.steps.len(),
        depth,
        broken,
        way: search.way(at),
        others: search.others.without(wanted),
        exhausted: end.is_none(),
    }
}

impl Search<'_> {
    /// Adds the states one action away that are new.
    fn expand(&mut self, from: u32, state: &State, next: &mut Vec<(u32, State)>) -> Option<End> {
        let mut rests = true;
        for (nth, action) in self.model.actions(state).into_iter().enumerate() {
            let mut after = self.model.apply(state, action);
            if after == *state {
                continue;
            }
            rests &= !action.is_due();
            self.model.judge_knowledge(&mut after);
            self.others.add(after.broken);
            if !self.seen.insert(fingerprint::of(&after)) {
                continue;
            }
            let number = self.steps.len() as u32;
            self.steps.push((from, nth as u16));
            if after.broken.meets(self.wanted) {
                return Some(End::Broken(number, after.broken));
            }
            after.broken = Invariants::NONE;
            if self.steps.len() >= self.states_max {
                return Some(End::Full);
            }
            next.push((number, after));
        }
        let wrong = if rests {
            self.model.judge_rest(state)
        } else {
            Invariants::NONE
        };
        wrong.meets(self.wanted).then_some(End::Broken(from, wrong))
    }

    /// The actions that lead to a state.
    fn way(&self, mut to: u32) -> Vec<Action> {
        let mut numbers = Vec::new();
        while to != 0 {
            let (from, nth) = self.steps[to as usize];
            numbers.push(usize::from(nth));
            to = from;
        }
        let mut state = self.model.first_state();
        let mut way = Vec::new();
        for nth in numbers.into_iter().rev() {
            let action = self.model.actions(&state)[nth];
            state = self.model.apply(&state, action);
            self.model.judge_knowledge(&mut state);
            state.broken = Invariants::NONE;
            way.push(action);
        }
        way
    }
}
