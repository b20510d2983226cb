//! G1, leader completeness: an output released at a ballot is contained in the state from which
//! every higher ballot ever speaks. Looked at twice: when something is told it must lie somewhere
//! else already, and whoever speaks later must know all that was told before.

use callring_proto::shard::Probe;

use super::super::model::{Emission, Told};

/// Whoever speaks knows what was told.
pub(in crate::sim) fn knows(emission: &Emission<'_>, told: &Told) -> Option<String> {
    let owner = emission.owner()?;
    let place = &owner.holding;
    if told.alone || place.ballot.epoch < told.epoch() {
        return None;
    }
    let epoch = place.ballot.epoch;
    if told.confirmed && !owner.confirmed {
        return Some(format!("epoch {epoch} does not know of the answer"));
    }
    if owner.remote_seq < Some(told.answered) && told.answered > 0 {
        let (known, answered) = (owner.remote_seq, told.answered);
        return Some(format!(
            "epoch {epoch} knows request {known:?}, {answered} was answered"
        ));
    }
    let asked = told.asked.keys().next_back().copied().unwrap_or(0);
    if owner.local_seq < asked {
        let known = owner.local_seq;
        return Some(format!(
            "epoch {epoch} knows own request {known}, {asked} was sent"
        ));
    }
    let (ballot, version) = told.committed;
    if ballot < place.ballot && place.version < version {
        let known = place.version;
        let from = ballot.epoch;
        return Some(format!(
            "epoch {epoch} has version {known}, {version} of epoch {from} was committed"
        ));
    }
    None
}

/// What is told for the first time lies elsewhere. `elsewhere`: the call's records at all others.
pub(in crate::sim) fn is_kept(
    emission: &Emission<'_>,
    told: &Told,
    elsewhere: impl FnOnce() -> Vec<Probe>,
) -> Option<String> {
    let owner = emission.owner()?;
    let news = emission.news()?;
    let late = owner.holding.ballot.epoch < told.epoch();
    if !emission.fresh || late || emission.alone || told.alone {
        return None;
    }
    let kept = elsewhere().iter().any(|probe| news.is_in(probe));
    (!kept).then(|| format!("{news:?} is told and nobody else knows it"))
}
