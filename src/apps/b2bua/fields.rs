//! Which header fields of one leg's message are said in the other: all but those that belong to the
//! leg, the hop or the dialog. RFC 3261 16.6, 20; RFC 3261 8.1.1.

use callring_proto::app::Message;
use callring_proto::sip::HeaderName;

/// Whether a field is the leg's own: the core writes it, or it means something there only.
const fn is_own(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::MaxForwards
            | HeaderName::Route
            | HeaderName::RecordRoute
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::Contact
            | HeaderName::Allow
            | HeaderName::Supported
            | HeaderName::Require
            | HeaderName::ProxyRequire
            | HeaderName::Unsupported
            | HeaderName::ContentType
            | HeaderName::ContentLength
            | HeaderName::SessionExpires
            | HeaderName::MinSe
            | HeaderName::RSeq
            | HeaderName::RAck
            | HeaderName::RetryAfter
            | HeaderName::Authorization
            | HeaderName::ProxyAuthorization
            | HeaderName::WwwAuthenticate
            | HeaderName::ProxyAuthenticate
    )
}

/// The fields of `message` that go on, in order.
pub(super) fn passed(message: &Message) -> Vec<(String, String)> {
    message
        .fields()
        .filter(|field| !is_own(field.name))
        .map(|field| (field.name_text.to_owned(), field.value.to_owned()))
        .collect()
}
