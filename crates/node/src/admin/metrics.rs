//! `GET /metrics`: the node's figures in Prometheus' text format (version 0.0.4). It asks for the
//! token as all of the API does: `authorization: {credentials: TOKEN}` in a scrape configuration.

use std::fmt::{Display, Write as _};

use axum::extract::State;
use axum::response::IntoResponse;
use fractus_func::Counters;
use http::header::CONTENT_TYPE;

use crate::admin::{Admin, App};
use crate::functions::Entry;

/// A metric: its name without the prefix, its kind, what it is, and its value for a function.
type OfFunction = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Counters) -> f64,
);

#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating point numbers"
)]
const COUNTERS: [OfFunction; 11] = [
    (
        "calls_total",
        "counter",
        "Calls that ended, refused ones included",
        |c| c.calls as f64,
    ),
    ("errors_total", "counter", "Calls that failed", |c| {
        c.errors as f64
    }),
    (
        "throttled_total",
        "counter",
        "Calls that were refused",
        |c| c.throttled as f64,
    ),
    (
        "cold_starts_total",
        "counter",
        "Calls that an instance was started for",
        |c| c.cold as f64,
    ),
    (
        "queue_seconds_total",
        "counter",
        "Time that calls waited for an instance",
        |c| c.queue_us as f64 / 1e6,
    ),
    (
        "run_seconds_total",
        "counter",
        "Time that guests ran",
        |c| c.run_us as f64 / 1e6,
    ),
    (
        "cpu_seconds_total",
        "counter",
        "Processor time of guests",
        |c| c.cpu_us as f64 / 1e6,
    ),
    ("billed_seconds_total", "counter", "Billed time", |c| {
        c.billed_ms as f64 / 1e3
    }),
    (
        "billed_gb_seconds_total",
        "counter",
        "Billed time and memory",
        |c| c.mb_ms as f64 / 1_024_000.0,
    ),
    (
        "request_bytes_total",
        "counter",
        "Bytes of requests' bodies",
        |c| c.request_bytes as f64,
    ),
    (
        "response_bytes_total",
        "counter",
        "Bytes of answers' bodies",
        |c| c.response_bytes as f64,
    ),
];

/// Text that grows by lines.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let written = writeln!(
            self.0,
            "# HELP fractus_{name} {help}.\n# TYPE fractus_{name} {kind}"
        );
        written.expect("a string takes all");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        writeln!(self.0, "fractus_{name}{labels} {value}").expect("a string takes all");
    }

    fn single(&mut self, (name, kind, help): (&str, &str, &str), value: impl Display) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }
}

/// A function's name holds nothing that a label must escape.
fn label(entry: &Entry) -> String {
    format!("{{function=\"{}\"}}", entry.latest.name())
}

pub(super) async fn show(State(admin): App) -> impl IntoResponse {
    let mut page = Page::default();
    functions(&mut page, &admin);
    machine(&mut page, &admin);
    events(&mut page, &admin).await;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, kind)], page.0)
}

fn functions(page: &mut Page, admin: &Admin) {
    let snapshot = admin.control.functions().snapshot();
    let totals: Vec<_> = snapshot
        .values()
        .map(|entry| (label(entry), entry.latest.desk().totals().sums.counters))
        .collect();
    for (name, kind, help, value) in COUNTERS {
        let name = format!("function_{name}");
        page.head(&name, kind, help);
        for (label, counters) in &totals {
            page.line(&name, label, value(counters));
        }
    }
    page.head("function_instances", "gauge", "Calls by state");
    for entry in snapshot.values() {
        let (desk, name) = (entry.latest.desk(), entry.latest.name());
        let states = [
            ("running", desk.running() as usize),
            ("waiting", desk.waiting()),
        ];
        for (state, count) in states {
            let labels = format!("{{function=\"{name}\",state=\"{state}\"}}");
            page.line("function_instances", &labels, count);
        }
    }
    let limit = "function_concurrency_limit";
    page.head(limit, "gauge", "Calls that may run at once");
    for entry in snapshot.values() {
        page.line(limit, &label(entry), entry.latest.desk().limit());
    }
    page.single(("functions", "gauge", "Deployed functions"), snapshot.len());
}

fn machine(page: &mut Page, admin: &Admin) {
    let budget = &admin.control.functions().services().budget;
    let mut gauge = |name, help, value: u64| page.single((name, "gauge", help), value);
    gauge(
        "instances_running",
        "Instances at work",
        budget.running() as u64,
    );
    gauge(
        "instances_limit",
        "Instances at once",
        budget.instances() as u64,
    );
    gauge(
        "guest_memory_bytes",
        "Memory of guests",
        budget.memory() as u64,
    );
    let cache = admin.control.edge().stats();
    gauge("cache_bytes", "Bytes in the cache", cache.bytes);
    gauge("cache_entries", "Entries in the cache", cache.entries);
    let mut counter = |name, help, value: u64| page.single((name, "counter", help), value);
    counter(
        "cache_hits_total",
        "Requests answered from the cache",
        cache.hits,
    );
    counter(
        "cache_misses_total",
        "Requests that an origin answered",
        cache.misses,
    );
}

async fn events(page: &mut Page, admin: &Admin) {
    let stats = admin.control.events().stats().await;
    page.single(
        ("events_queued", "gauge", "Events that are not done"),
        stats.queued,
    );
    page.single(
        ("events_in_flight", "gauge", "Events that run"),
        stats.in_flight,
    );
    page.single(
        ("events_added_total", "counter", "Events taken"),
        stats.added,
    );
    page.single(
        ("events_done_total", "counter", "Events that ended well"),
        stats.done,
    );
    page.single(
        ("events_failed_total", "counter", "Events given up"),
        stats.failed,
    );
    page.single(
        ("events_retried_total", "counter", "Attempts put off"),
        stats.retried,
    );
    let delivered = (
        "events_delivered_total",
        "counter",
        "Records that destinations took",
    );
    page.single(delivered, stats.delivered);
    let dropped = (
        "events_dropped_total",
        "counter",
        "Records that nobody took",
    );
    page.single(dropped, stats.dropped);
    let missed = (
        "schedule_missed_total",
        "counter",
        "Fires of schedules that were missed",
    );
    page.single(missed, stats.missed);
}
