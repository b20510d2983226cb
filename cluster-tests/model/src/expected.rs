//! What must come of each configuration. A search is the same in every run, so what it finds, it
//! finds among the same number of states.

use super::invariant::Invariants;

/// What must come of a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// Nothing breaks, however many states are looked at.
    Holds,
    /// This breaks, among so many states at the latest, or within so many steps of walks.
    Breaks(Invariants, usize),
    /// No break is known, none is ruled out: whatever comes is right.
    Open,
}

/// What must come of the configuration with this name.
pub(crate) fn expected(name: &str) -> Expected {
    if let Some((_, what, within)) = BREAKS.iter().find(|(known, ..)| *known == name) {
        return Expected::Breaks(*what, *within);
    }
    let holds = ["B ", "S kept", "W ", "H mended"];
    if holds.iter().any(|letter| name.starts_with(letter)) {
        Expected::Holds
    } else {
        Expected::Open
    }
}

/// The names of those that break.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    BREAKS.iter().map(|(name, ..)| *name)
}

/// Name, what breaks, and among how many states, or after how many steps of walks.
#[rustfmt::skip]
const BREAKS: [(&str, Invariants, usize); 68] = [
    ("A draft copies=2 ack=all f=1 G1", Invariants::LOST_OR_FORKED, 8176),
    ("A draft copies=2 ack=all f=1 G2", Invariants::TWO_IN_EPOCH, 14_930),
    ("A draft copies=2 ack=all f=1 cseq", Invariants::CSEQ, 14_972),
    ("A draft copies=2 ack=all f=1 G4", Invariants::LATE_OUTPUT, 8210),
    ("A draft copies=3 ack=one f=1 G1", Invariants::LOST_OR_FORKED, 11_763),
    ("A draft copies=3 ack=one f=1 G2", Invariants::TWO_IN_EPOCH, 36_085),
    ("A draft copies=3 ack=one f=1 cseq", Invariants::CSEQ, 216_039),
    ("A draft copies=3 ack=one f=1 G4", Invariants::LATE_OUTPUT, 11_764),
    ("A draft copies=3 ack=one f=1 BYE G3", Invariants::RESURRECTION, 30_466),
    ("C -every_promise copies=3 ack=one f=1", Invariants::UNKNOWN, 3049),
    ("C -follow_lists change copies=3 ack=one f=1", Invariants::UNKNOWN, 30_762),
    ("C -fence copies=3 ack=one f=1", Invariants::UNKNOWN, 16_834),
    ("C -obsolete BYE+purge copies=3 ack=one f=1", Invariants::RESURRECTION, 48_360),
    ("C -mark BYE+purge copies=3 ack=one f=1", Invariants::RESURRECTION, 172_302),
    ("C -joint_change change copies=3 ack=one f=1", Invariants::UNKNOWN, 2491),
    ("C -fresh_acks copies=3 ack=one f=1", Invariants::CSEQ, 86_175),
    ("C -handoff_fences handoff copies=3 ack=one f=1", Invariants::UNKNOWN, 29_054),
    ("C +timeout_sends copies=3 ack=one f=1", Invariants::UNKNOWN, 58),
    ("C -unbroken copies=3 ack=one f=1", Invariants::CSEQ, 250_487),
    ("C -positional returning copies=3 ack=one f=1", Invariants::UNKNOWN, 30_623),
    ("C -ask_wide takeover unheard copies=3 ack=one f=1", Invariants::UNKNOWN, 161),
    ("C -every_promise copies=3 ack=all f=2", Invariants::UNKNOWN, 38_145),
    ("C -follow_lists change copies=3 ack=all f=2", Invariants::UNKNOWN, 386_682),
    ("C -fence copies=3 ack=all f=2", Invariants::UNKNOWN, 310_970),
    ("C -mark BYE+purge copies=3 ack=all f=2", Invariants::RESURRECTION, 890_443),
    ("C -joint_change change copies=3 ack=all f=2", Invariants::UNKNOWN, 23_451),
    ("C -fresh_acks copies=3 ack=all f=2", Invariants::CSEQ, 464_538),
    ("C -handoff_fences handoff copies=3 ack=all f=2", Invariants::UNKNOWN, 96_801),
    ("C +timeout_sends copies=3 ack=all f=2", Invariants::UNKNOWN, 131),
    ("C -await_asked change unheard copies=3 ack=all f=2", Invariants::UNKNOWN, 4156),
    ("C -positional returning copies=3 ack=all f=2", Invariants::UNKNOWN, 143_093),
    ("C -every_promise copies=2 ack=all f=1", Invariants::LOST_OR_FORKED, 6322),
    ("C -follow_lists change copies=2 ack=all f=1", Invariants::UNKNOWN, 28_503),
    ("C -fence copies=2 ack=all f=1", Invariants::CSEQ, 6137),
    ("C -obsolete BYE+purge copies=2 ack=all f=1", Invariants::RESURRECTION, 205_869),
    ("C -mark BYE+purge copies=2 ack=all f=1", Invariants::RESURRECTION, 10_473),
    ("C -joint_change change copies=2 ack=all f=1", Invariants::UNKNOWN, 1235),
    ("C -fresh_acks copies=2 ack=all f=1", Invariants::CSEQ, 4115),
    ("C -handoff_fences handoff copies=2 ack=all f=1", Invariants::UNKNOWN, 2137),
    ("C +timeout_sends copies=2 ack=all f=1", Invariants::UNKNOWN, 44),
    ("C -unbroken copies=2 ack=all f=1", Invariants::CSEQ, 9380),
    ("C -await_asked change unheard copies=2 ack=all f=1", Invariants::UNKNOWN, 205),
    ("C -positional returning copies=2 ack=all f=1", Invariants::UNKNOWN, 1991),
    ("C -standing_fences two owners meet", Invariants::TWO_OWNERS, 49),
    ("C -followers -digests two owners meet", Invariants::STRAY, 94),
    ("C -strays two owners meet", Invariants::STRAY, 4566),
    ("C -strays takeover unheard", Invariants::STRAY, 23),
    ("C +word of any let go, word of before", Invariants::CSEQ, 121_186),
    ("C +word of who has nothing, word of before", Invariants::CSEQ, 121_186),
    ("C +word of anybody, word of before", Invariants::CSEQ, 145_628),
    ("C -release_below returning anew", Invariants::UNKNOWN, 8572),
    ("C +followers go at once copies=3 ack=one f=1", Invariants::UNKNOWN, 44_205),
    ("C +followers go at once copies=3 ack=all f=2", Invariants::UNKNOWN, 673_979),
    ("D copies=3 ack=one f=2", Invariants::UNKNOWN, 2033),
    ("D copies=2 ack=all f=2", Invariants::UNKNOWN, 149),
    ("D copies=3 ack=one two crashes, one restart", Invariants::UNKNOWN, 803),
    ("H change unheard, ring unmoved", Invariants::UNKNOWN, 197),
    ("H change unheard, BYE+purge", Invariants::RESURRECTION, 17_125),
    ("S -vouch nodes=3 copies=3 f=1", Invariants::ENDED_TOO, 151),
    ("S -young_is_mute nodes=3 copies=3 f=1, one has just started", Invariants::ENDED_TOO, 287),
    ("S -majority nodes=4 copies=3 partition", Invariants::ENDED_TOO, 254),
    ("S -look_up nodes=2 copies=2 f=1", Invariants::ENDED_TOO, 26),
    ("S -look_up nodes=3 copies=3 f=1", Invariants::ENDED_TOO, 115),
    ("S over nodes=3 copies=3 f=2", Invariants::ENDED_TOO, 882),
    ("S over nodes=4 copies=3 f=3", Invariants::ENDED_TOO, 114_904),
    ("S over nodes=5 copies=3 partition, owner where few are", Invariants::ENDED_TOO, 6541),
    ("X -yield_drops -ack_names_ballot copies=3 ack=one f=1", Invariants::CSEQ, 57_087),
    ("X -yield_drops -fresh_acks copies=3 ack=one f=1", Invariants::RESURRECTION, 953_371),
];
