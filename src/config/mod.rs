//! From file, environment and flags to a validated configuration, and from that to what the node
//! is started with.
//!
//! | file | what lives there |
//! |---|---|
//! | `env` | the only reader of the environment |
//! | `tree` | TOML with lines; unknown keys |
//! | `place` | where a setting came from, what is wrong with it |
//! | `draft` | the settings as written, layer over layer |
//! | `check` | the settings judged, all defaults |
//! | `address` | listener and host:port syntax |
//!
//! May read the configuration file and the node's certificates. Knows nothing of sockets, threads
//! or SIP messages.

mod address;
mod check;
mod draft;
mod env;
mod place;
mod routing;
pub(crate) mod tree;

use std::hash::Hasher as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callring_proto::app::AnyApp;
use callring_proto::cluster::policy::{AckPolicy, AlonePolicy, MergedPolicy, Replication, When};
use callring_proto::cluster::view::Role;
use siphasher::sip::SipHasher24;

pub use self::address::is_dns_label;
pub(crate) use self::address::is_host;
use self::draft::Draft;
pub use self::env::Env;
pub use self::place::{Place, Problem, Problems};
use crate::apps::b2bua::routes::Routes;
use crate::apps::{Answer, AnswerOptions, B2bua};
use crate::node::{ClusterConfig, MembershipPreset, NodeConfig, SipListener};
use crate::pki::Identity;
use crate::tasks::Tasks;

/// The full example, with every key and its default: what `callring config example` prints.
pub const EXAMPLE: &str = include_str!("../../deploy/callring.toml");

