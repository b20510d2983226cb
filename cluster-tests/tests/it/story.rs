//! `callring demo` does what the README says.

use std::process::Command;

use cluster_tests::arena::{Arena, plan, say};
use cluster_tests::binary;

#[test]
fn the_demo_keeps_every_call_and_leaves_nothing() {
    // Method: the command itself; then no process and no directory of its is left.
    // An arena without nodes: the demo has the machine for itself.
    let arena = Arena::start(plan(), 0);
    let temp = arena.cluster.dir().join("temp");
    std::fs::create_dir(&temp).unwrap();
    let output = Command::new(binary::callring())
        .args(["demo", "--nodes", "5", "--calls", "50"])
        .env("TMPDIR", &temp)
        .output()
        .expect("the demo runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    say(&format!(
        "\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    ));
    assert!(output.status.success());
    assert!(text.contains("50 of 50 answered calls kept"));
    let left: Vec<_> = std::fs::read_dir(&temp).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    let pids: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split("  pid ").nth(1)?.split(' ').next())
        .collect();
    assert_eq!(pids.len(), 5);
    for pid in pids {
        let alive = std::path::Path::new("/proc").join(pid).exists();
        assert!(!alive, "process {pid} is left");
    }
    arena.finish(&[]);
}
