//! Durations and what is said about them: the middle, the slow end, the slowest.

use std::fmt;
use std::time::Duration;

/// A set of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures(Vec<Duration>);

impl Figures {
    /// The duration that `percent` of them do not exceed; zero if there are none.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.percentile(100)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<Duration> for Figures {
    fn from_iter<T: IntoIterator<Item = Duration>>(durations: T) -> Self {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        sorted.sort();
        Self(sorted)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {}, p99 {}, max {}",
            ms(self.percentile(50)),
            ms(self.percentile(99)),
            ms(self.max())
        )
    }
}

/// `0.43 ms`, `12.0 ms`, `1342 ms`: three digits that matter.
#[must_use]
pub fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    let digits = match ms {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{ms:.digits$} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_members_of_the_set() {
        let figures: Figures = (1..=200).rev().map(Duration::from_millis).collect();
        let at = |percent| figures.percentile(percent).as_millis();
        assert_eq!((at(50), at(99), at(100)), (100, 198, 200));
        assert_eq!(figures.to_string(), "p50 100 ms, p99 198 ms, max 200 ms");
        assert_eq!(Figures::default().max(), Duration::ZERO);
        let one: Figures = [Duration::from_micros(1234)].into_iter().collect();
        assert_eq!(one.to_string(), "p50 1.23 ms, p99 1.23 ms, max 1.23 ms");
    }
}
