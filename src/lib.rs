//! callring: SIP application servers whose calls outlive their node.
//!
//! This crate is the shell around [`callring_proto`]: sockets, threads, clocks, the fabric between
//! members. It decides nothing about calls; that is the core's. Embedders start a [`Node`] from a
//! [`NodeConfig`] and talk to it through its [`NodeHandle`].
//!
//! An application is a function of events ([`proto::app::App`]). What it keeps of a call lies in
//! the call's record, so that any member goes on with it:
//!
//! ```no_run
#![doc = include_str!("../examples/uas.rs")]
//! ```
//!
//! It runs alone as it stands, and as a member once `NodeConfig::cluster` is set. A B2BUA with a
//! route of its own is in `examples/b2bua.rs`.

pub mod admin;
pub mod apps;
pub mod config;
pub mod demo;
pub mod node;
pub mod pki;
pub(crate) mod runtime;
pub mod tasks;

pub use callring_proto as proto;
pub use node::{
    AdminService, ClusterConfig, MembershipPreset, Node, NodeConfig, NodeHandle, Pki, Scope,
    SipListener, StartError, Undrained,
};
pub use runtime::{FabricError, FabricStats, FabricTotals, LinkStats, NodeStats};
pub use tasks::{TaskResult, Tasks};
