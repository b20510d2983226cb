//! A call before it has a record: who may tell the caller that it is over (SIP.md S3.3).
//!
//! One INVITE, its owner (node 0), holders of its notice, others. The owner answers 200 when its
//! record lies at one it does not find silent, or alone if it finds all of them silent. A holder
//! that finds it silent tells the caller 500, once those it asks say the same and nobody has a
//! record. No time, as in the rest of the model: what may happen may happen at any moment.

use std::collections::HashSet;

/// Nodes at most.
const NODES: usize = 5;
const OWNER: usize = 0;

/// A set of nodes, a bit each.
type Set = u8;

fn has(set: Set, node: usize) -> bool {
    set >> node & 1 == 1
}

fn with(set: Set, node: usize) -> Set {
    set | 1 << node
}

/// The switches, and the budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) nodes: usize,
    /// Nodes 1 to this one hold the notice; all but the last of them get the record.
    pub(crate) copies: usize,
    /// The 200 waits for all that get the record and are not silent; off: for one of them.
    pub(crate) ack_all: bool,
    /// Crashes and false alarms, together.
    pub(crate) faults: u8,
    /// One partition, which costs nothing; the owner is where most are, or where as many are.
    pub(crate) partition: bool,
    /// The owner may be where few are.
    pub(crate) anywhere: bool,
    /// Nodes that have not heard the owner yet, because they have just started.
    pub(crate) young: Set,
    /// Others are asked whether they find it silent.
    pub(crate) vouch: bool,
    /// Who never heard it says nothing; off: that it does not hear it.
    pub(crate) young_is_mute: bool,
    /// Whoever hears less than half of all says nothing to callers.
    pub(crate) majority: bool,
    /// Somebody says that there is no record, and fewer than the copies say nothing at all.
    pub(crate) look_up: bool,
}

impl Rules {
    pub(crate) fn kept(nodes: usize, copies: usize, faults: u8) -> Self {
        Self {
            nodes,
            copies,
            ack_all: faults > 1,
            faults,
            partition: false,
            anywhere: false,
            young: 0,
            vouch: true,
            young_is_mute: true,
            majority: true,
            look_up: true,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    up: Set,
    /// Who never heard the owner.
    young: Set,
    /// Whom each finds silent, and who was silent at any time.
    silent: [Set; NODES],
    /// One side of a partition; nobody while there is none.
    side: Set,
    /// Who has the record.
    record: Set,
    /// Who said to each that it finds the owner silent.
    confirmed: [Set; NODES],
    /// Who said to each that it has no record.
    without: [Set; NODES],
    answered: bool,
    ended: bool,
    faults: u8,
    split: bool,
}

/// What came of it.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) broken: bool,
    pub(crate) exhausted: bool,
}

/// Looks for a caller that is told 500 while the owner answers 200.
pub(crate) fn search(rules: &Rules, states_max: usize) -> Found {
    let first = State {
        up: (1 << rules.nodes) - 1,
        young: rules.young,
        silent: [0; NODES],
        side: 0,
        record: 0,
        confirmed: [0; NODES],
        without: [0; NODES],
        answered: false,
        ended: false,
        faults: 0,
        split: false,
    };
    let mut seen = HashSet::from([first]);
    let mut level = vec![first];
    while !level.is_empty() {
        let mut next = Vec::new();
        for after in level.iter().flat_map(|state| rules.after(state)) {
            if !seen.insert(after) {
                continue;
            }
            let (states, broken) = (seen.len(), after.answered && after.ended);
            if broken || states >= states_max {
                let exhausted = false;
                return Found {
                    states,
                    broken,
                    exhausted,
                };
            }
            next.push(after);
        }
        level = next;
    }
    let (states, broken, exhausted) = (seen.len(), false, true);
    Found {
        states,
        broken,
        exhausted,
    }
}

impl Rules {
    fn others(&self, than: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.nodes).filter(move |&one| one != than)
    }

    /// All states one event away.
    fn after(&self, before: &State) -> Vec<State> {
        let mut found = Vec::new();
        for node in (0..self.nodes).filter(|&node| has(before.up, node)) {
            if before.faults < self.faults {
                found.push(before.but(|state| {
                    state.faults += 1;
                    state.up &= !(1 << node);
                    state.record &= state.up;
                }));
                for other in self.others(node).filter(|&other| has(before.up, other)) {
                    found.push(before.but(|state| {
                        state.faults += 1;
                        state.silent[node] = with(state.silent[node], other);
                    }));
                }
            }
            for other in self.others(node).filter(|&o| has(before.silent[node], o)) {
                if self.reach(before, node, other) {
                    found.push(before.but(|state| state.hear(node, other)));
                }
            }
            if node != OWNER && self.reach(before, node, OWNER) {
                found.push(before.but(|state| state.hear(node, OWNER)));
                if node < self.copies {
                    found.push(before.but(|state| state.record = with(state.record, node)));
                }
            }
            if node != OWNER && node <= self.copies {
                self.holder(before, node, &mut found);
            }
        }
        if has(before.up, OWNER) && self.may_answer(before) {
            found.push(before.but(|state| state.answered = true));
        }
        self.partitions(before, &mut found);
        found
    }

