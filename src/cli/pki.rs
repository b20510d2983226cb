//! `callring pki init` and `callring pki issue`.

use std::path::PathBuf;
use std::time::SystemTime;

use callring::pki::{self, CA_PEM, CLUSTER_KEY};

use super::{Failure, Outcome, output};

/// `callring pki`
#[derive(Debug, clap::Subcommand)]
pub(super) enum PkiCommand {
    /// Make a CA and the cluster's secrets
    Init {
        /// Where: made if missing, never overwritten
        #[arg(long)]
        dir: PathBuf,
        /// The cluster's name
        #[arg(long, value_name = "NAME")]
        cluster: String,
    },
    /// Issue a node's certificate, signed by the CA in the same directory
    Issue {
        /// Where `pki init` put the CA
        #[arg(long)]
        dir: PathBuf,
        /// The node's name
        #[arg(long, value_name = "N")]
        name: String,
        /// A further name or address of the node
        #[arg(long, value_name = "HOST_OR_IP")]
        san: Vec<String>,
    },
}

pub(super) fn run(command: &PkiCommand) -> Outcome {
    let now = SystemTime::now();
    let failed = |error: pki::PkiError| Failure(error.to_string());
    match command {
        PkiCommand::Init { dir, cluster } => {
            pki::init(dir, cluster, now).map_err(failed)?;
            let dir = dir.display();
            output::result(&format!(
                "{dir}: CA and key of cluster {cluster}\n\
                 next, for each node: callring pki issue --dir {dir} --name NAME"
            ))
        }
        PkiCommand::Issue { dir, name, san } => {
            pki::issue(dir, name, san, now).map_err(failed)?;
            let dir = dir.display();
            output::result(&format!(
                "{dir}: certificate of {name}\n\
                 the node needs {CA_PEM}, {CLUSTER_KEY}, {name}.pem and {name}.key, and nothing else"
            ))
        }
    }
}
