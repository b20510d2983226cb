//! A real softphone: baresip, told what to do over its control port (netstrings of JSON).
//!
//! May touch: processes and files of a directory of its own. Must not know: clusters.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::arena::wait_until;
use crate::ports;

const PATIENCE: Duration = Duration::from_secs(10);
/// What it may take to start where much else runs.
const START: Duration = Duration::from_secs(30);
/// Where Debian and Ubuntu put the modules: below the system's library directory, or its triplet's.
const MODULES: [&str; 3] = [
    "/usr/lib/baresip/modules",
    "/usr/lib/x86_64-linux-gnu/baresip/modules",
    "/usr/lib/aarch64-linux-gnu/baresip/modules",
];
const RATE: u32 = 8_000;

/// A phone that runs.
#[derive(Debug)]
pub struct Baresip {
    child: Child,
    control: TcpStream,
    /// Bytes that are no whole message yet.
    read: Vec<u8>,
    /// What it has said that nobody has waited for.
    said: Vec<String>,
    /// Its SIP address.
    pub sip: SocketAddr,
    log: PathBuf,
}

impl Baresip {
    /// Starts one whose files lie in `dir`, and that answers calls by itself or leaves them to
    /// ring.
    ///
    /// # Panics
    /// If baresip is not installed or does not start.
    #[must_use]
    pub fn start(dir: &Path, name: &str, answers: bool) -> Self {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).expect("a directory");
        let (sip, control) = (ports::free(), ports::free());
        let modules = MODULES.iter().find(|path| Path::new(path).is_dir());
        let modules = modules.expect("this test needs baresip: apt-get install baresip-core");
        let tone = dir.join("tone.wav");
        fs::write(&tone, wave()).expect("a tone");
        let config = format!(
            "sip_listen {sip}\nmodule_path {modules}\nmodule g711.so\nmodule aufile.so\n\
             module_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
             ctrl_tcp_listen {control}\naudio_source aufile,{}\naudio_player aufile,{}\n\
             rtp_ports 20000-29998\n",
            tone.display(),
            dir.join("heard.wav").display(),
        );
        let mode = if answers { "auto" } else { "manual" };
        let account = format!("<sip:{name}@{sip}>;regint=0;answermode={mode}\n");
        for (file, text) in [("config", &config), ("accounts", &account)] {
            fs::write(dir.join(file), text).expect("a file");
        }
        fs::write(dir.join("contacts"), "").expect("a file");
        let log = dir.join("log");
        let output = File::create(&log).expect("a log");
        let mut child = Command::new("baresip")
            .args(["-s", "-f"])
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a log"))
            .stderr(output)
            .spawn()
            .expect("this test needs baresip: apt-get install baresip-core");
        let opened = wait_until(START, || TcpStream::connect(control).ok());
        let control = opened.unwrap_or_else(|| {
            let lives = child.try_wait();
            let told = fs::read_to_string(&log).unwrap_or_default();
            panic!("baresip does not open its control port {control} ({lives:?}): {told}")
        });
        let pause = Some(Duration::from_millis(50));
        control.set_read_timeout(pause).expect("a time-out");
        Self {
            child,
            control,
            read: Vec::new(),
            said: Vec::new(),
            sip,
            log,
        }
    }

    /// Tells it what to do, and waits until it says that it has.
    ///
    /// # Panics
    /// If it does not, or says that it can't.
    pub fn order(&mut self, command: &str, of: &str) {
        let text = format!(
            "{{\"command\":\"{command}\",\"params\":\"{of}\",\"token\":\"order-{command}\"}}"
        );
        let text = format!("{}:{text},", text.len());
        let sent = self.control.write_all(text.as_bytes());
        sent.expect("the control port takes orders");
        let token = format!("\"order-{command}\"");
        let said = self.wait(&token);
        assert!(said.contains("\"ok\":true"), "{command}: {said}");
    }

    /// Waits until it says something with `words` in it, an event's name for one.
    ///
    /// # Panics
    /// If it says no such thing in time.
    pub fn wait(&mut self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.said.iter().position(|said| said.contains(words)) {
                return self.said.remove(at);
            }
            let in_time = Instant::now() < until;
            assert!(in_time, "no {words}, but {:?}\n{}", self.said, self.told());
            self.listen();
        }
    }

    /// Whether it has said such a thing, and nobody has waited for it.
    #[must_use]
    pub fn has_said(&mut self, words: &str) -> bool {
        self.listen();
        self.said.iter().any(|said| said.contains(words))
    }

    fn listen(&mut self) {
        let mut part = [0; 4_096];
        let count = self.control.read(&mut part).unwrap_or(0);
        self.read.extend_from_slice(&part[..count]);
        while let Some(colon) = self.read.iter().position(|byte| *byte == b':') {
            let length = String::from_utf8_lossy(&self.read[..colon]).parse();
            let length: usize = length.expect("a netstring begins with its length");
            let end = colon + 1 + length;
            if self.read.len() <= end {
                break; // the comma has not come
            }
            let text = String::from_utf8_lossy(&self.read[colon + 1..end]).into_owned();
            self.said.push(text);
            self.read.drain(..=end);
        }
    }

    /// Everything that it wrote, the SIP messages among it.
    #[must_use]
    pub fn told(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many lines of what it wrote begin so.
    #[must_use]
    pub fn count(&self, line: &str) -> usize {
        let told = self.told();
        told.lines().filter(|one| one.starts_with(line)).count()
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A minute of a tone: RIFF, one channel of 16 bits.
fn wave() -> Vec<u8> {
    let samples = RATE * 60;
    let bytes = samples * 2;
    let mut wave = Vec::new();
    wave.extend_from_slice(b"RIFF");
    wave.extend_from_slice(&(36 + bytes).to_le_bytes());
    wave.extend_from_slice(b"WAVEfmt ");
    wave.extend_from_slice(&16_u32.to_le_bytes());
    for field in [1_u16, 1] {
        wave.extend_from_slice(&field.to_le_bytes());
    }
    wave.extend_from_slice(&RATE.to_le_bytes());
    wave.extend_from_slice(&(RATE * 2).to_le_bytes());
    for field in [2_u16, 16] {
        wave.extend_from_slice(&field.to_le_bytes());
    }
    wave.extend_from_slice(b"data");
    wave.extend_from_slice(&bytes.to_le_bytes());
    for at in 0..samples {
        let level: i16 = if at % 16 < 8 { 4_000 } else { -4_000 };
        wave.extend_from_slice(&level.to_le_bytes());
    }
    wave
}