/// Settings given as flags; they win over environment and file. All as text: judged in one place.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--name`
    pub name: Option<String>,
    /// `--sip`, in place of all other listeners
    pub sip: Vec<String>,
    /// `--cluster-listen`
    pub cluster_listen: Option<String>,
    /// `--cluster-advertise`
    pub cluster_advertise: Option<String>,
    /// `--seed`, in place of all other seeds
    pub seed: Vec<String>,
    /// `--pki`
    pub pki: Option<String>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--role`
    pub role: Option<String>,
    /// `--zone`
    pub zone: Option<String>,
    /// `--app`
    pub app: Option<String>,
    /// `--shards`
    pub shards: Option<u16>,
    /// `--membership`
    pub membership: Option<String>,
    /// `--open`
    pub open: bool,
    /// `--wire-max`
    pub wire_max: Option<u8>,
}

/// A validated configuration: every value is in its range, and no two contradict each other.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name, a DNS label.
    pub name: String,
    /// Failure domain; empty if none.
    pub zone: String,
    /// Share of copies; 100 is ordinary.
    pub weight: u16,
    /// What the node is for.
    pub role: Role,
    /// Shards; `None`: one per core.
    pub shards: Option<u16>,
    /// How long a stop may take at most.
    pub stop_timeout: Duration,
    /// SIP listeners, at least one.
    pub sip: Vec<SipListener>,
    /// The cluster; `None` for a standalone node.
    pub cluster: Option<Cluster>,
    /// Replication policy.
    pub replication: Replication,
    /// Where the admin interface listens: loopback.
    pub admin_listen: SocketAddr,
    /// The application.
    pub app: AppConfig,
    /// What is allowed and yet probably not meant. One line each.
    pub warnings: Vec<String>,
}

/// `[cluster]`, validated.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where the fabric binds.
    pub listen: SocketAddr,
    /// Where members reach it, if not there.
    pub advertise: Option<SocketAddr>,
    /// `host:port` of members to join by.
    pub seeds: Vec<String>,
    /// The directory of certificates.
    pub pki: PathBuf,
    /// How patient membership is.
    pub membership: MembershipPreset,
    /// Highest wire version spoken.
    pub wire_max: u8,
}

/// `[app]`: which application runs, and its options.
#[derive(Clone, Debug)]
pub enum AppConfig {
    /// Rings, answers, takes part in the dialog, hangs up.
    Answer {
        /// From the INVITE to the 180.
        ring_after: Duration,
        /// From the 180 to the 200.
        ring: Duration,
        /// From the 200 to a BYE of its own; `None`: never.
        hangup_after: Option<Duration>,
    },
    /// Joins callers to where routes say.
    B2bua(Routes),
}

impl AppConfig {
    /// The application's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Answer { .. } => "answer",
            Self::B2bua(_) => "b2bua",
        }
    }
}

impl Config {
    /// Puts the layers over each other and judges the result. `file` is a name and a text.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(file: Option<(&str, &str)>, env: &Env, flags: &Flags) -> Result<Self, Problems> {
        let (mut draft, problems) = match file {
            Some((name, text)) => Draft::from_file(name, text)?,
            None => (Draft::default(), Vec::new()),
        };
        draft.overlay_env(env);
        draft.overlay_flags(flags);
        let mut config = check::check(&draft, problems)?;
        config.warnings.extend(env.warnings());
        Ok(config)
    }

    /// Hash of the settings that every member should share; shown by `callring members`, acted on
    /// by nobody. What is each member's own (name, addresses, zone, weight) is not in it.
    #[must_use]
    pub fn shared_hash(&self) -> u64 {
        let Replication {
            copies,
            ack,
            silence,
            alone,
            when,
            merged,
            calls_per_position,
        } = &self.replication;
        let ack = match ack {
            AckPolicy::None => "none",
            AckPolicy::One => "one",
            AckPolicy::All => "all",
        };
        let alone = match alone {
            AlonePolicy::Serve => "serve",
            AlonePolicy::Refuse => "refuse",
        };
        // A standalone node has nobody to differ from.
        let membership = self.cluster.as_ref().map(|cluster| cluster.membership);
        let membership = match membership.unwrap_or_default() {
            MembershipPreset::Local => "local",
            MembershipPreset::Lan => "lan",
            MembershipPreset::Wan => "wan",
        };
        let when = match when {
            When::Confirmed => "confirmed",
            When::Early => "early",
        };
        let merged = match merged {
            MergedPolicy::Reject => "reject",
            MergedPolicy::Accept => "accept",
        };
        let app = match &self.app {
            AppConfig::Answer {
                ring_after,
                ring,
                hangup_after,
            } => format!(
                "answer {} {} {}",
                ring_after.as_millis(),
                ring.as_millis(),
                hangup_after.map_or(0, |after| after.as_millis())
            ),
            AppConfig::B2bua(routes) => format!("b2bua {routes:?}"),
        };
        let canonical = format!(
            "copies {copies} ack {ack} silence {} alone {alone} when {when} merged {merged} \
             calls_per_position {calls_per_position} membership {membership} app {app}",
            silence.as_millis()
        );
        let mut hash = SipHasher24::new_with_keys(0, 0);
        hash.write(canonical.as_bytes());
        hash.finish()
    }

    fn application(&self) -> Arc<dyn AnyApp> {
        let (ring_after, ring, hangup_after) = match &self.app {
            AppConfig::Answer {
                ring_after,
                ring,
                hangup_after,
            } => (*ring_after, *ring, *hangup_after),
            AppConfig::B2bua(routes) => return Arc::new(B2bua::new(routes.clone())),
        };
        let address = self.sip.first().map(|listener| {
            let named = listener.advertise.as_deref().and_then(|name| {
                let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
                host.trim_matches(['[', ']']).parse().ok()
            });
            named.unwrap_or_else(|| listener.listen.ip())
        });
        Arc::new(Answer::new(AnswerOptions {
            ring_after,
            ring,
            hang_up_after: hangup_after,
            media_address: address.unwrap_or_else(|| Ipv4Addr::LOCALHOST.into()),
        }))
    }

    /// What the node is started with. `identity` belongs to the cluster's `pki` directory; a
    /// standalone node has none.
    #[must_use]
    pub fn node(&self, identity: Option<Identity>) -> NodeConfig {
        let cluster_key = identity
            .as_ref()
            .and_then(|identity| identity.secrets.seal_keys().ok());
        let cluster = self.cluster.as_ref().zip(identity);
        let mut replication = self.replication.clone();
        if cluster.is_none() {
            replication.copies = 1; // nobody to hold another
        }
        NodeConfig {
            name: self.name.clone(),
            zone: self.zone.clone(),
            weight: self.weight,
            role: self.role,
            sip: self.sip.clone(),
            cluster: cluster.map(|(cluster, identity)| ClusterConfig {
                listen: cluster.listen,
                advertise: cluster.advertise,
                seeds: cluster.seeds.clone(),
                pki: identity.pki,
                membership: cluster.membership,
                wire_max: cluster.wire_max,
            }),
            shards: self.shards.unwrap_or_else(|| {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                u16::try_from(cores)
                    .unwrap_or(u16::MAX)
                    .min(check::SHARDS_MAX)
            }),
            replication,
            cluster_key,
            config_hash: self.shared_hash(),
            app: self.application(),
            tasks: Tasks::new(),
            stop_timeout: self.stop_timeout,
        }
    }
}

#[cfg(test)]
mod tests;
