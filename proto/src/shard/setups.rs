//! Calls in set-up, counted per source and in total: what a flood of INVITEs would grow. A call
//! counts from its birth until its 2xx is acknowledged or it is over; calls that stand, and what
//! happens inside them, are not counted, so a flood turns away new calls only.

use std::net::IpAddr;

use crate::base::limits::{SETUPS_MAX, SETUPS_PER_SOURCE_MAX};
use crate::base::map::{KeyedState, Map};

/// The counts.
#[derive(Clone, Debug)]
pub(super) struct Setups {
    by_source: Map<IpAddr, u32>,
    total: u32,
}

impl Setups {
    pub(super) fn new(hasher: KeyedState) -> Self {
        Self {
            by_source: Map::with_hasher(hasher),
            total: 0,
        }
    }

    /// Why another call of `source` must not begin now: its name in the counters.
    pub(super) fn refusal(&self, source: IpAddr) -> Option<&'static str> {
        let of_source = self.by_source.get(&source).copied().unwrap_or(0);
        if of_source >= SETUPS_PER_SOURCE_MAX {
            Some("setups_per_source")
        } else if self.total >= SETUPS_MAX {
            Some("setups")
        } else {
            None
        }
    }

    pub(super) fn begin(&mut self, source: IpAddr) {
        *self.by_source.entry(source).or_insert(0) += 1;
        self.total += 1;
    }

    pub(super) fn end(&mut self, source: IpAddr) {
        self.total = self.total.saturating_sub(1);
        if let Some(count) = self.by_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }

    /// How many there are.
    pub(super) fn total(&self) -> u32 {
        self.total
    }
}
