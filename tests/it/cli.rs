//! The binary as a script meets it: exit codes, one line on stderr, the example that its own check
//! accepts, certificates from nothing, a node's ready line, how it drains, its end by SIGTERM,
//! and what a service manager hears.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The binary with arguments, without this process's CALLRING_ variables.
fn callring(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callring"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CALLRING_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    callring(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("callring-cli-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Wrong usage is 2, refusal and failure are 1, help is 0; a failure says why in one line.
#[test]
fn exit_codes() {
    let cases: [(&[&str], i32); 15] = [
        (&["--help"], 0),
        (&["--version"], 0),
        (&["node", "--help"], 0),
        (&[], 2),
        (&["nodes"], 2),
        (&["node", "--naem", "x"], 2),
        (&["calls", "--state", "gone"], 2),
        (&["call", "12"], 2),
        (&["pki", "init"], 2),
        (&["config", "check", "/nonexistent.toml"], 1),
        (&["status", "--admin", "http://127.0.0.1:1"], 1),
        (&["node", "--sip", "nowhere"], 1),
        (&["drain", "--timeout", "soon"], 2),
        (&["drain", "--admin", "http://127.0.0.1:1"], 1),
        (&["safe-to-stop", "--admin", "http://127.0.0.1:1"], 1),
    ];
    for (args, code) in cases {
        let output = run(args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?} {}",
            stderr(&output)
        );
        if code == 1 {
            let text = stderr(&output);
            assert!(text.starts_with("callring: "), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
            assert_eq!(stdout(&output), "");
        }
    }
}

/// `config example | config check -`; a file with two faults gets a line for each.
#[test]
fn example_passes_its_own_check() {
    let example = run(&["config", "example"]);
    assert!(example.status.success());
    let check = |text: &[u8]| {
        let mut command = callring(&["config", "check", "-"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text).unwrap();
        child.wait_with_output().unwrap()
    };
    let checked = check(&example.stdout);
    assert_eq!(stdout(&checked), "-: ok\n");
    assert_eq!(stderr(&checked), "");
    let checked = check(b"[node]\nnaem = 1\n[replication]\ncopies = 99\n");
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(
        stderr(&checked),
        "callring: -:2: unknown key `naem` in [node]; did you mean `name`?\n\
         callring: -:4: replication.copies: 99 is out of range: 1 to 7\n"
    );
}

/// A CA, a certificate, and a refusal to overwrite either.
#[test]
fn certificates_from_nothing() {
    let dir = Dir::new("pki");
    let pki = dir.path("pki");
    let init = ["pki", "init", "--dir", &pki, "--cluster", "lab"];
    let issue = [
        "pki", "issue", "--dir", &pki, "--name", "sip-1", "--san", "10.0.0.1",
    ];
    for args in [&init[..], &issue[..]] {
        let output = run(args);
        assert!(output.status.success(), "{}", stderr(&output));
        let again = run(args);
        assert_eq!(again.status.code(), Some(1));
        assert!(stderr(&again).ends_with("exists; it is never overwritten\n"));
    }
    let output = run(&[
        "node",
        "--name",
        "sip-2",
        "--pki",
        &pki,
        "--sip",
        "udp://127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("sip-2.pem: is missing; `callring pki issue"),
        "{}",
        stderr(&output)
    );
}

/// A node and its stdout; killed when the test ends before it does.
struct Node {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Node {
    fn start(args: &[&str]) -> Self {
        Self::of(&mut callring(args))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A standalone node on loopback with these settings, and its SIP and admin addresses.
fn standalone(dir: &Dir, stop_timeout_s: u32, app: &str) -> (Node, SocketAddr, String) {
    let config = dir.path("node.toml");
    let text = format!(
        "[node]\nstop_timeout_s = {stop_timeout_s}\nshards = 2\n\
         [[sip.listener]]\nlisten = \"udp://127.0.0.1:0\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[app]\nkind = \"answer\"\n{app}\n"
    );
    std::fs::write(&config, text).unwrap();
    let node = Node::start(&["node", "--config", &config, "--log-level", "warn"]);
    let line = node.line();
    let field = |name: &str| {
        let field = line.split(' ').find_map(|field| field.strip_prefix(name));
        field.unwrap_or_else(|| panic!("{line}")).to_owned()
    };
    let sip = field("sip=udp://").parse().unwrap();
    let admin = field("admin=");
    (node, sip, admin)
}

/// An INVITE from a new socket; returns when an answer with this status has come.
fn call(sip: SocketAddr, status: &str) -> UdpSocket {
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let at = phone.local_addr().unwrap();
    let invite = format!(
        "INVITE sip:bob@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{0}\r\n\
         From: <sip:alice@{at}>;tag=1\r\nTo: <sip:bob@{sip}>\r\nCall-ID: {0}@{at}\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:alice@{at}>\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n",
        at.port()
    );
    phone.send_to(invite.as_bytes(), sip).unwrap();
    let mut buffer = [0; 4_096];
    loop {
        let length = phone.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with(&format!("SIP/2.0 {status}")) {
            return phone;
        }
    }
}

/// A node without calls drains at once, and takes calls again; both may be said twice.
#[test]
fn drain_and_undrain() {
    let dir = Dir::new("drain");
    let (_node, _, admin) = standalone(&dir, 1, "");
    for _ in 0..2 {
        let drained = run(&["drain", "--timeout", "0", "--admin", &admin]);
        assert_eq!(drained.status.code(), Some(0), "{}", stderr(&drained));
        assert_eq!(stdout(&drained), "standalone drained: it owns no calls\n");
        assert_eq!(stderr(&drained), "");
    }
    let members = run(&["members", "--json", "--admin", &admin]);
    let members: serde_json::Value = serde_json::from_slice(&members.stdout).unwrap();
    assert_eq!(members[0]["draining"], true);
    for _ in 0..2 {
        let back = run(&["undrain", "--json", "--admin", &admin]);
        assert_eq!(back.status.code(), Some(0), "{}", stderr(&back));
        let back: serde_json::Value = serde_json::from_slice(&back.stdout).unwrap();
        assert_eq!(back["draining"], false);
    }
}

/// A call that nobody can take over: `drain` gives up in time and says what is left, the node goes
/// on draining, `safe-to-stop` refuses; `leave` waits for the call up to `stop_timeout_s`, then
/// goes.
#[test]
fn a_call_without_an_heir_is_waited_for() {
    let dir = Dir::new("leave");
    let (mut node, sip, admin) = standalone(&dir, 1, "");
    let safe = run(&["safe-to-stop", "--admin", &admin]);
    assert_eq!(safe.status.code(), Some(0), "{}", stderr(&safe));
    let _phone = call(sip, "200");
    let safe = run(&["safe-to-stop", "--admin", &admin]);
    assert_eq!(safe.status.code(), Some(1));
    assert_eq!(
        stderr(&safe),
        "callring: not safe: standalone: this node is standalone: 1 call would end with it\n"
    );
    let drained = run(&["drain", "--timeout", "0", "--json", "--admin", &admin]);
    assert_eq!(drained.status.code(), Some(1));
    let state: serde_json::Value = serde_json::from_slice(&drained.stdout).unwrap();
    assert_eq!(
        (&state["draining"], &state["calls_owned"]),
        (&true.into(), &1.into())
    );
    assert_eq!(
        stderr(&drained),
        "standalone: 1 call left\ncallring: standalone: 1 call left after 0 s; it goes on draining \
         (`callring undrain` takes it back)\n"
    );
    let left = run(&["leave", "--admin", &admin]);
    assert_eq!(left.status.code(), Some(0), "{}", stderr(&left));
    assert_eq!(stdout(&left), "standalone has left\n");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

/// SIGTERM waits for a call that is left; a second one does not. A call in set-up is a remark of
/// `safe-to-stop`, no refusal.
#[test]
fn sigterm_drains_and_a_second_one_does_not_wait() {
    let dir = Dir::new("term");
    let (mut node, sip, admin) = standalone(&dir, 600, "ring_ms = 60000");
    let _phone = call(sip, "180");
    let safe = run(&["safe-to-stop", "--json", "--admin", &admin]);
    assert_eq!(safe.status.code(), Some(0), "{}", stderr(&safe));
    let answer: serde_json::Value = serde_json::from_slice(&safe.stdout).unwrap();
    assert_eq!(answer["notes"][0], "1 call in set-up would be dropped");
    let pid = node.child.id().to_string();
    let term = || assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    term();
    // It is draining, and there to be asked.
    loop {
        let members = run(&["members", "--json", "--admin", &admin]);
        let members: serde_json::Value = serde_json::from_slice(&members.stdout).unwrap();
        if members[0]["draining"] == true {
            break;
        }
    }
    term();
    assert_eq!(node.child.wait().unwrap().code(), Some(1));
}

/// A standalone node says where it really listens, answers there, and ends well by SIGTERM.
#[test]
fn node_is_ready_and_stops() {
    let mut node = Node::start(&[
        "node",
        "--sip",
        "udp://127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--log-level",
        "warn",
    ]);
    let line = node.line();
    let fields: Vec<(&str, &str)> = line
        .strip_prefix("ready ")
        .unwrap()
        .split(' ')
        .map(|field| field.split_once('=').unwrap())
        .collect();
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["name", "sip", "cluster", "admin"]);
    assert_eq!((fields[0].1, fields[2].1), ("standalone", "-"));
    assert!(
        !fields[1].1.ends_with(":0") && !fields[3].1.ends_with(":0"),
        "{line}"
    );

    let status = run(&["status", "--json", "--admin", fields[3].1]);
    assert!(status.status.success(), "{}", stderr(&status));
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(
        (&status["name"], &status["members_alive"]),
        (&"standalone".into(), &1.into())
    );

    let pid = node.child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
    assert!(node.lines.recv().is_err(), "one line only");
}

/// A service manager hears that the node serves, again and again that it lives, and that it stops;
/// nothing of that from a node that stands still.
#[test]
fn a_service_manager_is_told() {
    let dir = Dir::new("manager");
    let manager = UnixDatagram::bind(dir.path("notify")).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let word = || {
        let mut word = [0; 256];
        let length = manager.recv(&mut word).unwrap();
        String::from_utf8_lossy(&word[..length]).trim().to_owned()
    };
    let mut node = Node::of(
        callring(&[
            "node",
            "--sip",
            "udp://127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .env("NOTIFY_SOCKET", dir.path("notify"))
        .env("WATCHDOG_USEC", "200000"),
    );
    assert_eq!(word(), "READY=1");
    for _ in 0..3 {
        assert_eq!(word(), "WATCHDOG=1");
    }
    let pid = node.child.id().to_string();
    let signal = |name: &str| Command::new("kill").args([name, &pid]).status().unwrap();
    signal("-STOP");
    manager
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut silence = [0; 256];
    while manager.recv(&mut silence).is_ok() {}
    signal("-CONT");
    signal("-TERM");
    manager
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    while word() != "STOPPING=1" {}
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}
