//! The admin interface: what operators, scripts and Prometheus see of a node and its cluster.
//!
//! | file | what lives there |
//! |---|---|
//! | `api` | the JSON, as a contract |
//! | `desk` | puts the members' replies together into answers |
//! | `gather` | asks this node's shards and the other members, and answers theirs |
//! | `door` | what they need of a node |
//! | `server` | HTTP on loopback |
//! | `client` | HTTP towards it |
//! | `metrics`, `verdict`, `safety`, `total` | pure: counters to text, facts to a judgement, sums |
//!
//! Reads what nodes count, brings signals to calls, tells a node to drain or leave; decides nothing
//! about calls or membership.
//! Does not read configuration or environment.

pub mod api;
mod client;
mod desk;
mod door;
mod gather;
mod metrics;
mod safety;
mod server;
mod total;
mod verdict;

pub use self::client::{Client, ClientError};
pub use self::desk::{About, Desk};
pub use self::server::serve;

/// Where the admin interface is if nothing else is said.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8060";
