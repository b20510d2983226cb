//! The peer's reliable provisionals and our PRACKs; offers in responses and what answers them.
//! RFC 3262 4, 5; RFC 3261 13.2.1, 13.2.2.4.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::client::Purpose;
use super::uac::Egress;
use super::{CallError, Leg};
use crate::base::time::Instant;
use crate::sip::dialog::has_sdp;
use crate::sip::effect::{Event, OwnRequestId};
use crate::sip::header::{HeaderName, rseq};
use crate::sip::message::Message;
use crate::sip::method::Method;

/// A PRACK that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwedPrack {
    pub(super) rack: Rack,
    /// When; later than at once if its number is not safe yet.
    pub(super) at: Instant,
}

/// What it acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rack {
    pub(super) rseq: u32,
    /// The INVITE's number.
    pub(super) cseq: u32,
}

impl Leg {
    /// A provisional response to an INVITE of ours that waits for its final one.
    pub(super) fn on_provisional(&mut self, id: OwnRequestId, response: &Message, now: Instant) {
        let reliable = response.lists(HeaderName::Require, "100rel");
        let number = response.header(HeaderName::RSeq).and_then(rseq);
        self.on_ringing(id, response);
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else {
            return;
        };
        let cseq = response.cseq_number();
        if let Some(rseq) = number.filter(|_| reliable) {
            // RFC 3262 4: in order, and each once; anything else is neither acknowledged nor seen.
            let next = client.rseq.map(|last| last.saturating_add(1));
            if next.is_some_and(|next| next != rseq) {
                return;
            }
            client.rseq = Some(rseq);
            let offered = client.is_described();
            self.changed = true;
            self.pracks.push(OwedPrack {
                rack: Rack { rseq, cseq },
                at: now,
            });
            if has_sdp(response) {
                self.dialog.take_remote_session(response);
                if offered {
                    self.on_answer(cseq, id);
                } else {
                    self.negotiation.on_offer_in_response(cseq);
                }
            }
        }
        let client = self.clients.iter().find(|client| client.id == id);
        self.tell(Event::Progress {
            mark: client.map_or(0, |client| client.mark),
            message: response.clone(),
        });
    }

    /// The answer to the offer in our request came.
    pub(super) fn on_answer(&mut self, cseq: u32, id: OwnRequestId) {
        self.negotiation.on_our_request_done(cseq, true);
        let client = self.clients.iter().find(|client| client.id == id);
        if let Some(offer) = client.and_then(super::ClientTx::offer) {
            // RFC 3264 8: now it is agreed on.
            self.negotiation.sends(&offer, &offer);
            self.dialog.session.local = offer;
        }
    }

    /// Whether a PRACK of ours is due.
    #[must_use]
    pub fn owes_prack(&self, now: Instant) -> bool {
        self.pracks.first().is_some_and(|owed| owed.at <= now)
    }

    /// A PRACK that is due waits for something outside.
    pub fn delay_prack(&mut self, at: Instant) {
        for owed in &mut self.pracks {
            owed.at = owed.at.max(at);
        }
    }

    /// Sends the PRACK that is due (RFC 3262 4).
    ///
    /// # Errors
    /// [`CallError`] if it can't be written; it is then given up.
    pub fn send_prack(&mut self, egress: Egress) -> Result<(), CallError> {
        if self.pracks.is_empty() {
            return Ok(());
        }
        let Rack { rseq, cseq } = self.pracks.remove(0).rack;
        let fields = [("RAck".to_owned(), format!("{rseq} {cseq} INVITE"))];
        let answer = self.take_answer(cseq);
        let body = answer.as_ref().map(|sdp| ("application/sdp", sdp.as_ref()));
        self.write_request(Method::Prack, &fields, body, egress, Purpose::Prack)
            .map(|_| ())
    }

    /// The application's answer to the offer in a response; kept until it goes out. Empty: there is
    /// none.
    pub fn answer_offer(&mut self, description: Bytes) {
        self.answer = Some(description);
        self.changed |= self.answer_waits;
        self.answer_waits = false;
    }

    /// The answer to the offer in the 2xx that has just come is not known yet: our ACK waits for
    /// it. Once the leg is over, nobody waits.
    pub fn await_answer(&mut self) {
        if self.ended.is_none() && self.owes_ack() {
            self.answer_waits = true;
            self.changed = true;
        }
    }

    /// Whether our ACK waits for an answer of the application's.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        self.answer_waits
    }

    /// Nobody will answer what a peer that is gone has offered; its 2xx is acknowledged all the
    /// same, or it would repeat it for 64*T1 (RFC 3261 13.3.1.4).
    pub(super) fn give_up_answer(&mut self) {
        if self.answer_waits {
            self.answer_offer(Bytes::new());
        }
    }

    /// A 2xx whose ACK is due comes back to life with its leg.
    pub(super) fn restore_waits(&mut self) {
        for client in &mut self.clients {
            client.ack_due = client.is_accepted() && client.ack.is_none();
        }
    }

    /// The answer that goes with our PRACK or ACK in the INVITE `cseq`, if one is owed.
    pub(super) fn take_answer(&mut self, cseq: u32) -> Option<Bytes> {
        let answer = self.answer.take();
        if !self.negotiation.on_our_ack(cseq) {
            return None;
        }
        let answer = answer.unwrap_or_else(|| self.dialog.session.local.clone());
        if answer.is_empty() {
            return None;
        }
        let answer = self.follow(&answer);
        self.settle_local();
        Some(answer)
    }

    /// Whether the ACK of a 2xx with an offer is due.
    #[must_use]
    pub fn owes_ack(&self) -> bool {
        !self.answer_waits && self.clients.iter().any(|client| client.ack_due)
    }

    /// Sends the ACKs that are due.
    pub fn send_acks(&mut self) {
        let due: Vec<OwnRequestId> = self
            .clients
            .iter_mut()
            .filter(|client| client.ack_due)
            .map(|client| {
                client.ack_due = false;
                client.id
            })
            .collect();
        for id in due {
            self.acknowledge(id);
        }
    }
}
