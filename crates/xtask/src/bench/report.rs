//! Tables of figures, for people and for programs.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::contestant::Contestant;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// So many, or so many a second.
    Count,
    /// Microseconds, printed in the unit that fits.
    Micros,
    /// Bytes, printed in MiB.
    Bytes,
}

/// A contestant's figures, one for each column; `None` where it has none.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) values: Vec<Option<f64>>,
}

/// Contestants side by side.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) columns: &'static [(&'static str, Unit)],
    pub(super) rows: Vec<Row>,
    /// Whether to say how the first row compares with the others.
    pub(super) compared: bool,
}

/// Something the figures must show.
#[derive(Debug)]
struct Claim {
    text: String,
    holds: bool,
}

/// What a benchmark found.
#[derive(Debug, Default)]
pub(super) struct Report {
    tables: Vec<Table>,
    claims: Vec<Claim>,
    notes: Vec<String>,
}

impl Table {
    /// The figure of a row, if there is one of that name.
    pub(super) fn figure(&self, row: &str, column: &str) -> Option<f64> {
        let column = self.columns.iter().position(|(name, _)| *name == column)?;
        self.rows.iter().find(|known| known.name == row)?.values[column]
    }

    /// How many times better the first row is than this one, by the first column.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let (first, this) = (self.rows.first()?.values[0]?, row.values[0]?);
        let more_is_better = self.columns[0].1 == Unit::Count;
        Some(if more_is_better {
            first / this
        } else {
            this / first
        })
    }

    fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n| |", self.title);
        let names = self.columns.iter().map(|(name, _)| *name);
        let ratio = self
            .rows
            .first()
            .filter(|_| self.compared)
            .map(|first| format!("{} is", first.name));
        let headings: Vec<_> = names.chain(ratio.as_deref()).collect();
        for heading in &headings {
            write!(text, " {heading} |").expect(NEVER);
        }
        text.push_str("\n|---|");
        text.push_str(&"---:|".repeat(headings.len()));
        for row in &self.rows {
            write!(text, "\n| {} |", row.name).expect(NEVER);
            for (value, (_, unit)) in row.values.iter().zip(self.columns) {
                write!(text, " {} |", shown(*value, *unit)).expect(NEVER);
            }
            if self.compared {
                let ratio = self
                    .ratio(row)
                    .map_or_else(String::new, |it| format!("{it:.2}×"));
                write!(text, " {ratio} |").expect(NEVER);
            }
        }
        text + "\n"
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let values = self.columns.iter().map(|(name, _)| (*name).to_owned());
            let values = values.zip(row.values.iter().map(|value| json!(value)));
            json!({ "name": row.name, "figures": values.collect::<Map<_, _>>() })
        });
        json!({ "title": self.title, "rows": rows.collect::<Vec<_>>() })
    }
}

const NEVER: &str = "writing to a string does not fail";

impl Report {
    pub(super) fn add(&mut self, table: Table) {
        self.tables.push(table);
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Keeps what could be had and notes what could not.
    pub(super) fn found<T>(&mut self, candidate: Result<T>) -> Option<T> {
        candidate
            .inspect_err(|error| self.note(format!("left out: {error:#}").trim_end()))
            .ok()
    }

    pub(super) fn present(
        &mut self,
        candidates: impl IntoIterator<Item = Result<Contestant>>,
    ) -> Vec<Contestant> {
        candidates
            .into_iter()
            .filter_map(|candidate| self.found(candidate))
            .collect()
    }

    /// Claims that `larger` is at least `times` `smaller`; a figure that is missing proves nothing.
    pub(super) fn claim(
        &mut self,
        what: &str,
        larger: Option<f64>,
        times: f64,
        smaller: Option<f64>,
    ) {
        let ratio = larger
            .zip(smaller)
            .map(|(larger, smaller)| larger / smaller);
        let measured = ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.2}×"));
        let holds = ratio.is_some_and(|ratio| ratio >= times);
        self.claims.push(Claim {
            text: format!("{what}: {measured}, {times}× claimed"),
            holds,
        });
    }

