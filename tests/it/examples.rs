//! Goal: the examples do what they say. Method: each runs as a process, and a socket calls it.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use callring::proto::sip::Message;

/// An example that runs.
struct Running {
    child: Child,
    sip: SocketAddr,
}

impl Running {
    /// Cargo builds the examples for the tests, beside them.
    fn start(name: &str, args: &[&str]) -> Self {
        let own = std::env::current_exe().expect("this test's path");
        let dir = own.ancestors().nth(2).expect("the build's folder");
        let mut child = Command::new(dir.join("examples").join(name))
            .arg("127.0.0.1:0")
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example is built");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let sip = line.trim().strip_prefix("ready sip=").expect("ready");
        let sip = sip.parse().expect("an address");
        Self { child, sip }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Phone(UdpSocket);

impl Phone {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let patience = Some(Duration::from_secs(1));
        socket.set_read_timeout(patience).expect("a time-out");
        Self(socket)
    }

    /// The final answer to a request; it is repeated while there is none.
    fn ask(&self, to: SocketAddr, method: &str, user: &str, cseq: u32, tag: &str) -> Message {
        let me = self.0.local_addr().expect("bound");
        let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 4000 RTP/AVP 0\r\n";
        let body = if method == "INVITE" { sdp } else { "" };
        let text = format!(
            "{method} sip:{user}@{to} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {me};branch=z9hG4bK{user}{cseq}\r\n\
             From: <sip:a@{me}>;tag=a\r\nTo: <sip:{user}@{to}>{tag}\r\nCall-ID: {user}@{me}\r\n\
             CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContact: <sip:a@{me}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let until = Instant::now() + Duration::from_secs(30);
        let mut buffer = [0; 65_535];
        while Instant::now() < until {
            self.0.send_to(text.as_bytes(), to).expect("sent");
            if method == "ACK" {
                return Message::parse(Bytes::from(text)).expect("it reads");
            }
            while let Ok(length) = self.0.recv(&mut buffer) {
                let bytes = Bytes::copy_from_slice(&buffer[..length]);
                let message = Message::parse(bytes).expect("it reads");
                let ours = message.cseq_number() == cseq && !message.is_request();
                if ours && message.status() >= Some(200) {
                    return message;
                }
            }
        }
        panic!("{method} has no answer");
    }

    /// A whole call, and what its INVITE was answered.
    fn call(&self, to: SocketAddr, user: &str) -> Option<u16> {
        let answer = self.ask(to, "INVITE", user, 1, "");
        let tag = format!(";tag={}", answer.to_tag().expect("a tag"));
        let status = answer.status();
        if status == Some(200) {
            assert!(answer.body().starts_with(b"v=0"), "{answer:?}");
            self.ask(to, "ACK", user, 1, &tag);
            let ended = self.ask(to, "BYE", user, 2, &tag);
            assert_eq!(ended.status(), Some(200));
        }
        status
    }
}

#[test]
fn a_uas_answers_and_a_b2bua_finds_it() {
    let uas = Running::start("uas", &[]);
    let phone = Phone::new();
    assert_eq!(phone.call(uas.sip, "anybody"), Some(200));
    let desk = uas.sip.to_string();
    let b2bua = Running::start("b2bua", &[&desk]);
    assert_eq!(phone.call(b2bua.sip, "sales"), Some(200));
    assert_eq!(phone.call(b2bua.sip, "nobody"), Some(404));
}
