//! The claimant, and who promises to it: how a node becomes owner.
//!
//! Rules 10 to 14. Who claims, and whether the owner is silent to those that promise, is left open:
//! any node with a copy may claim and any may promise, so what holds here holds for the heir, too.

use super::model::Model;
use super::rules::Strays;
use super::state::{Ballot, Body, Members, NODES, Node, Nodes, Position, Record, Role, State};

impl Model {
    /// The epoch a node would claim at: above all it has seen.
    pub(crate) fn next_epoch(node: &Node) -> u8 {
        node.record.ballot.max(node.promised).epoch() + 1
    }

    /// Rule 11: whether `ballot` is above what was promised and what lies here.
    fn is_higher(node: &Node, ballot: Ballot) -> bool {
        ballot.epoch() > node.promised.epoch().max(node.record.ballot.epoch())
    }

    /// Whether `ballot` is refused for what stands promised or lies here.
    pub(crate) fn stands_against(node: &Node, ballot: Ballot) -> bool {
        ballot != node.promised && !Self::is_higher(node, ballot)
    }

    /// Rule 10: the node asks for promises.
    pub(crate) fn claim(&self, state: &mut State, claimant: usize, epoch: u8, asked: Nodes) {
        state.claims += 1;
        let ballot = Ballot::new(epoch, claimant);
        self.yield_to_a_copy(state, claimant);
        if !Self::is_higher(&state.nodes[claimant], ballot) {
            return;
        }
        self.void_acks(state, claimant, ballot);
        let fence = self.rules.fence;
        let node = &mut state.nodes[claimant];
        if fence || !node.record.is_none() {
            node.promised = ballot;
        }
        node.role = Role::Claimant;
        node.claim = ballot;
        node.granted = Nodes::only(claimant);
        node.best = node.record;
        node.asked = asked;
        if node.had && node.record.is_none() {
            node.lapsed = node.lapsed.with(claimant);
            node.marks[claimant] = node.mark;
        }
        self.send_claim(state, claimant, ballot, asked);
    }

    /// Rule 11: whether the node promises, and what that does to it.
    pub(crate) fn promise(&self, state: &mut State, who: usize, ballot: Ballot) -> bool {
        let node = &state.nodes[who];
        if Self::stands_against(node, ballot) {
            return false;
        }
        if !self.has_evidence(state, who, ballot) {
            return false;
        }
        if node.role == Role::Owner && node.ballot != ballot {
            // Rule 16: an owner promises to whom it invited, and to nobody else.
            if usize::from(node.invited) != ballot.owner() + 1 {
                return false;
            }
            self.yield_to_a_copy(state, who);
            state.nodes[who].invited = 0;
            state.nodes[who].handed = ballot.owner() as u8 + 1;
        }
        let node = &state.nodes[who];
        let own_claim = node.role == Role::Claimant && node.claim != ballot;
        if self.rules.promise_aborts && own_claim {
            self.yield_to_a_copy(state, who);
        }
        state.nodes[who].promised = ballot;
        self.void_acks(state, who, ballot);
        true
    }

    /// Rule 11: its own evidence that the owner of its copy is none any more.
    fn has_evidence(&self, state: &State, who: usize, ballot: Ballot) -> bool {
        let node = &state.nodes[who];
        let owner = node.record.ballot.owner();
        !self.rules.own_evidence
            || node.record.is_none()
            || owner == ballot.owner()
            || owner == who
            || node.word == node.record.ballot
            || self.finds_silent(state, who, owner)
    }

