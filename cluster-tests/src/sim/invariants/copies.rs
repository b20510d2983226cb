//! After the trouble: each call that a phone is in has one owner, and every copy that is listed
//! lies where it should, at the owner's version; none is missing.

use callring_proto::base::ids::CallId;

use super::super::books::Books;

pub(in crate::sim) fn are_restored(books: &Books) -> Vec<String> {
    let mut complaints: Vec<String> = books
        .expected
        .iter()
        .filter_map(|key| one(books, *key).map(|what| format!("{key:?} {what}")))
        .collect();
    let lacking: u64 = books.shards.iter().map(|one| one.under_replicated).sum();
    if lacking > 0 && books.nodes >= books.copies {
        complaints.push(format!("gauges say {lacking} calls lack copies"));
    }
    complaints
}

fn one(books: &Books, key: CallId) -> Option<String> {
    let mut owners = books.holders(key).filter(|(_, holding)| holding.owned);
    let Some((_, owner)) = owners.next() else {
        let holders = books.holders(key);
        let holders: Vec<_> = holders
            .map(|(who, one)| (who, one.ballot, one.promised))
            .collect();
        return Some(format!("has no owner; records at {holders:?}"));
    };
    if let Some((other, _)) = owners.next() {
        return Some(format!(
            "has two owners, {:?} and {other:?}",
            owner.ballot.owner
        ));
    }
    if !owner.old.is_empty() {
        return Some(format!(
            "is still changing its replicas from {:?}",
            owner.old
        ));
    }
    if books.present(owner).count() < books.copies_each() {
        return Some(format!("has only {:?} listed", owner.members));
    }
    let missing = books.present(owner).find(|member| {
        let mut holders = books.holders(key);
        !holders.any(|(who, holding)| {
            // What is under way just now is not missing.
            let there = (holding.ballot, holding.version);
            who == *member && there >= (owner.ballot, owner.committed)
        })
    });
    missing.map(|member| format!("lacks its copy at {member:?}"))
}
