//! A call as the phone sees it: its dialog, how it stands, and what came from the other side.
//!
//! Must not know: sockets, timers. RFC 3261 12.

use std::net::SocketAddr;
use std::time::Duration;

use crate::proto::sip::Method;

/// Names a call of one phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallNo(pub usize);

/// Where the ACK to a 2xx goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckRule {
    /// To the node that the INVITE was sent to, at once and again for each repeated 2xx.
    Same,
    /// To this address, at once and again for each repeated 2xx.
    To(SocketAddr),
    /// To where the 2xx came from, at once and again for each repeated 2xx.
    Source,
    /// Nowhere until [`Agent::ack`](super::Agent::ack) says where.
    Wait,
}

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// The INVITE has no answer but 100.
    Calling,
    /// A provisional response with a tag came.
    Ringing,
    /// A 2xx came; the dialog stands.
    Answered,
    /// Over.
    Ended(End),
}

/// Why a call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Our BYE was answered with a 2xx.
    Local,
    /// Its BYE came.
    Remote,
    /// The INVITE was refused with this status.
    Refused(u16),
    /// The INVITE had no final response in 64*T1.
    Unreachable,
    /// A request in the dialog got this status (481 or 408), or none in 64*T1 (408).
    Lost(u16),
}

/// A request that came in the dialog, repetitions not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// When.
    pub at: Duration,
    /// Which method.
    pub method: Method,
    /// Its CSeq number.
    pub cseq: u32,
    /// The address it came from.
    pub source: SocketAddr,
    /// What it was answered with; 0 for an ACK.
    pub answered: u16,
    /// How often it came again, byte for byte or not.
    pub repeats: u32,
}

/// A call, its dialog included.
#[derive(Clone, Debug)]
pub struct Call {
    /// The Call-ID.
    pub call_id: String,
    /// Our URI with our tag: the From of what we send.
    pub local: String,
    /// Our tag.
    pub local_tag: String,
    /// The other side's URI, with its tag once that is known: the To of what we send.
    pub remote: String,
    /// The other side's tag; none before a response with one.
    pub remote_tag: Option<String>,
    /// The remote target: the URI of the newest Contact.
    pub target: String,
    /// The route set, in the order it is sent.
    pub routes: Vec<String>,
    /// The newest CSeq number of ours.
    pub cseq: u32,
    /// The newest CSeq number of theirs; none before their first request.
    pub remote_cseq: Option<u32>,
    /// The version of our session description.
    pub sdp_version: u32,
    /// Where ACKs go.
    pub ack: AckRule,
    /// How it stands.
    pub state: CallState,
    /// When the first 2xx came, and from where.
    pub answered: Option<(Duration, SocketAddr)>,
    /// What came from the other side.
    pub incoming: Vec<Incoming>,
}

impl Call {
    /// The requests with this method that came in the dialog.
    pub fn incoming_with<'a>(
        &'a self,
        method: &'a Method,
    ) -> impl Iterator<Item = &'a Incoming> + 'a {
        self.incoming
            .iter()
            .filter(move |incoming| incoming.method == *method)
    }

    /// Whether a 2xx came for the INVITE.
    #[must_use]
    pub const fn was_answered(&self) -> bool {
        self.answered.is_some()
    }
}

/// A dialog that another user agent on the same address has set up, to be carried on here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The Call-ID.
    pub call_id: String,
    /// From, with its tag.
    pub local: String,
    /// To, with its tag.
    pub remote: String,
    /// The other side's Contact URI.
    pub target: String,
    /// The newest CSeq number used.
    pub cseq: u32,
}
