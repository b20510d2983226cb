//! SIP: messages, transactions and dialogs of RFC 3261 and friends, usable and testable alone.
//!
//! May touch: `base`. Must not know: members, replication, sockets, threads. Nothing a peer sends
//! can make this room panic: the lints below hold it.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::panic,
        clippy::unreachable
    )
)]

mod block;
pub mod call;
pub mod dialog;
pub mod effect;
pub mod header;
pub mod leg;
#[cfg(test)]
mod linear;
mod lines;
pub mod locator;
pub mod message;
pub mod method;
pub mod orphan;
pub mod parse;
pub mod reception;
pub mod rsip_bridge;
mod scan;
pub mod status;
pub mod stream;
pub mod transaction;
pub mod uri;
mod usual;
mod validate;
pub mod write;

pub use header::{CSeq, HeaderName, NameAddr, Param, Params, Via};
pub use message::{Field, Message};
pub use method::Method;
pub use parse::Malformed;
pub use scan::SyntaxError;
pub use uri::{Host, Scheme, Uri, UriBuf};
pub use write::{Refused, RequestBuilder, ResponseBuilder};
