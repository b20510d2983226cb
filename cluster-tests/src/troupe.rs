//! A cluster of real processes whose nodes differ: roles, listeners, what they replicate and when.
//! Certificates, one configuration and one log per node lie in a directory of its own.
//!
//! May touch: the demo's parts (processes, certificates, the admin client). Must not know: SIP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::MutexGuard;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use callring::admin::Client;
use callring::admin::api::{Call, CallsAnswer, MembersAnswer, State};
use callring::demo::cluster::TempDir;
use callring::demo::process::{Brood, NodeProcess};
use callring::pki;

use crate::arena::{PATIENCE, turn, wait_until};
use crate::binary;
use crate::referee::Listener;

/// What one node is.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// `member` or `edge`.
    pub role: &'static str,
    /// Its SIP address; port 0 lets the system choose.
    pub sip: SocketAddr,
    /// `confirmed` or `early`.
    pub when: &'static str,
    /// How long `answer` rings, milliseconds.
    pub ring_ms: u64,
    /// Copies of a call.
    pub copies: u8,
    /// How patient membership is: `lan`, `wan` or `local`.
    pub membership: &'static str,
}

impl Default for Part {
    fn default() -> Self {
        Self {
            role: "member",
            sip: ([127, 0, 0, 1], 0).into(),
            when: "confirmed",
            ring_ms: 0,
            copies: 3,
            membership: "lan",
        }
    }
}

/// The nodes, and their turn on this machine.
#[derive(Debug)]
pub struct Troupe {
    nodes: Vec<NodeProcess>,
    down: Vec<Option<Instant>>,
    brood: Brood,
    dir: TempDir,
    /// The table `[app]` of every node, and what follows it, instead of `answer`.
    app: Option<String>,
    _turn: MutexGuard<'static, ()>,
}

impl Troupe {
    /// Starts the nodes and waits until each sees all.
    ///
    /// # Panics
    /// If they do not start or meet.
    #[must_use]
    pub fn start(parts: &[Part]) -> Self {
        Self::begin(parts, None)
    }

    /// As [`Troupe::start`], with this as every node's table `[app]` and what follows it.
    ///
    /// # Panics
    /// As above.
    #[must_use]
    pub fn start_with(app: &str, parts: &[Part]) -> Self {
        Self::begin(parts, Some(app.to_owned()))
    }

    fn begin(parts: &[Part], app: Option<String>) -> Self {
        let turn = turn();
        let dir = TempDir::new().expect("a directory");
        pki::init(&dir.path().join("pki"), "demo", SystemTime::now()).expect("a CA");
        let mut troupe = Self {
            nodes: Vec::new(),
            down: Vec::new(),
            brood: Brood::default(),
            dir,
            app,
            _turn: turn,
        };
        for part in parts {
            troupe.add(*part);
        }
        troupe
    }

    /// Starts one more node and waits until all running ones see each other.
    ///
    /// # Panics
    /// If it does not start.
    pub fn add(&mut self, part: Part) -> usize {
        let name = format!("n{}", self.nodes.len() + 1);
        let dir = self.dir.path();
        let pki = dir.join("pki");
        pki::issue(&pki, &name, &["127.0.0.1".into()], SystemTime::now()).expect("a certificate");
        let seeds: Vec<String> = self
            .running()
            .filter_map(|at| self.nodes[at].ready().cluster)
            .map(|address| format!("\"{address}\""))
            .collect();
        let Part {
            role,
            sip,
            when,
            ring_ms,
            copies,
            membership,
        } = part;
        let answer = || format!("kind = \"answer\"\nring_ms = {ring_ms}\n");
        let app = self.app.clone().unwrap_or_else(answer);
        let text = format!(
            "[node]\nname = \"{name}\"\nrole = \"{role}\"\nshards = 1\n\
             [[sip.listener]]\nlisten = \"udp://{sip}\"\n\
             [cluster]\nlisten = \"127.0.0.1:0\"\nseeds = [{}]\npki = {:?}\n\
             membership = \"{membership}\"\n\
             [replication]\ncopies = {copies}\nwhen = \"{when}\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n[app]\n{app}",
            seeds.join(", "),
            pki.display().to_string(),
        );
        let config = dir.join(format!("{name}.toml"));
        std::fs::write(&config, text).expect("a configuration");
        let log = dir.join(format!("{name}.log"));
        let level = std::env::var("CALLRING_TEST_LOG").unwrap_or_else(|_| "info".into());
        let binary = binary::callring();
        let node = NodeProcess::start(&self.brood, &binary, &config, &level, &log, PATIENCE);
        self.nodes.push(node.expect("a node starts"));
        self.down.push(None);
        self.meet();
        self.nodes.len() - 1
    }

