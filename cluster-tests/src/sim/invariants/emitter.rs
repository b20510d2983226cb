//! G2: at most one member speaks per epoch number. And rule 8: a member that does not own a call
//! tells nothing new of it; retransmissions of what was released before may leave anywhere.

use super::super::model::{Emission, Told};

pub(in crate::sim) fn one_per_epoch(emission: &Emission<'_>, told: &Told) -> Option<String> {
    let ballot = emission.owner()?.holding.ballot;
    let (first, _) = told.speakers.get(&ballot.epoch)?;
    let (epoch, owner) = (ballot.epoch, ballot.owner);
    (*first != owner).then(|| format!("{first:?} and {owner:?} speak at epoch {epoch}"))
}

pub(in crate::sim) fn only_an_owner(emission: &Emission<'_>) -> Option<String> {
    let news = emission.news()?;
    (emission.owner().is_none() && emission.fresh)
        .then(|| format!("{news:?} is told by a member that does not own the call"))
}
