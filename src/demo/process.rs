//! One `callring node` as a child process: its start, the line that says it is ready, its log, its
//! end.
//!
//! Must not know: other nodes, phones.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// What the ready line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The node's name.
    pub name: String,
    /// Its SIP listeners.
    pub sip: Vec<SocketAddr>,
    /// Its cluster address; none for a standalone node.
    pub cluster: Option<SocketAddr>,
    /// The URL of its admin interface.
    pub admin: String,
}

impl Ready {
    /// Reads `ready name=... sip=... cluster=... admin=...`.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let rest = line.trim().strip_prefix("ready ")?;
        let field = |name: &str| {
            rest.split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let sip = field("sip")?.split(',').map(|url| {
            let bare = url.strip_prefix("udp://").unwrap_or(url);
            bare.split('?').next().unwrap_or(bare).parse().ok()
        });
        Some(Self {
            name: field("name")?.to_owned(),
            sip: sip.collect::<Option<_>>()?,
            cluster: field("cluster")?.parse().ok(),
            admin: field("admin")?.to_owned(),
        })
    }
}

/// All children of one cluster, so that another thread can end them in the middle of anything.
#[derive(Clone, Debug, Default)]
pub struct Brood(Arc<Mutex<Children>>);

#[derive(Debug, Default)]
struct Children {
    all: Vec<Arc<Mutex<Child>>>,
    /// No more are born.
    over: bool,
}

impl Brood {
    /// Kills all of them, for good.
    pub fn end(&self) {
        let mut children = lock(&self.0);
        children.over = true;
        for child in children.all.drain(..) {
            let mut child = lock(&child);
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn spawn(&self, command: &mut Command) -> io::Result<Arc<Mutex<Child>>> {
        let mut children = lock(&self.0);
        if children.over {
            return Err(io::Error::other("the cluster is being ended"));
        }
        let child = Arc::new(Mutex::new(command.spawn()?));
        children.all.push(Arc::clone(&child));
        Ok(child)
    }
}

/// What a thread that panicked held is still good for killing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct NodeProcess {
    child: Arc<Mutex<Child>>,
    pid: u32,
    ready: Ready,
    log: PathBuf,
    killed: Option<Instant>,
}

impl NodeProcess {
    /// Starts `binary node --config CONFIG` and waits until it is ready. Its log goes to `log`.
    ///
    /// # Errors
    /// If it cannot be started, ends before it is ready, or is not ready in time; the text has the
    /// end of its log.
    pub fn start(
        brood: &Brood,
        binary: &Path,
        config: &Path,
        log_level: &str,
        log: &Path,
        patience: Duration,
    ) -> io::Result<Self> {
        let mut command = Command::new(binary);
        command
            .arg("node")
            .arg("--config")
            .arg(config)
            .args(["--log-level", log_level])
            // A shell's settings for a node of its own are not meant for these.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            // The terminal's Ctrl-C is for whoever started the nodes.
            .process_group(0);
        let child = brood.spawn(&mut command)?;
        let (pid, stdout) = {
            let mut child = lock(&child);
            (child.id(), child.stdout.take())
        };
        match stdout.and_then(|stdout| first_line(stdout, patience)) {
            Some(ready) => Ok(Self {
                child,
                pid,
                ready,
                log: log.to_owned(),
                killed: None,
            }),
            None => {
                let mut child = lock(&child);
                let _ = child.kill();
                let status = child.wait()?;
                let end = tail(log);
                let text = format!("a node did not become ready ({status}): {end}");
                Err(io::Error::other(text))
            }
        }
    }

    /// What its ready line said.
    #[must_use]
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.ready.name
    }

    /// Its first SIP listener.
    #[must_use]
    pub fn sip(&self) -> SocketAddr {
        self.ready.sip[0]
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// When [`NodeProcess::kill`] was called.
    #[must_use]
    pub const fn killed(&self) -> Option<Instant> {
        self.killed
    }

    /// Whether it was not killed here and still runs.
    pub fn is_running(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// SIGKILL, and waits until it is gone. Returns when the signal was sent.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> io::Result<Instant> {
        let at = Instant::now();
        self.killed.get_or_insert(at);
        let mut child = lock(&self.child);
        child.kill()?;
        child.wait()?;
        Ok(at)
    }

    /// Waits for it to end by itself; none if it does not in time.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn wait(&self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + patience;
        loop {
            let status = lock(&self.child).try_wait()?;
            if status.is_some() || Instant::now() > until {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        // It may be gone already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The ready line, if it comes first and in time. What follows is read and thrown away, so that the
/// node never blocks on a full pipe.
fn first_line(stdout: ChildStdout, patience: Duration) -> Option<Ready> {
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::Builder::new().name("node stdout".into());
    reader
        .spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            if stdout.read_line(&mut line).is_ok() {
                let _ = sender.send(line);
            }
            let _ = io::copy(&mut stdout, &mut io::sink());
        })
        .ok()?;
    Ready::parse(&receiver.recv_timeout(patience).ok()?)
}

/// The last lines of a log, for an error's text.
fn tail(log: &Path) -> String {
    let mut text = String::new();
    // What cannot be read is not there to be shown.
    let _ = File::open(log).and_then(|mut file| file.read_to_string(&mut text));
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    if lines.is_empty() {
        return "it logged nothing".into();
    }
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_read() {
        let line = "ready name=n1 sip=udp://127.0.0.1:5060,udp://[::1]:5060 \
                    cluster=127.0.0.1:7060 admin=http://127.0.0.1:8060\n";
        let ready = Ready::parse(line).unwrap();
        assert_eq!(ready.name, "n1");
        assert_eq!(ready.sip[0].port(), 5060);
        assert_eq!(ready.sip.len(), 2);
        assert_eq!(ready.cluster, "127.0.0.1:7060".parse().ok());
        assert_eq!(ready.admin, "http://127.0.0.1:8060");
        let alone = "ready name=n1 sip=udp://127.0.0.1:5060 cluster=- admin=http://127.0.0.1:1";
        assert_eq!(Ready::parse(alone).unwrap().cluster, None);
        for bad in ["", "ready", "ready name=n1 sip=x cluster=- admin=y"] {
            assert_eq!(Ready::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_node_that_does_not_start_says_why() {
        let dir = std::env::temp_dir();
        let log = dir.join(format!("callring-process-{}.log", std::process::id()));
        let patience = Duration::from_secs(10);
        let failed = NodeProcess::start(
            &Brood::default(),
            Path::new("/bin/false"),
            &log,
            "info",
            &log,
            patience,
        );
        let text = failed.unwrap_err().to_string();
        assert!(text.contains("did not become ready"), "{text}");
        std::fs::remove_file(log).unwrap();
    }
}
