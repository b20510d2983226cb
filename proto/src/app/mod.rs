//! The port that applications sit on: events in, commands out, state that is plain data.
//!
//! An application is synchronous and deterministic. Its state is serialised with the call, so that
//! whichever member owns the call next carries on with it. The same application runs alone or in a
//! cluster: clustering is configuration.

mod erased;

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
pub use erased::{AnyApp, AppStateError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::ids::CallId;
pub use crate::base::task::{Task, TaskError, TaskId, TaskOutcome, TaskRun};
use crate::sip::call::SipCall;
pub use crate::sip::dialog::Dialog;
pub use crate::sip::effect::{Cause, LegId, RequestId};
pub use crate::sip::leg::{Dial, Leg, Reliability, Reply};
pub use crate::sip::message::Message;
pub use crate::sip::method::Method;

/// Names an application's timer within one call.
pub type TimerId = u16;

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request of the peer, to be answered with [`Call::respond`].
    Request {
        /// Names it.
        id: RequestId,
        /// As received.
        message: Message,
        /// It creates the call: an INVITE, or a SUBSCRIBE to one of [`App::events`].
        initial: bool,
    },
    /// The ACK of our 2xx came.
    Ack {
        /// As received.
        message: Message,
    },
    /// A provisional response to an INVITE of our own, 100 excepted. One that is sent reliably
    /// comes once and in order, and is acknowledged by itself (RFC 3262 4).
    Progress {
        /// What the request was called by [`Call::request_marked`]; 0 if nothing.
        mark: u32,
        /// The response.
        message: Message,
    },
    /// The final response to a request of our own; `None` if there was none in time.
    Response {
        /// What the request was called by [`Call::request_marked`]; 0 if nothing.
        mark: u32,
        /// Its method.
        method: Method,
        /// The response.
        message: Option<Message>,
    },
    /// A timer set with [`Call::set_timer`] went off. Each goes off once, whoever owns it then.
    Timer(TimerId),
    /// A signal from outside, addressed to this call at any node.
    Signal(Bytes),
    /// What has become of a task begun by [`Call::run_task`]. It comes once, whoever owns the call
    /// then.
    Task {
        /// What the task was called.
        id: TaskId,
        /// What its function returned, or why nothing.
        outcome: TaskOutcome,
    },
    /// This node took the call over; its timers run on, requests nobody answered are answered.
    Adopted,
    /// The leg is over; no further event of it comes. The call is over with its last leg.
    Ended(Cause),
}

/// A request inside a dialog, before it has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its method.
    pub method: Method,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// Content-Type and body.
    pub body: Option<(String, Bytes)>,
}

/// What an application wants done.
#[derive(Clone, Debug)]
pub enum Command {
    /// Answer a request.
    Respond(RequestId, Reply),
    /// A request that the owner before left open will be answered.
    Keep(RequestId),
    /// Send a request inside the dialog, called by a number.
    Request(u32, Draft),
    /// The description that answers an offer of the peer's in a response.
    Answer(Bytes),
    /// Say what has become of what the REFER of this number asked for: a status line, and whether
    /// it is the last.
    Notify(u32, String, bool),
    /// The answer to the offer that a response has brought comes later.
    AwaitAnswer,
    /// Tell the subscriber a state: Content-Type and body.
    Publish(String, Bytes),
    /// End the leg by what fits its state: BYE, a refusal of the peer's INVITE, CANCEL of ours.
    HangUp,
    /// End all legs.
    HangUpAll,
    /// Begin a leg.
    Dial(Box<Dial>),
    /// Set a timer, or set it anew.
    SetTimer(TimerId, Duration),
    /// Stop a timer.
    CancelTimer(TimerId),
    /// Run a task, or another in its place.
    RunTask(TaskId, Task),
    /// Hear no more of a task.
    CancelTask(TaskId),
}

/// A call as its application sees it during one event.
#[derive(Debug)]
pub struct Call<'a, S> {
    /// The application's state, saved with the call after the event.
    pub state: &'a mut S,
    scene: Scene<'a>,
    commands: &'a mut Vec<(LegId, Command)>,
}

/// What an application may look at during one event.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The call's identity.
    pub id: CallId,
    /// The leg that the event is of.
    pub leg: LegId,
    /// All of them.
    pub legs: &'a SipCall,
}

impl<'a, S> Call<'a, S> {
    /// A call for the duration of one event; commands are carried out after it, in order.
    pub fn new(
        scene: Scene<'a>,
        state: &'a mut S,
        commands: &'a mut Vec<(LegId, Command)>,
    ) -> Self {
        Self {
            state,
            scene,
            commands,
        }
    }

