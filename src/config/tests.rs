//! The configuration through its one door, as tables: text and flags in, setting or complaint out.

use super::*;

fn load(text: &str, env: &[(&str, &str)], flags: &Flags) -> Result<Config, Problems> {
    let env = Env::from_pairs(env.iter().copied());
    Config::load(Some(("c.toml", text)), &env, flags)
}

/// The complaints about a file, as they are printed.
fn complaints(text: &str) -> Vec<String> {
    match load(text, &[], &Flags::default()) {
        Ok(_) => Vec::new(),
        Err(Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Every way to get a key or value wrong: the exact complaint, with its line.
#[test]
fn complaints_name_place_and_remedy() {
    let udp = "a listener is written udp://IP:PORT or udp://IP:PORT?advertise=HOST:PORT";
    let cases = [
        ("[node]\nnaem = \"a\"", "c.toml:2: unknown key `naem` in [node]; did you mean `name`?".to_owned()),
        ("[nodes]", "c.toml:1: unknown key `nodes` in the file; did you mean `node`?".into()),
        (
            "\n[admin]\nzzzzzzzzz = 1",
            "c.toml:3: unknown key `zzzzzzzzz` in [admin]; known here: listen".into(),
        ),
        ("[node]\nname = 7", "c.toml:2: node.name: a string is expected here, not integer".into()),
        ("node = 7", "c.toml:1: node: a table, [node] is expected here, not integer".into()),
        (
            "[sip]\nlistener = \"udp://1.2.3.4:5060\"",
            "c.toml:2: sip.listener: a list of tables, [[sip.listener]] is expected here, not string".into(),
        ),
        (
            "[node]\nname = \"a b\"",
            "c.toml:2: node.name: \"a b\" is no node name: letters, digits and inner hyphens, at most 63".into(),
        ),
        ("[node]\nname = \"A\"", "c.toml:2: node.name: \"A\": node names are lower case".into()),
        ("[node]\nname = \"a\"\nname = \"b\"", "c.toml:3: duplicate key".into()),
        ("[node]\nrole = \"edge\"", "c.toml:2: node.role: an edge gives its calls to the members of a cluster: set cluster.pki".into()),
        (
            "[node]\nrole = \"menber\"",
            "c.toml:2: node.role: \"menber\" is not \"member\" or \"edge\"; did you mean \"member\"?".into(),
        ),
        ("[node]\nshards = 0", "c.toml:2: node.shards: 0 is out of range: 1 to 128".into()),
        (
            "[node]\nshards = -1",
            "c.toml:2: node.shards: a whole number, not negative is expected here, not integer".into(),
        ),
        (
            "[[sip.listener]]\nadvertise = \"x\"",
            "c.toml:1: sip.listener: `listen` is missing, e.g. listen = \"udp://10.0.0.1:5060\"".into(),
        ),
        (
            "[[sip.listener]]\nlisten = \"10.0.0.1:5060\"",
            format!("c.toml:2: sip.listener.listen: \"10.0.0.1:5060\" has no transport; {udp}"),
        ),
        (
            "[[sip.listener]]\nlisten = \"udp://host:5060\"",
            format!("c.toml:2: sip.listener.listen: \"host:5060\" is not IP:PORT; {udp}"),
        ),
        (
            "[[sip.listener]]\nlisten = \"tcp://10.0.0.1:5060\"",
            "c.toml:2: sip.listener.listen: transport tcp is not supported by this version of callring; udp is".into(),
        ),
        (
            "[[sip.listener]]\nlisten = \"udp://10.0.0.1:5060?via=x\"",
            "c.toml:2: sip.listener.listen: \"?via=x\" is unknown; the only option is ?advertise=HOST:PORT".into(),
        ),
        (
            "[[sip.listener]]\nlisten = \"udp://0.0.0.0:5060\"",
            "c.toml:2: sip.listener.listen: 0.0.0.0 is every address of this machine, and phones must be told one: \
             add advertise, e.g. udp://0.0.0.0:5060?advertise=sip.example.com:5060".into(),
        ),
        (
            "[[sip.listener]]\nlisten = \"udp://10.0.0.1:5060\"\nadvertise = \"a b:5060\"",
            "c.toml:3: sip.listener.advertise: \"a b:5060\" is not HOST or HOST:PORT".into(),
        ),
        (
            "[[sip.listener]]\nlisten = \"udp://10.0.0.1:5060\"\nadvertise = \"0.0.0.0:5060\"",
            "c.toml:3: sip.listener.advertise: \"0.0.0.0:5060\" is no address that a phone can reach".into(),
        ),
        (
            "[[sip.listener]]\nlisten = \"udp://10.0.0.1:5060\"\n[[sip.listener]]\nlisten = \"udp://10.0.0.1:5060\"",
            "c.toml:4: sip.listener.listen: udp://10.0.0.1:5060 is configured twice".into(),
        ),
        (
            "[cluster]\nseeds = [\"10.0.0.2:7060\"]",
            "c.toml:2: cluster.seeds: a cluster needs certificates: pki = \"DIR\" or --pki DIR (`callring pki init` makes them)".into(),
        ),
        (
            "[node]\nname = \"a\"\n[cluster]\npki = \"p\"\nseeds = [\"10.0.0.2\"]",
            "c.toml:5: cluster.seeds: \"10.0.0.2\" is no seed; a seed is HOST:PORT of another member's cluster address".into(),
        ),
        (
            "[node]\nname = \"a\"\n[cluster]\npki = \"p\"\nlisten = \"0.0.0.0:7060\"",
            "c.toml:5: cluster.listen: 0.0.0.0 is every address of this machine, and members must be told one: \
             set cluster.advertise or --cluster-advertise".into(),
        ),
        (
            "[cluster]\npki = \"p\"",
            "node.name: a node of a cluster needs a name, the one of its certificate: name = \"sip-1\" or --name sip-1".into(),
        ),
        (
            "[admin]\nlisten = \"10.0.0.1:8060\"",
            "c.toml:2: admin.listen: the admin interface has neither TLS nor credentials in this version, \
             so it listens on loopback only, not on 10.0.0.1:8060".into(),
        ),
        ("[replication]\ncopies = 0", "c.toml:2: replication.copies: 0 is out of range: 1 to 7".into()),
        (
            "[replication]\nack = \"two\"",
            "c.toml:2: replication.ack: \"two\" is not \"none\", \"one\" or \"all\"".into(),
        ),
        (
            "[replication]\nwhen = \"always\"",
            "c.toml:2: replication.when: \"always\" is not \"confirmed\" or \"early\"".into(),
        ),
        (
            "[replication]\nalone = \"refuse\"",
            "c.toml:2: replication.alone: \"refuse\" on a standalone node would refuse every call".into(),
        ),
        ("[app]\nring_ms = 60001", "c.toml:2: app.ring_ms: 60001 is out of range: 0 to 60000".into()),
        ("[limits]\nmax_calls = 3", "c.toml:2: limits.max_calls: not supported by this version of callring".into()),
    ];
    for (text, expected) in cases {
        assert_eq!(complaints(text), [expected], "{text}");
    }
}

/// The same for what governs the time before an answer.
#[test]
fn complaints_about_set_up() {
    let cases = [
        (
            "[sip]\nmerged = \"no\"",
            "c.toml:2: sip.merged: \"no\" is not \"reject\" or \"accept\"",
        ),
        (
            "[limits]\ncalls_per_position = 0",
            "c.toml:2: limits.calls_per_position: 0 is out of range: 1 to 65536",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(complaints(text), [expected], "{text}");
    }
    let text = "[replication]\nwhen = \"early\"\n[sip]\nmerged = \"accept\"";
    let config = load(text, &[], &Flags::default()).unwrap();
    assert_eq!(config.replication.when, When::Early);
    assert_eq!(config.replication.merged, MergedPolicy::Accept);
}

/// All complaints come at once, in the order of the file; the short form is one line.
#[test]
fn all_complaints_at_once() {
    let text = "[node]\nnaem = 1\n[admin]\nlisten = \"nowhere\"";
    let Err(problems) = load(text, &[], &Flags::default()) else {
        panic!("refused");
    };
    assert_eq!(problems.0.len(), 2);
    assert_eq!(
        problems.to_string(),
        "c.toml:2: unknown key `naem` in [node]; did you mean `name`? \
         (and 1 more: `callring config check` lists them)"
    );
    assert!(complaints("= 3")[0].starts_with("c.toml:1: "));
}

/// Nothing configured: a standalone node on loopback, every default, and a warning.
#[test]
fn defaults() {
    let config = Config::load(None, &Env::default(), &Flags::default()).unwrap();
    assert_eq!(config.name, "standalone");
    assert_eq!(config.sip[0].listen.to_string(), "127.0.0.1:5060");
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:8060");
    assert_eq!(config.replication.copies, 3);
    assert_eq!(config.replication.ack, AckPolicy::One);
    assert_eq!(config.replication.silence, Duration::from_millis(50));
    assert!(matches!(
        config.app,
        AppConfig::Answer {
            ring: Duration::ZERO,
            hangup_after: None,
            ring_after: Duration::ZERO
        }
    ));
    assert!(config.cluster.is_none());
    assert_eq!(config.warnings.len(), 1);
    let node = config.node(None);
    assert!(node.cluster.is_none() && node.cluster_key.is_none() && node.shards >= 1);
}

/// The printed example is accepted, has every key, and says of each commented key its default.
#[test]
fn example_is_accepted_with_every_key() {
    let env = Env::default();
    let written = Config::load(Some(("example", EXAMPLE)), &env, &Flags::default()).unwrap();
    assert_eq!(written.warnings, [""; 0]);
    let full: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest
                    .split_once(" = ")
                    .is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                rest
            }
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let full = Config::load(Some(("example", &full)), &env, &Flags::default()).unwrap();
    assert_eq!(full.cluster.as_ref().unwrap().listen.port(), 7060);
    assert_eq!(full.shards, Some(4));
    let default = Config::load(None, &env, &Flags::default()).unwrap();
    assert_eq!(full.replication.copies, default.replication.copies);
    assert_eq!(full.replication.silence, default.replication.silence);
    assert_eq!(full.replication.when, default.replication.when);
    assert_eq!(full.replication.merged, default.replication.merged);
    let per_position = default.replication.calls_per_position;
    assert_eq!(full.replication.calls_per_position, per_position);
    assert_eq!(full.stop_timeout, default.stop_timeout);
    assert_eq!(full.weight, default.weight);
    assert_eq!(full.admin_listen, default.admin_listen);
}

/// Flags win over environment, environment over file; lists are replaced, not joined.
#[test]
fn flags_over_environment_over_file() {
    let text = "[node]\nname = \"file\"\nzone = \"file\"\n[[sip.listener]]\nlisten = \"udp://10.0.0.1:1\"\n\
                [cluster]\npki = \"p\"\nseeds = [\"file:1\", \"file:2\"]";
    let env = [
        ("CALLRING_NAME", "env"),
        ("CALLRING_ZONE", "env"),
        ("CALLRING_ROLE", ""),
        ("CALLRING_SEED", "env:1, env:2"),
    ];
    let flags = Flags {
        name: Some("flag".into()),
        sip: vec!["udp://[::1]:0?advertise=[2001:db8::1]:5060".into()],
        shards: Some(2),
        ..Flags::default()
    };
    let config = load(text, &env, &flags).unwrap();
    assert_eq!((&*config.name, &*config.zone), ("flag", "env"));
    let cluster = config.cluster.as_ref().unwrap();
    assert_eq!(cluster.seeds, ["env:1", "env:2"]);
    assert_eq!(cluster.listen.to_string(), "[::1]:7060");
    assert_eq!(config.sip.len(), 1);
    assert_eq!(
        config.sip[0].advertise.as_deref(),
        Some("[2001:db8::1]:5060")
    );
    assert_eq!(config.shards, Some(2));
}

/// Complaints about flags and variables name the flag or variable.
#[test]
fn complaints_name_flags_and_variables() {
    let flags = Flags {
        sip: vec!["5060".into()],
        ..Flags::default()
    };
    let error = load("", &[("CALLRING_ADMIN_LISTEN", "0.0.0.0:8060")], &flags).unwrap_err();
    let texts: Vec<String> = error.0.iter().map(ToString::to_string).collect();
    assert!(
        texts[0].starts_with("--sip: \"5060\" has no transport"),
        "{texts:?}"
    );
    assert!(
        texts[1].starts_with("CALLRING_ADMIN_LISTEN: the admin"),
        "{texts:?}"
    );
}

/// A misspelled variable is warned of; Kubernetes' own are not.
#[test]
fn unknown_variables_are_warned_of() {
    let env = [
        ("CALLRING_NAEM", "x"),
        ("CALLRING_SERVICE_HOST", "10.0.0.1"),
    ];
    let config = load(
        "[[sip.listener]]\nlisten = \"udp://127.0.0.1:0\"",
        &env,
        &Flags::default(),
    );
    assert_eq!(
        config.unwrap().warnings,
        ["CALLRING_NAEM is set and means nothing; did you mean CALLRING_NAME?"]
    );
}

/// The shared hash moves with what must be the same everywhere, and with nothing else.
#[test]
fn shared_hash_ignores_what_is_each_nodes_own() {
    let hash = |text: &str| load(text, &[], &Flags::default()).unwrap().shared_hash();
    let base = hash("");
    assert_eq!(
        base,
        hash("[node]\nname = \"x\"\nzone = \"z\"\n[[route]]\napp = \"answer\"")
    );
    assert_ne!(base, hash("[replication]\ncopies = 2"));
    assert_ne!(base, hash("[app]\nring_ms = 1"));
}

/// Hosts and ports: what is one, what is none.
#[test]
fn hosts_and_ports() {
    use super::address::host_port;
    let cases = [
        ("a", Some(("a", None))),
        ("a.b-c.example:5060", Some(("a.b-c.example", Some(5060)))),
        ("10.0.0.1:1", Some(("10.0.0.1", Some(1)))),
        ("[::1]:65535", Some(("[::1]", Some(65535)))),
        ("[::1]", Some(("[::1]", None))),
        ("::1", None),
        ("a:0", None),
        ("a:65536", None),
        ("a:+1", None),
        ("a:", None),
        ("-a:1", None),
        ("a_b:1", None),
        ("10.0.0.256:1", None),
        ("a\r\nVia: x:1", None),
        ("", None),
        ("[10.0.0.1]:1", None),
    ];
    for (text, expected) in cases {
        assert_eq!(host_port(text), expected, "{text:?}");
    }
}

/// What reaches the node: a listener's scope, how patient membership is, which wire it speaks.
#[test]
fn scope_membership_and_wire_reach_the_node() {
    use crate::node::{MembershipPreset, Scope};
    let text = "[node]\nname = \"a\"\n[[sip.listener]]\nlisten = \"udp://10.0.0.1:1\"\n\
                scope = \"cluster\"\n[[sip.listener]]\nlisten = \"udp://10.0.0.2:1\"\n\
                [cluster]\npki = \"p\"\nmembership = \"wan\"\nwire_max = 1";
    let config = load(text, &[], &Flags::default()).unwrap();
    let scopes: Vec<Scope> = config.sip.iter().map(|listener| listener.scope).collect();
    assert_eq!(scopes, [Scope::Cluster, Scope::Node]);
    let cluster = config.cluster.as_ref().unwrap();
    assert_eq!(
        (cluster.membership, cluster.wire_max),
        (MembershipPreset::Wan, 1)
    );
    let flags = Flags {
        membership: Some("local".into()),
        wire_max: Some(callring_proto::wire::VERSION),
        ..Flags::default()
    };
    let other = load(text, &[], &flags).unwrap();
    let cluster = other.cluster.as_ref().unwrap();
    assert_eq!(
        (cluster.membership, cluster.wire_max),
        (MembershipPreset::Local, callring_proto::wire::VERSION)
    );
    // One must be the same everywhere, the other differs while an upgrade is under way.
    assert_ne!(config.shared_hash(), other.shared_hash());
    let wire = text.replace("wire_max = 1", "");
    let wire = load(&wire, &[], &Flags::default()).unwrap();
    assert_eq!(config.shared_hash(), wire.shared_hash());
    assert_eq!(
        complaints(&text.replace("wire_max = 1", "wire_max = 9")),
        ["c.toml:11: cluster.wire_max: 9 is out of range: 1 to 2"]
    );
}
