//! G3: an end told to a phone is never followed by an output from a state without it.

use super::super::model::{Emission, Told};

pub(in crate::sim) fn stays_ended(emission: &Emission<'_>, told: &Told) -> Option<String> {
    let place = &emission.owner()?.holding;
    let late = place.ballot.epoch < told.epoch();
    let again = late && !emission.fresh;
    (told.ended && !told.alone && !place.ended && !again)
        .then(|| format!("the call has ended, epoch {} goes on", place.ballot.epoch))
}
