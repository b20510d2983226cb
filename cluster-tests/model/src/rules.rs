//! The rules of PROTOCOL.md as switches, where a run begins, and how much may happen in it.

use super::start::Start;

/// Rule 11: whose word that it does not own a call any more counts like silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// That of the owner of one's copy, if it names a higher ballot or has let go of a copy of that
    /// ballot.
    LetGo,
    /// The same, of whichever ballot the copy was.
    AnyLetGo,
    /// That of the owner of one's copy, if it has nothing, whether or not it had.
    Nothing,
    /// Anybody's.
    Anybody,
}

/// Rule 22: when the loser of two owners releases those that follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Followers {
    Kept,
    /// When it has the winner's record, or the winner's release.
    ByRecord,
    /// As soon as it yields.
    ByFence,
}

/// Rule 18: when an owner releases copies at members that it does not list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Strays {
    Kept,
    /// When its first record, and the change that came with it, are committed.
    Settled,
    Always,
}

/// The switches, and the budget.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// How many members hold the call, the owner counted.
    pub(crate) copies: usize,
    /// `ack = "all"`; else one acknowledgement will do.
    pub(crate) ack_all: bool,
    /// Rule 12: a claim waits for all it must; off: the first promise will do.
    pub(crate) every_promise: bool,
    /// Rules 3 and 12: a claim follows the lists of the records it sees; off: the ring of the
    /// claimant's own view, which may be the old or the new one.
    pub(crate) follow_lists: bool,
    /// Rules 4 and 11: a promise fences lower ballots off at the replica.
    pub(crate) fence: bool,
    /// Rule 2: order is (epoch, owner, version); off: (epoch, version, owner).
    pub(crate) ballot_first: bool,
    /// Rule 8: yielding drops held outputs.
    pub(crate) yield_drops: bool,
    /// Rule 5: acknowledgements name the ballot; off: the version only.
    pub(crate) ack_names_ballot: bool,
    /// Rule 1: what an earlier life said stands for nothing.
    pub(crate) lives: bool,
    /// Rule 13: who let go of a copy makes it obsolete.
    pub(crate) obsolete: bool,
    /// Rule 18: a late record at or below the mark of a release is not stored.
    pub(crate) mark: bool,
    /// Rule 14: the first record of a ballot needs the members of the best record, too.
    pub(crate) activate_with_old: bool,
    /// Rule 3: a record names the list before as well as its own.
    pub(crate) record_names_old: bool,
    /// Rule 11: promising aborts a claim of one's own.
    pub(crate) promise_aborts: bool,
    /// Rule 17: a replica change needs both lists, and releases only when it is committed.
    pub(crate) joint_change: bool,
    /// Rule 20: off: everybody has the end before anybody may let go of it.
    pub(crate) purge_any: bool,
    /// Rule 6: what was acknowledged before a promise to somebody else does not count after it.
    pub(crate) fresh_acks: bool,
    /// Rule 23: a new ballot begins above the leased CSeq numbers.
    pub(crate) lease: bool,
    /// Draft of rule 16: who hands off is fenced.
    pub(crate) handoff_fences: bool,
    /// Rule 16: handing off is inviting.
    pub(crate) invitation: bool,
    /// Rule 7 broken: a time-out lets outputs go.
    pub(crate) timeout_sends: bool,
    /// Rule 12: a record of the claim's own epoch or a higher one aborts it.
    pub(crate) epoch_below: bool,
    /// Rule 6: an acknowledgement counts with unbroken contact since; off: with any later contact.
    pub(crate) unbroken: bool,
    /// Rule 9: only who has a copy claims.
    pub(crate) claim_from_copy: bool,
    /// Not a rule: every claim asks everybody.
    pub(crate) ask_everybody: bool,
    /// Not a rule: the mark of a purged end counts from anybody, named by the best record or not.
    pub(crate) end_marks: bool,
    /// Rule 10: a claim asks everybody when a ballot above its copy's is known.
    pub(crate) ask_wide: bool,
    /// Rule 12: a claim waits for all it asked; off: for all that the best record lists.
    pub(crate) await_asked: bool,
    /// Rule 13: a mark makes obsolete what lies at or below it; off: whatever there is.
    pub(crate) positional: bool,
    /// Rule 11: whoever has a copy promises only if it finds the owner silent, or by its word. Off:
    /// at any time, which is more than can happen.
    pub(crate) own_evidence: bool,
    pub(crate) word: Word,
    /// Rule 8: who says that it knows of a higher ballot fences; and whoever takes a record in
    /// place of another owner's says so to that one.
    pub(crate) standing_fences: bool,
    pub(crate) followers: Followers,
    pub(crate) strays: Strays,
    /// Rule 18: a later life releases for an earlier one, and is released for it.
    pub(crate) later_life: bool,
    /// Rule 18: a copy above the mark of a release stays.
    pub(crate) release_below: bool,
    /// Rule 21: who owned a copy's ballot and knows more lets it go.
    pub(crate) digests: bool,
    /// Claims that are not granted are refused, and releases at a higher ballot fence.
    pub(crate) refuses: bool,

    /// Where a run begins.
    pub(crate) start: Start,
    /// Rule 10: whether the ring of a claimant's present or previous view proposes one more node.
    pub(crate) ring_moved: bool,

    /// Crashes and false alarms, together.
    pub(crate) faults: u8,
    pub(crate) crashes: bool,
    pub(crate) false_alarms: bool,
    pub(crate) restarts: u8,
    pub(crate) changes: u8,
    pub(crate) handoffs: u8,
    /// Members given up while they live.
    pub(crate) renames: u8,
    /// Answers of owners that are none any more.
    pub(crate) answers: u8,
    /// Claims without an invitation.
    pub(crate) claims: u8,
    pub(crate) version_max: u8,
    pub(crate) epoch_max: u8,
    /// Who claims has heard all that was said to it: a claim in vain is not made anew at once.
    pub(crate) patient: bool,
    /// Whether the call takes steps.
    pub(crate) steps: bool,
    /// Whether the call may end.
    pub(crate) ends: bool,
    /// Whether ended copies may go.
    pub(crate) purges: bool,
}

