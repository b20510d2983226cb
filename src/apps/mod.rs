//! The applications that ship in the binary. They sit on the port (`callring_proto::app`), under
//! the runtime: no clock, no IO, no members.

pub mod answer;
pub mod b2bua;
pub mod sdp;

pub use answer::{Answer, AnswerOptions};
pub use b2bua::B2bua;