    /// The call's identity, the KEY of the command line.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.scene.id
    }

    /// The leg that this is about: the one that the event is of, or that [`Call::at`] named. An
    /// event of the whole call is of its eldest leg.
    #[must_use]
    pub fn leg(&self) -> LegId {
        self.scene.leg
    }

    /// The legs that are left, eldest first.
    pub fn legs(&self) -> impl Iterator<Item = (LegId, &Leg)> {
        self.scene.legs.legs()
    }

    /// The leg whose INVITE made this one: itself, unless that INVITE was answered in several
    /// dialogs (RFC 3261 12.1.2).
    #[must_use]
    pub fn dialled(&self) -> LegId {
        let leg = self.scene.leg;
        self.scene.legs.root(leg).unwrap_or(leg)
    }

    /// The same call, at another leg: what is asked and told is about that one.
    pub fn at(&mut self, leg: LegId) -> Call<'_, S> {
        Call {
            state: self.state,
            scene: Scene { leg, ..self.scene },
            commands: self.commands,
        }
    }

    /// The leg's dialog: URIs, tags, session descriptions. Of a leg that is gone, the eldest one's.
    #[must_use]
    pub fn dialog(&self) -> &Dialog {
        let legs = self.scene.legs;
        let leg = legs.leg(self.scene.leg);
        leg.unwrap_or_else(|| legs.first()).dialog()
    }

    /// The leg's INVITE that nobody has answered finally, if there is one.
    #[must_use]
    pub fn open_invite(&self) -> Option<(RequestId, Message)> {
        self.scene.legs.leg(self.scene.leg)?.open_invite()
    }

    fn tell(&mut self, command: Command) {
        self.commands.push((self.scene.leg, command));
    }

    /// Begins a leg of our own. Its events name it; if it can't be begun, [`Event::Ended`] says so.
    pub fn dial(&mut self, dial: Dial) -> LegId {
        let begun = |(_, one): &&(LegId, Command)| matches!(one, Command::Dial(_));
        let before = self.commands.iter().filter(begun).count();
        let leg = self.scene.legs.next_leg().later(before);
        self.commands.push((leg, Command::Dial(Box::new(dial))));
        leg
    }

    /// Answers a request. A 1xx may be followed by others.
    pub fn respond(&mut self, id: RequestId, reply: Reply) {
        self.tell(Command::Respond(id, reply));
    }

    /// At [`Event::Adopted`]: the peer's request `id`, which nobody has answered, will be. What is
    /// neither answered nor kept then is refused, so that the peer asks again.
    pub fn keep(&mut self, id: RequestId) {
        self.tell(Command::Keep(id));
    }

    /// Sends a request inside the dialog. An INVITE, or an UPDATE with a description, waits while
    /// an offer is open (RFC 3261 14.1, RFC 3311 5.1).
    pub fn request(
        &mut self,
        method: Method,
        headers: Vec<(String, String)>,
        body: Option<(String, Bytes)>,
    ) {
        let draft = Draft {
            method,
            headers,
            body,
        };
        self.request_marked(0, draft);
    }

    /// As [`Call::request`]; its responses come with `mark`, whoever owns the call then.
    pub fn request_marked(&mut self, mark: u32, draft: Draft) {
        self.tell(Command::Request(mark, draft));
    }

    /// Answers the offer that the peer made in a response to an INVITE of ours that had none; to be
    /// called while the event brings it, or after [`Call::await_answer`]. It goes with our PRACK or
    /// ACK (RFC 3261 13.2.1, RFC 3262 5). Without a word the last description is repeated.
    pub fn answer(&mut self, description: impl Into<Bytes>) {
        self.tell(Command::Answer(description.into()));
    }

    /// The answer to the offer in the 2xx that this event brings is somebody else's to give: our
    /// ACK waits until [`Call::answer`] is called, or the leg is hung up.
    pub fn await_answer(&mut self) {
        self.tell(Command::AwaitAnswer);
    }

    /// Says what has become of what a REFER asked for, by its CSeq number: the status line of the
    /// message it led to (`SIP/2.0 200 OK`), and whether it is the last (RFC 3515 2.4.5). The first
    /// word, 100 Trying, goes by itself when the REFER is accepted.
    pub fn notify(&mut self, refer: u32, line: &str, last: bool) {
        self.tell(Command::Notify(refer, line.to_owned(), last));
    }

    /// What the subscriber is to know from now on, if the call is a subscription: told now, or as
    /// soon as its SUBSCRIBE is accepted, and whenever it is renewed (RFC 6665 4.2.2). Several in a
    /// row may reach it as one.
    pub fn publish(&mut self, content_type: &str, body: impl Into<Bytes>) {
        let command = Command::Publish(content_type.to_owned(), body.into());
        self.tell(command);
    }

    /// Ends all legs.
    pub fn hang_up_all(&mut self) {
        self.tell(Command::HangUpAll);
    }

    /// Ends the leg.
    pub fn hang_up(&mut self) {
        self.tell(Command::HangUp);
    }

    /// Sets a timer that goes off `after` from now, here or on whichever node owns the call then.
    pub fn set_timer(&mut self, id: TimerId, after: Duration) {
        self.tell(Command::SetTimer(id, after));
    }

    /// Stops a timer; harmless if it is not set.
    pub fn cancel_timer(&mut self, id: TimerId) {
        self.tell(Command::CancelTimer(id));
    }

    /// Has a function run outside the core: a look-up, a word to a media relay. It begins once the
    /// call's record, with the task in it, lies with as many members as the policy asks for, and is
    /// begun anew by whoever owns the call before [`Event::Task`] has told its outcome: at least
    /// once, possibly twice at a time. One of the same `id` takes the place of the one before,
    /// whose outcome nobody hears then. When the call ends, so do its tasks: what the last event
    /// has begun runs here, and nowhere else.
    pub fn run_task(&mut self, id: TaskId, task: Task) {
        self.tell(Command::RunTask(id, task));
    }

    /// The outcome of a task does not matter any more; its run is not interrupted.
    pub fn cancel_task(&mut self, id: TaskId) {
        self.tell(Command::CancelTask(id));
    }
}

