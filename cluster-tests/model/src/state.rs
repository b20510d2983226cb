//! The state of the modelled world: one call, four nodes, the messages said so far.
//!
//! Everything is packed into small numbers, because millions of states are kept. Nothing here knows
//! a rule. The derived orders are those of the numbers, and messages are kept sorted by them, so
//! that a state has one form.

/// Nodes there are. Node 0 owns the call at first, the next ones hold the first copies.
pub(crate) const NODES: usize = 4;

/// Who owns at which epoch: `epoch << 2 | node`. Zero is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Ballot(u8);

impl Ballot {
    pub(crate) fn new(epoch: u8, node: usize) -> Self {
        Self(epoch << 2 | node as u8)
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn epoch(self) -> u8 {
        self.0 >> 2
    }

    pub(crate) fn owner(self) -> usize {
        usize::from(self.0 & 3)
    }

    /// What a step keeps of the ballot it was taken at.
    fn short(self) -> u8 {
        self.0 & 15
    }
}

/// A set of nodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Nodes(pub(crate) u8);

impl Nodes {
    pub(crate) const ALL: Self = Self(15);

    pub(crate) fn only(node: usize) -> Self {
        Self(1 << node)
    }

    /// Nodes 0 to `count`, that one not among them.
    pub(crate) fn first(count: usize) -> Self {
        Self((0..count).fold(0, |all, node| all | 1 << node))
    }

    pub(crate) fn has(self, node: usize) -> bool {
        (self.0 >> node) & 1 == 1
    }

    pub(crate) fn with(self, node: usize) -> Self {
        Self(self.0 | 1 << node)
    }

    pub(crate) fn without(self, node: usize) -> Self {
        Self(self.0 & !(1 << node))
    }

    pub(crate) fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) fn except(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

/// A list of members as (node, incarnation): four bits per node, zero for none, else the
/// incarnation and one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Members(u16);

impl Members {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn has(self, node: usize) -> bool {
        (self.0 >> (4 * node)) & 15 != 0
    }

    /// Which life of the node is listed; a number no life has, if none is.
    pub(crate) fn incarnation(self, node: usize) -> u8 {
        (((self.0 >> (4 * node)) & 15) as u8).wrapping_sub(1)
    }

    pub(crate) fn with(self, node: usize, incarnation: u8) -> Self {
        Self(self.without(node).0 | (u16::from(incarnation) + 1) << (4 * node))
    }

    pub(crate) fn without(self, node: usize) -> Self {
        Self(self.0 & !(15 << (4 * node)))
    }

    /// Whether this life of the node is listed.
    pub(crate) fn has_life(self, node: usize, incarnation: u8) -> bool {
        self.has(node) && self.incarnation(node) == incarnation
    }
}

/// What a step of the call does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The owner sends a request of its own: it uses a CSeq number.
    Request = 1,
    /// The call ends.
    End = 2,
    /// The list of members changes.
    Change = 3,
}

/// The steps of a call, a byte each: kind, ballot and incarnation they were taken at. Two logs that
/// differ in one step differ in what phones were told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Log(u64);

impl Log {
    pub(crate) fn byte(self, at: u8) -> u8 {
        ((self.0 >> (8 * at)) & 0xff) as u8
    }

    pub(crate) fn is(self, at: u8, kind: Kind) -> bool {
        self.byte(at) >> 6 == kind as u8
    }

    pub(crate) fn prefix(self, length: u8) -> Self {
        if length >= 8 {
            self
        } else {
            Self(self.0 & ((1 << (8 * length)) - 1))
        }
    }

    pub(crate) fn has_end(self, length: u8) -> bool {
        (0..length).any(|at| self.is(at, Kind::End))
    }

    pub(crate) fn requests(self, length: u8) -> u8 {
        (0..length).filter(|&at| self.is(at, Kind::Request)).count() as u8
    }

    pub(crate) fn taken_at(self, at: u8, ballot: Ballot) -> bool {
        self.byte(at) >> 2 & 15 == ballot.short()
    }
}

/// The record of the call: what copies are copies of. Ballot zero: there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Record {
    pub(crate) ballot: Ballot,
    /// How many steps the log has.
    pub(crate) version: u8,
    pub(crate) log: Log,
    pub(crate) members: Members,
    pub(crate) old: Members,
    /// Blocks of CSeq numbers leased so far.
    pub(crate) lease: u8,
}

impl Record {
    pub(crate) fn is_none(&self) -> bool {
        self.ballot.is_none()
    }

    pub(crate) fn position(&self) -> Position {
        (self.ballot, self.version)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.log.has_end(self.version)
    }

