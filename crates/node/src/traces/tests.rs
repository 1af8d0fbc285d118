use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fractus_blob::Store;
use fractus_func::trace::{Cost, Price, Span, SpanId, SpanKind, Trace, TraceId, Trigger};
use fractus_func::{Outcome, RequestId, UsageRecord};
use http::{HeaderMap, HeaderName, HeaderValue};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{Exporter, TRACEPARENT, Traces, X_AMZN_TRACE_ID, context_of, untraced, weight};
use crate::functions::refusal;
use crate::limits::{EXPORT_QUEUE_MAX, TRACE_BYTES_MAX, TRACES_MAX};
use crate::outbound::{Outbound, OutboundConfig};

fn id(number: usize) -> RequestId {
    RequestId::from_random(number as u128)
}

fn trace(function: &str, number: usize) -> Trace {
    let trace_id = TraceId::new(number as u64, 1);
    let version = (function.parse().unwrap(), 1);
    Trace::new(
        id(number),
        trace_id,
        version,
        Trigger::Http,
        128,
        number as u64,
    )
}

#[test]
fn the_latest_are_kept() {
    let traces = Traces::default();
    let last = TRACES_MAX + 4;
    for number in 1..=last {
        traces.push(trace(if number % 2 == 0 { "even" } else { "odd" }, number));
    }
    assert!(traces.get(id(4)).is_none());
    assert_eq!(traces.get(id(5)).unwrap().id, id(5));
    let found = |function, limit| {
        let found = traces.find(function, limit);
        found
            .iter()
            .map(|trace| trace.started_ms)
            .collect::<Vec<_>>()
    };
    let last = last as u64;
    assert_eq!(found(None, 2), [last, last - 1]);
    assert_eq!(found(Some("odd"), 2), [last - 1, last - 3]);
    assert_eq!(found(None, usize::MAX).len(), TRACES_MAX);
}

#[test]
fn of_several_attempts_the_last_is_found() {
    let traces = Traces::default();
    for version in 1..=2 {
        let mut trace = trace("f", 7);
        trace.version = version;
        traces.push(trace);
    }
    assert_eq!(traces.get(id(7)).unwrap().version, 2);
}

#[test]
fn their_bytes_are_bounded() {
    let mut all = trace("f", 0);
    for span in 0..200 {
        let mut span = Span::new(SpanId::new(span + 1), None, SpanKind::Run, (0, 1));
        for at in 0..16 {
            span.attributes.insert(format!("{at}"), "x".repeat(250));
        }
        all.add(span);
    }
    let large = |number| {
        let mut trace = all.clone();
        trace.id = id(number);
        trace
    };
    let size = weight(&large(0));
    assert!(size > 200 * 16 * 250, "{size} bytes");
    let traces = Traces::default();
    let fit = TRACE_BYTES_MAX / size;
    (0..fit + 3).for_each(|number| traces.push(large(number)));
    assert_eq!(traces.find(None, usize::MAX).len(), fit);
    assert!(traces.get(id(2)).is_none() && traces.get(id(3)).is_some());
}

