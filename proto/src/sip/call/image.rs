//! A call as it lies in a record: everything an heir needs, timers as remaining time (SIP.md S4).
//!
//! What is *decided* counts as let out: whoever revives the image has had it acknowledged, so it may
//! answer a repeated request with it (PROTOCOL.md G1).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Answer, ClientTx, Server, ServerTx, SipCall, Unacked};
use crate::base::flow::Flow;
use crate::base::time::Instant;
use crate::sip::dialog::Dialog;
use crate::sip::effect::{Cause, OwnRequestId, RequestId};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::client_other::{ClientOther, Image as OtherClientImage};
use crate::sip::transaction::key::{ClientKey, TransactionKey};
use crate::sip::transaction::server_invite::{Image as InviteImage, ServerInvite};
use crate::sip::transaction::server_other::{Image as OtherImage, ServerOther};
use crate::sip::transaction::success::{Image as UnackedImage, UnackedSuccess};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum ServerImage {
    Invite(InviteImage),
    Other(OtherImage),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ServerTxImage {
    key: TransactionKey,
    method: Method,
    cseq: u32,
    reply: Flow,
    machine: ServerImage,
    /// The request, while nobody has decided on its answer.
    open: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ClientTxImage {
    key: ClientKey,
    method: Method,
    flow: Flow,
    request: Bytes,
    machine: Option<OtherClientImage>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UnackedTxImage {
    cseq: u32,
    flow: Flow,
    machine: UnackedImage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum CauseImage {
    PeerBye,
    OwnBye,
    Cancelled,
    Refused,
    NoAck,
    Lost,
}

/// A serialisable call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SipImage {
    dialog: Dialog,
    servers: Vec<ServerTxImage>,
    clients: Vec<ClientTxImage>,
    unacked: Option<UnackedTxImage>,
    bye_after_ack: bool,
    ended: Option<CauseImage>,
}

impl SipImage {
    /// The dialog, for whoever only looks.
    #[must_use]
    pub fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    /// Whether a 2xx waits for its ACK.
    #[must_use]
    pub fn is_unacked(&self) -> bool {
        self.unacked.is_some()
    }
}

impl SipCall {
    /// The call as it goes into a record now.
    #[must_use]
    pub fn image(&self, now: Instant) -> SipImage {
        let decided_success = self.servers.iter().find_map(|server| match &server.answer {
            Answer::Decided(status, bytes)
                if server.method == Method::Invite && *status < 300 && self.ended.is_none() =>
            {
                Some(UnackedTxImage {
                    cseq: server.cseq,
                    flow: server.reply.clone(),
                    machine: UnackedSuccess::new(bytes.clone(), now).snapshot(now),
                })
            }
            _ => None,
        });
        let unacked = self.unacked.as_ref().map(|unacked| UnackedTxImage {
            cseq: unacked.cseq,
            flow: unacked.flow.clone(),
            machine: unacked.machine.snapshot(now),
        });
        SipImage {
            dialog: self.dialog.clone(),
            servers: self
                .servers
                .iter()
                .map(|server| server_image(server, now))
                .collect(),
            clients: self
                .clients
                .iter()
                .map(|client| client_image(client, now))
                .collect(),
            unacked: decided_success.or(unacked),
            bye_after_ack: self.bye_after_ack,
            ended: self.ended.map(CauseImage::from),
        }
    }

    /// The call brought back; `written` is when its image was made, by this node's clock.
    #[must_use]
    pub fn restore(image: SipImage, written: Instant) -> Self {
        let mut call = Self {
            dialog: image.dialog,
            servers: Vec::new(),
            clients: Vec::new(),
            unacked: image.unacked.map(|unacked| Unacked {
                cseq: unacked.cseq,
                flow: unacked.flow,
                machine: UnackedSuccess::restore(&unacked.machine, written),
            }),
            bye_after_ack: image.bye_after_ack,
            ended: image.ended.map(Cause::from),
            end_shared: false,
            next_id: 0,
            changed: false,
            effects: Vec::new(),
        };
        for server in image.servers {
            let id = RequestId(call.new_id());
            let machine = match &server.machine {
                ServerImage::Invite(one) => Server::Invite(ServerInvite::restore(one, written)),
                ServerImage::Other(one) => Server::Other(ServerOther::restore(one, written)),
            };
            let open = server.open.and_then(|bytes| Message::parse(bytes).ok());
            let answer = open.map_or(Answer::Out, |request| Answer::Open(Box::new(request)));
            let ServerTxImage {
                key,
                method,
                cseq,
                reply,
                ..
            } = server;
            call.servers.push(ServerTx {
                id,
                key,
                method,
                cseq,
                reply,
                machine,
                answer,
            });
        }
        for client in image.clients {
            let id = OwnRequestId(call.new_id());
            let machine = client
                .machine
                .as_ref()
                .map(|one| ClientOther::restore(one, written));
            let ClientTxImage {
                key,
                method,
                flow,
                request,
                ..
            } = client;
            call.clients.push(ClientTx {
                id,
                key,
                method,
                flow,
                request,
                machine,
            });
        }
        call
    }
}

fn server_image(server: &ServerTx, now: Instant) -> ServerTxImage {
    let mut machine = server.machine.clone();
    if let Answer::Decided(status, bytes) = &server.answer {
        machine.finish(*status, bytes.clone(), now, &mut Vec::new());
    }
    let open = match &server.answer {
        Answer::Open(request) => Some(request.bytes().clone()),
        Answer::Decided(..) | Answer::Out => None,
    };
    ServerTxImage {
        key: server.key.clone(),
        method: server.method.clone(),
        cseq: server.cseq,
        reply: server.reply.clone(),
        machine: match &machine {
            Server::Invite(machine) => ServerImage::Invite(machine.snapshot(now)),
            Server::Other(machine) => ServerImage::Other(machine.snapshot(now)),
        },
        open,
    }
}

fn client_image(client: &ClientTx, now: Instant) -> ClientTxImage {
    ClientTxImage {
        key: client.key.clone(),
        method: client.method.clone(),
        flow: client.flow.clone(),
        request: client.request.clone(),
        machine: client.machine.as_ref().map(|machine| machine.snapshot(now)),
    }
}

macro_rules! causes {
    ($($cause:ident),+) => {
        impl From<Cause> for CauseImage {
            fn from(cause: Cause) -> Self {
                match cause { $(Cause::$cause => Self::$cause,)+ }
            }
        }
        impl From<CauseImage> for Cause {
            fn from(image: CauseImage) -> Self {
                match image { $(CauseImage::$cause => Self::$cause,)+ }
            }
        }
    };
}

causes!(PeerBye, OwnBye, Cancelled, Refused, NoAck, Lost);
