//! The policy table: which output waits for what (SIP.md S5.1). One place, and nothing but a table.

use crate::sip::effect::Class;

/// What an output does at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It leaves at once, unless something of the same call is held: then it queues behind it.
    InOrder,
    /// It leaves when the state it tells of is replicated as the policy asks.
    Replicated,
}

/// What the outputs of a class wait for; `recorded`: members hold a record of the call. 100 Trying
/// and repetitions of what was let out before never
/// come here.
#[must_use]
pub fn wait(class: Class, recorded: bool) -> Wait {
    match class {
        // Nothing is lost if nobody remembers having said it.
        Class::Provisional | Class::Refusal => Wait::InOrder,
        // Where members know of the call, an heir must know of its end, and of the RSeq that it has
        // to go on from.
        Class::Reliable if recorded => Wait::Replicated,
        Class::Reliable => Wait::InOrder,
        Class::End if recorded => Wait::Replicated,
        Class::End => Wait::InOrder,
        // The peer acts on it for good: INVITE 2xx, finals in a dialog (BYE's among them).
        Class::Answer => Wait::Replicated,
        // An own request lost with its state would repeat its effect or its number.
        Class::Request => Wait::Replicated,
    }
}

/// What a task waits for: an heir must know of it before anything outside does (PROTOCOL.md rule
/// 24).
pub const TASK: Wait = Wait::Replicated;
