//! The desk over a cluster of three without a node: what is merged, who is named as missing, and
//! the JSON that scripts rely on; then the same through HTTP.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::fake::{Fake, about, key};
use super::*;
use crate::admin::{Client, ClientError, serve};

fn fields(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// Sorted, as serde_json keeps objects.
fn sorted(names: &str) -> Vec<&str> {
    let mut names: Vec<&str> = names.split_whitespace().collect();
    names.sort_unstable();
    names
}

/// The fields of each line, and the sums, with one member that does not answer.
#[tokio::test(start_paused = true)]
async fn answers_have_the_promised_fields() {
    let desk = Desk::at(Arc::<Fake>::default(), about(1));
    let status = desk.status().await;
    assert_eq!(status.unreachable, ["c"]);
    assert_eq!(status.status.verdict.as_str(), "degraded");
    let status = serde_json::to_value(&status.status).unwrap();
    let promised = "name cluster members_alive members_total view_epoch calls_owned calls_replica \
        in_setup under_replicated uncovered degraded takeovers claimed adopted invited \
        handed_over repaired relayed fenced gate_hold_us takeover_us batch_records \
        verdict advice";
    assert_eq!(fields(&status), sorted(promised));
    assert_eq!(
        (
            &status["name"],
            &status["members_alive"],
            &status["members_total"]
        ),
        (&json!("a"), &json!(3), &json!(4))
    );
    assert_eq!(
        (&status["calls_owned"], &status["degraded"]),
        (&json!(20), &json!(2))
    );

    let members = desk.members().await;
    assert_eq!(members.unreachable, ["c"]);
    let members = serde_json::to_value(&members.members).unwrap();
    let promised = "name state draining role zone weight incarnation cluster_addr sip version \
        config_hash rtt_us calls_owned calls_replica";
    assert_eq!(fields(&members[0]), sorted(promised));
    let column = |name: &str| -> Vec<Value> {
        let members = members.as_array().unwrap();
        members.iter().map(|member| member[name].clone()).collect()
    };
    assert_eq!(column("name"), ["a", "b", "c", "d"]);
    assert_eq!(column("state"), ["alive", "alive", "suspect", "down"]);
    assert_eq!(
        column("calls_owned"),
        [json!(10), json!(10), Value::Null, Value::Null]
    );
    assert_eq!(
        column("rtt_us"),
        [Value::Null, json!(250), Value::Null, Value::Null]
    );
    assert_eq!(column("config_hash")[0], "00000000000000ab");

    let calls = desk
        .calls(CallFilter {
            limit: 100,
            ..CallFilter::default()
        })
        .await;
    assert_eq!((calls.unreachable.len(), calls.more), (1, false));
    let calls = serde_json::to_value(&calls.calls).unwrap();
    let promised = "key call_id owner replicas epoch version state app legs age_s";
    assert_eq!(fields(&calls[0]), sorted(promised));
    assert_eq!(calls[0]["state"], "confirmed");
}

/// A node is told to drain, to stop that, and to leave, and says how far it is; whether it can be
/// stopped is about it alone.
#[tokio::test]
async fn a_node_drains_and_leaves() {
    let node = Arc::<Fake>::default();
    let desk = Desk::at(node.clone(), about(2));
    let state = serde_json::to_value(desk.set_draining(true).await).unwrap();
    let expected = json!({
        "name": "a", "draining": true, "calls_owned": 10, "in_setup": 2, "shards_mute": 1,
        "stop_timeout_s": 10
    });
    assert_eq!(state, expected);
    let members = desk.members().await.members;
    let draining: Vec<bool> = members.iter().map(|member| member.draining).collect();
    assert_eq!(draining, [true, false, false, false]);
    let facts = desk.facts().await;
    assert!(facts.draining);
    assert!(!desk.set_draining(false).await.draining);

    assert!(!node.stopping.load(Ordering::Relaxed));
    assert_eq!(desk.leave().await.calls_owned, 10);
    assert!(node.stopping.load(Ordering::Relaxed));

    let desk = Desk::at(node, about(1));
    let answer = serde_json::to_value(desk.safe_to_stop().await).unwrap();
    let expected = json!({
        "name": "a", "safe": false,
        "reason": "1 call has no up-to-date copy at another live member",
        "notes": ["2 calls in set-up would be dropped"]
    });
    assert_eq!(answer, expected);
}

/// A call that two members list is shown once, as the newer record has it; the limit holds.
#[tokio::test(start_paused = true)]
async fn calls_are_merged() {
    let desk = Desk::at(Arc::<Fake>::default(), about(1));
    let listed = |answer: CallsAnswer| -> Vec<(String, String)> {
        let calls = answer.calls.into_iter();
        calls.map(|call| (call.call_id, call.owner)).collect()
    };
    let pair = |call: &str, owner: &str| (call.to_owned(), owner.to_owned());
    let all = desk
        .calls(CallFilter {
            limit: 3,
            ..CallFilter::default()
        })
        .await;
    assert_eq!(
        listed(all),
        [
            pair("call-2", "a"),
            pair("call-3", "b"),
            pair("call-1", "b")
        ]
    );
    let two = desk
        .calls(CallFilter {
            limit: 2,
            ..CallFilter::default()
        })
        .await;
    assert!(two.more);
    assert_eq!(listed(two), [pair("call-2", "a"), pair("call-3", "b")]);

    let one = desk.call(key(1)).await.unwrap();
    assert_eq!((&*one.call.owner, one.call.epoch), ("b", 2));
    let holders: Vec<&str> = one.copies.iter().map(|copy| copy.member.as_str()).collect();
    assert_eq!(holders, ["b", "a"]);
    let error = desk.call(key(5)).await.unwrap_err();
    assert!(error.ends_with("; did not answer: c"), "{error}");
}

/// Shares of the ring add up to one over the live members; a key is proposed to `copies` of them.
#[test]
fn ring_shares_add_up() {
    let desk = Desk::at(Arc::<Fake>::default(), about(1));
    let ring = desk.ring(Some(key(1)));
    let names: Vec<&str> = ring
        .shares
        .iter()
        .map(|share| share.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    let sum: f64 = ring.shares.iter().map(|share| share.share).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    assert_eq!(ring.key.unwrap().proposed.len(), 2);
}

/// What is no question is answered with an error, not with silence or a panic.
#[tokio::test]
async fn strange_questions_are_answered() {
    let desk = Desk::at(Arc::<Fake>::default(), about(1));
    for question in [&b""[..], b"{\"future\":1}", b"\xff"] {
        let reply = desk.gather.reply(question).await;
        assert!(
            reply.starts_with(b"{\"error\":\"question not understood"),
            "{reply:?}"
        );
    }
}

/// A raw request to a server on loopback; the status line and everything after.
async fn raw(address: SocketAddr, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Method, path, headers, body, and the status that answers.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const CASES: [Case; 23] = [
    ("GET", "/healthz", "Host: localhost", "", "503"),
    ("GET", "/v1/ring", "Host: 127.0.0.1:1", "", "200"),
    ("GET", "/v1/ring", "Host: [::1]:8060", "", "200"),
    (
        "GET",
        "/v1/ring",
        "Host: LOCALHOST:8060\r\nOrigin: http://localhost:3000",
        "",
        "200",
    ),
    ("GET", "/v1/ring", "Host: evil.example", "", "403"),
    ("GET", "/v1/ring", "Host: 127.0.0.1.evil.example", "", "403"),
    (
        "GET",
        "/v1/ring",
        "Host: localhost\r\nOrigin: https://evil.example",
        "",
        "403",
    ),
    (
        "GET",
        "/v1/ring",
        "Host: localhost\r\nOrigin: null",
        "",
        "403",
    ),
    ("POST", "/v1/leave", "Host: localhost", "", "403"),
    ("POST", "/v1/drain", "Host: localhost", "", "403"),
    ("GET", "/v1/undrain", "Host: localhost", "", "405"),
    (
        "POST",
        "/v1/undrain",
        "Host: localhost\r\nX-Callring: 1",
        "",
        "200",
    ),
    ("GET", "/v1/safe-to-stop", "Host: localhost", "", "200"),
    ("GET", "/v1/ring?k=1", "Host: localhost", "", "400"),
    ("GET", "/v1/ring?key=12", "Host: localhost", "", "400"),
    ("GET", "/v1/calls?limit=0", "Host: localhost", "", "400"),
    ("GET", "/v1/calls?state=gone", "Host: localhost", "", "400"),
    ("GET", "/v2", "Host: localhost", "", "404"),
    ("GET", "/v1/calls/KEY/hangup", "Host: localhost", "", "405"),
    ("POST", "/v1/calls/KEY/hangup", "Host: localhost", "", "403"),
    (
        "POST",
        "/v1/calls/KEY/hangup",
        "Host: localhost\r\nContent-Type: text/plain",
        "",
        "403",
    ),
    (
        "POST",
        "/v1/calls/KEY/hangup",
        "Host: localhost\r\nX-Callring: 1",
        "",
        "200",
    ),
    (
        "POST",
        "/v1/calls/KEY/hangup",
        "Host: localhost\r\nContent-Type: application/json; charset=utf-8",
        "",
        "200",
    ),
];

/// Through HTTP: who is let in, what is refused with which status, and the client's side of it.
#[tokio::test]
async fn http_guards_and_answers() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let desk = Desk::at(Arc::<Fake>::default(), about(2));
    let server = tokio::spawn(serve(listener, desk, async {
        let _ = stopped.await;
    }));
    for (method, path, headers, body, status) in CASES {
        let path = path.replace("KEY", &key(1).to_string());
        let request =
            format!("{method} {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n{body}");
        let answer = raw(address, &request).await;
        assert_eq!(answer.get(9..12), Some(status), "{request}{answer}");
        assert!(
            answer.contains("x-content-type-options: nosniff"),
            "{answer}"
        );
    }

    let client = Client::new(&format!("http://{address}/")).unwrap();
    let status: StatusAnswer = client.get_async("/v1/status").await.unwrap();
    assert_eq!(status.unreachable, ["c"]);
    assert_eq!(status.status.verdict.as_str(), "critical");
    let signal = |nonce| format!("/v1/calls/{}/signal", key(nonce));
    let taken: Value = client.post_async(&signal(1), "[1]".into()).await.unwrap();
    assert_eq!(taken["key"], key(1).to_string());
    let refused = |text: &str, status| {
        Err(ClientError::Refused {
            status,
            text: text.into(),
        })
    };
    let post = |nonce, body: Vec<u8>| {
        let client = client.clone();
        async move {
            client
                .post_async::<Value>(&signal(nonce), body.into())
                .await
        }
    };
    assert_eq!(post(2, b"[1]".to_vec()).await, refused("no such call", 409));
    let error = post(1, b"[1".to_vec()).await.unwrap_err().to_string();
    assert!(error.starts_with("the body is no JSON"), "{error}");
    let large = format!("\"{}\"", "x".repeat(17_000)).into_bytes();
    assert!(matches!(
        post(1, large).await,
        Err(ClientError::Refused { status: 413, .. })
    ));

    let _ = stop.send(());
    server.await.unwrap().unwrap();
    let error = client
        .get_async::<Value>("/v1/status")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("no answer from http://{address}: ")),
        "{error}"
    );
}

/// URLs that are none of an admin interface; parameters that need escaping.
#[test]
fn client_urls() {
    for bad in [
        "",
        "127.0.0.1:8060",
        "https://127.0.0.1:8060",
        "http://a/b",
        "http://a?b",
    ] {
        assert!(
            matches!(Client::new(bad), Err(ClientError::Url(_))),
            "{bad}"
        );
    }
    for good in [
        "http://127.0.0.1:8060",
        "http://localhost",
        "http://[::1]:1/",
    ] {
        assert!(Client::new(good).is_ok(), "{good}");
    }
    let path = Client::path(
        "/v1/calls",
        &[("a", None), ("from", Some("sip:a&b")), ("limit", Some("3"))],
    );
    assert_eq!(path, "/v1/calls?from=sip%3Aa%26b&limit=3");
}
