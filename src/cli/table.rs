//! Columns for people: aligned with spaces, without colours or lines, so that `awk` reads them too.
//! Cells may hold what came from the network: control characters are shown escaped.

/// A table being filled.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [usize],
}

impl Table {
    /// A table with these headings; the columns in `right` (from 0) are aligned to the right.
    pub(super) fn new(headings: &[&str], right: &'static [usize]) -> Self {
        Self {
            rows: vec![headings.iter().map(ToString::to_string).collect()],
            right,
        }
    }

    /// Adds a row. An empty cell is shown as `-`, so that columns can be counted.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| match cell.as_str() {
            "" => "-".to_owned(),
            _ => safe(&cell),
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// The table as text.
    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                if self.right.contains(&column) {
                    line.push_str(&format!("{cell:>width$}"));
                } else {
                    line.push_str(&format!("{cell:<width$}"));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text without control characters: what a peer sent must not steer a terminal.
pub(super) fn safe(text: &str) -> String {
    let shown = |letter: char| match letter {
        letter if letter.is_control() => letter.escape_default().to_string(),
        letter => letter.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Seconds as people read them: `59s`, `4m05s`, `3h07m`, `2d04h`.
pub(super) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// Microseconds as people read them.
pub(super) fn micros(micros: u64) -> String {
    if micros < 10_000 {
        format!("{micros}us")
    } else {
        format!("{}ms", micros / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns line up, empty cells stay countable, escape sequences are harmless.
    #[test]
    fn aligned_and_harmless() {
        let mut table = Table::new(&["NAME", "N"], &[1]);
        table.row(["a".into(), "12345".into()]);
        table.row([String::new(), "\u{1b}[31m".into()]);
        assert_eq!(
            table.render(),
            "NAME           N\na          12345\n-     \\u{1b}[31m\n"
        );
    }

    /// Each unit at its edges.
    #[test]
    fn ages() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (65, "1m05s"),
            (11_220, "3h07m"),
            (187_200, "2d04h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(age(seconds), expected);
        }
    }
}