impl Rules {
    /// The rules as PROTOCOL.md has them.
    pub(crate) fn kept() -> Self {
        Self {
            copies: 3,
            ack_all: false,
            every_promise: true,
            follow_lists: true,
            fence: true,
            ballot_first: true,
            yield_drops: true,
            ack_names_ballot: true,
            lives: true,
            obsolete: true,
            mark: true,
            activate_with_old: true,
            record_names_old: true,
            promise_aborts: true,
            joint_change: true,
            purge_any: true,
            fresh_acks: true,
            lease: true,
            handoff_fences: true,
            invitation: true,
            timeout_sends: false,
            epoch_below: true,
            unbroken: true,
            claim_from_copy: true,
            ask_everybody: false,
            end_marks: false,
            ask_wide: true,
            await_asked: true,
            positional: true,
            own_evidence: false,
            word: Word::LetGo,
            standing_fences: false,
            followers: Followers::Kept,
            strays: Strays::Kept,
            later_life: false,
            release_below: true,
            digests: false,
            refuses: false,
            start: Start::Fresh,
            ring_moved: false,
            faults: 1,
            crashes: true,
            false_alarms: true,
            restarts: 0,
            changes: 0,
            handoffs: 0,
            renames: 0,
            answers: 0,
            claims: 2,
            version_max: 2,
            epoch_max: 3,
            patient: false,
            steps: true,
            ends: false,
            purges: false,
        }
    }

    /// The same, with all that makes copies and owners few again after more has happened.
    pub(crate) fn healing() -> Self {
        Self {
            own_evidence: true,
            standing_fences: true,
            followers: Followers::ByRecord,
            strays: Strays::Settled,
            later_life: true,
            digests: true,
            refuses: true,
            // Twice as many as there are copies: here that is everybody.
            ask_everybody: true,
            end_marks: true,
            ..Self::kept()
        }
    }

    /// The first draft, read to the letter: nearly nothing is fenced, listed or waited for.
    pub(crate) fn draft() -> Self {
        Self {
            every_promise: false,
            follow_lists: false,
            fence: false,
            ballot_first: false,
            yield_drops: false,
            ack_names_ballot: false,
            lives: false,
            obsolete: false,
            mark: false,
            activate_with_old: false,
            record_names_old: false,
            promise_aborts: false,
            joint_change: false,
            fresh_acks: false,
            handoff_fences: false,
            invitation: false,
            epoch_below: false,
            ..Self::first_final()
        }
    }

    /// As the rules were at first: everybody is asked, who is listed is waited for, anybody claims,
    /// and whoever let go of a copy makes every copy obsolete.
    pub(crate) fn first_final() -> Self {
        Self {
            claim_from_copy: false,
            ask_everybody: true,
            await_asked: false,
            positional: false,
            ..Self::kept()
        }
    }
}
