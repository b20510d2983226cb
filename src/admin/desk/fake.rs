//! A cluster of three without a node, for the desk's tests: `a` is asked, `b` answers it, `c` never
//! does, `d` is down.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use callring_proto::base::ids::{Incarnation, MemberId};
use callring_proto::cluster::view::{MemberInfo, Metadata};
use callring_proto::io::{CallState, Summary};

use super::*;
use crate::runtime::{FabricStats, LinkStats, NodeStats};

fn id(name: &str) -> MemberId {
    MemberId {
        node: NodeId::of(name),
        incarnation: Incarnation { number: 2, boot: 9 },
    }
}

fn view(draining: bool) -> Arc<View> {
    let member = |name: &str, state| MemberInfo {
        id: id(name),
        name: name.into(),
        state,
        cluster_addr: SocketAddr::from(([10, 0, 0, 1], 7060)),
        meta: Metadata {
            zone: "z".into(),
            sip: vec!["udp://10.0.0.1:5060".into()],
            version: "0.1.0".into(),
            config_hash: 0xab,
            draining: draining && name == "a",
            ..Metadata::default()
        },
        known: true,
    };
    let members = vec![
        member("a", MemberState::Alive),
        member("b", MemberState::Alive),
        member("c", MemberState::Suspect),
        member("d", MemberState::Down),
    ];
    Arc::new(View::new(7, id("a"), members))
}

pub(super) fn key(nonce: u64) -> CallId {
    CallId { position: 1, nonce }
}

fn call(nonce: u64, owner: &str, epoch: u32, age_s: u64) -> CallSummary {
    CallSummary {
        key: key(nonce),
        call_id: format!("call-{nonce}"),
        owner: id(owner),
        replicas: vec![id("b")],
        epoch,
        version: 3,
        state: CallState::Confirmed,
        app: "answer".into(),
        legs: 1,
        age_s,
        from: "sip:alice@example.com".into(),
        to: "sip:bob@example.com".into(),
        degraded: false,
    }
}

fn detail(summary: CallSummary, owned: bool) -> Box<CallDetail> {
    Box::new(CallDetail {
        summary,
        owned,
        legs: vec!["leg".into()],
        app_state: "{}".into(),
        timers: Vec::new(),
        tasks: Vec::new(),
        held: 0,
        record_bytes: 900,
    })
}

/// One shard's answers on the node called `name`.
fn shard(name: &str, request: &Ask) -> Answer {
    match request {
        Ask::Summary => Answer::Summary(Box::new(Summary {
            calls_owned: 10,
            calls_replica: 5,
            in_setup: 2,
            uncovered: 1,
            degraded_total: 1,
            ..Summary::default()
        })),
        Ask::Calls(_) => Answer::Calls(match name {
            "a" => vec![call(1, "a", 1, 50), call(2, "a", 1, 10)],
            // b took call 1 over; a has not heard of it yet.
            _ => vec![call(1, "b", 2, 50), call(3, "b", 1, 30)],
        }),
        Ask::Call(asked) if *asked == key(1) => Answer::Call(Some(match name {
            "a" => detail(call(1, "a", 1, 50), true),
            _ => detail(call(1, "b", 2, 50), true),
        })),
        Ask::Call(_) => Answer::Call(None),
        Ask::Signal { key: asked, body } => Answer::Signal(if *asked == key(1) {
            assert!(&body[..] == b"{\"hangup\":{}}" || &body[..] == b"[1]");
            Ok(())
        } else {
            Err("no such call".into())
        }),
    }
}

/// The node `a`: `b` answers, `c` never does.
#[derive(Default)]
pub(super) struct Fake {
    draining: AtomicBool,
    /// Whether it was asked to stop.
    pub(super) stopping: AtomicBool,
}

#[async_trait]
impl Door for Fake {
    fn view(&self) -> Arc<View> {
        view(self.draining.load(Ordering::Relaxed))
    }
    async fn ask(&self, request: Ask) -> Vec<Answer> {
        vec![shard("a", &request)]
    }
    async fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }
    fn ask_to_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
    async fn ask_member(&self, node: NodeId, request: Bytes) -> Result<Bytes, String> {
        match &*view(false).name(node) {
            "b" => Ok(Gather::new(Arc::new(Other), 1).reply(&request).await),
            "c" => std::future::pending().await,
            other => panic!("asked {other}, which is down"),
        }
    }
    fn fabric_stats(&self) -> FabricStats {
        FabricStats {
            links: vec![LinkStats {
                name: "b".into(),
                member: id("b"),
                session: 1,
                dialled: true,
                remote: SocketAddr::from(([10, 0, 0, 2], 7060)),
                rtt_us: 250,
                lost_packets: 0,
            }],
            ..FabricStats::default()
        }
    }
    fn node_stats(&self) -> NodeStats {
        NodeStats::default()
    }
}

/// The node `b`, which is only asked for itself.
struct Other;

#[async_trait]
impl Door for Other {
    fn view(&self) -> Arc<View> {
        view(false)
    }
    async fn ask(&self, request: Ask) -> Vec<Answer> {
        vec![shard("b", &request)]
    }
    async fn set_draining(&self, _: bool) {}
    fn ask_to_stop(&self) {}
    async fn ask_member(&self, _: NodeId, _: Bytes) -> Result<Bytes, String> {
        Err("not asked".into())
    }
    fn fabric_stats(&self) -> FabricStats {
        FabricStats::default()
    }
    fn node_stats(&self) -> NodeStats {
        NodeStats::default()
    }
}

pub(super) fn about(shards: usize) -> About {
    About {
        cluster: "lab".into(),
        copies: 2,
        shards,
        version: "0.1.0".into(),
        stop_timeout: Duration::from_secs(10),
    }
}
