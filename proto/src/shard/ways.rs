//! Ways out: from which member's socket a message leaves (SIP.md S6). Advertised addresses are
//! compared as they stand; nothing is resolved.

use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::counts::label;
use crate::base::flow::Flow;
use crate::base::ids::CallId;
use crate::cluster::view::{MemberInfo, Role};
use crate::io::Output;
use crate::wire;

impl Shard {
    /// Sends a SIP message by a flow: from our own socket, or through the member whose socket it
    /// is. If that one is dead, through a living one of the same address: a virtual address moved.
    pub(super) fn send_sip(&mut self, key: Option<CallId>, flow: Flow, bytes: Bytes) {
        self.counts.sip_out.count(label(&bytes));
        let me = self.view.me.node;
        let reachable = flow.ingress == me || self.cluster.reachable(flow.ingress, key).is_some();
        let way = if reachable {
            Some(flow)
        } else {
            self.same_address(&flow, key)
                .or_else(|| self.own_flow(&flow))
        };
        let Some(flow) = way else {
            return self.counts.rejected.count("no_way_out");
        };
        match self.cluster.reachable(flow.ingress, key) {
            Some(member) if flow.ingress != me => {
                let egress = wire::Egress { flow, bytes };
                self.cluster.send_egress(member, key, egress);
            }
            _ => self.outputs.push_back(Output::Sip { flow, bytes }),
        }
    }

    /// The way that a new message of ours to `like` leaves by: what came in at an edge goes out
    /// there, everything else from our own socket.
    pub(super) fn way_out(&self, like: &Flow, key: Option<CallId>) -> Option<Flow> {
        let edge = |info: &MemberInfo| info.meta.role == Role::Edge;
        let ingress = self.view.node(like.ingress);
        if like.ingress == self.view.me.node || !ingress.is_some_and(edge) {
            return self.own_flow(like);
        }
        if self.cluster.reachable(like.ingress, key).is_some() {
            return Some(like.clone());
        }
        self.same_address(like, key).or_else(|| self.own_flow(like))
    }

    /// The same address at another member that lives.
    fn same_address(&self, like: &Flow, key: Option<CallId>) -> Option<Flow> {
        let me = self.view.me.node;
        let url = format!("{}://{}", like.transport.uri_name(), like.advertise);
        self.view.live().find_map(|info| {
            let node = info.id.node;
            let listener = info.meta.sip.iter().position(|one| **one == *url)?;
            let lives = node == me || self.cluster.reachable(node, key).is_some();
            (lives && node != like.ingress).then_some(Flow {
                ingress: node,
                listener: u16::try_from(listener).ok()?,
                ..like.clone()
            })
        })
    }

    /// The listener that our own messages to `like` leave by, if there is one of its transport.
    fn own_flow(&self, like: &Flow) -> Option<Flow> {
        let me = self.view.me.node;
        let place = if like.ingress == me {
            like.listener
        } else {
            let mut listeners = self.listeners.iter();
            let found = listeners.position(|one| one.transport == like.transport)?;
            u16::try_from(found).ok()?
        };
        let listener = self.listener(place)?;
        Some(Flow {
            transport: listener.transport,
            ingress: me,
            listener: place,
            remote: like.remote,
            advertise: Arc::clone(&listener.advertise),
        })
    }
}
