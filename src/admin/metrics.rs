//! The Prometheus text of `/metrics` (exposition format 0.0.4), of this node alone. Pure: counters
//! in, text out. Base units; `_total` for what only rises.

use std::fmt::{Display, Write as _};

use callring_proto::io::{Histogram, Summary};

use super::api::State;
use crate::runtime::{FabricTotals, NodeStats};

/// Media type of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Version of the program.
    pub(crate) version: String,
    /// Seconds since the start.
    pub(crate) uptime_s: u64,
    /// Sum over the shards.
    pub(crate) summary: Summary,
    /// Shards that did not answer.
    pub(crate) shards_mute: usize,
    /// This node hands its calls over and takes no new ones.
    pub(crate) draining: bool,
    /// Members by state, this node included.
    pub(crate) members: Vec<(State, u64)>,
    /// Names of members found silent just now.
    pub(crate) silent: Vec<String>,
    /// Round trips by name, microseconds.
    pub(crate) rtt_us: Vec<(String, u64)>,
    /// What the fabric did.
    pub(crate) fabric: FabricTotals,
    /// What the shards' threads did.
    pub(crate) node: NodeStats,
}

/// The text.
pub(crate) fn render(facts: &Facts) -> String {
    let mut text = Text(String::with_capacity(8 * 1024));
    text.gauge("build_info", "Version of the program; always 1.");
    text.sample("build_info", &[("version", &facts.version)], 1);
    text.gauge("uptime_seconds", "Time since the node started.");
    text.sample("uptime_seconds", &[], facts.uptime_s);
    text.gauge("shards_mute", "Shards that did not answer just now.");
    text.sample("shards_mute", &[], facts.shards_mute);
    text.gauge(
        "draining",
        "1 while this node hands its calls over and takes no new ones.",
    );
    text.sample("draining", &[], u8::from(facts.draining));
    render_summary(&mut text, &facts.summary);
    render_setup(&mut text, &facts.summary);
    render_members(&mut text, facts);
    render_shell(&mut text, facts);
    text.0
}

/// A number of a summary: its name, what it means, where it is.
type Figure = (&'static str, &'static str, fn(&Summary) -> u64);

const GAUGES: [Figure; 7] = [
    ("calls_owned", "Calls this node owns.", |s| s.calls_owned),
    ("calls_replica", "Copies held for other owners.", |s| {
        s.calls_replica
    }),
    (
        "calls_under_replicated",
        "Owned calls with fewer live copies than configured.",
        |s| s.under_replicated,
    ),
    (
        "calls_in_setup",
        "Owned calls that are not answered yet.",
        |s| s.in_setup,
    ),
    (
        "calls_uncovered",
        "Answered calls of which no other live member has the latest state.",
        |s| s.uncovered,
    ),
    ("outputs_held", "Outputs that wait for replicas.", |s| {
        s.held
    }),
    ("transactions", "Live SIP transactions.", |s| s.transactions),
];

const COUNTERS: [Figure; 13] = [
    (
        "degraded_total",
        "Outputs released while no live member held a copy.",
        |s| s.degraded_total,
    ),
    (
        "takeovers_total",
        "Calls taken over from a silent owner.",
        |s| s.takeovers_total,
    ),
    ("claimed_total", "Claims begun.", |s| s.claimed_total),
    (
        "claims_refused_total",
        "Claims that were turned down.",
        |s| s.claims_refused_total,
    ),
    (
        "adopted_total",
        "Calls taken over because membership gave their owner up.",
        |s| s.adopted_total,
    ),
    ("invited_total", "Calls offered to their heirs.", |s| {
        s.invited_total
    }),
    (
        "handed_over_total",
        "Calls handed to the heir that was invited.",
        |s| s.handed_over_total,
    ),
    (
        "repaired_total",
        "Changes of replicas carried through.",
        |s| s.repaired_total,
    ),
    (
        "gaps_total",
        "Copies that were not where they should have been, found by comparing.",
        |s| s.gaps_total,
    ),
    (
        "relayed_total",
        "SIP messages and signals carried to another member's call.",
        |s| s.relayed_total,
    ),
    (
        "fenced_total",
        "Times this node met a newer owner and yielded.",
        |s| s.fenced_total,
    ),
    (
        "frames_bad_total",
        "Frames that could not be decoded.",
        |s| s.frames_bad_total,
    ),
    (
        "gate_released_total",
        "Outputs released by the gate.",
        |s| s.gate_released_total,
    ),
];

fn render_summary(text: &mut Text, summary: &Summary) {
    for (name, help, value) in GAUGES {
        text.gauge(name, help);
        text.sample(name, &[], value(summary));
    }
    for (name, help, value) in COUNTERS {
        text.counter(name, help);
        text.sample(name, &[], value(summary));
    }
    text.histogram(
        "gate_hold_seconds",
        "Time outputs waited for replicas.",
        &summary.gate_hold,
        micros,
    );
    text.histogram(
        "takeover_seconds",
        "Time from the first message for an orphaned call to its first output.",
        &summary.takeover,
        micros,
    );
    text.histogram(
        "replication_batch_records",
        "Records per batch sent to a replica.",
        &summary.batch_records,
        |count| count.to_string(),
    );
    text.counter(
        "sip_messages_total",
        "SIP messages by direction and method or status.",
    );
    for (direction, counts) in [("in", &summary.sip_in), ("out", &summary.sip_out)] {
        for (what, count) in counts {
            let is_code = what.starts_with(|first: char| first.is_ascii_digit());
            let label = if is_code { "code" } else { "method" };
            text.sample(
                "sip_messages_total",
                &[("direction", direction), (label, what)],
                count,
            );
        }
    }
    text.counter(
        "sip_rejected_total",
        "SIP messages refused or dropped, by reason.",
    );
    for (reason, count) in &summary.sip_rejected {
        text.sample("sip_rejected_total", &[("reason", reason)], count);
    }
}

