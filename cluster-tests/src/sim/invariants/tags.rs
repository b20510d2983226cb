//! One To tag per INVITE transaction that forms a dialog, whichever nodes answer it.

use std::collections::BTreeMap;

use callring_proto::sip::{Message, Method};

/// Tags by the transaction's branch.
pub(in crate::sim) type Tags = BTreeMap<String, String>;

pub(in crate::sim) fn one_tag(message: &Message, tags: &mut Tags) -> Option<String> {
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
    let first = tags
        .entry(branch.to_owned())
        .or_insert_with(|| tag.to_owned());
    (first != tag).then(|| format!("{branch} got To tags {first} and {tag}"))
}
