//! A request: its line, the fields every request has, and the two requests that are copied from an
//! INVITE. RFC 3261 8.1.1, 9.1, 17.1.1.3; RFC 3581 3.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Extra, Refused, Sink, check_value, line, render};
use crate::base::flow::Transport;
use crate::sip::header::HeaderName;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::scan;
use crate::sip::uri::Uri;

/// Builds a request. Via, From, To, Call-ID and CSeq are mandatory.
#[derive(Clone, Debug)]
pub struct RequestBuilder<'a> {
    method: Method,
    uri: Cow<'a, str>,
    via: Option<Via<'a>>,
    from: Option<Cow<'a, str>>,
    to: Option<Cow<'a, str>>,
    call_id: Option<Cow<'a, str>>,
    cseq: Option<u32>,
    max_forwards: u8,
    routes: SmallVec<[Cow<'a, str>; 4]>,
    extra: Extra<'a>,
}

#[derive(Clone, Debug)]
enum Via<'a> {
    Made {
        transport: Transport,
        sent_by: Cow<'a, str>,
        branch: Cow<'a, str>,
    },
    Copied(Cow<'a, str>),
}

impl<'a> RequestBuilder<'a> {
    /// A request with a Max-Forwards of 70 (RFC 3261 8.1.1.6).
    #[must_use]
    pub fn new(method: Method, uri: impl Into<Cow<'a, str>>) -> Self {
        Self {
            method,
            uri: uri.into(),
            via: None,
            from: None,
            to: None,
            call_id: None,
            cseq: None,
            max_forwards: 70,
            routes: SmallVec::new(),
            extra: Extra::default(),
        }
    }

    /// The top Via: `sent_by` is `host[:port]`. Over UDP it asks for `rport` (RFC 3581 3).
    #[must_use]
    pub fn via(
        mut self,
        transport: Transport,
        sent_by: impl Into<Cow<'a, str>>,
        branch: impl Into<Cow<'a, str>>,
    ) -> Self {
        let (sent_by, branch) = (sent_by.into(), branch.into());
        self.via = Some(Via::Made {
            transport,
            sent_by,
            branch,
        });
        self
    }

    /// The top Via as a complete value, for a request that repeats another's.
    #[must_use]
    pub fn via_value(mut self, value: impl Into<Cow<'a, str>>) -> Self {
        self.via = Some(Via::Copied(value.into()));
        self
    }

    /// From, a complete value with its tag.
    #[must_use]
    pub fn from(mut self, value: impl Into<Cow<'a, str>>) -> Self {
        self.from = Some(value.into());
        self
    }

    /// To, a complete value.
    #[must_use]
    pub fn to(mut self, value: impl Into<Cow<'a, str>>) -> Self {
        self.to = Some(value.into());
        self
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(mut self, value: impl Into<Cow<'a, str>>) -> Self {
        self.call_id = Some(value.into());
        self
    }

    /// CSeq's number; its method is the request's.
    #[must_use]
    pub fn cseq(mut self, number: u32) -> Self {
        self.cseq = Some(number);
        self
    }

    /// Max-Forwards, if not 70.
    #[must_use]
    pub fn max_forwards(mut self, hops: u8) -> Self {
        self.max_forwards = hops;
        self
    }

    /// The next Route, a complete value (`<sip:...;lr>`).
    #[must_use]
    pub fn route(mut self, value: impl Into<Cow<'a, str>>) -> Self {
        self.routes.push(value.into());
        self
    }

    /// Several Routes, in order.
    #[must_use]
    pub fn routes<T: Into<Cow<'a, str>>>(mut self, values: impl IntoIterator<Item = T>) -> Self {
        self.routes.extend(values.into_iter().map(Into::into));
        self
    }

    /// Contact, a complete value (`<sip:...>`).
    #[must_use]
    pub fn contact(self, value: impl Into<Cow<'a, str>>) -> Self {
        self.header(HeaderName::Contact.as_str(), value)
    }

