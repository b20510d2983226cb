//! Offer and answer: which offer is open, in which message it went, and what may be said meanwhile.
//! RFC 3264, RFC 3261 13.2.1, RFC 3262 5, RFC 3311 5, RFC 6337.
//!
//! Plain data: told of what is sent and received, it says what may follow. It writes no message.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An offer without its answer. Numbers are CSeqs: of the peer's requests in `Theirs` and
/// `OursInResponse`, of ours in `Ours` and `TheirsInResponse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Open {
    /// The peer's, in its INVITE, UPDATE or PRACK.
    Theirs(u32),
    /// Ours, in a reliable response to the peer's INVITE: PRACK or ACK brings the answer.
    OursInResponse(u32),
    /// Ours, in our INVITE or UPDATE.
    Ours(u32),
    /// The peer's, in a response to our INVITE: our PRACK or ACK has the answer.
    TheirsInResponse(u32),
}

/// What becomes of a request of the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is served.
    Take,
    /// It crosses an offer of ours: 491.
    Glare,
    /// The peer's own offer before it is not answered yet: 500 with Retry-After.
    Busy,
}

/// The state of offer and answer in one dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiation {
    open: Option<Open>,
    /// The peer's INVITE in which offer and answer have both passed: its 2xx has neither.
    done: Option<u32>,
    /// A session is agreed on.
    agreed: bool,
    /// The description we sent last, if another than the one agreed on.
    sent: Bytes,
    /// What became of that one is not known: whoever offered it is dead.
    unsettled: bool,
}

impl Negotiation {
    /// The offer that has no answer.
    #[must_use]
    pub fn open(&self) -> Option<Open> {
        self.open
    }

    /// The description that went out last, where it is not the agreed one.
    #[must_use]
    pub fn sent(&self) -> &Bytes {
        &self.sent
    }

    /// A description of ours is about to go out; `agreed` is the one that both sides agreed on.
    pub fn sends(&mut self, description: &Bytes, agreed: &Bytes) {
        self.unsettled = false;
        self.sent = if description == agreed {
            Bytes::new()
        } else {
            description.clone()
        };
    }

    /// What we sent last is what is agreed on now.
    pub fn settle_sent(&mut self) -> Option<Bytes> {
        self.unsettled = false;
        (!self.sent.is_empty()).then(|| std::mem::take(&mut self.sent))
    }

    /// Whether a request of the peer's with a description, or an INVITE, may be served.
    #[must_use]
    pub fn admits(&self) -> Admission {
        match self.open {
            None => Admission::Take,
            // RFC 3311 5.2, RFC 3261 14.2.
            Some(Open::Ours(_) | Open::OursInResponse(_)) => Admission::Glare,
            Some(Open::Theirs(_) | Open::TheirsInResponse(_)) => Admission::Busy,
        }
    }

    /// Whether we may make an offer. Before the dialog is confirmed only an agreed session can be
    /// changed (RFC 3311 5.1).
    #[must_use]
    pub fn may_offer(&self, confirmed: bool) -> bool {
        self.open.is_none() && (confirmed || self.agreed)
    }

    /// A request of the peer's brought a description.
    pub fn on_their_offer(&mut self, cseq: u32) {
        self.open = Some(Open::Theirs(cseq));
    }

    /// We answer the peer's INVITE `cseq`, reliably or with a 2xx, with a description: the answer
    /// to its offer, or an offer. Whether it is to be said at all.
    pub fn on_our_response(&mut self, cseq: u32) -> bool {
        match self.open {
            // RFC 3261 13.2.1: offer and answer have passed in this INVITE.
            _ if self.done == Some(cseq) => return false,
            Some(Open::OursInResponse(other)) if other == cseq => return false,
            Some(Open::Theirs(other)) if other == cseq => self.close(Some(cseq)),
            _ => self.open = Some(Open::OursInResponse(cseq)),
        }
        true
    }

    /// We answered a request of the peer's other than INVITE with a 2xx that has a description.
    pub fn on_our_answer(&mut self, cseq: u32) {
        if self.open == Some(Open::Theirs(cseq)) {
            self.close(None);
        }
    }

    /// The peer's request `cseq` has its final response, or will have none: what was open in it is
    /// closed without an agreement.
    pub fn on_their_request_done(&mut self, cseq: u32) {
        if self.open == Some(Open::Theirs(cseq)) {
            self.open = None;
        }
    }

    /// The peer acknowledged our response to its INVITE `cseq`. Whether it had an offer of ours; it
    /// is settled then, also by a peer that owes us the answer (RFC 3261 13.2.1).
    pub fn on_their_ack(&mut self, cseq: u32) -> bool {
        let ours = self.open == Some(Open::OursInResponse(cseq));
        if ours {
            self.close(Some(cseq));
        }
        ours
    }

    /// The response that had an offer of ours is not waited for any more.
    pub fn on_our_response_lost(&mut self, cseq: u32) {
        if self.open == Some(Open::OursInResponse(cseq)) {
            self.open = None;
        }
    }

