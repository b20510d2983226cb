//! To and from rsip's types, for applications that speak them, wherever rsip can say the same.
//!
//! Never on the way of a message through the core. What rsip cannot hold is an error, not a guess.

use rsip::common::uri::{Auth, Domain, Host as RsipHost, HostWithPort, Param};

use super::header::HeaderName;
use super::message::Message;
use super::method::Method;
use super::scan::SyntaxError;
use super::uri::{Scheme, Uri, UriBuf};

/// rsip has no word for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rsip cannot hold {0}")]
pub struct NotInRsip(pub &'static str);

impl TryFrom<&Method> for rsip::Method {
    type Error = NotInRsip;
    fn try_from(method: &Method) -> Result<Self, NotInRsip> {
        Ok(match method {
            Method::Invite => Self::Invite,
            Method::Ack => Self::Ack,
            Method::Bye => Self::Bye,
            Method::Cancel => Self::Cancel,
            Method::Options => Self::Options,
            Method::Info => Self::Info,
            Method::Update => Self::Update,
            Method::Prack => Self::PRack,
            Method::Register => Self::Register,
            Method::Subscribe => Self::Subscribe,
            Method::Notify => Self::Notify,
            Method::Refer => Self::Refer,
            Method::Message => Self::Message,
            Method::Publish => Self::Publish,
            Method::Ext(_) => return Err(NotInRsip("an unknown method")),
        })
    }
}

impl From<rsip::Method> for Method {
    fn from(method: rsip::Method) -> Self {
        match method {
            rsip::Method::Invite => Self::Invite,
            rsip::Method::Ack => Self::Ack,
            rsip::Method::Bye => Self::Bye,
            rsip::Method::Cancel => Self::Cancel,
            rsip::Method::Options => Self::Options,
            rsip::Method::Info => Self::Info,
            rsip::Method::Update => Self::Update,
            rsip::Method::PRack => Self::Prack,
            rsip::Method::Register => Self::Register,
            rsip::Method::Subscribe => Self::Subscribe,
            rsip::Method::Notify => Self::Notify,
            rsip::Method::Refer => Self::Refer,
            rsip::Method::Message => Self::Message,
            rsip::Method::Publish => Self::Publish,
        }
    }
}

impl TryFrom<&Uri<'_>> for rsip::Uri {
    type Error = NotInRsip;
    fn try_from(uri: &Uri<'_>) -> Result<Self, NotInRsip> {
        let scheme = match uri.scheme {
            Scheme::Sip => rsip::Scheme::Sip,
            Scheme::Sips => rsip::Scheme::Sips,
            Scheme::Tel | Scheme::Urn | Scheme::Other(_) => {
                return Err(NotInRsip("a URI that is neither sip nor sips"));
            }
        };
        if uri.has_headers() {
            return Err(NotInRsip("a URI's headers"));
        }
        let auth = uri.user.map(|user| Auth {
            user: user.to_owned(),
            password: uri.password.map(str::to_owned),
        });
        // rsip prints an IPv6 address without its brackets, so it travels as a name.
        let host = match uri.host.as_str().parse() {
            Ok(address) => RsipHost::IpAddr(address),
            Err(_) => RsipHost::Domain(Domain::from(uri.host.as_str())),
        };
        let host_with_port = HostWithPort {
            host,
            port: uri.port.map(Into::into),
        };
        let params = uri
            .params()
            .map(|(name, value)| param(name, value))
            .collect();
        Ok(Self {
            scheme: Some(scheme),
            auth,
            host_with_port,
            params,
            headers: Vec::new(),
        })
    }
}

fn param(name: &str, value: Option<&str>) -> Param {
    let transport = match value {
        Some(value) if name.eq_ignore_ascii_case("transport") => transport(value),
        _ => None,
    };
    match transport {
        Some(transport) => Param::Transport(transport),
        None if value.is_none() && name.eq_ignore_ascii_case("lr") => Param::Lr,
        None => Param::Other(name.into(), value.map(Into::into)),
    }
}

