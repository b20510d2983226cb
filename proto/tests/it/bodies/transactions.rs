//! What may happen to one transaction machine, chosen by bytes: requests, responses, ACKs, failures
//! of the transport, time, a takeover now and then. What must hold all the while: an early call
//! changes nothing, its image brings the same machine back, a server has one final response, a
//! failure is told once, and what nobody speaks to any more comes to its end.

use bytes::Bytes;
use callring_proto::base::time::{Duration, Instant};
use callring_proto::sip::transaction::Action;
use callring_proto::sip::transaction::client_invite::{self, ClientInvite};
use callring_proto::sip::transaction::client_other::ClientOther;
use callring_proto::sip::transaction::server_invite::ServerInvite;
use callring_proto::sip::transaction::server_other::ServerOther;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::history::Dice;

/// RFC 3261 17: nothing outlives its last event by more than 64*T1 and what is waited for after.
const END: Duration = Duration::from_secs(32 + 32);

/// The responses that may be given or come.
const STATUSES: [u16; 6] = [100, 180, 200, 202, 404, 503];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Machine {
    InviteServer(ServerInvite),
    OtherServer(ServerOther),
    InviteClient(ClientInvite),
    OtherClient(ClientOther),
}

fn over_the_wire<I: Serialize + DeserializeOwned>(image: &I) -> I {
    let bytes = postcard::to_stdvec(image).expect("plain data");
    postcard::from_bytes(&bytes).expect("it reads")
}

impl Machine {
    fn new(dice: &mut Dice<'_>, now: Instant, actions: &mut Vec<Action>) -> Self {
        let request = Bytes::from_static(b"request");
        let trying = Bytes::from_static(b"100");
        let reliable = dice.flag();
        match dice.below(4) {
            0 => Self::InviteServer(ServerInvite::new(reliable, trying, now, actions)),
            1 => Self::OtherServer(ServerOther::new(reliable, now)),
            2 => Self::InviteClient(ClientInvite::new(reliable, request, now, actions)),
            _ => Self::OtherClient(ClientOther::new(reliable, request, now, actions)),
        }
    }

    fn is_server(&self) -> bool {
        matches!(self, Self::InviteServer(_) | Self::OtherServer(_))
    }

    fn is_terminated(&self) -> bool {
        match self {
            Self::InviteServer(one) => one.is_terminated(),
            Self::OtherServer(one) => one.is_terminated(),
            Self::InviteClient(one) => one.is_terminated(),
            Self::OtherClient(one) => one.is_terminated(),
        }
    }

    /// It waits for a phone, and for nothing else (RFC 3261 17.1.1.2).
    fn rings(&self) -> bool {
        match self {
            Self::InviteClient(one) => matches!(one.state(), client_invite::State::Proceeding),
            Self::InviteServer(one) => !one.is_answered(),
            _ => false,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::InviteServer(one) => one.next_deadline(),
            Self::OtherServer(one) => one.next_deadline(),
            Self::InviteClient(one) => one.next_deadline(),
            Self::OtherClient(one) => one.next_deadline(),
        }
    }

    fn on_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self {
            Self::InviteServer(one) => one.on_timeout(now, actions),
            Self::OtherServer(one) => one.on_timeout(now, actions),
            Self::InviteClient(one) => one.on_timeout(now, actions),
            Self::OtherClient(one) => one.on_timeout(now, actions),
        }
    }

    fn on_transport_error(&mut self, actions: &mut Vec<Action>) {
        match self {
            Self::InviteServer(one) => one.on_transport_error(actions),
            Self::OtherServer(one) => one.on_transport_error(actions),
            Self::InviteClient(one) => one.on_transport_error(actions),
            Self::OtherClient(one) => one.on_transport_error(actions),
        }
    }

    /// The peer speaks: again to a server, or its response.
    fn hear(&mut self, status: u16, ack: bool, now: Instant, actions: &mut Vec<Action>) {
        match self {
            Self::InviteServer(one) if ack => one.on_ack(now, actions),
            Self::InviteServer(one) => one.on_request(actions),
            Self::OtherServer(one) => one.on_request(actions),
            Self::InviteClient(one) => {
                one.on_response(status, || Bytes::from_static(b"ack"), now, actions);
            }
            Self::OtherClient(one) => one.on_response(status, now, actions),
        }
    }

    /// Its user answers.
    fn answer(&mut self, status: u16, now: Instant, actions: &mut Vec<Action>) {
        let bytes = Bytes::from(status.to_string());
        match self {
            Self::InviteServer(one) => match status {
                100..=199 => one.provisional(bytes, actions),
                200..=299 => one.success(bytes, now, actions),
                _ => one.failure(bytes, now, actions),
            },
            Self::OtherServer(one) if status < 200 => one.provisional(bytes, actions),
            Self::OtherServer(one) => one.answer(bytes, now, actions),
            Self::InviteClient(_) | Self::OtherClient(_) => {}
        }
    }

    /// As an heir has it.
    fn taken_over(&self, written: Instant) -> Self {
        match self {
            Self::InviteServer(one) => {
                let image = over_the_wire(&one.snapshot(written));
                Self::InviteServer(ServerInvite::restore(&image, written))
            }
            Self::OtherServer(one) => {
                let image = over_the_wire(&one.snapshot(written));
                Self::OtherServer(ServerOther::restore(&image, written))
            }
            Self::InviteClient(one) => {
                let image = over_the_wire(&one.snapshot(written));
                Self::InviteClient(ClientInvite::restore(&image, written))
            }
            Self::OtherClient(one) => {
                let image = over_the_wire(&one.snapshot(written));
                Self::OtherClient(ClientOther::restore(&image, written))
            }
        }
    }
}

