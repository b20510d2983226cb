//! What runs exercised, counted, and the least of each that a hundred seeds must show: a quiet run
//! is no pass.
//! no pass.

use std::fmt;

use callring_proto::wire::{Frame, Refusal};

/// Declares the counters once: field, floor per hundred seeds, words.
macro_rules! exercise {
    ($($field:ident $floor:literal $words:literal,)*) => {
        /// How often each thing happened.
        #[derive(Clone, Debug, Default)]
        pub struct Exercise {
            $(#[doc = $words] pub $field: u64,)*
        }

        impl Exercise {
            /// Adds another run's.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }

            /// (words, count, least per hundred seeds).
            fn rows(&self) -> Vec<(&'static str, u64, u64)> {
                vec![$(($words, self.$field, $floor),)*]
            }
        }
    };
}

exercise! {
    calls 8_000 "calls begun",
    answered 6_000 "calls answered",
    crashes 50 "nodes that died",
    traps 15 "of those, at a chosen moment",
    restarts 25 "nodes that came back",
    pauses 15 "nodes that stood still",
    renamed 4 "living nodes declared down",
    cuts 10 "cuts, by direction",
    slow 4 "slow nodes and links",
    drains 4 "drains",
    links_lost 20 "links lost",
    claims 1_000 "claims",
    promises 1_000 "promises",
    refused_alive 1 "claims refused: the owner is heard",
    refused_promised 10 "claims refused: promised otherwise",
    refused_owner 1 "claims refused by the owner",
    fences 20 "records refused by a fence",
    takeovers 600 "activations",
    changes 1_000 "records with old members",
    releases 5_000 "releases",
    tombstones 5_000 "records of ended calls",
    relays 10_000 "messages brought to an owner",
    egress 10_000 "messages that left by another node",
    replayed 100 "answers repeated by another owner than the first",
    lost_births 20 "calls that died ringing with their owner",
    byes_in_a_split 20 "BYEs sent by phones during a partition",
    told_alone 1 "messages told with no copy anywhere",
    swapped 1_000 "frames that overtook others",
    doubled 1_000 "frames that came twice",
    late_probes 3_000 "requests after the end",
    timer_byes 500 "timers that went off",
    books 90 "books balanced",
    to_the_last 3 "runs to the last trace",
}

impl Exercise {
    pub(super) fn count_frame(&mut self, frame: &Frame) {
        match frame {
            Frame::Batch(batch) => {
                for record in &batch.records {
                    self.tombstones += u64::from(record.has_ended());
                    self.changes += u64::from(!record.old.is_empty());
                }
            }
            Frame::Ack(ack) => self.fences += ack.refused.len() as u64,
            Frame::Release(_) => self.releases += 1,
            Frame::Claim(_) => self.claims += 1,
            Frame::Promise(_) => self.promises += 1,
            Frame::Refuse(refuse) => match refuse.refusal {
                Refusal::Alive { .. } => self.refused_alive += 1,
                Refusal::Promised { .. } => self.refused_promised += 1,
                Refusal::Owner { .. } => self.refused_owner += 1,
                Refusal::NoCopy => {}
            },
            Frame::Relay(_) => self.relays += 1,
            Frame::Egress(_) => self.egress += 1,
            _ => {}
        }
    }

    /// What fell short, for this many seeds.
    #[must_use]
    pub fn too_quiet(&self, seeds: u64) -> Vec<String> {
        let short = self
            .rows()
            .into_iter()
            .filter(|(_, count, floor)| *count < floor * seeds / 100);
        short
            .map(|(words, count, floor)| {
                format!(
                    "only {count} {words}, at least {} are due",
                    floor * seeds / 100
                )
            })
            .collect()
    }
}

impl fmt::Display for Exercise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (words, count, _) in self.rows() {
            writeln!(f, "{count:>12} {words}")?;
        }
        Ok(())
    }
}
