//! A call as it lies in a record: everything an heir needs, timers as remaining time (SIP.md S4).
//!
//! [`LegImage`] is frozen: it is what the first release wrote. What came later stands beside it, in
//! [`LegMore`].
//!
//! What is *decided* counts as let out: whoever revives the image has had it acknowledged, so it may
//! answer a repeated request with it (PROTOCOL.md G1).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::causes::CauseImage;
use super::client::{Ack, Client, ClientTx, Purpose};
use super::dialing::Dialing;
use super::notifier::Notifier;
use super::prack::{OwedPrack, Rack};
use super::provisional::{Progress, Provisionals, Reliable};
use super::reply::Reply;
use super::subscription::{OwedNotify, Subscription};
use super::{Answer, Leg, Server, ServerTx, Unacked};
use crate::base::flow::Flow;
use crate::base::time::Instant;
use crate::sip::dialog::offer::Negotiation;
use crate::sip::dialog::session_timer::SessionTimer;
use crate::sip::dialog::{Dialog, Stage};
use crate::sip::effect::{Cause, OwnRequestId, RequestId};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::client_invite::{ClientInvite, Image as InviteClientImage};
use crate::sip::transaction::client_other::{ClientOther, Image as OtherClientImage};
use crate::sip::transaction::key::{ClientKey, TransactionKey};
use crate::sip::transaction::reliable::{Image as ReliableMachineImage, UnackedProvisional};
use crate::sip::transaction::server_invite::{Image as InviteImage, ServerInvite};
use crate::sip::transaction::server_other::{Image as OtherImage, ServerOther};
use crate::sip::transaction::success::{Image as UnackedImage, UnackedSuccess};
use crate::sip::transaction::timer::Remaining;

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

/// A serialisable call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegImage {
    dialog: Dialog,
    servers: Vec<ServerTxImage>,
    clients: Vec<ClientTxImage>,
    unacked: Option<UnackedTxImage>,
    bye_after_ack: bool,
    ended: Option<CauseImage>,
}

/// An INVITE of our own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OwnInviteImage {
    key: ClientKey,
    flow: Flow,
    request: Bytes,
    purpose: Purpose,
    ack_branch: Option<Box<str>>,
    ack: Option<Ack>,
    given_up: bool,
    rseq: Option<u32>,
    machine: InviteClientImage,
}

/// A reliable provisional that waits for its PRACK, or for its turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ReliableImage {
    cseq: u32,
    rseq: u32,
    described: bool,
    response: Bytes,
    progress: ProgressImage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum ProgressImage {
    Queued,
    Out(ReliableMachineImage),
    Late,
}

/// What a record holds of a call beside [`LegImage`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LegMore {
    invites: Vec<OwnInviteImage>,
    /// On whose behalf requests among the image's were sent, if not the application's.
    purposes: Vec<(ClientKey, Purpose)>,
    timer: Option<SessionTimer<Remaining>>,
    negotiation: Negotiation,
    /// The peer's INVITE, and the RSeq it was told last.
    last_rseq: Option<(u32, u32)>,
    reliables: Vec<ReliableImage>,
    held: Option<(u32, Reply)>,
    pracks: Vec<Rack>,
    subscriptions: Vec<Subscription<Remaining>>,
    notifies: Vec<OwedNotify>,
    dialing: Option<Dialing<Remaining>>,
    /// The names of the image's server transactions, in their order.
    requests: Vec<RequestId>,
    /// What the application called requests of its own.
    marks: Vec<(ClientKey, u32)>,
    last_request: u32,
    notifier: Option<Notifier<Remaining>>,
    answer_waits: bool,
}

impl LegImage {
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

impl Leg {
    /// The call as it goes into a record now.
    #[must_use]
    pub fn image(&self, now: Instant) -> LegImage {
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
        LegImage {
            dialog: self.dialog.clone(),
            servers: self
                .servers
                .iter()
                .map(|server| server_image(server, now))
                .collect(),
            clients: self
                .clients
                .iter()
                .filter(|client| client.method != Method::Invite)
                .map(|client| client_image(client, now))
                .collect(),
            unacked: decided_success.or(unacked),
            bye_after_ack: self.bye_after_ack,
            ended: self.ended.map(CauseImage::from),
        }
    }

