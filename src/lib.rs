//! callring: SIP application servers whose calls outlive their node.
//!
//! This crate is the shell around [`callring_proto`]: sockets, threads, clocks, the fabric between
//! members. It decides nothing about calls; that is the core's. Embedders start a [`Node`] from a
//! [`NodeConfig`] and talk to it through its [`NodeHandle`].

pub mod admin;
pub mod apps;
pub mod config;
pub mod demo;
pub mod node;
pub mod pki;
pub(crate) mod runtime;

pub use callring_proto as proto;
pub use node::{
    AdminService, ClusterConfig, MembershipPreset, Node, NodeConfig, NodeHandle, Pki, Scope,
    SipListener, StartError, Undrained,
};
pub use runtime::{FabricError, FabricStats, FabricTotals, LinkStats, NodeStats};