/// A machine and what it has said.
pub(crate) struct Transaction<'a> {
    machine: Machine,
    now: Instant,
    dice: Dice<'a>,
    /// The final response that a server has sent.
    last: Option<Bytes>,
    failed: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(mut dice: Dice<'a>) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let mut actions = Vec::new();
        let machine = Machine::new(&mut dice, now, &mut actions);
        let mut transaction = Self {
            machine,
            now,
            dice,
            last: None,
            failed: false,
        };
        transaction.judge(false, &actions);
        transaction
    }

    pub(crate) fn goes_on(&self) -> bool {
        self.dice.goes_on()
    }

    fn judge(&mut self, was_over: bool, actions: &[Action]) {
        assert!(!was_over || actions.is_empty(), "{actions:?} after its end");
        let ends = actions.iter().filter(|one| **one == Action::Terminated);
        let over = self.machine.is_terminated();
        let invite = matches!(self.machine, Machine::InviteServer(_));
        assert_eq!(ends.count(), usize::from(over && !was_over), "{actions:?}");
        for action in actions {
            match action {
                Action::Send(bytes) if self.machine.is_server() => {
                    let last = self.last.get_or_insert_with(|| bytes.clone());
                    let (before, after) = (last.first(), bytes.first());
                    let provisional = before == Some(&b'1');
                    // RFC 6026 7.1: the 2xx is the user's to repeat, and may be another.
                    let passes = before == Some(&b'2') && after == before && invite;
                    let same = last == bytes;
                    assert!(provisional || passes || same, "{last:?}, then {bytes:?}");
                    *last = bytes.clone();
                }
                Action::Send(_) => {}
                Action::Failed(_) => {
                    assert!(!self.failed, "told twice");
                    self.failed = true;
                }
                Action::Deliver | Action::Terminated => {}
            }
        }
        assert_eq!(
            over,
            self.machine.next_deadline().is_none() && !self.machine.rings()
        );
    }

    fn run(&mut self, event: impl FnOnce(&mut Machine, Instant, &mut Vec<Action>)) {
        let over = self.machine.is_terminated();
        let mut actions = Vec::new();
        event(&mut self.machine, self.now, &mut actions);
        self.judge(over, &actions);
    }

    pub(crate) fn step(&mut self) {
        let (status, flag) = (STATUSES[self.dice.below(6)], self.dice.flag());
        match self.dice.below(8) {
            0 | 1 => self.run(|one, now, actions| one.hear(status, flag, now, actions)),
            2 | 3 => self.run(|one, now, actions| one.answer(status, now, actions)),
            4 => self.run(|one, _, actions| one.on_transport_error(actions)),
            5 => self.pass_to_deadline(),
            6 => {
                self.now += Duration::from_millis([1, 499, 5_000, 33_000][self.dice.below(4)]);
                self.run(Machine::on_timeout);
            }
            _ => {
                // A record counts in milliseconds: the first heir's time may be a little later.
                let heir = self.machine.taken_over(self.now);
                assert_eq!(heir.taken_over(self.now), heir);
                self.machine = heir;
            }
        }
    }

    /// Before its time nothing happens.
    fn pass_to_deadline(&mut self) {
        let Some(at) = self.machine.next_deadline() else {
            return;
        };
        if at > self.now {
            let before = self.machine.clone();
            let mut actions = Vec::new();
            let early = at - Duration::from_nanos(1);
            self.machine.on_timeout(early, &mut actions);
            assert_eq!((&before, actions), (&self.machine, Vec::new()));
        }
        self.now = self.now.max(at);
        self.run(Machine::on_timeout);
    }

    /// Nobody says anything any more.
    pub(crate) fn finish(mut self) {
        if self.machine.rings() {
            self.run(|one, now, actions| {
                one.answer(404, now, actions);
                one.hear(404, false, now, actions);
            });
        }
        let until = self.now + END;
        while !self.machine.is_terminated() {
            self.pass_to_deadline();
            assert!(self.now <= until, "{:?} goes on", self.machine);
        }
    }
}
