//! What an action makes of a state, but for the arrival of a message.

use super::action::Action;
use super::model::Model;
use super::state::{Ballot, Body, Node, Record, Role, State};

impl Model {
    /// The state after `action`.
    pub(crate) fn apply(&self, before: &State, action: Action) -> State {
        let mut state = before.clone();
        self.carry_out(&mut state, action);
        state
    }

    fn carry_out(&self, state: &mut State, action: Action) {
        match action {
            Action::Step(owner, kind) => self.step(state, owner, kind),
            Action::Deliver(message) => self.deliver(state, message),
            Action::Crash(node) => {
                state.faults += 1;
                state.nodes[node] = Node {
                    incarnation: state.nodes[node].incarnation,
                    released: -1,
                    ..Node::default()
                };
            }
            Action::Restart(node) => {
                state.restarts += 1;
                state.nodes[node].up = true;
                state.nodes[node].incarnation += 1;
            }
            Action::FalseAlarm(node, other) => {
                state.faults += 1;
                state.nodes[node].silent = state.nodes[node].silent.with(other);
            }
            Action::Claim(node, epoch, asked) => self.claim(state, node, epoch, asked),
            Action::Activate(node) => self.activate(state, node),
            Action::GiveUp(node) => self.give_up(state, node),
            Action::Contact(owner, member) => {
                state.nodes[owner].stale = state.nodes[owner].stale.without(member);
                self.try_release(state, owner);
            }
            Action::Release(owner) => self.try_release(state, owner),
            Action::TimeOut(owner) => {
                state.timeouts += 1;
                let latest = state.nodes[owner].own.version as i8;
                self.release(state, owner, latest);
            }
            Action::Change(owner, list) => {
                state.changes += 1;
                self.change(state, owner, list);
            }
            Action::Relist(owner, member) => {
                let list = state.nodes[owner].own.members;
                let list = list.with(member, state.nodes[member].incarnation);
                self.change(state, owner, list);
            }
            Action::FinishChange(owner) => self.finish_change(state, owner),
            Action::HandOff(owner, heir) => self.hand_off(state, owner, heir),
            Action::Resume(node) => {
                state.nodes[node].role = Role::Owner;
                self.try_release(state, node);
            }
            Action::Purge(node) => self.purge(state, node),
            Action::Answer(node, to) => self.answer(state, node, to),
            Action::Compare(owner, holder) => self.compare(state, owner, holder),
            Action::Rename(node) => self.rename(state, node),
            Action::Resend(owner, member) => {
                let body = Body::Replicate(state.nodes[owner].own);
                self.send(state, owner, member, body);
            }
        }
    }

    /// Rule 16: an invitation. In the draft: the call itself, at the next epoch.
    fn hand_off(&self, state: &mut State, owner: usize, heir: usize) {
        let node = state.nodes[owner];
        let mut record = node.own;
        if self.rules.invitation {
            state.handoffs += 1;
            state.nodes[owner].invited = heir as u8 + 1;
            let body = Body::Handoff(record, Default::default());
            self.send(state, owner, heir, body);
            return;
        }
        record.ballot = Ballot::new(node.ballot.epoch() + 1, heir);
        record.lease += 1;
        if record.ballot.epoch() > 3 {
            return;
        }
        state.handoffs += 1;
        record.members = self.propose(state, heir, node.own.members, owner);
        state.nodes[owner].role = Role::HandingOff;
        if self.rules.handoff_fences {
            state.nodes[owner].promised = record.ballot;
            state.nodes[owner].ballot = Ballot::default();
            state.nodes[owner].own = Record::default();
        }
        let body = Body::Handoff(record, node.own.members);
        self.send(state, owner, heir, body);
    }

    fn purge(&self, state: &mut State, who: usize) {
        let node = &mut state.nodes[who];
        node.mark = node.mark.max(node.record.position());
        node.purged = true;
        node.record = Record::default();
        if node.role == Role::Owner {
            self.yield_to_a_copy(state, who);
            state.nodes[who].ballot = Ballot::default();
        }
    }
}