    /// What goes into the record beside the image.
    #[must_use]
    pub fn more(&self, now: Instant) -> LegMore {
        let is_invite = |one: &&ClientTx| one.method == Method::Invite;
        let invites = self.clients.iter().filter(is_invite);
        let others = self.clients.iter().filter(|one| !is_invite(one));
        LegMore {
            invites: invites
                .clone()
                .map(|client| own_invite_image(client, now))
                .collect(),
            purposes: others
                .clone()
                .filter(|client| client.purpose != Purpose::App)
                .map(|client| (client.key.clone(), client.purpose))
                .collect(),
            timer: self.timer.map(|timer| timer.snapshot(now)),
            negotiation: self.negotiation.clone(),
            last_rseq: self.provisionals.last,
            reliables: self
                .provisionals
                .list
                .iter()
                .map(|one| reliable_image(one, now))
                .collect(),
            held: self.provisionals.held.clone(),
            pracks: self.pracks.iter().map(|owed| owed.rack).collect(),
            subscriptions: self
                .subscriptions
                .iter()
                .map(|one| one.snapshot(now))
                .collect(),
            notifies: self.notify_images(),
            dialing: self.dialing.as_ref().map(|one| one.snapshot(now)),
            requests: self.servers.iter().map(|server| server.id).collect(),
            // In the order in which they are brought back.
            marks: others
                .clone()
                .chain(invites.clone())
                .filter(|client| client.mark != 0)
                .map(|client| (client.key.clone(), client.mark))
                .collect(),
            last_request: self.last_request,
            answer_waits: self.answer_waits,
            notifier: self
                .notifier
                .as_ref()
                .map(|one| one.snapshot(self.dialog.stage == Stage::Confirmed, now)),
        }
    }

    /// The call brought back; `written` is when its image was made, by this node's clock.
    #[must_use]
    pub fn restore(image: LegImage, more: LegMore, written: Instant) -> Self {
        let told = more.notifier.as_ref().is_some_and(Notifier::is_owed);
        let owed = told || !more.notifies.is_empty();
        let mut call = Self {
            unacked: image.unacked.map(|unacked| Unacked {
                cseq: unacked.cseq,
                flow: unacked.flow,
                machine: UnackedSuccess::restore(&unacked.machine, written),
            }),
            bye_after_ack: image.bye_after_ack,
            timer: more
                .timer
                .map(|timer| SessionTimer::restore(timer, written)),
            negotiation: more.negotiation.clone(),
            provisionals: Provisionals {
                last: more.last_rseq,
                list: restored(&more.reliables, written),
                held: more.held.clone(),
            },
            pracks: more
                .pracks
                .iter()
                .map(|rack| OwedPrack {
                    rack: *rack,
                    at: written,
                })
                .collect(),
            subscriptions: more
                .subscriptions
                .iter()
                .map(|one| Subscription::restore(one, written))
                .collect(),
            notify_at: owed.then_some(written),
            notifier: more
                .notifier
                .as_ref()
                .map(|one| Notifier::restore(one, written)),
            notifies: more.notifies.clone(),
            dialing: more
                .dialing
                .as_ref()
                .map(|one| Dialing::restore(one, written)),
            last_request: more.last_request,
            answer_waits: more.answer_waits,
            ended: image.ended.map(Cause::from),
            ..Self::of(image.dialog)
        };
        let mut names = more.requests.iter().copied();
        for server in image.servers {
            call.restore_server(names.next(), server, written);
        }
        for client in image.clients {
            call.restore_client(client, &more, written);
        }
        for invite in more.invites {
            call.restore_invite(invite, written);
        }
        call.restore_waits();
        for client in &mut call.clients {
            let mark = more.marks.iter().find(|(key, _)| *key == client.key);
            client.mark = mark.map_or(0, |(_, mark)| *mark);
        }
        if let Some(at) = call.timer.and_then(|timer| timer.refresh_at()) {
            call.plan_refresh(at);
        }
        call
    }
}

impl Leg {
    fn restore_server(&mut self, name: Option<RequestId>, server: ServerTxImage, written: Instant) {
        let id = name.unwrap_or_else(|| self.new_request());
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
        self.servers.push(ServerTx {
            id,
            key,
            method,
            cseq,
            reply,
            machine,
            answer,
        });
    }

