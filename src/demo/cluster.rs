//! A cluster of node processes on loopback, in a directory of its own: certificates, one
//! configuration file and one log per node. Nothing is left when it is dropped.
//!
//! May touch: certificates, the admin client. Must not know: SIP.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::process::{Brood, NodeProcess};
use crate::admin::api::{Call, CallAnswer, CallsAnswer, MembersAnswer, State, StatusAnswer};
use crate::admin::{Client, ClientError};
use crate::pki;

/// How long a node may take to become ready.
const READY: Duration = Duration::from_secs(30);
/// How long members may take to see each other.
const MEET: Duration = Duration::from_secs(30);
/// How often an answer is asked for that is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// What the nodes of a cluster have in common.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program to start.
    pub binary: PathBuf,
    /// Copies of each call, the owner's included.
    pub copies: u8,
    /// `none`, `one` or `all`.
    pub ack: &'static str,
    /// How long a member may say nothing before it counts as silent, if not the default.
    pub silence: Option<Duration>,
    /// SIP listeners of each node.
    pub sip: Vec<String>,
    /// Shards per node.
    pub shards: u16,
    /// The level of the logs.
    pub log_level: String,
    /// How long `answer` rings.
    pub ring: Duration,
    /// When `answer` hangs up, in seconds from its answer.
    pub hangup_after_s: Option<u64>,
}

impl Plan {
    /// Two copies, one shard, one acknowledgement, an answer at once and no hang-up.
    #[must_use]
    pub fn new(binary: PathBuf) -> Self {
        Self {
            binary,
            copies: 2,
            ack: "one",
            silence: None,
            sip: vec!["udp://127.0.0.1:0".into()],
            shards: 1,
            log_level: "info".into(),
            ring: Duration::ZERO,
            hangup_after_s: None,
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    brood: Brood,
    // Before `dir`: the processes end before their directory goes.
    nodes: Vec<NodeProcess>,
    dir: TempDir,
}

impl Cluster {
    /// Makes the directory and the certificates; no node yet.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn new(plan: Plan) -> io::Result<Self> {
        let dir = TempDir::new()?;
        pki::init(&dir.path().join("pki"), "demo", SystemTime::now()).map_err(io::Error::other)?;
        Ok(Self {
            plan,
            brood: Brood::default(),
            nodes: Vec::new(),
            dir,
        })
    }

    /// Starts `count` nodes and waits until each sees all.
    ///
    /// # Errors
    /// If one does not start or they do not meet.
    pub fn start(plan: Plan, count: usize) -> io::Result<Self> {
        let mut cluster = Self::new(plan)?;
        for _ in 0..count {
            cluster.add()?;
        }
        cluster.meet()?;
        Ok(cluster)
    }

    /// Starts one more node, with all earlier ones as seeds. Says which.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn add(&mut self) -> io::Result<usize> {
        let name = format!("n{}", self.nodes.len() + 1);
        let pki = self.dir.path().join("pki");
        pki::issue(&pki, &name, &["127.0.0.1".into()], SystemTime::now())
            .map_err(io::Error::other)?;
        let node = self.spawn(&name, &name, &pki)?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// What nodes that start from now on listen to for SIP, as URLs.
    pub fn listen(&mut self, sip: Vec<String>) {
        self.plan.sip = sip;
    }

    /// Starts a node with certificates from another directory, which never becomes a member here.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn stranger(&self, name: &str, pki: &Path) -> io::Result<NodeProcess> {
        self.spawn(&format!("stranger-{name}"), name, pki)
    }

    /// Waits until every running node sees every running node alive.
    ///
    /// # Errors
    /// If they do not in time.
    pub fn meet(&self) -> io::Result<()> {
        let running = self.running();
        let until = Instant::now() + MEET;
        for &at in &running {
            loop {
                let states = self.members(at).map(|answer| {
                    let members = answer.members.into_iter();
                    let states = members.map(|member| (member.name, member.state));
                    states.collect::<Vec<_>>()
                });
                let is_alive = |(_, state): &&(String, State)| *state == State::Alive;
                if let Ok(states) = &states
                    && states.iter().filter(is_alive).count() >= running.len()
                {
                    break;
                }
                if Instant::now() > until {
                    let name = self.nodes[at].name();
                    let text = format!("{name} does not see all members: {states:?}");
                    return Err(io::Error::other(text));
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// A node.
    #[must_use]
    pub fn node(&self, at: usize) -> &NodeProcess {
        &self.nodes[at]
    }

    /// A node, to be ended.
    pub fn node_mut(&mut self, at: usize) -> &mut NodeProcess {
        &mut self.nodes[at]
    }

    /// All nodes, dead ones too.
    #[must_use]
    pub fn nodes(&self) -> &[NodeProcess] {
        &self.nodes
    }

    /// The nodes that were not killed.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|at| self.nodes[*at].killed().is_none())
            .collect()
    }

    /// The node with this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name() == name)
    }

    /// The admin client of a node.
    ///
    /// # Errors
    /// If its ready line had no URL.
    pub fn client(&self, at: usize) -> Result<Client, ClientError> {
        Client::new(&self.nodes[at].ready().admin)
    }

    /// `callring members` at a node.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn members(&self, at: usize) -> Result<MembersAnswer, ClientError> {
        self.client(at)?.get("/v1/members")
    }

    /// `callring status` at a node.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn status(&self, at: usize) -> Result<StatusAnswer, ClientError> {
        self.client(at)?.get("/v1/status")
    }

