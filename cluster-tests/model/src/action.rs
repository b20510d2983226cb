//! What can happen in a state: the world's moves and the nodes' own.

use super::model::Model;
use super::start::Start;
use super::state::{Body, Kind, Members, Message, NODES, Nodes, Role, State};

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action {
    /// The owner takes a step of the call.
    Step(usize, Kind),
    /// A message arrives.
    Deliver(Message),
    /// A node dies, with all it has.
    Crash(usize),
    /// A dead node comes back as another life, with nothing.
    Restart(usize),
    /// A false alarm: the first finds the second silent, for good.
    FalseAlarm(usize, usize),
    /// A node claims at an epoch and asks these.
    Claim(usize, u8, Nodes),
    /// A claim is complete.
    Activate(usize),
    /// A claimant learns that its copy is obsolete.
    GiveUp(usize),
    /// An owner is in contact with a member again whose acknowledgements were stale.
    Contact(usize, usize),
    /// An owner notices that it may let outputs go.
    Release(usize),
    /// Rule 7 broken: it lets them go because time has passed.
    TimeOut(usize),
    /// The owner changes the list.
    Change(usize, Members),
    /// The owner has the list of before committed with the new one.
    FinishChange(usize),
    /// The owner lists the present life of a member.
    Relist(usize, usize),
    /// The owner hands off, or invites.
    HandOff(usize, usize),
    /// Draft: who handed off goes on.
    Resume(usize),
    /// An ended copy goes.
    Purge(usize),
    /// Who owned a copy says to its holder that it does not any more.
    Answer(usize, usize),
    /// Who owned a copy lets its holder let it go.
    Compare(usize, usize),
    /// A node that lives is declared dead, and goes on as another life with all it has.
    Rename(usize),
    /// Draft: the record is sent to another life as if it were the one before.
    Resend(usize, usize),
}

impl Action {
    /// Whether it happens by itself, sooner or later: no fault, and nobody's wish.
    pub(crate) fn is_due(&self) -> bool {
        matches!(
            self,
            Self::Deliver(_)
                | Self::Activate(_)
                | Self::GiveUp(_)
                | Self::Contact(..)
                | Self::Release(_)
                | Self::FinishChange(_)
                | Self::Claim(..)
                | Self::Compare(..)
                | Self::Change(..)
        )
    }
}

impl Model {
    /// All that can happen.
    pub(crate) fn actions(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for node in 0..NODES {
            if !state.nodes[node].up {
                if state.restarts < self.rules.restarts {
                    actions.push(Action::Restart(node));
                }
                continue;
            }
            self.owner_actions(state, node, &mut actions);
            self.claim_actions(state, node, &mut actions);
            self.copy_actions(state, node, &mut actions);
            self.comparisons(state, node, &mut actions);
            self.faults(state, node, &mut actions);
        }
        let arrive = state
            .messages
            .iter()
            .filter(|one| self.may_arrive(state, one));
        actions.extend(arrive.map(|message| Action::Deliver(*message)));
        actions
    }

    fn may_arrive(&self, state: &State, message: &Message) -> bool {
        let to = &state.nodes[usize::from(message.to)];
        let release = matches!(message.body, Body::Release { .. });
        let later = release && self.rules.later_life && to.incarnation > message.to_life;
        to.up && (!self.rules.lives || to.incarnation == message.to_life || later)
    }

    fn has_more_to_hear(&self, state: &State, node: usize) -> bool {
        let mut said = state.messages.iter();
        said.any(|message| {
            usize::from(message.to) == node
                && self.may_arrive(state, message)
                && self.apply(state, Action::Deliver(*message)) != *state
        })
    }

    fn owner_actions(&self, state: &State, owner: usize, actions: &mut Vec<Action>) {
        let node = &state.nodes[owner];
        if node.role == Role::Owner {
            let room = node.own.version < self.rules.version_max;
            if self.rules.steps && room && !node.own.is_ended() {
                actions.push(Action::Step(owner, Kind::Request));
                if self.rules.ends {
                    actions.push(Action::Step(owner, Kind::End));
                }
            }
            if node.previous.is_empty() && room && state.changes < self.rules.changes {
                self.changes(state, owner, actions);
            }
            self.new_lives(state, owner, room, actions);
            if state.handoffs < self.rules.handoffs {
                let fit = |&heir: &usize| heir != owner && node.own.members.has(heir);
                let heirs = (0..NODES).filter(fit).filter(|&heir| state.nodes[heir].up);
                actions.extend(heirs.map(|heir| Action::HandOff(owner, heir)));
            }
            let waits = node.released >= 0 && (node.released as u8) < node.own.version;
            if self.rules.timeout_sends && state.timeouts < 1 && waits {
                actions.push(Action::TimeOut(owner));
            }
        }
        let may = node.role == Role::Owner || (!self.rules.yield_drops && !node.ballot.is_none());
        if may && self.committed(state, owner) > node.released {
            actions.push(Action::Release(owner));
        }
        let stale = (0..NODES).filter(|&member| node.stale.has(member));
        let again = stale.filter(|&member| !self.is_silent(state, owner, member));
        actions.extend(again.map(|member| Action::Contact(owner, member)));
        if node.role == Role::HandingOff && !self.rules.handoff_fences {
            actions.push(Action::Resume(owner));
        }
    }

