//! Timers go off once: an owner sends one BYE, a second one only if an heir could not know whether
//! the first arrived; and the hang-up timer's comes when it is due, by clocks as good as they are.

use callring_proto::base::time::{Duration, Instant};

use super::super::clock::EVEN;
use super::super::model::{Emission, Told};
use super::super::plan::Plan;

/// Time for a takeover, for a BYE that is lost, and for what a node was late with.
const SLACK: Duration = Duration::from_millis(1_500);

/// No two BYEs at one epoch.
pub(in crate::sim) fn once(emission: &Emission<'_>, told: &Told) -> Option<String> {
    let epoch = emission.owner()?.holding.ballot.epoch;
    let branch = emission.message.branch()?;
    let bye = emission.message.is_request() && !emission.news()?.is_answer();
    let mut byes = told.asked.values().filter(|asked| asked.bye);
    let twice = byes.any(|asked| asked.epoch == epoch && asked.branch != branch);
    (bye && twice).then(|| format!("a second BYE at epoch {epoch}"))
}

/// A BYE that nobody asked for is the hang-up timer's: not before its time.
/// The timer begins when the answer is decided, of which the phone may hear much later.
pub(in crate::sim) fn not_early(plan: &Plan, invited: Instant, now: Instant) -> Option<String> {
    let fast = u32::try_from(EVEN + plan.skew_ppm).expect("a little over a million");
    let least = plan.hang_up_after() * 1_000_000 / fast;
    let after = now.since(invited);
    (after < least).then(|| format!("hung up after {after:?} instead of {least:?}"))
}

/// Nor after it, if whoever owned the call had it when it was due.
pub(in crate::sim) fn not_late(
    plan: &Plan,
    told: &Told,
    (answered, now): (Instant, Instant),
) -> Option<String> {
    let slow = u32::try_from(EVEN - plan.skew_ppm).expect("a little under a million");
    let due = answered + plan.hang_up_after() * 1_000_000 / slow + plan.longest_standstill();
    let (_, (_, since)) = told.speakers.iter().next_back()?;
    let late = now.since(due);
    (*since < due && late > SLACK).then(|| format!("hung up {late:?} late"))
}
