//! The steps between members that SIP does not show: who promises has evidence of its own or none
//! to give (rule 11), a claim is above all that was promised (rule 10), and nobody sends records at
//! a ballot that it has promised away (rules 8, 15).

use std::collections::BTreeMap;

use callring_proto::base::ids::{Ballot, CallId, MemberId};
use callring_proto::cluster::Holding;
use callring_proto::wire::{Claim, Promise, PromiseRecord, Record};

/// The highest ballot that each member has promised, by call.
pub(in crate::sim) type Promised = BTreeMap<(MemberId, CallId), Ballot>;

/// `holding`: the call's record at the one who promises, just after. `owner`: at its owner, if that
/// lives.
pub(in crate::sim) fn has_evidence(
    promise: &Promise,
    holding: Option<&Holding>,
    owner: Option<&Holding>,
) -> Option<String> {
    let PromiseRecord::Known(record) = &promise.record else {
        return None;
    };
    let goes_on = owner.is_some_and(|own| own.owned && own.ballot == record.ballot);
    let (holding, owner) = (holding?, record.ballot.owner);
    let same = holding.ballot == record.ballot && owner != promise.ballot.owner;
    (same && goes_on && !holding.owned && !holding.owner_absent)
        .then(|| format!("{owner:?} is not silent to the one who promises its call away"))
}

pub(in crate::sim) fn is_above_all(
    claim: &Claim,
    claimant: MemberId,
    promised: &Promised,
) -> Option<String> {
    let known = promised.get(&(claimant, claim.key))?;
    let repeated = *known == claim.ballot;
    (!repeated && claim.ballot.epoch <= known.epoch)
        .then(|| format!("claims {:?}, has promised {known:?}", claim.ballot))
}

/// `holding`: the record's place at its sender.
pub(in crate::sim) fn may_send(record: &Record, holding: Option<&Holding>) -> Option<String> {
    let promised = holding?.promised;
    (promised > record.ballot).then(|| {
        format!(
            "sends records of {:?}, has promised {promised:?}",
            record.ballot
        )
    })
}
