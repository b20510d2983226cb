//! Which transaction a message belongs to: RFC 3261 17.1.3 (responses) and 17.2.3 (requests).
//!
//! Knows no message: the parts come as text. Never resolves, never guesses a default port: a
//! client's CANCEL and ACK repeat the top Via of its INVITE as it stands.

use serde::{Deserialize, Serialize};

/// The start of every branch made under RFC 3261 (8.1.1.7).
pub const COOKIE: &str = "z9hG4bK";

/// The key of a server transaction. An ACK has the key of the INVITE that it acknowledges.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TransactionKey {
    /// RFC 3261 17.2.3: the branch names the transaction.
    Rfc3261 {
        /// The top Via's branch, compared byte by byte, cookie included.
        branch: Box<str>,
        /// The top Via's `host[:port]`, lower-case.
        sent_by: Box<str>,
        /// The method; INVITE for an ACK.
        method: Box<str>,
    },
    /// RFC 3261 17.2.3, for branches without the cookie, or with nothing behind it.
    Rfc2543 {
        /// What tells such transactions apart.
        fields: Box<Rfc2543Fields>,
        /// The method; INVITE for an ACK.
        method: Box<str>,
    },
}

/// What tells transactions apart without a branch to rely on (RFC 3261 17.2.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rfc2543Fields {
    /// The Request-URI as it stands.
    pub request_uri: Box<str>,
    /// To tag. Kept empty in the key of an INVITE: its ACK carries the tag of the response, and a
    /// re-INVITE has a CSeq number of its own.
    pub to_tag: Box<str>,
    /// From tag; empty if there is none.
    pub from_tag: Box<str>,
    /// Call-ID.
    pub call_id: Box<str>,
    /// The number in CSeq.
    pub cseq: u32,
    /// The whole top Via value.
    pub top_via: Box<str>,
}

impl TransactionKey {
    /// The key of a request with this top Via `branch`, sent-by and `method` (RFC 3261 17.2.3).
    ///
    /// `fallback` is asked for if the branch can't name a transaction: absent, without the cookie,
    /// or the bare cookie, which several requests may share (RFC 4475 3.2.1, badbranch).
    #[must_use]
    pub fn server(
        branch: Option<&str>,
        sent_by_host: &str,
        sent_by_port: Option<u16>,
        method: &str,
        fallback: impl FnOnce() -> Rfc2543Fields,
    ) -> Self {
        let method = Box::from(if method == "ACK" { "INVITE" } else { method });
        match branch.filter(|branch| id_of_branch(branch).is_some()) {
            Some(branch) => {
                let host = sent_by_host.to_ascii_lowercase();
                let sent_by = sent_by_port.map_or_else(|| host.clone(), |p| format!("{host}:{p}"));
                Self::Rfc3261 {
                    branch: branch.into(),
                    sent_by: sent_by.into(),
                    method,
                }
            }
            None => Self::of_fields(fallback(), method),
        }
    }

    /// The method; INVITE for an ACK.
    #[must_use]
    pub fn method(&self) -> &str {
        let (Self::Rfc3261 { method, .. } | Self::Rfc2543 { method, .. }) = self;
        method
    }

    /// The key of the INVITE that a CANCEL is about (RFC 3261 9.2); `None` for other methods.
    #[must_use]
    pub fn cancelled_invite(&self) -> Option<Self> {
        if self.method() != "CANCEL" {
            return None;
        }
        let method = Box::from("INVITE");
        Some(match self.clone() {
            Self::Rfc3261 {
                branch, sent_by, ..
            } => Self::Rfc3261 {
                branch,
                sent_by,
                method,
            },
            Self::Rfc2543 { fields, .. } => Self::of_fields(*fields, method),
        })
    }

    fn of_fields(mut fields: Rfc2543Fields, method: Box<str>) -> Self {
        if &*method == "INVITE" {
            fields.to_tag = Box::default();
        }
        Self::Rfc2543 {
            fields: Box::new(fields),
            method,
        }
    }
}

/// The key of a client transaction (RFC 3261 17.1.3): branch and CSeq method.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientKey {
    /// The branch that we put on top, compared byte by byte.
    pub branch: Box<str>,
    /// The method in CSeq.
    pub method: Box<str>,
}