/// What is known of calls before they have records (SIP.md S3).
fn render_setup(text: &mut Text, summary: &Summary) {
    text.gauge("births", "Birth notices held.");
    text.sample("births", &[], summary.births);
    let counters = [
        (
            "submitted_total",
            "Requests given to a member that was chosen to serve them.",
            summary.submitted_total,
        ),
        (
            "resubmitted_total",
            "Requests given to another member because the one before fell silent.",
            summary.resubmitted_total,
        ),
        (
            "births_ended_total",
            "Calls that died with their owner before they had a record, and whose caller was told.",
            summary.births_ended_total,
        ),
    ];
    for (name, help, value) in counters {
        text.counter(name, help);
        text.sample(name, &[], value);
    }
}

fn render_members(text: &mut Text, facts: &Facts) {
    text.gauge(
        "members",
        "Members of the cluster by state, this node included.",
    );
    for (state, count) in &facts.members {
        text.sample("members", &[("state", state.as_str())], count);
    }
    text.gauge(
        "shards_in_minority",
        "Shards that hear half of the cluster or less: they adopt nothing.",
    );
    text.sample("shards_in_minority", &[], facts.summary.in_minority);
    text.gauge(
        "member_silent",
        "1 for each member that owes an answer too long.",
    );
    for member in &facts.silent {
        text.sample("member_silent", &[("member", member)], 1);
    }
    text.gauge("member_rtt_seconds", "Round trip on the fabric.");
    for (member, rtt) in &facts.rtt_us {
        text.sample("member_rtt_seconds", &[("member", member)], micros(*rtt));
    }
}

fn of_tasks(node: &NodeStats) -> [(&'static str, &'static str, u64); 2] {
    [
        ("tasks_total", "Runs of durable tasks begun.", node.tasks),
        (
            "tasks_failed_total",
            "Runs of durable tasks that ended without a result.",
            node.tasks_failed,
        ),
    ]
}

fn render_shell(text: &mut Text, facts: &Facts) {
    let (node, fabric) = (&facts.node, &facts.fabric);
    text.counter("udp_datagrams_total", "SIP datagrams by direction.");
    text.sample(
        "udp_datagrams_total",
        &[("direction", "in")],
        node.datagrams_in,
    );
    text.sample(
        "udp_datagrams_total",
        &[("direction", "out")],
        node.datagrams_out,
    );
    let counters = [
        (
            "udp_unsent_total",
            "SIP datagrams dropped before the socket.",
            node.datagrams_unsent,
        ),
        (
            "udp_receive_errors_total",
            "Errors of receiving.",
            node.receive_errors,
        ),
        (
            "shard_forwarded_total",
            "Inputs passed to another shard.",
            node.forwarded,
        ),
        (
            "shard_forwards_dropped_total",
            "Inputs dropped because a shard's queue was full.",
            node.forwards_dropped,
        ),
        (
            "frames_unrouted_total",
            "Frames for members without a link.",
            node.frames_unrouted,
        ),
        (
            "fabric_links_up_total",
            "Links that came up.",
            fabric.links_up,
        ),
        (
            "fabric_links_down_total",
            "Links that ended.",
            fabric.links_down,
        ),
        (
            "fabric_dials_failed_total",
            "Dials that became no link.",
            fabric.dials_failed,
        ),
        (
            "fabric_handshakes_refused_total",
            "Strangers: no certificate, a foreign one, another cluster's.",
            fabric.handshakes_refused,
        ),
        (
            "fabric_lane_overflows_total",
            "Links closed because a lane's queue was full.",
            fabric.lane_overflows,
        ),
        (
            "fabric_garbage_total",
            "Links closed because bytes were no frames.",
            fabric.garbage,
        ),
    ];
    for (name, help, value) in counters.into_iter().chain(of_tasks(node)) {
        text.counter(name, help);
        text.sample(name, &[], value);
    }
    text.counter("fabric_frames_total", "Frames by direction and way.");
    for (direction, way, count) in [
        ("in", "lane", fabric.lane_frames_in),
        ("out", "lane", fabric.lane_frames_out),
        ("in", "short", fabric.short_frames_in),
        ("out", "short", fabric.short_frames_out),
    ] {
        text.sample(
            "fabric_frames_total",
            &[("direction", direction), ("way", way)],
            count,
        );
    }
}

/// Microseconds as seconds, exactly.
fn micros(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The text so far.
struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let line = format!("# HELP callring_{name} {help}\n# TYPE callring_{name} {kind}\n");
        self.0.push_str(&line);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str("callring_");
        self.0.push_str(name);
        for (index, (label, content)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for letter in content.chars() {
                match letter {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        writeln!(self.0, " {value}").expect("writing to a String");
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        histogram: &Histogram,
        unit: impl Fn(u64) -> String,
    ) {
        self.head(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        for (bound, within) in histogram.bounds.iter().zip(&histogram.counts) {
            count += within;
            self.sample(&bucket, &[("le", &unit(*bound))], count);
        }
        let beyond = histogram.counts.get(histogram.bounds.len()).unwrap_or(&0);
        count += beyond;
        self.sample(&bucket, &[("le", "+Inf")], count);
        self.sample(&format!("{name}_sum"), &[], unit(histogram.sum));
        self.sample(&format!("{name}_count"), &[], count);
    }
}

#[cfg(test)]
mod tests;