fn transport(name: &str) -> Option<rsip::Transport> {
    use rsip::Transport::{Tcp, Tls, Udp, Ws, Wss};
    let known = [
        ("udp", Udp),
        ("tcp", Tcp),
        ("tls", Tls),
        ("ws", Ws),
        ("wss", Wss),
    ];
    known
        .into_iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
        .map(|(_, found)| found)
}

impl TryFrom<&rsip::Uri> for UriBuf {
    type Error = SyntaxError;
    fn try_from(uri: &rsip::Uri) -> Result<Self, SyntaxError> {
        uri.to_string().parse()
    }
}

impl TryFrom<&Message> for rsip::Request {
    type Error = NotInRsip;
    fn try_from(message: &Message) -> Result<Self, NotInRsip> {
        let uri = message
            .uri()
            .map_err(|_| NotInRsip("a response as a request"))?;
        Ok(Self {
            method: message.method().try_into()?,
            uri: (&uri).try_into()?,
            version: rsip::Version::V2,
            headers: headers(message).into(),
            body: message.body().to_vec(),
        })
    }
}

impl TryFrom<&Message> for rsip::Response {
    type Error = NotInRsip;
    fn try_from(message: &Message) -> Result<Self, NotInRsip> {
        let status = message
            .status()
            .ok_or(NotInRsip("a request as a response"))?;
        Ok(Self {
            status_code: rsip::StatusCode::from(status),
            version: rsip::Version::V2,
            headers: headers(message).into(),
            body: message.body().to_vec(),
        })
    }
}

/// One rsip header per value: rsip drops what follows a comma in a Via.
fn headers(message: &Message) -> Vec<rsip::Header> {
    let mut headers = Vec::with_capacity(message.fields.len());
    for field in message.fields() {
        match field.name {
            HeaderName::Via => {
                let vias = super::scan::ListValues::new(field.value);
                headers.extend(vias.map(|via| header(field.name, "", via)));
            }
            name => headers.push(header(name, field.name_text, field.value)),
        }
    }
    headers
}

fn header(name: HeaderName, name_text: &str, value: &str) -> rsip::Header {
    use rsip::Header as H;
    match name {
        HeaderName::Accept => H::Accept(value.into()),
        HeaderName::Allow => H::Allow(value.into()),
        HeaderName::Authorization => H::Authorization(value.into()),
        HeaderName::CSeq => H::CSeq(value.into()),
        HeaderName::CallId => H::CallId(value.into()),
        HeaderName::Contact => H::Contact(value.into()),
        HeaderName::ContentLength => H::ContentLength(value.into()),
        HeaderName::ContentType => H::ContentType(value.into()),
        HeaderName::Event => H::Event(value.into()),
        HeaderName::Expires => H::Expires(value.into()),
        HeaderName::From => H::From(value.into()),
        HeaderName::MaxForwards => H::MaxForwards(value.into()),
        HeaderName::MinExpires => H::MinExpires(value.into()),
        HeaderName::ProxyAuthenticate => H::ProxyAuthenticate(value.into()),
        HeaderName::ProxyAuthorization => H::ProxyAuthorization(value.into()),
        HeaderName::RecordRoute => H::RecordRoute(value.into()),
        HeaderName::Require => H::Require(value.into()),
        HeaderName::Route => H::Route(value.into()),
        HeaderName::SubscriptionState => H::SubscriptionState(value.into()),
        HeaderName::Supported => H::Supported(value.into()),
        HeaderName::To => H::To(value.into()),
        HeaderName::Unsupported => H::Unsupported(value.into()),
        HeaderName::UserAgent => H::UserAgent(value.into()),
        HeaderName::Via => H::Via(value.into()),
        HeaderName::WwwAuthenticate => H::WwwAuthenticate(value.into()),
        HeaderName::Other => H::Other(name_text.to_owned(), value.to_owned()),
        named => H::Other(named.as_str().to_owned(), value.to_owned()),
    }
}
