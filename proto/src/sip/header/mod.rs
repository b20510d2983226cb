//! Names of header fields, and the typed values that need more than a split.
//!
//! May touch: `scan`, `uri`, `method`. Must not know: messages. RFC 3261 20 and 7.3.3 (compact
//! forms).

mod cseq;
mod name_addr;
mod params;
mod via;

pub use cseq::{CSEQ_MAX, CSeq};
pub use name_addr::{NameAddr, with_tag, without_tag};
pub use params::{Param, Params};
pub use via::Via;

macro_rules! header_names {
    ($($variant:ident $text:literal $($lower:literal)|+;)*) => {
        /// A header field's name. Case and compact forms do not matter (RFC 3261 7.3.1, 7.3.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum HeaderName {
            $(#[doc = $text] $variant,)*
            /// A name this room does not know.
            Other,
        }

        impl HeaderName {
            /// The full name, as it is written; empty for [`HeaderName::Other`].
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other => "",
                }
            }

            fn from_lower(name: &[u8]) -> Self {
                match name {
                    $($($lower)|+ => Self::$variant,)*
                    _ => Self::Other,
                }
            }

            #[cfg(test)]
            const KNOWN: &[Self] = &[$(Self::$variant,)*];
        }
    };
}

header_names! {
    Accept "Accept" b"accept";
    AcceptEncoding "Accept-Encoding" b"accept-encoding";
    AcceptLanguage "Accept-Language" b"accept-language";
    AlertInfo "Alert-Info" b"alert-info";
    Allow "Allow" b"allow";
    AllowEvents "Allow-Events" b"allow-events" | b"u";
    AuthenticationInfo "Authentication-Info" b"authentication-info";
    Authorization "Authorization" b"authorization";
    CSeq "CSeq" b"cseq";
    CallId "Call-ID" b"call-id" | b"i";
    CallInfo "Call-Info" b"call-info";
    Contact "Contact" b"contact" | b"m";
    ContentDisposition "Content-Disposition" b"content-disposition";
    ContentEncoding "Content-Encoding" b"content-encoding" | b"e";
    ContentLanguage "Content-Language" b"content-language";
    ContentLength "Content-Length" b"content-length" | b"l";
    ContentType "Content-Type" b"content-type" | b"c";
    Date "Date" b"date";
    ErrorInfo "Error-Info" b"error-info";
    Event "Event" b"event" | b"o";
    Expires "Expires" b"expires";
    From "From" b"from" | b"f";
    HistoryInfo "History-Info" b"history-info";
    Identity "Identity" b"identity" | b"y";
    InReplyTo "In-Reply-To" b"in-reply-to";
    Join "Join" b"join";
    MaxForwards "Max-Forwards" b"max-forwards";
    MimeVersion "MIME-Version" b"mime-version";
    MinExpires "Min-Expires" b"min-expires";
    MinSe "Min-SE" b"min-se";
    Organization "Organization" b"organization";
    PAssertedIdentity "P-Asserted-Identity" b"p-asserted-identity";
    PPreferredIdentity "P-Preferred-Identity" b"p-preferred-identity";
    Path "Path" b"path";
    Priority "Priority" b"priority";
    Privacy "Privacy" b"privacy";
    ProxyAuthenticate "Proxy-Authenticate" b"proxy-authenticate";
    ProxyAuthorization "Proxy-Authorization" b"proxy-authorization";
    ProxyRequire "Proxy-Require" b"proxy-require";
    RAck "RAck" b"rack";
    RSeq "RSeq" b"rseq";
    Reason "Reason" b"reason";
    RecordRoute "Record-Route" b"record-route";
    ReferTo "Refer-To" b"refer-to" | b"r";
    ReferredBy "Referred-By" b"referred-by" | b"b";
    Replaces "Replaces" b"replaces";
    ReplyTo "Reply-To" b"reply-to";
    Require "Require" b"require";
    RetryAfter "Retry-After" b"retry-after";
    Route "Route" b"route";
    Server "Server" b"server";
    ServiceRoute "Service-Route" b"service-route";
    SessionExpires "Session-Expires" b"session-expires" | b"x";
    SipETag "SIP-ETag" b"sip-etag";
    SipIfMatch "SIP-If-Match" b"sip-if-match";
    Subject "Subject" b"subject" | b"s";
    SubscriptionState "Subscription-State" b"subscription-state";
    Supported "Supported" b"supported" | b"k";
    Timestamp "Timestamp" b"timestamp";
    To "To" b"to" | b"t";
    Unsupported "Unsupported" b"unsupported";
    UserAgent "User-Agent" b"user-agent";
    Via "Via" b"via" | b"v";
    Warning "Warning" b"warning";
    WwwAuthenticate "WWW-Authenticate" b"www-authenticate";
}

/// No known name is longer, bytes.
const NAME_BYTES_MAX: usize = 24;

impl HeaderName {
    /// The name that `bytes` spell, in any case, full or compact.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut lower = [0_u8; NAME_BYTES_MAX];
        let Some(name) = lower.get_mut(..bytes.len()) else {
            return Self::Other;
        };
        for (to, from) in name.iter_mut().zip(bytes) {
            *to = from.to_ascii_lowercase();
        }
        Self::from_lower(name)
    }

    /// Whether a message has at most one field of this name, with one value.
    #[must_use]
    pub const fn is_single(self) -> bool {
        matches!(
            self,
            Self::CSeq
                | Self::CallId
                | Self::ContentDisposition
                | Self::ContentLength
                | Self::ContentType
                | Self::Event
                | Self::Expires
                | Self::From
                | Self::MaxForwards
                | Self::MinExpires
                | Self::MinSe
                | Self::RAck
                | Self::RSeq
                | Self::ReferTo
                | Self::ReferredBy
                | Self::Replaces
                | Self::SessionExpires
                | Self::SubscriptionState
                | Self::Timestamp
                | Self::To
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        for name in HeaderName::KNOWN {
            assert_eq!(HeaderName::from_bytes(name.as_str().as_bytes()), *name);
            let upper = name.as_str().to_ascii_uppercase();
            assert_eq!(HeaderName::from_bytes(upper.as_bytes()), *name);
        }
        assert_eq!(HeaderName::from_bytes(b"V"), HeaderName::Via);
        assert_eq!(HeaderName::from_bytes(b"X"), HeaderName::SessionExpires);
        assert_eq!(HeaderName::from_bytes(&[b'a'; 900]), HeaderName::Other);
        assert_eq!(HeaderName::from_bytes(b""), HeaderName::Other);
    }
}