    /// Appends a step taken by this life of the ballot's owner.
    pub(crate) fn push(&mut self, kind: Kind, ballot: Ballot, incarnation: u8) {
        let byte = (kind as u8) << 6 | ballot.short() << 2 | (incarnation & 3);
        self.log.0 |= u64::from(byte) << (8 * self.version);
        self.version += 1;
    }
}

/// A place in the history of a call.
pub(crate) type Position = (Ballot, u8);

/// What a message says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Body {
    Replicate(Record),
    Ack {
        ballot: Ballot,
        version: u8,
    },
    Fenced {
        ballot: Ballot,
    },
    Claim {
        ballot: Ballot,
    },
    Promise {
        ballot: Ballot,
        record: Record,
        had: bool,
        /// Up to where the copy that was had has been let go.
        mark: Position,
        /// Whether that was the end.
        purged: bool,
    },
    /// By the final rules an invitation; in the draft the call itself, with the list before.
    Handoff(Record, Members),
    Release {
        ballot: Ballot,
        version: u8,
    },
    /// The claim for this ballot is turned down.
    Refuse {
        ballot: Ballot,
    },
    /// What the sender is to the call: the highest ballot it knows, or none if it has no copy; and
    /// the ballot up to which it has let one go, if it has.
    Standing {
        ballot: Ballot,
        let_go: Ballot,
    },
}

/// A message, from one life to another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Message {
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) from_life: u8,
    pub(crate) to_life: u8,
    pub(crate) body: Body,
}

/// What a node is to the call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum Role {
    /// It has a copy, or nothing.
    #[default]
    Copy,
    Claimant,
    Owner,
    /// Draft only: an owner that has handed off and may resume.
    HandingOff,
}

/// One node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Node {
    pub(crate) up: bool,
    pub(crate) incarnation: u8,
    pub(crate) record: Record,
    pub(crate) promised: Ballot,
    /// Whether it ever had a copy.
    pub(crate) had: bool,
    /// Up to where its copy was released or purged.
    pub(crate) mark: Position,
    /// Whether the mark is that of the end.
    pub(crate) purged: bool,
    pub(crate) role: Role,
    /// As claimant: for which ballot, who has granted, who has let go of a copy, the best record so
    /// far, who was asked. Of who has let go: up to where, and
    /// whether of the end.
    pub(crate) claim: Ballot,
    pub(crate) granted: Nodes,
    pub(crate) lapsed: Nodes,
    pub(crate) marks: [Position; NODES],
    pub(crate) purgers: Nodes,
    pub(crate) best: Record,
    pub(crate) asked: Nodes,
    /// Whom it finds silent. Never taken back.
    pub(crate) silent: Nodes,
    /// As owner: its ballot, its record, the version each member acknowledged and one, the list
    /// before a change under way and the version of that change.
    pub(crate) ballot: Ballot,
    pub(crate) own: Record,
    pub(crate) acked: [u8; NODES],
    /// As owner: whose acknowledgements do not count until there is contact again.
    pub(crate) stale: Nodes,
    pub(crate) previous: Members,
    pub(crate) change: u8,
    /// The version up to which outputs left at this ballot; below zero if none did.
    pub(crate) released: i8,
    /// Whom it invited, and one.
    pub(crate) invited: u8,
    /// To whom it promised the call that it owned, and one.
    pub(crate) handed: u8,
    /// As owner: who holds copies that it does not list.
    pub(crate) strays: Nodes,
    /// The ballot whose owner has said that it is that no more.
    pub(crate) word: Ballot,
    /// It was given up while it lived, and has gone on as another life with all it had.
    pub(crate) renamed: bool,
}

/// Up to where outputs left at a ballot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Emitted {
    pub(crate) ballot: Ballot,
    pub(crate) version: u8,
    pub(crate) log: Log,
}

impl Emitted {
    pub(crate) fn has_end(&self) -> bool {
        self.log.has_end(self.version)
    }
}

/// The world.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) nodes: [Node; NODES],
    /// Never consumed: each may arrive any number of times, late, or not at all.
    pub(crate) messages: Vec<Message>,
    pub(crate) emitted: Vec<Emitted>,
    /// The highest CSeq number a phone has seen.
    pub(crate) cseq: u8,
    pub(crate) faults: u8,
    pub(crate) restarts: u8,
    pub(crate) changes: u8,
    pub(crate) handoffs: u8,
    pub(crate) timeouts: u8,
    pub(crate) claims: u8,
    pub(crate) answers: u8,
    pub(crate) renames: u8,
    pub(crate) broken: super::invariant::Invariants,
}

impl State {
    /// Whether the end was told to a phone.
    pub(crate) fn end_told(&self) -> bool {
        self.emitted.iter().any(Emitted::has_end)
    }
}
