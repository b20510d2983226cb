//! callring: SIP application servers whose calls outlive their node.
pub mod demo;
pub use callring_proto as proto;
