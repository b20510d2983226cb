//! G3: an end told to a phone is never followed by an output from a state without it.

use super::super::model::{Emission, Told};

pub(in crate::sim) fn stays_ended(emission: &Emission<'_>, told: &Told) -> Option<String> {
    let place = &emission.owner()?.holding;
    let late = place.ballot.epoch < told.epoch();
    let again = late && !emission.fresh;
    // An error final tells of no state, so nothing holds it: who stood still and has not heard yet
    // that others went on may refuse what waited for it.
    let refuses = late
        && emission
            .message
            .status()
            .is_some_and(|status| status >= 400);
    (told.ended && !told.alone && !place.ended && !again && !refuses)
        .then(|| format!("the call has ended, epoch {} goes on", place.ballot.epoch))
}
