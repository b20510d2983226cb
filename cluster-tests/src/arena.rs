//! A cluster of real processes for one test, and the judgement at its end: the referee over every
//! capture, the nodes' logs, and that nobody died unasked.
//!
//! May touch: the demo's parts (cluster, phone), signals by process id. Arenas of one test binary
//! take turns: the machine is for one cluster at a time.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use callring::admin::api::Call as Line;
use callring::demo::cluster::{Cluster, Plan};
use callring::demo::phone::{AckRule, CallNo, Phone};
use rustix::process::{Pid, Signal, kill_process};

use crate::binary;
use crate::referee::{Listener, judge};

/// How long a test waits for what must come: longer than any SIP transaction lasts.
pub const PATIENCE: Duration = Duration::from_secs(40);

static TURN: Mutex<()> = Mutex::new(());

/// A cluster, and its turn on this machine.
#[derive(Debug)]
pub struct Arena {
    /// The processes.
    pub cluster: Cluster,
    /// When each was killed or stopped.
    down: Vec<Option<Instant>>,
    _turn: MutexGuard<'static, ()>,
}

/// What a cluster of these tests has in common, unless a test says otherwise. `CALLRING_TEST_LOG`
/// sets the level of its logs, which stay behind when a test fails.
#[must_use]
pub fn plan() -> Plan {
    let mut plan = Plan::new(binary::callring());
    if let Ok(level) = std::env::var("CALLRING_TEST_LOG") {
        plan.log_level = level;
    }
    plan
}

/// Waits for a test's turn. A test that failed has ended its turn too.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena {
    /// Starts `count` nodes that see each other.
    ///
    /// # Panics
    /// If they do not start.
    #[must_use]
    pub fn start(plan: Plan, count: usize) -> Self {
        let turn = turn();
        let cluster = Cluster::start(plan, count).expect("a cluster starts");
        Self {
            cluster,
            down: vec![None; count],
            _turn: turn,
        }
    }

    /// Starts one more node and waits until all running ones see each other.
    ///
    /// # Panics
    /// If it does not start.
    pub fn add(&mut self) -> usize {
        let at = self.cluster.add().expect("a node starts");
        self.down.push(None);
        self.cluster.meet().expect("the new node is seen");
        at
    }

    /// A phone on loopback.
    ///
    /// # Panics
    /// If there is no port left.
    #[must_use]
    pub fn phone(&self) -> Phone {
        Phone::bind(([127, 0, 0, 1], 0).into()).expect("a port is free")
    }

    /// The SIP address of a node.
    #[must_use]
    pub fn sip(&self, at: usize) -> SocketAddr {
        self.cluster.node(at).sip()
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill(&mut self, at: usize) {
        let when = self.cluster.node_mut(at).kill().expect("a child is killed");
        self.down[at] = Some(when);
    }

    /// SIGSTOP: the process is there and does nothing.
    pub fn freeze(&mut self, at: usize) {
        self.down[at] = Some(Instant::now());
        self.signal(at, Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self, at: usize) {
        self.signal(at, Signal::CONT);
    }

    /// Sends a signal to a node.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn signal(&self, at: usize, signal: Signal) {
        let pid = self.cluster.node(at).pid();
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("a child takes signals");
    }

    /// Calls `to` and waits for the 200.
    ///
    /// # Panics
    /// If it does not come.
    pub fn call(&self, phone: &Phone, to: usize, ack: AckRule) -> CallNo {
        let (call, invite) = phone.invite(self.sip(to), ack);
        let answer = phone.wait_final(invite, PATIENCE);
        let status = answer.map(|answer| answer.status);
        assert_eq!(status, Some(200), "an INVITE to {}", self.name(to));
        call
    }

    /// The cluster's line for a call, as the node `at` gives it, once it is as wanted.
    ///
    /// # Panics
    /// If it is not in time.
    #[must_use]
    pub fn line(
        &self,
        at: usize,
        phone: &Phone,
        call: CallNo,
        wanted: impl Fn(&Line) -> bool,
    ) -> Line {
        let call_id = phone.call(call).call_id;
        let mut last = None;
        let found = wait_until(PATIENCE, || {
            let lines = self.cluster.calls(at, 10_000).ok()?;
            last = lines.into_iter().find(|line| line.call_id == call_id);
            last.clone().filter(|line| wanted(line))
        });
        found.unwrap_or_else(|| panic!("{} says {last:?}", self.name(at)))
    }

    /// The node with this name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn by_name(&self, name: &str) -> usize {
        self.cluster
            .by_name(name)
            .unwrap_or_else(|| panic!("no node is called {name}"))
    }

    /// The running nodes that neither own the call nor hold a copy.
    #[must_use]
    pub fn outsiders(&self, line: &Line) -> Vec<usize> {
        let has_part = |at: usize| {
            let name = self.name(at);
            name == line.owner || line.replicas.contains(&name)
        };
        let running = self.cluster.running().into_iter();
        running.filter(|at| !has_part(*at)).collect()
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, at: usize) -> String {
        self.cluster.node(at).name().to_owned()
    }

    /// Ends the test: the referee's verdict on each phone, no ERROR and no panic in any log, no
    /// node gone that was not killed.
    ///
    /// # Panics
    /// If any of that is not so.
    pub fn finish(self, phones: &[&Phone]) {
        self.judge(phones);
        for at in self.cluster.running() {
            let node = self.cluster.node(at);
            assert!(node.is_running(), "{} died: {}", node.name(), node.log());
        }
        for node in self.cluster.nodes() {
            if let Some(line) = fault(&node.log()) {
                panic!("the log of {} says: {line}", node.name());
            }
        }
    }

    fn judge(&self, phones: &[&Phone]) {
        let nodes = self.cluster.nodes().iter().zip(&self.down);
        let listeners: Vec<Listener> = nodes
            .map(|(node, down)| Listener {
                node: node.name().to_owned(),
                address: node.sip(),
                advertised: node.sip().to_string(),
                down: *down,
            })
            .collect();
        for phone in phones {
            let verdict = judge(&phone.capture(), &listeners);
            say(&verdict.to_string());
            verdict.expect_clean();
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let dir = self.cluster.keep_dir();
            say(&format!("logs and configuration are in {}", dir.display()));
        }
    }
}

/// The first line of a log that tells of a bug of ours.
fn fault(log: &str) -> Option<&str> {
    log.lines()
        .find(|line| line.contains(" ERROR ") || line.contains("panicked at"))
}

/// Asks again and again until there is an answer, for at most `patience`.
pub fn wait_until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells a figure, past the test harness's capture: figures are what these tests are run for, also
/// when they pass.
pub fn say(text: &str) {
    use std::io::Write as _;
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    // Nobody is left to be told if stderr is closed.
    let _ = writeln!(std::io::stderr(), "[{test}] {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_in_logs_are_found() {
        let good = "2026-01-01T00:00:00Z  WARN callring: no ERROR here? ERRORS\n";
        assert_eq!(fault(&good.replace(" ERROR ", " ")), None);
        assert!(fault("2026-01-01T00:00:00Z ERROR callring: x\n").is_some());
        assert!(fault("thread 'shard 0' panicked at src/x.rs:1:1:\n").is_some());
    }
}