    /// Any other field; a `Via` goes below the top one.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.extra.push(name, value);
        self
    }

    /// The body and its Content-Type.
    #[must_use]
    pub fn body(
        mut self,
        content_type: impl Into<Cow<'a, str>>,
        body: impl Into<Cow<'a, [u8]>>,
    ) -> Self {
        self.extra.content_type = Some(content_type.into());
        self.extra.body = body.into();
        self
    }

    /// Writes it.
    ///
    /// # Errors
    /// If a mandatory field is missing, a value would end its line, the Request-URI is none, or the
    /// whole is too large.
    pub fn build(self) -> Result<Bytes, Refused> {
        let via = self.via.as_ref().ok_or(Refused::Missing("Via"))?;
        let from = mandatory("From", self.from.as_deref())?;
        let to = mandatory("To", self.to.as_deref())?;
        let call_id = mandatory("Call-ID", self.call_id.as_deref())?;
        let cseq = self.cseq.ok_or(Refused::Missing("CSeq"))?;
        if !scan::is_token(self.method.as_str()) {
            return Err(Refused::NotAToken("the method"));
        }
        Uri::parse(&self.uri).map_err(|_| Refused::NotAUri)?;
        via.check()?;
        self.routes
            .iter()
            .try_for_each(|route| check_value("Route", route))?;
        self.extra.check()?;
        let head = Head {
            request: &self,
            via,
            from,
            to,
            call_id,
            cseq,
        };
        let body: &[u8] = &self.extra.body;
        render!(out => head.write(out), body)
    }
}

/// What a head is written from: everything mandatory is there.
struct Head<'h, 'a> {
    request: &'h RequestBuilder<'a>,
    via: &'h Via<'a>,
    from: &'h str,
    to: &'h str,
    call_id: &'h str,
    cseq: u32,
}

impl Head<'_, '_> {
    fn write(&self, out: &mut impl Sink) {
        let request = self.request;
        for text in [request.method.as_str(), " ", &request.uri, " SIP/2.0\r\n"] {
            out.put(text);
        }
        self.via.write(out);
        out.put("Max-Forwards: ");
        out.number(usize::from(request.max_forwards));
        out.put("\r\n");
        for route in &request.routes {
            line(out, "Route", route);
        }
        line(out, "From", self.from);
        line(out, "To", self.to);
        line(out, "Call-ID", self.call_id);
        out.put("CSeq: ");
        out.number(usize::try_from(self.cseq).unwrap_or_default());
        for text in [" ", request.method.as_str(), "\r\n"] {
            out.put(text);
        }
        request.extra.write(out);
    }
}

impl Via<'_> {
    fn check(&self) -> Result<(), Refused> {
        match self {
            Self::Made {
                sent_by, branch, ..
            } => {
                check_value("Via", sent_by)?;
                check_value("Via", branch)
            }
            Self::Copied(value) => check_value("Via", value),
        }
    }

    fn write(&self, out: &mut impl Sink) {
        match self {
            Self::Made {
                transport,
                sent_by,
                branch,
            } => {
                let rport = if *transport == Transport::Udp {
                    ";rport"
                } else {
                    ""
                };
                let name = transport.via_name();
                for text in ["Via: SIP/2.0/", name, " ", sent_by] {
                    out.put(text);
                }
                for text in [";branch=", branch, rport, "\r\n"] {
                    out.put(text);
                }
            }
            Self::Copied(value) => line(out, "Via", value),
        }
    }
}

fn mandatory<'v>(name: &'static str, value: Option<&'v str>) -> Result<&'v str, Refused> {
    let value = value.ok_or(Refused::Missing(name))?;
    check_value(name, value).map(|()| value)
}

/// RFC 3261 17.1.1.3: the ACK to a non-2xx response, in the INVITE's own transaction.
#[must_use]
pub fn ack_of<'a>(invite: &'a Message, response: &'a Message) -> RequestBuilder<'a> {
    let to = response.header(HeaderName::To).unwrap_or_default();
    copied(Method::Ack, invite).to(to)
}

/// RFC 3261 9.1: the CANCEL of an INVITE.
#[must_use]
pub fn cancel_of(invite: &Message) -> RequestBuilder<'_> {
    copied(Method::Cancel, invite)
}

fn copied(method: Method, invite: &Message) -> RequestBuilder<'_> {
    let field = |name| invite.header(name).unwrap_or_default();
    RequestBuilder::new(method, invite.request_uri())
        .via_value(invite.values(HeaderName::Via).next().unwrap_or_default())
        .from(field(HeaderName::From))
        .to(field(HeaderName::To))
        .call_id(invite.call_id())
        .cseq(invite.cseq_number())
        .routes(invite.headers(HeaderName::Route))
}
