//! The command line against its contract: commands, flags, defaults.

use clap::CommandFactory as _;

use super::Cli;

/// Every promised command with every promised flag, and none without help.
#[test]
fn commands_and_flags_are_the_promised_ones() {
    let promised = [
        (
            "node",
            "admin-listen app cluster-advertise cluster-listen config log-format log-level \
             membership name open pki role seed shards sip wire-max zone",
        ),
        ("pki init", "cluster dir"),
        ("pki issue", "dir name san"),
        ("status", "admin json"),
        ("members", "admin json"),
        ("ring", "admin json key"),
        ("calls", "admin from json limit owner state to"),
        ("call", "admin json"),
        ("hangup", "admin json"),
        ("signal", "admin json"),
        ("drain", "admin json timeout"),
        ("undrain", "admin json"),
        ("leave", "admin json"),
        ("safe-to-stop", "admin json"),
        ("demo", "calls nodes"),
        ("config check", ""),
        ("config example", ""),
    ];
    let mut root = Cli::command();
    root.build();
    root.clone().debug_assert();
    for (path, flags) in promised {
        let mut command = &root;
        for word in path.split(' ') {
            command = command
                .find_subcommand(word)
                .unwrap_or_else(|| panic!("{path}"));
        }
        let arguments = || command.get_arguments().filter(|arg| arg.get_id() != "help");
        let mut found: Vec<&str> = arguments().filter_map(clap::Arg::get_long).collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), flags, "{path}");
        for argument in arguments() {
            assert!(
                argument.get_help().is_some(),
                "{path} {}",
                argument.get_id()
            );
        }
        assert!(command.get_about().is_some(), "{path}");
    }
}