    /// `callring calls --limit` at a node.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn calls(&self, at: usize, limit: usize) -> Result<Vec<Call>, ClientError> {
        let answer: CallsAnswer = self.client(at)?.get(&format!("/v1/calls?limit={limit}"))?;
        Ok(answer.calls)
    }

    /// `callring call KEY` at a node.
    ///
    /// # Errors
    /// If it does not answer or does not know the call.
    pub fn call(&self, at: usize, key: &str) -> Result<CallAnswer, ClientError> {
        self.client(at)?.get(&format!("/v1/calls/{key}"))
    }

    /// `callring hangup KEY` at a node.
    ///
    /// # Errors
    /// If it does not answer or refuses.
    pub fn hang_up(&self, at: usize, key: &str) -> Result<(), ClientError> {
        let path = format!("/v1/calls/{key}/hangup");
        let _: serde::de::IgnoredAny = self
            .client(at)?
            .post(&path, bytes::Bytes::from_static(b"{}"))?;
        Ok(())
    }

    /// The directory, for what a test adds to it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves the directory behind, for whoever wants to read the logs. Says where.
    pub fn keep_dir(&mut self) -> PathBuf {
        self.dir.keep()
    }

    /// What another thread ends the cluster with, in the middle of anything.
    #[must_use]
    pub fn emergency(&self) -> Emergency {
        Emergency {
            brood: self.brood.clone(),
            dir: self.dir.path().to_owned(),
        }
    }

    fn spawn(&self, file: &str, name: &str, pki: &Path) -> io::Result<NodeProcess> {
        let config = self.dir.path().join(format!("{file}.toml"));
        std::fs::write(&config, self.config(name, pki))?;
        let log = self.dir.path().join(format!("{file}.log"));
        let Plan {
            binary, log_level, ..
        } = &self.plan;
        NodeProcess::start(&self.brood, binary, &config, log_level, &log, READY)
    }

    fn config(&self, name: &str, pki: &Path) -> String {
        let seeds = self.running().into_iter();
        let seeds: Vec<String> = seeds
            .filter_map(|at| self.nodes[at].ready().cluster)
            .map(|address| format!("\"{address}\""))
            .collect();
        let Plan {
            copies,
            ack,
            shards,
            ring,
            ..
        } = &self.plan;
        let silence = self.plan.silence.map_or_else(String::new, |silence| {
            format!("silence_ms = {}\n", silence.as_millis())
        });
        let listener = |url| format!("[[sip.listener]]\nlisten = \"{url}\"\n");
        let listeners: String = self.plan.sip.iter().map(listener).collect();
        let mut text = format!(
            "[node]\nname = \"{name}\"\nshards = {shards}\n{listeners}\
             [cluster]\nlisten = \"127.0.0.1:0\"\nseeds = [{}]\npki = {:?}\n\
             [replication]\ncopies = {copies}\nack = \"{ack}\"\n{silence}\
             [admin]\nlisten = \"127.0.0.1:0\"\n\
             [app]\nkind = \"answer\"\nring_ms = {}\n",
            seeds.join(", "),
            pki.display().to_string(),
            ring.as_millis(),
        );
        if let Some(after) = self.plan.hangup_after_s {
            // Writing to a String never fails.
            let _ = writeln!(text, "hangup_after_s = {after}");
        }
        text
    }
}

/// Ends a cluster from outside.
#[derive(Clone, Debug)]
pub struct Emergency {
    brood: Brood,
    dir: PathBuf,
}

impl Emergency {
    /// Kills all processes and removes the directory.
    pub fn end(&self) {
        self.brood.end();
        // Nothing that could be done about it here.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A directory of our own under the system's temporary one, open to nobody else, and whether it is
/// to stay.
#[derive(Debug)]
pub struct TempDir(PathBuf, bool);

impl TempDir {
    /// Makes one with a name nobody has used.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let stamp = since.unwrap_or_default().as_nanos();
        let name = format!("callring-{}-{stamp:x}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path, false))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves it behind. Says where.
    pub fn keep(&mut self) -> PathBuf {
        self.1 = true;
        self.0.clone()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if !self.1 {
            // Nothing that could be done about it here.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
