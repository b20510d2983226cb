//! Names of header fields, and the typed values that need more than a split.
//!
//! May touch: `scan`, `uri`, `method`. Must not know: messages. RFC 3261 20 and 7.3.3 (compact
//! forms).

mod cseq;
mod name_addr;
mod params;
mod rack;
mod via;

pub use cseq::{CSEQ_MAX, CSeq};
pub use name_addr::{NameAddr, with_tag, without_tag};
pub use params::{Param, Params};
pub use rack::{RAck, rseq};
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

            /// Every spelling, in lower case.
            const SPELLINGS: &[(&[u8], Self)] = &[$($(($lower, Self::$variant),)+)*];

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

/// Places in the table of names; at most one name falls on each.
const PLACES: usize = 512;

/// Where a name stands in the table. The factors were found by trying: a compiler that finds two
/// names at one place says so.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "three bytes and a bounded length"
)]
const fn place(length: usize, first: u8, middle: u8, last: u8) -> usize {
    let letters = (first | 0x20) as usize * 10 + (middle | 0x20) as usize * 23;
    (length + letters + (last | 0x20) as usize) % PLACES
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the compiler runs it"
)]
/// Which spelling, plus one, stands at each place; 0 for none.
const TABLE: [u8; PLACES] = {
    let mut table = [0_u8; PLACES];
    let mut index = 0;
    while index < HeaderName::SPELLINGS.len() {
        let name = HeaderName::SPELLINGS[index].0;
        let at = place(
            name.len(),
            name[0],
            name[name.len() / 2],
            name[name.len() - 1],
        );
        assert!(table[at] == 0, "two names at one place");
        index += 1;
        table[at] = index as u8;
    }
    table
};

/// The first bytes of each name as it is written, in the order of its spellings: nothing that a
/// text can have where it is not of this length, or longer than a window.
#[expect(clippy::indexing_slicing, reason = "the compiler runs it")]
const WINDOWS: [u128; HeaderName::SPELLINGS.len()] = {
    let mut windows = [u128::MAX; HeaderName::SPELLINGS.len()];
    let mut index = 0;
    while index < windows.len() {
        let (spelling, name) = HeaderName::SPELLINGS[index];
        let text = name.as_str().as_bytes();
        if text.len() == spelling.len() && text.len() <= WINDOW {
            windows[index] = 0;
            let mut at = text.len();
            while at > 0 {
                at -= 1;
                windows[index] = windows[index] << 8 | text[at] as u128;
            }
        }
        index += 1;
    }
    windows
};

/// How many bytes a window has.
const WINDOW: usize = 16;

impl HeaderName {
    /// The name of `length` bytes at the start of `window`, the lowest being the first, if it is
    /// written as RFC 3261 has it.
    #[inline]
    pub(in crate::sip) fn from_window(window: u128, length: usize) -> Option<Self> {
        let shift = WINDOW.checked_sub(length)?.checked_mul(8)?;
        let text = window & u128::MAX.checked_shr(u32::try_from(shift).ok()?)?;
        let bytes = text.to_le_bytes();
        let (middle, last) = (bytes.get(length / 2)?, bytes.get(length.checked_sub(1)?)?);
        let index = TABLE.get(place(length, *bytes.first()?, *middle, *last))?;
        let index = usize::from(index.checked_sub(1)?);
        let same = *WINDOWS.get(index)? == text;
        same.then(|| Self::SPELLINGS.get(index).map(|(_, name)| *name))?
    }

    /// The name that `bytes` spell, in any case, full or compact.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::known(bytes).unwrap_or(Self::Other)
    }

    fn known(bytes: &[u8]) -> Option<Self> {
        let (first, last) = (bytes.first()?, bytes.last()?);
        let middle = bytes.get(bytes.len() / 2)?;
        let index = TABLE.get(place(bytes.len().min(PLACES), *first, *middle, *last))?;
        let (spelling, name) = Self::SPELLINGS.get(usize::from(index.checked_sub(1)?))?;
        // Most write it as RFC 3261 does.
        let same = bytes == name.as_str().as_bytes() || bytes.eq_ignore_ascii_case(spelling);
        same.then_some(*name)
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
            let windowed = |text: &str| {
                let mut window = [b':'; WINDOW];
                window
                    .get_mut(..text.len())?
                    .copy_from_slice(text.as_bytes());
                HeaderName::from_window(u128::from_le_bytes(window), text.len())
            };
            let short = name.as_str().len() <= WINDOW;
            assert_eq!(windowed(name.as_str()), short.then_some(*name));
            assert_eq!(windowed(&upper).filter(|_| upper != name.as_str()), None);
        }
        assert_eq!(HeaderName::from_bytes(b"V"), HeaderName::Via);
        assert_eq!(HeaderName::from_bytes(b"X"), HeaderName::SessionExpires);
        assert_eq!(HeaderName::from_bytes(&[b'a'; 900]), HeaderName::Other);
        assert_eq!(HeaderName::from_bytes(b""), HeaderName::Other);
    }
}