    /// A request of ours goes out with a description.
    pub fn on_our_offer(&mut self, cseq: u32) {
        self.open = Some(Open::Ours(cseq));
    }

    /// The answer to the offer in our request `cseq` came, or (`agreed` not) there will be none.
    pub fn on_our_request_done(&mut self, cseq: u32, agreed: bool) {
        if self.open == Some(Open::Ours(cseq)) {
            self.open = None;
            self.agreed |= agreed;
        }
    }

    /// Nobody waits for the answer to an offer in a request of ours any more: an heir does not.
    pub fn forget_ours(&mut self) {
        if matches!(self.open, Some(Open::Ours(_) | Open::TheirsInResponse(_))) {
            self.open = None;
            self.unsettled = !self.sent.is_empty();
        }
    }

    /// The offer to be repeated byte for byte, because the peer may have it or not: another
    /// description of the same version, or of the next, would be wrong in one case (RFC 3264 8).
    #[must_use]
    pub fn unsettled(&self) -> Option<&Bytes> {
        self.unsettled.then_some(&self.sent)
    }

    /// A response to our INVITE `cseq`, which had no offer, brought one.
    pub fn on_offer_in_response(&mut self, cseq: u32) {
        self.open = Some(Open::TheirsInResponse(cseq));
    }

    /// Whether our PRACK or ACK in the INVITE `cseq` owes an answer; it is given with it.
    pub fn on_our_ack(&mut self, cseq: u32) -> bool {
        let theirs = self.open == Some(Open::TheirsInResponse(cseq));
        if theirs {
            self.close(None);
        }
        theirs
    }

    fn close(&mut self, invite: Option<u32>) {
        self.open = None;
        self.agreed = true;
        self.done = invite.or(self.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Negotiation {
        Negotiation::default()
    }

    // Goal: D10, D18. Method: the six patterns of RFC 6337 2.1, and what each refuses while open.
    #[test]
    fn d18_the_six_patterns_of_offer_and_answer_close() {
        // 1: INVITE, 2xx. 3: INVITE, reliable 1xx; what the 2xx says then is nothing new.
        let mut one = fresh();
        one.on_their_offer(1);
        assert_eq!(one.admits(), Admission::Busy);
        assert!(one.on_our_response(1));
        assert_eq!((one.open(), one.admits()), (None, Admission::Take));
        assert!(!one.on_our_response(1));
        // 2: 2xx, ACK. 4: reliable 1xx, PRACK.
        let mut two = fresh();
        assert!(two.on_our_response(1));
        assert_eq!(two.admits(), Admission::Glare);
        assert!(!two.may_offer(true));
        assert!(!two.on_their_ack(2), "another INVITE's");
        assert!(two.on_their_ack(1));
        assert!(two.may_offer(false));
        assert!(!two.on_our_response(1));
        // 5: PRACK, its 2xx. 6: UPDATE, its 2xx.
        let mut five = fresh();
        five.on_their_offer(2);
        five.on_our_answer(3);
        assert_eq!(five.open(), Some(Open::Theirs(2)));
        five.on_our_answer(2);
        assert_eq!(five.open(), None);
        let mut six = fresh();
        six.on_our_offer(7);
        assert_eq!(six.admits(), Admission::Glare);
        six.on_our_request_done(6, true);
        assert!(!six.may_offer(true));
        six.on_our_request_done(7, true);
        assert!(six.may_offer(false));
    }

    #[test]
    fn d10_what_is_refused_closes_without_an_agreement() {
        let mut theirs = fresh();
        theirs.on_their_offer(1);
        theirs.on_their_request_done(1);
        assert!(theirs.may_offer(true) && !theirs.may_offer(false));
        let mut ours = fresh();
        ours.on_our_offer(1);
        ours.on_our_request_done(1, false);
        assert!(ours.may_offer(true) && !ours.may_offer(false));
        let mut lost = fresh();
        lost.on_our_response(1);
        lost.on_our_response_lost(1);
        assert_eq!(lost.open(), None);
    }

    #[test]
    fn an_offer_in_a_response_is_answered_with_our_acknowledgement() {
        let mut theirs = fresh();
        theirs.on_offer_in_response(4);
        assert_eq!(theirs.admits(), Admission::Busy);
        assert!(!theirs.on_our_ack(3));
        assert!(theirs.on_our_ack(4));
        assert!(!theirs.on_our_ack(4), "once");
        assert!(theirs.may_offer(false));
    }

    #[test]
    fn what_was_sent_is_kept_only_where_it_is_not_agreed_on() {
        let (old, new) = (Bytes::from_static(b"old"), Bytes::from_static(b"new"));
        let mut one = fresh();
        one.sends(&new, &old);
        assert_eq!(one.sent(), &new);
        assert_eq!(one.unsettled(), None, "it may have been refused");
        one.on_our_offer(1);
        one.forget_ours();
        assert_eq!(one.unsettled(), Some(&new));
        assert_eq!(one.settle_sent(), Some(new));
        one.sends(&old, &old);
        assert_eq!(one.settle_sent(), None);
    }
}
