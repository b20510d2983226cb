//! What members carry for each other's calls: SIP messages in, SIP messages out, signals.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::flow::Flow;
use crate::base::ids::{Ballot, CallId, MemberId};

/// Something for a call, brought to its owner by the member it arrived at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Which call.
    pub key: CallId,
    /// Members it has passed; a relay that wanders is dropped.
    pub hops: u8,
    /// What it is.
    pub message: Message,
}

/// What can be brought to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A SIP message as received.
    Sip {
        /// The way back.
        flow: Flow,
        /// The raw bytes.
        bytes: Bytes,
    },
    /// A signal to the call's application.
    Signal {
        /// Whom to answer.
        asker: MemberId,
        /// Which of its shards.
        shard: u16,
        /// The asker's number, given back by [`SignalAnswer`].
        ask: u64,
        /// What to do.
        body: Bytes,
    },
}

/// The receiver of a [`Relay`] does not own the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotOwner {
    /// Which call.
    pub key: CallId,
    /// The highest ballot the receiver knows of, whose owner to try.
    pub ballot: Option<Ballot>,
}

/// A SIP message that is to leave from the receiver's socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// Socket and remote address.
    pub flow: Flow,
    /// The message.
    pub bytes: Bytes,
}

/// What became of a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalAnswer {
    /// The asker's number.
    pub ask: u64,
    /// Whether the call took it, or why not.
    pub refusal: Option<String>,
}
