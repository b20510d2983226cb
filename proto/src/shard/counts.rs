//! What a shard counts about SIP and takeovers.

use std::collections::BTreeMap;

use crate::cluster::stats::{Buckets, MICROS};
use crate::io::Histogram;

/// Counters by name; names are ours, so their number is bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct ByName(BTreeMap<&'static str, u64>);

impl ByName {
    pub(super) fn count(&mut self, name: &'static str) {
        *self.0.entry(name).or_insert(0) += 1;
    }

    pub(super) fn list(&self) -> Vec<(String, u64)> {
        self.0
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }
}

/// Counters of one shard.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) sip_in: ByName,
    pub(super) sip_out: ByName,
    pub(super) rejected: ByName,
    pub(super) frames_bad: u64,
    pub(super) takeover: Buckets,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            sip_in: ByName::default(),
            sip_out: ByName::default(),
            rejected: ByName::default(),
            frames_bad: 0,
            takeover: Buckets::new(MICROS),
        }
    }
}

pub(super) fn histogram(buckets: &Buckets) -> Histogram {
    Histogram {
        bounds: buckets.bounds().to_vec(),
        counts: buckets.counts().to_vec(),
        sum: buckets.sum(),
    }
}

/// The label of a message on the way in or out: its method, or its status class.
pub(super) fn label(first_line: &[u8]) -> &'static str {
    const METHODS: [&str; 14] = [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "INFO",
        "UPDATE",
        "PRACK",
        "REGISTER",
        "SUBSCRIBE",
        "NOTIFY",
        "REFER",
        "MESSAGE",
        "PUBLISH",
    ];
    const CODES: [(&[u8], &str); 16] = [
        (b"100", "100"),
        (b"180", "180"),
        (b"183", "183"),
        (b"200", "200"),
        (b"400", "400"),
        (b"401", "401"),
        (b"405", "405"),
        (b"407", "407"),
        (b"408", "408"),
        (b"480", "480"),
        (b"481", "481"),
        (b"486", "486"),
        (b"487", "487"),
        (b"491", "491"),
        (b"500", "500"),
        (b"503", "503"),
    ];
    if let Some(rest) = first_line.strip_prefix(b"SIP/2.0 ") {
        let exact = CODES.iter().find(|(code, _)| rest.starts_with(code));
        return match (exact, rest.first()) {
            (Some((_, label)), _) => label,
            (None, Some(b'1')) => "1xx",
            (None, Some(b'2')) => "2xx",
            (None, Some(b'3')) => "3xx",
            (None, Some(b'4')) => "4xx",
            (None, Some(b'5')) => "5xx",
            (None, Some(b'6')) => "6xx",
            (None, _) => "other",
        };
    }
    let method = METHODS.iter().find(|method| {
        first_line
            .strip_prefix(method.as_bytes())
            .is_some_and(|rest| rest.starts_with(b" "))
    });
    method.copied().unwrap_or("other")
}
