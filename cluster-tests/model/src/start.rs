//! Where a run begins: fresh, or in the middle of a history too long to be searched from its start.

use super::invariant::Invariants;
use super::model::Model;
use super::state::{Ballot, Body, Emitted, Kind, Log, Members, NODES, Node, Record, Role, State};

/// Where a run begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// Node 0 owns the call at epoch 1; the next ones have a copy of it.
    Fresh,
    /// An earlier fault is over: node 0 found node 1 silent and took another in its place, which
    /// was committed and told. Node 1 has heard nothing of it, nor that it may let go of its copy;
    /// it may hear that at any time, or never.
    ChangeUnheard,
    /// As before, but node 1 has heard it, and holds a mark instead of a copy.
    Returning,
    /// An earlier fault is over: node 0 died, node 1 took over with the promise of node 2, found it
    /// silent and took node 3 in its place. Node 2 knows what it promised, and no more.
    TakeoverUnheard,
    /// As [`Start::Returning`], but node 1 has nothing, for it is in its second life; what was said
    /// to its first one was never heard.
    ReturningAnew,
    /// Node 0 took nodes 2 and 3, let node 1 go and handed the call over to node 3, which took node
    /// 1 again. Before all that node 3 said to node 2 that it has nothing, which may arrive yet.
    HandedOver,
    /// As before, but when node 3 said so it had let go of a copy.
    HandedOverAgain,
    /// Two copies. A partition is over: node 1 owned the call and gave node 0 a copy, node 2 took
    /// it over and gave node 3 a copy. No owner knows of the other.
    Split,
    /// As before, but node 1 was declared dead, and is in another life with all it had.
    SplitRenamed,
}

impl Model {
    /// The state a run begins with.
    pub(crate) fn first_state(&self) -> State {
        match self.rules.start {
            Start::Fresh => self.fresh(),
            Start::ChangeUnheard => self.changed(),
            Start::Returning => self.returning(),
            Start::TakeoverUnheard => self.taken_over(),
            Start::ReturningAnew => self.returning_anew(),
            Start::HandedOver => self.handed_over(false),
            Start::HandedOverAgain => self.handed_over(true),
            Start::Split => self.split(),
            Start::SplitRenamed => {
                let mut state = self.split();
                self.rename(&mut state, 1);
                (state.renames, state.faults) = (0, 0);
                state
            }
        }
    }

    fn fresh(&self) -> State {
        let copies = self.rules.copies;
        let listed = (0..copies).fold(Members::NONE, |all, node| all.with(node, 0));
        let record = Record {
            ballot: Ballot::new(1, 0),
            version: 0,
            log: Log::default(),
            members: listed,
            old: Members::NONE,
            lease: 0,
        };
        let mut nodes = [Node {
            up: true,
            released: -1,
            ..Node::default()
        }; NODES];
        for node in nodes.iter_mut().take(copies) {
            hold(node, record);
        }
        own(&mut nodes[0], record);
        State {
            nodes,
            messages: Vec::new(),
            emitted: Vec::new(),
            cseq: 0,
            faults: 0,
            restarts: 0,
            changes: 0,
            handoffs: 0,
            timeouts: 0,
            answers: 0,
            renames: 0,
            claims: 0,
            broken: Invariants::NONE,
        }
    }

    fn changed(&self) -> State {
        let mut state = self.fresh();
        let copies = self.rules.copies;
        let mut record = state.nodes[0].own;
        record.push(Kind::Change, record.ballot, 0);
        record.members = record.members.without(1).with(copies, 0);
        for member in (2..=copies).chain([0]) {
            hold(&mut state.nodes[member], record);
            state.nodes[0].acked[member] = record.version + 1;
        }
        own(&mut state.nodes[0], record);
        state.nodes[0].silent = state.nodes[0].silent.with(1);
        told(&mut state, record);
        let release = Body::Release {
            ballot: record.ballot,
            version: record.version,
        };
        self.send(&mut state, 0, 1, release);
        state
    }

