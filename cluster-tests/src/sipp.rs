//! SIPp as the client: sets calls up at a rate and leaves them, saying which were answered. What
//! it set up, a phone on the same address carries on.
//!
//! May touch: signals by process id. Must not know: clusters.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use callring::demo::phone::Adopted;
use callring::proto::sip::NameAddr;
use rustix::process::{Pid, Signal, kill_process};

use crate::ports;

/// A run of SIPp.
#[derive(Debug)]
pub struct Sipp {
    child: Child,
    local: SocketAddr,
    log: PathBuf,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The node that is called.
    pub to: SocketAddr,
    /// How many calls.
    pub calls: u32,
    /// How many a second.
    pub rate: u32,
}

impl Sipp {
    /// Starts it; its files go to `dir`.
    ///
    /// # Panics
    /// If SIPp is not installed.
    #[must_use]
    pub fn start(load: Load, dir: &Path) -> Self {
        let local = ports::free();
        let log = dir.join("answered.log");
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup.xml");
        let Load { to, calls, rate } = load;
        let child = Command::new("sipp")
            .arg(to.to_string())
            .arg("-sf")
            .arg(scenario)
            .args(["-s", "answer", "-i", "127.0.0.1"])
            .args(["-p", &local.port().to_string()])
            .args(["-m", &calls.to_string(), "-r", &rate.to_string()])
            .args(["-l", &calls.to_string()])
            .args(["-recv_timeout", "3000", "-timer_resol", "1"])
            .args(["-buff_size", "4000000", "-nostdin"])
            .arg("-trace_logs")
            .arg("-log_file")
            .arg(&log)
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs SIPp: apt-get install sip-tester, or cluster-tests/setup.sh");
        Self { child, local, log }
    }

    /// Waits until it has made all its calls. Its address, and the dialogs whose 200 it saw.
    ///
    /// # Panics
    /// If it cannot be waited for or left no readable log.
    #[must_use]
    pub fn finish(mut self) -> (SocketAddr, Vec<Adopted>) {
        // Its exit status says whether calls failed: those to a dead node do.
        self.child.wait().expect("SIPp is waited for");
        let log = std::fs::read_to_string(&self.log).expect("SIPp wrote its log");
        let dialogs = log
            .lines()
            .map(|line| dialog(line).expect("a line of the log"));
        (self.local, dialogs.collect())
    }

    /// The same, but stops it at once.
    ///
    /// # Panics
    /// As above.
    #[must_use]
    pub fn stop(self) -> (SocketAddr, Vec<Adopted>) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), Signal::INT).expect("a child takes signals");
        self.finish()
    }
}

/// Plays a scenario of `tests/sipp` some times against a node. What was wrong, if something was.
///
/// # Errors
/// What SIPp wrote of the calls that failed.
///
/// # Panics
/// If SIPp is not installed.
pub fn play(scenario: &str, to: SocketAddr, calls: u32, dir: &Path) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sipp");
    let errors = dir.join(format!("{scenario}.errors"));
    let status = Command::new("sipp")
        .arg(to.to_string())
        .arg("-sf")
        .arg(path.join(format!("{scenario}.xml")))
        .args(["-i", "127.0.0.1", "-m", &calls.to_string(), "-r", "20"])
        .args(["-recv_timeout", "20000", "-timeout", "60", "-nostdin"])
        .args(["-deadcall_wait", "0"])
        .args(["-trace_err", "-error_file"])
        .arg(&errors)
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("this test needs SIPp: apt-get install sip-tester, or cluster-tests/setup.sh");
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&errors).unwrap_or_default();
    Err(format!("{scenario}: {status}\n{text}"))
}

/// What two ends of a call play.
#[derive(Clone, Copy, Debug)]
pub enum Scene {
    /// SIPp's own `uac` and `uas`.
    Plain,
    /// `joined.xml` and `callee.xml` of `tests/sipp`.
    Flows,
}

/// SIPp calls SIPp by way of a node, some times; the one that is called listens at `callee`. What
/// was wrong at either end, if something was.
///
/// # Errors
/// Which end failed, and how.
///
/// # Panics
/// If SIPp is not installed.
pub fn between(
    scene: Scene,
    [to, callee]: [SocketAddr; 2],
    calls: u32,
    dir: &Path,
) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sipp");
    let played = |own: &str, file: &str| match scene {
        Scene::Plain => ["-sn".to_owned(), own.to_owned()],
        Scene::Flows => ["-sf".to_owned(), path.join(file).display().to_string()],
    };
    let errors = |role: &str| dir.join(format!("{role}.errors"));
    let start = |role: &str, further: &[String]| {
        Command::new("sipp")
            .args(["-i", "127.0.0.1", "-m", &calls.to_string()])
            .args(played(
                role,
                if role == "uac" {
                    "joined.xml"
                } else {
                    "callee.xml"
                },
            ))
            .args(["-trace_err", "-error_file"])
            .arg(errors(role))
            .args(["-timeout", "60", "-timeout_error", "-nostdin"])
            .args(["-deadcall_wait", "0"])
            .args(further)
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs SIPp: apt-get install sip-tester, or cluster-tests/setup.sh")
    };
    let mut uas = start("uas", &["-p".into(), callee.port().to_string()]);
    let pace = ["-s", "bob", "-r", "20", "-d", "500"].map(str::to_owned);
    let mut uac = start("uac", &[&[to.to_string()], &pace[..]].concat());
    for (role, end) in [("uac", &mut uac), ("uas", &mut uas)] {
        let status = end.wait().expect("SIPp is waited for");
        if !status.success() {
            let text = std::fs::read_to_string(errors(role)).unwrap_or_default();
            return Err(format!("{role}: {status}\n{text}"));
        }
    }
    Ok(())
}

impl Drop for Sipp {
    fn drop(&mut self) {
        // It has ended by then, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `ANSWERED|Call-ID|From: ..|To: ..|Contact: ..`
fn dialog(line: &str) -> Option<Adopted> {
    let mut fields = line.split('|');
    if fields.next()? != "ANSWERED" {
        return None;
    }
    let call_id = fields.next()?.to_owned();
    let mut header = |name: &str| {
        let value = fields.next()?.strip_prefix(name)?.strip_prefix(':')?;
        Some(value.trim().to_owned())
    };
    let (local, remote, contact) = (header("From")?, header("To")?, header("Contact")?);
    let target = NameAddr::parse(&contact).ok()?.uri.as_str().to_owned();
    Some(Adopted {
        call_id,
        local,
        remote,
        target,
        cseq: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_a_dialog() {
        let line = "ANSWERED|1-3@127.0.0.1|From: <sip:sipp@127.0.0.1:5991>;tag=3b1|\
                    To: <sip:s@127.0.0.1:5990>;tag=cd|Contact: <sip:127.0.0.1:5990;transport=udp>";
        let dialog = dialog(line).unwrap();
        assert_eq!(dialog.call_id, "1-3@127.0.0.1");
        assert_eq!(dialog.local, "<sip:sipp@127.0.0.1:5991>;tag=3b1");
        assert_eq!(dialog.remote, "<sip:s@127.0.0.1:5990>;tag=cd");
        assert_eq!(dialog.target, "sip:127.0.0.1:5990;transport=udp");
        assert_eq!(super::dialog("ANSWERED|1"), None);
    }
}
