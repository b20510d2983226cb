//! A node that has just started and knows that others are there: what it does not know yet may be
//! an earlier life's word to a phone, so it takes no SIP before it can ask.
//!
//! May look at the view and at which members are linked. Decides nothing of calls.

use super::Shard;
use crate::base::time::Instant;

impl Shard {
    /// Whether SIP comes too early. A datagram is not missed: who sent it repeats it (RFC 3261
    /// 17.1.1.2), and by then the members that keep what an earlier life told can be asked.
    pub(super) fn is_joining(&mut self, now: Instant) -> bool {
        let Some(until) = self.joined_by else {
            return false;
        };
        if now >= until || self.has_joined() {
            self.joined_by = None;
        }
        self.joined_by.is_some()
    }

    /// Somebody else lives, and all who do are linked.
    fn has_joined(&self) -> bool {
        let me = self.view.me;
        let mut others = self.view.live().filter(|member| member.id != me).peekable();
        others.peek().is_some() && others.all(|member| self.wires.contains_key(&member.id))
    }
}
