//! SIP methods: the registered ones as a closed list, any other token as [`Method::Ext`].
//!
//! Must not know: what a method does. RFC 3261 7.1 (case matters), RFC 6665, 3262, 3311, 3428,
//! 3515, 3903, 6086.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::scan;

/// A SIP method.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// RFC 3261 13.
    Invite,
    /// RFC 3261 13 and 17.
    Ack,
    /// RFC 3261 15.
    Bye,
    /// RFC 3261 9.
    Cancel,
    /// RFC 3261 11.
    Options,
    /// RFC 6086.
    Info,
    /// RFC 3311.
    Update,
    /// RFC 3262.
    Prack,
    /// RFC 3261 10.
    Register,
    /// RFC 6665.
    Subscribe,
    /// RFC 6665.
    Notify,
    /// RFC 3515.
    Refer,
    /// RFC 3428.
    Message,
    /// RFC 3903.
    Publish,
    /// Any other token.
    Ext(Arc<str>),
}

impl Method {
    /// Whether it begins a dialog, and with it a call: INVITE, or a SUBSCRIBE outside any (RFC 3261
    /// 12.1, RFC 6665 4.2.1).
    #[must_use]
    pub const fn may_begin(&self) -> bool {
        matches!(self, Self::Invite | Self::Subscribe)
    }

    /// The methods that have a name here, in the order of an Allow header.
    pub const KNOWN: [Self; 14] = [
        Self::Invite,
        Self::Ack,
        Self::Bye,
        Self::Cancel,
        Self::Options,
        Self::Info,
        Self::Update,
        Self::Prack,
        Self::Register,
        Self::Subscribe,
        Self::Notify,
        Self::Refer,
        Self::Message,
        Self::Publish,
    ];

    /// The method called `name`; none if it is not a token. Allocates for unknown methods only.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"OPTIONS" => Self::Options,
            b"INFO" => Self::Info,
            b"UPDATE" => Self::Update,
            b"PRACK" => Self::Prack,
            b"REGISTER" => Self::Register,
            b"SUBSCRIBE" => Self::Subscribe,
            b"NOTIFY" => Self::Notify,
            b"REFER" => Self::Refer,
            b"MESSAGE" => Self::Message,
            b"PUBLISH" => Self::Publish,
            other => {
                let text = std::str::from_utf8(other).ok()?;
                return scan::is_token(text).then(|| Self::Ext(Arc::from(text)));
            }
        })
    }

    /// The method's name, as on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Options => "OPTIONS",
            Self::Info => "INFO",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
            Self::Register => "REGISTER",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Refer => "REFER",
            Self::Message => "MESSAGE",
            Self::Publish => "PUBLISH",
            Self::Ext(name) => name,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_bytes(name.as_bytes())
            .ok_or_else(|| serde::de::Error::custom("a SIP method is a token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_case_matters() {
        for method in Method::KNOWN {
            assert_eq!(Method::from_bytes(method.as_str().as_bytes()), Some(method));
        }
        assert_eq!(
            Method::from_bytes(b"invite"),
            Some(Method::Ext("invite".into()))
        );
        assert_eq!(
            Method::from_bytes(b"RE%47IST%45R").unwrap().as_str(),
            "RE%47IST%45R"
        );
        for bad in [&b""[..], b"IN VITE", b"INVITE\0", b"\xff"] {
            assert_eq!(Method::from_bytes(bad), None);
        }
    }

    #[test]
    fn a_method_survives_a_record() {
        for name in ["INVITE", "x-thing"] {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            let bytes = postcard::to_allocvec(&method);
            let bytes = bytes.unwrap();
            assert_eq!(postcard::from_bytes::<Method>(&bytes).unwrap(), method);
        }
    }
}
