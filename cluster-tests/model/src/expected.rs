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
    let holds = ["B ", "W ", "H mended"];
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
const BREAKS: [(&str, Invariants, usize); 50] = [
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
    ("D copies=3 ack=one f=2", Invariants::UNKNOWN, 2033),
    ("D copies=2 ack=all f=2", Invariants::UNKNOWN, 149),
    ("D copies=3 ack=one two crashes, one restart", Invariants::UNKNOWN, 803),
    ("H change unheard, ring unmoved", Invariants::UNKNOWN, 197),
    ("H change unheard, BYE+purge", Invariants::RESURRECTION, 17_125),
    ("X -yield_drops -ack_names_ballot copies=3 ack=one f=1", Invariants::CSEQ, 57_087),
    ("X -yield_drops -fresh_acks copies=3 ack=one f=1", Invariants::RESURRECTION, 953_371),
];
