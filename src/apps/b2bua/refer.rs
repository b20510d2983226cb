//! REFER from one leg's peer to the other's, and the NOTIFYs that tell its outcome back. The core
//! keeps the two subscriptions; here lies which belongs to which. RFC 3515 2.4.
//!
//! What a Refer-To names is passed as it is: a Replaces in it means something to whoever has that
//! dialog with the one that is referred.

use callring_proto::app::{Call, LegId, Message, Reply, RequestId};
use callring_proto::sip::HeaderName;
use serde::{Deserialize, Serialize};

use super::State;

/// A REFER that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Referred {
    /// The leg it came in, and its number there.
    from: LegId,
    number: u32,
    /// The leg it was sent on in, and its number there.
    to: LegId,
    asked: u32,
}

/// What a NOTIFY tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    line: String,
    last: bool,
}

impl Outcome {
    fn of(notify: &Message) -> Option<Self> {
        let body = std::str::from_utf8(notify.body()).ok()?;
        let line = body.lines().next()?.trim();
        let state = notify.header(HeaderName::SubscriptionState)?;
        let state = state.split(';').next().unwrap_or_default().trim();
        line.starts_with("SIP/2.0 ").then(|| Self {
            line: line.to_owned(),
            last: state.eq_ignore_ascii_case("terminated"),
        })
    }

    fn tell(&self, call: &mut Call<'_, State>, (leg, number): (LegId, u32)) {
        // The first word was said when the REFER was accepted.
        if self.last || self.line != "SIP/2.0 100 Trying" {
            call.at(leg).notify(number, &self.line, self.last);
        }
    }
}

/// The REFER `number` of the leg `from` was accepted by this leg's peer; `early` came before.
pub(super) fn on_accepted(
    call: &mut Call<'_, State>,
    (from, number): (LegId, u32),
    accepted: &Message,
    early: Option<Outcome>,
) {
    let last = early.as_ref().is_some_and(|outcome| outcome.last);
    if !last {
        call.state.referred.push(Referred {
            from,
            number,
            to: call.leg(),
            asked: accepted.cseq_number(),
        });
    }
    if let Some(outcome) = early {
        outcome.tell(call, (from, number));
    }
}

/// What has become of a REFER, as this leg's peer tells.
pub(super) fn on_notify(call: &mut Call<'_, State>, id: RequestId, notify: &Message) {
    call.respond(id, Reply::new(200));
    let Some(outcome) = Outcome::of(notify) else {
        return;
    };
    let leg = call.leg();
    let event = notify.header(HeaderName::Event).unwrap_or_default();
    let mut params = event.split(';').skip(1).map(str::trim);
    let asked = params.find_map(|param| param.strip_prefix("id=")?.parse::<u32>().ok());
    let mut all = call.state.referred.iter();
    let found = all.position(|one| one.to == leg && asked.is_none_or(|id| id == one.asked));
    let Some(at) = found else {
        // RFC 6665 4.1.2.2: it may overtake the answer to our REFER.
        let mut pending = call.state.pending.iter_mut().rev();
        let waits = pending.find(|one| one.refer.is_some() && one.from != leg);
        if let Some(waits) = waits {
            waits.early = Some(outcome);
        }
        return;
    };
    let Some(Referred { from, number, .. }) = call.state.referred.get(at).copied() else {
        return;
    };
    if outcome.last {
        call.state.referred.remove(at);
    }
    outcome.tell(call, (from, number));
}

/// A leg is over, and whatever was referred through it.
pub(super) fn on_ended(state: &mut State, leg: LegId) {
    state
        .referred
        .retain(|one| one.from != leg && one.to != leg);
}
