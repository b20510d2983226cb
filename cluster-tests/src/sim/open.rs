//! What does not hold yet, and so is not judged where it shows: each goes when it is mended.

/// SIP.md S3: an INVITE that comes again is known to whoever owns its call by now. Until then a
/// node that hands a call over forgets its INVITE, and a repetition makes a second call.
pub(super) const NOTICES: bool = true;

/// Copies that nobody lists go. Until then a node that was declared down while it lived keeps
/// copies of calls that were adopted meanwhile, and a holder that was is nobody's heir.
pub(super) const STRAYS_GO: bool = true;

/// In words, for whoever runs the simulator.
pub(super) const WORDS: [(bool, &str); 2] = [
    (NOTICES, "one To tag per INVITE when its node is drained"),
    (
        STRAYS_GO,
        "copies and their count after a living node was declared down",
    ),
];
