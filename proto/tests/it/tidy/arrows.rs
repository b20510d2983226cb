//! Which room may know which, and what must not be named at all in a room.

use super::{Source, none, root, sources};

/// The arrows between the core's rooms, as `proto/src/lib.rs` draws them. Every room knows itself.
const ARROWS: [(&str, &[&str]); 7] = [
    ("base", &[]),
    ("wire", &["base"]),
    ("sip", &["base"]),
    ("cluster", &["base", "wire"]),
    ("app", &["base", "sip"]),
    ("io", &["base", "cluster::view"]),
    ("shard", &["base", "wire", "sip", "cluster", "app", "io"]),
];

/// What the core is built from. None of these waits, asks the clock or opens anything; one that
/// does has no place here, whatever it is good for.
const CORE_CRATES: [&str; 18] = [
    "aes-siv",
    "bytes",
    "data-encoding",
    "foca",
    "hashbrown",
    "memchr",
    "postcard",
    "rand",
    "rand_chacha",
    "rsip",
    "serde",
    "serde_bytes",
    "siphasher",
    "smallvec",
    "thiserror",
    "tracing",
    "wide",
    "zeroize",
];

/// The room a file of the core belongs to, and how deep its module lies in the crate.
fn room(path: &str) -> Option<(&str, usize)> {
    let inside = path.strip_prefix("proto/src/")?.strip_suffix(".rs")?;
    let module = inside.strip_suffix("/mod").unwrap_or(inside);
    let room = module.split('/').next().unwrap_or(module);
    (room != "lib").then(|| (room, module.split('/').count()))
}

/// Every path into the crate that a line names, from the crate's root on: `cluster::view`.
fn paths(line: &str, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue; // another crate's name ends in "crate"
        }
        found.push(first_two(&line[at + "crate::".len()..]));
    }
    // `super::super::x` that climbs out of the room.
    if let Some(at) = line.find("super::") {
        let mut rest = &line[at..];
        let mut climbed = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            rest = next;
            climbed += 1;
        }
        if climbed >= depth {
            found.push(first_two(rest));
        }
    }
    found
}

fn first_two(path: &str) -> String {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let path = &path[..end.unwrap_or(path.len())];
    let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
    parts[..parts.len().min(2)].join("::")
}

fn may_know(room: &str, path: &str) -> bool {
    let target = path.split("::").next().unwrap_or(path);
    if target == room || !ARROWS.iter().any(|(known, _)| *known == target) {
        return true; // itself, or a name of the crate's root that is no room
    }
    let known = ARROWS.iter().find(|(name, _)| *name == room);
    let (_, arrows) = known.unwrap_or_else(|| panic!("{room} is no room of the core: draw it"));
    arrows
        .iter()
        .any(|arrow| *arrow == target || *arrow == path)
}

/// Goal: sip and cluster never know each other, and no room knows one above it. Method: every path
/// in the code of a room is compared with the arrows.
#[test]
fn arrows_between_rooms_go_one_way() {
    let mut complaints = Vec::new();
    for source in sources() {
        let Some((room, depth)) = room(&source.path) else {
            continue;
        };
        for (number, line) in source.code() {
            if line.contains("crate::{") {
                complaints.push(format!(
                    "{}:{number}: one `use` per room, so that arrows can be read",
                    source.path
                ));
            }
            for path in paths(line, depth) {
                if !may_know(room, &path) {
                    complaints.push(format!(
                        "{}:{number}: {room} must not know {path}. A new arrow is a change of the \
                         design: proto/src/lib.rs and ARCHITECTURE.md first, then ARROWS here",
                        source.path
                    ));
                }
            }
        }
    }
    none(&complaints);
}

/// Goal: the reader of arrows reads what it should. Method: examples.
#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let check = |line: &str, depth, expected: &[&str]| {
        assert_eq!(paths(line, depth), expected, "{line}");
    };
    check("use crate::base::ids::CallId;", 2, &["base::ids"]);
    check("pub(in crate::sip) fn f() {}", 2, &["sip"]);
    check(
        "x: crate::wire::Members, y: crate::sip::A",
        1,
        &["wire::Members", "sip::A"],
    );
    check(
        "use super::super::cluster::Cluster;",
        2,
        &["cluster::Cluster"],
    );
    check("use super::super::check::NOW;", 3, &[]);
    assert!(may_know("io", "cluster::view") && !may_know("io", "cluster::ring"));
    assert!(!may_know("sip", "cluster::view") && !may_know("cluster", "sip"));
}

/// The table in `proto/src/lib.rs` names every room, and no other.
#[test]
fn the_drawing_of_the_rooms_is_whole() {
    let all = sources();
    let lib = all.iter().find(|one| one.path == "proto/src/lib.rs");
    let lib = &lib.expect("the core has a lib.rs").text;
    let drawn: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`")?.split('`').next())
        .collect();
    let rooms: Vec<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    assert_eq!(drawn, rooms, "the table of rooms and ARROWS say the same");
    for line in lib.lines().filter(|line| line.starts_with("pub mod ")) {
        let name = line.trim_start_matches("pub mod ").trim_end_matches(';');
        assert!(rooms.contains(&name), "{name} is no room: draw its arrows");
    }
}

