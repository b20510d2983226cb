//! The only way out of the SIP room's calls.
//!
//! Two kinds of output leave here. [`Effect::Send`] may go at once: it repeats what was released
//! before, or tells of no state. [`Effect::Ready`] is put to the switchboard's policy table, which
//! lets it pass or holds it at the gate; either way it comes back through `Leg::emit`, and
//! only then do its transaction's timers start.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::Message;
use super::method::Method;
use crate::base::flow::Flow;

/// A server transaction of a leg: names the request that an application answers, at whichever
/// member owns the call when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId(pub(crate) u32);

/// A client transaction of a call: names a request of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnRequestId(pub(crate) u32);

/// A leg of a call: a dialog, or an INVITE of ours that may become one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LegId(pub(crate) u16);

impl LegId {
    /// The name that is given after `count` others.
    #[must_use]
    pub fn later(self, count: usize) -> Self {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        Self(self.0.saturating_add(count))
    }
}

/// What an output tells its receiver; the policy table goes by this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A provisional response that nothing depends on.
    Provisional,
    /// A provisional response that an heir must know of (RFC 3262).
    Reliable,
    /// A final response that makes or changes no state that must survive.
    Refusal,
    /// A final response that ends a call nobody has answered.
    End,
    /// A final response that the dialog's state depends on.
    Answer,
    /// A request of our own.
    Request,
}

/// An output that waits to be let out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What kind of output it is.
    pub class: Class,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A response that no transaction keeps.
    Bare(Box<Flow>, Bytes),
    Provisional(RequestId, Bytes),
    /// The reliable provisional of this RSeq.
    Reliable(u32),
    /// The transaction keeps the response.
    Final(RequestId),
    /// The client transaction keeps the request.
    Request(OwnRequestId),
    /// The client transaction keeps the ACK of the 2xx.
    Ack(OwnRequestId),
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer sent BYE.
    PeerBye,
    /// We sent BYE, or told a subscriber that there is no more.
    OwnBye,
    /// The caller sent CANCEL.
    Cancelled,
    /// We refused the INVITE.
    Refused,
    /// The 2xx was never acknowledged.
    NoAck,
    /// The peer does not know the dialog (481) or does not answer in it (408).
    Lost,
    /// Our INVITE was refused, cancelled, or not answered in time.
    Rejected,
    /// Our INVITE was answered in another of its dialogs (RFC 3261 13.2.2.4).
    Elsewhere,
    /// The subscriber wanted no more (RFC 6665 4.1.2.3).
    Unsubscribed,
    /// The subscription was not renewed (RFC 6665 4.4.1).
    Expired,
}

/// What a call tells its application.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request to answer with `respond`.
    Request {
        /// Names it.
        id: RequestId,
        /// As received.
        message: Message,
        /// It creates the call.
        initial: bool,
    },
    /// The ACK of a 2xx.
    Ack {
        /// As received.
        message: Message,
    },
    /// A provisional response to an INVITE of our own, 100 excepted. One that has to be
    /// acknowledged comes once, and in order (RFC 3262 4).
    Progress {
        /// What the application called the request; 0 if nothing.
        mark: u32,
        /// The response.
        message: Message,
    },
    /// A final response to a request of our own; `None` if there was none in time.
    Response {
        /// What the application called the request; 0 if nothing.
        mark: u32,
        /// Its method.
        method: Method,
        /// The response.
        message: Option<Message>,
    },
    /// The call is over.
    Ended(Cause),
}

/// What a call wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send now.
    Send {
        /// From where to where.
        flow: Flow,
        /// The message.
        bytes: Bytes,
    },
    /// Put this to the policy table.
    Ready(Outgoing),
    /// Tell the application.
    Event(Box<Event>),
}
