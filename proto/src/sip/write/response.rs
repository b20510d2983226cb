//! A response: what it must repeat of its request, and what its maker adds. RFC 3261 8.2.6, 18.2.1.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::{Extra, Refused, check_value, line, render};
use crate::sip::header::{HeaderName, Via};
use crate::sip::message::Message;
use crate::sip::{scan, status};

/// Builds the response to a request.
#[derive(Clone, Debug)]
pub struct ResponseBuilder<'a> {
    request: &'a Message,
    status: u16,
    reason: Option<Cow<'a, str>>,
    source: Option<SocketAddr>,
    to_tag: Option<Cow<'a, str>>,
    record_route: bool,
    extra: Extra<'a>,
}

impl<'a> ResponseBuilder<'a> {
    /// A response with the registered reason phrase, every Via in order and byte for byte, From,
    /// To, Call-ID, CSeq and, for a 100, Timestamp.
    #[must_use]
    pub fn new(request: &'a Message, status: u16) -> Self {
        Self {
            request,
            status,
            reason: None,
            source: None,
            to_tag: None,
            record_route: false,
            extra: Extra::default(),
        }
    }

    /// The address the request came from: the top Via gets `received` and `rport` by it. A relayed
    /// request has them already; then leave this out.
    #[must_use]
    pub fn source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// The tag that To gets if it has none.
    #[must_use]
    pub fn to_tag(mut self, tag: impl Into<Cow<'a, str>>) -> Self {
        self.to_tag = Some(tag.into());
        self
    }

    /// Another reason phrase than the registered one.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<Cow<'a, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Repeats Record-Route: a response that makes a dialog must (RFC 3261 12.1.1).
    #[must_use]
    pub fn with_record_route(mut self) -> Self {
        self.record_route = true;
        self
    }

    /// Contact, a complete value (`<sip:...>`).
    #[must_use]
    pub fn contact(self, value: impl Into<Cow<'a, str>>) -> Self {
        self.header(HeaderName::Contact.as_str(), value)
    }

    /// Any other field.
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
    /// If a value would end its line, a name is no token, or the whole is too large.
    pub fn build(self) -> Result<Bytes, Refused> {
        if !(100..700).contains(&self.status) {
            return Err(Refused::BadStatus);
        }
        self.extra.check()?;
        check_value(
            "the reason phrase",
            self.reason.as_deref().unwrap_or_default(),
        )?;
        match self.to_tag.as_deref() {
            Some(tag) if !scan::is_token(tag) => return Err(Refused::NotAToken("a tag")),
            _ => {}
        }
        render(|out| self.write_head(out), &self.extra.body)
    }

    fn write_head(&self, out: &mut dyn Write) -> fmt::Result {
        let reason = self
            .reason
            .as_deref()
            .unwrap_or_else(|| status::reason(self.status));
        write!(out, "SIP/2.0 {} {reason}\r\n", self.status)?;
        self.write_vias(out)?;
        self.copy(out, HeaderName::From)?;
        self.write_to(out)?;
        self.copy(out, HeaderName::CallId)?;
        self.copy(out, HeaderName::CSeq)?;
        // RFC 3261 8.2.6.1.
        if self.status == 100 {
            self.copy(out, HeaderName::Timestamp)?;
        }
        if self.record_route {
            for value in self.request.headers(HeaderName::RecordRoute) {
                line(out, HeaderName::RecordRoute.as_str(), value)?;
            }
        }
        self.extra.write(out)
    }

    /// A field that a whole request has once. A partial one may have it never or twice.
    fn copy(&self, out: &mut dyn Write, name: HeaderName) -> fmt::Result {
        self.request
            .header(name)
            .map_or(Ok(()), |value| line(out, name.as_str(), value))
    }

    fn write_to(&self, out: &mut dyn Write) -> fmt::Result {
        let Some(value) = self.request.header(HeaderName::To) else {
            return Ok(());
        };
        match (&self.to_tag, self.request.to_tag()) {
            // RFC 3261 8.2.6.2.
            (Some(tag), None) => write!(out, "To: {value};tag={tag}\r\n"),
            _ => line(out, "To", value),
        }
    }

    fn write_vias(&self, out: &mut dyn Write) -> fmt::Result {
        let mut lines = self.request.headers(HeaderName::Via);
        if let Some(source) = self.source
            && let Some(first) = lines.next()
        {
            match self.request.top_via() {
                Ok(via) => {
                    out.write_str("Via: ")?;
                    write_marked(out, &via, source)?;
                    out.write_str(scan::after(first, via.raw))?;
                    out.write_str("\r\n")?;
                }
                Err(_) => line(out, "Via", first)?,
            }
        }
        for value in lines {
            line(out, "Via", value)?;
        }
        Ok(())
    }
}

/// RFC 3261 18.2.1 and RFC 3581 4: notes in the top Via where the request came from.
fn write_marked(out: &mut dyn Write, via: &Via<'_>, source: SocketAddr) -> fmt::Result {
    let ip: IpAddr = source.ip().to_canonical();
    if via.rport.is_none() && via.host.ip().map(|ip| ip.to_canonical()) == Some(ip) {
        return out.write_str(via.raw);
    }
    let params_at = via.raw.len().saturating_sub(via.params.as_str().len());
    out.write_str(scan::trim(via.raw.get(..params_at).unwrap_or(via.raw)))?;
    let mut rport_written = false;
    for param in via.params.iter() {
        if param.is("rport") {
            if !rport_written {
                write!(out, ";rport={}", source.port())?;
            }
            rport_written = true;
        } else if !param.is("received") {
            write!(out, ";{}", param.raw)?;
        }
    }
    write!(out, ";received={ip}")
}
