//! One To tag per INVITE transaction that forms a dialog, whichever nodes answer it.

use std::collections::BTreeMap;

use callring_proto::sip::{Message, Method};

/// Tags by the transaction's branch, and whether all that sent them know of birth notices.
pub(in crate::sim) type Tags = BTreeMap<String, (String, bool)>;

/// `notices`: whether its sender speaks a wire with birth notices. In version 1 there is
/// no word for them: who gets the same INVITE again gives birth again (SIP.md S3.1).
pub(in crate::sim) fn one_tag(message: &Message, notices: bool, tags: &mut Tags) -> Option<String> {
    let invite = !message.is_request() && *message.method() == Method::Invite;
    if !invite || message.status() == Some(100) {
        return None;
    }
    if !message
        .status()
        .is_some_and(|status| (200..300).contains(&status))
    {
        // What rings may die with its node, and the same INVITE makes another call elsewhere.
        return None;
    }
    let (branch, tag) = (message.branch()?, message.to_tag()?);
    let (first, knew) = tags
        .entry(branch.to_owned())
        .or_insert_with(|| (tag.to_owned(), notices));
    *knew &= notices;
    (first != tag && *knew).then(|| format!("{branch} got To tags {first} and {tag}"))
}
