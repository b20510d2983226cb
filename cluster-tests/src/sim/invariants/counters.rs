//! Counters are derived from what is kept: when all is well, the gauges of all nodes add up to what
//! a recount of live calls and their copies says.

use std::collections::BTreeSet;

use super::super::books::Books;

pub(in crate::sim) fn add_up(books: &Books) -> Vec<String> {
    let mut complaints = Vec::new();
    let live: BTreeSet<_> = books.live().collect();
    let owned: u64 = books.shards.iter().map(|one| one.calls_owned).sum();
    if owned != live.len() as u64 {
        let live = live.len();
        complaints.push(format!(
            "gauges say {owned} calls are owned, {live} are alive"
        ));
    }
    let copies: u64 = books.shards.iter().map(|one| one.calls_replica).sum();
    // Copies of ended calls that nobody meant to leave go when digests meet, within a minute or so;
    // that they do go is `residue`'s to judge.
    let due = books.copies_due() + books.left_behind().count() as u64;
    if copies != due {
        let strays: Vec<_> = books.strays().collect();
        complaints.push(format!(
            "gauges say {copies} copies, {due} are due; nobody lists {strays:?}"
        ));
    }
    complaints
}
