//! What the arrival of a message does.

use super::model::Model;
use super::rules::Followers;
use super::state::{Ballot, Body, Members, Message, Position, Record, Role, State};

/// Invitations are taken up until this many claims were made, whatever their budget.
const CLAIMS_MAX: u8 = 6;

impl Model {
    pub(crate) fn deliver(&self, state: &mut State, message: Message) {
        let (to, from) = (usize::from(message.to), usize::from(message.from));
        match message.body {
            Body::Replicate(record) => self.on_replicate(state, to, from, record),
            Body::Ack { ballot, version } => self.on_ack(state, &message, ballot, version),
            Body::Fenced { ballot } => self.on_fenced(state, to, ballot),
            Body::Claim { ballot } => {
                if self.promise(state, to, ballot) {
                    let node = state.nodes[to];
                    let body = Body::Promise {
                        ballot,
                        record: node.record,
                        had: node.had,
                        mark: node.mark,
                        purged: node.purged && self.rules.end_marks,
                    };
                    self.send(state, to, from, body);
                } else if self.rules.refuses {
                    self.refuse(state, to, from, ballot);
                }
            }
            Body::Promise {
                ballot,
                record,
                had,
                mark,
                purged,
            } => {
                let node = &mut state.nodes[to];
                if purged && node.role == Role::Claimant && node.claim == ballot {
                    node.purgers = node.purgers.with(from);
                }
                self.on_promise(state, (to, from), ballot, (record, had, mark));
            }
            Body::Handoff(record, before) => self.on_handoff(state, to, record, before),
            Body::Release { ballot, version } => {
                self.on_release(state, &message, (ballot, version));
            }
            Body::Refuse { ballot } => {
                let node = &state.nodes[to];
                if node.role == Role::Claimant && node.claim == ballot {
                    self.yield_to_a_copy(state, to);
                }
            }
            Body::Standing { ballot, let_go } => {
                self.on_standing(state, (to, from), ballot, let_go);
            }
        }
    }

    /// Rule 4.
    fn on_replicate(&self, state: &mut State, to: usize, from: usize, record: Record) {
        let node = state.nodes[to];
        let none = node.record.is_none();
        if self.rules.mark && none && record.position() <= node.mark {
            return;
        }
        if self.rules.fence && record.ballot < node.promised {
            let ballot = node.promised;
            self.send(state, to, from, Body::Fenced { ballot });
            return;
        }
        let ack = Body::Ack {
            ballot: record.ballot,
            version: record.version,
        };
        if none || self.is_above(&record, &node.record) {
            if node.role == Role::Owner && node.ballot == record.ballot {
                return;
            }
            if node.role != Role::Copy {
                self.yield_to_a_copy(state, to);
            }
            let node = &mut state.nodes[to];
            let former = std::mem::replace(&mut node.record, record);
            node.had = true;
            if self.rules.fence {
                node.promised = node.promised.max(record.ballot);
            }
            self.send(state, to, from, ack);
            if former.ballot < record.ballot {
                self.followers_go(state, to, &former, record.ballot);
                self.tell_outbid(state, to, &former);
            }
        } else if node.record.ballot == record.ballot {
            self.send(state, to, from, ack);
        } else {
            let ballot = node.record.ballot;
            self.send(state, to, from, Body::Fenced { ballot });
        }
    }

    /// Rule 5.
    fn on_ack(&self, state: &mut State, message: &Message, ballot: Ballot, version: u8) {
        let (owner, from) = (usize::from(message.to), usize::from(message.from));
        let node = &mut state.nodes[owner];
        let present = node.ballot == ballot || !self.rules.ack_names_ballot;
        let may = node.role == Role::Owner || !self.rules.yield_drops;
        if node.ballot.is_none() || !present || !may {
            return;
        }
        let listed = |list: Members| list.incarnation(from) == message.from_life;
        if self.rules.lives && !listed(node.own.members) && !listed(node.previous) {
            return;
        }
        if !self.rules.ack_names_ballot && version > node.own.version {
            return;
        }
        node.acked[from] = node.acked[from].max(version + 1);
        self.try_release(state, owner);
    }

    /// Rule 8.
    fn on_fenced(&self, state: &mut State, to: usize, ballot: Ballot) {
        let node = &state.nodes[to];
        let (owns_lower, own) = (node.role == Role::Owner && node.ballot < ballot, node.own);
        let claims_lower = node.role == Role::Claimant && node.claim < ballot;
        if owns_lower || claims_lower {
            self.yield_to_a_copy(state, to);
        }
        if owns_lower && self.rules.followers == Followers::ByFence {
            self.followers_go(state, to, &own, ballot);
        }
        if self.rules.fence {
            state.nodes[to].promised = state.nodes[to].promised.max(ballot);
        }
    }

    /// Rule 16: who is invited claims. In the draft: owns.
    fn on_handoff(&self, state: &mut State, to: usize, record: Record, before: Members) {
        let node = &state.nodes[to];
        if self.rules.invitation {
            if node.role == Role::Copy && state.claims < CLAIMS_MAX {
                let epoch = Self::next_epoch(node).max(record.ballot.epoch() + 1);
                let copy = !node.record.is_none() || !self.rules.claim_from_copy;
                if epoch <= self.rules.epoch_max && copy {
                    let asked = self.whom_to_ask(node)[0];
                    self.claim(state, to, epoch, asked);
                }
            }
            return;
        }
        let known = node.promised.epoch().max(node.record.ballot.epoch());
        if record.ballot.epoch() > known {
            if node.role != Role::Copy {
                self.yield_to_a_copy(state, to);
            }
            self.become_owner(state, to, record, before);
        }
    }

    /// Rule 18: positional; a copy above it stays.
    fn on_release(&self, state: &mut State, message: &Message, mark: Position) {
        let to = usize::from(message.to);
        if !self.may_release(state, message, mark.0) {
            return;
        }
        let node = &state.nodes[to];
        let owns_lower = node.role == Role::Owner && node.ballot < mark.0;
        let claims_lower = node.role == Role::Claimant && node.claim < mark.0;
        if self.rules.refuses && (owns_lower || claims_lower) {
            self.yield_to_a_copy(state, to);
        }
        let node = &mut state.nodes[to];
        if self.rules.refuses {
            node.promised = node.promised.max(mark.0);
        }
        let copy = !node.record.is_none() && node.role == Role::Copy;
        if copy && (node.record.position() <= mark || !self.rules.release_below) {
            node.mark = node.mark.max(mark);
            let former = std::mem::take(&mut node.record);
            if former.ballot < mark.0 {
                self.followers_go(state, to, &former, mark.0);
            }
        }
    }
}
