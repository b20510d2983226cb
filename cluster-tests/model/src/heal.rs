//! What makes owners one and copies few again after more has happened than is promised to be
//! survived: who says what it is to the call, who turns claims down, whose copies may go.
//!
//! Rules 8, 11, 18, 21 and 22. Nothing here makes anybody an owner.

use super::action::Action;
use super::model::Model;
use super::rules::{Followers, Strays, Word};
use super::state::{Ballot, Body, Members, Message, NODES, Node, Record, Role, State};

impl Model {
    /// What the nodes may say of themselves: an answer of who owned a copy and does not any more,
    /// and what an owner lets go when it compares.
    pub(crate) fn comparisons(&self, state: &State, holder: usize, actions: &mut Vec<Action>) {
        let node = &state.nodes[holder];
        let owner = node.record.ballot.owner();
        if node.record.is_none() || owner == holder || !state.nodes[owner].up {
            return;
        }
        if state.answers < self.rules.answers && state.nodes[owner].ballot != node.record.ballot {
            actions.push(Action::Answer(owner, holder));
        }
        if self.rules.digests && self.outgrown(state, owner, &node.record, holder) {
            actions.push(Action::Compare(owner, holder));
        }
    }

    /// Rule 21: whether the owner of a copy's ballot, or what its node is now, knows that the call
    /// has gone on.
    fn outgrown(&self, state: &State, owner: usize, held: &Record, holder: usize) -> bool {
        let node = &state.nodes[owner];
        if state.nodes[holder].role != Role::Copy {
            return false;
        }
        let own = &node.own;
        let known = match node.role {
            Role::Owner if own.members.has(holder) || node.previous.has(holder) => return false,
            Role::Owner => own.position(),
            _ if node.record.ballot > held.ballot => node.mark.max(node.record.position()),
            _ => node.mark,
        };
        known >= held.position()
    }

    /// Rule 21: the copy may go, up to where it is.
    pub(crate) fn compare(&self, state: &mut State, owner: usize, holder: usize) {
        let (ballot, version) = state.nodes[holder].record.position();
        self.send(state, owner, holder, Body::Release { ballot, version });
    }

    /// What `who` is to the call.
    pub(crate) fn answer(&self, state: &mut State, who: usize, to: usize) {
        state.answers += 1;
        let node = &state.nodes[who];
        let none = node.record.is_none();
        let known = node.record.ballot.max(node.promised);
        let body = Body::Standing {
            ballot: if none { Ballot::default() } else { known },
            let_go: node.mark.0,
        };
        self.send(state, who, to, body);
    }

    /// Rules 8 and 11: what somebody is to the call.
    pub(crate) fn on_standing(
        &self,
        state: &mut State,
        (to, from): (usize, usize),
        ballot: Ballot,
        let_go: Ballot,
    ) {
        let node = &state.nodes[to];
        let active = node.role == Role::Owner && node.released >= 0;
        if self.rules.standing_fences && active && node.ballot < ballot {
            self.yield_to_a_copy(state, to);
            state.nodes[to].promised = state.nodes[to].promised.max(ballot);
        }
        let node = &mut state.nodes[to];
        let of_owner = from == node.record.ballot.owner();
        let none = ballot.is_none();
        let counts = match self.rules.word {
            Word::LetGo => of_owner && (!none || let_go >= node.record.ballot),
            Word::AnyLetGo => of_owner && (!none || !let_go.is_none()),
            Word::Nothing => of_owner,
            Word::Anybody => true,
        };
        if counts && (none || ballot > node.record.ballot) {
            node.word = node.record.ballot;
        }
    }

    /// Rule 8: the owner of the copy that went may believe that it lies here.
    pub(crate) fn tell_outbid(&self, state: &mut State, who: usize, former: &Record) {
        let owner = former.ballot.owner();
        let now = state.nodes[who].record;
        let knows = owner == who || owner == now.ballot.owner() || now.members.has(owner);
        if self.rules.standing_fences && !former.is_none() && !knows && state.nodes[owner].up {
            let ballot = now.ballot;
            let let_go = Ballot::default();
            self.send(state, who, owner, Body::Standing { ballot, let_go });
        }
    }

    /// Rule 22: what `who` owned goes on at `by`, by somebody who may not have heard of all that it
    /// listed.
    pub(crate) fn followers_go(&self, state: &mut State, who: usize, former: &Record, by: Ballot) {
        let ours = !former.is_none() && former.ballot.owner() == who;
        let handed = usize::from(state.nodes[who].handed) == by.owner() + 1;
        if self.rules.followers == Followers::Kept || !ours || handed {
            return;
        }
        let (ballot, version) = former.position();
        for member in (0..NODES).filter(|&one| one != who) {
            let Node {
                up, incarnation, ..
            } = state.nodes[member];
            let any_life = self.rules.later_life;
            let lists = |list: &Members| {
                list.has_life(member, incarnation) || (any_life && list.has(member))
            };
            let listed = lists(&former.members) || lists(&former.old);
            if up && listed {
                self.send(state, who, member, Body::Release { ballot, version });
            }
        }
    }

    /// Rule 18: whether the sender is the one who owned that ballot, or a later life of it.
    pub(crate) fn may_release(&self, state: &State, message: &Message, ballot: Ballot) -> bool {
        let node = &state.nodes[usize::from(message.to)];
        let held = &node.record;
        let other = held.ballot != ballot || !held.members.has(ballot.owner());
        self.rules.later_life
            || other
            || held.members.incarnation(ballot.owner()) == message.from_life
    }

    /// A claim that is not granted. Who makes it in vain may hold a copy that nobody else knows of.
    pub(crate) fn refuse(&self, state: &mut State, who: usize, from: usize, ballot: Ballot) {
        let node = &state.nodes[who];
        let waits = node.role != Role::Owner && !Self::stands_against(node, ballot);
        if waits {
            return;
        }
        let (owns, own) = (node.role == Role::Owner, node.own);
        let settled = node.released >= 0 && node.previous.is_empty();
        let listed = own.members.has(from) || node.previous.has(from);
        self.send(state, who, from, Body::Refuse { ballot });
        if !owns || listed || self.rules.strays == Strays::Kept {
            return;
        }
        if settled || self.rules.strays == Strays::Always {
            self.send_release(state, who, from, own);
        } else {
            let node = &mut state.nodes[who];
            node.strays = node.strays.with(from);
        }
    }

    /// Declared dead while it lives: it goes on as another life, and claims what it owned.
    pub(crate) fn rename(&self, state: &mut State, who: usize) {
        state.renames += 1;
        state.faults += 1;
        self.yield_to_a_copy(state, who);
        let node = &mut state.nodes[who];
        node.incarnation += 1;
        node.renamed = true;
    }
}
