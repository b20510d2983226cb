//! The settings as they were written, not yet judged: what the file says, and what the environment
//! and the flags put over it. Later layers win: file, then environment, then flags.

use super::Flags;
use super::env::Env;
use super::place::{Given, Place, Problem, Problems};
use super::routing::{DraftPeer, DraftRoute, read_peer, read_route};
use super::tree::{Document, Section};

/// What a setting of the design is answered that this version does not have.
pub(crate) const NOT_YET: &str = "not supported by this version of callring";

/// A `[[sip.listener]]`, or one `--sip`.
#[derive(Clone, Debug)]
pub(crate) struct DraftListener {
    pub(crate) listen: Given<String>,
    pub(crate) advertise: Option<Given<String>>,
    pub(crate) scope: Option<Given<String>>,
}

/// All settings as written. `None`: not written, the default holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) name: Option<Given<String>>,
    pub(crate) zone: Option<Given<String>>,
    pub(crate) role: Option<Given<String>>,
    pub(crate) weight: Option<Given<u64>>,
    pub(crate) shards: Option<Given<u64>>,
    pub(crate) stop_timeout_s: Option<Given<u64>>,
    pub(crate) listeners: Vec<DraftListener>,
    pub(crate) cluster_listen: Option<Given<String>>,
    pub(crate) cluster_advertise: Option<Given<String>>,
    pub(crate) seeds: Vec<Given<String>>,
    pub(crate) pki: Option<Given<String>>,
    pub(crate) membership: Option<Given<String>>,
    pub(crate) wire_max: Option<Given<u64>>,
    pub(crate) copies: Option<Given<u64>>,
    pub(crate) ack: Option<Given<String>>,
    pub(crate) when: Option<Given<String>>,
    pub(crate) app_data: Option<Given<bool>>,
    pub(crate) silence_ms: Option<Given<u64>>,
    pub(crate) alone: Option<Given<String>>,
    pub(crate) merged: Option<Given<String>>,
    pub(crate) calls_per_position: Option<Given<u64>>,
    pub(crate) admin_listen: Option<Given<String>>,
    pub(crate) app: Option<Given<String>>,
    pub(crate) ring_after_ms: Option<Given<u64>>,
    pub(crate) ring_ms: Option<Given<u64>>,
    pub(crate) hangup_after_s: Option<Given<u64>>,
    pub(crate) open: Option<Given<bool>>,
    pub(super) peers: Vec<DraftPeer>,
    pub(super) routes: Vec<DraftRoute>,
}

impl Draft {
    /// Reads a configuration file. Complaints come with what could be read, so that one look finds
    /// them all.
    pub(crate) fn from_file(file: &str, text: &str) -> Result<(Self, Vec<Problem>), Problems> {
        let document = Document::new(file, text);
        let tree = document.parse()?;
        let mut draft = Self::default();
        let mut top = document.top(tree.get_ref());
        if let Some(node) = top.table("node") {
            draft.read_node(node);
        }
        if let Some(mut sip) = top.table("sip") {
            draft.merged = sip.string("merged");
            for listener in sip.tables("listener") {
                draft.read_listener(&document, listener);
            }
            sip.finish();
        }
        if let Some(cluster) = top.table("cluster") {
            draft.read_cluster(cluster);
        }
        if let Some(replication) = top.table("replication") {
            draft.read_replication(replication);
        }
        if let Some(mut admin) = top.table("admin") {
            draft.admin_listen = admin.string("listen");
            admin.finish();
        }
        if let Some(mut app) = top.table("app") {
            draft.app = app.string("kind");
            draft.ring_after_ms = app.number("ring_after_ms");
            draft.ring_ms = app.number("ring_ms");
            draft.hangup_after_s = app.number("hangup_after_s");
            draft.open = app.boolean("open");
            app.finish();
        }
        draft.peers = top.tables("peer").into_iter().map(read_peer).collect();
        let routes = top.tables("route").into_iter();
        draft.routes = routes.map(read_route).collect();
        if let Some(mut limits) = top.table("limits") {
            draft.calls_per_position = limits.number("calls_per_position");
            limits.refuse(&["udp_max", "max_calls"], NOT_YET);
            limits.finish();
        }
        top.finish();
        Ok((draft, document.into_problems()))
    }

    fn read_node(&mut self, mut node: Section<'_, '_>) {
        self.name = node.string("name");
        self.zone = node.string("zone");
        self.role = node.string("role");
        self.weight = node.number("weight");
        self.shards = node.number("shards");
        self.stop_timeout_s = node.number("stop_timeout_s");
        node.finish();
    }

    fn read_listener(&mut self, document: &Document<'_>, mut listener: Section<'_, '_>) {
        let place = listener.place();
        let listen = listener.string("listen");
        let advertise = listener.string("advertise");
        let scope = listener.string("scope");
        listener.finish();
        match listen {
            Some(listen) => self.listeners.push(DraftListener {
                listen,
                advertise,
                scope,
            }),
            None => document.complain(Problem {
                place,
                text: "`listen` is missing, e.g. listen = \"udp://10.0.0.1:5060\"".into(),
            }),
        }
    }

