//! A running node: starts its parts in order, and answers for them.
//!
//! Plumbing only: may use every other file of the runtime, decides nothing of their matters.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::flow::Transport;
use callring_proto::base::ids::NodeId;
use callring_proto::base::rng::Seed;
use callring_proto::cluster::membership::{Identity, MembershipConfig, NAME_BYTES_MAX};
use callring_proto::cluster::view::{Metadata, View};
use callring_proto::io::{Answer, Ask};
use callring_proto::shard::{Listener, Shard, ShardConfig};
use callring_proto::sip::locator::{SealKey, SealKeys, Sealer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::clock::Clock;
use super::control::{self, Clustered, Command, Control, ControlParts};
use super::locals::Locals;
use super::quic::{Fabric, FabricConfig};
use super::shard_loop::{LocalInput, Machine, ShardPort, ShardThread, port};
use super::stats::{FabricStats, NodeCounters, NodeStats};
use super::task_runner::TaskRunner;
use super::udp::{self, BoundListener};
use super::{FabricError, join, shutdown};
use crate::node::{AdminService, ClusterConfig, MembershipPreset, NodeConfig, StartError};

/// How long shards are waited for.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a start waits for the members that a seed promises.
const COMPANY_TIMEOUT: Duration = Duration::from_secs(2);
/// Commands that wait for control.
const COMMANDS: usize = 64;
/// chitchat's messages that wait to be read. Full: dropped, the next round brings them again.
const METADATA_QUEUE: usize = 256;

/// A node that runs.
pub(crate) struct Running {
    name: String,
    sip: Vec<(SocketAddr, Arc<str>)>,
    views: watch::Receiver<Arc<View>>,
    pub(super) ports: Arc<[ShardPort]>,
    counters: Arc<NodeCounters>,
    pub(super) fabric: Option<Arc<Fabric>>,
    pub(super) commands: mpsc::Sender<Command>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    failed: watch::Receiver<Option<String>>,
    stop_timeout: Duration,
    stop_asked: watch::Sender<bool>,
    stopping: tokio::sync::Mutex<bool>,
}

impl Running {
    /// Starts the node with the core's own shards.
    pub(crate) async fn start(config: NodeConfig) -> Result<Self, StartError> {
        Self::start_with(config, Shard::new).await
    }

    /// The same with any machine in a shard's place.
    pub(crate) async fn start_with<M: Machine>(
        config: NodeConfig,
        build: impl Fn(ShardConfig) -> M + Clone + Send + 'static,
    ) -> Result<Self, StartError> {
        check(&config)?;
        let clock = Clock::start();
        let counters = Arc::new(NodeCounters::default());
        let listeners = udp::bind(&config.sip, config.shards)?;
        let (ports, queues): (Vec<_>, Vec<_>) = (0..config.shards).map(|_| port()).unzip();
        let ports: Arc<[ShardPort]> = ports.into();
        let mut cluster = None;
        let mut company = false;
        let mut life = join::life(1).map_err(|source| system("randomness", source))?;
        if let Some(wanted) = &config.cluster {
            let parts = start_fabric(&config.name, wanted, &ports, clock)?;
            let heard = join::ask_seeds(&parts.fabric, &wanted.seeds).await;
            if heard.answers == 0 && !wanted.seeds.is_empty() {
                tracing::warn!(seeds = ?wanted.seeds, "no seed answers; the node goes on looking");
            }
            company = heard.members > 0;
            life.number = heard.known.saturating_add(1);
            parts.fabric.set_life(life);
            cluster = Some(parts);
        }
        let fabric = cluster.as_ref().map(|parts| parts.fabric.clone());
        let address = fabric.as_ref().map(|fabric| fabric.address());
        let identity = Identity {
            name: config.name.as_str().into(),
            addr: address.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            incarnation: life,
        };
        let me = identity.member();
        let sip: Vec<_> = listeners
            .iter()
            .map(|listener| (listener.address, listener.advertise.clone()))
            .collect();
        let named: Vec<Listener> = listeners.iter().map(named).collect();
        let locals = u16::try_from(listeners.len()).unwrap_or(u16::MAX);
        let locals = Arc::new(Locals::new(locals));

        let (failed, failed_end) = watch::channel(None);
        let (commands, commands_end) = mpsc::channel(COMMANDS);
        let (views, views_end) = watch::channel(Arc::new(View::new(0, me, Vec::new())));
        let running = Self {
            name: config.name.clone(),
            sip: sip.clone(),
            views: views_end,
            ports: ports.clone(),
            counters: counters.clone(),
            fabric,
            commands,
            threads: Mutex::default(),
            failed: failed_end,
            stop_timeout: config.stop_timeout,
            stop_asked: watch::Sender::new(false),
            stopping: tokio::sync::Mutex::new(false),
        };
        let sealer = sealer(&config)?;
        let alone = Arc::new(View::new(0, me, Vec::new()));
        let tasks = TaskRunner::new(config.tasks.clone(), Arc::clone(&counters));
        let mut sockets = by_shard(listeners, config.shards);
        for (shard, queues) in (0..config.shards).zip(queues) {
            let thread = ShardThread {
                shard,
                node: me.node,
                clock,
                sockets: std::mem::take(&mut sockets[usize::from(shard)]),
                queues,
                ports: ports.clone(),
                counters: counters.clone(),
                locals: locals.clone(),
                tasks: tasks.clone(),
            };
            let core = ShardConfig {
                shard,
                shards: config.shards,
                listeners: named.clone(),
                replication: config.replication.clone(),
                sealer: Arc::clone(&sealer),
                app: Arc::clone(&config.app),
                view: Arc::clone(&alone),
                seed: seed()?,
                wire_max: wire_max(&config),
                joined_by: company.then(|| clock.now() + COMPANY_TIMEOUT),
            };
            let (build, failed) = (build.clone(), failed.clone());
            let ended = move |reason: Option<String>| {
                if reason.is_some() {
                    failed.send_replace(reason);
                }
            };
            let handle = thread
                .spawn(move || build(core), ended)
                .map_err(|source| system("a shard's thread", source))?;
            running.threads().push(handle);
        }
        let parts = ControlParts {
            identity,
            config: preset(config.cluster.as_ref()),
            seed: seed()?,
            meta: own_metadata(&config, &sip),
            clock,
            ports,
            views,
            commands: commands_end,
            counters: running.counters.clone(),
            cluster,
        };
        let control = Control::start(parts)
            .await
            .map_err(|error| StartError::Config(format!("metadata gossip: {error}")))?;
        tokio::spawn(control.run());
        if company {
            running.wait_for_company().await;
        }
        tracing::info!(
            name = running.name,
            ?me,
            shards = config.shards,
            "node started"
        );
        Ok(running)
    }

    /// Waits a moment for a member that may hold copies: what is served before has none.
    async fn wait_for_company(&self) {
        let mut views = self.views.clone();
        let company = |view: &Arc<View>| {
            let mut live = view.live();
            live.any(|member| member.id != view.me && member.known)
        };
        if timeout(COMPANY_TIMEOUT, views.wait_for(company))
            .await
            .is_err()
        {
            tracing::warn!("a seed answers, but no member is known yet; the node starts alone");
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    pub(crate) fn sip_addrs(&self) -> &[(SocketAddr, Arc<str>)] {
        &self.sip
    }

    pub(crate) fn cluster_addr(&self) -> Option<SocketAddr> {
        self.fabric.as_ref().map(|fabric| fabric.address())
    }

    pub(crate) async fn ask(&self, request: Ask) -> Vec<Answer> {
        let shards = u16::try_from(self.ports.len()).unwrap_or(u16::MAX);
        let key = match &request {
            Ask::Call(key) | Ask::Signal { key, .. } => Some(*key),
            Ask::Summary | Ask::Calls(_) => None,
        };
        let ports = match key {
            Some(key) => {
                let shard = usize::from(key.shard(shards));
                self.ports.get(shard..=shard).unwrap_or_default()
            }
            None => &self.ports,
        };
        let mut answers = Vec::with_capacity(ports.len());
        let mut waiting = Vec::with_capacity(ports.len());
        for port in ports {
            let (reply, answer) = oneshot::channel();
            if port
                .local
                .try_send(LocalInput::Ask(request.clone(), reply))
                .is_ok()
            {
                waiting.push(answer);
            }
        }
        let deadline = tokio::time::sleep(ASK_TIMEOUT);
        tokio::pin!(deadline);
        for answer in waiting {
            tokio::select! {
                answer = answer => answers.extend(answer),
                () = &mut deadline => break,
            }
        }
        answers
    }

    pub(crate) async fn ask_member(
        &self,
        node: NodeId,
        request: Bytes,
    ) -> Result<Bytes, FabricError> {
        let fabric = self.fabric.as_ref().ok_or(FabricError::Standalone)?;
        fabric.request(node, &request).await
    }

    pub(crate) fn set_admin_service(&self, service: AdminService) {
        if let Some(fabric) = &self.fabric {
            fabric.set_admin_service(service);
        }
    }

    pub(crate) async fn set_draining(&self, draining: bool) {
        let (done, told) = oneshot::channel();
        let command = Command::Draining(draining, done);
        if self.commands.send(command).await.is_ok() {
            // An error: control has ended, and nobody is left to be told.
            let _ = told.await;
        }
    }

    pub(crate) fn ask_to_stop(&self) {
        self.stop_asked.send_replace(true);
    }

    pub(crate) async fn stop_asked(&self) {
        let mut asked = self.stop_asked.subscribe();
        // The sender lives as long as the node.
        let _ = asked.wait_for(|asked| *asked).await;
    }

    pub(crate) fn stop_timeout(&self) -> Duration {
        self.stop_timeout
    }

    pub(crate) fn fabric_stats(&self) -> FabricStats {
        let fabric = self.fabric.as_ref();
        fabric.map_or_else(FabricStats::default, |fabric| fabric.stats())
    }

    pub(crate) fn node_stats(&self) -> NodeStats {
        self.counters.show()
    }

    pub(crate) async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // Every shard ended as it should.
            Err(_) => std::future::pending().await,
        }
    }

    pub(crate) async fn shutdown(&self) {
        let mut stopping = self.stopping.lock().await;
        if !std::mem::replace(&mut *stopping, true) {
            shutdown::run(self).await;
        }
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_threads(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.threads())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Control ends with its command queue; it says good-bye if the fabric still lets it.
        for port in self.ports.iter() {
            let _ = port.local.try_send(LocalInput::Stop);
        }
        if let Some(fabric) = &self.fabric {
            fabric.abandon();
        }
    }
}

fn check(config: &NodeConfig) -> Result<(), StartError> {
    let refuse = |why: &str| Err(StartError::Config(why.into()));
    if config.name.is_empty() || config.name.len() > NAME_BYTES_MAX {
        return refuse("a node's name has 1 to 63 characters");
    }
    if config.sip.is_empty() || config.sip.len() > usize::from(u16::MAX) {
        return refuse("a node needs a SIP listener");
    }
    if config.shards == 0 {
        return refuse("a node needs a shard");
    }
    Ok(())
}

fn start_fabric(
    name: &str,
    wanted: &ClusterConfig,
    ports: &Arc<[ShardPort]>,
    clock: Clock,
) -> Result<Clustered, StartError> {
    let (events, events_end) = mpsc::channel(control::EVENTS);
    let (metadata, inbound) = mpsc::channel(METADATA_QUEUE);
    let fabric = Fabric::start(FabricConfig {
        name,
        listen: wanted.listen,
        advertise: wanted.advertise,
        pki: &wanted.pki,
        wire_max: wanted.wire_max,
        ports: ports.clone(),
        clock,
        events,
        metadata,
    })?;
    Ok(Clustered {
        fabric,
        events: events_end,
        inbound: Arc::new(tokio::sync::Mutex::new(inbound)),
        cluster_id: wanted.pki.cluster_id.clone(),
        seeds: wanted.seeds.clone(),
    })
}

fn preset(cluster: Option<&ClusterConfig>) -> MembershipConfig {
    match cluster.map(|cluster| cluster.membership) {
        Some(MembershipPreset::Local) => MembershipConfig::local(),
        Some(MembershipPreset::Lan) | None => MembershipConfig::lan(),
        Some(MembershipPreset::Wan) => MembershipConfig::wan(),
    }
}

/// Keys of a standalone node: nobody else ever opens what it seals.
fn sealer(config: &NodeConfig) -> Result<Arc<Sealer>, StartError> {
    let keys = match config.cluster_key.clone() {
        Some(keys) => keys,
        None => drawn_keys()?,
    };
    let sealer = Sealer::new(keys).map_err(|error| StartError::Config(error.to_string()))?;
    Ok(Arc::new(sealer))
}

fn drawn_keys() -> Result<SealKeys, StartError> {
    let mut bytes = [[0; 32]; 2];
    for half in &mut bytes {
        *half = seed()?;
    }
    let [key, secrets] = bytes;
    let (position, stateless) = secrets.split_at(16);
    let half = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).unwrap_or_default();
    Ok(SealKeys {
        current: SealKey { id: 0, key },
        previous: None,
        position_secret: half(position),
        stateless_secret: half(stateless),
    })
}

