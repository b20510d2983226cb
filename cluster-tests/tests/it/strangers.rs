//! Who has no certificate of the cluster's CA, or is of another cluster, gets nowhere.

use std::time::{Duration, SystemTime};

use callring::demo::phone::AckRule;
use callring::pki;
use callring::proto::sip::Method;
use cluster_tests::arena::{Arena, PATIENCE, plan, say, wait_until};

/// Lines about strangers that a member may write in the time it is knocked at.
const LINES_MAX: usize = 10;

/// A stranger that knocks at a cluster of three for some seconds.
fn knock(cluster: &str, has_cluster_key: bool) {
    let arena = Arena::start(plan(), 3);
    let phone = arena.phone();
    let call = arena.call(&phone, 0, AckRule::Same);
    let foreign = arena.cluster.dir().join("foreign");
    pki::init(&foreign, cluster, SystemTime::now()).expect("another CA");
    if has_cluster_key {
        let ours = arena.cluster.dir().join("pki").join(pki::CLUSTER_KEY);
        std::fs::copy(ours, foreign.join(pki::CLUSTER_KEY)).expect("the key is copied");
    }
    // It even takes a member's name.
    pki::issue(&foreign, "n2", &["127.0.0.1".into()], SystemTime::now()).expect("a certificate");
    let stranger = arena.cluster.stranger("n2", &foreign).expect("it starts");
    let complaints = |at: usize| {
        let log = arena.cluster.node(at).log();
        let lines = log.lines().filter(|line| line.contains(" WARN "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for at in 0..3 {
        let heard = wait_until(PATIENCE, || (!complaints(at).is_empty()).then_some(()));
        assert!(
            heard.is_some(),
            "{} did not log the stranger",
            arena.name(at)
        );
    }
    // It keeps knocking; the log must not follow each time.
    std::thread::sleep(Duration::from_secs(5));
    for at in 0..3 {
        let lines = complaints(at);
        let (count, last) = (lines.len(), lines.last());
        say(&format!(
            "{count} lines at {}, the last: {last:?}",
            arena.name(at)
        ));
        assert!(count <= LINES_MAX, "{lines:#?}");
    }
    for at in 0..3 {
        let members = arena.cluster.members(at).expect("members").members;
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["n1", "n2", "n3"]);
        let addresses: Vec<_> = members
            .iter()
            .filter_map(|m| m.cluster_addr.clone())
            .collect();
        let its = stranger.ready().cluster.expect("an address").to_string();
        assert!(!addresses.contains(&its), "{addresses:?}");
    }
    drop(stranger);
    let bye = phone.request(call, Method::Bye, arena.sip(2));
    let answer = phone.wait_final(bye, PATIENCE).expect("an answer");
    assert_eq!(answer.status, 200, "the cluster is as before");
    arena.finish(&[&phone]);
}

#[test]
fn a_foreign_certificate_opens_nothing() {
    // Method: another CA, but the cluster's own name and key, and a member's name.
    knock("demo", true);
}

#[test]
fn another_cluster_opens_nothing() {
    // Method: another CA and another cluster name.
    knock("other", false);
}