    /// How many claims do not hold.
    pub(super) fn missed(&self) -> usize {
        self.claims.iter().filter(|claim| !claim.holds).count()
    }

    pub(super) fn markdown(&self) -> String {
        let mut text: String = self
            .tables
            .iter()
            .map(|table| table.markdown() + "\n")
            .collect();
        for Claim { text: claim, holds } in &self.claims {
            writeln!(
                text,
                "- {claim}: {}",
                if *holds { "holds" } else { "**missed**" }
            )
            .expect(NEVER);
        }
        for note in &self.notes {
            writeln!(text, "- {note}").expect(NEVER);
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let claims = self
            .claims
            .iter()
            .map(|it| json!({ "claim": it.text, "holds": it.holds }));
        json!({
            "tables": self.tables.iter().map(Table::json).collect::<Vec<_>>(),
            "claims": claims.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

fn shown(value: Option<f64>, unit: Unit) -> String {
    let Some(value) = value else {
        return "–".to_owned();
    };
    match unit {
        Unit::Count => thousands(value),
        Unit::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
        Unit::Micros if value < 100.0 => format!("{value:.1} µs"),
        Unit::Micros if value < 1_000.0 => format!("{value:.0} µs"),
        Unit::Micros if value < 1e6 => format!("{:.2} ms", value / 1e3),
        Unit::Micros => format!("{:.2} s", value / 1e6),
    }
}

/// `12345.6` as `12,346`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Report, Row, Table, Unit, shown, thousands};

    fn table(columns: &'static [(&'static str, Unit)], rows: &[(&str, &[f64])]) -> Table {
        let row = |(name, values): &(&str, &[f64])| Row {
            name: (*name).to_owned(),
            values: values.iter().copied().map(Some).collect(),
        };
        Table {
            title: "T".to_owned(),
            columns,
            rows: rows.iter().map(row).collect(),
            compared: true,
        }
    }

    #[test]
    fn figures_are_printed_for_people() {
        assert_eq!(thousands(7.0), "7");
        assert_eq!(thousands(1_234_567.6), "1,234,568");
        assert_eq!(shown(Some(26.04), Unit::Micros), "26.0 µs");
        assert_eq!(shown(Some(312.0), Unit::Micros), "312 µs");
        assert_eq!(shown(Some(1_390.0), Unit::Micros), "1.39 ms");
        assert_eq!(shown(Some(2.5e6), Unit::Micros), "2.50 s");
        assert_eq!(shown(Some(3.0 * 1024.0 * 1024.0), Unit::Bytes), "3.0 MiB");
        assert_eq!(shown(None, Unit::Count), "–");
    }

    #[test]
    fn the_first_row_is_compared_with_the_others() {
        let rates = table(
            &[("req/s", Unit::Count)],
            &[("a", &[40_000.0]), ("b", &[10_000.0])],
        );
        let expect = "### T\n\n| | req/s | a is |\n|---|---:|---:|\n| a | 40,000 | 1.00× |\n\
                      | b | 10,000 | 4.00× |\n";
        assert_eq!(rates.markdown(), expect);
        let times = table(
            &[("median", Unit::Micros)],
            &[("a", &[10.0]), ("b", &[30.0])],
        );
        assert!(times.markdown().contains("| b | 30.0 µs | 3.00× |"));
    }

    #[test]
    fn claims_hold_or_not() {
        let mut report = Report::default();
        report.claim("a", Some(4.0), 4.0, Some(1.0));
        report.claim("b", Some(3.9), 4.0, Some(1.0));
        report.claim("c", None, 1.0, Some(1.0));
        assert_eq!(report.missed(), 2);
        assert!(
            report
                .markdown()
                .contains("- b: 3.90×, 4× claimed: **missed**")
        );
        assert_eq!(report.json()["claims"][0]["holds"], true);
    }

    #[test]
    fn figures_are_found_by_name() {
        let rates = table(&[("req/s", Unit::Count)], &[("fractus", &[1.0])]);
        assert_eq!(rates.figure("fractus", "req/s"), Some(1.0));
        assert_eq!(rates.figure("nginx", "req/s"), None);
        assert_eq!(rates.figure("fractus", "p50"), None);
    }
}
