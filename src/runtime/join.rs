//! Before a life begins: find a seed, and ask what number this life has to have.
//!
//! PROTOCOL.md rule 1: 1 + the highest number the peers know for this name; never the wall clock.
//! May use the fabric and the system's resolver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callring_proto::base::ids::Incarnation;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::quic::{Fabric, YouAre};

/// How long seeds are waited for.
const SEEDS_TIMEOUT: Duration = Duration::from_millis(1_500);
/// After the first answer, how long the others are waited for: one of them may know more.
const MORE_TIMEOUT: Duration = Duration::from_millis(200);
/// Pause between two tries at one seed.
const RETRY: Duration = Duration::from_millis(150);
/// Longest a resolver is waited for.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Most addresses that seeds may resolve to.
const SEEDS_MAX: usize = 64;

/// What the seeds said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The highest number known for this node's name.
    pub(super) known: u32,
    /// How many answered.
    pub(super) answers: usize,
    /// How many of them are members already.
    pub(super) members: usize,
}

/// Asks every seed, until one and a moment's grace later, or until the time is over.
pub(super) async fn ask_seeds(fabric: &Arc<Fabric>, seeds: &[String]) -> Heard {
    let mut heard = Heard::default();
    let mut asking = JoinSet::new();
    for seed in seeds {
        asking.spawn(ask(fabric.clone(), seed.clone()));
    }
    let first = timeout(SEEDS_TIMEOUT, next(&mut asking, &mut heard)).await;
    if first == Ok(true) {
        let _ = timeout(MORE_TIMEOUT, async {
            while next(&mut asking, &mut heard).await {}
        })
        .await;
    }
    heard
}

async fn next(asking: &mut JoinSet<Option<YouAre>>, heard: &mut Heard) -> bool {
    while let Some(answer) = asking.join_next().await {
        if let Ok(Some(answer)) = answer {
            heard.known = heard.known.max(answer.known);
            heard.answers += 1;
            heard.members += usize::from(answer.lives);
            return true;
        }
    }
    false
}

/// Asks one seed until it answers; none if it is this node itself.
async fn ask(fabric: Arc<Fabric>, seed: String) -> Option<YouAre> {
    let mut told = false;
    loop {
        let addresses = resolve(&seed).await;
        if !addresses.is_empty() && addresses.iter().all(|address| *address == fabric.address()) {
            return None;
        }
        for address in addresses {
            if address == fabric.address() {
                continue;
            }
            match fabric.who_am_i(address).await {
                Ok(answer) => return Some(answer),
                // Often it is not up yet; if it stays so, this says why.
                Err(error) if !std::mem::replace(&mut told, true) => {
                    tracing::info!(seed, %address, error, "seed does not answer yet");
                }
                Err(_) => {}
            }
        }
        sleep(RETRY).await;
    }
}

/// The addresses of all seeds, just now.
pub(super) async fn resolve_all(seeds: Vec<String>) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for seed in seeds {
        addresses.extend(resolve(&seed).await);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(SEEDS_MAX);
    addresses
}

async fn resolve(seed: &str) -> Vec<SocketAddr> {
    match timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(seed)).await {
        Ok(Ok(addresses)) => addresses.take(SEEDS_MAX).collect(),
        Ok(Err(error)) => {
            tracing::debug!(seed, %error, "seed not resolved");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// A life with this number.
pub(super) fn life(number: u32) -> std::io::Result<Incarnation> {
    let boot = getrandom::u32().map_err(std::io::Error::other)?;
    Ok(Incarnation { number, boot })
}
