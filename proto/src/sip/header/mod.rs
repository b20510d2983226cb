//! Names of header fields, and the typed values that need more than a split.
//!
//! May touch: `scan`, `uri`, `method`. Must not know: messages. RFC 3261 20 and 7.3.3 (compact
//! forms).

use super::scan;

mod cseq;
mod name_addr;
mod params;
mod rack;
mod via;

pub use cseq::{CSEQ_MAX, CSeq};
pub use name_addr::{NameAddr, with_tag, without_tag};
pub(super) use params::is_plain_byte;
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

            /// Every name that has one here.
            pub(in crate::sip) const KNOWN: &[Self] = &[$(Self::$variant,)*];
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

/// A name of fewer than sixteen bytes as it is written, in two words, the lowest byte first.
type Written = (u64, u64, HeaderName);

const WRITTEN_PLACES: usize = 256;

/// Where such a name stands in its table. The factor was found by trying, as [`place`]'s were.
const fn written_place(low: u64, high: u64) -> usize {
    ((low ^ high.rotate_left(29)).wrapping_mul(0x3c37_7da0_e48e_1b4d) >> 56) as usize
}

/// The names by their first bytes; no text is the name of no bytes.
#[expect(clippy::indexing_slicing, reason = "the compiler runs it")]
static WRITTEN: [Written; WRITTEN_PLACES] = {
    let mut table = [(0, 0, HeaderName::Other); WRITTEN_PLACES];
    let mut index = 0;
    while index < HeaderName::SPELLINGS.len() {
        let name = HeaderName::SPELLINGS[index].1;
        let text = name.as_str().as_bytes();
        index += 1;
        if text.len() > 15 {
            continue;
        }
        let (mut window, mut at) = (0_u128, text.len());
        while at > 0 {
            at -= 1;
            window = window << 8 | text[at] as u128;
        }
        let (low, high) = (window as u64, (window >> 64) as u64);
        let at = written_place(low, high);
        assert!(
            table[at].2 as u8 == HeaderName::Other as u8 || table[at].2 as u8 == name as u8,
            "two names at one place"
        );
        table[at] = (low, high, name);
    }
    table
};

impl HeaderName {
    /// The name that stands before the first colon in `window`, and its length, if it is written
    /// as RFC 3261 has it.
    #[inline]
    pub(in crate::sip) fn written(window: &[u8; 16]) -> Option<(Self, u16)> {
        let window = u128::from_le_bytes(*window);
        #[expect(clippy::cast_possible_truncation, reason = "its halves")]
        let (low, high) = (window as u64, (window >> 64) as u64);
        let (low, high, length) = match scan::before(low, b':') {
            Some((low, length)) => (low, 0, length),
            None => {
                let (high, length) = scan::before(high, b':')?;
                (low, high, length.saturating_add(8))
            }
        };
        let (known_low, known_high, name) = WRITTEN.get(written_place(low, high))?;
        let same = *known_low == low && *known_high == high && length > 0;
        same.then_some((*name, length))
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
            let written = |text: &str| {
                let mut window = [b':'; 16];
                window
                    .get_mut(..text.len())?
                    .copy_from_slice(text.as_bytes());
                HeaderName::written(&window)
            };
            let length = u16::try_from(name.as_str().len()).unwrap();
            let short = length < 16;
            assert_eq!(written(name.as_str()), short.then_some((*name, length)));
            assert_eq!(written(&upper).filter(|_| upper != name.as_str()), None);
        }
        assert_eq!(HeaderName::from_bytes(b"V"), HeaderName::Via);
        assert_eq!(HeaderName::from_bytes(b"X"), HeaderName::SessionExpires);
        assert_eq!(HeaderName::from_bytes(&[b'a'; 900]), HeaderName::Other);
        assert_eq!(HeaderName::from_bytes(b""), HeaderName::Other);
    }
}
