//! `answer`: a UAS that rings, answers with a session description, counts what happens in the
//! dialog and can hang up after a set time. It sends no media.
//!
//! Whoever subscribes to message-summary (RFC 3842) hears how many messages wait: none, until a
//! signal says otherwise.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use callring_proto::app::{App, Call, Event, Message, Method, Reply, RequestId, TimerId};
use callring_proto::base::ids::CallId;
use serde::{Deserialize, Serialize};

use super::sdp::{self, Origin};

/// `[app]` of kind `answer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerOptions {
    /// From the INVITE to the 180. Zero: at once.
    pub ring_after: Duration,
    /// From the 180 to the 200. Zero: both in one go.
    pub ring: Duration,
    /// From the 200 to our BYE; none: the peer ends the call.
    pub hang_up_after: Option<Duration>,
    /// Address that session descriptions name.
    pub media_address: IpAddr,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            ring_after: Duration::ZERO,
            ring: Duration::ZERO,
            hang_up_after: None,
            media_address: Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// The application.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    options: AnswerOptions,
}

/// What it keeps per call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Re-INVITEs answered.
    pub invites: u32,
    /// INFO requests answered.
    pub infos: u32,
    /// UPDATE requests answered.
    pub updates: u32,
    /// OPTIONS requests answered.
    pub options: u32,
    /// Times the call changed owner.
    pub adoptions: u32,
    /// Version of our last session description (`o=`).
    pub session_version: u64,
    /// The `o=` line of the offer that our description answers, to tell a change from a repetition.
    offer_origin: String,
    /// Of a subscription: messages that wait.
    pub messages: Messages,
}

/// Voice messages that wait (RFC 3842 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// Not heard yet.
    #[serde(default)]
    pub new: u32,
    /// Heard.
    #[serde(default)]
    pub old: u32,
}

impl Messages {
    /// The body of a NOTIFY.
    fn summary(self) -> String {
        let Self { new, old } = self;
        let waiting = if new > 0 { "yes" } else { "no" };
        format!("Messages-Waiting: {waiting}\r\nVoice-Message: {new}/{old}\r\n")
    }
}

/// The signal `{"messages":{"new":2,"old":8}}`.
#[derive(Deserialize)]
struct MessagesSignal {
    messages: Messages,
}

const RING: TimerId = 1;
const HANG_UP: TimerId = 2;
const PICK_UP: TimerId = 3;

impl Answer {
    /// With these options.
    #[must_use]
    pub fn new(options: AnswerOptions) -> Self {
        Self { options }
    }

    fn origin(&self, id: CallId, version: u64) -> Origin {
        // The id of a description must not change with the owner: it is the call's own.
        let id = id.nonce >> 2;
        Origin {
            address: self.options.media_address,
            id,
            version,
        }
    }

    /// The description that answers `message`, or an offer if it has none. RFC 3264 8: the version
    /// rises by one when the description changes, and only then.
    fn describe(&self, call: &mut Call<'_, State>, message: &Message) -> Result<String, Reply> {
        let offered = message.body();
        let offer_origin = sdp::origin_line(offered);
        if call.state.session_version == 0 || call.state.offer_origin != offer_origin {
            call.state.session_version += 1;
            call.state.offer_origin = offer_origin;
        }
        let origin = self.origin(call.id(), call.state.session_version);
        if offered.is_empty() {
            return Ok(sdp::offer(origin));
        }
        sdp::answer(offered, origin).map_err(|error| {
            // RFC 3261 20.43: 305 incompatible media format, 304 media type not available.
            let code = if error == sdp::SdpError::NoAudio {
                304
            } else {
                399
            };
            Reply::new(488).header("Warning", &format!("{code} callring \"{error}\""))
        })
    }

    fn accept(&self, call: &mut Call<'_, State>, id: RequestId, message: &Message) {
        match self.describe(call, message) {
            Ok(description) => {
                call.respond(id, Reply::new(200).body("application/sdp", description));
            }
            Err(refusal) => call.respond(id, refusal),
        }
    }

    fn ring(&self, call: &mut Call<'_, State>, id: RequestId, message: &Message) {
        call.respond(id, Reply::new(180));
        if self.options.ring.is_zero() {
            self.pick_up(call, id, message);
        } else {
            call.set_timer(PICK_UP, self.options.ring);
        }
    }

    fn pick_up(&self, call: &mut Call<'_, State>, id: RequestId, message: &Message) {
        if let Some(after) = self.options.hang_up_after {
            call.set_timer(HANG_UP, after);
        }
        self.accept(call, id, message);
    }

    fn on_request(
        &self,
        call: &mut Call<'_, State>,
        id: RequestId,
        message: &Message,
        initial: bool,
    ) {
        match message.method() {
            Method::Subscribe => {
                call.respond(id, Reply::new(200));
                publish(call);
            }
            Method::Invite if initial => {
                if self.options.ring_after.is_zero() {
                    self.ring(call, id, message);
                } else {
                    call.set_timer(RING, self.options.ring_after);
                }
            }
            Method::Invite => {
                call.state.invites += 1;
                self.accept(call, id, message);
            }
            Method::Update => {
                call.state.updates += 1;
                if message.body().is_empty() {
                    call.respond(id, Reply::new(200));
                } else {
                    self.accept(call, id, message);
                }
            }
            Method::Info => {
                call.state.infos += 1;
                call.respond(id, Reply::new(200));
            }
            Method::Options => {
                call.state.options += 1;
                call.respond(id, Reply::new(200));
            }
            // It places no calls (RFC 3515 2.4.2).
            Method::Refer => call.respond(id, Reply::new(603)),
            _ => call.respond(id, Reply::new(405)),
        }
    }
}

fn publish(call: &mut Call<'_, State>) {
    let summary = call.state.messages.summary();
    call.publish("application/simple-message-summary", summary);
}

fn on_signal(call: &mut Call<'_, State>, body: &[u8]) {
    if let Ok(signal) = serde_json::from_slice::<MessagesSignal>(body) {
        call.state.messages = signal.messages;
        publish(call);
    }
}

impl App for Answer {
    type State = State;

    fn name(&self) -> &'static str {
        "answer"
    }

    fn events(&self) -> &'static [&'static str] {
        &["message-summary"]
    }

    fn on_event(&self, call: &mut Call<'_, State>, event: Event) {
        match event {
            Event::Request {
                id,
                message,
                initial,
            } => {
                self.on_request(call, id, &message, initial);
            }
            Event::Timer(RING) => {
                if let Some((id, message)) = call.open_invite() {
                    self.ring(call, id, &message);
                }
            }
            Event::Timer(PICK_UP) => {
                if let Some((id, message)) = call.open_invite() {
                    self.pick_up(call, id, &message);
                }
            }
            Event::Timer(HANG_UP) => call.hang_up(),
            Event::Signal(body) => on_signal(call, &body),
            Event::Adopted => call.state.adoptions += 1,
            Event::Ended(_) => {
                call.cancel_timer(RING);
                call.cancel_timer(PICK_UP);
                call.cancel_timer(HANG_UP);
                call.state.offer_origin = String::new();
            }
            Event::Timer(_)
            | Event::Ack { .. }
            | Event::Progress { .. }
            | Event::Task { .. }
            | Event::Response { .. } => {}
        }
    }
}