    fn meet(&self) {
        let count = self.running().count();
        for at in self.running() {
            let met = wait_until(PATIENCE, || {
                let members: MembersAnswer = self.client(at).get("/v1/members").ok()?;
                let seen = members.members.iter();
                // Metadata come after membership: a version is told with them.
                let seen = seen.filter(|one| one.state == State::Alive && !one.version.is_empty());
                (seen.count() >= count).then_some(())
            });
            met.unwrap_or_else(|| panic!("n{} does not see all", at + 1));
        }
    }

    fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|at| self.down[*at].is_none())
    }

    fn client(&self, at: usize) -> Client {
        Client::new(&self.nodes[at].ready().admin).expect("a URL")
    }

    /// The SIP address of a node.
    #[must_use]
    pub fn sip(&self, at: usize) -> SocketAddr {
        self.nodes[at].sip()
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill(&mut self, at: usize) {
        self.down[at] = Some(self.nodes[at].kill().expect("a child is killed"));
    }

    /// All calls that are not over, as the first running node tells.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let at = self.running().next().expect("a node runs");
        let answer: Option<CallsAnswer> = self.client(at).get("/v1/calls?limit=10000").ok();
        answer.map(|answer| answer.calls).unwrap_or_default()
    }

    /// A directory that goes when the test ends.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A running node is told to hang a call up, by its key.
    ///
    /// # Panics
    /// If it refuses.
    pub fn hang_up(&self, at: usize, key: &str) {
        let path = format!("/v1/calls/{key}/hangup");
        let answer: Result<BTreeMap<String, String>, _> =
            self.client(at).post(&path, Bytes::from_static(b"{}"));
        assert_eq!(answer.expect("the node answers")["key"], key);
    }

    /// Brings a signal to a call, asked of the node `at`.
    ///
    /// # Panics
    /// If it refuses.
    pub fn signal(&self, at: usize, key: &str, json: &'static str) {
        let path = format!("/v1/calls/{key}/signal");
        let answer: Result<BTreeMap<String, String>, _> = self
            .client(at)
            .post(&path, Bytes::from_static(json.as_bytes()));
        assert_eq!(answer.expect("the node answers")["key"], key);
    }

    /// The node that owns the only call there is.
    ///
    /// # Panics
    /// If it is not the only one in time.
    #[must_use]
    pub fn owner(&self) -> usize {
        let owner = wait_until(PATIENCE, || match &self.calls()[..] {
            [call] => Some(call.owner.clone()),
            _ => None,
        });
        let owner = owner.unwrap_or_else(|| panic!("one call: {:?}", self.calls()));
        let named = |at: &usize| self.nodes[*at].name() == owner;
        (0..self.nodes.len()).find(named).expect("a node of ours")
    }

    /// For the referee.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listener> {
        let nodes = self.nodes.iter().zip(&self.down);
        let listener = |(node, down): (&NodeProcess, &Option<Instant>)| Listener {
            node: node.name().to_owned(),
            address: node.sip(),
            advertised: node.sip().to_string(),
            down: *down,
        };
        nodes.map(listener).collect()
    }

    /// Ends the test: nobody died unasked, no ERROR and no panic in any log.
    ///
    /// # Panics
    /// If any of that is not so.
    pub fn finish(self) {
        for at in self.running() {
            let node = &self.nodes[at];
            assert!(node.is_running(), "{} died: {}", node.name(), node.log());
        }
        for node in &self.nodes {
            let log = node.log();
            let fault = |line: &&str| line.contains(" ERROR ") || line.contains("panicked at");
            let fault = log.lines().find(fault);
            assert!(
                fault.is_none(),
                "the log of {} says: {fault:?}",
                node.name()
            );
        }
    }
}