    fn restore_client(&mut self, client: ClientTxImage, more: &LegMore, written: Instant) {
        let id = OwnRequestId(self.new_id());
        let machine = client
            .machine
            .as_ref()
            .map(|one| Client::Other(ClientOther::restore(one, written)));
        let mut purposes = more.purposes.iter();
        let purpose = purposes.find(|(key, _)| *key == client.key);
        let purpose = purpose.map_or(Purpose::App, |(_, purpose)| *purpose);
        let ClientTxImage {
            key,
            method,
            flow,
            request,
            ..
        } = client;
        let made = ClientTx::new(id, &key.branch, method, flow, request, purpose);
        self.clients.push(ClientTx {
            key,
            machine,
            ..made
        });
    }

    fn restore_invite(&mut self, invite: OwnInviteImage, written: Instant) {
        let id = OwnRequestId(self.new_id());
        let machine = ClientInvite::restore(&invite.machine, written);
        let method = Method::Invite;
        let OwnInviteImage { flow, request, .. } = invite;
        let made = ClientTx::new(
            id,
            &invite.key.branch,
            method,
            flow,
            request,
            invite.purpose,
        );
        self.clients.push(ClientTx {
            key: invite.key,
            ack_branch: invite.ack_branch,
            acked: invite.ack.is_some(),
            ack: invite.ack,
            given_up: invite.given_up,
            rseq: invite.rseq,
            machine: Some(Client::Invite(machine)),
            ..made
        });
    }
}

fn own_invite_image(client: &ClientTx, now: Instant) -> OwnInviteImage {
    OwnInviteImage {
        key: client.key.clone(),
        flow: client.flow.clone(),
        request: client.request.clone(),
        purpose: client.purpose,
        ack_branch: client.ack_branch.clone(),
        ack: client.ack.clone(),
        given_up: client.given_up,
        rseq: client.rseq,
        machine: match &client.machine {
            Some(Client::Invite(machine)) => machine.snapshot(now),
            // Decided counts as let out.
            Some(Client::Other(_)) | None => {
                let reliable = client.flow.transport.is_reliable();
                let request = client.request.clone();
                ClientInvite::new(reliable, request, now, &mut Vec::new()).snapshot(now)
            }
        },
    }
}

fn reliable_image(one: &Reliable, now: Instant) -> ReliableImage {
    ReliableImage {
        cseq: one.cseq,
        rseq: one.rseq,
        described: one.described,
        response: one.response.clone(),
        progress: match &one.progress {
            Progress::Queued => ProgressImage::Queued,
            // Decided counts as let out.
            Progress::Decided => {
                let machine = UnackedProvisional::new(one.response.clone(), now);
                ProgressImage::Out(machine.snapshot(now))
            }
            Progress::Out(machine) => ProgressImage::Out(machine.snapshot(now)),
            Progress::Late => ProgressImage::Late,
        },
    }
}

fn restored(images: &[ReliableImage], written: Instant) -> Vec<Reliable> {
    let one = |image: &ReliableImage| Reliable {
        cseq: image.cseq,
        rseq: image.rseq,
        described: image.described,
        response: image.response.clone(),
        progress: match &image.progress {
            ProgressImage::Queued => Progress::Queued,
            ProgressImage::Out(machine) => {
                Progress::Out(UnackedProvisional::restore(machine, written))
            }
            ProgressImage::Late => Progress::Late,
        },
    };
    images.iter().map(one).collect()
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
        machine: match &client.machine {
            Some(Client::Other(machine)) => Some(machine.snapshot(now)),
            Some(Client::Invite(_)) | None => None,
        },
    }
}
