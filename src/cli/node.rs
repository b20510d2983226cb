//! `callring node`: from settings to a running node, one line when it is ready, and its end.

use std::path::Path;
use std::time::SystemTime;

use callring::admin::{About, Desk, serve};
use callring::config::{Config, Env, Flags};
use callring::pki::{self, Identity};
use callring::{Node, NodeHandle};
use clap::ValueEnum as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Failure, Outcome, config, manager, output};
use crate::log;

/// `callring node`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Flags win over environment variables (CALLRING_NAME, CALLRING_SIP, ..), those over \
                  the file.\nWithout --pki and --seed the node is standalone."
)]
pub(super) struct NodeArgs {
    /// Configuration file; see `callring config example` [env: CALLRING_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// The node's name, as in its certificate
    #[arg(long, value_name = "N")]
    name: Option<String>,
    /// SIP address, udp://IP:PORT[?advertise=HOST:PORT]; may be repeated
    #[arg(long, value_name = "URL")]
    sip: Vec<String>,
    /// Where the other members reach this node, UDP
    #[arg(long, value_name = "IP:PORT")]
    cluster_listen: Option<String>,
    /// The same as the others see it
    #[arg(long, value_name = "IP:PORT")]
    cluster_advertise: Option<String>,
    /// Cluster address of another member; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    seed: Vec<String>,
    /// Directory of certificates; see `callring pki`
    #[arg(long, value_name = "DIR")]
    pki: Option<String>,
    /// Where the admin interface listens; loopback only
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<String>,
    /// member or edge
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Failure domain
    #[arg(long, value_name = "Z")]
    zone: Option<String>,
    /// answer or b2bua
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Let everybody call through b2bua, on whatever address
    #[arg(long)]
    open: bool,
    /// Threads that run calls [default: one per core]
    #[arg(long, value_name = "N")]
    shards: Option<u16>,
    /// How patient membership is: local, lan or wan
    #[arg(long, value_name = "PRESET")]
    membership: Option<String>,
    /// Highest wire version to speak, while members of an earlier release are in the cluster
    #[arg(long, value_name = "V")]
    wire_max: Option<u8>,
    /// error, warn, info, debug, trace, or target=level,.. [env: CALLRING_LOG] [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json [env: CALLRING_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    log_format: Option<log::Format>,
}

pub(super) fn run(args: &NodeArgs, env: &Env) -> Outcome {
    let config = load(args, env)?;
    start_log(args, env)?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let identity = identity(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .map_err(|error| Failure(format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(live(config, identity));
    // What still runs is not waited for: the node has been shut down, or a second signal came.
    runtime.shutdown_background();
    outcome
}

fn load(args: &NodeArgs, env: &Env) -> Result<Config, Failure> {
    let file = args
        .config
        .as_deref()
        .or_else(|| env.get("CALLRING_CONFIG"));
    let text = file.map(config::read).transpose()?;
    let flags = Flags {
        name: args.name.clone(),
        sip: args.sip.clone(),
        cluster_listen: args.cluster_listen.clone(),
        cluster_advertise: args.cluster_advertise.clone(),
        seed: args.seed.clone(),
        pki: args.pki.clone(),
        admin_listen: args.admin_listen.clone(),
        role: args.role.clone(),
        zone: args.zone.clone(),
        app: args.app.clone(),
        shards: args.shards,
        open: args.open,
        membership: args.membership.clone(),
        wire_max: args.wire_max,
    };
    Config::load(file.zip(text.as_deref()), env, &flags)
        .map_err(|problems| Failure(problems.to_string()))
}

fn start_log(args: &NodeArgs, env: &Env) -> Outcome {
    let format = match (args.log_format, env.get("CALLRING_LOG_FORMAT")) {
        (Some(format), _) => format,
        (None, None) => log::Format::default(),
        (None, Some(text)) => log::Format::from_str(text, false)
            .map_err(|_| Failure("CALLRING_LOG_FORMAT: \"text\" or \"json\" is expected".into()))?,
    };
    let level = args
        .log_level
        .as_deref()
        .or_else(|| env.get("CALLRING_LOG"));
    log::init(level.unwrap_or("info"), format).map_err(Failure)
}

fn identity(config: &Config) -> Result<Option<Identity>, Failure> {
    let Some(cluster) = &config.cluster else {
        return Ok(None);
    };
    let identity = pki::load(Path::new(&cluster.pki), &config.name, SystemTime::now())
        .map_err(|error| Failure(error.to_string()))?;
    for warning in &identity.warnings {
        warn!("{warning}");
    }
    Ok(Some(identity))
}

/// A node's life, from its sockets to its end.
async fn live(config: Config, identity: Option<Identity>) -> Outcome {
    let mut stop = Stop::listen()?;
    let admin = TcpListener::bind(config.admin_listen)
        .await
        .map_err(|error| {
            Failure(format!(
                "cannot listen on {} (admin): {error}",
                config.admin_listen
            ))
        })?;
    let admin_address = admin
        .local_addr()
        .map_err(|error| Failure(error.to_string()))?;
    let cluster = identity
        .as_ref()
        .map(|identity| identity.secrets.cluster.clone());
    let node_config = config.node(identity);
    let about = About {
        cluster: cluster.unwrap_or_default(),
        copies: config.replication.copies,
        shards: usize::from(node_config.shards),
        version: env!("CARGO_PKG_VERSION").into(),
        stop_timeout: config.stop_timeout,
    };
    let node = tokio::select! {
        started = Node::start(node_config) => started.map_err(|error| Failure(error.to_string()))?,
        () = stop.wait() => return Ok(()),
    };
    let desk = Desk::open(&node, about);
    let (stopping, stopped) = watch::channel(());
    let serving = tokio::spawn(serve(admin, desk, ended(stopped)));
    output::result(&ready_line(&node, admin_address))?;
    manager::ready(&node);

    tokio::select! {
        () = stop.wait() => {}
        () = node.stop_asked() => {}
        reason = node.failed() => {
            // What it owned is adopted the sooner, the sooner it is gone.
            node.shutdown().await;
            return Err(Failure(reason));
        }
    }
    manager::stopping();
    let limit_s = config.stop_timeout.as_secs();
    info!(
        limit_s,
        "handing calls over, then leaving; a second signal stops at once"
    );
    // The admin interface answers to the end, for whoever watches it.
    let end = async {
        if let Err(left) = node.stop().await {
            warn!("{left}; the members take over what they have copies of");
        }
        drop(stopping);
        // A client that keeps its connection open is not waited for.
        serving.abort();
    };
    tokio::select! {
        () = end => Ok(()),
        () = stop.wait() => Err(Failure("stopped at once by a second signal".into())),
    }
}

/// The one line that says that the node serves, with the addresses that are really bound.
fn ready_line(node: &NodeHandle, admin: std::net::SocketAddr) -> String {
    let sip: Vec<String> = node
        .sip_addrs()
        .iter()
        .map(|(bound, _)| format!("udp://{bound}"))
        .collect();
    let cluster = match node.cluster_addr() {
        Some(address) => address.to_string(),
        None => "-".into(),
    };
    let (name, sip) = (node.name(), sip.join(","));
    format!("ready name={name} sip={sip} cluster={cluster} admin=http://{admin}")
}

async fn ended(mut stopped: watch::Receiver<()>) {
    // Ends with an error when the sender is dropped, and that is the sign.
    while stopped.changed().await.is_ok() {}
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure(format!("no signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
