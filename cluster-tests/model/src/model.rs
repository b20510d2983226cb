//! The model: a set of rules, and what all its parts ask of a state.

use super::rules::Rules;
use super::state::{Ballot, Body, Members, Message, NODES, Node, Record, Role, State};

/// The protocol under a set of rules.
pub(crate) struct Model {
    pub(crate) rules: Rules,
}

impl Model {
    /// Rule 2: whether `one` is to be preferred to `other`.
    pub(crate) fn is_above(&self, one: &Record, other: &Record) -> bool {
        if self.rules.ballot_first {
            return one.position() > other.position();
        }
        let rank = |record: &Record| {
            let ballot = record.ballot;
            (ballot.epoch(), record.version, ballot.owner())
        };
        rank(one) > rank(other)
    }

    /// Says something. Saying it twice is saying it once, since nothing said is ever used up.
    pub(crate) fn send(&self, state: &mut State, from: usize, to: usize, body: Body) {
        let message = self.message(state, from, to, body);
        if let Err(place) = state.messages.binary_search(&message) {
            state.messages.insert(place, message);
        }
    }

    /// A message between the present lives of two nodes.
    pub(crate) fn message(&self, state: &State, from: usize, to: usize, body: Body) -> Message {
        Message {
            from: from as u8,
            to: to as u8,
            from_life: state.nodes[from].incarnation,
            to_life: state.nodes[to].incarnation,
            body,
        }
    }

    /// Whether `other` is down, or silent to `node`. That a node is down is known at once, and to
    /// all: a death differs from a false alarm only in what was lost.
    pub(crate) fn is_silent(&self, state: &State, node: usize, other: usize) -> bool {
        !state.nodes[other].up || state.nodes[node].silent.has(other)
    }

    /// Whether the life of `other` that the list names is not there for `node`.
    pub(crate) fn is_absent(
        &self,
        state: &State,
        node: usize,
        other: usize,
        listed: Members,
    ) -> bool {
        self.is_silent(state, node, other)
            || (self.rules.lives && listed.incarnation(other) != state.nodes[other].incarnation)
    }

    /// Rule 8: whatever the node was, it is a holder of a copy now.
    pub(crate) fn yield_to_a_copy(&self, state: &mut State, node: usize) {
        let node = &mut state.nodes[node];
        node.role = Role::Copy;
        if self.rules.yield_drops {
            node.ballot = Ballot::default();
            node.acked = [0; NODES];
            node.released = -1;
            node.stale = Default::default();
            node.own = Record::default();
            node.previous = Members::NONE;
            node.strays = Default::default();
        }
        self.forget_claim(node);
    }

    /// Rule 11: `who` finds `owner` silent, as far as what it has can tell.
    pub(crate) fn finds_silent(&self, state: &State, who: usize, owner: usize) -> bool {
        let listed = state.nodes[who].record.members;
        self.is_silent(state, who, owner)
            || (listed.has(owner) && self.is_absent(state, who, owner, listed))
    }

    pub(crate) fn forget_claim(&self, node: &mut Node) {
        node.granted = Default::default();
        node.lapsed = Default::default();
        node.marks = Default::default();
        node.purgers = Default::default();
        node.claim = Ballot::default();
        node.best = Record::default();
    }
}