#[test]
fn requests_tell_of_their_trace() {
    let told = |fields: &[(HeaderName, &'static str)]| {
        let field = |(name, text): &(HeaderName, &'static str)| {
            (name.clone(), HeaderValue::from_static(text))
        };
        let headers: HeaderMap = fields.iter().map(field).collect();
        context_of(&headers).map(|context| (context.trace_id.to_string(), context.sampled))
    };
    let w3c = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let xray = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    let of = |id: &str, sampled| Some((id.to_owned(), sampled));
    assert_eq!(told(&[]), None);
    let asked = told(&[(TRACEPARENT, w3c)]);
    assert_eq!(asked, of("0af7651916cd43dd8448eb211c80319c", false));
    let asked = told(&[(X_AMZN_TRACE_ID, xray), (TRACEPARENT, "00-x")]);
    assert_eq!(asked, of("5759e988bd862e3fe1be46a994272793", true));
}

fn record(report: impl FnOnce(&mut fractus_func::Report)) -> UsageRecord {
    let mut measured = refusal(id(9), 70, Outcome::Ok, String::new());
    report(&mut measured);
    UsageRecord::new("f".parse().unwrap(), 3, 512, 1_000_000, &measured)
}

#[test]
fn a_record_is_a_trace_without_what_the_guest_asked_for() {
    let record = record(|report| {
        (report.load_us, report.start_us, report.run_us) = (900, 200, 3_450);
        (report.status, report.cpu_us, report.peak_memory) = (Some(404), 8, 9);
        (report.request_bytes, report.response_bytes) = (5, 6);
    });
    let trace = untraced(&record);
    let spans = trace.spans().iter();
    let spans: Vec<_> = spans
        .map(|span| (span.kind.code(), span.start_us, span.end_us()))
        .collect();
    let expected = [
        ("request", 0, 4_620),
        ("queue", 0, 70),
        ("load", 70, 970),
        ("start", 970, 1_170),
        ("run", 1_170, 4_620),
    ];
    assert_eq!(spans, expected);
    let [request, .., run] = trace.spans() else {
        panic!("five spans");
    };
    assert_eq!(
        (request.status, request.error.as_deref()),
        (Some(404), None)
    );
    assert_eq!((run.cpu_us, run.peak_memory), (Some(8), Some(9)));
    assert_eq!((request.bytes_in, request.bytes_out), (5, 6));
    assert!(
        trace.spans()[1..]
            .iter()
            .all(|span| span.parent == Some(request.id))
    );
    assert_eq!((trace.id, trace.started_ms), (id(9), 1_000_000 - 4));
    let price = Price::default();
    let own: Cost = trace.costs(&price).iter().map(|cost| cost.own).sum();
    assert_eq!(own, price.call(record.billed_ms, 512));
}

#[test]
fn the_trace_of_a_failure_says_so() {
    let refused = untraced(&record(|report| report.outcome = Outcome::Throttled));
    let codes: Vec<_> = refused
        .spans()
        .iter()
        .map(|span| span.kind.code())
        .collect();
    assert_eq!(codes, ["request", "queue"]);
    let request = &refused.spans()[0];
    assert_eq!(
        (request.status, request.error.as_deref()),
        (Some(429), Some("throttled"))
    );
    let own = untraced(&record(|report| report.status = Some(503)));
    assert_eq!(own.spans()[0].error.as_deref(), Some("503"));
}

fn outbound() -> (TempDir, Outbound) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), fractus_blob::Config::default()).unwrap();
    (dir, Outbound::new(store, &OutboundConfig::default()))
}

#[tokio::test]
async fn traces_are_posted_together() {
    let (_dir, outbound) = outbound();
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", collector.local_addr().unwrap());
    let traces = Traces::new(Some(Exporter::start(outbound, url.parse().unwrap())));
    (1..=3).for_each(|number| traces.push(trace("f", number)));
    let taken = async {
        let (mut stream, _) = collector.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}]}") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            .await
            .unwrap();
        String::from_utf8(request).unwrap()
    };
    let ((), request) = tokio::join!(traces.flush(), taken);
    assert!(
        request.starts_with("POST /v1/traces HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("content-type: application/json\r\n"),
        "{request}"
    );
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["resourceSpans"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn nobody_waits_for_a_collector() {
    let (_dir, outbound) = outbound();
    // It takes connections and never answers.
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", collector.local_addr().unwrap());
    let exporter = Exporter::start(outbound.clone(), url.parse().unwrap());
    let dropped = Arc::clone(&exporter.dropped);
    let traces = Traces::new(Some(exporter));
    let begin = Instant::now();
    (0..EXPORT_QUEUE_MAX + 200).for_each(|number| traces.push(trace("f", number)));
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(dropped.load(Ordering::Relaxed), 200);
    assert_eq!(
        traces.find(None, usize::MAX).len(),
        TRACES_MAX,
        "the node's own are all there"
    );

    // Nothing listens on port 9 of a machine that runs tests, and nobody hangs for that.
    let closed = Exporter::start(outbound, "http://127.0.0.1:9/".parse().unwrap());
    let traces = Traces::new(Some(closed));
    traces.push(trace("f", 1));
    timeout(Duration::from_secs(4), traces.flush())
        .await
        .unwrap();
}
