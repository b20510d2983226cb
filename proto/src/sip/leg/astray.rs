//! A 2xx whose ACK may have gone astray: a phone sends it to the Contact it was given, and that
//! may be the address of a member that has died (SIP.md S1.1). RFC 3261 13.3.1.4 would end the call
//! after 64*T1. An heir says in each repetition where it is, and before it ends a call for want of
//! an ACK it asks the phone, by a refresh.
//!
//! Whether an address has died is the switchboard's to know. Nothing of this lies in the image: the
//! next heir finds out for itself.

use bytes::Bytes;

use super::Leg;
use crate::base::flow::Flow;
use crate::base::time::Instant;
use crate::sip::dialog::{Stage, contact_value};
use crate::sip::header::HeaderName;
use crate::sip::message::Message;

/// What is known of an ACK that has not come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Astray {
    /// It is on its way to us, or the peer has not got the 2xx.
    #[default]
    No,
    /// It may have been sent to a dead member.
    Maybe,
    /// The peer has answered, or asked, as only one that knows of the session does.
    Known,
    /// The wait is over, and the peer is being asked.
    Asked,
}

impl Leg {
    /// The peer has been given an address that is dead, and this call is at `way` now.
    pub fn on_moved(&mut self, way: &Flow) {
        if self.dialog.stage == Stage::Early {
            self.dialog.set_contact(way);
            let contact = self.dialog.contact.clone();
            return self
                .provisionals
                .rewrite(|bytes| with_contact(bytes, &contact));
        }
        if let Some(unacked) = &mut self.unacked {
            let contact = contact_value(way);
            unacked
                .machine
                .rewrite(|bytes| with_contact(bytes, &contact));
            self.astray = Astray::Maybe;
        }
    }

    /// The peer has shown that it knows of the session.
    pub(super) fn session_is_known(&mut self) {
        if self.astray != Astray::No {
            self.astray = Astray::Known;
        }
    }

    /// 64*T1 have passed without an ACK.
    pub(super) fn on_no_ack(&mut self, now: Instant) {
        match self.astray {
            Astray::Known => {}
            Astray::Maybe if !self.bye_after_ack => {
                self.astray = Astray::Asked;
                if !self.is_refreshing() {
                    self.plan_refresh(now);
                }
            }
            // RFC 3261 13.3.1.4: the dialog stands, but the session should be ended.
            Astray::No | Astray::Maybe | Astray::Asked => self.bye_after_ack = true,
        }
    }

    /// A refresh has come to nothing.
    pub(super) fn is_not_known(&mut self) {
        if self.astray == Astray::Asked {
            self.astray = Astray::No;
            self.bye_after_ack = true;
            self.changed = true;
        }
    }
}

/// A response of ours with another Contact; none if it has none.
fn with_contact(response: &Bytes, contact: &str) -> Option<Bytes> {
    let message = Message::parse(response.clone()).ok()?;
    let old = message.header(HeaderName::Contact)?;
    let line = [b"\r\nContact: ", old.as_bytes(), b"\r\n"].concat();
    let mut windows = response.windows(line.len());
    let at = windows.position(|window| window == line.as_slice())?;
    let (before, rest) = response.split_at_checked(at)?;
    let after = rest.get(line.len()..)?;
    let new = [before, b"\r\nContact: ", contact.as_bytes(), b"\r\n", after];
    Some(new.concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Method: the one field is another, everything else is as it was.
    #[test]
    fn only_the_contact_is_rewritten() {
        let before = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\n\
                      From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>;tag=2\r\nCall-ID: c\r\n\
                      CSeq: 1 INVITE\r\nContact: <sip:192.0.2.1:5060;transport=udp>\r\n\
                      Content-Length: 5\r\n\r\nv=0\r\n";
        let contact = "<sip:192.0.2.2:5060;transport=udp>";
        let after = with_contact(&Bytes::from_static(before.as_bytes()), contact);
        let expected = before.replace("192.0.2.1", "192.0.2.2");
        assert_eq!(after.expect("it has one"), expected);
        let none = before.replace("Contact", "X-Contact");
        assert_eq!(with_contact(&none.into(), contact), None);
    }
}
