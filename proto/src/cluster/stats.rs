//! Counters of the cluster room: rising numbers and histograms, read by whoever asks.

/// Bounds in microseconds: 50 us to 10 s.
pub const MICROS: &[u64] = &[
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 10_000_000,
];
/// Bounds for numbers of records.
pub const RECORDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256];

/// A histogram with fixed bounds.
#[derive(Clone, Debug)]
pub struct Buckets {
    bounds: &'static [u64],
    counts: Vec<u64>,
    sum: u64,
}

impl Buckets {
    /// An empty histogram.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0,
        }
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(value);
    }

    /// Upper bounds.
    #[must_use]
    pub fn bounds(&self) -> &'static [u64] {
        self.bounds
    }

    /// How many fell at or below each bound and above the one before; the last has no bound.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Sum of all values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

/// Counters of one shard's cluster room.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Outputs released while no live member held a copy (rule 25).
    pub degraded: u64,
    /// Outputs released.
    pub released: u64,
    /// Calls taken over.
    pub takeovers: u64,
    /// Calls offered to their heirs (rule 16).
    pub invited: u64,
    /// Calls promised to the heir that was invited.
    pub handed_over: u64,
    /// Calls taken over because their owner was gone, with nobody asking.
    pub adopted: u64,
    /// Copies that were not where they should have been, found by comparing (rule 21).
    pub gaps: u64,
    /// Claims begun (rule 10).
    pub claimed: u64,
    /// Changes of replicas carried through (rule 17).
    pub repaired: u64,
    /// Our claims that others turned down.
    pub claims_refused: u64,
    /// Messages carried to another member's call.
    pub relayed: u64,
    /// Times we met a higher ballot and yielded.
    pub fenced: u64,
    /// Messages dropped because too many waited for one call, or wandered too far.
    pub dropped: u64,
    /// Requests given to a member that was chosen to serve them.
    pub submitted: u64,
    /// Requests given to another member because the first fell silent.
    pub resubmitted: u64,
    /// Births whose owner died before there was a record, and whose caller was told.
    pub births_ended: u64,
    /// How long outputs were held, microseconds.
    pub gate_hold: Buckets,
    /// Records per batch.
    pub batch_records: Buckets,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            degraded: 0,
            released: 0,
            takeovers: 0,
            invited: 0,
            handed_over: 0,
            adopted: 0,
            gaps: 0,
            claimed: 0,
            repaired: 0,
            claims_refused: 0,
            relayed: 0,
            fenced: 0,
            dropped: 0,
            submitted: 0,
            resubmitted: 0,
            births_ended: 0,
            gate_hold: Buckets::new(MICROS),
            batch_records: Buckets::new(RECORDS),
        }
    }
}
