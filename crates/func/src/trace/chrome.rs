//! Traces for `chrome://tracing` and <https://ui.perfetto.dev> (Trace Event Format).

use serde_json::{Map, Value, json};

use super::{Price, Trace};

/// The one process.
const PROCESS: u32 = 1;

/// A trace in the JSON form of Chrome's trace events. Times are microseconds since the trace
/// began; costs are in 10⁻¹² of the price's unit.
///
/// Events of one thread must lie within each other or apart, so what runs at once is put on
/// threads of its own.
pub fn to_chrome_trace(trace: &Trace, price: &Price) -> Value {
    let costs = trace.costs(price);
    let lanes = lanes(trace);
    let process = format!("{}:{}", trace.function, trace.version);
    let mut events = vec![name("process_name", 0, &process)];
    let last = lanes.iter().map(|(_, lane)| *lane).max().unwrap_or(0);
    events.extend((0..=last).map(|lane| {
        let of = if lane == 0 {
            format!("request {}", trace.id)
        } else {
            format!("at the same time {lane}")
        };
        name("thread_name", lane, &of)
    }));
    for (at, lane) in lanes {
        let span = &trace.spans()[at];
        let mut args = Map::new();
        let mut say = |name: &str, value: Value| args.insert(name.to_owned(), value);
        say("span_id", json!(span.id));
        say("bytes_in", json!(span.bytes_in));
        say("bytes_out", json!(span.bytes_out));
        say("cost_own", json!(costs[at].own));
        say("cost_total", json!(costs[at].total));
        let known = [
            ("cpu_us", json!(span.cpu_us)),
            ("peak_memory", json!(span.peak_memory)),
            ("status", json!(span.status)),
            ("error", json!(span.error)),
        ];
        for (name, value) in known.into_iter().filter(|(_, value)| !value.is_null()) {
            say(name, value);
        }
        for (name, value) in &span.attributes {
            say(name, json!(value));
        }
        events.push(json!({
            "ph": "X",
            "name": span.name,
            "cat": span.kind.code(),
            "ts": span.start_us,
            "dur": span.duration_us,
            "pid": PROCESS,
            "tid": lane,
            "args": args,
        }));
    }
    json!({
        "displayTimeUnit": "ms",
        "otherData": {
            "request_id": trace.id,
            "trace_id": trace.trace_id,
            "started_ms": trace.started_ms,
            "dropped_spans": trace.dropped,
        },
        "traceEvents": events,
    })
}

/// The event that names the process or one of its threads.
fn name(what: &str, lane: usize, name: &str) -> Value {
    json!({"ph": "M", "name": what, "pid": PROCESS, "tid": lane, "args": {"name": name}})
}

/// Spans in the order in which they began, each with the number of its thread: the first in which
/// it lies within what has not ended.
fn lanes(trace: &Trace) -> Vec<(usize, usize)> {
    let spans = trace.spans();
    let mut rows = trace.rows();
    // What began earlier, or is around it, comes first: the order of rows is kept otherwise.
    rows.sort_by_key(|row| (spans[row.span].start_us, row.depth));
    let mut lanes: Vec<Vec<u64>> = Vec::new();
    let mut placed = Vec::with_capacity(rows.len());
    for row in rows {
        let span = &spans[row.span];
        let fits = |open: &mut Vec<u64>| {
            while open.last().is_some_and(|end| *end <= span.start_us) {
                open.pop();
            }
            open.last().is_none_or(|end| span.end_us() <= *end)
        };
        let lane = lanes.iter_mut().position(fits).unwrap_or_else(|| {
            lanes.push(Vec::new());
            lanes.len() - 1
        });
        lanes[lane].push(span.end_us());
        placed.push((row.span, lane));
    }
    placed
}