impl ClientKey {
    /// The key of a request of ours, or of a response with this top Via branch and CSeq method.
    #[must_use]
    pub fn new(branch: &str, cseq_method: &str) -> Self {
        Self {
            branch: branch.into(),
            method: cseq_method.into(),
        }
    }
}

/// What stands behind the cookie of `branch`, if there is a cookie and something behind it.
pub(in crate::sip) fn id_of_branch(branch: &str) -> Option<&str> {
    let (cookie, id) = branch.split_at_checked(COOKIE.len())?;
    (cookie.eq_ignore_ascii_case(COOKIE) && !id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(to_tag: &str, call_id: &str) -> Rfc2543Fields {
        Rfc2543Fields {
            request_uri: "sip:bob@example.com".into(),
            to_tag: to_tag.into(),
            from_tag: "a".into(),
            call_id: call_id.into(),
            cseq: 7,
            top_via: "SIP/2.0/UDP host;branch=1".into(),
        }
    }

    fn key(branch: &str, host: &str, port: Option<u16>, method: &str) -> TransactionKey {
        TransactionKey::server(Some(branch), host, port, method, || fields("", "other"))
    }

    fn old(branch: Option<&str>, method: &str, to_tag: &str, call_id: &str) -> TransactionKey {
        TransactionKey::server(branch, "host", None, method, || fields(to_tag, call_id))
    }

    // Goal: T13. Method: pairs of requests that are, or are not, of one transaction.
    #[test]
    fn t13_branch_sent_by_and_method_name_a_server_transaction() {
        let invite = key("z9hG4bKx", "Host.Example", Some(5060), "INVITE");
        assert_eq!(
            invite,
            key("z9hG4bKx", "host.example", Some(5060), "INVITE")
        );
        assert_eq!(invite, key("z9hG4bKx", "host.example", Some(5060), "ACK"));
        assert_ne!(
            invite,
            key("z9hG4bKX", "host.example", Some(5060), "INVITE")
        );
        assert_ne!(
            invite,
            key("z9hG4bKx", "host.example", Some(5070), "INVITE")
        );
        assert_ne!(invite, key("z9hG4bKx", "host.example", None, "INVITE"));
        assert_ne!(
            invite,
            key("z9hG4bKx", "other.example", Some(5060), "INVITE")
        );
        assert_ne!(invite, key("z9hG4bKx", "host.example", Some(5060), "BYE"));
    }

    #[test]
    fn t15_a_cancel_has_its_own_key_and_knows_the_invites() {
        let cancel = key("z9hG4bKx", "h", None, "CANCEL");
        let invite = key("z9hG4bKx", "h", None, "INVITE");
        assert_ne!(cancel, invite);
        assert_eq!(cancel.cancelled_invite(), Some(invite.clone()));
        assert_eq!(invite.cancelled_invite(), None);
        let cancel = old(None, "CANCEL", "t", "c");
        assert_eq!(
            cancel.cancelled_invite(),
            Some(old(None, "INVITE", "t", "c"))
        );
    }

    #[test]
    fn t13_without_a_branch_to_rely_on_the_whole_request_is_the_key() {
        for branch in [
            None,
            Some(""),
            Some("1"),
            Some("z9hG4b"),
            Some("z9hG4bK"),
            Some("éééé"),
        ] {
            let invite = old(branch, "INVITE", "", "call");
            assert!(
                matches!(invite, TransactionKey::Rfc2543 { .. }),
                "{branch:?}"
            );
            assert_ne!(
                invite,
                old(branch, "INVITE", "", "another call"),
                "{branch:?}"
            );
            // The ACK carries the To tag of our response, which its INVITE had not.
            assert_eq!(invite, old(branch, "ACK", "ours", "call"), "{branch:?}");
            assert_ne!(
                old(branch, "BYE", "t", "call"),
                old(branch, "BYE", "u", "call")
            );
        }
    }

    #[test]
    fn t14_a_response_is_matched_by_branch_and_cseq_method() {
        assert_eq!(
            ClientKey::new("z9hG4bKx", "BYE"),
            ClientKey::new("z9hG4bKx", "BYE")
        );
        assert_ne!(
            ClientKey::new("z9hG4bKx", "INVITE"),
            ClientKey::new("z9hG4bKx", "CANCEL")
        );
    }
}
