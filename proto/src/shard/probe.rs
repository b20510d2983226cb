//! What the simulator's judges look at: records as they lie here, and what is left when all is
//! over. Reads only; nobody is asked.

use super::Shard;
use super::live::read_state;
use crate::base::ids::CallId;
use crate::cluster::{Holding, Kept};
use crate::sip::dialog::Stage;

/// A record as it lies here, its state read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The record's place in the protocol.
    pub holding: Holding,
    /// A 2xx was decided.
    pub confirmed: bool,
    /// The peer's last CSeq number.
    pub remote_seq: Option<u32>,
    /// The last CSeq number of our own.
    pub local_seq: u32,
    /// Outputs this shard has let out while no live member held a copy.
    pub degraded_total: u64,
}

/// What a shard keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residue {
    /// Calls that run here.
    pub calls: usize,
    /// INVITE transactions by which calls are found.
    pub invites: usize,
    /// Deadlines of calls.
    pub deadlines: usize,
    /// Calls that count as being set up.
    pub setups: usize,
    /// Signals that wait for an answer.
    pub asks: usize,
    /// What the cluster room keeps.
    pub cluster: Kept,
}

impl Shard {
    /// The record of `key` as it lies here.
    #[must_use]
    pub fn probe(&self, key: CallId) -> Option<Probe> {
        let holding = self.cluster.holding(key)?;
        let (record, _) = self.cluster.record(key)?;
        let state = read_state(&record.state).ok()?;
        let dialog = state.base.sip.dialog();
        Some(Probe {
            holding,
            confirmed: dialog.stage != Stage::Early,
            remote_seq: dialog.remote_seq,
            local_seq: dialog.local_seq,
            degraded_total: self.cluster.stats().degraded,
        })
    }

    /// As [`Shard::probe`], but without a look into the state.
    #[must_use]
    pub fn holding(&self, key: CallId) -> Option<Holding> {
        self.cluster.holding(key)
    }

    /// Every record here.
    pub fn holdings(&self) -> impl Iterator<Item = (CallId, Holding)> + '_ {
        let keys = self.cluster.records().map(|(key, ..)| key);
        keys.filter_map(|key| Some((key, self.cluster.holding(key)?)))
    }

    /// What is kept here just now.
    #[must_use]
    pub fn residue(&self) -> Residue {
        Residue {
            calls: self.calls.len(),
            invites: self.invites.len(),
            deadlines: self.deadlines.len(),
            setups: usize::try_from(self.setups.total()).unwrap_or(usize::MAX),
            asks: self.asks.len(),
            cluster: self.cluster.kept(),
        }
    }
}