    /// Node 2 or 3 may come for node 1: one leaving and one coming is every change there is. Where
    /// node 1 has left before, it may come back. Of two owners each may take what the other has.
    fn changes(&self, state: &State, owner: usize, actions: &mut Vec<Action>) {
        let listed = state.nodes[owner].own.members;
        let (leaving, coming): (&[usize], &[usize]) = match self.rules.start {
            Start::Returning | Start::ReturningAnew => (&[2, 3], &[1]),
            Start::Split | Start::SplitRenamed => (&[0, 3], &[0, 3]),
            _ => (&[1], &[2, 3]),
        };
        for &left in leaving
            .iter()
            .filter(|&&left| left != owner && listed.has(left))
        {
            for &fresh in coming {
                let node = &state.nodes[fresh];
                if fresh != owner && !listed.has(fresh) && node.up {
                    let list = listed.without(left).with(fresh, node.incarnation);
                    actions.push(Action::Change(owner, list));
                }
            }
        }
    }

    /// A listed member is back as another life.
    fn new_lives(&self, state: &State, owner: usize, room: bool, actions: &mut Vec<Action>) {
        let node = &state.nodes[owner];
        for member in (0..NODES).filter(|&member| member != owner) {
            let other = &state.nodes[member];
            let listed = node.own.members.has(member);
            let same = node.own.members.incarnation(member) == other.incarnation;
            if !listed || !other.up || same {
                continue;
            }
            if !self.rules.lives {
                actions.push(Action::Resend(owner, member));
            } else if node.previous.is_empty() && room {
                actions.push(Action::Relist(owner, member));
            }
        }
    }

    fn claim_actions(&self, state: &State, claimant: usize, actions: &mut Vec<Action>) {
        let node = &state.nodes[claimant];
        let copy = !node.record.is_none() || !self.rules.claim_from_copy;
        let free = matches!(node.role, Role::Copy | Role::HandingOff)
            && !(self.rules.patient && self.has_more_to_hear(state, claimant));
        if free
            && copy
            && state.claims < self.rules.claims
            && self.owner_seems_gone(state, claimant)
        {
            let least = Self::next_epoch(node).max(2);
            // Who knows nothing may have seen less than there was.
            let most = least + u8::from(node.record.is_none());
            for epoch in least..=self.rules.epoch_max.min(most) {
                let asks = self.whom_to_ask(node);
                let claims = asks.into_iter();
                actions.extend(claims.map(|asked| Action::Claim(claimant, epoch, asked)));
            }
        }
        if self.claim_is_complete(state, claimant) {
            actions.push(Action::Activate(claimant));
        }
        if self.lapsed(state, claimant).is_some() {
            actions.push(Action::GiveUp(claimant));
        }
    }

    fn owner_seems_gone(&self, state: &State, claimant: usize) -> bool {
        let node = &state.nodes[claimant];
        if node.record.is_none() {
            let first = 0;
            return claimant == first
                || self.is_silent(state, claimant, first)
                || state.nodes[first].incarnation != 0;
        }
        let owner = node.record.ballot.owner();
        let let_go = self.rules.own_evidence && node.word == node.record.ballot;
        owner == claimant || let_go || self.is_absent(state, claimant, owner, node.record.members)
    }

    fn copy_actions(&self, state: &State, holder: usize, actions: &mut Vec<Action>) {
        let node = &state.nodes[holder];
        let changing = node.role == Role::Owner && !node.previous.is_empty();
        if changing && node.released >= node.change as i8 {
            actions.push(Action::FinishChange(holder));
        }
        let ended = !node.record.is_none() && node.record.is_ended();
        if self.rules.purges && ended && node.role != Role::Claimant && state.end_told() {
            let mut live = state.nodes.iter().filter(|other| other.up);
            let everybody = live.all(|other| other.record.is_none() || other.record.is_ended());
            if self.rules.purge_any || everybody {
                actions.push(Action::Purge(holder));
            }
        }
    }

    fn faults(&self, state: &State, node: usize, actions: &mut Vec<Action>) {
        if state.faults >= self.rules.faults {
            return;
        }
        if self.rules.crashes {
            actions.push(Action::Crash(node));
        }
        let known = !state.nodes[node].record.is_none();
        if state.renames < self.rules.renames && known {
            actions.push(Action::Rename(node));
        }
        if !self.rules.false_alarms {
            return;
        }
        for other in (0..NODES).filter(|&other| other != node) {
            let peer = &state.nodes[other];
            let matters = peer.record.members.has(other) || peer.role == Role::Owner;
            let known = !peer.record.is_none() && matters;
            if peer.up && known && !state.nodes[node].silent.has(other) {
                actions.push(Action::FalseAlarm(node, other));
            }
        }
    }
}
