//! Calls that are traced.

use std::sync::Arc;

use fractus_func::RequestId;
use fractus_func::trace::{Cost, Trace, TraceContext, Trigger};
use fractus_lambda::model::Settings;
use http::HeaderMap;

use super::{Answer, Bench, request};
use crate::artifacts::Digest;
use crate::functions::{Asked, Desk, Function, Version};
use crate::registry::{Ledger, Revision};
use crate::traces::Recorder;

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn id() -> RequestId {
    RequestId::from_random(5)
}

fn context(traceparent: &str) -> Option<TraceContext> {
    TraceContext::from_fields(Some(traceparent), None, None)
}

impl Bench {
    fn recorder(&self, context: Option<TraceContext>) -> Option<Arc<Recorder>> {
        Recorder::of_call(&self.function, id(), Trigger::Http, context, None)
    }

    async fn traced(&self, recorder: Option<Arc<Recorder>>) -> Answer {
        let asked = Asked {
            recorder,
            ..Asked::default()
        };
        self.functions
            .call(&self.function, request(), id(), asked)
            .await
    }

    fn trace(&self) -> Option<Arc<Trace>> {
        self.functions.services().traces.get(id())
    }
}

/// What happened, but for the way to the function, which may take less than is measured.
fn codes(trace: &Trace) -> Vec<&'static str> {
    let codes = trace.spans().iter().map(|span| span.kind.code());
    codes.filter(|code| *code != "route").collect()
}

#[tokio::test]
async fn a_call_is_traced_if_its_caller_asks_for_it() {
    let bench = Bench::new();
    bench.open_gate(2);
    assert!(bench.recorder(None).is_none());
    let unsampled = format!("{}0", &SAMPLED[..SAMPLED.len() - 1]);
    assert!(bench.recorder(context(&unsampled)).is_none());
    bench.traced(None).await.unwrap();
    assert!(bench.trace().is_none());

    let recorder = bench.recorder(context(SAMPLED));
    bench.traced(recorder).await.unwrap();
    let trace = bench.trace().unwrap();
    assert_eq!(
        trace.trace_id.to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    // The program was loaded by the call before; the fake starts and runs in no time.
    assert_eq!(codes(&trace), ["request", "queue", "run"]);
    let request = &trace.spans()[0];
    let caller = request.parent.map(|parent| parent.to_string());
    assert_eq!(caller.as_deref(), Some("b7ad6b7169203331"));
    assert!(
        trace
            .spans()
            .iter()
            .all(|span| span.end_us() <= request.end_us())
    );
    let price = &bench.functions.services().price;
    let own: Cost = trace.costs(price).iter().map(|cost| cost.own).sum();
    assert_eq!(own, price.call(0, trace.memory_mb));
}

#[tokio::test]
async fn guests_and_callers_are_told_of_the_trace() {
    let bench = Bench::new();
    let recorder = bench.recorder(context(SAMPLED)).unwrap();
    let mut guest = HeaderMap::new();
    guest.insert("traceparent", SAMPLED.parse().unwrap());
    guest.insert("tracestate", "of=another".parse().unwrap());
    recorder.tell_guest(&mut guest);
    let text = |headers: &HeaderMap, name| headers[name].to_str().unwrap().to_owned();
    let parent = text(&guest, "traceparent");
    assert!(
        parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
        "{parent}"
    );
    assert!(parent.ends_with("-01") && parent != SAMPLED, "{parent}");
    let run = &parent[36..52];
    assert_eq!(
        text(&guest, "x-amzn-trace-id"),
        format!("Root=1-0af76519-16cd43dd8448eb211c80319c;Parent={run};Sampled=1")
    );
    assert!(!guest.contains_key("tracestate"), "it was not the caller's");
    let mut answer = HeaderMap::new();
    recorder.tell_caller(&mut answer);
    assert_eq!(
        text(&answer, "x-amzn-trace-id"),
        "Root=1-0af76519-16cd43dd8448eb211c80319c;Sampled=1"
    );
    bench.open_gate(1);
    bench.traced(Some(recorder)).await.unwrap();
    let trace = bench.trace().unwrap();
    let last = trace.spans().last().unwrap();
    assert_eq!(
        (last.kind.code(), last.id.to_string().as_str()),
        ("run", run)
    );
}

#[tokio::test]
async fn what_is_refused_or_given_up_leaves_a_trace_too() {
    let bench = Bench::with_concurrency(1);
    let _running = bench.running().await;
    let waiting = bench.traced(bench.recorder(context(SAMPLED)));
    // Nobody leaves, and the caller does not wait for it.
    tokio::time::timeout(std::time::Duration::from_millis(20), waiting)
        .await
        .unwrap_err();
    let trace = bench.trace().unwrap();
    assert_eq!(codes(&trace), ["request", "queue"]);
    assert_eq!(trace.spans()[0].error.as_deref(), Some("cancelled"));
    assert!(trace.spans().last().unwrap().duration_us >= 10_000);
}

#[tokio::test]
async fn a_function_may_be_traced_always() {
    let bench = Bench::new();
    let settings = Settings {
        traced: true,
        ..Settings::default()
    };
    let deployed = Revision {
        settings: Some(settings),
        artifact: Digest([1; 32]),
        ..bench.function.deployed().clone()
    };
    let desk = Arc::new(Desk::new(1, Ledger::default()));
    let function: Arc<Function> = bench.functions.version(Version::latest(2), deployed, desk);
    let recorder = |context| Recorder::of_call(&function, id(), Trigger::Queue, context, None);
    let mut answer = HeaderMap::new();
    recorder(None).unwrap().tell_caller(&mut answer);
    let told = answer["x-amzn-trace-id"].to_str().unwrap();
    assert!(
        told.starts_with("Root=1-") && told.ends_with(";Sampled=1"),
        "{told}"
    );
    // A caller that is in a trace stays in it, though it would not have had it kept.
    let unsampled = format!("{}0", &SAMPLED[..SAMPLED.len() - 1]);
    recorder(context(&unsampled))
        .unwrap()
        .tell_caller(&mut answer);
    let told = answer["x-amzn-trace-id"].to_str().unwrap();
    assert_eq!(told, "Root=1-0af76519-16cd43dd8448eb211c80319c;Sampled=1");
}
