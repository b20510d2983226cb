//! A cluster of real processes for long experiments under load: nodes that are killed, told to
//! leave and started again, that differ in role, zone and wire version, and whose links may run
//! through a relay with delay, loss and cuts.
//!
//! Each node has an address of its own within 127/8, so that a life after another has the same
//! cluster address, and the relay knows who sends. Its SIP port is another one in each life: what
//! comes from a dead life's address can be told from what the next one says.
//!
//! May touch: the demo's parts (processes, certificates, the admin client). Must not know: SIP.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::MutexGuard;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use callring::admin::Client;
use callring::admin::api::{CallsAnswer, Draining, Member, MembersAnswer, State, StatusAnswer};
use callring::demo::cluster::TempDir;
use callring::demo::process::{Brood, NodeProcess};
use callring::pki;

use crate::arena::{PATIENCE, turn, wait_until};
use crate::binary;
use crate::referee::Listener;
use crate::relay::{Relay, Weather};

/// Port of every node's fabric, and of the relay before it.
const CLUSTER_PORT: u16 = 7060;
/// SIP port of a node's first life.
const SIP_PORT: u16 = 5060;

/// What all nodes have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// Copies of a call.
    pub copies: u8,
    /// When `answer` hangs up, in seconds from its answer.
    pub hangup_after_s: Option<u64>,
    /// How long `answer` rings.
    pub ring: Duration,
    /// `local`, `lan` or `wan`.
    pub membership: &'static str,
    /// The links go through a relay, with this weather at first.
    pub relay: Option<(Weather, u64)>,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            copies: 2,
            hangup_after_s: None,
            ring: Duration::ZERO,
            membership: "lan",
            relay: None,
        }
    }
}

/// What one node is.
#[derive(Clone, Debug)]
pub struct Spec {
    /// `member` or `edge`.
    pub role: &'static str,
    /// Its failure domain.
    pub zone: &'static str,
    /// The highest wire version it speaks, if not its highest.
    pub wire_max: Option<u16>,
    /// Its SIP address, if it is to have a given one.
    pub sip: Option<SocketAddr>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            role: "member",
            zone: "",
            wire_max: None,
            sip: None,
        }
    }
}

/// A node's place: what it is, and the process that fills it, if one does.
#[derive(Debug)]
struct Place {
    spec: Spec,
    lives: u16,
    node: Option<NodeProcess>,
}

/// The nodes, and their turn on this machine.
#[derive(Debug)]
pub struct Fleet {
    common: Common,
    places: Vec<Place>,
    /// Everybody's addresses, former lives included.
    listeners: Vec<Listener>,
    logs: Vec<PathBuf>,
    relay: Option<Relay>,
    brood: Brood,
    dir: TempDir,
    keep: bool,
    _turn: MutexGuard<'static, ()>,
}

/// An address of this test process's own, the `n`th.
fn address(n: usize) -> Ipv4Addr {
    let pid = std::process::id().to_be_bytes();
    let n = u8::try_from(n + 1).expect("few nodes");
    Ipv4Addr::new(127, 64 | (pid[2] & 0x3f), pid[3].max(1), n)
}

impl Fleet {
    /// Starts a node for each of `specs` and waits until each sees all.
    ///
    /// # Panics
    /// If they do not start or meet.
    #[must_use]
    pub fn start(common: Common, specs: &[Spec]) -> Self {
        let turn = turn();
        let dir = TempDir::new().expect("a directory");
        pki::init(&dir.path().join("pki"), "demo", SystemTime::now()).expect("a CA");
        let relay = common.relay.map(|(weather, seed)| {
            let relay = Relay::start(seed).expect("a relay starts");
            relay.set_weather(weather);
            relay
        });
        let mut fleet = Self {
            common,
            places: Vec::new(),
            listeners: Vec::new(),
            logs: Vec::new(),
            relay,
            brood: Brood::default(),
            dir,
            keep: std::env::var_os("CALLRING_KEEP_LOGS").is_some(),
            _turn: turn,
        };
        for spec in specs {
            fleet.add(spec.clone());
        }
        fleet.meet();
        fleet
    }

    /// Starts one more node. Says which.
    ///
    /// # Panics
    /// If it does not start.
    pub fn add(&mut self, spec: Spec) -> usize {
        let at = self.places.len();
        let pki = self.dir.path().join("pki");
        let name = format!("n{}", at + 1);
        pki::issue(&pki, &name, &["127.0.0.1".into()], SystemTime::now()).expect("a certificate");
        if let Some(relay) = &self.relay {
            let front = SocketAddr::new(address(at + 100).into(), CLUSTER_PORT);
            let home = SocketAddr::new(address(at).into(), CLUSTER_PORT);
            relay.add(front, home).expect("a port of the relay's");
        }
        self.places.push(Place {
            spec,
            lives: 0,
            node: None,
        });
        self.restart(at);
        at
    }