/// Goal: Cargo proves that the core does no IO. Method: its manifest names known crates only, and
/// chance comes without the features that reach the operating system.
#[test]
fn the_core_depends_on_nothing_that_waits() {
    let all = sources();
    let text = |path: &str| {
        let found = all.iter().find(|source| source.path == path);
        found
            .map(|source| source.text.clone())
            .expect("it is there")
    };
    let mut complaints = Vec::new();
    let mut section = String::new();
    let manifest = text("proto/Cargo.toml");
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
        }
        let Some((name, _)) = line.split_once([' ', '.', '=']) else {
            continue;
        };
        let listed = section == "[dependencies]" && !name.starts_with(['#', '[']);
        if listed && !CORE_CRATES.contains(&name) {
            complaints.push(format!(
                "proto/Cargo.toml: {name} is new to the core. If it can't do IO, wait, ask the \
                 clock or draw OS randomness, add it to CORE_CRATES"
            ));
        }
    }
    let odd = |section: &str| section.contains("dependencies") && section != "[dependencies]";
    if manifest
        .lines()
        .any(|line| line.starts_with('[') && odd(line))
    {
        complaints.push("proto/Cargo.toml: dependencies stand in one table only".into());
    }
    let workspace = text("Cargo.toml");
    for name in ["rand", "rand_chacha"] {
        let line = workspace
            .lines()
            .find(|line| line.starts_with(&format!("{name} = ")))
            .unwrap_or_default();
        if !line.contains("default-features = false") || line.contains("features = [") {
            complaints.push(format!(
                "Cargo.toml: {name} reaches the operating system by its features: {line}"
            ));
        }
    }
    none(&complaints);
}

/// The first path after a crate's name, wherever a line names one: `callring_proto::sip` gives sip.
fn rooms_of<'a>(line: &'a str, krate: &str) -> Option<&'a str> {
    let rest = &line[line.find(krate)? + krate.len()..];
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// Goal: an application is deterministic. Method: it names nothing but the port and plain words.
#[test]
fn applications_know_the_port_only() {
    const MAY: [&str; 3] = ["app", "base", "sip"];
    const MUST_NOT: [&str; 12] = [
        "tokio",
        "quinn",
        "socket2",
        "getrandom",
        "crate::runtime",
        "crate::node",
        "crate::admin",
        "crate::config",
        "crate::proto",
        "std::net::Udp",
        "std::time::",
        "std::thread",
    ];
    let mut complaints = Vec::new();
    for source in sources() {
        if !source.path.starts_with("src/apps/") {
            continue;
        }
        for (number, line) in source.code() {
            let place = format!("{}:{number}", source.path);
            if let Some(room) = rooms_of(line, "callring_proto::")
                && !MAY.contains(&room)
            {
                complaints.push(format!("{place}: an application must not know {room}"));
            }
            for word in MUST_NOT {
                let allowed = word == "std::time::" && line.contains("std::time::Duration");
                if line.contains(word) && !allowed {
                    complaints.push(format!("{place}: an application must not use {word}"));
                }
            }
        }
    }
    none(&complaints);
}

/// Goal: settings have one way in. Method: nobody else reads the environment.
#[test]
fn one_file_reads_the_environment() {
    let reads = |source: &&Source| {
        let asks = |line: &str| {
            ["env::var", "env::vars", "option_env!", "env::set_var"]
                .iter()
                .any(|word| line.contains(word))
        };
        source.code().any(|(_, line)| asks(line))
    };
    let all = sources();
    let shipped = |source: &&Source| {
        let product = source.path.starts_with("src/") || source.path.starts_with("proto/src/");
        let test = source.path.contains("/tests");
        product && !test && source.is_rust()
    };
    let readers: Vec<&str> = all
        .iter()
        .filter(shipped)
        .filter(reads)
        .map(|source| source.path.as_str())
        .collect();
    assert_eq!(readers, ["src/config/env.rs"]);
}

/// The root's folders are the mandated ones.
#[test]
fn the_top_level_is_as_drawn() {
    const MAY: [&str; 17] = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "clippy.toml",
        "cluster-tests",
        "deny.toml",
        "deploy",
        "examples",
        "proto",
        "rustfmt.toml",
        "src",
        "target",
        "tests",
    ];
    let entries = std::fs::read_dir(root()).expect("the workspace's root can be read");
    let mut complaints = Vec::new();
    for entry in entries {
        let name = entry.expect("an entry can be read").file_name();
        let name = name.to_string_lossy();
        let known = MAY.contains(&name.as_ref()) || name == "test.sh";
        if !known && !name.starts_with('.') && !name.ends_with(".log") {
            complaints.push(format!("{name}: no such thing belongs at the top level"));
        }
    }
    none(&complaints);
}
