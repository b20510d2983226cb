//! callring: SIP application servers whose calls outlive their node.
pub use callring_proto as proto;
