//! Traces for a terminal.

use fractus_stdx::ByteSize;

use super::{Price, Row, Span, SpanCost, SpanKind, Trace};

/// Names take no more columns than this.
const NAME_MAX: usize = 40;
/// Bars take no fewer.
const BAR_MIN: usize = 10;

const HEADING: [&str; 8] = [
    "span", "start", "time", "cpu", "in", "out", "own µ$", "cost µ$",
];

/// A trace as lines of text, one a span, whole ones before their parts: when it began, how long it
/// took, its CPU time, the bytes in and out, what it cost by itself and with its parts in
/// millionths of the price's unit, and a bar: `█` where time is paid for, `░` where it is not, and
/// `▒` for what failed, with the reason behind it. `width` is in columns; bars are as long as fits,
/// but lines are wider rather than without.
pub fn waterfall(trace: &Trace, price: &Price, width: usize) -> String {
    let costs = trace.costs(price);
    let rows = trace.rows();
    let mut table = vec![HEADING.map(str::to_owned)];
    table.extend(rows.iter().map(|row| cells(trace, row, costs[row.span])));
    let widths: [usize; HEADING.len()] = std::array::from_fn(|column| {
        let widths = table.iter().map(|cells| cells[column].chars().count());
        widths.max().unwrap_or(0)
    });
    let taken: usize = widths.iter().map(|width| width + 2).sum();
    let bar_width = width.saturating_sub(taken).max(BAR_MIN);

    let total_us = trace.duration_us();
    let paid = rows
        .first()
        .map_or_else(Default::default, |row| costs[row.span].total);
    let mut text = format!(
        "{}:{}  {}  {}  {paid} µ$\n",
        trace.function,
        trace.version,
        trace.id,
        time(total_us)
    );
    let bars = rows.iter().map(|row| {
        let span = &trace.spans()[row.span];
        bar(span, costs[row.span], total_us, bar_width)
    });
    for (cells, bar) in table.iter().zip([String::new()].into_iter().chain(bars)) {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = " ".repeat(width - cell.chars().count());
            // Names keep to the left, numbers to the right.
            let (before, after) = if column == 0 {
                ("", &*gap)
            } else {
                (&*gap, "")
            };
            line.extend([before, cell, after, "  "]);
        }
        line.push_str(&bar);
        text.extend([line.trim_end(), "\n"]);
    }
    if trace.dropped > 0 {
        text.extend([format!("{} more spans were not kept\n", trace.dropped)]);
    }
    text
}

fn cells(trace: &Trace, row: &Row, cost: SpanCost) -> [String; HEADING.len()] {
    let span = &trace.spans()[row.span];
    let name = format!("{}{}", "  ".repeat(row.depth), span.name);
    [
        name.chars().take(NAME_MAX).collect(),
        time(span.start_us),
        time(span.duration_us),
        span.cpu_us.map(time).unwrap_or_default(),
        size(span.bytes_in),
        size(span.bytes_out),
        cost.own.to_string(),
        cost.total.to_string(),
    ]
}

/// The time of a span within that of the trace, in `width` columns.
fn bar(span: &Span, cost: SpanCost, total_us: u64, width: usize) -> String {
    let fill = match &span.error {
        Some(_) => "▒",
        None if span.kind != SpanKind::Request && cost.total.0 > 0 => "█",
        None => "░",
    };
    let column = |us: u64| {
        let column = u128::from(us) * width as u128 / u128::from(total_us.max(1));
        usize::try_from(column).unwrap_or(width).min(width)
    };
    // Even what took no time is seen.
    let begin = column(span.start_us).min(width - 1);
    let end = column(span.end_us()).max(begin + 1);
    let mut bar = format!("{}{}", " ".repeat(begin), fill.repeat(end - begin));
    bar.extend(span.error.iter().flat_map(|error| [" ", error]));
    bar
}

/// A time with its unit, such as `12.34ms`.
fn time(us: u64) -> String {
    match us {
        0..1000 => format!("{us}µs"),
        1000..1_000_000 => format!("{}.{:02}ms", us / 1000, us % 1000 / 10),
        _ => format!("{}.{:02}s", us / 1_000_000, us % 1_000_000 / 10_000),
    }
}

/// A size with its unit, such as `1.5K`; nothing for none.
fn size(bytes: u64) -> String {
    if bytes == 0 {
        return String::new();
    }
    let long = ByteSize(bytes).to_string().replace(' ', "");
    long.trim_end_matches("iB").to_owned()
}
