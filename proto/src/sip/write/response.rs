//! A response: what it must repeat of its request, and what its maker adds. RFC 3261 8.2.6, 18.2.1.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::{Extra, Refused, Sink, check_value, copied, render};
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
        let marked = self.source.map(|source| Marked {
            via: self.request.top_via().ok(),
            source,
        });
        let body: &[u8] = &self.extra.body;
        render!(out => self.write_head(out, marked.as_ref()), body)
    }

    fn write_head(&self, out: &mut impl Sink, marked: Option<&Marked<'_>>) {
        out.put("SIP/2.0 ");
        out.number(usize::from(self.status));
        out.put(" ");
        out.put(
            self.reason
                .as_deref()
                .unwrap_or_else(|| status::reason(self.status)),
        );
        out.put("\r\n");
        let mut to_tag = self.to_tag.as_deref();
        // RFC 3261 8.2.6.2.
        if self.request.to_tag().is_some() {
            to_tag = None;
        }
        self.write_vias(out, marked);
        self.copy(out, HeaderName::From, None);
        self.copy(out, HeaderName::To, to_tag);
        self.copy(out, HeaderName::CallId, None);
        self.copy(out, HeaderName::CSeq, None);
        // RFC 3261 8.2.6.1.
        if self.status == 100 {
            self.copy(out, HeaderName::Timestamp, None);
        }
        if self.record_route {
            for value in self.request.raws(HeaderName::RecordRoute) {
                copied(out, HeaderName::RecordRoute.as_str(), value);
            }
        }
        self.extra.write(out);
    }

    /// A field that a whole request has once. A partial one may have it never or twice.
    fn copy(&self, out: &mut impl Sink, name: HeaderName, tag: Option<&str>) {
        let Some(value) = self.request.raw(name) else {
            return;
        };
        let Some(tag) = tag else {
            return copied(out, name.as_str(), value);
        };
        out.put(name.as_str());
        out.put(": ");
        out.bytes(value);
        for text in [";tag=", tag, "\r\n"] {
            out.put(text);
        }
    }

    fn write_vias(&self, out: &mut impl Sink, marked: Option<&Marked<'_>>) {
        let mut lines = self.request.raws(HeaderName::Via);
        if let Some(marked) = marked
            && let Some(first) = lines.next()
        {
            match &marked.via {
                Some(via) => {
                    out.put("Via: ");
                    marked.write(out, via);
                    out.bytes(scan::after(first, via.raw));
                    out.put("\r\n");
                }
                None => copied(out, "Via", first),
            }
        }
        for value in lines {
            copied(out, "Via", value);
        }
    }
}

/// The top Via and where the request came from. RFC 3261 18.2.1 and RFC 3581 4.
struct Marked<'a> {
    via: Option<Via<'a>>,
    source: SocketAddr,
}

impl Marked<'_> {
    fn write(&self, out: &mut impl Sink, via: &Via<'_>) {
        let ip: IpAddr = self.source.ip().to_canonical();
        if via.rport.is_none() && via.host.ip().map(|ip| ip.to_canonical()) == Some(ip) {
            return out.put(via.raw);
        }
        let params_at = via.raw.len().saturating_sub(via.params.as_str().len());
        out.put(scan::trim(via.raw.get(..params_at).unwrap_or(via.raw)));
        let mut rport_written = false;
        for param in via.params.iter() {
            if param.is("rport") {
                if !rport_written {
                    out.put(";rport=");
                    out.number(usize::from(self.source.port()));
                }
                rport_written = true;
            } else if !param.is("received") {
                out.put(";");
                out.put(param.raw);
            }
        }
        out.put(";received=");
        address(out, ip);
    }
}

fn address(out: &mut impl Sink, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    out.put(".");
                }
                out.number(usize::from(octet));
            }
        }
        IpAddr::V6(ip) => {
            // The library's shortest form.
            let mut text = Text(out);
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{ip}")); // a sink takes it all
        }
    }
}

struct Text<'a, S>(&'a mut S);

impl<S: Sink> fmt::Write for Text<'_, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text);
        Ok(())
    }
}