/// An application: one value per node, all its state in the calls.
pub trait App: Send + Sync + 'static {
    /// What it keeps per call. It lies in the call's record; keep it small. Above 64 KiB the call
    /// ends, as it does if the application panics.
    type State: Serialize + DeserializeOwned + Default + Debug + Send + 'static;

    /// Version of the state's layout: to be raised whenever `State` changes, with a word in
    /// [`App::upgrade`] for the calls that are under way then. A call of a version above this one
    /// stays with the members that know it.
    const STATE_VERSION: u16 = 1;

    /// Its name in records and on the command line.
    fn name(&self) -> &'static str;

    /// Event packages that can be subscribed to outside a call (RFC 6665). Each subscription is a
    /// call of its own, which ends with it; its first event is the SUBSCRIBE, to be answered.
    fn events(&self) -> &'static [&'static str] {
        &[]
    }

    /// The state that an earlier version wrote, in postcard; none if there is no way from there.
    #[must_use]
    fn upgrade(version: u16, state: &[u8]) -> Option<Self::State> {
        let _ = (version, state);
        None
    }

    /// Something happened to a call.
    fn on_event(&self, call: &mut Call<'_, Self::State>, event: Event);
}

/// A signal's body as the core understands it: JSON with one field. `{"hangup":{}}` ends the call,
/// `{"ended_elsewhere":{}}` says that its phone ended it at another member while the two could not
/// hear each other (PROTOCOL.md rule 22); anything else is the application's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End the call.
    HangUp,
    /// It has ended, as its phone knows.
    EndedElsewhere,
    /// Given to the application.
    App(Bytes),
}

impl Signal {
    /// The body that ends a call.
    pub const HANG_UP: &'static [u8] = br#"{"hangup":{}}"#;

    /// The body that says that a phone has ended the call at another member.
    pub const ENDED_ELSEWHERE: &'static [u8] = br#"{"ended_elsewhere":{}}"#;

    /// Reads a signal's body.
    #[must_use]
    pub fn read(body: Bytes) -> Self {
        let bare: Vec<u8> = body
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        if bare == Self::HANG_UP {
            Self::HangUp
        } else if bare == Self::ENDED_ELSEWHERE {
            Self::EndedElsewhere
        } else {
            Self::App(body)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bare_hang_up_is_the_cores() {
        assert_eq!(
            Signal::read(Bytes::from_static(b"{ \"hangup\": {} }")),
            Signal::HangUp
        );
        let other = Bytes::from_static(b"{\"hangup\":{\"code\":1}}");
        assert_eq!(Signal::read(other.clone()), Signal::App(other));
    }
}