    /// What the holder of a notice does that finds its owner silent.
    fn holder(&self, before: &State, node: usize, found: &mut Vec<State>) {
        if !self.finds_silent(before, node, OWNER) {
            return;
        }
        let surely = self.is_surely_absent(before, node);
        for other in self.others(node).filter(|&other| other != OWNER) {
            if self.finds_silent(before, node, other) {
                continue;
            }
            let silent = self.finds_silent(before, other, OWNER);
            if silent || (has(before.young, other) && !self.young_is_mute) {
                found.push(
                    before.but(|state| state.confirmed[node] = with(state.confirmed[node], other)),
                );
            }
            if surely && !has(before.record, other) {
                found.push(
                    before.but(|state| state.without[node] = with(state.without[node], other)),
                );
            }
        }
        let nobody = !has(before.record, node) && self.nobody_has_it(before, node);
        if surely && (nobody || !self.look_up) {
            found.push(before.but(|state| state.ended = true));
        }
    }

    /// Whether what one says arrives at the other.
    fn reach(&self, state: &State, one: usize, other: usize) -> bool {
        let together = has(state.side, one) == has(state.side, other);
        has(state.up, one) && has(state.up, other) && together
    }

    fn finds_silent(&self, state: &State, node: usize, other: usize) -> bool {
        !self.reach(state, node, other) || has(state.silent[node], other)
    }

    /// Whether its record lies where the policy wants it: alone, that is nowhere.
    fn may_answer(&self, state: &State) -> bool {
        let replicas = 1..self.copies;
        let heard = || {
            replicas
                .clone()
                .filter(|&one| !self.finds_silent(state, OWNER, one))
        };
        let (some, all) = (
            heard().any(|one| has(state.record, one)),
            heard().all(|one| has(state.record, one)),
        );
        all || (some && !self.ack_all)
    }

    /// Whether the owner is gone, or silent by the word of all that are asked, where most are.
    fn is_surely_absent(&self, state: &State, node: usize) -> bool {
        let here = |&other: &usize| !self.finds_silent(state, node, other);
        let heard = 1 + self.others(node).filter(here).count();
        let most = heard * 2 > self.nodes || (self.nodes <= 2 && heard * 2 >= self.nodes);
        let is_gone = !has(state.up, OWNER);
        let mut witnesses = self.others(node).filter(here);
        let confirmed = witnesses.all(|one| has(state.confirmed[node], one));
        (most || !self.majority) && (is_gone || confirmed || !self.vouch)
    }

    /// Whether nobody can have a record: those that did not say so are few, were heard before, and
    /// are not there to say anything.
    fn nobody_has_it(&self, state: &State, node: usize) -> bool {
        let live = || self.others(node).filter(|&one| has(state.up, one));
        let said = live().any(|one| has(state.without[node], one));
        let mute = || live().filter(|&one| !has(state.without[node], one));
        let lost = |one| self.finds_silent(state, node, one);
        let settled = mute().all(|one| lost(one) && (one != OWNER || !has(state.young, node)));
        settled && (mute().next().is_none() || (said && mute().count() < self.copies))
    }

    /// A partition comes, or goes with all the silence that it brought.
    fn partitions(&self, before: &State, found: &mut Vec<State>) {
        if before.side != 0 {
            found.push(before.but(|state| state.side = 0));
        }
        if !self.partition || before.split {
            return;
        }
        for side in 1..(1 << self.nodes) - 1 {
            let few = (side as Set).count_ones() as usize * 2 < self.nodes;
            if has(side, OWNER) && (self.anywhere || !few) {
                found.push(before.but(|state| (state.side, state.split) = (side, true)));
            }
        }
    }
}

impl State {
    /// The state after something happened.
    fn but(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut state = *self;
        change(&mut state);
        state
    }

    /// A frame of `other` comes to `node`.
    fn hear(&mut self, node: usize, other: usize) {
        self.silent[node] &= !(1 << other);
        if other == OWNER {
            self.young &= !(1 << node);
            self.confirmed[node] = 0;
        }
    }
}
