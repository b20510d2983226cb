//! The fabric: one QUIC endpoint per node, one link per pair of members.
//!
//! | file | what lives there |
//! |---|---|
//! | `tls` | certificates, verification, transport settings |
//! | `hello` | the first stream of a connection |
//! | `table` | who is linked, wanted, known; pure bookkeeping |
//! | `fabric` | the endpoint: accepting, dialling, what control may ask for |
//! | `link` | one link's queues and tasks |
//! | `service` | requests between members |
//! | `window` | how much may be under way on a link |
//!
//! May use the shards' ports and the wire's headers. Knows nothing of calls, SIP, or who ought to be
//! a member: control says whom to be linked with.

mod accept;
mod dial;
mod fabric;
mod hello;
mod link;
mod service;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod window;

pub(crate) use fabric::{Fabric, FabricConfig, FabricEvent, YouAre};
pub(crate) use link::LinkSender;

/// Takes any certificate of this CA.
#[cfg(test)]
pub(crate) fn any_member(
    roots: rustls::RootCertStore,
) -> std::sync::Arc<dyn rustls::client::danger::ServerCertVerifier> {
    tls::any_member(roots)
}
