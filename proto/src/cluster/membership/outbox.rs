//! The outbox: what leaves foca, as datagrams and timers, and how a datagram begins.
//!
//! It keeps things until membership fetches them; it decides nothing.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use foca::Timer;

use super::identity::Identity;
use crate::base::time::Duration;

/// First byte of a datagram: foca's message follows.
pub(super) const KIND_SWIM: u8 = 1;
/// First byte of a datagram: the identity that leaves follows.
pub(super) const KIND_LEAVING: u8 = 2;

/// Where foca leaves what it wants done. Its notifications are not needed: see `settle`.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) sends: Vec<(SocketAddr, Bytes)>,
    pub(super) timers: Vec<(Duration, Timer<Identity>)>,
}

impl foca::Runtime<Identity> for Outbox {
    fn notify(&mut self, _: foca::Notification<'_, Identity>) {}

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push((to.addr, datagram(KIND_SWIM, data)));
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        self.timers.push((after, timer));
    }
}

/// The datagram of a kind with this body.
pub(super) fn datagram(kind: u8, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + body.len());
    bytes.put_u8(kind);
    bytes.put_slice(body);
    bytes.freeze()
}