    /// Rule 6: what `who` acknowledged before it promised `ballot` lets nothing go any more, be it
    /// counted or under way: whoever promises has been out of contact with the owner, and only what
    /// was acknowledged since counts. With the weaker rule any later contact makes it count again.
    fn void_acks(&self, state: &mut State, who: usize, ballot: Ballot) {
        if !self.rules.fresh_acks {
            return;
        }
        // By the owner's word alone contact is not broken.
        let silent = |&owner: &usize| {
            owner != who && (!self.rules.own_evidence || self.finds_silent(state, who, owner))
        };
        let broken = (0..NODES)
            .filter(silent)
            .fold(Nodes::default(), Nodes::with);
        for owner in (0..NODES).filter(|&owner| broken.has(owner)) {
            let node = &mut state.nodes[owner];
            if node.ballot.is_none() || node.ballot >= ballot {
                continue;
            }
            if self.rules.unbroken {
                let told = (node.released + 1) as u8;
                node.acked[who] = node.acked[who].min(told);
            } else {
                node.stale = node.stale.with(who);
            }
        }
        if !self.rules.unbroken {
            return;
        }
        state.messages.retain(|message| {
            let lower = matches!(message.body, Body::Ack { ballot: of, .. } if of < ballot);
            usize::from(message.from) != who || !lower || !broken.has(usize::from(message.to))
        });
    }

    /// Takes in a promise.
    pub(crate) fn on_promise(
        &self,
        state: &mut State,
        (claimant, from): (usize, usize),
        ballot: Ballot,
        (record, had, mark): (Record, bool, Position),
    ) {
        let node = &mut state.nodes[claimant];
        if node.role != Role::Claimant || node.claim != ballot {
            return;
        }
        node.granted = node.granted.with(from);
        if record.is_none() {
            if had {
                node.lapsed = node.lapsed.with(from);
                node.marks[from] = mark;
            }
        } else if node.best.is_none() || self.is_above(&record, &node.best) {
            node.best = record;
            self.ask(state, claimant, self.concerned(&record));
        }
    }

    /// All that a record says should be asked.
    fn concerned(&self, record: &Record) -> Nodes {
        if record.is_none() {
            return Nodes::default();
        }
        let listed = |&node: &usize| record.members.has(node) || record.old.has(node);
        let listed = (0..NODES).filter(listed);
        listed.fold(Nodes::only(record.ballot.owner()), Nodes::with)
    }

    /// Rule 10: the sets of nodes that a claimant may ask. Off rule 3 it is the ring as one of two
    /// views has it.
    pub(crate) fn whom_to_ask(&self, node: &Node) -> Vec<Nodes> {
        let copies = self.rules.copies;
        let ring = Nodes::first(copies);
        if !self.rules.follow_lists {
            let fresh = if copies == 2 { 2 } else { 3 };
            let moved = ring.without(1).with(fresh);
            return if self.rules.changes == 0 {
                vec![ring]
            } else {
                vec![ring, moved]
            };
        }
        let missed = node.renamed || node.promised > node.record.ballot;
        let wide = self.rules.ask_wide && missed;
        if self.rules.ask_everybody || wide {
            return vec![Nodes::ALL];
        }
        let ring = if self.rules.ring_moved {
            ring.with(copies)
        } else {
            ring
        };
        vec![ring.and(self.concerned(&node.record))]
    }

    /// Sends the claim to those that have not been asked.
    fn ask(&self, state: &mut State, claimant: usize, whom: Nodes) {
        if self.rules.ask_everybody || !self.rules.follow_lists {
            return;
        }
        let node = &mut state.nodes[claimant];
        let (ballot, before) = (node.claim, node.asked);
        node.asked = before.and(whom);
        self.send_claim(state, claimant, ballot, whom.except(before));
    }

    fn send_claim(&self, state: &mut State, claimant: usize, ballot: Ballot, whom: Nodes) {
        for other in (0..NODES).filter(|&other| other != claimant && whom.has(other)) {
            if !self.is_silent(state, claimant, other) {
                self.send(state, claimant, other, Body::Claim { ballot });
            }
        }
    }

