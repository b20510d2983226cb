//! A network of a test's own, in which nftables cuts the cluster's traffic between chosen nodes.
//!
//! The test runs itself again inside `unshare --net`; the namespace goes with the last process in
//! it. Inside, everything is on its own loopback. Works as root, and without where the system lets
//! users have namespaces.

use std::net::SocketAddr;
use std::process::{Command, Output};

/// Set for the run inside.
const INSIDE: &str = "CALLRING_TEST_NAMESPACE";

/// Runs `body` in a network namespace: called there, it just runs it; called outside, it runs the
/// test called `name` (its whole path) again inside and passes its result on.
///
/// # Panics
/// If the test fails inside, or the tools are missing.
pub fn isolated(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        body();
        return;
    }
    for tool in ["unshare", "ip", "nft"] {
        let found = Command::new(tool).arg("--version").output();
        assert!(
            found.is_ok(),
            "this test needs `{tool}`: apt-get install util-linux iproute2 nftables, or run \
             cluster-tests/setup.sh"
        );
    }
    // The machine is for one cluster at a time, also for one that another process starts.
    let turn = crate::arena::turn();
    let test = std::env::current_exe().expect("a test knows its own path");
    let user = if rustix::process::geteuid().is_root() {
        &[][..]
    } else {
        &["--user", "--map-root-user"][..]
    };
    let status = Command::new("unshare")
        .args(user)
        .args(["--net", "--"])
        .arg(test)
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare runs");
    drop(turn);
    assert!(
        status.success(),
        "{name} failed in its namespace ({status}); without root, the system must allow user \
         namespaces"
    );
}

/// Gives this network's loopback another address, written with its prefix.
///
/// # Panics
/// If `ip` refuses.
pub fn add_address(address: &str) {
    let mut words = vec!["address", "add", address, "dev", "lo"];
    if address.contains(':') {
        words.push("nodad"); // else it is tentative for a second
    }
    run("ip", &words);
}

/// Drops what these two send each other over UDP, both ways. Earlier cuts stay.
///
/// # Panics
/// If nftables refuses.
pub fn cut(a: SocketAddr, b: SocketAddr) {
    nft("add table inet cut");
    // On its way in, not out: a sender must not see an error, as it would not in a network.
    nft("add chain inet cut in { type filter hook input priority 0; }");
    for (from, to) in [(a, b), (b, a)] {
        let (from, to) = (from.port(), to.port());
        nft(&format!(
            "add rule inet cut in udp sport {from} udp dport {to} drop"
        ));
    }
}

/// Undoes all cuts.
///
/// # Panics
/// If nftables refuses.
pub fn heal() {
    nft("delete table inet cut");
}

fn nft(command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    run("nft", &words);
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let Ok(Output { status, stderr, .. }) = output else {
        panic!("{program} does not run");
    };
    let text = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{program} {arguments:?}: {text}");
}