    /// Starts a node, or starts it again.
    ///
    /// # Panics
    /// If it runs, or does not start.
    pub fn restart(&mut self, at: usize) {
        assert!(self.places[at].node.is_none(), "{} runs", self.name(at));
        self.places[at].lives += 1;
        let (name, life) = (self.name(at), self.places[at].lives);
        let config = self.dir.path().join(format!("{name}-{life}.toml"));
        std::fs::write(&config, self.config(at)).expect("a configuration");
        let log = self.dir.path().join(format!("{name}-{life}.log"));
        self.logs.push(log.clone());
        let level = std::env::var("CALLRING_TEST_LOG").unwrap_or_else(|_| "info".into());
        let binary = binary::callring();
        let node = NodeProcess::start(&self.brood, &binary, &config, &level, &log, PATIENCE);
        let node = node.expect("a node starts");
        self.listeners.push(Listener {
            node: format!("{name}/{life}"),
            address: node.sip(),
            advertised: node.sip().to_string(),
            down: None,
        });
        self.places[at].node = Some(node);
    }

    fn config(&self, at: usize) -> String {
        let Place { spec, lives, .. } = &self.places[at];
        let name = self.name(at);
        let home = IpAddr::from(address(at));
        let port = SIP_PORT + lives - 1;
        let sip = spec.sip.unwrap_or(SocketAddr::new(home, port));
        let seeds: Vec<String> = self
            .running()
            .into_iter()
            .map(|other| format!("\"{}\"", self.front(other)))
            .collect();
        let Common {
            copies,
            hangup_after_s,
            ring,
            membership,
            ..
        } = &self.common;
        let mut text = format!(
            "[node]\nname = \"{name}\"\nrole = \"{}\"\nzone = \"{}\"\nshards = 1\n\
             [[sip.listener]]\nlisten = \"udp://{sip}\"\n\
             [replication]\ncopies = {copies}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [app]\nkind = \"answer\"\nring_ms = {}\n",
            spec.role,
            spec.zone,
            ring.as_millis(),
        );
        // Writing to a String never fails.
        if let Some(after) = hangup_after_s {
            let _ = writeln!(text, "hangup_after_s = {after}");
        }
        let _ = write!(
            text,
            "[cluster]\nlisten = \"{home}:{CLUSTER_PORT}\"\nadvertise = \"{}\"\n\
             seeds = [{}]\npki = {:?}\nmembership = \"{membership}\"\n",
            self.front(at),
            seeds.join(", "),
            self.dir.path().join("pki").display().to_string(),
        );
        if let Some(version) = spec.wire_max {
            let _ = writeln!(text, "wire_max = {version}");
        }
        text
    }

    /// Where the others reach a node's fabric.
    fn front(&self, at: usize) -> SocketAddr {
        let host = if self.relay.is_some() { at + 100 } else { at };
        SocketAddr::new(address(host).into(), CLUSTER_PORT)
    }

    /// An address that is no node's own: it may move from one to the next.
    #[must_use]
    pub fn shared_sip(n: usize) -> SocketAddr {
        SocketAddr::new(address(n + 50).into(), SIP_PORT)
    }

    /// Waits until every running node sees every running node.
    ///
    /// # Panics
    /// If they do not in time.
    pub fn meet(&self) {
        let running = self.running();
        for &at in &running {
            let met = wait_until(PATIENCE, || {
                let members = self.members(at)?;
                let seen = members
                    .iter()
                    // Metadata come after membership: a version is told with them.
                    .filter(|one| one.state == State::Alive && !one.version.is_empty());
                (seen.count() == running.len()).then_some(())
            });
            assert!(met.is_some(), "{} does not see all", self.name(at));
        }
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, at: usize) -> String {
        format!("n{}", at + 1)
    }