    fn returning(&self) -> State {
        let mut state = self.changed();
        state.messages.clear();
        state.nodes[0].silent = Default::default();
        let mark = state.nodes[0].own.position();
        state.nodes[1].record = Record::default();
        state.nodes[1].mark = mark;
        state
    }

    fn returning_anew(&self) -> State {
        let mut state = self.changed();
        state.nodes[0].silent = Default::default();
        state.nodes[1] = Node {
            up: true,
            incarnation: 1,
            released: -1,
            ..Node::default()
        };
        state
    }

    fn handed_over(&self, had: bool) -> State {
        let mut state = self.fresh();
        let first = state.nodes[0].own;
        let mut let_go = Ballot::default();
        if had {
            state.nodes[3].mark = first.position();
            let_go = first.ballot;
        }
        let ballot = Ballot::default();
        self.send(&mut state, 3, 2, Body::Standing { ballot, let_go });
        let mut record = first;
        record.push(Kind::Change, first.ballot, 0);
        record.ballot = Ballot::new(2, 3);
        record.lease += 1;
        record.members = record.members.without(0).with(3, 0);
        for member in 1..NODES {
            hold(&mut state.nodes[member], record);
            state.nodes[3].acked[member] = record.version + 1;
        }
        let nothing = Node {
            up: true,
            had: true,
            mark: record.position(),
            promised: record.ballot,
            released: -1,
            handed: 4,
            ..Node::default()
        };
        state.nodes[0] = nothing;
        own(&mut state.nodes[3], record);
        told(&mut state, record);
        state
    }

    fn split(&self) -> State {
        let mut state = self.fresh();
        let mut before = state.nodes[0].own;
        before.ballot = Ballot::new(1, 1);
        before.push(Kind::Request, before.ballot, 0);
        let sides = [(1, 0, before.ballot), (2, 3, Ballot::new(2, 2))];
        state.nodes = [Node {
            up: true,
            released: -1,
            ..Node::default()
        }; NODES];
        for (owner, other, ballot) in sides {
            let mut record = before;
            record.ballot = ballot;
            record.push(Kind::Change, ballot, 0);
            record.members = Members::NONE.with(owner, 0).with(other, 0);
            record.lease = ballot.epoch() - 1;
            hold(&mut state.nodes[owner], record);
            hold(&mut state.nodes[other], record);
            own(&mut state.nodes[owner], record);
            state.nodes[owner].acked[other] = record.version + 1;
            told(&mut state, record);
        }
        state.emitted.sort();
        state.cseq = 1;
        state
    }

    fn taken_over(&self) -> State {
        let mut state = self.fresh();
        state.nodes[0] = Node {
            released: -1,
            ..Node::default()
        };
        let mut record = state.nodes[1].record;
        record.ballot = Ballot::new(2, 1);
        record.lease += 1;
        record.members = Members::NONE.with(1, 0).with(3, 0);
        record.push(Kind::Change, record.ballot, 0);
        hold(&mut state.nodes[1], record);
        hold(&mut state.nodes[3], record);
        own(&mut state.nodes[1], record);
        state.nodes[1].acked[3] = record.version + 1;
        state.nodes[1].silent = state.nodes[1].silent.with(2);
        state.nodes[2].promised = record.ballot;
        told(&mut state, record);
        state
    }
}

fn hold(node: &mut Node, record: Record) {
    node.record = record;
    node.promised = record.ballot;
    node.had = true;
}

fn own(node: &mut Node, record: Record) {
    node.role = Role::Owner;
    node.released = record.version as i8;
    node.ballot = record.ballot;
    node.own = record;
}

/// All of the record was told to phones.
fn told(state: &mut State, record: Record) {
    state.emitted.push(Emitted {
        ballot: record.ballot,
        version: record.version,
        log: record.log,
    });
}
