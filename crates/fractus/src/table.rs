//! Tables for people: columns as wide as their widest cell.

use std::fmt;

/// Which edge of its column a cell keeps to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table with a heading.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) const fn new(columns: [(&'static str, Align); N]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row. Control characters are shown as escapes: cells may hold what a guest wrote.
    pub(crate) fn push(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        widths: &[usize; N],
        row: [&str; N],
    ) -> fmt::Result {
        let mut line = String::new();
        for ((cell, (_, align)), width) in row.iter().zip(self.columns).zip(widths) {
            let gap = " ".repeat(width - cell.chars().count());
            let (before, after) = match align {
                Align::Left => ("", gap.as_str()),
                Align::Right => (gap.as_str(), ""),
            };
            line.extend([before, cell, after, "  "]);
        }
        writeln!(f, "{}", line.trim_end())
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = self.columns.map(|(name, _)| name.chars().count());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        self.write(f, &widths, self.columns.map(|(name, _)| name))?;
        self.rows
            .iter()
            .try_for_each(|row| self.write(f, &widths, row.each_ref().map(String::as_str)))
    }
}

/// The text with control characters escaped, so that it cannot steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && letter != '\t' {
            safe.extend(letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::{Align, Table, printable};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("SIZE", Align::Right),
            ("", Align::Left),
        ]);
        table.push(["a".to_owned(), "12345".to_owned(), "✓".to_owned()]);
        table.push(["längst".to_owned(), "1".to_owned(), String::new()]);
        assert_eq!(
            table.to_string(),
            "NAME     SIZE\na       12345  ✓\nlängst      1\n"
        );
    }

    #[test]
    fn a_guest_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\td"), "a\\u{1b}[2Jb\\nc\td");
    }
}
