//! Sums of what shards, or members, count. Pure.

use callring_proto::io::{Histogram, Summary};

/// The sum of `parts`.
pub(crate) fn total<'a>(parts: impl IntoIterator<Item = &'a Summary>) -> Summary {
    let mut sum = Summary::default();
    for part in parts {
        add(&mut sum, part);
    }
    sum
}

/// Numbers that are just added.
macro_rules! plain {
    ($sum:ident; $($field:ident)+) => { $($sum.$field += $field;)+ };
}

fn add(sum: &mut Summary, part: &Summary) {
    // Taken apart in full: a new field must be summed too.
    let Summary {
        calls_owned,
        calls_replica,
        under_replicated,
        in_setup,
        uncovered,
        in_minority,
        births,
        held,
        transactions,
        degraded_total,
        takeovers_total,
        claimed_total,
        adopted_total,
        invited_total,
        handed_over_total,
        repaired_total,
        gaps_total,
        claims_refused_total,
        relayed_total,
        submitted_total,
        resubmitted_total,
        births_ended_total,
        fenced_total,
        sip_in,
        sip_out,
        sip_rejected,
        frames_bad_total,
        gate_released_total,
        gate_hold,
        takeover,
        batch_records,
        silent,
        rtt_us,
    } = part;
    plain! { sum;
        calls_owned calls_replica under_replicated in_setup uncovered in_minority births held
        transactions
        degraded_total takeovers_total claimed_total adopted_total invited_total
        handed_over_total repaired_total gaps_total claims_refused_total relayed_total
        submitted_total resubmitted_total births_ended_total fenced_total frames_bad_total
        gate_released_total
    }
    add_labelled(&mut sum.sip_in, sip_in);
    add_labelled(&mut sum.sip_out, sip_out);
    add_labelled(&mut sum.sip_rejected, sip_rejected);
    add_histogram(&mut sum.gate_hold, gate_hold);
    add_histogram(&mut sum.takeover, takeover);
    add_histogram(&mut sum.batch_records, batch_records);
    sum.silent.extend(silent);
    sum.silent.sort_unstable();
    sum.silent.dedup();
    // Shards measure the same link: the slowest answer is the one that matters.
    for (member, rtt) in rtt_us {
        match sum.rtt_us.iter_mut().find(|(known, _)| known == member) {
            Some((_, known)) => *known = (*known).max(*rtt),
            None => sum.rtt_us.push((*member, *rtt)),
        }
    }
}

fn add_labelled(sum: &mut Vec<(String, u64)>, part: &[(String, u64)]) {
    for (label, count) in part {
        match sum.binary_search_by(|(known, _)| known.cmp(label)) {
            Ok(at) => sum[at].1 += count,
            Err(at) => sum.insert(at, (label.clone(), *count)),
        }
    }
}

/// Histograms with other bounds can't be added and are left out: shards of one program have the
/// same, and members' histograms are never summed.
fn add_histogram(sum: &mut Histogram, part: &Histogram) {
    if sum.counts.is_empty() {
        sum.clone_from(part);
    } else if sum.bounds == part.bounds && sum.counts.len() == part.counts.len() {
        for (sum, part) in sum.counts.iter_mut().zip(&part.counts) {
            *sum += part;
        }
        sum.sum += part.sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts add up, labels join in order, equal bounds add, unequal ones don't mix.
    #[test]
    fn sums() {
        let part = |label: &str, bounds: Vec<u64>| Summary {
            calls_owned: 2,
            sip_in: vec![(label.into(), 1), ("BYE".into(), 5)],
            takeover: Histogram {
                counts: vec![1; bounds.len() + 1],
                bounds,
                sum: 10,
            },
            ..Summary::default()
        };
        let sum = total(&[
            part("INVITE", vec![1, 2]),
            part("ACK", vec![1, 2]),
            part("ACK", vec![3]),
        ]);
        assert_eq!(sum.calls_owned, 6);
        let labels: Vec<(&str, u64)> = sum
            .sip_in
            .iter()
            .map(|(label, count)| (label.as_str(), *count))
            .collect();
        assert_eq!(labels, [("ACK", 2), ("BYE", 15), ("INVITE", 1)]);
        assert_eq!(sum.takeover.counts, [2, 2, 2]);
        assert_eq!(sum.takeover.sum, 20);
    }
}