fn own_metadata(config: &NodeConfig, sip: &[(SocketAddr, Arc<str>)]) -> Metadata {
    Metadata {
        zone: config.zone.as_str().into(),
        weight: config.weight,
        role: config.role,
        draining: false,
        sip: sip
            .iter()
            .map(|(_, advertise)| format!("udp://{advertise}").into())
            .collect(),
        version: env!("CARGO_PKG_VERSION").into(),
        wire: wire_max(config),
        shards: config.shards,
        config_hash: config.config_hash,
        load: 0,
    }
}

/// Highest wire version this node speaks.
fn wire_max(config: &NodeConfig) -> u8 {
    config
        .cluster
        .as_ref()
        .map_or(callring_proto::wire::VERSION, |cluster| cluster.wire_max)
}

/// What the core is told of a listener.
fn named(listener: &BoundListener) -> Listener {
    Listener {
        transport: Transport::Udp,
        advertise: listener.advertise.clone(),
        scope: listener.scope,
    }
}

/// One row of sockets per shard, in the order of the listeners.
fn by_shard(listeners: Vec<BoundListener>, shards: u16) -> Vec<Vec<(UdpSocket, Arc<str>)>> {
    let mut rows: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
    for listener in listeners {
        for (row, socket) in rows.iter_mut().zip(listener.sockets) {
            row.push((socket, listener.advertise.clone()));
        }
    }
    rows
}

fn seed() -> Result<Seed, StartError> {
    let mut seed = Seed::default();
    getrandom::fill(&mut seed)
        .map_err(|error| system("randomness", std::io::Error::other(error)))?;
    Ok(seed)
}

fn system(what: &'static str, source: std::io::Error) -> StartError {
    StartError::System { what, source }
}
