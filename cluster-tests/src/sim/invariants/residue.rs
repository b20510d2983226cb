//! When every phone has hung up and 64*T1 have passed, nothing is kept of any call on any node: no
//! record, no transaction, no look-up, no deadline.

use callring_proto::shard::Residue;

pub(in crate::sim) fn nothing(node: usize, shard: usize, kept: &Residue) -> Option<String> {
    (*kept != Residue::default()).then(|| format!("node {node} shard {shard} keeps {kept:?}"))
}
