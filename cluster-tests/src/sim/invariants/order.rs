//! G4: after a ballot has spoken, no lower one tells anything new; so the call's own CSeq numbers
//! rise as they are released. And whoever dies, no number is used twice (rule 23).

use super::super::model::{Emission, News, Told};

pub(in crate::sim) fn nothing_new_below(emission: &Emission<'_>, told: &Told) -> Option<String> {
    let news = emission.news()?;
    let epoch = emission.owner()?.holding.ballot.epoch;
    let above = told.epoch();
    (epoch < above && emission.fresh)
        .then(|| format!("{news:?} is new at epoch {epoch}, after {above} has spoken"))
}

/// Own numbers rise as they are released.
pub(in crate::sim) fn numbers_rise(emission: &Emission<'_>, told: &Told) -> Option<String> {
    let (number, branch) = own_number(emission)?;
    let highest = told.asked.keys().next_back()?;
    let known = told
        .asked
        .get(&number)
        .is_some_and(|asked| asked.branch == branch);
    (number <= *highest && !known).then(|| format!("own request {number} after {highest}"))
}

/// No number stands for two requests.
pub(in crate::sim) fn numbers_differ(emission: &Emission<'_>, told: &Told) -> Option<String> {
    let (number, branch) = own_number(emission)?;
    let asked = told.asked.get(&number)?;
    (asked.branch != branch).then(|| format!("own number {number} is used twice"))
}

fn own_number<'a>(emission: &'a Emission<'_>) -> Option<(u32, &'a str)> {
    match emission.news()? {
        News::Request { number, .. } => Some((number, emission.message.branch()?)),
        News::Answered(_) | News::Ended => None,
    }
}