    fn read_cluster(&mut self, mut cluster: Section<'_, '_>) {
        self.cluster_listen = cluster.string("listen");
        self.cluster_advertise = cluster.string("advertise");
        self.seeds = cluster.strings("seeds").unwrap_or_default();
        self.pki = cluster.string("pki");
        self.membership = cluster.string("membership");
        self.wire_max = cluster.number("wire_max");
        cluster.finish();
    }

    fn read_replication(&mut self, mut replication: Section<'_, '_>) {
        self.copies = replication.number("copies");
        self.ack = replication.string("ack");
        self.when = replication.string("when");
        self.app_data = replication.boolean("app_data");
        self.silence_ms = replication.number("silence_ms");
        self.alone = replication.string("alone");
        replication.finish();
    }

    /// Puts the environment over the file.
    pub(crate) fn overlay_env(&mut self, env: &Env) {
        let one = |name: &'static str| {
            env.get(name).map(|value| Given {
                value: value.to_owned(),
                place: Place::Env(name),
            })
        };
        let list = |name: &'static str| {
            let value = env.get(name)?;
            let items = value
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            let given = |item: &str| Given {
                value: item.to_owned(),
                place: Place::Env(name),
            };
            Some(items.map(given).collect::<Vec<_>>())
        };
        self.overlay(Layer {
            name: one("CALLRING_NAME"),
            zone: one("CALLRING_ZONE"),
            role: one("CALLRING_ROLE"),
            sip: list("CALLRING_SIP"),
            cluster_listen: one("CALLRING_CLUSTER_LISTEN"),
            cluster_advertise: one("CALLRING_CLUSTER_ADVERTISE"),
            seeds: list("CALLRING_SEED"),
            pki: one("CALLRING_PKI"),
            admin_listen: one("CALLRING_ADMIN_LISTEN"),
            app: one("CALLRING_APP"),
        });
    }

    /// Puts the flags over file and environment.
    pub(crate) fn overlay_flags(&mut self, flags: &Flags) {
        let one = |name: &'static str, value: &Option<String>| {
            value.clone().map(|value| Given {
                value,
                place: Place::Flag(name),
            })
        };
        let list = |name: &'static str, values: &[String]| {
            let given = |value: &String| Given {
                value: value.clone(),
                place: Place::Flag(name),
            };
            (!values.is_empty()).then(|| values.iter().map(given).collect::<Vec<_>>())
        };
        self.overlay(Layer {
            name: one("--name", &flags.name),
            zone: one("--zone", &flags.zone),
            role: one("--role", &flags.role),
            sip: list("--sip", &flags.sip),
            cluster_listen: one("--cluster-listen", &flags.cluster_listen),
            cluster_advertise: one("--cluster-advertise", &flags.cluster_advertise),
            seeds: list("--seed", &flags.seed),
            pki: one("--pki", &flags.pki),
            admin_listen: one("--admin-listen", &flags.admin_listen),
            app: one("--app", &flags.app),
        });
        if let Some(membership) = one("--membership", &flags.membership) {
            self.membership = Some(membership);
        }
        if let Some(wire_max) = flags.wire_max {
            self.wire_max = Some(Given {
                value: u64::from(wire_max),
                place: Place::Flag("--wire-max"),
            });
        }
        if flags.open {
            self.open = Some(Given {
                value: true,
                place: Place::Flag("--open"),
            });
        }
        if let Some(shards) = flags.shards {
            self.shards = Some(Given {
                value: u64::from(shards),
                place: Place::Flag("--shards"),
            });
        }
    }

    fn overlay(&mut self, layer: Layer) {
        let put = |under: &mut Option<Given<String>>, over: Option<Given<String>>| {
            if over.is_some() {
                *under = over;
            }
        };
        put(&mut self.name, layer.name);
        put(&mut self.zone, layer.zone);
        put(&mut self.role, layer.role);
        put(&mut self.cluster_listen, layer.cluster_listen);
        put(&mut self.cluster_advertise, layer.cluster_advertise);
        put(&mut self.pki, layer.pki);
        put(&mut self.admin_listen, layer.admin_listen);
        put(&mut self.app, layer.app);
        if let Some(seeds) = layer.seeds {
            self.seeds = seeds;
        }
        if let Some(sip) = layer.sip {
            let bare = |listen| DraftListener {
                listen,
                advertise: None,
                scope: None,
            };
            self.listeners = sip.into_iter().map(bare).collect();
        }
    }
}

/// The settings that environment and flags can both give.
struct Layer {
    name: Option<Given<String>>,
    zone: Option<Given<String>>,
    role: Option<Given<String>>,
    sip: Option<Vec<Given<String>>>,
    cluster_listen: Option<Given<String>>,
    cluster_advertise: Option<Given<String>>,
    seeds: Option<Vec<Given<String>>>,
    pki: Option<Given<String>>,
    admin_listen: Option<Given<String>>,
    app: Option<Given<String>>,
}
