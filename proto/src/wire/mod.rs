//! Node-to-node frames: a fixed header and a postcard body.
//!
//! postcard is not self-describing, so bodies are frozen structs per protocol version and a reader
//! takes the present version and the one before. A record's `state` stays opaque bytes: a replica
//! stores and returns what it cannot read. Golden files of every version stay in `golden/`.
//!
//! This room uses `base` only. It knows neither SIP nor what a frame makes its reader do.

mod codec;
mod frame;
mod hello;
mod record;
mod relay;
mod setup;
mod v1;

pub use codec::{Address, DecodeError, HEADER_BYTES, Header, decode, encode, peek, split};
pub use frame::{
    Ack, Batch, Claim, Digest, Frame, Gaps, Invite, Locate, Located, Mark, Ping, Pong, Promise,
    PromiseRecord, Refusal, Refuse, Refused, Release, Standing, TakeOver,
};
pub use hello::{Greeting, HELLO_BYTES_MAX, HELLO_HEAD_BYTES, Hello, HelloRefusal};
pub use record::{Ending, Lease, Members, Record};
pub use relay::{Egress, Message, NotOwner, Relay, SignalAnswer};
pub use setup::{
    Birth, Births, Judgement, Outcome, Seek, Settled, Sought, Submit, Verdict, Verdicts, Vouch,
    Vouched,
};

/// The highest protocol version this build reads and writes. To a member that speaks only an
/// earlier one it writes that, and keeps to itself what has no words in it.
pub const VERSION: u8 = 2;
/// The oldest protocol version this build reads.
pub const VERSION_MIN: u8 = 1;