    /// Rules 12 and 13: whether the claim is complete.
    pub(crate) fn claim_is_complete(&self, state: &State, claimant: usize) -> bool {
        let node = &state.nodes[claimant];
        let best = &node.best;
        if node.role != Role::Claimant || best.is_none() {
            return false;
        }
        if self.rules.epoch_below && best.ballot.epoch() >= node.claim.epoch() {
            return false;
        }
        // The owner of the best record must be silent or have promised.
        let owner = best.ballot.owner();
        let absent = self.is_absent(state, claimant, owner, best.members);
        if owner != claimant && !absent && !node.granted.has(owner) {
            return false;
        }
        if self.lapsed(state, claimant).is_some() {
            return false;
        }
        let life = |member: usize| state.nodes[member].incarnation;
        if !self.rules.every_promise {
            return true;
        }
        (0..NODES)
            .filter(|&member| member != claimant)
            .all(|member| {
                let must = if self.rules.follow_lists {
                    let listed = best.members.has_life(member, life(member));
                    let old = best.old.has_life(member, life(member));
                    let asked = self.rules.await_asked && self.was_asked(state, claimant, member);
                    member != owner && (listed || old || asked)
                } else {
                    node.asked.has(member)
                };
                let silent = self.is_silent(state, claimant, member);
                !must || silent || node.granted.has(member)
            })
    }

    /// Whether the claim was sent to the present life of a member.
    fn was_asked(&self, state: &State, claimant: usize, member: usize) -> bool {
        let node = &state.nodes[claimant];
        let ballot = node.claim;
        let claim = self.message(state, claimant, member, Body::Claim { ballot });
        node.asked.has(member) && state.messages.binary_search(&claim).is_ok()
    }

    /// Rule 13: the mark that makes the best record obsolete, if somebody it names has let go of
    /// it. Who has let go of the end need not be named, with the remedy for that.
    pub(crate) fn lapsed(&self, state: &State, claimant: usize) -> Option<Position> {
        let node = &state.nodes[claimant];
        let best = &node.best;
        if !self.rules.obsolete || node.role != Role::Claimant || best.is_none() {
            return None;
        }
        let named = |&member: &usize| {
            let life = state.nodes[member].incarnation;
            let listed = best.members.has_life(member, life);
            node.lapsed.has(member) && (listed || node.purgers.has(member))
        };
        let marks = (0..NODES).filter(named).map(|member| node.marks[member]);
        marks
            .max()
            .filter(|mark| !self.rules.positional || *mark >= best.position())
    }

    /// Rule 13: the copy is obsolete and goes.
    pub(crate) fn give_up(&self, state: &mut State, claimant: usize) {
        let lapsed = self.lapsed(state, claimant);
        let node = &mut state.nodes[claimant];
        node.mark = node.mark.max(lapsed.unwrap_or_default());
        node.record = Record::default();
        self.yield_to_a_copy(state, claimant);
    }

    /// Rule 14: the claimant makes the first record of its ballot.
    pub(crate) fn activate(&self, state: &mut State, claimant: usize) {
        let node = state.nodes[claimant];
        let (best, ballot) = (node.best, node.claim);
        let owner = best.ballot.owner();
        let members = self.propose(state, claimant, best.members, owner);
        if owner != claimant && state.nodes[owner].up {
            self.send(state, claimant, owner, Body::Fenced { ballot });
        }
        let before = self.list_before(state, &best);
        let record = Record {
            ballot,
            members,
            old: if self.rules.record_names_old {
                before
            } else {
                Members::NONE
            },
            lease: best.lease + 1,
            ..best
        };
        self.become_owner(state, claimant, record, before);
        if self.rules.strays != Strays::Kept {
            let holders = node.granted.except(node.lapsed).with(owner);
            let strays = holders.with(node.record.ballot.owner());
            state.nodes[claimant].strays = strays.without(claimant);
        }
    }

    /// All that the best record lists: a change may have been under way.
    fn list_before(&self, state: &State, best: &Record) -> Members {
        let mut before = best.members;
        if !self.rules.record_names_old {
            return before;
        }
        for member in (0..NODES).filter(|&member| best.old.has(member)) {
            if !before.has_life(member, state.nodes[member].incarnation) {
                before = before.with(member, best.old.incarnation(member));
            }
        }
        before
    }
}