    /// The nodes that run.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let all = self.places.iter().enumerate();
        let running = all.filter(|(_, place)| place.node.is_some());
        running.map(|(at, _)| at).collect()
    }

    /// The running nodes that own calls.
    #[must_use]
    pub fn members_running(&self) -> Vec<usize> {
        let mut running = self.running();
        running.retain(|at| self.places[*at].spec.role == "member");
        running
    }

    /// SIP addresses of nodes.
    #[must_use]
    pub fn sips(&self, of: &[usize]) -> Vec<SocketAddr> {
        of.iter().map(|at| self.sip(*at)).collect()
    }

    /// The SIP address of a node.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn sip(&self, at: usize) -> SocketAddr {
        self.node(at).sip()
    }

    fn node(&self, at: usize) -> &NodeProcess {
        let node = self.places[at].node.as_ref();
        node.unwrap_or_else(|| panic!("{} does not run", self.name(at)))
    }

    /// The admin client of a node.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn client(&self, at: usize) -> Client {
        Client::new(&self.node(at).ready().admin).expect("a URL")
    }

    /// `callring status` at a node.
    #[must_use]
    pub fn status(&self, at: usize) -> Option<StatusAnswer> {
        self.client(at).get("/v1/status").ok()
    }

    /// `callring members` at a node.
    #[must_use]
    pub fn members(&self, at: usize) -> Option<Vec<Member>> {
        let answer: MembersAnswer = self.client(at).get("/v1/members").ok()?;
        answer.unreachable.is_empty().then_some(answer.members)
    }

    /// `callring calls` at a node.
    #[must_use]
    pub fn calls(&self, at: usize) -> Option<CallsAnswer> {
        self.client(at).get("/v1/calls?limit=10000").ok()
    }

    /// SIGKILL. When.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill(&mut self, at: usize) -> Instant {
        let mut node = self.places[at].node.take().expect("it runs");
        let when = node.kill().expect("a child is killed");
        self.note_down(node.sip(), when);
        when
    }

    /// Tells a node to leave and waits until it has ended. How long it took to give its calls
    /// away, and to end.
    ///
    /// # Panics
    /// If it does not.
    pub fn leave(&mut self, at: usize) -> (Duration, Duration) {
        let began = Instant::now();
        let client = self.client(at);
        let state: Result<Draining, _> = client.post("/v1/drain", Bytes::from_static(b"{}"));
        state.expect("it drains");
        let drained = wait_until(PATIENCE, || {
            let state: Draining = client.get("/v1/drain").ok()?;
            (state.calls_owned == 0 && state.shards_mute == 0).then(|| began.elapsed())
        });
        let state: Result<Draining, _> = client.post("/v1/leave", Bytes::from_static(b"{}"));
        state.expect("it leaves");
        let node = self.places[at].node.take().expect("it runs");
        let status = node.wait(PATIENCE).expect("a child is waited for");
        assert!(status.is_some(), "{} does not end", self.name(at));
        self.note_down(node.sip(), Instant::now());
        (drained.unwrap_or(PATIENCE), began.elapsed())
    }

    fn note_down(&mut self, sip: SocketAddr, when: Instant) {
        let mut lives = self.listeners.iter_mut();
        if let Some(life) = lives.rfind(|life| life.address == sip && life.down.is_none()) {
            life.down = Some(when);
        }
    }

    /// The relay that the links run through.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("a fleet with a relay")
    }

    /// Cuts all links between two groups of nodes.
    ///
    /// # Panics
    /// If there is no relay.
    pub fn cut(&self, one: &[usize], other: &[usize]) {
        let homes = |group: &[usize]| -> Vec<IpAddr> {
            group.iter().map(|at| address(*at).into()).collect()
        };
        self.relay().cut(&homes(one), &homes(other));
    }

    /// All that may have spoken, former lives included. An address that was used twice is counted
    /// as the first of its lives, and as dead from that one's end on.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listener> {
        self.listeners.clone()
    }

    /// Calls that each member owns, as it says itself.
    #[must_use]
    pub fn owned(&self, at: usize) -> BTreeMap<String, (u64, u64)> {
        let members = self.members(at).unwrap_or_default().into_iter();
        let counted = members.filter(|one| one.state == State::Alive);
        let counts = |one: Member| {
            let counts = (one.calls_owned?, one.calls_replica?);
            Some((one.name, counts))
        };
        counted.filter_map(counts).collect()
    }

    /// What is wrong with the processes and their logs: who died unasked, errors, panics.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for at in self.running() {
            if !self.node(at).is_running() {
                faults.push(format!("{} died by itself", self.name(at)));
            }
        }
        for log in &self.logs {
            let text = std::fs::read(log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let fault = |line: &&str| line.contains(" ERROR ") || line.contains("panicked at");
            if let Some(line) = text.lines().find(fault) {
                let file = log.file_name().unwrap_or_default();
                faults.push(format!("{} says: {line}", file.display()));
            }
        }
        faults
    }

    /// Leaves the directory behind. Says where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.keep = true;
        self.dir.path().to_owned()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if self.keep || std::thread::panicking() {
            let path = self.dir.keep();
            crate::arena::say(&format!("logs are in {}", path.display()));
        }
    }
}
