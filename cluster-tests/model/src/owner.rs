//! The owner: the need of a version, releases of outputs, replica changes.
//!
//! Rules 5 to 8, 14 and 17. A slow member differs from a silent one only by what arrives.

use super::model::Model;
use super::state::{Body, Kind, Members, NODES, Record, Role, State};

impl Model {
    /// Whether enough of the list have acknowledged `version`, as the owner sees it. With nobody in
    /// it present, yes: alone.
    fn covers(&self, state: &State, owner: usize, list: Members, version: u8, all: bool) -> bool {
        let (mut present, mut acked, mut missing) = (0, 0, 0);
        for member in (0..NODES).filter(|&member| member != owner && list.has(member)) {
            let node = &state.nodes[owner];
            let has = node.acked[member] > version && !node.stale.has(member);
            acked += u8::from(has);
            if !self.is_absent(state, owner, member, list) {
                present += 1;
                missing += u8::from(!has);
            }
        }
        present == 0 || if all { missing == 0 } else { acked >= 1 }
    }

    /// Rule 6: up to which version outputs may leave; below zero for none.
    pub(crate) fn committed(&self, state: &State, owner: usize) -> i8 {
        let node = &state.nodes[owner];
        let (all, listed, previous) = (self.rules.ack_all, node.own.members, node.previous);
        // Rule 14: before anything has left, all of the list before must have it.
        let all_previous = all || (self.rules.record_names_old && node.released < 0);
        let mut version = node.own.version as i8;
        while version > node.released {
            let has = |list, all| self.covers(state, owner, list, version as u8, all);
            if has(listed, all) && (previous.is_empty() || has(previous, all_previous)) {
                return version;
            }
            version -= 1;
        }
        node.released
    }

    /// Lets outputs up to `version` go, and has them judged.
    pub(crate) fn release(&self, state: &mut State, owner: usize, version: i8) {
        let node = state.nodes[owner];
        if version <= node.released {
            return;
        }
        let upto = version as u8;
        let log = node.own.log.prefix(upto);
        let ballot = node.ballot;
        let now = super::state::Emitted {
            ballot,
            version: upto,
            log,
        };
        self.judge_output(state, now);
        let from = if node.released < 0 {
            node.own.version.min(upto)
        } else {
            node.released as u8
        };
        self.judge_cseq(state, owner, ballot, (from, upto));
        self.note_output(state, ballot, upto, log);
        state.nodes[owner].released = version;
    }

    /// Lets go what may leave.
    pub(crate) fn try_release(&self, state: &mut State, owner: usize) {
        let node = &state.nodes[owner];
        let may = node.role == Role::Owner || !self.rules.yield_drops;
        if node.up && !node.ballot.is_none() && may {
            let version = self.committed(state, owner);
            self.release(state, owner, version);
        }
    }

    /// Sends the record to everybody listed.
    pub(crate) fn broadcast(&self, state: &mut State, owner: usize) {
        let node = state.nodes[owner];
        for member in 0..NODES {
            let listed = node.own.members.has(member) || node.previous.has(member);
            if member != owner && listed && state.nodes[member].up {
                self.send(state, owner, member, Body::Replicate(node.own));
            }
        }
    }

    /// Begins to own, with `record` as the first of its ballot and `before` as the list before.
    pub(crate) fn become_owner(
        &self,
        state: &mut State,
        owner: usize,
        record: Record,
        before: Members,
    ) {
        let activate_with_old = self.rules.activate_with_old;
        let node = &mut state.nodes[owner];
        node.role = Role::Owner;
        node.ballot = record.ballot;
        node.own = record;
        node.record = record;
        node.had = true;
        node.promised = node.promised.max(record.ballot);
        node.acked = [0; NODES];
        node.stale = Default::default();
        node.released = -1;
        node.previous = if activate_with_old {
            before
        } else {
            Members::NONE
        };
        node.change = record.version;
        self.forget_claim(node);
        self.broadcast(state, owner);
        self.try_release(state, owner);
    }

    /// Rule 3: whom an owner proposes: those of `keep` that are present, then others; never `drop`.
    pub(crate) fn propose(
        &self,
        state: &State,
        owner: usize,
        keep: Members,
        drop: usize,
    ) -> Members {
        let life = |node: usize| state.nodes[node].incarnation;
        let mut list = Members::NONE.with(owner, life(owner));
        let mut count = 1;
        for kept in (0..NODES).filter(|&one| one != owner && one != drop && keep.has(one)) {
            if count < self.rules.copies && !self.is_absent(state, owner, kept, keep) {
                list = list.with(kept, life(kept));
                count += 1;
            }
        }
        for fresh in (0..NODES).filter(|&one| one != owner && one != drop) {
            let free = !list.has(fresh) && !self.is_silent(state, owner, fresh);
            if count < self.rules.copies && free {
                list = list.with(fresh, life(fresh));
                count += 1;
            }
        }
        list
    }

    /// A step of the call.
    pub(crate) fn step(&self, state: &mut State, owner: usize, kind: Kind) {
        let node = &mut state.nodes[owner];
        node.own.push(kind, node.ballot, node.incarnation);
        node.record = node.own;
        self.broadcast(state, owner);
        self.try_release(state, owner);
    }

    /// Rule 17: the list changes. Without the rule, whoever leaves is released at once.
    pub(crate) fn change(&self, state: &mut State, owner: usize, list: Members) {
        let node = &mut state.nodes[owner];
        let before = node.own.members;
        node.own.push(Kind::Change, node.ballot, node.incarnation);
        node.own.members = list;
        if self.rules.joint_change {
            node.previous = before;
            node.change = node.own.version;
            if self.rules.record_names_old {
                node.own.old = before;
            }
        }
        node.record = node.own;
        let own = node.own;
        if !self.rules.joint_change {
            for left in (0..NODES).filter(|&one| one != owner) {
                if before.has(left) && !list.has(left) {
                    self.send_release(state, owner, left, own);
                }
            }
        }
        self.broadcast(state, owner);
        self.try_release(state, owner);
    }

    /// Rule 17: the change is committed; now the list before goes.
    pub(crate) fn finish_change(&self, state: &mut State, owner: usize) {
        let node = &mut state.nodes[owner];
        let before = node.previous;
        let strays = std::mem::take(&mut node.strays);
        node.previous = Members::NONE;
        node.own.old = Members::NONE;
        node.record.old = Members::NONE;
        let own = node.own;
        for left in (0..NODES).filter(|&one| one != owner) {
            let leaves = before.has(left) || strays.has(left);
            if leaves && !own.members.has(left) && state.nodes[left].up {
                self.send_release(state, owner, left, own);
            }
        }
        self.try_release(state, owner);
    }

    /// Tells `to` that its copy may go up to the record of the owner.
    pub(crate) fn send_release(&self, state: &mut State, owner: usize, to: usize, own: Record) {
        let body = Body::Release {
            ballot: state.nodes[owner].ballot,
            version: own.version,
        };
        self.send(state, owner, to, body);
    }
}
