//! The peer's requests as transactions of a leg: what is kept of each. RFC 3261 17.2.

use bytes::Bytes;

use crate::base::flow::Flow;
use crate::base::time::Instant;
use crate::sip::effect::RequestId;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::Action;
use crate::sip::transaction::key::TransactionKey;
use crate::sip::transaction::server_invite::ServerInvite;
use crate::sip::transaction::server_other::ServerOther;

#[derive(Clone, Debug)]
pub(super) enum Server {
    Invite(ServerInvite),
    Other(ServerOther),
}

impl Server {
    pub(super) fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_terminated(),
            Self::Other(machine) => machine.is_terminated(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Invite(machine) => machine.next_deadline(),
            Self::Other(machine) => machine.next_deadline(),
        }
    }

    pub(super) fn on_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self {
            Self::Invite(machine) => machine.on_timeout(now, actions),
            Self::Other(machine) => machine.on_timeout(now, actions),
        }
    }

    pub(super) fn finish(
        &mut self,
        status: u16,
        bytes: Bytes,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match self {
            Self::Invite(machine) if status < 300 => machine.success(bytes, now, actions),
            Self::Invite(machine) => machine.failure(bytes, now, actions),
            Self::Other(machine) => machine.answer(bytes, now, actions),
        }
    }
}

/// How far the answer to a request has come.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Nobody has decided; the request is kept to answer it.
    Open(Box<Message>),
    /// Decided and in the record, not let out yet.
    Decided(u16, Bytes),
    /// Let out: the machine has it.
    Out,
}

#[derive(Clone, Debug)]
pub(super) struct ServerTx {
    pub(super) id: RequestId,
    pub(super) key: TransactionKey,
    pub(super) method: Method,
    pub(super) cseq: u32,
    /// The way back, its remote address by RFC 3261 18.2.2.
    pub(super) reply: Flow,
    pub(super) machine: Server,
    pub(super) answer: Answer,
}
